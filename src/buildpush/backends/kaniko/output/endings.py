"""Failures that the Dockerfile is not to blame for: memory, disk, signals, permissions, flags."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import Final

from ....errors import (
    BackendUnavailableError,
    BuildError,
    BuildpushError,
    DiskFullError,
    OutOfMemoryError,
    PlanError,
)
from .account import EXIT, NO_ROOM, REMOTE, ROOM, SIGNAL, Failure

__all__ = ["disk_full", "out_of_memory", "stopped", "unable_to_work", "unknown_argument"]

_MEMORY: Final = (
    "give it more memory: RUN and kaniko share it, and kaniko needs less with"
    ' KanikoOptions(compressed_caching=False, snapshot_mode="redo")'
)
_KILLED: Final = 137
_MIB: Final = 1 << 20
_OWN: Final = re.compile(
    r"(?:/kaniko\S*|\s/\S*): (permission denied|operation not permitted|read-only file system)"
)
_FLAG: Final = re.compile(r"unknown (?:shorthand )?flag: (?:'\w' in )?(-[\w-]+)")
_BAD_FLAG: Final = re.compile(r"invalid argument (\".*?\") for \"(?:-\w, )?(--[\w-]+)\"")


def out_of_memory(failure: Failure) -> Iterator[BuildpushError]:
    """Something was killed for want of memory: the executor itself, or a command of RUN."""
    ending, code = failure.ending, EXIT.search(failure.text)
    ended = SIGNAL.search(failure.text)
    killed = (ended is not None and ended[1] == "killed") or (
        code is not None and int(code[1]) == _KILLED
    )
    if not killed and ending.cause != "out of memory":
        return
    if ending.cause == "out of memory":
        limit = "" if ending.limit is None else f", with a limit of {ending.limit / _MIB:.0f} MiB"
        message = f"{failure.what}: out of memory{limit}"
    else:
        message = f"{failure.what}: it was killed, most likely for want of memory"
    number = int(code[1]) if code is not None else -signal.SIGKILL
    ran = failure.ran(number) if failure.text else failure.command()
    error = OutOfMemoryError(
        failure.redact(message), evidence=(*failure.source(), ran), hint=_MEMORY
    )
    error.limit = ending.limit
    yield error


def stopped(failure: Failure) -> Iterator[BuildpushError]:
    """Somebody ended the executor: it says nothing then, and as PID 1 ends with code 2."""
    code = failure.ending.exit_code
    if failure.text:
        return
    if code in (_KILLED, -9):
        yield failure.error(
            BuildError,
            "kaniko was killed",
            hint="not by buildpush; the kernel does so when memory runs out",
        )
    elif code in (2, 130, 143, -2, -15):
        yield failure.error(
            BuildError,
            "kaniko was stopped by a signal",
            hint="not by buildpush: did somebody stop the container, or a cluster its pod?",
        )


def disk_full(failure: Failure) -> Iterator[BuildpushError]:
    """No room where kaniko works: its container's file system, /kaniko, or where it exports to."""
    if NO_ROOM.search(failure.text):
        message = f"{failure.what}: the disk is full: {failure.text}"
        yield failure.error(DiskFullError, message, hint=ROOM)


def unable_to_work(failure: Failure) -> Iterator[BuildpushError]:
    """Not where kaniko can work: no container, no root, a file system that is read-only."""
    if "should only be run inside of a container" in failure.text:
        yield failure.error(
            BackendUnavailableError,
            "kaniko does not believe that it is in a container, and refuses to work",
            hint="it would overwrite the whole file system: run it by docker, podman or a cluster",
            evidence=(failure.command(),),
        )
        return
    found = _OWN.search(failure.text)
    if found and not REMOTE.search(failure.text):
        what = f"kaniko may not do what it must: {failure.text}"
        hint = "kaniko needs to be root in its container, with the usual capabilities"
        if failure.request.run_as_user is not None:
            hint += f": leave run_as_user ({failure.request.run_as_user}) out"
        elif found[1] == "read-only file system":
            hint += ": no read-only root file system"
        else:
            hint += ": does the pod or the engine take them away, or run it as another user?"
        yield failure.error(BackendUnavailableError, what, hint=hint)


def unknown_argument(failure: Failure) -> Iterator[BuildpushError]:
    """An argument that this executor does not know, or does not like."""
    unknown, bad = _FLAG.search(failure.text), _BAD_FLAG.search(failure.text)
    if unknown:
        yield failure.error(
            PlanError,
            f"this executor does not know {unknown[1]}: is it of another flavor or version?",
            hint="name the flavor and the version in the image's tag, or leave that option out",
            evidence=(failure.command(),),
        )
    elif bad:
        message = f"this executor does not accept {bad[1]} for {bad[2]}"
        yield failure.error(PlanError, message, evidence=(failure.command(),))
