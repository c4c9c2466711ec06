"""Every variable of the kaniko plugins: what it becomes, or what is said about it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpush.errors import SpecError
from buildpush.spec.drone import PluginSettings
from buildpush.spec.drone import translate as translate_at
from buildpush.spec.drone.flags import PROGRAMS, flags_of

translate = partial(translate_at, now=datetime(2026, 3, 4, tzinfo=UTC))
KANIKOS = [program for program in PROGRAMS if program.startswith("kaniko")]
BASE = {"PLUGIN_REPO": "acme/app"}
CANARY = "c4n4ry-value"

# flag -> (the variables beside BASE, where the value goes, what is there)
BECOMES: dict[str, tuple[dict[str, str], str, object]] = {
    "dockerfile": ({"PLUGIN_DOCKERFILE": "a/D"}, "settings.dockerfile", "a/D"),
    "context": ({"PLUGIN_CONTEXT": "dir://src"}, "settings.context", "src"),
    "tags": ({"PLUGIN_TAGS": "1, 2"}, "settings.tags", ("1", "2")),
    "expand-tag": (
        {"PLUGIN_TAGS": "v1.2.3", "PLUGIN_EXPAND_TAG": "true"},
        "settings.tags",
        ("1", "1.2", "1.2.3"),
    ),
    "auto-tag": (
        {"PLUGIN_AUTO_TAG": "true", "DRONE_COMMIT_REF": "refs/tags/v1.2.3"},
        "settings.tags",
        ("1", "1.2", "1.2.3"),
    ),
    "auto-tag-suffix": (
        {
            "PLUGIN_AUTO_TAG": "true",
            "PLUGIN_AUTO_TAG_SUFFIX": "slim",
            "DRONE_COMMIT_REF": "refs/heads/main",
            "DRONE_REPO_BRANCH": "main",
        },
        "settings.tags",
        ("slim",),
    ),
    "args": (
        {"PLUGIN_BUILD_ARGS": "B,A=1,C=x=y"},
        "settings.build_args",
        {"A": "1", "B": None, "C": "x=y"},
    ),
    "args-new": (
        {"PLUGIN_BUILD_ARGS_NEW": "A=1,2;B=3", "PLUGIN_MULTIPLE_BUILD_ARGS": "1"},
        "settings.build_args",
        {"A": "1,2", "B": "3"},
    ),
    "target": ({"PLUGIN_TARGET": "prod"}, "settings.target", "prod"),
    "custom-labels": (
        {"PLUGIN_CUSTOM_LABELS": "a=b,c=d"},
        "settings.labels",
        {"a": "b", "c": "d"},
    ),
    "registry-mirrors": (
        {"PLUGIN_REGISTRY_MIRRORS": "m1.example,m2.example"},
        "settings.mirrors",
        {"docker.io": ("m1.example", "m2.example")},
    ),
    "enable-cache": ({"PLUGIN_ENABLE_CACHE": "true"}, "settings.remote_cache_repo", "/cache"),
    "cache-repo": (
        {"PLUGIN_ENABLE_CACHE": "true", "PLUGIN_CACHE_REPO": "acme/layers"},
        "settings.remote_cache_repo",
        "acme/layers",
    ),
    "cache-ttl": (
        {"PLUGIN_ENABLE_CACHE": "true", "PLUGIN_CACHE_TTL": "0x10"},
        "kaniko.cache_ttl",
        "16h",
    ),
    "no-push": ({"PLUGIN_NO_PUSH": "true"}, "settings.push", False),
    "platform": ({"PLUGIN_PLATFORM": "linux/arm64"}, "settings.platforms", ("linux/arm64",)),
    "oci-layout-path": (
        {"PLUGIN_OCI_LAYOUT_PATH": "out"},
        "settings.outputs",
        ("type=oci,dest=out",),
    ),
    "tar-path": ({"PLUGIN_TAR_PATH": "a.tar"}, "settings.outputs", ("type=docker,dest=a.tar",)),
    "reproducible": ({"PLUGIN_REPRODUCIBLE": "true"}, "settings.reproducible", True),
    "insecure-registry": (
        {"PLUGIN_INSECURE_REGISTRY": "r.example:5000"},
        "settings.insecure",
        ("r.example:5000",),
    ),
    "registry-certificate": (
        {"PLUGIN_REGISTRY_CERTIFICATE": "r.example=/ca.pem"},
        "settings.registries",
        {"r.example": {"ca": "/ca.pem"}},
    ),
    "registry-client-cert": (
        {"PLUGIN_REGISTRY_CLIENT_CERT": "r.example=/c.pem,/k.pem"},
        "settings.registries",
        {"r.example": {"certificate": "/c.pem", "key": "/k.pem"}},
    ),
    "verbosity": ({"PLUGIN_VERBOSITY": "debug"}, "kaniko.verbosity", "debug"),
    "snapshot-mode": ({"PLUGIN_SNAPSHOT_MODE": "redo"}, "kaniko.snapshot_mode", "redo"),
    "context-sub-path": ({"PLUGIN_CONTEXT_SUB_PATH": "a/b"}, "kaniko.context_sub_path", "a/b"),
    "push-retry": ({"PLUGIN_PUSH_RETRY": "3"}, "kaniko.push_retry", 3),
    "image-download-retry": (
        {"PLUGIN_IMAGE_DOWNLOAD_RETRY": "3"},
        "kaniko.image_download_retry",
        3,
    ),
    "image-fs-extract-retry": (
        {"PLUGIN_IMAGE_FS_EXTRACT_RETRY": "3"},
        "kaniko.image_fs_extract_retry",
        3,
    ),
    "ignore-path": ({"PLUGIN_IGNORE_PATH": "/a"}, "kaniko.ignore_paths", ("/a",)),
    "ignore-paths": ({"PLUGIN_IGNORE_PATHS": "/a, ,/b"}, "kaniko.ignore_paths", ("/a", "/b")),
    "compressed-caching": (
        {"PLUGIN_COMPRESSED_CACHING": "false"},
        "kaniko.compressed_caching",
        False,
    ),
    "ignore-var-run": ({"PLUGIN_IGNORE_VAR_RUN": "false"}, "kaniko.ignore_var_run", False),
    "artifact-file": ({"PLUGIN_ARTIFACT_FILE": "a.json"}, "artifact_file", "a.json"),
    "output-file": ({"DRONE_OUTPUT": "out.env"}, "output_file", "out.env"),
    "image-name-with-digest-file": (
        {"PLUGIN_IMAGE_NAME_WITH_DIGEST_FILE": "d"},
        "digest_files",
        {"image-name-with-digest-file": "d"},
    ),
    "image-name-tag-with-digest-file": (
        {"PLUGIN_IMAGE_NAME_TAG_WITH_DIGEST_FILE": "d"},
        "digest_files",
        {"image-name-tag-with-digest-file": "d"},
    ),
    "push-only": (
        {"PLUGIN_PUSH_ONLY": "true", "PLUGIN_SOURCE_TAR_PATH": "a.tar"},
        "work",
        "push_only",
    ),
    "source-tar-path": (
        {"PLUGIN_PUSH_ONLY": "true", "PLUGIN_SOURCE_TAR_PATH": "a.tar"},
        "source_tar",
        "a.tar",
    ),
}
# Flags that are passed on to kaniko as they are, when they are on.
SWITCHES = {
    flag: flag.replace("-", "_")
    for flag in (
        "cache-copy-layers",
        "cache-run-layers",
        "cleanup",
        "insecure",
        "insecure-pull",
        "log-timestamp",
        "single-snapshot",
        "skip-default-registry-fallback",
        "skip-push-permission-check",
        "skip-tls-verify",
        "skip-tls-verify-pull",
        "skip-unused-stages",
        "use-new-run",
    )
}
# flag -> (the variables, the kind of finding) in every program that has it
SAID: dict[str, tuple[dict[str, str], str]] = {
    "cache-dir": ({"PLUGIN_CACHE_DIR": "/cache"}, "no-op"),
    "force": ({"PLUGIN_FORCE": "true"}, "no-op"),
    "log-format": ({"PLUGIN_LOG_FORMAT": "json"}, "no-op"),
    "skip-tls-verify-registry": ({"PLUGIN_SKIP_TLS_VERIFY_REGISTRY": "true"}, "quirk"),
    "plugin-multiple-build-agrs": (
        {"PLUGIN_MULTIPLE_BUILD_ARGS": "true", "PLUGIN_BUILD_ARGS": "A=1"},
        "no-op",
    ),
}
# Flags that have tests of their own below.
ELSEWHERE = {
    *("repo", "registry", "expand-repo", "drone-commit-ref", "drone-repo-branch"),
    *("dockerconfig", "username", "password"),
    *("base-image-registry", "base-image-username", "base-image-password"),
    *("docker-registry", "docker-username", "docker-password"),
    *("create-repository", "lifecycle-policy", "repository-policy"),
    *("region", "access-key", "secret-key", "assume-role", "external-id", "oidc-token-id"),
    *("json-key", "client-secret", "client-cert", "tenant-id", "client-id"),
    *("subscription-id", "azure-authority-host"),
}


def at(found: PluginSettings, place: str) -> object:
    """What stands in *found* at ``settings.name``, ``kaniko.name`` or an attribute."""
    room, _, name = place.partition(".")
    value = getattr(found, room)
    return value[name] if name else value


@pytest.mark.parametrize("program", KANIKOS)
def test_every_flag_has_a_row(program: str) -> None:
    """A flag that is added to the table of flags needs one here."""
    rows = {*BECOMES, *SWITCHES, *SAID, *ELSEWHERE}

    assert {flag.name for flag in flags_of(program)} <= rows


@pytest.mark.parametrize("program", KANIKOS)
@pytest.mark.parametrize("flag", BECOMES)
def test_a_value_becomes_a_setting(program: str, flag: str) -> None:
    """In both modes; a program that does not know the variable says so."""
    variables, place, expected = BECOMES[flag]
    known = {name for each in flags_of(program) for name in each.variables}
    found = translate({**BASE, **variables}, program, mode="compatible")
    if not set(variables) <= known:
        named = {finding.variable for finding in found.findings if finding.kind == "unknown"}
        assert named == {name for name in set(variables) - known if name.startswith("PLUGIN_")}
        return

    value = at(found, place)
    if flag == "enable-cache":
        assert str(value).endswith("acme/app/cache")
    elif flag == "cache-repo":
        assert str(value).endswith("acme/layers")
    else:
        assert value == expected
    assert found.findings == ()
    assert translate({**BASE, **variables}, program) == found


@pytest.mark.parametrize("program", KANIKOS)
@pytest.mark.parametrize("flag", SWITCHES)
@pytest.mark.parametrize("value", ["true", "false", ""])
def test_a_switch_is_passed_on_when_it_is_on(program: str, flag: str, value: str) -> None:
    """Off is kaniko's own default, and is not passed on."""
    declared = {each.name: each.variables for each in flags_of(program)}
    if flag not in declared:
        return
    found = translate({**BASE, declared[flag][0]: value}, program, mode="compatible")

    assert found.kaniko.get(SWITCHES[flag], False) is (value == "true")


@pytest.mark.parametrize("program", KANIKOS)
@pytest.mark.parametrize("flag", SAID)
def test_what_does_nothing_or_surprises_is_said(program: str, flag: str) -> None:
    """As a finding in compatible mode, as an error that names the variable in strict mode."""
    variables, kind = SAID[flag]
    found = translate({**BASE, **variables}, program, mode="compatible")

    assert [finding.kind for finding in found.findings] == [kind]
    with pytest.raises(SpecError) as caught:
        translate({**BASE, **variables}, program)
    assert found.findings[0].variable in str(caught.value)
    assert found.findings[0].variable in variables


@pytest.mark.parametrize(
    ("program", "variables", "repository", "cache"),
    [
        ("kaniko", {}, "acme/app", "acme/app/cache"),
        ("kaniko", {"PLUGIN_REGISTRY": "https://r.example"}, "acme/app", "acme/app/cache"),
        (
            "kaniko",
            {"PLUGIN_REGISTRY": "https://r.example/", "PLUGIN_EXPAND_REPO": "true"},
            "r.example/acme/app",
            "r.example/acme/app/cache",
        ),
        (
            "kaniko",
            {
                "PLUGIN_REGISTRY": "r.example",
                "PLUGIN_EXPAND_REPO": "true",
                "PLUGIN_REPO": "r.example/acme/app",
            },
            "r.example/acme/app",
            "r.example/acme/app/cache",
        ),
        ("kaniko", {"PLUGIN_EXPAND_REPO": "true"}, "acme/app", "acme/app/cache"),
        ("kaniko-gcr", {}, "gcr.io/acme/app", "gcr.io/acme/app/cache"),
        (
            "kaniko-gcr",
            {"BASE_REGISTRY": "eu.gcr.io"},
            "eu.gcr.io/acme/app",
            "eu.gcr.io/acme/app/cache",
        ),
        (
            "kaniko-ecr",
            {"PLUGIN_REGISTRY": "e.example"},
            "e.example/acme/app",
            "e.example/acme/app/cache",
        ),
        (
            "kaniko-gar",
            {"PLUGIN_REGISTRY": "g.example/p", "PLUGIN_CACHE_REPO": "layers"},
            "g.example/p/acme/app",
            "g.example/p/layers",
        ),
        (
            "kaniko-acr",
            {"PLUGIN_REGISTRY": "z.example", "PLUGIN_CACHE_REPO": "layers"},
            "acme/app",
            "z.example/layers",
        ),
    ],
)
def test_the_registry_stands_before_the_repository_where_the_plugin_puts_it(
    program: str, variables: dict[str, str], repository: str, cache: str
) -> None:
    """And before the cache's."""
    found = translate({**BASE, "PLUGIN_ENABLE_CACHE": "true", **variables}, program)

    assert found.settings["repo"] == repository
    assert found.settings["remote_cache_repo"] == cache


def test_logins_are_for_the_registry_and_for_base_images() -> None:
    """The base images' only pulls; Docker Hub's second API has the name of its first."""
    found = translate(
        {
            **BASE,
            "PLUGIN_REGISTRY": "https://index.docker.io/v2/",
            "PLUGIN_USERNAME": "ci",
            "PLUGIN_PASSWORD": CANARY,
            "PLUGIN_BASE_IMAGE_REGISTRY": "https://r.example",
            "PLUGIN_BASE_IMAGE_USERNAME": "reader",
            "DOCKER_PASSWORD": f"{CANARY}2",
        },
        "kaniko",
    )

    push, pull = found.logins
    assert (push.host, push.username, push.password) == (
        "https://index.docker.io/v1/",
        "ci",
        CANARY,
    )
    assert (pull.host, pull.username, pull.password) == (
        "https://r.example",
        "reader",
        f"{CANARY}2",
    )
    assert (push.pull_only, pull.pull_only) == (False, True)
    assert CANARY not in repr(found)


def test_a_whole_config_goes_before_every_other_login() -> None:
    """As it is."""
    config = '{"auths": {"r.example": {"auth": "eA=="}}}'
    (login,) = translate(
        {**BASE, "PLUGIN_CONFIG": config, "PLUGIN_USERNAME": "a", "PLUGIN_PASSWORD": "b"}, "kaniko"
    ).logins

    assert (login.kind, login.config) == ("config", config)


@pytest.mark.parametrize(
    ("program", "variables", "kind", "options"),
    [
        (
            "kaniko-ecr",
            {"PLUGIN_ACCESS_KEY": "AK", "PLUGIN_SECRET_KEY": CANARY, "PLUGIN_ASSUME_ROLE": "arn"},
            "ecr",
            {
                "region": "us-east-1",
                "access-key": "AK",
                "secret-key": CANARY,
                "assume-role": "arn",
            },
        ),
        ("kaniko-gar", {"PLUGIN_JSON_KEY": CANARY}, "gcr", {"json-key": CANARY}),
        (
            "kaniko-acr",
            {"CLIENT_ID": "id", "TENANT_ID": "t", "CLIENT_SECRET": CANARY},
            "acr",
            {"client-id": "id", "tenant-id": "t", "client-secret": CANARY},
        ),
    ],
)
def test_clouds_logins_keep_their_fields(
    program: str, variables: dict[str, str], kind: str, options: dict[str, str]
) -> None:
    """And none of them shows."""
    found = translate({**BASE, **variables}, program)

    assert (found.logins[0].kind, dict(found.logins[0].options)) == (kind, options)
    assert CANARY not in repr(found)


def test_repositories_are_made_where_the_plugin_makes_them() -> None:
    """In ECR; Azure's plugin only reads the variables."""
    asked = {
        **BASE,
        "PLUGIN_CREATE_REPOSITORY": "true",
        "PLUGIN_LIFECYCLE_POLICY": "l.json",
        "PLUGIN_REPOSITORY_POLICY": "r.json",
    }
    made = translate(asked, "kaniko-ecr")
    assert made.create_repository
    assert (made.lifecycle_policy, made.repository_policy) == ("l.json", "r.json")

    ignored = translate(asked, "kaniko-acr", mode="compatible")
    assert not ignored.create_repository and ignored.lifecycle_policy == ""
    assert {finding.variable for finding in ignored.findings} == set(asked) - set(BASE)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PLUGIN_AUTO_TAG": "1", "PLUGIN_EXPAND_TAG": "1"}, "cannot be together"),
        ({"PLUGIN_AUTO_TAG": "1", "PLUGIN_TAGS": "1.0"}, "PLUGIN_TAGS: cannot be together"),
        (
            {"PLUGIN_AUTO_TAG": "1", "DRONE_COMMIT_REF": "refs/heads/x", "DRONE_REPO_BRANCH": "y"},
            "neither a git tag nor the default branch",
        ),
        ({"PLUGIN_TAGS": ""}, "PLUGIN_TAGS: has no tag"),
        ({"PLUGIN_PUSH_ONLY": "1"}, "PLUGIN_SOURCE_TAR_PATH"),
        (
            {"PLUGIN_PUSH_ONLY": "1", "PLUGIN_NO_PUSH": "1", "PLUGIN_SOURCE_TAR_PATH": "a"},
            "PLUGIN_NO_PUSH cannot be together",
        ),
        ({"PLUGIN_USERNAME": "ci"}, "PLUGIN_PASSWORD: is missing"),
        ({"PLUGIN_PASSWORD": CANARY}, "PLUGIN_USERNAME: is missing"),
        ({"PLUGIN_REGISTRY_CERTIFICATE": CANARY}, "expected HOST=FILE"),
        ({"PLUGIN_REGISTRY_CLIENT_CERT": f"h={CANARY}"}, "expected HOST=CERTIFICATE,KEY"),
        ({"PLUGIN_CACHE_TTL": CANARY}, "PLUGIN_CACHE_TTL: is not a whole number"),
        ({"PLUGIN_NO_PUSH": CANARY}, "PLUGIN_NO_PUSH: is neither true nor false"),
    ],
)
@pytest.mark.parametrize("mode", ["strict", "compatible"])
def test_what_the_plugin_refuses_is_refused_in_both_modes(
    mode: Literal["strict", "compatible"], variables: dict[str, str], said: str
) -> None:
    """The error names the variable, and quotes no value."""
    with pytest.raises(SpecError) as caught:
        translate({**BASE, **variables}, "kaniko", mode=mode)

    assert said in str(caught.value) and CANARY not in caught.value.report()


@pytest.mark.parametrize(
    ("variables", "kind", "variable"),
    [
        ({"PLUGIN_CACHE_REPO": "a"}, "no-op", "PLUGIN_CACHE_REPO"),
        ({"PLUGIN_CACHE_TTL": "3"}, "no-op", "PLUGIN_CACHE_TTL"),
        ({"PLUGIN_AUTO_TAG_SUFFIX": "a"}, "no-op", "PLUGIN_AUTO_TAG_SUFFIX"),
        ({"PLUGIN_BUILD_ARGS_NEW": "A=1"}, "no-op", "PLUGIN_BUILD_ARGS_NEW"),
        ({"PLUGIN_BUILD_ARGS": "A=1,2"}, "lossy", "PLUGIN_BUILD_ARGS"),
        ({"PLUGIN_CUSTOM_LABELS": "a=1,2"}, "lossy", "PLUGIN_CUSTOM_LABELS"),
        ({"PLUGIN_TAGS": "1,,2"}, "lossy", "PLUGIN_TAGS"),
        ({"PLUGIN_CACHE_RUN_LAYERS": "false"}, "no-op", "PLUGIN_CACHE_RUN_LAYERS"),
        ({"PLUGIN_SOURCE_TAR_PATH": "a"}, "no-op", "PLUGIN_SOURCE_TAR_PATH"),
        ({"PLUGIN_BASE_IMAGE_REGISTRY": "a"}, "no-op", "PLUGIN_BASE_IMAGE_REGISTRY"),
        ({"PLUGIN_DOCKERFLE": "a"}, "unknown", "PLUGIN_DOCKERFLE"),
    ],
)
def test_what_would_be_lost_silently_is_found(
    variables: dict[str, str], kind: str, variable: str
) -> None:
    """An error in strict mode, a finding in compatible mode."""
    (finding,) = translate({**BASE, **variables}, "kaniko", mode="compatible").findings
    assert (finding.kind, finding.variable) == (kind, variable)

    with pytest.raises(SpecError, match=variable):
        translate({**BASE, **variables}, "kaniko")


def test_lines_of_the_tags_file_are_tags_and_a_finding() -> None:
    """The plugin only knows commas there, and would make one tag of all lines."""
    found = translate(BASE, "kaniko", mode="compatible", tags_file="1\n2\n")

    assert found.settings["tags"] == ("1", "2")
    assert [each.variable for each in found.findings] == [".tags"]


@given(
    st.dictionaries(
        st.sampled_from(sorted({n for p in KANIKOS for f in flags_of(p) for n in f.variables})),
        st.sampled_from(["", "true", "1", "a,b", "a=b", "a=b,c", ";", "\n"])
        | st.text(max_size=12),
        max_size=8,
    ),
    st.sampled_from(KANIKOS),
    st.sampled_from(["strict", "compatible"]),
)
def test_any_environment_is_settings_or_our_error(
    variables: dict[str, str], program: str, mode: Literal["strict", "compatible"]
) -> None:
    """Which shows no value that could be a secret."""
    planted = {
        name: f"{CANARY}{value}"
        if "PASSWORD" in name or "SECRET" in name or "KEY" in name
        else value
        for name, value in variables.items()
    }
    try:
        shown = repr(translate({**BASE, **planted}, program, mode=mode))
    except SpecError as error:
        shown = error.report()
    assert CANARY not in shown
