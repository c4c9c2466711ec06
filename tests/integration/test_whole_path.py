"""Settings in, image in a real registry, digest proven: the whole path, judged by others."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import anyio
import pytest

from buildpush import BuildAndPushStep, BuildResult, Credential, StaticKeychain
from buildpush.errors import BuildError
from buildpush.events import Event, TaskFinished, TaskLog, TaskStarted
from buildpush.oci.layout import Layout, verify
from buildpush.oci.wire import parse_config
from buildpush.testing import LocalRegistry, find_secrets, snapshot_tree

TWO_STAGES = """\
ARG BASE
FROM ${BASE} AS build
ARG GREETING=hello
WORKDIR /src
COPY source.txt .
RUN echo "$GREETING, $(cat source.txt)" > result.txt && chmod 0640 result.txt

FROM ${BASE}
ARG GREETING
RUN groupadd --gid 4711 app && useradd --uid 4711 --gid app --create-home app
COPY --from=build --chown=app:app /src/result.txt /srv/result.txt
USER app
RUN test "$(id -un)" = app && cat /srv/result.txt && echo "$GREETING" > ~/greeting
CMD ["cat", "/srv/result.txt"]
"""


class Pushable(Protocol):
    def push(self, host: str, repository: str, tag: str) -> str: ...


class Registry(Protocol):
    host: str

    def reference(self, name: str) -> str: ...


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "source.txt").write_text("world\n")
    (folder / "Dockerfile").write_text(TWO_STAGES)
    return folder


def outcomes(events: list[Event]) -> dict[str, str]:
    titles = {e.task: e.title for e in events if isinstance(e, TaskStarted)}
    return {titles[e.task]: e.outcome for e in events if isinstance(e, TaskFinished)}


@pytest.mark.needs_root
@pytest.mark.needs_registry
@pytest.mark.needs_skopeo
@pytest.mark.needs_debian
def test_two_stages_on_debian_into_a_real_registry(
    context: Path,
    tmp_path: Path,
    docker_registry: Registry,
    debian_base: Pushable,
    repository: str,
) -> None:
    """skopeo and we agree on every digest, and the second run is all cached."""
    base = debian_base.push(docker_registry.host, f"{repository}/base", "1")
    repo = docker_registry.reference(f"{repository}/app")
    step = BuildAndPushStep(
        repo=repo,
        tags=["1.0", "latest"],
        context=context,
        build_args={"BASE": base, "GREETING": "goodbye"},
        backend="native",
    )
    first: list[Event] = []
    second: list[Event] = []

    result = step.run(on_event=first.append)
    again = step.run(on_event=second.append)

    copied = tmp_path / "copied"
    subprocess.run(
        ["skopeo", "copy", "--src-tls-verify=false", f"docker://{repo}:1.0", f"oci:{copied}:x"],
        check=True,
        capture_output=True,
    )
    layout = Layout.open(copied)
    (image,) = verify(layout, layout.index().manifests[0].digest)
    config = parse_config(layout.read(image.config.digest))
    assert image.manifest.digest == result.digest == again.digest
    assert [str(reference) for reference in result.references] == [
        f"{repo}:1.0@{result.digest}",
        f"{repo}:latest@{result.digest}",
    ]
    (summary,) = result.images.values()
    assert (summary.digest, summary.config) == (image.manifest.digest, image.config.digest)
    assert (summary.size, summary.layers) == (image.size, len(image.layers))
    assert config.config.user == "app"
    assert config.config.cmd == ("cat", "/srv/result.txt")
    assert "goodbye, world" in [e.line for e in first if isinstance(e, TaskLog)]
    steps = {title: end for title, end in outcomes(second).items() if title.startswith("[")}
    assert set(steps.values()) == {"cached"}
    assert not [title for title in outcomes(second) if title.startswith(("push", "upload"))]


@pytest.mark.needs_root
def test_a_second_run_asks_only_whether_it_may_push_and_for_the_tags(
    context: Path, local_registry: LocalRegistry, busybox_base: Pushable
) -> None:
    """Nothing is uploaded: one upload is begun and cancelled, and manifests are looked up."""
    base = busybox_base.push(local_registry.host, "base/busybox", "1")
    (context / "Dockerfile").write_text(f"FROM {base}\nCOPY source.txt /\nRUN cat /source.txt\n")
    step = BuildAndPushStep(
        repo=local_registry.reference("acme/app"), tags=["1", "2"], context=context
    )
    step.run(backend="native")
    local_registry.clear_log()

    step.run(backend="native")

    asked = {(request.method, request.path) for request in local_registry.requests}
    assert {r.bytes_received for r in local_registry.requests} == {0}
    assert [r.method for r in local_registry.requests if "/blobs/" in r.path] == ["POST", "DELETE"]
    assert ("HEAD", "/v2/acme/app/manifests/1") in asked
    assert ("HEAD", "/v2/acme/app/manifests/2") in asked


def copy_only(context: Path, registry: LocalRegistry) -> BuildAndPushStep:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY source.txt /\n")
    return BuildAndPushStep(repo=registry.reference("acme/app"), context=context, backend="native")


def run(step: BuildAndPushStep) -> BuildResult:
    return step.run()


def stream(step: BuildAndPushStep) -> BuildResult:
    with step.stream() as events:
        for _ in events:
            pass
        return events.result


def in_a_thread(step: BuildAndPushStep) -> BuildResult:
    results: list[BuildResult] = []
    thread = threading.Thread(target=lambda: results.append(step.run()))
    thread.start()
    thread.join()
    return results[0]


def in_asyncio(step: BuildAndPushStep) -> BuildResult:
    return anyio.run(step.arun, backend="asyncio")


def in_trio(step: BuildAndPushStep) -> BuildResult:
    return anyio.run(step.arun, backend="trio")


async def _astream(step: BuildAndPushStep) -> BuildResult:
    async with step.astream() as events:
        async for _ in events:
            pass
        return events.result


def astream(step: BuildAndPushStep) -> BuildResult:
    return anyio.run(_astream, step)


@pytest.mark.parametrize("way", [run, stream, in_a_thread, in_asyncio, in_trio, astream])
def test_every_way_to_run_a_step_gives_the_same(
    way: object, context: Path, local_registry: LocalRegistry
) -> None:
    """One step, six ways: the registry holds the digest that was returned."""
    step = copy_only(context, local_registry)

    result = way(step)  # type: ignore[operator]

    assert local_registry.digest("acme/app", "latest") == result.digest
    assert result.digest == step.run().digest


@pytest.mark.needs_root
def test_two_accounts_on_one_host(context: Path, busybox_base: Pushable) -> None:
    """The base is pulled by one account and the image pushed by another, on one registry."""
    users = {"reader": "r3ader-password", "writer": "wr1ter-password"}
    permissions = {
        "reader": {("base", "pull")},
        "writer": {("acme", "pull"), ("acme", "push")},
    }
    with LocalRegistry() as open_registry:
        source = busybox_base.push(open_registry.host, "base/busybox", "1")
        manifest = open_registry.manifest("base/busybox", "1")
        assert manifest is not None
        blobs = [
            open_registry.blob("base/busybox", part["digest"])
            for part in (json.loads(manifest)["config"], *json.loads(manifest)["layers"])
        ]
    assert source
    with LocalRegistry(auth="token", users=users, permissions=permissions) as registry:  # type: ignore[arg-type]
        for blob in blobs:
            assert blob is not None
            registry.add_blob("base/busybox", blob)
        media_type = json.loads(manifest)["mediaType"]
        registry.add_manifest("base/busybox", manifest, media_type, tag="1")
        base = registry.reference("base/busybox:1")
        (context / "Dockerfile").write_text(f"FROM {base}\nRUN echo ok > /ok\n")

        BuildAndPushStep(
            repo=registry.reference("acme/app"),
            context=context,
            backend="native",
            auth=[
                StaticKeychain(
                    prefix=registry.host,
                    credential=Credential(username="reader", password=users["reader"]),
                    access="pull",
                ),
                StaticKeychain(
                    prefix=registry.host,
                    credential=Credential(username="writer", password=users["writer"]),
                    access="push",
                ),
            ],
        ).run()

        pulled = {r.principal for r in registry.requests if "/base/" in r.path and r.status < 400}
        pushed = {r.principal for r in registry.requests if "/acme/" in r.path and r.status < 400}
        assert (pulled, pushed) == ({"reader"}, {"writer"})


@contextmanager
def sampled_processes() -> Iterator[list[str]]:
    """Every argument list of every process that is seen while the block runs."""
    seen: set[str] = set()
    found: list[str] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.002):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    with suppress(OSError):
                        seen.add((entry / "cmdline").read_bytes().decode("utf-8", "replace"))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        found.extend(seen)


def save(registry: LocalRegistry, repository: str, tag: str, folder: Path) -> None:
    """Write the manifest, config and layers behind a tag into *folder*."""
    manifest = registry.manifest(repository, tag)
    assert manifest is not None
    (folder / "manifest").write_bytes(manifest)
    parsed = json.loads(manifest)
    for part in (parsed["config"], *parsed["layers"]):
        blob = registry.blob(repository, part["digest"])
        assert blob is not None
        (folder / part["digest"].replace(":", "-")).write_bytes(blob)


CANARY_PASSWORD = "canary-p4ssw0rd/+="
CANARY_SECRET = "canary-s3cret&value"


@pytest.mark.needs_root
@pytest.mark.parametrize("ending", ["success", "failure"])
def test_canaries_appear_nowhere_and_files_stay_as_they_are(
    ending: str,
    context: Path,
    tmp_path: Path,
    busybox_base: Pushable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No event, error, argument list, layer or config has the password or the secret."""
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    (home / ".docker" / "config.json").write_text('{"auths": {}}')
    monkeypatch.setenv("HOME", str(home))
    end = "true" if ending == "success" else "exit 3"
    with LocalRegistry() as open_registry:
        base = busybox_base.push(open_registry.host, "base/busybox", "1")
        (context / "Dockerfile").write_text(
            f"FROM {base}\n"
            "RUN --mount=type=secret,id=token cat /run/secrets/token && sleep 0.3 \\\n"
            f" && {end}\n"
        )
        before = snapshot_tree(context), snapshot_tree(home)
        events: list[Event] = []
        with (
            LocalRegistry(auth="token", users={"ci": CANARY_PASSWORD}) as registry,
            sampled_processes() as seen,
        ):
            step = BuildAndPushStep(
                repo=registry.reference("acme/app"),
                context=context,
                backend="native",
                secrets={"token": CANARY_SECRET},
                auth=[
                    StaticKeychain(
                        prefix=registry.host,
                        credential=Credential(username="ci", password=CANARY_PASSWORD),
                    )
                ],
            )
            error = ""
            try:
                step.run(on_event=events.append)
            except BuildError as caught:
                error = f"{caught!r} {caught} {caught.report()} {caught.__dict__}"
            tags = registry.tags("acme/app")
            texts = [repr(events), error, repr(step), step.plan().render(), *seen]
            stored = tmp_path / "stored"
            stored.mkdir()
            for number, request in enumerate(registry.requests):
                (stored / f"request-{number}").write_text(f"{request} {request.headers}")
            for repository in registry.repositories:
                for tag in registry.tags(repository):
                    save(registry, repository, tag, stored)

    (stored / "texts").write_text("\n".join(texts))
    cache = Path(os.environ["BUILDPUSH_CACHE"])
    assert tags == (("latest",) if ending == "success" else ())
    assert bool(error) == (ending == "failure")
    assert "***" in repr(events)  # the secret was printed, and hidden
    assert find_secrets([CANARY_PASSWORD, CANARY_SECRET], stored, cache) == ()
    assert (snapshot_tree(context), snapshot_tree(home)) == before
