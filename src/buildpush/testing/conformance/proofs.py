"""For each `Feature`, a small build that asks for it, and what shows that it was honoured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import field, frozen

from ...plan import Feature
from .workbench import Built, Workbench

__all__ = ["Ask", "Proof", "ask_of"]

Build = Callable[..., Built]
"""Builds what a proof asks for; keyword arguments are further settings."""


def _nothing(_: Workbench) -> Mapping[str, Any]:
    return {}


@frozen(kw_only=True)
class Ask:
    """A build that needs a feature: a Dockerfile, files beside it, settings."""

    dockerfile: str = "FROM scratch\nCOPY file /file\n"
    files: Mapping[str, str | bytes] = field(factory=lambda: {"file": "content\n"})
    settings: Callable[[Workbench], Mapping[str, Any]] = _nothing


@frozen(kw_only=True)
class Proof:
    """How *feature* is asked for, and *check*, which builds and looks at the result.

    *needs* are features without which this one means nothing. Without *check*, *why_not* says
    what keeps the suite from looking: then only the plan is looked at.
    """

    feature: Feature
    ask: Ask
    check: Callable[[Workbench, Build], None] | None = None
    needs: tuple[Feature, ...] = ()
    why_not: str = ""

    def run(self, bench: Workbench) -> None:
        """Build it and look; raises `AssertionError`."""
        assert bench.can(*self.needs), f"claimed without {self.needs}, which it needs"
        settings = self.ask.settings(bench)
        if self.check is None:
            bench.step(self.ask.dockerfile, self.ask.files, **settings).plan()
            return

        def build(**more: Any) -> Built:
            return bench.build(self.ask.dockerfile, self.ask.files, **{**settings, **more})

        self.check(bench, build)


def ask_of(
    dockerfile: str, files: Mapping[str, str | bytes] | None = None, **settings: Any
) -> Ask:
    """An ask whose settings are the same on every workbench."""
    return Ask(dockerfile=dockerfile, files=files or {}, settings=lambda _: settings)


UNASKED: Final = frozenset({Feature.REMOTE_CONTEXT})
"""What no setting and no line of a Dockerfile can ask for yet."""
