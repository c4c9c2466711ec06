"""What may be said of an answer: an address without its secrets, evidence, how long to wait."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from ..errors import HttpEvidence, RegistryUnavailableError
from ..runtime import Redactor
from .bodies import parse_errors, plain

_DETAIL: Final = 2048
_NAME: Final = 128
_SIGNATURE: Final = 8
_REQUEST_IDS: Final = (
    "x-request-id",
    "x-github-request-id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-ms-request-id",
    "x-ms-correlation-request-id",
    "x-jfrog-request-id",
    "x-goog-request-id",
    "x-cloud-trace-context",
    "docker-request-id",
    "cf-ray",
)
_SHOWN: Final = frozenset({"digest", "from", "last", "mount", "n", "scope", "service"})

_NUMBER: Final = re.compile("[0-9]{1,18}")
_PAUSE: Final = re.compile(
    r"(\d{1,15}(?:\.\d{1,9})?)\s*(?:s|secs?|seconds?|(m|mins?|minutes?))?", re.IGNORECASE
)


class Address(str):
    """A URL, or a part of one: its repr, which tracebacks with local variables show, is safe."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(safe_url(self))


class FinalError(RegistryUnavailableError):
    """The registry cannot be used, and trying again would not help: TLS, certificates, no such name."""

    retryable = False


class BrokenOffError(RegistryUnavailableError):
    """The other side closed the connection in the middle."""


class Answer(Protocol):
    """What this file needs of a reply."""

    method: str
    url: str
    status: int

    def header(self, name: str) -> str:
        """The value of one header, empty when it is absent."""
        ...

    def read(self) -> bytes:
        """The body, bounded."""
        ...


def safe_url(url: str) -> str:
    """*url* without user info, and with every query value hidden unless known to be harmless."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is not a URL"
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = "&".join(f"{k}={v if k in _SHOWN else '***'}" for k, v in pairs)
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme else ""
    bare = f"{origin}{parts.path}"
    return plain(f"{bare}?{query}" if query else bare)


def evidence_of(answer: Answer, redact: Callable[[str], str], *, attempt: int = 1) -> HttpEvidence:
    """What may be shown of an exchange, *attempt* being its number among tries of the same.

    Reads at most 64 KiB of the answer's body, and keeps at most 2 KiB of what that says.
    """
    codes, detail = parse_errors(answer.read())
    unsigned = _without_signature(answer.url)
    names = (plain(answer.header(name)) for name in _REQUEST_IDS)
    return HttpEvidence(
        method=answer.method,
        url=redact(safe_url(answer.url)),
        status=answer.status,
        codes=tuple(redact(unsigned(code)) for code in codes),
        detail=redact(unsigned(detail)).encode()[:_DETAIL].decode(errors="ignore"),
        request_id=redact(unsigned(next((name for name in names if name), "")))[:_NAME],
        attempt=attempt,
    )


def _without_signature(url: str) -> Redactor:
    """What hides the values of *url*'s query in a text: storage likes to repeat a signature."""
    found = Redactor()
    for pair in urlsplit(url).query.split("&"):
        name, _, value = pair.partition("=")
        if name not in _SHOWN and len(value) >= _SIGNATURE:
            found.learn(value)
            found.learn(unquote_plus(value))
    return found


def number_of(text: str) -> int | None:
    """The number that a header is; None for what is none, also when Python would read it as one."""
    return int(text) if _NUMBER.fullmatch(text) else None


def moment_of(text: str) -> datetime | None:
    """The moment of a date header (RFC 9110, 5.6.7), in UTC when it names no zone; None without one."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def retry_after(answer: Answer) -> float | None:
    """The Retry-After header in seconds (RFC 9110, 10.2.3: a number or a date).

    Also what is written by hand: ``1.5``, ``30s``, ``2 minutes``.
    """
    text = answer.header("retry-after").strip()
    if not text:
        return None
    if found := _PAUSE.fullmatch(text):
        return float(found[1]) * (60.0 if found[2] else 1.0)
    # The registry's own clock, when it tells: ours may be wrong.
    told = answer.header("date")
    until, now = moment_of(text), moment_of(told) if told else datetime.now(UTC)
    return max(0.0, (until - now).total_seconds()) if until and now else None
