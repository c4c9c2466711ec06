"""Manifests and configs of base images, kept from one build to the next.

Asking what a tag names costs nothing; reading a manifest counts as a pull where pulls are
counted. So each is read once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ...errors import DigestMismatchError, NotFoundError, RegistryError
from ...oci import Digest, ImageReference, Platform
from ...oci.layout import Layout
from ...oci.wire import (
    MAX_CONFIG,
    MAX_MANIFEST,
    ImageConfig,
    Index,
    Manifest,
    parse_config,
    parse_manifest,
)
from ...runtime.environment import Environment, make_private

if TYPE_CHECKING:
    from ...registry import RegistryClient

__all__ = ["Memory"]

_DEEPEST: Final = 4
_MOST: Final = 500
"""Documents that are kept, of a few kilobytes each."""


@frozen
class Memory:
    """Small content by its digest, in the user's cache; safe between processes."""

    _kept: Layout

    @classmethod
    def of(cls, environment: Environment) -> Memory:
        """The memory that all builds of this user share."""
        folder = environment.cache / "bases"
        make_private(folder)
        return cls(Layout(folder))

    def image(
        self, client: RegistryClient, reference: ImageReference, platform: Platform
    ) -> tuple[Manifest, ImageConfig]:
        """What *reference* names now, for *platform*.

        Raises what the registry client raises, and `RegistryError` for what is no image.
        """
        manifest = self._manifest(client, reference, platform)
        blob = manifest.config
        if blob.size > MAX_CONFIG:
            raise RegistryError(f"the config of {reference} is larger than {MAX_CONFIG} bytes")

        def fetch() -> bytes:
            with client.get_blob(reference.repository, blob) as chunks:
                return b"".join(chunks)

        return manifest, parse_config(self._read(blob.digest, MAX_CONFIG, fetch))

    def _manifest(
        self, client: RegistryClient, reference: ImageReference, platform: Platform
    ) -> Manifest:
        from ...registry.pull import choose

        digest = reference.digest
        if digest is None:
            named = client.head_manifest(reference)
            if named is None:
                raise NotFoundError(f"there is no image {reference}")
            digest = named.digest
        for _ in range(_DEEPEST):
            pinned = reference.with_digest(digest)
            data = self._read(digest, MAX_MANIFEST, partial(_fetch, client, pinned))
            document = parse_manifest(data)
            if not isinstance(document, Index):
                return document
            digest = choose(document, platform, str(reference)).digest
        raise RegistryError(f"{reference} is an index of indexes, more than {_DEEPEST} deep")

    def _read(self, digest: Digest, limit: int, fetch: Callable[[], bytes]) -> bytes:
        with suppress(NotFoundError, DigestMismatchError):
            return self._kept.read(digest, limit)
        data = fetch()
        if digest.algorithm == "sha256":
            self._kept.blob_path(digest).unlink(missing_ok=True)
            self._kept.add_bytes(data, "")
            self._forget()
        return data

    def _forget(self) -> None:
        """Remove the oldest documents once there are too many."""
        with suppress(OSError):  # another process forgets, too
            files = list((self._kept.path / "blobs" / "sha256").iterdir())
            if len(files) > _MOST:
                files.sort(key=lambda path: path.stat().st_mtime)
                for path in files[: len(files) // 2]:
                    path.unlink(missing_ok=True)


def _fetch(client: RegistryClient, reference: ImageReference) -> bytes:
    return client.get_manifest(reference).data
