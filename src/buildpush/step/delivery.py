"""From artifact to result: write the outputs, push, read back."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import evolve

from ..auth import Keychain
from ..backends.registries import open_registry
from ..errors import AuthError, DigestMismatchError, RegistryError, SpecError
from ..events import Phase, PhaseStarted
from ..oci import Digest, ImageReference, Platform, Repository
from ..oci.archive import write_docker_archive
from ..oci.layout import Layout, pack_tar
from ..oci.wire import (
    MAX_CONFIG,
    Descriptor,
    Index,
    Manifest,
    MediaType,
    parse_config,
    parse_manifest,
)
from ..plan import (
    Artifact,
    BuildResult,
    Destination,
    ImageSummary,
    LayoutArtifact,
    Output,
    Plan,
    PushedArtifact,
)
from ..publishing.destinations.keeping import kept_on_failure
from ..publishing.destinations.publishing import publish
from ..publishing.destinations.variants import named
from ..publishing.results import summary_of
from ..registry import RegistryClient
from ..registry.images import read_image
from ..registry.push import read_back
from ..runtime import Run

__all__ = ["deliver"]

_REF_NAME: Final = "org.opencontainers.image.ref.name"
_THERE: Final = ("pushed", "present")

Delivered = tuple[Digest, tuple[Destination, ...], Mapping[Platform, ImageSummary]]


def deliver(artifact: Artifact, plan: Plan, keychain: Keychain, run: Run) -> BuildResult:
    """Bring *artifact* wherever *plan* says, and read back every tag that was put.

    Raises `AuthError` or `RegistryError` when the registry will not have it, `PartialPushError`
    when some of several will, and `DigestMismatchError` when a tag does not hold what was pushed.
    The error of a push tells where the image is kept.
    """
    with open_registry(plan.request, keychain, run) as client:
        if isinstance(artifact, LayoutArtifact):
            digest, destinations, images = _deliver_layout(artifact, plan, client, run)
        else:
            digest, destinations, images = _read_back(artifact, plan, client, run)
    return BuildResult(
        digest=digest,
        references=tuple(one.reference for one in destinations if one.status in _THERE),
        destinations=destinations,
        images=images,
        backend=plan.backend,
        seconds=run.now,
        outputs=tuple(run.environment.cwd / output.destination for output in plan.outputs),
    )


def _deliver_layout(
    artifact: LayoutArtifact, plan: Plan, client: RegistryClient, run: Run
) -> Delivered:
    layout, references = Layout.open(artifact.path), plan.request.references
    images = _layout_images(layout, tuple(layout.manifests(artifact.digest)))
    # What is of type local, the backend has written.
    packed = tuple(output for output in plan.outputs if output.type != "local")
    _write_outputs(packed, layout, artifact, references, client, run)
    if not plan.push:
        return artifact.digest, (), images
    run.emit(PhaseStarted(at=run.now, phase=Phase.PUSH))
    with kept_on_failure(artifact, references, run):
        destinations = publish(client, artifact, references, plan.policy, run)
    found = (one.reference.digest for one in destinations if one.status in _THERE)
    digest = next((one for one in found if one), artifact.digest)
    if digest != artifact.digest:  # the registry wanted other media types
        image = read_image(client, layout, artifact.digest, artifact.origins)
        pushed = named(image, digest).documents
        images = _layout_images(layout, tuple((one.descriptor, one.value) for one in pushed))
    return digest, destinations, images


def _read_back(
    artifact: PushedArtifact, plan: Plan, client: RegistryClient, run: Run
) -> Delivered:
    """What the backend has pushed by itself, as the registry has it."""
    references = plan.request.references
    run.emit(PhaseStarted(at=run.now, phase=Phase.VERIFY))
    with _reading_back():
        for reference in references:
            read_back(client, reference, artifact.digest, access="pull")
        images = _pushed_images(client, references[0], artifact.digest)
    destinations = tuple(
        Destination(reference=reference.with_digest(artifact.digest), status="pushed")
        for reference in references
    )
    return artifact.digest, destinations, images


@contextmanager
def _reading_back() -> Generator[None]:
    """Say of a registry's refusal that the push was over: it may be in the builder's reach only."""
    try:
        yield
    except DigestMismatchError:
        raise
    except (AuthError, RegistryError) as error:
        error.message = f"what the backend has pushed cannot be read back: {error.message}"
        error.args = (error.message,)
        raise


def _layout_images(
    layout: Layout, documents: Sequence[tuple[Descriptor, Manifest | Index]]
) -> Mapping[Platform, ImageSummary]:
    found: dict[Platform, ImageSummary] = {}
    for descriptor, document in documents:
        if isinstance(document, Manifest) and MediaType.is_config(document.config.media_type):
            config = layout.read(document.config.digest, MAX_CONFIG)
            found.setdefault(parse_config(config).platform, summary_of(descriptor, document))
    return found


def _pushed_images(
    client: RegistryClient, reference: ImageReference, digest: Digest
) -> Mapping[Platform, ImageSummary]:
    """The images behind a digest that a backend has pushed by itself."""
    found: dict[Platform, ImageSummary] = {}
    pending = [evolve(reference, tag="", digest=digest)]
    while pending:
        place = pending.pop()
        fetched = client.get_manifest(place)
        document = parse_manifest(fetched.data, fetched.descriptor.media_type)
        if isinstance(document, Index):
            pending += [evolve(place, digest=child.digest) for child in document.manifests]
        elif MediaType.is_config(document.config.media_type):
            with client.get_blob(place.repository, document.config) as chunks:
                config = b"".join(chunks)
            summary = summary_of(fetched.descriptor, document)
            found.setdefault(parse_config(config).platform, summary)
    return found


def _write_outputs(
    outputs: tuple[Output, ...],
    layout: Layout,
    artifact: LayoutArtifact,
    references: tuple[ImageReference, ...],
    client: RegistryClient,
    run: Run,
) -> None:
    if not outputs:
        return
    _fetch_absent(layout, artifact.digest, artifact.origins, client, run)
    layout.set_index(_named(layout, artifact.digest, references))
    for output in outputs:
        _write_output(output, layout, artifact.digest, references, run)


def _named(
    layout: Layout, digest: Digest, references: tuple[ImageReference, ...]
) -> tuple[Descriptor, ...]:
    """The image once for each tag, annotated as BuildKit and skopeo name what a layout holds."""
    listed = (entry for entry in layout.index().manifests if entry.digest == digest)
    top = next(listed, None) or next(layout.manifests(digest))[0]
    return tuple(
        evolve(
            top,
            annotations={
                **top.annotations,
                "io.containerd.image.name": str(reference),
                _REF_NAME: reference.tag,
            },
        )
        for reference in references
    )


def _fetch_absent(
    layout: Layout,
    digest: Digest,
    origins: Mapping[Digest, Repository],
    client: RegistryClient,
    run: Run,
) -> None:
    """Bring in the blobs that the build never had to read: a file must have them all."""
    for _, document in list(layout.manifests(digest)):
        for blob in document.layers if isinstance(document, Manifest) else ():
            if layout.has(blob.digest) or blob.digest not in origins:
                continue
            with (
                run.task(f"fetch {blob.digest}", f"fetch layer {blob.digest}") as task,
                client.get_blob(origins[blob.digest], blob) as chunks,
            ):
                layout.add_stream(task.counting(chunks, blob.size), blob)


def _write_output(
    output: Output,
    layout: Layout,
    digest: Digest,
    references: tuple[ImageReference, ...],
    run: Run,
) -> None:
    path = run.environment.cwd / output.destination
    title = f"write {output.destination} ({output.type})"
    with run.task(f"output {path}", title):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file() and not path.is_dir():
                # A new file takes the place of what is there, and nobody wants that for /dev/null.
                raise SpecError(f"outputs: {path} is neither a file nor a folder")
            match output.type:
                case "docker":
                    write_docker_archive(layout, digest, references, path)
                case "oci" if path.suffix == ".tar":
                    pack_tar(layout, path)
                case _:
                    _copy_layout(layout, digest, path)
        except OSError as error:
            raise SpecError(f"outputs: cannot write {path}: {error.strerror}") from error


def _copy_layout(layout: Layout, digest: Digest, path: Path) -> None:
    """Copy into a layout that may already exist: images of other tags stay in it."""
    target = Layout.create(path)
    for descriptor, document in layout.manifests(digest):
        blobs = [descriptor]
        if isinstance(document, Manifest):
            blobs += [document.config, *document.layers]
        for blob in blobs:
            if layout.has(blob.digest) and not target.has(blob.digest):
                target.add_file(layout.blob_path(blob.digest), blob, link=False)
    added = layout.index().manifests
    names = {entry.annotations.get(_REF_NAME) for entry in added}
    kept = (e for e in target.index().manifests if e.annotations.get(_REF_NAME) not in names)
    target.set_index((*kept, *added))
