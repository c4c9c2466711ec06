"""The docker, buildx and buildah plugins: what their variables become, or what is said about them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpush.errors import SpecError
from buildpush.spec.drone import translate as translate_at
from buildpush.spec.drone.flags import flags_of
from buildpush.spec.values import FromEnv

translate = partial(translate_at, now=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
PROGRAMS = ("docker", "buildx", "buildah")
BASE = {"PLUGIN_REPO": "acme/app", "PLUGIN_AUTO_LABEL": "false"}
CANARY = "c4n4ry-value"


@pytest.mark.parametrize(
    ("programs", "variables", "place", "expected"),
    [
        (PROGRAMS, {"PLUGIN_TAGS": "1, 2"}, "settings.tags", ("1", "2")),
        (PROGRAMS, {"PLUGIN_TAG": "1", "PLUGIN_TAGS": "2"}, "settings.tags", ("1",)),
        (
            PROGRAMS,
            {"PLUGIN_AUTO_TAG": "1", "DRONE_COMMIT_REF": "refs/tags/v1.2.3"},
            "settings.tags",
            ("1", "1.2", "1.2.3"),
        ),
        (
            PROGRAMS,
            {"PLUGIN_AUTO_TAG": "1", "DRONE_COMMIT_REF": "refs/tags/v1.2.3"},
            "raw_tags",
            ("1", "1.2", "1.2.3"),
        ),
        (PROGRAMS, {"PLUGIN_DOCKERFILE": "a/D"}, "settings.dockerfile", "a/D"),
        (PROGRAMS, {"PLUGIN_CONTEXT": "src"}, "settings.context", "src"),
        (PROGRAMS, {"PLUGIN_TARGET": "prod"}, "settings.target", "prod"),
        (PROGRAMS, {"PLUGIN_BUILD_ARGS": "A=1,B=2"}, "settings.build_args", {"A": "1", "B": "2"}),
        (
            PROGRAMS,
            {"http_proxy": "p"},
            "settings.build_args",
            {"http_proxy": "p", "HTTP_PROXY": "p"},
        ),
        (
            PROGRAMS,
            {"PLUGIN_BUILD_ARGS_FROM_ENV": "NPM", "NPM": "x"},
            "settings.build_args",
            {"NPM": "x"},
        ),
        (
            ("docker", "buildx"),
            {"HARNESS_HTTPS_PROXY": "p"},
            "settings.build_args",
            {"https_proxy": "p", "HTTPS_PROXY": "p"},
        ),
        (("buildah",), {"HARNESS_HTTPS_PROXY": "p"}, "settings.build_args", {}),
        (PROGRAMS, {"PLUGIN_CUSTOM_LABELS": "a=b"}, "settings.labels", {"a": "b"}),
        (PROGRAMS, {"PLUGIN_PULL_IMAGE": ""}, "settings.pull", False),
        (PROGRAMS, {}, "settings.pull", True),
        (PROGRAMS, {"PLUGIN_NO_CACHE": "1"}, "settings.no_cache", True),
        (PROGRAMS, {"PLUGIN_QUIET": "1"}, "settings.quiet", True),
        (PROGRAMS, {"PLUGIN_ADD_HOST": "a:1.2.3.4"}, "settings.add_hosts", ("a:1.2.3.4",)),
        (PROGRAMS, {"PLUGIN_DRY_RUN": "1"}, "settings.push", False),
        (("docker", "buildx"), {"PLUGIN_NO_PUSH": "1"}, "settings.push", False),
        (("docker",), {"PLUGIN_SQUASH": "1", "PLUGIN_EXPERIMENTAL": "1"}, "settings.squash", True),
        (("buildah",), {"PLUGIN_SQUASH": "1"}, "settings.squash", True),
        (("buildah",), {"PLUGIN_LAYERS": "1"}, "settings.caching", True),
        (
            ("docker", "buildx"),
            {"PLUGIN_PLATFORM": "linux/amd64,linux/arm64"},
            "settings.platforms",
            ("linux/amd64", "linux/arm64"),
        ),
        (
            ("docker", "buildx"),
            {"PLUGIN_SECRETS_FROM_ENV": "a=B", "PLUGIN_SECRETS_FROM_FILE": "c=/d"},
            "settings.secrets",
            {"a": FromEnv("B"), "c": Path("/d")},
        ),
        (
            ("docker", "buildx"),
            {"PLUGIN_SECRET": "id=a,src=/d"},
            "settings.secrets",
            {"a": Path("/d")},
        ),
        (("docker", "buildx"), {"PLUGIN_MIRROR": "m"}, "settings.mirrors", {"docker.io": ("m",)}),
        (
            ("docker", "buildx"),
            {"PLUGIN_INSECURE": "1", "PLUGIN_REGISTRY": "http://r.example:5000/v2"},
            "settings.insecure",
            ("r.example:5000",),
        ),
        (("docker",), {"PLUGIN_CACHE_FROM": "a,b"}, "settings.cache_from", ("a", "b")),
        (
            ("buildx",),
            {
                "PLUGIN_CACHE_FROM": "type=s3,region=x;type=gha",
                "PLUGIN_PATH_STYLE": "1",
                "PLUGIN_CACHE_TLS_INSECURE": "1",
            },
            "settings.cache_from",
            (
                "type=s3,region=x,use_path_style=true,tls_insecure_skip_verify=true",
                "type=gha,tls_insecure_skip_verify=true",
            ),
        ),
        (("buildx",), {"PLUGIN_CACHE_TO": "type=inline"}, "settings.cache_to", ("type=inline",)),
        (("buildx",), {"PLUGIN_CACHE_TO": "type=inline"}, "builder.driver", "docker-container"),
        (
            ("buildx",),
            {
                "PLUGIN_BUILDER_DRIVER": "docker-container",
                "PLUGIN_BUILDER_DRIVER_OPTS": "image=a;x=y",
                "PLUGIN_BUILDKIT_VERSION": "b:2",
            },
            "builder.driver_options",
            ("image=b:2", "x=y"),
        ),
        (
            ("buildx",),
            {"PLUGIN_DRY_RUN": "1", "PLUGIN_TAR_PATH": "t", "PLUGIN_BUILDX_OUTPUT_FORMAT": "oci"},
            "settings.outputs",
            ("type=oci,dest=t",),
        ),
        (
            ("buildx",),
            {"PLUGIN_BAKE_FILE": "b.hcl", "PLUGIN_BAKE_OPTIONS": "a; b"},
            "bake_options",
            ("a", "b"),
        ),
        (
            ("docker", "buildx"),
            {"PLUGIN_PUSH_ONLY": "1", "PLUGIN_SOURCE_IMAGE": "a:1"},
            "source_image",
            "a:1",
        ),
        (("docker",), {"PLUGIN_SSH_AGENT_KEY": "k"}, "ssh_key", "k"),
        (("docker", "buildx"), {"PLUGIN_ARTIFACT_FILE": "a"}, "artifact_file", "a"),
        (("buildx",), {"ARTIFACT_REGISTRY": "z"}, "registry_url", "z"),
        (("docker", "buildx"), {"DRONE_CARD_PATH": "c"}, "card", "c"),
    ],
)
def test_a_value_becomes_a_setting(
    programs: tuple[str, ...], variables: dict[str, str], place: str, expected: object
) -> None:
    """In both modes."""
    for program in programs:
        found = translate({**BASE, **variables}, program)
        room, _, name = place.partition(".")
        value = getattr(found, room)

        assert (value[name] if name else value) == expected
        assert translate({**BASE, **variables}, program, mode="compatible") == found


@pytest.mark.parametrize("program", PROGRAMS)
def test_labels_are_made_of_what_drone_says(program: str) -> None:
    """Empty ones too, as the plugin has them; schema's and one's own follow."""
    found = translate(
        {
            "PLUGIN_REPO": "acme/app",
            "DRONE_REMOTE_URL": "https://git.example/a.git",
            "PLUGIN_LABEL_SCHEMA": "vendor=acme",
            "PLUGIN_CUSTOM_LABELS": "a=b",
        },
        program,
    )

    assert found.settings["labels"] == {
        "org.opencontainers.image.created": "2026-03-04T05:06:07Z",
        "org.opencontainers.image.revision": "00000000",
        "org.opencontainers.image.source": "https://git.example/a.git",
        "org.opencontainers.image.url": "",
        "org.opencontainers.image.vendor": "acme",
        "a": "b",
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_another_branch_is_nothing_to_do_and_no_error(program: str) -> None:
    """These plugins end well there, where kaniko's fails."""
    found = translate(
        {
            **BASE,
            "PLUGIN_AUTO_TAG": "1",
            "DRONE_COMMIT_REF": "refs/heads/x",
            "DRONE_REPO_BRANCH": "main",
        },
        program,
    )

    assert found.work == "nothing" and "default branch" in found.because


@pytest.mark.parametrize(
    ("program", "variables", "kind", "variable"),
    [
        ("docker", {"PLUGIN_SQUASH": "1"}, "no-op", "PLUGIN_SQUASH"),
        ("buildx", {"PLUGIN_SQUASH": "1"}, "no-op", "PLUGIN_SQUASH"),
        ("docker", {"PLUGIN_BIP": "1.2.3.4/8"}, "no-op", "PLUGIN_BIP"),
        ("docker", {"PLUGIN_STORAGE_DRIVER": "vfs"}, "no-op", "PLUGIN_STORAGE_DRIVER"),
        ("docker", {"PLUGIN_CUSTOM_DNS": "1.1.1.1"}, "no-op", "PLUGIN_CUSTOM_DNS"),
        ("docker", {"PLUGIN_COMPRESS": "1"}, "no-op", "PLUGIN_COMPRESS"),
        ("docker", {"PLUGIN_PURGE": "false"}, "no-op", "PLUGIN_PURGE"),
        ("docker", {"PLUGIN_EMAIL": "a@b"}, "no-op", "PLUGIN_EMAIL"),
        ("docker", {"PLUGIN_BUILD_ARGS": "A=1,2"}, "lossy", "PLUGIN_BUILD_ARGS"),
        ("docker", {"PLUGIN_LABEL_SCHEMA": "a=b"}, "no-op", "PLUGIN_LABEL_SCHEMA"),
        ("docker", {"PLUGIN_SECRETS_FROM_ENV": "a"}, "lossy", "PLUGIN_SECRETS_FROM_ENV"),
        ("docker", {"PLUGIN_BUILD_ARGS_FROM_ENV": "X"}, "no-op", "PLUGIN_BUILD_ARGS_FROM_ENV"),
        ("docker", {"PLUGIN_COSIGN_PASSWORD": "x"}, "no-op", "PLUGIN_COSIGN_PASSWORD"),
        ("docker", {"PLUGIN_USERNAME": "x"}, "no-op", "PLUGIN_USERNAME"),
        ("docker", {"PLUGIN_CACHE_TO": "x"}, "unknown", "PLUGIN_CACHE_TO"),
        ("buildx", {"PLUGIN_SSH_AGENT_KEY": "x"}, "no-op", "PLUGIN_SSH_AGENT_KEY"),
        ("buildx", {"PLUGIN_BUILDX_OPTIONS": "--x"}, "lossy", "PLUGIN_BUILDX_OPTIONS"),
        ("buildx", {"PLUGIN_TAR_PATH": "x"}, "no-op", "PLUGIN_TAR_PATH"),
        ("buildx", {"PLUGIN_BUILDX_LOAD": "1"}, "no-op", "PLUGIN_BUILDX_LOAD"),
        ("buildx", {"PLUGIN_BUILDKIT_VERSION": "1"}, "no-op", "PLUGIN_BUILDKIT_VERSION"),
        ("buildx", {"PLUGIN_BUILDER_REMOTE_CONN": "x"}, "no-op", "PLUGIN_BUILDER_REMOTE_CONN"),
        ("buildah", {"PLUGIN_S3_BUCKET": "x"}, "no-op", "PLUGIN_S3_BUCKET"),
        ("buildah", {"PLUGIN_PLATFORM": "x"}, "unknown", "PLUGIN_PLATFORM"),
    ],
)
def test_what_would_be_lost_silently_is_found(
    program: str, variables: dict[str, str], kind: str, variable: str
) -> None:
    """A finding in compatible mode, an error in strict mode."""
    (finding,) = translate({**BASE, **variables}, program, mode="compatible").findings
    assert (finding.kind, finding.variable) == (kind, variable)

    with pytest.raises(SpecError, match=variable):
        translate({**BASE, **variables}, program)


def test_an_argument_that_only_begins_alike_hides_one_from_the_environment() -> None:
    """As the plugin compares them; strict mode says so."""
    variables = {
        **BASE,
        "PLUGIN_BUILD_ARGS": "foobar=1",
        "PLUGIN_BUILD_ARGS_FROM_ENV": "foo",
        "foo": "x",
    }
    found = translate(variables, "docker", mode="compatible")

    assert found.settings["build_args"] == {"foobar": "1"}
    assert [finding.kind for finding in found.findings] == ["quirk"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PLUGIN_PUSH_ONLY": "1", "PLUGIN_DRY_RUN": "1"}, "cannot be together"),
        ({"PLUGIN_TAGS": ""}, "has no tag"),
        ({"PLUGIN_SECRET": CANARY}, "expected id=ID"),
        ({"PLUGIN_COSIGN_PRIVATE_KEY": f"ENCRYPTED {CANARY}"}, "PLUGIN_COSIGN_PASSWORD"),
        (
            {"PLUGIN_COSIGN_PRIVATE_KEY": CANARY, "PLUGIN_COSIGN_PARAMS": "--identity-token=x"},
            "PLUGIN_COSIGN_PARAMS",
        ),
        ({"PLUGIN_AUTO_TAG": "1", "DRONE_COMMIT_REF": "refs/tags/x1.0.0"}, "not a version"),
    ],
)
def test_what_the_plugin_refuses_is_refused(variables: dict[str, str], said: str) -> None:
    """Without quoting a secret."""
    with pytest.raises(SpecError) as caught:
        translate({**BASE, **variables}, "docker", mode="compatible")

    assert said in str(caught.value) and CANARY not in caught.value.report()


def test_logins_keep_their_secrets() -> None:
    """For the registry, and for base images."""
    found = translate(
        {
            **BASE,
            "PLUGIN_REGISTRY": "r.example",
            "PLUGIN_USERNAME": "ci",
            "PLUGIN_PASSWORD": CANARY,
            "PLUGIN_BASE_IMAGE_REGISTRY": "https://index.docker.io/v2/",
            "PLUGIN_BASE_IMAGE_USERNAME": "reader",
            "PLUGIN_BASE_IMAGE_PASSWORD": f"{CANARY}2",
        },
        "docker",
    )
    push, pull = found.logins

    assert (push.host, push.password, push.pull_only) == ("r.example", CANARY, False)
    assert (pull.host, pull.pull_only) == ("https://index.docker.io/v1/", True)
    assert CANARY not in repr(found)
    (token,) = translate({**BASE, "ACCESS_TOKEN": CANARY}, "docker").logins
    assert (token.username, token.password) == ("oauth2accesstoken", CANARY)


@given(
    st.dictionaries(
        st.sampled_from(sorted({n for p in PROGRAMS for f in flags_of(p) for n in f.variables})),
        st.sampled_from(["", "true", "1", "a,b", "a=b", "a=b,c", ";", "\n"])
        | st.text(max_size=12),
        max_size=8,
    ),
    st.sampled_from(PROGRAMS),
    st.sampled_from(["strict", "compatible"]),
)
def test_any_environment_is_settings_or_our_error(
    variables: dict[str, str], program: str, mode: Literal["strict", "compatible"]
) -> None:
    """Which shows no value that could be a secret."""
    words = ("PASSWORD", "SECRET", "KEY", "TOKEN", "CONFIG")
    planted = {
        name: f"{CANARY}{value}" if any(word in name for word in words) else value
        for name, value in variables.items()
    }
    try:
        shown = repr(translate({**BASE, **planted}, program, mode=mode))
    except SpecError as error:
        shown = error.report()
    assert CANARY not in shown
