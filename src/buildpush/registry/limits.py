"""What registries are known to take: how large a blob, how large a chunk, whether they can resume.

None of it is advertised: these are the numbers in the registries' own documentation, and
measures of users where it is silent.
"""

from __future__ import annotations

import re
import threading
from typing import Final

from attrs import define, field

from ..errors import BlobTooLargeError
from ..oci import Repository
from ..oci.wire import Descriptor
from .progress import size_text

__all__ = ["Habits", "check_size", "chunk_size", "known_limit"]

_MEBIBYTE: Final = 1 << 20
_CHUNK: Final = 4 * _MEBIBYTE
_SMALLEST: Final = 1 << 16

_ECR: Final = re.compile(r"\d{12}\.dkr[.-]ecr(-fips)?[.-][a-z0-9.-]+")
_LIMITS: Final = (
    (_ECR, 52_000 * _MEBIBYTE),
    (re.compile(r"public\.ecr\.aws"), 10_000 * _MEBIBYTE),
    (re.compile(r"ghcr\.io"), 10_000 * _MEBIBYTE),
    (re.compile(r"[a-z0-9-]+\.azurecr\.io"), 200 << 30),
)
# Amazon's answers to "how far did I come" name the end of the first chunk for ever.
_FORGETFUL: Final = (_ECR, re.compile(r"public\.ecr\.aws"))


def known_limit(host: str) -> int | None:
    """The most bytes a blob may have at *host*; None when nobody has said."""
    return next((limit for pattern, limit in _LIMITS if pattern.fullmatch(host)), None)


def check_size(repository: Repository, descriptor: Descriptor) -> None:
    """Raise `BlobTooLargeError` for a blob that the registry is known not to take."""
    limit = known_limit(repository.host)
    if limit is None or descriptor.size <= limit:
        return
    error = BlobTooLargeError(
        f"blob {descriptor.digest} has {size_text(descriptor.size)}, and {repository.host} takes"
        f" at most {size_text(limit)}",
        hint="divide what makes this layer between several instructions",
    )
    error.digest, error.size, error.limit = str(descriptor.digest), descriptor.size, limit
    raise error


def chunk_size(size: int, minimum: int) -> int:
    """Bytes per chunk of a blob of *size* that is too large at once, *minimum* or more.

    GHCR refuses more than 4 MiB. What is not much larger than that is cut into four.
    """
    return max(minimum, min(_CHUNK, max(_SMALLEST, size // 4)))


@define(eq=False)
class Habits:
    """What one client has seen of its registries. Thread-safe."""

    _too_large: dict[str, int] = field(factory=dict[str, int], init=False)
    _forgetful: set[str] = field(factory=set[str], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def refused(self, host: str, size: int) -> None:
        """So many bytes were too many for one request."""
        with self._lock:
            self._too_large[host] = min(size, self._too_large.get(host, size))

    def wants_chunks(self, host: str, size: int) -> bool:
        """Whether *size* bytes are known to be too many for one request."""
        with self._lock:
            known = self._too_large.get(host)
        return known is not None and size >= known

    def lied(self, host: str) -> None:
        """What it said of how far an upload had come was wrong."""
        with self._lock:
            self._forgetful.add(host)

    def resumes(self, host: str) -> bool:
        """Whether an upload that broke off may be gone on with."""
        with self._lock:
            return host not in self._forgetful and not any(p.fullmatch(host) for p in _FORGETFUL)
