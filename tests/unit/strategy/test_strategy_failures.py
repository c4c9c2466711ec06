"""What kind of failure an error is, and which action is chosen for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from buildpush import errors
from buildpush.errors import (
    AuthError,
    BuildError,
    BuildpushError,
    PartialPushError,
    PermissionDeniedError,
    PodNotStartedError,
    PreflightError,
    RegistryUnavailableError,
    SpecError,
    StepCancelledError,
)
from buildpush.oci import ImageReference
from buildpush.plan import Destination
from buildpush.strategy import Ending, ErrorClass, FailureStrategy, Retry, error_classes
from buildpush.strategy.failures import choose

TRANSIENT = ErrorClass.RETRYABLE_TRANSIENT_FAILURE
CLASSES: dict[str, set[ErrorClass]] = {
    "BuildpushError": {ErrorClass.UNKNOWN},
    "SpecError": {ErrorClass.CONFIGURATION_FAILURE},
    "InvalidReferenceError": {ErrorClass.CONFIGURATION_FAILURE},
    "DockerfileError": {ErrorClass.CONFIGURATION_FAILURE},
    "ExpressionError": {ErrorClass.CONFIGURATION_FAILURE},
    "PlanError": {ErrorClass.CONFIGURATION_FAILURE},
    "BackendUnavailableError": {ErrorClass.INFRASTRUCTURE_FAILURE},
    "PodNotStartedError": {ErrorClass.INFRASTRUCTURE_FAILURE},
    "PodLostError": {ErrorClass.INFRASTRUCTURE_FAILURE, TRANSIENT},
    "UnsupportedFeatureError": {ErrorClass.CONFIGURATION_FAILURE},
    "CredentialConflictError": {ErrorClass.CONFIGURATION_FAILURE},
    "AuthError": {ErrorClass.AUTHENTICATION},
    "PermissionDeniedError": {ErrorClass.AUTHORIZATION},
    "PreflightError": {ErrorClass.AUTHENTICATION},
    "BuildError": {ErrorClass.UNKNOWN},
    "OutOfMemoryError": {ErrorClass.RESOURCE_LIMITS_FAILURE},
    "DiskFullError": {ErrorClass.RESOURCE_LIMITS_FAILURE},
    "RegistryError": {ErrorClass.UNKNOWN},
    "NotFoundError": {ErrorClass.CONFIGURATION_FAILURE},
    "RegistryUnavailableError": {ErrorClass.CONNECTIVITY, TRANSIENT},
    "RateLimitedError": {ErrorClass.CONNECTIVITY, TRANSIENT},
    "TagConflictError": {ErrorClass.CONFIGURATION_FAILURE},
    "BlobTooLargeError": {ErrorClass.RESOURCE_LIMITS_FAILURE},
    "PartialPushError": {ErrorClass.UNKNOWN},
    "DigestMismatchError": {ErrorClass.VERIFICATION},
    "SeveralFailedError": {ErrorClass.UNKNOWN},
    "StepTimeoutError": {ErrorClass.TIMEOUT},
    "StepCancelledError": {ErrorClass.UNKNOWN},
}
ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BuildpushError)
}


def test_every_error_has_a_row_here() -> None:
    """A new error is given its classes on purpose."""
    assert set(CLASSES) == set(ERRORS)


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_has_these_classes(name: str) -> None:
    """They are Harness's, and what may pass later is told."""
    assert error_classes(ERRORS[name]("it failed")) == CLASSES[name]


def test_an_error_that_stands_for_several_has_the_classes_of_all() -> None:
    """Of preflights and of pushes to several places."""
    both = PreflightError("two")
    both.failures = (PermissionDeniedError("one"), RegistryUnavailableError("two"))
    partial = PartialPushError("some")
    at = ImageReference.parse("r.example/app:1")
    partial.destinations = (
        Destination(reference=at, status="pushed"),
        Destination(reference=at, status="failed", error=AuthError("no")),
    )

    assert error_classes(both) == {
        ErrorClass.AUTHORIZATION,
        ErrorClass.CONNECTIVITY,
        TRANSIENT,
    }
    assert error_classes(partial) == {ErrorClass.AUTHENTICATION}


def test_an_image_that_cannot_be_pulled_for_a_pod_is_a_class_of_its_own() -> None:
    """The cluster's word for it decides."""
    error = PodNotStartedError("no")
    error.reason = "ImagePullBackOff"

    assert error_classes(error) == {ErrorClass.PLUGIN_IMAGE_FAILURE}


def test_what_is_special_is_chosen_before_all_errors() -> None:
    """Wherever it stands; and nothing chosen is a failure."""
    retry = Retry(2)
    strategies = [
        FailureStrategy("AllErrors", Ending.IGNORE),
        FailureStrategy([ErrorClass.CONNECTIVITY, "Timeout"], retry),
    ]

    assert choose(RegistryUnavailableError("503"), strategies) is retry
    assert choose(BuildError("no"), strategies) is Ending.IGNORE
    assert choose(BuildError("no"), strategies[1:]) is Ending.MARK_AS_FAILURE
    assert choose(AuthError("no"), strategies[1:], strategies) is Ending.IGNORE


def test_waits_are_durations_and_the_last_one_stays() -> None:
    """As text with units, or as seconds; none at all is no wait."""
    assert [Retry(4, intervals=["10s", 20]).wait(n) for n in (1, 2, 3)] == [10, 20, 20]
    assert Retry(1, intervals="1m 30s").wait(1) == 90
    assert Retry(1).wait(1) == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Retry(0), "1 to 100 times"),
        (lambda: Retry(1, intervals=["soon"]), "retry: intervals"),
        (lambda: FailureStrategy([], Ending.ABORT), "needs a class"),
        (lambda: FailureStrategy("Sorrow", Ending.ABORT), "Connectivity"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], said: str) -> None:
    """One error says what was expected."""
    with pytest.raises(SpecError) as caught:
        make()

    assert said in str(caught.value)


def test_a_cancelled_step_is_no_failure_of_a_kind() -> None:
    """It has no class that anybody would retry."""
    assert error_classes(StepCancelledError("stop")) == {ErrorClass.UNKNOWN}
