"""How it looks: each file draws events one way; `choose` picks the one for here."""

from __future__ import annotations

import sys
from typing import TextIO

from ..events import EventSink
from .plain import PlainRenderer

__all__ = ["choose"]


def choose(stream: TextIO | None = None) -> EventSink:
    """The display for where we are: a live table in a notebook, plain lines elsewhere.

    *stream* is where plain lines go, standard error unless given.
    """
    if stream is None and _in_notebook():
        from .jupyter import JupyterRenderer

        return JupyterRenderer()
    return PlainRenderer(stream or sys.stderr)


def _in_notebook() -> bool:
    """Whether an IPython kernel runs this code; nothing is imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")
