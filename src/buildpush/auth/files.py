"""The docker config.json and containers' auth.json: read with every spelling, never written.

Follows docker's config file and containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import AuthError, CredentialConflictError
from ..oci import Repository
from ..runtime import CancelToken, Environment
from . import Access, Chain, Credential, Keychain, covers
from .helpers import Helper, HelperMissingError

__all__ = ["DockerConfigKeychain", "KnownRegistries", "ambient", "ambient_files", "docker_config"]

HUB: Final = "docker.io"
HUB_KEY: Final = "https://index.docker.io/v1/"
_HUB_HOSTS: Final = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
_TOKEN_USER: Final = "<token>"  # noqa: S105 - docker's mark for an identity token, not a secret


def _as_is(text: str) -> str:
    return text


def _unheard(_: str) -> None:
    """Where warnings go when nobody listens."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    auth: str | None = Field(default=None, repr=False)
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    identitytoken: str | None = Field(default=None, repr=False)
    registrytoken: str | None = Field(default=None, repr=False)


class _Config(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    auths: dict[str, _Entry | None] | None = None
    cred_helpers: dict[str, str] | None = Field(default=None, alias="credHelpers")
    creds_store: str | None = Field(default=None, alias="credsStore")


@frozen(kw_only=True)
class _Known:
    """One usable entry: the prefix it covers and how it was written."""

    prefix: str
    plain: bool
    credential: Credential


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
class _Parsed:
    known: tuple[_Known, ...] = ()
    helpers: Mapping[str, str] = field(factory=dict[str, str])
    store: str = ""


@define(eq=False, kw_only=True)
class DockerConfigKeychain:
    """The credentials of one config file, which is read once and never written.

    The longest key that covers a repository wins: ``ghcr.io/acme`` before ``ghcr.io``. For a
    host, its credHelper is asked before the credsStore, and either before what the file itself
    holds. A helper runs once per host. *text* is used instead of the file when it is given;
    *source* is how messages name either. A helper that is not installed is a warning for a
    pull and an `AuthError` for a push; a file that cannot be read or understood always is one.
    """

    path: Path
    environment: Environment = field(factory=Environment.current)
    warn: Callable[[str], None] = field(default=_unheard)
    cancel: CancelToken = field(factory=CancelToken)
    redact: Callable[[str], str] = field(default=_as_is)
    text: str | None = field(default=None, repr=False)
    source: str = ""
    _parsed: _Parsed | None = field(default=None, init=False, repr=False)
    _answers: dict[str, Credential | None] = field(
        factory=dict[str, Credential | None], init=False, repr=False
    )
    _warned: set[str] = field(factory=set[str], init=False, repr=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False, repr=False)

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """The credential for *repository*; None when this file knows none."""
        target = Repository(_host(repository.host), repository.path)
        with self._lock:
            parsed = self._read()
            try:
                answer = self._ask(parsed, target)
            except HelperMissingError as missing:
                fallback = _best(parsed.known, target)
                if fallback is None and access == "push":
                    raise
                if missing.message not in self._warned:
                    self._warned.add(missing.message)
                    self.warn(missing.message)
                return fallback
            return answer or _best(parsed.known, target)

    def known(self) -> KnownRegistries:
        """Say what the file knows, without asking a helper; raises `AuthError` as `resolve` does."""
        with self._lock:
            parsed = self._read()
        return KnownRegistries(
            source=self._name,
            registries=tuple(dict.fromkeys(known.prefix for known in parsed.known)),
            helpers={**parsed.helpers, **({"": parsed.store} if parsed.store else {})},
            absent=self.text is None and not self.path.exists(),
        )

    def _ask(self, parsed: _Parsed, target: Repository) -> Credential | None:
        name = parsed.helpers.get(target.host) or parsed.store
        if not name:
            return None
        if target.host not in self._answers:
            helper = Helper(
                name=name,
                source=self._name,
                environment=self.environment,
                cancel=self.cancel,
                redact=self.redact,
            )
            server = HUB_KEY if target.host == HUB else target.host
            self._answers[target.host] = helper.get(server)
        return self._answers[target.host]

    @property
    def _name(self) -> str:
        if self.source:
            return self.source
        if self.path.is_relative_to(self.environment.home):
            return f"~/{self.path.relative_to(self.environment.home)}"
        return str(self.path)

    def _read(self) -> _Parsed:
        if self._parsed is None:
            try:
                data = self.path.read_bytes() if self.text is None else self.text.encode()
            except (FileNotFoundError, NotADirectoryError):
                data = b"{}"
            except OSError as error:
                raise AuthError(
                    f"{self._name} cannot be read: {error.strerror}",
                    hint="credentials may be in it, so it is not skipped",
                ) from error
            self._parsed = _parse(data, self._name)
        return self._parsed


def _parse(data: bytes, source: str) -> _Parsed:
    try:
        config = _Config.model_validate(json.loads(data or b"{}"))
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise AuthError(f"{source} is malformed: {place}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        # `from None`: the decoder's error carries the whole file.
        where = (
            f" at line {error.lineno}, column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else ""
        )
        raise AuthError(
            f"{source} is not JSON{where}", hint="was it quoted by a shell, or cut short?"
        ) from None
    known: list[_Known] = []
    for key, entry in (config.auths or {}).items():
        credential = _credential(entry, key, source) if entry else None
        if credential is not None:
            known.append(
                _Known(prefix=_prefix(key), plain="://" not in key, credential=credential)
            )
    helpers = {_prefix(key): name for key, name in (config.cred_helpers or {}).items() if name}
    return _Parsed(known=tuple(known), helpers=helpers, store=config.creds_store or "")


def _credential(entry: _Entry, key: str, source: str) -> Credential | None:
    """What one entry holds; None when it is empty, as docker leaves it beside a credsStore."""
    username, password = entry.username or "", entry.password or ""
    if entry.auth:
        try:
            pair = base64.b64decode(entry.auth, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise AuthError(f"{source} is malformed: auths.{key}.auth is not base64") from None
        username, colon, password = pair.partition(":")
        if not colon:
            raise AuthError(f"{source} is malformed: auths.{key}.auth is not user:password")
        password = password.rstrip("\0")
    identity = entry.identitytoken or ""
    if username == _TOKEN_USER:
        username, password, identity = "", "", identity or password
    registry = entry.registrytoken or ""
    if not (password or identity or registry):
        return None
    return Credential(
        username=username,
        password="" if identity else password,
        identity_token=identity,
        registry_token=registry,
        source=source,
    )


def _prefix(key: str) -> str:
    """A key as a host and perhaps a path, whichever of docker's spellings it uses."""
    scheme, mark, rest = key.partition("://")
    host, _, path = (rest if mark else scheme).strip("/").partition("/")
    if mark or path in ("v1", "v2"):
        path = ""  # docker's own keys are URLs, of which it reads the host only
    host = _host(host)
    return f"{host}/{path}" if path else host


def _host(host: str) -> str:
    host = host.lower().removesuffix(":443")
    return HUB if host in _HUB_HOSTS else host


def _best(known: Iterable[_Known], target: Repository) -> Credential | None:
    """The longest match; of two spellings of one key, the plain one, which is the newer form."""
    matches = [k for k in known if covers(k.prefix, target)]
    best = max(matches, key=lambda k: (len(k.prefix), k.plain), default=None)
    return best.credential if best else None


def ambient(
    environment: Environment,
    warn: Callable[[str], None],
    *,
    cancel: CancelToken | None = None,
    redact: Callable[[str], str] = _as_is,
) -> Keychain:
    """The credentials this machine's user is logged in with; the first file that knows, answers.

    The files are those of `ambient_files`.
    """
    files = ambient_files(environment, warn, cancel=cancel, redact=redact)
    return files[0] if len(files) == 1 else Chain(files)


def ambient_files(
    environment: Environment,
    warn: Callable[[str], None] = _unheard,
    *,
    cancel: CancelToken | None = None,
    redact: Callable[[str], str] = _as_is,
) -> tuple[DockerConfigKeychain, ...]:
    """The files that credentials are looked for in, in order, whether they exist or not.

    REGISTRY_AUTH_FILE alone when it is set, as for podman and skopeo. Else DOCKER_AUTH_CONFIG
    (the JSON itself), then config.json in DOCKER_CONFIG or ``~/.docker``, then
    ``containers/auth.json`` in XDG_RUNTIME_DIR. *warn* hears of helpers that are missing.
    """
    variables, token = environment.variables, cancel or CancelToken()

    def link(path: Path, text: str | None = None, source: str = "") -> DockerConfigKeychain:
        return DockerConfigKeychain(
            path=path,
            environment=environment,
            warn=warn,
            cancel=token,
            redact=redact,
            text=text,
            source=source,
        )

    if variables.get("REGISTRY_AUTH_FILE"):
        return (link(Path(variables["REGISTRY_AUTH_FILE"])),)
    docker = Path(variables.get("DOCKER_CONFIG") or environment.home / ".docker")
    links = [link(docker / "config.json")]
    if variables.get("DOCKER_AUTH_CONFIG"):
        text = variables["DOCKER_AUTH_CONFIG"]
        links.insert(0, link(docker / "config.json", text, "DOCKER_AUTH_CONFIG"))
    if variables.get("XDG_RUNTIME_DIR"):
        links.append(link(Path(variables["XDG_RUNTIME_DIR"], "containers", "auth.json")))
    return tuple(links)


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


def auth_entry(credential: Credential) -> dict[str, str]:
    """*credential* as an entry of ``auths`` in a docker configuration."""
    if credential.registry_token:
        return {"registrytoken": credential.registry_token}
    if credential.identity_token:
        return {"identitytoken": credential.identity_token}
    pair = f"{credential.username}:{credential.password}"
    return {"auth": base64.b64encode(pair.encode()).decode()}
