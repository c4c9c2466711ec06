"""Layers under a command: stacked right, checked, and never able to reach outside."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from buildpush.backends.native.sandbox.rootfs import JobMount
from buildpush.errors import BuildError
from buildpush.oci import Digest

if TYPE_CHECKING:
    from conftest import Bench, LayerMaker

pytestmark = pytest.mark.needs_root
NewLayer = Callable[[], "LayerMaker"]


def test_a_hundred_and_twenty_layers(any_bench: Bench, layer: NewLayer) -> None:
    """More than an overlay's mount data could name by their paths."""
    many = [
        layer().add("n").add(f"n/{number}", b"", mode=0o644).add("n/last", b"%d\n" % number).done()
        for number in range(120)
    ]
    any_bench.layers = (*any_bench.layers, *many)

    outcome = any_bench.sh("ls /n | wc -l; cat /n/last; rm /n/7")

    assert outcome.stdout == ["121", "119"]
    assert outcome.names == ["n", "n/.wh.7"]


def test_whiteouts_and_opaque_directories_hide_what_is_below(
    any_bench: Bench, layer: NewLayer
) -> None:
    """Whatever the order of a whiteout and what replaces its target."""
    one = layer().add("d").add("e").add("f").add("g").add("h")
    for name in "defgh":
        one.add(f"{name}/old", b"")
    two = layer().add("d").add("d/.wh..wh..opq", b"").add("d/new", b"")
    two.add(".wh.e", b"").add("e").add("e/new", b"")
    two.add("f").add("f/new", b"").add(".wh.f", b"")
    two.add(".wh.g", b"").add("h/.wh.old", b"").add("h/.wh.none", b"")
    any_bench.layers = (*any_bench.layers, one.done(), two.done())

    outcome = any_bench.sh("for n in d e f g h; do echo $n: $(ls /$n 2>/dev/null); done")

    assert outcome.stdout == ["d: new", "e: new", "f: new", "g:", "h:"]
    assert outcome.names == []


def test_what_a_higher_layer_has_replaces_what_is_below(any_bench: Bench, layer: NewLayer) -> None:
    """A directory a file, a file a directory, a link a link; a directory keeps its content."""
    one = layer().add("a").add("a/x", b"").add("b", b"").symlink("c", "a").add("d").add("d/x", b"")
    two = layer().add("a", b"f").add("b").add("b/y", b"").symlink("c", "b").add("d", mode=0o700)
    any_bench.layers = (*any_bench.layers, one.done(), two.done())

    outcome = any_bench.sh("cat /a; echo; ls /b /c/ /d; stat -c %a /d")

    assert outcome.stdout == ["f", "/b:", "y", "", "/c/:", "y", "", "/d:", "x", "700"]


def test_a_directory_a_layer_only_implies_keeps_its_attributes(
    any_bench: Bench, layer: NewLayer
) -> None:
    """Those of the layers below; the command's own change of it is a change."""
    implying = layer().add("tmp/deep/file", b"", mode=0o644).add("home/app/file", b"", mode=0o600)
    any_bench.layers = (*any_bench.layers, implying.done())

    outcome = any_bench.sh(
        "stat -c '%a %u' /tmp /tmp/deep /home/app; touch /home/app/x; rm /tmp/deep/*"
    )

    assert outcome.stdout == ["1777 0", "755 0", "755 1000"]
    assert outcome.listing == [
        "dir 755 0:0 home",
        "dir 755 1000:1000 home/app",
        "file 644 0:0 home/app/x",
        "dir 1777 0:0 tmp",
        "dir 755 0:0 tmp/deep",
        "file 0 0:0 tmp/deep/.wh.file",
    ]


def test_entries_below_a_link_of_a_lower_layer_go_where_it_leads(
    any_bench: Bench, layer: NewLayer
) -> None:
    """As containerd applies them; an overlay cannot show that, so it becomes a copy."""
    one = layer().add("usr").add("usr/lib").symlink("lib", "usr/lib")
    two = layer().add("lib/so", b"so\n", mode=0o644)
    any_bench.layers = (*any_bench.layers, one.done(), two.done())

    outcome = any_bench.sh("cat /usr/lib/so; readlink /lib; rm /lib/so")

    assert outcome.stdout == ["so", "usr/lib"]
    assert outcome.names == ["usr", "usr/lib", "usr/lib/.wh.so"]


def test_a_hard_link_into_a_lower_layer(any_bench: Bench, layer: NewLayer) -> None:
    """Some tools write them; the copy knows the file."""
    linking = layer().add("srv").add("srv/again", kind=b"1", link="srv/a")
    any_bench.layers = (*any_bench.layers, linking.done())

    assert any_bench.sh("cat /srv/again").stdout == ["this is a"]


def test_files_keep_owner_mode_and_time(any_bench: Bench, layer: NewLayer) -> None:
    """Set-user-id bits and directories' times too."""
    more = layer().add("o", mode=0o2750, owner=(5, 6)).add("o/s", b"x", mode=0o6755, owner=(7, 8))
    more.add("o/l", kind=b"1", link="o/s").add("o/p", kind=b"6", mode=0o620)
    any_bench.layers = (*any_bench.layers, more.done())

    outcome = any_bench.sh("cd /o; stat -c '%n %a %u:%g %Y %h %F' . s l p")

    assert outcome.stdout == [
        ". 2750 5:6 1600000000 2 directory",
        "s 6755 7:8 1600000000 2 regular file",
        "l 6755 7:8 1600000000 2 regular file",
        "p 620 0:0 1600000000 1 fifo",
    ]


def test_an_image_without_layers_is_an_empty_folder(any_bench: Bench) -> None:
    """Nothing can be run in it, which is the program's fault."""
    any_bench.layers = ()

    outcome = any_bench.run(("/bin/true",))

    assert outcome.code == 127
    assert outcome.stderr == ['exec: "/bin/true": no such file or directory']


def test_a_layer_that_is_not_what_its_name_says_is_refused(
    any_bench: Bench, layer: NewLayer, folder: Path
) -> None:
    """And nothing of it is kept."""
    any_bench.layers = (layer().add("x", b"").done(claim="sha256:" + "0" * 64),)

    with pytest.raises(BuildError, match=r"layer sha256:0{64} is corrupt: its content hashes to"):
        any_bench.sh("true")

    assert [path for path in (folder / "layers").iterdir() if path.is_dir()] == []


def test_bytes_that_are_no_tar_are_refused(any_bench: Bench, tmp_path: Path) -> None:
    """With the layer's name."""
    (tmp_path / "bad").write_bytes(b"not a tar at all" * 100)
    bad = evolve(
        any_bench.layers[0],
        path=tmp_path / "bad",
        diff_id=Digest.of((tmp_path / "bad").read_bytes()),
    )
    any_bench.layers = (bad,)

    with pytest.raises(BuildError, match=r"layer sha256:[0-9a-f]{64} cannot be unpacked"):
        any_bench.sh("true")


@pytest.mark.parametrize(
    "attack",
    [
        lambda maker, out: maker.add(f"../../../../../../../..{out}/pwned", b"x"),
        lambda maker, out: maker.symlink("way", str(out)).add("way/pwned", b"x"),
        lambda maker, out: maker.symlink("w", "../" * 20 + str(out)[1:]).add("w/pwned", b"x"),
        lambda maker, out: maker.symlink("a", "b").symlink("b", str(out)).add("a/pwned", b"x"),
        lambda maker, out: maker.symlink("d", str(out)).add("d/.wh.victim", b""),
        lambda maker, out: maker.symlink("d", str(out)).add("d/.wh..wh..opq", b""),
        lambda maker, out: maker.add("h", kind=b"1", link=f"{out}/victim").add("h", b"x"),
        lambda maker, out: maker.symlink("v", f"{out}/victim").add("v", b"x"),
        lambda maker, out: maker.symlink("v", f"{out}/victim").add("w", kind=b"1", link="v"),
        lambda maker, out: maker.add(".wh..", b""),
        lambda maker, out: maker.add(".wh.", b""),
        lambda maker, out: maker.symlink("c", "c").add("c/x", b""),
        lambda maker, out: maker.add(
            "t", xattrs={"trusted.overlay.redirect": str(out), "user.overlay.redirect": str(out)}
        ),
        lambda maker, out: maker.symlink("proc", str(out)).symlink("dev", str(out)),
        lambda maker, out: maker.symlink("etc/hosts", f"{out}/victim"),
        lambda maker, out: maker.symlink("etc/passwd", f"{out}/victim"),
    ],
)
def test_a_hostile_layer_reaches_nothing_outside(
    any_bench: Bench,
    layer: NewLayer,
    tmp_path: Path,
    attack: Callable[[LayerMaker, Path], LayerMaker],
) -> None:
    """It is refused, or its links are followed inside its own root only."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    any_bench.layers = (*any_bench.layers, attack(layer(), outside).done())

    with suppress(BuildError):
        any_bench.sh("echo x > /etc/hosts; echo x > /way; echo x > /v/pwned; true")

    assert sorted(path.name for path in outside.iterdir()) == ["victim"]
    assert (outside / "victim").read_text() == "untouched"
    assert (outside / "victim").stat().st_nlink == 1


def test_a_passwd_that_links_outside_names_nobody(any_bench: Bench, layer: NewLayer) -> None:
    """The host's users are not the image's."""
    any_bench.layers = (*any_bench.layers, layer().symlink("etc/passwd", "/../etc/shadow").done())

    with pytest.raises(BuildError, match="unable to find user daemon"):
        any_bench.sh("true", user="daemon")


def test_two_at_once_unpack_a_layer_once(bench: Bench, folder: Path) -> None:
    """Whoever is first wins, and both see a whole layer."""
    outcomes: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(bench.sh("cat /srv/a").stdout))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == [["this is a"]] * 3
    assert len([path for path in (folder / "layers").iterdir() if path.is_dir()]) == 1


def test_a_layer_unpacked_before_the_machine_started_is_unpacked_again(
    bench: Bench, folder: Path
) -> None:
    """A power cut may have emptied its files."""
    bench.sh("true")
    unpacked = next(path for path in (folder / "layers").iterdir() if path.is_dir())
    (unpacked / "root" / "srv" / "a").write_text("")
    about = unpacked / "about.json"
    about.write_text(about.read_text().replace('"boot": "', '"boot": "earlier-'))

    outcome = bench.sh("cat /srv/a")

    assert outcome.stdout == ["this is a"]


def test_a_second_run_needs_no_blob(bench: Bench) -> None:
    """What is unpacked is not read again."""
    bench.sh("true")
    gone = evolve(bench.layers[0], path=Path("/nonexistent"))
    bench.layers = (gone,)

    assert bench.sh("cat /srv/a").stdout == ["this is a"]


def test_a_missing_blob_is_an_error_of_the_file(bench: Bench) -> None:
    """Which names it."""
    bench.layers = (evolve(bench.layers[0], path=Path("/nonexistent")),)

    with pytest.raises(FileNotFoundError, match="/nonexistent"):
        bench.sh("true")


def test_an_upper_directory_on_an_overlay_falls_back_to_a_copy(
    bench: Bench, tmp_path: Path, folder: Path
) -> None:
    """As inside of a container, whose own root is one: the difference is the same."""
    from buildpush.backends.native.sandbox.launcher import syscalls

    for name in ("lower", "upper", "scratch", "merged"):
        (tmp_path / name).mkdir()
    data = ",".join(
        f"{key}={tmp_path / name}"
        for key, name in (("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "scratch"))
    )
    syscalls.mount("overlay", str(tmp_path / "merged"), "overlay", 0, data)
    try:
        bench.folder = tmp_path / "merged"
        outcome = bench.sh("rm /srv/a; echo x > /srv/x; grep ' / ' /proc/mounts")
    finally:
        syscalls.unmount(str(tmp_path / "merged"))
        shutil.rmtree(tmp_path, ignore_errors=True)

    assert outcome.names == ["srv", "srv/.wh.a", "srv/x"]


def test_a_mount_from_layers_that_are_damaged_is_refused(bench: Bench, layer: NewLayer) -> None:
    """As those of the root."""
    bad = layer().add("x", b"").done(claim="sha256:" + "1" * 64)
    mount = JobMount(kind="bind", layers=(bad,), target="/from")

    with pytest.raises(BuildError, match="is corrupt"):
        bench.sh("true", mounts=(mount,))
