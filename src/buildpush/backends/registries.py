"""A registry client as a build request wants it: its insecure hosts, its mirrors, its retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..auth import Keychain
from ..plan import BuildRequest
from ..runtime import Run

if TYPE_CHECKING:
    from ..registry import RegistryClient

__all__ = ["open_registry"]


def open_registry(request: BuildRequest, keychain: Keychain, run: Run) -> RegistryClient:
    """A client for everything *request* needs from registries; a context manager, thread-safe."""
    from ..registry import RegistryClient  # lazily: it loads the HTTP client
    from ..runtime.retry import RetryPolicy

    return RegistryClient(
        keychain,
        run,
        insecure=request.insecure,
        mirrors={host: (mirror,) for host, mirror in request.mirrors.items()},
        policy=RetryPolicy(attempts=request.retries + 1),
    )
