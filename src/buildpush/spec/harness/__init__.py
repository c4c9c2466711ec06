"""Harness's YAML: the steps of a file that build and push, and what each asks for."""

from .settings import HarnessSettings, context_of, settings_of, wrong
from .steps import HarnessFile, HarnessStep, read_harness
from .writing import write_harness

__all__ = [
    "HarnessFile",
    "HarnessSettings",
    "HarnessStep",
    "context_of",
    "read_harness",
    "settings_of",
    "write_harness",
    "wrong",
]
