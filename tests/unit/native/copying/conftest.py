"""Layers, images and copies small enough to write down in a test."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pytest

from buildpush.backends.native.copying.copy import (
    CopyPlan,
    CopyRequest,
    Part,
    plan_copy,
    write_copy,
)
from buildpush.backends.native.copying.sources import ImageSource, Source
from buildpush.backends.native.tree import Tree, index_layer
from buildpush.oci.layer import LayerWriter, open_layer
from buildpush.oci.tar import END, Entry, pack, padding, read
from buildpush.runtime import CancelToken

Spec = str | bytes | None | Entry | tuple[Entry, bytes]
LayerSpec = Mapping[str, Spec] | Iterable[tuple[str, Spec]]


def _entry(path: str, spec: Spec) -> tuple[Entry, bytes]:
    """``None`` is a folder, ``"-> x"`` a symlink, ``"== x"`` a hard link, bytes a file."""
    match spec:
        case None:
            return Entry(path, "dir", 0o755), b""
        case bytes():
            return Entry(path, "file", 0o644, size=len(spec)), spec
        case Entry():
            return spec._replace(name=path), b""
        case tuple():
            return spec[0]._replace(name=path, size=len(spec[1])), spec[1]
        case str() if spec.startswith("-> "):
            return Entry(path, "symlink", 0o777, link=spec[3:]), b""
        case str() if spec.startswith("== "):
            return Entry(path, "hardlink", link=spec[3:]), b""
    raise AssertionError(spec)


def pack_layer(layer: LayerSpec) -> bytes:
    """The uncompressed tar of a layer."""
    out = b""
    for path, spec in layer.items() if isinstance(layer, Mapping) else layer:
        entry, body = _entry(path, spec)
        out += pack(entry) + body + padding(len(body))
    return out + END


class Image(NamedTuple):
    """A tree, the source over it, and which layers were opened."""

    tree: Tree
    source: ImageSource
    opened: list[int]


def make_image(*layers: LayerSpec) -> Image:
    """An image of *layers*, the lowest first."""
    tars = [pack_layer(layer) for layer in layers]
    tree = Tree.of(index_layer(io.BytesIO(tar)) for tar in tars)
    opened: list[int] = []

    @contextmanager
    def open_one(number: int) -> Iterator[BinaryIO]:
        opened.append(number)
        yield io.BytesIO(tars[number])

    return Image(tree, ImageSource(tree, open_one), opened)


class Copied(NamedTuple):
    """A plan and what was really written: by name, and in order."""

    plan: CopyPlan
    entries: dict[str, Entry]
    bodies: dict[str, bytes]
    order: list[str]
    tar: bytes

    def tree(self, below: Tree) -> Tree:
        """The image with the new layer on it, from the layer's bytes."""
        return below.plus(index_layer(io.BytesIO(self.tar)))


@pytest.fixture
def image() -> Callable[..., Image]:
    """Make an image."""
    return make_image


@pytest.fixture
def layer() -> Callable[[LayerSpec], bytes]:
    """Pack a layer."""
    return pack_layer


@pytest.fixture
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[CopyPlan, Source], Copied]:
    """Write a plan into a real layer and read that back."""

    def run(plan: CopyPlan, source: Source) -> Copied:
        path = tmp_path_factory.mktemp("layer") / "layer.tar"
        with LayerWriter(path, compression="none") as writer:
            write_copy(plan, source, writer, CancelToken())
            writer.finish()
        entries: dict[str, Entry] = {}
        bodies: dict[str, bytes] = {}
        with open_layer(path, "") as stream:
            for entry, body in read(stream):
                assert entry.name not in entries, f"{entry.name} is there twice"
                entries[entry.name] = entry
                if entry.kind == "file":
                    bodies[entry.name] = body.read()
        return Copied(plan, entries, bodies, list(entries), path.read_bytes())

    return run


@pytest.fixture
def copy(write: Callable[[CopyPlan, Source], Copied]) -> Callable[..., Copied]:
    """Carry out a COPY: ``copy(source, "a", "b", "/destination/", onto=tree, **request)``."""

    def run(
        source: Source,
        *paths: str,
        onto: Tree | None = None,
        also: Sequence[Part] = (),
        **options: object,
    ) -> Copied:
        *sources, destination = paths
        request = CopyRequest(sources=tuple(sources), destination=destination, **options)  # type: ignore[arg-type]
        return write(plan_copy(request, source, onto or Tree(), also=also), source)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[Mapping[str, str | bytes | None]], Path]:
    """Make a build context: bytes are files, None a folder, ``"-> x"`` a symlink."""

    def make(content: Mapping[str, str | bytes | None]) -> Path:
        root = tmp_path / "context"
        root.mkdir(exist_ok=True)
        for name, spec in content.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if spec is None:
                path.mkdir()
            elif isinstance(spec, bytes):
                path.write_bytes(spec)
            else:
                path.symlink_to(spec.removeprefix("-> "))
        return root

    return make
