"""The plan itself: what will be built, by whom and how, as a value to print, keep or carry out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import indent

from attrs import evolve, field, frozen
from pydantic import SecretStr

from ..errors import PlanError
from ..spec import Output, SecretSource, SshSource
from .demands import StagePlan
from .fit import Fit
from .values import BuildRequest, Capabilities, PushPolicy
from .wants import shown

__all__ = ["Decision", "Plan", "PlannedSecrets"]


@frozen(kw_only=True)
class Decision:
    """One setting that was asked for: its value in words (never a secret), and its fit."""

    setting: str
    value: str
    fit: Fit
    how: str = ""


class PlannedSecrets(Mapping[str, SecretSource]):
    """The build secrets by id. Values given as text are never shown, and never pickled.

    A plan that was pickled knows that such a secret exists; reading it raises `PlanError`.
    """

    def __init__(self, sources: Mapping[str, SecretSource], withheld: Iterable[str] = ()) -> None:
        self._sources = dict(sources)
        self._withheld = frozenset(withheld)

    def __getitem__(self, key: str) -> SecretSource:
        if key in self._withheld:
            raise PlanError(
                f"the value of secret {key!r} was not pickled with the plan",
                hint="plan again where the secret is known, or give it as a file or variable",
            )
        return self._sources[key]

    def __contains__(self, key: object) -> bool:
        return key in self._sources or key in self._withheld

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlannedSecrets):
            return NotImplemented
        return (self._sources, self._withheld) == (other._sources, other._withheld)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._sources, *self._withheld}))

    def __len__(self) -> int:
        return len(self._sources.keys() | self._withheld)

    def __repr__(self) -> str:
        return f"<secrets: {', '.join(self) or 'none'}>"

    def __reduce__(self) -> tuple[type[PlannedSecrets], tuple[object, ...]]:
        kept = {k: v for k, v in self._sources.items() if not isinstance(v, SecretStr)}
        return PlannedSecrets, (kept, self._withheld | (self._sources.keys() - kept.keys()))


@frozen(kw_only=True)
class Plan:
    """The settings resolved against one backend. Print it for a dry run.

    *request* is what the backend will be told, its secrets and agents still to be filled in from
    *secrets* and *ssh*. *decisions* say for every setting that was asked for how well it is
    met. *timeout* is in seconds, None for no limit. *passed_over* says why backends that were
    tried earlier were not chosen. *preview* is what the backend would start, where it can say:
    a command line, or the manifests for a cluster; it holds no secret.
    """

    request: BuildRequest
    backend: Capabilities
    push: bool
    delivery_reason: str
    decisions: tuple[Decision, ...] = ()
    stages: tuple[StagePlan, ...] = ()
    base_images: tuple[str, ...] = ()
    secrets: PlannedSecrets = field(factory=lambda: PlannedSecrets({}), repr=False)
    ssh: Mapping[str, SshSource] = field(factory=dict[str, SshSource])
    outputs: tuple[Output, ...] = ()
    timeout: float | None = None
    quiet: bool = False
    warnings: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    preview: str = ""
    policy: PushPolicy = field(factory=PushPolicy)

    def __str__(self) -> str:
        return self.render()

    def veiled(self, veil: Callable[[str], str]) -> Plan:
        """The same plan, with *veil* applied to all that it says."""
        return evolve(
            self,
            decisions=tuple(
                evolve(each, value=veil(each.value), how=veil(each.how)) for each in self.decisions
            ),
            warnings=tuple(map(veil, self.warnings)),
            preview=veil(self.preview),
        )

    def with_files(self, secrets: Mapping[str, Path], ssh: Mapping[str, Path]) -> BuildRequest:
        """The request to carry out, once secrets and agents are files only this run can read."""
        return evolve(self.request, secrets=secrets, ssh=ssh)

    def render(self) -> str:
        """The plan as text for people: a line each for what matters, then a table."""
        request = self.request
        facts = [
            ("backend", f"{self.backend.backend} {self.backend.version}".strip()),
            ("delivery", f"{request.delivery.value}: {self.delivery_reason}"),
            ("push", "yes" if self.push else "no, build only"),
            *(("image", str(reference)) for reference in request.references),
            *(("file", str(output)) for output in self.outputs),
            ("platform", shown(request.platforms) or "the backend's own"),
            ("context", str(request.context)),
            ("dockerfile", str(request.dockerfile_path)),
            *(("base image", image) for image in self.base_images),
            *(("stage", _stage(plan)) for plan in self.stages),
        ]
        parts = ["\n".join(f"{name:<11} {value}" for name, value in facts)]
        if self.decisions:
            parts.append("Settings\n" + indent(_table(self.decisions), "  "))
        for title, lines in (("Warnings", self.warnings), ("Passed over", self.passed_over)):
            if lines:
                parts.append(f"{title}\n" + indent("\n".join(lines), "  "))
        if self.preview:
            parts.append(f"Starts\n{indent(self.preview, '  ')}")
        return "\n\n".join(parts)

    def to_json(self) -> dict[str, object]:
        """The plan as JSON values, without any secret."""
        request = self.request
        return {
            "backend": {"name": self.backend.backend, "version": self.backend.version},
            "delivery": {"by": request.delivery.name.lower(), "reason": self.delivery_reason},
            "push": self.push,
            "references": [str(reference) for reference in request.references],
            "outputs": [
                {"type": output.type, "destination": str(output.destination)}
                for output in self.outputs
            ],
            "platforms": [str(platform) for platform in request.platforms],
            "context": str(request.context),
            "dockerfile": str(request.dockerfile_path),
            "target": request.target,
            "base_images": list(self.base_images),
            "stages": [
                {
                    "index": plan.index,
                    "name": plan.name,
                    "base": plan.base,
                    "needed": plan.needed,
                }
                for plan in self.stages
            ],
            "settings": [
                {
                    "setting": decision.setting,
                    "value": decision.value,
                    "fit": decision.fit.value,
                    "how": decision.how,
                }
                for decision in self.decisions
            ],
            "secrets": list(self.secrets),
            "timeout": self.timeout,
            "warnings": list(self.warnings),
            "passed_over": list(self.passed_over),
            "preview": self.preview,
        }


def _stage(plan: StagePlan) -> str:
    verb = "build" if plan.needed else "skip"
    name = f" {plan.name}" if plan.name else ""
    return f"{verb} {plan.index}{name} (from {plan.base})"


def _table(decisions: tuple[Decision, ...]) -> str:
    """Rows in columns: setting, value (shortened), fit, how."""
    rows = [(d.setting, _short(d.value), d.fit.value, d.how) for d in decisions]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]
        ).rstrip()
        for row in rows
    )


def _short(text: str, width: int = 48) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
