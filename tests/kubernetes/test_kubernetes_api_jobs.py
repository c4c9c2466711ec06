"""The stub is true of Jobs: they live, end and go as in a real cluster, and so do their logs."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes_raw import RawApi, pod_of, shell_job
from kubernetes_target import IMPOSSIBLE, Target

from buildpush.backends.kaniko.kubernetes.api.kinds import PODS

pytestmark = [pytest.mark.invalid_objects, pytest.mark.usefixtures("shells")]


@pytest.fixture
def api(target: Target) -> Iterator[RawApi]:
    """Requests as they are, by the administrator."""
    with target.raw() as found:
        yield found


def the_job(target: Target, api: RawApi) -> Any:
    """The Job, as it is."""
    return api.get(f"jobs/{target.prefix}-job").json()


# --- the life of a Job ---


def test_success_criteria_come_before_complete(target: Target, api: RawApi) -> None:
    """In this order, both with their reason."""
    api.post("jobs", shell_job(target, "printf digest > /dev/termination-log"))

    conditions = target.until(lambda: _over(the_job(target, api)))

    assert [(c["type"], c["reason"]) for c in conditions] == [
        ("SuccessCriteriaMet", "CompletionsReached"),
        ("Complete", "CompletionsReached"),
    ]
    pod = api.get(f"pods/{pod_of(target, api, 'terminated')}").json()
    end = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (end["exitCode"], end["reason"], end["message"]) == (0, "Completed", "digest")
    assert pod["status"]["phase"] == "Succeeded"


def test_failure_target_comes_before_failed(target: Target, api: RawApi) -> None:
    """In this order; the pod stays."""
    api.post("jobs", shell_job(target, "exit 7"))

    conditions = target.until(lambda: _over(the_job(target, api)))

    assert [c["type"] for c in conditions] == ["FailureTarget", "Failed"]
    assert {c["reason"] for c in conditions} == {"BackoffLimitExceeded"}
    pod = api.get(f"pods/{pod_of(target, api, 'terminated')}").json()
    end = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (7, "Error")
    assert the_job(target, api)["status"]["failed"] == 1


def _over(found: Any) -> Any:
    conditions = found["status"].get("conditions") or []
    return conditions if {c["type"] for c in conditions} & {"Complete", "Failed"} else None


def test_a_deadline_ends_a_job(target: Target, api: RawApi) -> None:
    """Its pod is deleted, and then it has failed."""
    api.post("jobs", shell_job(target, "sleep 100", activeDeadlineSeconds=4))

    conditions = target.until(lambda: _over(the_job(target, api)))

    assert [(c["type"], c["reason"]) for c in conditions] == [
        ("FailureTarget", "DeadlineExceeded"),
        ("Failed", "DeadlineExceeded"),
    ]
    assert target.until(lambda: not target.objects(PODS))


def test_a_finished_job_goes_when_its_time_is_over(target: Target, api: RawApi) -> None:
    """And with it what it owns."""
    made = api.post("jobs", shell_job(target, "true", ttlSecondsAfterFinished=1)).json()
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": made["metadata"]["name"],
             "uid": made["metadata"]["uid"]}  # fmt: skip
    labels = {"app.kubernetes.io/managed-by": "buildpush"}
    meta = {"name": f"{target.prefix}-s", "labels": labels, "ownerReferences": [owner]}
    api.post("secrets", {"metadata": meta})

    assert target.left_after(60) == ()


def test_what_belongs_to_nobody_is_collected(target: Target, api: RawApi) -> None:
    """An owner that does not exist is as good as one that has gone."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "gone",
             "uid": "00000000-0000-0000-0000-000000000001"}  # fmt: skip
    name = f"{target.prefix}-s"

    api.post("secrets", {"metadata": {"name": name, "ownerReferences": [owner]}})

    assert target.until(lambda: api.get(f"secrets/{name}").status_code == 404)


def test_deleting_a_job_leaves_its_pod_unless_told_otherwise(target: Target, api: RawApi) -> None:
    """The server warns of it."""
    api.post("jobs", shell_job(target, "sleep 100"))
    pod = pod_of(target, api, "running")

    answer = api.delete(f"jobs/{target.prefix}-job")

    assert answer.headers["warning"].startswith(
        '299 - "child pods are preserved by default when jobs are deleted; set'
        " propagationPolicy=Background to remove them"
    )
    assert target.until(lambda: api.get(f"jobs/{target.prefix}-job").status_code == 404)
    found = api.get(f"pods/{pod}").json()
    assert "ownerReferences" not in found["metadata"]
    assert "running" in found["status"]["containerStatuses"][0]["state"]
    api.delete(f"pods/{pod}", gracePeriodSeconds="0")


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_deleting_a_job_with_its_pod(target: Target, api: RawApi, policy: str) -> None:
    """In the background the Job goes first, in the foreground its pods do."""
    api.post("jobs", shell_job(target, "trap 'exit 3' TERM; while :; do sleep 0.1; done"))
    pod_of(target, api, "running")

    answer = api.delete(f"jobs/{target.prefix}-job", propagationPolicy=policy).json()

    if policy == "Background":
        assert (answer["kind"], answer["status"]) == ("Status", "Success")
        assert api.get(f"jobs/{target.prefix}-job").status_code == 404
    else:
        assert answer["kind"] == "Job"
        assert answer["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert target.left_after(60) == ()


def test_a_pod_that_cannot_be_scheduled_has_no_log(target: Target, api: RawApi) -> None:
    """Nothing at all, and no error."""
    made = shell_job(target, "true")
    made["spec"]["template"]["spec"]["nodeSelector"] = IMPOSSIBLE
    api.post("jobs", made)
    [pod] = target.until(lambda: target.objects(PODS))

    answer = api.get(f"pods/{pod['metadata']['name']}/log")

    assert (answer.status_code, answer.content) == (204, b"")


# --- logs ---


def test_a_container_that_has_not_begun_has_no_log(target: Target, api: RawApi) -> None:
    """400, with what it waits for; another container's name is wrong altogether."""
    api.post("jobs", shell_job(target, "true", init="sleep 100"))
    pod = pod_of(target, api, "running", container="first")

    answer = api.get(f"pods/{pod}/log", container="main")
    wrong = api.get(f"pods/{pod}/log", container="other")

    assert (answer.status_code, answer.json()["message"]) == (
        400,
        f'container "main" in pod "{pod}" is waiting to start: PodInitializing',
    )
    assert (wrong.status_code, wrong.json()["message"]) == (
        400,
        f"container other is not valid for pod {pod}",
    )


def test_a_log_that_is_followed_ends_cleanly_when_the_job_is_deleted(
    target: Target, api: RawApi
) -> None:
    """With what the container said last, and no error: its end proves nothing."""
    told = "trap 'echo last; exit 3' TERM; echo up; while :; do sleep 0.1; done"
    api.post("jobs", shell_job(target, told))
    pod = pod_of(target, api, "running")
    lines: list[str] = []

    def follow() -> None:
        with api.stream(f"pods/{pod}/log", follow="true") as answer:
            lines.extend(answer.iter_lines())
        lines.append("(clean)")

    thread = threading.Thread(target=follow)
    thread.start()
    target.until(lambda: lines[:1] == ["up"] or thread.is_alive())
    time.sleep(0.5)  # until it is followed: nothing tells when
    api.delete(f"jobs/{target.prefix}-job", propagationPolicy="Background")
    thread.join(60)

    assert lines == ["up", "last", "(clean)"]


def test_a_log_has_stamps_where_asked(target: Target, api: RawApi) -> None:
    """RFC 3339 with nanoseconds, and a blank; the streams are one."""
    api.post("jobs", shell_job(target, "echo out; echo err >&2"))
    pod = pod_of(target, api, "terminated")

    lines = api.get(f"pods/{pod}/log", timestamps="true").text.splitlines()

    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z "
    assert sorted(re.sub(f"^{stamp}", "", line) for line in lines) == ["err", "out"]
    assert all(re.match(stamp, line) for line in lines)
