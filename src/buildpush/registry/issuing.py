"""Asking a token service for a bearer token.

Follows the distribution project's token authentication and OAuth2 specifications.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit

from attrs import define, field, frozen

from ..auth import Access, Credential
from ..errors import AuthError, RegistryError
from ..oci import Repository
from ..runtime import Hidden, HiddenBytes, Run
from .bodies import Granted, parse_grant, parse_granted
from .failures import Asked, failure

if TYPE_CHECKING:
    from ..http.transport import Body, Reply, Transport

__all__ = ["Application", "Issued", "Issuer", "basic", "headers_of"]

_DEFAULT_SECONDS: Final = 60.0
_LIMIT: Final = 1 << 20
_ELSEWHERE: Final = frozenset({404, 405})
_FORM: Final = "application/x-www-form-urlencoded"


@frozen(kw_only=True)
class Application:
    """What is asked of a token service: *scopes* for *principal*, None for an anonymous caller.

    *sender* is the ``host:port`` that named *realm*; *repository* and *access* are for messages.
    """

    realm: str
    service: str
    scopes: tuple[str, ...]
    principal: Credential | None = field(repr=False)
    repository: Repository
    access: Access
    sender: str

    @property
    def about(self) -> str:
        """What is being tried, for messages."""
        return f"asking {urlsplit(self.realm).netloc.rpartition('@')[2]} for a token"


@frozen(kw_only=True)
class Issued:
    """A token, how many seconds it lives, and what it grants as far as it can be read."""

    token: str = field(repr=False)
    seconds: float
    granted: Granted | None


@define(eq=False, kw_only=True)
class Issuer:
    """Gets tokens, and teaches them to the run's redactor."""

    run: Run
    transport: Transport

    def issue(self, application: Application) -> Issued:
        """Ask for a token: by GET with Basic or nothing, by POST for an identity token.

        Services that know only one of the two are asked in the other way as well, where there is
        a password to do it with. Raises `AuthError` when the service refuses.
        """
        who = application.principal
        identity = who is not None and bool(who.identity_token)
        ways = [self._traded] if identity else [self._logged_in]
        if who is not None and who.username and who.password:
            ways.append(self._logged_in if identity else self._with_password)
        for way in ways[:-1]:
            found = way(application, final=False)
            if found is not None:
                return found
        found = ways[-1](application, final=True)
        assert found is not None
        return found

    def _traded(self, application: Application, *, final: bool) -> Issued | None:
        """OAuth2's refresh_token grant."""
        assert application.principal is not None
        grant = {
            "grant_type": "refresh_token",
            "refresh_token": Hidden(application.principal.identity_token),
        }
        return self._post(application, grant, final=final)

    def _with_password(self, application: Application, *, final: bool) -> Issued | None:
        """OAuth2's password grant."""
        assert application.principal is not None
        grant = {
            "grant_type": "password",
            "username": application.principal.username,
            "password": Hidden(application.principal.password),
        }
        return self._post(application, grant, final=final)

    def _post(
        self, application: Application, grant: dict[str, str], *, final: bool
    ) -> Issued | None:
        from ..http.transport import Body

        form = {
            **grant,
            "service": application.service,
            "client_id": "buildpush",
            "scope": " ".join(application.scopes),
        }
        body = Body.of(HiddenBytes(urlencode(form).encode()), _FORM)
        return self._ask("POST", application.realm, application, body=body, final=final)

    def _logged_in(self, application: Application, *, final: bool) -> Issued | None:
        """A GET, with Basic where there is something to log in with."""
        who = application.principal
        headers: dict[str, str] = {}
        if who is not None and (who.password or (who.username and not who.identity_token)):
            headers["Authorization"] = Hidden(f"Basic {basic(who)}")
        return self._ask("GET", _url(application), application, headers=headers, final=final)

    def _ask(
        self,
        method: str,
        url: str,
        application: Application,
        *,
        final: bool,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
    ) -> Issued | None:
        """One request; None when the service does not know this way to ask, unless *final*."""
        with self.transport.send(
            method,
            url,
            headers=headers,
            body=body,
            behalf=application.repository.host,
            sender=application.sender,
            strict=True,
        ) as reply:
            if reply.status in _ELSEWHERE and not final:
                return None
            if reply.status != 200:
                raise self._refused(reply, application)
            return self._read(reply.read(_LIMIT), application.about)

    def _refused(self, reply: Reply, application: Application) -> Exception:
        error = failure(
            reply,
            Asked(
                about=application.about,
                repository=application.repository,
                access=application.access,
                credential=application.principal,
                redact=self.run.redact,
            ),
        )
        if reply.status in (400, 404, 405):
            # What OAuth2 token services answer to a refresh token they do not know is 400.
            who = application.principal
            refused = f"from {who.source}" if who else "of an anonymous caller"
            return AuthError(
                f"{application.about}: it refused the credential {refused} for"
                f" {application.repository} ({application.access}): HTTP {reply.status}",
                evidence=error.evidence,
                hint="is it expired, or meant for another registry or account?",
            )
        return error

    def _read(self, data: bytes, about: str) -> Issued:
        grant = parse_grant(data)
        if grant is None:
            raise RegistryError(f"{about}: the answer holds no token")
        self.run.redact.learn(grant.token)
        return Issued(
            token=grant.token,
            seconds=grant.seconds if grant.seconds > 0 else _DEFAULT_SECONDS,
            granted=parse_granted(grant.token),
        )


def basic(credential: Credential) -> str:
    """Username and password as HTTP's Basic scheme writes them."""
    return base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()


def headers_of(credential: Credential) -> tuple[str, ...]:
    """The headers that carry *credential* itself to a registry."""
    if credential.registry_token:
        return (f"Bearer {credential.registry_token}",)
    return (f"Basic {basic(credential)}",) if credential.password else ()


def _url(application: Application) -> str:
    """The realm, with a parameter for each scope."""
    pairs = [("service", application.service)] if application.service else []
    pairs += [("scope", scope) for scope in application.scopes]
    who = application.principal
    if who is not None and who.username:
        pairs.append(("account", who.username))
    query = "&".join(f"{name}={quote(value, safe=':/,')}" for name, value in pairs)
    return f"{application.realm}{'&' if '?' in application.realm else '?'}{query}"
