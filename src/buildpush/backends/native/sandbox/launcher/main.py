"""What the launcher does with a job: try what is possible, run a command, remove trees."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import IO, NoReturn, cast

from . import (
    command,
    difference,
    emulate,
    layers,
    namespaces,
    overlay,
    paths,
    sources,
    stubs,
    syscalls,
    system,
)
from .unpack import Style, Unpacker
from .wire import FramedReader, Job, NotOverlayError, SetUpError, read_frame, send, write_each

_DEPTH = 20_000  # generators that walk directories nest as deep as those do


class Session:
    """One job: where its messages go, where its layers come from, which folders are its own."""

    def __init__(self, job: Job, stream: IO[bytes], control: int, out: int) -> None:
        self.job = job
        self.control = control
        self.out = out
        self.work: str = os.path.realpath(job["work"]) + "/sandbox"
        self.style: Style = "trusted" if job["rung"] == "namespaces" else "user"
        if job["rung"] == "chroot":
            self.style = "plain"
        self._stream = stream
        self._layer: FramedReader | None = None

    def fetch(self, diff_id: str) -> IO[bytes]:
        """Ask the parent for a layer and return its uncompressed tar."""
        if self._layer is not None:
            self._layer.drain()
        send(self.control, want=diff_id)
        self._layer = FramedReader(self._stream)
        return cast("IO[bytes]", self._layer)

    def stack(self, folder: str, diff_ids: Sequence[str]) -> tuple[str, list[str] | None]:
        """Show *diff_ids* as one writable tree in *folder*, by an overlay unless there is none.

        Returns its path and the overlay's lower directories, None for a plain copy.
        """
        if self.style != "plain" and self.job["overlay"]:
            try:
                return self._overlay(folder, diff_ids)
            except NotOverlayError as error:
                send(self.control, note=f"a plain copy instead of an overlay: {error}")
                paths.remove_tree(folder)
        root = f"{folder}/plain"
        os.makedirs(root)
        os.chmod(root, 0o755)
        with Unpacker(root, "plain") as unpacker:
            for diff_id in diff_ids:
                unpacker.apply(self.fetch(diff_id), diff_id)
        return root, None

    def _overlay(self, folder: str, diff_ids: Sequence[str]) -> tuple[str, list[str]]:
        root: str = os.path.realpath(self.job["layers_root"])
        found = [
            layers.unpacked(diff_id, root, self.work, self.style, self.fetch)
            for diff_id in diff_ids
        ]
        return overlay.stack(folder, found, self.style, writable=True)


def run(session: Session) -> None:
    """Run the job's command and, if it succeeds, write the difference to the job's pipe."""
    job = session.job
    chroot = job["rung"] == "chroot"
    if not chroot:
        namespaces.enter(job["rung"], job.get("ids"), network=job["network"] == "none")
    os.makedirs(f"{session.work}/tray")
    tray = f"{session.work}/tray"
    if not chroot:
        # Memory that nobody outside can see: secrets never reach a disk.
        syscalls.mount("tray", tray, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755")
    system.fill_tray(tray, job["hostname"], job.get("add_hosts", ()))
    root, lower = session.stack(f"{session.work}/root", job["layers"])
    mounts = [
        sources.prepare(
            mount,
            f"{session.work}/mount-{number}",
            tray,
            session.style,
            lambda folder, diff_ids: session.stack(folder, diff_ids)[0],
        )
        for number, mount in enumerate(job["mounts"])
    ]
    if chroot:
        code, before = _run_chroot(session, root, tray, mounts)
    else:
        before = difference.remember(root) if lower is None else {}
        code = _run_namespaces(session, root, tray, mounts)
    send(session.control, exit=code)
    if code == 0:
        _write_difference(session, root, lower, before)
    _clear(session)
    send(session.control, done=True)


def _clear(session: Session) -> None:
    """Remove the job's own folder now, while its files' owners are mapped."""
    system.unmount_below(session.work)
    if not system.mounted_below(session.work):
        paths.remove_tree(session.work)


def _run_namespaces(session: Session, root: str, tray: str, mounts: Sequence[Job]) -> int:
    made = stubs.Stubs(root)
    for point, shape in system.mount_points(mounts):
        made.provide(point, shape, keep=point in system.ESSENTIAL)
    try:
        return command.in_namespaces(session.job, root, tray, mounts, session.control)
    finally:
        made.remove()


def _run_chroot(
    session: Session, root: str, tray: str, mounts: Sequence[Job]
) -> tuple[int, difference.Walk]:
    if session.job["network"] == "none":
        raise SetUpError("a network of its own needs namespaces, which are not to be had here")
    before = difference.remember(root)
    swaps = emulate.Swaps(root, session.work)
    # A polite end puts the caches back; after SIGKILL the parent sweeps what is left.
    signal.signal(signal.SIGTERM, _leave)
    try:
        sources.start_agents(mounts)
        emulate.furnish(swaps, tray, mounts)
        return command.in_chroot(session.job, root), before
    finally:
        swaps.undo(before)
        shutil.rmtree(tray, ignore_errors=True)


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(1)


def _write_difference(
    session: Session, root: str, lower: Sequence[str] | None, before: difference.Walk
) -> None:
    if lower is None:
        changes = list(difference.walked_changes(root, before))
    else:
        base = overlay.base_view(f"{session.work}/base", lower, session.style)
        root = f"{os.path.dirname(root)}/upper"
        changes = list(difference.overlay_changes(root, base))
    latest = session.job.get("latest")
    write_each(session.out, difference.write(root, changes, latest=latest))
    os.close(session.out)


def probe(session: Session) -> None:
    """Try the job's rung for real and report whether overlays work there."""
    job = session.job
    if job["rung"] == "chroot":
        _probe_chroot()
        send(session.control, overlay=False, reason="overlays need a mount namespace")
        return
    namespaces.enter(job["rung"], job.get("ids"), network=False)
    os.makedirs(session.work)
    pid = os.fork()
    if pid == 0:
        os._exit(_try_proc(session.work))
    _, status = os.waitpid(pid, 0)
    if status:
        raise SetUpError("/proc can be neither mounted nor bound")
    reason = overlay.supported(session.work, session.style)
    send(session.control, overlay=not reason, reason=reason)


def _try_proc(work: str) -> int:
    os.mkdir(f"{work}/proc")
    try:
        system.mount_proc(f"{work}/proc")
    except OSError:
        return 1
    return 0


def _probe_chroot() -> None:
    if os.geteuid() != 0:
        raise SetUpError("only root may change its root directory")
    pid = os.fork()
    if pid == 0:
        try:
            os.chroot("/")
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise SetUpError("chroot is refused: CAP_SYS_CHROOT is missing")


def remove(session: Session) -> None:
    """Remove the job's trees, which may belong to any of the mapped ids."""
    if session.job["rung"] == "rootless":
        namespaces.enter("rootless", session.job["ids"], network=False)
    for path in session.job["trees"]:
        paths.remove_tree(path)
    send(session.control, done=True)


_TASKS = {"run": run, "probe": probe, "remove": remove}


def main(control: int, out: int) -> NoReturn:
    """Read a job from stdin, carry it out, and report to the descriptor *control*.

    Ends with 0 when the job was carried out, whatever its command returned.
    """
    syscalls.die_with_parent(signal.SIGKILL)
    sys.setrecursionlimit(_DEPTH)
    for fd in (control, out):
        os.set_inheritable(fd, False)
    with open(os.dup(0), "rb") as stream:
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.umask(0o022)
        import json

        job: Job = json.loads(read_frame(stream))
        code = carry_out(Session(job, stream, control, out))
    sys.exit(code)


def carry_out(session: Session) -> int:
    """Do the session's task; a failure is told on the control pipe. The exit code."""
    try:
        _TASKS[session.job["task"]](session)
    except (SetUpError, NotOverlayError) as error:
        send(session.control, error=str(error))
    except EOFError:
        return 1  # the parent has gone, and so nobody is left to tell
    except OSError as error:
        if error.errno == errno.EPIPE:
            return 1
        # Calls of our own name themselves; Python's name the file.
        where = f": {error.filename}" if error.filename else ""
        send(session.control, error=f"{error.strerror or error.args[-1]}{where}")
    else:
        return 0
    return 1
