"""Steps written as Harness's YAML, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep, FromEnv, SpecError
from buildpush.auth.connectors import DockerConnector

CANARY = "hunter2-canary"
HUB = {"hub": DockerConnector()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tags": ["1.10", "latest"]},
        {"context": "web", "dockerfile": "web/Dockerfile.prod", "target": "run"},
        {"labels": {"team": "a=b, c"}, "build_args": {"N": "1.10", "E": ""}},
        {"optimize": True, "caching": True},
        {"cache_from": ["acme/cache:one", "type=s3,bucket=b,region=eu"]},
        {"cache_to": "type=s3,bucket=b,region=eu", "remote_cache_repo": "acme/cache"},
        {"run_as_user": 1000, "resources": {"limits": {"memory": "1Gi", "cpu": "500m"}}},
        {"secrets": {"npm": FromEnv("NPM"), "key": Path("key.pem")}},
        {"push": False, "platforms": ["linux/amd64"], "no_cache": True},
        {"timeout": "1h 30m"},
        {"timeout": 95},
    ],
)
def test_what_is_written_reads_back(settings: dict[str, Any]) -> None:
    step = BuildAndPushStep(repo="acme/app", **settings)

    text = step.to_harness(connector="hub", identifier="push", name="Push it")
    again = BuildAndPushStep.from_harness(text, connectors=HUB, backend="kaniko")

    kept = {"repo", "tags", *settings}
    assert again.model_dump(include=kept) == step.model_dump(include=kept)


def test_the_file_has_what_was_set_and_nothing_else() -> None:
    step = BuildAndPushStep(repo="ghcr.io/acme/app", tags=["1.10"], push=False, quiet=True)

    assert step.to_harness(connector="account.ghcr", identifier="push_app") == (
        "step:\n"
        "  identifier: push_app\n"
        "  name: push_app\n"
        "  type: BuildAndPushDockerRegistry\n"
        "  spec:\n"
        "    connectorRef: account.ghcr\n"
        "    repo: ghcr.io/acme/app\n"
        "    tags:\n"
        "    - '1.10'\n"
        "    envVariables:\n"
        "      PLUGIN_NO_PUSH: 'true'\n"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"squash": True, "annotations": {"a": "b"}}, "has no key for: annotations, squash"),
        ({"secrets": {"npm": CANARY}}, "secrets.npm: Harness takes variables and files"),
        ({"build_args": {"A": f"x{CANARY}"}, "hidden": [CANARY]}, "the value of a secret"),
        ({"cache_to": ["a/b", "c/d"]}, "has no key for: cache_to"),
    ],
)
def test_what_would_be_lost_or_shown_is_refused(settings: dict[str, Any], message: str) -> None:
    step = BuildAndPushStep(repo="acme/app", **settings)

    with pytest.raises(SpecError, match=message) as caught:
        step.to_harness(connector="hub", identifier="push")

    assert CANARY not in caught.value.report()


def test_an_identifier_is_checked() -> None:
    with pytest.raises(SpecError, match="identifier"):
        BuildAndPushStep(repo="acme/app").to_harness(connector="hub", identifier="push-it")
