"""Images as values: references, digests, platforms. No I/O in this file."""

from __future__ import annotations

import hashlib
import platform as _host
import re

from attrs import evolve, field, frozen

from ..errors import InvalidReferenceError

__all__ = ["Digest", "ImageReference", "Platform", "Repository"]

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HUB = "docker.io"
_MAX_NAME = 255


def _is_digest(_: object, __: object, value: str) -> None:
    if not _DIGEST.fullmatch(value):
        raise InvalidReferenceError(
            f"not a digest: {value!r}", hint="a digest is sha256: and 64 lower-case hex digits"
        )


@frozen(order=True)
class Digest:
    """A content address such as ``sha256:…``, as the OCI image-spec writes it."""

    text: str = field(validator=_is_digest)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Compute the sha256 digest of *data*."""
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """The part before the colon: ``sha256`` or ``sha512``."""
        return self.text.partition(":")[0]

    @property
    def hex(self) -> str:
        """The part after the colon."""
        return self.text.partition(":")[2]

    def __str__(self) -> str:
        return self.text


# What uname, Go and people call a CPU → (architecture, variant) as containerd normalises them.
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv8": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}


@frozen(order=True)
class Platform:
    """An operating system and CPU: ``linux/amd64``, ``linux/arm/v7``.

    Normalised as containerd's ``platforms`` package does: ``linux/aarch64`` and
    ``linux/arm64/v8`` are ``linux/arm64``; ``linux/arm`` is ``linux/arm/v7``.
    """

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/arch[/variant]``; raises `InvalidReferenceError` for anything else."""
        parts = text.lower().split("/")
        if not 2 <= len(parts) <= 3 or not all(re.fullmatch(r"[a-z0-9_.-]+", p) for p in parts):
            raise InvalidReferenceError(f"not a platform: {text!r}", hint="e.g. linux/amd64")
        return cls.of(*parts)

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Platform:
        """Normalise the three words of a platform."""
        architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
        variant = variant or implied
        if architecture == "arm64" and variant in ("v8", "8"):
            variant = ""
        if architecture == "amd64" and variant == "v1":
            variant = ""
        if architecture == "arm":
            variant = {"": "v7", "7": "v7", "6": "v6", "5": "v5"}.get(variant, variant)
        return cls(os, architecture, variant)

    @classmethod
    def host(cls) -> Platform:
        """The platform whose programs this machine's kernel runs, always as Linux."""
        return cls.of("linux", _host.machine().lower())

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@frozen(order=True)
class Repository:
    """A registry host and a path in it: what a credential is *for*."""

    host: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Read a repository without tag or digest; raises `InvalidReferenceError`."""
        reference = ImageReference.parse(text)
        if reference.digest is not None or ":" in text.rpartition("/")[2]:
            raise InvalidReferenceError(
                f"a repository has no tag or digest: {text!r}", hint="give tags separately"
            )
        return reference.repository

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


@frozen(kw_only=True)
class ImageReference:
    """Names an image: a repository with a tag, a digest, or both."""

    repository: Repository
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read a reference the way ``docker pull`` does: ``alpine`` is Docker Hub's ``latest``.

        Raises `InvalidReferenceError` with what is wrong. Follows the grammar of
        distribution/reference: the first part is a host when it has a dot, a colon, an
        upper-case letter or is ``localhost``.
        """
        name, at, digest = text.partition("@")
        head, slash, tail = name.partition("/")
        explicit = bool(slash) and (
            any(c in head for c in ".:[") or head == "localhost" or head != head.lower()
        )
        host, path = (head, tail) if explicit else (_HUB, name)
        path, colon, tag = path.partition(":")
        if host == "index.docker.io":
            host = _HUB
        if host == _HUB and "/" not in path:
            path = f"library/{path}"
        fault = _fault(host, path, tag if colon else None)
        if fault:
            raise InvalidReferenceError(f"not an image reference: {text!r}: {fault}")
        pinned = Digest(digest) if at else None
        if not tag and pinned is None:
            tag = "latest"
        return cls(repository=Repository(host, path), tag=tag, digest=pinned)

    def with_digest(self, digest: Digest) -> ImageReference:
        """The same name, pinned."""
        return evolve(self, digest=digest)

    @property
    def target(self) -> str:
        """What ``/v2/<path>/manifests/<target>`` asks for: the digest, else the tag."""
        return str(self.digest) if self.digest else self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        pin = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{pin}"


def _fault(host: str, path: str, tag: str | None) -> str:
    """Say what is wrong with the parts of a reference; empty when nothing is."""
    if not _HOST.fullmatch(host):
        return f"bad registry host {host!r}"
    if path != path.lower():
        return "the repository must be lower case"
    if not _PATH.fullmatch(path):
        return f"bad repository path {path!r}"
    if len(path) + len(host) + 1 > _MAX_NAME:
        return f"the name is longer than {_MAX_NAME} characters"
    if tag is not None and not _TAG.fullmatch(tag):
        return f"bad tag {tag!r}"
    return ""
