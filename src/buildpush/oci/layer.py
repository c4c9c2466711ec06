"""Layers on disk: entries in, a compressed blob, its digest and its diffID out, in one pass.

Follows the OCI image-spec, “layer.md”. The diffID of the same entries is the same everywhere;
the digest also depends on the compressor, unless *strict* pins it to zlib.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import BinaryIO, Final, Self

from attrs import frozen

from ..errors import BuildError
from . import Digest
from ._codecs import Codec, compression_by_magic, compressor, decompressed
from .tar import END, Entry, pack, padding
from .wire import Compression, Descriptor, MediaType

__all__ = ["MEDIA_TYPES", "Layer", "LayerWriter", "compression_by_magic", "open_layer"]

# ISA-L's output depends on how its input is cut, so it is always cut here, and alike.
_BLOCK: Final = 1 << 20
_QUEUED_BLOCKS: Final = 8

MEDIA_TYPES: Final[dict[Compression, str]] = {
    "gzip": MediaType.OCI_LAYER_GZIP,
    "zstd": MediaType.OCI_LAYER_ZSTD,
    "none": MediaType.OCI_LAYER,
}


@frozen(kw_only=True)
class Layer:
    """A written layer: what a manifest and a config say of it, and its *uncompressed* bytes."""

    descriptor: Descriptor
    diff_id: Digest
    uncompressed: int


class LayerWriter:
    """Writes one layer to *path*; use it in a ``with`` block and end with `finish`.

    *level* is gzip's 0-9 or zstd's 1-22; without one, gzip is ISA-L where that is installed
    (several times faster than zlib) and zstd is 3. *strict* makes the compressed bytes the same
    on every CPU. Compression runs in a thread of its own; memory stays flat. Whatever that
    thread meets (a full disk) is raised by the next call here. A block left without `finish`
    leaves no file.
    """

    def __init__(
        self,
        path: Path,
        *,
        compression: Compression = "gzip",
        level: int | None = None,
        strict: bool = False,
    ) -> None:
        self._path = path
        self._media_type = MEDIA_TYPES[compression]
        self._codec: Codec | None = compressor(compression, level=level, strict=strict)
        self._hash = hashlib.sha256()
        self._size = 0
        self._buffer = bytearray()
        self._whole = False
        self._output = _Output(path, self._codec)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def add(self, entry: Entry, body: BinaryIO | bytes | None = None) -> None:
        """Append *entry*; a regular file's *body* must hold exactly ``entry.size`` bytes.

        Raises `BuildError` when it does not, since then the file changed while it was read.
        """
        self._whole = False
        self._append(pack(entry))
        if entry.kind != "file":
            return
        if body is None or isinstance(body, bytes):
            content = body or b""
            if len(content) != entry.size:
                raise _changed(entry)
            self._append(content)
        else:
            self._copy(entry, body)
        self._append(padding(entry.size))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append raw bytes of an archive that is whole: its own end blocks included."""
        self._whole = True
        self._append(data)

    def finish(self) -> Layer:
        """Close the archive and put the blob, readable by all, at its path.

        Not synced to the disk: a store does that where it keeps the blob.
        """
        if not self._whole:
            self._append(END)
        if self._buffer:
            self._hand_over()
        diff_id = Digest(f"sha256:{self._hash.hexdigest()}")
        hexadecimal, size = self._output.finish()
        digest = Digest(f"sha256:{hexadecimal}") if hexadecimal else diff_id
        descriptor = Descriptor(media_type=self._media_type, digest=digest, size=size)
        return Layer(descriptor=descriptor, diff_id=diff_id, uncompressed=self._size)

    def abort(self) -> None:
        """Stop the thread and remove the unfinished file; does nothing after `finish`."""
        self._output.abort()

    def _copy(self, entry: Entry, body: BinaryIO) -> None:
        left = entry.size
        while chunk := body.read(min(left + 1, _BLOCK)):
            left -= len(chunk)
            if left < 0:
                break
            self._append(chunk)
        if left:
            raise _changed(entry)

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        room = _BLOCK - len(self._buffer)
        if len(data) < room:
            self._buffer += data
            return
        view = memoryview(data)
        while len(view) >= room:
            self._buffer += view[:room]
            view = view[room:]
            self._hand_over()
            room = _BLOCK
        self._buffer += view

    def _hand_over(self) -> None:
        block, self._buffer = self._buffer, bytearray()
        # Hashed here and compressed there: the two cost about the same on two cores.
        self._hash.update(block)
        self._size += len(block)
        self._output.put(block)


def _changed(entry: Entry) -> BuildError:
    return BuildError(
        f"{entry.name!r} changed while it was read: it no longer has {entry.size} bytes",
        hint="stop whatever writes to the build context, or list the file in .dockerignore",
    )


class _Output:
    """The compressing thread: blocks in through a bounded queue, a temporary file out."""

    def __init__(self, path: Path, codec: Codec | None) -> None:
        self._path = path
        self._codec = codec
        self._hash = hashlib.sha256()
        self._size = 0
        self._error: BaseException | None = None
        self._queue: Queue[bytearray | None] = Queue(_QUEUED_BLOCKS)
        descriptor, name = tempfile.mkstemp(prefix=".layer-", dir=path.parent)
        self._temporary = Path(name)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._thread: threading.Thread | None = threading.Thread(
            target=self._work, name="buildpush-layer", daemon=True
        )
        self._thread.start()

    def put(self, block: bytearray) -> None:
        """Queue *block*, waiting while the queue is full."""
        if self._error is not None:
            raise self._error
        assert self._thread is not None, "the layer is finished"
        self._queue.put(block)

    def finish(self) -> tuple[str, int]:
        """Wait for the thread and rename the file; its sha256 ("" when stored) and size."""
        self._join()
        if self._error is not None:
            raise self._error
        os.fchmod(self._file.fileno(), 0o644)
        self._file.close()
        self._temporary.replace(self._path)
        return (self._hash.hexdigest() if self._codec else ""), self._size

    def abort(self) -> None:
        """Wait for the thread and remove its file, if there still is one."""
        self._join()
        if not self._file.closed:
            self._file.close()
            with suppress(FileNotFoundError):
                self._temporary.unlink()

    def _join(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def _work(self) -> None:
        try:
            while (block := self._queue.get()) is not None:
                self._emit(self._codec.compress(block) if self._codec else block)
            if self._codec:
                self._emit(self._codec.flush())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            self._error = error
            while self._queue.get() is not None:  # never leave the caller waiting for room
                pass

    def _emit(self, data: bytes | bytearray) -> None:
        if self._codec:
            self._hash.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


@contextmanager
def open_layer(path: Path, media_type: str) -> Generator[BinaryIO]:
    """Open the layer blob at *path* as its uncompressed tar.

    What the bytes are decides, not *media_type*: the wild holds plain tars that claim gzip.
    Raises `RegistryError` for an encrypted layer, and while reading, for damaged compression.
    """
    with path.open("rb", buffering=0) as raw, decompressed(raw, media_type) as stream:
        yield stream
