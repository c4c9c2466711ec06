"""The launcher's front door: ``python -I -S front.py CONTROL OUT`` runs a RUN in a fresh process.

It imports the launcher's parts and `oci.tar` under their own names but without what lies around
them: the packages above are empty stand-ins, so nothing but the standard library is loaded.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import NoReturn


def stand_ins(launcher: str) -> dict[str, ModuleType]:
    """Empty packages for the folders above *launcher*, and for `oci`, by name."""
    top = launcher.rsplit("/", 4)[0]
    names = ("", ".oci", ".backends", ".backends.native", ".backends.native.sandbox")
    modules = {f"buildpush{name}": ModuleType(f"buildpush{name}") for name in names}
    for name, module in modules.items():
        module.__path__ = [top + name.removeprefix("buildpush").replace(".", "/")]
    return modules


def launch() -> NoReturn:
    """Read the two descriptors from the command line and do the job that stdin brings."""
    sys.modules.update(stand_ins(__file__.rpartition("/")[0]))
    from buildpush.backends.native.sandbox.launcher.main import main

    main(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    launch()
