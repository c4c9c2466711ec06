"""What can be done to a request or its answer: the actions of a `Fault`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen


@frozen
class Status:
    """Answer with *code* instead of the registry.

    *errors* are the spec's error codes for the body (503 gets UNAVAILABLE, and so on, when left
    out); *body* replaces the whole JSON body. A 401 gets the registry's challenge, if it has logins, unless
    *headers* have one. The request's body is read first and forgotten, unless *early*; with *after* the
    request is carried out and interrupted once so many bytes of its body have arrived.
    """

    code: int
    errors: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(factory=dict[str, str], kw_only=True)
    body: bytes | None = field(default=None, kw_only=True)
    early: bool = field(default=False, kw_only=True)
    after: int | None = field(default=None, kw_only=True)


@frozen
class RateLimit:
    """Answer 429 with a Retry-After of so many *seconds* (None: without the header).

    *date* writes it as a date, which has whole seconds only. *body* is the kind of text: the
    spec's ``json``, plain ``text``, a proxy's ``html``, or nothing at all (``""``).
    """

    seconds: float | None = 1
    date: bool = field(default=False, kw_only=True)
    body: Literal["json", "text", "html", ""] = field(default="json", kw_only=True)


@frozen(kw_only=True)
class Reset:
    """Break the connection with a TCP reset.

    Before anything is done when *after* is None, unless *handled*, which carries the request out
    and loses the answer. Otherwise after *after* bytes of the answer's body.
    """

    after: int | None = None
    handled: bool = False


@frozen(kw_only=True)
class Close:
    """End the connection (an end of file) instead of an answer, carrying it out if *handled*."""

    handled: bool = False


@frozen
class Truncate:
    """Announce the whole length, send *after* bytes of the body, and close."""

    after: int


@frozen
class FlipByte:
    """Change the byte at offset *at* of the answer's body; -1 is the last."""

    at: int = 0


@frozen
class CorruptUpload:
    """Change the byte at offset *at* of the request's body: the digest will not be the stated."""

    at: int = 0


@frozen(kw_only=True)
class Present:
    """Answer 200 to a HEAD of a blob or manifest, whether it is there or not.

    *digest* is what is said of it, unless the path has one; *size* its length in bytes.
    """

    digest: str = f"sha256:{'0' * 64}"
    size: int = 0
    media_type: str = "application/vnd.oci.image.manifest.v1+json"


@frozen
class WrongDigest:
    """Say another Docker-Content-Digest than the true one."""

    digest: str = f"sha256:{'0' * 64}"


@frozen
class ReplaceHeaders:
    """Set headers of the answer; None removes one. Names are compared without case."""

    headers: Mapping[str, str | None]


@frozen
class Hang:
    """Do nothing until `Fault.release`, or the registry's end; then carry on as usual."""


@frozen(kw_only=True)
class Slow:
    """Wait *seconds* before the request is looked at; move bodies at *bytes_per_second*."""

    seconds: float = 0.0
    bytes_per_second: float | None = None


@frozen
class DropUpload:
    """Break the connection once *after* bytes of the request's body have arrived.

    With a TCP reset, or unless *reset* by closing it, which is a reset too where the client has
    already sent more.
    """

    after: int
    reset: bool = field(default=True, kw_only=True)


Action = (
    Close
    | CorruptUpload
    | DropUpload
    | FlipByte
    | Hang
    | Present
    | RateLimit
    | ReplaceHeaders
    | Reset
    | Slow
    | Status
    | Truncate
    | WrongDigest
)
