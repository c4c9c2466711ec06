"""What a cluster's refusals mean: the errors that its client raises, beside the public ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from .....errors import (
    AuthError,
    BackendUnavailableError,
    BuildpushError,
    HttpEvidence,
    PermissionDeniedError,
    PlanError,
)
from .kinds import ACCESS_REVIEWS, SECRETS, Kind
from .wire import Status, parse_json

__all__ = [
    "Ask",
    "BrokenOff",
    "Conflict",
    "Gone",
    "NotStarted",
    "NotThere",
    "Unreachable",
    "not_started",
    "refusal",
    "status_of",
]

_SAID: Final = 2000
_WAITING: Final = re.compile(
    r"is waiting to start|container not found|does not have a host assigned"
    r"|is not available|ContainerCreating|PodInitializing"
)
_NO_NAMESPACE: Final = re.compile(r'\bnamespaces "[^"]*" not found')
# 1.36 says no more than "is forbidden: " where create on pods/exec is missing.
_NOT_ALLOWED: Final = re.compile(
    r"\bcannot \S+ (?:resource|path)\b|\bforbidden: User\b|\bis forbidden:\s*$"
)


class NotThere(PlanError):
    """404: the cluster has no such object, or no such kind of objects."""


class Conflict(PlanError):
    """409: something of that name exists, or has been changed meanwhile; *reason* tells which.

    ``AlreadyExists`` or ``Conflict``, as the server says it.
    """

    reason: str = ""


class Gone(BackendUnavailableError):
    """410: that version is too old to watch from: list again."""

    retryable = True


class NotStarted(BackendUnavailableError):
    """The container is not running yet, so it has no log and nothing can be executed in it."""

    retryable = True


class Unreachable(BackendUnavailableError):
    """Nobody answers at the server's address, or what answers cannot now (429, 5xx)."""

    retryable = True


class BrokenOff(BackendUnavailableError):
    """The connection ended before the answer did."""

    retryable = True


@frozen(kw_only=True)
class Ask:
    """One request, as messages name it: *verb* is the right that it needs.

    *body* is sent as JSON; its repr is hidden, since Secrets are sent, too.
    """

    method: str
    verb: str
    kind: Kind
    namespace: str
    name: str = ""
    part: str = ""
    path: str = ""
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    content_type: str = "application/json"

    @property
    def resource(self) -> str:
        """What the right is about, as roles say it."""
        return f"{self.kind.plural}/{self.part}" if self.part else self.kind.plural

    @property
    def what(self) -> str:
        """The request in words."""
        name = f' "{self.name}"' if self.name else ""
        where = f' in namespace "{self.namespace}"' if self.kind.namespaced else ""
        match self.part:
            case "exec":
                return f"run a command in pod{name}{where}"
            case "log":
                return f"read the log of pod{name}{where}"
            case _:
                pass
        return f"{self.verb} {self.resource}{name}{where}"

    @property
    def secret(self) -> bool:
        """Whether a server that quotes what it was sent would quote a secret."""
        return self.kind == SECRETS

    @property
    def repeatable(self) -> bool:
        """Whether asking twice does nothing twice."""
        asking = self.method in ("GET", "DELETE") or self.kind == ACCESS_REVIEWS
        return asking and self.part != "exec"


def status_of(body: bytes) -> Status:
    """What *body* says; an empty one when it is no ``Status``."""
    try:
        found = parse_json(body, Status, "the answer")
    except BackendUnavailableError:
        return Status()
    return found if found.kind == "Status" else Status()


def not_started(message: str) -> bool:
    """Whether *message* says that a container does not run yet."""
    return bool(_WAITING.search(message))


def refusal(
    ask: Ask, code: int, body: bytes, *, server: str, source: str, redact: Callable[[str], str]
) -> BuildpushError:
    """The error for the answer *code* to *ask*, with the server's own words where they are safe."""
    status = status_of(body)
    said = redact(_said(ask, status, code, body))[:_SAID]
    evidence = HttpEvidence(
        method=ask.method,
        url=f"{server}{ask.path}",
        status=code,
        codes=(status.reason,) if status.reason else (),
        detail=said,
    )
    tail = f": {said}" if said else f": status {code}"
    match code:
        case 401:
            return AuthError(
                f"the cluster does not accept the credential of {source}{tail}",
                evidence=(evidence,),
                hint="has it expired? Try: kubectl auth whoami",
            )
        case 403:
            return _forbidden(ask, status, said, evidence)
        case 409:
            error = Conflict(f"the cluster could not {ask.what}{tail}", evidence=(evidence,))
            error.reason = status.reason
            return error
        case 404 | 410:
            kind = NotThere if code == 404 else Gone
            return kind(
                f"the cluster could not {ask.what}{tail}",
                evidence=(evidence,),
                hint="make that namespace, or name another" if _NO_NAMESPACE.search(said) else "",
            )
        case _ if code < 400:
            return PlanError(
                f"{server} answers with status {code} ({ask.what})",
                evidence=(evidence,),
                hint="is that the API server, or a page to log in at?",
            )
        case _ if code == 429 or code >= 500:
            return _unable(ask, code, said, evidence)
        case 400 if ask.part in ("log", "exec") and not_started(status.message):
            return NotStarted(f"the cluster could not {ask.what}{tail}", evidence=(evidence,))
        case _:
            return PlanError(f"the cluster refused to {ask.what}{tail}", evidence=(evidence,))


def _unable(ask: Ask, code: int, said: str, evidence: HttpEvidence) -> BuildpushError:
    if ask.part == "exec" and not_started(said):
        return NotStarted(f"the cluster could not {ask.what}: {said}", evidence=(evidence,))
    return Unreachable(
        f"the cluster cannot {ask.what} now (status {code}){f': {said}' if said else ''}",
        evidence=(evidence,),
        hint="its API server is overloaded or broken, or cannot reach the node",
    )


def _forbidden(ask: Ask, status: Status, said: str, evidence: HttpEvidence) -> BuildpushError:
    """403 is for rights; quotas, pod security and other admission say it, too."""
    if status.message and not _NOT_ALLOWED.search(status.message):
        return PlanError(f"the cluster refused to {ask.what}: {said}", evidence=(evidence,))
    needs = f"{ask.verb} on {ask.resource}"
    if ask.part == "exec":
        needs = "get and create on pods/exec (servers before 1.35 ask for get only)"
    return PermissionDeniedError(
        f"we may not {ask.what}: the right needed is {needs}{f'; {said}' if said else ''}",
        evidence=(evidence,),
        hint="python -m buildpush doctor tells which rights are missing",
    )


def _said(ask: Ask, status: Status, code: int, body: bytes) -> str:
    """The server's sentence. Of a refused Secret only what cannot hold any of its content."""
    if ask.secret and code in (400, 413, 415, 422):
        named = [
            f"{cause.field} ({cause.reason})" for cause in status.details.causes if cause.field
        ]
        return ": ".join(part for part in (status.reason, ", ".join(named)) if part)
    if status.message:
        return status.message
    if ask.secret:
        return ""
    return " ".join(body[:_SAID].decode("utf-8", "replace").split())[:300]
