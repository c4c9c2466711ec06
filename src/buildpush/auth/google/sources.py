"""Where a credential for Google's registries may come from: one value for each way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from attrs import field, frozen

from ...errors import AuthError
from ...http.trust import is_near
from ...runtime import Hidden
from .. import Credential
from ..asking import ask
from ..keeping import Token
from ..oidc import TokenSource, Wanted, as_token_source
from .exchange import Google, Subject
from .files import (
    AuthorizedUser,
    ExternalAccount,
    Impersonated,
    OtherFile,
    ServiceAccount,
    Source,
    parse_file,
    read_key,
    read_text,
    usual_file,
)
from .library import borrow

__all__ = [
    "AccessToken",
    "GoogleAuth",
    "GoogleSource",
    "JsonKey",
    "KeyFile",
    "MetadataServer",
    "WorkloadIdentity",
]

_STS: Final = "https://sts.googleapis.com/v1/token"
_IAM: Final = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"


def _hidden(text: str) -> str:
    return Hidden(text.strip())


@runtime_checkable
class GoogleSource(Protocol):
    """One way to a credential."""

    def credential(self, google: Google, /) -> Credential:
        """The credential; raises `AuthError` when there is none to be had."""
        ...


@frozen
class JsonKey:
    """A service account's key as JSON or its base64; it is the password, and nobody is asked."""

    text: str = field(repr=False, converter=_hidden)

    def credential(self, _: Google, /) -> Credential:
        """User ``_json_key`` with the key."""
        return _keyed(read_key(self.text, "the JSON key"), "a service account's key")


@frozen
class AccessToken:
    """An access token that is at hand already, as `gcloud auth print-access-token` prints it."""

    text: str = field(repr=False, converter=_hidden)

    def credential(self, _: Google, /) -> Credential:
        """User ``oauth2accesstoken`` with the token."""
        if not self.text:
            raise AuthError("the access token for Google is empty")
        return login(Token(value=self.text), "an access token")


@frozen(kw_only=True)
class WorkloadIdentity:
    """Workload identity federation by its settings: no file is needed.

    *project_number*, *pool* and *provider* name who trusts the *token*: a source of OpenID Connect
    tokens, a `Path` that holds one, or one as text. With a *service_account* (its email) the token
    is that account's; without one, the roles must be granted to the federated identity itself.
    """

    project_number: str
    pool: str
    provider: str
    token: TokenSource = field(converter=as_token_source)
    service_account: str = ""

    @property
    def resource(self) -> str:
        """The provider's full name."""
        return (
            f"//iam.googleapis.com/projects/{self.project_number}/locations/global"
            f"/workloadIdentityPools/{self.pool}/providers/{self.provider}"
        )

    def credential(self, google: Google, /) -> Credential:
        """Trade the token for an access token, and that for the service account's."""
        wanted = f"https:{self.resource}"
        subject = self.token.token(
            Wanted(audience=wanted, environment=google.environment, cancel=google.cancel)
        )
        federated = google.exchange(
            Subject(
                token=subject,
                kind=_JWT,
                audience=self.resource,
                url=_STS,
                source=type(self.token).__name__,
                acting=bool(self.service_account),
                wanted=wanted,
            )
        )
        if not self.service_account:
            return login(federated, f"workload identity pool {self.pool}")
        url = f"{_IAM}/{self.service_account}:generateAccessToken"
        return login(
            google.impersonate(url, federated),
            f"workload identity pool {self.pool} as {self.service_account}",
        )


@frozen
class KeyFile:
    """A credential file of any kind that Google's tools write, or their application default one.

    *named* is how messages call it.
    """

    path: Path = field(converter=Path)
    named: str = field(default="", kw_only=True)

    def credential(self, google: Google, /) -> Credential:
        """What the file gives: the key it holds, or a token that it leads to."""
        source = f"{self.named}, {self.path}" if self.named else str(self.path)
        text = read_text(google.environment.cwd / self.path, source)
        parsed = parse_file(text, source)
        if isinstance(parsed, ServiceAccount):
            return _keyed(text.strip(), source)
        return login(_token(google, parsed, text, source), source)


@frozen(kw_only=True)
class MetadataServer:
    """The metadata server of a virtual machine, of GKE or of Cloud Run, and one of its accounts."""

    account: str = "default"

    def credential(self, google: Google, /) -> Credential:
        """The account's token; raises `AuthError` where there is no such server."""
        found = google.metadata(self.account, probe=False)
        if isinstance(found, str):
            raise AuthError(found, hint="is this a machine of Google Cloud, with such an account?")
        return login(found, f"Google's metadata server, account {self.account}")


@frozen
class GoogleAuth:
    """Application default credentials by google-auth (the extra ``gcp``), of every kind it knows."""

    def credential(self, google: Google, /) -> Credential:
        """What google-auth finds; it reads this process's own variables where no file is named."""
        found = usual_file(google.environment)
        if found is None:
            return login(borrow(google, None, "google-auth"), "google-auth")
        path, named = found
        source = f"{named}, {path}"
        info = json.loads(_valid(read_text(path, source), source))
        return login(borrow(google, info, source), f"google-auth, {source}")


def login(token: Token, source: str) -> Credential:
    """An access token as what a registry takes."""
    return Credential(
        username="oauth2accesstoken", password=token.value, source=source, expires=token.expires
    )


def _keyed(key: str, source: str) -> Credential:
    return Credential(username="_json_key", password=key, source=source)


def _valid(text: str, source: str) -> str:
    parse_file(text, source)
    return text


def _token(
    google: Google,
    parsed: ServiceAccount | AuthorizedUser | ExternalAccount | Impersonated | OtherFile,
    text: str,
    source: str,
) -> Token:
    """A token for the account of a file; what takes a signature is left to google-auth."""
    match parsed:
        case AuthorizedUser():
            client = (parsed.client_id, parsed.client_secret)
            return google.refresh(parsed.token_uri, client, parsed.refresh_token, source)
        case ExternalAccount() if parsed.credential_source.is_plain:
            return _federated(google, parsed, source)
        case Impersonated() if _is_ours(parsed.source_credentials):
            return google.impersonate(
                parsed.service_account_impersonation_url,
                _token(google, parsed.source_credentials, "", source),
                delegates=parsed.delegates,
            )
        case _:
            return borrow(google, json.loads(text), source)


def _is_ours(caller: ServiceAccount | AuthorizedUser | ExternalAccount) -> bool:
    """Whether a token for *caller* takes no signature, nor another program."""
    match caller:
        case ExternalAccount():
            return caller.credential_source.is_plain
        case AuthorizedUser():
            return True
        case ServiceAccount():
            return False


def _federated(google: Google, account: ExternalAccount, source: str) -> Token:
    where = account.credential_source
    token = google.exchange(
        Subject(
            token=_subject(google, where, source),
            kind=account.subject_token_type,
            audience=account.audience,
            url=account.token_url,
            acting=bool(account.service_account_impersonation_url),
            source=where.file or f"the address in {source}",
            client=(account.client_id, account.client_secret),
            project=account.workforce_pool_user_project,
            wanted=f"https:{account.audience}" if account.audience.startswith("//") else "",
        )
    )
    if not account.service_account_impersonation_url:
        return token
    return google.impersonate(
        account.service_account_impersonation_url,
        token,
        seconds=account.service_account_impersonation.token_lifetime_seconds,
    )


def _subject(google: Google, where: Source, source: str) -> str:
    """The other provider's token, from the file or the address that a credential file names."""
    if where.file:
        named = f"the token in {where.file} (named in {source})"
        text = read_text(google.environment.cwd / where.file, named)
    else:
        about = f"asking for the token at the address in {source}"
        answered = ask(
            "GET",
            where.url,
            about=about,
            environment=google.environment,
            headers=where.headers,
            near=is_near(urlsplit(where.url).netloc),
            cancel=google.cancel,
        )
        if answered.status != 200:
            raise AuthError(
                f"{about}: HTTP {answered.status}",
                evidence=(answered.evidence,),
                hint="in GitHub Actions: give the job permissions: id-token: write",
            )
        named, text = "its answer", answered.data.decode("utf-8", "replace")
    found: object = text.strip()
    if where.format.type == "json":
        try:
            found = json.loads(text)[where.format.subject_token_field_name]
        except (ValueError, KeyError, TypeError, RecursionError):
            found = None
    if not isinstance(found, str) or not found:
        # `from None`, were it raised above: the decoder's error carries the whole answer.
        raise AuthError(f"{named} holds no token")
    return Hidden(found)
