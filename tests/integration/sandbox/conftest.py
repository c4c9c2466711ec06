"""A bench to run commands on: a busybox layer, sandboxes on each rung, differences as values."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import Factory, define, field

from buildpush.backends.native.sandbox import launching
from buildpush.backends.native.sandbox.launcher import main, syscalls
from buildpush.backends.native.sandbox.rootfs import LayerFile, Rung, RunJob, Sandbox
from buildpush.oci import Digest
from buildpush.runtime import CancelToken, Environment

TAR = "application/vnd.oci.image.layer.v1.tar"
_PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
_GROUP = "root:x:0:\napp:x:1000:\nextra:x:1001:app\n"
_MTIME = 1_600_000_000


class LayerMaker:
    """Writes one layer's tar, entry by entry."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(
        self,
        name: str,
        body: bytes | None = None,
        *,
        kind: bytes | None = None,
        mode: int = 0o755,
        owner: tuple[int, int] = (0, 0),
        link: str = "",
        device: tuple[int, int] = (0, 0),
        xattrs: Mapping[str, str] | None = None,
    ) -> LayerMaker:
        info = tarfile.TarInfo(name)
        info.type = kind or (tarfile.DIRTYPE if body is None else tarfile.REGTYPE)
        info.mode, info.size, info.mtime = mode, len(body or b""), _MTIME
        info.uid, info.gid = owner
        info.linkname = link
        info.devmajor, info.devminor = device
        info.pax_headers = {f"SCHILY.xattr.{k}": v for k, v in (xattrs or {}).items()}
        self._tar.addfile(info, io.BytesIO(body or b""))
        return self

    def symlink(self, name: str, target: str) -> LayerMaker:
        return self.add(name, kind=tarfile.SYMTYPE, mode=0o777, link=target)

    def done(self, *, claim: str = "") -> LayerFile:
        self._tar.close()
        digest = claim or f"sha256:{hashlib.sha256(self._path.read_bytes()).hexdigest()}"
        return LayerFile(diff_id=Digest(digest), path=self._path, media_type=TAR)


@define
class Outcome:
    """What came of a command; *tar* is its difference."""

    code: int
    stdout: list[str] = Factory(list[str])
    stderr: list[str] = Factory(list[str])
    tar: bytes = b""

    @property
    def entries(self) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as archive:
            return {entry.name: entry for entry in archive}

    @property
    def names(self) -> list[str]:
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as archive:
            return archive.getnames()

    @property
    def listing(self) -> list[str]:
        """A line per entry: kind, mode, owner, name and what it links to."""
        kinds = {b"0": "file", b"1": "link", b"2": "sym", b"3": "char", b"5": "dir", b"6": "fifo"}
        return [
            f"{kinds[e.type]} {e.mode:o} {e.uid}:{e.gid} {e.name}{e.linkname and ' -> '}{e.linkname}"
            for e in self.entries.values()
        ]

    def content(self, name: str) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as archive:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()


@define
class Bench:
    """Runs commands in *layers* on one sandbox."""

    sandbox: Sandbox
    folder: Path
    layers: tuple[LayerFile, ...]
    cancel: CancelToken = field(factory=CancelToken)
    _numbers: Iterator[int] = field(factory=itertools.count)

    def sh(self, script: str, **job: object) -> Outcome:
        return self.run(("/bin/sh", "-c", script), **job)

    def run(self, argv: Sequence[str], **job: object) -> Outcome:
        outcome = Outcome(-1)
        chunks: list[bytes] = []
        work = self.folder / f"work-{next(self._numbers)}"
        work.mkdir(mode=0o700)
        try:
            outcome.code = self.sandbox.run(
                RunJob(argv=tuple(argv), **job),  # type: ignore[arg-type]
                layers=self.layers,
                layers_root=self.folder / "layers",
                work=work,
                on_line=lambda stream, line: getattr(outcome, stream).append(line),
                sink=chunks.append,
                cancel=self.cancel,
            )
        finally:
            self.sandbox.remove(work)
        outcome.tar = b"".join(chunks)
        return outcome


@pytest.fixture
def environment() -> Environment:
    return Environment.current()


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], None]) -> LayerFile:
    """A layer with busybox, its applets, some folders, and the users root and app (1000)."""
    found = shutil.which("busybox")
    if found is None:
        missing("busybox-static (sh tests/provision.sh)")
    program = str(found)
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True)
    maker = LayerMaker(tmp_path_factory.mktemp("busybox") / "layer.tar")
    for name in ("bin", "dev", "etc", "home", "proc", "srv", "srv/old", "sys"):
        maker.add(name)
    maker.add("tmp", mode=0o1777).add("root", mode=0o700).add("home/app", owner=(1000, 1000))
    maker.add("bin/busybox", Path(program).read_bytes())
    for applet in sorted(set(applets.stdout.split()) - {"busybox"}):
        maker.symlink(f"bin/{applet}", "busybox")
    maker.add("etc/passwd", _PASSWD.encode(), mode=0o644)
    maker.add("etc/group", _GROUP.encode(), mode=0o644)
    for name in ("a", "b", "c"):
        maker.add(f"srv/{name}", f"this is {name}\n".encode(), mode=0o644)
    for name in ("one", "two"):
        maker.add(f"srv/old/{name}", name.encode(), mode=0o644)
    return maker.done()


@pytest.fixture
def folder(_clean_environment: None) -> Iterator[Path]:
    """A folder on the file system that builds use, gone afterwards."""
    cache = Environment.current().cache
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=cache))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def layer(tmp_path: Path) -> Callable[[], LayerMaker]:
    """A new layer to fill."""
    numbers = itertools.count()
    return lambda: LayerMaker(tmp_path / f"layer-{next(numbers)}.tar")


@pytest.fixture
def bench(environment: Environment, folder: Path, busybox: LayerFile) -> Bench:
    """Overlays and namespaces, as root."""
    return Bench(Sandbox.at(Rung.NAMESPACES, environment), folder, (busybox,))


@pytest.fixture(params=["overlay", "copy", "chroot"])
def any_bench(
    request: pytest.FixtureRequest, environment: Environment, folder: Path, busybox: LayerFile
) -> Bench:
    """Each way in which root can run a command."""
    match request.param:
        case "overlay":
            sandbox = Sandbox.at(Rung.NAMESPACES, environment)
        case "copy":
            sandbox = Sandbox.at(Rung.NAMESPACES, environment, overlay=False)
        case _:
            sandbox = Sandbox.at(Rung.CHROOT, environment)
    return Bench(sandbox, folder, (busybox,))


# --- under coverage, a fresh interpreter tells nothing: there the launcher is a fork of this one


class _Forked:
    """The part of `subprocess.Popen` that a launch uses, for a fork."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        with suppress(ProcessLookupError):
            opened = os.pidfd_open(self.pid)
            import select

            ready = select.select([opened], [], [], timeout)[0]
            os.close(opened)
            if not ready:
                raise subprocess.TimeoutExpired("launcher", timeout)
        code = self.poll()
        assert code is not None
        return code

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _keep_measuring() -> None:
    """Have this fork's measurements saved before it ends, or loses sight of their file."""
    import coverage

    measured = coverage.Coverage.current()
    if measured is None:
        return

    def saving(call: Callable[..., object]) -> Callable[..., object]:
        def save_and_call(*arguments: object) -> object:
            with suppress(Exception):  # where the data file cannot be seen or written any more
                measured.save()
            return call(*arguments)

        return save_and_call

    for module, name in ((os, "_exit"), (os, "chroot"), (syscalls, "pivot_root"), (os, "execve")):
        setattr(module, name, saving(getattr(module, name)))


@pytest.fixture
def forked() -> Callable[[Callable[[], object]], tuple[int, str]]:
    """Call something in a fork of this process; its exit code, and what it wrote or returned."""

    def call(body: Callable[[], object]) -> tuple[int, str]:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _keep_measuring()
            os.close(reader)
            os.dup2(writer, 2)
            try:
                os.write(writer, f"{body()}".encode())
            except BaseException as error:  # noqa: BLE001 - a fork must not run on
                os.write(writer, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(99)
        os.close(writer)
        with os.fdopen(reader) as said:
            text = said.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text

    return call


def _be_launcher(argv: Sequence[str], ends: Sequence[int], keep: Sequence[int]) -> None:
    _keep_measuring()
    code = 1
    try:
        os.setsid()
        for number, end in enumerate(ends):
            os.dup2(end, number)
        first = 3
        for fd in (*sorted(keep), 1 << 16):
            os.closerange(first, fd)
            first = fd + 1
        main.main(int(argv[4]), int(argv[5]))
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        os._exit(code)


@contextmanager
def _fork_launcher(
    argv: Sequence[str],
    *,
    cancel: CancelToken,
    env: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    grace: float = 2.0,
) -> Generator[object]:
    cancel.check()
    stdin, stdin_end = os.pipe()
    stdout_end, stdout = os.pipe()
    stderr_end, stderr = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_launcher(argv, (stdin, stdout, stderr), pass_fds)
    for fd in (stdin, stdout, stderr):
        os.close(fd)
    process = _Forked(pid)
    undo = cancel.on_cancel(process.terminate)
    with (
        suppress(BrokenPipeError),
        os.fdopen(stdin_end, "wb") as to,
        os.fdopen(stdout_end, "rb") as out,
        os.fdopen(stderr_end, "rb") as err,
    ):
        try:
            yield launching.Child(process, to, out, err)  # type: ignore[arg-type]
        finally:
            undo()
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    if "coverage" in sys.modules:
        import coverage

        if coverage.Coverage.current() is not None:
            monkeypatch.setattr(launching, "start", _fork_launcher)
