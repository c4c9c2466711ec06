"""A cluster that says what no API server says: an error of ours, and nothing is left hanging."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pods_cluster import PlayedCluster

from buildpush.backends.kaniko.kubernetes import KubernetesRunner, PodSettings
from buildpush.backends.kaniko.kubernetes.api.kinds import EVENTS, JOBS, PODS, Kind
from buildpush.backends.kaniko.kubernetes.builds import Build, Naming
from buildpush.backends.kaniko.kubernetes.executing import Executing
from buildpush.backends.kaniko.kubernetes.settings import RemoteContext
from buildpush.backends.kaniko.kubernetes.sightings import Lookout
from buildpush.backends.kaniko.runner import Command, Execution
from buildpush.dockerfile import parse
from buildpush.errors import BackendUnavailableError, SpecError
from buildpush.events import ignore
from buildpush.plan import BuildRequest
from buildpush.runtime import CancelToken, Run

LABELS = {"app.kubernetes.io/instance": "one", "buildpush.dev/client": "c1"}
ABOUT = {"name": "one", "uid": "u1", "labels": LABELS}


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        (PODS, {"metadata": ABOUT, "status": []}),
        (PODS, {"metadata": ABOUT, "status": {"containerStatuses": ["kaniko"]}}),
        (PODS, {"metadata": ABOUT, "status": {"containerStatuses": 7}}),
        (
            PODS,
            {
                "metadata": ABOUT,
                "status": {
                    "containerStatuses": [
                        {"name": "kaniko", "state": {"terminated": {"exitCode": "x"}}}
                    ]
                },
            },
        ),
        (PODS, {"metadata": ABOUT, "status": {"conditions": [None]}}),
        (PODS, {"metadata": {"name": "one", "labels": LABELS | {"x": []}}, "status": "x"}),
        (JOBS, {"metadata": ABOUT, "status": {"conditions": {"type": "Failed"}}}),
        (EVENTS, {"metadata": None, "involvedObject": {"name": "one"}}),
        (EVENTS, {"metadata": ABOUT, "involvedObject": "one"}),
    ],
)
def test_what_makes_no_sense_is_an_error(kind: Kind, thing: dict[str, Any]) -> None:
    """Not a thread that dies while its build waits for ever."""
    cluster = PlayedCluster()
    lookout = Lookout(client="c1", open_cluster=lambda _: cluster)  # type: ignore[arg-type, return-value]
    cluster.things[kind.plural, "one"] = thing
    sight = lookout.begin("one")
    until = time.monotonic() + 10
    while sight.error is None and time.monotonic() < until:
        sight.wait(sight.version, 0.1)
    lookout.end(sight)

    assert isinstance(sight.error, BackendUnavailableError)
    assert f"says of {kind.plural} is malformed" in sight.error.message


@pytest.mark.parametrize("metadata", [None, [], {}, {"uid": ""}, {"uid": 7}])
def test_no_secret_is_made_that_nobody_would_own(
    metadata: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stay for ever where this process is killed."""
    cluster = PlayedCluster()
    made: list[str] = []

    def create(_: object, kind: Kind, body: object) -> dict[str, object]:
        made.append(kind.plural)
        return {"metadata": metadata}

    monkeypatch.setattr(PlayedCluster, "create", create)
    request = BuildRequest(
        context=tmp_path, dockerfile=parse("FROM scratch\n"), dockerfile_path=tmp_path / "D"
    )
    execution = Execution(
        image="kaniko", request=request, command=lambda _: Command(words=()), files={}
    )
    executing = Executing(
        build=Build(
            execution=execution,
            naming=Naming(name="buildpush-one", run="r", client="c1"),
            delivery=RemoteContext(url="s3://b/c.tar"),
        ),
        run=Run(workdir=tmp_path, cancel=CancelToken(), sink=ignore),
        open_cluster=lambda _: cluster,  # type: ignore[arg-type, return-value]
        lookout=Lookout(client="c1", open_cluster=lambda _: cluster),  # type: ignore[arg-type, return-value]
        schedule_timeout=5,
    )

    with pytest.raises(BackendUnavailableError, match="does not say which Job"):
        executing.work(_Nobody())

    assert made == ["jobs"]


class _Nobody:
    def line(self, *_: object) -> tuple[()]:
        return ()

    def finish(self, _: float) -> tuple[()]:
        return ()


@pytest.mark.parametrize("namespace", ["x\n---\nkind: Pod", "$(id)", "-n", "a;b", "A", "a" * 64])
def test_no_namespace_breaks_out_of_a_preview(namespace: str) -> None:
    """Of its YAML, or of the commands in its comments."""
    with pytest.raises(SpecError, match="is no name of a namespace"):
        KubernetesRunner(namespace=namespace)


def test_variables_are_not_shown_with_their_values() -> None:
    """They are no place for secrets, and all the same many hold one."""
    assert "canary" not in repr(KubernetesRunner(pod=PodSettings(env={"A": "canary"})))
