"""Whether this is kaniko's own container, and whether we would outlive what the executor does here.

The executor unpacks base images over ``/`` and removes everything there between stages. It
spares what is below /kaniko, and below a mount. So must we be.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from ....errors import BackendUnavailableError
from ....runtime import Environment

__all__ = ["Inside"]

_MARKS: Final = (
    "run/.containerenv",
    ".dockerenv",
    "var/run/secrets/kubernetes.io/serviceaccount",
    "__runsc_containers__",
)
_WORDS: Final = re.compile(
    r"docker|rkt|systemd-nspawn|lxc|openvz|kube|garden|podman|gvisor|containerd|oci"
)
_OVERLAY: Final = re.compile(r"^\S+ / overlay", re.MULTILINE)
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_SYSTEM: Final = frozenset({"bin", "etc", "lib", "lib32", "lib64", "sbin", "usr"})
_MOUNT_POINT: Final = 4
_HINT: Final = (
    "run kaniko in a container of its own (the runner container or kubernetes), or put all of it"
    " below /kaniko or on a volume"
)


@frozen(kw_only=True)
class Inside:
    """The container that we may be in; *root* is its root folder."""

    environment: Environment
    root: Path = Path("/")

    @property
    def kaniko(self) -> Path:
        """The executor's own folder."""
        return self.root / "kaniko"

    @property
    def executor(self) -> Path:
        """The executor."""
        return self.kaniko / "executor"

    def check(self) -> None:
        """Raise `BackendUnavailableError` unless the executor may be run right here."""
        if not self.executor.is_file():
            raise BackendUnavailableError(
                f"this is not kaniko's container: there is no {self.executor}",
                hint="use the runner container or kubernetes",
            )
        if not self._is_container():
            raise BackendUnavailableError(
                f"{self.executor} would remove the files of this machine: this is no container",
                hint="use the runner container or kubernetes",
            )
        if not _writable(self.kaniko):
            raise BackendUnavailableError(
                f"user {self.environment.uid} may not write to {self.kaniko}",
                hint="run as root, or make the folder writable",
            )
        self.check_safe(self._ours())

    def check_safe(self, ours: Mapping[str, Path]) -> None:
        """Raise `BackendUnavailableError` where the executor would remove one of these paths."""
        mounts = tuple(self._mounts())
        lost = {what: path for what, path in ours.items() if not self._spared(path, mounts)}
        if lost:
            listed = ", ".join(f"{path} ({what})" for what, path in lost.items())
            raise BackendUnavailableError(
                f"kaniko removes everything in its container between stages, and with it {listed}",
                hint=_HINT,
            )

    def _spared(self, path: Path, mounts: tuple[Path, ...]) -> bool:
        """Whether *path* stays: where it leads, and every link on the way."""
        for place in (path.absolute(), path.resolve()):
            holders = [m for m in (self.kaniko, *mounts) if place.is_relative_to(m)]
            if not holders:
                return False
            # What lies below a mount is left out of the image, too.
            below = [m.relative_to(self.root).parts[0] for m in holders if m != self.root]
            if all(first in _SYSTEM for first in below):
                return False
        return True

    def _mounts(self) -> Iterator[Path]:
        """Every mount point but the root, as the executor reads them."""
        for line in self._read("proc/self/mountinfo").splitlines():
            fields = line.split(" ")
            if len(fields) > _MOUNT_POINT:
                name = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[_MOUNT_POINT])
                place = self.root / name.lstrip("/")
                if place != self.root:
                    yield place

    def _ours(self) -> Mapping[str, Path]:
        """Where Python and we are, and where we write."""
        return {
            "Python": Path(sys.executable),
            "its environment": Path(sys.prefix),
            "its library": Path(sys.base_prefix),
            "buildpush": Path(__file__),
            "its dependencies": Path(sys.modules["attrs"].__file__ or ""),
            "temporary files: TMPDIR": self.environment.temporary,
            "the cache: BUILDPUSH_CACHE": self.environment.cache,
        }

    def _is_container(self) -> bool:
        """As the executor decides it, in the same order; it looks for nothing else."""
        if any((self.root / mark).exists() for mark in _MARKS):
            return True
        told = (
            self._read("proc/self/cgroup"),
            self.environment.variables.get("container", ""),
            self._read("run/systemd/container"),
        )
        if any(_WORDS.search(text) for text in told):
            return True
        return bool(_OVERLAY.search(self._read("proc/mounts")))

    def _read(self, name: str) -> str:
        try:
            return (self.root / name).read_text("utf-8", "replace")
        except OSError:
            return ""


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
