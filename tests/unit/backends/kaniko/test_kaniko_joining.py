"""Images of several platforms that were built side by side become one index."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildpush.auth import Chain
from buildpush.backends.kaniko.joining import Built, join, put_index
from buildpush.errors import BuildError
from buildpush.events import ignore
from buildpush.oci import Digest, ImageReference, Platform, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Index, Manifest, MediaType, parse_manifest
from buildpush.plan import LayoutArtifact
from buildpush.plan.annotations import Annotations
from buildpush.registry import RegistryClient
from buildpush.registry.push import push
from buildpush.runtime import CancelToken, Run
from buildpush.testing import LocalRegistry, random_image

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
NONE = Annotations()


def an_image(folder: Path, platform: Platform, *, seed: int) -> LayoutArtifact:
    layout = Layout.create(folder)
    return LayoutArtifact(path=folder, digest=random_image(layout, platform=platform, seed=seed))


def test_layouts_become_one_with_an_index(tmp_path: Path) -> None:
    """With the blobs of both, and what either knows of where blobs came from."""
    amd, arm = an_image(tmp_path / "1", AMD, seed=1), an_image(tmp_path / "2", ARM, seed=2)
    origin = {Digest.of(b"base"): Repository("r.io", "base")}
    arm = LayoutArtifact(path=arm.path, digest=arm.digest, origins=origin)

    joined = join([(AMD, amd), (ARM, arm)], tmp_path / "both", NONE)

    layout = Layout.open(joined.path)
    documents = [document for _, document in layout.manifests(joined.digest)]
    index = documents[0]
    assert isinstance(index, Index)
    assert [(entry.platform, entry.digest) for entry in index.manifests] == [
        (AMD, amd.digest),
        (ARM, arm.digest),
    ]
    for manifest in documents[1:]:
        assert isinstance(manifest, Manifest)
        assert all(layout.has(b.digest) for b in (manifest.config, *manifest.layers))
    assert joined.origins == origin


def test_annotations_go_where_they_belong(tmp_path: Path) -> None:
    """Into the index, and onto one platform's entry in it."""
    amd, arm = an_image(tmp_path / "1", AMD, seed=1), an_image(tmp_path / "2", ARM, seed=2)
    annotations = Annotations(
        texts={"index:a": "1", "manifest-descriptor[linux/arm64]:b": "2", "manifest:c": "3"}
    )

    joined = join([(AMD, amd), (ARM, arm)], tmp_path / "both", annotations)

    index = next(document for _, document in Layout.open(joined.path).manifests(joined.digest))
    assert isinstance(index, Index)
    assert index.media_type == MediaType.OCI_INDEX
    assert index.annotations == {"a": "1"}
    assert [entry.annotations for entry in index.manifests] == [{}, {"b": "2"}]


def test_an_image_of_another_platform_is_not_called_by_this_one(tmp_path: Path) -> None:
    """A base image that has only one platform is taken for any, by some executors."""
    amd = an_image(tmp_path / "1", AMD, seed=1)

    with pytest.raises(BuildError, match="the image for linux/arm64 is one for linux/amd64"):
        join([(AMD, amd), (ARM, amd)], tmp_path / "both", NONE)


def test_pushed_images_become_an_index_under_every_tag(tmp_path: Path) -> None:
    """The images are there already: only the index is put, and it is what the digest names."""
    with LocalRegistry() as registry:
        run = Run(workdir=tmp_path, cancel=CancelToken(), sink=ignore)
        references = [ImageReference.parse(registry.reference(f"app:{tag}")) for tag in "12"]
        with RegistryClient(Chain(()), run) as client:
            images: list[Built] = []
            for number, platform in enumerate((AMD, ARM)):
                image = an_image(tmp_path / str(number), platform, seed=number)
                place = ImageReference.parse(registry.reference(f"app:part-{number}"))
                push(client, Layout.open(image.path), image.digest, (place,), origins={}, run=run)
                images.append(Built(platform=platform, digest=image.digest))

            digest = put_index(client, images, references, NONE)

            for reference in references:
                fetched = client.get_manifest(reference)
                assert fetched.descriptor.digest == digest
                index = parse_manifest(fetched.data)
                assert isinstance(index, Index)
                assert [entry.platform for entry in index.manifests] == [AMD, ARM]
