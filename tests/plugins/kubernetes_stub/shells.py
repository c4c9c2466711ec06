"""Containers that really run: busybox in a root of their own, with the pod's volumes in it.

``chroot`` in a pid namespace of its own (so that a shell is process 1 and, as in a real container,
ignores a TERM for which it has no trap), entered by ``nsenter`` for exec. A pod's shells share one
root; a volume is a link in it, so what one container writes the other reads. Needs root.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from attrs import define, field

from .output import Output

_APPLETS: Final = (
    *("[", "awk", "basename", "cat", "chgrp", "chmod", "chown", "cksum", "cp", "cut", "date"),
    *("dd", "df", "dirname", "du", "echo", "env", "expr", "false", "find", "grep", "gunzip"),
    *("gzip", "head", "hostname", "id", "kill", "ln", "ls", "md5sum", "mkdir", "mkfifo", "mknod"),
    *("mktemp", "mv", "nc", "od", "printf", "ps", "pwd", "readlink", "rm", "rmdir", "sed", "seq"),
    *("sh", "sha256sum", "sleep", "sort", "stat", "sync", "tail", "tar", "tee", "test", "timeout"),
    *("touch", "tr", "true", "uname", "uniq", "usleep", "wc", "wget", "xargs", "yes", "zcat"),
)
# Those that are started by themselves; a shell that has all of them inside needs no more.
_STARTED: Final = (
    *("cat", "cp", "dd", "echo", "env", "false", "head", "ls", "mkdir", "sh", "sha256sum"),
    *("sleep", "tar", "test", "touch", "true", "wc"),
)
_DEVICES: Final = {"null": (1, 3), "zero": (1, 5), "urandom": (1, 9), "random": (1, 8)}
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHUNK: Final = 1 << 16


def missing() -> str:
    """What is missing here for containers to be run; empty where nothing is."""
    if os.geteuid() != 0:
        return "root (a pod's containers are run by chroot)"
    for program in ("busybox", "unshare", "nsenter", "chroot"):
        if shutil.which(program) is None:
            return f"{program} (sh tests/provision.sh)"
    return ""


@functools.cache
def _is_standalone(program: str) -> bool:
    """Whether its shell runs applets by ``/proc/self/exe``, as Debian's: a pod is made faster."""
    said = subprocess.run([program], capture_output=True, text=True, check=False)
    return "without $PATH search" in said.stdout + said.stderr


@define(eq=False)
class PodRoot:
    """The file system of one pod's containers: *folder* is its ``/``."""

    folder: Path

    def make(self) -> None:
        """Put a busybox there."""
        for name in ("bin", "dev", "etc", "proc", "root", "tmp", "var", ".volumes"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").chmod(0o1777)
        program = Path(shutil.which("busybox") or "/bin/busybox")
        target = self.folder / "bin" / "busybox"
        try:
            os.link(program, target)
        except OSError:
            shutil.copy2(program, target)
        for applet in _STARTED if _is_standalone(str(program)) else _APPLETS:
            (self.folder / "bin" / applet).symlink_to("busybox")
        (self.folder / "proc" / "self").mkdir()
        (self.folder / "proc" / "self" / "exe").symlink_to("/bin/busybox")
        (self.folder / "busybox").symlink_to("bin")
        for name, numbers in _DEVICES.items():
            with contextlib.suppress(OSError):
                os.mknod(self.folder / "dev" / name, 0o020666, os.makedev(*numbers))
        (self.folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (self.folder / "etc" / "group").write_text("root:x:0:\n")

    def volume(self, name: str) -> Path:
        """The folder of a volume."""
        return self.folder / ".volumes" / name

    def mount(self, name: str, path: str, sub_path: str = "") -> None:
        """Have the volume *name* show at *path*."""
        inside = f"/.volumes/{name}{'/' + sub_path if sub_path else ''}"
        place = self.real(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_symlink():
            with contextlib.suppress(OSError):
                place.rmdir()
            place.symlink_to(inside)

    def real(self, path: str) -> Path:
        """Where *path* of the pod lies here: links are followed inside the pod's root."""
        at = self.folder
        for step in Path(path.lstrip("/")).parts:
            at /= step
            for _ in range(8):
                if not at.is_symlink():
                    break
                target = str(at.readlink())
                at = self.folder / target.lstrip("/") if target[0] == "/" else at.parent / target
        return at


@define(eq=False, kw_only=True)
class Process:
    """A program in a pod; *pid* is the one that is process 1 of its container."""

    popen: subprocess.Popen[bytes]
    _threads: list[threading.Thread] = field(factory=list)

    @property
    def pid(self) -> int:
        """The container's first process, as seen from here; 0 when it is gone."""
        pid = self.popen.pid
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return 0

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, and all that it has started."""
        self.signal(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code, as a container's: 137 for one that was killed."""
        code = self.popen.wait()
        for thread in self._threads:
            thread.join()
        return 128 - code if code < 0 else code


def _argv(root: Path, argv: Sequence[str], workdir: str) -> list[str]:
    if workdir:
        argv = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', workdir, *argv]
    return ["chroot", str(root), *argv]


def start(
    root: PodRoot, argv: Sequence[str], env: Mapping[str, str], output: Output, *, workdir: str
) -> Process:
    """Start a container's program; what it writes goes to *output*, which ends with it.

    Raises `FileNotFoundError` for a program that is not there.
    """
    _look_for(root, argv[0])
    popen = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *_argv(root.folder, argv, workdir)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": _PATH, "HOME": "/root", **env},
        start_new_session=True,
    )
    process = Process(popen=popen)
    for name, pipe in (("stdout", popen.stdout), ("stderr", popen.stderr)):
        assert pipe is not None
        thread = threading.Thread(target=_pump, args=(pipe, output, name), daemon=True)
        thread.start()
        process._threads.append(thread)
    deadline = time.monotonic() + 5
    while not process.pid and popen.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)  # until unshare has begun it: only then can it be entered
    return process


def _pump(pipe: IO[bytes], output: Output, name: str) -> None:
    with pipe:
        while data := os.read(pipe.fileno(), CHUNK):
            output.write(data, name)


def execute(
    root: PodRoot, inside: Process, argv: Sequence[str], env: Mapping[str, str], *, stdin: bool
) -> subprocess.Popen[bytes]:
    """Start a program beside a container's first process; raises as `start` does."""
    _look_for(root, argv[0])
    return subprocess.Popen(
        ["nsenter", "--pid", "--target", str(inside.pid), "--", *_argv(root.folder, argv, "")],
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": _PATH, "HOME": "/root", **env},
        start_new_session=True,
        bufsize=0,
    )


def _look_for(root: PodRoot, program: str) -> None:
    places = [program] if "/" in program else [f"{p}/{program}" for p in _PATH.split(":")]
    if not any(os.path.lexists(root.real(place)) for place in places):
        raise FileNotFoundError(program)
