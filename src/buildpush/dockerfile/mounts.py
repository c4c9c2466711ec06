"""``RUN --mount``: its comma-separated options, checked for each type as BuildKit does."""

from __future__ import annotations

from collections.abc import Callable

from .faults import Fault, suggestion
from .instructions import Mount
from .quantities import size_in_bytes, truth, unsigned

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")
_BARE = frozenset({"readonly", "ro", "readwrite", "rw", "required"})
_KEYS = (
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
)
_OWNED = ("secret", "ssh", "cache")


def parse_mount(text: str) -> Mount:
    """Read the value of one ``--mount``; raises `Fault`.

    Options that hold a variable cannot be checked before it is expanded: see `expand_mount`.
    """
    options: list[tuple[str, str]] = []
    for item in _fields(text):
        key, equals, value = item.partition("=")
        key = key.lower()
        if not equals and key not in _BARE:
            raise Fault(f"invalid field '{item}' must be a key=value pair")
        if key not in _KEYS:
            raise Fault(f"unexpected key '{key}' in '{item}'{suggestion(key, _KEYS)}")
        if equals and not value and key in _BARE:
            raise Fault(f"invalid value for {key}: ")
        options.append((key, value))
    source = next((value for key, value in options if key == "from"), "")
    if "$" in source[:-1]:
        raise Fault(
            "'from' doesn't support variable expansion, define alias stage instead",
            "write FROM ${NAME} AS alias, and from=alias",
        )
    mount = _mount(options)
    if not any("$" in value for _, value in options):
        check_mount(mount)
    return mount


def expand_mount(mount: Mount, expand: Callable[[str], str]) -> Mount:
    """Expand every option's value with *expand*, then check the whole; raises `Fault`.

    What *expand* raises passes through.
    """
    expanded = _mount([(key, expand(value)) for key, value in mount.options])
    check_mount(expanded)
    return expanded


def check_mount(mount: Mount) -> None:
    """Raise `Fault` unless the options, in their order, fit the type and each other.

    Order matters, as it does for BuildKit: ``required`` and ``size`` are known only after a
    ``type`` that has them.
    """
    kind = "bind"
    for key, value in mount.options:
        if key == "type":
            kind = value.lower()
        _check_option(kind, key, value)
    _check_together(mount, kind)


def _mount(options: list[tuple[str, str]]) -> Mount:
    kind = next((value for key, value in reversed(options) if key == "type"), "bind")
    # A variable's name keeps its case until it is expanded.
    return Mount(type=kind if "$" in kind else kind.lower(), options=tuple(options))


def _check_option(kind: str, key: str, value: str) -> None:
    match key:
        case "type":
            if kind not in TYPES:
                raise Fault(f'unsupported mount type "{value}"{suggestion(value, TYPES)}')
        case "required" if kind not in ("secret", "ssh"):
            raise Fault(f"unexpected key '{key}' for mount type '{kind}'")
        case "size" if kind != "tmpfs":
            raise Fault(f"unexpected key '{key}' for mount type '{kind}'")
        case "sharing" if value.lower() not in _SHARING:
            raise Fault(f'unsupported sharing value "{value}"{suggestion(value, _SHARING)}')
        case _:
            _check_value(key, value)


def _check_value(key: str, value: str) -> None:
    try:
        if key in _BARE and value:
            truth(value)
        elif key == "size":
            size_in_bytes(value)
        elif key in ("uid", "gid"):
            unsigned(value, 10)
        elif key == "mode":
            unsigned(value, 8)
    except ValueError:
        raise Fault(f"invalid value for {key}: {value}") from None


def _check_together(mount: Mount, kind: str) -> None:
    given = {key for key, value in mount.options if value}
    for key in ("mode", "uid", "gid"):
        if key in given and kind not in _OWNED:
            raise Fault(f'{key} not allowed for "{kind}" type mounts')
    if kind == "secret":
        if "from" in given:
            raise Fault("secret mount should not have a from")
        if "sharing" in given:
            raise Fault("secret mount should not define sharing")
        if not given & {"source", "src", "target", "dst", "destination", "id"}:
            raise Fault("invalid secret mount. one of source, target required")
        if given & {"source", "src"} and "id" in given:
            raise Fault("both source and id can't be set")
    if "sharing" in given and kind != "cache":
        raise Fault(f"invalid cache sharing set for {kind} mount")


def _fields(text: str) -> list[str]:
    """Split one line of CSV (RFC 4180): a field with a comma or a quote stands in quotes."""
    fields: list[str] = []
    position = 0
    while True:
        if text.startswith('"', position):
            value, position = _quoted(text, position + 1)
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            value, position = text[position:end], end
            if '"' in value:
                raise Fault('failed to parse csv mounts: bare " in non-quoted field')
        fields.append(value)
        if position == len(text):
            return fields
        if text[position] != ",":
            raise Fault('failed to parse csv mounts: extraneous or missing " in quoted field')
        position += 1


def _quoted(text: str, position: int) -> tuple[str, int]:
    """Read a quoted field whose content starts at *position*; also say where it ends."""
    parts: list[str] = []
    while True:
        end = text.find('"', position)
        if end < 0:
            raise Fault('failed to parse csv mounts: extraneous or missing " in quoted field')
        parts.append(text[position:end])
        if not text.startswith('"', end + 1):
            return '"'.join(parts), end + 1
        position = end + 2
