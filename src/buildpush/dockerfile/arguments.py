"""What ARG means: the global scope, predefined names, overrides, and what nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..oci import Platform
from .faults import Source
from .instructions import Arg, Dockerfile, OnBuild
from .words import expand_word

__all__ = ["argument_value", "global_arguments", "is_proxy_argument", "unused_build_args"]

_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})
_PLATFORM_ARGS = frozenset(
    f"{side}{part}"
    for side in ("BUILD", "TARGET")
    for part in ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
)
_FOR_THE_BUILDER = ("BUILDKIT_", "SOURCE_DATE_EPOCH")


def is_proxy_argument(name: str) -> bool:
    """Whether *name* is one of the proxy variables, which RUN sees without any ARG."""
    return name.lower() in _PROXIES


def global_arguments(
    dockerfile: Dockerfile,
    *,
    target: str = "",
    build_args: Mapping[str, str],
    platform: Platform,
    build_platform: Platform,
) -> dict[str, str]:
    """What FROM lines can use: the predefined ARGs and those before the first FROM.

    A build arg replaces the value of a name that is predefined or declared there; others do
    not enter. *target* is the value of TARGETSTAGE, ``default`` when empty.

    Raises `DockerfileError` for a default that cannot be expanded.
    """
    scope = _predefined(target or "default", platform, build_platform)
    scope.update((name, build_args[name]) for name in scope.keys() & build_args.keys())
    for arg in dockerfile.args:
        for name, default in arg.args:
            value = build_args.get(name)
            if value is None and default is not None:
                try:
                    value = expand_word(default, scope, escape=dockerfile.escape)
                except ValueError as error:
                    source = Source(dockerfile.filename, dockerfile.text)
                    raise source.located(str(error), arg.lines) from error
            if value is not None:
                scope[name] = value
    return scope


def argument_value(
    name: str,
    default: str | None,
    *,
    build_args: Mapping[str, str],
    global_args: Mapping[str, str],
    env: Mapping[str, str],
    escape: str = "\\",
) -> str | None:
    """What ``ARG name[=default]`` sets inside a stage; None when it stays unset.

    A build arg wins, then the default expanded with *env* (what the stage has set so far), then
    the global scope. Raises ValueError as `expand_word` does.
    """
    if name in build_args:
        return build_args[name]
    if default is not None:
        return expand_word(default, env, escape=escape)
    return global_args.get(name)


def unused_build_args(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """The names of *build_args* that no ARG declares, sorted; a reason to warn, not to fail.

    Predefined names (platforms, proxies) and those meant for the builder (``BUILDKIT_…``,
    ``SOURCE_DATE_EPOCH``) count as used.
    """
    declared = {name for arg in _declarations(dockerfile) for name, _ in arg.args}
    return tuple(
        sorted(
            name
            for name in build_args
            if name not in declared
            and name not in _PLATFORM_ARGS
            and name != "TARGETSTAGE"
            and not is_proxy_argument(name)
            and not name.startswith(_FOR_THE_BUILDER)
        )
    )


def _declarations(dockerfile: Dockerfile) -> Iterator[Arg]:
    yield from dockerfile.args
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            declared = instruction.instruction if isinstance(instruction, OnBuild) else instruction
            if isinstance(declared, Arg):
                yield declared


def _predefined(target: str, platform: Platform, build_platform: Platform) -> dict[str, str]:
    scope = {"TARGETSTAGE": target}
    for side, value in (("BUILD", build_platform), ("TARGET", platform)):
        scope[f"{side}PLATFORM"] = str(value)
        scope[f"{side}OS"] = value.os
        scope[f"{side}OSVERSION"] = ""
        scope[f"{side}ARCH"] = value.architecture
        scope[f"{side}VARIANT"] = value.variant
    return scope
