"""The PLUGIN_ environment of the Drone plugins, as settings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from attrs import evolve

from ...errors import SpecError
from .docker import translate_docker
from .kaniko import translate_kaniko
from .reading import read, unknown_variables
from .settings import Finding, PluginLogin, PluginSettings, Signing

__all__ = ["Finding", "PluginLogin", "PluginSettings", "Signing", "translate"]


def translate(
    environ: Mapping[str, str],
    program: str,
    *,
    now: datetime,
    mode: Literal["strict", "compatible"] = "strict",
    tags_file: str | None = None,
) -> PluginSettings:
    """What the variables in *environ* ask of *program*, one of `flags.PROGRAMS`.

    *now*, with a timezone, is for labels; *tags_file* is the text of ``.tags`` in the working
    folder, if there is one. ``strict`` raises one `SpecError` with everything that would do
    nothing, lose something or surprise; ``compatible`` does what the plugin does, and lists that
    in the findings.
    """
    values = read(environ, program, tags_file=tags_file)
    compatible = mode == "compatible"
    if program.startswith("kaniko"):
        found = translate_kaniko(values, compatible=compatible)
    else:
        found = translate_docker(values, environ, now=now, compatible=compatible)
    unknown = tuple(
        Finding(
            kind="unknown",
            variable=name,
            text=f"the plugin does not read it{f'; did you mean {near}?' if near else ''}",
        )
        for name, near in unknown_variables(environ, program)
    )
    found = evolve(found, findings=(*found.findings, *unknown))
    if mode == "strict" and found.findings:
        raise SpecError(
            "; ".join(map(str, found.findings)),
            hint="mend the variables, or use the mode compatible, which does as the plugin does",
        )
    return found
