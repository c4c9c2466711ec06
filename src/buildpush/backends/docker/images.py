"""Images in the daemon's own store: pulled, tagged, pushed, saved and removed by the Engine API.

Each call carries the credential it needs, and no other. Errors come in-band, after a status of
200, and are errors here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, cast
from urllib.parse import quote

from attrs import frozen

from ...auth import Access, Credential, Keychain
from ...auth.files import HUB, HUB_KEY
from ...errors import BackendUnavailableError, BuildError, BuildpushError, NotFoundError
from ...oci import Digest, ImageReference, Platform, Repository
from ...runtime import Run
from ...runtime.retry import RetryPolicy, retrying
from ..engine.api import EngineApi
from .refusals import explain
from .stream import failure_in
from .transfer import Transfer

__all__ = ["Pull", "credentials", "pull", "push", "remove", "save", "tag"]

_TIDYING: Final = 10.0


@frozen(kw_only=True)
class Pull:
    """A base image to be fetched; *platform* is empty for the daemon's own."""

    reference: ImageReference
    platform: Platform | None = None


def credentials(keychain: Keychain, repository: Repository, access: Access) -> str:
    """The value of ``X-Registry-Auth`` for one repository; of nobody, too, since it must be sent.

    Raises what the keychain raises.
    """
    server = HUB_KEY if repository.host == HUB else repository.host
    found = keychain.resolve(repository, access)
    return base64.urlsafe_b64encode(json.dumps(_fields(found, server)).encode()).decode()


def _fields(credential: Credential | None, server: str) -> Mapping[str, str]:
    if credential is None:
        return {}
    if credential.registry_token:
        return {"registrytoken": credential.registry_token, "serveraddress": server}
    if credential.identity_token:
        return {"identitytoken": credential.identity_token, "serveraddress": server}
    return {
        "username": credential.username,
        "password": credential.password,
        "serveraddress": server,
    }


def pull(api: EngineApi, wanted: Pull, keychain: Keychain, run: Run, *, retries: int) -> None:
    """Bring one image into the daemon, as the account that its repository needs.

    Raises `AuthError`, `NotFoundError` and the other `RegistryError`s for what the daemon says.
    """
    reference = wanted.reference
    about = f"pull {reference}"
    params = {"fromImage": str(reference.repository), "tag": reference.target}
    if wanted.platform is not None:
        params["platform"] = str(wanted.platform)
    headers = {"X-Registry-Auth": credentials(keychain, reference.repository, "pull")}

    def attempt() -> None:
        with run.task(about, about):
            _transfer(
                lambda: api.messages("POST", "/images/create", params=params, headers=headers),
                about,
                run,
            )

    retrying(about, attempt, run=run, policy=RetryPolicy(attempts=retries + 1))


def push(
    api: EngineApi,
    reference: ImageReference,
    keychain: Keychain,
    run: Run,
    *,
    retries: int,
    check: Callable[[], None] = lambda: None,
) -> Digest:
    """Push one tag; the digest that the daemon says it has pushed.

    *check* is called when the daemon tries something again, which it does for most of a minute
    even where nobody is let in: what it raises ends the push.

    Raises `PermissionDeniedError`, `AuthError`, `RateLimitedError` and the like for what the
    registry said to the daemon, and `BuildError` when the daemon does not tell a digest.
    """
    about = f"push {reference}"
    headers = {"X-Registry-Auth": credentials(keychain, reference.repository, "push")}
    path = f"/images/{quote(str(reference.repository))}/push"

    def attempt() -> Digest:
        with run.task(about, about):
            digest = _transfer(
                lambda: api.messages("POST", path, params={"tag": reference.tag}, headers=headers),
                about,
                run,
                check,
            ).digest
        if digest is None:
            raise BuildError(
                f"{about}: the daemon ended the push without a digest",
                hint="is it older than docker 1.10, or was it stopped?",
            )
        return digest

    return retrying(about, attempt, run=run, policy=RetryPolicy(attempts=retries + 1))


def _transfer(
    ask: Callable[[], Iterator[Mapping[str, object]]],
    about: str,
    run: Run,
    check: Callable[[], None] = lambda: None,
) -> Transfer:
    """Follow a push or a pull to its end; what it has told."""
    transfer = Transfer(task=about)
    try:
        with closing(_closable(ask())) as messages:
            done = False
            try:
                for message in messages:
                    failure = failure_in(message)
                    if failure is not None:
                        raise explain(failure.message, about=about)
                    retried = transfer.retried
                    for event in transfer.message(message, run.now):
                        run.emit(event)
                    if transfer.retried and not retried:
                        check()
                done = True
            finally:
                for event in transfer.finish(run.now, failed=not done):
                    run.emit(event)
    except (BuildError, NotFoundError) as error:
        raise _with_evidence(explain(error.message, about=about), error) from error
    return transfer


def _closable(
    messages: Iterator[Mapping[str, object]],
) -> Generator[Mapping[str, object]]:
    yield from messages


def _with_evidence(error: BuildpushError, cause: BuildpushError) -> BuildpushError:
    error.evidence = (*error.evidence, *cause.evidence)
    return error


def tag(api: EngineApi, image: str, reference: ImageReference) -> None:
    """Give *image* (an id) the name *reference*, which another image loses by it."""
    params = {"repo": str(reference.repository), "tag": reference.tag}
    api.call("POST", f"/images/{quote(image)}/tag", params=params)


def save(api: EngineApi, names: Iterable[str], destination: Path, run: Run) -> None:
    """Write the image called *names* into the tar *destination*, as ``docker save`` does."""
    params = {"names": ",".join(names)}
    title = "export the image from the daemon"
    with (
        run.task("save", title) as task,
        api.download("/images/get", params=params) as chunks,
        destination.open("xb") as file,
    ):
        for chunk in task.counting(chunks):
            file.write(chunk)


def names_of(api: EngineApi, image: str) -> tuple[str, ...] | None:
    """The names that *image* has in the daemon; None when there is no such image."""
    try:
        found: object = json.loads(api.call("GET", f"/images/{quote(image)}/json"))
    except NotFoundError:
        return None
    tags = cast("Mapping[str, object]", found).get("RepoTags") if isinstance(found, dict) else ()
    return tuple(map(str, cast("list[object]", tags or [])))


def remove(api: EngineApi, image: str) -> None:
    """Remove an image without a name; one that has names, or has gone, is left alone."""
    if names_of(api, image) == ():
        try:
            api.call("DELETE", f"/images/{quote(image)}", patience=_TIDYING)
        except (NotFoundError, BuildError, BackendUnavailableError):
            return  # used by somebody's container, or gone: not ours to insist
