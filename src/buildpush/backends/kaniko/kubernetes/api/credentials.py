"""The credential of the moment: fixed, from a file that is rewritten, or from an exec plugin.

Follows client-go's ``client.authentication.k8s.io`` (v1, v1beta1, v1alpha1).
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import field, frozen

from .....errors import AuthError, BackendUnavailableError, StepTimeoutError
from .....events import Event
from .....runtime import CancelToken, Deadline, Environment, Hidden, Redactor, Run
from .....runtime.process import Completed, run_command
from .config import Plugin, User
from .wire import ExecCredential, Granted, parse_json

__all__ = ["Credentials", "Grant"]

SECONDS: Final = 60.0
"""How long an exec plugin may take: those of clouds ask over a network."""
_REREAD: Final = 60.0
_MARGIN: Final = 60.0
_SENDABLE: Final = re.compile(r"[ -~]*")
_GROUP: Final = "client.authentication.k8s.io"
_VERSIONS: Final = tuple(f"{_GROUP}/{version}" for version in ("v1", "v1beta1", "v1alpha1"))


@frozen(kw_only=True)
class Grant:
    """What goes with a request: headers, and a client certificate with its key in PEM form."""

    headers: tuple[tuple[str, Hidden], ...] = ()
    cert: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)


@frozen(kw_only=True)
class _Kept:
    grant: Grant
    until: float


class Credentials:
    """The credential of one *user*; thread-safe.

    *redact* learns everything secret that comes by; *clock* is monotonic seconds and *now* the
    time of day, which expiry is about. A plugin ends when *cancel* flips, or after *seconds*.
    """

    def __init__(
        self,
        user: User,
        *,
        environment: Environment,
        cancel: CancelToken,
        redact: Redactor,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(tz=UTC),
    ) -> None:
        self._user = user
        self._environment = environment
        self._cancel = cancel
        self._redact = redact
        self._seconds = seconds
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._kept: _Kept | None = None
        for secret in (user.token, user.password):
            self._learn(secret)

    def current(self) -> Grant:
        """What to send now. Raises `AuthError` when it cannot be had."""
        with self._lock:
            if self._kept is None or self._clock() >= self._kept.until:
                self._kept = self._fetch()
            return self._kept.grant

    def refused(self, grant: Grant) -> bool:
        """Note that the server did not accept *grant*; whether there may be another now."""
        with self._lock:
            if self._kept is not None and self._kept.grant is grant:
                self._kept = None
        return bool(self._user.plugin or self._user.token_file or self._user.cert.path)

    def _fetch(self) -> _Kept:
        user = self._user
        cert, key = user.cert.read(), user.key.read()
        if user.token_file is not None:
            token = self._from_file(user.token_file, user.token)
            return _Kept(
                grant=self._grant(f"Bearer {token}", cert, key), until=self._clock() + _REREAD
            )
        if user.token:
            grant = self._grant(f"Bearer {user.token}", cert, key)
        elif user.username:
            pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
            self._learn(pair)
            grant = self._grant(f"Basic {pair}", cert, key)
        elif user.plugin is not None:
            return self._ask(user.plugin, cert, key)
        else:
            grant = self._grant("", cert, key)
        changing = user.cert.path or user.key.path
        return _Kept(grant=grant, until=self._clock() + _REREAD if changing else float("inf"))

    def _grant(self, authorization: str, cert: bytes, key: bytes) -> Grant:
        self._learn(key.decode("latin-1"))
        headers = [(name, Hidden(value)) for name, value in self._user.headers]
        if authorization:
            headers.append(("Authorization", Hidden(authorization)))
        for name, value in headers:
            # Otherwise an HTTP library says so, and quotes it.
            if not _SENDABLE.fullmatch(value):
                raise AuthError(f"the value of {name} has characters that no HTTP header can hold")
        return Grant(headers=tuple(headers), cert=cert, key=key)

    def _from_file(self, path: Path, otherwise: Hidden) -> Hidden:
        try:
            token = Hidden(path.read_text("utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            if otherwise:
                return otherwise
            said = error.strerror if isinstance(error, OSError) else "it is no text"
            raise AuthError(
                f"the token file {path} cannot be read: {said}",
                hint="is it mounted, and may this user read it?",
            ) from None
        if not token:
            raise AuthError(f"the token file {path} is empty")
        self._learn(token)
        return token

    def _ask(self, plugin: Plugin, cert: bytes, key: bytes) -> _Kept:
        asked = self._now()
        status = self._answer(plugin)
        cert, key = status.cert.encode() or cert, status.key.encode() or key
        grant = self._grant(f"Bearer {status.token}" if status.token else "", cert, key)
        until = float("inf")
        if status.expires is not None:
            expires = status.expires
            if expires.tzinfo is None:
                expires = expires.replace(tzinfo=UTC)
            left = (expires - asked).total_seconds()
            # A short-lived one must not be asked for anew with every request.
            until = self._clock() + max(left - min(_MARGIN, left / 10), 0.0)
        return _Kept(grant=grant, until=until)

    def _answer(self, plugin: Plugin) -> Granted:
        entry, program = plugin.entry, self._program(plugin)
        done = self._run(plugin, program)
        if done.exit_code != 0:
            raise AuthError(
                f"the exec plugin {entry.command} of {plugin.source} failed:"
                f" {done.evidence.ending}",
                evidence=(done.evidence,),
                hint=entry.hint or f"run it by hand: {entry.command}",
            )
        what = f"what the exec plugin {entry.command} of {plugin.source} printed"
        try:
            said = parse_json(done.stdout, ExecCredential, what)
        except BackendUnavailableError as error:
            raise AuthError(error.message, hint=entry.hint) from None
        status = said.status or Granted()
        for secret in (status.token, status.key):
            self._learn(secret)
        if said.kind != "ExecCredential" or said.version != entry.version:
            raise AuthError(
                f"{what} is no ExecCredential of {entry.version}",
                hint="update the plugin, or write its apiVersion into the kubeconfig",
            )
        if bool(status.cert) != bool(status.key):
            raise AuthError(f"{what} holds a certificate or a key, but not both")
        if not status.token and not status.cert:
            raise AuthError(f"{what} holds neither a token nor a certificate", hint=entry.hint)
        return status

    def _program(self, plugin: Plugin) -> Path:
        """The plugin's path: one with a slash is relative to its kubeconfig. Checks the entry."""
        entry, source = plugin.entry, plugin.source
        if entry.version not in _VERSIONS:
            raise AuthError(
                f"the exec plugin of {source} speaks {entry.version or 'no apiVersion'}",
                hint=f"known are {', '.join(_VERSIONS)}",
            )
        if not entry.command:
            raise AuthError(f"the exec plugin of {source} has no command")
        if entry.interactive == "Always":
            raise AuthError(
                f"the exec plugin {entry.command} of {source} needs a terminal"
                " (interactiveMode: Always), and here is none",
                hint="take a kubeconfig with a token, or with a plugin that asks nobody",
            )
        if "/" in entry.command:
            path = plugin.folder / entry.command
            found = path if path.is_file() else None
        else:
            found = self._environment.which(entry.command)
        if found is None:
            raise AuthError(
                f"the exec plugin {entry.command} of {source} is not installed",
                hint=entry.hint or f"install {entry.command}, or put it on PATH",
            )
        return found

    def _run(self, plugin: Plugin, program: Path) -> Completed:
        """Run the plugin under its own deadline; what it prints goes nowhere else."""
        entry = plugin.entry
        limit = CancelToken()
        undo = self._cancel.on_cancel(limit.cancel)
        try:
            with Deadline(limit, self._seconds):
                return run_command(
                    (str(program), *entry.args),
                    run=Run(
                        workdir=self._environment.temporary,
                        cancel=limit,
                        sink=_nowhere,
                        redact=self._redact,
                        environment=self._environment,
                    ),
                    env=self._variables(plugin),
                )
        except StepTimeoutError as error:
            raise AuthError(
                f"the exec plugin {entry.command} of {plugin.source} gave no credential within"
                f" {self._seconds:g} s",
                hint="does it wait for somebody to log in?",
            ) from error
        except OSError as error:
            raise AuthError(
                f"the exec plugin {entry.command} of {plugin.source} cannot be started:"
                f" {error.strerror}",
                hint=entry.hint,
            ) from error
        finally:
            undo()
            self._cancel.check()

    def _variables(self, plugin: Plugin) -> Mapping[str, str]:
        entry = plugin.entry
        spec: dict[str, object] = {"interactive": False}
        if entry.tell_cluster:
            spec["cluster"] = plugin.info
        info = {"kind": "ExecCredential", "apiVersion": entry.version, "spec": spec}
        own = {one.name: one.value for one in entry.env}
        for value in own.values():
            self._learn(value)
        return {
            **self._environment.variables,
            **own,
            "KUBERNETES_EXEC_INFO": json.dumps(info),
        }

    def _learn(self, secret: str) -> None:
        if secret:
            self._redact.learn(secret)


def _nowhere(_: Event) -> None:
    """A plugin's run has no display."""
