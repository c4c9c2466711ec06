"""Contract: what a plan shows is what is made, and applied by hand it does the same."""

from __future__ import annotations

import base64
import io
import tarfile
from typing import Any

import pytest
import yaml
from kubernetes_target import Target

from buildpush.backends.kaniko.kubernetes.api.client import Cluster
from buildpush.backends.kaniko.kubernetes.api.failures import NotStarted
from buildpush.backends.kaniko.kubernetes.api.kinds import JOBS, PODS, SECRETS
from buildpush.events import Event, TaskLog

DOCKERFILE = "FROM $BASE\nRUN echo MARK; sleep 2\nCOPY a.txt /a.txt\nENV A=b\n"


@pytest.fixture
def building(target: Target) -> Target:
    """A target that can build, with an account to push."""
    target.needs_local_registry()
    return target


def _plain(job: dict[str, Any], name: str) -> Any:
    """A Job without what differs from one to the next."""
    spec = job["spec"]
    spec.pop("selector", None)
    labels = spec["template"]["metadata"]["labels"]
    ours = {k: v for k, v in labels.items() if not k.startswith(("batch.", "controller", "job-"))}
    for label in ("buildpush.dev/run", "buildpush.dev/client"):
        ours.pop(label, None)
    spec["template"]["metadata"]["labels"] = ours
    text = yaml.safe_dump(spec, sort_keys=True)
    return yaml.safe_load(text.replace(name, "NAME"))


def test_the_job_of_a_preview_is_the_one_that_is_made(building: Target) -> None:
    """Object for object, once the server has filled in both."""
    made: list[dict[str, Any]] = []

    def listen(event: Event) -> None:
        if isinstance(event, TaskLog) and event.line == "MARK":
            made.extend(building.objects(JOBS))

    step = building.step(DOCKERFILE, {"a.txt": "A"})
    shown = next(yaml.safe_load_all(step.plan().preview))
    asked: Any = building.observer.create(JOBS, shown, dry_run=True)

    step.run(on_event=listen)

    assert len(made) == 1
    name, other = made[0]["metadata"]["name"], shown["metadata"]["name"]
    assert _plain(made[0], name) == _plain(asked, other)


def test_a_preview_applied_by_hand_builds_the_same_image(building: Target) -> None:
    """The Job, the Secret with its values, the context sent as it says: the same image."""
    step = building.step(DOCKERFILE, {"a.txt": "A"})
    documents = list(yaml.safe_load_all(step.plan().preview))
    step.run()
    ours = building.pulled()
    job, secret = documents
    name = job["metadata"]["name"]

    secret["data"] = {
        key: base64.b64encode(_private(building, key)).decode() for key in secret["data"]
    }
    try:
        building.observer.create(JOBS, job)
        building.observer.create(SECRETS, secret)
        _send(building, name)
        conditions = building.until(lambda: _ended(building.observer, name), seconds=120)
    finally:
        building.observer.delete(JOBS, name)
        building.observer.delete(SECRETS, name)

    assert "Complete" in conditions
    theirs = building.pulled()
    assert theirs.run_config == ours.run_config
    assert theirs.files()["a.txt"].content == ours.files()["a.txt"].content
    assert set(theirs.files()) == set(ours.files())
    assert building.left_after(30) == ()


def test_a_preview_holds_no_secret_and_starts_nothing(building: Target) -> None:
    """It can be shown to anybody."""
    text = building.step(DOCKERFILE, {"a.txt": "A"}).plan().preview

    assert "canary" not in text
    assert "MARK" not in text
    assert building.left() == ()


def _private(target: Target, key: str) -> bytes:
    """What belongs into the Secret under *key*."""
    match key:
        case "Dockerfile":
            return (target.folder / "context" / "Dockerfile").read_bytes()
        case "config.json":
            return (target.folder / "docker" / "config.json").read_bytes()
        case _:
            return b""


def _send(target: Target, name: str) -> None:
    """Send the context as the comments of the preview say."""
    pod = target.until(lambda: _waiting(target.observer, name), seconds=60)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(target.folder / "context", ".")
    size = len(stream.getvalue())
    script = (
        f"cd /buildpush && mkdir -p context && head -c {size} | tar -x -C context && : > arrived"
    )
    code = target.observer.execute(
        pod, "context", ["sh", "-c", script], stdin=lambda _: [stream.getvalue()]
    )
    assert code == 0


def _waiting(cluster: Cluster, name: str) -> str:
    """The pod whose first container runs."""
    pods: Any = cluster.list(PODS, labels=f"job-name={name}").items
    for pod in pods:
        for status in pod["status"].get("initContainerStatuses", ()):
            if "running" in status["state"]:
                try:
                    cluster.execute(pod["metadata"]["name"], "context", ["true"])
                except NotStarted:
                    return ""
                return str(pod["metadata"]["name"])
    return ""


def _ended(cluster: Cluster, name: str) -> set[str]:
    job: Any = cluster.get(JOBS, name)
    found = {c["type"] for c in job["status"].get("conditions") or ()}
    return found if found & {"Complete", "Failed"} else set()
