"""The grammar of references: what is wrong with a text, where, and what was probably meant.

Follows distribution/reference and the distribution-spec.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from ..errors import InvalidReferenceError

__all__ = ["DIGEST", "HUB", "TAG", "Parts", "fault_of", "invalid", "repaired"]

HUB: Final = "docker.io"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_MAX_NAME = 255
_SCHEME = re.compile(r"(?:https?|docker|oci)://", re.IGNORECASE)
_NO_PATH = re.compile(r"[^a-z0-9._-]+")
_NO_TAG = re.compile(r"[^A-Za-z0-9._-]+")
# Separators that may not stand together, such as "._", "-." and three underscores.
_CROWD = re.compile(r"(?!(?:\.|_|__|-+)(?![._-]))[._-]{2,}")


@frozen(kw_only=True)
class Parts:
    """A reference taken apart; *path_at* and *tag_at* are where path and tag begin in the text."""

    host: str
    path: str
    tag: str | None = None
    digest: str | None = None
    path_at: int = field(default=0, eq=False)
    tag_at: int = field(default=0, eq=False)

    @classmethod
    def of(cls, text: str) -> Parts:
        """Take *text* apart, right or wrong.

        The first part is a host when it has a dot, a colon, an upper-case letter or is
        ``localhost``.
        """
        name, at, digest = text.partition("@")
        head, slash, tail = name.partition("/")
        explicit = bool(slash) and (
            any(c in head for c in ".:[") or head == "localhost" or head != head.lower()
        )
        host, path = (head, tail) if explicit else (HUB, name)
        start = len(head) + 1 if explicit else 0
        path, colon, tag = path.partition(":")
        return cls(
            host=host,
            path=path,
            tag=tag if colon else None,
            digest=digest if at else None,
            path_at=start,
            tag_at=start + len(path) + 1,
        )


def fault_of(parts: Parts) -> tuple[str, int] | None:
    """What is wrong with *parts*, and the position of it, counted from 0; None if nothing is."""
    host, path, tag = parts.host, parts.path, parts.tag
    if not _HOST.fullmatch(host):
        found = _HOST.match(host)
        return f"bad registry host {host!r}", found.end() if found else 0
    if path != path.lower():
        upper = next(number for number, c in enumerate(path) if c != c.lower())
        return "the repository must be lower case", parts.path_at + upper
    if not _PATH.fullmatch(path):
        found = _PATH.match(path)
        return f"bad repository path {path!r}", parts.path_at + (found.end() if found else 0)
    length = len(path) + len(host) + 1
    if length > _MAX_NAME:
        end = parts.path_at + len(path) - (length - _MAX_NAME)
        return f"the name is longer than {_MAX_NAME} characters", max(end, 0)
    if tag is not None and not TAG.fullmatch(tag):
        found = TAG.match(tag)
        return f"bad tag {tag!r}", parts.tag_at + (found.end() if found else 0)
    return None


def invalid(text: str, what: str, position: int) -> InvalidReferenceError:
    """The error for *text*, of which *what* is wrong at *position*."""
    meant = repaired(text)
    place = f"at character {position + 1}" if position < len(text) else "at its end"
    error = InvalidReferenceError(
        f"not an image reference: {text!r}: {what}, {place}",
        hint=f"did you mean {meant!r}?" if meant else "",
    )
    error.position = position
    error.suggestion = meant
    return error


def repaired(text: str) -> str:
    """*text* as a reference that follows the grammar; empty when it cannot be told what is meant.

    A scheme and blanks around it go, the repository becomes lower case, and what may not stand
    in a path or tag becomes a dash.
    """
    bare = _SCHEME.sub("", text.strip(), count=1)
    parts = Parts.of(bare)
    # Not str.lower() alone: some letters have a lower case outside of ASCII.
    names = (_tidy(_NO_PATH.sub("-", name.lower())) for name in parts.path.split("/"))
    path = "/".join(filter(None, names))
    tag = _NO_TAG.sub("-", parts.tag or "").lstrip(".-")[:128]
    meant = Parts(host=parts.host, path=path, tag=None if parts.tag is None else tag)
    # An empty tag stays a fault: a variable that was not set does not mean ``latest``.
    if fault_of(meant) is not None or (
        parts.digest is not None and not DIGEST.fullmatch(parts.digest)
    ):
        return ""
    host = bare[: parts.path_at]
    digest = f"@{parts.digest}" if parts.digest else ""
    return f"{host}{path}{':' if tag else ''}{tag}{digest}"


def _tidy(name: str) -> str:
    return _CROWD.sub("-", name).strip("._-")
