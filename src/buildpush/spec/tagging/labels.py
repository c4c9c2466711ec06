"""The usual labels of an image, from what git and CI say."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from .facts import GitFacts

__all__ = ["image_labels"]

_PREFIX: Final = "org.opencontainers.image."


def image_labels(
    facts: GitFacts,
    *,
    created: datetime,
    version: str = "",
    title: str = "",
    description: str = "",
    licenses: str = "",
) -> dict[str, str]:
    """The labels of the OCI image specification that docker's metadata-action sets.

    *created*, with a timezone, is now, or the commit's time for an image that is the same each time; the
    title is the repository's name unless given. What nobody knows is left out.
    """
    name = facts.remote_url.rstrip("/").removesuffix(".git").rpartition("/")[2]
    found = {
        "created": created.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "description": description,
        "licenses": licenses,
        "revision": facts.sha,
        "source": facts.remote_url,
        "title": title or name,
        "url": facts.link or facts.remote_url,
        "version": version,
    }
    return {f"{_PREFIX}{key}": value for key, value in found.items() if value}
