"""The launcher's front door: ``python -I -S sandbox.py CONTROL OUT`` runs a RUN in a fresh process.

It imports the launcher's parts and `oci.tar` under their own names but without what lies around
them: the packages above are empty stand-ins, so nothing but the standard library is loaded.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import NoReturn


def stand_ins(native: str) -> dict[str, ModuleType]:
    """Empty packages for the folder *native* and those above it, by name."""
    top = native.rsplit("/", 2)[0]
    folders = {
        "buildpush": top,
        "buildpush.oci": f"{top}/oci",
        "buildpush.backends": f"{top}/backends",
        "buildpush.backends.native": native,
    }
    modules = {name: ModuleType(name) for name in folders}
    for name, module in modules.items():
        module.__path__ = [folders[name]]
    return modules


def launch() -> NoReturn:
    """Read the two descriptors from the command line and do the job that stdin brings."""
    sys.modules.update(stand_ins(__file__.rpartition("/")[0]))
    from buildpush.backends.native.launcher.main import main

    main(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    launch()
