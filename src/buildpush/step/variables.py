"""The variables of a plugin, with what stands in the files that belong to them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, cast

from ..errors import SpecError
from ..runtime import Environment
from ..spec.drone import PluginSettings, translate

__all__ = ["Mode", "read_plugin"]

Mode = Literal["strict", "compatible"]

_LARGEST: Final = 1 << 20


def read_plugin(
    environ: Mapping[str, str] | None, plugin: str, mode: Mode, *, folder: Path | None = None
) -> tuple[PluginSettings, Mapping[str, str]]:
    """What the variables ask of *plugin*, and the variables with those of ``PLUGIN_ENV_FILE``.

    Without *environ* they are this process's; ``.tags`` is looked for in *folder*, the working
    folder without one. Raises `SpecError` for variables and files that are wrong.
    """
    current = Environment.current()
    folder = folder or current.cwd
    variables = dict(current.variables if environ is None else environ)
    if name := variables.get("PLUGIN_ENV_FILE", ""):
        variables = {**_env_file(folder / name), **variables}
    tags = folder / ".tags"
    found = translate(
        variables,
        plugin,
        now=datetime.now(UTC).astimezone(),
        mode=mode,
        tags_file=_text(tags, ".tags") if tags.is_file() else None,
    )
    return found, variables


def _env_file(path: Path) -> dict[str, str]:
    # Imported for those who have such a file only.
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    text = _text(path, "PLUGIN_ENV_FILE")
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            line = binding.original.line
            raise SpecError(f"PLUGIN_ENV_FILE: line {line} is not NAME=VALUE")
    found = cast(
        "Mapping[str, str | None]", dotenv_values(stream=io.StringIO(text), interpolate=False)
    )
    return {name: value for name, value in found.items() if value is not None}


def _text(path: Path, variable: str) -> str:
    """The text of a file; it is not quoted when it is wrong, since it may hold secrets."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise SpecError(f"{variable}: is a file of more than {_LARGEST >> 20} MB")
        return data.decode()
    except OSError as error:
        raise SpecError(f"{variable}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{variable}: is not text in UTF-8") from None
