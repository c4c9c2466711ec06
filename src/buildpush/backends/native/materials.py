"""What COPY and mounts read from: the build context, other stages, images, folders."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from attrs import define, field, frozen

from ...dockerfile.ignore import IgnoreRules
from ...errors import SpecError
from ...oci.layer import open_layer
from ...plan import BuildRequest
from ...runtime import Run
from .copying.context import ContextSource
from .copying.sources import ImageSource, Source
from .images import Images, Layer
from .recipe.operations import Origin
from .store import Store

__all__ = ["Find", "Folder", "Material", "Materials"]


@frozen(kw_only=True)
class Folder:
    """A folder of the user's."""

    path: Path


Material = tuple[Layer, ...] | Folder
"""What an origin turns out to be: a stack of layers, or plain files."""

Find = Callable[[Origin], Material]


@define(eq=False)
class _Context:
    source: ContextSource
    rules: IgnoreRules
    lock: threading.Lock = field(factory=threading.Lock)


@define(eq=False, kw_only=True)
class Materials:
    """Opens sources, each build context once. Safe between threads; close it in the end."""

    request: BuildRequest
    run: Run
    store: Store
    images: Images
    check: Callable[[], None]
    _contexts: dict[Path, _Context] = field(factory=dict[Path, _Context], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def close(self) -> None:
        """Keep the digests of what was read, for the next build."""
        for context in self._contexts.values():
            context.source.remember()

    def folder(self, text: str) -> Path:
        """The folder a named build context is; raises `SpecError` when there is none."""
        path = self.run.environment.cwd / text
        if not path.is_dir():
            raise SpecError(
                f"the build context {text!r} is not a folder",
                hint="a context is a folder, docker-image://NAME or oci-layout://PATH",
            )
        return path

    @contextmanager
    def opened(self, material: Material | None) -> Generator[Source]:
        """The source for *material* (None: the build context), for one thread at a time."""
        if isinstance(material, tuple):
            yield self.stacked(material)
            return
        context = self._context(material.path if material else self.request.context)
        with context.lock:
            yield context.source

    def stacked(self, layers: tuple[Layer, ...]) -> ImageSource:
        """The files that *layers* make up."""

        def opened(number: int) -> AbstractContextManager[BinaryIO]:
            layer = layers[number]
            return open_layer(self.images.blob(layer), layer.descriptor.media_type)

        return ImageSource(self.images.tree(layers), opened)

    def hides_nothing(self, folder: Folder | None) -> bool:
        """Whether no .dockerignore hides anything of a context."""
        return not self._context(folder.path if folder else self.request.context).rules.patterns

    def _context(self, root: Path) -> _Context:
        with self._lock:
            if root not in self._contexts:
                main = root == self.request.context
                dockerfile = self.request.dockerfile_path if main else root / "Dockerfile"
                rules = IgnoreRules.read(root, dockerfile)
                name = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()
                memory = self.store.root / "digests" / name
                memory.parent.mkdir(mode=0o700, exist_ok=True)
                source = ContextSource(root, rules, memory=memory)
                self._contexts[root] = _Context(source=source, rules=rules)
            return self._contexts[root]
