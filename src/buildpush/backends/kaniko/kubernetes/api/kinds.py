"""The kinds of objects that builds deal with, and where each is found below a server's URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import quote

from attrs import frozen

__all__ = [
    "ACCESS_REVIEWS",
    "CONFIG_MAPS",
    "EVENTS",
    "JOBS",
    "NAMESPACES",
    "NODES",
    "PODS",
    "SECRETS",
    "Kind",
    "Object",
    "as_object",
]

Object = Mapping[str, object]
"""One object of the cluster, as its JSON says it."""


def as_object(value: object) -> Object | None:
    """*value*, if it is an object of JSON."""
    return cast("Object", value) if isinstance(value, dict) else None


@frozen
class Kind:
    """Objects of one kind: *api* is ``api/v1`` or ``apis/<group>/<version>``."""

    api: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group, empty for the core's."""
        return self.api.split("/")[1] if self.api.startswith("apis/") else ""

    def path(self, namespace: str, name: str = "", part: str = "") -> str:
        """The path of all of them in *namespace*, of one of them, or of a *part* of it."""
        inside = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced else ""
        one = f"/{quote(name, safe='')}" if name else ""
        return f"/{self.api}{inside}/{self.plural}{one}{f'/{part}' if part else ''}"


PODS: Final = Kind("api/v1", "pods")
SECRETS: Final = Kind("api/v1", "secrets")
CONFIG_MAPS: Final = Kind("api/v1", "configmaps")
EVENTS: Final = Kind("api/v1", "events")
JOBS: Final = Kind("apis/batch/v1", "jobs")
NODES: Final = Kind("api/v1", "nodes", namespaced=False)
NAMESPACES: Final = Kind("api/v1", "namespaces", namespaced=False)
ACCESS_REVIEWS: Final = Kind(
    "apis/authorization.k8s.io/v1", "selfsubjectaccessreviews", namespaced=False
)
