"""Amazon's registries, private and public: logged in to with keys of AWS, for twelve hours at a time.

Follows "Private registry authentication" of the ECR user guide, and the API reference of ECR.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import Final, Literal, cast

from attrs import define, evolve, field, frozen

from ..errors import (
    AuthError,
    HttpEvidence,
    NotFoundError,
    PermissionDeniedError,
    RegistryError,
)
from ..oci import Repository
from ..runtime import CancelToken, Environment, Hidden
from . import Access, Consulted, Credential
from .asking import now
from .aws.ambient import AmbientKeys, EnvironmentKeys, NoKeysError
from .aws.calls import Aws, KeySource
from .aws.machine import ContainerKeys, InstanceKeys
from .aws.places import EcrHost, ecr_host
from .aws.profiles import ProfileKeys
from .aws.roles import AssumedRole, WebIdentity
from .bound import Lent, unheard
from .sigv4 import AwsKeys

__all__ = [
    "AmbientKeys",
    "AssumedRole",
    "AwsKeys",
    "ContainerKeys",
    "EcrKeychain",
    "EnvironmentKeys",
    "InstanceKeys",
    "KeySource",
    "NewRepository",
    "ProfileKeys",
    "WebIdentity",
]

_HALF_A_DAY: Final = 12 * 3600.0
_EARLY: Final = 300.0
_SHARE: Final = 0.2
_ABSENT: Final = 60.0
_EXISTS: Final = "RepositoryAlreadyExistsException"
_ACCOUNT: Final = re.compile(r"https://(\d{12})\.")


@frozen(kw_only=True)
class NewRepository:
    """How a private repository of ECR is to be when we make it; one that exists stays as it is.

    *lifecycle_policy* and *policy* are JSON documents as ECR wants them; empty for none.
    """

    immutable_tags: bool = False
    scan_on_push: bool = False
    lifecycle_policy: str = ""
    policy: str = ""


@frozen(kw_only=True)
class _Login:
    """A login, or why there is none; *caller* is the account of the keys, empty when unsaid."""

    credential: Credential | None
    caller: str = ""
    why: str = ""


def _copy(value: Mapping[str, str]) -> dict[str, str]:
    return dict(value)


@define(eq=False, kw_only=True)
class EcrKeychain(Lent):
    """Logs in to ECR, private and public. Safe between threads.

    *source* is where AWS's keys come from: `AwsKeys`, `WebIdentity`, `AssumedRole`,
    `ProfileKeys`, and it must have some. Without one they are looked for where AWS's own tools
    would look (`AmbientKeys`). Account and region are the registry's host's. Keys of another account than the registry's are a warning,
    and an `AuthError` when *foreign* is ``refuse``. *aliases* are hosts that stand for one of
    ECR's: ``{"images.example.com": "123456789012.dkr.ecr.eu-west-1.amazonaws.com"}``. With
    *create_repository*, a repository that a push is to and that does not exist is made first,
    as *new_repository* says.
    """

    source: KeySource | None = field(default=None, repr=False)
    foreign: Literal["warn", "allow", "refuse"] = "warn"
    aliases: Mapping[str, str] = field(factory=dict[str, str], converter=_copy)
    create_repository: bool = False
    new_repository: NewRepository = field(factory=NewRepository)
    environment: Environment | None = field(default=None, repr=False)
    warn: Callable[[str], None] = field(default=unheard, repr=False)
    cancel: CancelToken | None = field(default=None, repr=False)
    clock: Callable[[], float] = field(default=now, repr=False)
    _logins: _Logins = field(init=False, repr=False)
    _own: _Keys = field(init=False, repr=False)
    _warned: set[str] = field(factory=set[str], init=False, repr=False)
    _made: dict[Repository, bool] = field(factory=dict[Repository, bool], init=False, repr=False)
    _making: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._logins = _Logins(self.clock)
        self._own = _Keys(self.source or AmbientKeys())

    def resolve(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - one login does both
    ) -> Credential | None:
        """The login for *repository*; None when its host is not ECR's.

        None, too, where no *source* was given and there are no keys anywhere. Raises `AuthError`
        when there are and AWS gives no login for them, `RegistryUnavailableError` when it cannot
        be asked.
        """
        host = self._host(repository)
        if host is None:
            return None
        login = self._login(host)
        if login.credential is None or login.caller in ("", host.account):
            return login.credential
        return self._of_another(login.caller, login.credential, host, repository)

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """One line: where the keys came from, or why there are none."""
        try:
            host = self._host(repository)
            if host is None:
                why = f"{repository.host} is no registry of ECR"
                return (Consulted(source="EcrKeychain", outcome="skipped", why=why),)
            found = self.resolve(repository, access)
            why = self._login(host).why
        except (AuthError, RegistryError) as error:
            why = error.message
            return (Consulted(source="EcrKeychain", outcome="error", why=why, expected=True),)
        key = f"{host.service} in {host.place.region}"
        if found is None:
            needed = bool(host.account) or access == "push"
            return (
                Consulted(source="EcrKeychain", key=key, outcome="miss", why=why, expected=needed),
            )
        return (Consulted(source=found.source, key=key, outcome="hit", expected=True),)

    def refused(self, credential: Credential) -> None:
        """Log in anew: a registry refused *credential* before its time."""
        self._logins.drop(credential)

    def makes(self, repository: Repository) -> bool:
        """Whether *repository* is in a registry of ECR."""
        return self._host(repository) is not None

    def ensure_repository(self, repository: Repository) -> bool | None:
        """Make *repository* unless it exists: True if it was made; None when it is not ECR's.

        However many ask, AWS is asked once. Raises `PermissionDeniedError` when the keys allow
        neither to make it nor to see that it exists.
        """
        host = self._host(repository)
        if host is None:
            return None
        with self._making:
            if repository in self._made:
                return False
            made = self._make(host, repository)
            self._made[repository] = made
            return made

    def _host(self, repository: Repository) -> EcrHost | None:
        return ecr_host(self.aliases.get(repository.host, repository.host))

    def _aws(self, host: EcrHost) -> Aws:
        return Aws(
            environment=self.environment or Environment.current(),
            place=host.place,
            clock=self.clock,
            cancel=self.cancel,
        )

    def _login(self, host: EcrHost) -> _Login:
        return self._logins.get((host.service, host.place), lambda: self._log_in(host))

    def _log_in(self, host: EcrHost) -> _Login:
        aws = self._aws(host)
        try:
            keys = self._own.keys(aws)
        except NoKeysError as error:
            return _Login(credential=None, why=error.message)
        answer = aws.json(host.service, "GetAuthorizationToken", {}, keys, place=host.place)
        login = _read(answer, self.clock(), keys.source)
        # The public registry's login says nothing about accounts.
        return login if host.account else evolve(login, caller="")

    def _of_another(
        self, caller: str, credential: Credential, host: EcrHost, repository: Repository
    ) -> Credential:
        """*credential*, after a word about keys that are not of the registry's own account."""
        if self.foreign == "allow":
            return credential
        message = (
            f"the keys are of AWS account {caller}, and {repository.host} belongs to account"
            f" {host.account}"
        )
        if self.foreign == "refuse":
            raise AuthError(
                message, hint="take keys of that account, or a role in it: AssumedRole"
            )
        if message not in self._warned:
            self._warned.add(message)
            self.warn(f"{message}: a policy of the repository has to let them in")
        return evolve(credential, source=f"{credential.source}, not {host.account}")

    def _make(self, host: EcrHost, repository: Repository) -> bool:
        aws = self._aws(host)
        keys = self._own.keys(aws)
        name, fields = _wish(host, repository, self.new_repository)

        def ask(action: str, more: Mapping[str, object]) -> Mapping[str, object]:
            own = {"registryId": host.account} if host.account else {}
            return aws.json(host.service, action, {**own, **more}, keys, place=host.place)

        try:
            ask("CreateRepository", fields)
        except PermissionDeniedError as denied:
            try:
                ask("DescribeRepositories", {"repositoryNames": [name]})
            except (AuthError, NotFoundError):
                raise denied from None
            return False
        except AuthError as error:
            if _EXISTS in _codes(error):
                return False
            raise
        own = self.new_repository if host.account else NewRepository()
        about = {"repositoryName": name}
        if own.lifecycle_policy:
            ask("PutLifecyclePolicy", {**about, "lifecyclePolicyText": own.lifecycle_policy})
        if own.policy:
            ask("SetRepositoryPolicy", {**about, "policyText": own.policy})
        return True


def _wish(
    host: EcrHost, repository: Repository, new: NewRepository
) -> tuple[str, Mapping[str, object]]:
    """The repository's name at AWS, and what CreateRepository is told."""
    if not host.account:  # the first component is the registry's alias
        name = repository.path.partition("/")[2]
        return name, {"repositoryName": name}
    fields: dict[str, object] = {"repositoryName": repository.path}
    if new.immutable_tags:
        fields["imageTagMutability"] = "IMMUTABLE"
    if new.scan_on_push:
        fields["imageScanningConfiguration"] = {"scanOnPush": True}
    return repository.path, fields


def _codes(error: AuthError) -> tuple[str, ...]:
    """What AWS called its reason."""
    return tuple(c for e in error.evidence if isinstance(e, HttpEvidence) for c in e.codes)


@define(eq=False)
class _Logins:
    """Logins by service and place, each kept until shortly before it ends.

    They are renewed five minutes early, or when a fifth of their life is left if that is less;
    that there are no keys is believed for a minute. One place does not wait for another.
    """

    clock: Callable[[], float]
    _held: dict[Hashable, tuple[_Login, float]] = field(
        factory=dict[Hashable, tuple[_Login, float]], init=False, repr=False
    )
    _locks: defaultdict[Hashable, threading.Lock] = field(
        factory=lambda: defaultdict[Hashable, threading.Lock](threading.Lock), init=False
    )
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def get(self, key: Hashable, ask: Callable[[], _Login]) -> _Login:
        with self._lock:
            own = self._locks[key]
        with own:
            began = self.clock()
            login, until = self._held.get(key, (None, 0.0))
            if login is None or began >= until:
                login = ask()
                end = login.credential.expires if login.credential else None
                until = began + _ABSENT if end is None else _renewal(end, began)
                self._held[key] = (login, until)
            return login

    def drop(self, credential: Credential) -> None:
        with self._lock:
            for key, (login, _) in tuple(self._held.items()):
                if login.credential == credential:
                    self._held.pop(key, None)


@define(eq=False)
class _Keys:
    """The source's keys, kept while they last: a role need not be assumed for each region."""

    source: KeySource = field(repr=False)
    _held: AwsKeys | None = field(default=None, init=False, repr=False)
    _until: float = field(default=0.0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def keys(self, aws: Aws) -> AwsKeys:
        with self._lock:
            began = aws.clock()
            if self._held is not None and began < self._until:
                return self._held
            found = self.source.keys(aws)
            if found.expires is not None:
                self._held = found
                self._until = _renewal(found.expires, began)
            return found


def _renewal(end: float, began: float) -> float:
    return end - min(_EARLY, (end - began) * _SHARE)


def _read(answer: Mapping[str, object], clock: float, source: str) -> _Login:
    """The login in an answer of GetAuthorizationToken: a list of one, or of the public one, it."""
    found = answer.get("authorizationData")
    first = next(iter(cast("list[object]", found)), None) if isinstance(found, list) else found
    data = cast("Mapping[str, object]", first if isinstance(first, dict) else {})
    token, end = data.get("authorizationToken"), data.get("expiresAt")
    try:
        pair = base64.b64decode(str(token or ""), validate=True).decode()
    except (binascii.Error, ValueError):
        pair = ""
    if not pair.startswith("AWS:") or pair == "AWS:":
        raise AuthError("AWS's answer holds no login for ECR")
    match = _ACCOUNT.match(str(data.get("proxyEndpoint", "")))
    caller = match[1] if match is not None else ""
    # One that has ended already would be renewed without end; twelve hours are documented.
    lasts = float(end) if isinstance(end, int | float) else 0.0
    credential = Credential(
        username="AWS",
        password=Hidden(pair[4:]),
        source=f"ECR, {source}{f' of account {caller}' if caller else ''}",
        expires=lasts if lasts > clock else clock + _HALF_A_DAY,
    )
    return _Login(credential=credential, caller=caller)
