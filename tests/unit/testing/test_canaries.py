"""find_secrets finds a secret however it is dressed, and nothing else."""

from __future__ import annotations

import base64
import gzip
import importlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from buildpush.testing import Finding, find_secrets

SECRET = 'c4n&ry "s3cr€t"/+=%'
OTHER = "another-canary"


def zstd(data: bytes) -> bytes:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    packed: bytes = importlib.import_module(name).compress(data)
    return packed


def tar(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def b64(before: str, after: str, encode: Callable[[bytes], bytes]) -> str:
    return encode(f"{before}{SECRET}{after}".encode()).decode()


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (SECRET, "raw"),
        (quote(SECRET, safe=""), "url"),
        (quote(SECRET), "url"),
        (quote_plus(SECRET), "url"),
        (json.dumps(SECRET), "json"),
        (json.dumps(SECRET, ensure_ascii=False), "json"),
        (SECRET.encode().hex(), "hex"),
        (SECRET.encode().hex().upper(), "hex"),
        *[
            (b64(before, after, encode), "base64")
            for before in ("", "u:", "us:", "user:")
            for after in ("", "x", "xy")
            for encode in (base64.b64encode, base64.urlsafe_b64encode)
        ],
    ],
)
def test_every_spelling_is_found(text: str, form: str) -> None:
    """Once, by its own name, among other things."""
    found = find_secrets([OTHER, SECRET], f"something {text} something")

    assert found == (Finding(needle=1, where="text 0", form=form),)


@pytest.mark.parametrize(
    ("pack", "where"),
    [
        (gzip.compress, "!gunzip"),
        (lambda data: gzip.compress(b"first member") + gzip.compress(data), "!gunzip"),
        (zstd, "!unzstd"),
        (lambda data: gzip.compress(tar("a", zstd(data))), "!gunzip!a!unzstd"),
        (lambda data: tar("a", tar("b", gzip.compress(data))), "!a!b!gunzip"),
    ],
)
def test_every_wrapping_is_opened(pack: Callable[[bytes], bytes], where: str) -> None:
    """Nested ones too."""
    packed = pack(b"something " + SECRET.encode())

    found = find_secrets([SECRET], packed)

    # What compresses badly may be readable outside, too.
    assert Finding(needle=0, where=f"bytes 0{where}", form="raw") in found


def test_folders_are_searched(tmp_path: Path) -> None:
    """Contents, names and where links point; not what they point to."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text(f"x{OTHER}x")
    (tmp_path / f"{OTHER}.txt").write_text("")
    (tmp_path / "link").symlink_to(f"/{OTHER}")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")

    found = find_secrets([OTHER], tmp_path)

    assert {(Path(finding.where).name, finding.form) for finding in found} == {
        ("file", "raw"),
        (f"{OTHER}.txt", "name"),
        ("link", "raw"),
    }


def test_a_single_file_may_be_given(tmp_path: Path) -> None:
    """And several roots."""
    file = tmp_path / "file"
    file.write_text(OTHER)

    found = find_secrets([OTHER], file, "nothing", OTHER)

    assert [finding.where for finding in found] == [str(file), "text 2"]


def test_what_is_clean_is_clean(tmp_path: Path) -> None:
    """Damaged archives included: their raw bytes are searched all the same."""
    (tmp_path / "gzip").write_bytes(b"\x1f\x8bnot really")
    (tmp_path / "zstd").write_bytes(b"\x28\xb5\x2f\xfdnot really")
    (tmp_path / "tar").write_bytes(tar("a", b"data" * 1000)[:2000])
    (tmp_path / "cut").write_bytes(gzip.compress(b"data" * 1000)[:-12])

    assert find_secrets([SECRET, OTHER], tmp_path) == ()


def test_a_cut_off_archive_is_searched_as_far_as_it_goes() -> None:
    """What can be read is read."""
    cut = gzip.compress(OTHER.encode() + os.urandom(1000))[:-100]

    found = find_secrets([OTHER], cut)

    assert Finding(needle=0, where="bytes 0!gunzip", form="raw") in found


def test_a_canary_must_be_long_enough() -> None:
    """Short ones are found everywhere."""
    with pytest.raises(ValueError, match="5 characters"):
        find_secrets(["abcd"], "abcd")


def test_a_place_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Nothing found must not mean nothing searched."""
    with pytest.raises(FileNotFoundError):
        find_secrets([OTHER], tmp_path / "absent")
