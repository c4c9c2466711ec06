"""How each instruction changes the image config, and the history line it leaves. Pure.

The texts are those BuildKit writes (frontend/dockerfile/dockerfile2llb/convert.go), so that
``docker history`` and a comparison of configs show no difference.
"""

from __future__ import annotations

import json
import posixpath
import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from ....dockerfile.instructions import (
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    OnBuild,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from ....oci import Platform
from ....oci.wire import History, ImageConfig, RunConfig

__all__ = [
    "COMMENT",
    "DEFAULT_PATH",
    "Metadata",
    "apply",
    "dated",
    "empty_image",
    "join_path",
    "run_history",
    "with_path",
    "with_shell",
]

COMMENT: Final = "buildkit.dockerfile.v0"
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Metadata = (
    Cmd
    | Entrypoint
    | Env
    | Expose
    | Healthcheck
    | Label
    | Maintainer
    | OnBuild
    | Shell
    | StopSignal
    | User
    | Volume
    | Workdir
)
"""The instructions that change the config alone (WORKDIR may make a folder besides)."""

_LARGEST_PORT: Final = 65535
_HEALTH_KEYS: Final = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")


def empty_image(platform: Platform) -> ImageConfig:
    """The config of ``FROM scratch``."""
    return ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        config=RunConfig(env=(f"PATH={DEFAULT_PATH}",), working_dir="/"),
    )


def with_path(image: ImageConfig) -> ImageConfig:
    """*image* with a PATH, which every image that is built gets."""
    if any(entry.partition("=")[0] == "PATH" for entry in image.config.env):
        return image
    return _run(image, env=(*image.config.env, f"PATH={DEFAULT_PATH}"))


def with_shell(image: ImageConfig, command: Sequence[str]) -> tuple[str, ...]:
    """The argv of a command in shell form."""
    return (*(image.config.shell or ("/bin/sh", "-c")), " ".join(command))


def join_path(folder: str, path: str) -> str:
    """*path* seen from *folder*; like BuildKit, leave an absolute *path* as it is written."""
    if path.startswith("/"):
        return path
    joined = posixpath.normpath(posixpath.join("/", folder, path))
    return re.sub("^/+", "/", joined)


def apply(
    image: ImageConfig, instruction: Metadata, *, cmd_is_set: bool
) -> tuple[ImageConfig, str]:
    """Apply an instruction whose variables are expanded: the new config and the history text.

    *cmd_is_set* tells whether this stage has had a CMD: if not, ENTRYPOINT drops the inherited
    one. ONBUILD leaves no history: its text is empty. Raises `ValueError` with what is wrong.
    """
    match instruction:
        case Env(pairs=pairs):
            return _env(image, pairs)
        case Label(pairs=pairs):
            labels = {**image.config.labels, **dict(pairs)}
            return _run(image, labels=labels), _joined("LABEL", pairs)
        case Cmd(command=command, shell=shell):
            argv = with_shell(image, command) if shell else tuple(command)
            return _run(image, cmd=argv, args_escaped=True), f"CMD {_quoted(argv)}"
        case Entrypoint(command=command, shell=shell):
            return _entrypoint(image, command, shell=shell, cmd_is_set=cmd_is_set)
        case Expose(ports=ports):
            return _expose(image, ports)
        case Volume(paths=paths):
            return _volume(image, paths)
        case Healthcheck():
            return _healthcheck(image, instruction)
        case User(user=user):
            return _run(image, user=user), f"USER {user}"
        case Workdir(path=path):
            path = join_path(image.config.working_dir, path)
            return _run(image, working_dir=path), f"WORKDIR {path}"
        case _:
            return _rest(image, instruction)


def _rest(
    image: ImageConfig, instruction: StopSignal | Shell | Maintainer | OnBuild
) -> tuple[ImageConfig, str]:
    """Apply the instructions that only replace one field."""
    match instruction:
        case StopSignal(signal=name):
            return _run(image, stop_signal=_checked_signal(name)), f"STOPSIGNAL {name}"
        case Shell(command=command):
            return _run(image, shell=tuple(command)), f"SHELL [{' '.join(command)}]"
        case Maintainer(name=name):
            return evolve(image, author=name), f"MAINTAINER {name}"
        case OnBuild(trigger=trigger):
            return _run(image, on_build=(*image.config.on_build, trigger)), ""


def _run(image: ImageConfig, **changes: Any) -> ImageConfig:
    return evolve(image, config=evolve(image.config, **changes))


def _env(image: ImageConfig, pairs: Sequence[tuple[str, str]]) -> tuple[ImageConfig, str]:
    entries = list(image.config.env)
    for key, value in pairs:
        names = [entry.partition("=")[0] for entry in entries]
        if key in names:
            entries[names.index(key)] = f"{key}={value}"
        else:
            entries.append(f"{key}={value}")
    return _run(image, env=tuple(entries)), _joined("ENV", pairs)


def _joined(word: str, pairs: Sequence[tuple[str, str]]) -> str:
    return " ".join([word, *(f"{key}={value}" for key, value in pairs)])


def _entrypoint(
    image: ImageConfig, command: Sequence[str], *, shell: bool, cmd_is_set: bool
) -> tuple[ImageConfig, str]:
    argv = with_shell(image, command) if shell else tuple(command)
    cmd = image.config.cmd if cmd_is_set else ()
    return _run(image, entrypoint=argv, cmd=cmd), f"ENTRYPOINT {_quoted(argv)}"


def _expose(image: ImageConfig, ports: Sequence[str]) -> tuple[ImageConfig, str]:
    found = [port for text in ports for port in _ports(text)]
    exposed = dict.fromkeys([*image.config.exposed_ports, *found])
    return _run(image, exposed_ports=tuple(exposed)), f"EXPOSE [{' '.join(found)}]"


def _ports(text: str) -> list[str]:
    """``8000-8002/udp`` as single ports; a host part before the last colon is checked and dropped."""
    rest, _, protocol = text.rpartition(":")[2].partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid port {text!r}: the protocol is tcp, udp or sctp")
    first, dash, last = rest.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal()):
        raise ValueError(f"invalid port {text!r}")
    low, high = int(first), int(last)
    if not low <= high <= _LARGEST_PORT:
        raise ValueError(f"invalid port {text!r}: ports go from 0 to {_LARGEST_PORT}")
    return [f"{port}/{protocol}" for port in range(low, high + 1)]


def _volume(image: ImageConfig, paths: Sequence[str]) -> tuple[ImageConfig, str]:
    if "" in paths:
        raise ValueError("VOLUME needs a path that is not empty")
    volumes = dict.fromkeys([*image.config.volumes, *paths])
    return _run(image, volumes=tuple(volumes)), f"VOLUME [{' '.join(paths)}]"


def _healthcheck(image: ImageConfig, check: Healthcheck) -> tuple[ImageConfig, str]:
    numbers = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    value = {"Test": list(check.test), **{k: v for k, v in numbers.items() if v}}
    shown = " ".join(
        f"{key}:{numbers[key] if key == 'Retries' else go_duration(numbers[key])}"
        for key in _HEALTH_KEYS
    )
    text = f"HEALTHCHECK {{Test:[{' '.join(check.test)}] {shown}}}"
    return _run(image, healthcheck=value), text


def _checked_signal(name: str) -> str:
    """*name* if Linux knows that signal, by number or by name; raises `ValueError`."""
    known = {s.name.removeprefix("SIG") for s in signal.Signals} | {"CLD", "RTMIN", "RTMAX"}
    word = name.upper().removeprefix("SIG")
    base, sign, offset = re.sub(r"([+-])", r" \1 ", word).partition(" ")
    real_time = base in ("RTMIN", "RTMAX") and re.fullmatch(r"[+-] \d{1,2}", offset)
    if (name.isdecimal() and int(name) > 0) or (word in known) or (sign and real_time):
        return name
    raise ValueError(f"unknown signal {name!r}")


def run_history(
    argv: Sequence[str], args: Sequence[tuple[str, str | None]], env: Mapping[str, str]
) -> str:
    """The history text of a RUN: its ARGs in front as ``|2 A=1 B=2``, as the classic builder did."""
    values = {name: env.get(name, value or "") for name, value in args}
    head = [f"|{len(values)}", *(f"{k}={v}" for k, v in values.items())] if values else []
    return f"RUN {' '.join([*head, *argv])} # buildkit"


_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def _quoted(words: Sequence[str]) -> str:
    """A list of strings as Go's ``%q`` prints it."""
    return f"[{' '.join(_quote(word) for word in words)}]"


def _quote(word: str) -> str:
    if word.isascii() and word.isprintable() and '"' not in word and "\\" not in word:
        return f'"{word}"'
    shown: list[str] = []
    for char in word:
        if char in _ESCAPES:
            shown.append(_ESCAPES[char])
        elif char.isprintable():
            shown.append(char)
        else:
            code = ord(char)
            shown.append(
                f"\\x{code:02x}"
                if code < 0x80
                else json.dumps(char)[1:-1]
                if code < 0x10000
                else f"\\U{code:08x}"
            )
    return f'"{"".join(shown)}"'


def go_duration(nanoseconds: int) -> str:
    """A length of time as Go prints it: ``1m30s``, ``1.5s``, ``200ms``, ``0s``."""
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < size * 1000:
            return _fraction(nanoseconds, size) + unit
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{_fraction(rest, 10**9)}s"


def _fraction(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    digits = f"{rest:0{len(str(size)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def dated(history: Sequence[History]) -> tuple[History, ...]:
    """Give every line without a time the time of its neighbours, as BuildKit's exporter does.

    Lines before the first new layer get that layer's time, later ones that of the layer before.
    """
    created: str | None = None
    missing = False
    for line in history:
        if line.created is None:
            missing = True
            continue
        created = line.created
        if missing:
            break
    result: list[History] = []
    missing = False
    for line in history:
        if line.created is None:
            missing = True
            result.append(evolve(line, created=created))
            continue
        if missing:
            created = line.created
        result.append(line)
    return tuple(result)
