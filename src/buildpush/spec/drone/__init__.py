"""The PLUGIN_ environment of the Drone plugins, as settings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from attrs import evolve

from ...errors import SpecError
from . import flags
from .clouds import CLOUDS, cloud_of, own_variables
from .docker import translate_docker
from .kaniko import translate_kaniko
from .reading import read, unknown_variables
from .settings import Finding, PluginLogin, PluginSettings, Signing

__all__ = [
    "PROGRAMS",
    "Finding",
    "PluginLogin",
    "PluginSettings",
    "Signing",
    "own_variables",
    "translate",
]

PROGRAMS = (*flags.PROGRAMS, *CLOUDS)
"""The plugins there are, by name: ``docker``, ``kaniko-ecr``, ``gar``, ``buildx-acr``."""


def translate(
    environ: Mapping[str, str],
    program: str,
    *,
    now: datetime,
    mode: Literal["strict", "compatible"] = "strict",
    tags_file: str | None = None,
) -> PluginSettings:
    """What the variables in *environ* ask of *program*, one of `PROGRAMS`.

    *now*, with a timezone, is for labels; *tags_file* is the text of ``.tags`` in the working
    folder, if there is one. ``strict`` raises one `SpecError` with everything that would do
    nothing, lose something or surprise; ``compatible`` does what the plugin does, and lists that
    in the findings.
    """
    found = _translated(environ, program, now, tags_file, compatible=mode == "compatible")
    if mode == "strict" and found.findings:
        raise SpecError(
            "; ".join(map(str, found.findings)),
            hint="mend the variables, or use the mode compatible, which does as the plugin does",
        )
    return found


def _translated(
    environ: Mapping[str, str],
    program: str,
    now: datetime,
    tags_file: str | None,
    *,
    compatible: bool,
) -> PluginSettings:
    if program not in PROGRAMS:
        raise SpecError("no plugin has this name", hint=f"there are: {', '.join(PROGRAMS)}")
    if program in CLOUDS:
        return _in_cloud(environ, program, now, tags_file, compatible=compatible)
    values = read(environ, program, tags_file=tags_file)
    if program.startswith("kaniko"):
        found = translate_kaniko(values, compatible=compatible)
    else:
        found = translate_docker(values, environ, now=now, compatible=compatible)
    return evolve(found, findings=(*found.findings, *_unknown(environ, program)))


def _in_cloud(
    environ: Mapping[str, str],
    plugin: str,
    now: datetime,
    tags_file: str | None,
    *,
    compatible: bool,
) -> PluginSettings:
    """What a cloud's plugin asks for: its login before those that it hands on."""
    cloud = cloud_of(environ, plugin)
    # What it reads itself is handed on, too, and is no unknown variable there.
    found = _translated(cloud.environ, cloud.program, now, tags_file, compatible=compatible)
    return evolve(
        found,
        logins=(cloud.login, *found.logins),
        registry_type=cloud.registry_type or found.registry_type,
        registry_url=cloud.registry,
        create_repository=cloud.create_repository,
        scan_on_push=cloud.scan_on_push,
        skip_if_tag_exists=cloud.skip_if_tag_exists,
        lifecycle_policy=cloud.lifecycle_policy,
        repository_policy=cloud.repository_policy,
        findings=(*cloud.findings, *found.findings),
    )


def _unknown(environ: Mapping[str, str], program: str) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            kind="unknown",
            variable=name,
            text=f"the plugin does not read it{f'; did you mean {near}?' if near else ''}",
        )
        for name, near in unknown_variables(environ, program)
    )
