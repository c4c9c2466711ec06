"""A pod's settings: what they refuse, and in which words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from buildpush.backends.kaniko.kubernetes import KubernetesRunner
from buildpush.backends.kaniko.kubernetes.quantities import cpus, quantity
from buildpush.backends.kaniko.kubernetes.settings import PodSettings, RemoteContext, SecretKey
from buildpush.errors import SpecError


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"service_account": "Not_A_Name"}, "service_account: 'Not_A_Name' is not a name"),
        ({"node_selector": {"a b": "c"}}, "node_selector: 'a b=c' is not a node's label"),
        ({"limits": {"memory": "4 GB"}}, "limits: memory: '4 GB' is not an amount"),
        ({"requests": {"cpu": "-1"}}, "requests: cpu: '-1' is not an amount"),
        ({"ephemeral_storage": "much"}, "ephemeral_storage"),
        ({"shm_size": "64MB"}, "shm_size"),
        ({"run_as_user": -1}, "run_as_user: -1 is not a user"),
        ({"labels": {"a": "b c"}}, "labels: 'a=b c' is not a label"),
        ({"labels": {"buildpush.dev/run": "x"}}, "buildpush's own"),
        ({"annotations": {"a b": ""}}, "annotations: 'a b'"),
        ({"image_pull_secrets": ("A",)}, "image_pull_secrets: 'A'"),
        ({"image_pull_policy": "Sometimes"}, "none of Always, IfNotPresent, Never"),
        ({"env": {"1A": "x"}}, "env: '1A'"),
        ({"env_from_secrets": {"=": SecretKey(name="a", key="b")}}, "env_from_secrets"),
        ({"host_aliases": {"a": "nowhere"}}, "host_aliases: a: 'nowhere'"),
        ({"host_aliases": {"a b": "10.0.0.1"}}, "'a b' is not a host name"),
        ({"dns_policy": "Mine"}, "dns_policy"),
        ({"active_deadline": 0}, "active_deadline: 0 is not a number of seconds, 1 or more"),
        ({"termination_grace": -1}, "termination_grace"),
    ],
)
def test_what_no_server_would_take_is_refused_here(settings: Any, said: str) -> None:
    """The message names the setting and the shape of what is wrong."""
    with pytest.raises(SpecError, match=said.replace("(", r"\(")):
        PodSettings(**settings)


def test_a_value_of_a_variable_is_not_shown() -> None:
    """It may be a secret that has strayed there."""
    with pytest.raises(SpecError) as caught:
        PodSettings(env={"1A": "s3cret"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://x/y", "/src", "s3://", "https://a b"])
def test_a_remote_context_is_one_that_kaniko_can_fetch(url: str) -> None:
    """Kaniko would take anything else for a folder of its own."""
    with pytest.raises(SpecError, match="url"):
        RemoteContext(url=url)


def test_settings_are_copied() -> None:
    """What the caller does to a mapping later changes no pod."""
    affinity: dict[str, Any] = {"nodeAffinity": {}}
    labels = {"a": "b"}
    pod = PodSettings(affinity=affinity, labels=labels, volumes=({"name": "v"},))
    affinity["nodeAffinity"]["x"] = 1
    labels["c"] = "d"

    assert (pod.affinity, pod.labels) == ({"nodeAffinity": {}}, {"a": "b"})


def test_a_schedule_without_time_is_refused() -> None:
    """No pod starts in no time."""
    with pytest.raises(SpecError, match="schedule_timeout"):
        KubernetesRunner(schedule_timeout=0)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2", 2),
        ("500m", Decimal("0.5")),
        ("4Gi", 4 << 30),
        ("1G", 10**9),
        ("1e3", 1000),
        ("1E", 10**18),
        (".5", Decimal("0.5")),
        ("5.", 5),
        ("+1", 1),
        ("100n", Decimal("1e-7")),
    ],
)
def test_quantities_are_read_as_the_server_reads_them(text: str, amount: Any) -> None:
    """Suffixes of ten and of two, and exponents."""
    assert quantity(text) == amount


@pytest.mark.parametrize(("amount", "text"), [(2.0, "2"), (0.4, "400m"), (1.5, "1500m")])
def test_cpus_are_written_as_the_server_writes_them(amount: float, text: str) -> None:
    """No fractions: thousandths."""
    assert cpus(amount) == text
