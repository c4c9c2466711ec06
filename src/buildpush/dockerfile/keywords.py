"""One function per keyword: split words to the typed instruction, or a `Fault`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .faults import Fault, suggestion
from .flags import Kind, read_flags
from .instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from .lexing import heredoc_marker, strip_leading_tabs, unquote
from .mounts import parse_mount
from .quantities import nanoseconds
from .syntax import Words

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")
_NETWORKS = ("default", "none", "host")
_SECURITY = ("sandbox", "insecure")
_MILLISECOND = 1_000_000
_RETRIES = re.compile(r"[+-]?[0-9]{1,20}")


def typed(words: Words) -> Instruction:
    """Make the instruction *words* stand for, any but FROM; raises `Fault`."""
    return _BY_KEYWORD[words.keyword](words)


def from_words(words: Words) -> From:
    """Read ``FROM [--platform=P] image [AS name]``; raises `Fault`."""
    name = ""
    match words.args:
        case (_,):
            pass
        case (_, keyword, written) if keyword.lower() == "as":
            name = written.lower()
            if not _STAGE_NAME.fullmatch(name):
                raise Fault(
                    f'invalid name for build stage: "{written}", '
                    "name can't start with a number or contain symbols"
                )
        case _:
            raise Fault(
                "FROM requires either one or three arguments", "FROM image, or FROM image AS name"
            )
    flags = read_flags(words.flags, platform=Kind.TEXT)
    return From(
        lines=words.lines,
        text=words.text,
        image=words.args[0],
        platform=flags.text("platform"),
        name=name,
    )


def _some(words: Words) -> tuple[str, ...]:
    """The arguments, of which there must be one or more."""
    if not words.args:
        raise Fault(f"{words.keyword} requires at least one argument")
    return words.args


def _one(words: Words) -> str:
    if len(words.args) != 1:
        raise Fault(f"{words.keyword} requires exactly one argument")
    return words.args[0]


def _pairs(words: Words) -> tuple[tuple[str, str], ...]:
    read_flags(words.flags)
    args = _some(words)
    pairs = tuple(zip(args[::2], args[1::2], strict=True))
    if any(not name for name, _ in pairs):
        raise Fault(f"{words.keyword} names can not be blank")
    return pairs


def _command(words: Words) -> tuple[str, ...]:
    """An argv, or the shell's one word (empty when nothing follows the keyword)."""
    return words.args if words.is_json else (words.rest,)


def _arg(words: Words) -> Arg:
    args: list[tuple[str, str | None]] = []
    for word in _some(words):
        name, equals, value = word.partition("=")
        if equals and not name:
            raise Fault("ARG names can not be blank")
        args.append((name, value if equals else None))
    return Arg(lines=words.lines, text=words.text, args=tuple(args))


def _env(words: Words) -> Env:
    return Env(lines=words.lines, text=words.text, pairs=_pairs(words))


def _label(words: Words) -> Label:
    return Label(lines=words.lines, text=words.text, pairs=_pairs(words))


def _run(words: Words) -> Run:
    flags = read_flags(
        words.flags, mount=Kind.TEXTS, network=Kind.TEXT, security=Kind.TEXT, device=Kind.TEXTS
    )
    network = flags.text("network", "default")
    if network not in _NETWORKS:
        raise Fault(f'invalid network mode "{network}"{suggestion(network, _NETWORKS)}')
    security = flags.text("security", "sandbox")
    if security not in _SECURITY:
        raise Fault(f'security "{security}" is not valid{suggestion(security, _SECURITY)}')
    if words.is_json and not words.args:
        raise Fault("RUN requires at least one argument")
    return Run(
        lines=words.lines,
        text=words.text,
        command=_command(words),
        shell=not words.is_json,
        heredocs=tuple(heredoc.value() for heredoc in words.heredocs),
        mounts=tuple(parse_mount(text) for text in flags.texts("mount")),
        network=network,
        security=security,
        devices=flags.texts("device"),
    )


def _sources(words: Words) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str]:
    """Split COPY's and ADD's words: sources (paths before heredocs), heredocs, destination."""
    if len(words.args) < 2:
        raise Fault(
            f"{words.keyword} requires at least two arguments, but only one was provided. "
            "Destination could not be determined",
            f"{words.keyword} source… destination",
        )
    *sources, destination = words.args
    if heredoc_marker(destination):
        raise Fault(f"{words.keyword} cannot accept a heredoc as a destination")
    bodies = {heredoc.name: heredoc.content for heredoc in words.heredocs}
    heredocs: list[Heredoc] = []
    paths: list[str] = []
    for word in sources:
        marker = heredoc_marker(word)
        if marker is None:
            paths.append(word)
            continue
        # In the JSON form a marker has no body, and BuildKit makes an empty file of it.
        body = bodies.get(marker.name, "")
        heredocs.append(
            Heredoc(
                name=marker.name,
                content=strip_leading_tabs(body) if marker.strip_tabs else body,
                expand=marker.expand,
                strip_tabs=marker.strip_tabs,
            )
        )
    names = (heredoc.name for heredoc in heredocs)
    return (*paths, *names), tuple(heredocs), destination


def _copy(words: Words) -> Copy:
    sources, heredocs, destination = _sources(words)
    flags = read_flags(
        words.flags,
        chown=Kind.TEXT,
        from_=Kind.TEXT,
        chmod=Kind.TEXT,
        link=Kind.SWITCH,
        exclude=Kind.TEXTS,
        parents=Kind.SWITCH,
    )
    stage = flags.text("from")
    if stage != _unquoted(stage):
        raise Fault(
            "variable expansion is not supported for --from, define a new stage with FROM "
            "using ARG from global scope as a workaround",
            "write FROM ${NAME} AS alias, and --from=alias",
        )
    return Copy(
        lines=words.lines,
        text=words.text,
        sources=sources,
        destination=destination,
        heredocs=heredocs,
        from_stage=stage,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link") or False,
        parents=flags.switch("parents") or False,
        exclude=flags.texts("exclude"),
    )


def _unquoted(text: str) -> str:
    try:
        return unquote(text, {}, "\\")
    except ValueError as error:
        raise Fault(str(error)) from error


def _add(words: Words) -> Add:
    sources, heredocs, destination = _sources(words)
    flags = read_flags(
        words.flags,
        chown=Kind.TEXT,
        chmod=Kind.TEXT,
        link=Kind.SWITCH,
        keep_git_dir=Kind.SWITCH,
        checksum=Kind.TEXT,
        unpack=Kind.SWITCH,
        exclude=Kind.TEXTS,
    )
    return Add(
        lines=words.lines,
        text=words.text,
        sources=sources,
        destination=destination,
        heredocs=heredocs,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link") or False,
        exclude=flags.texts("exclude"),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.switch("keep-git-dir") or False,
        unpack=flags.switch("unpack"),
    )


def _cmd(words: Words) -> Cmd:
    read_flags(words.flags)
    return Cmd(
        lines=words.lines, text=words.text, command=_command(words), shell=not words.is_json
    )


def _entrypoint(words: Words) -> Entrypoint:
    read_flags(words.flags)
    return Entrypoint(
        lines=words.lines, text=words.text, command=_command(words), shell=not words.is_json
    )


def _workdir(words: Words) -> Workdir:
    path = _one(words)
    read_flags(words.flags)
    return Workdir(lines=words.lines, text=words.text, path=path)


def _user(words: Words) -> User:
    user = _one(words)
    read_flags(words.flags)
    return User(lines=words.lines, text=words.text, user=user)


def _expose(words: Words) -> Expose:
    ports = _some(words)
    read_flags(words.flags)
    # Sorted, because BuildKit's history entry is.
    return Expose(lines=words.lines, text=words.text, ports=tuple(sorted(ports)))


def _volume(words: Words) -> Volume:
    paths = tuple(path.strip() for path in _some(words))
    read_flags(words.flags)
    if not all(paths):
        raise Fault("VOLUME specified can not be an empty string")
    return Volume(lines=words.lines, text=words.text, paths=paths)


def _stopsignal(words: Words) -> StopSignal:
    return StopSignal(lines=words.lines, text=words.text, signal=_one(words))


def _shell(words: Words) -> Shell:
    read_flags(words.flags)
    command = _some(words)
    if not words.is_json:
        raise Fault(
            "SHELL requires the arguments to be in JSON form", 'e.g. SHELL ["/bin/bash", "-c"]'
        )
    return Shell(lines=words.lines, text=words.text, command=command)


def _maintainer(words: Words) -> Maintainer:
    name = _one(words)
    read_flags(words.flags)
    return Maintainer(lines=words.lines, text=words.text, name=name)


def _onbuild(words: Words) -> OnBuild:
    _some(words)
    read_flags(words.flags)
    assert words.child is not None
    return OnBuild(
        lines=words.lines,
        text=words.text,
        trigger=words.trigger,
        instruction=typed(words.child),
    )


def _healthcheck(words: Words) -> Healthcheck:
    kind, command = _some(words)[0].upper(), words.args[1:]
    if kind == "NONE":
        if any(command):
            raise Fault("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(lines=words.lines, text=words.text, test=("NONE",))
    flags = read_flags(
        words.flags,
        interval=Kind.TEXT,
        timeout=Kind.TEXT,
        start_period=Kind.TEXT,
        start_interval=Kind.TEXT,
        retries=Kind.TEXT,
    )
    if kind != "CMD":
        raise Fault(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    if not command:
        raise Fault("Missing command after HEALTHCHECK CMD")
    return Healthcheck(
        lines=words.lines,
        text=words.text,
        test=("CMD" if words.is_json else "CMD-SHELL", *command),
        interval=_interval("interval", flags.text("interval")),
        timeout=_interval("timeout", flags.text("timeout")),
        start_period=_interval("start-period", flags.text("start-period")),
        start_interval=_interval("start-interval", flags.text("start-interval")),
        retries=_retries(flags.text("retries")),
    )


def _interval(name: str, text: str) -> int:
    if not text:
        return 0
    try:
        duration = nanoseconds(text)
    except ValueError as error:
        raise Fault(f"--{name} is {error}", "e.g. 30s, 1m30s, 500ms") from error
    if duration and duration < _MILLISECOND:
        raise Fault(f'Interval "{name}" cannot be less than 1ms')
    return duration


def _retries(text: str) -> int:
    if not text:
        return 0
    if not _RETRIES.fullmatch(text) or not -(2**31) <= int(text) < 2**31:
        raise Fault(f"--retries is not a number: {text!r}")
    if int(text) < 0:
        raise Fault(f"--retries cannot be negative ({int(text)})")
    return int(text)


_BY_KEYWORD: Mapping[str, Callable[[Words], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
