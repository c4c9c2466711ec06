"""JFrog Artifactory: user names with identity or access tokens, and tokens traded for OIDC ones.

Follows JFrog's "Access Tokens" and "OpenID Connect Integration".
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, cast

from attrs import define, field

from ..errors import AuthError
from ..http.trust import is_loopback
from ..oci import Repository
from ..runtime import CancelToken, Environment, Hidden
from . import Access, Consulted, Credential
from .asking import JSON, ask, now
from .entries import host_of
from .keeping import Keeping, Kept, expiry_of
from .logins import Found, explained, hide, hit, host_in, kept, miss, skipped, variables_of
from .oidc import TokenSource, Wanted, as_token_source

__all__ = ["JFrogKeychain"]

_NAME: Final = "JFrogKeychain"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a kind of token
_EXCHANGE: Final = "/access/api/v1/oidc/token"
_VARIABLES: Final = ("JF_ACCESS_TOKEN", "JF_PASSWORD")


def _source(value: TokenSource | Path | str | None) -> TokenSource | None:
    return None if value is None else as_token_source(value)


def _hosts(values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError("hosts are several texts, not one")
    return tuple(host_of(value) for value in values)


@define(eq=False, kw_only=True)
class JFrogKeychain(Keeping):
    """Logs in to the Docker registries of one JFrog platform. Safe between threads.

    *url* is the platform's, by default ``JF_URL``; its host is a registry. *hosts* are others
    that belong to it, where ``*.`` stands for one more name in front: ``acme-docker.jfrog.io``,
    ``*.artifactory.example.com``. *token* is an identity token, an access token or a password,
    by default ``JF_ACCESS_TOKEN`` or ``JF_PASSWORD``; *username* is by default ``JF_USER``, or
    the one that the access token names. With *oidc*, a token of a CI system is traded for an
    access token at the integration *provider*, perhaps for one *project*.
    """

    url: str = ""
    hosts: tuple[str, ...] = field(default=(), converter=_hosts)
    username: str = ""
    token: str = field(default="", repr=False, converter=hide)
    oidc: TokenSource | None = field(default=None, repr=False, converter=_source)
    provider: str = ""
    project: str = ""
    environment: Environment | None = field(default=None, repr=False)
    cancel: CancelToken | None = field(default=None, repr=False)
    _kept: Kept = field(factory=Kept, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.oidc is not None and not self.provider:
            raise ValueError("oidc needs the name of an OIDC integration of JFrog: provider=…")

    def resolve(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - what a login may do is the registry's to say
    ) -> Credential | None:
        """The login for *repository*; None when it is not this platform's, or without one.

        Raises `AuthError` for a token without a user name and when JFrog trades none, and
        `RegistryUnavailableError` when it cannot be asked.
        """
        return self._look(repository).credential

    def explain(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - as above
    ) -> tuple[Consulted, ...]:
        """One line: where the login is, or why there is none."""
        return explained(_NAME, lambda: self._look(repository))

    def _look(self, repository: Repository) -> Found:
        get = variables_of(self.environment).get
        url = self.url or get("JF_URL", "")
        host = host_of(repository.host)
        known = tuple(filter(None, (host_in(url), *self.hosts)))
        if not known:
            return skipped(_NAME, "no host is given, and JF_URL is not set")
        if not any(_is(host, pattern) for pattern in known):
            return skipped(_NAME, f"{host} is not {' or '.join(known)}")
        oidc = self.oidc
        if oidc is not None:
            return kept(self._kept, url, lambda: self._trade(url, oidc))
        secrets = [(self.token, "JFrogKeychain(token=…)")]
        secrets += [(get(name, "").strip(), name) for name in _VARIABLES]
        for secret, source in secrets:
            if secret:
                username = self.username or get("JF_USER", "")
                return hit(_credential(secret, username, source), host)
        return miss(
            _NAME,
            host,
            "neither JF_ACCESS_TOKEN nor JF_PASSWORD is set; a JFrog profile makes identity"
            " tokens, for JF_USER and JF_ACCESS_TOKEN",
        )

    def _trade(self, url: str, oidc: TokenSource) -> Found:
        """Trade a CI system's token for an access token."""
        if not url:
            raise AuthError(
                "the address of the JFrog platform that trades tokens is not known",
                hint='JFrogKeychain(url="https://acme.jfrog.io", …), or set JF_URL',
            )
        host = host_in(url)
        environment = self.environment or Environment.current()
        wanted = Wanted(audience="jfrog-github", environment=environment, cancel=self.cancel)
        fields = {
            "grant_type": _GRANT,
            "subject_token_type": _ID_TOKEN,
            "subject_token": str(oidc.token(wanted)),
            "provider_name": self.provider,
        }
        if self.project:
            fields["project_key"] = self.project
        answered = ask(
            "POST",
            f"{_origin(url)}{_EXCHANGE}",
            body=json.dumps(fields).encode(),
            content_type=JSON,
            about=f"asking {host} for an access token",
            environment=environment,
            cancel=self.cancel,
        )
        if answered.status != 200:
            raise AuthError(
                f"{host} gives no access token for the OIDC token: HTTP {answered.status}",
                evidence=(answered.evidence,),
                hint=f"does the integration {self.provider!r} exist, and does an identity mapping"
                " of it fit this token's claims?",
            )
        return hit(self._given(answered.data, host), host)

    def _given(self, data: bytes, host: str) -> Credential:
        answer = _object(data)
        token, life, user = (answer.get(n) for n in ("access_token", "expires_in", "username"))
        if not isinstance(token, str) or not token:
            raise AuthError(f"{host} answered something that is not its JSON with a token")
        timed = isinstance(life, int | float) and not isinstance(life, bool) and life > 0
        expires = now() + float(life) if timed and isinstance(life, int | float) else None
        named = self.username or (user if isinstance(user, str) else "")
        return _credential(token, named, f"JFrog, OIDC integration {self.provider}", expires)


def _credential(
    secret: str, username: str, source: str, expires: float | None = None
) -> Credential:
    user = username or _user_of(secret)
    if not user:
        raise AuthError(
            f"no user name goes with the token from {source}, which names none itself",
            hint="set JF_USER, or JFrogKeychain(username=…)",
        )
    return Credential(
        username=user,
        password=Hidden(secret),
        source=source,
        expires=expires or expiry_of(secret),
    )


def _user_of(token: str) -> str:
    """The user an access token was made for: its subject ends in ``/users/NAME``."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        data = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except (binascii.Error, ValueError):
        return ""
    subject = _object(data).get("sub")
    head, mark, user = subject.rpartition("/users/") if isinstance(subject, str) else ("", "", "")
    return user if head and mark else ""


def _object(data: bytes) -> Mapping[str, object]:
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def _is(host: str, pattern: str) -> bool:
    if not pattern.startswith("*."):
        return host == pattern
    label, dot, rest = host.partition(".")
    return bool(label and dot) and rest == pattern[2:]


def _origin(url: str) -> str:
    """Where the platform's own API is: its URL, without Artifactory's own path."""
    if "://" not in url:
        url = f"{'http' if is_loopback(host_in(url)) else 'https'}://{url}"
    return url.rstrip("/").removesuffix("/artifactory")
