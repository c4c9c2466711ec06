"""Where an image may come from: text and paths made into values, before anything is opened.

Text follows containers-transports(5): ``oci:``, ``oci-archive:``, ``docker-archive:``,
``docker-daemon:`` and ``docker://``. A path that exists needs no prefix: what it is, is looked up.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from ...errors import InvalidReferenceError, SpecError
from ...oci import ImageReference
from ...plan import LayoutArtifact

__all__ = ["DaemonSource", "FileSource", "Given", "RegistrySource", "Source", "read_source"]


@frozen
class FileSource:
    """A layout's folder or an archive at *path*; *image* is the tag, name or digest to take."""

    path: Path
    image: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.image}" if self.image else f"{self.path}"


@frozen
class DaemonSource:
    """An image in the docker daemon's own store, by name or id."""

    name: str

    def __str__(self) -> str:
        return f"docker-daemon:{self.name}"


@frozen
class RegistrySource:
    """An image in a registry."""

    reference: ImageReference

    def __str__(self) -> str:
        return f"docker://{self.reference}"


Source = FileSource | DaemonSource | RegistrySource | LayoutArtifact
Given = str | Path | ImageReference | LayoutArtifact
"""What callers may name a source by."""

_FILES = ("oci", "oci-archive", "docker-archive", "dir")


def read_source(given: Given, cwd: Path, *, image: str = "", remote: bool = False) -> Source:
    """Make a source of what a caller gave.

    *image* says which one of several to take. Plain text is a path; where *remote*, it is a
    reference unless it begins like a path. Raises `SpecError` when it is neither.
    """
    match given:
        case LayoutArtifact():
            return given
        case ImageReference():
            return RegistrySource(given)
        case Path():
            return FileSource(cwd / given, image)
        case str():
            return _read_text(given, cwd, image, remote=remote)


def _read_text(text: str, cwd: Path, image: str, *, remote: bool) -> Source:
    transport, colon, rest = text.partition(":")
    if text.startswith("docker://"):
        return RegistrySource(ImageReference.parse(text.removeprefix("docker://")))
    if colon and transport == "docker-daemon":
        if not rest:
            raise SpecError("docker-daemon: names no image", hint="docker-daemon:app:1.4")
        return DaemonSource(rest)
    if colon and transport in _FILES:
        if transport == "dir":
            raise SpecError(
                f"{text}: a dir: folder keeps no media types that could be trusted",
                hint="skopeo copy dir:… oci:… makes a layout of it",
            )
        return _with_choice(rest, cwd, image)
    looks_like_path = text.startswith(("/", "./", "../", "~"))
    if (cwd / text).exists() and (looks_like_path or not remote):
        return FileSource(cwd / text, image)
    if remote and not looks_like_path:
        return RegistrySource(ImageReference.parse(text))
    raise SpecError(f"no such file or folder: {text}", hint=_meant(text))


def _meant(text: str) -> str:
    try:
        ImageReference.parse(text)
    except InvalidReferenceError:
        return "name a layout's folder or an archive"
    return f"an image in the daemon is docker-daemon:{text}, one in a registry docker://{text}"


def _with_choice(rest: str, cwd: Path, image: str) -> FileSource:
    """Split ``PATH[:TAG]`` and ``PATH@DIGEST``; a path may hold both signs, if it exists so."""
    path, choice = rest, ""
    if not (cwd / rest).exists():
        if "@sha" in rest:
            path, _, choice = rest.rpartition("@")
        elif ":" in rest:
            path, _, choice = rest.partition(":")
    if not path:
        raise SpecError(
            f"{rest!r} names no path", hint="oci:PATH, oci:PATH:TAG or oci:PATH@DIGEST"
        )
    if choice and image and choice != image:
        raise SpecError(f"{rest}: {choice} and {image} cannot both be chosen")
    return FileSource(cwd / path, choice.removeprefix("@") or image)
