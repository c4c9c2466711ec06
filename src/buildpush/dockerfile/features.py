"""What a Dockerfile asks of a backend, line by line, so that a plan can refuse with the line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import Literal

from attrs import frozen

from ..oci import Platform
from .arguments import argument_value
from .instructions import Add, Arg, Copy, Dockerfile, Env, Instruction, Lines, Run
from .resolution import Resolution
from .stages import resolve
from .words import expand_word

__all__ = ["Need", "Use", "remote_kind", "used_features"]


class Need(Enum):
    """Something an instruction asks for; the value completes “cannot …”."""

    RUN = "execute RUN instructions"
    RUN_HEREDOC = "read here-documents in RUN"
    COPY_HEREDOC = "read here-documents in COPY and ADD"
    MOUNT_BIND = "honour RUN --mount=type=bind"
    MOUNT_CACHE = "honour RUN --mount=type=cache"
    MOUNT_FROM = "mount a stage or an image in RUN"
    MOUNT_TMPFS = "honour RUN --mount=type=tmpfs"
    MOUNT_SECRET = "mount build secrets"  # noqa: S105
    MOUNT_SSH = "forward an SSH agent"
    NETWORK = "choose a network for RUN"
    SECURITY = "execute RUN with extended privileges"
    DEVICE = "give devices to RUN"
    ADD_URL = "ADD from a URL"
    ADD_GIT = "ADD from a Git repository"
    CHECKSUM = "check what ADD fetches"
    UNPACK = "choose whether ADD unpacks"
    LINK = "honour COPY --link"
    PARENTS = "honour COPY --parents"
    EXCLUDE = "honour COPY --exclude"
    COPY_FROM = "COPY --from another stage or image"
    ONBUILD = "run the ONBUILD triggers of a stage"


_MOUNTS = {
    "bind": Need.MOUNT_BIND,
    "cache": Need.MOUNT_CACHE,
    "tmpfs": Need.MOUNT_TMPFS,
    "secret": Need.MOUNT_SECRET,
    "ssh": Need.MOUNT_SSH,
}
_SCP = re.compile(r"[a-zA-Z0-9-]+@[a-zA-Z0-9.-]+:.*")


@frozen(kw_only=True)
class Use:
    """One need at its place: *stage* is an index, *detail* the option or source that needs it."""

    need: Need
    lines: Lines
    stage: int
    detail: str = ""


def used_features(
    dockerfile: Dockerfile,
    target: str | None = None,
    *,
    build_args: Mapping[str, str] | None = None,
    platform: Platform | None = None,
    build_platform: Platform | None = None,
    contexts: Collection[str] = (),
) -> tuple[Use, ...]:
    """What the stages *target* needs ask for, in file order, one `Use` per line and need.

    The arguments are those of `stages.resolve`, and so are the errors. Variables are expanded
    with what the Dockerfile itself sets; values a base image would bring are unknown here.
    """
    resolution = resolve(
        dockerfile,
        target=target,
        build_args=build_args,
        platform=platform,
        build_platform=build_platform,
        contexts=contexts,
    )
    return tuple(_uses(resolution, build_args or {}))


def remote_kind(source: str) -> Literal["git", "url", ""]:
    """What an ADD source is: ``git``, ``url``, or empty for a path in the context.

    As BuildKit decides: an http(s) URL is a repository when its path ends in ``.git``.
    """
    scheme, separator, rest = source.partition("://")
    if separator and scheme in ("git", "ssh"):
        return "git"
    if separator and scheme in ("http", "https"):
        path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")[2]
        return "git" if path.endswith(".git") else "url"
    return "git" if not separator and _SCP.fullmatch(source) else ""


def _uses(resolution: Resolution, build_args: Mapping[str, str]) -> Iterator[Use]:
    environments: dict[int, dict[str, str]] = {}
    for index in resolution.needed:
        stage = resolution.stages[index]
        parent = stage.base.stage
        env = dict(environments[parent]) if parent is not None else {}
        environments[index] = env
        triggers = len(stage.instructions) - len(stage.stage.instructions)
        for number, instruction in enumerate(stage.instructions):
            if number < triggers:
                yield Use(need=Need.ONBUILD, lines=instruction.lines, stage=index)
            _remember(instruction, env, resolution, build_args)
            seen: set[Need] = set()
            for need, detail in _of(instruction, env, resolution.dockerfile.escape):
                if need not in seen:
                    seen.add(need)
                    yield Use(need=need, lines=instruction.lines, stage=index, detail=detail)


def _of(
    instruction: Instruction, env: Mapping[str, str], escape: str
) -> Iterator[tuple[Need, str]]:
    match instruction:
        case Run():
            yield from _of_run(instruction, env, escape)
        case Copy():
            if instruction.from_stage:
                yield Need.COPY_FROM, f"--from={instruction.from_stage}"
            if instruction.parents:
                yield Need.PARENTS, "--parents"
            yield from _of_copying(instruction)
        case Add():
            for source in instruction.sources:
                match remote_kind(_expanded(source, env, escape)):
                    case "git":
                        yield Need.ADD_GIT, source
                    case "url":
                        yield Need.ADD_URL, source
                    case _:
                        pass
            if instruction.checksum:
                yield Need.CHECKSUM, "--checksum"
            if instruction.unpack is not None:
                yield Need.UNPACK, "--unpack"
            yield from _of_copying(instruction)
        case _:
            pass


def _of_run(run: Run, env: Mapping[str, str], escape: str) -> Iterator[tuple[Need, str]]:
    yield Need.RUN, ""
    if run.heredocs:
        yield Need.RUN_HEREDOC, f"<<{run.heredocs[0].name}"
    for mount in run.mounts:
        kind = _expanded(mount.type, env, escape).lower()
        yield _MOUNTS.get(kind, Need.MOUNT_BIND), f"--mount=type={kind}"
        origin = mount.get("from")
        if origin:
            yield Need.MOUNT_FROM, f"--mount=from={origin}"
    if run.network != "default":
        yield Need.NETWORK, f"--network={run.network}"
    if run.security != "sandbox":
        yield Need.SECURITY, f"--security={run.security}"
    if run.devices:
        yield Need.DEVICE, f"--device={run.devices[0]}"


def _of_copying(instruction: Copy | Add) -> Iterator[tuple[Need, str]]:
    if instruction.heredocs:
        yield Need.COPY_HEREDOC, f"<<{instruction.heredocs[0].name}"
    if instruction.link:
        yield Need.LINK, "--link"
    if instruction.exclude:
        yield Need.EXCLUDE, f"--exclude={instruction.exclude[0]}"


def _remember(
    instruction: Instruction,
    env: dict[str, str],
    resolution: Resolution,
    build_args: Mapping[str, str],
) -> None:
    """Apply ARG and ENV to *env*; what cannot be expanded is left for the build to report."""
    escape = resolution.dockerfile.escape
    match instruction:
        case Arg(args=args):
            for name, default in args:
                try:
                    value = argument_value(
                        name,
                        default,
                        build_args=build_args,
                        global_args=resolution.arguments,
                        env=env,
                        escape=escape,
                    )
                except ValueError:
                    continue
                if value is not None:
                    env[name] = value
        case Env(pairs=pairs):
            # BuildKit expands all of one ENV with what was set before it.
            env.update([(name, _expanded(value, env, escape)) for name, value in pairs])
        case _:
            pass


def _expanded(text: str, env: Mapping[str, str], escape: str) -> str:
    try:
        return expand_word(text, env, escape=escape)
    except ValueError:
        return text
