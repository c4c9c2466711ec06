"""What a repository has, and having less of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import NotFoundError, PermissionDeniedError, RegistryError
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import MediaType
from buildpush.registry import RegistryClient
from buildpush.testing import LocalRegistry
from buildpush.testing.faults import Fault, ReplaceHeaders, Status
from buildpush.testing.registry import Dialect

ClientFor = Callable[..., RegistryClient]
MANIFEST = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
)


@pytest.fixture
def repository(local_registry: LocalRegistry) -> Repository:
    """``acme/app`` with one manifest by two tags."""
    for tag in ("1", "2"):
        local_registry.add_manifest("acme/app", MANIFEST, MediaType.OCI_INDEX, tag=tag)
    return Repository(local_registry.host, "acme/app")


def test_tags_are_listed_across_pages(
    client: RegistryClient, local_registry: LocalRegistry, repository: Repository
) -> None:
    """However many there are on each."""
    for number in range(1100):
        local_registry.add_manifest("acme/app", MANIFEST, MediaType.OCI_INDEX, tag=f"v{number}")

    found = client.list_tags(repository)

    assert set(found) == {"1", "2", *(f"v{n}" for n in range(1100))}
    assert len([r for r in local_registry.requests if "tags/list" in r.path]) == 2


def test_a_repository_that_does_not_exist_has_no_tags(
    client: RegistryClient, local_registry: LocalRegistry
) -> None:
    """It is an error, not an empty list."""
    with pytest.raises(NotFoundError):
        client.list_tags(Repository(local_registry.host, "acme/none"))


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ('</v2/acme/app/tags/list?n=1000>; rel="next"', "does not end"),
        ('<http://127.0.0.1:1/v2/acme/app/tags/list>; rel="next"', "somewhere else"),
    ],
)
def test_a_list_that_never_ends_or_leads_away_is_an_error(
    client: RegistryClient,
    local_registry: LocalRegistry,
    repository: Repository,
    link: str,
    words: str,
) -> None:
    """Nobody walks in circles, and credentials go nowhere else."""
    action = ReplaceHeaders({"Link": link})
    local_registry.inject(Fault(path="tags/list", action=action, times=None))

    with pytest.raises(RegistryError, match=words):
        client.list_tags(repository)


def test_a_list_that_is_no_json_is_an_error(
    client: RegistryClient, local_registry: LocalRegistry, repository: Repository
) -> None:
    """A proxy's page, for example."""
    local_registry.inject(Fault(path="tags/list", action=Status(200, body=b"<html>hello</html>")))

    with pytest.raises(RegistryError, match="no list of tags"):
        client.list_tags(repository)


def test_a_tag_a_manifest_and_a_blob_are_deleted(
    client: RegistryClient, local_registry: LocalRegistry, repository: Repository
) -> None:
    """A tag alone; a manifest with its tags; a blob."""
    blob = local_registry.add_blob("acme/app", b"layer")

    client.delete_manifest(ImageReference(repository=repository, tag="1"))
    after_tag = local_registry.tags("acme/app")
    client.delete_manifest(ImageReference(repository=repository, digest=Digest.of(MANIFEST)))
    client.delete_blob(repository, blob)

    assert after_tag == ("2",)
    assert local_registry.manifest("acme/app", Digest.of(MANIFEST)) is None
    assert local_registry.blob("acme/app", blob) is None


def test_what_is_not_there_cannot_be_deleted(
    client: RegistryClient, repository: Repository
) -> None:
    """The error says so."""
    with pytest.raises(NotFoundError):
        client.delete_blob(repository, Digest.of(b"nothing"))


def test_a_registry_that_deletes_nothing_says_so(client_for: ClientFor) -> None:
    """405, and where else it could be done."""
    with LocalRegistry(dialect=Dialect(deletes=False)) as registry:
        blob = registry.add_blob("acme/app", b"layer")

        with pytest.raises(RegistryError, match="deletes nothing by its API") as caught:
            client_for().delete_blob(Repository(registry.host, "acme/app"), blob)

    assert "storage.delete.enabled" in caught.value.hint


def test_a_token_to_delete_is_asked_for_by_its_own_scope(client_for: ClientFor) -> None:
    """Registries grant that apart from pushing."""
    with LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        blob = registry.add_blob("acme/app", b"layer")
        who = Credential(username="ci", password="s3cret", source="the test")
        client = client_for(StaticKeychain(prefix=registry.host, credential=who))

        client.delete_blob(Repository(registry.host, "acme/app"), blob)

        asked = [r.query for r in registry.requests if r.path == "/token"]
        assert "delete" in asked[-1]
        assert registry.blob("acme/app", blob) is None


def test_who_may_only_pull_is_denied(client_for: ClientFor) -> None:
    """As everywhere, with the scope that is missing."""
    permissions = {"ci": [("acme", "pull")]}
    with LocalRegistry(auth="token", users={"ci": "s3cret"}, permissions=permissions) as registry:
        blob = registry.add_blob("acme/app", b"layer")
        who = Credential(username="ci", password="s3cret", source="the test")
        client = client_for(StaticKeychain(prefix=registry.host, credential=who))

        with pytest.raises(PermissionDeniedError):
            client.delete_blob(Repository(registry.host, "acme/app"), blob)


def test_asking_whether_one_may_push_leaves_nothing_behind(
    client: RegistryClient, local_registry: LocalRegistry, repository: Repository
) -> None:
    """An upload is begun and cancelled."""
    client.check_push(repository)

    assert local_registry.uploads_open == 0
    assert [r.method for r in local_registry.requests] == ["POST", "DELETE"]


@pytest.mark.parametrize("answer", [404, 405, 500, 401])
def test_a_registry_that_cannot_cancel_an_upload_is_fine(
    client: RegistryClient, local_registry: LocalRegistry, repository: Repository, answer: int
) -> None:
    """That it began one was the answer."""
    local_registry.inject(Fault(method="DELETE", action=Status(answer), times=None))

    client.check_push(repository)


def test_who_may_not_push_learns_it_without_pushing(client_for: ClientFor) -> None:
    """The error is the one that a push would raise."""
    permissions = {"ci": [("acme", "pull")]}
    with LocalRegistry(auth="token", users={"ci": "s3cret"}, permissions=permissions) as registry:
        who = Credential(username="ci", password="s3cret", source="the test")
        client = client_for(StaticKeychain(prefix=registry.host, credential=who))

        with pytest.raises(PermissionDeniedError):
            client.check_push(Repository(registry.host, "acme/app"))
