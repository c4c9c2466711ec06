"""What httpx and httpcore may write to `logging` about our requests: no header, no signed URL."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Final, Self

from .answers import safe_url

_LOGGERS: Final = (
    "httpx",
    *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
)


class Discretion(logging.Filter):
    """A filter on those libraries' loggers, from `open` to `close`.

    It touches only what a thread logs within a ``with`` block: other users of the libraries in
    this process see their records as ever. Safe between threads.
    """

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def open(self) -> None:
        """Begin to filter."""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def close(self) -> None:
        """Leave the loggers as they were."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def __enter__(self) -> Self:
        # A body that is being sent may be read from another request of this thread.
        self._here.depth = self._depth + 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._here.depth = self._depth - 1

    @property
    def _depth(self) -> int:
        depth: int = getattr(self._here, "depth", 0)
        return depth

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep *record*, whose URLs lose what they must not show."""
        if not self._depth:
            return True
        if isinstance(record.args, tuple):
            record.args = tuple(
                safe_url(str(part)) if "://" in str(part) else part for part in record.args
            )
        # Headers and what is wrong with them: locations with signatures, tokens, cookies.
        return "headers" not in str(record.msg)
