"""The command line: ``python -m buildpush demo | build | plan | doctor``."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run the command line; returns its exit code."""
    try:
        from .cli import main as command  # here, since Ctrl-C may come as early as now

        return command()
    except KeyboardInterrupt:
        return 130
    finally:
        # The process ends here: looking for cycles among every module's objects takes some 50 ms.
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
