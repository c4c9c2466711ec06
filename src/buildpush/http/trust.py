"""Whom to believe: hosts that may be spoken to in the clear, authorities and certificates per host."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from attrs import field, frozen

from .reach import Reach, reach_of

LONGEST: Final = 1 << 14
"""Characters of an address that a server may send us to; signed ones have about two thousand."""
_METADATA: Final = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}
)


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

    Loopback, link-local (where clouds answer with credentials, which have names, too) and
    unspecified addresses.
    """
    name = hostname(netloc).rstrip(".")
    reach = reach_of(name)
    return is_loopback(name) or name in _METADATA if reach is None else reach is Reach.MACHINE


@frozen(kw_only=True)
class Certificates:
    """PEM files for one host: *ca* holds authorities that are believed beside the usual ones.

    *certificate* (a chain, leaf first) and its *key* are what we show to a server that asks;
    *key* may be None when the certificate's file holds both.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def _copy(value: Mapping[str, Certificates]) -> dict[str, Certificates]:
    return dict(value)


@frozen
class Trust:
    """The hosts that may be spoken to without proof, besides this machine, and proofs by host.

    *insecure* hosts (``host`` or ``host:port``) may speak plain HTTP, or show any certificate.
    *certificates* count for requests made on behalf of that host: to itself, its token service
    and wherever it redirects to.
    """

    insecure: frozenset[str] = frozenset()
    certificates: Mapping[str, Certificates] = field(
        factory=dict[str, Certificates], converter=_copy, kw_only=True
    )

    def of(self, netloc: str) -> Certificates | None:
        """What is known for ``host[:port]``; an entry with the port counts first."""
        return self.certificates.get(netloc) or self.certificates.get(hostname(netloc))

    def allows(self, netloc: str) -> bool:
        """Whether plain HTTP is fine for ``host[:port]``."""
        return is_loopback(netloc) or netloc in self.insecure or hostname(netloc) in self.insecure

    def trusts(self, netloc: str) -> bool:
        """Whether a TLS certificate of ``host[:port]`` that cannot be verified is accepted."""
        return netloc in self.insecure or hostname(netloc) in self.insecure

    def objection(self, url: str, sender: str) -> str:
        """Why the server at *sender* may not send us to *url*, both URLs; empty when it may.

        A remote server names no address that only this machine understands, unless it is listed.
        """
        if len(url) > LONGEST:
            return f"which has more than {LONGEST} characters"
        if not self.permits(url):
            return "which is not encrypted"
        there, from_ = urlsplit(url).netloc, urlsplit(sender).netloc
        if is_near(there) and not is_near(from_) and not self.trusts(there):
            return "which is this machine's own"
        return ""

    def nearest(self, url: str, sender: Reach | None) -> Reach:
        """How far the server of *url* has to reach that one with the reach *sender* named.

        As far as its sender. Any distance will do for hosts that are listed, with certificates
        or as insecure: somebody has thought about them. Of a *sender* of whom nothing is known,
        since a proxy spoke to it, a private network's is believed.
        """
        there = urlsplit(url).netloc
        if self.trusts(there) or self.of(there) is not None:
            return Reach.MACHINE
        return Reach.PRIVATE if sender is None else sender

    def permits(self, url: str) -> bool:
        """Whether *url* may be asked at all: HTTPS, or plain HTTP where that is allowed."""
        scheme, host, _ = _origin(url)
        if scheme == "https":
            return bool(host)
        return scheme == "http" and self.allows(urlsplit(url).netloc)


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
