"""The build context as an image: for clusters where nothing may be executed in a pod."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from attrs import evolve

from ....errors import RegistryError
from ....oci import Digest, ImageReference, Platform, Repository
from ....oci.layer import Layer, LayerWriter
from ....oci.layout import Layout
from ....oci.tar import Entry, read
from ....oci.wire import (
    MAX_CONFIG,
    Descriptor,
    History,
    ImageConfig,
    Manifest,
    MediaType,
    dump,
    parse_config,
)
from ....runtime import Run, Task
from ...registries import open_registry
from ..runner import Execution
from .contexts import context_of
from .pods import CONTEXT_IMAGE
from .settings import RegistryContext

if TYPE_CHECKING:
    from ....auth import Keychain
    from ....registry import RegistryClient

__all__ = ["publish"]

_FOLDER: Final = "context"
_TAG: Final = "context-"


def publish(execution: Execution, delivery: RegistryContext, title: str, run: Run) -> str:
    """Push an image that brings the build context in ``/context``; its reference, by digest.

    Its tag names its content, so that the same context is sent once. Raises the registry
    client's errors.
    """
    platform = execution.platform or Platform.host()
    keychain = delivery.keychain or _ambient(run)
    folder = run.workdir / f"kaniko-context-{str(platform).replace('/', '-')}"
    layout = Layout.create(folder)
    with run.task(title, title) as task, open_registry(execution.request, keychain, run) as client:
        from ....registry.pull import resolve

        base = ImageReference.parse(delivery.image or CONTEXT_IMAGE)
        _, manifest = resolve(client, base, platform)
        config = _config(client, base.repository, manifest)
        layer = _layer(execution, folder / "layer", task)
        layout.add_file(folder / "layer", layer.descriptor)
        digest = _assemble(layout, manifest, config, layer)
        origins = {blob.digest: base.repository for blob in manifest.layers}
        return _push(client, layout, digest, delivery.repository, origins, run)


def _ambient(run: Run) -> Keychain:
    from ....auth.files import ambient

    return ambient(run.environment, run.warn, cancel=run.cancel, redact=run.redact)


def _config(client: RegistryClient, repository: Repository, manifest: Manifest) -> ImageConfig:
    if manifest.config.size > MAX_CONFIG:
        raise RegistryError(f"the config of an image in {repository} is too large")
    with client.get_blob(repository, manifest.config) as chunks:
        return parse_config(b"".join(chunks))


def _layer(execution: Execution, path: Path, task: Task) -> Layer:
    context = context_of(execution.request)
    chunks = task.counting(context.stream(), context.size())
    with LayerWriter(path) as writer:
        writer.add(Entry(name=_FOLDER, kind="dir", mode=0o755))
        for entry, body in read(cast("BinaryIO", io.BufferedReader(_Chunks(chunks)))):
            name = f"{_FOLDER}/{entry.name}" if entry.name else _FOLDER
            writer.add(entry._replace(name=name), body)
        return writer.finish()


def _assemble(layout: Layout, base: Manifest, config: ImageConfig, layer: Layer) -> Digest:
    step = History(created_by="buildpush: the build context")
    changed = evolve(
        config,
        diff_ids=(*config.diff_ids, layer.diff_id),
        history=(*config.history, step) if config.history else (),
    )
    held = layout.add_bytes(changed.dump(), MediaType.OCI_CONFIG)
    layers: tuple[Descriptor, ...] = (*map(_as_oci, base.layers), layer.descriptor)
    manifest = Manifest(config=evolve(held, media_type=MediaType.OCI_CONFIG), layers=layers)
    return layout.add_bytes(dump(manifest), manifest.media_type).digest


def _as_oci(blob: Descriptor) -> Descriptor:
    kinds = {
        "gzip": MediaType.OCI_LAYER_GZIP,
        "zstd": MediaType.OCI_LAYER_ZSTD,
        "none": MediaType.OCI_LAYER,
    }
    return evolve(blob, media_type=kinds[MediaType.compression_of(blob.media_type)])


def _push(
    client: RegistryClient,
    layout: Layout,
    digest: Digest,
    repository: Repository,
    origins: dict[Digest, Repository],
    run: Run,
) -> str:
    from ....registry.push import push

    reference = ImageReference(repository=repository, tag=f"{_TAG}{digest.hex[:32]}")
    push(client, layout, digest, (reference,), origins=origins, run=run)
    return f"{repository}@{digest}"


class _Chunks(io.RawIOBase):
    """A stream to be read from pieces."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._chunks: Iterator[bytes] = iter(chunks)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
