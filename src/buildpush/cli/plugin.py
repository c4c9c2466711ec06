"""What ``plugin`` does: a run of one of Drone's plugins, driven by the environment."""

from __future__ import annotations

import argparse
import sys

from ..plugins import run_plugin
from ..runtime import CancelToken
from ..step import BuildAndPushStep
from ..step.variables import Mode
from .commands import display, landed, print_json


def plugin(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``plugin``: print the pinned references, or everything as JSON; nothing if nothing is done."""
    mode: Mode = "strict" if arguments.strict else "compatible"
    if arguments.plan:
        step = BuildAndPushStep.from_plugin_env(plugin=arguments.plugin, mode=mode)
        print(step.plan(backend=arguments.backend).render())
        return
    done = run_plugin(
        plugin=arguments.plugin,
        mode=mode,
        backend=arguments.backend,
        on_event=display(arguments.progress),
        cancel=cancel,
    )
    if arguments.json:
        print_json(
            {
                "skipped": done.skipped,
                "digest": str(done.digest) if done.digest else "",
                "files": [str(file) for file in done.files],
                "remarks": list(done.remarks),
                **(landed(done.result) if done.result else {}),
            }
        )
    elif done.skipped:
        print(f"nothing to do: {done.skipped}", file=sys.stderr)
    else:
        print("\n".join(map(str, done.references)) or str(done.digest))
