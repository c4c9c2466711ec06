"""Several accounts on one registry host, and many steps at once: nobody acts under another's name.

The registry's own log of principals is the evidence: each request must have been made by the
account that may touch that repository, or by nobody (before a challenge).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep, Credential
from buildpush.auth import StaticKeychain
from buildpush.backends import BackendCatalog
from buildpush.plan import BuildResult
from buildpush.testing import LocalRegistry, Request, snapshot_tree

READER, PUSHER, CACHER = "reader", "pusher", "cacher"
USERS = {name: f"canary-{name}-password" for name in (READER, PUSHER, CACHER)}
PERMISSIONS = {
    READER: {("base", "pull")},
    PUSHER: {("acme", "pull"), ("acme", "push")},
    CACHER: {("cache", "pull"), ("cache", "push")},
}
OWNER = {"base": READER, "acme": PUSHER, "cache": CACHER}
DOCKERFILE = "ARG BASE\nFROM $BASE\nCOPY file /\nRUN cat /file > /copy\n"

Activate = Callable[[str], None]


@pytest.fixture
def activate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Activate:
    """Make the engine behind a backend's name the one that the environment names."""
    engines = {"docker": "dockerd", "buildx": "dockerd", "buildah": "buildah_root"}

    def activate(backend: str) -> None:
        if backend in engines:
            request.getfixturevalue(engines[backend]).activate(monkeypatch)

    return activate


class UsersFiles:
    """The user's own docker configuration, which must be the same afterwards, to the last byte."""

    def __init__(self) -> None:
        own = Path.home() / ".docker"
        (own / "buildx").mkdir(parents=True)
        (own / "config.json").write_text('{"auths": {}}')
        self._places = {own, Path(os.environ.get("DOCKER_CONFIG") or own)}
        self._before = self._look()

    def _look(self) -> dict[Path, object]:
        return {place: snapshot_tree(place) for place in self._places}

    def assert_untouched(self) -> None:
        assert self._look() == self._before


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "file").write_text("text")
    return folder


def put_base(registry: LocalRegistry, image: Any) -> str:
    """Place the base image without a request, so that nobody needs a right to push it."""
    manifest = image.blob(image.digest)
    document = json.loads(manifest)
    for part in (document["config"], *document["layers"]):
        registry.add_blob("base/busybox", image.blob(part["digest"]))
    registry.add_manifest("base/busybox", manifest, document["mediaType"], tag="1")
    return registry.reference("base/busybox:1")


def keychains(registry: LocalRegistry, users: dict[str, str]) -> list[StaticKeychain]:
    return [
        StaticKeychain(
            prefix=f"{registry.host}/{place}",
            credential=Credential(username=owner, password=users[owner]),
        )
        for place, owner in OWNER.items()
    ]


def strangers(registry: LocalRegistry) -> set[tuple[str, str, str]]:
    """Requests to a repository that were made by somebody else's account."""
    return {
        (request.method, request.path, request.principal)
        for request in registry.requests
        if request.path.startswith("/v2/")
        and request.principal
        and (place := request.path.split("/")[2]) in OWNER
        and request.principal != OWNER[place]
        and not is_refused_question(request)
    }


def is_refused_question(request: Request) -> bool:
    """buildah asks, as whom it pushes as, whether blobs it knows could be mounted; and may not."""
    return request.method == "HEAD" and request.status in (401, 403)


def granted(registry: LocalRegistry) -> set[str]:
    """Whose requests to a repository were answered well."""
    return {
        request.principal
        for request in registry.requests
        if request.path.startswith(("/v2/base/", "/v2/acme/", "/v2/cache/"))
        and 200 <= request.status < 300
    }


BACKENDS = [
    "native",
    pytest.param("buildx", marks=pytest.mark.needs_buildx),
    pytest.param("docker", marks=pytest.mark.needs_docker),
    pytest.param("buildah", marks=pytest.mark.needs_buildah),
]
CACHING = {
    "buildx": ("type=registry,ref={},mode=max", "type=registry,ref={}"),
    "buildah": ("type=registry,ref={}", "type=registry,ref={}"),
}


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", ["basic", "token"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_each_request_is_made_by_the_account_that_may(
    backend: str,
    kind: Any,
    context: Path,
    activate: Activate,
    busybox_base: Any,
) -> None:
    """Base image, push and cache on one host, with an account each; the home stays as it was."""
    activate(backend)
    files = UsersFiles()
    with LocalRegistry(auth=kind, users=USERS, permissions=PERMISSIONS) as registry:
        base = put_base(registry, busybox_base)
        settings: dict[str, Any] = {}
        expected = {READER, PUSHER}
        if backend in CACHING:
            cache = registry.reference("cache/app" if backend == "buildah" else "cache/app:main")
            settings["cache_to"] = [CACHING[backend][0].format(cache)]
            settings["cache_from"] = [CACHING[backend][1].format(cache)]
            expected.add(CACHER)
        step = BuildAndPushStep(
            repo=registry.reference("acme/app"),
            context=context,
            build_args={"BASE": base},
            backend=backend,
            auth=keychains(registry, USERS),
            network="host" if backend in ("docker", "buildx") else "default",
            no_cache=True,
            **settings,
        )

        result = step.run()

        assert registry.digest("acme/app", "latest") == result.digest
        assert strangers(registry) == set()
        assert granted(registry) - {""} == expected
    files.assert_untouched()


@pytest.mark.needs_root
@pytest.mark.parametrize("backend", BACKENDS)
def test_fifty_steps_at_once(
    backend: str, tmp_path: Path, activate: Activate, busybox_base: Any
) -> None:
    """In one process, each with its own account: every push is made by the one it belongs to."""
    activate(backend)
    count = 50
    names = [f"user{number:02d}" for number in range(count)]
    users = {name: f"canary-password-of-{name}" for name in names}
    rights = {
        name: {("base", "pull"), (f"acme/{name}", "pull"), (f"acme/{name}", "push")}
        for name in names
    }
    files = UsersFiles()
    with LocalRegistry(auth="token", users=users, permissions=rights) as registry:
        base = put_base(registry, busybox_base)

        def run(name: str) -> object:
            folder = tmp_path / name
            folder.mkdir()
            (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY who /\n")
            (folder / "who").write_text(name)
            credential = Credential(username=name, password=users[name])
            keychain = StaticKeychain(prefix=registry.host, credential=credential)
            return (
                BuildAndPushStep(
                    repo=registry.reference(f"acme/{name}"),
                    context=folder,
                    backend=backend,
                    auth=[keychain],
                )
                .run()
                .digest
            )

        with ThreadPoolExecutor(count) as pool:
            digests = list(pool.map(run, names))

        assert [registry.digest(f"acme/{name}", "latest") for name in names] == digests
        assert len(set(digests)) == count
        mixed = {
            (request.path, request.principal)
            for request in registry.requests
            if request.path.startswith("/v2/acme/")
            and request.principal not in ("", request.path.split("/")[3])
            and not is_refused_question(request)
        }
        assert mixed == set()
    files.assert_untouched()


def test_every_backend_is_known() -> None:
    """The names above are those that are installed."""
    assert {"native", "buildx", "docker", "buildah"} <= set(BackendCatalog.discover().entries)


@pytest.mark.needs_root
@pytest.mark.needs_buildx
def test_layers_met_under_another_account_do_not_stop_a_push(
    context: Path, private_dockerd: Any, busybox_base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BuildKit wants to mount them from where it pushed them; where it may not, buildpush pushes."""
    private_dockerd.activate(monkeypatch)  # which has met nothing yet
    users = {name: f"canary-password-of-{name}" for name in ("first", "second")}
    rights = {
        name: {("base", "pull"), (f"acme/{name}", "pull"), (f"acme/{name}", "push")}
        for name in users
    }
    with LocalRegistry(auth="token", users=users, permissions=rights) as registry:
        base = put_base(registry, busybox_base)

        def push_as(name: str) -> BuildResult:
            credential = Credential(username=name, password=users[name])
            return BuildAndPushStep(
                repo=registry.reference(f"acme/{name}"),
                context=context,
                build_args={"BASE": base},
                backend="buildx",
                auth=[StaticKeychain(prefix=registry.host, credential=credential)],
                network="host",
            ).run()

        first, second = push_as("first"), push_as("second")

        assert registry.digest("acme/second", "latest") == second.digest
        told = "buildpush pushes instead of BuildKit"
        assert [any(w.endswith(told) for w in run.warnings) for run in (first, second)] == [
            False,
            True,
        ]
