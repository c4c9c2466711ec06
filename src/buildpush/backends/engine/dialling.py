"""How to reach an endpoint: the socket or URL, the TLS files, and why it could not be reached."""

from __future__ import annotations

import errno
import grp
import socket
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from ...errors import BackendUnavailableError
from ...runtime.sockets import Sockets
from .endpoints import Endpoint, TlsFiles, socket_path

__all__ = ["Route", "knock", "not_tls", "route", "unreachable"]

_PLAIN_TO_TLS: Final = "HTTP request to an HTTPS server"


@frozen(kw_only=True)
class Route:
    """Where requests go: to *base*, through the *socket* if there is one, by *tls*."""

    base: str
    socket: Path | None
    tls: ssl.SSLContext


def route(endpoint: Endpoint, *, bridge: Path | None = None) -> Route:
    """The route to *endpoint*; *bridge* is the socket that stands for one reached by ssh.

    Raises `BackendUnavailableError` when its TLS files cannot be used.
    """
    path = bridge or socket_path(endpoint)
    if path is not None:
        return Route(base="http://docker", socket=path, tls=_no_tls())
    place = endpoint.host.partition("://")[2].rstrip("/")
    if endpoint.tls is None:
        return Route(base=f"http://{place}", socket=None, tls=_no_tls())
    return Route(base=f"https://{place}", socket=None, tls=_context(endpoint.tls, endpoint))


def knock(way: Route, *, sockets: Sockets, timeout: float) -> None:
    """Connect and leave again: unlike an HTTP client's own, this can be cancelled meanwhile.

    Raises `OSError` as the system words it when nobody opens within *timeout* seconds.
    """
    failure = OSError("it has no address")
    for family, address in _addresses(way):
        with socket.socket(family) as one:
            one.settimeout(timeout)
            sockets.add(one)
            try:
                one.connect(address)
            except OSError as error:
                failure = error
            else:
                return
    raise failure


def _addresses(way: Route) -> list[tuple[int, str | tuple[object, ...]]]:
    if way.socket is not None:
        return [(socket.AF_UNIX, str(way.socket))]
    parts = urlsplit(way.base)
    found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _no_tls() -> ssl.SSLContext:
    """What httpx must be given where no TLS is spoken: reading all authorities takes 20 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _context(tls: TlsFiles, endpoint: Endpoint) -> ssl.SSLContext:
    try:
        context = _no_tls() if tls.skip_verify else ssl.create_default_context()
        # The authorities of docker's own instructions lack what Python 3.13's strictness wants.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if tls.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif tls.ca is not None:
            context.load_verify_locations(tls.ca)
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:
        files = ", ".join(str(path) for path in (tls.ca, tls.cert, tls.key) if path)
        raise BackendUnavailableError(
            f"the TLS files of {_place(endpoint)} cannot be used: {error}",
            hint=f"look at {files}",
        ) from error
    return context


def unreachable(
    endpoint: Endpoint, error: BaseException, *, said: str = ""
) -> BackendUnavailableError:
    """Why *endpoint* could not be spoken to; *said* is what ``ssh`` wrote, if it was asked."""
    cause = _cause(error)
    plain = cause.strerror if isinstance(cause, OSError) else ""
    reason = plain or str(cause) or str(error) or type(error).__name__
    message = f"the docker engine at {_place(endpoint)} cannot be reached: {said or reason}"
    path = socket_path(endpoint)
    if endpoint.host.startswith("ssh://"):
        return BackendUnavailableError(
            message, hint="try: ssh with this host and user, then docker system dial-stdio there"
        )
    if "CERTIFICATE" in reason.upper():
        return BackendUnavailableError(
            message, hint="look at ca.pem, cert.pem and key.pem of this endpoint, and their dates"
        )
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER" in reason:
        return BackendUnavailableError(
            message, hint="it does not speak TLS: unset DOCKER_TLS_VERIFY, or use its TLS port"
        )
    if path is None:
        return BackendUnavailableError(
            message, hint="is the engine up, does it listen on tcp, and may this machine reach it?"
        )
    return BackendUnavailableError(message, hint=_socket_hint(path, cause))


def not_tls(endpoint: Endpoint, answer: str) -> BackendUnavailableError | None:
    """The error for an engine that wants TLS and was not given it; None for other *answer*s."""
    if _PLAIN_TO_TLS not in answer:
        return None
    return BackendUnavailableError(
        f"the docker engine at {_place(endpoint)} wants TLS",
        hint="set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, or use a docker context that has them",
    )


def _socket_hint(path: Path, cause: BaseException) -> str:
    match getattr(cause, "errno", None):
        case errno.EACCES | errno.EPERM:
            return (
                f"this user may not open it; join its group (sudo usermod -aG {_group(path)}"
                " USER, and log in again), or use a rootless engine, or the native backend"
            )
        case errno.ECONNREFUSED:
            return "the socket is left over from an engine that has ended: start it again"
        case _:
            return "start the engine, or set DOCKER_HOST or DOCKER_CONTEXT to another"


def _group(path: Path) -> str:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        return "docker"


def _place(endpoint: Endpoint) -> str:
    return f"{endpoint.host} ({endpoint.name})"


def _cause(error: BaseException) -> BaseException:
    """What the system said, beneath the layers of an HTTP client."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
