"""ARG: scopes, overrides and leftovers."""

import pytest

from buildpush.dockerfile import parse
from buildpush.dockerfile.arguments import (
    argument_value,
    global_arguments,
    is_proxy_argument,
    unused_build_args,
)
from buildpush.oci import Platform


def scope(text: str, target: str = "", **build_args: str) -> dict[str, str]:
    return global_arguments(
        parse(text),
        target=target,
        build_args=build_args,
        platform=Platform("linux", "arm", "v7"),
        build_platform=Platform("linux", "amd64"),
    )


def test_platforms_and_the_target_are_predefined() -> None:
    """These need no ARG before FROM."""
    assert scope("FROM a") == {
        "TARGETSTAGE": "default",
        "BUILDPLATFORM": "linux/amd64",
        "BUILDOS": "linux",
        "BUILDOSVERSION": "",
        "BUILDARCH": "amd64",
        "BUILDVARIANT": "",
        "TARGETPLATFORM": "linux/arm/v7",
        "TARGETOS": "linux",
        "TARGETOSVERSION": "",
        "TARGETARCH": "arm",
        "TARGETVARIANT": "v7",
    }
    assert scope("FROM a", target="x")["TARGETSTAGE"] == "x"


def test_global_defaults_see_what_stands_before_them() -> None:
    """And build args replace values, also those others are made of."""
    text = "ARG A=1 B=$A-$TARGETARCH\nARG C\nARG D=${C:-none}\nFROM a"

    assert scope(text) | {"A": "1", "B": "1-arm", "D": "none"} == scope(text)
    assert "C" not in scope(text)
    found = scope(text, A="2", C="c", TARGETARCH="riscv64", OTHER="x")
    assert found["B"] == "2-riscv64"
    assert found["D"] == "c"
    assert "OTHER" not in found


@pytest.mark.parametrize(
    ("name", "default", "expected"),
    [
        ("GIVEN", "default", "given"),
        ("GIVEN", None, "given"),
        ("GLOBAL", None, "global"),
        ("GLOBAL", "own-$HERE", "own-here"),
        ("NOWHERE", None, None),
    ],
)
def test_inside_a_stage_a_build_arg_wins_then_the_default(
    name: str, default: str | None, expected: str | None
) -> None:
    """The global scope is asked only by an ARG without a default."""
    value = argument_value(
        name,
        default,
        build_args={"GIVEN": "given"},
        global_args={"GLOBAL": "global"},
        env={"HERE": "here"},
    )

    assert value == expected


def test_build_args_nobody_declared_are_listed() -> None:
    """Predefined ones, and those meant for the builder, are never in the list."""
    dockerfile = parse("ARG A\nFROM a\nARG B C=1\nFROM b\nONBUILD ARG D\nRUN x")
    given = dict.fromkeys(["ZED", "A", "B", "C", "D", "X"], "")
    given |= {"HTTP_PROXY": "p", "no_proxy": "n", "TARGETOS": "linux", "TARGETSTAGE": "x"}
    given |= {"BUILDKIT_INLINE_CACHE": "1", "SOURCE_DATE_EPOCH": "0"}

    assert unused_build_args(dockerfile, given) == ("X", "ZED")


def test_proxies_are_known_in_either_case() -> None:
    """They reach RUN without an ARG."""
    assert is_proxy_argument("HTTPS_PROXY")
    assert is_proxy_argument("all_proxy")
    assert not is_proxy_argument("PROXY")
