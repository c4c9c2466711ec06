"""Contract: a build in a cluster ends in an image, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from kubernetes_stub import Console, Fate
from kubernetes_target import Target, lines

from buildpush.backends.kaniko.kubernetes.api.kinds import NODES, PODS
from buildpush.errors import BuildError, OutOfMemoryError, PermissionDeniedError, PodLostError
from buildpush.events import Event, TaskLog
from buildpush.testing import Fault, RecordingSink, Status, pull_image

SIMPLE = 'FROM $BASE\nCOPY a.txt /a.txt\nENV GREETING=hello\nLABEL who=me\nCMD ["cat", "/a.txt"]\n'


@pytest.fixture
def building(target: Target) -> Target:
    """A target that can build."""
    target.needs_builds()
    return target


def test_a_build_is_pushed_and_its_digest_proven(building: Target) -> None:
    """The digest that comes from the pod is the one under the tag in the registry."""
    result = building.step(SIMPLE, {"a.txt": "AAA"}).run()

    image = building.pulled()
    assert str(result.digest) == image.digest
    assert image.text("a.txt") == "AAA"
    assert "GREETING=hello" in image.run_config["Env"]
    assert image.run_config["Labels"]["who"] == "me"
    assert building.left() == ()


def test_every_tag_gets_the_image(building: Target) -> None:
    """Several tags are pushed in one run, all the same."""
    building.step(SIMPLE, {"a.txt": "AAA"}, tags=["1", "latest", "1.2.3"]).run()

    assert len({building.pulled(tag).digest for tag in ("1", "latest", "1.2.3")}) == 1


def test_lines_of_the_log_come_while_it_is_written(building: Target) -> None:
    """The first line of a RUN is here before its container could have ended."""
    sink = RecordingSink()
    states: list[str] = []

    def listen(event: Event) -> None:
        sink(event)
        if isinstance(event, TaskLog) and event.line == "FIRST":
            pods = building.observer.list(PODS).items
            states.extend(_states(pods, building.prefix))

    step = building.step("FROM $BASE\nRUN echo FIRST; sleep 5; echo SECOND\n")
    step.run(on_event=listen)

    assert states == ["running"]
    assert lines(sink, "FIRST|SECOND") == ["FIRST", "SECOND"]


def _states(pods: object, prefix: str) -> list[str]:
    return [
        next(iter(status["state"]))
        for pod in pods  # type: ignore[attr-defined]
        if pod["metadata"]["name"].startswith(prefix)
        for status in pod["status"]["containerStatuses"]
    ]


def test_a_run_that_fails_is_told_with_its_line_and_output(building: Target) -> None:
    """The error names the Dockerfile's line, the exit code, and what the command said."""
    step = building.step("FROM $BASE\n\nRUN sh -c 'echo MARK >&2; exit 7'\n")

    with pytest.raises(BuildError) as caught:
        step.run()

    report = caught.value.report()
    assert "MARK" in report
    assert "exit code 7" in report
    assert ">    3 |" in report
    assert building.left() == ()


def test_a_registry_that_refuses_is_told_with_its_words(building: Target) -> None:
    """A push that is not allowed ends with what the registry said."""
    registry = building.needs_local_registry()
    registry.inject(Fault(method="POST", path="/uploads/", action=Status(403), times=99))

    with pytest.raises(PermissionDeniedError, match="push"):
        building.step(SIMPLE, {"a.txt": "AAA"}).run()

    assert building.left() == ()


def test_two_platforms_end_in_one_index(building: Target) -> None:
    """Each platform is a Job on a node of its own kind; one tag names both images."""
    if building.is_real:
        _needs_nodes(building, "amd64", "arm64")
    dockerfile = "FROM scratch\nCOPY a.txt /a.txt\n"

    result = building.step(
        dockerfile, {"a.txt": "AAA"}, platforms=["linux/amd64", "linux/arm64"]
    ).run()

    index = building.pulled().index
    assert sorted(e["platform"]["architecture"] for e in index["manifests"]) == ["amd64", "arm64"]
    assert {str(platform) for platform in result.images} == {"linux/amd64", "linux/arm64"}
    for name in ("amd64", "arm64"):
        image = pull_image(building.reference(), platform=f"linux/{name}")
        assert image.config["architecture"] == name
    assert building.left() == ()


def _needs_nodes(target: Target, *architectures: str) -> None:
    found: Any = target.observer.list(NODES).items
    there = {node["status"]["nodeInfo"]["architecture"] for node in found}
    if not there.issuperset(architectures):
        pytest.skip(f"needs nodes of {' and '.join(architectures)}; this cluster has {there}")


def test_too_little_memory_is_named(building: Target) -> None:
    """A container that was killed for want of memory is no mere failure: its limit is told."""
    if building.stub is not None:
        building.stub.fates.add(Fate(script=lambda console: console.out_of_memory()))
    limits = {"memory": "256Mi"}
    hungry = "RUN x=$(head -c 600000000 /dev/zero | tr '\\0' x); echo ${#x}"
    backend = building.backend(building.runner(limits=limits))

    with pytest.raises(OutOfMemoryError) as caught:
        building.step(f"FROM $BASE\n{hungry}\n", backend=backend).run()

    assert caught.value.limit == 256 << 20
    assert building.left() == ()


def test_an_evicted_pod_is_lost_and_may_be_tried_again(building: Target) -> None:
    """What the node takes away for want of disk is told so, and as retryable."""
    if building.stub is not None:
        said = "Pod ephemeral local storage usage exceeds the total limit of containers 40Mi. "
        building.stub.fates.add(Fate(evicted=said, script=_until_told))
    backend = building.backend(building.runner(ephemeral_storage="40Mi"))
    fill = "RUN dd if=/dev/zero of=/big bs=1M count=200; echo filled; sleep 120"

    with pytest.raises(PodLostError) as caught:
        building.step(f"FROM $BASE\n{fill}\n", backend=backend, retries=0).run()

    assert caught.value.reason == "Evicted"
    assert "ephemeral" in str(caught.value)
    assert building.left_after(30) == ()


def _until_told(console: Console) -> int:
    console.wait()
    return 2


def test_what_failed_is_kept_where_asked_and_gc_removes_it(building: Target) -> None:
    """keep_on_failure leaves the Job and its pod, never the Secret; gc finds them."""
    runner = building.runner(keep=True)
    step = building.step("FROM $BASE\nRUN exit 3\n", backend=building.backend(runner))

    with pytest.raises(BuildError):
        step.run()

    assert {name.split("/")[0] for name in building.left()} == {"jobs", "pods"}
    assert runner.gc(older_than=timedelta(0)) != ()
    assert building.left_after(30) == ()


def test_gc_leaves_what_is_young(building: Target) -> None:
    """Only what is older than was said is taken for abandoned."""
    runner = building.runner(keep=True)
    with pytest.raises(BuildError):
        building.step("FROM $BASE\nRUN exit 3\n", backend=building.backend(runner)).run()
    before = building.left()

    removed = runner.gc(older_than=timedelta(hours=1))

    assert not any(building.token in name for name in removed)
    assert building.left() == before
