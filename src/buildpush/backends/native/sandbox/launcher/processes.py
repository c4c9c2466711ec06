"""Ending what a command left running, where no pid namespace does it."""

from __future__ import annotations

import contextlib
import os
import signal


def inside(root: str) -> list[int]:
    """The processes whose root directory is *root*, or lies in it."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                place = os.readlink(f"/proc/{name}/root")
                if place == root or place.startswith(root + "/"):
                    found.append(int(name))
    return found


def descendants(pid: int) -> list[int]:
    """The children of *pid*, and theirs, and so on; without *pid* itself."""
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The second field, in brackets, may hold anything.
                    fields = file.read().rpartition(b")")[2].split()
                below.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [pid]
    while todo:
        children = below.get(todo.pop(), [])
        found += children
        todo += children
    return found


def end(pids: list[int]) -> None:
    """Kill *pids*; those that are gone already are fine."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def end_all(root: str) -> None:
    """Kill every process in *root* and every child of this one, until there is none."""
    while True:
        end(inside(root) + descendants(os.getpid()))
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    end(inside(root))
