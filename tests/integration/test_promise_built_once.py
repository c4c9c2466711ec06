"""What is promised of a build whose push stumbles: nothing that was done is done again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from buildpush import BuildAndPushStep, push
from buildpush.errors import RegistryUnavailableError
from buildpush.events import Event, TaskLog
from buildpush.testing import LocalRegistry
from buildpush.testing.faults import DropUpload, Fault, Status

pytestmark = pytest.mark.needs_root


class Pushable(Protocol):
    def push(self, host: str, repository: str, tag: str) -> str: ...


@pytest.fixture
def step_with(
    tmp_path: Path, local_registry: LocalRegistry, busybox_base: Pushable
) -> Callable[..., BuildAndPushStep]:
    """Two layers on a base image, of which one is made by a command that says so."""
    base = busybox_base.push(local_registry.host, "base/busybox", "1")
    (tmp_path / "file").write_bytes(bytes(range(256)) * 64)
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base}\nCOPY file /\nRUN echo executed; head -c 9999 /dev/urandom >/made\n"
    )
    local_registry.clear_log()
    known: dict[str, Any] = {"context": tmp_path, "backend": "native"}
    return lambda **settings: BuildAndPushStep(
        repo=local_registry.reference("acme/app"), **known, **settings
    )


def executions(events: list[Event]) -> int:
    return [e.line for e in events if isinstance(e, TaskLog)].count("executed")


def test_a_blob_that_breaks_off_repeats_neither_a_command_nor_another_blob(
    step_with: Callable[..., BuildAndPushStep], local_registry: LocalRegistry
) -> None:
    """The third upload is cut after some bytes; each byte travels once, the command runs once."""
    events: list[Event] = []
    cut = local_registry.inject(
        Fault(DropUpload(200), method="PUT", path="/acme/app/blobs/uploads/", skip=2)
    )

    result = step_with().run(on_event=events.append)

    manifest = json.loads(local_registry.manifest("acme/app", "latest") or b"")
    own = (manifest["config"], *manifest["layers"][-2:])
    sent = [r.bytes_received for r in local_registry.requests if "/acme/app/blobs/" in r.path]
    assert (cut.fired, executions(events)) == (1, 1)
    assert local_registry.digest("acme/app", "latest") == result.digest
    assert sum(sent) == sum(blob["size"] for blob in own)


def test_a_push_that_failed_for_good_is_repeated_without_the_command(
    step_with: Callable[..., BuildAndPushStep], local_registry: LocalRegistry
) -> None:
    """What was built is kept, and `push` takes it from there; no blob is sent again."""
    events: list[Event] = []
    local_registry.inject(
        Fault(Status(503), method="PUT", path="/acme/app/manifests/", times=None)
    )
    with pytest.raises(RegistryUnavailableError) as caught:
        step_with(retries=0).run(on_event=events.append)
    local_registry.faults.clear()
    local_registry.clear_log()
    assert caught.value.artifact is not None

    push(caught.value.artifact, [local_registry.reference("acme/app:1")], on_event=events.append)

    assert executions(events) == 1
    assert local_registry.tags("acme/app") == ("1",)
    assert sum(r.bytes_received for r in local_registry.requests if "/blobs/" in r.path) == 0
