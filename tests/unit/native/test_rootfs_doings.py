"""The launcher's doings that need no rights: copies, relayed sockets, told failures, its front door."""

from __future__ import annotations

import errno
import io
import os
import selectors
import socket
import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest

from buildpush.backends.native.sandbox.launcher import (
    copying,
    front,
    main,
    relay,
    wire,
)


def test_copies_keep_modes_times_and_links(tmp_path: Path) -> None:
    """And leave out the folder they are written to."""
    source = tmp_path / "source"
    (source / "in").mkdir(parents=True)
    (source / "in" / "f").write_text("x")
    (source / "in" / "f").chmod(0o640)
    (source / "in" / "l").symlink_to("/nowhere")
    os.mkfifo(source / "p")
    os.utime(source / "in", ns=(0, 5))

    copying.copy_tree(str(source), str(source / "copy"), without=str(source / "copy"))

    copy = source / "copy"
    assert sorted(str(p.relative_to(copy)) for p in copy.rglob("*")) == ["in", "in/f", "in/l"]
    assert stat.S_IMODE((copy / "in" / "f").stat().st_mode) == 0o640
    assert (copy / "in").stat().st_mtime_ns == 5


def test_a_move_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    """Only another file system calls for a copy."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "full").mkdir(parents=True)

    with pytest.raises(OSError, match="not empty"):
        copying.move(str(tmp_path / "a"), str(tmp_path / "b"))


def test_a_move_to_another_file_system_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a removal."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("x")

    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", refuse)
    copying.move(str(tmp_path / "a"), str(tmp_path / "b"))

    assert (tmp_path / "b" / "f").read_text() == "x"
    assert not (tmp_path / "a").exists()


def test_an_agents_connections_are_relayed(tmp_path: Path) -> None:
    """Both ways, and closed on both ends; a dead agent closes the client's."""
    selector = selectors.DefaultSelector()
    with (
        socket.socket(socket.AF_UNIX) as agent,
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as client,
        socket.socket(socket.AF_UNIX) as late,
    ):
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        listener.bind(str(tmp_path / "relay"))
        listener.listen()
        selector.register(listener, selectors.EVENT_READ)

        client.connect(str(tmp_path / "relay"))
        client.sendall(b"sign")
        relay.turn(selector, listener, str(tmp_path / "agent"))
        upstream, _ = agent.accept()
        with upstream:
            relay.turn(selector, listener, "")
            asked = upstream.recv(10)
            upstream.sendall(b"signed")
            relay.turn(selector, listener, "")
            answered = client.recv(10)
        relay.turn(selector, listener, "")
        ended = client.recv(10)
        late.connect(str(tmp_path / "relay"))
        relay.turn(selector, listener, str(tmp_path / "gone"))
        refused = late.recv(10)
    selector.close()

    assert (asked, answered, ended, refused) == (b"sign", b"signed", b"", b"")


def test_relaying_to_a_closed_socket_ends_quietly(tmp_path: Path) -> None:
    """Another event of the same turn may have closed it."""
    one, other = socket.socketpair()
    other.close()
    with one:
        assert relay.pass_on(one, other) is True
    left, right = socket.socketpair()
    with left, right:
        right.sendall(b"x")
        left.shutdown(socket.SHUT_WR)
        third, fourth = socket.socketpair()
        fourth.close()
        with third:
            assert relay.pass_on(left, third) is False


def _session(task: object, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """What carrying out *task* returns and says."""
    reader, writer = os.pipe()
    monkeypatch.setitem(main._TASKS, "run", task)  # type: ignore[arg-type]
    job = {"task": "run", "rung": "namespaces", "work": "/nowhere", "overlay": True}
    code = main.carry_out(main.Session(job, io.BytesIO(), writer, -1))
    os.close(writer)
    with os.fdopen(reader) as said:
        return code, said.read()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (wire.SetUpError("no user"), 1, '{"error": "no user"}\n'),
        (OSError(2, "No such file", "/x"), 1, '{"error": "No such file: /x"}\n'),
        (OSError("plain"), 1, '{"error": "plain"}\n'),
        (EOFError(), 1, ""),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
        (None, 0, ""),
    ],
)
def test_what_stops_a_job_is_told(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, code: int, said: str
) -> None:
    """Unless nobody is left to tell."""

    def task(session: object) -> None:
        if error is not None:
            raise error

    assert _session(task, monkeypatch) == (code, said)


def test_the_front_door_loads_nothing_of_the_packages_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stand-ins lead to the same folders."""
    modules = front.stand_ins(str(Path(front.__file__).parent))
    called: list[tuple[int, int]] = []
    for name in modules:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    monkeypatch.setattr(sys, "argv", ["front.py", "3", "4"])
    monkeypatch.setattr(main, "main", lambda control, out: called.append((control, out)))

    front.launch()

    assert called == [(3, 4)]
    assert (Path(modules["buildpush.oci"].__path__[0]) / "tar.py").is_file()
    assert all(isinstance(module, ModuleType) for module in modules.values())
