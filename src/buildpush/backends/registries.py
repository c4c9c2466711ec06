"""A registry client as a build request wants it: its insecure hosts, its mirrors, its retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..auth import Keychain
from ..errors import AuthError, RegistryError
from ..oci import Digest, ImageReference
from ..plan import BuildRequest
from ..runtime import Run

if TYPE_CHECKING:
    from ..registry import RegistryClient

__all__ = ["open_registry", "reach_required_caches"]


def open_registry(request: BuildRequest, keychain: Keychain, run: Run) -> RegistryClient:
    """A client for everything *request* needs from registries; a context manager, thread-safe."""
    from ..registry import RegistryClient  # lazily: it loads the HTTP client
    from ..runtime.retry import RetryPolicy

    return RegistryClient(
        keychain,
        run,
        insecure=request.insecure,
        certificates=request.certificates,
        mirrors=request.mirrors,
        policy=RetryPolicy(attempts=request.retries + 1),
    )


def reach_required_caches(request: BuildRequest, keychain: Keychain, run: Run) -> None:
    """Raise where the registry of a cache that must be read does not answer, or lets nobody in.

    For engines that go on without a cache, whatever the reason; an empty one is as good as any.
    """
    required = [cache for cache in request.cache_from if cache.required]
    if not required:
        return
    with open_registry(request, keychain, run) as client:
        for cache in required:
            repository = ImageReference.parse(cache.attributes["ref"]).repository
            try:
                client.has_blob(repository, Digest.of(b""), access="pull")
            except (RegistryError, AuthError) as error:
                message = f"the cache {repository} could not be read: {error.message}"
                raise type(error)(message, evidence=error.evidence, hint=error.hint) from error
