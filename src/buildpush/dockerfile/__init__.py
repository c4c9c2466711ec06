"""Reading Dockerfiles: `parse` turns text into stages of typed instructions, each with its lines.

`stages` says which of them a target needs, `words` expands variables, `ignore` reads
.dockerignore, `features` lists what a Dockerfile asks of a backend.
"""

from __future__ import annotations

from .instructions import Dockerfile, Instruction, Stage
from .parser import parse, parse_onbuild

__all__ = ["Dockerfile", "Instruction", "Stage", "parse", "parse_onbuild"]
