"""Entering namespaces: with root's rights, or in a user namespace with subordinate ids."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Final, NoReturn

from . import syscalls
from .wire import Job, SetUpError

_PRIVATE: Final = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
)


def enter(rung: str, ids: Job | None, *, network: bool) -> None:
    """Leave the host's namespaces as *rung* (``namespaces`` or ``rootless``) can.

    With *network*, the host's network namespace too. Processes started from now on are in a pid
    namespace of their own. Raises `SetUpError` with the call that was refused.
    """
    try:
        if rung == "rootless":
            _enter_user_namespace(ids or {})
        syscalls.unshare(_PRIVATE | (syscalls.CLONE_NEWNET if network else 0))
        # Nothing that is mounted from here on may be seen outside, and the reverse.
        syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    except OSError as error:
        raise SetUpError(str(error.args[-1])) from error


def _enter_user_namespace(ids: Job) -> None:
    """Become root of a new user namespace that *ids* is mapped into.

    A process cannot map ids for itself, so a child stays outside and does it.
    """
    me = os.getpid()
    go, ready = os.pipe()
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        _map_and_exit(me, ids, go, answer)
    os.close(go)
    os.close(answer)
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        os.write(ready, b"!")
    finally:
        os.close(ready)
        with open(answers, encoding="utf-8", errors="replace") as file:
            fault = file.read().strip()
        os.waitpid(child, 0)
    if fault:
        raise SetUpError(fault)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    syscalls.die_with_parent(signal.SIGKILL)


def _map_and_exit(pid: int, ids: Job, go: int, answer: int) -> NoReturn:
    fault = ""
    try:
        if os.read(go, 1):
            for name in ("uid", "gid"):
                _map(pid, name, ids[name], ids.get("programs", {}).get(name, ""))
    except (OSError, SetUpError) as error:
        fault = str(error)
    finally:
        os.write(answer, fault.encode())
        os._exit(0)


def _map(pid: int, name: str, ranges: Sequence[Sequence[int]], program: str) -> None:
    """Map *ranges* (inside, outside, count) of *pid*'s user namespace, by *program* if given."""
    if not program:
        text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges)
        with open(f"/proc/{pid}/{name}_map", "w", encoding="ascii") as file:
            file.write(text)
        return
    argv = [program, str(pid), *(str(number) for row in ranges for number in row)]
    said, say = os.pipe()
    child = os.posix_spawn(
        program,
        argv,
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, say, 1), (os.POSIX_SPAWN_DUP2, say, 2)],
    )
    os.close(say)
    with open(said, encoding="utf-8", errors="replace") as file:
        text = file.read().strip()
    _, status = os.waitpid(child, 0)
    if status:
        raise SetUpError(f"{program}: {text or f'exit code {os.waitstatus_to_exitcode(status)}'}")
