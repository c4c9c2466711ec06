"""Finished images as something to build upon or copy from: FROM, COPY --from, build contexts.

A manifest is always asked for by name (one HEAD), so that a moved tag is noticed; its bytes, the
config and the layers come from the store when they are there. Layers are fetched only when
somebody needs what is in them.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field, frozen

from ...auth import Keychain
from ...errors import BuildError, NotFoundError, SpecError
from ...oci import Digest, ImageReference, Platform, Repository
from ...oci.layer import open_layer
from ...oci.layout import Layout
from ...oci.wire import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    MediaType,
    parse_config,
    parse_manifest,
)
from ...plan import BuildRequest
from ...runtime import Run
from ..registries import open_registry
from .store import Store
from .tree import LayerIndex, Tree, index_layer

if TYPE_CHECKING:
    from ...registry import RegistryClient

__all__ = ["Image", "Images", "Layer"]

_REF_NAME: Final = "org.opencontainers.image.ref.name"
_MANIFEST_LIMIT: Final = 8 << 20
_CHUNK: Final = 1 << 20
_FETCHES: Final = 3
_TREES: Final = 8
"""Stacks of layers whose merged view is kept; each stage needs its own newest one."""
_TO_OCI: Final = {
    MediaType.DOCKER_LAYER: MediaType.OCI_LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar": MediaType.OCI_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": MediaType.OCI_LAYER_ZSTD,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    ),
}


@frozen(kw_only=True)
class Layer:
    """A layer: how it is stored, the digest of its tar, and where it can be had.

    *origin* is a repository that holds it, *local* a file; with neither it is in the store.
    """

    descriptor: Descriptor
    diff_id: Digest
    origin: Repository | None = None
    local: Path | None = None


@frozen(kw_only=True)
class Image:
    """A finished image for one platform."""

    name: str
    config: ImageConfig
    layers: tuple[Layer, ...]


@define(eq=False)
class Images:
    """Finds images and what is in them, for one build. Safe between threads; close it."""

    store: Store
    request: BuildRequest
    keychain: Keychain
    run: Run
    _stack: ExitStack = field(factory=ExitStack, init=False)
    _client: RegistryClient | None = field(default=None, init=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False)
    _locks: defaultdict[str, threading.Lock] = field(
        factory=lambda: defaultdict(threading.Lock), init=False
    )
    _found: dict[tuple[str, Platform], Image] = field(
        factory=dict[tuple[str, Platform], Image], init=False
    )
    _trees: dict[tuple[Digest, ...], Tree] = field(
        factory=dict[tuple[Digest, ...], Tree], init=False
    )
    _indexes: dict[Digest, LayerIndex] = field(factory=dict[Digest, LayerIndex], init=False)

    def close(self) -> None:
        """Close the connections to registries."""
        self._stack.close()

    @property
    def client(self) -> RegistryClient:
        """The client for registries, made when first needed."""
        with self._lock:
            if self._client is None:
                self._client = self._stack.enter_context(
                    open_registry(self.request, self.keychain, self.run)
                )
            return self._client

    def _one_at_a_time(self, name: str) -> threading.Lock:
        with self._lock:
            return self._locks[name]

    # -- finding ---------------------------------------------------------------------------

    def named_context(self, name: str) -> str | None:
        """The build context that takes the place of the stage or image called *name*."""
        contexts = {key.lower(): value for key, value in self.request.build_contexts.items()}
        if name.lower() in ("scratch", "context"):
            return None
        if name.lower() in contexts:
            return contexts[name.lower()]
        try:
            full = str(ImageReference.parse(name))
        except SpecError:
            return None
        short = full.removeprefix("docker.io/").removeprefix("library/")
        for candidate in (full, full.removeprefix("docker.io/"), short, *_untagged(short)):
            if candidate in contexts:
                return contexts[candidate]
        return None

    def find(self, source: str, platform: Platform) -> Image:
        """The image that *source* names, for *platform*.

        *source* is a reference, ``docker-image://reference`` or ``oci-layout://path[:tag]``.
        Raises what the registry client raises, or `SpecError` for a layout that is none.
        """
        key = (source, platform)
        with self._one_at_a_time(source):
            if key not in self._found:
                scheme, mark, rest = source.partition("://")
                if mark and scheme == "oci-layout":
                    self._found[key] = self._from_layout(rest, platform)
                else:
                    name = rest if mark and scheme == "docker-image" else source
                    self._found[key] = self._from_registry(name, platform)
            return self._found[key]

    def _from_registry(self, name: str, platform: Platform) -> Image:
        reference = ImageReference.parse(name)
        manifest = self._manifest(reference, platform)
        repository = reference.repository
        data = self.store.read_blob(manifest.config.digest)
        if data is None:
            with self.client.get_blob(repository, manifest.config) as chunks:
                path = self.store.ingest(chunks, manifest.config.digest, manifest.config.size)
            data = path.read_bytes()
        for layer in manifest.layers:
            self.store.seen(layer.digest, repository)
        return _image(name, parse_config(data), manifest, lambda _: (repository, None))

    def _manifest(self, reference: ImageReference, platform: Platform) -> Manifest:
        """The manifest for *platform*, from the store when its bytes are known there."""
        from ...registry.pull import choose

        digest = reference.digest
        if digest is None:
            head = self.client.head_manifest(reference)
            if head is None:
                raise NotFoundError(
                    f"there is no image {reference}", hint="check the name, or log in"
                )
            digest = head.digest
        data = self.store.read_blob(digest)
        if data is None:
            data = self.client.get_manifest(reference.with_digest(digest)).data
            if digest.algorithm == "sha256":
                self.store.write_blob(data)
        document = parse_manifest(data)
        if isinstance(document, Index):
            chosen = choose(document, platform, str(reference))
            return self._manifest(reference.with_digest(chosen.digest), platform)
        return document

    def _from_layout(self, text: str, platform: Platform) -> Image:
        from ...registry.pull import choose

        path, digest, tag = _layout_parts(text)
        layout = Layout.open(self.run.environment.cwd / path)
        entries = layout.index().manifests
        found = [
            e
            for e in entries
            if (digest is not None and e.digest == digest)
            or (digest is None and e.annotations.get(_REF_NAME, "latest") == (tag or "latest"))
        ]
        if not found and digest is None and not tag and len(entries) == 1:
            found = list(entries)
        if not found:
            raise SpecError(f"the OCI layout {path} has no image {digest or tag or 'latest'}")
        document = parse_manifest(layout.read(found[0].digest, _MANIFEST_LIMIT))
        while isinstance(document, Index):
            chosen = choose(document, platform, text)
            document = parse_manifest(layout.read(chosen.digest, _MANIFEST_LIMIT))
        config = parse_config(layout.read(document.config.digest, _MANIFEST_LIMIT))
        return _image(text, config, document, lambda d: (None, layout.blob_path(d.digest)))

    # -- contents --------------------------------------------------------------------------

    def blob(self, layer: Layer) -> Path:
        """The layer's file in the store, fetched if it is not there yet."""
        descriptor = layer.descriptor
        with self._one_at_a_time(str(descriptor.digest)):
            if self.store.has_blob(descriptor.digest, descriptor.size):
                return self.store.blob_path(descriptor.digest)
            if layer.local is not None:
                chunks = _chunks(layer.local)
                return self.store.ingest(chunks, descriptor.digest, descriptor.size)
            if layer.origin is None:
                raise BuildError(
                    f"layer {descriptor.digest} has gone from the store during the build",
                    hint="build again",
                )
            return self._fetch(descriptor, layer.origin)

    def _fetch(self, descriptor: Descriptor, origin: Repository) -> Path:
        title = f"pull {origin}@{descriptor.digest}"
        with (
            self.run.task(f"pull {descriptor.digest}", title) as task,
            self.client.get_blob(origin, descriptor) as chunks,
        ):
            counted = task.counting(chunks, descriptor.size)
            return self.store.ingest(counted, descriptor.digest, descriptor.size)

    def blobs(self, layers: Sequence[Layer]) -> tuple[Path, ...]:
        """The files of all *layers*, missing ones fetched side by side."""
        if len(layers) <= 1:
            return tuple(self.blob(layer) for layer in layers)
        with ThreadPoolExecutor(_FETCHES, thread_name_prefix="pull") as pool:
            return tuple(pool.map(self.blob, layers))

    def index(self, layer: Layer) -> LayerIndex:
        """What is in the layer, without its contents."""
        known = self._indexes.get(layer.diff_id)
        if known is not None:
            return known
        with self._one_at_a_time(f"index {layer.diff_id}"):
            data = self.store.index(layer.diff_id)
            if data is not None:
                index = LayerIndex.load(data)
            else:
                with open_layer(self.blob(layer), layer.descriptor.media_type) as stream:
                    index = index_layer(stream, self.run.cancel.check)
                self.store.keep_index(layer.diff_id, index.dump())
            self._indexes[layer.diff_id] = index
            return index

    def tree(self, layers: Sequence[Layer]) -> Tree:
        """What a container of these layers would see."""
        wanted = tuple(layer.diff_id for layer in layers)
        missing = [x for x in layers if x.diff_id not in self._indexes]
        if len(missing) > 1:
            with ThreadPoolExecutor(_FETCHES, thread_name_prefix="index") as pool:
                list(pool.map(self.index, missing))
        with self._lock:
            below = next((n for n in range(len(wanted), 0, -1) if wanted[:n] in self._trees), 0)
            start = self._trees[wanted[:below]] if below else Tree()
        if below == len(wanted):
            return start
        tree = start.plus(*(self.index(layer) for layer in layers[below:]))
        with self._lock:
            self._trees[wanted] = tree
            while len(self._trees) > _TREES:
                self._trees.pop(next(iter(self._trees)))
        return tree


def _untagged(name: str) -> tuple[str, ...]:
    return (name.removesuffix(":latest"),) if name.endswith(":latest") else ()


def _image(
    name: str,
    config: ImageConfig,
    manifest: Manifest,
    locate: Callable[[Descriptor], tuple[Repository | None, Path | None]],
) -> Image:
    if len(config.diff_ids) != len(manifest.layers):
        raise BuildError(
            f"{name}: the config lists {len(config.diff_ids)} layers, the manifest "
            f"{len(manifest.layers)}",
            hint="the image is damaged; it is not one that can be built upon",
        )
    layers: list[Layer] = []
    for descriptor, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        origin, local = locate(descriptor)
        media_type = _TO_OCI.get(descriptor.media_type, descriptor.media_type)
        layers.append(
            Layer(
                descriptor=evolve(descriptor, media_type=media_type),
                diff_id=diff_id,
                origin=origin,
                local=local,
            )
        )
    return Image(name=name, config=config, layers=tuple(layers))


def _layout_parts(text: str) -> tuple[Path, Digest | None, str]:
    """``path@digest`` or ``path:tag`` taken apart; the tag is empty when there is none."""
    head, at, digest = text.partition("@")
    folder, slash, last = head.rpartition("/")
    last, _, tag = last.partition(":")
    return Path(f"{folder}{slash}{last}"), Digest(digest) if at else None, tag


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
