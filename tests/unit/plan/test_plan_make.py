"""make_plan: what is decided, what is refused, and with which lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.errors import UnsupportedFeatureError
from buildpush.oci import ImageReference, Platform
from buildpush.plan import (
    BuildRequest,
    Cache,
    Capabilities,
    Delivery,
    Feature,
    Fit,
    Plan,
    Resources,
    Ulimit,
)

Planner = Callable[..., Plan]
ARM64 = Platform("linux", "arm64")


def without(backend: Capabilities, *features: Feature, **notes: str) -> Capabilities:
    return evolve(
        backend,
        features=backend.features - set(features),
        notes={Feature[name]: note for name, note in notes.items()},
    )


def refused(plan: Planner, *args: str, **settings: object) -> UnsupportedFeatureError:
    with pytest.raises(UnsupportedFeatureError) as caught:
        plan(*args, **settings)
    return caught.value


def fits(made: Plan) -> dict[str, Fit]:
    return {decision.setting: decision.fit for decision in made.decisions}


def test_the_request_holds_what_was_asked(plan: Planner, native: Capabilities) -> None:
    """Every setting that a backend has to know arrives there, in its own type."""
    able = evolve(native, features=frozenset(Feature))

    request = plan(
        "FROM scratch AS base\n",
        backend=able,
        tags=["1", "2"],
        target="base",
        build_args={"A": 1},
        labels={"l": "1"},
        annotations={"a": "1"},
        platforms="linux/amd64",
        build_contexts={"c": "./c"},
        network="none",
        add_hosts={"h": "1.1.1.1"},
        shm_size="1k",
        ulimits={"nofile": 5},
        cgroup_parent="/c",
        resources={"limits": {"memory": "1Ki"}, "requests": {"cpu": 1}},
        run_as_user=5,
        no_cache=True,
        no_cache_filter=["base"],
        pull=True,
        cache_from="a/b",
        cache_to="type=inline",
        remote_cache_repo="c/d",
        compression="zstd",
        compression_level=3,
        reproducible="strict",
        source_date_epoch=7,
        provenance="max",
        sbom=True,
        optimize=True,
        squash=True,
        mirrors={"docker.io": "m.eu"},
        insecure="r.eu",
    ).request

    remote = Cache(type="registry", attributes={"ref": "docker.io/c/d:latest", "mode": "max"})
    assert request == BuildRequest(
        context=Path("/src"),
        dockerfile=request.dockerfile,
        dockerfile_path=Path("/src/Dockerfile"),
        references=(
            ImageReference.parse("ghcr.io/acme/app:1"),
            ImageReference.parse("ghcr.io/acme/app:2"),
        ),
        target="base",
        platforms=(Platform("linux", "amd64"),),
        build_args={"A": "1"},
        labels={"l": "1"},
        annotations={"a": "1"},
        build_contexts={"c": "./c"},
        network="none",
        add_hosts={"h": "1.1.1.1"},
        shm_size=1024,
        ulimits=(Ulimit(name="nofile", soft=5, hard=5),),
        cgroup_parent="/c",
        limits=Resources(memory=1024),
        requests=Resources(cpus=1.0),
        run_as_user=5,
        no_cache=True,
        no_cache_filter=("base",),
        pull=True,
        cache_from=(Cache(type="registry", attributes={"ref": "a/b"}), remote),
        cache_to=(Cache(type="inline"), remote),
        compression="zstd",
        compression_level=3,
        reproducible="strict",
        source_date_epoch=7,
        provenance="max",
        sbom=True,
        optimize=True,
        squash=True,
        mirrors={"docker.io": ("m.eu",)},
        insecure=frozenset({"r.eu"}),
    )


def test_only_what_was_asked_is_decided(plan: Planner) -> None:
    """A default is no question."""
    assert fits(plan()) == {"repo": Fit.EXACT, "tags": Fit.EXACT}


def test_what_is_only_nearly_met_is_said(plan: Planner) -> None:
    """With how."""
    made = plan(run_as_user=1000)

    (decision,) = (d for d in made.decisions if d.setting == "run_as_user")
    assert decision.fit is Fit.APPROXIMATED
    assert decision.how == "it runs as the user who calls it"


def test_caching_on_this_machine_is_exact(plan: Planner) -> None:
    """Without a cache in a registry it is the store of finished steps."""
    made = plan(caching=True)

    (decision,) = (d for d in made.decisions if d.setting == "caching")
    assert (decision.fit, decision.value) == (Fit.EXACT, "yes")
    assert "on this machine" in decision.how


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"provenance": "min"}, "provenance: native cannot attach provenance"),
        ({"sbom": True}, "sbom: native cannot attach an SBOM"),
        ({"cache_from": "a/b"}, "cache_from: native cannot read a cache"),
        ({"cache_to": "a/b"}, "cache_to: native cannot keep a cache in a registry"),
        ({"cache_to": "type=gha"}, "cache_to: native cannot keep a cache outside"),
        ({"remote_cache_repo": "a/b"}, "remote_cache_repo: native cannot keep a cache"),
        ({"cgroup_parent": "/x"}, "cgroup_parent: native cannot choose a parent cgroup"),
        ({"resources": {"limits": {"cpu": 1}}}, "resources: native cannot limit CPU"),
        ({"resources": {"requests": {"cpu": 1}}}, "resources: native cannot limit CPU"),
        ({"squash": True}, "squash: native cannot squash layers"),
        ({"outputs": "out"}, "outputs: native cannot export plain files"),
        ({"network": "mine"}, "network: native cannot attach RUN to a network by name"),
        ({"connector_ref": "c"}, "connector_ref: a connector is known only to Harness"),
        ({"registry_ref": "c"}, "registry_ref: a connector"),
        ({"base_image_connector_refs": "c"}, "base_image_connector_refs: a connector"),
        ({"annotations": {"index:a": "b"}}, "annotations: index:a is for an index"),
        ({"annotations": {"manifest[linux/arm64]:a": "b"}}, "names a platform that is not built"),
        (
            {"outputs": "type=docker,dest=x", "platforms": "linux/amd64,linux/arm64"},
            "outputs: an archive of type docker holds one platform",
        ),
    ],
)
def test_native_refuses_what_it_does_not_do_yet(
    plan: Planner, settings: dict[str, object], said: str
) -> None:
    """Nothing is dropped silently."""
    assert (
        refused(plan, **settings).message.startswith(said)
        or said in refused(plan, **settings).message
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"target": "0"},
        {"build_args": {"A": "1"}},
        {"labels": {"A": "1"}},
        {"annotations": {"a": "1"}},
        {"secrets": {"a": "1"}},
        {"ssh": True},
        {"build_contexts": {"a": "."}},
        {"add_hosts": {"a": "::1"}},
        {"shm_size": "1m"},
        {"ulimits": {"nofile": 1}},
        {"network": "host"},
        {"network": "none"},
        {"no_cache": True},
        {"no_cache_filter": "a"},
        {"pull": True},
        {"platforms": "linux/arm64"},
        {"platforms": "linux/arm64,linux/amd64"},
        {"compression": "zstd"},
        {"outputs": "type=oci,dest=x"},
        {"source_date_epoch": 0},
        {"reproducible": True},
        {"reproducible": "strict"},
        {"caching": True},
    ],
)
def test_native_does_these_exactly(plan: Planner, settings: dict[str, object]) -> None:
    """What the native backend is built for."""
    assert set(fits(plan(**settings)).values()) == {Fit.EXACT}


@pytest.mark.parametrize(
    ("delivery", "lacking", "push", "chosen"),
    [
        ("auto", (), True, Delivery.LAYOUT),
        ("auto", (Feature.EXPORT_LAYOUT,), True, Delivery.DIRECT),
        ("direct", (), True, Delivery.DIRECT),
        ("layout", (), False, Delivery.LAYOUT),
        ("layout", (Feature.EXPORT_LAYOUT,), True, None),
        ("direct", (Feature.PUSH_DIRECTLY,), True, None),
        ("auto", (Feature.EXPORT_LAYOUT,), False, None),
        ("direct", (), False, None),
    ],
)
def test_the_backend_exports_unless_it_must_push(
    plan: Planner,
    native: Capabilities,
    delivery: str,
    lacking: tuple[Feature, ...],
    push: bool,
    chosen: Delivery | None,
) -> None:
    """LAYOUT first: then no push credential ever enters the backend."""
    backend = without(evolve(native, features=frozenset(Feature)), *lacking)

    if chosen is None:
        refused(plan, backend=backend, delivery=delivery, push=push)
    else:
        made = plan(backend=backend, delivery=delivery, push=push)
        assert (made.request.delivery, made.push) == (chosen, push)
        assert made.delivery_reason


def test_outputs_need_a_layout(plan: Planner, native: Capabilities) -> None:
    """A backend that pushes by itself leaves nothing to write them from."""
    backend = evolve(native, features=frozenset(Feature))

    error = refused(plan, backend=backend, delivery="direct", outputs="type=oci,dest=x")

    assert "outputs: they are written from a layout" in error.message


@pytest.mark.parametrize(
    ("name", "warned"),
    [
        ("NPM_TOKEN", True),
        ("password", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("API_KEY", True),
        ("GITHUBTOKEN", True),
        ("apikey", True),
        ("MONKEY", False),
        ("KEYBOARD", False),
        ("VERSION", False),
        ("TOKENIZER_VERSION", False),
    ],
)
def test_a_build_arg_that_looks_like_a_secret_is_warned_about(
    plan: Planner, name: str, warned: bool
) -> None:
    """It can be read in the image's history; its value is not shown in the plan either."""
    made = plan(f"FROM scratch\nARG {name}\nCOPY a /\n", build_args={name: "c4nary"})

    assert any(name in warning for warning in made.warnings) is warned
    assert ("c4nary" in made.render()) is not warned


def test_a_build_arg_that_nothing_declares_is_warned_about(plan: Planner) -> None:
    """Predefined ones are used without a declaration."""
    made = plan("ARG A\nFROM scratch\nARG B\nCOPY a /\n", build_args="A=1\nB=1\nC=1\nHTTP_PROXY=1")

    assert made.warnings == ("build arg C is not used: the Dockerfile has no ARG of that name",)


@pytest.mark.parametrize(
    ("settings", "warned"),
    [({}, True), ({"platforms": "linux/arm64"}, False), ({"push": False}, False)],
)
def test_an_image_for_the_machine_at_hand_is_warned_about(
    plan: Planner, native: Capabilities, settings: dict[str, object], warned: bool
) -> None:
    """Built on an arm64 laptop, it would not run in an amd64 cluster."""
    made = plan(host=ARM64, backend=evolve(native, platforms=(ARM64,)), **settings)

    assert bool(made.warnings) is warned


@pytest.mark.parametrize(
    ("mount", "warned"),
    [
        ("id=npm", False),
        ("target=/run/npm", False),
        ("dst=/x/npm,required", False),
        ("id=nmp", True),
        ("id=$WHICH", False),
    ],
)
def test_a_secret_that_nothing_mounts_is_warned_about(
    plan: Planner, mount: str, warned: bool
) -> None:
    """Its id is misspelt in one of two places."""
    text = f"FROM a\nARG WHICH=npm\nRUN --mount=type=secret,{mount} make\n"

    said = plan(text, secrets={"npm": "x"}).warnings

    expected = ("secret npm is not used: no RUN has --mount=type=secret,id=npm",)
    assert said == (expected if warned else ())


def test_the_parsers_warnings_are_passed_on(plan: Planner) -> None:
    """They belong to the run."""
    from buildpush.dockerfile import parse
    from buildpush.plan.advice import advice
    from buildpush.spec import StepSpec

    dockerfile = evolve(parse("FROM scratch\nCOPY a /\n"), warnings=("odd",))

    assert list(advice(StepSpec(repo="a"), dockerfile, Platform("linux", "amd64"))) == ["odd"]
