"""Where a blob's bytes are when they are sent: a file, a registry, or a registry's by way of a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from attrs import define, field, frozen

from ..errors import NotFoundError
from ..oci import Repository
from ..oci.layout import Layout
from ..oci.wire import Descriptor
from ..runtime import Run
from .client import RegistryClient

__all__ = ["Content", "content"]

_CHUNK: Final = 1 << 18


class Content(Protocol):
    """The bytes of one blob."""

    @property
    def source(self) -> Path | None:
        """The user's file that they are in, for messages."""
        ...

    def prepare(self) -> None:
        """Do what must not be done while they are being sent."""
        ...

    def read(self) -> Iterator[bytes]:
        """All of them, from the first one each time."""
        ...


@contextmanager
def content(
    client: RegistryClient,
    run: Run,
    layout: Layout,
    blob: Descriptor,
    *,
    origin: Repository | None,
    destination: Repository,
) -> Generator[Content]:
    """*blob* as *layout* has it, else as *origin* has it, on its way to *destination*.

    A copy within one registry, which would need two of its connections at a time, goes by a file
    of this run. Raises `NotFoundError` when nobody has the blob.
    """
    if layout.has(blob.digest):
        yield _File(layout.blob_path(blob.digest))
    elif origin is None:
        raise NotFoundError(
            f"the layout lacks blob {blob.digest}, and nothing says where it could be had",
            hint="build the image again",
        )
    elif origin.host != destination.host:
        yield _Elsewhere(client, origin, blob)
    else:
        spool = _Spool(_Elsewhere(client, origin, blob), run)
        try:
            yield spool
        finally:
            spool.remove()


@frozen
class _File:
    source: Path

    def prepare(self) -> None:
        pass

    def read(self) -> Iterator[bytes]:
        with self.source.open("rb", buffering=0) as file:
            while piece := file.read(_CHUNK):
                yield piece


@frozen
class _Elsewhere:
    client: RegistryClient
    origin: Repository
    blob: Descriptor
    source: None = None

    def prepare(self) -> None:
        pass

    def read(self) -> Iterator[bytes]:
        with self.client.get_blob(self.origin, self.blob) as pieces:
            yield from pieces


@define(eq=False)
class _Spool:
    elsewhere: _Elsewhere
    run: Run
    source: None = None
    _file: Path | None = field(default=None, init=False)

    def prepare(self) -> None:
        handle, name = tempfile.mkstemp(prefix="spool-", dir=self.run.workdir)
        self._file = Path(name)
        with os.fdopen(handle, "wb") as file:
            for piece in self.elsewhere.read():
                file.write(piece)

    def read(self) -> Iterator[bytes]:
        assert self._file is not None, "prepare() comes first"
        return _File(self._file).read()

    def remove(self) -> None:
        if self._file is not None:
            self._file.unlink(missing_ok=True)
