"""Resolved bake files: each field becomes a setting or is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from buildpush.errors import SpecError
from buildpush.oci import Platform
from buildpush.spec import FromEnv, StepSpec
from buildpush.spec.bake import BakeStep, parse_bake
from buildpush.spec.bakefields import Surroundings

CWD = Path("/project")
HOST = Platform.parse("linux/arm64")


def around(**changes: Any) -> Surroundings:
    return Surroundings(**{"cwd": CWD, "folder": Path("/kept"), "host": HOST, **changes})


def read(
    targets: dict[str, Any], *asked: str, push: bool | None = None, **changes: Any
) -> dict[str, BakeStep]:
    """The steps of *targets*, as buildx prints them, by name."""
    group = {"default": {"targets": list(asked or targets)}}
    text = json.dumps({"group": group, "target": targets})
    steps = parse_bake(text.encode()).steps(around(**changes), push=push)
    return {step.name: step for step in steps}


def settings(**fields: Any) -> dict[str, Any]:
    """What one pushed target comes to."""
    target = {"tags": ["r.example/app"], **fields}
    return dict(read({"app": {k.replace("_", "-"): v for k, v in target.items()}})["app"].settings)


def fault(**fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        settings(**fields)
    return caught.value.message


def test_the_least_that_a_target_says() -> None:
    """Everything else has buildx's defaults: the folder it runs in, and the Dockerfile there."""
    assert settings(context=".", dockerfile="Dockerfile") == {
        "repo": StepSpec(repo="r.example/app").repo,
        "tags": ["latest"],
        "context": CWD,
        "dockerfile": CWD / "Dockerfile",
        "push": True,
    }


@pytest.mark.parametrize(
    ("field", "value", "setting", "kept"),
    [
        ("context", "sub", "context", CWD / "sub"),
        ("context", "cwd://sub", "context", CWD / "sub"),
        ("context", "/abs", "context", Path("/abs")),
        ("dockerfile", "/abs/Dockerfile", "dockerfile", Path("/abs/Dockerfile")),
        ("dockerfile", "cwd://a/Dockerfile", "dockerfile", CWD / "a/Dockerfile"),
        ("args", {"A": "$${x} %%{y}", "B": None}, "build_args", {"A": "${x} %{y}"}),
        ("args", {"SOURCE_DATE_EPOCH": "7"}, "source_date_epoch", "7"),
        ("labels", {"a": "$${x}", "b": None}, "labels", {"a": "${x}"}),
        ("annotations", ["a=b=c", "x=$${y}"], "annotations", {"a": "b=c", "x": "${y}"}),
        (
            "annotations",
            ["index,manifest:a.b=c"],
            "annotations",
            {"index:a.b": "c", "manifest:a.b": "c"},
        ),
        ("target", "final", "target", "final"),
        ("platforms", ["local", "linux/s390x"], "platforms", ("linux/arm64", "linux/s390x")),
        ("ssh", ["default"], "ssh", {"default": FromEnv("SSH_AUTH_SOCK")}),
        ("ssh", ["key=k"], "ssh", {"key": CWD / "k"}),
        ("ssh", [{"id": "key", "paths": ["/k"]}], "ssh", {"key": Path("/k")}),
        ("pull", True, "pull", True),
        ("no_cache", True, "no_cache", True),
        ("no_cache_filter", ["a"], "no_cache_filter", ("a",)),
        ("network", "host", "network", "host"),
        ("shm_size", "128MiB", "shm_size", "128MiB"),
        ("ulimits", ["nofile=1:2"], "ulimits", ("nofile=1:2",)),
        ("extra_hosts", {"h": "10.0.0.1", "i": None}, "add_hosts", {"h": "10.0.0.1"}),
        ("attest", [{"type": "provenance", "mode": "min"}], "provenance", "min"),
        ("attest", ["type=provenance"], "provenance", "max"),
        ("attest", [{"type": "sbom"}], "sbom", True),
        ("attest", [{"type": "sbom", "generator": "a/b:1"}], "sbom", "generator=a/b:1"),
    ],
)
def test_a_field_becomes_a_setting(field: str, value: Any, setting: str, kept: object) -> None:
    """With the meaning that buildx gives it."""
    assert settings(**{field: value})[setting] == kept


@pytest.mark.parametrize(
    "fields",
    [
        {"entitlements": ["network.host", "security.insecure"]},
        {"call": "build"},
        {"description": "the app"},
        {"attest": [{"type": "sbom", "disabled": True}]},
        {"output": [{"type": "image", "push": "true", "oci-mediatypes": "true"}]},
        {"policy": None},
    ],
)
def test_what_a_step_does_anyway(fields: Any) -> None:
    """It adds nothing."""
    assert settings(**fields) == settings()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("context", "https://user:pw@x.example/a.git", "context: https://… is not a folder"),
        ("context", "git@github.com:a/b.git", "context: 'git' is not a folder"),
        ("context", "github.com/a/b", "context: 'github.com/a/b' is not a folder"),
        ("context", "docker-image://alpine", "context: docker-image://… is not a folder"),
        ("context", "target:other", "context: 'target:other' is not a folder"),
        ("context", "-", "context: '-' is not a folder"),
        ("dockerfile", "https://x.example/D", "dockerfile: https://… is not a file"),
        ("annotations", ["novalue"], "annotations: expected name=value"),
        ("tags", [], "tags: none, so that there is nowhere to push to"),
        ("tags", ["r.example/a@sha256:" + "0" * 64], "tags: an image cannot be given a digest"),
        ("tags", ["Not a tag"], "tags: "),
        ("cache_to", [{"type": "punchcards"}], "cache-to: unknown cache type"),
        (
            "cache_from",
            [{"type": "s3", "secret_access_key": "x"}],
            "cache-from: secret_access_key",
        ),
        (
            "secret",
            [{"id": "a", "src": "f", "fresh": "1"}],
            "secret: a step has nothing like fresh",
        ),
        ("ssh", [{"id": "a", "paths": ["1", "2"]}], "ssh: a has 2 keys"),
        ("extra_hosts", {"h": "10.0.0.1,10.0.0.2"}, "extra-hosts: h has several addresses"),
        ("entitlements", ["device"], "entitlements: a step cannot ask for device"),
        ("call", "check", "call: a step builds, and does not check"),
        ("attest", [{"type": "vex"}], "attest: unknown type 'vex'"),
        ("attest", [{"type": "provenance", "builder-id": "x"}], "nothing like builder-id"),
        ("output", [{"type": "tar", "dest": "x"}], "output: a step cannot write type=tar"),
        ("output", [{"type": "docker"}], "without dest goes into an engine's store"),
        ("output", [{"type": "oci"}], "without dest goes to standard output"),
        ("output", [{"type": "oci", "dest": "x.oci"}], "a file when dest ends in .tar"),
        ("output", [{"type": "oci", "dest": "x.tar", "tar": "false"}], "when dest ends in .tar"),
        ("output", [{"type": "docker", "dest": "x", "tar": "false"}], "writes an archive"),
        ("output", [{"type": "image", "danglingname": "x"}], "nothing like danglingname"),
        ("output", [{"type": "image", "oci-mediatypes": "false"}], "nothing like oci-mediatypes"),
        ("output", [{"type": "image", "rewrite-timestamp": "true"}], "needs the build arg SOURCE"),
        (
            "output",
            ["type=image,compression=zstd", "type=oci,dest=x.tar,compression=gzip"],
            "two values of compression",
        ),
        ("policy", [{"x": 1}], "policy: a step has nothing like it"),
    ],
)
def test_what_a_step_has_not_is_refused_by_name(field: str, value: Any, words: str) -> None:
    """Nothing is dropped in silence, and what could be a login is not repeated."""
    message = fault(**{field: value})

    assert message.startswith("target 'app': ")
    assert words in message
    assert "pw" not in message


def test_every_fault_is_named_at_once() -> None:
    """Of all targets."""
    with pytest.raises(SpecError) as caught:
        read({"a": {"call": "check", "tags": ["x/a"]}, "b": {"context": "-", "tags": ["x/b"]}})

    assert caught.value.message == (
        "target 'a': call: a step builds, and does not check; target 'b': context: '-' is not a"
        " folder: clone or download it first"
    )


def test_named_contexts() -> None:
    """Folders and layouts are absolute; images and URLs are as they were."""
    given = {
        "folder": "./f",
        "here": "cwd://g",
        "image": "docker-image://alpine:3",
        "layout": "oci-layout://l:tag",
        "url": "https://x.example/a.git",
    }

    assert settings(contexts=given)["build_contexts"] == {
        "folder": "/project/f",
        "here": "/project/g",
        "image": "docker-image://alpine:3",
        "layout": "oci-layout:///project/l:tag",
        "url": "https://x.example/a.git",
    }


@pytest.mark.parametrize(
    ("entry", "source"),
    [
        ("id=s,src=f", CWD / "f"),
        ({"id": "s", "src": "/f"}, Path("/f")),
        ({"id": "s", "env": "V"}, FromEnv("V")),
        ("id=s,type=env,src=V", FromEnv("V")),
        ({"id": "s", "env": "GIVEN"}, SecretStr("value")),
        ({"id": "s"}, CWD / "s"),
    ],
)
def test_secrets(entry: Any, source: object) -> None:
    """A file, a variable, or the value that the caller gave for the variable."""
    steps = read({"a": {"tags": ["x/a"], "secret": [entry]}}, variables={"GIVEN": "value"})

    assert steps["a"].settings["secrets"] == {"s": source}


def test_a_secret_with_nothing_but_an_id() -> None:
    """It is the variable of that name where there is one."""
    steps = read({"a": {"tags": ["x/a"], "secret": ["id=TOKEN"]}}, known=frozenset({"TOKEN"}))

    assert steps["a"].settings["secrets"] == {"TOKEN": FromEnv("TOKEN")}


def test_caches() -> None:
    """Text and objects; only what may not fail without the build is required."""
    found = settings(
        cache_from=["r.example/c", {"type": "gha", "scope": "x"}],
        cache_to=[
            {"type": "local", "dest": "c", "mode": "max", "ignore-error": "true"},
            {"type": "registry", "ref": "r.example/c", "ignore-error": "false"},
        ],
    )

    assert list(map(str, found["cache_from"])) == [
        "type=registry,ref=r.example/c",
        "type=gha,scope=x",
    ]
    assert list(map(str, found["cache_to"])) == [
        "type=local,dest=/project/c,mode=max",
        "type=registry,ref=r.example/c,required=true",
    ]


@pytest.mark.parametrize(
    ("outputs", "pushed"),
    [
        ([], True),
        ([{"type": "registry"}], True),
        (["type=image,push=true", "type=oci,dest=x.tar"], True),
        ([{"type": "image", "push": "false"}], False),
        ([{"type": "cacheonly"}], False),
        ([{"type": "oci", "dest": "x.tar"}], False),
    ],
)
def test_outputs_say_whether_to_push(outputs: Any, pushed: bool) -> None:
    """Without any, a step does what it is for."""
    assert settings(output=outputs)["push"] is pushed


def test_the_caller_has_the_last_word_on_pushing() -> None:
    """Whatever the outputs say."""
    target = {"tags": ["x/a"], "output": [{"type": "cacheonly"}]}

    assert read({"a": target}, push=True)["a"].settings["push"] is True
    assert read({"a": {"tags": ["x/a"]}}, push=False)["a"].settings["push"] is False


def test_outputs_as_files() -> None:
    """A bare path gets the image's files."""
    found = settings(
        output=["files", "type=docker,dest=d.tar", {"type": "oci", "dest": "l", "tar": "false"}]
    )

    assert list(map(str, found["outputs"])) == [
        "type=local,dest=/project/files",
        "type=docker,dest=/project/d.tar",
        "type=oci,dest=/project/l",
    ]


def test_outputs_say_how_layers_are_compressed() -> None:
    """And what the image is called, where no tag does."""
    found = settings(
        tags=[],
        args={"SOURCE_DATE_EPOCH": "0"},
        output=[
            {
                "type": "registry",
                "name": "x.example/a:1,x.example/a:2",
                "compression": "zstd",
                "compression-level": "3",
                "rewrite-timestamp": "true",
            }
        ],
    )

    assert (str(found["repo"]), found["tags"]) == ("x.example/a", ["1", "2"])
    assert (found["compression"], found["compression_level"]) == ("zstd", "3")


def test_an_image_that_goes_nowhere_needs_no_tag() -> None:
    """It gets a name that nobody can push to by accident."""
    step = read({"My_Target": {"output": [{"type": "cacheonly"}]}})["My_Target"]

    assert str(step.settings["repo"]) == "localhost/my-target"
    assert step.settings["push"] is False


def test_tags_in_several_repositories_are_several_steps() -> None:
    """The first has the target's name, and its files."""
    target = {
        "tags": ["x.example/a:1", "y.example/b:1", "x.example/a:2"],
        "output": ["type=registry", "type=oci,dest=a.tar"],
    }

    steps = read({"app": target})

    assert list(steps) == ["app", "app@y.example/b"]
    assert steps["app"].settings["tags"] == ["1", "2"]
    assert steps["app@y.example/b"].settings["tags"] == ["1"]
    assert "outputs" not in steps["app@y.example/b"].settings


def test_an_inline_dockerfile() -> None:
    """Its text comes out as it was written."""
    step = read({"a": {"tags": ["x/a"], "dockerfile-inline": "FROM a\nENV B=$${C}\n"}})["a"]

    assert step.inline == "FROM a\nENV B=${C}\n"


def test_linked_targets_come_first() -> None:
    """They leave their image where the others look for it, and push only when asked for."""
    steps = read(
        {
            "app": {"tags": ["x/app:2"], "contexts": {"base": "target:base"}},
            "base": {"tags": ["x/base:1"], "output": [{"type": "cacheonly"}]},
        },
        "app",
        push=True,
    )

    assert list(steps) == ["base", "app"]
    assert steps["base"].settings["push"] is False
    assert list(map(str, steps["base"].settings["outputs"])) == ["type=oci,dest=/kept/images/base"]  # type: ignore[call-overload]
    assert steps["app"].settings["build_contexts"] == {"base": "oci-layout:///kept/images/base:1"}


def test_a_linked_target_that_was_asked_for_is_pushed() -> None:
    """As any other."""
    steps = read({"a": {"tags": ["x/a"], "contexts": {"b": "target:b"}}, "b": {"tags": ["x/b"]}})

    assert [step.settings["push"] for step in steps.values()] == [True, True]


def test_targets_keep_the_order_in_which_they_were_asked_for() -> None:
    """Groups stand for their targets, even one with the name of its target."""
    file = parse_bake(
        json.dumps(
            {
                "group": {
                    "default": {"targets": ["z", "more", "default"]},
                    "more": {"targets": ["y", "a"]},
                },
                "target": {name: {"tags": ["x/y"]} for name in ("a", "default", "y", "z")},
            }
        ).encode()
    )

    assert [step.name for step in file.steps(around())] == ["z", "y", "a", "default"]


def test_without_groups_every_target_was_asked_for() -> None:
    """As older versions of buildx print."""
    file = parse_bake(b'{"target": {"a": {"tags": ["x/a"]}}}')

    assert [step.settings["push"] for step in file.steps(around())] == [True]


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (
            {"a": {"contexts": {"x": "target:b"}}, "b": {"contexts": {"x": "target:a"}}},
            "targets build on each other: a -> b -> a",
        ),
        ({"a": {"contexts": {"x": "target:b"}}}, "target 'a': contexts: there is no target 'b'"),
    ],
)
def test_links_that_lead_nowhere(targets: Any, words: str) -> None:
    """They are refused, whatever buildx thought of them."""
    with pytest.raises(SpecError) as caught:
        read(targets)

    assert caught.value.message == words


def test_a_linked_target_with_a_bad_tag_is_named() -> None:
    """Not the one that builds on it."""
    with pytest.raises(SpecError, match="target 'b': tags"):
        read({"a": {"contexts": {"x": "target:b"}, "tags": ["x/a"]}, "b": {"tags": ["Bad Tag"]}})


@pytest.mark.parametrize(
    ("data", "needed"),
    [
        ({"a": {}}, False),
        ({"a": {"dockerfile-inline": "FROM scratch"}}, True),
        ({"a": {"contexts": {"b": "target:b"}}, "b": {}}, True),
    ],
)
def test_what_needs_a_folder(data: Any, needed: bool) -> None:
    """A Dockerfile that is no file, and images that targets hand on."""
    assert parse_bake(json.dumps({"target": data}).encode()).needs_folder is needed


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"[]", "the document"),
        (b"nonsense", "the document"),
        (b'{"target": {"a": {"tags": "hunter2"}}}', "target.a.tags"),
    ],
)
def test_what_is_no_resolved_bake_file(data: bytes, place: str) -> None:
    """It is refused with its place, and without being repeated."""
    with pytest.raises(SpecError) as caught:
        parse_bake(data)

    assert f"no resolved bake file: {place}: " in caught.value.message
    assert "hunter2" not in caught.value.report()
    assert caught.value.__context__ is None


def test_settings_are_those_of_a_step() -> None:
    """A spec can be made of them."""
    spec = StepSpec(
        **settings(
            contexts={"a": "b"},
            args={"A": "1", "SOURCE_DATE_EPOCH": "7"},
            annotations=["a=b"],
            platforms=["linux/amd64"],
            cache_from=["r.example/c"],
            secret=["id=s,env=V"],
            ssh=["default"],
            output=["type=registry,compression=zstd,compression-level=3"],
            attest=["type=provenance,mode=max", "type=sbom,generator=a/b"],
            shm_size="64m",
            ulimits=["nofile=1:2"],
            extra_hosts={"h": "::1"},
        )
    )

    assert (spec.source_date_epoch, spec.compression_level, spec.sbom) == (7, 3, "generator=a/b")
