"""What a Job, its pod and their events come to: shapes as real servers have them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from buildpush.backends.kaniko.kubernetes.judging import Finished, Seen, Stage, Trouble, judge

JOB: dict[str, Any] = {"metadata": {"name": "b-1", "uid": "j"}, "status": {}}
RUNNING = {"running": {"startedAt": "2026-11-23T19:00:00Z"}}
INITIALIZING = {"waiting": {"reason": "PodInitializing"}}


def pod(
    main: Any = INITIALIZING,
    init: Any = None,
    *,
    phase: str = "Pending",
    deleted: bool = False,
    conditions: tuple[dict[str, str], ...] = (),
    **status: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": "b-1-xyz",
        "uid": "p",
        "labels": {"app.kubernetes.io/instance": "b-1"},
    }
    if deleted:
        metadata["deletionTimestamp"] = "2026-11-23T19:00:00Z"
    found: dict[str, Any] = {"phase": phase, "conditions": list(conditions), **status}
    if main:
        found["containerStatuses"] = [{"name": "kaniko", "state": main}]
    if init:
        found["initContainerStatuses"] = [{"name": "context", "state": init}]
    return {"metadata": metadata, "status": found}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def event(reason: str, message: str, uid: str = "e") -> dict[str, Any]:
    return {"metadata": {"uid": uid}, "reason": reason, "message": message}


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    found = {"type": kind, "status": status}
    return found | ({"reason": reason} if reason else {}) | ({"message": message})


def job(*conditions: dict[str, str]) -> dict[str, Any]:
    return {**JOB, "status": {"conditions": list(conditions)}}


@pytest.mark.parametrize(
    ("seen", "stage"),
    [
        (Seen(), Stage.PENDING),
        (Seen(job=JOB), Stage.PENDING),
        (Seen(job=JOB, pod=pod(main=None)), Stage.PENDING),
        (Seen(job=JOB, pod=pod(init=waiting("ContainerCreating"))), Stage.PENDING),
        (Seen(job=JOB, pod=pod(init=RUNNING)), Stage.FILLING),
        (Seen(job=JOB, pod=pod(init=ended(0, "Completed"))), Stage.PENDING),
        (Seen(job=JOB, pod=pod(RUNNING, ended(0), phase="Running")), Stage.RUNNING),
        (Seen(job=JOB, pod=pod(ended(0, "Completed"), phase="Succeeded")), Stage.OVER),
    ],
)
def test_how_far_a_build_is(seen: Seen, stage: Stage) -> None:
    """A pod that has just been made has no containers' states at all."""
    standing = judge(seen)

    assert (standing.stage, standing.trouble) == (stage, None)


@pytest.mark.parametrize(
    ("state", "finished"),
    [
        (ended(0, "Completed", "sha256:1"), Finished(exit_code=0, message="sha256:1")),
        (ended(7), Finished(exit_code=7, message="")),
        (ended(137, "OOMKilled"), Finished(exit_code=137, message="", out_of_memory=True)),
    ],
)
def test_how_kanikos_container_ended(state: Any, finished: Finished) -> None:
    """The container's own state is what counts, with its last words."""
    assert judge(Seen(job=JOB, pod=pod(state, phase="Failed"))).finished == finished


def test_a_success_stays_one_though_the_pod_is_going() -> None:
    """What it did, it did; that it is removed afterwards is nobody's trouble."""
    seen = Seen(job=JOB, pod=pod(ended(0, "Completed", "sha256:1"), deleted=True), pod_gone=True)

    assert judge(seen).finished == Finished(exit_code=0, message="sha256:1")


def test_a_failed_build_is_not_taken_for_a_lost_pod() -> None:
    """An exit code that no signal makes is the build's own, whoever deletes the pod then."""
    standing = judge(Seen(job=JOB, pod=pod(ended(7), deleted=True)))

    assert standing.finished == Finished(exit_code=7, message="")


HOPELESS = 'failed to pull: "r/x:1": not found'
PASSING = "dial tcp 10.0.0.1:443: connect: connection refused"
QUOTA = 'pods "b-1-x" is forbidden: exceeded quota: q, requested: {}, used: {}, limited: {}'


@pytest.mark.parametrize(
    ("seen", "reason", "patience"),
    [
        (Seen(pod=pod(waiting("ErrImageNeverPull"))), "ErrImageNeverPull", 0),
        (Seen(pod=pod(init=waiting("InvalidImageName"))), "InvalidImageName", 0),
        (Seen(pod=pod(waiting("ErrImagePull", HOPELESS))), "ErrImagePull", 0),
        (Seen(pod=pod(waiting("ImagePullBackOff", HOPELESS))), "ImagePullBackOff", 0),
        (Seen(pod=pod(waiting("ErrImagePull", PASSING))), "ErrImagePull", 60),
        (
            Seen(
                pod=pod(waiting("ImagePullBackOff", 'Back-off pulling image "x"')),
                events=(event("Failed", 'Failed to pull image "x": unauthorized'),),
            ),
            "ImagePullBackOff",
            0,
        ),
        (
            Seen(pod=pod(waiting("CreateContainerConfigError", 'secret "x" not found'))),
            "CreateContainerConfigError",
            10,
        ),
        (
            Seen(
                pod=pod(
                    waiting(
                        "CreateContainerConfigError",
                        "container has runAsNonRoot and image will run as root",
                    )
                )
            ),
            "CreateContainerConfigError",
            0,
        ),
        (
            Seen(
                pod=pod(
                    main=None,
                    conditions=(condition("PodScheduled", "False", "Unschedulable", "0/1"),),
                )
            ),
            "Unschedulable",
            math.inf,
        ),
        (
            Seen(pod=pod(), events=(event("FailedMount", 'configmap "nope" not found'),)),
            "FailedMount",
            10,
        ),
        (
            Seen(pod=pod(), events=(event("FailedMount", 'secret "b-1" not found'),)),
            "FailedMount",
            math.inf,
        ),
        (
            Seen(pod=pod(), events=(event("FailedCreatePodSandBox", "no network"),)),
            "FailedCreatePodSandBox",
            math.inf,
        ),
        (
            Seen(job=JOB, events=(event("FailedCreate", 'violates PodSecurity "restricted"'),)),
            "FailedCreate",
            0,
        ),
        (
            Seen(
                job=JOB,
                events=(event("FailedCreate", QUOTA.format("pods=1", "pods=0", "pods=0")),),
            ),
            "FailedCreate",
            0,
        ),
        (
            Seen(
                job=JOB,
                events=(
                    event(
                        "FailedCreate",
                        QUOTA.format(
                            "limits.memory=2Gi,pods=1",
                            "limits.memory=3Gi,pods=9",
                            "limits.memory=4Gi,pods=10",
                        ),
                    ),
                ),
            ),
            "FailedCreate",
            math.inf,
        ),
        (
            Seen(job=JOB, events=(event("FailedCreate", "must specify limits.cpu for: kaniko"),)),
            "FailedCreate",
            0,
        ),
        (
            Seen(job=JOB, events=(event("FailedCreate", 'serviceaccount "x" not found'),)),
            "FailedCreate",
            10,
        ),
        (
            Seen(job=JOB, events=(event("FailedCreate", "failed calling webhook: timeout"),)),
            "FailedCreate",
            math.inf,
        ),
    ],
)
def test_what_keeps_a_pod_from_starting(seen: Seen, reason: str, patience: float) -> None:
    """Its reason, and how long it may last before it is final."""
    trouble = judge(seen).trouble

    assert trouble is not None
    assert (trouble.kind, trouble.reason, trouble.patience) == ("not started", reason, patience)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Seen(pod=pod(None, phase="Failed", reason="Evicted", message="low on disk")), "Evicted"),
        (Seen(pod=pod(ended(137), phase="Failed", reason="Evicted")), "Evicted"),
        (Seen(pod=pod(None, phase="Failed", reason="OutOfmemory")), "OutOfmemory"),
        (Seen(pod=pod(None, phase="Failed", reason="UnexpectedAdmissionError")), None),
        (Seen(pod=pod(RUNNING, reason="NodeLost")), "NodeLost"),
        (Seen(pod=pod(ended(137), phase="Failed", reason="Terminated")), "Terminated"),
        (
            Seen(
                pod=pod(
                    RUNNING, conditions=(condition("DisruptionTarget", "True", "PreemptionBy"),)
                )
            ),
            "PreemptionBy",
        ),
        (Seen(job=JOB, pod=pod(RUNNING, deleted=True)), "Deleted"),
        (Seen(job=JOB, pod=pod(RUNNING), pod_gone=True), "Deleted"),
        (Seen(job=JOB, pod=pod(ended(137), deleted=True)), "Deleted"),
        (Seen(job=JOB, job_gone=True), "Deleted"),
        (Seen(job=JOB, job_gone=True, pod=pod(RUNNING, deleted=True)), "Deleted"),
        (Seen(job=job(condition("Failed", "True", "BackoffLimitExceeded"))), None),
        (Seen(pod=pod(RUNNING, conditions=(condition("Ready", "False"),))), "NodeLost"),
        (
            Seen(pod=pod(ended(137, "ContainerStatusUnknown"), phase="Failed")),
            "ContainerStatusUnknown",
        ),
        (Seen(pod=pod(None, phase="Failed")), "Failed"),
    ],
)
def test_a_pod_that_was_taken_away(seen: Seen, reason: str | None) -> None:
    """Whoever did it, the same build may succeed elsewhere."""
    trouble = judge(seen).trouble

    assert trouble is not None and trouble.kind == "lost"
    assert reason in (None, trouble.reason)


def test_a_pod_that_is_not_ready_since_it_has_just_started_is_not_lost() -> None:
    """The kubelet gives a reason for that; a node's controller that has lost the node does not."""
    ready = condition("Ready", "False", "ContainersNotReady")

    assert judge(Seen(pod=pod(RUNNING, conditions=(ready,)))).trouble is None


@pytest.mark.parametrize("kind", ["Failed", "FailureTarget"])
@pytest.mark.parametrize("found", [None, pod(RUNNING, deleted=True), pod(ended(137))])
def test_a_deadline_is_told_from_a_pod_that_somebody_deleted(kind: str, found: Any) -> None:
    """The Job says so, first by a condition that is not its last word."""
    trouble = judge(Seen(job=job(condition(kind, "True", "DeadlineExceeded")), pod=found)).trouble

    assert trouble is not None and trouble.kind == "deadline"


def test_a_pods_own_deadline_is_one_too() -> None:
    """A policy may put it into every pod."""
    trouble = judge(
        Seen(job=JOB, pod=pod(None, phase="Failed", reason="DeadlineExceeded"))
    ).trouble

    assert trouble is not None and trouble.kind == "deadline"


def test_an_executor_that_cannot_be_started() -> None:
    """The container ended, and nothing in it ever ran."""
    state = ended(128, "StartError", 'exec: "x": executable file not found in $PATH')
    trouble = judge(Seen(job=JOB, pod=pod(state, phase="Failed"))).trouble

    assert trouble is not None
    assert (trouble.kind, trouble.reason) == ("not started", "StartError")


def test_a_container_before_kanikos_that_failed() -> None:
    """Its exit code is kept; its log says more."""
    seen = Seen(job=JOB, pod=pod(init=ended(1), phase="Failed"))

    assert judge(seen).trouble == Trouble(kind="filling", reason="Error", message="", exit_code=1)


def test_a_pod_that_waits_says_why() -> None:
    """The note is for the message when its time is up."""
    assert judge(Seen(pod=pod(), events=(event("Strange", "thing"),))).note == "Strange: thing"
    assert judge(Seen(job=JOB, events=(event("Strange", "thing"),))).note == "Strange: thing"
    assert judge(Seen(pod=pod(waiting("ErrImagePull", "no")))).note == "ErrImagePull: no"


def test_a_quota_in_words_nobody_knows_is_waited_for() -> None:
    """Only what is certainly more than there is altogether is final."""
    message = QUOTA.format("pods=?", "pods=0", "pods=0")
    trouble = judge(Seen(job=JOB, events=(event("FailedCreate", message),))).trouble

    assert trouble is not None and trouble.patience == math.inf


def test_pulling_that_fails_and_backs_off_by_turns_is_one_trouble() -> None:
    """Else patience would begin anew every few seconds, and each turn be told."""
    failed = judge(Seen(pod=pod(waiting("ErrImagePull", PASSING)))).trouble
    backed_off = judge(Seen(pod=pod(waiting("ImagePullBackOff", PASSING)))).trouble
    invalid = judge(Seen(pod=pod(waiting("InvalidImageName")))).trouble

    assert failed is not None
    assert backed_off is not None
    assert invalid is not None
    assert failed.key == backed_off.key != invalid.key


@pytest.mark.parametrize(("secret", "expected"), [("b-1", True), ("theirs", False)])
def test_that_our_own_secret_comes_a_moment_later_is_expected(secret: str, expected: bool) -> None:
    """The Job owns it, so it is made after the Job."""
    missing = event("FailedMount", f'secret "{secret}" not found')

    trouble = judge(Seen(pod=pod(), events=(missing,))).trouble

    assert trouble is not None
    assert trouble.expected is expected
