"""The stub is true: asked the same, it answers as a real API server does, word for word.

Nothing of buildpush is tested here; what is, relies on these facts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from kubernetes_raw import RawApi, shell_job
from kubernetes_target import Target

pytestmark = pytest.mark.invalid_objects


@pytest.fixture
def api(target: Target) -> Iterator[RawApi]:
    """Requests as they are, by the administrator."""
    with target.raw() as found:
        yield found


# --- refusals ---


def test_a_second_object_of_a_name_is_a_conflict(target: Target, api: RawApi) -> None:
    """409, AlreadyExists."""
    made = shell_job(target, "true", suspend=True)
    api.post("jobs", made)

    answer = api.post("jobs", made)

    assert (answer.status_code, answer.json()["reason"]) == (409, "AlreadyExists")
    assert answer.json()["message"] == f'jobs.batch "{target.prefix}-job" already exists'


REFUSED = {
    "a field that is not there": (
        lambda j: j["spec"].update(backOffLimit=1),
        400,
        (
            'Job in version "v1" cannot be handled as a Job: strict decoding error: unknown field'
            ' "spec.backOffLimit"'
        ),
    ),
    "a wrong type": (
        lambda j: j["spec"].update(backoffLimit="x"),
        400,
        (
            r'Job in version "v1" cannot be handled as a Job: json: cannot unmarshal string into Go'
            r" struct field (JobSpec\.)?spec\.backoffLimit of type int32"
        ),
    ),
    "a quantity that is none": (
        lambda j: _container(j).update(resources={"limits": {"memory": "1Gx"}}),
        400,
        (
            'Job in version "v1" cannot be handled as a Job: quantities must match the regular'
            r" expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        ),
    ),
    "another restart policy": (
        lambda j: _pod(j).update(restartPolicy="Always"),
        422,
        "spec.template.spec.restartPolicy: Required value: valid values:",
    ),
    "a mount of nothing": (
        lambda j: _container(j).update(volumeMounts=[{"name": "no", "mountPath": "/x"}]),
        422,
        'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "no"',
    ),
    "requests above limits": (
        lambda j: _container(j).update(
            resources={"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}}
        ),
        422,
        'resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit',
    ),
    "another pull policy": (
        lambda j: _container(j).update(imagePullPolicy="Sometimes"),
        422,
        (
            'imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always",'
            ' "IfNotPresent", "Never"'
        ),
    ),
    "no name": (
        lambda j: _container(j).pop("name"),
        422,
        "spec.template.spec.containers[0].name: Required value",
    ),
    "a bad label": (
        lambda j: j["metadata"]["labels"].update(x="a b"),
        422,
        'metadata.labels: Invalid value: "a b": a valid label must be an empty string',
    ),
    "a long name": (
        lambda j: j["metadata"].update(name="a" * 64),
        422,
        "must be no more than 63 bytes",
    ),
    "capitals": (
        lambda j: j["metadata"].update(name="Up"),
        422,
        'metadata.name: Invalid value: "Up": a lowercase RFC 1123 subdomain must consist of',
    ),
    "two kinds of a volume": (
        lambda j: _pod(j).update(
            volumes=[{"name": "a", "emptyDir": {}, "secret": {"secretName": "x"}}]
        ),
        422,
        "spec.template.spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type",
    ),
}


def _pod(made: dict[str, Any]) -> Any:
    return made["spec"]["template"]["spec"]


def _container(made: dict[str, Any]) -> Any:
    return _pod(made)["containers"][0]


@pytest.mark.parametrize("fault", REFUSED)
def test_a_job_that_is_wrong_is_refused(target: Target, api: RawApi, fault: str) -> None:
    """With the same code and the same words."""
    spoil, code, words = REFUSED[fault]
    made = shell_job(target, "true")
    spoil(made)

    answer = api.post("jobs", made, fieldValidation="Strict", dryRun="All")

    said = answer.json()["message"]
    assert (answer.status_code, said) == (code, said)
    assert words in said or re.search(words, said), said


def test_an_unknown_field_is_only_warned_of_otherwise(target: Target, api: RawApi) -> None:
    """Without strict validation it is dropped."""
    made = shell_job(target, "true")
    made["spec"]["backOffLimit"] = 1

    answer = api.post("jobs", made, dryRun="All")

    assert answer.status_code == 201
    assert answer.headers["warning"] == '299 - "unknown field \\"spec.backOffLimit\\""'
    assert "backOffLimit" not in answer.json()["spec"]


@pytest.mark.parametrize(
    ("secret", "code", "words"),
    [
        ({"data": {"a": "%%%"}}, 400, "illegal base64 data at input byte 0"),
        (
            {"type": "kubernetes.io/dockerconfigjson", "data": {"a": "YQ=="}},
            422,
            "data[.dockerconfigjson]: Required value",
        ),
        ({"data": {"a b": "YQ=="}}, 422, 'data[a b]: Invalid value: "a b": a valid config key'),
        ({"data": {"a": "eHh4" * 350_000}}, 422, "data: Too long: may not be more than 1048576"),
    ],
    ids=["base64", "docker config", "key", "size"],
)
def test_a_secret_that_is_wrong_is_refused(
    target: Target, api: RawApi, secret: dict[str, Any], code: int, words: str
) -> None:
    """With the same code and the same words."""
    answer = api.post("secrets", {"metadata": {"name": f"{target.prefix}-s"}, **secret})

    assert (answer.status_code, words in answer.json()["message"]) == (code, True)


def test_what_is_not_there(target: Target, api: RawApi) -> None:
    """404 with the kind and the name; for a list in no namespace, nothing at all."""
    assert api.get("pods/nobody").json()["message"] == 'pods "nobody" not found'
    assert api.get("nothing").json()["message"] == (
        "the server could not find the requested resource"
    )
    assert api.get("pods", labelSelector="a=nobody").json()["items"] == []


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"fieldSelector": "spec.foo=x"}, "field label not supported: spec.foo"),
        ({"labelSelector": "a=b=c"}, "found '=', expected: ',' or 'end of string'"),
    ],
)
def test_a_selector_that_is_wrong(api: RawApi, params: dict[str, str], words: str) -> None:
    """400."""
    answer = api.get("pods", **params)

    assert (answer.status_code, answer.json()["message"]) == (400, words)


# --- watches ---


def test_a_version_that_is_too_old_is_gone(target: Target, api: RawApi) -> None:
    """An ERROR event with code 410, in an answer with status 200."""
    if target.stub is not None:
        target.stub.forget_history()

    with api.stream("pods", watch="1", resourceVersion="1", timeoutSeconds="3") as answer:
        events = [json.loads(line) for line in answer.iter_lines()]

    if target.is_real and not events:
        pytest.skip("this server still remembers its first version")
    assert answer.status_code == 200
    assert events[0]["type"] == "ERROR"
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")
    assert events[0]["object"]["message"].startswith("too old resource version: 1 (")


def test_a_watch_ends_when_its_time_is_over(api: RawApi) -> None:
    """Cleanly, after *timeoutSeconds*."""
    with api.stream("pods", watch="1", timeoutSeconds="1", labelSelector="a=nobody") as answer:
        lines = list(answer.iter_lines())

    assert (answer.status_code, lines) == (200, [])


def test_a_watch_tells_what_leaves_its_selection(target: Target, api: RawApi) -> None:
    """As DELETED."""
    made = shell_job(target, "true", suspend=True)
    made["metadata"]["labels"]["stage"] = "a"
    made["metadata"]["labels"]["test"] = target.token
    version = api.post("jobs", made).json()["metadata"]["resourceVersion"]
    patch = {"metadata": {"labels": {"stage": "b"}}}
    api.patch(f"jobs/{target.prefix}-job", patch)

    with api.stream(
        "jobs",
        watch="1",
        timeoutSeconds="2",
        resourceVersion=version,
        labelSelector=f"stage=a,test={target.token}",
    ) as answer:
        events = [json.loads(line)["type"] for line in answer.iter_lines()]

    assert events[-1] == "DELETED"
    assert set(events[:-1]) <= {"MODIFIED"}  # a controller may have said something before


def test_nobody_and_somebody_unknown(target: Target, api: RawApi) -> None:
    """A token that is none is 401; no token at all is the anonymous, who is forbidden."""
    where = f"{api.base}/api/v1/namespaces/{target.namespace}/pods"
    with httpx.Client(verify=api.verify, timeout=30) as client:
        unknown = client.get(where, headers={"Authorization": "Bearer nobody"})
        nobody = client.get(where)

    assert (unknown.status_code, unknown.json()["message"]) == (401, "Unauthorized")
    if nobody.status_code == 401:
        pytest.skip("this server takes no anonymous requests")
    assert nobody.json()["message"] == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group ""'
        f' in the namespace "{target.namespace}"'
    )
