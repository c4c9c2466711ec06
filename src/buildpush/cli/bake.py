"""What ``bake`` does: a bake file's targets, one step after the other."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import BuildpushError
from ..plan import BuildResult
from ..runtime import CancelToken
from ..step import BuildAndPushStep
from .commands import display, pairs, print_json, result_to_json

if TYPE_CHECKING:
    from ..step.bake import BakeArguments


def bake(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``bake``: run the steps; print their pinned references, or everything as JSON."""
    steps = BuildAndPushStep.from_bake(
        *arguments.files or (),
        targets=arguments.targets or ("default",),
        overrides=arguments.overrides or (),
        variables=pairs("--var", arguments.variables),
        cancel=cancel,
        **_settings(arguments),
    )
    cancel.check()
    if arguments.print:
        print_json({name: step_to_json(step) for name, step in steps.items()})
        return
    for name, step in steps.items():  # nothing is pushed if one of them could not be built at all
        with _naming(name):
            step.plan()
    results: dict[str, BuildResult] = {}
    for name, step in steps.items():
        results[name] = result = _run(name, step, arguments, cancel)
        if not arguments.json:  # what is pushed is said, even if a later target fails
            print("\n".join(_lines(name, result)), flush=True)
    if arguments.json:
        print_json({name: result_to_json(result) for name, result in results.items()})


def step_to_json(step: BuildAndPushStep) -> Mapping[str, object]:
    """The settings of a step that are not the usual ones; secrets show as asterisks."""
    shown: Mapping[str, object] = step.model_dump(
        mode="json", exclude_unset=True, exclude={"auth"}, by_alias=False
    )
    return shown


def _run(
    name: str, step: BuildAndPushStep, arguments: argparse.Namespace, cancel: CancelToken
) -> BuildResult:
    if arguments.progress == "plain" and sys.stderr is not None:
        print(f"target {name}", file=sys.stderr)
    with _naming(name):
        return step.run(on_event=display(arguments.progress), cancel=cancel)


@contextmanager
def _naming(target: str) -> Generator[None]:
    """Say of which target an error is."""
    try:
        yield
    except BuildpushError:
        print(f"buildpush: target {target} failed", file=sys.stderr)
        raise


def _lines(name: str, result: BuildResult) -> tuple[str, ...]:
    """What was pushed; for a target that was not, its name and digest."""
    return tuple(map(str, result.references)) or (f"{name} {result.digest}",)


def _settings(arguments: argparse.Namespace) -> BakeArguments:
    settings: BakeArguments = {"backend": arguments.backend}
    if arguments.push is not None:
        settings["push"] = arguments.push
    if arguments.insecure is not None:
        settings["insecure"] = arguments.insecure
    if arguments.timeout is not None:
        settings["timeout"] = arguments.timeout
    return settings
