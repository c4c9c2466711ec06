"""What earlier pushes learnt: which repositories of a registry have which blobs. Only a hint.

A layer that another repository of the registry has is mounted from there instead of being sent.
One small file per registry in the user's cache, readable by the user alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from attrs import frozen
from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import InvalidReferenceError
from ...oci import Digest, Repository
from ...runtime.environment import make_private

__all__ = ["Whereabouts"]

_BLOBS: Final = 4000
_PLACES: Final = 3
_HOSTS: Final = 50
_BYTES: Final = 4 << 20


class _Known(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    host: str
    blobs: dict[str, list[str]]


@frozen
class Whereabouts:
    """The files of *folder*, one per registry host; processes may share it.

    A folder that cannot be read or written is as good as an empty one.
    """

    folder: Path

    def of(self, host: str) -> Mapping[Digest, tuple[Repository, ...]]:
        """What is known of *host*: repositories by blob, the latest first."""
        found: dict[Digest, tuple[Repository, ...]] = {}
        for text, paths in self._read(host).items():
            with suppress(InvalidReferenceError):
                repositories = [Repository.parse(f"{host}/{path}") for path in paths]
                found[Digest(text)] = tuple(repositories)
        return found

    def learn(
        self,
        seen: Collection[tuple[Digest, Repository]],
        lost: Collection[tuple[Digest, Repository]] = (),
    ) -> None:
        """Remember that blobs are in repositories (*seen*), or turned out not to be (*lost*)."""
        hosts = dict.fromkeys(place.host for _, place in (*seen, *lost))
        # Nobody's push fails because nothing could be remembered.
        with suppress(OSError):
            for host in hosts:
                with self._locked():
                    blobs = self._read(host)
                    for digest, place in lost:
                        if place.host == host:
                            _drop(blobs, str(digest), place.path)
                    for digest, place in seen:
                        if place.host == host:
                            _add(blobs, str(digest), place.path)
                    self._write(host, blobs)

    def _path(self, host: str) -> Path:
        return self.folder / f"{hashlib.sha256(host.encode()).hexdigest()[:32]}.json"

    def _read(self, host: str) -> dict[str, list[str]]:
        try:
            with self._path(host).open("rb") as file:
                known = _Known.model_validate_json(file.read(_BYTES))
        except (OSError, ValidationError):
            return {}
        return known.blobs if known.host == host else {}

    @contextmanager
    def _locked(self) -> Generator[None]:
        make_private(self.folder)
        with os.fdopen(os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, host: str, blobs: Mapping[str, list[str]]) -> None:
        kept = dict(list(blobs.items())[-_BLOBS:])
        descriptor, name = tempfile.mkstemp(prefix=".part-", dir=self.folder)  # 0600
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(_Known(host=host, blobs=kept).model_dump_json())
            temporary.replace(self._path(host))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        files = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in files[:-_HOSTS]:
            path.unlink(missing_ok=True)


def _add(blobs: dict[str, list[str]], digest: str, path: str) -> None:
    """The latest blob goes to the end, where forgetting comes last."""
    others = [other for other in blobs.pop(digest, []) if other != path]
    blobs[digest] = [path, *others][:_PLACES]


def _drop(blobs: dict[str, list[str]], digest: str, path: str) -> None:
    left = [other for other in blobs.pop(digest, []) if other != path]
    if left:
        blobs[digest] = left
