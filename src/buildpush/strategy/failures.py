"""What to do about a step that failed: classes of errors, and an action for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import Enum
from typing import Final

from attrs import field, frozen

from ..errors import (
    AuthError,
    BackendUnavailableError,
    BlobTooLargeError,
    BuildpushError,
    DigestMismatchError,
    DiskFullError,
    NotFoundError,
    OutOfMemoryError,
    PartialPushError,
    PermissionDeniedError,
    PlanError,
    PodLostError,
    PodNotStartedError,
    PreflightError,
    RegistryUnavailableError,
    SpecError,
    StepTimeoutError,
    TagConflictError,
)
from ..spec.quantities import parse_duration

__all__ = [
    "Action",
    "Ending",
    "ErrorClass",
    "FailureStrategy",
    "Intervene",
    "Retry",
    "choose",
    "error_classes",
]


class ErrorClass(Enum):
    """What kind of failure it was, by Harness's names."""

    ALL_ERRORS = "AllErrors"
    AUTHENTICATION = "Authentication"
    AUTHORIZATION = "Authorization"
    CONFIGURATION_FAILURE = "ConfigurationFailure"
    CONNECTIVITY = "Connectivity"
    INFRASTRUCTURE_FAILURE = "InfrastructureFailure"
    PLUGIN_IMAGE_FAILURE = "PluginImageFailure"
    RESOURCE_LIMITS_FAILURE = "ResourceLimitsFailure"
    RETRYABLE_TRANSIENT_FAILURE = "RetryableTransientFailure"
    TIMEOUT = "Timeout"
    UNKNOWN = "Unknown"
    VERIFICATION = "Verification"


# The first row that fits an error says its class, so what is more special stands before its base.
_CLASSES: Final[tuple[tuple[type[BuildpushError], ErrorClass], ...]] = (
    (PermissionDeniedError, ErrorClass.AUTHORIZATION),
    (AuthError, ErrorClass.AUTHENTICATION),
    (StepTimeoutError, ErrorClass.TIMEOUT),
    (RegistryUnavailableError, ErrorClass.CONNECTIVITY),
    (PodLostError, ErrorClass.INFRASTRUCTURE_FAILURE),
    (BackendUnavailableError, ErrorClass.INFRASTRUCTURE_FAILURE),
    (OutOfMemoryError, ErrorClass.RESOURCE_LIMITS_FAILURE),
    (DiskFullError, ErrorClass.RESOURCE_LIMITS_FAILURE),
    (BlobTooLargeError, ErrorClass.RESOURCE_LIMITS_FAILURE),
    (DigestMismatchError, ErrorClass.VERIFICATION),
    (SpecError, ErrorClass.CONFIGURATION_FAILURE),
    (PlanError, ErrorClass.CONFIGURATION_FAILURE),
    (NotFoundError, ErrorClass.CONFIGURATION_FAILURE),
    (TagConflictError, ErrorClass.CONFIGURATION_FAILURE),
)
_IMAGE_REASONS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName"})


def error_classes(error: BuildpushError) -> frozenset[ErrorClass]:
    """The classes of *error*; those of all its parts when it stands for several."""
    match error:
        case PreflightError(failures=parts) if parts:
            return frozenset[ErrorClass]().union(*map(error_classes, parts))
        case PartialPushError(destinations=destinations):
            errors = (getattr(each, "error", None) for each in destinations)
            parts = tuple(each for each in errors if isinstance(each, BuildpushError))
            if parts:
                return frozenset[ErrorClass]().union(*map(error_classes, parts))
        case PodNotStartedError(reason=reason) if reason in _IMAGE_REASONS:
            return frozenset({ErrorClass.PLUGIN_IMAGE_FAILURE})
        case _:
            pass
    found = {
        next((name for kind, name in _CLASSES if isinstance(error, kind)), ErrorClass.UNKNOWN)
    }
    if error.retryable:
        found.add(ErrorClass.RETRYABLE_TRANSIENT_FAILURE)
    return frozenset(found)


class Ending(Enum):
    """How a step that failed counts, by Harness's names."""

    IGNORE = "Ignore"
    MARK_AS_SUCCESS = "MarkAsSuccess"
    MARK_AS_FAILURE = "MarkAsFailure"
    ABORT = "Abort"


def _seconds(value: Iterable[object] | str | float | timedelta) -> tuple[float, ...]:
    many: Iterable[object]
    many = (value,) if isinstance(value, str | int | float | timedelta) else value
    try:
        return tuple(map(parse_duration, many))
    except ValueError as error:
        raise SpecError(f"retry: intervals: {error}") from None


def _count(instance: object, attribute: object, value: int) -> None:
    del instance, attribute
    if isinstance(value, bool) or not 1 <= value <= 100:
        raise SpecError("retry: expected 1 to 100 times")


def _patience(value: str | float | timedelta) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise SpecError(f"intervene: timeout: {error}") from None


@frozen(kw_only=True)
class Intervene:
    """Ask whoever *intervene* of `run_many` reaches what to do; *then* counts without an answer.

    *timeout* is how long to wait for one, in seconds or as ``1h``: it is given to whoever is
    asked. Raises `SpecError` for one that is no duration.
    """

    timeout: float = field(default=86400.0, converter=_patience)
    then: Ending = Ending.MARK_AS_FAILURE


@frozen
class Retry:
    """Run the step again, at most *count* times, and then do as *then* says.

    *intervals* are waits (``10s``, or seconds), one for each time; the last is for all that
    follow. Raises `SpecError` for a count that is not 1 to 100, or a wait that is no duration.
    """

    count: int = field(validator=_count)
    intervals: tuple[float, ...] = field(default=(), converter=_seconds, kw_only=True)
    then: Ending | Intervene = field(default=Ending.MARK_AS_FAILURE, kw_only=True)

    def wait(self, times: int) -> float:
        """Seconds to wait before the retry number *times*, counted from 1."""
        if not self.intervals:
            return 0.0
        return self.intervals[min(times, len(self.intervals)) - 1]


Action = Retry | Ending | Intervene
"""What is done about a failure: run again, say how it counts, or ask somebody."""


def _classes(value: Iterable[ErrorClass | str] | ErrorClass | str) -> frozenset[ErrorClass]:
    many = (value,) if isinstance(value, str | ErrorClass) else value
    try:
        found = frozenset(map(ErrorClass, many))
    except ValueError as error:
        known = ", ".join(each.value for each in ErrorClass)
        raise SpecError(f"{error}; the classes of errors are: {known}") from None
    if not found:
        raise SpecError("a failure strategy needs a class of errors, such as AllErrors")
    return found


@frozen
class FailureStrategy:
    """Do *action* about errors of these classes, given as `ErrorClass` or by Harness's names."""

    errors: frozenset[ErrorClass] = field(converter=_classes)
    action: Action


def choose(error: BuildpushError, *lists: Sequence[FailureStrategy]) -> Action:
    """What to do about *error*: the first list with an action for it decides, else it is a failure.

    In a list, the first action for a class of the error goes before that for AllErrors.
    """
    classes = error_classes(error)
    for strategies in lists:
        for wanted in (classes, frozenset({ErrorClass.ALL_ERRORS})):
            for each in strategies:
                if each.errors & wanted:
                    return each.action
    return Ending.MARK_AS_FAILURE
