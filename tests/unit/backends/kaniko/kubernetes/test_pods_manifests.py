"""The objects of a build, as an API server takes them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from attrs import evolve

from buildpush.backends.kaniko.kubernetes.builds import (
    Build,
    Naming,
    name_of,
    places,
    secret_keys,
)
from buildpush.backends.kaniko.kubernetes.manifests import job, preview_token, secret, version_job
from buildpush.backends.kaniko.kubernetes.pods import CONTEXT_IMAGE, memory_limit
from buildpush.backends.kaniko.kubernetes.settings import (
    Owner,
    PodSettings,
    RegistryContext,
    RemoteContext,
    SecretKey,
    StreamedContext,
)
from buildpush.backends.kaniko.runner import Command, Execution
from buildpush.dockerfile import parse
from buildpush.errors import SpecError, UnsupportedFeatureError
from buildpush.oci import ImageReference, Platform, Repository
from buildpush.plan import BuildRequest, Resources

CANARY = "canary-5ecret"
VERSIONS = ("1.25", "1.29", "1.33", "1.37")


def request(**changes: Any) -> BuildRequest:
    found = BuildRequest(
        context=Path("/src"),
        dockerfile=parse("FROM scratch\n"),
        dockerfile_path=Path("/src/Dockerfile"),
        references=(ImageReference.parse("registry.example/team/my_app:1"),),
    )
    return evolve(found, **changes)


def build(
    *,
    variables: Mapping[str, str] | None = None,
    words: tuple[str, ...] = (),
    files: Mapping[str, bytes] | None = None,
    image: str = "example/kaniko:v1",
    platform: Platform | None = None,
    **changes: Any,
) -> Build:
    settings = {
        name: changes.pop(name)
        for name in ("pod", "delivery", "keep", "context_image")
        if name in changes
    }
    execution = Execution(
        image=image,
        request=request(**changes),
        command=lambda p: Command(
            words=(f"--context={p.context}", *words), variables=variables or {}
        ),
        files=files or {"Dockerfile": b"FROM scratch\n", "config.json": CANARY.encode()},
        platform=platform,
    )
    naming = Naming(name="buildpush-app-1", run="r1", client="c1")
    return Build(execution=execution, naming=naming, **settings)


def pod_of(made: Build) -> dict[str, Any]:
    spec: dict[str, Any] = job(made)["spec"]["template"]["spec"]
    return spec


EVERYTHING = PodSettings(
    service_account="builder",
    mount_token=True,
    node_selector={"pool": "builds"},
    tolerations=({"key": "builds", "operator": "Exists", "effect": "NoSchedule"},),
    affinity={
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
                ]
            }
        }
    },
    limits={"memory": "4Gi", "cpu": "2"},
    requests={"memory": "1Gi"},
    ephemeral_storage="20Gi",
    run_as_user=1000,
    run_as_group=1001,
    security_context={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    pod_security_context={"seccompProfile": {"type": "RuntimeDefault"}},
    labels={"team": "a"},
    annotations={"example.com/why": "because"},
    image_pull_secrets=("pull",),
    image_pull_policy="IfNotPresent",
    volumes=({"name": "ca", "configMap": {"name": "ca"}},),
    volume_mounts=({"name": "ca", "mountPath": "/ca"},),
    env={"HTTPS_PROXY": "http://proxy:3128"},
    env_from_secrets={"AWS_SECRET_ACCESS_KEY": SecretKey(name="aws", key="secret")},
    host_aliases={"registry.local": "10.0.0.1"},
    host_network=True,
    dns_policy="ClusterFirstWithHostNet",
    dns_config={"nameservers": ["10.0.0.2"]},
    priority_class="low",
    runtime_class="gvisor",
    scheduler="other",
    shm_size="64Mi",
    owner=Owner(api_version="v1", kind="Pod", name="ci", uid="u-1"),
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "made",
    [
        build(),
        build(pod=EVERYTHING, platform=Platform.parse("linux/arm64"), shm_size=1 << 20),
        build(delivery=RemoteContext(url="s3://bucket/context.tar.gz", sub_path="app")),
        build(
            delivery=RegistryContext(repository=Repository("r.example", "c")), context_image="x"
        ),
        build(run_as_user=1000, delivery=RemoteContext(url="git://example.com/a.git")),
    ],
    ids=["plain", "everything", "remote", "registry", "remote as user"],
)
def test_what_is_made_is_valid_in_every_kubernetes(made: Build, version: str) -> None:
    """No field is misspelt or of a wrong type, from 1.25 to the newest."""
    for document in (job(made), secret(made, "uid-1"), version_job("x", made.naming, made.pod)):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_job_ends_and_goes_by_itself() -> None:
    """A killed client leaves nothing for long: it is tried once, ended in time, and removed."""
    spec = job(build())["spec"]

    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert spec["activeDeadlineSeconds"] == 14400
    assert spec["ttlSecondsAfterFinished"] == 300
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_job_that_is_kept_when_it_fails_stays_for_a_day() -> None:
    """The cluster's own clearing up would else be faster than whoever looks."""
    assert job(build(keep=True))["spec"]["ttlSecondsAfterFinished"] == 24 * 3600


def test_no_token_of_the_cluster_is_in_the_pod_unless_asked_for() -> None:
    """What a Dockerfile runs has no business with the cluster."""
    assert pod_of(build())["automountServiceAccountToken"] is False
    assert pod_of(build(pod=EVERYTHING))["automountServiceAccountToken"] is True


def test_the_digest_comes_by_termination_message() -> None:
    """The executor writes it where the kubelet reads a container's last words."""
    main = pod_of(build())["containers"][0]

    assert main["terminationMessagePath"] == str(places(StreamedContext()).digest)
    assert main["terminationMessagePolicy"] == "File"


def test_the_kubelet_expands_nothing_in_what_is_told() -> None:
    """It would put ``$(NAME)`` in place and halve ``$$``, in arguments and in values."""
    made = pod_of(build(words=("--build-arg=A=$(HOME)$$",), variables={"B": "$(A) costs 5$"}))
    main = made["containers"][0]

    assert main["args"][1] == "--build-arg=A=$$(HOME)$$$$"
    assert main["env"] == [{"name": "B", "value": "$$(A) costs 5$$"}]


def test_secrets_are_in_the_secret_and_nowhere_else() -> None:
    """The pod names keys of a Secret; their values are no part of any other object."""
    made = build(files={"config.json": CANARY.encode(), "secrets/npm": CANARY.encode()})

    assert CANARY not in str(job(made))
    held = secret(made, "uid-1")
    assert {base64.b64decode(value).decode() for value in held["data"].values()} == {CANARY}
    assert held["immutable"] is True
    assert held["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


def test_private_files_lie_where_the_executor_looks_and_only_root_reads_them() -> None:
    """Names with slashes are keys without, put back in place by the volume."""
    made = pod_of(build(files={"secrets/npm": b"x", "Dockerfile": b""}))

    volume = made["volumes"][0]["secret"]
    assert volume["defaultMode"] == 0o400
    assert volume["items"] == [
        {"key": "Dockerfile", "path": "Dockerfile"},
        {"key": "secrets-npm", "path": "secrets/npm"},
    ]
    mount = made["containers"][0]["volumeMounts"][0]
    assert mount == {"name": "private", "mountPath": "/kaniko/buildpush/private", "readOnly": True}


def test_keys_of_a_secret_never_collide() -> None:
    """Two names that become the same key get two keys."""
    keys = secret_keys(["a/b", "a-b", "..", "a b"])

    assert len(set(keys.values())) == 4
    assert keys[".."] == "file"


def test_more_than_a_secret_holds_is_refused_with_the_largest_file() -> None:
    """The server's own words would not say which."""
    made = build(files={"Dockerfile": b"", "secrets/model": bytes(1 << 20), "x": b"1"})

    with pytest.raises(SpecError, match="secrets/model with 1048576") as caught:
        secret(made, "")
    assert "PodSettings.volumes" in caught.value.hint


def test_the_step_wins_over_the_pods_settings() -> None:
    """Limits, requests, the user, host names and shared memory."""
    made = pod_of(
        build(
            pod=evolve(EVERYTHING, security_context={"runAsUser": 5}),
            limits=Resources(memory=1 << 29),
            run_as_user=7,
            add_hosts={"b.example": "[::1]", "registry.local": "10.0.0.9"},
            shm_size=4096,
        )
    )
    main = made["containers"][0]

    assert main["resources"]["limits"] == {
        "cpu": "2",
        "ephemeral-storage": "20Gi",
        "memory": "536870912",
    }
    assert main["resources"]["requests"]["memory"] == "536870912"  # never above its limit
    assert made["securityContext"]["runAsUser"] == main["securityContext"]["runAsUser"] == 7
    assert made["hostAliases"] == [
        {"ip": "10.0.0.9", "hostnames": ["registry.local"]},
        {"ip": "::1", "hostnames": ["b.example"]},
    ]
    shm = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "4096"}}
    assert shm in made["volumes"]


def test_a_request_of_the_step_raises_a_limit_of_the_settings() -> None:
    """The step wins, and no server takes a request above its limit."""
    made = pod_of(build(pod=PodSettings(limits={"cpu": "500m"}), requests=Resources(cpus=1.5)))

    assert made["containers"][0]["resources"] == {
        "limits": {"cpu": "1500m"},
        "requests": {"cpu": "1500m"},
    }


def test_the_filling_container_asks_for_the_same_resources() -> None:
    """A pod needs the larger of both, so it costs nothing; a quota may want both to say."""
    made = pod_of(build(limits=Resources(memory=1 << 30, cpus=2)))

    assert made["initContainers"][0]["resources"] == made["containers"][0]["resources"]


def test_host_gateway_is_refused() -> None:
    """Only an engine knows what address that is."""
    with pytest.raises(UnsupportedFeatureError, match="host-gateway"):
        job(build(add_hosts={"me": "host-gateway"}))


@pytest.mark.parametrize(
    ("delivery", "image", "expected"),
    [
        (StreamedContext(), "example/kaniko:v1", CONTEXT_IMAGE),
        (StreamedContext(), "example/kaniko:v1.28.3-debug", "example/kaniko:v1.28.3-debug"),
        (StreamedContext(), "r:5000/kaniko:debug@sha256:" + "0" * 64, "r:5000/kaniko:debug"),
        (StreamedContext(), "my-debug/kaniko:v1", CONTEXT_IMAGE),
        (StreamedContext(image="bb"), "example/kaniko:v1.28.3-debug", "bb"),
    ],
)
def test_which_image_receives_the_context(
    delivery: StreamedContext, image: str, expected: str
) -> None:
    """What is said, else kaniko's own where it has a shell, else a pinned busybox."""
    made = pod_of(build(delivery=delivery, image=image))

    assert made["initContainers"][0]["image"].startswith(expected)


def test_a_remote_context_needs_no_container_before_kanikos() -> None:
    """Kaniko fetches it; a folder in it is told to kaniko."""
    made = pod_of(build(delivery=RemoteContext(url="gs://b/c.tar.gz", sub_path="x")))

    assert "initContainers" not in made
    assert made["containers"][0]["args"] == ["--context=gs://b/c.tar.gz", "--context-sub-path=x"]


def test_another_user_than_root_gets_private_files_of_its_own() -> None:
    """Files of a Secret are root's, and kaniko opens files as only their owner may."""
    made = pod_of(build(run_as_user=1000))

    assert made["securityContext"] == {"runAsUser": 1000, "fsGroup": 1000}
    assert {"name": "own", "emptyDir": {"medium": "Memory"}} in made["volumes"]
    assert made["containers"][0]["volumeMounts"][0]["name"] == "own"


def test_a_platform_selects_its_nodes_unless_the_settings_do() -> None:
    """The labels are those that every kubelet puts on its node."""
    arm = Platform.parse("linux/arm64")

    assert pod_of(build(platform=arm))["nodeSelector"] == {
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "arm64",
    }
    pod = PodSettings(node_selector={"kubernetes.io/arch": "amd64"})
    assert pod_of(build(platform=arm, pod=pod))["nodeSelector"]["kubernetes.io/arch"] == "amd64"


def test_names_say_what_is_built_and_fit() -> None:
    """A Job's name is a label's value too: at most 63 characters."""
    execution = evolve(
        build(platform=Platform.parse("linux/arm/v7")).execution,
        request=request(references=(ImageReference.parse(f"r.example/{'x' * 100}"),)),
    )

    assert len(name_of(execution, "0123456789")) <= 63
    assert name_of(build().execution, "0a1b") == "buildpush-my-app-0a1b"


def test_everything_is_labelled() -> None:
    """By the labels it is watched, found and removed; a user's labels do not get in the way."""
    made = job(build(pod=EVERYTHING))

    for labels in (made["metadata"]["labels"], made["spec"]["template"]["metadata"]["labels"]):
        assert labels == {
            "team": "a",
            "app.kubernetes.io/managed-by": "buildpush",
            "app.kubernetes.io/instance": "buildpush-app-1",
            "buildpush.dev/run": "r1",
            "buildpush.dev/client": "c1",
        }


def test_the_memory_limit_is_known_in_bytes() -> None:
    """It is what a build that ran out of memory is told."""
    assert memory_limit(build(pod=PodSettings(limits={"memory": "2Gi"}))) == 2 << 30
    assert memory_limit(build()) is None


def test_a_previews_token_follows_what_is_told() -> None:
    """The same for the same build, another for another."""
    assert preview_token(build()) == preview_token(build())
    assert preview_token(build(words=("--x",))) != preview_token(build())
