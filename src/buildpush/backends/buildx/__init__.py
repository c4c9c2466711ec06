"""Builds with ``docker buildx``: whichever builder is there, or one of its own for the run."""

from __future__ import annotations
