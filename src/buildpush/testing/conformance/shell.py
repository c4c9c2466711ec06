"""A base image with a shell, from the static busybox of the machine: RUN needs something to run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Final

from ...oci import Platform
from ..registry import LocalRegistry

__all__ = ["Busybox", "is_static"]

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_LOADER: Final = b"/ld-"
_HEADERS: Final = 4096
_APPLETS: Final = (
    "[",
    "basename",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "kill",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mount",
    "mv",
    "nc",
    "od",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tar",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "umount",
    "uname",
    "uniq",
    "wc",
    "wget",
    "xargs",
    "yes",
)
_USERS: Final = """root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
"""
_GROUP: Final = "root:x:0:\napp:x:1000:\nextra:x:1001:app\n"
_FOLDERS: Final = {
    **dict.fromkeys(("bin", "dev", "etc", "home", "proc", "sys", "usr", "var"), (0o755, 0)),
    "tmp": (0o1777, 0),
    "root": (0o700, 0),
    "home/app": (0o755, 1000),
}


def is_static(program: Path) -> bool:
    """Whether *program* names no loader, and so runs in an image with nothing else in it."""
    with program.open("rb") as file:
        return _LOADER not in file.read(_HEADERS)


class Busybox:
    """An image of busybox: its applets, and the users root and app (1000, also in group extra)."""

    def __init__(self, program: Path) -> None:
        layer = _layer(program.read_bytes())
        compressed = gzip.compress(layer, 1, mtime=0)
        platform = Platform.host()
        config = {
            "architecture": platform.architecture,
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["/bin/sh"],
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
            "history": [{"created_by": "a base image for tests"}],
        }
        if platform.variant:
            config["variant"] = platform.variant
        self._blobs = {_CONFIG: json.dumps(config).encode(), _LAYER: compressed}

    def put(self, registry: LocalRegistry, repository: str, tag: str) -> str:
        """Put the image into *registry*; the text of its reference."""
        descriptors: dict[str, dict[str, Any]] = {}
        for media_type, data in self._blobs.items():
            digest = registry.add_blob(repository, data)
            descriptors[media_type] = {
                "mediaType": media_type,
                "digest": str(digest),
                "size": len(data),
            }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": descriptors[_CONFIG],
            "layers": [descriptors[_LAYER]],
        }
        registry.add_manifest(repository, json.dumps(manifest).encode(), _MANIFEST, tag=tag)
        return registry.reference(f"{repository}:{tag}")


def _layer(program: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, (mode, owner) in _FOLDERS.items():
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, mode, owner, owner
            archive.addfile(folder)
        _add_file(archive, "bin/busybox", program, 0o755)
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            archive.addfile(link)
        _add_file(archive, "etc/passwd", _USERS.encode(), 0o644)
        _add_file(archive, "etc/group", _GROUP.encode(), 0o644)
    return stream.getvalue()


def _add_file(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.size = mode, len(data)
    archive.addfile(info, io.BytesIO(data))
