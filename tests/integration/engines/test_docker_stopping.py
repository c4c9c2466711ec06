"""A docker build that is stopped amid RUN: nothing of it goes on in the daemon, in no way of building."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker_ways import DockerWay

from buildpush import BuildAndPushStep, CancelToken
from buildpush.backends.docker import DockerBackend
from buildpush.errors import StepCancelledError
from buildpush.events import Event, TaskLog
from buildpush.testing import LocalRegistry

pytestmark = pytest.mark.needs_docker

BOUND = 10.0
MARKER = "sleep 86399.25"


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + BOUND
    while not holds():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.05)
    return True


def is_running() -> bool:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes() == MARKER.replace(" ", "\0").encode() + b"\0":
                return True
        except OSError:
            continue
    return False


def test_a_cancelled_build_leaves_no_process_and_no_container(
    docker_way: DockerWay, busybox_base: Any, tmp_path: Path
) -> None:
    """Within ten seconds; and no image under the step's name."""
    cancel = CancelToken()

    def on_event(event: Event) -> None:
        if isinstance(event, TaskLog) and event.line == "started":
            cancel.cancel()

    with LocalRegistry() as registry:
        base = busybox_base.push(registry.host, "library/base")
        dockerfile = f"FROM {base}\nRUN echo started; exec {MARKER}\n"
        (tmp_path / "Dockerfile").write_text(dockerfile)
        repo = registry.reference("acme/app")
        step = BuildAndPushStep(repo=repo, context=tmp_path, network="host")
        before = docker_way.containers()

        with pytest.raises(StepCancelledError):
            step.run(backend=DockerBackend(), on_event=on_event, cancel=cancel)

        assert eventually(lambda: not is_running())
        assert eventually(lambda: docker_way.containers() == before)
        assert not any(name.startswith(repo) for name in docker_way.images())
        docker_way.remove(base)
