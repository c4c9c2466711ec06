"""Credentials for Google's Artifact Registry and Container Registry, without gcloud."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from attrs import define, field

from ..oci import Repository
from ..runtime import CancelToken, Environment
from . import Access, Consulted, Credential
from .asking import now
from .google.exchange import Google
from .google.files import VARIABLES, usual_file
from .google.sources import (
    AccessToken,
    GoogleAuth,
    GoogleSource,
    JsonKey,
    KeyFile,
    MetadataServer,
    WorkloadIdentity,
    login,
)
from .keeping import Keeping, Kept, Steps, explained

__all__ = [
    "AccessToken",
    "GoogleAuth",
    "GoogleKeychain",
    "GoogleSource",
    "JsonKey",
    "KeyFile",
    "MetadataServer",
    "WorkloadIdentity",
]

_HOSTS: Final = re.compile(r"(?:[a-z0-9-]+-)?docker\.pkg\.dev|(?:[a-z0-9-]+\.)?gcr\.io")
_TOKENS: Final = ("CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN")
_NO_METADATA: Final = "NO_GCE_CHECK"
_READ: Final = (
    *_TOKENS,
    *VARIABLES,
    "CLOUDSDK_CONFIG",
    "GCE_METADATA_HOST",
    "GCE_METADATA_ROOT",
    _NO_METADATA,
)


@define(eq=False, kw_only=True)
class GoogleKeychain(Keeping):
    """Logs in to ``*-docker.pkg.dev``, ``gcr.io`` and ``*.gcr.io``; knows no other host.

    With a *source*, that and nothing else is asked, and it must answer. Without one, in this
    order: an access token in ``CLOUDSDK_AUTH_ACCESS_TOKEN`` or ``GOOGLE_OAUTH_ACCESS_TOKEN``; the
    credential file named by ``GOOGLE_APPLICATION_CREDENTIALS``, or else gcloud's own; this
    machine's metadata server. Tokens are kept, and renewed before they end. *environment* is that
    of the process, read for each answer, unless one is given.
    """

    source: GoogleSource | None = None
    environment: Environment | None = field(default=None, repr=False)
    cancel: CancelToken | None = field(default=None, repr=False)
    clock: Callable[[], float] = field(default=now, repr=False)
    _kept: Kept = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._kept = Kept(self.clock)

    def resolve(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - one credential does both
    ) -> Credential | None:
        """The credential for one of Google's registries; None for any other host.

        None, too, where no *source* was given and nothing is set up here. Raises `AuthError` when
        something is, and gives no token; `RegistryUnavailableError` when its server does not answer.
        """
        return self._look([]) if is_google(repository) else None

    def explain(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - one credential does both
    ) -> tuple[Consulted, ...]:
        """The sources that were asked, in order."""
        if not is_google(repository):
            why = f"{repository.host} is no registry of Google's"
            return (Consulted(source="GoogleKeychain", outcome="skipped", why=why),)
        name = type(self.source).__name__ if self.source else "GoogleKeychain"
        return explained(self._look, name)

    def _look(self, steps: Steps) -> Credential | None:
        environment = self.environment or Environment.current()
        google = Google(environment=environment, clock=self.clock, cancel=self.cancel)
        key = tuple(environment.variables.get(name, "") for name in _READ)
        return self._kept.look(key, lambda asked: self._ask(google, asked), steps)

    def _ask(self, google: Google, asked: Steps) -> Credential | None:
        source = self.source
        if source is None:
            return _ambient(google, asked)
        credential = source.credential(google)
        asked.append(Consulted(source=credential.source, outcome="hit", expected=True))
        return credential


def is_google(repository: Repository) -> bool:
    """Whether a repository is in one of Google's registries."""
    return _HOSTS.fullmatch(repository.host.lower().removesuffix(":443")) is not None


def _ambient(google: Google, asked: Steps) -> Credential | None:
    """What is set up here, in the order of Google's own tools."""
    variables = google.environment.variables
    for name in _TOKENS:
        text = variables.get(name, "").strip()
        asked.append(
            Consulted(
                source=name, outcome="hit" if text else "miss", why="" if text else "it is not set"
            )
        )
        if text:
            return Credential(username="oauth2accesstoken", password=text, source=name)
    file = usual_file(google.environment)
    if file is not None:
        credential = KeyFile(file[0], named=file[1]).credential(google)
        asked.append(Consulted(source=credential.source, outcome="hit", expected=True))
        return credential
    why = f"{VARIABLES[0]} is not set, and gcloud has left none"
    asked.append(Consulted(source="credential file", outcome="miss", why=why))
    server = "Google's metadata server"
    if variables.get(_NO_METADATA, "").lower() == "true":
        asked.append(Consulted(source=server, outcome="skipped", why=f"{_NO_METADATA} is set"))
        return None
    token = google.metadata("default", probe=True)
    if isinstance(token, str):
        asked.append(Consulted(source=server, outcome="miss", why=token))
        return None
    asked.append(Consulted(source=server, outcome="hit"))
    return login(token, f"{server}, account default")
