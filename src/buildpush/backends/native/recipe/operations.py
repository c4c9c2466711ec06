"""What building a stage consists of, as frozen values: the operations that `graph` plans."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from ....dockerfile.instructions import Lines
from .mounts import MountSpec

__all__ = [
    "Annotate",
    "Execute",
    "ImageOrigin",
    "InlineFile",
    "MakeDirectory",
    "Operation",
    "Origin",
    "StageOrigin",
    "Transfer",
]


@frozen(kw_only=True)
class StageOrigin:
    """Another stage of the same Dockerfile, counted from 0."""

    index: int


@frozen(kw_only=True)
class ImageOrigin:
    """An image, or a named build context, that is not a stage; *name* as written."""

    name: str


Origin = StageOrigin | ImageOrigin


@frozen(kw_only=True)
class InlineFile:
    """A here-document on its way into the image."""

    name: str
    data: bytes = field(repr=False)


@frozen(kw_only=True)
class _Step:
    lines: Lines
    text: str
    title: str
    created_by: str
    """The history line; empty when the instruction leaves none."""


@frozen(kw_only=True)
class Annotate(_Step):
    """An instruction that changes the config alone."""


@frozen(kw_only=True)
class MakeDirectory(_Step):
    """WORKDIR: the folder *path*, made for *user* where it is missing."""

    path: str
    user: str


@frozen(kw_only=True)
class Transfer(_Step):
    """COPY or ADD. *origin* is None for the build context; *destination* as written, expanded."""

    is_add: bool
    sources: tuple[str, ...]
    inline: tuple[InlineFile, ...]
    destination: str
    workdir: str
    origin: Origin | None = None
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


@frozen(kw_only=True)
class Execute(_Step):
    """RUN. *env* is the whole environment, *proxies* what is added without being cached."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    proxies: Mapping[str, str]
    workdir: str
    user: str
    mounts: tuple[tuple[MountSpec, Origin | None], ...]
    script: InlineFile | None
    network: str
    security: str


Operation = Annotate | MakeDirectory | Transfer | Execute
