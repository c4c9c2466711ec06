from __future__ import annotations

from pathlib import Path

import pytest

from buildpush.oci import Platform
from buildpush.runtime.platforms import emulators, runnable

AMD64 = Platform.of("linux", "amd64")
# As the kernel shows what qemu's packages register; the second is of a 64-bit big-endian machine.
ARM64 = (
    "offset 0\nmagic 7f454c460201010000000000000000000200b700\n"
    "mask ffffffffffffff00fffffffffffffffffeffffff\n"
)
S390X = (
    "offset 0\nmagic 7f454c4602020100000000000000000000020016\n"
    "mask ffffffffffffff00fffffffffffffffffffeffff\n"
)
ARM = (
    "offset 0\nmagic 7f454c4601010100000000000000000002002800\n"
    "mask ffffffffffffff00fffffffffffffffffeffffff\n"
)


@pytest.fixture
def binfmt(tmp_path: Path) -> Path:
    (tmp_path / "status").write_text("enabled\n")
    return tmp_path


def register(binfmt: Path, name: str, match: str, *, flags: str = "OCF", on: bool = True) -> None:
    word = "enabled" if on else "disabled"
    (binfmt / name).write_text(f"{word}\ninterpreter /usr/bin/qemu\nflags: {flags}\n{match}")


def also(binfmt: Path) -> list[str]:
    """What runs besides the machine's own programs."""
    first, second, *more = runnable(AMD64, binfmt)
    assert (str(first), str(second)) == ("linux/amd64", "linux/386")
    return [str(platform) for platform in more]


@pytest.mark.parametrize(
    ("match", "platforms"),
    [
        (ARM64, ["linux/arm64"]),
        (S390X, ["linux/s390x"]),
        (ARM, ["linux/arm/v7", "linux/arm/v6"]),
        ("offset 18\nmagic b700\n", ["linux/arm64"]),
        ("extension .py\n", []),
        ("offset 0\nmagic cafebabe\n", []),
        ("offset 250\nmagic 00000000000000000000\n", []),
        ("offset 0\nmagic 7f45\nmask ff\n", []),
        ("offset zero\nmagic 7f45\n", []),
    ],
)
def test_an_entry_counts_for_what_it_matches(
    binfmt: Path, match: str, platforms: list[str]
) -> None:
    """Whatever it is called: distributions and vendors have names of their own."""
    register(binfmt, "rosetta", match)

    assert also(binfmt) == platforms


def test_flags_and_switches_matter(binfmt: Path) -> None:
    """An entry must be enabled and need nothing in the image."""
    register(binfmt, "qemu-aarch64", ARM64)
    register(binfmt, "qemu-s390x", S390X, on=False)
    register(binfmt, "qemu-arm", ARM, flags="OC")

    assert also(binfmt) == ["linux/arm64"]


def test_all_can_be_turned_off_at_once(binfmt: Path) -> None:
    """The kernel's own switch."""
    register(binfmt, "qemu-aarch64", ARM64)
    (binfmt / "status").write_text("disabled\n")

    assert also(binfmt) == []


def test_without_binfmt_only_the_host(tmp_path: Path) -> None:
    """Nothing is assumed."""
    host = Platform.of("linux", "arm64")

    assert runnable(host, tmp_path / "nothing") == (host,)
    assert emulators(tmp_path / "nothing") == ""


def test_what_changes_an_entry_is_noticed(binfmt: Path) -> None:
    """Not its name only: what was found before may be kept by this text."""
    register(binfmt, "qemu-aarch64", ARM64, flags="OC")
    before = emulators(binfmt)

    register(binfmt, "qemu-aarch64", ARM64)

    assert before
    assert emulators(binfmt) != before
