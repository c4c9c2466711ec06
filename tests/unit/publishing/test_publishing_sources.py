"""What text and paths mean as sources, and which of several images is chosen."""

from pathlib import Path

import pytest

from buildpush.errors import InvalidReferenceError, SpecError
from buildpush.oci import Digest, ImageReference
from buildpush.oci.saved import SavedImage
from buildpush.plan import LayoutArtifact
from buildpush.publishing.sources.choosing import choose
from buildpush.publishing.sources.given import (
    DaemonSource,
    FileSource,
    RegistrySource,
    Source,
    read_source,
)

DIGEST = f"sha256:{'a' * 64}"
REFERENCE = ImageReference.parse("ghcr.io/acme/app:1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "layout").mkdir()
    (tmp_path / "a:b").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "place", "image"),
    [
        ("layout", "layout", ""),
        ("oci:layout", "layout", ""),
        ("oci:layout:1.4", "layout", "1.4"),
        ("oci:layout:ghcr.io/acme/app:1.4", "layout", "ghcr.io/acme/app:1.4"),
        (f"oci:layout@{DIGEST}", "layout", DIGEST),
        ("oci:a:b", "a:b", ""),
        ("oci-archive:x.tar:1", "x.tar", "1"),
        ("docker-archive:x.tar", "x.tar", ""),
        ("docker-archive:x.tar:app:1", "x.tar", "app:1"),
    ],
)
def test_files_are_named_as_skopeo_names_them(
    folder: Path, text: str, place: str, image: str
) -> None:
    """A path that exists wins over what its colons might mean."""
    assert FileSource(folder / place, image) == read_source(text, folder)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("docker-daemon:app:1", DaemonSource("app:1")),
        ("docker://ghcr.io/acme/app:1", RegistrySource(REFERENCE)),
        (REFERENCE, RegistrySource(REFERENCE)),
    ],
)
def test_other_transports(folder: Path, given: str | ImageReference, expected: Source) -> None:
    """A daemon and a registry are never guessed for a push."""
    assert expected == read_source(given, folder)


def test_paths_and_artifacts_are_what_they_are(folder: Path) -> None:
    """Relative paths begin in the current folder."""
    artifact = LayoutArtifact(path=folder / "layout", digest=Digest(DIGEST))

    assert read_source(artifact, folder) is artifact
    assert FileSource(folder / "layout", "1") == read_source(Path("layout"), folder, image="1")


def test_where_references_are_expected_paths_begin_like_paths(folder: Path) -> None:
    """A folder called like an image does not take its place in a copy."""
    (folder / "app").mkdir()

    assert RegistrySource(ImageReference.parse("app")) == read_source("app", folder, remote=True)
    assert FileSource(folder / "./app") == read_source("./app", folder, remote=True)


@pytest.mark.parametrize(
    ("text", "kind", "message", "hint"),
    [
        ("nothing", SpecError, "no such file or folder: nothing", "docker-daemon:nothing"),
        ("./nothing", SpecError, "no such file or folder", "layout's folder"),
        ("docker-daemon:", SpecError, "names no image", "docker-daemon:app"),
        ("docker://UP/x:!", InvalidReferenceError, "not an image reference", ""),
        ("dir:layout", SpecError, "no media types", "skopeo copy"),
        ("oci::x", SpecError, "names no path", "oci:PATH"),
    ],
)
def test_what_is_no_source_says_what_would_be(
    folder: Path, text: str, kind: type[SpecError], message: str, hint: str
) -> None:
    """The hint has what was probably meant."""
    with pytest.raises(kind, match=message) as caught:
        read_source(text, folder)

    assert hint in caught.value.hint


def test_two_choices_contradict(folder: Path) -> None:
    """In the text and beside it."""
    with pytest.raises(SpecError, match="cannot both be chosen"):
        read_source("oci:layout:1", folder, image="2")


ONE = SavedImage(names=("docker.io/library/app:1", "1"), digest=Digest(DIGEST))
TWO = SavedImage(names=("ghcr.io/acme/app:2",), digest=Digest.of(b"2"))
THREE = SavedImage(names=("ghcr.io/acme/other:2",), digest=Digest.of(b"3"))
BARE = SavedImage(names=(), digest=Digest.of(b"4"))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("1", ONE),
        ("app:1", ONE),
        (DIGEST, ONE),
        ("ghcr.io/acme/app:2", TWO),
        (str(Digest.of(b"4")), BARE),
    ],
)
def test_an_image_is_chosen_by_tag_name_or_digest(wanted: str, expected: SavedImage) -> None:
    """By any of its names, in any spelling."""
    assert expected == choose((ONE, TWO, THREE, BARE), wanted, "x.tar")


def test_the_only_image_needs_no_name() -> None:
    """However it is called."""
    assert choose((ONE,), "", "x.tar") is ONE


@pytest.mark.parametrize(
    ("images", "wanted", "message"),
    [
        ((), "", "holds no image"),
        ((ONE, TWO), "", "holds 2 images: docker.io/library/app:1 or 1, ghcr.io/acme/app:2"),
        ((ONE, TWO, THREE), "2", "2 images that '2' may mean"),
        ((ONE, BARE), "9", f"no image '9'; it has .*, {BARE.digest}"),
        (tuple(SavedImage(names=(f"a:{n}",)) for n in range(12)), "", "and 2 more"),
    ],
)
def test_what_cannot_be_chosen_lists_what_there_is(
    images: tuple[SavedImage, ...], wanted: str, message: str
) -> None:
    """Nothing is taken at random."""
    with pytest.raises(SpecError, match=message):
        choose(images, wanted, "x.tar")
