"""The classic builder, by ``POST /build`` of the Engine API: where BuildKit cannot be had.

The parameters are those of the Engine API reference, “Build an image”.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from attrs import frozen

from ...auth import Access, Keychain
from ...auth.files import docker_config
from ...dockerfile.faults import evidence_of
from ...dockerfile.ignore import IgnoreRules
from ...dockerfile.instructions import Add, Arg, Copy, Dockerfile, Lines
from ...errors import (
    BuildError,
    NotFoundError,
    UnsupportedFeatureError,
)
from ...oci import Platform, Repository
from ...plan import BuildRequest
from ...runtime import Run
from ..engine.api import EngineApi
from ..engine.context import Context, Extra
from .stream import ClassicStream

__all__ = ["build", "check", "parameters", "sent"]

_CPU_PERIOD: Final = 100_000
_OWN_NAME: Final = ".buildpush.Dockerfile"
_IGNORE: Final = ".dockerignore"
_PLACE: Final = re.compile(r"line (\d+)")


@frozen(kw_only=True)
class Sent:
    """What is sent: the context, the Dockerfile's name in it, how many lines it has in front."""

    context: Context
    dockerfile: str
    shift: int = 0


def check(request: BuildRequest) -> None:
    """Refuse what this builder would ignore or stumble over: `UnsupportedFeatureError`.

    The rest of its limits is refused by the plan, by the features it does not have.
    """
    for stage in request.dockerfile.stages:
        for instruction in stage.instructions:
            if isinstance(instruction, Copy | Add) and instruction.chmod:
                raise UnsupportedFeatureError(
                    f"the classic builder cannot honour --chmod={instruction.chmod}",
                    evidence=(evidence_of(request.dockerfile, instruction.lines),),
                    hint="install the buildx plugin, or use another backend",
                )


def build(
    api: EngineApi,
    request: BuildRequest,
    wants: Iterable[tuple[Repository, Access]],
    keychain: Keychain,
    run: Run,
) -> str:
    """Build *request* in the daemon; the id of the image, which has no name yet.

    *wants* are the repositories that the daemon will pull from by itself.

    Raises `BuildError` with the instruction's lines, and what the registries of base images say.
    """
    check(request)
    what = sent(request)
    stream = ClassicStream(request.dockerfile, request.target, shift=what.shift)
    headers = {
        "Content-Type": "application/x-tar",
        "X-Registry-Config": _registry_config(wants, keychain),
    }
    with run.task("context", f"send build context {request.context}") as task:
        body = task.counting(what.context.stream())
        try:
            messages = api.messages(
                "POST",
                "/build",
                params=parameters(request, what),
                headers=headers,
                body=body,
            )
            first = next(messages, None)
        except (BuildError, NotFoundError) as error:
            raise _refused(error, request.dockerfile) from error
    with closing(_rest(first, messages)) as rest:
        done = False
        try:
            for message in rest:
                for event in stream.message(message, run.now):
                    run.emit(event)
            done = stream.complete and stream.failed is None
        finally:
            for event in stream.finish(run.now, failed=not done):
                run.emit(event)
    if not done:
        raise stream.error()
    return stream.image


def parameters(request: BuildRequest, what: Sent) -> Mapping[str, str | int | bool]:
    """The query of ``POST /build`` for *request*. Pure."""
    limits = request.limits
    ulimits = [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in request.ulimits]
    found: dict[str, str | int | bool | None] = {
        "version": 1,
        "dockerfile": what.dockerfile,
        "rm": True,
        "forcerm": True,
        "target": request.target,
        "platform": ",".join(map(str, request.platforms)),
        "buildargs": _json(_build_args(request)),
        "labels": _json(request.labels),
        "networkmode": request.network if request.network != "default" else None,
        "extrahosts": ",".join(f"{name}:{ip}" for name, ip in request.add_hosts.items()),
        "shmsize": request.shm_size,
        "ulimits": _json(ulimits),
        "memory": limits.memory,
        # Without it the container could swap as much again.
        "memswap": limits.memory,
        "cpuperiod": _CPU_PERIOD if limits.cpus is not None else None,
        "cpuquota": round(limits.cpus * _CPU_PERIOD) if limits.cpus is not None else None,
        "cgroupparent": request.cgroup_parent,
        "nocache": request.no_cache or None,
        "pull": request.pull or None,
        "squash": request.squash or None,
        "cachefrom": _json([c.attributes.get("ref", "") for c in request.cache_from]),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def sent(request: BuildRequest) -> Sent:
    """What to send for *request*: reads the ignore file, and nothing else."""
    rules = IgnoreRules.read(request.context, request.dockerfile_path)
    text, shift = _with_platform_args(request)
    name = _name_in(request.context, request.dockerfile_path)
    if name and not shift and rules.filename in ("", _IGNORE):
        context = Context(folder=request.context, rules=rules, always=frozenset((name, _IGNORE)))
        return Sent(context=context, dockerfile=name)
    # The daemon takes out of the context what .dockerignore names, of these two files: so that
    # our Dockerfile is not copied into the image.
    extras: list[Extra] = [(_OWN_NAME, text.encode("utf-8", "surrogateescape"))]
    there = request.context / _IGNORE
    # A link to elsewhere is not followed: what is read here can be copied into the image.
    inside = there.resolve().is_relative_to(request.context.resolve())
    if inside and there.is_file() and not rules.excludes(_IGNORE):
        extras.append((_IGNORE, there.read_bytes().rstrip(b"\n") + f"\n{_OWN_NAME}\n".encode()))
    else:
        extras.append((_IGNORE, f"{_OWN_NAME}\n{_IGNORE}\n".encode()))
    context = Context(folder=request.context, rules=rules, extras=tuple(extras))
    return Sent(context=context, dockerfile=_OWN_NAME, shift=shift)


def _name_in(context: Path, path: Path) -> str:
    """The Dockerfile's path in the context, empty when it is elsewhere (or a link to elsewhere)."""
    if path.is_symlink() or not path.is_relative_to(context):
        return ""
    return path.relative_to(context).as_posix()


def _with_platform_args(request: BuildRequest) -> tuple[str, int]:
    """The Dockerfile's text, with the platform ARGs that its FROMs use and BuildKit knows unasked.

    They go in front of the first FROM: after what has to come first.
    """
    dockerfile = request.dockerfile
    declared = {name for arg in dockerfile.args for name, _ in arg.args}
    froms = " ".join(stage.base.text for stage in dockerfile.stages)
    missing = [
        name
        for name in _platform_args(request)
        if name not in declared and re.search(rf"\$(?:{name}\b|{{{name}[:}}])", froms)
    ]
    if not missing:
        return dockerfile.text, 0
    lines = dockerfile.text.split("\n")
    place = dockerfile.stages[0].base.lines.first - 1
    lines[place:place] = [f"ARG {name}" for name in missing]
    return "\n".join(lines), len(missing)


def _platform_args(request: BuildRequest) -> Mapping[str, str]:
    """BuildKit's ARGs that say what is built, and where."""
    host = Platform.host()
    target = request.platforms[0] if request.platforms else host
    return {
        f"{prefix}{name}": value
        for prefix, platform in (("BUILD", host), ("TARGET", target))
        for name, value in (
            ("PLATFORM", str(platform)),
            ("OS", platform.os),
            ("ARCH", platform.architecture),
            ("VARIANT", platform.variant),
        )
    }


def _build_args(request: BuildRequest) -> Mapping[str, str]:
    """The build args, and the platform's where the Dockerfile asks for them."""
    dockerfile = request.dockerfile
    instructions = (i for stage in dockerfile.stages for i in stage.instructions)
    args = [*dockerfile.args, *(i for i in instructions if isinstance(i, Arg))]
    asked = {name for arg in args for name, _ in arg.args}
    text = " ".join(stage.base.text for stage in dockerfile.stages)
    implied = {k: v for k, v in _platform_args(request).items() if k in asked or k in text}
    return {**implied, **request.build_args}


def _registry_config(wants: Iterable[tuple[Repository, Access]], keychain: Keychain) -> str:
    """The header with the credentials that pulling needs: by host, and of these hosts only."""
    config = json.loads(docker_config(keychain, wants))
    found: dict[str, dict[str, str]] = {}
    for host, entry in config["auths"].items():
        if "auth" in entry:
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            found[host] = {"username": user, "password": password}
        else:
            found[host] = dict(entry)
    return base64.urlsafe_b64encode(json.dumps(found).encode()).decode()


def _json(value: Mapping[str, str] | Sequence[object]) -> str | None:
    return json.dumps(value) if value else None


def _rest(
    first: Mapping[str, object] | None, messages: Iterator[Mapping[str, object]]
) -> Generator[Mapping[str, object]]:
    if first is not None:
        yield first
        yield from messages


def _refused(error: BuildError | NotFoundError, dockerfile: Dockerfile) -> BuildError:
    """A refusal before anything was built: most often a line that the daemon cannot read."""
    place = _PLACE.search(error.message)
    lines = Lines(first=int(place[1]), last=int(place[1])) if place else None
    source = (evidence_of(dockerfile, lines),) if lines else ()
    return BuildError(error.message, evidence=(*source, *error.evidence), hint=error.hint)
