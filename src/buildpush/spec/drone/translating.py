"""A translation under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import define, field

from ...errors import SpecError
from ...oci import Repository
from .reading import Values
from .settings import Finding, FindingKind

__all__ = ["HUB", "Translating", "host_of", "login_host"]

HUB: Final = "https://index.docker.io/v1/"
_HUB_V2: Final = ("https://index.docker.io/v2/", "https://registry.hub.docker.com/v2/")


def login_host(registry: str) -> str:
    """*registry*, with the newer urls of Docker Hub as the one that logins are kept under."""
    return HUB if registry in _HUB_V2 else registry


def host_of(repository: str) -> str:
    """The registry's host of *repository*: Docker Hub's where it has none."""
    try:
        return Repository.parse(repository).host
    except SpecError:
        return repository.partition("/")[0]  # what is wrong with it is told by the setting


@define(eq=False)
class Translating:
    """One translation under way."""

    values: Values
    compatible: bool
    environ: Mapping[str, str] = field(factory=dict[str, str])
    settings: dict[str, object] = field(factory=dict[str, object])
    findings: list[Finding] = field(factory=list[Finding])

    def say(self, kind: FindingKind, flag: str, text: str) -> None:
        """Note a finding about the variable that *flag* was read from."""
        found = self.values.by_name.get(flag)  # none where another program alone has it
        variable = (found.variable or found.flag.variables[0]) if found else flag
        self.findings.append(Finding(kind=kind, variable=variable, text=text))

    def given_args(self) -> str:
        """The flag that has the build args: one of two, and a word about the other."""
        several = self.values.on("plugin-multiple-build-agrs")
        used, unused = ("args-new", "args") if several else ("args", "args-new")
        if any(self.values.items(unused)):
            other = "with" if several else "without"
            self.say("no-op", unused, f"does nothing {other} PLUGIN_MULTIPLE_BUILD_ARGS")
        return used

    def pairs(self, flag: str) -> dict[str, str | None]:
        """``name=value`` items; a name alone takes its value from the environment."""
        found: dict[str, str | None] = {}
        values = 0
        for item in filter(None, self.values.items(flag)):
            name, equals, value = item.partition("=")
            if not equals and values and flag != "args-new":
                self.say("lossy", flag, "has an item without =, as a value with a comma makes")
            values += bool(equals)
            found[name] = value if equals else None
        return found
