"""Faults: what goes wrong between the client and the API server, when a test wants it to.

stub.faults.add(Fault(path="/log$", drop_after=200))        # once, after 200 bytes of the body
stub.faults.add(Fault(method="POST", status=429, retry_after=1, times=2))
"""

from __future__ import annotations

import re
import threading

from attrs import define, field


@define(eq=False, kw_only=True)
class Fault:
    """What happens to the next *times* requests whose *method* and *path* match (as regexes).

    *status* answers with that code (429 and 503 with *retry_after* seconds), *drop_after* breaks
    the connection after so many bytes of the answer (or, for exec, of what the client sent),
    *hang* gives no answer until the test ends, *delay* waits so many seconds before answering.
    *path* is searched for in ``/api/v1/…?query``.
    """

    method: str = ""
    path: str = ""
    times: int = 1
    status: int = 0
    retry_after: int | None = None
    drop_after: int | None = None
    hang: bool = False
    delay: float = 0.0
    fired: int = 0

    def matches(self, method: str, target: str) -> bool:
        """Whether it is meant for this request."""
        return bool(
            self.fired < self.times
            and re.fullmatch(self.method or ".*", method)
            and re.search(self.path, target)
        )


@define(eq=False)
class Faults:
    """The faults that are armed."""

    _armed: list[Fault] = field(factory=list)
    _lock: threading.Lock = field(factory=threading.Lock)

    def add(self, fault: Fault) -> Fault:
        """Arm *fault*; the same object, whose *fired* tells how often it struck."""
        with self._lock:
            self._armed.append(fault)
        return fault

    def clear(self) -> None:
        """Disarm all."""
        with self._lock:
            self._armed.clear()

    def strike(self, method: str, target: str) -> Fault | None:
        """The fault for this request, which counts as fired."""
        with self._lock:
            for fault in self._armed:
                if fault.matches(method, target):
                    fault.fired += 1
                    return fault
        return None
