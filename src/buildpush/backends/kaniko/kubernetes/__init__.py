"""kaniko in a cluster: a Job for each platform, and nothing left behind."""

from __future__ import annotations

from .settings import (
    Owner,
    PodSettings,
    RegistryContext,
    RemoteContext,
    SecretKey,
    StreamedContext,
)

__all__ = [
    "Owner",
    "PodSettings",
    "RegistryContext",
    "RemoteContext",
    "SecretKey",
    "StreamedContext",
]
