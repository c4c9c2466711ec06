"""Talking to registries: one client, and (in `push` and `pull`) whole images.

Importing this package does not import httpx; making a client does.
"""

from __future__ import annotations

from ..http.answers import evidence_of, safe_url
from .client import Fetched, RegistryClient

__all__ = ["Fetched", "RegistryClient", "evidence_of", "safe_url"]
