"""What ``harness`` does: the steps of a file of Harness's that build and push."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SpecError
from ..events import Event, EventSink
from ..runtime import CancelToken, Environment
from ..spec.expressions import Context
from ..strategy import harness_steps, run_harness
from .commands import display, fields, pairs, print_json

if TYPE_CHECKING:
    from ..step.overrides import Overrides


def harness(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``harness``: print how each step ended; an error of the steps is raised after that."""
    context = Context.of(
        pairs("--set", arguments.values) or {},
        secrets=_secrets(arguments.secrets or ()),
        inputs=pairs("--input", arguments.inputs) or {},
    )
    path = Path(arguments.file)
    step = arguments.step or ""
    if arguments.plan:
        steps = harness_steps(path, step=step, expressions=context, **_settings(arguments))
        for name, each in steps.items():
            print(f"{name}\n\n{each.plan().render()}\n")
        return
    sinks: dict[str, EventSink] = {}

    def hear(name: str, event: Event) -> None:
        if name not in sinks:
            if arguments.progress == "plain" and sys.stderr is not None:
                print(f"step {name}", file=sys.stderr)
            sinks[name] = display(arguments.progress)
        sinks[name](event)

    table = run_harness(
        path, step=step, expressions=context, on_event=hear, cancel=cancel, **_settings(arguments)
    )
    if arguments.json:
        print_json(table.to_json())
    else:
        print(table.render())
    table.raise_for_failure()


def _secrets(texts: list[str] | tuple[()]) -> dict[str, str]:
    """The secrets by name; each is asked of a variable or a file, never of an argument."""
    environment = Environment.current()
    found: dict[str, str] = {}
    for text in texts:
        given = fields("--secret", text)
        name, variable, file = (given.get(key, "") for key in ("id", "env", "src"))
        if not name or bool(variable) == bool(file):
            raise SpecError("--secret: expected id=NAME,env=VARIABLE or id=NAME,src=FILE")
        if variable:
            if variable not in environment.variables:
                raise SpecError(f"--secret: the environment variable {variable} is not set")
            found[name] = environment.variables[variable]
            continue
        try:
            found[name] = (environment.cwd / file).read_text().removesuffix("\n")
        except (OSError, ValueError):
            raise SpecError(f"--secret: the file of {name} cannot be read as text") from None
    return found


def _settings(arguments: argparse.Namespace) -> Overrides:
    settings: Overrides = {"backend": arguments.backend}
    if arguments.insecure is not None:
        settings["insecure"] = arguments.insecure
    return settings
