"""Secrets, agents, caches, outputs, hosts and annotations: one shape each, from many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretBytes, SecretStr

from buildpush.errors import SpecError
from buildpush.spec import Cache, FromEnv, Output, StepSpec, Ulimit

CANARY = "c4nary-s3cret"


def parsed(**settings: Any) -> StepSpec:
    return StepSpec.parse({"repo": "ghcr.io/acme/app", **settings})


def said(**settings: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parsed(**settings)
    return caught.value.report()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (CANARY, SecretStr(CANARY)),
        (SecretStr(CANARY), SecretStr(CANARY)),
        (Path("/run/x"), Path("/run/x")),
        (FromEnv("NPM"), FromEnv("NPM")),
        ({"env": "NPM"}, FromEnv("NPM")),
        ({"file": "/run/x"}, Path("/run/x")),
    ],
)
def test_the_type_of_a_secret_says_where_it_comes_from(given: object, kept: object) -> None:
    """Text is the value itself."""
    assert parsed(secrets={"npm": given}).secrets == {"npm": kept}


def test_docker_style_secrets_are_files_or_variables() -> None:
    """Never the value itself, which would stand on a command line."""
    spec = parsed(secrets=["id=a,src=/a", "id=b,env=B", "id=C", "type=file,id=d,source=/d"])

    assert spec.secrets == {
        "a": Path("/a"),
        "b": FromEnv("B"),
        "C": FromEnv("C"),
        "d": Path("/d"),
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"secrets": {"npm": CANARY}},
        {"secrets": {"npm": SecretStr(CANARY)}},
        {"secrets": {"npm": CANARY}, "push": False},
    ],
)
def test_a_secret_is_never_shown(settings: dict[str, object]) -> None:
    """Neither by repr nor by either dump."""
    spec = parsed(**settings)

    assert CANARY not in repr(spec) + str(spec) + repr(spec.model_dump()) + spec.model_dump_json()


@pytest.mark.parametrize(
    "settings",
    [
        {"secrets": {"npm": [CANARY]}},
        {"secrets": {"npm": {"value": CANARY}}},
        {"secrets": {"npm": {"env": CANARY, "file": CANARY}}},
        {"secrets": {"bad/id": CANARY}},
        {"secrets": CANARY},
        {"secrets": [CANARY]},
        {"secrets": {"npm": CANARY}, "envDockerSecrets": {"npm": "NPM"}},
        {"buildArgs": {"TOKEN": SecretStr(CANARY)}},
        {"labels": {"a": SecretBytes(CANARY.encode())}},
        {"buildArgs": {"TOKEN": [CANARY]}},
        {"tags": [SecretStr(CANARY)]},
        {"target": SecretStr(CANARY)},
        {"secrets": {"npm": CANARY}, "unknown": CANARY},
        {"ssh": {"default": [CANARY]}},
        {"cacheTo": f"type=s3,secret_access_key={CANARY}"},
    ],
)
def test_a_rejected_secret_is_not_quoted_back(settings: dict[str, object]) -> None:
    """Whatever is wrong with it, and wherever it was put."""
    with pytest.raises(SpecError) as caught:
        parsed(**settings)

    error = caught.value
    assert CANARY not in error.report() + repr(error) + repr(error.__context__)


def test_a_secret_outside_of_secrets_is_told_where_to_go() -> None:
    """A build arg ends up in the image's history."""
    assert "buildArgs.TOKEN: a secret here" in said(buildArgs={"TOKEN": SecretStr("x")})


def test_a_secret_hidden_in_a_dump_is_not_read_back_as_asterisks() -> None:
    """A spec read from its own JSON fails instead of building with a wrong secret."""
    written = parsed(secrets={"npm": CANARY}).model_dump(mode="json")

    with pytest.raises(SpecError, match=r"secrets\.npm: expected \{env: NAME\}"):
        StepSpec.parse(written)


def test_the_same_secret_from_two_sources_is_a_fault() -> None:
    """Neither wins silently; the same source twice is fine."""
    assert "secrets.a: is given twice" in said(
        envDockerSecrets={"a": "A"}, fileDockerSecrets={"a": "/a"}
    )
    assert parsed(envDockerSecrets={"a": "A"}, secrets={"a": FromEnv("A")}).secrets == {
        "a": FromEnv("A")
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (True, {"default": FromEnv("SSH_AUTH_SOCK")}),
        ("default", {"default": FromEnv("SSH_AUTH_SOCK")}),
        (["default=/run/agent", "key=/id"], {"default": Path("/run/agent"), "key": Path("/id")}),
        ({"default": None}, {"default": FromEnv("SSH_AUTH_SOCK")}),
        ({"a": Path("/x"), "b": FromEnv("B")}, {"a": Path("/x"), "b": FromEnv("B")}),
        (False, {}),
    ],
)
def test_an_agent_is_a_path_or_the_usual_variable(given: object, kept: object) -> None:
    """As ``docker build --ssh`` writes them, and from Python."""
    assert parsed(ssh=given).ssh == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("acme/app:cache", Cache(type="registry", attributes={"ref": "acme/app:cache"})),
        ("type=registry,ref=a/b,mode=max", None),
        ('type=s3,"bucket=a,b",region=eu', None),
        ({"type": "gha", "scope": "x"}, Cache(type="gha", attributes={"scope": "x"})),
        ({"type": "gha", "required": True}, Cache(type="gha", required=True)),
        (Cache(type="inline"), Cache(type="inline")),
    ],
)
def test_a_cache_is_a_reference_or_a_list_of_attributes(given: object, kept: Cache | None) -> None:
    """A bare reference is a registry cache; CSV quoting lets a value hold a comma."""
    (cache,) = parsed(cacheFrom=given).cache_from

    match given:
        case str() if kept is None:
            assert str(cache).replace('"', "") == given.replace('"', "")
        case _:
            assert cache == kept


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("type=nfs,x=y", "unknown cache type 'nfs'"),
        ("type=registry", "a registry cache needs ref="),
        ("a/UPPER", "not an image reference"),
        ("type=registry,ref=A B", "not an image reference"),
        ("type=gha,type=s3", "type is given twice"),
        ("type=gha,token=x", "token must not be in a setting"),
        ("type=gha,ghtoken=x", "ghtoken must not be in a setting"),
        (
            Cache(type="s3", attributes={"secret_access_key": "x"}),
            "secret_access_key must not be in a setting",
        ),
        (5.5, "expected text"),
    ],
)
def test_a_bad_cache_is_refused(given: object, fault: str) -> None:
    """Credentials of a cache are not settings."""
    assert f"cacheTo.0: {fault}" in said(cacheTo=given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("type=oci,dest=x.tar", Output(type="oci", destination=Path("x.tar"))),
        ({"type": "docker", "destination": "x"}, Output(type="docker", destination=Path("x"))),
        ("out", Output(type="local", destination=Path("out"))),
        (Path("out"), Output(type="local", destination=Path("out"))),
        ({"type": "oci", "dest": Path("d")}, Output(type="oci", destination=Path("d"))),
        (Output(type="oci", destination=Path("d")), Output(type="oci", destination=Path("d"))),
    ],
)
def test_an_output_is_a_type_and_a_place(given: object, kept: Output) -> None:
    """As ``docker build --output`` writes it; a bare path gets plain files."""
    assert parsed(outputs=given).outputs == (kept,)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("type=tar,dest=x", "unknown type 'tar'"),
        ("type=oci", "expected dest=PATH"),
        ("-", "expected dest=PATH"),
        ("type=oci,dest=x,name=y", "unknown key 'name'"),
    ],
)
def test_a_bad_output_is_refused(given: object, fault: str) -> None:
    """Nothing is written to nowhere."""
    assert f"outputs.0: {fault}" in said(outputs=[given])


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("nofile", "expected name=soft"),
        ("nofile=x", "expected name=soft"),
        ("nofile=-2", "expected name=soft"),
        ("files=5", "unknown limit 'files'"),
        ("nofile=9:5", "nofile: the soft limit is above"),
        ("nofile=-1:5", "nofile: the soft limit is above"),
    ],
)
def test_a_bad_ulimit_is_refused(given: str, fault: str) -> None:
    """setrlimit would refuse it too, much later."""
    assert f"ulimits.0: {fault}" in said(ulimits=[given])


def test_a_ulimit_without_end_is_minus_one() -> None:
    """Soft below an endless hard limit is fine."""
    limits = parsed(ulimits={"memlock": -1, "nofile": "5:-1"}).ulimits

    assert limits == (
        Ulimit(name="memlock", soft=-1, hard=-1),
        Ulimit(name="nofile", soft=5, hard=-1),
    )


@pytest.mark.parametrize(
    "given", [["db:10.0.0.1"], ["db=10.0.0.1"], "db:10.0.0.1", {"db": "10.0.0.1"}]
)
def test_a_host_is_a_name_and_an_address(given: object) -> None:
    """With a colon or an equals sign."""
    assert parsed(addHosts=given).add_hosts == {"db": "10.0.0.1"}


def test_an_ipv6_address_may_stand_in_brackets() -> None:
    """The name ends at the first colon."""
    hosts = parsed(addHosts=["a:[::1]", "b:fe80::1", "c:host-gateway"]).add_hosts

    assert hosts == {"a": "::1", "b": "fe80::1", "c": "host-gateway"}


@pytest.mark.parametrize(("given", "fault"), [(["db"], "name:address"), (["db:x"], "not an IP")])
def test_a_bad_host_is_refused(given: object, fault: str) -> None:
    """A name is not an address."""
    assert fault in said(addHosts=given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("org.opencontainers.image.title", "org.opencontainers.image.title"),
        ("manifest:a", "a"),
        ("index:a.b/c", "index:a.b/c"),
        ("manifest[linux/aarch64]:a", "manifest[linux/arm64]:a"),
        ("com.acme/x:y", "com.acme/x:y"),
    ],
)
def test_an_annotation_may_say_its_level(given: str, kept: str) -> None:
    """The manifest is the default; platforms are normalised."""
    assert parsed(annotations={given: "v"}).annotations == {kept: "v"}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("layer:a", "unknown level 'layer'"),
        ("index:", "unknown level 'index'"),
        ("index[linux/amd64]:a", "an index has no platform"),
        ("manifest[x]:a", "not a platform"),
    ],
)
def test_an_unknown_level_is_refused(given: str, fault: str) -> None:
    """A typing mistake would put the annotation on the manifest under a wrong name."""
    assert fault in said(annotations={given: "v"})


def test_registries_are_hosts() -> None:
    """Mirrors may have a path; what is insecure is a host."""
    spec = parsed(
        mirrors={"docker.io": "mirror.acme.eu/hub"}, insecure=["localhost:5000", "[::1]:5"]
    )

    assert spec.mirrors == {"docker.io": ("mirror.acme.eu/hub",)}
    assert spec.insecure == {"localhost:5000", "[::1]:5"}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"insecure": "http://x"}, "expected a registry host"),
        ({"insecure": "x/y"}, "expected a registry host"),
        ({"mirrors": {"docker.io": "https://x"}}, "expected a registry host"),
        ({"mirrors": {"docker.io": "x.eu/A"}}, "not an image reference"),
        ({"network": "a b"}, "expected default, none, host"),
    ],
)
def test_what_is_no_host_or_network_is_refused(settings: dict[str, object], fault: str) -> None:
    """A URL is not a host."""
    assert fault in said(**settings)
