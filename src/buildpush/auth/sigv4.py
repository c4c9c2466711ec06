"""AWS's signature, version 4: what makes a request that of the owner of a key.

Follows "Create a signed AWS API request" of the IAM user guide. S3, whose rules for paths are
its own, is not among the services it signs for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from attrs import field, frozen

from ..runtime import Hidden

__all__ = ["AwsKeys", "sign"]

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNSIGNED: Final = frozenset({"connection", "expect", "transfer-encoding", "user-agent"})


def _hide(value: str) -> str:
    return Hidden(value.strip())


@frozen(kw_only=True)
class AwsKeys:
    """An access key: of a user for good, or of a session, which then has a *session_token*.

    *source* says where it was found, for messages. *expires* is when it stops working, in
    seconds since 1970; None when nobody said. The repr hides all three parts.
    """

    access_key: str = field(repr=False, converter=_hide)
    secret_key: str = field(repr=False, converter=_hide)
    session_token: str = field(default="", repr=False, converter=_hide)
    source: str = field(default="argument", eq=False)
    expires: float | None = field(default=None, eq=False)

    def keys(self, _: object, /) -> AwsKeys:
        """Itself: keys at hand are their own source."""
        return self


def sign(
    keys: AwsKeys,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    service: str,
    region: str,
    at: float,
) -> dict[str, str]:
    """Sign a request; the answer is *headers* with the date, the token and the signature.

    *at* is when it is sent, in seconds since 1970: AWS refuses what is more than five minutes
    off. Every header is signed, and the host of *url*.
    """
    when = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "X-Amz-Date": when}
    if keys.session_token:
        sent["X-Amz-Security-Token"] = keys.session_token
    canonical, signed = _canonical(method, url, sent, body)
    scope = f"{when[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, when, scope, _sha256(canonical.encode())])
    key = _signing_key(keys.secret_key, scope)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    sent["Authorization"] = (
        f"{_ALGORITHM} Credential={keys.access_key}/{scope},"
        f" SignedHeaders={signed}, Signature={signature}"
    )
    return sent


def _canonical(method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    """The canonical request, and the names of the headers in it."""
    parts = urlsplit(url)
    values = {"host": parts.netloc} | {
        name.lower(): " ".join(value.split()) for name, value in headers.items()
    }
    names = sorted(values.keys() - _UNSIGNED)
    signed = ";".join(names)
    lines = [
        method,
        quote(parts.path or "/", safe="/-_.~"),
        _query(parts.query),
        *(f"{name}:{values[name]}" for name in names),
        "",
        signed,
        _sha256(body),
    ]
    return "\n".join(lines), signed


def _query(query: str) -> str:
    """The parameters, encoded once and sorted."""
    pairs = [part.partition("=") for part in query.split("&") if part]
    encoded = sorted((_once(name), _once(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _once(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _signing_key(secret: str, scope: str) -> bytes:
    """The key of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
