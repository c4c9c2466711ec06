"""The images of a node: any is there, but those that a test withholds, and those of a registry here.

An image in a registry on 127.0.0.1 that is not kaniko's is really pulled, and unpacked into the
pod's root: so a context that comes as an image is there.
"""

from __future__ import annotations

import io
import re
import tarfile
from typing import Final

from attrs import define, field

from .oci import Name, Registry, RegistryRefusal
from .shells import PodRoot

_HERE: Final = re.compile(r"(127\.0\.0\.1|localhost):\d+/")


class PullError(Exception):
    """An image cannot be had: the kubelet's reason and the runtime's words."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@define(eq=False)
class Images:
    """*absent* are patterns of images that no registry has."""

    absent: list[str] = field(factory=list)


def bring(image: str, root: PodRoot, images: Images) -> None:
    """Have *image* on the node; raises `PullError`."""
    if any(re.search(pattern, image) for pattern in images.absent):
        raise PullError(
            "ErrImagePull",
            f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": failed'
            f" to resolve image: {image}: not found",
        )
    if not re.fullmatch(r"[a-z0-9./:@_-]+", image.rpartition(":")[0] or image):
        raise PullError(
            "InvalidImageName",
            f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}":'
            " invalid reference format",
        )
    if _HERE.match(image) and "kaniko" not in image.rpartition("/")[2]:
        name = Name.parse(image)
        registry = Registry(name.host)
        try:
            manifest, _ = registry.manifest(name, "amd64")
            for layer in manifest["layers"]:
                _unpack(registry.blob(name, layer["digest"]), root)
        except RegistryRefusal as error:
            raise PullError(
                "ErrImagePull",
                f'failed to pull and unpack image "{image}": failed to resolve image: {error}',
            ) from error
        finally:
            registry.close()


def _unpack(layer: bytes, root: PodRoot) -> None:
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:*") as archive:
        for member in archive:
            if member.name.strip("./").split("/")[0] not in ("bin", "dev", "proc", "sys"):
                archive.extract(member, root.folder, filter="tar")
