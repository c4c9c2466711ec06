"""Settings about pushing: destinations, tags that exist, certificates, mirrors in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from buildpush.errors import SpecError
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.spec import StepSpec

DIGEST = f"sha256:{'a' * 64}"


def parsed(**settings: Any) -> StepSpec:
    return StepSpec.parse({"repo": "ghcr.io/acme/app", "tags": ["1", "2"], **settings})


def said(**settings: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parsed(**settings)
    return caught.value.report()


def test_a_destination_without_a_tag_gets_every_tag() -> None:
    """One with a tag gets that one only."""
    spec = parsed(destinations=["quay.io/acme/app", "r.eu:5000/other:stable"])

    assert [str(reference) for reference in spec.references] == [
        "ghcr.io/acme/app:1",
        "ghcr.io/acme/app:2",
        "quay.io/acme/app:1",
        "quay.io/acme/app:2",
        "r.eu:5000/other:stable",
    ]


def test_a_destination_with_a_port_and_no_tag_gets_every_tag() -> None:
    """The colon of a port is not the colon of a tag."""
    spec = parsed(destinations="localhost:5000/app")

    assert {reference.tag for reference in spec.references} == {"1", "2"}


def test_a_destination_that_is_named_twice_is_pushed_to_once() -> None:
    """Whichever way it is spelled."""
    spec = parsed(destinations=["ghcr.io/acme/app", "ghcr.io/acme/app:2"])

    assert len(spec.references) == 2


def test_destinations_are_values_in_python() -> None:
    """A `Repository` gets every tag, an `ImageReference` its own."""
    spec = parsed(
        destinations=[Repository("a.io", "x"), ImageReference.parse("b.io/y:3")],
    )

    assert [str(reference) for reference in spec.references[2:]] == [
        "a.io/x:1",
        "a.io/x:2",
        "b.io/y:3",
    ]


def test_destinations_survive_the_way_through_json() -> None:
    """As every setting does."""
    spec = parsed(destinations=["quay.io/acme/app", "a.io/x:3"], expect_current=DIGEST)

    again = StepSpec.parse(spec.model_dump(mode="json"))

    assert again.references == spec.references
    assert again.expect_current == Digest(DIGEST)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"destinations": f"a.io/x@{DIGEST}"}, "no digest"),
        ({"destinations": ["A.io/X Y"]}, "not an image reference"),
        ({"expect_current": "latest"}, "expectCurrent"),
        ({"on_partial": "maybe"}, "on_partial"),
        ({"on_existing_tag": "keep"}, "on_existing_tag"),
        ({"max_connections": 0}, "max_connections"),
        ({"registries": {"a b": {}}}, "expected a registry host"),
        ({"registries": {"a.io": {"key": "k.pem"}}}, "needs its certificate"),
        ({"registries": {"a.io": {"cert": "k.pem"}}}, "cert"),
        ({"mirrors": ["docker.io"]}, "HOST=MIRROR"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], fault: str) -> None:
    """With the setting's own name."""
    assert fault in said(**settings).replace("expect_current", "expectCurrent")


def test_certificates_are_files_by_host() -> None:
    """In camelCase or snake_case, as everything."""
    spec = parsed(
        registries={"r.eu": {"ca": "ca.pem", "certificate": "c.pem", "key": "k.pem"}, "l": {}}
    )

    assert spec.registries["r.eu"].ca == Path("ca.pem")
    assert spec.registries["r.eu"].key == Path("k.pem")


def test_mirrors_keep_their_order() -> None:
    """The first one is asked first; a list of pairs may name a host again."""
    listed = parsed(mirrors={"docker.io": ["a.eu", "b.eu/hub"]})
    pairs = parsed(mirrors=["docker.io=a.eu", "docker.io=b.eu/hub", "quay.io=c.eu"])

    assert listed.mirrors == {"docker.io": ("a.eu", "b.eu/hub")}
    assert pairs.mirrors == {"docker.io": ("a.eu", "b.eu/hub"), "quay.io": ("c.eu",)}
