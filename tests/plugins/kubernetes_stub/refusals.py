"""What the API server says when it says no: `Refusal`, with the words of the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .kinds import Kind

REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refusal(Exception):
    """An answer other than success, as a ``Status`` object."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or REASONS.get(code, "")
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def status(self) -> dict[str, Any]:
        """The object that is sent."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details:
            body["details"] = self.details
        return {**body, "code": self.code}


def _details(kind: Kind, name: str) -> dict[str, Any]:
    return {
        **({"name": name} if name else {}),
        **({"group": kind.group} if kind.group else {}),
        "kind": kind.plural,
    }


def not_found(kind: Kind, name: str) -> Refusal:
    """404, as for ``pods "x" not found``."""
    return Refusal(404, f'{kind.dotted} "{name}" not found', details=_details(kind, name))


def already_exists(kind: Kind, name: str) -> Refusal:
    """409 of a create."""
    message = f'{kind.dotted} "{name}" already exists'
    return Refusal(409, message, reason="AlreadyExists", details=_details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> Refusal:
    """409 of an update or a precondition."""
    said = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    message = f'Operation cannot be fulfilled on {kind.dotted} "{name}": {said}'
    return Refusal(409, message, details=_details(kind, name))


def forbidden(kind: Kind, name: str, why: str) -> Refusal:
    """403, as for ``secrets "x" is forbidden: …``."""
    quoted = f' "{name}"' if name else ""
    message = f"{kind.dotted}{quoted} is forbidden: {why}"
    return Refusal(403, message, details=_details(kind, name))


def invalid(kind: Kind, name: str, causes: Sequence[tuple[str, str, str]]) -> Refusal:
    """422 for *causes*: field, kind of fault (``FieldValueInvalid``…) and the words about it."""
    said = [f"{field}: {words}" for field, _, words in causes]
    joined = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    dotted = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details: dict[str, Any] = {
        **_details(kind, name),
        "kind": kind.kind,
        "causes": [{"reason": why, "message": words, "field": f} for f, why, words in causes],
    }
    return Refusal(422, f'{dotted} "{name}" is invalid: {joined}', details=details)
