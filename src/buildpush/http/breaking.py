"""How a wire breaks, in words: httpcore's errors turned into ours."""

from __future__ import annotations

import re
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import httpcore
import httpx

from ..errors import RegistryError, RegistryUnavailableError
from ..runtime import CancelToken
from .answers import BrokenOffError, FinalError, safe_url

__all__ = ["breaking", "unavailable"]

# With TLS 1.3 a server says so only after the handshake, in place of its answer.
_WANTS_OURS: Final = re.compile(
    r"ALERT_(?:CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_UNKNOWN"
    r"|HANDSHAKE_FAILURE)"
)
_WIRE: Final = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpx.HTTPError,
)


@contextmanager
def breaking(method: str, url: str, cancel: CancelToken, proxy: str = "") -> Generator[None]:
    """Turn the wire's errors into ours; a cancelled run raises its reason instead.

    *proxy* is the ``host:port`` of the proxy that was asked, if one was.
    """
    try:
        yield
    except (httpx.InvalidURL, UnicodeError) as error:  # names that no DNS could have
        cancel.check()
        raise RegistryError(f"{safe_url(url)} cannot be asked, it is no URL: {error}") from error
    except _WIRE as error:
        cancel.check()
        raise unavailable(method, url, error, proxy) from _bare(error)


def _bare(error: BaseException) -> BaseException:
    """*error* and what led to it without tracebacks: their local variables hold our headers."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def unavailable(
    method: str, url: str, error: Exception, proxy: str = ""
) -> RegistryUnavailableError:
    """The error for a request whose wire broke, with its address in safe words."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    if not re.search(r":\d+$", place):
        place += ":443" if parts.scheme == "https" else ":80"
    match error:
        case httpcore.ConnectError() | httpcore.ConnectTimeout() | httpcore.ProxyError():
            return _unreachable(place, parts.hostname or "", error, proxy)
        case httpcore.ReadTimeout() | httpcore.WriteTimeout():
            what = "did not answer" if isinstance(error, httpcore.ReadTimeout) else "took no data"
            return RegistryUnavailableError(
                f"{place} {what} in time ({method} {safe_url(url)})",
                hint="the registry, or a proxy in front of it, is overloaded or stuck",
            )
        case _ if _WANTS_OURS.search(_plain(error)):
            return FinalError(
                f"{place} wants to see a client certificate that it knows: {_plain(error)}",
                hint=f"set certificate and key of {place} under registries",
            )
        case _:
            return BrokenOffError(
                f"{place} broke the connection off ({method} {safe_url(url)}): {_plain(error)}"
            )


def _unreachable(place: str, host: str, error: Exception, proxy: str) -> RegistryUnavailableError:
    reason = _plain(error)
    message = f"cannot reach {place}: {reason}"
    if re.search(r"WRONG_VERSION_NUMBER|RECORD_LAYER|UNKNOWN_PROTOCOL|HTTP_REQUEST", reason):
        return FinalError(
            f"{place} does not speak TLS: {reason}",
            hint=f"if {host} is a plain HTTP registry, list it as insecure",
        )
    if "CERTIFICATE" in reason.upper():
        return FinalError(
            message,
            hint=f"name its authority (a PEM file) as ca of {host} under registries, in"
            " SSL_CERT_FILE, or add it to the system's; or list the host as insecure",
        )
    if proxy or isinstance(error, httpcore.ProxyError):
        return RegistryUnavailableError(
            f"cannot reach {place} through the proxy {proxy}: {reason}",
            hint=f"is {proxy} right, and up? Look at HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
        )
    if re.search(r"Errno -\d+", reason):
        # Only EAI_NONAME is DNS's last word: the others say that DNS itself did not answer.
        kind = FinalError if f"Errno {socket.EAI_NONAME}]" in reason else RegistryUnavailableError
        hint = f"{host} is not known to DNS: is it spelled right, and has this machine internet?"
        return kind(message, hint=f"{hint} Without it, set mirrors, or use a registry in reach")
    return RegistryUnavailableError(
        message, hint="is the registry up, and may this machine reach it?"
    )


def _plain(error: Exception) -> str:
    return str(error) or type(error).__name__
