"""The plan as a thing to read, to store and to send; and the page of all settings."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve
from pydantic import SecretStr

from buildpush.errors import PlanError
from buildpush.plan import Plan
from buildpush.plan.wants import shown
from buildpush.spec import FromEnv

Planner = Callable[..., Plan]
CANARY = "c4nary-s3cret"

DOCKERFILE = """\
FROM golang:1.22 AS build
ARG VERSION
RUN --mount=type=secret,id=npm go build
FROM busybox AS unused
FROM scratch
COPY --from=build /a /a
"""


@pytest.fixture
def full(plan: Planner) -> Plan:
    return plan(
        DOCKERFILE,
        tags=["1", "2"],
        build_args={"VERSION": "1", "UNUSED": "x" * 100},
        secrets={"npm": CANARY, "pip": Path("/p"), "env": FromEnv("E")},
        build_contexts={"c": f"https://user:{CANARY}@acme.eu/x.git"},
        labels={"api_token": CANARY},
        outputs="type=oci,dest=x.tar",
        run_as_user=5,
    )


def test_a_plan_reads_as_a_page(full: Plan) -> None:
    """What is built, where it goes, from what, and how well each setting is met."""
    text = evolve(full, passed_over=("buildx: not installed",)).render()

    lines = text.splitlines()
    assert lines[:4] == [
        "backend     native 1.0",
        (
            "delivery    the backend exports an OCI layout and buildpush pushes it: it never sees a"
            " push credential"
        ),
        "push        yes",
        "image       ghcr.io/acme/app:1",
    ]
    assert "file        type=oci,dest=x.tar" in lines
    assert "base image  golang:1.22" in lines
    assert "stage       build 0 build (from golang:1.22)" in lines
    assert "stage       skip 1 unused (from busybox)" in lines
    assert "stage       build 2 (from scratch)" in lines
    assert any("run_as_user" in line and "approximated" in line for line in lines)
    assert "  build arg UNUSED is not used: the Dockerfile has no ARG of that name" in lines
    assert lines[-2:] == ["Passed over", "  buildx: not installed"]
    assert max(map(len, lines)) < 160
    assert str(full) == full.render()


def test_a_plan_is_json(full: Plan) -> None:
    """For machines, the same facts."""
    written = json.loads(json.dumps(full.to_json()))

    assert written["references"] == ["ghcr.io/acme/app:1", "ghcr.io/acme/app:2"]
    assert written["delivery"]["by"] == "layout"
    assert written["stages"][1] == {
        "index": 1,
        "name": "unused",
        "base": "busybox",
        "needed": False,
    }
    assert written["secrets"] == ["env", "npm", "pip"]
    assert {"setting": "secrets", "value": "npm, pip, env", "fit": "exact", "how": ""} in written[
        "settings"
    ]


def test_a_plan_shows_no_secret(full: Plan) -> None:
    """Neither printed, nor as JSON, nor by repr of its secrets and decisions."""
    shown_text = full.render() + json.dumps(full.to_json()) + repr(full.secrets)

    assert CANARY not in shown_text + repr(full.decisions) + repr(dict(full.secrets))


def test_a_pickled_plan_has_left_its_secrets_behind(plan: Planner) -> None:
    """Files and variables are named; a value given as text is missed when it is read."""
    made = plan(secrets={"npm": CANARY, "pip": Path("/p"), "env": FromEnv("E")})

    pickled = pickle.dumps(made)
    again = pickle.loads(pickled)

    assert CANARY.encode() not in pickled
    assert list(again.secrets) == ["env", "npm", "pip"]
    assert again.secrets["pip"] == Path("/p")
    assert again.secrets["env"] == FromEnv("E")
    with pytest.raises(PlanError, match="secret 'npm' was not pickled"):
        again.secrets["npm"]
    assert "npm" in again.secrets
    assert again != made
    assert pickle.loads(pickle.dumps(again)) == again
    assert again.request == made.request


def test_the_secrets_of_a_plan_are_a_mapping(plan: Planner) -> None:
    """The run reads them once, to write its files."""
    secrets = plan(secrets={"npm": CANARY}).secrets

    assert len(secrets) == 1
    assert secrets["npm"] == SecretStr(CANARY)
    assert "pip" not in secrets
    assert repr(secrets) == "<secrets: npm>"


def test_the_request_gets_its_files_when_the_run_has_them(plan: Planner) -> None:
    """Secrets and agents are places by then."""
    made = plan(secrets={"npm": "x"}, ssh=True)

    request = made.with_files({"npm": Path("/run/npm")}, {"default": Path("/run/agent")})

    assert made.ssh == {"default": FromEnv("SSH_AUTH_SOCK")}
    assert request == evolve(
        made.request, secrets={"npm": Path("/run/npm")}, ssh={"default": Path("/run/agent")}
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (None, "none"),
        (7200.0, "7200"),
        (("a", 1), "a, 1"),
        (frozenset({"b", "a"}), "a, b"),
        ({"A": "x", "MY_TOKEN": "y"}, "A=x, MY_TOKEN=***"),
        ("https://u:p@acme.eu/x", "https://***@acme.eu/x"),
    ],
)
def test_a_value_is_shown_in_words(value: object, text: str) -> None:
    """Without what looks like a secret."""
    assert shown(value) == text
