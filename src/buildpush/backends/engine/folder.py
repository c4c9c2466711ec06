"""The private client configuration of one run: nothing of the user's is written, or logged in with.

A docker command keeps its credentials, plugins, contexts and builders in one folder, and writes
into it. So each run gets a folder of its own with its own credentials, in which everything else
of the user's is found.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from ...runtime import Environment, Run
from ...runtime.environment import make_private
from .endpoints import Endpoint, TlsFiles, docker_folder
from .wire import UserConfig, read_json

__all__ = ["ClientFolder", "buildx_plugin", "client_folder", "passwords"]

_DROPPED: Final = (
    "DOCKER_AUTH_CONFIG",
    "REGISTRY_AUTH_FILE",
    "DOCKER_CONFIG",
    "BUILDX_CONFIG",
    "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND",
)
_ADDRESSING: Final = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
)
_SYSTEM_PLUGINS: Final = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
_PLUGIN: Final = "docker-buildx"
# What buildx reads of its state. Not refs: a history of builds that grows without end.
_BUILDX_STATE: Final = (
    "instances",
    "defaults",
    "activity",
    "certs",
    "current",
    "buildkitd.default.toml",
)
_NODE_ID: Final = ".buildNodeID"
# A config without any entry makes the CLI ask the desktop's password store instead.
_NOBODY: Final = "buildpush.invalid"


def _copy(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return dict(mapping)


@frozen(kw_only=True)
class ClientFolder:
    """A private DOCKER_CONFIG folder, and the *variables* of a command that is to use it.

    *variables* is the run's whole environment with DOCKER_CONFIG and BUILDX_CONFIG set, and
    without the variables that hold or name credentials.
    """

    path: Path
    variables: Mapping[str, str] = field(repr=False, converter=_copy)


@contextmanager
def client_folder(
    run: Run, *, config: str, endpoint: Endpoint | None = None
) -> Generator[ClientFolder]:
    """Make the client configuration of one command; it is removed when the block ends.

    *config* is a config.json with the credentials to use and no others (`auth.docker_config`).
    The user's plugins, contexts, proxies, HTTP headers and feature switches stay; builders are
    copied, since buildx writes into its state. *endpoint* is the engine to address; without one
    the command finds what the user's own would find.
    Raises `BackendUnavailableError` when the user's config.json cannot be read.
    """
    user = docker_folder(run.environment)
    path = Path(mkdtemp(prefix="client-", dir=run.workdir))
    try:
        _write(path / "config.json", json.dumps(_config(run, user, config)).encode())
        for name in ("contexts", "cli-plugins"):
            if (user / name).is_dir():
                (path / name).symlink_to(user / name)
        _copy_builders(run, user, path / "buildx")
        variables = {k: v for k, v in run.environment.variables.items() if k not in _DROPPED}
        variables |= {"DOCKER_CONFIG": str(path), "BUILDX_CONFIG": str(path / "buildx")}
        if endpoint is None:
            _keep_certificates(variables, run.environment, user)
        else:
            _address(variables, endpoint, path)
        yield ClientFolder(path=path, variables=variables)
    finally:
        _remove(run, path)


def buildx_plugin(environment: Environment) -> Path | None:
    """The buildx plugin that ``docker`` would run, else ``docker-buildx`` of PATH, else None."""
    user = docker_folder(environment)
    config = read_json(user / "config.json", UserConfig)
    extra = config.plugin_folders if config is not None else ()
    folders: tuple[str | Path, ...] = (
        *extra,
        user / "cli-plugins",
        environment.home / ".docker/cli-plugins",
    )
    for folder in (*folders, *_SYSTEM_PLUGINS):
        candidate = Path(folder) / _PLUGIN
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    return environment.which(_PLUGIN)


def _config(run: Run, user: Path, config: str) -> dict[str, object]:
    """The user's settings that are not credentials, and the credentials of *config*."""
    mine: dict[str, object] = json.loads(config)
    settings = read_json(user / "config.json", UserConfig) or UserConfig()
    for secret in passwords(settings.proxies):
        run.redact.learn(secret)
    folders = [*settings.plugin_folders]
    usual = run.environment.home / ".docker/cli-plugins"
    if usual.is_dir() and usual != user / "cli-plugins":
        folders.append(str(usual))
    kept = settings.kept()
    if folders:
        kept["cliPluginsExtraDirs"] = folders
    return {**kept, **mine, "auths": mine.get("auths") or {_NOBODY: {}}}


def passwords(value: object) -> Iterator[str]:
    """The passwords in the URLs of proxies, as config.json's ``proxies`` has them."""
    match value:
        case dict():
            for inner in cast("dict[str, object]", value).values():
                yield from passwords(inner)
        case str():
            with suppress(ValueError):
                password = urlsplit(value).password or ""
                yield from {password, unquote(password)} - {""}
        case _:
            pass


def _copy_builders(run: Run, user: Path, target: Path) -> None:
    """Copy what buildx knows about the user's builders."""
    chosen = run.environment.variables.get("BUILDX_CONFIG")
    source = run.environment.cwd / chosen if chosen else user / "buildx"
    target.mkdir(mode=0o700)
    for name in _BUILDX_STATE:
        try:
            _copy_state(source / name, target / name)
        except OSError as error:
            run.warn(f"{error.filename or source} cannot be read, so no builder in it is known")
    _write(target / _NODE_ID, _node_id(run.environment, source))


def _copy_state(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(mode=0o700)
        for entry in source.iterdir():
            _copy_state(entry, target / entry.name)
    else:
        # Another buildx may be rewriting its state: what has just gone was not needed.
        with suppress(FileNotFoundError, NotADirectoryError):
            _write(target, source.read_bytes())


def _node_id(environment: Environment, source: Path) -> bytes:
    """Who this client is to BuildKit, which keeps the last build context per client.

    Without the user's own id, one that is kept in the cache folder: with a new one for each run,
    every run would send its whole context.
    """
    for path in (source / _NODE_ID, environment.cache / "buildx-node-id"):
        with suppress(OSError):
            found = path.read_bytes().strip()
            if found:
                return found
    made = secrets.token_hex(8).encode()
    with suppress(OSError):
        make_private(environment.cache)
        _write(environment.cache / "buildx-node-id", made)
    return made


def _keep_certificates(variables: dict[str, str], environment: Environment, user: Path) -> None:
    """Name the folders that the command would no longer find by itself."""
    if variables.get("DOCKER_TLS_VERIFY") or variables.get("DOCKER_TLS"):
        chosen = variables.get("DOCKER_CERT_PATH")
        variables["DOCKER_CERT_PATH"] = str(environment.cwd / chosen if chosen else user)


def _address(variables: dict[str, str], endpoint: Endpoint, path: Path) -> None:
    """Make *variables* name *endpoint* and nothing else."""
    for name in _ADDRESSING:
        variables.pop(name, None)
    if endpoint.context:
        variables["DOCKER_CONTEXT"] = endpoint.context
        return
    variables["DOCKER_HOST"] = endpoint.host
    if endpoint.tls is not None:
        verify = not endpoint.tls.skip_verify
        variables["DOCKER_TLS_VERIFY" if verify else "DOCKER_TLS"] = "1"
        variables["DOCKER_CERT_PATH"] = str(_certificates(endpoint.tls, path / "tls"))


def _certificates(tls: TlsFiles, folder: Path) -> Path:
    """A folder with *tls* under the names that the CLI looks for."""
    folder.mkdir(mode=0o700)
    for name, source in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if source is not None:
            (folder / f"{name}.pem").symlink_to(source)
    return folder


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _remove(run: Run, path: Path) -> None:
    """Remove the folder; a command that is still dying may write a file meanwhile."""
    for _ in range(3):
        with suppress(OSError):
            shutil.rmtree(path)
            return
    # The run's own folder goes when the run ends; an error here would hide why the block ended.
    run.warn(f"{path}, which holds credentials, could not be removed")
