"""The docker backend on real daemons, in every way that it has of building."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_ways import DockerWay

from buildpush import BuildAndPushStep, BuildResult, Credential
from buildpush.auth import StaticKeychain
from buildpush.backends.docker import DockerBackend
from buildpush.errors import (
    AuthError,
    BuildError,
    BuildpushError,
    CommandEvidence,
    CredentialConflictError,
    NotFoundError,
    PermissionDeniedError,
    RegistryUnavailableError,
    SourceEvidence,
)
from buildpush.events import TaskFinished, TaskStarted
from buildpush.testing import LocalRegistry, RecordingSink

pytestmark = pytest.mark.needs_docker


@pytest.fixture
def registry() -> Any:
    with LocalRegistry() as registry:
        yield registry


@pytest.fixture
def base(busybox_base: Any, registry: LocalRegistry) -> str:
    reference: str = busybox_base.push(registry.host, "library/base")
    return reference


@pytest.fixture
def context(tmp_path: Path, base: str) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        f"FROM {base}\n"
        "ARG VERSION\n"
        f"RUN echo building $VERSION; echo aside >&2; echo {folder} > /unique\n"
        "COPY --chown=1000:1000 . /ctx/\n"
        "ENV A=1\n"
    )
    (folder / "file").write_text("text")
    (folder / "ignored").write_text("not wanted")
    (folder / ".dockerignore").write_text("ignored\n")
    return folder


@pytest.fixture(autouse=True)
def _own_images(docker_way: DockerWay) -> Iterator[None]:
    """What a test has put into the daemon is taken out again."""
    before = docker_way.images()
    yield
    for name in docker_way.images() - before:
        docker_way.remove(name)


def a_step(registry: LocalRegistry, context: Path, **settings: Any) -> BuildAndPushStep:
    given = {"repo": registry.reference("acme/app"), "tags": ["1.4"], "network": "host"}
    return BuildAndPushStep(context=context, **{**given, **settings})


def config_of(registry: LocalRegistry, result: BuildResult) -> Any:
    summary = next(iter(result.images.values()))
    return json.loads(registry.blob("acme/app", summary.config) or b"")


@pytest.mark.parametrize("delivery", ["direct", "layout"])
def test_an_image_is_built_pushed_and_kept(
    docker_way: DockerWay, registry: LocalRegistry, context: Path, delivery: str
) -> None:
    """Under every tag, in the registry as in the daemon, with one digest."""
    step = a_step(
        registry,
        context,
        tags=["1.4", "latest"],
        build_args={"VERSION": "1.4"},
        labels={"org.example": "yes, it = is"},
        delivery=delivery,
    )
    sink = RecordingSink()

    result = step.run(backend=DockerBackend(), on_event=sink)

    names = {registry.reference("acme/app:1.4"), registry.reference("acme/app:latest")}
    config = config_of(registry, result)["config"]
    assert registry.tags("acme/app") == ("1.4", "latest")
    assert {registry.digest("acme/app", tag) for tag in ("1.4", "latest")} == {result.digest}
    assert "A=1" in config["Env"]
    assert config["Labels"]["org.example"] == "yes, it = is"
    assert {"building 1.4", "aside"} <= set(sink.lines)
    assert names <= docker_way.images()


def test_the_second_build_is_cached(
    docker_way: DockerWay, registry: LocalRegistry, context: Path
) -> None:
    """And says so, instruction by instruction."""
    step = a_step(registry, context)
    step.run(backend=DockerBackend())
    sink = RecordingSink()

    step.run(backend=DockerBackend(), on_event=sink)

    titles = {event.task: event.title for event in sink.of(TaskStarted)}
    cached = {titles[e.task] for e in sink.of(TaskFinished) if e.outcome == "cached"}
    assert any("RUN echo building" in title for title in cached)


def test_a_failing_command_shows_its_line_its_output_and_its_exit_code(
    docker_way: DockerWay, registry: LocalRegistry, context: Path, base: str
) -> None:
    """And nothing is pushed."""
    (context / "Dockerfile").write_text(
        f"FROM {base}\nRUN true\n\nRUN echo first; \\\n  echo MARK >&2; exit 7\n"
    )
    sink = RecordingSink()

    with pytest.raises(BuildError) as caught:
        a_step(registry, context).run(backend=DockerBackend(), on_event=sink)

    source = next(e for e in caught.value.evidence if isinstance(e, SourceEvidence))
    command = next(e for e in caught.value.evidence if isinstance(e, CommandEvidence))
    assert (source.first_line, source.last_line) == (4, 5)
    assert command.exit_code == 7
    assert {"first", "MARK"} <= set(command.tail) and {"first", "MARK"} <= set(sink.lines)
    assert "exit code 7" in caught.value.message
    assert registry.tags("acme/app") == ()


def test_megabytes_of_output_end_with_the_error(
    docker_way: DockerWay, registry: LocalRegistry, context: Path, base: str
) -> None:
    """Though BuildKit passes on only the first two of them."""
    flood = "yes 0123456789abcdef0123456789abcdef0123456789abcdef | head -c 5242880"
    (context / "Dockerfile").write_text(f"FROM {base}\nRUN {flood}; exit 7\n")
    sink = RecordingSink()

    with pytest.raises(BuildError, match="exit code 7"):
        a_step(registry, context).run(backend=DockerBackend(), on_event=sink)

    assert not docker_way.is_classic or len(sink.lines) > 5242880 // 49


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("COPY no-such-file /", "no-such-file"),
        ("RUN no-such-program", "127"),
        ("USER nobody-knows\nRUN true", "nobody-knows"),
    ],
)
def test_other_failures_name_their_line(
    docker_way: DockerWay, registry: LocalRegistry, context: Path, base: str, line: str, said: str
) -> None:
    """Whoever reports them."""
    (context / "Dockerfile").write_text(f"FROM {base}\n{line}\n")

    with pytest.raises(BuildpushError) as caught:
        a_step(registry, context).run(backend=DockerBackend())

    assert f"> {2 + line.count(chr(10)):4d} | " in caught.value.report()
    assert said in caught.value.report()


def test_a_base_image_that_does_not_exist(
    docker_way: DockerWay, registry: LocalRegistry, context: Path
) -> None:
    """Is not found, at its line."""
    (context / "Dockerfile").write_text(f"FROM {registry.reference('no/such:thing')}\nRUN true\n")

    with pytest.raises(NotFoundError, match="no/such") as caught:
        a_step(registry, context).run(backend=DockerBackend())

    assert ">    1 | FROM" in caught.value.report()


def test_a_registry_that_is_not_there(
    docker_way: DockerWay, registry: LocalRegistry, context: Path
) -> None:
    """Is told from an image that does not exist."""
    (context / "Dockerfile").write_text("FROM 127.0.0.1:1/base:1\nRUN true\n")

    with pytest.raises(RegistryUnavailableError, match=r"127\.0\.0\.1:1"):
        a_step(registry, context).run(backend=DockerBackend())


def test_files_and_links_of_the_context_arrive_as_they_are(
    docker_way: DockerWay, registry: LocalRegistry, context: Path, base: str
) -> None:
    """Modes, links, empty folders, names of any length; not what is ignored."""
    (context / "Dockerfile").write_text(
        f"FROM {base}\nCOPY . /ctx/\nRUN cd /ctx && find . | sort; ls -l; cat .dockerignore\n"
    )
    (context / "run.sh").write_text("#!/bin/sh\n")
    (context / "run.sh").chmod(0o755)
    (context / "link").symlink_to("file")
    (context / "empty").mkdir()
    (context / ("deep" * 30)).mkdir()
    (context / ("deep" * 30) / ("é" * 60)).write_text("far")
    (context / "tree").mkdir()
    for name in ("kept", "dropped"):
        (context / "tree" / name).write_text(name)
    (context / ".dockerignore").write_text("ignored\ntree\n!tree/kept\n")
    sink = RecordingSink()

    a_step(registry, context).run(backend=DockerBackend(), on_event=sink)

    listed = "\n".join(sink.lines)
    assert "-rwxr-xr-x" in listed and "run.sh" in listed
    assert "link -> file" in listed
    assert "./empty" in listed
    assert "é" * 60 in listed
    assert "./tree/kept" in listed and "./tree/dropped" not in listed
    assert "./ignored" not in listed
    assert "./Dockerfile" in listed and "!tree/kept" in listed


def test_a_dockerfile_from_elsewhere_with_an_ignore_file_of_its_own(
    docker_way: DockerWay, registry: LocalRegistry, context: Path, base: str, tmp_path: Path
) -> None:
    """Wins over the context's, and is itself not in the image."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    text = f"FROM {base}\nCOPY . /ctx/\nRUN ls -A /ctx\n"
    (elsewhere / "app.Dockerfile").write_text(text)
    (elsewhere / "app.Dockerfile.dockerignore").write_text("file\n.dockerignore\n")
    step = a_step(registry, context, dockerfile=elsewhere / "app.Dockerfile")
    sink = RecordingSink()

    step.run(backend=DockerBackend(), on_event=sink)

    ignored = {"file", ".dockerignore", "app.Dockerfile", ".buildpush.Dockerfile"}
    assert {"Dockerfile", "ignored"} <= set(sink.lines)
    # The daemons of 20.10 know no ignore file but the context's own.
    assert docker_way.name == "old-cli" or not ignored & set(sink.lines)


def test_a_stage_is_chosen_and_the_platform_is_known(
    docker_way: DockerWay, registry: LocalRegistry, context: Path, base: str
) -> None:
    """Also by the classic builder, which has no ARGs of its own for it."""
    (context / "Dockerfile").write_text(
        "# escape=\\\n"
        f"FROM --platform=$BUILDPLATFORM {base} AS tools\n"
        "ARG TARGETARCH\nARG BUILDPLATFORM\n"
        f"RUN echo {context}; echo for $TARGETARCH on $BUILDPLATFORM > /said\n"
        f"FROM {base} AS app\nCOPY --from=tools /said /said\nRUN echo {context}; cat /said\n"
        f"FROM {base} AS last\nRUN exit 9\n"
    )
    sink = RecordingSink()

    a_step(registry, context, target="app").run(backend=DockerBackend(), on_event=sink)

    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    assert f"for {machine} on linux/{machine}" in sink.lines


@pytest.mark.parametrize("delivery", ["direct", "layout"])
def test_each_account_does_its_own(
    docker_way: DockerWay, context: Path, busybox_base: Any, tmp_path: Path, delivery: str
) -> None:
    """Two base images and a push on one host, by three accounts."""
    users = {name: f"canary-{name}" for name in ("one", "two", "pusher")}
    rights = {
        "one": {("one", "pull")},
        "two": {("two", "pull")},
        "pusher": {("acme", "pull"), ("acme", "push")},
    }
    folder = tmp_path / "registry"
    with LocalRegistry(auth="token", users=users, permissions=rights, folder=folder) as registry:
        for name in ("one", "two"):
            put(busybox_base, registry, f"{name}/base")
        (context / "Dockerfile").write_text(
            f"FROM {registry.reference('one/base:1')} AS one\nRUN echo {tmp_path} > /one\n"
            f"FROM {registry.reference('two/base:1')}\nCOPY --from=one /one /one\n"
        )
        auth = {
            registry.reference(prefix): Credential(username=name, password=users[name])
            for prefix, name in (("one", "one"), ("two", "two"), ("acme", "pusher"))
        }
        step = a_step(
            registry,
            context,
            delivery=delivery,
            auth=[StaticKeychain(prefix=p, credential=c) for p, c in auth.items()],
            pull=True,
        )

        if delivery == "direct" and docker_way.has_containerd:
            with pytest.raises(CredentialConflictError, match="different accounts"):
                step.run(backend=DockerBackend())
            return
        step.run(backend=DockerBackend())

        seen = {
            (request.path.split("/")[2], request.principal)
            for request in registry.requests
            if request.path.startswith("/v2/") and request.status < 400 and request.principal
        }
        refused = [r for r in registry.requests if r.status == 403 and "mount=" not in r.query]
    assert {("one", "one"), ("two", "two"), ("acme", "pusher")} == seen
    assert refused == []


def put(base: Any, registry: LocalRegistry, repository: str) -> None:
    manifest = json.loads(base.blob(base.digest))
    for part in (manifest["config"], *manifest["layers"]):
        registry.add_blob(repository, base.blob(part["digest"]))
    registry.add_manifest(repository, base.blob(base.digest), manifest["mediaType"], tag="1")


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_push_that_is_refused_is_an_error(
    docker_way: DockerWay, context: Path, busybox_base: Any, password: str
) -> None:
    """Whatever words the daemon has for it."""
    rights = {"reader": {("", "pull")}}
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
    with LocalRegistry(auth="basic", users={"reader": "right"}, permissions=rights) as registry:
        credential = Credential(username="reader", password=password or "right")
        auth = [StaticKeychain(prefix=registry.host, credential=credential)]
        step = a_step(registry, context, auth=auth, delivery="direct", retries=0)

        with pytest.raises(AuthError) as caught:
            step.run(backend=DockerBackend())

        assert registry.tags("acme/app") == ()
    assert isinstance(caught.value, PermissionDeniedError) == (not password)


def test_outputs_beside_or_instead_of_a_push(
    docker_way: DockerWay, registry: LocalRegistry, context: Path, tmp_path: Path
) -> None:
    """An archive, and plain files where BuildKit writes them."""
    outputs: list[Any] = [f"type=docker,dest={tmp_path / 'image.tar'}"]
    if not docker_way.is_classic:
        outputs.append(f"type=local,dest={tmp_path / 'files'}")

    a_step(registry, context, push=False, outputs=outputs).run(backend=DockerBackend())

    with tarfile.open(tmp_path / "image.tar") as archive:
        assert "manifest.json" in archive.getnames()
    assert docker_way.is_classic or (tmp_path / "files/ctx/file").read_text() == "text"
    assert registry.tags("acme/app") == ()
    assert registry.reference("acme/app:1.4") in docker_way.images()
