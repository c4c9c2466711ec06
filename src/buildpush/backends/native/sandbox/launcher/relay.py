"""An SSH agent's socket, offered again under another owner: connections are passed on."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
from typing import NoReturn

from . import syscalls

_BUFFER = 1 << 16


def start_relay(agent: str, place: str) -> int:
    """Listen at the new socket *place* and pass every connection on to *agent*; the child's pid.

    The child that does so ends with its parent.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder, name = os.path.split(place)
    handle = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Not by its path, which may be longer than the 107 bytes that fit a socket's address.
        listener.bind(f"/proc/self/fd/{handle}/{name}")
    finally:
        os.close(handle)
    listener.listen(16)
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            serve(listener, agent)
        finally:
            os._exit(1)
    listener.close()
    return pid


def serve(listener: socket.socket, agent: str) -> NoReturn:
    """Pass connections of *listener* on to the socket *agent*, for ever."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        turn(selector, listener, agent)


def turn(selector: selectors.BaseSelector, listener: socket.socket, agent: str) -> None:
    """Wait until somebody has something to say, and see to everybody who has."""
    for key, _ in selector.select():
        if key.fileobj is listener:
            accept(selector, listener, agent)
            continue
        one, other = key.fileobj, key.data
        assert isinstance(one, socket.socket) and isinstance(other, socket.socket)
        if not pass_on(one, other):
            for end in (one, other):
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(end)
                end.close()


def accept(selector: selectors.BaseSelector, listener: socket.socket, agent: str) -> None:
    """Take one connection of *listener* and join it to a new one to *agent*."""
    client, _ = listener.accept()
    upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        handle = os.open(agent, os.O_PATH | os.O_CLOEXEC)
        try:
            upstream.connect(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
    except OSError:  # the agent has gone: the client sees its connection closed
        upstream.close()
        client.close()
        return
    selector.register(client, selectors.EVENT_READ, upstream)
    selector.register(upstream, selectors.EVENT_READ, client)


def pass_on(source: socket.socket, target: socket.socket) -> bool:
    """Move what *source* has to *target*; False when either side has closed."""
    if source.fileno() < 0 or target.fileno() < 0:
        return True
    try:
        data = source.recv(_BUFFER)
        target.sendall(data)
    except OSError:
        return False
    return bool(data)
