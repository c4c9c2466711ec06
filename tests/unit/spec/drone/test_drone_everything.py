"""No variable of any plugin is dropped in silence: it changes what is asked, or something is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Literal

import pytest

from buildpush.errors import SpecError
from buildpush.spec.drone import PROGRAMS, PluginSettings, own_variables, translate
from buildpush.spec.drone.clouds import CLOUDS
from buildpush.spec.drone.flags import PROGRAMS as ENGINES
from buildpush.spec.drone.flags import flags_of

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
VALUES: Final = {
    "str": "x",
    "csv": "x",
    "ssv": "x",
    "int": "3",
    "bool": "true",
    "bool-T": "false",
}
TAGGED: Final = {"PLUGIN_AUTO_TAG": "true", "DRONE_COMMIT_REF": "refs/heads/main"}
# flag -> the variables without which it does nothing, and a value of its own
WITH: Final[Mapping[str, tuple[Mapping[str, str], str]]] = {
    "commit.ref": ({**TAGGED, "DRONE_REPO_BRANCH": "main"}, "refs/tags/v1.2.3"),
    "repo.branch": (TAGGED, "main"),
    "repo-branch": (TAGGED, "main"),
    "drone-commit-ref": ({**TAGGED, "DRONE_REPO_BRANCH": "main"}, "refs/tags/v1.2.3"),
    "drone-repo-branch": (TAGGED, "main"),
    "tags.auto": ({"DRONE_COMMIT_REF": "refs/tags/v1.2.3"}, "true"),
    "auto-tag": ({"DRONE_COMMIT_REF": "refs/tags/v1.2.3"}, "true"),
    "expand-tag": ({"PLUGIN_TAGS": "v1.2.3"}, "true"),
    "expand-repo": ({"PLUGIN_REGISTRY": "ghcr.io", "PLUGIN_REPO": "app"}, "true"),
    "daemon.experimental": ({"PLUGIN_SQUASH": "true"}, "true"),
    "plugin-multiple-build-agrs": ({"PLUGIN_BUILD_ARGS": "A=1"}, "true"),
    "path-style": ({"PLUGIN_CACHE_FROM": "type=s3,region=x"}, "true"),
    "cache-tls-insecure": ({"PLUGIN_CACHE_FROM": "type=s3,region=x"}, "true"),
    "buildx-output-format": ({"PLUGIN_DRY_RUN": "true", "PLUGIN_TAR_PATH": "image.tar"}, "oci"),
}
# What may be dropped in silence, since it is what happens in any case: no daemon is started.
IN_ANY_CASE: Final = {"daemon.off"}


def asked(
    variables: Mapping[str, str], program: str, mode: Literal["strict", "compatible"]
) -> PluginSettings | str:
    """What is asked, or the error."""
    try:
        return translate({"PLUGIN_REPO": "acme/app", **variables}, program, now=NOW, mode=mode)
    except SpecError as error:
        return error.message


def every() -> Iterator[tuple[str, str, str, str]]:
    for program in ENGINES:
        for flag in flags_of(program):
            for variable in flag.variables:
                yield program, flag.name, variable, VALUES[flag.kind]


@pytest.mark.parametrize("mode", ["strict", "compatible"])
@pytest.mark.parametrize(("program", "flag", "variable", "value"), list(every()))
def test_a_variable_is_not_dropped_in_silence(
    program: str, flag: str, variable: str, value: str, mode: Literal["strict", "compatible"]
) -> None:
    beside, own = WITH.get(flag, ({}, value))

    without = asked(beside, program, mode)
    found = asked({**beside, variable: own}, program, mode)

    assert (found == without) is (flag in IN_ANY_CASE)
    if isinstance(found, str):
        assert "PLUGIN_" in found or variable in found


@pytest.mark.parametrize("plugin", CLOUDS)
def test_a_cloud_s_own_variables_are_not_dropped_either(plugin: str) -> None:
    enough = {
        "PLUGIN_REGISTRY": "1.dkr.ecr.eu-west-1.amazonaws.com",
        "PLUGIN_LOCATION": "us",
        "PLUGIN_APP": "shop",
        "PLUGIN_EMAIL": "a@b.c",
        "PLUGIN_API_KEY": "key",
        "SERVICE_PRINCIPAL_CLIENT_ID": "",
    }
    own = own_variables(plugin)
    enough = {name: value for name, value in enough.items() if name in own}
    before = asked(enough, plugin, "compatible")
    switches = {"PLUGIN_CREATE_REPOSITORY", "ECR_CREATE_REPOSITORY", "PLUGIN_SCAN_ON_PUSH"}
    switches |= {"PLUGIN_SKIP_PUSH_IF_TAG_EXISTS"}

    silent = {
        name
        for name in own
        if asked({**enough, name: "true" if name in switches else "other"}, plugin, "compatible")
        == before
    }

    # One half of a login alone, and what a variable that counts first has already.
    assert silent <= {
        "SERVICE_PRINCIPAL_CLIENT_ID",
        "SERVICE_PRINCIPAL_CLIENT_SECRET",
        "HEROKU_EMAIL",
        "HEROKU_API_KEY",
        "PLUGIN_REGISTRY",
    }


def test_every_plugin_is_here() -> None:
    assert set(PROGRAMS) == {*ENGINES, *CLOUDS}


@pytest.mark.parametrize(
    ("repo", "host"),
    [("acme/app", "docker.io"), ("app", "docker.io"), ("r.example:5000/app", "r.example:5000")],
)
@pytest.mark.parametrize("program", ["kaniko", "docker"])
def test_the_registry_without_certificates_is_the_repository_s(
    program: str, repo: str, host: str
) -> None:
    variables = {"PLUGIN_REPO": repo, "PLUGIN_INSECURE": "true"}

    assert translate(variables, program, now=NOW).settings["insecure"] == (host,)
