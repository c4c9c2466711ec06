"""The arguments of buildah, from requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.backends.buildah.argv import (
    Surroundings,
    build,
    build_environment,
    epoch_of,
    is_free,
    push,
)
from buildpush.backends.buildah.probing import Buildah
from buildpush.dockerfile import parse
from buildpush.errors import SpecError
from buildpush.oci import Platform
from buildpush.plan import BuildRequest
from buildpush.plan.values import Cache, Resources, Ulimit

HERE = Buildah(program="/usr/bin/buildah", version=(1, 28, 2), isolation="oci")
WHERE = Surroundings(
    authfile=Path("/run/pull.json"),
    mark=Path("/run/mark"),
    dockerfile=Path("/src/Dockerfile"),
    context=Path("/src"),
)


def a_request(**changes: Any) -> BuildRequest:
    return BuildRequest(
        context=Path("/src"),
        dockerfile=parse("FROM scratch\n"),
        dockerfile_path=Path("/src/Dockerfile"),
        **changes,
    )


def test_a_dockerfile_learns_where_it_is_built() -> None:
    """Old buildahs know no BUILDPLATFORM, and the user may say otherwise."""
    text = "FROM --platform=$BUILDPLATFORM base\nARG BUILDARCH\n"
    host = Platform.host()
    request = evolve(a_request(build_args={"BUILDARCH": "own"}), dockerfile=parse(text))

    argv = build(request, HERE, WHERE, platform=Platform.parse("linux/s390x"))

    assert follows(argv, "--build-arg", f"BUILDPLATFORM={host}")
    assert follows(argv, "--build-arg", "BUILDARCH=own")
    assert not any("BUILDOS" in word for word in argv)


def follows(argv: tuple[str, ...], *words: str) -> bool:
    return any(argv[i : i + len(words)] == words for i in range(len(argv)))


def test_the_plainest_build() -> None:
    """Everything that a build always says, in full."""
    argv = build(a_request(), HERE, WHERE)

    expected = (
        "/usr/bin/buildah build --file /src/Dockerfile --layers=true --format oci --force-rm "
        "--isolation oci --identity-label=false --authfile /run/pull.json --retry 4 "
        "--secret id=buildpush-run,src=/run/mark --network host --pull=true -- /src"
    )
    assert expected == " ".join(argv)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "final"}, ("--target", "final")),
        ({"labels": {"a": "b c"}}, ("--label", "a=b c")),
        ({"build_args": {"PATH": "/x"}}, ("--build-arg", "PATH=/x")),
        ({"secrets": {"npm": Path("/run/npm")}}, ("--secret", "id=npm,src=/run/npm")),
        ({"ssh": {"default": Path("/run/agent")}}, ("--ssh", "default=/run/agent")),
        ({"build_contexts": {"docs": "/docs"}}, ("--build-context", "docs=/docs")),
        ({"network": "none"}, ("--network", "none")),
        ({"add_hosts": {"db": "10.0.0.1"}}, ("--add-host", "db:10.0.0.1")),
        (
            {"ulimits": (Ulimit(name="nofile", soft=1, hard=2),)},
            ("--ulimit", "nofile=1:2"),
        ),
        ({"shm_size": 1 << 20}, ("--shm-size", "1048576")),
        ({"cgroup_parent": "/ci"}, ("--cgroup-parent", "/ci")),
        ({"limits": Resources(memory=5 << 20)}, ("--memory", "5242880")),
        (
            {"limits": Resources(cpus=1.5)},
            ("--cpu-period", "100000", "--cpu-quota", "150000"),
        ),
        ({"no_cache": True}, ("--no-cache",)),
        ({"pull": True}, ("--pull=always",)),
        ({"retries": 0}, ("--retry", "0")),
        ({"source_date_epoch": 7}, ("--timestamp", "7")),
        ({"reproducible": True}, ("--timestamp", "0")),
        ({"squash": True}, ("--layers=false",)),
        ({"local_outputs": (Path("/out"),)}, ("--output", "type=local,dest=/out")),
        (
            {"cache_to": (Cache(type="registry", attributes={"ref": "r.io/cache:main"}),)},
            ("--cache-to", "r.io/cache"),
        ),
        (
            {"cache_from": (Cache(type="registry", attributes={"ref": "r.io/cache"}),)},
            ("--cache-from", "r.io/cache"),
        ),
    ],
)
def test_a_setting_becomes_an_option(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    """One row for each setting."""
    assert follows(build(a_request(**changes), HERE, WHERE), *words)


def test_a_platform_is_named() -> None:
    """Each platform is a build of its own."""
    argv = build(a_request(), HERE, WHERE, platform=Platform.parse("linux/arm/v7"))

    assert follows(argv, "--platform", "linux/arm/v7")


def test_what_only_dockers_format_remembers_is_built_in_it() -> None:
    """The caller knows the Dockerfile and its base."""
    assert follows(build(a_request(), HERE, WHERE, oci=False), "--format", "docker")


def test_newer_versions_are_spoken_to_in_their_own_words() -> None:
    """--pull=true has become something else, and timestamps are clamped since 1.41."""
    newer = Buildah(program="buildah", version=(1, 41, 0))

    argv = build(a_request(source_date_epoch=7), newer, WHERE)

    assert follows(argv, "--pull=newer")
    assert follows(argv, "--source-date-epoch", "7", "--rewrite-timestamp")


def test_a_runtime_that_buildah_would_not_choose_is_named() -> None:
    """Where its own choice does not work."""
    other = Buildah(program="buildah", version=(1, 28), runtime="runc", usual_runtime="crun")

    assert follows(build(a_request(), other, WHERE), "--runtime", "runc")


def test_the_files_of_the_run_are_named() -> None:
    """A policy where the machine has none, and docker's rules of what is ignored."""
    where = Surroundings(
        authfile=Path("/run/a"),
        mark=Path("/run/m"),
        dockerfile=Path("/d"),
        context=Path("/c"),
        policy=Path("/run/policy.json"),
        ignorefile=Path("/c/.dockerignore"),
    )

    argv = build(a_request(), HERE, where)

    assert follows(argv, "--signature-policy", "/run/policy.json")
    assert follows(argv, "--ignorefile", "/c/.dockerignore")


def test_a_build_arg_travels_in_the_environment() -> None:
    """Where everybody on the machine could read it, there is only its name."""
    request = a_request(build_args={"TOKEN": "s3cret", "HTTP_PROXY": "http://p"})

    variables = build_environment(request, {"HOME": "/root"})
    argv = build(request, HERE, WHERE, variables=variables)

    assert variables == {"HOME": "/root", "TOKEN": "s3cret"}
    assert follows(argv, "--build-arg", "TOKEN")
    assert follows(argv, "--build-arg", "HTTP_PROXY=http://p")


@pytest.mark.parametrize("name", ["DOCKER_PASSWORD", "REGISTRY_TOKEN"])
def test_so_does_a_token_whose_name_only_begins_like_buildahs_own(name: str) -> None:
    """What buildah reads by such names is never called a token or a password."""
    request = a_request(build_args={name: "s3cret"})

    variables = build_environment(request, {})

    assert variables == {name: "s3cret"}
    assert follows(build(request, HERE, WHERE, variables=variables), "--build-arg", name)


@pytest.mark.parametrize(
    "name", ["PATH", "TMPDIR", "https_proxy", "BUILDAH_X", "GODEBUG", "LC_ALL"]
)
def test_what_means_something_to_buildah_is_not_free(name: str) -> None:
    """A build arg must not change how buildah itself works."""
    assert not is_free(name)


def test_a_comma_cannot_be_said() -> None:
    """Buildah splits these options at commas and knows no quotes."""
    with pytest.raises(SpecError, match="comma"):
        build(a_request(secrets={"a": Path("/x,y")}), HERE, WHERE)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"reproducible": True}, 0),
        ({"source_date_epoch": 5, "reproducible": True}, 5),
        ({"build_args": {"SOURCE_DATE_EPOCH": "9"}}, 9),
    ],
)
def test_the_moment_of_every_timestamp(changes: dict[str, Any], expected: int | None) -> None:
    """As the embedded backend reads the settings."""
    assert epoch_of(a_request(**changes)) == expected


def test_a_push() -> None:
    """To a registry, with the digest written down."""
    argv = push(
        HERE,
        "abc",
        "docker://r.io/app:1",
        a_request(),
        authfile=Path("/run/push.json"),
        digestfile=Path("/run/digest"),
        policy=Path("/run/policy.json"),
    )

    expected = (
        "/usr/bin/buildah push --authfile /run/push.json --format oci --retry 4 "
        "--digestfile /run/digest --signature-policy /run/policy.json abc docker://r.io/app:1"
    )
    assert expected == " ".join(argv)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compression": "zstd"}, ("--compression-format", "zstd")),
        ({"compression_level": 9}, ("--compression-level", "9")),
        ({"compression": "none"}, ("--disable-compression",)),
    ],
)
def test_compression_is_chosen_when_an_image_leaves(
    changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    """The storage has no compressed layers."""
    argv = push(HERE, "abc", "oci:/out", a_request(**changes), authfile=Path("/a"))

    assert follows(argv, *words)
    assert "--retry" not in argv


@pytest.mark.parametrize(
    ("path", "word"),
    [("/a b/D", "/a b/D"), ("/a,b/D", '"/a,b/D"'), ('/a"b\n/D', '"/a""b\n/D"')],
)
def test_a_dockerfile_may_have_any_name(path: str, word: str) -> None:
    """Buildah reads a list of Dockerfiles out of one word."""
    argv = build(a_request(), HERE, evolve(WHERE, dockerfile=Path(path)))

    assert follows(argv, "--file", word)
