"""Images as values: references, digests, platforms. No I/O in this file."""

from __future__ import annotations

import hashlib
import platform as _host
import re

from attrs import evolve, field, frozen

from ..errors import InvalidReferenceError
from ._naming import DIGEST, HUB, TAG, Parts, fault_of, invalid, repaired

__all__ = ["Digest", "ImageReference", "Platform", "Repository"]


def _is_digest(_: object, __: object, value: str) -> None:
    if not DIGEST.fullmatch(value):
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

    def __attrs_post_init__(self) -> None:
        fault = fault_of(Parts(host=self.host, path=self.path, path_at=len(self.host) + 1))
        if fault is not None:
            raise invalid(str(self), *fault)

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

    def __attrs_post_init__(self) -> None:
        if self.tag and not TAG.fullmatch(self.tag):
            parts = Parts.of(str(self))
            fault = fault_of(parts)
            raise invalid(str(self), *(fault or ("bad tag", parts.tag_at)))

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read a reference the way ``docker pull`` does: ``alpine`` is Docker Hub's ``latest``.

        Raises `InvalidReferenceError` with what is wrong, where, and what was probably meant.
        Follows the grammar of distribution/reference: the first part is a host when it has a
        dot, a colon, an upper-case letter or is ``localhost``.
        """
        parts = Parts.of(text)
        host, path, tag = parts.host, parts.path, parts.tag or ""
        fault = fault_of(parts)
        if fault is not None:
            raise invalid(text, *fault)
        if host == "index.docker.io":
            host = HUB
        if host == HUB and "/" not in path:
            path = f"library/{path}"
        pinned = Digest(parts.digest) if parts.digest is not None else None
        if not tag and pinned is None:
            tag = "latest"
        return cls(repository=Repository(host, path), tag=tag, digest=pinned)

    @classmethod
    def normalized(cls, text: str) -> ImageReference:
        """Read *text* as the reference it was probably meant to be: ``Acme App`` is ``acme-app``.

        For names that come from elsewhere, such as a project's or a branch's: the repository
        becomes lower case, and what may not stand in a path or a tag becomes a dash. Raises
        `InvalidReferenceError` when that is not enough.
        """
        return cls.parse(repaired(text) or text)

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
