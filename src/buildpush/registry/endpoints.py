"""Where a registry lives: its host as named, its server, and whether plain HTTP may be spoken."""

from __future__ import annotations

import ipaddress
import threading
from typing import Final, Literal
from urllib.parse import urlsplit

from attrs import define, field, frozen

Scheme = Literal["http", "https"]

_SERVERS: Final = {"docker.io": "registry-1.docker.io"}


def hostname(netloc: str) -> str:
    """The host of ``host[:port]`` in lower case, without brackets."""
    return (urlsplit(f"//{netloc}").hostname or "").lower()


def is_loopback(netloc: str) -> bool:
    """Whether ``host[:port]`` is this machine: ``localhost``, 127.0.0.0/8 or ``::1``."""
    name = hostname(netloc)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_near(netloc: str) -> bool:
    """Whether ``host[:port]`` means something else, or nothing, to any other machine.

    Loopback, link-local (where clouds answer with credentials) and unspecified addresses.
    """
    try:
        address = ipaddress.ip_address(hostname(netloc).partition("%")[0])
    except ValueError:
        return is_loopback(netloc)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_link_local or address.is_unspecified


@frozen
class Insecure:
    """The hosts that may be spoken to over plain HTTP, besides this machine."""

    hosts: frozenset[str] = frozenset()

    def allows(self, netloc: str) -> bool:
        """Whether plain HTTP is fine for ``host[:port]``."""
        return is_loopback(netloc) or netloc in self.hosts or hostname(netloc) in self.hosts

    def trusts(self, netloc: str) -> bool:
        """Whether a TLS certificate of ``host[:port]`` that cannot be verified is accepted."""
        return netloc in self.hosts or hostname(netloc) in self.hosts

    def objection(self, url: str, sender: str) -> str:
        """Why the server at *sender* may not send us to *url*, both URLs; empty when it may.

        A remote server names no address that only this machine understands, unless it is listed.
        """
        if not self.permits(url):
            return "which is not encrypted"
        there, from_ = urlsplit(url).netloc, urlsplit(sender).netloc
        if is_near(there) and not is_near(from_) and not self.trusts(there):
            return "which is this machine's own"
        return ""

    def permits(self, url: str) -> bool:
        """Whether *url* may be asked at all: HTTPS, or plain HTTP where that is allowed."""
        scheme, host, _ = _origin(url)
        if scheme == "https":
            return bool(host)
        return scheme == "http" and self.allows(urlsplit(url).netloc)


@define(eq=False)
class Endpoints:
    """The base URL of every registry of one client. Thread-safe.

    Hosts where plain HTTP is allowed are asked over HTTP first, anonymously; `settle` remembers
    what answered.
    """

    insecure: Insecure
    _schemes: dict[str, Scheme] = field(factory=dict[str, Scheme], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def base(self, host: str) -> str:
        """The URL before ``/v2/`` for the registry named *host*."""
        with self._lock:
            scheme = self._schemes.get(host)
        server = _SERVERS.get(host, host)
        return f"{scheme or ('http' if self.insecure.allows(server) else 'https')}://{server}"

    def settled(self, host: str) -> bool:
        """Whether the scheme of *host* is beyond doubt."""
        with self._lock:
            return host in self._schemes or not self.insecure.allows(_SERVERS.get(host, host))

    def settle(self, host: str, scheme: Scheme) -> None:
        """Remember that *host* speaks *scheme*."""
        with self._lock:
            self._schemes.setdefault(host, scheme)


def same_origin(left: str, right: str) -> bool:
    """Whether two URLs share scheme, host and port."""
    return _origin(left) == _origin(right)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # a server wrote it; garbage has an origin of its own
        return url, None, None
    return parts.scheme, parts.hostname, port
