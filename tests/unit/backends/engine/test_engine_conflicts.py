"""Which account an engine keeps, and what buildpush does for the others."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.auth import Chain, Credential, Keychain, PullOnly, StaticKeychain
from buildpush.backends.engine.conflicts import Settled, send_caches, settle, wants
from buildpush.dockerfile import parse
from buildpush.errors import CredentialConflictError, NotFoundError, RegistryError
from buildpush.oci import Digest, ImageReference, Platform, Repository
from buildpush.oci.layout import Layout
from buildpush.plan import BuildRequest, Delivery
from buildpush.plan.values import Cache
from buildpush.runtime import CancelToken, Run
from buildpush.testing import LocalRegistry, RecordingSink
from buildpush.testing.images import random_image

OWN = Platform("linux", "amd64")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    work = tmp_path / "work"
    work.mkdir()
    return Run(workdir=work, cancel=CancelToken(), sink=RecordingSink())


def request(dockerfile: str, **fields: Any) -> BuildRequest:
    return BuildRequest(
        context=Path("/context"),
        dockerfile=parse(dockerfile),
        dockerfile_path=Path("/context/Dockerfile"),
        **fields,
    )


def accounts(owners: Mapping[str, str]) -> Keychain:
    return Chain(
        tuple(
            StaticKeychain(prefix=p, credential=Credential(username=u, password=f"canary-{u}"))
            for p, u in owners.items()
        )
    )


def cache(kind: str, **attributes: str) -> Cache:
    return Cache(type=kind, attributes=attributes)


def users(settled: Settled) -> dict[str, str]:
    """Who is logged in where, in the configuration for the engine's client."""
    auths = json.loads(settled.config)["auths"]
    return {
        host: base64.b64decode(entry["auth"]).decode().partition(":")[0]
        for host, entry in auths.items()
    }


def test_all_that_is_asked_of_registries() -> None:
    """Each once, in the words of the Dockerfile, with the platforms it is wanted for."""
    asked = wants(
        request(
            "# syntax=r.io/frontend:1\nFROM r.io/base AS a\nFROM a\nCOPY --from=r.io/tools:2 x /\n"
            "COPY --from=named x /\nRUN --mount=from=r.io/mounted true\n",
            platforms=(OWN, Platform("linux", "arm64")),
            build_contexts={"named": "docker-image://r.io/named", "local": "./x"},
            cache_from=(cache("registry", ref="r.io/cache"), cache("local", src="/x")),
            cache_to=(cache("registry", ref="r.io/cache:w"), cache("inline")),
            references=(ImageReference.parse("r.io/app:1"),),
            delivery=Delivery.DIRECT,
            sbom=True,
        ),
        OWN,
    )

    assert [(want.role, str(want.reference), want.access) for want in asked] == [
        ("frontend", "r.io/frontend:1", "pull"),
        ("frontend", "docker.io/docker/buildkit-syft-scanner:latest", "pull"),
        ("base", "r.io/base:latest", "pull"),
        ("base", "r.io/tools:2", "pull"),
        ("base", "r.io/mounted:latest", "pull"),
        ("context", "r.io/named:latest", "pull"),
        ("cache", "r.io/cache:latest", "pull"),
        ("cache export", "r.io/cache:w", "push"),
        ("push", "r.io/app:1", "push"),
    ]
    assert [str(p) for p in asked[2].platforms] == ["linux/amd64", "linux/arm64"]


def test_frontends_and_scanners_may_be_named_elsewhere() -> None:
    """By a build arg, and by the setting; what is no reference is left to the engine."""
    asked = wants(
        request(
            "# syntax=NOT A REFERENCE\nFROM scratch\n",
            build_args={"BUILDKIT_SYNTAX": "r.io/front"},
            sbom="generator=r.io/scan",
        ),
        OWN,
    )

    assert [str(want.reference) for want in asked] == ["r.io/front:latest", "r.io/scan:latest"]


def test_a_dockerfile_for_another_frontend() -> None:
    """What its stages mean only that frontend knows."""
    assert wants(request("FROM ${NOBODY_SAYS}\n"), OWN) == ()


def test_one_account_per_host_needs_no_detour(run: Run) -> None:
    """The request stays as it is; the redactor learns the secrets."""
    asked = request("FROM r.io/base\nCOPY --from=q.io/base x /\n")

    settled = settle(asked, accounts({"r.io": "anna", "q.io": "ben"}), run, OWN)

    assert settled.request == asked
    assert users(settled) == {"r.io": "anna", "q.io": "ben"}
    assert run.redact("canary-anna") == "***"
    assert "canary" not in repr(settled)


def test_nobody_needs_no_account(run: Run) -> None:
    """A public image beside a private one is asked for as the same user."""
    settled = settle(
        request("FROM r.io/public\nCOPY --from=r.io/private/x x /\n"),
        accounts({"r.io/private": "anna"}),
        run,
        OWN,
    )

    assert users(settled) == {"r.io": "anna"}


def test_a_direct_delivery_cannot_have_two(run: Run) -> None:
    """Pushing is the engine's then."""
    asked = request(
        "FROM r.io/base\n",
        references=(ImageReference.parse("r.io/app:1"),),
        delivery=Delivery.DIRECT,
    )

    with pytest.raises(CredentialConflictError, match=r"r\.io"):
        settle(asked, accounts({"r.io/base": "anna", "r.io/app": "ben"}), run, OWN)


def test_two_frontends_of_two_accounts(run: Run) -> None:
    """No build context can stand in for them."""
    asked = request("# syntax=r.io/a\nFROM scratch\n", sbom="generator=r.io/b")

    with pytest.raises(CredentialConflictError, match="frontends and scanners on r"):
        settle(asked, accounts({"r.io/a": "anna", "r.io/b": "ben"}), run, OWN)


# --- with a registry ---


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    owned = {"one": "anna", "two": "ben", "cache": "dora"}
    with LocalRegistry(
        auth="token",
        users={user: f"canary-{user}" for user in owned.values()},
        permissions={u: {(place, "pull"), (place, "push")} for place, u in owned.items()},
    ) as registry:
        yield registry


def keychain(registry: LocalRegistry) -> Keychain:
    owned = {"one": "anna", "two": "ben", "cache": "dora"}
    return accounts({f"{registry.host}/{place}": user for place, user in owned.items()})


def put(registry: LocalRegistry, repository: str, tmp_path: Path) -> Digest:
    """An image in the registry; its digest."""
    layout = Layout.create(tmp_path / f"image-{repository}")
    digest = random_image(layout)
    data = layout.read(digest)
    document: Any = layout.document(digest)
    for blob in (document.config, *document.layers):
        registry.add_blob(repository, layout.blob_path(blob.digest).read_bytes())
    registry.add_manifest(repository, data, document.media_type, tag="latest")
    return digest


def test_the_second_accounts_image_becomes_a_context(
    registry: LocalRegistry, run: Run, tmp_path: Path
) -> None:
    """Called as the Dockerfile calls it; the first account stays with the engine."""
    digest = put(registry, "two", tmp_path)
    two = registry.reference("two")
    asked = request(f"FROM {registry.reference('one')}\nCOPY --from={two} x /\n")

    settled = settle(asked, keychain(registry), run, OWN)

    place = settled.request.build_contexts[two]
    assert place.startswith("oci-layout://") and place.endswith(f"@{digest}")
    layout = Layout.open(Path(place.removeprefix("oci-layout://").partition("@")[0]))
    assert all(layout.has(x.digest) for x in document_layers(layout, digest))
    assert users(settled) == {registry.host: "anna"}
    assert {r.principal for r in registry.requests if "/v2/two/" in r.path} <= {"ben", ""}


def document_layers(layout: Layout, digest: Digest) -> tuple[Any, ...]:
    document: Any = layout.document(digest)
    layers: tuple[Any, ...] = document.layers
    return layers


def test_a_frontend_decides_which_account_stays(
    registry: LocalRegistry, run: Run, tmp_path: Path
) -> None:
    """Base images can be brought, frontends cannot."""
    put(registry, "one", tmp_path)
    one = registry.reference("one")
    asked = request(f"# syntax={registry.reference('two')}\nFROM {one}\n")

    settled = settle(asked, keychain(registry), run, OWN)

    assert users(settled) == {registry.host: "ben"}
    assert one in settled.request.build_contexts


def cached(registry: LocalRegistry, ref: str, *, required: bool = False) -> BuildRequest:
    one = registry.reference("one")
    entry = cache("registry", ref=registry.reference(ref), mode="max")
    return request(f"FROM {one}\n", cache_from=(evolve(entry, required=required),))


def test_the_second_accounts_cache_becomes_a_folder(
    registry: LocalRegistry, run: Run, tmp_path: Path
) -> None:
    """An image with an inline cache is one as well."""
    digest = put(registry, "cache", tmp_path)

    settled = settle(cached(registry, "cache"), keychain(registry), run, OWN)

    (found,) = settled.request.cache_from
    assert found.type == "local"
    assert found.attributes["digest"] == str(digest)
    layout = Layout.open(Path(found.attributes["src"]))
    assert all(layout.has(x.digest) for x in document_layers(layout, digest))


def test_a_cache_may_be_an_index_of_layers(registry: LocalRegistry, run: Run) -> None:
    """In name only: what it lists are no manifests."""
    layer = registry.add_blob("cache", b"layer")
    index_type = "application/vnd.oci.image.index.v1+json"
    entry = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": str(layer),
        "size": 5,
    }
    data = json.dumps({"schemaVersion": 2, "mediaType": index_type, "manifests": [entry, entry]})
    registry.add_manifest("cache", data.encode(), index_type, tag="latest")

    settled = settle(cached(registry, "cache"), keychain(registry), run, OWN)

    (found,) = settled.request.cache_from
    assert Layout.open(Path(found.attributes["src"])).has(layer)


def test_a_cache_that_is_not_there(registry: LocalRegistry, run: Run) -> None:
    """A warning; and an error where it is required."""
    settled = settle(cached(registry, "cache"), keychain(registry), run, OWN)

    assert settled.request.cache_from == ()
    sink: Any = run.sink
    assert "could not be read" in sink.warnings[0]
    with pytest.raises(NotFoundError):
        settle(cached(registry, "cache", required=True), keychain(registry), run, OWN)


def exporting(registry: LocalRegistry, *, required: bool = False) -> BuildRequest:
    entry = Cache(
        type="registry",
        attributes={"ref": registry.reference("cache:w"), "mode": "max"},
        required=required,
    )
    inline = cache("inline")
    return request(f"FROM {registry.reference('one')}\n", cache_to=(inline, entry))


def test_the_second_accounts_cache_is_written_and_sent(registry: LocalRegistry, run: Run) -> None:
    """The engine writes a folder; buildpush pushes it, as the cache's owner."""
    asked = exporting(registry)
    written = frozenset({Repository(registry.host, "cache")})
    settled = settle(asked, PullOnly(keychain(registry), written), run, OWN)
    inline, local = settled.request.cache_to
    assert (inline.type, local.type) == ("inline", "local")
    assert (local.attributes["mode"], local.attributes["image-manifest"]) == ("max", "true")
    assert "ref" not in local.attributes
    layout = Layout.create(Path(local.attributes["dest"]))
    digest = random_image(layout)
    layout.set_index(tuple(d for d, _ in layout.manifests(digest)))

    send_caches(settled, keychain(registry), run, asked)

    assert registry.digest("cache", "w") == digest
    assert {r.principal for r in registry.requests if "/v2/cache/" in r.path} <= {"dora", ""}


@pytest.mark.parametrize("required", [False, True])
def test_a_cache_that_cannot_be_sent(required: bool, registry: LocalRegistry, run: Run) -> None:
    """The engine left none."""
    asked = exporting(registry, required=required)
    settled = settle(asked, keychain(registry), run, OWN)
    Layout.create(Path(settled.request.cache_to[1].attributes["dest"]))

    if required:
        with pytest.raises(RegistryError, match="wrote no cache"):
            send_caches(settled, keychain(registry), run, asked)
    else:
        send_caches(settled, keychain(registry), run, asked)
        sink: Any = run.sink
        assert "could not be written" in sink.warnings[0]


def test_nothing_to_send(run: Run) -> None:
    """Then nobody is asked."""
    asked = request("FROM scratch\n")

    send_caches(settle(asked, accounts({}), run, OWN), accounts({}), run, asked)
