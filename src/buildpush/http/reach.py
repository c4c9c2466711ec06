"""How far an address reaches: this machine, a private network, or everybody.

A server may send us to addresses that reach as far as its own, or farther: what answers only
here, or only in a private network, is not for strangers to have asked.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Mapping
from enum import IntEnum

from attrs import define, field

from ..errors import RegistryError

__all__ = ["Peers", "Reach", "reach_of"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Reach(IntEnum):
    """Who can ask an address, the fewest first."""

    MACHINE = 0
    PRIVATE = 1
    PUBLIC = 2


def reach_of(text: str) -> Reach | None:
    """How far the address *text* reaches; None when it is a name.

    Link-local addresses, where clouds answer with credentials, count as the machine's own.
    """
    try:
        address = _plainest(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return Reach.MACHINE
    return Reach.PUBLIC if address.is_global else Reach.PRIVATE


def _plainest(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address stands for, if it stands for one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


@define(eq=False)
class Peers:
    """Who answered under which ``host:port``, as far as connections were made directly.

    Thread-safe.
    """

    _known: dict[str, Reach] = field(factory=dict[str, Reach], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def note(self, netloc: str, connection: socket.socket) -> Reach | None:
        """Remember whom *connection* was made to in the name of *netloc*."""
        try:
            found = reach_of(str(connection.getpeername()[0]))
        except (OSError, IndexError):
            return None  # it is gone already: nothing will be sent there
        if found is not None:
            with self._lock:
                self._known[netloc] = min(found, self._known.get(netloc, found))
        return found

    def of(self, netloc: str) -> Reach | None:
        """How far *netloc* reaches; None while nobody has connected to it."""
        with self._lock:
            return self._known.get(netloc)


@define(eq=False, kw_only=True)
class Guard:
    """httpcore's trace of one request, that ends it when it goes where it must not.

    *least* is how far the server asked has to reach; *inner* hears everything too. It is asked
    when a connection stands, before a byte is sent: what a name meant a moment ago is no matter.
    """

    inner: Callable[[str, Mapping[str, object]], None]
    peers: Peers
    netloc: str
    least: Reach

    def __call__(self, name: str, info: Mapping[str, object]) -> None:
        """Note what httpcore says about a connection; raises `RegistryError` for a wrong one."""
        self.inner(name, info)
        if name.partition(".")[2] != "connect_tcp.complete":
            return
        asking = getattr(info.get("return_value"), "get_extra_info", None)
        found = asking("socket") if callable(asking) else None
        if isinstance(found, socket.socket):
            try:
                self.check(self.peers.note(self.netloc, found))
            except RegistryError:
                found.close()  # httpcore never learns that it was opened
                raise

    def check(self, reach: Reach | None) -> None:
        """Raise when *reach* is too near; what is not known passes."""
        if reach is not None and reach < self.least:
            whose = "this machine's own" if reach is Reach.MACHINE else "of a private network"
            raise RegistryError(
                f"{self.netloc} has an address {whose}, and a server elsewhere named it",
                hint="if that is as it should be, name the host under registries or as insecure",
            )
