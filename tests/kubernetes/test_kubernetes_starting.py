"""Contract: a pod that will never start is an error with the cluster's reason, in time."""

from __future__ import annotations

import time

import pytest
from kubernetes_stub import Fate
from kubernetes_target import IMPOSSIBLE, Target

from buildpush.backends.kaniko.kubernetes import KubernetesRunner, SecretKey
from buildpush.errors import BuildpushError, PodNotStartedError

DOCKERFILE = "FROM scratch\nCOPY Dockerfile /\n"
NOWHERE = "127.0.0.1:1/nobody/listens:1"


def refused(target: Target, runner: KubernetesRunner, *, image: str = "") -> PodNotStartedError:
    """The error of a build that cannot start; nothing is left, and it came in time."""
    step = target.step(DOCKERFILE, backend=target.backend(runner, image=image), retries=0)
    begun = time.monotonic()

    with pytest.raises(PodNotStartedError) as caught:
        step.run()

    assert time.monotonic() - begun < runner.schedule_timeout + 25
    assert target.left_after(20) == ()
    return caught.value


def test_no_node_fits(target: Target) -> None:
    """What the scheduler says is told."""
    error = refused(
        target, target.runner(schedule_timeout=target.soon(5), node_selector=IMPOSSIBLE)
    )

    assert error.reason == "Unschedulable"
    assert "didn't match Pod's node affinity/selector" in str(error)


def test_no_node_has_so_much_memory(target: Target) -> None:
    """A request that no node can serve is told as such."""
    error = refused(
        target, target.runner(schedule_timeout=target.soon(5), requests={"memory": "9Ti"})
    )

    assert error.reason == "Unschedulable"
    assert "Insufficient memory" in str(error)


def test_an_image_that_cannot_be_pulled(target: Target) -> None:
    """The registry's answer is told."""
    if target.stub is not None:
        target.stub.absent_images.append(NOWHERE)
    runner = target.runner(
        schedule_timeout=target.soon(15), context_image=NOWHERE, image_pull_policy="Always"
    )

    error = refused(target, runner)

    assert error.reason in ("ErrImagePull", "ImagePullBackOff")
    assert NOWHERE in str(error)


def test_an_image_that_may_not_be_pulled(target: Target) -> None:
    """With the policy Never, an image that the node has not is an error at once."""
    if target.stub is not None:
        said = f'Container image "{NOWHERE}" is not present with pull policy of Never'
        target.stub.fates.add(Fate(pull=("ErrImageNeverPull", said)))
    runner = target.runner(schedule_timeout=60, context_image=NOWHERE, image_pull_policy="Never")

    error = refused(target, runner)

    assert error.reason == "ErrImageNeverPull"


def test_a_volume_that_is_not_there(target: Target) -> None:
    """Only an event says that a Secret is missing: the pod just waits."""
    volume = {"name": "extra", "secret": {"secretName": f"{target.token}-missing"}}
    runner = target.runner(
        schedule_timeout=target.soon(8),
        volumes=(volume,),
        volume_mounts=({"name": "extra", "mountPath": "/extra"},),
    )

    error = refused(target, runner)

    assert error.reason == "FailedMount"
    assert f'secret "{target.token}-missing" not found' in str(error)


def test_a_variable_whose_secret_is_not_there(target: Target) -> None:
    """A container that cannot be configured is told with what it lacks."""
    target.needs_builds()
    held = SecretKey(name=f"{target.token}-missing", key="x")
    error = refused(
        target, target.runner(schedule_timeout=target.soon(20), env_from_secrets={"A": held})
    )

    assert error.reason == "CreateContainerConfigError"
    assert f"{target.token}-missing" in str(error)


def test_a_service_account_that_is_not_there(target: Target) -> None:
    """No pod ever comes, and only an event on the Job says why."""
    runner = target.runner(
        schedule_timeout=target.soon(8), service_account=f"{target.token}-nobody"
    )

    error = refused(target, runner)

    assert error.reason == "FailedCreate"
    assert f'serviceaccount "{target.token}-nobody" not found' in str(error)


def test_a_namespace_that_is_restricted(target: Target) -> None:
    """The Job is taken with a warning, and its pod refused by an event."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with target.scratch_namespace(labels) as namespace:
        error = refused(
            target, target.runner(schedule_timeout=target.soon(8), namespace=namespace)
        )

    assert error.reason == "FailedCreate"
    assert 'violates PodSecurity "restricted:latest"' in str(error)


def test_a_quota_that_is_used_up(target: Target) -> None:
    """Where there is room for no pod, the quota is named."""
    with target.scratch_namespace(pods=0) as namespace:
        error = refused(
            target, target.runner(schedule_timeout=target.soon(8), namespace=namespace)
        )

    assert error.reason == "FailedCreate"
    assert "exceeded quota" in str(error)


def test_an_executor_that_cannot_be_started(target: Target) -> None:
    """An image without kaniko's entry point ends with the runtime's words, whatever they are."""
    if not target.is_real:
        pytest.skip("the stub plays every image that is called kaniko")
    target.needs_builds()
    image = target.context_image
    if not image:
        pytest.skip("needs BUILDPUSH_TEST_CONTEXT_IMAGE, as an image that is no kaniko")
    step = target.step(DOCKERFILE, backend=target.backend(target.runner(), image=image))

    with pytest.raises(BuildpushError):
        step.run()

    assert target.left_after(20) == ()


def test_a_pod_that_says_nothing(stub_target: Target) -> None:
    """A pod that never starts, of which nobody says why, ends with the time that it had."""
    stub_target.the_stub.fates.add(Fate(stuck=True))

    error = refused(stub_target, stub_target.runner(schedule_timeout=2))

    assert "did not start within 2 s" in str(error)
