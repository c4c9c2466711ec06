"""Which rung is found, why, and that the others do the same: rootless, and a plain chroot."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from buildpush.backends.native.sandbox.rootfs import Rung, Sandbox

if TYPE_CHECKING:
    from buildpush.backends.native.sandbox.rootfs import LayerFile
    from buildpush.runtime import Environment
    from conftest import Bench, LayerMaker

pytestmark = pytest.mark.needs_root

SCRIPT = """
echo new > /srv/new; rm /srv/a; rm -r /srv/old; mkdir /srv/old; chmod 4755 /srv/b
chown 1000:1000 /srv/c; ln -s x /srv/s; mkfifo /srv/p; id -u; cat /proc/self/uid_map 2>/dev/null; true
"""
LISTING = [
    "dir 755 0:0 srv",
    "file 0 0:0 srv/.wh.a",
    "file 4755 0:0 srv/b",
    "file 644 1000:1000 srv/c",
    "file 644 0:0 srv/new",
    "dir 755 0:0 srv/old",
    "file 0 0:0 srv/old/.wh.one",
    "file 0 0:0 srv/old/.wh.two",
    "fifo 644 0:0 srv/p",
    "sym 777 0:0 srv/s -> x",
]

# What the tests below run as somebody else: a build with one RUN, told on stdout as JSON.
PROGRAM = """
import io, json, pathlib, sys, tarfile
from buildpush.backends.native.sandbox.rootfs import JobMount, LayerFile, RunJob, Rung, Sandbox
from buildpush.errors import BuildpushError
from buildpush.oci import Digest
from buildpush.runtime import CancelToken, Environment

asked = json.load(sys.stdin)
environment = Environment.current()
told = {}
try:
    found = Sandbox.probe(environment)
    told["rung"], told["reason"], told["overlay"] = found.rung.name, found.reason, found.overlay
    if asked.get("rung"):
        found = Sandbox.at(Rung[asked["rung"]], environment, overlay=asked.get("overlay", True))
    if asked.get("script"):
        work = environment.cache / "work"
        work.mkdir(mode=0o700, parents=True)
        chunks, lines = [], []
        layers = [
            LayerFile(diff_id=Digest(d), path=pathlib.Path(p), media_type=m)
            for d, p, m in asked["layers"]
        ]
        mounts = [
            JobMount(**{**m, "source": pathlib.Path(m["source"])}) for m in asked.get("mounts", ())
        ]
        try:
            told["code"] = found.run(
                RunJob(argv=("/bin/sh", "-c", asked["script"]), mounts=tuple(mounts),
                       network=asked.get("network", "default"), user=asked.get("user", "")),
                layers=layers, layers_root=environment.cache / "layers", work=work,
                on_line=lambda stream, line: lines.append(line), sink=chunks.append,
                cancel=CancelToken(),
            )
        finally:
            told["left"] = sorted(path.name for path in work.iterdir())
            found.remove(environment.cache)
            told["removed"] = not environment.cache.exists()
        told["lines"], told["tar"] = lines, b"".join(chunks).hex()
except BuildpushError as error:
    told["error"] = str(error)
print(json.dumps(told))
"""


def _interpreter() -> list[str]:
    """A Python that any user may start: this one, or the system's with this one's packages."""
    real = Path(sys.executable).resolve()
    if all(folder.stat().st_mode & 0o001 for folder in real.parents):
        return [sys.executable]
    return [f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"]


def _open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


@pytest.fixture(scope="module")
def importable() -> Iterator[list[str]]:
    """Where any user finds buildpush and what it needs: copied when it lies in a private folder."""
    import buildpush

    folders = [Path(str(buildpush.__file__)).parents[1], *map(Path, filter(None, sys.path))]
    with tempfile.TemporaryDirectory(prefix="buildpush-importable-") as copies:
        Path(copies).chmod(0o755)
        found: list[str] = []
        for number, folder in enumerate(folder for folder in folders if folder.is_dir()):
            if _open_to_all(folder.resolve()):
                found.append(str(folder))
            elif folder.name in ("src", "site-packages"):
                skipped = shutil.ignore_patterns("__pycache__", "IPython", "jedi", "mypy*")
                copy = shutil.copytree(folder, Path(copies) / str(number), ignore=skipped)
                found.append(str(copy))
        yield found


@pytest.fixture
def somebody(missing: Callable[[str], None]) -> Iterator[pwd.struct_passwd]:
    """An account without rights but with 65536 subordinate ids, for the time of one test."""
    name = f"bptest{os.getpid()}"
    for file in ("/etc/subuid", "/etc/subgid"):
        Path(file).touch()  # useradd gives ids where these are, and only there
    made = subprocess.run(
        ["/usr/sbin/useradd", "--create-home", "--shell", "/bin/sh", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        missing(f"useradd: {made.stderr}")
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["/usr/sbin/userdel", "--remove", name], capture_output=True, check=True)


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(importable: list[str]) -> Ask:
    """A function that runs PROGRAM behind a prefix (setpriv and its arguments)."""

    def call(
        prefix: list[str], home: Path, asked: dict[str, Any], *, path: str = "/usr/bin:/bin"
    ) -> dict[str, Any]:
        return _ask(prefix, home, asked, path=path, importable=importable)

    return call


def _ask(
    prefix: list[str], home: Path, asked: dict[str, Any], *, path: str, importable: list[str]
) -> dict[str, Any]:
    """What PROGRAM told."""
    env = {"HOME": str(home), "PATH": path, "PYTHONPATH": ":".join(importable)}
    env |= {"BUILDPUSH_CACHE": str(home / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*prefix, *_interpreter(), "-c", textwrap.dedent(PROGRAM)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env=env,
        cwd="/",
    )
    if done.returncode:
        pytest.fail(done.stderr[-3000:])
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def as_user(user: pwd.struct_passwd) -> list[str]:
    """The prefix that makes a command *user*'s."""
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
    return ["/usr/bin/setpriv", *ids, "--clear-groups", "--inh-caps=-all"]


def without(*capabilities: str) -> list[str]:
    """The prefix that takes *capabilities* from root for good."""
    dropped = ",".join(f"-{name}" for name in capabilities)
    return ["/usr/bin/setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]


def in_layers(base: LayerFile, target: Path) -> list[tuple[str, str, str]]:
    """*base* where an unprivileged user can read it, as PROGRAM takes layers."""
    copy = target / "base.tar"
    copy.write_bytes(base.path.read_bytes())
    copy.chmod(0o644)
    return [(str(base.diff_id), str(copy), base.media_type)]


def test_root_stands_on_namespaces_with_overlays(environment: Environment) -> None:
    """The best there is, so there is nothing to explain."""
    found = Sandbox.probe(environment)

    assert (found.rung, found.overlay, found.reason) == (Rung.NAMESPACES, True, "")


@pytest.mark.needs_userns
@pytest.mark.parametrize("overlay", [True, False])
def test_a_user_with_subordinate_ids_runs_rootless(
    ask: Ask, somebody: pwd.struct_passwd, busybox: LayerFile, bench: Bench, overlay: bool
) -> None:
    """With the same difference as root gets, and nothing left that he could not remove."""
    home = Path(somebody.pw_dir)
    asked = {"rung": "ROOTLESS", "overlay": overlay, "script": SCRIPT}
    asked["layers"] = in_layers(busybox, home)

    told = ask(as_user(somebody), home, asked)

    outcome = evolve_outcome(bench, told)
    assert (told["rung"], told["code"]) == ("ROOTLESS", 0), told
    assert outcome.listing == LISTING
    assert (told["left"], told["removed"]) == ([], True)
    assert told["lines"][0] == "0"
    assert told["lines"][1].split() == ["0", str(somebody.pw_uid), "1"]


def evolve_outcome(bench: Bench, told: dict[str, Any]) -> Any:
    """What somebody else's run left, as the bench would have it."""
    blank = bench.sh("true")
    return type(blank)(told["code"], told["lines"], [], bytes.fromhex(told["tar"]))


@pytest.mark.needs_userns
def test_rootless_commands_have_users_mounts_and_a_network_of_none(
    ask: Ask, somebody: pwd.struct_passwd, busybox: LayerFile
) -> None:
    """Secrets are readable, other users are there, and only lo."""
    home = Path(somebody.pw_dir)
    (home / "token").write_text("s3cret\n")
    os.chown(home / "token", somebody.pw_uid, somebody.pw_gid)
    (home / "token").chmod(0o600)
    secret = {"kind": "secret", "source": str(home / "token"), "target": "/run/t", "uid": 1000}
    asked = {
        "rung": "ROOTLESS",
        "layers": in_layers(busybox, home),
        "script": "id -u; cat /run/t; ip -o link | wc -l; touch /home/app/x",
        "mounts": [secret],
        "network": "none",
        "user": "app",
    }

    told = ask(as_user(somebody), home, asked)

    assert told.get("lines") == ["1000", "s3cret", "1"], told


@pytest.mark.needs_userns
def test_a_device_in_a_layer_is_left_out_rootless(
    ask: Ask, somebody: pwd.struct_passwd, busybox: LayerFile, layer: Callable[[], LayerMaker]
) -> None:
    """The kernel allows no device nodes there, and containerd does without them too."""
    home = Path(somebody.pw_dir)
    device = layer().add("srv/disk", kind=b"4", device=(8, 0), mode=0o660).done()
    layers = in_layers(busybox, home)
    (home / "device.tar").write_bytes(device.path.read_bytes())
    layers.append((str(device.diff_id), str(home / "device.tar"), device.media_type))

    told = ask(as_user(somebody), home, {"layers": layers, "script": "ls /srv; touch /srv/z"})

    assert told["lines"] == ["a", "b", "c", "old"]


@pytest.mark.needs_userns
def test_a_user_without_newuidmap_is_told_what_to_install(
    ask: Ask, somebody: pwd.struct_passwd
) -> None:
    """There is no rung for him, and the reason names the way out."""
    told = ask(as_user(somebody), Path(somebody.pw_dir), {}, path="/nonexistent")

    assert told["rung"] == "NONE"
    assert "install uidmap" in told["reason"]
    assert "not root" in told["reason"]


def test_a_user_without_subordinate_ids_is_told_how_to_get_some(
    environment: Environment,
) -> None:
    """With the command that gives them."""
    nobody = evolve(environment, uid=64_999, gid=64_999)

    found = Sandbox.probe(nobody)

    assert found.rung is Rung.NONE
    assert "usermod --add-subuids" in found.reason or "install uidmap" in found.reason


def test_root_without_cap_sys_admin_uses_a_user_namespace(
    ask: Ask, busybox: LayerFile, bench: Bench, tmp_path: Path
) -> None:
    """Where the container lets it: then RUN is as isolated as for real root."""
    asked = {"layers": in_layers(busybox, tmp_path), "script": SCRIPT}

    told = ask(without("sys_admin"), tmp_path, asked)

    assert told["rung"] == "ROOTLESS"
    assert evolve_outcome(bench, told).listing == LISTING
    assert "CAP_SYS_ADMIN" in told["reason"]


@pytest.mark.parametrize("lost", [("sys_admin",), ("sys_admin", "mknod", "setpcap", "setfcap")])
def test_root_without_cap_sys_admin_can_chroot(
    ask: Ask, busybox: LayerFile, bench: Bench, tmp_path: Path, lost: tuple[str, ...]
) -> None:
    """As in a container that forbids namespaces; the difference is the same."""
    asked = {"rung": "CHROOT", "layers": in_layers(busybox, tmp_path), "script": SCRIPT}

    told = ask(without(*lost), tmp_path, asked)

    assert told.get("code") == 0, told
    assert evolve_outcome(bench, told).listing == LISTING


def test_root_without_cap_sys_chroot_is_told_so(ask: Ask, tmp_path: Path) -> None:
    """Every rung says why it is out of reach."""
    told = ask(without("sys_admin", "sys_chroot"), tmp_path, {"rung": "CHROOT"})

    assert told["error"] == "no chroot: chroot is refused: CAP_SYS_CHROOT is missing"
