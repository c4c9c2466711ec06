"""Talking to registries: one client, and (in `push` and `pull`) whole images.

Importing this package does not import httpx; making a client does.
"""

from __future__ import annotations

from .client import Fetched, RegistryClient
from .failures import evidence_of, safe_url

__all__ = ["Fetched", "RegistryClient", "evidence_of", "safe_url"]
