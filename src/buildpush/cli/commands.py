"""What each command does: arguments to a step, a result to stdout."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from ..backends import AUTO_ORDER, BackendCatalog
from ..errors import PlanError, SpecError
from ..events import EventSink, ignore
from ..plan import BuildResult, Capabilities, Feature
from ..render.jsonl import JsonlRenderer
from ..render.plain import PlainRenderer
from ..runtime import CancelToken, Environment
from ..step import BuildAndPushStep


def build(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``build``: run a step; print its pinned references, or everything as JSON."""
    if arguments.plan:
        plan(arguments, cancel)
        return
    step = _step(arguments)
    result = step.run(on_event=_display(arguments.progress), cancel=cancel)
    if arguments.json:
        _print_json(result_to_json(result))
        return
    for line in (*result.references, *result.outputs):
        print(line)
    if not result.references:
        print(result.digest)


def plan(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``plan``: print what a step would do."""
    made = _step(arguments).plan()
    cancel.check()
    if arguments.json:
        _print_json(made.to_json())
    else:
        print(made.render())


def demo(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``demo``: the whole path on this machine alone."""
    from .demo import run_demo, table

    result = run_demo(on_event=PlainRenderer(sys.stderr), cancel=cancel)
    if arguments.json:
        _print_json(result_to_json(result))
    else:
        print(table(result))


@frozen(kw_only=True)
class Finding:
    """What `doctor` found out about one backend: its capabilities, or why there are none."""

    name: str
    capabilities: Capabilities | None
    problem: str = ""
    hint: str = ""


def doctor(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``doctor``: print what each backend can do here, and why not."""
    findings = examine(BackendCatalog.discover())
    cancel.check()
    if arguments.json:
        _print_json([_finding_to_json(finding) for finding in findings])
        return
    for finding in findings:
        print("\n".join(_finding_lines(finding)))


def examine(catalog: BackendCatalog) -> tuple[Finding, ...]:
    """Probe every backend that is installed or that ``auto`` knows, in ``auto``'s order."""
    names = (*AUTO_ORDER, *sorted(set(catalog.entries) - set(AUTO_ORDER)))
    return tuple(_examine(catalog, name) for name in names)


def _examine(catalog: BackendCatalog, name: str) -> Finding:
    try:
        return Finding(name=name, capabilities=catalog.load(name).probe())
    except PlanError as error:
        return Finding(name=name, capabilities=None, problem=error.message, hint=error.hint)


def _finding_lines(finding: Finding) -> Iterable[str]:
    found = finding.capabilities
    if found is None:
        yield f"{finding.name}: not here: {finding.problem}"
        if finding.hint:
            yield f"    {finding.hint}"
        return
    platforms = ", ".join(map(str, found.platforms)) or "none"
    yield f"{finding.name} {found.version}: ready (RUN for {platforms})"
    yield from (f"    {remark}" for remark in found.remarks)
    missing: dict[str, list[str]] = {}
    for feature in Feature:
        if feature not in found.features:
            missing.setdefault(found.notes.get(feature, ""), []).append(feature.value)
    for why, features in missing.items():
        yield from (f"    cannot {feature}" for feature in features)
        if why:
            yield f"        since: {why}"


def _finding_to_json(finding: Finding) -> dict[str, object]:
    found = finding.capabilities
    if found is None:
        return {"backend": finding.name, "ready": False, "problem": finding.problem}
    return {
        "backend": finding.name,
        "ready": True,
        "version": found.version,
        "platforms": [str(platform) for platform in found.platforms],
        "features": sorted(feature.name.lower() for feature in found.features),
        "remarks": list(found.remarks),
        "notes": {feature.name.lower(): note for feature, note in found.notes.items()},
    }


def result_to_json(result: BuildResult) -> dict[str, object]:
    """A result as JSON values: digests and references as text, sizes in bytes."""
    return {
        "digest": str(result.digest),
        "references": [str(reference) for reference in result.references],
        "images": {
            str(platform): {
                "digest": str(image.digest),
                "config": str(image.config),
                "size": image.size,
                "layers": image.layers,
            }
            for platform, image in result.images.items()
        },
        "outputs": [str(path) for path in result.outputs],
        "backend": {"name": result.backend.backend, "version": result.backend.version},
        "seconds": round(result.seconds, 3),
        "warnings": list(result.warnings),
    }


def _print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2)
    print()


def _display(progress: str) -> EventSink:
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
        "build_args": _pairs("--build-arg", arguments.build_args, environment),
        "labels": _pairs("--label", arguments.labels),
        "annotations": _pairs("--annotation", arguments.annotations),
        "build_contexts": _pairs("--build-context", arguments.build_contexts),
        "add_hosts": _pairs("--add-host", arguments.add_hosts),
        "secrets": _secrets(arguments.secrets),
        "platforms": [p for text in arguments.platforms or () for p in text.split(",")] or None,
        "outputs": [_fields("--output", text) for text in arguments.outputs or ()] or None,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    return BuildAndPushStep.parse(given)


def _pairs(
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


def _fields(option: str, text: str) -> dict[str, str]:
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
        fields = _fields("--secret", text)
        name = fields.get("id", "")
        file = fields.get("src") or fields.get("source")
        variable = fields.get("env") or ("" if file else name)
        if not name:
            raise SpecError("--secret: expected id=NAME,src=FILE or id=NAME,env=VARIABLE")
        secrets[name] = Path(file) if file else FromEnv(variable)
    return secrets
