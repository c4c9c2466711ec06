"""What an engine exported becomes an image to push: layouts, archives, base layers, compression."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush import dockerfile
from buildpush.auth import Chain
from buildpush.backends.engine.exported import adopt
from buildpush.backends.engine.sparing import look_up, sparing
from buildpush.backends.registries import open_registry
from buildpush.errors import BuildError, DigestMismatchError, StepCancelledError
from buildpush.events import TaskFinished
from buildpush.oci import Digest, ImageReference, Platform
from buildpush.oci.archive import write_docker_archive
from buildpush.oci.layer import LayerWriter
from buildpush.oci.layout import Layout, pack_tar, verify
from buildpush.oci.tar import Entry
from buildpush.oci.wire import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    MediaType,
    dump,
    parse_config,
)
from buildpush.plan import BuildRequest, LayoutArtifact
from buildpush.registry.push import push
from buildpush.runtime import CancelToken, Run
from buildpush.testing import Fault, Hang, LocalRegistry, RecordingSink, random_image, random_index

AMD64 = Platform("linux", "amd64")
DOCKER_TAR = "application/vnd.docker.image.rootfs.diff.tar"
NOBODY = Chain(())


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def run(tmp_path: Path, sink: RecordingSink) -> Run:
    folder = tmp_path / "run"
    folder.mkdir()
    return Run(workdir=folder, cancel=CancelToken(), sink=sink)


def request_for(text: str, context: Path, *references: str) -> BuildRequest:
    return BuildRequest(
        context=context,
        dockerfile=dockerfile.parse(text),
        dockerfile_path=context / "Dockerfile",
        platforms=(AMD64,),
        references=tuple(ImageReference.parse(name) for name in references),
        retries=0,
    )


@pytest.fixture
def scratch(tmp_path: Path) -> BuildRequest:
    return request_for("FROM scratch\nCOPY . /\n", tmp_path)


def image_of(layout: Layout, digest: Digest) -> Manifest:
    document = layout.document(digest)
    assert isinstance(document, Manifest)
    return document


def diff_ids(layout: Layout, manifest: Manifest) -> tuple[Digest, ...]:
    return parse_config(layout.read(manifest.config.digest)).diff_ids


def blobs(layout: Layout) -> set[str]:
    return {path.name for path in (layout.path / "blobs" / "sha256").iterdir()}


def tar_of(path: Path, name: str, content: bytes) -> bytes:
    with LayerWriter(path, compression="none") as writer:
        writer.add(Entry(name, "file", 0o644, size=len(content)), content)
        writer.finish()
    return path.read_bytes()


# --- layouts ---


def test_plain_layers_are_compressed(
    tmp_path: Path, scratch: BuildRequest, run: Run, sink: RecordingSink
) -> None:
    """The manifest names the compressed layers; the config is untouched, and all of it is true."""
    source = Layout.create(tmp_path / "layout")
    digest = random_image(source, layers=3, compression="none")
    before = image_of(source, digest)

    artifact = adopt(source.path, scratch, NOBODY, run)

    after = image_of(source, artifact.digest)
    (image,) = verify(source, artifact.digest)
    assert [layer.media_type for layer in image.layers] == [MediaType.OCI_LAYER_GZIP] * 3
    assert after.config == before.config
    assert artifact.origins == {}
    assert [entry.digest for entry in source.index().manifests] == [artifact.digest]
    named = {artifact.digest, after.config.digest, *(layer.digest for layer in after.layers)}
    assert blobs(source) == {d.hex for d in named}
    assert [event.outcome for event in sink.of(TaskFinished)] == ["done"] * 3


@pytest.mark.parametrize(
    ("compression", "level", "media_type"),
    [
        ("gzip", 9, MediaType.OCI_LAYER_GZIP),
        ("zstd", None, MediaType.OCI_LAYER_ZSTD),
        ("none", None, MediaType.OCI_LAYER),
    ],
)
def test_layers_are_compressed_as_asked(
    tmp_path: Path,
    scratch: BuildRequest,
    run: Run,
    compression: Any,
    level: int | None,
    media_type: str,
) -> None:
    """The request's compression and level are honoured, none included."""
    source = Layout.create(tmp_path / "layout")
    random_image(source, compression="none")
    request = evolve(scratch, compression=compression, compression_level=level)

    artifact = adopt(source.path, request, NOBODY, run)

    (image,) = verify(source, artifact.digest)
    assert [layer.media_type for layer in image.layers] == [media_type]


def test_layers_that_came_compressed_stay_as_they_are(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """What the engine compressed is not compressed again: the digest is the engine's."""
    source = Layout.create(tmp_path / "layout")
    digest = random_image(source, layers=2)

    artifact = adopt(source.path, evolve(scratch, compression="zstd"), NOBODY, run)

    assert artifact == LayoutArtifact(path=source.path, digest=digest)


def test_unknown_fields_of_manifests_survive(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """What an engine says about an image is kept, known here or not."""
    source = Layout.create(tmp_path / "layout")
    tree = json.loads(source.read(random_image(source, compression="none")))
    tree |= {"annotations": {"a": "b"}, "x-new": {"deep": [1]}}
    tree["layers"][0] |= {"annotations": {"c": "d"}, "x-data": "e"}
    tree["config"]["x-more"] = True
    top = source.add_bytes(json.dumps(tree).encode(), MediaType.OCI_MANIFEST)
    source.set_index([evolve(top, annotations={"on": "the index"})])

    artifact = adopt(source.path, scratch, NOBODY, run)

    after = json.loads(source.read(artifact.digest))
    changed = {"mediaType", "digest", "size"}
    assert {k: v for k, v in after.items() if k != "layers"} == {
        k: v for k, v in tree.items() if k != "layers"
    }
    assert {k: v for k, v in after["layers"][0].items() if k not in changed} == {
        "annotations": {"c": "d"},
        "x-data": "e",
    }
    assert source.index().manifests[0].annotations == {"on": "the index"}


def test_an_index_is_rewritten_from_below(tmp_path: Path, scratch: BuildRequest, run: Run) -> None:
    """Every platform's manifest changes its digest, and the index follows."""
    source = Layout.create(tmp_path / "layout")
    arm = Platform("linux", "arm64")
    children = []
    for number, platform in enumerate((AMD64, arm)):
        digest = random_image(source, seed=number, platform=platform, compression="none")
        children.append(
            Descriptor(
                media_type=MediaType.OCI_MANIFEST,
                digest=digest,
                size=len(source.read(digest)),
                platform=platform,
            )
        )
    source.set_index(
        [source.add_bytes(dump(Index(manifests=tuple(children))), MediaType.OCI_INDEX)]
    )

    artifact = adopt(source.path, scratch, NOBODY, run)

    images = verify(source, artifact.digest)
    assert [image.platform for image in images] == [AMD64, arm]
    assert {layer.media_type for image in images for layer in image.layers} == {
        MediaType.OCI_LAYER_GZIP
    }
    assert not {child.digest.hex for child in children} & blobs(source)


def test_attested_images_are_kept_as_they_are(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """An attestation names the manifest it is about: another digest would orphan it."""
    source = Layout.create(tmp_path / "layout")
    image = random_image(source, compression="none")
    size = len(source.read(image))
    statement = source.add_bytes(b"{}", "application/vnd.in-toto+json")
    attestation = source.add_bytes(
        dump(Manifest(config=source.add_bytes(b"{}", MediaType.OCI_EMPTY), layers=(statement,))),
        MediaType.OCI_MANIFEST,
    )
    index = Index(
        manifests=(
            Descriptor(media_type=MediaType.OCI_MANIFEST, digest=image, size=size),
            evolve(
                attestation,
                annotations={
                    "vnd.docker.reference.type": "attestation-manifest",
                    "vnd.docker.reference.digest": str(image),
                },
            ),
        )
    )
    top = source.add_bytes(dump(index), MediaType.OCI_INDEX)
    source.set_index([top])
    before = blobs(source)

    artifact = adopt(source.path, scratch, NOBODY, run)

    assert artifact.digest == top.digest
    assert blobs(source) == before


def test_a_docker_manifest_keeps_dockers_media_types(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """A manifest does not mix docker's names for layers with OCI's."""
    source = Layout.create(tmp_path / "layout")
    manifest = image_of(source, random_image(source, compression="none"))
    docker = evolve(
        manifest,
        media_type=MediaType.DOCKER_MANIFEST,
        config=evolve(manifest.config, media_type=MediaType.DOCKER_CONFIG),
        layers=tuple(evolve(layer, media_type=DOCKER_TAR) for layer in manifest.layers),
    )
    source.set_index([source.add_bytes(dump(docker), MediaType.DOCKER_MANIFEST)])

    artifact = adopt(source.path, scratch, NOBODY, run)

    after = image_of(source, artifact.digest)
    assert after.media_type == MediaType.DOCKER_MANIFEST
    assert [layer.media_type for layer in after.layers] == [MediaType.DOCKER_LAYER]


def test_one_image_under_several_names_is_one_image(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """An engine lists an image once for each of its tags."""
    source = Layout.create(tmp_path / "layout")
    random_image(source)
    (entry,) = source.index().manifests
    source.set_index([evolve(entry, annotations={"name": name}) for name in ("a", "b")])

    artifact = adopt(source.path, scratch, NOBODY, run)

    assert artifact.digest == entry.digest


def test_several_images_are_refused(tmp_path: Path, scratch: BuildRequest, run: Run) -> None:
    """Nobody can know which of them is meant."""
    source = Layout.create(tmp_path / "layout")
    random_image(source, seed=1)
    random_image(source, seed=2)

    with pytest.raises(BuildError, match="holds 2 images instead of one"):
        adopt(source.path, scratch, NOBODY, run)


def test_a_missing_layer_is_found_out(tmp_path: Path, scratch: BuildRequest, run: Run) -> None:
    """A layer that is nowhere would make a push fail in the end: better say so now."""
    source = Layout.create(tmp_path / "layout")
    manifest = image_of(source, random_image(source, compression="none"))
    source.blob_path(manifest.layers[0].digest).unlink()

    with pytest.raises(BuildError, match=f"no layer {manifest.layers[0].digest}"):
        adopt(source.path, scratch, NOBODY, run)


def test_a_layer_that_is_not_what_it_is_named_is_found_out(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """Compressing reads every byte, so that it checks them, too."""
    source = Layout.create(tmp_path / "layout")
    manifest = image_of(source, random_image(source, compression="none"))
    path = source.blob_path(manifest.layers[0].digest)
    path.write_bytes(path.read_bytes().replace(b"random", b"RANDOM"))

    with pytest.raises(DigestMismatchError, match="does not hash to it"):
        adopt(source.path, scratch, NOBODY, run)


def test_cancelling_stops_the_compression(tmp_path: Path, scratch: BuildRequest, run: Run) -> None:
    """No layer is finished after somebody has cancelled."""
    source = Layout.create(tmp_path / "layout")
    random_image(source, compression="none", size=1 << 20)
    run.cancel.cancel()

    with pytest.raises(StepCancelledError):
        adopt(source.path, scratch, NOBODY, run)

    assert list(source.path.glob(".compress-*")) == []


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100])
def test_what_is_no_export_is_refused(
    tmp_path: Path, scratch: BuildRequest, run: Run, content: bytes
) -> None:
    """A build that left nothing usable has failed."""
    path = tmp_path / "image.tar"
    path.write_bytes(content)

    with pytest.raises(BuildError, match="what the engine exported cannot be read"):
        adopt(path, scratch, NOBODY, run)


# --- archives ---


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_an_oci_archive_is_adopted(
    tmp_path: Path, scratch: BuildRequest, run: Run, compression: Any
) -> None:
    """Its layers are compressed out of the archive, or copied when they are already."""
    source = Layout.create(tmp_path / "layout")
    digest = random_image(source, layers=2, compression=compression)
    expected = diff_ids(source, image_of(source, digest))
    pack_tar(source, tmp_path / "image.tar")

    artifact = adopt(tmp_path / "image.tar", scratch, NOBODY, run)

    layout = Layout.open(artifact.path)
    (image,) = verify(layout, artifact.digest)
    assert diff_ids(layout, image_of(layout, artifact.digest)) == expected
    assert [layer.media_type for layer in image.layers] == [MediaType.OCI_LAYER_GZIP] * 2
    assert artifact.path.is_relative_to(run.workdir)
    assert compression == "none" or artifact.digest == digest


def test_a_plain_layer_of_an_archive_can_stay_plain(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """Without compression the layers are copied out."""
    source = Layout.create(tmp_path / "layout")
    digest = random_image(source, compression="none")
    pack_tar(source, tmp_path / "image.tar")

    artifact = adopt(tmp_path / "image.tar", evolve(scratch, compression="none"), NOBODY, run)

    assert artifact.digest == digest
    assert len(verify(Layout.open(artifact.path), digest)) == 1


def test_the_archive_of_a_current_docker_is_adopted(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """Docker has written both its own and the OCI's index since version 25."""
    source = Layout.create(tmp_path / "layout")
    digest = random_image(source)
    name = ImageReference.parse("registry.test/app:1")
    write_docker_archive(source, digest, [name], tmp_path / "image.tar")

    artifact = adopt(tmp_path / "image.tar", scratch, NOBODY, run)

    assert artifact.digest == digest
    assert len(verify(Layout.open(artifact.path), digest)) == 1


def test_platforms_that_docker_names_without_having_them_are_passed_over(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """Docker saves the whole index of a base image; its manifest.json says what there is."""
    source = Layout.create(tmp_path / "layout")
    arm = Platform("linux", "arm64")
    index = source.document(random_index(source, [AMD64, arm]))
    assert isinstance(index, Index)
    here, absent = index.manifests
    manifest = image_of(source, here.digest)
    saved = [
        {
            "Config": f"blobs/sha256/{manifest.config.digest.hex}",
            "Layers": [f"blobs/sha256/{layer.digest.hex}" for layer in manifest.layers],
        }
    ]
    (source.path / "manifest.json").write_text(json.dumps(saved))
    source.blob_path(absent.digest).unlink()
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        archive.add(source.path, ".")

    artifact = adopt(tmp_path / "image.tar", scratch, NOBODY, run)

    layout = Layout.open(artifact.path)
    (image,) = verify(layout, artifact.digest)
    assert image.platform == AMD64
    assert image_of(layout, artifact.digest).layers == manifest.layers


def classic_archive(
    path: Path, layers: list[bytes], *, links: dict[str, str] | None = None
) -> None:
    """What ``docker save`` wrote before version 25: a folder for each layer, plain tars."""
    names = [
        f"{hashlib.sha256(data).hexdigest()[:12]}{n}/layer.tar" for n, data in enumerate(layers)
    ]
    plain = [gzip.decompress(x) if x[:2] == b"\x1f\x8b" else x for x in layers]
    config = ImageConfig(
        architecture="amd64", os="linux", diff_ids=tuple(Digest.of(data) for data in plain)
    ).dump()
    with tarfile.open(path, "w") as archive:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        for number, (name, data) in enumerate(zip(names, layers, strict=True)):
            if data in layers[:number]:
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, f"../{names[layers.index(data)]}"
                archive.addfile(link)
            else:
                add(name, data)
        add("config.json", config)
        saved = [{"Config": "config.json", "RepoTags": ["a:1"], "Layers": names}]
        add("manifest.json", json.dumps(saved).encode())


def test_the_archive_of_an_old_docker_is_adopted(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """Plain layers, one of them a link to another, become an OCI image."""
    one = tar_of(tmp_path / "one", "a", b"1" * 5000)
    two = tar_of(tmp_path / "two", "b", b"2" * 5000)
    classic_archive(tmp_path / "image.tar", [one, two, one])

    artifact = adopt(tmp_path / "image.tar", scratch, NOBODY, run)

    layout = Layout.open(artifact.path)
    (image,) = verify(layout, artifact.digest)
    assert diff_ids(layout, image_of(layout, artifact.digest)) == tuple(
        Digest.of(data) for data in (one, two, one)
    )
    assert image.layers[0] == image.layers[2]
    assert {layer.media_type for layer in image.layers} == {MediaType.OCI_LAYER_GZIP}


def test_a_compressed_layer_of_an_old_archive_is_taken_as_it_is(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """Other tools write docker's old archives with layers that are compressed."""
    data = gzip.compress(tar_of(tmp_path / "one", "a", b"1" * 5000))
    classic_archive(tmp_path / "image.tar", [data])

    artifact = adopt(tmp_path / "image.tar", scratch, NOBODY, run)

    layout = Layout.open(artifact.path)
    (image,) = verify(layout, artifact.digest)
    assert [layer.digest for layer in image.layers] == [Digest.of(data)]


@pytest.mark.parametrize(
    "manifest",
    [
        b"not json",
        b"[]",
        b'[{"Config": "c", "Layers": []}]',
        b'[{"Config": 1, "Layers": []}]',
        b'[{"Config": "config.json", "Layers": ["nowhere"]}]',
        b'[{"Config": "config.json", "Layers": []}]',
    ],
)
def test_a_damaged_archive_is_refused(
    tmp_path: Path, scratch: BuildRequest, run: Run, manifest: bytes
) -> None:
    """What does not fit together is no image."""
    config = ImageConfig(architecture="amd64", os="linux", diff_ids=(Digest.of(b""),)).dump()
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name, data in (("config.json", config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

    with pytest.raises(BuildError, match="what the engine exported cannot be read"):
        adopt(tmp_path / "image.tar", scratch, NOBODY, run)


def test_a_config_that_claims_to_be_elsewhere_is_missed(
    tmp_path: Path, scratch: BuildRequest, run: Run
) -> None:
    """Only layers can be; an archive's own words are nobody's to trust."""
    source = Layout.create(tmp_path / "layout")
    manifest = image_of(source, random_image(source))
    elsewhere = evolve(
        manifest.config, media_type="application/vnd.oci.image.layer.nondistributable.v1.tar"
    )
    source.set_index(
        (source.add_bytes(dump(evolve(manifest, config=elsewhere)), MediaType.OCI_MANIFEST),)
    )
    source.blob_path(elsewhere.digest).unlink()
    pack_tar(source, tmp_path / "image.tar")

    with pytest.raises(BuildError, match="cannot be read"):
        adopt(tmp_path / "image.tar", scratch, NOBODY, run)


# --- base images ---


def put_base(registry: LocalRegistry, layout: Layout, digest: Digest, repository: str) -> None:
    """Give *registry* the image as ``repository:1``."""
    manifest = image_of(layout, digest)
    for blob in (manifest.config, *manifest.layers):
        registry.add_blob(repository, layout.blob_path(blob.digest).read_bytes())
    registry.add_manifest(repository, layout.read(digest), manifest.media_type, tag="1")


def on_top(layout: Layout, base: Manifest, tar: bytes, *, plain: bool = False) -> Manifest:
    """An image of *base*'s layers and one of the plain *tar*, as an engine exports it.

    With *plain* the base's layers are named by their diff ids, as buildah does.
    """
    config = parse_config(layout.read(base.config.digest))
    layer = layout.add_bytes(tar, MediaType.OCI_LAYER)
    below = base.layers
    if plain:
        below = tuple(
            Descriptor(media_type=MediaType.OCI_LAYER, digest=d, size=0) for d in config.diff_ids
        )
    finished = evolve(config, diff_ids=(*config.diff_ids, layer.digest))
    manifest = Manifest(
        config=layout.add_bytes(finished.dump(), MediaType.OCI_CONFIG), layers=(*below, layer)
    )
    layout.set_index([layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST)])
    return manifest


@pytest.fixture
def registry() -> Any:
    with LocalRegistry() as registry:
        yield registry


@pytest.fixture
def source(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "layout")


@pytest.fixture
def base(registry: LocalRegistry, source: Layout) -> Manifest:
    digest = random_image(source, layers=2)
    put_base(registry, source, digest, "base/debian")
    return image_of(source, digest)


def pushed(artifact: LayoutArtifact, request: BuildRequest, run: Run) -> dict[str, int]:
    """Push it; how many blobs were sent, mounted, there."""
    with open_registry(request, NOBODY, run) as client:
        report = push(
            client,
            Layout.open(artifact.path),
            artifact.digest,
            request.references,
            origins=artifact.origins,
            run=run,
        )
    return {
        "uploaded": report.uploaded.blobs,
        "mounted": report.mounted.blobs,
        "existing": report.existing.blobs,
    }


def test_base_layers_know_where_they_come_from(
    tmp_path: Path, registry: LocalRegistry, source: Layout, base: Manifest, run: Run
) -> None:
    """The push mounts them; it sends the new layer and the config."""
    on_top(source, base, tar_of(tmp_path / "new", "new", b"new"))
    reference = registry.reference("base/debian:1")
    request = request_for(f"FROM {reference}\nRUN x\n", tmp_path, registry.reference("app:2"))

    artifact = adopt(source.path, request, NOBODY, run)

    repository = ImageReference.parse(reference).repository
    assert artifact.origins == {layer.digest: repository for layer in base.layers}
    assert image_of(source, artifact.digest).layers[:2] == base.layers
    assert pushed(artifact, request, run) == {"uploaded": 2, "mounted": 2, "existing": 0}


def test_layers_an_engine_re_encoded_become_the_bases_own_again(
    tmp_path: Path, registry: LocalRegistry, base: Manifest, source: Layout, run: Run
) -> None:
    """An old docker saves plain tars: what the registry has is known by the tar's digest."""
    plain = [gzip.decompress(source.blob_path(x.digest).read_bytes()) for x in base.layers]
    new = tar_of(tmp_path / "new", "new", b"new")
    classic_archive(tmp_path / "image.tar", [*plain, new])
    request = request_for(
        f"FROM {registry.reference('base/debian:1')}\nRUN x\n", tmp_path, registry.reference("app")
    )

    artifact = adopt(tmp_path / "image.tar", request, NOBODY, run)

    layout = Layout.open(artifact.path)
    after = image_of(layout, artifact.digest)
    assert after.layers[:2] == base.layers
    assert blobs(layout) == {
        d.hex for d in (artifact.digest, after.config.digest, after.layers[2].digest)
    }
    assert pushed(artifact, request, run) == {"uploaded": 2, "mounted": 2, "existing": 0}


def test_the_base_is_found_through_stages_arguments_and_contexts(
    tmp_path: Path, registry: LocalRegistry, source: Layout, base: Manifest, run: Run
) -> None:
    """The final stage's own base counts, whatever leads to it; that of another stage does not."""
    on_top(source, base, tar_of(tmp_path / "new", "new", b"new"))
    reference = registry.reference("base/debian:1")
    text = (
        "ARG BASE=nothing.invalid/a\nFROM nothing.invalid/b AS other\n"
        "FROM $BASE AS one\nRUN x\nFROM one AS two\nCOPY --from=other / /\nFROM scratch\n"
    )
    request = evolve(request_for(text, tmp_path), target="two", build_args={"BASE": reference})
    by_context = evolve(
        request_for("FROM base\n", tmp_path),
        build_contexts={"base": f"docker-image://{reference}"},
    )

    artifact = adopt(source.path, request, NOBODY, run)
    again = adopt(source.path, by_context, NOBODY, run)

    assert set(artifact.origins) == {layer.digest for layer in base.layers}
    assert again == artifact


@pytest.mark.parametrize(
    "text", ["FROM {host}/base/other:1\n", "FROM 127.0.0.1:1/nobody\n", "FROM $NONE\n"]
)
def test_a_base_that_cannot_be_asked_for_only_costs_the_origins(
    tmp_path: Path, registry: LocalRegistry, source: Layout, base: Manifest, run: Run, text: str
) -> None:
    """The engine had it; so everything is in the export, and is pushed from there."""
    on_top(source, base, tar_of(tmp_path / "new", "new", b"new"))
    request = request_for(text.format(host=registry.host), tmp_path, registry.reference("app:2"))

    artifact = adopt(source.path, request, NOBODY, run)

    assert artifact.origins == {}
    assert pushed(artifact, request, run) == {"uploaded": 4, "mounted": 0, "existing": 0}


def test_a_base_with_a_damaged_config_is_not_believed(
    tmp_path: Path, registry: LocalRegistry, source: Layout, base: Manifest, run: Run
) -> None:
    """A config that names other layers than the manifest says nothing about them."""
    broken = evolve(base, layers=base.layers[:1])
    registry.add_manifest("base/debian", dump(broken), MediaType.OCI_MANIFEST, tag="1")
    on_top(source, base, tar_of(tmp_path / "new", "new", b"new"))
    request = request_for(f"FROM {registry.reference('base/debian:1')}\n", tmp_path)

    artifact = adopt(source.path, request, NOBODY, run)

    assert artifact.origins == {}


def test_a_base_is_read_once(
    tmp_path: Path, registry: LocalRegistry, source: Layout, base: Manifest, run: Run
) -> None:
    """Where pulls are counted, reading a manifest is one; asking for its digest is none."""
    on_top(source, base, tar_of(tmp_path / "new", "new", b"new"))
    request = request_for(f"FROM {registry.reference('base/debian:1')}\n", tmp_path)
    first = adopt(source.path, request, NOBODY, run)
    registry.clear_log()

    again = adopt(source.path, request, NOBODY, run)

    assert again == first
    assert {r.method for r in registry.requests if "base/debian" in r.path} == {"HEAD"}


def test_a_damaged_memory_is_not_believed(
    tmp_path: Path, registry: LocalRegistry, source: Layout, base: Manifest, run: Run
) -> None:
    """What does not hash to its name is read again, and replaced."""
    on_top(source, base, tar_of(tmp_path / "new", "new", b"new"))
    request = request_for(f"FROM {registry.reference('base/debian:1')}\n", tmp_path)
    first = adopt(source.path, request, NOBODY, run)
    kept = list((run.environment.cache / "bases" / "blobs" / "sha256").iterdir())
    for path in kept:
        path.write_bytes(b"damaged")

    again = adopt(source.path, request, NOBODY, run)

    assert again == first
    assert all(Digest.of(path.read_bytes()).hex == path.name for path in kept)


def test_the_memory_forgets_what_is_old(
    registry: LocalRegistry, source: Layout, base: Manifest, run: Run, tmp_path: Path
) -> None:
    """It does not grow for ever."""
    folder = run.environment.cache / "bases" / "blobs" / "sha256"
    folder.mkdir(parents=True)
    for number in range(600):
        path = folder / f"{number:064}"
        path.touch()
        os.utime(path, (number, number))
    request = request_for(f"FROM {registry.reference('base/debian:1')}\n", tmp_path)

    (found,) = look_up(request, NOBODY, run)

    assert found.layers == base.layers
    names = {path.name for path in folder.iterdir()}
    assert len(names) < 500
    assert base.config.digest.hex in names


# --- marks ---


def build_with_marks(folder: Path, image: Layout, manifest: Manifest) -> None:
    """Do as an engine does: write what is not there yet, and an index."""
    top = image.index().manifests[0].digest
    for digest in (top, manifest.config.digest, *(layer.digest for layer in manifest.layers)):
        target = folder / "blobs" / "sha256" / digest.hex
        if not target.exists():
            target.write_bytes(image.blob_path(digest).read_bytes())
    for name in ("oci-layout", "index.json"):
        (folder / name).write_bytes((image.path / name).read_bytes())


@pytest.mark.parametrize("marks", ["digest", "diff_id"])
def test_marked_layers_are_neither_exported_nor_sent(
    tmp_path: Path,
    registry: LocalRegistry,
    source: Layout,
    base: Manifest,
    run: Run,
    marks: Any,
) -> None:
    """The engine sees that they are there; the push mounts them; no mark stays behind."""
    manifest = on_top(
        source, base, tar_of(tmp_path / "new", "new", b"new"), plain=marks == "diff_id"
    )
    request = request_for(
        f"FROM {registry.reference('base/debian:1')}\nRUN x\n",
        tmp_path,
        registry.reference("app:1"),
    )
    folder = run.workdir / "export"

    with sparing(folder, request, NOBODY, run, marks=marks) as bases:
        names = [layer.digest for layer in manifest.layers[:2]]
        wait_for(lambda: len(bases.found) == 1)
        wait_for(lambda: all((folder / "blobs" / "sha256" / d.hex).exists() for d in names))
        build_with_marks(folder, source, manifest)
    artifact = adopt(folder, request, NOBODY, run, bases=bases)

    layout = Layout.open(folder)
    after = image_of(layout, artifact.digest)
    assert after.layers[:2] == base.layers
    assert blobs(layout) == {
        d.hex for d in (artifact.digest, after.config.digest, after.layers[2].digest)
    }
    assert pushed(artifact, request, run) == {"uploaded": 2, "mounted": 2, "existing": 0}


def wait_for(fact: Any) -> None:
    cancel = CancelToken()
    for _ in range(500):
        if fact():
            return
        cancel.sleep(0.01)
    raise AssertionError("it did not happen within 5 s")


@pytest.mark.parametrize("already", [False, True])
def test_only_what_need_not_be_sent_is_marked(
    tmp_path: Path,
    registry: LocalRegistry,
    source: Layout,
    base: Manifest,
    run: Run,
    already: bool,
) -> None:
    """To another registry a layer has to be sent, unless that one has it."""
    with LocalRegistry() as other:
        if already:
            put_base(other, source, random_image(source, layers=2), "app")
        request = request_for(
            f"FROM {registry.reference('base/debian:1')}\n", tmp_path, other.reference("app:1")
        )
        folder = run.workdir / "export"

        with sparing(folder, request, NOBODY, run) as bases:
            wait_for(lambda: len(bases.found) == 1)

        marked = {path.name for path in folder.glob("blobs/sha256/*")}
        assert marked == ({layer.digest.hex for layer in base.layers} if already else set())


def test_nothing_is_marked_when_nothing_is_pushed(
    tmp_path: Path, registry: LocalRegistry, base: Manifest, run: Run
) -> None:
    """An image for a file has to be whole."""
    request = request_for(f"FROM {registry.reference('base/debian:1')}\n", tmp_path)
    folder = run.workdir / "export"

    with sparing(folder, request, NOBODY, run) as bases:
        pass

    assert len(bases.found) == 1
    assert not folder.exists()


def test_a_failing_build_does_not_wait_for_the_registry(
    tmp_path: Path, registry: LocalRegistry, base: Manifest, run: Run
) -> None:
    """Its error comes at once, with no thread left."""
    request = request_for(f"FROM {registry.reference('base/debian:1')}\n", tmp_path)
    hang = registry.inject(Fault(Hang()))

    def build() -> None:
        with sparing(run.workdir / "export", request, NOBODY, run):
            assert hang.wait()
            raise BuildError("RUN failed")

    with pytest.raises(BuildError, match="RUN failed"):
        build()

    assert not any(thread.name == "buildpush-bases" for thread in threading.enumerate())
