"""Contract: stopped at any phase, by cancel, time limit or a kill, a build leaves nothing."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Final

import pytest
from attrs import frozen
from kubernetes_running import Stopping
from kubernetes_target import IMPOSSIBLE, Target

from buildpush.errors import (
    BuildpushError,
    PodNotStartedError,
    StepCancelledError,
    StepTimeoutError,
)
from buildpush.events import Event, TaskLog, TaskProgress, TaskStarted, Warned
from buildpush.testing import Fault, Hang

_MIB: Final = 1 << 20
SEND = "send build context"


@frozen(kw_only=True)
class Phase:
    """How far a build is: an event tells (*kind* and a part of its *text*)."""

    name: str
    kind: str
    text: str
    dockerfile: str = "FROM scratch\nCOPY Dockerfile /\n"
    big: bool = False
    pending: bool = False
    pushing: bool = False

    def __str__(self) -> str:
        return self.name

    def is_told_by(self, event: Event) -> bool:
        """Whether *event* says that it is so far."""
        match event:
            case TaskStarted(title=title):
                return self.kind == "started" and self.text in title
            case TaskProgress(done=done):
                return self.kind == "progress" and done > _MIB
            case TaskLog(line=line):
                return self.kind == "log" and self.text == line
            case Warned(message=message):
                return self.kind == "warned" and self.text in message
            case _:
                return False

    def is_in(self, line: dict[str, Any]) -> bool:
        """The same of what a client process prints."""
        if line["event"] != self.kind:
            return False
        if self.kind == "progress":
            return int(line["done"]) > _MIB
        return line["text"] == self.text if self.kind == "log" else self.text in line["text"]


PHASES: Final = (
    Phase(name="pending", kind="warned", text="Unschedulable", pending=True),
    Phase(name="init", kind="started", text=SEND, big=True),
    Phase(name="streaming", kind="progress", text=SEND, big=True),
    Phase(
        name="building",
        kind="log",
        text="MARK",
        dockerfile="FROM $BASE\nRUN echo MARK; sleep 600\n",
    ),
    Phase(name="pushing", kind="started", text="push ", pushing=True),
)


@pytest.fixture(params=PHASES, ids=str)
def phase(request: pytest.FixtureRequest, target: Target) -> Phase:
    """Each phase in turn, with what makes a build stay in it."""
    found: Phase = request.param
    if not found.pending:
        target.needs_builds()
    if found.pushing:
        registry = target.needs_local_registry()
        registry.inject(Fault(method="PATCH|PUT", path="/blobs/", action=Hang(), times=99))
    return found


def arranged(target: Target, phase: Phase) -> dict[str, Any]:
    """The step's settings for a build that stays in *phase*."""
    files = {"big": os.urandom((192 if target.is_real else 64) * _MIB)} if phase.big else {}
    return target.settings(phase.dockerfile, files, timeout=300)


def pod_settings(phase: Phase) -> dict[str, Any]:
    """The pod's settings for it."""
    return {"node_selector": IMPOSSIBLE} if phase.pending else {}


@pytest.mark.parametrize("reason", [StepCancelledError, StepTimeoutError])
def test_a_build_that_is_stopped_leaves_nothing(
    target: Target, phase: Phase, reason: type[BuildpushError]
) -> None:
    """Cancelled or out of time, it ends soon, and with it everything it had made."""
    settings = arranged(target, phase)
    backend = target.backend(target.runner(schedule_timeout=250, **pod_settings(phase)))
    stopping = Stopping(target.step_of(settings, backend))

    error = stopping.run(
        phase.is_told_by, lambda: stopping.cancel.cancel(reason("stopped by the test")), within=30
    )

    assert isinstance(error, reason)
    assert target.left_after(15) == ()


def test_a_build_that_runs_out_of_time_leaves_nothing(target: Target) -> None:
    """The step's own time limit, while the pod waits for a node."""
    runner = target.runner(schedule_timeout=250, node_selector=IMPOSSIBLE)
    step = target.step("FROM scratch\n", backend=target.backend(runner), timeout=4)

    with pytest.raises(StepTimeoutError):
        step.run()

    assert target.left_after(15) == ()


def test_a_schedule_that_runs_out_leaves_nothing(target: Target) -> None:
    """As after every failure."""
    runner = target.runner(schedule_timeout=2, node_selector=IMPOSSIBLE)

    with pytest.raises(PodNotStartedError):
        target.step("FROM scratch\n", backend=target.backend(runner)).run()

    assert target.left_after(15) == ()


def test_gc_removes_what_a_killed_client_left(target: Target, phase: Phase) -> None:
    """SIGKILL lets nobody clear up: gc then finds everything, by its labels."""
    settings = arranged(target, phase)
    pod = {"host_network": target.host_network, **pod_settings(phase)}
    with target.client(steps=[settings], pod=pod) as child:
        child.until(phase.is_in)
        child.process.kill()
        child.process.wait()
        left = target.left()

        removed = target.runner().gc(older_than=timedelta(0))

    assert any(name.startswith("jobs/") for name in left)
    assert {name for name in removed if target.token in name} != set()
    assert target.left_after(60) == ()


def test_gc_finds_nothing_where_nothing_was_left(target: Target) -> None:
    """After a build that ended well there is nothing to collect."""
    target.needs_builds()
    target.step("FROM scratch\nCOPY Dockerfile /\n").run()

    removed = target.runner().gc(older_than=timedelta(0))

    assert not any(target.token in name for name in removed)
