"""The runner: what it finds in a cluster, what it shows beforehand, which rights it needs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from attrs import evolve
from pods_cluster import PlayedCluster

from buildpush.auth import Chain
from buildpush.backends.kaniko.kubernetes import (
    KubernetesRunner,
    PodSettings,
    RegistryContext,
    RemoteContext,
    StreamedContext,
)
from buildpush.backends.kaniko.kubernetes.api.client import Cluster
from buildpush.backends.kaniko.kubernetes.api.kinds import PODS, Kind
from buildpush.backends.kaniko.kubernetes.publishing import publish
from buildpush.backends.kaniko.kubernetes.rights import LEAST, role_manifest
from buildpush.backends.kaniko.runner import Command, Execution, Runner
from buildpush.dockerfile import parse
from buildpush.errors import BackendUnavailableError, SpecError, UnsupportedFeatureError
from buildpush.events import ignore
from buildpush.oci import Digest, ImageReference, Platform, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Manifest, parse_config, parse_manifest
from buildpush.plan import BuildRequest, Feature
from buildpush.registry import RegistryClient
from buildpush.registry.push import push
from buildpush.runtime import CancelToken, Run
from buildpush.testing import LocalRegistry, random_image

CANARY = b"canary-5ecret"
PINNED = f"example/kaniko@{Digest.of(b'kaniko')}"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> PlayedCluster:
    """What any runner finds when it looks for a cluster."""
    played = PlayedCluster()
    monkeypatch.setattr(Cluster, "open", lambda *_, **__: played)
    return played


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "app.txt").write_text("hello")
    (tmp_path / "context" / "n").mkdir()
    (tmp_path / "context" / "n" / ("x" * 120)).write_text("long")
    request = BuildRequest(
        context=tmp_path / "context",
        dockerfile=parse("FROM scratch\n"),
        dockerfile_path=tmp_path / "Dockerfile",
        references=(ImageReference.parse("r.example/app:1"),),
    )
    return Execution(
        image="example/kaniko:v1",
        request=request,
        command=lambda places: Command(words=(f"--context={places.context}", "--a=$(B)")),
        files={"Dockerfile": b"FROM scratch\n", "secrets/npm": CANARY},
        platform=Platform.parse("linux/amd64"),
    )


def played_version(cluster: PlayedCluster) -> None:
    """Let the Job that asks for a version be answered."""
    ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}

    def made(_: Kind, thing: Any) -> None:
        labels = thing["spec"]["template"]["metadata"]["labels"]
        cluster.show(
            PODS,
            {
                "metadata": {
                    "name": f"{thing['metadata']['name']}-x",
                    "uid": "p",
                    "labels": labels,
                },
                "status": {"containerStatuses": [{"name": "kaniko", "state": ended}]},
            },
        )

    cluster.on_create = made
    cluster.logs += [[b"Kaniko version :  v1.28.3"], [b"--materialize"]]


def test_the_runner_is_one() -> None:
    """It has what kaniko's backend asks of a runner."""
    assert isinstance(KubernetesRunner(), Runner)


def test_what_a_cluster_can_do(cluster: PlayedCluster) -> None:
    """It pushes by itself, and says why it exports nothing."""
    found = KubernetesRunner().probe("example/kaniko:v1", ask_version=False)

    assert Feature.PUSH_DIRECTLY in found.features
    assert Feature.EXPORT_LAYOUT not in found.features
    assert "no folder" in found.notes[Feature.EXPORT_LAYOUT]
    assert found.remarks == ("Kubernetes v1.36.2, namespace builds, a test",)
    assert (found.version, found.platforms) == ("", ())


def test_a_missing_right_is_named_with_the_role_that_gives_it(cluster: PlayedCluster) -> None:
    """The exec of older servers asks for get, that of newer for both."""
    cluster.allowed = lambda verb, resource: (verb, resource) != ("create", "pods/exec")

    with pytest.raises(
        BackendUnavailableError, match="does not let us create pods/exec"
    ) as caught:
        KubernetesRunner().probe("example/kaniko:v1", ask_version=False)

    assert "kind: Role" in caught.value.hint
    assert [str(right) for right in KubernetesRunner().rights()] == ["create pods/exec"]


def test_a_namespace_that_lets_one_do_nothing_may_be_the_wrong_one(
    cluster: PlayedCluster,
) -> None:
    """One that does not exist looks like that, too: a list of all rights would hide it."""
    cluster.allowed = lambda verb, resource: False

    with pytest.raises(BackendUnavailableError, match="does not let us build at all") as caught:
        KubernetesRunner(delivery=RemoteContext(url="s3://b/c.tar")).probe("x", ask_version=False)

    assert caught.value.hint.startswith("is there such a namespace")
    assert "kind: Role" in caught.value.hint


def test_a_context_that_is_not_streamed_needs_no_exec(cluster: PlayedCluster) -> None:
    """Clusters that forbid it can be used all the same."""
    cluster.allowed = lambda _, resource: resource != "pods/exec"
    delivery = RemoteContext(url="s3://b/c.tar")

    assert KubernetesRunner(delivery=delivery).rights() == ()


def test_a_version_is_asked_once_for_an_image_that_is_pinned(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A tag may come to mean another image; a digest never does."""
    monkeypatch.setenv("BUILDPUSH_CACHE", str(tmp_path / "cache"))
    for image in (PINNED, PINNED, "example/kaniko:v1", "example/kaniko:v1"):
        played_version(cluster)
        runner = KubernetesRunner(schedule_timeout=5)
        assert runner.probe(image, ask_version=True).version == "v1.28.3 --materialize"

    assert [asked[0] for asked in cluster.asked].count("create") == 3
    assert {kind for kind, _ in cluster.things} <= {"events"}


def test_a_cache_that_cannot_be_written_only_costs_time(
    cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The executor is asked again."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("BUILDPUSH_CACHE", str(tmp_path / "file"))
    for image in (PINNED, "NOT AN IMAGE"):
        played_version(cluster)
        assert KubernetesRunner(schedule_timeout=5).probe(image, ask_version=True).version


def test_a_layout_cannot_be_exported(execution: Execution, tmp_path: Path) -> None:
    """It is refused before anything is asked of a cluster."""
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=ignore)

    with pytest.raises(UnsupportedFeatureError, match="cannot export"):
        KubernetesRunner().execute(evolve(execution, layout=tmp_path), _Deaf(), run)


class _Deaf:
    def line(self, *_: object) -> tuple[()]:
        return ()

    def finish(self, _: float) -> tuple[()]:
        return ()


def test_an_execution_goes_through_the_cluster_that_is_found(
    cluster: PlayedCluster, execution: Execution, tmp_path: Path
) -> None:
    """Names do not collide, and nothing is left."""

    def made(kind: Kind, thing: Any) -> None:
        if kind.plural != "jobs":
            return
        ended = {"terminated": {"exitCode": 0, "message": "sha256:1"}}
        labels = thing["metadata"]["labels"]
        cluster.show(
            PODS,
            {
                "metadata": {
                    "name": f"{thing['metadata']['name']}-x",
                    "uid": "p",
                    "labels": labels,
                },
                "status": {"containerStatuses": [{"name": "kaniko", "state": ended}]},
            },
        )

    cluster.on_create = made
    runner = KubernetesRunner(delivery=RemoteContext(url="s3://b/c.tar"))
    names = set()
    for _ in range(3):
        cluster.logs.append([])
        run = Run(workdir=tmp_path, cancel=CancelToken(), sink=ignore)
        assert runner.execute(execution, _Deaf(), run).digest == "sha256:1"
    names = {asked[2] for asked in cluster.asked if asked[:2] == ("create", "jobs")}

    assert len(names) == 3
    assert all(name.startswith("buildpush-app-amd64-") for name in names)
    assert {kind for kind, _ in cluster.things} <= {"events"}


def test_gc_wants_an_age(cluster: PlayedCluster) -> None:
    """Nothing is younger than now."""
    with pytest.raises(SpecError, match="negative"):
        KubernetesRunner().gc(older_than=timedelta(seconds=-1))
    assert KubernetesRunner().gc(older_than=timedelta(hours=1)) == ()


# ------------------------------------------------------------------ previews


@pytest.mark.parametrize(
    ("delivery", "said"),
    [
        (StreamedContext(), "kubectl -n builds exec -i"),
        (RemoteContext(url="s3://b/c.tar"), "fetches the build context from s3://b/c.tar"),
        (RegistryContext(repository=Repository("r.example", "ctx")), "r.example/ctx:context"),
    ],
)
def test_a_preview_is_valid_complete_and_without_secrets(
    execution: Execution, delivery: Any, said: str
) -> None:
    """A Job and a Secret; the Secret has the names of its keys and none of their values."""
    runner = KubernetesRunner(namespace="builds", delivery=delivery)
    text = runner.preview(execution)

    documents = list(yaml.safe_load_all(text))
    assert [document["kind"] for document in documents] == ["Job", "Secret"]
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
        assert document["metadata"]["namespace"] == "builds"
    assert documents[1]["data"] == {"Dockerfile": "", "secrets-npm": ""}
    main = documents[0]["spec"]["template"]["spec"]["containers"][0]
    assert main["args"][1] == "--a=$$(B)"
    assert CANARY.decode() not in text
    assert said in text
    assert text == runner.preview(execution)


def test_a_preview_shows_scripts_as_lines(execution: Execution) -> None:
    """It is to be read."""
    assert "- |\n" in KubernetesRunner().preview(execution)


# ------------------------------------------------------------------ rights


def test_the_role_gives_the_least_rights_and_no_more() -> None:
    """The table that is asked about is the one that is written."""
    role = yaml.safe_load(role_manifest("builds"))

    given = {
        (verb, rule["apiGroups"][0], rule["resources"][0])
        for rule in role["rules"]
        for verb in rule["verbs"]
    }
    assert given == {(right.verb, right.kind.group, right.resource) for right in LEAST}
    assert role["metadata"] == {"name": "buildpush", "namespace": "builds"}
    kubernetes_validate.validate(role, "1.37", strict=True)


def test_no_right_reads_what_secrets_hold_by_name() -> None:
    """Builds make and remove them; only gc lists."""
    verbs = {right.verb for right in LEAST if right.resource == "secrets"}

    assert verbs == {"create", "delete", "list"}


# ------------------------------------------------------------------ the context as an image


def test_a_context_becomes_an_image_named_by_its_content(
    execution: Execution, tmp_path: Path
) -> None:
    """The base's layers and one with the context; the same again is not sent again."""
    run = Run(workdir=tmp_path / "run", cancel=CancelToken(), sink=ignore)
    run.workdir.mkdir()
    with LocalRegistry() as registry:
        keychain = Chain(())
        base = ImageReference.parse(registry.reference("busybox:1"))
        layout = Layout.create(tmp_path / "base")
        made = random_image(layout)
        with RegistryClient(keychain, run) as client:
            push(client, layout, made, (base,), origins={}, run=run)
        delivery = RegistryContext(
            repository=Repository.parse(registry.reference("contexts")),
            image=str(base),
            keychain=keychain,
        )

        names = {
            publish(execution, delivery, "push", evolve(run, workdir=_new(tmp_path, number)))
            for number in range(2)
        }

        (name,) = names
        with RegistryClient(keychain, run) as client:
            fetched = client.get_manifest(ImageReference.parse(name))
            manifest = parse_manifest(fetched.data)
            assert isinstance(manifest, Manifest)
            with client.get_blob(delivery.repository, manifest.config) as chunks:
                config = parse_config(b"".join(chunks))
            with client.get_blob(delivery.repository, manifest.layers[-1]) as chunks:
                layer = b"".join(chunks)
    assert len(manifest.layers) == len(config.diff_ids) > 1
    assert _names_in(layer) == {
        "context",
        "context/app.txt",
        "context/n",
        f"context/n/{'x' * 120}",
    }


def _new(folder: Path, number: int) -> Path:
    found = folder / f"run{number}"
    found.mkdir()
    return found


def _names_in(layer: bytes) -> set[str]:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as tar:
        return set(tar.getnames())


def test_pods_settings_are_the_runners(execution: Execution) -> None:
    """What is said of the pod is in its manifest."""
    runner = KubernetesRunner(pod=PodSettings(priority_class="low"))

    assert "priorityClassName: low" in runner.preview(execution)
