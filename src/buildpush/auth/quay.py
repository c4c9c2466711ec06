"""Quay, on quay.io or elsewhere: robot accounts, their federation, and OAuth access tokens.

Follows Red Hat Quay's "Robot Account overview", "Keyless authentication with robot accounts"
and "OAuth 2 access tokens".
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Final

from attrs import define, field

from ..errors import AuthError
from ..http.trust import is_loopback
from ..oci import Repository
from ..runtime import CancelToken, Environment, Hidden
from . import Access, Consulted, Credential
from .asking import ask, now
from .entries import host_of
from .keeping import Keeping, Kept, expiry_of
from .logins import (
    Found,
    Login,
    explained,
    first_login,
    hide,
    hit,
    host_in,
    kept,
    miss,
    skipped,
    variables_of,
)
from .oidc import TokenSource, Wanted, as_token_source

__all__ = ["QuayKeychain"]

_NAME: Final = "QuayKeychain"
_QUAY: Final = "quay.io"
_OAUTH_USER: Final = "$oauthtoken"
_SECONDS: Final = 3600.0
_EXCHANGE: Final = "/oauth2/federation/robot/token"


def _source(value: TokenSource | Path | str | None) -> TokenSource | None:
    return None if value is None else as_token_source(value)


@define(eq=False, kw_only=True)
class QuayKeychain(Keeping):
    """Logs in to one Quay, and to nothing else. Safe between threads.

    *host* is by default ``QUAY_HOST``, or quay.io. *username* is a robot's (``acme+ci``) or a
    user's, *password* its token; by default what ``QUAY_USERNAME`` and ``QUAY_PASSWORD`` hold.
    *oauth_token* is an access token of an OAuth application, by default ``QUAY_OAUTH_TOKEN``.
    With *oidc*, a token of a CI system is traded for the robot's own, which lives for an hour:
    the robot needs a federation that trusts it.
    """

    host: str = field(default="", converter=host_in)
    username: str = ""
    password: str = field(default="", repr=False, converter=hide)
    oauth_token: str = field(default="", repr=False, converter=hide)
    oidc: TokenSource | None = field(default=None, repr=False, converter=_source)
    environment: Environment | None = field(default=None, repr=False)
    cancel: CancelToken | None = field(default=None, repr=False)
    _kept: Kept = field(factory=Kept, init=False, repr=False)

    def resolve(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - what a login may do is the registry's to say
    ) -> Credential | None:
        """The login for *repository*; None when it is not in this Quay, or nothing is known.

        Raises `AuthError` for a password without a user name and when Quay trades no token, and
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
        quay = self.host or host_in(get("QUAY_HOST", "")) or _QUAY
        if host_of(repository.host) != quay:
            return skipped(_NAME, f"{repository.host} is not {quay}")
        oidc = self.oidc
        if oidc is not None:
            return kept(self._kept, quay, lambda: self._trade(quay, oidc))
        found = first_login(
            _NAME,
            quay,
            Login(
                source="QuayKeychain(password=…)", username=self.username, password=self.password
            ),
            Login(
                source="QuayKeychain(oauth_token=…)",
                username=_OAUTH_USER,
                password=self.oauth_token,
            ),
            Login(
                source="QUAY_PASSWORD",
                username=self.username or get("QUAY_USERNAME", ""),
                password=get("QUAY_PASSWORD", ""),
            ),
            Login(
                source="QUAY_OAUTH_TOKEN",
                username=_OAUTH_USER,
                password=get("QUAY_OAUTH_TOKEN", ""),
            ),
        )
        return found or miss(
            _NAME,
            quay,
            "neither QUAY_PASSWORD nor QUAY_OAUTH_TOKEN is set; a robot account has a token, for"
            " QUAY_USERNAME (acme+ci) and QUAY_PASSWORD",
        )

    def _trade(self, quay: str, oidc: TokenSource) -> Found:
        """Trade a CI system's token for the robot's."""
        environment = self.environment or Environment.current()
        robot = self.username or environment.variables.get("QUAY_USERNAME", "")
        if not robot:
            raise AuthError(
                f"no robot account of {quay} is named, whose token could be asked for",
                hint='QuayKeychain(username="acme+ci", oidc=…), or set QUAY_USERNAME',
            )
        wanted = Wanted(audience=quay, environment=environment, cancel=self.cancel)
        token = oidc.token(wanted)
        pair = base64.b64encode(f"{robot}:{token}".encode()).decode()
        answered = ask(
            "GET",
            f"{'http' if is_loopback(quay) else 'https'}://{quay}{_EXCHANGE}",
            headers={"Authorization": Hidden(f"Basic {pair}")},
            about=f"asking {quay} for a token of the robot {robot}",
            environment=environment,
            cancel=self.cancel,
        )
        if answered.status != 200:
            raise AuthError(
                f"{quay} gives no token for the robot {robot}: HTTP {answered.status}",
                evidence=(answered.evidence,),
                hint="does the robot have a federation with this token's issuer and subject?",
            )
        given = _token(answered.data, quay)
        credential = Credential(
            username=robot,
            password=given,
            source="Quay, robot federation",
            expires=expiry_of(given) or now() + _SECONDS,
        )
        return hit(credential, quay)


def _token(data: bytes, quay: str) -> str:
    try:
        token = json.loads(data)["token"]
    except (ValueError, KeyError, TypeError, RecursionError):
        token = None
    if not isinstance(token, str) or not token:
        raise AuthError(f"{quay} answered something that is not its JSON with a token")
    return Hidden(token)
