"""A real kaniko and registries: accounts, caches that work or do not, platforms, what is pushed.

The registry's own log is the evidence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest
from kaniko_executors import ARCHIVES, flavor_of, kaniko_backend
from kaniko_fixtures import KanikoImage, load_kaniko

from buildpush import BuildAndPushStep, Credential
from buildpush.auth import StaticKeychain
from buildpush.backends.kaniko import KanikoBackend
from buildpush.errors import AuthError, RegistryError, RegistryUnavailableError
from buildpush.events import TaskFinished, TaskStarted
from buildpush.plan import BuildResult
from buildpush.testing import LocalRegistry, PulledImage, RecordingSink, pull_image
from buildpush.testing.conformance.shell import Busybox

pytestmark = pytest.mark.needs_docker

READER, PUSHER, CACHER = "reader", "pusher", "cacher"
USERS = {name: f"canary-{name}-password" for name in (READER, PUSHER, CACHER)}
PERMISSIONS = {
    READER: {("base", "pull")},
    PUSHER: {("acme", "pull"), ("acme", "push")},
    CACHER: {("cache", "pull"), ("cache", "push")},
}
OWNER = {"base": READER, "acme": PUSHER, "cache": CACHER}
STAGES = (
    "FROM {base} AS made\nCOPY input /input\nRUN cat /input >/output && cat /proc/sys/kernel/random/uuid >>/output\n"
    "FROM {base}\nCOPY --from=made /output /output\nRUN cat /proc/sys/kernel/random/uuid >/last\n"
)


class Engine(Protocol):
    env: Mapping[str, str]

    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None: ...


@pytest.fixture(params=ARCHIVES or [None], ids=lambda archive: archive.stem if archive else "none")
def image(
    request: pytest.FixtureRequest,
    kaniko_archives: tuple[Path, ...],
    dockerd: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> KanikoImage:
    """Each executor at hand."""
    loaded = load_kaniko(request.param, dockerd.env)
    dockerd.activate(monkeypatch)
    return loaded


@pytest.fixture
def backend(image: KanikoImage) -> KanikoBackend:
    return kaniko_backend(image.name)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "input").write_text("first")
    return folder


def put_base(registry: LocalRegistry) -> str:
    return Busybox(Path("/bin/busybox")).put(registry, "base/busybox", "1")


def build(context: Path, text: str, repo: str, **settings: Any) -> BuildResult:
    (context / "Dockerfile").write_text(text)
    return BuildAndPushStep(repo=repo, context=context, **settings).run()


def content(image: PulledImage, path: str) -> bytes | None:
    return image.files()[path].content


# --- accounts ---


@pytest.fixture
def token_host(image: KanikoImage, kind: str) -> None:
    """Chainguard's go-containerregistry asks no token service that a private address names."""
    if kind == "token" and flavor_of(image.name) == "chainguard":
        pytest.skip("Chainguard's executor takes no token service by a private address")


@pytest.mark.parametrize("delivery", ["layout", "direct"])
@pytest.mark.parametrize("kind", ["basic", "token"])
@pytest.mark.usefixtures("token_host")
def test_each_request_is_made_by_the_account_that_may(
    kind: Any, delivery: str, backend: KanikoBackend, context: Path, busybox_base: Any
) -> None:
    """Base image, push and cache on one host, with an account each.

    Where kaniko pushes the image, too, the cache has that account: it has one for each host.
    """
    users, owner = dict(USERS), dict(OWNER)
    permissions = {name: set(rights) for name, rights in PERMISSIONS.items()}
    if delivery == "direct":
        permissions[PUSHER] |= permissions.pop(CACHER)
        owner["cache"] = PUSHER
    with LocalRegistry(auth=kind, users=users, permissions=permissions) as registry:
        base = place(registry, busybox_base)
        result = build(
            context,
            f"FROM {base}\nCOPY input /\nRUN cat /input >/copy\n",
            registry.reference("acme/app"),
            backend=backend,
            delivery=delivery,
            remote_cache_repo=registry.reference("cache/app"),
            auth=[
                StaticKeychain(
                    prefix=f"{registry.host}/{place}",
                    credential=Credential(username=name, password=users[name]),
                )
                for place, name in owner.items()
            ],
        )

        assert registry.digest("acme/app", "latest") == result.digest
        acted = {
            (request.path.split("/")[2], request.principal)
            for request in registry.requests
            if request.path.count("/") > 2 and 200 <= request.status < 300
        }
        assert {pair for pair in acted if pair[0] in owner} == set(owner.items())
        assert list(result.warnings) == []


def place(registry: LocalRegistry, image: Any) -> str:
    """Place the base image without a request, so that nobody needs a right to push it."""
    manifest = image.blob(image.digest)
    document = json.loads(manifest)
    for part in (document["config"], *document["layers"]):
        registry.add_blob("base/busybox", image.blob(part["digest"]))
    registry.add_manifest("base/busybox", manifest, document["mediaType"], tag="1")
    return registry.reference("base/busybox:1")


def test_twenty_steps_at_once(backend: KanikoBackend, tmp_path: Path, busybox_base: Any) -> None:
    """In one process, each with its own account: every push is made by the one it belongs to."""
    names = [f"user{number:02d}" for number in range(20)]
    users = {name: f"canary-password-of-{name}" for name in names}
    rights = {
        name: {("base", "pull"), (f"acme/{name}", "pull"), (f"acme/{name}", "push")}
        for name in names
    }
    with LocalRegistry(auth="basic", users=users, permissions=rights) as registry:
        base = place(registry, busybox_base)

        def run(name: str) -> object:
            folder = tmp_path / name
            folder.mkdir()
            (folder / "who").write_text(name)
            credential = Credential(username=name, password=users[name])
            return build(
                folder,
                f"FROM {base}\nCOPY who /\nRUN cat /who >/me\n",
                registry.reference(f"acme/{name}"),
                backend=backend,
                delivery="direct" if int(name[4:]) % 2 else "layout",
                auth=[StaticKeychain(prefix=registry.host, credential=credential)],
            ).digest

        with ThreadPoolExecutor(len(names)) as pool:
            digests = list(pool.map(run, names))

        assert [registry.digest(f"acme/{name}", "latest") for name in names] == digests
        assert len(set(digests)) == len(names)
        mixed = {
            (request.path, request.principal)
            for request in registry.requests
            if request.path.startswith("/v2/acme/")
            and request.principal not in ("", request.path.split("/")[3])
        }
        assert mixed == set()


# --- caches ---


def test_a_cache_in_a_registry(backend: KanikoBackend, context: Path) -> None:
    """What changed is made anew, content behind COPY --from included; nothing else is."""
    with LocalRegistry() as registry:
        base = put_base(registry)
        text = STAGES.format(base=base)
        cache = registry.reference("cache/app")

        def once() -> tuple[bytes | None, bytes | None]:
            repo = registry.reference("acme/app")
            build(context, text, repo, backend=backend, remote_cache_repo=cache)
            made = pull_image(f"{repo}:latest")
            return content(made, "output"), content(made, "last")

        first, second = once(), once()
        os.utime(context / "input", (1, 1))
        touched = once()
        (context / "input").write_text("other")
        changed = once()

        assert first == second == touched
        assert changed[0] is not None
        assert changed[0].startswith(b"other")
        assert changed[1] != first[1]


def test_steps_from_the_cache_are_told(backend: KanikoBackend, context: Path) -> None:
    """A task for each instruction, with how it ended."""
    with LocalRegistry() as registry:
        (context / "Dockerfile").write_text(f"FROM {put_base(registry)}\nRUN echo a >/a\n")
        step = BuildAndPushStep(
            repo=registry.reference("acme/app"),
            context=context,
            backend=backend,
            remote_cache_repo=registry.reference("cache/app"),
        )
        step.run()

        sink = RecordingSink()
        step.run(on_event=sink)

        titles = {e.task: e.title for e in sink.events if isinstance(e, TaskStarted)}
        cached = [
            titles[e.task]
            for e in sink.events
            if isinstance(e, TaskFinished) and e.outcome == "cached"
        ]
        assert [title for title in cached if "RUN echo" in title]


class Troubled:
    """A cache repository that cannot be used, on a registry of its own."""

    def __init__(self, how: str, elsewhere: LocalRegistry) -> None:
        self.repository = elsewhere.reference("cache/app")
        self.auth: list[StaticKeychain] = []
        if how == "down":
            self.repository = "127.0.0.1:9/cache/app"
        elif how == "wrong password":
            credential = Credential(username=CACHER, password="canary-wrong")
            self.auth = [StaticKeychain(prefix=elsewhere.host, credential=credential)]


TROUBLES = ("anonymous", "wrong password", "down")


@pytest.mark.parametrize("delivery", ["layout", "direct"])
@pytest.mark.parametrize("how", TROUBLES)
def test_a_cache_in_trouble_fails_no_build(
    how: str, delivery: str, backend: KanikoBackend, context: Path
) -> None:
    """It is a warning."""
    with (
        LocalRegistry() as registry,
        LocalRegistry(auth="basic", users=USERS, permissions=PERMISSIONS) as elsewhere,
    ):
        trouble = Troubled(how, elsewhere)

        result = build(
            context,
            f"FROM {put_base(registry)}\nRUN echo a >/a\n",
            registry.reference("acme/app"),
            backend=backend,
            delivery=delivery,
            remote_cache_repo=trouble.repository,
            auth=trouble.auth,
            retries=1,
        )

        assert registry.digest("acme/app", "latest") == result.digest
        assert [w for w in result.warnings if "cache" in w]


@pytest.mark.parametrize("delivery", ["layout", "direct"])
@pytest.mark.parametrize("setting", ["cache_from", "cache_to"])
@pytest.mark.parametrize("how", TROUBLES)
def test_a_required_cache_in_trouble_fails_the_build(
    how: str, setting: str, delivery: str, backend: KanikoBackend, context: Path
) -> None:
    """With what the registry says."""
    with (
        LocalRegistry() as registry,
        LocalRegistry(auth="basic", users=USERS, permissions=PERMISSIONS) as elsewhere,
    ):
        trouble = Troubled(how, elsewhere)
        caches: dict[str, Any] = {
            setting: [f"type=registry,ref={trouble.repository},required=true"]
        }
        kind = RegistryUnavailableError if how == "down" else (AuthError, RegistryError)

        with pytest.raises(kind):
            build(
                context,
                f"FROM {put_base(registry)}\nRUN echo a >/a\n",
                registry.reference("acme/app"),
                backend=backend,
                delivery=delivery,
                auth=trouble.auth,
                retries=0,
                **caches,
            )


# --- what is pushed ---


@pytest.mark.parametrize("delivery", ["layout", "direct"])
def test_the_digest_is_that_of_every_tag(
    delivery: str, backend: KanikoBackend, context: Path
) -> None:
    """Several tags, one digest, whoever pushes."""
    with LocalRegistry() as registry:
        result = build(
            context,
            f"FROM {put_base(registry)}\nCOPY input /\n",
            registry.reference("acme/app"),
            backend=backend,
            delivery=delivery,
            tags=["1", "1.2"],
        )

        assert {registry.digest("acme/app", tag) for tag in ("1", "1.2")} == {result.digest}


@pytest.mark.parametrize("delivery", ["layout", "direct"])
def test_two_platforms_are_one_index(delivery: str, backend: KanikoBackend, context: Path) -> None:
    """Each image says which platform it is for, and COPY needs no emulation."""
    with LocalRegistry() as registry:
        result = build(
            context,
            "FROM scratch\nARG TARGETARCH\nCOPY input /$TARGETARCH\n",
            registry.reference("acme/app"),
            backend=backend,
            delivery=delivery,
            platforms=["linux/amd64", "linux/arm64"],
        )

        assert registry.digest("acme/app", "latest") == result.digest
        reference = f"{registry.reference('acme/app')}:latest"
        for architecture in ("amd64", "arm64"):
            found = pull_image(reference, platform=f"linux/{architecture}")
            assert [*found.files()] == [architecture]
