"""Two accounts on one registry host: what BuildKit cannot ask for, buildpush brings it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep, Credential
from buildpush.auth import StaticKeychain
from buildpush.backends.buildx import BuildxBackend
from buildpush.errors import CredentialConflictError
from buildpush.oci import Digest
from buildpush.testing import LocalRegistry, RecordingSink

pytestmark = pytest.mark.needs_buildx

OWNERS = {"one": "anna", "two": "ben", "app": "cleo", "cache": "dora"}
USERS = {user: f"canary-{user}" for user in OWNERS.values()}
RIGHTS = {user: {(place, "pull"), (place, "push")} for place, user in OWNERS.items()}


@pytest.fixture(autouse=True)
def engine(dockerd: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    dockerd.activate(monkeypatch)
    return dockerd


@pytest.fixture
def registry(busybox_base: Any) -> Iterator[LocalRegistry]:
    """Images ``one/base`` and ``two/base``, each of which only its owner may read."""
    with LocalRegistry(auth="token", users=USERS, permissions=RIGHTS) as registry:
        manifest = busybox_base.blob(busybox_base.digest)
        document = json.loads(manifest)
        for repository in ("one/base", "two/base"):
            for part in (document["config"], *document["layers"]):
                registry.add_blob(repository, busybox_base.blob(part["digest"]))
            for tag in ("latest", "v1"):
                registry.add_manifest(repository, manifest, document["mediaType"], tag=tag)
        yield registry


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_text("text")
    return folder


def build(context: Path, registry: LocalRegistry, dockerfile: str, **more: Any) -> RecordingSink:
    (context / "Dockerfile").write_text(dockerfile)
    sink = RecordingSink()
    BuildAndPushStep(
        repo=registry.reference("app/image"),
        context=context,
        backend=BuildxBackend(),
        network="host",
        auth=[
            StaticKeychain(
                prefix=f"{registry.host}/{place}",
                credential=Credential(username=user, password=USERS[user]),
            )
            for place, user in OWNERS.items()
        ],
        **more,
    ).run(on_event=sink)
    return sink


def strangers(registry: LocalRegistry) -> set[tuple[str, str]]:
    """Who touched which repository without owning it."""
    return {
        (request.principal, place)
        for request in registry.requests
        if request.path.startswith("/v2/") and request.principal
        for place in [request.path.split("/")[2]]
        if OWNERS.get(place) != request.principal and place
    }


def granted(registry: LocalRegistry, repository: str) -> set[str]:
    """Whose requests for manifests of *repository* were answered well."""
    return {
        request.principal
        for request in registry.requests
        if request.path.startswith(f"/v2/{repository}/manifests/") and request.status == 200
    }


@pytest.mark.parametrize(
    "second",
    [
        "COPY --from={two} /bin/busybox /copied",
        "COPY --from={two}:latest /bin/busybox /copied",
        "COPY --from={two}:v1 /bin/busybox /copied",
        "COPY --from={two}@{digest} /bin/busybox /copied",
        "COPY --from={two}:v1@{digest} /bin/busybox /copied",
        "RUN --mount=type=bind,from={two}:v1,target=/m cp /m/bin/busybox /copied",
        "FROM {two}:v1\nCOPY --from=first /bin/busybox /copied",
        "FROM ${{TWO}}:v1\nCOPY --from=first /bin/busybox /copied",
        "COPY --from=named /bin/busybox /copied",
    ],
)
def test_the_second_account_is_used_for_its_own_images(
    second: str, context: Path, registry: LocalRegistry, busybox_base: Any
) -> None:
    """However the Dockerfile spells them."""
    two = registry.reference("two/base")
    text = second.format(two=two, digest=busybox_base.digest)
    contexts = {"named": f"docker-image://{two}:v1"} if "=named" in second else {}

    build(
        context,
        registry,
        f"ARG TWO={two}\nFROM {registry.reference('one/base')} AS first\nCOPY file /\n{text}\n",
        build_contexts=contexts,
    )

    assert strangers(registry) == set()
    assert granted(registry, "two/base") == {"ben"}
    assert granted(registry, "one/base") == {"anna"}
    assert registry.digest("app/image", "latest") is not None


def test_of_an_index_the_platforms_that_are_built_are_fetched(
    context: Path, registry: LocalRegistry, busybox_base: Any
) -> None:
    """And the index itself, so that its digest stays what the registry calls it."""
    manifest = busybox_base.blob(busybox_base.digest)
    document = json.loads(manifest)
    entry = {
        "mediaType": document["mediaType"],
        "digest": busybox_base.digest,
        "size": len(manifest),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    absent = {
        **entry,
        "digest": str(Digest.of(b"absent")),
        "platform": {"os": "linux", "architecture": "s390x"},
    }
    media_type = "application/vnd.oci.image.index.v1+json"
    index = {"schemaVersion": 2, "mediaType": media_type, "manifests": [absent, entry]}
    registry.add_manifest("two/base", json.dumps(index).encode(), media_type, tag="many")

    build(
        context,
        registry,
        f"FROM {registry.reference('one/base')}\n"
        f"COPY --from={registry.reference('two/base')}:many /bin/busybox /copied\n",
        platforms=["linux/amd64"],
    )

    assert strangers(registry) == set()
    assert granted(registry, "two/base") == {"ben"}


def test_a_cache_of_another_account_is_written_and_read(
    engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """By buildpush, as its owner; an engine that has forgotten everything finds its steps in it."""
    cache = f"type=registry,ref={registry.reference('cache/of')}:main"
    dockerfile = (
        f"FROM {registry.reference('one/base')}\nCOPY file /\n"
        "RUN cat /proc/sys/kernel/random/uuid > /made\n"
    )
    build(context, registry, dockerfile, cache_to=[f"{cache},mode=max"])
    first = registry.digest("app/image", "latest")
    assert first is not None
    engine.api("POST", "/build/prune?all=true")

    build(context, registry, dockerfile, cache_from=[cache])

    again = registry.digest("app/image", "latest")
    assert again is not None
    assert layers(registry, first) == layers(registry, again)
    assert granted(registry, "cache/of") == {"dora"}
    assert strangers(registry) == set()


def layers(registry: LocalRegistry, digest: Digest) -> list[str]:
    manifest = json.loads(registry.manifest("app/image", digest) or b"{}")
    config = json.loads(registry.blob("app/image", manifest["config"]["digest"]) or b"{}")
    found: list[str] = config["rootfs"]["diff_ids"]
    return found


def test_a_direct_delivery_refuses_before_anything_happens(
    context: Path, registry: LocalRegistry
) -> None:
    """BuildKit's client has one credential per host, and would use the wrong one."""
    with pytest.raises(CredentialConflictError, match=registry.host):
        build(
            context,
            registry,
            f"FROM {registry.reference('one/base')}\nCOPY file /\n",
            delivery="direct",
        )

    assert {r.method for r in registry.requests} <= {"GET", "POST", "DELETE"}  # may we push?
    assert not any(r.bytes_received for r in registry.requests)


def test_a_missing_cache_of_another_account_is_a_warning(
    context: Path, registry: LocalRegistry
) -> None:
    """As it is for caches that BuildKit looks for."""
    cache = registry.reference("cache/none")

    sink = build(
        context,
        registry,
        f"FROM {registry.reference('one/base')}\nCOPY file /\n",
        cache_from=[f"type=registry,ref={cache}:main"],
    )

    assert any("cache/none:main could not be read" in warning for warning in sink.warnings)
    assert strangers(registry) == set()
