"""`pull_image`: what a registry really holds under a name, read without buildpush's own client.

An image is compared best as config and files: layers may differ where images do not.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib
import io
import json
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sized
from typing import Any, Final, Protocol, cast

from attrs import evolve, field, frozen

__all__ = ["ImageFile", "PulledImage", "decompressed", "pull_image", "read_layer"]

_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ACCEPT: Final = (
    *_INDEXES,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_XATTR: Final = "SCHILY.xattr."
_GZIP_WINDOW: Final = 31
_KINDS: Final = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}


def _size(value: Sized) -> str:
    return f"<{len(value)}>"


@frozen(kw_only=True)
class ImageFile:
    """One file of an image: *kind* is file, dir, symlink, hardlink, char, block or fifo.

    *link* is where a link points, *mtime* in seconds. In a whole image a hard link is the file it
    stands for, and *twins* are all the names such a file has, in lexical order.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    content: bytes = field(default=b"", repr=_size)
    link: str = ""
    mtime: float = 0.0
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, str] = field(factory=dict[str, str])
    twins: tuple[str, ...] = ()


@frozen(kw_only=True)
class PulledImage:
    """An image as the registry has it. *index* is empty when its name means a single manifest.

    *layers* are the blobs as they are stored, *digest* is the hash of the bytes under the name.
    """

    digest: str
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    layers: tuple[bytes, ...] = field(repr=_size)
    index: Mapping[str, Any] = field(factory=dict[str, Any])

    @property
    def run_config(self) -> Mapping[str, Any]:
        """What a container of it is started with: Env, Cmd, User and so on."""
        return self.config.get("config") or {}

    def files(self) -> dict[str, ImageFile]:
        """Every file by its path without a leading slash, layers applied one upon the other."""
        merged: dict[str, ImageFile] = {}
        for blob in self.layers:
            _apply(read_layer(blob), merged)
        return _with_twins(merged)

    def text(self, path: str) -> str:
        """The content of the file *path*; `KeyError` when there is none."""
        return self.files()[path].content.decode()


def pull_image(reference: str, *, platform: str = "") -> PulledImage:
    """Read *reference* (``host:port/repository:tag``, ``…@digest``) by plain HTTP, as nobody.

    *platform* (``linux/arm64``) chooses from an index; without it, its first image is taken. Raises
    `AssertionError` when a blob is missing or does not hash to its name.
    """
    host, _, rest = reference.partition("/")
    name, _, pinned = rest.partition("@")
    repository, _, tag = name.partition(":")
    target = pinned or tag
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        data = _get(connection, f"/v2/{repository}/manifests/{target}")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        top = json.loads(data)
        index: Mapping[str, Any] = {}
        if "manifests" in top:
            index = top
            chosen = _choose(top["manifests"], platform)
            top = json.loads(_blob(connection, repository, chosen, kind="manifests"))
        return PulledImage(
            digest=digest,
            index=index,
            manifest=top,
            config=json.loads(_blob(connection, repository, top["config"]["digest"])),
            layers=tuple(_blob(connection, repository, x["digest"]) for x in top["layers"]),
        )
    finally:
        connection.close()


def _choose(entries: list[Any], platform: str) -> str:
    for entry in entries:
        found = entry.get("platform", {})
        name = f"{found.get('os')}/{found.get('architecture')}"
        if platform in ("", name, f"{name}/{found.get('variant')}"):
            return str(entry["digest"])
    raise AssertionError(f"the index has no image for {platform}")


def _blob(
    connection: http.client.HTTPConnection, repository: str, digest: str, *, kind: str = "blobs"
) -> bytes:
    data = _get(connection, f"/v2/{repository}/{kind}/{digest}")
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert found == digest, f"{kind[:-1]} {digest} hashes to {found}"
    return data


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path, headers={"Accept": ", ".join(_ACCEPT)})
    response = connection.getresponse()
    data = response.read()
    assert response.status == 200, f"GET {path}: {response.status} {data[:200]!r}"
    return data


# --- layers ---


def read_layer(blob: bytes) -> dict[str, ImageFile]:
    """The entries of one layer, gzip, zstd or plain, in their order; whiteouts as they are."""
    found: dict[str, ImageFile] = {}
    with tarfile.open(fileobj=io.BytesIO(decompressed(blob)), mode="r:") as archive:
        for member in archive:
            name = member.name.strip("/").removeprefix("./")
            if name in ("", "."):
                continue
            found.pop(name, None)  # the last entry of a name is the one that counts
            found[name] = _image_file(archive, member)
    return found


def _image_file(archive: tarfile.TarFile, member: tarfile.TarInfo) -> ImageFile:
    body = archive.extractfile(member) if member.isreg() else None
    headers = member.pax_headers
    return ImageFile(
        kind=_KINDS[member.type],
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        content=body.read() if body is not None else b"",
        link=member.linkname.removeprefix("./") if member.islnk() else member.linkname,
        mtime=float(member.mtime),
        device=(member.devmajor, member.devminor) if member.isdev() else (0, 0),
        xattrs={k.removeprefix(_XATTR): v for k, v in headers.items() if k.startswith(_XATTR)},
    )


class _Zstd(Protocol):
    def decompress(self, data: bytes) -> bytes: ...


def decompressed(blob: bytes) -> bytes:
    """The tar of a layer that is stored as gzip, zstd or plain."""
    if blob.startswith(b"\x1f\x8b"):
        return b"".join(_gunzipped(blob))
    if blob.startswith(b"\x28\xb5\x2f\xfd"):
        name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        return cast("_Zstd", importlib.import_module(name)).decompress(blob)
    return blob


def _gunzipped(blob: bytes) -> Iterator[bytes]:
    while blob.startswith(b"\x1f\x8b"):
        inflate = zlib.decompressobj(_GZIP_WINDOW)
        yield inflate.decompress(blob)
        blob = inflate.unused_data


def _apply(layer: Mapping[str, ImageFile], merged: dict[str, ImageFile]) -> None:
    """Lay *layer* upon *merged*: its whiteouts hide what is below, never what it brings itself."""
    for name in layer:
        folder, _, last = name.rpartition("/")
        if last == _OPAQUE:
            _hide(merged, folder, itself=False)
        elif last.startswith(_WHITEOUT):
            _hide(merged, f"{folder}/{last[len(_WHITEOUT) :]}".strip("/"), itself=True)
    for name, entry in layer.items():
        if name.rpartition("/")[2].startswith(_WHITEOUT):
            continue
        if entry.kind != "dir":
            _hide(merged, name, itself=True)
        merged[name] = entry


def _hide(merged: dict[str, ImageFile], name: str, *, itself: bool) -> None:
    below = f"{name}/" if name else ""
    for path in [p for p in merged if p.startswith(below) or (itself and p == name)]:
        del merged[path]


def _with_twins(merged: Mapping[str, ImageFile]) -> dict[str, ImageFile]:
    """Hard links as the files they stand for, whichever of the names came first."""
    groups: dict[str, list[str]] = {}
    for name, entry in merged.items():
        if entry.kind == "hardlink":
            groups.setdefault(_origin(merged, name), []).append(name)
    resolved = dict(merged)
    for origin, names in groups.items():
        twins = tuple(sorted([origin, *names]))
        for name in twins:
            resolved[name] = evolve(merged[origin], twins=twins)
    return dict(sorted(resolved.items()))


def _origin(merged: Mapping[str, ImageFile], name: str) -> str:
    while merged[name].kind == "hardlink":
        name = merged[name].link.strip("/")
    return name
