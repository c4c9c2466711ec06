"""The launcher's pure parts: paths, pipes, mount data, tables, searching programs."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
from pathlib import Path

import pytest

from buildpush.backends.native.sandbox.launcher import (
    command,
    overlay,
    paths,
    processes,
    stubs,
    system,
    wire,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", ["a", "b"]),
        ("./a//b/.", ["a", "b"]),
        ("../../a", ["a"]),
        ("absolute/x", ["etc", "x"]),
        ("relative/x", ["a", "x"]),
        ("climbing/x", ["x"]),
        ("chain", ["etc"]),
        ("missing/../y", ["y"]),
        ("", []),
    ],
)
def test_a_path_never_leaves_its_root(tmp_path: Path, path: str, expected: list[str]) -> None:
    """Links are followed as in a chroot."""
    (tmp_path / "a").mkdir()
    (tmp_path / "absolute").symlink_to("/etc")
    (tmp_path / "relative").symlink_to("a")
    (tmp_path / "climbing").symlink_to("../../../..")
    (tmp_path / "chain").symlink_to("a/../absolute")

    assert paths.resolve(str(tmp_path), path) == expected


def test_the_last_link_of_a_path_is_followed_only_on_request(tmp_path: Path) -> None:
    """Hard links and deletions mean the link itself."""
    (tmp_path / "link").symlink_to("/etc")

    assert paths.resolve(str(tmp_path), "link", follow=False) == ["link"]


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    """The one that the kernel has for it."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(OSError, match="a/x") as caught:
        paths.resolve(str(tmp_path), "a/x")

    assert caught.value.errno == errno.ELOOP


def test_a_name_too_long_is_an_error(tmp_path: Path) -> None:
    """Only what is not there and what is no link are not."""
    with pytest.raises(OSError, match="too long"):
        paths.resolve(str(tmp_path), "x" * 300)


def test_opening_a_directory_refuses_links(tmp_path: Path) -> None:
    """Each step, not only the last."""
    (tmp_path / "real" / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        os.close(paths.open_directory(root, ["real", "in"]))
        with pytest.raises(NotADirectoryError):
            paths.open_directory(root, ["link", "in"])
    finally:
        os.close(root)


def test_trees_are_removed_without_following_links(tmp_path: Path) -> None:
    """Folders that their owner closed to himself included."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "tree" / "closed" / "in").mkdir(parents=True)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "tree" / "closed").chmod(0)

    paths.remove_tree(str(tmp_path / "tree"))
    paths.remove_tree(str(tmp_path / "tree"))
    (tmp_path / "file").touch()
    paths.remove_tree(str(tmp_path / "file"))

    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_frames_come_back_as_one_stream() -> None:
    """Which ends where the empty frame is."""
    pipe = io.BytesIO(
        wire.frame(b"abc") + wire.frame(b"de") + wire.frame(b"") + wire.frame(b"next")
    )
    reader = wire.FramedReader(pipe)

    assert (reader.readable(), reader.read(2), reader.read(), reader.read()) == (
        True,
        b"ab",
        b"cde",
        b"",
    )
    assert wire.read_frame(pipe) == b"next"


def test_a_stream_can_be_drained_and_a_closed_pipe_is_told() -> None:
    """So that what follows is found."""
    pipe = io.BytesIO(
        wire.frame(b"abc") + wire.frame(b"de") + wire.frame(b"") + wire.frame(b"next")
    )
    reader = wire.FramedReader(pipe)
    reader.read(1)

    reader.drain()

    assert (wire.read_frame(pipe), reader.read()) == (b"next", b"")
    with pytest.raises(EOFError):
        wire.read_frame(pipe)


def test_small_chunks_are_written_together() -> None:
    """And large ones at once."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as out:
        thread = threading.Thread(
            target=lambda: (
                wire.write_each(writer, [b"a", b"b" * 300_000, b"c"]),
                os.close(writer),
            )
        )
        thread.start()
        data = out.read()
        thread.join()

    assert data == b"a" + b"b" * 300_000 + b"c"


def test_mount_data_fits_a_page_for_the_most_layers_there_can_be() -> None:
    """And falls back to what older kernels know."""
    first, *_, last = overlay.options(overlay.MAX_LOWER, "user", upper=True)

    assert len(first) < 4096
    assert first.startswith("lowerdir=l/489:l/488:")
    assert last.endswith("l/0,upperdir=upper,workdir=scratch,userxattr")
    assert overlay.options(2, "trusted", upper=False) == (
        "lowerdir=l/1:l/0,redirect_dir=nofollow,index=off,metacopy=off",
        "lowerdir=l/1:l/0",
    )


def test_more_layers_than_an_overlay_takes_are_refused(tmp_path: Path) -> None:
    """The caller then copies."""
    with pytest.raises(wire.NotOverlayError, match="500 layers are more than"):
        overlay.mount(str(tmp_path), ["x"] * 500, "trusted", writable=True)


def test_hosts_are_written_as_buildkit_does() -> None:
    """Added ones last."""
    assert system.hosts("box", [("db", "10.0.0.2"), ("six", "::2")]) == (
        "127.0.0.1\tlocalhost box\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "10.0.0.2\tdb\n"
        "::2\tsix\n"
    )


def test_mount_points_follow_what_is_mounted(tmp_path: Path) -> None:
    """A folder wants a folder, anything else a file."""
    (tmp_path / "file").touch()
    mounts = [
        {"kind": "tmpfs", "target": "/t", "source": None},
        {"kind": "bind", "target": "/d", "source": str(tmp_path)},
        {"kind": "secret", "target": "/s", "source": str(tmp_path / "file")},
    ]

    found = system.mount_points(mounts)

    assert found[-3:] == [("/t", "dir"), ("/d", "dir"), ("/s", "file")]
    assert ("/etc/hosts", "file") in found


def test_stubs_go_and_the_times_around_them_stay(tmp_path: Path) -> None:
    """Unless somebody filled them, or changed what is around."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    os.utime(root / "etc", ns=(1, 2_000_000_000))
    os.utime(root, ns=(1, 3_000_000_000))
    made = stubs.Stubs(str(root))

    for target in ("/etc/hosts", "/etc/resolv.conf", "/run/a/b", "/run/used/c"):
        made.provide(target, "file")
    made.provide("/etc", "dir")
    (root / "run" / "used" / "c").write_text("kept")
    (root / "run" / "a" / "b").unlink()
    made.remove()

    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == [
        "etc",
        "run",
        "run/used",
        "run/used/c",
    ]
    assert (root / "etc").stat().st_mtime_ns == 2_000_000_000


def test_a_stub_to_keep_stays(tmp_path: Path) -> None:
    """Others go."""
    root = tmp_path / "root"
    root.mkdir()
    made = stubs.Stubs(str(root))

    made.provide("/proc", "dir", keep=True)
    made.provide("/made", "dir")
    made.remove()

    assert [path.name for path in root.iterdir()] == ["proc"]


def test_stubs_do_not_follow_links_that_came_later(tmp_path: Path) -> None:
    """What they lead to is not ours."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "x").touch()
    made = stubs.Stubs(str(root))
    made.provide("/d/x", "file")

    (root / "d" / "x").unlink()
    (root / "d").rmdir()
    (root / "d").symlink_to(outside)
    made.remove()

    assert (outside / "x").exists()


def test_a_mount_table_is_read_backwards_and_unescaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The innermost first, so that each can be unmounted."""
    unmounted: list[str] = []
    monkeypatch.setattr(system, "mounted_below", lambda folder: [f"{folder}/a/b", f"{folder}/a"])
    monkeypatch.setattr(system.syscalls, "unmount", unmounted.append)

    system.unmount_below("/w")

    assert unmounted == ["/w/a/b", "/w/a"]
    assert system.unescaped("/a\\040b\\134") == "/a b\\"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("good", ("{}/two/good", "")),
        ("./x/y", ("./x/y", "")),
        ("closed", ("", 'exec: "closed": permission denied')),
        ("folder", ("", 'exec: "folder": executable file not found in $PATH')),
        ("none", ("", 'exec: "none": executable file not found in $PATH')),
    ],
)
def test_programs_are_searched_as_execvp_does(
    tmp_path: Path, program: str, expected: tuple[str, str]
) -> None:
    """A file that may not be executed does not hide one further on."""
    (tmp_path / "one" / "folder").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    for place, mode in (("one/good", 0o644), ("two/good", 0o755), ("two/closed", 0o644)):
        (tmp_path / place).touch()
        (tmp_path / place).chmod(mode)

    found = command.search(program, f"{tmp_path}/one:{tmp_path}/two")

    assert found == (expected[0].format(tmp_path), expected[1])


def test_wait_statuses_are_counted_as_a_shell_does() -> None:
    """128 and the signal's number."""
    assert (command.exit_code(3 << 8), command.exit_code(signal.SIGTERM)) == (3, 143)


def test_descendants_of_a_process_are_found() -> None:
    """Its children and theirs."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        assert pid in processes.descendants(os.getpid())
        assert pid not in processes.descendants(pid)
    finally:
        os.close(writer)
        os.waitpid(pid, 0)
    processes.end([pid])
