"""What is promised of a step before it builds: whoever may not push learns it first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep
from buildpush.errors import PreflightError, SpecError
from buildpush.oci import Digest
from buildpush.oci.wire import Descriptor, Manifest, MediaType, dump
from buildpush.publishing import preflight as asking
from buildpush.runtime import CancelToken, Deadline
from buildpush.testing import FakeBackend, LocalRegistry
from buildpush.testing.faults import Fault, Hang

Start = Callable[..., LocalRegistry]
CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
).encode()


@pytest.fixture
def registries() -> Iterator[Start]:
    """Start registries that end with the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(LocalRegistry(**how))


def based_on(folder: Path, registry: LocalRegistry) -> Path:
    """A build context whose base image is in *registry*."""
    registry.add_blob("base", CONFIG)
    config = Descriptor(
        media_type=MediaType.OCI_CONFIG, digest=Digest.of(CONFIG), size=len(CONFIG)
    )
    data = dump(Manifest(media_type=MediaType.OCI_MANIFEST, config=config, layers=()))
    registry.add_manifest("base", data, MediaType.OCI_MANIFEST, tag="1")
    base = registry.reference("base:1")
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY Dockerfile /\n")
    return folder


def test_no_base_image_is_pulled_for_destinations_that_refuse(
    registries: Start, tmp_path: Path
) -> None:
    """All of them are named in one error, and the base image's registry was asked nothing."""
    bases, open_ = registries(), registries()
    one, two = (registries(auth="basic", users={"ci": "s3cret"}) for _ in range(2))
    step = BuildAndPushStep(
        repo=open_.reference("app"),
        destinations=[one.reference("app:1"), two.reference("app:1")],
        context=based_on(tmp_path, bases),
        backend="native",
    )

    with pytest.raises(PreflightError) as caught:
        step.run()

    assert bases.requests == ()
    assert len(caught.value.failures) == 2
    assert one.host in caught.value.message and two.host in caught.value.message
    assert open_.tags("app") == () and open_.uploads_open == 0


def test_a_base_image_is_pulled_only_when_every_destination_has_agreed(
    registries: Start, tmp_path: Path
) -> None:
    """The uploads that prove it have ended by then."""
    bases, one, two = registries(), registries(), registries()
    step = BuildAndPushStep(
        repo=one.reference("app"),
        destinations=[two.reference("app:1")],
        context=based_on(tmp_path, bases),
        backend="native",
    )

    step.run()

    pulled = min(request.at for request in bases.requests)
    for registry in (one, two):
        asked = next(r for r in registry.requests if r.method == "POST")
        ended = next(r for r in registry.requests if r.method == "DELETE")
        assert asked.at <= ended.at <= pulled


def test_a_registry_that_hangs_costs_a_step_five_seconds_and_a_warning(
    local_registry: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is built and pushed all the same; the clock runs faster here."""
    limits: list[float] = []

    def sooner(cancel: CancelToken, seconds: float) -> Deadline:
        limits.append(seconds)
        return Deadline(cancel, seconds / 25)

    monkeypatch.setattr(asking, "Deadline", sooner)
    hang = local_registry.inject(Fault(Hang(), method="POST"))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")

    result = BuildAndPushStep(
        repo=local_registry.reference("app"), context=tmp_path, backend=FakeBackend()
    ).run()

    assert (hang.fired, limits) == (1, [5.0])
    assert any("has not said within 5 s" in warning for warning in result.warnings)
    assert local_registry.digest("app", "latest") == result.digest


@pytest.mark.parametrize(
    ("settings", "position", "suggestion"),
    [
        ({"repo": "ghcr.io/Org/App"}, 8, "ghcr.io/org/app"),
        (
            {"repo": "ghcr.io/org/app", "destinations": ["quay.io/org/app:feature/x"]},
            23,
            "quay.io/org/app:feature-x",
        ),
    ],
)
def test_a_name_that_no_registry_takes_is_refused_when_the_step_is_made(
    settings: dict[str, Any], position: int, suggestion: str
) -> None:
    """Not after the build: with the place of the fault, and what was probably meant."""
    with pytest.raises(SpecError) as caught:
        BuildAndPushStep(**settings)

    assert f"at character {position + 1}" in caught.value.message
    assert caught.value.hint == f"did you mean {suggestion!r}?"
