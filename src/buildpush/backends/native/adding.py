"""ADD from afar: files by URL and git repositories, as parts of a copy."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from attrs import define, frozen

from ...errors import BuildError
from ...oci import Digest
from ...plan import BuildRequest
from ...runtime import Run
from ...runtime.process import run_command
from .copying.context import ContextSource
from .copying.copy import Part
from .copying.sources import FilesSource, InlineFile
from .recipe.operations import Transfer
from .store import Store

__all__ = ["Adding", "GitSource", "git_source", "sort_sources"]

_SCP: Final = re.compile(r"[\w.-]+@[\w.-]+:(?!//).+")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@frozen(kw_only=True)
class GitSource:
    """A git repository, a *ref* in it (empty: the default branch) and a folder of the checkout."""

    remote: str
    ref: str = ""
    folder: str = ""


def git_source(text: str) -> GitSource | None:
    """Read ``https://host/repo.git#ref:folder`` and the other ways to name a repository.

    None for what is no repository: over http(s) it must end in ``.git``, as BuildKit wants it.
    """
    remote, _, fragment = text.partition("#")
    scheme, mark, _ = remote.partition("://")
    if mark and scheme in ("http", "https"):
        if not urlsplit(remote).path.endswith(".git"):
            return None
    elif not (mark and scheme in ("git", "ssh")) and not _SCP.fullmatch(remote):
        return None
    ref, _, folder = fragment.partition(":")
    return GitSource(remote=remote, ref=ref, folder=folder.strip("/"))


def sort_sources(operation: Transfer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sources that are paths, and those that must be fetched.

    Raises `BuildError` for COPY of a URL and for a checksum that goes with no single download.
    """
    remote = tuple(s for s in operation.sources if _is_url(s) or git_source(s))
    if remote and not operation.is_add:
        raise BuildError(f"COPY cannot fetch {remote[0]}", hint="use ADD")
    if operation.checksum and (len(operation.sources) != 1 or not remote):
        raise BuildError("--checksum goes with exactly one source, a URL or a git repository")
    return tuple(s for s in operation.sources if s not in remote), remote


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


@define(eq=False, kw_only=True)
class Adding:
    """Fetches what one ADD names into *folder*."""

    request: BuildRequest
    run: Run
    store: Store
    folder: Path

    def parts(self, operation: Transfer, sources: Sequence[str]) -> Iterator[Part]:
        """Each of *sources*, fetched; raises `BuildError` and what downloading raises."""
        for number, source in enumerate(sources):
            place = self.folder / str(number)
            place.mkdir(mode=0o700)
            git = git_source(source)
            if git is not None:
                yield self._checked_out(git, operation, place)
            else:
                yield self._downloaded(source, operation, place)

    # -- by URL ----------------------------------------------------------------------------

    def _downloaded(self, url: str, operation: Transfer, place: Path) -> Part:
        checksum = Digest(operation.checksum) if operation.checksum else None
        name = posixpath.basename(urlsplit(url).path) or "__unnamed__"
        path, modified = self._fetch(url, checksum, place / "file")
        file = InlineFile(content=path, mode=0o600, mtime_ns=(modified or 0) * 10**9)
        return Part(source=FilesSource({name: file}), paths=(name,), unpack=bool(operation.unpack))

    def _fetch(self, url: str, checksum: Digest | None, path: Path) -> tuple[Path, int | None]:
        """The file, from the store while the server says that it has not changed."""
        from ...registry.download import download
        from ...runtime.retry import RetryPolicy

        note = f"url-{Digest.of(url.encode()).hex}"
        known = json.loads(self.store.note(note) or b"{}")
        digest = Digest(known["digest"]) if known else None
        stored = digest is not None and self.store.has_blob(digest)
        if digest is not None and stored and digest == checksum:
            return self.store.blob_path(digest), known["modified"]
        found = download(
            url,
            path,
            run=self.run,
            insecure=self.request.insecure,
            etag=known["etag"] if stored else "",
            checksum=checksum,
            policy=RetryPolicy(attempts=self.request.retries + 1),
        )
        if found is None:
            assert digest is not None
            return self.store.blob_path(digest), known["modified"]
        entry = {"digest": str(found.digest), "modified": found.modified, "etag": found.etag}
        self.store.keep_note(note, json.dumps(entry).encode())
        return self.store.adopt(path, found.digest), found.modified

    # -- git -------------------------------------------------------------------------------

    def _checked_out(self, git: GitSource, operation: Transfer, place: Path) -> Part:
        if self.run.environment.which("git") is None:
            raise BuildError(
                f"ADD {git.remote} needs git, which is not installed", hint="install git"
            )
        self._git(["init", "--quiet", "."], place)
        self._git(["remote", "add", "origin", git.remote], place)
        ref = git.ref or "HEAD"
        self._git(["fetch", "--quiet", "--depth=1", "origin", ref], place, retry_whole=ref)
        self._git(["checkout", "--quiet", "--force", "FETCH_HEAD"], place)
        commit = self._git(["rev-parse", "HEAD"], place).strip()
        if operation.checksum and not commit.startswith(operation.checksum):
            raise BuildError(f"{git.remote} is at {commit}, not at {operation.checksum}")
        self._git(["submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"], place)
        if not operation.keep_git_dir:
            for folder in place.rglob(".git"):
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        root = place / git.folder
        if not root.resolve().is_relative_to(place.resolve()) or not root.is_dir():
            raise BuildError(f"{git.remote} has no folder {git.folder!r}")
        return Part(source=ContextSource(root), paths=("",))

    def _git(self, words: Sequence[str], place: Path, *, retry_whole: str = "") -> str:
        """Run git in *place*; a server that refuses a single commit is asked for everything."""
        argv = ["git", "-c", "advice.detachedHead=false", *words]
        env = {**self.run.environment.variables, "GIT_TERMINAL_PROMPT": "0"}
        done = run_command(argv, run=self.run, env=env, cwd=place)
        if done.exit_code and _COMMIT.fullmatch(retry_whole):
            argv = ["git", "fetch", "--quiet", "--tags", "origin"]
            done = run_command(argv, run=self.run, env=env, cwd=place)
            if done.exit_code == 0:
                argv = ["git", "update-ref", "FETCH_HEAD", retry_whole]
                done = run_command(argv, run=self.run, env=env, cwd=place)
        if done.exit_code:
            raise BuildError(
                f"git {words[0]} failed with exit code {done.exit_code}", evidence=(done.evidence,)
            )
        return done.stdout.decode("utf-8", "replace")
