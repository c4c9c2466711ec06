"""What a RUN leaves behind, as a layer: exactly that, and the same in every way of running it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Bench

pytestmark = pytest.mark.needs_root


def test_a_command_that_changes_nothing_leaves_an_empty_layer(any_bench: Bench) -> None:
    """Nothing that the launcher mounts or makes is in the difference, nor are times it touched."""
    outcome = any_bench.sh("cat /etc/hosts /etc/resolv.conf >/dev/null; ls /dev >/dev/null")

    assert outcome.code == 0
    assert outcome.tar == bytes(1024)


def test_added_and_changed_files_come_with_their_parents(any_bench: Bench) -> None:
    """Parents precede children, in order of the names."""
    outcome = any_bench.sh("echo new > /srv/new; echo more >> /srv/a; mkdir -p /opt/x/y")

    assert outcome.listing == [
        "dir 755 0:0 opt",
        "dir 755 0:0 opt/x",
        "dir 755 0:0 opt/x/y",
        "dir 755 0:0 srv",
        "file 644 0:0 srv/a",
        "file 644 0:0 srv/new",
    ]
    assert outcome.content("srv/a") == b"this is a\nmore\n"


def test_deleted_files_and_directories_become_whiteouts(any_bench: Bench) -> None:
    """A directory goes as a whole; what came and went in between leaves no trace."""
    outcome = any_bench.sh("rm /srv/a; rm -r /srv/old; echo x > /srv/brief; rm /srv/brief")

    assert outcome.listing == [
        "dir 755 0:0 srv",
        "file 0 0:0 srv/.wh.a",
        "file 0 0:0 srv/.wh.old",
    ]


def test_a_replaced_directory_lists_what_it_lost(any_bench: Bench) -> None:
    """As BuildKit does it: one by one, so that it means the same wherever it is applied."""
    outcome = any_bench.sh("rm -r /srv/old; mkdir -p /srv/old/sub; echo 2 > /srv/old/two")

    assert outcome.listing == [
        "dir 755 0:0 srv",
        "dir 755 0:0 srv/old",
        "file 0 0:0 srv/old/.wh.one",
        "dir 755 0:0 srv/old/sub",
        "file 644 0:0 srv/old/two",
    ]


def test_files_and_directories_replace_each_other(any_bench: Bench) -> None:
    """The new entry alone is enough: applying it removes what was there."""
    outcome = any_bench.sh(
        "rm -r /srv/old; echo f > /srv/old; rm /srv/a; mkdir /srv/a; touch /srv/a/in"
    )

    assert outcome.listing == [
        "dir 755 0:0 srv",
        "dir 755 0:0 srv/a",
        "file 644 0:0 srv/a/in",
        "file 644 0:0 srv/old",
    ]


def test_modes_and_owners_alone_are_changes(any_bench: Bench) -> None:
    """Set-user-id and sticky bits included; the content comes along."""
    outcome = any_bench.sh("chmod 4711 /srv/a; chown 1000:1001 /srv/b; chmod 1777 /srv/old")

    assert outcome.listing == [
        "dir 755 0:0 srv",
        "file 4711 0:0 srv/a",
        "file 644 1000:1001 srv/b",
        "dir 1777 0:0 srv/old",
    ]
    assert outcome.content("srv/b") == b"this is b\n"


def test_a_change_that_is_none_is_left_out(bench: Bench) -> None:
    """The overlay copies the file up; its header and content are as before."""
    outcome = bench.sh("chown 0:0 /srv/a; chmod 644 /srv/b; touch -c -r /srv/c /srv/c")

    assert outcome.names == []


def test_a_file_rewritten_under_its_old_time_is_a_change(any_bench: Bench) -> None:
    """Size and time tell nothing here; the content does."""
    outcome = any_bench.sh(
        "touch -r /srv/a /t; echo THIS is a > /srv/a; touch -r /t /srv/a; rm /t"
    )

    assert outcome.names == ["srv", "srv/a"]
    assert outcome.content("srv/a") == b"THIS is a\n"


def test_hard_links_symlinks_and_fifos_are_kept(any_bench: Bench) -> None:
    """The first name of a file carries the content; a device needs no content."""
    outcome = any_bench.sh(
        "cd /srv; echo x > l1; ln l1 l2; ln -s ../nowhere s; mkfifo p; ln a la; mknod null c 1 3"
    )

    assert outcome.listing == [
        "dir 755 0:0 srv",
        "file 644 0:0 srv/a",
        "file 644 0:0 srv/l1",
        "link 644 0:0 srv/l2 -> srv/l1",
        "link 644 0:0 srv/la -> srv/a",
        "char 644 0:0 srv/null",
        "fifo 644 0:0 srv/p",
        "sym 777 0:0 srv/s -> ../nowhere",
    ]
    assert (outcome.entries["srv/null"].devmajor, outcome.entries["srv/null"].devminor) == (1, 3)


def test_times_survive_and_are_clamped_only_on_request(any_bench: Bench) -> None:
    """SOURCE_DATE_EPOCH is the latest time, not the only one."""
    script = "touch -d @1500000000 /srv/old/one; touch -d @1700000000 /srv/old/two"

    kept = any_bench.sh(script).entries
    clamped = any_bench.sh(script, source_date_epoch=1_600_000_000).entries

    assert [kept[f"srv/old/{n}"].mtime for n in ("one", "two")] == [1_500_000_000, 1_700_000_000]
    assert [clamped[f"srv/old/{n}"].mtime for n in ("one", "two")] == [
        1_500_000_000,
        1_600_000_000,
    ]


def test_extended_attributes_are_kept_and_an_overlays_own_are_not(
    bench: Bench, layer: object
) -> None:
    """A file capability of the base survives a change of mode; new attributes are changes."""
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    more = layer().add(  # type: ignore[operator]
        "srv/cap",
        b"#!",
        xattrs={"security.capability": capability.decode("latin-1"), "user.note": "hello"},
    )
    bench.layers = (*bench.layers, more.done())

    outcome = bench.sh("rm -r /srv/old; mkdir /srv/old; touch -d @1 /srv/cap")

    entry = outcome.entries["srv/cap"].pax_headers
    assert entry["SCHILY.xattr.user.note"] == "hello"
    assert (
        entry["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == capability
    )
    assert not [key for e in outcome.entries.values() for key in e.pax_headers if "overlay" in key]


def test_mount_points_that_every_container_needs_stay(any_bench: Bench, layer: object) -> None:
    """BuildKit leaves them in an image that lacks them."""
    gone = layer()  # type: ignore[operator]
    for name in ("dev", "proc", "sys"):
        gone.add(f".wh.{name}", b"", mode=0)
    any_bench.layers = (*any_bench.layers, gone.done())

    outcome = any_bench.sh("true")

    assert outcome.listing == ["dir 755 0:0 dev", "dir 755 0:0 proc", "dir 755 0:0 sys"]


def test_what_is_left_in_a_mount_point_stays(any_bench: Bench) -> None:
    """Only stubs that are still empty are removed: the rest is the command's own work."""
    from buildpush.backends.native.sandbox.rootfs import JobMount

    mount = JobMount(kind="tmpfs", target="/made/here/deep")

    outcome = any_bench.sh("echo a > /made/kept; echo b > /made/here/deep/gone", mounts=(mount,))

    assert outcome.listing == ["dir 755 0:0 made", "file 644 0:0 made/kept"]


def test_names_that_are_no_text_are_kept(any_bench: Bench) -> None:
    """A file name is bytes."""
    outcome = any_bench.sh("""touch "$(printf '/srv/\\377 x')" """)

    assert outcome.names == ["srv", os.fsdecode(b"srv/\xff x")]


def test_a_large_difference_passes_whole(any_bench: Bench) -> None:
    """Its bytes are the file's."""
    outcome = any_bench.sh("head -c 5000001 /dev/zero | tr '\\0' x > /srv/large")

    assert outcome.content("srv/large") == b"x" * 5_000_001
