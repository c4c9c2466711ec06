"""Azure's own library for certificates and people's logins: the extra `azure`, imported only here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, cast

from ...errors import AuthError
from ..keeping import Token, words
from .exchange import Azure

__all__ = ["by_certificate", "by_default"]

_MISSING: Final = "install it with: pip install 'buildpush[azure]'"


class _AccessToken(Protocol):
    token: str
    expires_on: int


class _Credential(Protocol):
    def get_token(self, scope: str) -> _AccessToken: ...

    def close(self) -> None: ...


def by_certificate(
    azure: Azure, tenant: str, client: str, *, path: Path, password: str, who: str
) -> Token:
    """A token for an app that has a certificate with its key, PEM or PKCS12."""

    def make(identity: Any) -> _Credential:
        return cast(
            "_Credential",
            identity.CertificateCredential(
                tenant,
                client,
                certificate_path=str(azure.environment.cwd / path),
                password=password or None,
                authority=azure.authority,
            ),
        )

    return _token(azure, make, who, password)


def by_default(azure: Azure, who: str) -> Token:
    """A token of whoever is logged in here, as azure-identity's default chain finds out."""

    def make(identity: Any) -> _Credential:
        return cast("_Credential", identity.DefaultAzureCredential(authority=azure.authority))

    return _token(azure, make, who, "")


def _token(azure: Azure, make: Callable[[Any], _Credential], who: str, secret: str) -> Token:
    try:
        identity = importlib.import_module("azure.identity")
        errors = importlib.import_module("azure.core.exceptions")
    except ImportError as error:
        raise AuthError(
            f"{who} takes Azure's library, which is not installed", hint=_MISSING
        ) from error
    failures = (cast("type[Exception]", errors.AzureError), ValueError, OSError)
    try:
        credential = make(identity)
        try:
            found = credential.get_token(azure.scope)
        finally:
            credential.close()
    except failures as error:
        # `from None`: what the library raises holds whole requests.
        raise AuthError(
            f"azure-identity gets no token for {who}: {words(str(error), secret)}"
        ) from None
    return Token(value=found.token, expires=float(found.expires_on))
