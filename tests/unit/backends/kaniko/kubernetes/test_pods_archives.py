"""The context's way into a pod: an archive busybox reads, a stream whose end and bytes are sure."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpush.backends.engine.context import Context
from buildpush.backends.kaniko.kubernetes.archives import Sent, gnu
from buildpush.backends.kaniko.kubernetes.scripts import FAILED, RECEIVE, WAIT, WORK
from buildpush.dockerfile.ignore import IgnoreRules
from buildpush.oci.tar import END, Entry, pack

LONG = "n" * 150
DEEP = "/".join(("d" * 90, "e" * 90, "f" * 90, "file é"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Names that no plain header holds, a long link, an empty file, a large one."""
    found = tmp_path / "context"
    (found / DEEP).parent.mkdir(parents=True)
    (found / DEEP).write_text("deep")
    (found / LONG).write_text("long")
    (found / "é").write_text("accent")
    (found / "empty").touch()
    (found / "large").write_bytes(os.urandom(1_500_000))
    (found / "link").symlink_to("t" * 180)
    (found / "run").write_text("#!")
    (found / "run").chmod(0o4755)
    return found


def stream(folder: Path) -> Iterator[bytes]:
    return Context(folder=folder, rules=IgnoreRules()).stream()


def contents(folder: Path) -> dict[str, object]:
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            str(path.readlink()) if path.is_symlink() else path.is_file() and path.read_bytes(),
        )
        for path in folder.rglob("*")
    }


def test_the_archive_has_gnus_long_names_and_no_pax_records(folder: Path) -> None:
    """Busybox skips PAX records, and would cut the names."""
    data = b"".join(gnu(stream(folder)))

    kinds = {data[at + 156 : at + 157] for at in range(0, len(data), 512) if _is_header(data, at)}
    assert b"x" not in kinds and b"L" in kinds and b"K" in kinds
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        link = tar.getmember("link").linkname
    assert {LONG, DEEP, "é"} <= set(names)
    assert link == "t" * 180


def _is_header(data: bytes, at: int) -> bool:
    return data[at + 257 : at + 262] == b"ustar"


def test_an_archive_without_such_names_is_passed_on_as_it_is(tmp_path: Path) -> None:
    """Byte by byte, however it is cut into pieces."""
    (tmp_path / "a").write_bytes(b"x" * 700)
    data = b"".join(stream(tmp_path))

    assert b"".join(gnu(iter([data]))) == data
    assert b"".join(gnu(data[i : i + 100] for i in range(0, len(data), 100))) == data


def test_a_file_of_more_than_eight_gibibytes_keeps_its_size() -> None:
    """Its size is in a PAX record, and then in GNU's base 256."""
    header = pack(Entry(name="huge", kind="file", size=9 << 30))
    first = next(gnu(iter([header])))

    assert tarfile.TarInfo.frombuf(first, "utf-8", "strict").size == 9 << 30


@pytest.mark.parametrize("packed", [True, False])
def test_pieces_come_after_their_sizes_and_a_zero_ends_them(folder: Path, packed: bool) -> None:
    """Older servers tell no command that its stdin has ended, so the stream says so itself."""
    sent = Sent(chunks=stream(folder), packed=packed)
    data = b"".join(sent.pieces())

    found = b""
    while True:
        line, _, data = data.partition(b"\n")
        if line == b"0":
            break
        found, data = found + data[: int(line)], data[int(line) :]
    assert data == b""
    assert hashlib.sha256(found).hexdigest() == sent.digest
    assert (gzip.decompress(found) if packed else found) == b"".join(stream(folder))


def test_without_isal_zlib_packs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not built for every kind of machine."""
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    data = b"".join(Sent(chunks=[b"some", b"thing"], packed=True).pieces())

    body = data.partition(b"\n")[2]
    assert gzip.decompress(body[: body.rindex(b"0\n")]) == b"something"


SHELLS = [
    pytest.param(shell, id=shell[0])
    for shell in (("busybox", "sh"), ("dash",), ("bash",))
    if shutil.which(shell[0])
]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """A shell, and the PATH with its tools: busybox's own for busybox."""
    words = list(request.param)
    if words[0] != "busybox":
        return words, {"PATH": os.defpath}
    tools = tmp_path / "tools"
    tools.mkdir()
    busybox = str(shutil.which("busybox"))
    for name in ("cat", "dd", "echo", "id", "mkdir", "mkfifo", "rm", "sha256sum", "tar", "tee"):
        (tools / name).symlink_to(busybox)
    for name in ("sleep", "kill", "gzip", "gunzip", "head"):
        (tools / name).symlink_to(busybox)
    return [busybox, "sh"], {"PATH": str(tools)}


def receive(
    shell: tuple[list[str], dict[str, str]], work: Path, data: bytes, *, packed: bool
) -> subprocess.CompletedProcess[bytes]:
    work.mkdir(exist_ok=True)
    words, variables = shell
    return subprocess.run(
        [*words, "-c", RECEIVE.replace(WORK, str(work)), "receive", "z" if packed else ""],
        input=data,
        capture_output=True,
        env=variables,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_sent_arrives(
    shell: tuple[list[str], dict[str, str]], folder: Path, tmp_path: Path, packed: bool
) -> None:
    """Names, contents, modes and links; the pod's digest is the sender's; nothing else is left."""
    sent = Sent(chunks=gnu(stream(folder)), packed=packed)
    done = receive(shell, tmp_path / "work", b"".join(sent.pieces()), packed=packed)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout[:64].decode() == sent.digest
    assert contents(tmp_path / "work" / "context") == contents(folder)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["context"]


def test_a_stream_that_breaks_off_is_no_success_and_can_be_sent_again(
    shell: tuple[list[str], dict[str, str]], folder: Path, tmp_path: Path
) -> None:
    """What an attempt before has left is removed."""
    sent = Sent(chunks=gnu(stream(folder)), packed=True)
    data = b"".join(sent.pieces())

    broken = receive(shell, tmp_path / "work", data[: len(data) // 2], packed=True)
    whole = receive(shell, tmp_path / "work", data, packed=True)

    assert broken.returncode != 0 and broken.stdout == b""
    assert whole.returncode == 0
    assert contents(tmp_path / "work" / "context") == contents(folder)


def test_only_the_end_mark_is_missing(
    shell: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    """The archive is whole, and still nobody said that this is all."""
    data = b"".join(Sent(chunks=[END], packed=False).pieces()).removesuffix(b"0\n")
    done = receive(shell, tmp_path / "work", data, packed=False)

    assert done.returncode == 75
    assert b"the stream broke off" in done.stderr


def test_a_tar_that_fails_says_so_and_the_rest_is_read(
    shell: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    """A server withholds how a command ended while it has stdin left to read."""
    pieces = b"".join(Sent(chunks=[b"no tar at all" * 9000], packed=False).pieces())
    done = receive(shell, tmp_path / "work", pieces, packed=True)

    assert done.returncode == 1
    assert FAILED.encode() in done.stderr


def test_the_waiting_ends_when_the_context_has_arrived_and_when_nobody_sends_it(
    shell: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    """A client that was killed keeps no pod waiting for ever."""
    words, variables = shell
    command = [*words, "-c", WAIT.replace(WORK, str(tmp_path)), "wait", "1"]

    alone = subprocess.run(command, env=variables, capture_output=True, timeout=60, check=False)
    (tmp_path / "arrived").touch()
    arrived = subprocess.run(command, env=variables, capture_output=True, timeout=60, check=False)

    assert (alone.returncode, alone.stderr) == (1, b"nobody has sent the build context\n")
    assert arrived.returncode == 0
