"""`push`: layouts and archives of every kind, to a registry on a real socket, byte for byte."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import buildpush
from buildpush import CancelToken, Digest, Platform
from buildpush.errors import (
    DigestMismatchError,
    NotFoundError,
    SpecError,
    StepCancelledError,
    TagConflictError,
)
from buildpush.events import Event, TaskStarted
from buildpush.oci import ImageReference
from buildpush.oci.archive import write_docker_archive
from buildpush.oci.layout import Layout, pack_tar
from buildpush.oci.saved import Archive
from buildpush.oci.tar import END, Entry, pack, padding
from buildpush.oci.wire import ImageConfig, Index, Manifest, MediaType
from buildpush.plan import LayoutArtifact
from buildpush.testing import LocalRegistry, random_image
from buildpush.testing.images import random_index

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "image")


@pytest.fixture
def to(registry: LocalRegistry) -> str:
    return registry.reference("acme/app:1")


def blobs_are_there(registry: LocalRegistry, repository: str, layout: Layout, top: Digest) -> bool:
    """Whether every document and blob of the image has the very bytes in the registry."""
    for descriptor, document in layout.manifests(top):
        if registry.manifest(repository, descriptor.digest) != layout.read(descriptor.digest):
            return False
        blobs = (document.config, *document.layers) if isinstance(document, Manifest) else ()
        for blob in blobs:
            stored = layout.blob_path(blob.digest).read_bytes()
            if registry.blob(repository, blob.digest) != stored:
                return False
    return True


# --- layouts ---


def test_a_layout_is_pushed_byte_for_byte(
    registry: LocalRegistry, layout: Layout, to: str
) -> None:
    """Manifests are never written anew."""
    digest = random_index(layout, [AMD, ARM])

    result = buildpush.push(layout.path, to)

    assert result.digest == digest == registry.digest("acme/app", "1")
    assert result.references == (ImageReference.parse(to).with_digest(digest),)
    assert set(result.images) == {AMD, ARM}
    assert [one.status for one in result.destinations] == ["pushed"]
    assert result.warnings == ()
    assert blobs_are_there(registry, "acme/app", layout, digest)


def test_a_layout_is_not_changed(layout: Layout, to: str) -> None:
    """Also not by taking one platform out of it."""
    random_index(layout, [AMD, ARM])
    before = {path: path.read_bytes() for path in layout.path.rglob("*") if path.is_file()}

    buildpush.push(layout.path, to, platforms=[ARM])

    assert before == {p: p.read_bytes() for p in layout.path.rglob("*") if p.is_file()}


def test_one_platform_is_pushed_as_itself(
    registry: LocalRegistry, layout: Layout, to: str
) -> None:
    """Without an index around it."""
    top = layout.document(random_index(layout, [AMD, ARM]))
    assert isinstance(top, Index)

    result = buildpush.push(layout.path, to, platforms="linux/arm64")

    assert result.digest == top.manifests[1].digest == registry.digest("acme/app", "1")
    assert set(result.images) == {ARM}


def test_several_platforms_are_pushed_as_an_index_of_them(
    registry: LocalRegistry, layout: Layout, to: str
) -> None:
    """Whose entries are the old ones."""
    old = json.loads(layout.read(random_index(layout, [AMD, ARM, Platform("linux", "s390x")])))

    buildpush.push(layout.path, to, platforms=["linux/amd64", "linux/s390x"])

    new = json.loads(registry.manifest("acme/app", "1") or b"")
    assert new == {**old, "manifests": [old["manifests"][0], old["manifests"][2]]}


def test_a_platform_that_is_not_there_is_refused(layout: Layout, to: str) -> None:
    """With a list of those that are."""
    random_index(layout, [AMD, ARM])

    with pytest.raises(NotFoundError, match="no image for linux/s390x; there is linux/amd64, "):
        buildpush.push(layout.path, to, platforms=["linux/amd64", "linux/s390x"])


def test_several_images_need_a_choice(registry: LocalRegistry, layout: Layout, to: str) -> None:
    """By digest here; nothing is taken at random."""
    first, second = random_image(layout, seed=1), random_image(layout, seed=2)

    with pytest.raises(SpecError, match=f"holds 2 images: {first}, {second}"):
        buildpush.push(f"oci:{layout.path}", to)
    assert buildpush.push(f"oci:{layout.path}@{second}", to).digest == second
    assert buildpush.push(layout.path, to, image=str(first)).digest == first


def test_a_platform_of_an_index_may_be_named_by_its_digest(layout: Layout, to: str) -> None:
    """What is in the layout can be pushed, listed on top or not."""
    top = layout.document(random_index(layout, [AMD, ARM]))
    assert isinstance(top, Index)
    wanted = top.manifests[1].digest

    assert buildpush.push(f"oci:{layout.path}@{wanted}", to).digest == wanted


def test_a_missing_blob_is_named(layout: Layout, to: str) -> None:
    """Before anything is sent."""
    document = layout.document(random_image(layout))
    assert isinstance(document, Manifest)
    lost = document.layers[0].digest
    layout.blob_path(lost).unlink()

    with pytest.raises(NotFoundError, match=f"{layout.path} lacks {lost}"):
        buildpush.push(layout.path, to)


def test_a_blob_that_is_not_what_it_is_called_is_never_sent(
    registry: LocalRegistry, layout: Layout, to: str
) -> None:
    """Its digest is computed on the way."""
    document = layout.document(random_image(layout))
    assert isinstance(document, Manifest)
    path = layout.blob_path(document.layers[0].digest)
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])

    with pytest.raises(DigestMismatchError):
        buildpush.push(layout.path, to)
    assert registry.tags("acme/app") == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is not an OCI layout"),
        ({"oci-layout": "{}"}, "oci-layout is damaged"),
        ({"oci-layout": '{"imageLayoutVersion":"1.0.0"}'}, "no index.json"),
        (
            {"oci-layout": '{"imageLayoutVersion":"1.0.0"}', "index.json": '{"manifests":[]}'},
            "holds no image",
        ),
    ],
)
def test_a_folder_that_is_no_layout(
    tmp_path: Path, to: str, files: Mapping[str, str], message: str
) -> None:
    """Says what it lacks."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    with pytest.raises(SpecError, match=message):
        buildpush.push(tmp_path, to)


def test_an_artifact_is_pushed(layout: Layout, to: str) -> None:
    """What a backend made, or what an error kept."""
    digest = random_image(layout)

    result = buildpush.push(LayoutArtifact(path=layout.path, digest=digest), to)

    assert result.digest == digest


def test_an_artifact_may_lack_what_a_registry_has(
    registry: LocalRegistry, layout: Layout, to: str
) -> None:
    """Base layers that were never pulled are mounted from where they are."""
    digest = random_image(layout)
    buildpush.push(layout.path, registry.reference("base:1"))
    document = layout.document(digest)
    assert isinstance(document, Manifest)
    layer = document.layers[0]
    layout.blob_path(layer.digest).unlink()
    base = ImageReference.parse(registry.reference("base")).repository

    artifact = LayoutArtifact(path=layout.path, digest=digest, origins={layer.digest: base})
    result = buildpush.push(artifact, to)

    assert result.destinations[0].mounted >= layer.size
    assert registry.blob("acme/app", layer.digest) is not None


def test_the_image_of_a_failed_push_is_pushed_by_its_path(
    registry: LocalRegistry, layout: Layout, to: str, tmp_path: Path
) -> None:
    """An error's `artifact` remembers what its layout lacks."""
    from buildpush.publishing.destinations.keeping import keep

    digest = random_image(layout)
    buildpush.push(layout.path, registry.reference("base:1"))
    document = layout.document(digest)
    assert isinstance(document, Manifest)
    layer = document.layers[0].digest
    layout.blob_path(layer).unlink()
    base = ImageReference.parse(registry.reference("base")).repository
    path = keep(
        LayoutArtifact(path=layout.path, digest=digest, origins={layer: base}), tmp_path / "cache"
    )

    assert buildpush.push(path, to).digest == digest


# --- what may happen to tags ---


def test_the_rules_about_tags_hold(layout: Layout, to: str) -> None:
    """As they do for a step."""
    first, second = random_image(layout, seed=1), random_image(layout, seed=2)
    buildpush.push(layout.path, to, image=str(first))

    with pytest.raises(TagConflictError):
        buildpush.push(layout.path, to, image=str(second), on_existing_tag="fail")
    skipped = buildpush.push(layout.path, to, image=str(second), on_existing_tag="skip")
    moved = buildpush.push(layout.path, to, image=str(second), expect_current=str(first))

    assert [one.status for one in skipped.destinations] == ["skipped"]
    assert skipped.references == ()
    assert moved.digest == second


def test_media_types_are_converted_when_asked(
    registry: LocalRegistry, layout: Layout, to: str
) -> None:
    """The result is then another digest, and says so."""
    digest = random_image(layout)

    result = buildpush.push(layout.path, to, media_types="docker")

    assert result.digest != digest
    assert result.digest == registry.digest("acme/app", "1")
    assert [str(r) for r in result.references] == [f"{to}@{result.digest}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "retries: "),
        ({"on_existing_tag": "maybe"}, "on_existing_tag: "),
        ({"platforms": ["x"]}, "platforms"),
        ({"auth": "hunter22"}, "no keychain has the name that was given"),
        ({"auth": [object()]}, "expected keychains"),
        ({"auth": buildpush.Credential(username="u")}, "StaticKeychain"),
        ({"platform": ["linux/amd64"]}, "platform"),
    ],
)
def test_settings_are_checked_first(
    layout: Layout, to: str, options: dict[str, object], message: str
) -> None:
    """Before anything is read; and no value is quoted."""
    random_image(layout)

    with pytest.raises(SpecError, match=message) as caught:
        buildpush.push(layout.path, to, **options)  # type: ignore[arg-type]
    assert "hunter22" not in caught.value.report()


def test_there_has_to_be_a_destination(layout: Layout) -> None:
    """An empty list is a mistake."""
    random_image(layout)

    with pytest.raises(SpecError, match="at least one reference"):
        buildpush.push(layout.path, [])


# --- archives ---


@pytest.mark.parametrize("transport", ["", "oci-archive:"])
def test_an_oci_archive_keeps_its_digest(
    layout: Layout, to: str, tmp_path: Path, transport: str
) -> None:
    """Compressed as a whole or not."""
    digest = random_index(layout, [AMD, ARM])
    pack_tar(layout, tmp_path / "x.tar")
    (tmp_path / "x.tgz").write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))

    for name in ("x.tar", "x.tgz"):
        assert buildpush.push(f"{transport}{tmp_path / name}", to).digest == digest


def test_a_docker_archive_with_manifests_of_its_own_keeps_its_digest(
    layout: Layout, to: str, tmp_path: Path
) -> None:
    """As containerd's store has them, and as buildpush writes them."""
    digest = random_image(layout)
    names = (ImageReference.parse("app:1"),)
    write_docker_archive(layout, digest, names, tmp_path / "x.tar")

    assert buildpush.push(tmp_path / "x.tar", to, image="app:1").digest == digest


Files = Mapping[str, bytes | str]


def tarball(path: Path, files: Files) -> Path:
    """A tar of *files*, where text is the target of a symbolic link."""
    with tarfile.open(path, "w") as writer:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                writer.addfile(info)
            else:
                info.size = len(data)
                writer.addfile(info, io.BytesIO(data))
    return path


def layer(name: str, data: bytes = b"x") -> bytes:
    return pack(Entry(name, "file", size=len(data))) + data + padding(len(data)) + END


def old_archive(path: Path, tags: Mapping[str, tuple[bytes, ...]]) -> Path:
    """What docker 1.10 to 24 saves, of several images with plain layers."""
    files: dict[str, bytes | str] = {}
    listed = []
    for tag, layers in tags.items():
        config = ImageConfig(
            architecture="amd64", os="linux", diff_ids=tuple(map(Digest.of, layers))
        ).dump()
        name = f"{Digest.of(config).hex}.json"
        files[name] = config
        names = []
        for number, data in enumerate(layers):
            folder = Digest.of(f"{tag}{number}".encode()).hex
            files[f"{folder}/VERSION"] = b"1.0"
            files[f"{folder}/layer.tar"] = data
            names.append(f"{folder}/layer.tar")
        listed.append({"Config": name, "RepoTags": [tag], "Layers": names})
    files["manifest.json"] = json.dumps(listed).encode()
    files["repositories"] = b"{}"
    return tarball(path, files)


def test_an_old_docker_archive_is_compressed_the_same_everywhere(
    registry: LocalRegistry, to: str, tmp_path: Path
) -> None:
    """The digest is known beforehand: zlib's, without times and names."""
    path = old_archive(tmp_path / "x.tar", {"app:1": (layer("a"), layer("b"))})

    first = buildpush.push(path, to)
    second = buildpush.push(f"docker-archive:{path}", to)

    assert first.digest == second.digest
    assert [one.status for one in second.destinations] == ["present"]
    document = json.loads(registry.manifest("acme/app", "1") or b"")
    for entry, plain in zip(document["layers"], (layer("a"), layer("b")), strict=True):
        assert entry["mediaType"] == MediaType.OCI_LAYER_GZIP
        assert gzip.decompress(registry.blob("acme/app", entry["digest"]) or b"") == plain


@pytest.mark.parametrize(
    ("compression", "media_type"),
    [("zstd", MediaType.OCI_LAYER_ZSTD), ("none", MediaType.OCI_LAYER)],
)
def test_the_compression_of_plain_layers_may_be_chosen(
    registry: LocalRegistry, to: str, tmp_path: Path, compression: str, media_type: str
) -> None:
    """Only theirs: what is compressed stays as it is."""
    path = old_archive(tmp_path / "x.tar", {"app:1": (layer("a"),)})

    buildpush.push(path, to, compression=compression)  # type: ignore[arg-type]

    document = json.loads(registry.manifest("acme/app", "1") or b"")
    assert [entry["mediaType"] for entry in document["layers"]] == [media_type]


def test_one_of_several_saved_images_is_chosen(to: str, tmp_path: Path) -> None:
    """By its name; only that one is read."""
    path = old_archive(
        tmp_path / "x.tar", {"app:1": (layer("a"),), "ghcr.io/acme/app:2": (layer("b"),)}
    )

    with pytest.raises(SpecError, match=r"holds 2 images: app:1, ghcr\.io/acme/app:2"):
        buildpush.push(path, to)
    one = buildpush.push(path, to, image="app:1")
    two = buildpush.push(f"docker-archive:{path}:ghcr.io/acme/app:2", to)

    assert one.digest != two.digest


def ancient(tmp_path: Path, **changed: bytes) -> Path:
    """What docker saved before 1.10: each layer's json names its parent."""
    base, top = "1" * 64, "2" * 64
    files = {
        f"{base}/VERSION": b"1.0",
        f"{base}/json": json.dumps(
            {"id": base, "created": "2014-01-01T00:00:00Z", "os": "linux", "Size": 1}
        ).encode(),
        f"{base}/layer.tar": layer("a"),
        f"{top}/VERSION": b"1.0",
        f"{top}/json": json.dumps(
            {
                "id": top,
                "parent": base,
                "created": "2014-01-02T00:00:00Z",
                "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) ADD b /"]},
                "config": {"Env": ["A=b"]},
                "architecture": "amd64",
                "os": "linux",
            }
        ).encode(),
        f"{top}/layer.tar": layer("b"),
        "repositories": json.dumps({"app": {"1": top, "latest": top}}).encode(),
    }
    return tarball(tmp_path / "x.tar", {**files, **changed})


def test_an_archive_of_before_there_were_manifests(
    registry: LocalRegistry, to: str, tmp_path: Path
) -> None:
    """Its config is made of the layers' own, base first."""
    result = buildpush.push(ancient(tmp_path), to, image="app:1")

    document = json.loads(registry.manifest("acme/app", result.digest) or b"")
    config = json.loads(registry.blob("acme/app", document["config"]["digest"]) or b"")
    assert config == {
        "architecture": "amd64",
        "os": "linux",
        "created": "2014-01-02T00:00:00Z",
        "config": {"Env": ["A=b"]},
        "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) ADD b /"]},
        "history": [
            {"created": "2014-01-01T00:00:00Z"},
            {"created": "2014-01-02T00:00:00Z", "created_by": "/bin/sh -c #(nop) ADD b /"},
        ],
        "rootfs": {
            "type": "layers",
            "diff_ids": [str(Digest.of(layer("a"))), str(Digest.of(layer("b")))],
        },
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"repositories": b"[]"}, "its repositories is damaged"),
        ({"repositories": b'{"app":{"1":"../x"}}'}, "not the id of a layer"),
        ({f"{'2' * 64}/json": b"["}, "json is damaged"),
        ({f"{'2' * 64}/json": b'{"parent":"../../etc"}'}, "parent is not the id"),
        ({f"{'2' * 64}/json": json.dumps({"parent": "2" * 64}).encode()}, "more than 1000"),
        ({f"{'2' * 64}/json": json.dumps({"parent": "3" * 64}).encode()}, f"no '{'3' * 64}/json'"),
    ],
)
def test_an_ancient_archive_that_is_broken(
    tmp_path: Path, to: str, changed: dict[str, bytes], message: str
) -> None:
    """Says of what it is made of what is wrong."""
    with pytest.raises((SpecError, NotFoundError), match=message):
        buildpush.push(ancient(tmp_path, **changed), to)


def test_platforms_that_docker_lists_but_does_not_have_are_left_out(
    registry: LocalRegistry, layout: Layout, to: str, tmp_path: Path
) -> None:
    """With a warning; what is left keeps its bytes."""
    digest = random_index(layout, [AMD, ARM, Platform("linux", "s390x")])
    top = layout.document(digest)
    assert isinstance(top, Index)
    layout.blob_path(top.manifests[1].digest).unlink()
    pack_tar(layout, tmp_path / "x.tar")

    result = buildpush.push(tmp_path / "x.tar", to)

    assert set(result.images) == {AMD, Platform("linux", "s390x")}
    assert result.warnings == (
        f"{tmp_path / 'x.tar'} lists linux/arm64, but does not have them: they are left out",
    )
    layout.blob_path(top.manifests[2].digest).unlink()
    pack_tar(layout, tmp_path / "y.tar")
    assert buildpush.push(tmp_path / "y.tar", to).digest == top.manifests[0].digest
    layout.blob_path(top.manifests[0].digest).unlink()
    pack_tar(layout, tmp_path / "z.tar")
    with pytest.raises(NotFoundError, match="no platform's image whole"):
        buildpush.push(tmp_path / "z.tar", to)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "spoil",
    [cut, lambda data: cut(gzip.compress(data)), lambda data: b"\x1f\x8b" + data],
    ids=["tar cut short", "gzip cut short", "no gzip"],
)
def test_a_damaged_archive_is_refused(
    registry: LocalRegistry,
    layout: Layout,
    to: str,
    tmp_path: Path,
    spoil: Callable[[bytes], bytes],
) -> None:
    """As the archive's own fault."""
    random_image(layout, size=1 << 16)
    pack_tar(layout, tmp_path / "x.tar")
    (tmp_path / "x.tar").write_bytes(spoil((tmp_path / "x.tar").read_bytes()))

    with pytest.raises(SpecError, match=r"x\.tar is"):
        buildpush.push(tmp_path / "x.tar", to)
    assert registry.repositories == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x": b""}, "no manifest.json"),
        ({"../x": b""}, "cannot leave its root"),
        ({"manifest.json": b'[{"Config":"../../etc/passwd"}]'}, "outside of it"),
        ({"manifest.json": b'[{"Config":"c"}]', "c": "/etc/passwd"}, "outside of it"),
        ({"manifest.json": bytes(5 << 20)}, "larger than 4194304 bytes"),
        ({"oci-layout": b"{}", "index.json": b"[]"}, "index.json"),
    ],
)
def test_an_archive_cannot_reach_out_of_itself(
    tmp_path: Path, to: str, files: Files, message: str
) -> None:
    """Nor fill the memory."""
    with pytest.raises(SpecError, match=message):
        buildpush.push(tarball(tmp_path / "x.tar", files), to)


# --- running ---


def test_events_come_in_the_callers_thread(layout: Layout, to: str) -> None:
    """One at a time, as those of a step do."""
    random_image(layout)
    events: list[Event] = []
    threads: set[threading.Thread] = set()

    def on_event(event: Event) -> None:
        events.append(event)
        threads.add(threading.current_thread())

    buildpush.push(layout.path, to, on_event=on_event)

    assert threads == {threading.current_thread()}
    assert [event.title for event in events if isinstance(event, TaskStarted)]


def test_a_push_can_be_cancelled(registry: LocalRegistry, layout: Layout, to: str) -> None:
    """From the first event on; nothing is left in the temporary folder."""
    random_image(layout)
    cancel = CancelToken()

    with pytest.raises(StepCancelledError):
        buildpush.push(layout.path, to, on_event=lambda _: cancel.cancel(), cancel=cancel)
    assert registry.tags("acme/app") == ()


@pytest.mark.parametrize("wrap", [bytes, gzip.compress], ids=["plain", "compressed"])
@pytest.mark.parametrize("form", ["oci", "docker"])
def test_reading_an_archive_can_be_stopped_at_any_piece(
    layout: Layout, tmp_path: Path, form: str, wrap: Callable[[bytes], bytes]
) -> None:
    """Looking through it, and bringing an image out of it."""
    path = tmp_path / "x.tar"
    if form == "oci":
        random_image(layout, size=1 << 20)
        pack_tar(layout, path)
    else:
        old_archive(path, {"app:1": (layer("a", b"a" * (1 << 20)),)})
    path.write_bytes(wrap(path.read_bytes()))
    calls = 0

    def take(limit: int) -> int:
        nonlocal calls
        calls = 0

        def check() -> None:
            nonlocal calls
            calls += 1
            if calls > limit:
                raise StepCancelledError("enough")

        archive = Archive.open(path, check=check)
        room = Layout.create(tmp_path / f"room-{limit}")
        if archive.is_layout:
            archive.unpack(tmp_path / f"unpacked-{limit}", check=check)
        else:
            archive.bring(archive.images[0], room, check=check)
        return calls

    pieces = take(1 << 30)

    assert pieces > 2
    for limit in range(pieces):
        with pytest.raises(StepCancelledError):
            take(limit)


def test_an_error_in_on_event_ends_the_push(layout: Layout, to: str) -> None:
    """And is what the caller gets."""
    random_image(layout)

    def on_event(_: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        buildpush.push(layout.path, to, on_event=on_event)
    assert not [thread for thread in threading.enumerate() if thread.name == "buildpush"]
