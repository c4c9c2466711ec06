#!/bin/sh
# Install what the integration tests need, on Debian or a descendant. Leaves no service running.
# A second run finds everything in place: it changes nothing and needs no network.
set -eu

PATH=$PATH:/usr/sbin:/sbin
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi

# --- the release's own packages ---

wanted=""
need() { # program package
    if ! command -v "$1" >/dev/null 2>&1; then
        wanted="$wanted $2"
    fi
}

need docker-registry docker-registry
need skopeo skopeo
need busybox busybox-static
need mmdebstrap mmdebstrap
need newuidmap uidmap
need git git
need buildah buildah
need runc runc
need containerd containerd
need iptables iptables
need ssh-agent openssh-client
need fuse-overlayfs fuse-overlayfs

# Its own dockerd, wherever another docker may lie in PATH.
[ -x /usr/sbin/dockerd ] || wanted="$wanted docker.io"

# For what other users are to run, wherever the tests' own interpreter lies.
[ -x /usr/bin/python3 ] || wanted="$wanted python3"

# The dynamic busybox of the package "busybox" would not run in an empty image.
if command -v busybox >/dev/null 2>&1 && ! dpkg -s busybox-static >/dev/null 2>&1; then
    wanted="$wanted busybox-static"
fi

policy=/usr/sbin/policy-rc.d
work=""
policy_is_ours=""
clean_up() {
    [ -z "$work" ] || rm -rf "$work"
    [ -z "$policy_is_ours" ] || $as_root rm -f "$policy"
}
trap clean_up EXIT

if [ -n "$wanted" ]; then
    # The tests start daemons of their own; Debian's policy layer keeps apt from starting any.
    if [ ! -e "$policy" ]; then
        policy_is_ours=yes
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update
    # A package that fails to start its service where there is none to start is good enough:
    # the versions below are the proof that the programs are there.
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends $wanted ||
        echo "apt-get reported an error; looking at what is there" >&2
    # Nor shall they start with the machine; what was there before is left as it was.
    if [ -d /run/systemd/system ]; then
        for package in $wanted; do
            case "$package" in
            docker-registry) units="docker-registry.service" ;;
            docker.io) units="docker.service docker.socket" ;;
            containerd) units="containerd.service" ;;
            *) units="" ;;
            esac
            # shellcheck disable=SC2086
            [ -z "$units" ] || $as_root systemctl disable --now $units || true
        done
    fi
fi

# --- what is unpacked beside them ---

# Not $HOME: the tests look it up the same way, whatever that says.
home=$(getent passwd "$(id -u)" | cut -d: -f6)
engines=${BUILDPUSH_TEST_CACHE:-$home/.cache/buildpush-tests}/engines
docker=$engines/docker-$(dpkg --print-architecture)
foreign=$engines/foreign-arm64
release=$(. /etc/os-release && echo "$VERSION_CODENAME")

# The machine's own sources with one suite only, so that no mirror is named here: the one-line
# files, then the deb822 ones, whose keys and options stay as they are.
sources_of() { # suite, folder for the sources
    suite=$1
    shift
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -nE "s/^(deb([[:space:]]+\[[^]]*\])?[[:space:]]+[^[:space:]]+[[:space:]]+)$release([[:space:]])/\1$suite\3/p" |
        sort -u >"$1/copied.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] && cat "$file" && echo
    done | awk -v RS= -v ORS='\n\n' -v release="$release" -v suite="$suite" '{
        count = split($0, lines, "\n"); stanza = ""; matches = 0
        for (i = 1; i <= count; i++) {
            if (tolower(lines[i]) ~ /^suites:/) {
                words = split(lines[i], word, /[ \t]+/)
                for (j = 2; j <= words; j++) matches += (word[j] == release)
                lines[i] = "Suites: " suite
            }
            stanza = stanza (i > 1 ? "\n" : "") lines[i]
        }
        if (matches) print stanza
    }' >"$1/copied.sources"
    if ! [ -s "$1/copied.list" ] && ! [ -s "$1/copied.sources" ]; then
        echo "the machine's apt sources name no $release, for which $suite could stand" >&2
        return 1
    fi
}

download() { # empty folder, suite, packages: the machine's own apt does not notice
    mkdir -p "$1/sources" "$1/lists/partial" "$1/cache/archives/partial" "$1/packages" "$1/root"
    sources_of "$2" "$1/sources"
    cat >"$1/apt.conf" <<END
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$1/sources";
Dir::State::Lists "$1/lists";
Dir::Cache "$1/cache";
APT::Architectures { "$(dpkg --print-architecture)"; "arm64"; };
APT::Sandbox::User "root";
APT::Get::List-Cleanup "0";
Acquire::Languages "none";
END
    folder=$1
    shift 2
    apt-get -q -c "$folder/apt.conf" update
    (cd "$folder/packages" && apt-get -q -c "$folder/apt.conf" download "$@")
}

# A docker that is newer than the release's.
if [ ! -d "$docker" ]; then
    mkdir -p "$engines"
    work=$(mktemp -d "$engines/work.XXXXXX")
    download "$work" unstable \
        docker.io/unstable docker-cli/unstable containerd/unstable docker-buildx/unstable
    for package in "$work"/packages/*.deb; do
        dpkg -x "$package" "$work/root"
    done
    # Runs here, or is not kept.
    "$work/root/usr/sbin/dockerd" --version
    mv -T "$work/root" "$docker" || [ -d "$docker" ] # another run may have been faster
    rm -rf "$work"
fi

# Programs of another CPU, and what executes them. Not installed: the package would register its
# emulators with the kernel, now or at the next start, where many a test needs that none is there.
if [ ! -d "$foreign" ] && [ "$(dpkg --print-architecture)" != arm64 ]; then
    mkdir -p "$engines"
    work=$(mktemp -d "$engines/work.XXXXXX")
    download "$work" "$release" qemu-user-static busybox-static:arm64
    dpkg --fsys-tarfile "$work"/packages/qemu-user-static_*.deb |
        tar -x -C "$work/root" --strip-components=3 ./usr/bin/qemu-aarch64-static
    dpkg --fsys-tarfile "$work"/packages/busybox-static_*.deb |
        tar -x -C "$work/root" --strip-components=2 ./bin/busybox
    "$work/root/qemu-aarch64-static" "$work/root/busybox" uname -m
    mv -T "$work/root" "$foreign" || [ -d "$foreign" ]
fi

# --- what there is now ---

docker-registry --version
skopeo --version
busybox | head -n 1
mmdebstrap --version
dpkg-query --show --showformat='${Package} ${Version}\n' uidmap iptables openssh-client
git --version
buildah --version
fuse-overlayfs --version 2>/dev/null | head -n 1
runc --version | head -n 1
containerd --version
/usr/sbin/dockerd --version
/usr/bin/docker --version
"$docker/usr/bin/containerd" --version
"$docker/usr/sbin/dockerd" --version
"$docker/usr/bin/docker" --version
"$docker/usr/libexec/docker/cli-plugins/docker-buildx" version
[ ! -d "$foreign" ] || "$foreign/qemu-aarch64-static" --version | head -n 1
