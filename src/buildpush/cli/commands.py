"""What each command does: arguments to a step, a result to stdout."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SpecError
from ..events import EventSink, ignore
from ..render.jsonl import JsonlRenderer
from ..render.plain import PlainRenderer
from ..runtime import CancelToken, Environment

if TYPE_CHECKING:
    from ..plan import BuildResult
    from ..publishing import PushResult
    from ..step import BuildAndPushStep


def build(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``build``: run a step; print its pinned references, or everything as JSON."""
    if arguments.plan:
        plan(arguments, cancel)
        return
    step = _step(arguments)
    result = step.run(on_event=display(arguments.progress), cancel=cancel)
    if arguments.json:
        print_json(result_to_json(result))
        return
    for line in (*result.references, *result.outputs):
        print(line)
    if not result.references:
        print(result.digest)


def plan(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``plan``: print what a step would do."""
    made = _step(arguments).plan()
    cancel.check()
    if getattr(arguments, "preview", False):
        if not made.preview:
            name = made.backend.backend
            raise SpecError(f"--preview: backend {name} cannot say beforehand what it starts")
        print(made.preview)
    elif arguments.json:
        print_json(made.to_json())
    else:
        print(made.render())


def gc(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``gc``: remove what killed builds have left in an engine or a cluster; print its names."""
    from ..backends import BackendCatalog, Sweeping
    from ..spec.quantities import parse_duration

    try:
        seconds = parse_duration(arguments.older_than)
    except ValueError as error:
        raise SpecError(f"--older-than: {error}") from error
    backend = BackendCatalog.discover().load(arguments.backend)
    if not isinstance(backend, Sweeping):
        raise SpecError(f"--backend: {arguments.backend} leaves nothing that could be found again")
    cancel.check()
    for name in backend.gc(older_than=timedelta(seconds=seconds)):
        print(name)


def demo(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``demo``: the whole path on this machine alone."""
    from .demo import run_demo, table

    result = run_demo(on_event=PlainRenderer(sys.stderr), cancel=cancel)
    if arguments.json:
        print_json(result_to_json(result))
    else:
        print(table(result))


def result_to_json(result: BuildResult) -> dict[str, object]:
    """A result as JSON values: digests and references as text, sizes in bytes."""
    return {
        **landed(result),
        "outputs": [str(path) for path in result.outputs],
        "backend": {"name": result.backend.backend, "version": result.backend.version},
        "seconds": round(result.seconds, 3),
        "warnings": list(result.warnings),
    }


def landed(result: BuildResult | PushResult) -> dict[str, object]:
    """What is where now, as JSON values; sizes in bytes."""
    return {
        "digest": str(result.digest),
        "references": [str(reference) for reference in result.references],
        "destinations": [
            {
                "reference": str(one.reference),
                "status": one.status,
                "uploaded": one.uploaded,
                "mounted": one.mounted,
                "existing": one.existing,
            }
            for one in result.destinations
        ],
        "images": {
            str(platform): {
                "digest": str(image.digest),
                "config": str(image.config),
                "size": image.size,
                "layers": image.layers,
            }
            for platform, image in result.images.items()
        },
    }


def print_json(value: object) -> None:
    """Print *value*, made of JSON values, on lines that people can read."""
    json.dump(value, sys.stdout, indent=2)
    print()


def display(progress: str) -> EventSink:
    """Where events go for a value of ``--progress``."""
    if sys.stderr is None:  # as it is when the caller has closed it
        return ignore
    match progress:
        case "plain":
            return PlainRenderer(sys.stderr)
        case "jsonl":
            return JsonlRenderer(sys.stderr)
        case _:
            return ignore


def _step(arguments: argparse.Namespace) -> BuildAndPushStep:
    """The step that the options describe; options that were not given are left out."""
    environment = Environment.current()
    settings: dict[str, object] = {
        "repo": arguments.repo,
        "context": arguments.context,
        "backend": arguments.backend,
        "push": not arguments.no_push,
        "no_cache": arguments.no_cache,
        "pull": arguments.pull,
        "tags": arguments.tags,
        "dockerfile": arguments.dockerfile,
        "target": arguments.target,
        "network": arguments.network,
        "timeout": arguments.timeout,
        "insecure": arguments.insecure,
        "destinations": arguments.destinations,
        "skip_preflight": arguments.skip_preflight,
        "auth": arguments.auth,
        "on_existing_tag": arguments.on_existing_tag,
        "expect_current": arguments.expect_current,
        "on_partial": arguments.on_partial,
        "media_types": arguments.media_types,
        "retries": arguments.retries,
        "build_args": pairs("--build-arg", arguments.build_args, environment),
        "labels": pairs("--label", arguments.labels),
        "annotations": pairs("--annotation", arguments.annotations),
        "build_contexts": pairs("--build-context", arguments.build_contexts),
        "add_hosts": pairs("--add-host", arguments.add_hosts),
        "secrets": _secrets(arguments.secrets),
        "platforms": [p for text in arguments.platforms or () for p in text.split(",")] or None,
        "outputs": [fields("--output", text) for text in arguments.outputs or ()] or None,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    from ..step import BuildAndPushStep

    return BuildAndPushStep.parse(given)


def pairs(
    option: str, texts: list[str] | None, environment: Environment | None = None
) -> dict[str, str] | None:
    """Split ``NAME=VALUE``; a bare NAME is taken from *environment*, as docker does."""
    if texts is None:
        return None
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals:
            pairs[name] = value
        elif environment is None:
            raise SpecError(f"{option} {text}: expected NAME=VALUE")
        elif name in environment.variables:
            pairs[name] = environment.variables[name]
    return pairs


def fields(option: str, text: str) -> dict[str, str]:
    """Read ``key=value,key=value`` as docker does: CSV, so that a value may hold a comma."""
    fields: dict[str, str] = {}
    for item in next(csv.reader([text])):
        key, equals, value = item.partition("=")
        if not equals:
            raise SpecError(f"{option} {text}: expected key=value,…")
        fields["destination" if key == "dest" else key] = value
    return fields


def _secrets(texts: list[str] | None) -> dict[str, object] | None:
    from ..spec import FromEnv

    if texts is None:
        return None
    secrets: dict[str, object] = {}
    for text in texts:
        given = fields("--secret", text)
        name = given.get("id", "")
        file = given.get("src") or given.get("source")
        variable = given.get("env") or ("" if file else name)
        if not name:
            raise SpecError("--secret: expected id=NAME,src=FILE or id=NAME,env=VARIABLE")
        secrets[name] = Path(file) if file else FromEnv(variable)
    return secrets
