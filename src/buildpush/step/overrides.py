"""The settings that may be given beside somebody else's description of a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pydantic import SecretStr

if TYPE_CHECKING:
    from ..auth import Keychain
    from ..backends import Backend

__all__ = ["Overrides"]


class Overrides(TypedDict, total=False):
    """Settings that Harness and the plugins have no word for, and a few that win over theirs."""

    backend: str | Backend
    auth: Keychain | str | Sequence[Keychain | str]
    context: str | Path
    push: bool
    platforms: str | Sequence[str]
    mirrors: str | Sequence[str] | Mapping[str, str]
    insecure: str | Iterable[str]
    registries: Mapping[str, Mapping[str, str | bool]]
    skip_preflight: bool
    network: str
    retries: int
    timeout: str | float | None
    quiet: bool
    hidden: Sequence[str | SecretStr]
