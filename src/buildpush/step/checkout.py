"""What git says of a checkout, for tags and labels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from attrs import evolve, fields

from ..backends.engine.command import question
from ..errors import BackendUnavailableError, SpecError
from ..runtime import Environment
from ..spec.tagging import GitFacts

__all__ = ["read_checkout"]

# Nothing that the checkout's own configuration names is executed, and nothing is written.
_GIT: Final = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


def read_checkout(
    folder: str | Path = ".", *, variables: Mapping[str, str] | None = None
) -> GitFacts:
    """The facts of the git checkout that *folder* is in; those that CI says in *variables* win.

    The ref is that of the branch; of a detached HEAD, that of a tag that names it. Credentials
    in the remote's url are left out. Raises `SpecError` where there is no checkout with a commit, or
    no git.
    """
    environment = Environment.current()
    place = environment.cwd / folder
    if not place.is_dir():
        raise SpecError(f"no such folder: {folder}")

    def ask(*words: str) -> str:
        return _asked(words, place, environment)

    sha = ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not sha:
        raise SpecError(
            f"{folder}: is no git checkout with a commit, or not ours",
            hint="git says more: git -C FOLDER rev-parse HEAD",
        )
    ref = ask("symbolic-ref", "--quiet", "HEAD")
    if not ref and (tag := ask("describe", "--exact-match", "--tags", "HEAD")):
        ref = f"refs/tags/{tag}"
    default = ask("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
    remote = _bare(ask("config", "--get", "remote.origin.url"))
    found = GitFacts(
        sha=sha,
        ref=ref,
        default_branch=default.removeprefix("refs/remotes/origin/"),
        remote_url=remote,
        link=remote if remote.startswith("http") else "",
        commit_time=datetime.fromisoformat(ask("log", "-1", "--format=%cI", "HEAD")),
    )
    said = GitFacts.from_variables(variables or {})
    names = [each.name for each in fields(GitFacts)]
    return evolve(found, **{name: getattr(said, name) for name in names if getattr(said, name)})


def _asked(words: tuple[str, ...], place: Path, environment: Environment) -> str:
    """What git answers; empty where it says no."""
    kept = {k: v for k, v in environment.variables.items() if not k.startswith("GIT_")}
    try:
        done = question(
            (*_GIT, *words),
            environment=environment,
            env={**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            cwd=place,
        )
    except BackendUnavailableError as error:
        raise SpecError(f"git cannot be asked: {error.message}", hint=error.hint) from None
    return done.stdout.decode("utf-8", "replace").strip() if done.exit_code == 0 else ""


def _bare(url: str) -> str:
    """*url* without a user and a password."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
