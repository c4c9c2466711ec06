"""The small values that settings are made of, frozen: secrets' sources, caches, outputs, limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from attrs import field, frozen
from pydantic import SecretStr

__all__ = ["Cache", "FromEnv", "Output", "SecretSource", "SshSource", "Ulimit"]


# mypy's attrs plugin cannot solve a generic converter, so there is one per value type.
def _copy_text(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return dict(mapping)


@frozen
class FromEnv:
    """The value of an environment variable, read when the run begins."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


SecretSource = SecretStr | Path | FromEnv
"""Where a build secret comes from: the value itself, a file, or an environment variable."""

SshSource = Path | FromEnv
"""Where an SSH agent is: its socket or a private key's file, or a variable that names it."""


@frozen(kw_only=True)
class Cache:
    """One place to import cache from or export it to.

    *type* is registry, inline, local, gha, s3 or azblob; *attributes* are BuildKit's for it
    (``ref``, ``mode``, ``dest``, …). Trouble with it fails the build only when *required*.
    """

    type: str
    attributes: Mapping[str, str] = field(factory=dict[str, str], converter=_copy_text)
    required: bool = False

    def __str__(self) -> str:
        parts = {"type": self.type, **self.attributes}
        if self.required:
            parts["required"] = "true"
        return ",".join(f"{key}={value}" for key, value in parts.items())


@frozen(kw_only=True)
class Output:
    """A place on disk that also gets the image.

    *type* is ``oci`` (a folder, or a file for ``*.tar``), ``docker`` (an archive as ``docker
    save`` writes it) or ``local`` (the image's files in a folder).
    """

    type: Literal["oci", "docker", "local"]
    destination: Path

    def __str__(self) -> str:
        return f"type={self.type},dest={self.destination}"


@frozen(kw_only=True)
class Ulimit:
    """One resource limit of RUN: *soft* and *hard* as setrlimit takes them, -1 for none."""

    name: str
    soft: int
    hard: int

    def __str__(self) -> str:
        return f"{self.name}={self.soft}:{self.hard}"
