"""What is promised of the questions asked before a build, against real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from buildpush import StaticKeychain
from buildpush.auth import Chain, Credential, Keychain
from buildpush.errors import (
    AuthError,
    BuildpushError,
    PermissionDeniedError,
    PreflightError,
    RegistryUnavailableError,
    StepCancelledError,
    TagConflictError,
)
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.plan import PushPolicy
from buildpush.publishing.preflight import preflight
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import LocalRegistry, RecordingSink
from buildpush.testing.faults import Fault, Hang, Status

ALL = PushPolicy()
USERS = {"ci": "s3cret", "guest": "guest"}
OCI = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def run(tmp_path: Path, recording_sink: RecordingSink) -> Run:
    """A run whose events end up in `recording_sink`."""
    return Run(workdir=tmp_path, cancel=CancelToken(), sink=recording_sink)


@pytest.fixture
def registries() -> Iterator[Callable[..., LocalRegistry]]:
    """Start registries that end with the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(LocalRegistry(**how))


def as_user(name: str, *hosts: str) -> Keychain:
    credential = Credential(username=name, password=USERS[name], source="the test")
    return Chain(tuple(StaticKeychain(prefix=host, credential=credential) for host in hosts))


def opener(keychain: Keychain | None = None) -> Callable[[Run], RegistryClient]:
    quick = RetryPolicy(attempts=2, first_wait=0.001, longest_wait=0.002)
    return lambda run: RegistryClient(keychain or Chain(()), run, policy=quick)


def names(*texts: str) -> tuple[ImageReference, ...]:
    return tuple(map(ImageReference.parse, texts))


def refused(kind: type[BuildpushError], *args: object, **more: object) -> BuildpushError:
    with pytest.raises(kind) as caught:
        preflight(*args, **more)  # type: ignore[arg-type]
    return caught.value


def test_every_repository_is_asked_once_and_nothing_is_left_behind(
    registries: Callable[..., LocalRegistry], run: Run
) -> None:
    """However many tags; the uploads are cancelled."""
    registry = registries()
    wanted = names(*(registry.reference(name) for name in ("a:1", "a:2", "b:1")))

    proven = preflight(opener(), wanted, ALL, run)

    assert [place.path for place in proven] == ["a", "b"]
    assert [r.method for r in registry.requests if r.method == "POST"] == ["POST", "POST"]
    assert registry.uploads_open == 0


def test_a_missing_permission_is_learned_before_the_build(
    registries: Callable[..., LocalRegistry], run: Run
) -> None:
    """As what it is, with the repository's name."""
    registry = registries(
        auth="token", users=USERS, permissions={"guest": [("", "pull")], "ci": [("", "push")]}
    )

    error = refused(
        PermissionDeniedError,
        opener(as_user("guest", registry.host)),
        names(registry.reference("acme/app:1")),
        ALL,
        run,
    )

    assert "acme/app" in error.message
    assert "guest" in error.message


def test_all_refusals_come_in_one_error(
    registries: Callable[..., LocalRegistry], run: Run
) -> None:
    """Nobody fixes one credential to learn of the next."""
    strict, open_ = registries(auth="basic", users=USERS), registries()
    wanted = names(
        strict.reference("one:1"), open_.reference("two:1"), strict.reference("three:1")
    )

    error = refused(PreflightError, opener(), wanted, ALL, run)

    assert isinstance(error, PreflightError)
    assert len(error.failures) == 2
    assert all(isinstance(failure, AuthError) for failure in error.failures)
    assert "one" in error.message and "three" in error.message and "two" not in error.message


def test_a_registry_that_is_slow_to_answer_does_not_hold_the_build_up(
    registries: Callable[..., LocalRegistry], run: Run, recording_sink: RecordingSink
) -> None:
    """It is a warning: the push will tell."""
    slow, quick = registries(), registries()
    hang = slow.inject(Fault(Hang(), method="POST", times=None))

    proven = preflight(
        opener(), names(slow.reference("a:1"), quick.reference("b:1")), ALL, run, seconds=0.3
    )
    hang.release()

    assert [place.path for place in proven] == ["b"]
    assert "whether" in recording_sink.warnings[-1] and slow.host in recording_sink.warnings[-1]


def test_a_registry_that_refuses_to_cancel_an_upload_is_fine(
    registries: Callable[..., LocalRegistry], run: Run
) -> None:
    """Several know no DELETE there."""
    registry = registries()
    registry.inject(Fault(Status(405), method="DELETE", times=None))

    assert preflight(opener(), names(registry.reference("a:1")), ALL, run)


def test_a_registry_that_is_out_of_reach_stops_a_push_from_here_only(
    registries: Callable[..., LocalRegistry], run: Run, recording_sink: RecordingSink
) -> None:
    """A backend that pushes from elsewhere may reach what we cannot."""
    registry = registries()
    wanted = names(registry.reference("a:1"))
    registry.close()

    refused(RegistryUnavailableError, opener(), wanted, ALL, run)
    assert preflight(opener(), wanted, ALL, run, from_elsewhere=True) == ()
    assert "is not known" in recording_sink.warnings[-1]


def test_a_tag_that_must_not_exist_is_found_before_the_build(
    registries: Callable[..., LocalRegistry], run: Run
) -> None:
    """And one that must name a digest is compared."""
    registry = registries()
    found = registry.add_manifest("a", b'{"schemaVersion":2}', OCI, tag="1")
    wanted = names(registry.reference("a:1"))
    other = Digest(f"sha256:{'b' * 64}")

    exists = refused(TagConflictError, opener(), wanted, PushPolicy(on_existing_tag="fail"), run)
    moved = refused(TagConflictError, opener(), wanted, PushPolicy(expect_current=other), run)

    assert isinstance(exists, TagConflictError) and isinstance(moved, TagConflictError)
    assert exists.found == moved.found == str(found)
    assert moved.wanted == str(other)
    assert preflight(opener(), wanted, PushPolicy(expect_current=found), run)


def test_a_cancelled_run_raises_its_own_reason(
    registries: Callable[..., LocalRegistry], run: Run
) -> None:
    """Not that of the clock beside it."""
    registry = registries()
    hang = registry.inject(Fault(Hang(), method="POST", times=None))
    reason = StepCancelledError("somebody pulled the plug")
    stopper = threading.Thread(target=lambda: hang.wait() and run.cancel.cancel(reason))
    stopper.start()

    error = refused(StepCancelledError, opener(), names(registry.reference("a:1")), ALL, run)
    stopper.join()
    hang.release()

    assert error is reason


def test_destinations_are_asked_at_the_same_time(
    registries: Callable[..., LocalRegistry], run: Run
) -> None:
    """Each registry is answering when the last is asked, and so is each repository of one."""
    several = [registries() for _ in range(3)]
    wanted = names(*(r.reference(name) for r in several for name in ("a:1", "b:1")))
    hangs = [
        registry.inject(Fault(Hang(), method="POST", path=f"/{name}/"))
        for registry in several
        for name in "ab"
    ]
    proven: list[Repository] = []
    asking = threading.Thread(
        target=lambda: proven.extend(preflight(opener(), wanted, ALL, run, seconds=30.0))
    )

    asking.start()
    met = [hang.wait(5.0) for hang in hangs]
    for hang in hangs:
        hang.release()
    asking.join()

    assert all(met)
    assert proven == [reference.repository for reference in wanted]


def test_what_hangs_and_what_refuses_are_told_together(
    registries: Callable[..., LocalRegistry], run: Run, recording_sink: RecordingSink
) -> None:
    """One that never answers hides no refusal of the others, and is no refusal itself."""
    silent, strict = registries(), registries(auth="basic", users=USERS)
    silent.inject(Fault(Hang(), method="POST", times=None))
    wanted = names(silent.reference("a:1"), strict.reference("b:1"), strict.reference("c:1"))

    error = refused(PreflightError, opener(), wanted, ALL, run, seconds=0.5)

    assert isinstance(error, PreflightError)
    assert len(error.failures) == 2
    assert silent.host not in error.message
    assert any(silent.host in warning for warning in recording_sink.warnings)
