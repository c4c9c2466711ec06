"""The settings of a step: spellings, shapes, and every fault at once."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from buildpush.errors import BuildpushError, SpecError
from buildpush.oci import ImageReference, Platform, Repository
from buildpush.spec import (
    FromEnv,
    ResourceAmounts,
    ResourceSettings,
    StepArguments,
    StepSpec,
    Ulimit,
    spellings,
)


def parsed(**settings: Any) -> StepSpec:
    return StepSpec.parse({"repo": "ghcr.io/acme/app", **settings})


def fault(**settings: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parsed(**settings)
    return caught.value


def test_the_harness_spelling_of_every_setting_is_accepted() -> None:
    """The keys of Harness's BuildAndPushDockerRegistry step, word for word."""
    harness = [
        "connectorRef",
        "registryRef",
        "repo",
        "tags",
        "baseImageConnectorRefs",
        "optimize",
        "dockerfile",
        "context",
        "labels",
        "buildArgs",
        "target",
        "caching",
        "cacheFrom",
        "cacheTo",
        "remoteCacheRepo",
        "remoteCacheImage",
        "envVariables",
        "envDockerSecrets",
        "fileDockerSecrets",
        "runAsUser",
        "resources",
    ]
    known = {s for name in StepSpec.model_fields for s in spellings(StepSpec, name)}

    assert set(harness) - known == set()


def test_a_harness_step_is_read_as_it_is_written() -> None:
    """One document with most of Harness's keys."""
    spec = StepSpec.parse(
        {
            "repo": "acme/app",
            "tags": ["1.4", "latest"],
            "buildArgs": {"VERSION": "1.4"},
            "labels": ["team=web"],
            "cacheFrom": ["acme/app:cache", "type=local,src=/tmp/c"],
            "remoteCacheImage": "acme/cache",
            "envDockerSecrets": {"npm": "NPM_TOKEN"},
            "fileDockerSecrets": ["pip=/run/pip.conf"],
            "runAsUser": "1000",
            "resources": {"limits": {"memory": "500Mi", "cpu": "400m"}},
            "optimize": "true",
        }
    )

    assert spec.repo == Repository("docker.io", "acme/app")
    assert spec.references[0] == ImageReference.parse("acme/app:1.4")
    assert spec.labels == {"team": "web"}
    assert [cache.type for cache in spec.cache_from] == ["registry", "local"]
    assert spec.remote_cache_repo == ImageReference.parse("acme/cache")
    assert spec.secrets == {"npm": FromEnv("NPM_TOKEN"), "pip": Path("/run/pip.conf")}
    assert spec.run_as_user == 1000
    assert spec.resources.limits == ResourceAmounts(memory=524288000, cpu=0.4)
    assert spec.optimize is True


def test_the_typed_arguments_are_those_of_the_model() -> None:
    """What type checkers see cannot drift from what is accepted."""
    assert set(get_type_hints(StepArguments)) == set(StepSpec.model_fields)


def test_a_constructor_call_raises_our_own_error() -> None:
    """People catch `BuildpushError`; the pydantic error, which holds the input, is gone."""
    with pytest.raises(BuildpushError) as caught:
        StepSpec(repo="ghcr.io/acme/app:1")

    assert caught.value.hint == "put the tag in tags: 1"
    assert caught.value.__context__ is None


def test_every_fault_is_reported_at_once_with_its_path() -> None:
    """In the spelling that was used."""
    error = fault(
        repo="acme/App",
        tags=["ok", "not ok"],
        buildArgs={"A": None},
        resources={"limits": {"cpu": "lots"}},
        compression="xz",
    )

    assert error.message.startswith("5 settings are wrong: repo: ")
    for path in (
        "tags.1: bad tag",
        "buildArgs.A: expected",
        "resources.limits.cpu: ",
        "compression",
    ):
        assert path in error.message
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("buildArg", "did you mean buildArgs?"),
        ("build_arg", "did you mean build_args?"),
        ("dockerFile", "did you mean dockerfile?"),
        ("tag", "did you mean tags?"),
        ("zzz", ""),
    ],
)
def test_an_unknown_setting_suggests_the_nearest(key: str, hint: str) -> None:
    """In the style the unknown one is written in."""
    error = fault(**{key: "x"})

    assert error.message == f"{key}: there is no such setting"
    assert error.hint == hint


def test_an_unknown_key_of_resources_suggests_the_nearest() -> None:
    """Nested mappings too."""
    error = fault(resources={"limits": {"memroy": "1Gi"}})

    assert error.message == "resources.limits.memroy: there is no such setting"
    assert error.hint == "did you mean memory?"


def test_two_spellings_of_one_setting_are_a_fault() -> None:
    """Neither is dropped."""
    error = fault(remoteCacheRepo="a/b", remoteCacheImage="a/c")

    assert "another spelling of remote_cache_repo" in error.message


@pytest.mark.parametrize("data", [None, [], "repo: x", {1: "x"}])
def test_what_is_no_mapping_is_refused(data: object) -> None:
    """A YAML file that holds a list, or nothing."""
    with pytest.raises(SpecError, match=r"mapping|names of settings"):
        StepSpec.parse(data)


def test_a_spec_cannot_be_changed() -> None:
    """It is a value."""
    spec = parsed()

    with pytest.raises(ValueError, match="frozen"):
        spec.push = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("1h 30m", 5400.0), (90, 90.0), (timedelta(hours=1), 3600.0), (None, None), ("0s", 36000.0)],
)
def test_a_timeout_is_kept_in_seconds(given: object, seconds: float | None) -> None:
    """However it is written."""
    assert parsed(timeout=given).timeout == seconds


def test_a_step_ends_after_two_hours_unless_told_otherwise() -> None:
    """Harness's default, also for ``timeout: ""``."""
    assert parsed().timeout == parsed(timeout="").timeout == 7200


@pytest.mark.parametrize(
    ("level", "compression", "good"),
    [
        (9, "gzip", True),
        (10, "gzip", False),
        (22, "zstd", True),
        (23, "zstd", False),
        (1, "none", False),
        (0, "gzip", False),
        (None, "none", True),
    ],
)
def test_a_compression_level_fits_its_compression(
    level: int | None, compression: str, good: bool
) -> None:
    """1 to 9 for gzip, 1 to 22 for zstd, none for none."""
    settings = {"compression": compression, "compressionLevel": level}

    if good:
        assert parsed(**settings).compression_level == level
    else:
        assert "compression_level: expected" in fault(**settings).message


@pytest.mark.parametrize(
    ("given", "kept"),
    [(0, 0), ("1700000000", 1700000000), (datetime(1970, 1, 2, tzinfo=UTC), 86400), (None, None)],
)
def test_source_date_epoch_is_whole_seconds(given: object, kept: int | None) -> None:
    """A number, its digits, or a datetime that knows its zone."""
    assert parsed(source_date_epoch=given).source_date_epoch == kept


@pytest.mark.parametrize("given", [-1, True, "x", datetime(1970, 1, 2), 1.5])  # noqa: DTZ001
def test_a_bad_source_date_epoch_is_refused(given: object) -> None:
    """A local time means another second on another machine."""
    assert "expected" in fault(source_date_epoch=given).message


@pytest.mark.parametrize(
    ("given", "kept"),
    [(True, "min"), ("max", "max"), ("mode=min", "min"), (False, None), (None, None)],
)
def test_provenance_is_a_mode(given: object, kept: str | None) -> None:
    """True is the smaller one."""
    assert parsed(provenance=given).provenance == kept


def test_an_unknown_provenance_is_refused() -> None:
    """There are two modes."""
    assert "expected min, max" in fault(provenance="full").message


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (True, True),
        ("true", True),
        (False, False),
        (None, False),
        ("", False),
        ("generator=docker/scout:1", "generator=docker/scout:1"),
    ],
)
def test_an_sbom_may_name_its_scanner(given: object, kept: object) -> None:
    """True is the default one."""
    assert parsed(sbom=given).sbom == kept


@pytest.mark.parametrize("given", ["docker/scout:1", "generator=Not An Image", 1])
def test_an_sbom_of_another_shape_is_refused(given: object) -> None:
    """A scanner is named by a key, and is an image."""
    assert fault(sbom=given).message.startswith("sbom: ")


@pytest.mark.parametrize("given", ["https://github.com/a/b.git", "git@github.com:a/b", "-", ""])
def test_a_context_is_a_folder_on_this_machine(given: str) -> None:
    """What would have to be fetched is refused, not taken for a folder's name."""
    assert "context: expected a path on this machine" in fault(context=given).message


def test_platforms_are_parsed_normalised_and_unique() -> None:
    """A list, or text with commas."""
    spec = parsed(platforms="linux/amd64, linux/arm64/v8,linux/aarch64")

    assert spec.platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))


@pytest.mark.parametrize(
    "given",
    [{"nofile": "1024:2048"}, {"nofile": (1024, 2048)}, ["nofile=1024:2048"], "nofile=1024:2048"],
)
def test_a_ulimit_is_soft_and_hard(given: object) -> None:
    """In any of the shapes people use."""
    assert parsed(ulimits=given).ulimits == (Ulimit(name="nofile", soft=1024, hard=2048),)


def test_resources_can_be_given_from_python() -> None:
    """As values or as nested mappings."""
    amounts = ResourceSettings(requests=ResourceAmounts(memory=1024))

    assert StepSpec(repo="a", resources=amounts).resources == amounts
    assert StepSpec(repo="a", resources={"requests": {"memory": "1Ki"}}).resources == amounts


def test_the_repr_shows_only_what_was_set() -> None:
    """In the order of the settings."""
    assert repr(StepSpec(tags="1", repo="a/b")) == (
        "StepSpec(repo=Repository(host='docker.io', path='a/b'), tags=('1',))"
    )


def test_a_spec_written_as_json_is_read_back_equal() -> None:
    """All its values have a text that parses."""
    spec = parsed(
        tags=["1"],
        platforms=["linux/arm/v7"],
        ulimits=["nproc=5"],
        outputs=["type=oci,dest=/x.tar"],
        cache_to="type=registry,ref=a/b,mode=max",
        remote_cache_repo="a/c",
        ssh={"default": True, "key": "/id"},
        secrets={"a": {"env": "A"}, "b": {"file": "/b"}},
        add_hosts=["db:10.0.0.1"],
        insecure="localhost:5000",
        resources={"limits": {"memory": "1Gi"}},
        annotations={"index:a": "b"},
    )

    written = json.loads(spec.model_dump_json(by_alias=True))

    assert StepSpec.parse(written) == spec


def test_a_spec_can_be_pickled() -> None:
    """It may cross a process."""
    spec = parsed(ulimits={"nproc": 5}, secrets={"a": "b"})

    assert pickle.loads(pickle.dumps(spec)) == spec


def test_there_is_a_json_schema() -> None:
    """Editors complete YAML with it."""
    schema = StepSpec.model_json_schema()

    assert "buildArgs" in schema["properties"]
    assert schema["additionalProperties"] is False
