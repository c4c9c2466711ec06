"""What a `LocalRegistry` holds: blobs in files, manifests and tags in memory, open uploads."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> _Hasher: ...


def _sha256() -> _Hasher:
    return hashlib.sha256()


@frozen(kw_only=True)
class StoredManifest:
    """A manifest's exact bytes and the content type it was put with."""

    data: bytes
    media_type: str


@define(eq=False)
class _Repository:
    blobs: set[str] = field(factory=set[str])
    manifests: dict[str, StoredManifest] = field(factory=dict[str, StoredManifest])
    tags: dict[str, str] = field(factory=dict[str, str])


@define(eq=False, kw_only=True)
class Upload:
    """A blob on its way. *first* and *last* are the sizes of its first and its latest chunk."""

    id: str
    state: str
    repository: str
    path: Path
    size: int = 0
    first: int = 0
    last: int = 0
    sha256: _Hasher = field(factory=_sha256)
    lock: threading.Lock = field(factory=threading.Lock)

    def append(self, chunks: Iterable[bytes], *, keep_partial: bool = True) -> None:
        """Add *chunks* to the end, hashing on the way; what came before a failure may be kept."""
        with self.lock, self.path.open("ab", buffering=0) as file:
            before, spare = self.size, self.sha256.copy()
            try:
                for chunk in chunks:
                    file.write(chunk)
                    self.sha256.update(chunk)
                    self.size += len(chunk)
            except BaseException:
                if not keep_partial:
                    file.truncate(before)
                    self.size, self.sha256 = before, spare
                raise
            finally:
                self.last = self.size - before
                self.first = self.first or self.last

    def digest(self, algorithm: str) -> str:
        """The digest of what has arrived."""
        if algorithm == "sha256":
            return f"sha256:{self.sha256.hexdigest()}"
        with self.path.open("rb") as file:
            return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


class Storage:
    """Blobs are stored once, but visible only in the repositories they were put or mounted in.

    With *repositories*, only those exist and no push makes another. Digests are text that was
    checked before it came here. Every method may be called from any thread.
    """

    def __init__(
        self, folder: Path | None = None, *, repositories: Iterable[str] | None = None
    ) -> None:
        self._temporary = folder is None
        self._folder = folder or Path(tempfile.mkdtemp(prefix="buildpush-registry-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._repositories: dict[str, _Repository] = {}
        self._uploads: dict[str, Upload] = {}
        self._closed = repositories is not None
        for name in repositories or ():
            self.create(name)

    def close(self) -> None:
        """Remove the folder, unless it was given."""
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)

    def create(self, repository: str) -> None:
        """Make an empty repository."""
        with self._lock:
            self._of(repository)

    def admits(self, repository: str) -> bool:
        """Whether *repository* exists, or would when it is first pushed to."""
        with self._lock:
            return not self._closed or repository in self._repositories

    # --- blobs ---

    def blob(self, repository: str, digest: str) -> Path | None:
        """The file of a blob that *repository* may see."""
        with self._lock:
            known = self._repositories.get(repository)
            return self._file(digest) if known and digest in known.blobs else None

    def add_blob(self, repository: str, digest: str, data: bytes) -> None:
        """Put a whole blob, whose digest the caller has computed."""
        with self._lock:
            self._file(digest).write_bytes(data)
            self._of(repository).blobs.add(digest)

    def mount(self, repository: str, digest: str, source: str | None) -> bool:
        """Make a blob of *source* (None: of any repository) visible; whether it was there."""
        with self._lock:
            sources = self._repositories if source is None else {source}
            if not any(self.blob(name, digest) for name in sources):
                return False
            self._of(repository).blobs.add(digest)
            return True

    def delete_blob(self, repository: str, digest: str) -> bool:
        """Hide a blob from *repository*, and drop it when nobody else sees it."""
        with self._lock:
            if self.blob(repository, digest) is None:
                return False
            self._repositories[repository].blobs.discard(digest)
            if not any(digest in other.blobs for other in self._repositories.values()):
                self._file(digest).unlink()
            return True

    # --- uploads ---

    @property
    def uploads_open(self) -> int:
        """How many uploads were begun and neither finished nor cancelled."""
        with self._lock:
            return len(self._uploads)

    def begin(self, repository: str) -> Upload:
        """Open an upload."""
        name = secrets.token_hex(16)
        # A padded value: a client that loses or re-encodes the query is found out.
        state = f"{secrets.token_urlsafe(12)}=="
        upload = Upload(id=name, state=state, repository=repository, path=self._folder / name)
        upload.path.touch()
        with self._lock:
            self._uploads[name] = upload
        return upload

    def upload(self, repository: str, name: str) -> Upload | None:
        """An open upload of *repository*."""
        with self._lock:
            found = self._uploads.get(name)
            return found if found and found.repository == repository else None

    def cancel(self, upload: Upload) -> None:
        """Forget an upload and what it brought."""
        with self._lock:
            self._uploads.pop(upload.id, None)
            upload.path.unlink(missing_ok=True)

    def finish(self, upload: Upload, digest: str) -> bool:
        """Turn an upload into a blob; False, and the upload is gone, when the digest differs."""
        if upload.digest(digest.partition(":")[0]) != digest:
            self.cancel(upload)
            return False
        with self._lock:
            self._uploads.pop(upload.id, None)
            upload.path.replace(self._file(digest))
            self._of(upload.repository).blobs.add(digest)
        return True

    # --- manifests and tags ---

    def manifest(self, repository: str, target: str) -> tuple[str, StoredManifest] | None:
        """The digest and manifest a tag or a digest names."""
        with self._lock:
            known = self._repositories.get(repository)
            if known is None:
                return None
            digest = known.tags.get(target, target)
            stored = known.manifests.get(digest)
            return None if stored is None else (digest, stored)

    def add_manifest(
        self, repository: str, digest: str, stored: StoredManifest, *, tags: Iterable[str] = ()
    ) -> None:
        """Put a manifest, and move *tags* to it."""
        with self._lock:
            known = self._of(repository)
            known.manifests[digest] = stored
            known.tags.update(dict.fromkeys(tags, digest))

    def delete_manifest(self, repository: str, target: str) -> bool:
        """Remove a tag, or a manifest with all its tags; whether there was one."""
        with self._lock:
            known = self._repositories.get(repository, _Repository())
            if known.tags.pop(target, None) is not None:
                return True
            if known.manifests.pop(target, None) is None:
                return False
            known.tags = {tag: digest for tag, digest in known.tags.items() if digest != target}
            return True

    def manifests(self, repository: str) -> dict[str, StoredManifest]:
        """Every manifest of *repository* by digest."""
        with self._lock:
            return dict(self._repositories.get(repository, _Repository()).manifests)

    def tags(self, repository: str) -> tuple[str, ...] | None:
        """Every tag in lexical order; None for a repository nobody has put anything in."""
        with self._lock:
            known = self._repositories.get(repository)
            return None if known is None else tuple(sorted(known.tags))

    @property
    def repositories(self) -> tuple[str, ...]:
        """Every repository there is, in lexical order."""
        with self._lock:
            return tuple(sorted(self._repositories))

    def _of(self, repository: str) -> _Repository:
        return self._repositories.setdefault(repository, _Repository())

    def _file(self, digest: str) -> Path:
        return self._folder / digest.replace(":", "-")
