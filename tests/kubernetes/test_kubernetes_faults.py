"""What a cluster and the way there do wrong, on the stub: no build is lost, no line twice."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from kubernetes_stub import Console, Fate, Fault, Pace, StubCluster
from kubernetes_stub.executor import play_kaniko
from kubernetes_target import Target, lines

from buildpush.errors import (
    BackendUnavailableError,
    BuildError,
    PlanError,
    PodLostError,
)
from buildpush.events import Event, TaskLog
from buildpush.testing import RecordingSink

SIMPLE = "FROM scratch\nCOPY Dockerfile /\n"
SLOW = "FROM $BASE\nRUN for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.4; done\n"
ALL = [f"line {number}" for number in range(1, 9)]


def talk(
    target: Target, act: Callable[[StubCluster], object], *, at: str = "line 2"
) -> RecordingSink:
    """Build what takes a while, and *act* on the cluster once a line has come."""
    sink = RecordingSink()

    def listen(event: Event) -> None:
        sink(event)
        if isinstance(event, TaskLog) and event.line == at:
            act(target.the_stub)

    target.step(SLOW).run(on_event=listen)
    return sink


def spoken(sink: RecordingSink) -> list[str]:
    """The build's own lines."""
    return lines(sink, r"line \d")


def test_a_log_that_breaks_goes_on_where_it_was(stub_target: Target) -> None:
    """Every line comes, and comes once."""
    faults = stub_target.the_stub.faults
    fault = faults.add(Fault(path="/log.*follow=true", drop_after=600, times=3))

    sink = talk(stub_target, lambda _: None)

    assert fault.fired == 3
    assert spoken(sink) == ALL


def test_an_api_server_that_is_away_for_a_while(stub_target: Target) -> None:
    """The pod goes on, and so does the build when the server is back."""
    sink = talk(stub_target, lambda stub: stub.outage(1.5))

    assert spoken(sink) == ALL
    assert stub_target.left() == ()


def test_a_history_that_is_gone(stub_target: Target) -> None:
    """410 Gone: what there is is listed anew."""
    sink = talk(stub_target, lambda stub: stub.forget_history())

    assert spoken(sink) == ALL
    assert stub_target.left() == ()


def test_watches_that_break(stub_target: Target) -> None:
    """A watch that ends, cleanly or not, is begun again."""
    fault = stub_target.the_stub.faults.add(Fault(path="watch=1", drop_after=700, times=5))

    sink = talk(stub_target, lambda stub: stub.inside.store.end_watches())

    assert fault.fired == 5
    assert spoken(sink) == ALL


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_asks_for_patience(stub_target: Target, status: int) -> None:
    """Reading is tried again, as soon as the server says."""
    fault = Fault(method="GET", path="/(jobs|pods)", status=status, retry_after=1, times=2)
    stub_target.the_stub.faults.add(fault)

    stub_target.step(SIMPLE).run()

    assert fault.fired == 2


def test_a_create_that_the_server_is_too_busy_for(stub_target: Target) -> None:
    """429 says that nothing was done: the Job is created when there is time, once."""
    fault = Fault(method="POST", path="/jobs", status=429, retry_after=1)
    stub_target.the_stub.faults.add(fault)

    stub_target.step(SIMPLE).run()

    assert fault.fired == 1
    made = [s for s in stub_target.the_stub.seen if s.method == "POST" and "/jobs" in s.target]
    assert [s.status for s in made] == [429, 201]


def test_a_create_whose_answer_is_lost(stub_target: Target) -> None:
    """Whether the build then goes on or ends: there is one Job at most, and none is left."""
    fault = Fault(method="POST", path="/jobs", drop_after=20)
    stub_target.the_stub.faults.add(fault)

    with contextlib.suppress(BackendUnavailableError):
        stub_target.step(SIMPLE).run()

    assert fault.fired == 1
    assert stub_target.left_after(10) == ()


def test_an_api_server_that_is_not_there(stub_target: Target) -> None:
    """Nobody answers: that is said, and not for minutes."""
    with stub_target.the_stub.down(), pytest.raises(BackendUnavailableError):
        stub_target.step(SIMPLE).run()


def test_a_cluster_that_tells_the_end_late(stub_target: Target) -> None:
    """As in a real one, status follows the log's end by a second or two."""
    stub_target.the_stub.inside.pace = Pace(start=0.3, end=0.8, phase=0.7, job=0.7)

    result = stub_target.step(SIMPLE).run()

    assert str(result.digest) == stub_target.pulled().digest


@pytest.mark.parametrize("hours", [-2, 2])
def test_clocks_that_differ(stub_target: Target, hours: int) -> None:
    """The server's clock may be wrong: a build that runs is no leftover, and no line is lost."""
    stub_target.the_stub.inside.skew = hours * 3600.0

    sink = talk(stub_target, lambda _: None)

    assert spoken(sink) == ALL
    assert stub_target.left() == ()


def test_a_node_that_is_lost(stub_target: Target) -> None:
    """The pod goes with its node: lost, and worth another try."""
    stub_target.the_stub.fates.add(Fate(no_node=True, script=_wait))

    with pytest.raises(PodLostError):
        stub_target.step(SIMPLE, retries=0).run()

    assert stub_target.left_after(10) == ()


def test_a_pod_that_is_preempted(stub_target: Target) -> None:
    """Somebody more important needed its place."""
    said = "Preempted by pod 1f1b6d6c on node node-amd64"
    stub_target.the_stub.fates.add(Fate(preempted=said, script=_wait))

    with pytest.raises(PodLostError, match="Preempt"):
        stub_target.step(SIMPLE, retries=0).run()

    assert stub_target.left_after(10) == ()


def test_a_pod_that_is_evicted_is_tried_once_more(stub_target: Target) -> None:
    """What went wrong for no fault of the build is done again, and said."""
    said = "The node was low on resource: memory. "
    stub_target.the_stub.fates.add(Fate(evicted=said, script=_wait, times=1))
    sink = RecordingSink()

    stub_target.step(SIMPLE).run(on_event=sink)

    assert any("Evicted" in warning for warning in sink.warnings)
    assert stub_target.pulled().digest
    assert stub_target.left() == ()


def test_a_pod_that_is_evicted_while_it_waits_for_its_context(stub_target: Target) -> None:
    """The same before kaniko has begun."""
    said = "The node was low on resource: ephemeral-storage. "
    stub_target.the_stub.fates.add(Fate(evicted=said, at="init", times=1))

    stub_target.step(SIMPLE).run()

    assert stub_target.left() == ()


def test_an_executor_that_dies_without_a_word(stub_target: Target) -> None:
    """An exit code alone is still a build that failed."""
    stub_target.the_stub.fates.add(Fate(script=lambda console: 7))

    with pytest.raises(BuildError) as caught:
        stub_target.step(SIMPLE).run()

    assert "exit code 7" in caught.value.report()


def test_many_lines_come_all_and_in_order(stub_target: Target) -> None:
    """Twenty thousand lines, however fast they are written."""

    def chatter(console: Console) -> int:
        for number in range(20_000):
            console.out(f"number {number}")
        return play_kaniko(console)

    stub_target.the_stub.fates.add(Fate(script=chatter))
    sink = RecordingSink()

    stub_target.step(SIMPLE).run(on_event=sink)

    found = [int(m[1]) for e in sink.of(TaskLog) if (m := re.fullmatch(r"number (\d+)", e.line))]
    assert found == list(range(20_000))


def test_a_manifest_that_the_server_refuses_is_told_in_its_words(stub_target: Target) -> None:
    """422 has the server's sentence, with the field."""
    stub_target.the_stub.api.invalid.clear()
    runner = stub_target.runner(limits={"memory": "1Gi"}, requests={"memory": "2Gi"})

    try:
        with pytest.raises(PlanError, match="must be less than or equal to memory limit"):
            stub_target.step(SIMPLE, backend=stub_target.backend(runner)).run()
    finally:
        stub_target.the_stub.api.invalid.clear()


def test_gc_by_a_clock_that_differs(stub_target: Target) -> None:
    """Younger than asked is not removed, whatever this machine's clock says of it."""
    runner = stub_target.runner(keep=True)
    with pytest.raises(BuildError):
        stub_target.step("FROM $BASE\nRUN exit 3\n", backend=stub_target.backend(runner)).run()
    before = stub_target.left()

    runner.gc(older_than=timedelta(hours=1))

    assert stub_target.left() == before


def _wait(console: Console) -> int:
    console.wait()
    return 2
