"""What a cluster's refusals mean: the errors that its client raises beside the public ones."""

from __future__ import annotations

from .....errors import BackendUnavailableError, PlanError

__all__ = ["BrokenOff", "Conflict", "Gone", "NotStarted", "NotThere", "Unreachable"]


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
