"""The command line: arguments in, exit code out; progress on stderr, the result on stdout."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Final

from ..errors import (
    AuthError,
    BuildError,
    BuildpushError,
    PlanError,
    RegistryError,
    SpecError,
    StepCancelledError,
    StepTimeoutError,
)
from ..runtime import CancelToken

__all__ = ["EXIT_CODES", "main"]

EXIT_CODES: Final[Mapping[type[BaseException], int]] = {
    BuildpushError: 1,
    SpecError: 2,
    PlanError: 3,
    AuthError: 4,
    BuildError: 5,
    RegistryError: 6,
    StepTimeoutError: 7,
    StepCancelledError: 130,
}
"""What each branch of the error tree exits with; 0 is success, 2 is also argparse's own."""

_HOMES: Final = {
    "build": "commands",
    "plan": "commands",
    "bake": "bake",
    "plugin": "plugin",
    "harness": "harness",
    "push": "publishing",
    "copy": "publishing",
    "index": "publishing",
    "doctor": "doctor",
    "explain": "explain",
    "gc": "commands",
    "demo": "commands",
}
"""Which module has a command: no other is imported for it."""

_CLOUDS: Final = ("ecr", "gcr", "gar", "acr")

Command = Callable[[argparse.Namespace, CancelToken], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see `EXIT_CODES`).

    SIGINT and SIGTERM stop the run, wait until everything it started is gone, and exit with 130
    and 143.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if callable(reconfigure):
        reconfigure(errors="backslashreplace")  # as standard error is
    arguments = _parser().parse_args(argv)
    cancel = CancelToken()
    caught: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        caught.append(number)
        cancel.cancel(StepCancelledError(f"stopped by {signal.Signals(number).name}"))

    previous = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        home = import_module(f".{_HOMES[arguments.command]}", __name__)
        command: Command = getattr(home, arguments.command)
        cancel.check()
        command(arguments, cancel)
        if sys.stdout is not None:  # as it is when the caller has closed it
            sys.stdout.flush()
    except BuildpushError as error:
        from ..render.plain import visible

        # Registries, clusters and builds are quoted in there.
        print(visible(f"buildpush: {error.report()}"), file=sys.stderr)
        if caught:
            return 128 + caught[0]
        return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
    except OSError as error:
        return _output_lost(error)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def _output_lost(error: OSError) -> int:
    """End a command whose output could not be written, and keep the interpreter from retrying."""
    with suppress(OSError):
        print(f"buildpush: the output could not be written: {error}", file=sys.stderr)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - it is no path of ours
                os.dup2(nothing.fileno(), stream.fileno())
    return 128 + signal.SIGPIPE if isinstance(error, BrokenPipeError) else 1


def _parser() -> argparse.ArgumentParser:
    from .publishing import add_commands

    parser = argparse.ArgumentParser(
        prog="python -m buildpush", description="Build container images and push them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build an image and push it")
    _step_arguments(build)
    build.add_argument("--plan", action="store_true", help="say what would be done, and stop")
    build.add_argument("--json", action="store_true", help="print the result as JSON")
    build.add_argument(
        "--progress", choices=("plain", "jsonl", "none"), default="plain", help="on stderr"
    )
    plan = commands.add_parser("plan", help="say what would be done; build nothing")
    _step_arguments(plan)
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    plan.add_argument(
        "--preview", action="store_true", help="print only what the backend would start"
    )
    _bake_arguments(commands.add_parser("bake", help="build what a bake file describes"))
    _plugin_arguments(
        commands.add_parser("plugin", help="do what a plugin of Drone does, by its variables")
    )
    _harness_arguments(
        commands.add_parser("harness", help="run the steps of Harness's YAML that build and push")
    )
    add_commands(commands)
    doctor = commands.add_parser("doctor", help="say what each backend can do here, and why not")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    _explain_arguments(
        commands.add_parser("explain", help="say where the credential for a reference comes from")
    )
    gc = commands.add_parser("gc", help="remove what killed builds have left behind")
    gc.add_argument("--backend", default="kaniko", help="the backend whose leftovers to look for")
    gc.add_argument(
        "--older-than", default="12h", metavar="DURATION", help="longer than any build takes"
    )
    demo = commands.add_parser(
        "demo", help="build the shipped example and push it to a registry of its own; no network"
    )
    demo.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _plugin_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    engines = ("docker", "buildx", "buildah", "kaniko")
    kinds = (*engines, *_CLOUDS, *(f"{engine}-{of}" for engine in engines for of in _CLOUDS))
    add(
        "plugin",
        metavar="PLUGIN",
        nargs="?",
        default="docker",
        choices=kinds,
        help=f"{'|'.join((*engines, *_CLOUDS))}, or both: kaniko-ecr",
    )
    add("--strict", action="store_true", help="refuse variables that do not do what they say")
    add("--backend", default="auto", help="native, auto, or another installed backend")
    add("--plan", action="store_true", help="say what would be done, and stop")
    add("--json", action="store_true", help="print the result as JSON")
    add("--progress", choices=("plain", "jsonl", "none"), default="plain", help="on stderr")


def _harness_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", help="a step, a stage or a pipeline")
    add("--step", metavar="ID", help="only this one, by its identifier or path")
    for option, dest, metavar, what in (
        ("--set", "values", "EXPRESSION=VALUE", "a value for <+EXPRESSION>"),
        ("--input", "inputs", "PATH=VALUE", "what <+input> gets there"),
        ("--secret", "secrets", "id=NAME,src=FILE|env=NAME", "what secrets.getValue gets"),
    ):
        add(option, dest=dest, action="append", metavar=metavar, help=f"{what}; may be repeated")
    add("--plan", action="store_true", help="say what would be done, and stop")
    add("--backend", default="auto", help="native, auto, or another installed backend")
    add("--insecure", action="append", metavar="HOST", help="a registry to reach by plain HTTP")
    add("--json", action="store_true", help="print how the steps ended as JSON")
    add("--progress", choices=("plain", "jsonl", "none"), default="plain", help="on stderr")


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("reference", metavar="REFERENCE", help="an image, such as ghcr.io/acme/app:1.4")
    add("--access", choices=("pull", "push"), default="push", help="what it is for; push")
    add(
        "--auth",
        action="append",
        metavar="NAME",
        help="a keychain to ask first, by name, such as ecr; may be repeated",
    )
    add("--json", action="store_true", help="print the explanation as JSON")


def _bake_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of bake; the names are those of ``docker buildx bake``."""
    add = parser.add_argument
    add("targets", metavar="TARGET", nargs="*", help="targets and groups; default if not given")
    add("--file", "-f", dest="files", action="append", help="a bake file; may be repeated")
    add(
        "--set",
        dest="overrides",
        action="append",
        metavar="TARGET.FIELD=VALUE",
        help="override a field; may be repeated",
    )
    add(
        "--var",
        dest="variables",
        action="append",
        metavar="NAME=VALUE",
        help="a variable of the files; may be repeated",
    )
    add("--print", action="store_true", help="print the steps' settings as JSON, and stop")
    add("--backend", default="auto", help="native, auto, or another installed backend")
    add(
        "--push",
        action=argparse.BooleanOptionalAction,
        help="push, or do not, whatever the outputs say",
    )
    add("--insecure", action="append", metavar="HOST", help="a registry to reach by plain HTTP")
    add("--timeout", help="of each step, such as 90s, 10m or 1h 30m")
    add("--json", action="store_true", help="print the results as JSON")
    add("--progress", choices=("plain", "jsonl", "none"), default="plain", help="on stderr")


def _step_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings of a step that have an option; the names are those of ``docker build``."""
    from .publishing import add_policy

    add = parser.add_argument
    add("context", metavar="CONTEXT", help="the build context: a folder")
    add("--repo", required=True, help="the repository to push to, without tag")
    add("--tag", "-t", dest="tags", action="append", help="a tag; may be repeated")
    add("--backend", default="auto", help="native, auto, or another installed backend")
    add("--file", "-f", dest="dockerfile", help="the Dockerfile; CONTEXT/Dockerfile if not given")
    add("--target", help="the stage to build")
    for option, dest, metavar in (
        ("--build-arg", "build_args", "NAME[=VALUE]"),
        ("--label", "labels", "NAME=VALUE"),
        ("--annotation", "annotations", "NAME=VALUE"),
        ("--build-context", "build_contexts", "NAME=PLACE"),
        ("--add-host", "add_hosts", "NAME=ADDRESS"),
    ):
        add(option, dest=dest, action="append", metavar=metavar, help="may be repeated")
    add(
        "--secret",
        dest="secrets",
        action="append",
        metavar="id=ID,src=FILE|env=NAME",
        help="a secret for RUN --mount=type=secret; may be repeated",
    )
    add("--platform", dest="platforms", action="append", metavar="OS/ARCH[,…]")
    add("--no-cache", action="store_true", help="execute every step anew")
    add("--pull", action="store_true", help="always look for newer base images")
    add("--no-push", action="store_true", help="build only")
    add(
        "--destination",
        dest="destinations",
        action="append",
        metavar="REPOSITORY[:TAG]",
        help="push there, too: every tag, or this one; may be repeated",
    )
    add("--skip-preflight", action="store_true", help="do not ask first whether we may push")
    add_policy(parser)
    add(
        "--output",
        "-o",
        dest="outputs",
        action="append",
        metavar="type=oci|docker|local,dest=PATH",
        help="also write the image there; may be repeated",
    )
    add("--insecure", action="append", metavar="HOST", help="a registry to reach by plain HTTP")
    add("--network", choices=("default", "host", "none"), help="the network of RUN")
    add("--timeout", help="such as 90s, 10m or 1h 30m")
