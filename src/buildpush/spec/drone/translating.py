"""A translation under way."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

from ...errors import SpecError
from ...oci import Repository
from .reading import Values
from .settings import Finding, FindingKind

__all__ = ["Translating", "host_of"]


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
    environ: Mapping[str, str]
    compatible: bool
    settings: dict[str, object] = field(factory=dict[str, object])
    findings: list[Finding] = field(factory=list[Finding])

    def say(self, kind: FindingKind, flag: str, text: str) -> None:
        """Note a finding about the variable that *flag* was read from."""
        found = self.values.by_name[flag]
        variable = found.variable or found.flag.variables[0]
        self.findings.append(Finding(kind=kind, variable=variable, text=text))

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
