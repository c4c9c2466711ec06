"""Container engines for the tests: daemons and storages of their own, gone when the tests are.

Nothing here uses buildpush: what it starts is evidence about buildpush. An engine's variables
are not set by themselves, since every test has a clean environment: call `activate`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen

_SIGTERM_AT_PARENTS_DEATH: Final = 1  # PR_SET_PDEATHSIG
_SECONDS: Final = 60


@frozen(kw_only=True)
class DockerEngine:
    """A running dockerd: *host* is its ``unix://…``, *env* what a client's environment needs.

    *env* holds DOCKER_HOST, DOCKER_CONFIG (a private folder, in whose cli-plugins buildx lies
    where the engine has BuildKit's full features) and PATH with the engine's own CLI first.
    """

    host: str
    env: Mapping[str, str]
    folder: Path
    pid: int

    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this engine the one that the test's environment names."""
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)

    def api(self, method: str, path: str, body: bytes = b"") -> bytes:
        """What the Engine API answers, whatever its status: for looking around in tests."""
        connection = _UnixConnection(self.host.removeprefix("unix://"))
        try:
            connection.request(method, path, body=body, headers={"Host": "docker"})
            return connection.getresponse().read()
        finally:
            connection.close()

    def kill(self) -> None:
        """End the daemon without warning, as a crash would, and wait until it is gone.

        Until then its socket takes connections, and resets them.
        """
        process = os.pidfd_open(self.pid)
        try:
            os.kill(self.pid, signal.SIGKILL)
            select.select([process], [], [], 30)
        finally:
            os.close(process)

    @property
    def log(self) -> str:
        """The end of what the daemon has logged."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]


@frozen(kw_only=True)
class BuildahStorage:
    """Where a buildah keeps its images: *env* makes every buildah use it, and no other."""

    root: Path
    runroot: Path
    env: Mapping[str, str]

    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this storage the one that the test's environment names."""
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


# --- fixtures ---


@pytest.fixture(scope="session")
def dockerd(newer_docker: Path) -> Iterator[DockerEngine]:
    """dockerd 28 with the containerd image store, and buildx."""
    with _newer(newer_docker) as engine:
        yield engine


@pytest.fixture(scope="session")
def dockerd_without_containerd(newer_docker: Path) -> Iterator[DockerEngine]:
    """dockerd 28 with the classic image store, as those who upgraded have it."""
    with _newer(newer_docker, features={"containerd-snapshotter": False}) as engine:
        yield engine


@pytest.fixture
def private_dockerd(newer_docker: Path) -> Iterator[DockerEngine]:
    """Like `dockerd`, for one test only, which may kill it."""
    with _newer(newer_docker) as engine:
        yield engine


@pytest.fixture
def bridged_dockerd(newer_docker: Path, missing: Callable[[str], None]) -> Iterator[DockerEngine]:
    """Like `dockerd`, with a network of its own (which leads nowhere) for what runs in it."""
    bridge = f"bp{secrets.token_hex(4)}"
    made = subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=False)
    if made.returncode != 0:
        missing("the right to make a network bridge (run the tests as root)")
    try:
        subprocess.run(["ip", "addr", "add", "192.0.2.1/24", "dev", bridge], check=True)
        subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
        with _newer(newer_docker, bridge=bridge, **{"ip-masq": False}) as engine:
            yield engine
    finally:
        subprocess.run(["ip", "link", "del", bridge], check=True)


@pytest.fixture(scope="session")
def dockerd_classic(missing: Callable[[str], None]) -> Iterator[DockerEngine]:
    """The release's own dockerd (20.10 in Debian 12), without buildx: classic store and builder."""
    if os.geteuid() != 0 or not Path("/usr/sbin/dockerd").is_file():
        missing("root and docker.io (sh tests/provision.sh)")
    settings: dict[str, object] = {"experimental": True}  # for --squash
    with _daemon("/usr/sbin:/usr/bin", settings, plugin=None) as engine:
        yield engine


@pytest.fixture(scope="session")
def buildx_plugin(newer_docker: Path) -> Path:
    """The plugin docker-buildx, which can be run by itself."""
    return newer_docker / "usr/libexec/docker/cli-plugins/docker-buildx"


@pytest.fixture
def buildah_root(missing: Callable[[str], None]) -> Iterator[BuildahStorage]:
    """An empty storage for buildah run by root: overlay, or vfs where that cannot be mounted."""
    if os.geteuid() != 0 or shutil.which("buildah") is None:
        missing("root and buildah (sh tests/provision.sh)")
    with _short_folder() as folder:
        root, runroot = folder / "root", folder / "run"
        conf = folder / "storage.conf"
        conf.write_text(
            "[storage]\n"
            f'driver = "{_driver(folder)}"\ngraphroot = "{root}"\nrunroot = "{runroot}"\n'
        )
        env = {"CONTAINERS_STORAGE_CONF": str(conf)}
        yield BuildahStorage(root=root, runroot=runroot, env=env)


_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_ENTRY: Final = _BINFMT / "buildpush-tests-arm64"
_MAGIC: Final = "7f454c460201010000000000000000000200b700"
_MASK: Final = "ffffffffffffff00fffffffffffffffffeffffff"


@frozen
class Emulators:
    """The kernel's binfmt_misc: no emulator for arm64 is in it until it is asked for."""

    program: Path

    @contextmanager
    def arm64(self) -> Iterator[None]:
        """Let the kernel execute programs for arm64, until the end."""
        magic, mask = ("".join(f"\\x{b:02x}" for b in bytes.fromhex(t)) for t in (_MAGIC, _MASK))
        # F: the interpreter is opened now, so that it is found whatever root a process has.
        line = f":{_ENTRY.name}:M::{magic}:{mask}:{self.program}:OCF"
        (_BINFMT / "register").write_text(line)
        try:
            yield
        finally:
            _ENTRY.write_text("-1")


@pytest.fixture
def binfmt(foreign_arm64: Path, missing: Callable[[str], None]) -> Iterator[Emulators]:
    """The kernel's list of emulators, for this test alone; mounted where it was not."""
    with _only_one(foreign_arm64), _mounted_binfmt(missing):
        others = [path.name for path in _BINFMT.iterdir() if "aarch64" in path.name]
        if others:
            missing(f"a kernel without an emulator of its own for arm64 (it has {others[0]})")
        yield Emulators(foreign_arm64 / "qemu-aarch64-static")


@pytest.fixture
def binfmt_arm64(binfmt: Emulators) -> Iterator[None]:
    """The kernel executes programs for arm64, until the test ends."""
    with binfmt.arm64():
        yield


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """The kernel's list is for all: tests of two runs take turns."""
    with (folder / "busybox").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _mounted_binfmt(missing: Callable[[str], None]) -> Iterator[None]:
    """Have binfmt_misc mounted, without what a killed run may have left in it."""
    mounted = False
    if os.geteuid() == 0 and not (_BINFMT / "register").exists():
        done = subprocess.run(
            ["/bin/mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT],
            capture_output=True,
            check=False,
        )
        mounted = done.returncode == 0
    if not os.access(_BINFMT / "register", os.W_OK) or os.geteuid() != 0:
        missing("root and a kernel with binfmt_misc (CONFIG_BINFMT_MISC, and the right to mount)")
    try:
        if _ENTRY.exists():
            _ENTRY.write_text("-1")
        yield
    finally:
        if mounted:
            subprocess.run(["/bin/umount", _BINFMT], check=True)


def _driver(folder: Path) -> str:
    """Overlays do not lie upon overlays, where containers run tests."""
    names = ("lower", "upper", "work", "merged")
    parts = {name: folder / "probe" / name for name in names}
    for part in parts.values():
        part.mkdir(parents=True)
    options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(parts["merged"])]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode == 0:
        subprocess.run(["umount", str(parts["merged"])], check=True)
    return "overlay" if done.returncode == 0 else "vfs"


# --- daemons ---


def _newer(root: Path, **settings: object) -> contextlib.AbstractContextManager[DockerEngine]:
    return _daemon(
        f"{root}/usr/sbin:{root}/usr/bin",
        {"features": {"containerd-snapshotter": True}, **settings},
        plugin=root / "usr/libexec/docker/cli-plugins/docker-buildx",
    )


@contextmanager
def _daemon(
    programs: str, settings: Mapping[str, object], *, plugin: Path | None
) -> Iterator[DockerEngine]:
    """Run a dockerd without networks of its own: RUN has the machine's, or none."""
    with _short_folder() as folder:
        variables = {"PATH": f"{programs}:{os.environ['PATH']}"}
        without_networks = {"bridge": "none", "iptables": False, "ip6tables": False}
        (folder / "daemon.json").write_text(json.dumps({**without_networks, **settings}))
        host = f"unix://{folder}/docker.sock"
        argv = (
            *("dockerd", "--config-file", folder / "daemon.json", "--host", host),
            *("--data-root", folder / "data", "--exec-root", folder / "exec"),
            *("--pidfile", folder / "pid"),
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["/usr/bin/env", *argv],  # finds it by the child's PATH, unlike Popen
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**variables, "HOME": str(folder), "OTEL_SDK_DISABLED": "true"},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        try:
            env = {**variables, "DOCKER_HOST": host, "DOCKER_CONFIG": str(folder / "config")}
            _make_config(folder / "config", plugin)
            engine = DockerEngine(host=host, env=env, folder=folder, pid=process.pid)
            _wait_until_it_answers(process, engine)
            yield engine
        finally:
            _end(process)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_SIGTERM_AT_PARENTS_DEATH, signal.SIGTERM)


def _make_config(folder: Path, plugin: Path | None) -> None:
    (folder / "cli-plugins").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if plugin is not None:
        (folder / "cli-plugins" / "docker-buildx").symlink_to(plugin)


def _wait_until_it_answers(process: subprocess.Popen[bytes], engine: DockerEngine) -> None:
    for _ in range(_SECONDS * 20):
        with contextlib.suppress(OSError):
            if engine.api("GET", "/_ping") == b"OK":
                return
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"dockerd did not start; its log ends:\n{engine.log}", pytrace=False)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- what engines leave ---


@contextmanager
def _short_folder() -> Iterator[Path]:
    """A folder whose sockets' paths stay below 108 bytes; nothing lives or is mounted in it after.

    Not pytest's: those are kept, and hold too long a name.
    """
    folder = Path(tempfile.mkdtemp(prefix="bp-", dir="/tmp"))
    try:
        yield folder
    finally:
        for pid in _living_in(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for point in reversed(_mounts_below(folder)):
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _living_in(folder: Path) -> tuple[int, ...]:
    """Shims, whose command line names the folder, and what they run, whose root lies in it.

    Of processes with mounts of their own only the root tells: they may have inherited the others.
    """
    needle = f"{folder}/"
    ours = Path("/proc/self/ns/mnt").stat().st_ino
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "ns" / "mnt").stat().st_ino != ours:
                lines = (entry / "mountinfo").read_text(errors="replace").splitlines()
                text = " ".join(line for line in lines if line.split()[4] == "/")
            else:
                text = (entry / "cmdline").read_text(errors="replace")
            if needle in text and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return tuple(found)


def _mounts_below(folder: Path) -> list[str]:
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point.startswith(f"{folder}/")]
