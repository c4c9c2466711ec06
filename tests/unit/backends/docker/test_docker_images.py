"""What daemons say about pushes and pulls, and whose credentials they are given."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from buildpush.auth import Access, Chain, Credential, StaticKeychain
from buildpush.backends.docker.accounts import refuse_mounts, settle
from buildpush.backends.docker.images import Pull, credentials, push
from buildpush.backends.docker.refusals import explain
from buildpush.backends.docker.stream import failure_in
from buildpush.backends.docker.transfer import Transfer
from buildpush.backends.docker.ways import numbers
from buildpush.dockerfile import parse
from buildpush.errors import (
    AuthError,
    CredentialConflictError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
)
from buildpush.events import Event, TaskFinished, TaskProgress, TaskStarted, Warned
from buildpush.oci import Digest, ImageReference, Platform, Repository
from buildpush.plan import BuildRequest
from buildpush.plan.values import Cache
from buildpush.runtime import CancelToken, Run

OWN = Platform.parse("linux/amd64")
DIGEST = Digest(f"sha256:{'ab' * 32}")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("denied: requested access to the resource is denied", PermissionDeniedError),
        ("unexpected status from HEAD request to http://r/v2/a: 403 Forbidden", PermissionDeniedError),
        ("pull access denied for a, repository does not exist or may require", PermissionDeniedError),
        ("no basic auth credentials", AuthError),
        ("push access denied, may require: authorization failed: no basic auth", AuthError),
        ("error from registry: unauthorized\nunauthorized", AuthError),
        ("unexpected status from HEAD request to http://r/v2/a: 401 Unauthorized", AuthError),
        ("toomanyrequests: You have reached your pull rate limit", RateLimitedError),
        ("manifest for r/a:zz not found: manifest unknown: manifest unknown", NotFoundError),
        ('failed to resolve reference "r/a:zz": r/a:zz: not found', NotFoundError),
        ("tag does not exist: r/a:nope", NotFoundError),
        ('Get "http://r/v2/": dial tcp: connect: connection refused', RegistryUnavailableError),
        ("received unexpected HTTP status: 500 Internal Server Error", RegistryUnavailableError),
        ("error from registry: unavailable\nunavailable", RegistryUnavailableError),
        ("x509: certificate signed by unknown authority", RegistryUnavailableError),
        ("something quite different", RegistryError),
    ],
)  # fmt: skip
def test_what_a_daemon_says_has_a_type(said: str, kind: type[Exception]) -> None:
    """Recorded from dockerd 20.10 and 28."""
    assert type(explain(said, about="push r/a:1")).__mro__.index(kind) <= 1


def test_a_certificate_is_not_tried_again() -> None:
    """It will not get better."""
    assert explain("x509: unknown authority", about="pull a").retryable is False
    assert explain("connection refused", about="pull a").retryable is True


def test_a_registrys_word_is_repeated_once() -> None:
    """Containerd says it again as its own details."""
    error = explain("error from registry: unauthorized\nunauthorized\nsee x", about="push a")

    assert error.message == "push a: error from registry: unauthorized; see x"


def test_an_error_in_band_is_found_in_old_and_new_messages() -> None:
    """With the exit code of RUN where there is one."""
    assert failure_in({"status": "Pushing"}) is None
    old, new = (
        failure_in({"error": "no"}),
        failure_in({"errorDetail": {"code": 7, "message": "m"}}),
    )
    assert (old and old.message, new and (new.message, new.code)) == ("no", ("m", 7))


def test_a_push_as_events() -> None:
    """Layers that move, that are there, and the digest, in either daemon's form."""
    transfer = Transfer(task="push a")
    messages: list[dict[str, Any]] = [
        {"status": "The push refers to repository [a]"},
        {"status": "Preparing", "id": "one"},
        {"status": "Pushing", "id": "one", "progressDetail": {"current": 512, "total": 100}},
        {"status": "Retrying in 1 second", "id": "one"},
        {"status": "Pushing", "id": "one", "progressDetail": {"current": 5}},
        {"status": "Pushed", "id": "one"},
        {"status": "Layer already exists", "id": "two"},
        {"status": "Pushing", "id": "three"},
        {"status": f"1: digest: {DIGEST} size: 527"},
    ]
    events = [e for n, m in enumerate(messages) for e in transfer.message(m, float(n))]
    events += transfer.finish(9.0, failed=True)

    assert transfer.digest == DIGEST
    assert transfer.retried
    assert [(e.done, e.total) for e in events if isinstance(e, TaskProgress)] == [
        (100, 100),
        (5, None),
    ]
    assert [e.outcome for e in events if isinstance(e, TaskFinished)] == [
        "done", "cached", "failed",
    ]  # fmt: skip
    assert sum(isinstance(e, TaskStarted) for e in events) == 3


def test_the_digest_of_the_classic_store_comes_as_an_object() -> None:
    """Beside the text."""
    transfer = Transfer(task="push a")
    list(transfer.message({"progressDetail": {}, "aux": {"Tag": "1", "Digest": str(DIGEST)}}, 0.0))

    assert transfer.digest == DIGEST


class RetryingDaemon:
    """Lets nobody in, and says for a minute that it tries again."""

    def messages(self, *_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        yield {"status": "Retrying in 5 seconds", "id": "one"}
        pytest.fail("it was waited for")


def test_a_push_that_is_tried_again_is_looked_into(tmp_path: Path) -> None:
    """A refused credential is not worth the daemon's minute; the user hears of every other."""
    events: list[Event] = []
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=events.append)
    reference = ImageReference.parse("registry.test/app:1")

    def check() -> None:
        raise AuthError("nobody is let in")

    with pytest.raises(AuthError, match="nobody is let in"):
        push(cast("Any", RetryingDaemon()), reference, Chain(()), run, retries=3, check=check)

    assert [e.message for e in events if isinstance(e, Warned)] == [
        "push registry.test/app:1: the daemon has to try again"
    ]


def sent(keychain: Any, repository: str, access: Access = "push") -> Any:
    return json.loads(
        base64.urlsafe_b64decode(credentials(keychain, Repository.parse(repository), access))
    )


@pytest.mark.parametrize(
    ("credential", "fields"),
    [
        (Credential(username="u", password="p"), {"username": "u", "password": "p"}),
        (Credential(identity_token="i"), {"identitytoken": "i"}),
        (Credential(registry_token="r"), {"registrytoken": "r"}),
    ],
)
def test_a_credential_names_the_host_it_is_for(
    credential: Credential, fields: dict[str, str]
) -> None:
    """containerd's store does not send it elsewhere; and Docker Hub has its own name."""
    ours = StaticKeychain(prefix="r.io", credential=credential)
    hub = StaticKeychain(prefix="docker.io", credential=credential)

    assert sent(ours, "r.io/a") == {**fields, "serveraddress": "r.io"}
    assert sent(hub, "acme/a") == {**fields, "serveraddress": "https://index.docker.io/v1/"}
    assert sent(ours, "other.io/a") == {}


def a_request(text: str, **fields: Any) -> BuildRequest:
    dockerfile = parse(text.encode(), filename="Dockerfile")
    context = Path("/nowhere")
    return BuildRequest(
        context=context, dockerfile=dockerfile, dockerfile_path=context / "Dockerfile", **fields
    )


def keys(**passwords: str) -> Chain:
    return Chain(
        tuple(
            StaticKeychain(prefix=f"r.io/{name}", credential=Credential(username=name, password=p))
            for name, p in passwords.items()
        )
    )


TWO = "FROM r.io/one/a AS a\nFROM r.io/two/b\nCOPY --from=a / /\nCOPY --from=q.io/c / /\n"


def test_base_images_of_one_account_are_left_to_the_builder() -> None:
    """With what else it will ask registries for."""
    cache = Cache(type="registry", attributes={"ref": "c.io/cache"})
    request = a_request(f"# syntax=s.io/front\n{TWO}", cache_from=(cache,), cache_to=(cache,))

    found = settle(request, keys(), OWN)

    assert found.first == ()
    assert [(str(r), a) for r, a in found.wants] == [
        ("r.io/one/a", "pull"), ("r.io/two/b", "pull"), ("q.io/c", "pull"),
        ("s.io/front", "pull"), ("c.io/cache", "pull"), ("c.io/cache", "push"),
    ]  # fmt: skip


def test_base_images_of_two_accounts_are_pulled_first() -> None:
    """Those of the host that is torn; all of them where fresh ones are asked for."""
    torn = keys(one="1", two="2")

    found = settle(a_request(TWO), torn, OWN)
    fresh = settle(a_request(TWO, pull=True), torn, OWN)

    assert [str(p.reference) for p in found.first] == ["r.io/one/a:latest", "r.io/two/b:latest"]
    assert [str(r) for r, _ in found.wants] == ["q.io/c"]
    assert (len(fresh.first), fresh.request.pull, fresh.wants) == (3, False, ())


def test_a_push_over_anothers_base_is_refused_where_containerd_would_mount_it() -> None:
    """But not over what everybody may read, or what the same account has pulled."""
    base = (Pull(reference=ImageReference.parse("r.io/one/a")),)
    request = a_request(TWO, references=(ImageReference.parse("r.io/two/out:1"),))

    with pytest.raises(CredentialConflictError, match="different accounts"):
        refuse_mounts(request, base, keys(one="1", two="2"))
    refuse_mounts(request, base, keys(two="2"))


def test_versions_are_read_from_what_programs_say() -> None:
    """Debian's spelling included."""
    assert numbers("github.com/docker/buildx 0.29.1+ds1 0.29.1+ds1-4") == (0, 29, 1)
    assert numbers("Docker version 20.10.24+dfsg1, build 297e128") == (20, 10, 24)
    assert numbers("nothing") == ()
