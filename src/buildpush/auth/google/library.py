"""Google's own library for what takes signatures or programs: the extra `gcp`, imported only here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from attrs import define, field

from ...errors import AuthError, RegistryUnavailableError
from ...http.trust import is_near
from ..asking import JSON, Answered, ask
from ..keeping import Token, words
from .exchange import SCOPE, Google

__all__ = ["borrow"]

_METADATA: Final = ("metadata.google.internal", "metadata")
# What makes credentials of each kind of file: the library's loader of any kind is on its way out.
_MAKERS: Final = {
    "service_account": ("google.oauth2.service_account", "from_service_account_info"),
    "impersonated_service_account": (
        "google.auth.impersonated_credentials",
        "from_impersonated_service_account_info",
    ),
    "external_account": ("google.auth.identity_pool", "from_info"),
    "aws": ("google.auth.aws", "from_info"),
    "executable": ("google.auth.pluggable", "from_info"),
    "external_account_authorized_user": (
        "google.auth.external_account_authorized_user",
        "from_info",
    ),
}


class _Credentials(Protocol):
    token: str | None
    expiry: datetime | None

    def refresh(self, request: object) -> None: ...


class _Library(Protocol):
    def default(
        self, *, scopes: list[str], request: object
    ) -> tuple[_Credentials, str | None]: ...


class _Made(Protocol):
    def __call__(self, info: Mapping[str, object], *, scopes: list[str]) -> _Credentials: ...


class _Exceptions(Protocol):
    GoogleAuthError: type[Exception]
    TransportError: type[Exception]


@define(eq=False)
class _Headers:
    """The headers of an answer, as google-auth reads them."""

    answered: Answered

    def get(self, name: str, default: str | None = None) -> str | None:
        return self.answered.header(name) or default

    def __getitem__(self, name: str) -> str:
        return self.answered.header(name)


@define(eq=False)
class _Reply:
    """An answer, as google-auth reads it."""

    status: int
    headers: _Headers
    data: bytes = field(repr=False)


@define(eq=False)
class _Request:
    """google-auth's transport, by the way all providers ask (google.auth.transport.Request)."""

    google: Google
    unavailable: type[Exception]

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> _Reply:
        sent = dict(headers or {})
        kind = next((sent.pop(name) for name in list(sent) if name.lower() == "content-type"), "")
        data = body.encode() if isinstance(body, str) else body or b""
        host = urlsplit(url).hostname or ""
        try:
            answered = ask(
                method,
                url,
                about=f"asking {host} (google-auth)",
                environment=self.google.environment,
                headers=sent,
                body=data,
                content_type=kind or (JSON if data else ""),
                near=host in _METADATA or is_near(host),
                cancel=self.google.cancel,
            )
        except RegistryUnavailableError as error:
            raise self.unavailable(error.message) from error
        return _Reply(answered.status, _Headers(answered), answered.data)


def borrow(google: Google, info: Mapping[str, object] | None, source: str) -> Token:
    """A token by google-auth: from a credential file's content, or from wherever it finds one.

    *source* names the file, for messages. Raises `AuthError`, also when the library is missing.
    """
    maker = None if info is None else _maker(info, source)
    exceptions = cast("_Exceptions", _module("google.auth.exceptions", source))
    request = _Request(google, exceptions.TransportError)
    try:
        if info is None or maker is None:
            library = cast("_Library", _module("google.auth", source))
            credentials, _ = library.default(scopes=[SCOPE], request=request)
        else:
            module, name = maker
            make = cast("_Made", getattr(_module(module, source).Credentials, name))
            credentials = make(info, scopes=[SCOPE])
        credentials.refresh(request)
    except exceptions.GoogleAuthError as error:
        # `from None`: its arguments hold whole answers.
        raise AuthError(
            f"google-auth gets no token from {source}: {words(_first(error), *_strings(info))}"
        ) from None
    token, end = credentials.token, credentials.expiry
    if not token:
        raise AuthError(f"google-auth gets no token from {source}")
    # It tells UTC without saying so.
    return Token(
        value=token, expires=end.replace(tzinfo=UTC).timestamp() if end is not None else None
    )


def _maker(info: Mapping[str, object], source: str) -> tuple[str, str]:
    kind = str(info.get("type"))
    where = info.get("credential_source")
    if kind == "external_account" and isinstance(where, dict):
        if "environment_id" in where:
            kind = "aws"
        elif "executable" in where:
            kind = "executable"
    if kind not in _MAKERS:
        raise AuthError(f"{source} is of a kind that is not known here: {words(kind)!r}")
    return _MAKERS[kind]


def _module(name: str, source: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AuthError(
            f"{source} takes Google's library, which is not installed",
            hint="install it with: pip install 'buildpush[gcp]'",
        ) from error


def _first(error: Exception) -> str:
    return str(error.args[0]) if error.args else type(error).__name__


def _strings(value: object) -> tuple[str, ...]:
    """Every text in a credential file: none of them is to be quoted."""
    match value:
        case str():
            return (value,)
        case dict():
            inner = cast("dict[str, object]", value).values()
            return tuple(text for part in inner for text in _strings(part))
        case _:
            return ()
