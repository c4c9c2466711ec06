"""The docker config.json and containers' auth.json as keychains: read once, never written.

Follows docker's config file and containers-auth.json(5).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from attrs import define, evolve, field, frozen

from ..errors import AuthError, CredentialConflictError
from ..oci import Repository
from ..runtime import CancelToken, Environment
from . import Access, Consulted, Credential, Keychain, covers
from .bound import Lent, unheard
from .entries import HUB, HUB_KEY, Entries, Known, auth_entry, host_of
from .helpers import Helper, HelperMissingError

__all__ = [
    "HUB",
    "HUB_KEY",
    "DockerConfigKeychain",
    "KnownRegistries",
    "Look",
    "ambient",
    "ambient_files",
    "auth_entry",
    "docker_config",
]

_AUTH_JSON: Final = ("containers", "auth.json")
_KEPT: Final = 600.0
"""Seconds after which a helper is asked anew: what it makes may be renewed during a long build."""


@frozen(kw_only=True)
class KnownRegistries:
    """What a config file knows, without any secret.

    *registries* are those it holds credentials for; *helpers* the credential helpers by host,
    under ``""`` the one for all others; *absent* says that there is no such file.
    """

    source: str
    registries: tuple[str, ...] = ()
    helpers: Mapping[str, str] = field(factory=dict[str, str])
    absent: bool = False


@frozen(kw_only=True)
class Look:
    """One look into a file: what was tried, and the credential, error or warning it came to."""

    asked: tuple[Consulted, ...]
    credential: Credential | None = field(default=None, repr=False)
    error: AuthError | None = None
    warning: str = ""


@define(eq=False, kw_only=True)
class DockerConfigKeychain(Lent):
    """The credentials of one config file, which is read once and never written.

    The longest key that covers a repository wins: ``ghcr.io/acme`` before ``ghcr.io``. Where no
    key names more than the host, its credHelper is asked before the credsStore, and either
    before what the file itself holds. A helper runs once per host, and again after 10 minutes.
    *text* is used instead of the file when it is given; *source* is how messages name either, and
    *named* the variable that names the file, if one does. A helper that is not installed, and a
    named file that does not exist, is a warning for a pull and an `AuthError` for a push; a file
    that cannot be read or understood always is an error.
    """

    path: Path
    environment: Environment = field(factory=Environment.current)
    warn: Callable[[str], None] = field(default=unheard)
    cancel: CancelToken = field(factory=CancelToken)
    redact: Callable[[str], str] = field(default=str)
    text: str | None = field(default=None, repr=False)
    source: str = ""
    named: str = ""
    clock: Callable[[], float] = time.monotonic
    _read_already: bool = field(default=False, init=False, repr=False)
    _parsed: Entries | None = field(default=None, init=False, repr=False)
    _answers: dict[str, tuple[float, Credential | None]] = field(
        factory=dict[str, tuple[float, Credential | None]], init=False, repr=False
    )
    _warned: set[str] = field(factory=set[str], init=False, repr=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False, repr=False)

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """The credential for *repository*; None when this file knows none."""
        seen = self.look(repository, access)
        if seen.error is not None:
            raise seen.error
        self.say(seen.warning)
        return seen.credential

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """The keys and helpers that were tried for *repository*, in order."""
        return self.look(repository, access).asked

    def refused(self, credential: Credential) -> None:
        """Ask the helpers again that gave *credential*: a registry refused it."""
        with self._lock:
            for host in [h for h, (_, found) in self._answers.items() if found == credential]:
                del self._answers[host]

    def known(self) -> KnownRegistries:
        """Say what the file knows, without asking a helper; raises `AuthError` as `resolve` does."""
        with self._lock:
            parsed = self._read()
        if parsed is None:
            return KnownRegistries(source=self.name, absent=True)
        return KnownRegistries(
            source=self.name,
            registries=tuple(dict.fromkeys(k.prefix for k in parsed.known if k.credential)),
            helpers={**parsed.helpers, **({"": parsed.store} if parsed.store else {})},
        )

    def say(self, warning: str) -> None:
        """Pass *warning* on, each of them once."""
        with self._lock:
            if not warning or warning in self._warned:
                return
            self._warned.add(warning)
        self.warn(warning)

    @property
    def name(self) -> str:
        """How messages name the file: with the home folder as people write it."""
        if self.source:
            return self.source
        if self.path.is_relative_to(self.environment.home):
            return f"~/{self.path.relative_to(self.environment.home)}"
        return str(self.path)

    def look(self, repository: Repository, access: Access) -> Look:
        """Look *repository* up, and tell how that went; raises only a cancelled run's reason."""
        target = Repository(host_of(repository.host), repository.path)
        with self._lock:
            try:
                entries = self._read()
            except AuthError as error:
                return self._failed(error, "")
            if entries is None:
                return self._absent(access)
            best = entries.best(target)
            if best is not None and best.prefix != target.host:
                return self._hit(f"auths.{best.key}", best.credential)
            asked = self._ask(entries, target, best, access)
            if asked.credential is not None or asked.error is not None:
                return asked
            last = self._hit(f"auths.{best.key}", best.credential) if best else Look(asked=())
            misses = () if best else self._misses(entries, target)
            return evolve(last, asked=asked.asked + last.asked + misses, warning=asked.warning)

    def _ask(
        self, entries: Entries, target: Repository, best: Known | None, access: Access
    ) -> Look:
        """Ask the helper for the host of *target*, if there is one."""
        named = entries.helpers.get(target.host)
        name, key = (
            (named, f"credHelpers.{target.host}") if named else (entries.store, "credsStore")
        )
        if not name:
            return Look(asked=())
        helper = Helper(
            name=name,
            source=self.name,
            environment=self.environment,
            cancel=self.cancel,
            redact=self.redact,
        )
        try:
            credential = self._answer(helper, target.host)
        except HelperMissingError as error:
            if best is None and access == "push":
                return self._failed(error, key)
            why = f"{helper.program} is not on PATH"
            return Look(asked=(self._told(key, "miss", why),), warning=error.message)
        except AuthError as error:
            return self._failed(error, key)
        if credential is None:
            why = f"{helper.program} holds none for {target.host}"
            return Look(asked=(self._told(key, "miss", why, expected=bool(named)),))
        return self._hit(key, credential, f"by {helper.program}")

    def _answer(self, helper: Helper, host: str) -> Credential | None:
        at, credential = self._answers.get(host, (float("-inf"), None))
        if self.clock() - at >= _KEPT:
            credential = helper.get(HUB_KEY if host == HUB else host)
            self._answers[host] = (self.clock(), credential)
        return credential

    def _hit(self, key: str, credential: Credential | None, why: str = "") -> Look:
        return Look(asked=(self._told(key, "hit", why, expected=True),), credential=credential)

    def _failed(self, error: AuthError, key: str) -> Look:
        return Look(asked=(self._told(key, "error", error.message, expected=True),), error=error)

    def _absent(self, access: Access) -> Look:
        """There is no such file: nothing to warn of, unless somebody named it."""
        if not self.named:
            return Look(asked=(self._told("", "miss", "no such file"),))
        missing = AuthError(
            f"{self.named} names {self.name}, which does not exist",
            hint=f"log in, so that it is written, or unset {self.named}",
        )
        if access == "push":
            return self._failed(missing, "")
        return Look(asked=(self._told("", "miss", "no such file"),), warning=missing.message)

    def _misses(self, entries: Entries, target: Repository) -> tuple[Consulted, ...]:
        """Why no entry will do: those for the same host, or the keys that would have done."""
        empty, wrong = "the entry is empty", f"it does not cover {target}"
        near = tuple(
            self._told(
                f"auths.{known.key}",
                "miss",
                empty if covers(known.prefix, target) else wrong,
                expected=True,
            )
            for known in entries.known
            if known.host == target.host
        )
        if near:
            return near
        parts = target.path.split("/")
        keys = ["/".join((target.host, *parts[:n])) for n in range(len(parts), -1, -1)]
        why = f"neither {' nor '.join(keys)} is a key"
        name = target.host.partition(":")[0]
        others = dict.fromkeys(k.key for k in entries.known if k.host.partition(":")[0] == name)
        if others:
            why += f"; {', '.join(others)} is one"
        return (self._told("auths", "miss", why),)

    def _told(
        self,
        key: str,
        outcome: Literal["hit", "miss", "error"],
        why: str,
        *,
        expected: bool = False,
    ) -> Consulted:
        return Consulted(source=self.name, key=key, outcome=outcome, why=why, expected=expected)

    def _read(self) -> Entries | None:
        """What the file holds; None when there is none."""
        if not self._read_already:
            self._parsed = self._load()
            self._read_already = True
        return self._parsed

    def _load(self) -> Entries | None:
        try:
            data = self.path.read_bytes() if self.text is None else self.text.encode()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if not self.named and not os.access(self.path.parent, os.X_OK):
                return None  # a folder of somebody else's, which we may not even look into
            raise AuthError(
                f"{self.name} cannot be read: {error.strerror}",
                hint="credentials may be in it, so it is not skipped",
            ) from error
        return Entries.parse(data, self.name)


@frozen
class _Files:
    """The files of `ambient_files`: a helper that one of them misses may be another's entry."""

    files: tuple[DockerConfigKeychain, ...]

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """The first file's answer; raises for a missing helper only when no file has one."""
        missing: Look | None = None
        for file in self.files:
            seen = file.look(repository, access)
            if isinstance(seen.error, HelperMissingError):
                missing = missing or seen
                continue
            if seen.error is not None:
                raise seen.error
            file.say(seen.warning)
            if seen.credential is not None:
                if missing is not None and missing.error is not None:
                    file.say(missing.error.message)
                return seen.credential
        if missing is not None and missing.error is not None:
            raise missing.error
        return None

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """What each file was asked, up to the one that answers or breaks."""
        asked: list[Consulted] = []
        for file in self.files:
            seen = file.look(repository, access)
            asked.extend(seen.asked)
            broken = seen.error is not None and not isinstance(seen.error, HelperMissingError)
            if broken or seen.credential is not None:
                break
        return tuple(asked)

    def refused(self, credential: Credential) -> None:
        """As each file's."""
        for file in self.files:
            file.refused(credential)


def ambient(
    environment: Environment,
    warn: Callable[[str], None],
    *,
    cancel: CancelToken | None = None,
    redact: Callable[[str], str] = str,
) -> Keychain:
    """The credentials this machine's user is logged in with; the first file that knows, answers.

    The files are those of `ambient_files`.
    """
    files = ambient_files(environment, warn, cancel=cancel, redact=redact)
    return _Files(files)


def ambient_files(
    environment: Environment,
    warn: Callable[[str], None] = unheard,
    *,
    cancel: CancelToken | None = None,
    redact: Callable[[str], str] = str,
) -> tuple[DockerConfigKeychain, ...]:
    """The files that credentials are looked for in, in order, whether they exist or not.

    REGISTRY_AUTH_FILE alone when it is set, as for podman and skopeo; then it has to be there.
    Else DOCKER_AUTH_CONFIG (the JSON itself), then config.json in DOCKER_CONFIG or ``~/.docker``,
    then ``containers/auth.json`` in XDG_RUNTIME_DIR (``/run/containers/UID`` when that is not
    set), then in XDG_CONFIG_HOME or ``~/.config``, where macOS has it. *warn* hears of helpers
    and files that are missing.
    """
    variables, token = environment.variables, cancel or CancelToken()

    def link(
        path: Path | str, *parts: str, text: str | None = None, source: str = "", named: str = ""
    ) -> DockerConfigKeychain:
        return DockerConfigKeychain(
            path=environment.cwd.joinpath(path, *parts),
            environment=environment,
            warn=warn,
            cancel=token,
            redact=redact,
            text=text,
            source=source,
            named=named,
        )

    if variables.get("REGISTRY_AUTH_FILE"):
        return (link(variables["REGISTRY_AUTH_FILE"], named="REGISTRY_AUTH_FILE"),)
    docker = variables.get("DOCKER_CONFIG") or environment.home / ".docker"
    text = variables.get("DOCKER_AUTH_CONFIG")
    name = "DOCKER_AUTH_CONFIG"
    first = (link(docker, "config.json", text=text, source=name),) if text else ()
    volatile = variables.get("XDG_RUNTIME_DIR")
    settings = variables.get("XDG_CONFIG_HOME") or environment.home / ".config"
    return (
        *first,
        link(docker, "config.json"),
        link(volatile, *_AUTH_JSON)
        if volatile
        else link(f"/run/containers/{environment.uid}", "auth.json"),
        link(settings, *_AUTH_JSON),
    )


def docker_config(keychain: Keychain, wants: Iterable[tuple[Repository, Access]]) -> str:
    """The ``config.json`` that lets a docker-like tool do *wants*; one credential per host.

    Raises `CredentialConflictError` when one host needs two, and what the keychain raises.
    """
    chosen: dict[str, Credential] = {}
    for repository, access in wants:
        credential = keychain.resolve(repository, access)
        if credential is None:
            continue
        if chosen.setdefault(repository.host, credential) != credential:
            raise CredentialConflictError(
                f"two credentials are needed for {repository.host}, and a docker config holds one",
                hint="use a backend that can export an OCI layout, so that buildpush pushes",
            )
    auths = {HUB_KEY if h == HUB else h: auth_entry(c) for h, c in sorted(chosen.items())}
    return json.dumps({"auths": auths})
