"""Google's token services, asked: refresh, token exchange, impersonation, the metadata server.

Follows RFC 6749 and RFC 8693 as Google's "Security Token Service", "IAM Service Account
Credentials" and "VM metadata" document them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

from attrs import field, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import AuthError, RegistryUnavailableError
from ...http.bodies import sendable
from ...runtime import CancelToken, Environment, Hidden
from ..asking import FORM, JSON, PATIENCE, PROBE, Answered, ask, form, now
from ..keeping import Token
from .refusals import refusal

__all__ = ["SCOPE", "Google", "Subject", "parse_token"]

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_ACTING: Final = "https://www.googleapis.com/auth/iam"
_METADATA: Final = "metadata.google.internal"
_FLAVOR: Final = "Metadata-Flavor"
_PROBE_SECONDS: Final = 3.0
_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS: Final = "urn:ietf:params:oauth:token-type:access_token"

M = TypeVar("M", bound=BaseModel)


class _Granted(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    access_token: str = Field(repr=False)
    expires_in: float | None = None


class _Generated(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    access_token: str = Field(alias="accessToken", repr=False)
    expire_time: datetime = Field(alias="expireTime")


@frozen(kw_only=True)
class Subject:
    """A token of another identity provider, and how it is to be traded in.

    *acting* says that what comes of it is only to act as a service account. *client* is the id
    and the secret of an OAuth client, both empty without one; *wanted* the audience that the
    token should have, for messages.
    """

    token: str = field(repr=False)
    kind: str
    audience: str
    url: str
    source: str
    acting: bool
    client: tuple[str, str] = field(default=("", ""), repr=False)
    project: str = ""
    wanted: str = ""


@frozen(kw_only=True)
class Google:
    """Who asks Google: its surroundings, a clock in seconds since 1970, and what cancels it."""

    environment: Environment
    clock: Callable[[], float] = now
    cancel: CancelToken | None = None

    def refresh(self, url: str, client: tuple[str, str], token: str, source: str) -> Token:
        """Trade a person's refresh token for an access token (RFC 6749, 6)."""
        fields = {
            "grant_type": "refresh_token",
            "client_id": client[0],
            "client_secret": client[1],
            "refresh_token": token,
        }
        answered = self._post(url, fields, {})
        if answered.status != 200:
            raise refusal(
                answered, _about(url), who=f"the login in {source}", secrets=(token, client[1])
            )
        return self._granted(answered, _about(url))

    def exchange(self, subject: Subject) -> Token:
        """Trade another provider's token for one of Google's (RFC 8693)."""
        fields = {
            "grant_type": _EXCHANGE,
            "audience": subject.audience,
            "scope": _ACTING if subject.acting else SCOPE,
            "requested_token_type": _ACCESS,
            "subject_token": subject.token,
            "subject_token_type": subject.kind,
        }
        headers: dict[str, str] = {}
        if subject.client[0]:
            pair = base64.b64encode(":".join(subject.client).encode()).decode()
            headers["Authorization"] = Hidden(f"Basic {pair}")
        elif subject.project:
            # Escaped twice, as Google's libraries do.
            fields["options"] = quote(json.dumps({"userProject": subject.project}))
        answered = self._post(subject.url, fields, headers)
        if answered.status != 200:
            raise refusal(
                answered,
                _about(subject.url),
                who=f"the token from {subject.source}",
                secrets=(subject.token, subject.client[1]),
                audience=subject.wanted,
            )
        return self._granted(answered, _about(subject.url))

    def impersonate(
        self, url: str, caller: Token, *, delegates: Sequence[str] = (), seconds: int = 3600
    ) -> Token:
        """A service account's token, for a *caller* that may act as it; *url* names it."""
        request: dict[str, object] = {"scope": [SCOPE], "lifetime": f"{seconds}s"}
        if delegates:
            request["delegates"] = list(delegates)
        account = url.rpartition("/")[2].partition(":")[0]
        about = f"asking {urlsplit(url).hostname} for a token of {account}"
        answered = ask(
            "POST",
            url,
            about=about,
            environment=self.environment,
            headers={
                "Authorization": Hidden(f"Bearer {caller.value}"),
                "Accept": JSON,
            },
            body=json.dumps(request).encode(),
            content_type=JSON,
            cancel=self.cancel,
        )
        if answered.status != 200:
            raise refusal(answered, about, who="the caller", secrets=(caller.value,))
        generated = parse_token(_Generated, answered, about)
        return Token(
            value=_checked(generated.access_token, about),
            expires=generated.expire_time.timestamp(),
        )

    def metadata(self, account: str, *, probe: bool) -> Token | str:
        """The token of *account* from this machine's metadata server, or why there is none.

        A *probe* does not wait long, since there may be no such server. Raises `AuthError` when
        the server is Google's and its answer is none.
        """
        variables = self.environment.variables
        host = variables.get("GCE_METADATA_HOST") or variables.get("GCE_METADATA_ROOT")
        url = (
            f"http://{host or _METADATA}/computeMetadata/v1/instance/service-accounts"
            f"/{quote(account, safe='@')}/token"
        )
        about = f"asking Google's metadata server {host or _METADATA} for a token"
        try:
            answered = ask(
                "GET",
                url,
                about=about,
                environment=self.environment,
                headers={_FLAVOR: "Google"},
                near=True,
                seconds=_PROBE_SECONDS,
                policy=PROBE if probe else PATIENCE,
                cancel=self.cancel,
            )
        except RegistryUnavailableError as error:
            return error.message
        if answered.header(_FLAVOR).lower() != "google":
            return f"{host or _METADATA} answers, and is not Google's metadata server"
        if answered.status == 404:
            return f"the metadata server knows no service account {account!r} of this machine"
        if answered.status != 200:
            raise refusal(answered, about, who=f"the account {account!r}", secrets=())
        return self._granted(answered, about)

    def _post(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Answered:
        return ask(
            "POST",
            url,
            about=_about(url),
            environment=self.environment,
            headers={"Accept": JSON, **headers},
            body=form(fields),
            content_type=FORM,
            cancel=self.cancel,
        )

    def _granted(self, answered: Answered, about: str) -> Token:
        granted = parse_token(_Granted, answered, about)
        seconds = granted.expires_in
        return Token(
            value=_checked(granted.access_token, about),
            expires=None if seconds is None else self.clock() + seconds,
        )


def parse_token(kind: type[M], answered: Answered, about: str) -> M:
    """An answer's body as *kind*; raises `AuthError`, which quotes nothing of it."""
    try:
        return kind.model_validate_json(answered.data)
    except ValidationError:
        raise AuthError(
            f"{about}: the answer of {len(answered.data)} bytes holds no token",
            evidence=(answered.evidence,),
        ) from None


def _checked(token: str, about: str) -> str:
    if not sendable(token):
        raise AuthError(f"{about}: the answer holds no token that can be sent")
    return Hidden(token)


def _about(url: str) -> str:
    return f"asking {urlsplit(url).hostname or 'a token service'} for a token"
