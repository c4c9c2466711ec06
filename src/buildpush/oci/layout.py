"""An OCI image layout on disk: content by digest, an index of what is inside, and its check.

Follows the OCI image-spec, “image-layout.md”. A layout is a folder, or packed as a tar an
“OCI archive”, as ``buildx build --output type=oci`` writes it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from ..errors import SpecError
from . import Digest
from ._codecs import decompressed
from ._folder import CHUNK, Layout, written
from ._verify import VerifiedImage, verify
from ._watched import WatchedFile, unwatched
from .tar import END, Entry, TarError, pack, padding, read
from .wire import MAX_MANIFEST, Descriptor

__all__ = ["Layout", "VerifiedImage", "pack_tar", "put_file", "unpack_tar", "verify"]

_BLOB: Final = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)")


def pack_tar(layout: Layout, destination: Path) -> None:
    """Write *layout* as an OCI archive, an uncompressed tar; the same bytes every time."""
    names = ["oci-layout", "index.json", "blobs"]
    for folder in sorted(p for p in (layout.path / "blobs").iterdir() if p.is_dir()):
        names.append(f"blobs/{folder.name}")
        names += [f"blobs/{folder.name}/{p.name}" for p in sorted(folder.iterdir())]
    with written(destination) as file:
        for name in names:
            path = layout.path / name
            if path.is_dir():
                file.write(pack(Entry(name, "dir", 0o755)))
            elif "/.part-" not in name:
                with path.open("rb") as body:
                    put_file(file, name, body)
        file.write(END)


def put_file(archive: BinaryIO, name: str, body: BinaryIO) -> None:
    """Append the seekable *body* to *archive* as the file *name*."""
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    archive.write(pack(Entry(name, "file", 0o644, size=size)))
    shutil.copyfileobj(body, archive, CHUNK)
    archive.write(padding(size))


def unpack_tar(
    archive: Path, destination: Path, *, check: Callable[[], None] = unwatched
) -> Layout:
    """Unpack an OCI archive, plain or compressed, as the layout *destination*.

    Only the names of the image-spec are taken, and only blobs that hash to their names. *check*
    is called between any two pieces; what it raises passes.
    Raises `SpecError` when *archive* is no OCI archive, `DigestMismatchError` for bad content.
    """
    layout = Layout(destination)
    try:
        with WatchedFile(archive, check) as raw, decompressed(raw, "") as stream:
            for entry, body in read(stream):
                if entry.kind == "file":
                    _unpack(layout, entry, body)
    except TarError as error:
        raise SpecError(f"{archive} is not an OCI archive: {error}") from error
    return Layout.open(destination)


def _unpack(layout: Layout, entry: Entry, body: BinaryIO) -> None:
    if entry.name in ("oci-layout", "index.json"):
        if entry.size > MAX_MANIFEST:
            raise SpecError(f"the archive's {entry.name} is larger than {MAX_MANIFEST} bytes")
        with written(layout.path / entry.name) as file:
            file.write(body.read())
    elif blob := _BLOB.fullmatch(entry.name):
        digest = Digest(f"{blob[1]}:{blob[2]}")
        descriptor = Descriptor(media_type="", digest=digest, size=entry.size)
        layout.add_stream(iter(lambda: body.read(CHUNK), b""), descriptor)
