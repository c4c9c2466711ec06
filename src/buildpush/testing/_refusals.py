"""How a `LocalRegistry` says no: the distribution-spec's error bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from ._messages import Response

JSON: Final = "application/json; charset=utf-8"

_MESSAGES: Final = {
    "BLOB_UNKNOWN": "blob unknown to registry",
    "BLOB_UPLOAD_INVALID": "blob upload invalid",
    "BLOB_UPLOAD_UNKNOWN": "blob upload unknown to registry",
    "DENIED": "requested access to the resource is denied",
    "DIGEST_INVALID": "provided digest did not match uploaded content",
    "MANIFEST_BLOB_UNKNOWN": "manifest references a manifest or blob unknown to registry",
    "MANIFEST_INVALID": "manifest invalid",
    "MANIFEST_UNKNOWN": "manifest unknown to registry",
    "NAME_INVALID": "invalid repository name",
    "NAME_UNKNOWN": "repository name not known to registry",
    "PAGINATION_NUMBER_INVALID": "invalid number of results requested",
    "RANGE_INVALID": "invalid content range",
    "SIZE_INVALID": "provided length did not match content length",
    "TAG_INVALID": "manifest tag did not match the grammar",
    "TOOMANYREQUESTS": "too many requests",
    "UNAUTHORIZED": "authentication required",
    "UNAVAILABLE": "service unavailable",
    "UNSUPPORTED": "the operation is unsupported",
}


def answer(status: int, document: object, **headers: str) -> Response:
    """A JSON answer; underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status=status, headers={"Content-Type": JSON, **named}, body=body)


@frozen(kw_only=True, eq=False)
class Refusal(Exception):
    """An answer that ends the handling of a request; without codes it is plain text.

    *details* has one for each code; *detail* is for all of them. *message* replaces the usual one.
    """

    status: int
    codes: tuple[str, ...]
    headers: Mapping[str, str] = field(factory=dict[str, str])
    detail: object = None
    details: tuple[object, ...] = ()
    message: str = ""

    def response(self) -> Response:
        """The answer as the specification's "Error Codes" section writes it."""
        if not self.codes:
            text = {"Content-Type": "text/plain; charset=utf-8", **self.headers}
            return Response(status=self.status, headers=text, body=b"404 page not found\n")
        details = self.details or (self.detail,) * len(self.codes)
        errors = [
            {
                "code": code,
                "message": self.message or _MESSAGES.get(code, code.lower().replace("_", " ")),
                "detail": detail,
            }
            for code, detail in zip(self.codes, details, strict=True)
        ]
        made = answer(self.status, {"errors": errors})
        return Response(
            status=self.status, headers={**made.headers, **self.headers}, body=made.body
        )


def refuse(status: int, code: str, *, detail: object = None, **headers: str) -> Refusal:
    """The usual refusal: one code; underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refusal(status=status, codes=(code,), headers=named, detail=detail)


def nowhere() -> Refusal:
    """What Distribution says of a path it does not know: no JSON."""
    return Refusal(status=404, codes=())
