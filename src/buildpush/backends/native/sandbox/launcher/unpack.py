"""A layer's tar into a folder: as an overlay's lower directory, or over the layers below it.

What the OCI image-spec (“layer.md”, “Applying Changesets”) asks for, with one rule on top: the
parents of an entry are resolved inside the folder, and no step ever follows a symlink out of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from typing import IO, TYPE_CHECKING, BinaryIO, Final, Literal, Self, cast

from .....oci import tar
from . import paths
from .wire import NotOverlayError, SetUpError

if TYPE_CHECKING:
    from types import TracebackType

OVERLAY_PREFIXES: Final = ("trusted.overlay.", "user.overlay.")
"""Extended attributes that an overlay keeps for itself: never from a layer, never into one."""
Style = Literal["trusted", "user", "plain"]
"""How deletions are kept: for an overlay as root, for one in a user namespace, or carried out."""
_BUFFER: Final = 1 << 20
# What a file system or a user namespace may lack. The file is then as good as it can be here;
# the layer itself is kept whole in the store.
_NO_XATTR: Final = (errno.ENOTSUP, errno.EPERM, errno.EINVAL)


class _Hashing:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._sum.update(data)
        return data

    def finish(self) -> str:
        while self.read(_BUFFER):
            pass
        return f"sha256:{self._sum.hexdigest()}"


class Unpacker:
    """Fills the folder *root* from layers; a context manager.

    *implicit* collects the directories that a layer has no entry of its own for: their
    attributes are those of the layer below, which a folder for one layer does not know.
    """

    def __init__(self, root: str, style: Style) -> None:
        self._path = os.path.realpath(root)
        self._style = style
        self._root = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._opened: dict[str, int] = {}
        self._times: dict[str, tuple[str, int]] = {}
        self._fresh: set[str] = set()
        self.implicit: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._forget()
        os.close(self._root)

    def apply(self, stream: IO[bytes], diff_id: str) -> None:
        """Unpack the uncompressed layer in *stream* and prove that it hashes to *diff_id*.

        Raises `SetUpError` when it does not or is no tar, and `NotOverlayError` when a hard link
        of it needs the layers below. The folder is then of no use.
        """
        self._times = {}
        self._fresh = set()
        hashing = _Hashing(stream)
        entry = tar.Entry("", "dir")
        try:
            for entry, body in tar.read(cast("BinaryIO", hashing)):
                self._add(entry, body)
            found = hashing.finish()
        except (tar.TarError, UnicodeError) as error:
            raise SetUpError(f"layer {diff_id} cannot be unpacked: {error}") from error
        except OSError as error:
            raise SetUpError(
                f"layer {diff_id} cannot be unpacked: {entry.name!r} of {entry.uid}:{entry.gid}: "
                f"{error.strerror or error}"
            ) from error
        if found != diff_id:
            raise SetUpError(f"layer {diff_id} is corrupt: its content hashes to {found}")
        self._set_times()

    def _add(self, entry: tar.Entry, body: BinaryIO) -> None:
        above, _, name = entry.name.rpartition("/")
        if not name:
            if entry.kind == "dir":
                self._describe_root(entry)
            return
        if name.startswith(tar.WHITEOUT):
            self._whiteout(above, name)
            return
        parent = self._parent(above)
        if entry.kind == "dir":
            self._directory(parent, name, entry)
        else:
            self._clear(parent, name)
            self._make(parent, name, entry, body)
        fresh = entry.name
        while fresh and fresh not in self._fresh:
            self._fresh.add(fresh)
            fresh = fresh.rpartition("/")[0]

    def _describe_root(self, entry: tar.Entry) -> None:
        os.fchown(self._root, entry.uid, entry.gid)
        os.fchmod(self._root, entry.mode)
        self._times[""] = ("", entry.mtime_ns)

    def _parent(self, above: str) -> int:
        """A descriptor of the directory *above*, made if it is missing."""
        known = self._opened.get(above)
        if known is not None:
            return known
        if len(self._opened) > 64:
            self._forget()
        names = paths.resolve(self._path, above)
        for depth in range(len(names)):
            self._ensure(names[: depth + 1])
        opened = paths.open_directory(self._root, names)
        self._opened[above] = opened
        return opened

    def _ensure(self, names: list[str]) -> None:
        path = paths.join(self._path, names)
        found = paths.lstat(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            return
        if found is not None:
            os.unlink(path)
        os.mkdir(path)
        os.chmod(path, 0o755)
        if found is not None and is_whiteout(found):
            self._hide_below(path)
        self.implicit.add("/".join(names))

    def _forget(self) -> None:
        for opened in self._opened.values():
            os.close(opened)
        self._opened.clear()

    def _clear(self, parent: int, name: str) -> None:
        """Make room for an entry: what an earlier layer or entry had there goes."""
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode):
            # Descriptors and times that were found by way of it mean nothing any more.
            gone = self._opened.copy()
            self._opened = {above: fd for above, fd in gone.items() if fd == parent}
            for fd in set(gone.values()) - {parent}:
                os.close(fd)
        paths.remove_below(parent, name)

    def _directory(self, parent: int, name: str, entry: tar.Entry) -> None:
        path = _by_descriptor(parent, name)
        found = paths.lstat(path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            self._clear(parent, name)
            os.mkdir(name, 0o700, dir_fd=parent)
            if found is not None and is_whiteout(found):
                self._hide_below(path)
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        os.chmod(name, entry.mode, dir_fd=parent)
        if self._style == "plain":
            for key in os.listxattr(path, follow_symlinks=False):
                if key not in entry.xattrs and not key.startswith("security.selinux"):
                    _without_xattr(path, key)
        _set_xattrs(path, entry)
        real = os.readlink(f"/proc/self/fd/{parent}")[len(self._path) :].lstrip("/")
        placed = f"{real}/{name}" if real else name
        self.implicit.discard(placed)
        self._times[placed] = (name, entry.mtime_ns)

    def _make(self, parent: int, name: str, entry: tar.Entry, body: BinaryIO) -> None:
        match entry.kind:
            case "file":
                _write(parent, name, entry, body)
                return
            case "hardlink":
                self._link(parent, name, entry.link)
                return
            case "symlink":
                os.symlink(entry.link, name, dir_fd=parent)
                os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            case "fifo":
                os.mkfifo(name, 0o600, dir_fd=parent)
                _own(parent, name, entry)
            case _:
                if not _device(parent, name, entry):
                    return
                _own(parent, name, entry)
        _set_xattrs(_by_descriptor(parent, name), entry)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _link(self, parent: int, name: str, target: str) -> None:
        names = paths.resolve(self._path, target, follow=False)
        try:
            above = paths.open_directory(self._root, names[:-1])
        except OSError:
            above = -1
        try:
            if above < 0:
                raise FileNotFoundError(errno.ENOENT, "its hard link's target is missing")
            os.link(names[-1], name, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            if self._style == "plain":
                raise
            raise NotOverlayError(f"{name!r} is a hard link into a layer below") from error
        finally:
            if above >= 0:
                os.close(above)

    def _whiteout(self, above: str, name: str) -> None:
        if name == tar.OPAQUE:
            self._opaque(above)
            return
        hidden = name[len(tar.WHITEOUT) :]
        if hidden in ("", ".", ".."):
            raise tar.TarError(f"{above}/{name}: a whiteout of nothing")
        if hidden.startswith(tar.WHITEOUT):  # aufs' own bookkeeping: .wh..wh.plnk and the like
            return
        path = f"{above}/{hidden}" if above else hidden
        if path in self._fresh:  # deleted below, and made anew by this layer
            if paths.is_directory(_by_descriptor(self._parent(above), hidden)):
                self._opaque(path)
            return
        if self._style == "plain":
            if paths.is_directory(paths.inside(self._path, above)):
                self._clear(self._parent(above), hidden)
            return
        parent = self._parent(above)
        self._clear(parent, hidden)
        os.mknod(hidden, stat.S_IFCHR | 0o000, os.makedev(0, 0), dir_fd=parent)

    def _opaque(self, above: str) -> None:
        parent = self._parent(above)
        if self._style != "plain":
            self._hide_below(_by_descriptor(parent, "."))
            return
        prefix = f"{above}/" if above else ""
        for name in os.listdir(_by_descriptor(parent, ".")):
            if prefix + name not in self._fresh:
                self._clear(parent, name)

    def _hide_below(self, path: str) -> None:
        """Mark the directory at *path* as hiding its namesakes in the layers below."""
        if self._style != "plain":
            os.setxattr(path, f"{self._style}.overlay.opaque", b"y")

    def _set_times(self) -> None:
        """Set the directories' times, last: filling a directory changes them."""
        for path, (_, mtime_ns) in self._times.items():
            full = paths.join(self._path, paths.split(path))
            if paths.is_directory(full):
                os.utime(full, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def is_whiteout(found: os.stat_result) -> bool:
    """Whether *found* is how an overlay keeps a deletion: the device 0:0."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _by_descriptor(parent: int, name: str) -> str:
    """A path for the calls that take no directory descriptor."""
    return f"/proc/self/fd/{parent}/{name}"


def _write(parent: int, name: str, entry: tar.Entry, body: BinaryIO) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    opened = os.open(name, flags, 0o600, dir_fd=parent)
    with open(opened, "wb", buffering=0) as file:
        if entry.size:
            shutil.copyfileobj(body, file, _BUFFER)
        os.fchown(opened, entry.uid, entry.gid)
        os.fchmod(opened, entry.mode)
        if entry.xattrs:
            _set_xattrs(f"/proc/self/fd/{opened}", entry, follow=True)
        os.utime(opened, ns=(entry.mtime_ns, entry.mtime_ns))


def _own(parent: int, name: str, entry: tar.Entry) -> None:
    os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    os.chmod(name, entry.mode, dir_fd=parent)


def _device(parent: int, name: str, entry: tar.Entry) -> bool:
    """Make a device node; False where the kernel forbids it, and containerd does without too."""
    kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
    try:
        os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
    except PermissionError:
        return False
    return True


def _set_xattrs(path: str, entry: tar.Entry, *, follow: bool = False) -> None:
    for key, value in entry.xattrs.items():
        if key.startswith(OVERLAY_PREFIXES):
            continue
        try:
            os.setxattr(path, key, value, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise


def _without_xattr(path: str, key: str) -> None:
    with contextlib.suppress(OSError):
        os.removexattr(path, key, follow_symlinks=False)
