"""The command line: ``python -m buildpush demo | build | plan | doctor``."""

from __future__ import annotations

import atexit
import gc
import sys


def main() -> int:
    """Run the command line; returns its exit code."""
    # Looking for cycles among the objects of every module, at the very end, takes some 50 ms.
    atexit.register(gc.freeze)
    try:
        from .cli import main as command  # here, since Ctrl-C may come as early as now

        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
