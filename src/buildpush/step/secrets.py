"""Secrets as files that only the run can read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from ..errors import SpecError
from ..runtime import Run
from ..spec import FromEnv, SecretSource, SshSource

__all__ = ["find_agents", "write_secrets"]


def write_secrets(sources: Mapping[str, SecretSource], run: Run) -> dict[str, Path]:
    """Write each secret to a file of its own (0600, in a folder 0700) and teach it to the run.

    Returns the files by secret id. Raises `SpecError` for a variable that is not set or a file
    that cannot be read, naming the secret, never its value.
    """
    if not sources:
        return {}
    folder = run.workdir / "secrets"
    folder.mkdir(mode=0o700)
    files: dict[str, Path] = {}
    for number, (name, source) in enumerate(sources.items()):
        value = _value(name, source, run)
        run.redact.learn(value.decode("utf-8", "replace"))
        # Numbered, since an id may hold anything.
        files[name] = folder / str(number)
        descriptor = os.open(files[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(value)
    return files


def _value(name: str, source: SecretSource, run: Run) -> bytes:
    match source:
        case SecretStr():
            return source.get_secret_value().encode()
        case FromEnv(name=variable):
            value = run.environment.variables.get(variable)
            if value is None:
                raise SpecError(
                    f"secrets.{name}: the environment variable {variable} is not set",
                    hint=f"set {variable}, or take the secret from elsewhere",
                )
            return value.encode("utf-8", "surrogateescape")
        case Path():
            try:
                return (run.environment.cwd / source).read_bytes()
            except OSError as error:
                raise SpecError(
                    f"secrets.{name}: cannot read {source}: {error.strerror}"
                ) from error


def find_agents(sources: Mapping[str, SshSource], run: Run) -> dict[str, Path]:
    """Find the sockets or keys that `ssh` names, by id; raises `SpecError` for a missing one."""
    found: dict[str, Path] = {}
    for name, source in sources.items():
        if isinstance(source, FromEnv):
            value = run.environment.variables.get(source.name)
            if not value:
                raise SpecError(
                    f"ssh.{name}: the environment variable {source.name} is not set",
                    hint="start an SSH agent, or name its socket or a key",
                )
            path = Path(value)
        else:
            path = run.environment.cwd / source
        if not path.exists():
            raise SpecError(f"ssh.{name}: no such socket or file: {path}")
        found[name] = path
    return found
