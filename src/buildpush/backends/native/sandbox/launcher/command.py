"""Starting the command and learning how it ended; as process 1 of a namespace, or in a chroot."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import stat
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from . import identity, paths, processes, sources, syscalls, system
from .wire import Job, SetUpError, send

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126


def exit_code(status: int) -> int:
    """A wait status as a shell counts it: 128 and the number for a signal."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def search(program: str, path: str) -> tuple[str, str]:
    """Find *program* by *path* (as PATH is written): where it is, or else why it cannot be run.

    A name with a slash is taken as it is. Prefers a file that may be executed; the reason is
    worded as runc does.
    """
    if "/" in program:
        return program, ""
    denied = False
    for folder in path.split(":"):
        candidate = f"{folder or '.'}/{program}"
        try:
            found = os.stat(candidate)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            if os.access(candidate, os.X_OK):
                return candidate, ""
            denied = True
    if denied:
        return "", f'exec: "{program}": permission denied'
    return "", f'exec: "{program}": executable file not found in $PATH'


def execute(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Become the command; or end with 127 or 126 and say why on stderr, as a shell does."""
    program, fault = search(argv[0], env.get("PATH", ""))
    code = NOT_EXECUTABLE if fault.endswith("denied") else NOT_FOUND
    if program:
        # Python ignores these two; a command expects to die of them.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        try:
            os.execve(program, list(argv), dict(env))
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            code = NOT_FOUND if missing else NOT_EXECUTABLE
            fault = f'exec: "{program}": {(error.strerror or "failed").lower()}'
    os.write(2, f"{fault}\n".encode(errors="surrogateescape"))
    os._exit(code)


def in_namespaces(job: Job, root: str, tray: str, mounts: Sequence[Job], control: int) -> int:
    """Run the job's command as a child of process 1 of a new pid namespace; its exit code.

    *control* hears the pid of that process 1, with which everything in the namespace ends.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _guarded(writer, lambda: _be_init(job, root, tray, mounts, writer))
    os.close(writer)
    send(control, init=pid)
    return _outcome(reader, pid)


def _outcome(reader: int, pid: int) -> int:
    """What a child reported through *reader*; once this returns, it and its kin are gone."""
    with open(reader, encoding="utf-8", errors="replace") as file:
        report = file.read()
    _, status = os.waitpid(pid, 0)
    word, _, rest = report.partition(" ")
    if word == "exit":
        return int(rest)
    if word == "error":
        raise SetUpError(rest)
    code = exit_code(status)
    raise SetUpError(f"the sandbox's first process ended early with code {code}")


def _guarded(writer: int, body: Callable[[], None]) -> NoReturn:
    """Call *body* in a forked child: whatever it raises is reported, and nothing returns."""
    try:
        body()
    except SetUpError as error:
        os.write(writer, f"error {error}".encode(errors="surrogateescape"))
    except OSError as error:
        os.write(writer, f"error {error.args[-1]}".encode(errors="surrogateescape"))
    except BaseException:  # noqa: BLE001 - a fork must never run on into its parent's code
        traceback.print_exc()
    finally:
        os._exit(1)


def _be_init(job: Job, root: str, tray: str, mounts: Sequence[Job], writer: int) -> None:
    syscalls.die_with_parent(signal.SIGKILL)
    _die_if_orphaned(writer)
    if job["network"] == "none":
        syscalls.raise_loopback()
    sources.start_agents(mounts)  # while this process still sees where the agents are
    syscalls.unshare(syscalls.CLONE_NEWNS)
    system.build(root, tray, mounts, job.get("shm_size"))
    syscalls.pivot_root(root)
    socket.sethostname(job["hostname"])
    child = _start(job, own_session=True)
    status = 0
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    _report(writer, status)
    os._exit(0)  # and with process 1 goes whatever the command left running


def _die_if_orphaned(writer: int) -> None:
    """End if the parent ended before the kernel was told to send its death."""
    poll = select.poll()
    poll.register(writer, 0)
    if poll.poll(0):
        os._exit(1)


def _report(writer: int, status: int) -> None:
    with contextlib.suppress(OSError):
        os.write(writer, f"exit {exit_code(status)}".encode())


def in_chroot(job: Job, root: str) -> int:
    """Run the job's command with *root* as its root and nothing else to hold it; its exit code.

    Everything it leaves running is killed before this returns.
    """
    reader, writer = os.pipe()
    syscalls.adopt_orphans()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _guarded(writer, lambda: _enter_chroot(job, root, writer))
    os.close(writer)
    try:
        return _outcome(reader, pid)
    finally:
        processes.end_all(root)


def _enter_chroot(job: Job, root: str, writer: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the launcher's own handler is not for a fork
    syscalls.die_with_parent(signal.SIGKILL)
    _die_if_orphaned(writer)
    os.chroot(root)
    os.chdir("/")
    child = _start(job, own_session=False)
    _, status = os.waitpid(child, 0)
    _report(writer, status)
    os._exit(0)


def _start(job: Job, *, own_session: bool) -> int:
    """Fork the command's process. The root is the image's by now. Returns its pid."""
    someone = identity.of_root(job["user"], "")
    workdir = job["workdir"] or "/"
    _make_workdir(workdir, someone)
    ready, go = os.pipe()
    pid = os.fork()
    if pid:
        os.close(go)
        with open(ready, encoding="utf-8", errors="replace") as file:
            fault = file.read()
        if fault:
            raise SetUpError(fault)
        return pid
    try:
        if own_session:
            os.setsid()
        os.umask(0o022)
        syscalls.leave_keyring()
        identity.limit([(row[0], row[1], row[2]) for row in job.get("ulimits", ())])
        identity.become(someone)
        if not own_session:
            syscalls.die_with_parent(signal.SIGKILL)
        os.chdir(workdir)
    except (SetUpError, OSError) as error:
        os.write(go, str(error.args[-1]).encode(errors="surrogateescape"))
        os._exit(1)
    execute(job["argv"], identity.surroundings(job["env"], someone))


def _make_workdir(workdir: str, someone: identity.Identity) -> None:
    """Make the working directory if an earlier command removed it, as BuildKit does."""
    done: list[str] = []
    for name in paths.resolve("", workdir):
        done.append(name)
        path = paths.join("", done)
        if paths.lstat(path) is None:
            os.mkdir(path, 0o755)
            os.chown(path, someone.uid, someone.gid)
