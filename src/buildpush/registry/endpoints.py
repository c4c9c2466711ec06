"""Where a registry lives: its host as named, its server, and which scheme it was found to speak."""

from __future__ import annotations

import threading
from typing import Final, Literal

from attrs import define, field

from ..http.trust import Trust

Scheme = Literal["http", "https"]

_SERVERS: Final = {"docker.io": "registry-1.docker.io"}


@define(eq=False)
class Endpoints:
    """The base URL of every registry of one client. Thread-safe.

    Hosts where plain HTTP is allowed are asked over HTTP first, anonymously; `settle` remembers
    what answered.
    """

    trust: Trust
    _schemes: dict[str, Scheme] = field(factory=dict[str, Scheme], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def base(self, host: str) -> str:
        """The URL before ``/v2/`` for the registry named *host*."""
        with self._lock:
            scheme = self._schemes.get(host)
        server = _SERVERS.get(host, host)
        return f"{scheme or ('http' if self.trust.allows(server) else 'https')}://{server}"

    def settled(self, host: str) -> bool:
        """Whether the scheme of *host* is beyond doubt."""
        with self._lock:
            return host in self._schemes or not self.trust.allows(_SERVERS.get(host, host))

    def settle(self, host: str, scheme: Scheme) -> None:
        """Remember that *host* speaks *scheme*."""
        with self._lock:
            self._schemes.setdefault(host, scheme)
