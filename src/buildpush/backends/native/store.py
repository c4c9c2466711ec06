"""The local store: blobs, path indexes, step records, cache mounts. Crash-safe, shared, bounded.

Everything lives under one 0700 folder. A write is a temporary file, fsync, rename: a crash loses
at most that write. Small entries carry their own checksum; blobs are named by theirs and sealed
by a fixed modification time, so that a blob somebody wrote to is noticed by a stat and re-hashed.
Every build holds a shared lock; only trimming takes it exclusively.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from attrs import define, field, frozen

from ...errors import BuildError, DigestMismatchError
from ...oci import Digest, Repository
from ...runtime.environment import make_private
from .records import StepRecord
from .trimming import trim

__all__ = ["VERSION", "CacheMount", "Store", "clear"]

VERSION: Final = "v1"
DEFAULT_LIMIT: Final = 20 << 30
"""Bytes the blobs may take before the least recently used go."""

_SEAL: Final = 1_000_000_000
"""Modification time, in nanoseconds, of every blob whose content was verified."""
_CHUNK: Final = 1 << 20
_FOLDERS: Final = (
    "blobs/sha256",
    "layers",
    "indexes",
    "steps",
    "origins",
    "caches",
    "locks",
    "work",
)


@frozen(kw_only=True)
class CacheMount:
    """A folder that outlives builds; *fresh* when nothing has used it before."""

    path: Path
    fresh: bool


@define(eq=False)
class Store:
    """The entries under *root* (a folder that is made when needed). Safe between threads.

    Use it as a context manager: while open it counts as in use, and no other process trims it.
    *limit* is how many bytes its blobs may take; *remove* deletes trees that plain removal may
    not.
    """

    root: Path
    limit: int = DEFAULT_LIMIT
    remove: Callable[[Path], None] = field(default=shutil.rmtree, repr=False)
    _stack: ExitStack = field(factory=ExitStack, init=False, repr=False)

    def __enter__(self) -> Self:
        make_private(self.root)
        for folder in _FOLDERS:
            (self.root / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root.chmod(0o700)
        lock = self._stack.enter_context((self.root / "lock").open("ab"))
        self._trim_if_alone(lock.fileno())
        fcntl.flock(lock, fcntl.LOCK_SH)
        self._sweep()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    # -- blobs ---------------------------------------------------------------------------

    @property
    def layers(self) -> Path:
        """Where the sandbox keeps unpacked layers."""
        return self.root / "layers"

    def blob_path(self, digest: Digest) -> Path:
        """Where the blob is, or would be."""
        return self.root / "blobs" / digest.algorithm / digest.hex

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is here and whole; a damaged one is dropped."""
        path = self.blob_path(digest)
        try:
            found = path.stat()
        except FileNotFoundError:
            return False
        sound = size is None or found.st_size == size
        if sound and found.st_mtime_ns != _SEAL:
            sound = _hash_file(path, digest.algorithm) == digest.hex
        if not sound:
            path.unlink(missing_ok=True)
            return False
        _seal(path)
        return True

    def read_blob(self, digest: Digest) -> bytes | None:
        """A small blob's bytes, verified, or None."""
        try:
            data = self.blob_path(digest).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.new(digest.algorithm, data).hexdigest() != digest.hex:
            self.blob_path(digest).unlink(missing_ok=True)
            return None
        return data

    def write_blob(self, data: bytes) -> Digest:
        """Keep *data* under its sha256 digest."""
        digest = Digest.of(data)
        self.ingest([data], digest, len(data))
        return digest

    def ingest(self, chunks: Iterable[bytes], digest: Digest, size: int) -> Path:
        """Write a blob piece by piece; raises `DigestMismatchError` unless it is what it says."""
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _temporary(path) as (stream, temporary):
            hasher = hashlib.new(digest.algorithm)
            written = 0
            for chunk in chunks:
                hasher.update(chunk)
                stream.write(chunk)
                written += len(chunk)
            if hasher.hexdigest() != digest.hex or written != size:
                raise DigestMismatchError(
                    f"a blob of {written} bytes does not match {digest} ({size} bytes)"
                )
            stream.flush()
            os.fsync(stream.fileno())
            _seal(temporary)
        return path

    def adopt(self, source: Path, digest: Digest) -> Path:
        """Take over *source*, a file just written and hashed on this file system."""
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with source.open("rb+") as stream:
            os.fsync(stream.fileno())
        _seal(source)
        source.replace(path)
        _sync_folder(path.parent)
        return path

    # -- small entries -------------------------------------------------------------------

    def step(self, key: str) -> StepRecord | None:
        """The record under *key*, if its layer is still here and whole."""
        data = self._read("steps", key)
        if data is None:
            return None
        try:
            record = StepRecord.from_json(json.loads(data))
        except (KeyError, TypeError, ValueError):
            self._drop("steps", key)
            return None
        if record.layer and not self.has_blob(record.layer.digest, record.layer.size):
            self._drop("steps", key)
            return None
        return record

    def remember(self, key: str, record: StepRecord) -> None:
        """Keep *record* under *key*."""
        self._write("steps", key, json.dumps(record.to_json(), sort_keys=True).encode())

    def index(self, diff_id: Digest) -> bytes | None:
        """The stored path index of the layer with *diff_id*."""
        return self._read("indexes", diff_id.hex)

    def keep_index(self, diff_id: Digest, data: bytes) -> None:
        """Keep a layer's path index."""
        self._write("indexes", diff_id.hex, data)

    def origins(self, digest: Digest) -> tuple[Repository, ...]:
        """The repositories in which the blob was seen."""
        data = self._read("origins", digest.hex)
        if data is None:
            return ()
        return tuple(Repository(str(host), str(path)) for host, path in json.loads(data))

    def seen(self, digest: Digest, repository: Repository) -> None:
        """Note that *repository* holds the blob."""
        known = self.origins(digest)
        if repository not in known:
            pairs = [[r.host, r.path] for r in (*known, repository)]
            self._write("origins", digest.hex, json.dumps(pairs).encode())

    def note(self, key: str) -> bytes | None:
        """A small remembered answer (a resolved name, a download's validator)."""
        return self._read("steps", f"note-{key}")

    def keep_note(self, key: str, data: bytes) -> None:
        """Keep a small answer under *key*."""
        self._write("steps", f"note-{key}", data)

    def _read(self, folder: str, name: str) -> bytes | None:
        path = self.root / folder / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        seal, _, body = data.partition(b"\n")
        if seal.decode("ascii", "replace") != hashlib.sha256(body).hexdigest():
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(path)
        return body

    def _write(self, folder: str, name: str, body: bytes) -> None:
        with _temporary(self.root / folder / name) as (stream, _):
            # No fsync: a torn entry fails its checksum and is made again.
            stream.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    def _drop(self, folder: str, name: str) -> None:
        (self.root / folder / name).unlink(missing_ok=True)

    @contextmanager
    def making(self, key: str, wait: Callable[[], None]) -> Generator[None]:
        """Be the only one, of all processes, who makes what goes under *key*.

        *wait* is called between tries while somebody else does. The files that are locked are
        cleared when the store is trimmed.
        """
        with (self.root / "locks" / key).open("ab") as lock:
            _lock(lock.fileno(), fcntl.LOCK_EX, wait)
            yield

    # -- folders -------------------------------------------------------------------------

    @contextmanager
    def cache_mount(
        self,
        name: str,
        *,
        sharing: Literal["shared", "private", "locked"],
        wait: Callable[[], None],
    ) -> Generator[CacheMount]:
        """Lend the cache folder called *name*, across processes.

        Shared users may overlap; a locked one waits until it has the folder for itself, calling
        *wait* between tries; a private one gets another folder when this one is in use.
        """
        number = 0
        while True:
            text = f"{name}\0{number}" if number else name
            folder = self.root / "caches" / hashlib.sha256(text.encode()).hexdigest()
            folder.mkdir(mode=0o700, exist_ok=True)
            with (folder / "lock").open("ab") as lock:
                how = fcntl.LOCK_SH if sharing == "shared" else fcntl.LOCK_EX
                if not _lock(lock.fileno(), how, None if sharing == "private" else wait):
                    number += 1
                    continue
                data = folder / "data"
                fresh = not data.exists()
                data.mkdir(mode=0o755, exist_ok=True)
                yield CacheMount(path=data, fresh=fresh)
                return

    @contextmanager
    def work(self) -> Generator[Path]:
        """A new private folder on the store's file system, removed in the end."""
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root / "work"))
        (fresh / "owner").write_text(f"{os.getpid()} {_start_time(os.getpid())}")
        (fresh / "tree").mkdir(mode=0o700)
        # Only now may another process sweep it, which looks at the owner.
        folder = fresh.rename(fresh.with_name(fresh.name.removeprefix(".new-")))
        try:
            yield folder / "tree"
        finally:
            self._remove(folder)

    def _sweep(self) -> None:
        """Clear the work folders whose processes are gone."""
        for folder in (self.root / "work").iterdir():
            if folder.name.startswith(".new-"):
                continue
            try:
                pid, _, started = (folder / "owner").read_text().partition(" ")
                alive = _start_time(int(pid)) == started and bool(started)
            except (OSError, ValueError):
                alive = False
            if not alive:
                self._remove(folder)

    # -- size ----------------------------------------------------------------------------

    def _trim_if_alone(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        trim(self.root, self.limit, self._remove, datetime.now(tz=UTC).timestamp())

    def _remove(self, path: Path) -> None:
        clear(path, self.remove)


@contextmanager
def _temporary(path: Path) -> Generator[tuple[Any, Path]]:
    """A file beside *path* that takes its name when the block ends well, and vanishes else."""
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream, temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _seal(path: Path) -> None:
    """Stamp a verified blob: the access time says when it was last used."""
    with suppress(OSError):
        os.utime(path)
        os.utime(path, ns=(path.stat().st_mtime_ns, _SEAL))


def _hash_file(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _lock(handle: int, how: int, wait: Callable[[], None] | None) -> bool:
    """Take a lock, calling *wait* between tries; without *wait*, say whether one try did it."""
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                return False
            wait()
        else:
            return True


def _start_time(pid: int) -> str:
    """When process *pid* began, in the kernel's ticks; empty when it is gone (or no Linux)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def clear(folder: Path, remove: Callable[[Path], None]) -> None:
    """Remove *folder*, letting *remove* handle what this process may not."""
    with suppress(OSError):
        shutil.rmtree(folder)
    if folder.exists():
        try:
            remove(folder)
        except OSError as error:
            raise BuildError(f"a work folder of the store cannot be removed: {error}") from error
