"""How much a `LocalRegistry` has to do at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from attrs import define, field, frozen


@frozen(kw_only=True)
class Traffic:
    """Requests being worked on and connections open, now and at most; *opened* counts the latter.

    A request counts from its last header line until just before the end of its answer is sent,
    so that a client that keeps to a ceiling is never seen above it.
    """

    requests: int = 0
    peak_requests: int = 0
    connections: int = 0
    peak_connections: int = 0
    opened: int = 0


@define(eq=False)
class Meter:
    """Counts for every socket of a registry together."""

    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _requests: int = field(default=0, init=False)
    _peak_requests: int = field(default=0, init=False)
    _connections: int = field(default=0, init=False)
    _peak_connections: int = field(default=0, init=False)
    _opened: int = field(default=0, init=False)

    @property
    def traffic(self) -> Traffic:
        """The counts as they stand."""
        with self._lock:
            return Traffic(
                requests=self._requests,
                peak_requests=self._peak_requests,
                connections=self._connections,
                peak_connections=self._peak_connections,
                opened=self._opened,
            )

    def restart(self) -> None:
        """Forget the peaks."""
        with self._lock:
            self._peak_requests, self._peak_connections = self._requests, self._connections
            self._opened = 0

    @contextmanager
    def connection(self) -> Generator[None]:
        """Count one connection while it is open."""
        with self._lock:
            self._opened += 1
            self._connections += 1
            self._peak_connections = max(self._peak_connections, self._connections)
        try:
            yield
        finally:
            with self._lock:
                self._connections -= 1

    @contextmanager
    def request(self) -> Generator[Callable[[], None]]:
        """Count one request until what is yielded is called, or the block is left."""
        with self._lock:
            self._requests += 1
            self._peak_requests = max(self._peak_requests, self._requests)
        counted = True

        def done() -> None:
            nonlocal counted
            with self._lock:
                self._requests -= counted
                counted = False

        try:
            yield done
        finally:
            done()
