#!/bin/sh
# Install what the integration tests need, on Debian or a descendant. Starts no services.
set -eu

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

# For what other users are to run, wherever the tests' own interpreter lies.
[ -x /usr/bin/python3 ] || wanted="$wanted python3"

# The dynamic busybox of the package "busybox" would not run in an empty image.
if command -v busybox >/dev/null 2>&1 && ! dpkg -s busybox-static >/dev/null 2>&1; then
    wanted="$wanted busybox-static"
fi

if [ -n "$wanted" ]; then
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        as_root="sudo"
    fi
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update
    # A package that fails to start its service where there is none to start is good enough:
    # the versions below are the proof that the programs are there.
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends $wanted ||
        echo "apt-get reported an error; looking at what is there" >&2

    # Installing the registry may have started it; the tests start their own.
    case "$wanted" in
    *docker-registry*)
        if [ -d /run/systemd/system ]; then
            $as_root systemctl disable --now docker-registry.service || true
        elif [ -x /etc/init.d/docker-registry ]; then
            $as_root /etc/init.d/docker-registry stop || true
        fi
        ;;
    esac
fi

docker-registry --version
skopeo --version
busybox | head -n 1
mmdebstrap --version
dpkg-query --show --showformat='${Package} ${Version}\n' uidmap
git --version
