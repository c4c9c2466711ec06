"""Where a docker engine listens: contexts, DOCKER_HOST, and the sockets that people's tools make.

Follows the docker CLI's own order, so that buildpush speaks to the engine that ``docker`` does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from stat import S_ISDIR, S_ISSOCK
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from ...errors import BackendUnavailableError
from ...runtime import Environment
from .wire import ContextMeta, UserConfig, read_json

__all__ = ["Endpoint", "TlsFiles", "current", "discover", "docker_folder", "socket_path"]

DEFAULT_SOCKET: Final = Path("/var/run/docker.sock")
ROOT_PODMAN: Final = Path("/run/podman/podman.sock")
_DEFAULT: Final = "default"


@frozen(kw_only=True)
class TlsFiles:
    """The PEM files of a connection by TLS; None where one is not used.

    Without *ca* the system's authorities are trusted; *skip_verify* trusts whoever answers.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    skip_verify: bool = False


@frozen(kw_only=True)
class Endpoint:
    """One engine's address.

    *name* is the context's, else where it was found: ``DOCKER_HOST``, ``argument``, ``default``,
    ``rootless``, ``Docker Desktop``…; *host* is ``unix:///path``, ``tcp://host:port`` or
    ``ssh://user@host``. *context* is the name of the docker context that it comes from, empty
    when it comes from none.
    """

    name: str
    host: str
    tls: TlsFiles | None = None
    context: str = ""


def docker_folder(environment: Environment) -> Path:
    """The docker CLI's configuration folder: DOCKER_CONFIG, else ``~/.docker``."""
    chosen = environment.variables.get("DOCKER_CONFIG")
    return environment.cwd / chosen if chosen else environment.home / ".docker"


def socket_path(endpoint: Endpoint) -> Path | None:
    """The path of a unix socket's endpoint, None for the other kinds."""
    kind, _, path = endpoint.host.partition("://")
    return Path(path) if kind == "unix" else None


def current(environment: Environment, *, context: str = "", host: str = "") -> Endpoint:
    """The engine that the docker CLI would speak to here.

    In this order: the argument, DOCKER_HOST (with DOCKER_TLS_VERIFY, DOCKER_TLS and
    DOCKER_CERT_PATH), DOCKER_CONTEXT, ``currentContext`` of config.json, the default socket;
    where that does not exist, the first socket of `discover` that does. Nothing is connected to.
    Raises `BackendUnavailableError` when there is no such context, an address cannot be
    understood, or no socket exists, naming every place that was looked at.
    """
    if context and host:
        raise BackendUnavailableError(
            "a docker context and a docker host were both chosen", hint="choose one of them"
        )
    variables = environment.variables
    if context:
        return _context(environment, context, "the argument")
    if host:
        return _addressed(environment, "argument", host)
    if variables.get("DOCKER_HOST"):
        return _addressed(environment, "DOCKER_HOST", variables["DOCKER_HOST"])
    if variables.get("DOCKER_CONTEXT"):
        return _context(environment, variables["DOCKER_CONTEXT"], "DOCKER_CONTEXT")
    path = docker_folder(environment) / "config.json"
    config = read_json(path, UserConfig)
    if config is not None and config.current_context:
        return _context(environment, config.current_context, f"currentContext of {path}")
    return _default(environment)


def discover(environment: Environment) -> tuple[Endpoint, ...]:
    """The sockets that engines make on this machine, likeliest first, whether they exist or not."""
    home = environment.home
    runtime = Path(environment.variables.get("XDG_RUNTIME_DIR") or f"/run/user/{environment.uid}")
    colima = sorted(home.glob(".colima/*/docker.sock")) or [home / ".colima/default/docker.sock"]
    places = [
        (_DEFAULT, DEFAULT_SOCKET),
        ("rootless", runtime / "docker.sock"),
        ("Docker Desktop", home / ".docker/run/docker.sock"),
        ("Docker Desktop", home / ".docker/desktop/docker.sock"),
        *(("colima", path) for path in colima),
        ("Rancher Desktop", home / ".rd/docker.sock"),
        ("OrbStack", home / ".orbstack/run/docker.sock"),
        ("podman", runtime / "podman/podman.sock"),
        ("podman", ROOT_PODMAN),
    ]
    return tuple(Endpoint(name=name, host=f"unix://{path}") for name, path in places)


def _default(environment: Environment) -> Endpoint:
    """The default socket; where there is none, what is there instead."""
    tls = _variables_tls(environment)
    if tls is not None:
        return Endpoint(name=_DEFAULT, host="tcp://localhost:2376", tls=tls)
    looked: list[str] = []
    for endpoint in discover(environment):
        path = endpoint.host.removeprefix("unix://")
        objection = _objection(Path(path))
        if objection is None:
            return endpoint
        looked.append(f"{path} ({', '.join(filter(None, (endpoint.name, objection)))})")
    raise BackendUnavailableError(
        "no docker engine was found: DOCKER_HOST, DOCKER_CONTEXT and config.json name none,"
        f" and there is no socket at {', '.join(looked)}",
        hint="start one (dockerd, Docker Desktop, colima, podman system service), or set"
        " DOCKER_HOST to where one listens",
    )


def _objection(path: Path) -> str | None:
    """Why nobody can listen at *path*, empty when there is just nothing; None for a socket."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return error.strerror or str(error)
    if S_ISSOCK(mode):
        return None
    # A container that mounts a socket that was not there makes a folder of that name.
    return "a folder, not a socket" if S_ISDIR(mode) else "a file, not a socket"


def _context(environment: Environment, name: str, source: str) -> Endpoint:
    """The context called *name*, from the CLI's store."""
    if name == _DEFAULT:
        host = environment.variables.get("DOCKER_HOST", "")
        return _addressed(environment, "DOCKER_HOST", host) if host else _default(environment)
    store = docker_folder(environment) / "contexts"
    key = hashlib.sha256(name.encode()).hexdigest()
    path = store / "meta" / key / "meta.json"
    meta = read_json(path, ContextMeta)
    if meta is None:
        known = ", ".join(sorted(_names(store))) or "none"
        raise BackendUnavailableError(
            f"there is no docker context {name!r} (from {source}): {path} does not exist",
            hint=f"contexts here: {known}; docker context ls",
        )
    docker = meta.endpoints.get("docker")
    if docker is None:
        raise BackendUnavailableError(
            f"the docker context {name!r} has no docker endpoint",
            hint=f"docker context update {name} --docker host=…",
        )
    tls = _context_tls(store / "tls" / key / "docker", skip_verify=docker.skip_tls_verify)
    host = docker.host or f"unix://{DEFAULT_SOCKET}"
    return Endpoint(name=name, host=_address(host, f"context {name}"), tls=tls, context=name)


def _names(store: Path) -> list[str]:
    """The names of every context in *store*."""
    found = [read_json(path, ContextMeta) for path in store.glob("meta/*/meta.json")]
    return [meta.name for meta in found if meta is not None]


def _context_tls(folder: Path, *, skip_verify: bool) -> TlsFiles | None:
    files = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    there = {name: path for name, path in files.items() if path.is_file()}
    if not there and not skip_verify:
        return None
    return TlsFiles(**there, skip_verify=skip_verify)


def _variables_tls(environment: Environment) -> TlsFiles | None:
    """TLS as the environment asks for it: as for the CLI, any value that is not empty counts."""
    variables = environment.variables
    verify = bool(variables.get("DOCKER_TLS_VERIFY"))
    if not verify and not variables.get("DOCKER_TLS"):
        return None
    chosen = variables.get("DOCKER_CERT_PATH")
    folder = environment.cwd / chosen if chosen else docker_folder(environment)
    pair = [folder / "cert.pem", folder / "key.pem"]
    cert, key = (path if path.exists() else None for path in pair)
    return TlsFiles(
        ca=folder / "ca.pem" if verify else None, cert=cert, key=key, skip_verify=not verify
    )


def _addressed(environment: Environment, name: str, text: str) -> Endpoint:
    host = _address(text, name)
    tls = _variables_tls(environment) if host.startswith("tcp://") else None
    return Endpoint(name=name, host=host, tls=tls)


def _address(text: str, source: str) -> str:
    """An address as the CLI reads it, with its defaults filled in."""
    kind, mark, rest = text.strip().partition("://")
    if not mark:
        kind, rest = ("unix" if kind.startswith(("/", "./")) else "tcp"), kind
    match kind:
        case "unix":
            return f"unix://{rest or DEFAULT_SOCKET}"
        case "tcp":
            return f"tcp://{_host_and_port(rest, text, source)}"
        case "ssh":
            return f"ssh://{rest}"
        case _:
            raise BackendUnavailableError(
                f"{source}: {text!r} is no address of a docker engine that can be spoken to here",
                hint="unix:///path/to/docker.sock, tcp://host:port and ssh://user@host can",
            )


def _host_and_port(rest: str, text: str, source: str) -> str:
    try:
        parts = urlsplit(f"tcp://{rest}")
        host, port = parts.hostname or "localhost", parts.port or 2375
    except ValueError as error:
        raise BackendUnavailableError(
            f"{source}: {text!r} is not an address: {error}", hint="write tcp://host:port"
        ) from error
    return f"[{host}]:{port}{parts.path}" if ":" in host else f"{host}:{port}{parts.path}"
