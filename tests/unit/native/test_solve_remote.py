"""What builds fetch: base images from a registry, ADD by URL, ADD from git."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest

from buildpush.backends.native.adding import GitSource, git_source
from buildpush.errors import BuildError, DigestMismatchError, NotFoundError
from buildpush.oci import Digest, Platform
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Index, Manifest, MediaType, parse_manifest
from buildpush.testing import random_image, random_index
from buildpush.testing.registry import LocalRegistry


class Workshop(Protocol):
    root: Path
    context: Path
    store: Path
    outcomes: dict[str, str]
    warnings: list[str]

    def file(self, name: str, text: str = "") -> Path: ...
    def build(self, text: str, **settings: Any) -> Any: ...


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as found:
        yield found


def put(registry: LocalRegistry, layout: Layout, digest: Digest, name: str) -> None:
    """Put an image or index of *layout* into *registry* as ``repository:tag``."""
    repository, _, tag = name.partition(":")
    data = layout.read(digest, 1 << 20)
    document = parse_manifest(data)
    match document:
        case Index(manifests=manifests, media_type=media_type):
            for entry in manifests:
                put(registry, layout, entry.digest, f"{repository}:")
        case Manifest(config=config, layers=layers, media_type=media_type):
            for blob in (config, *layers):
                registry.add_blob(repository, layout.blob_path(blob.digest).read_bytes())
    registry.add_manifest(repository, data, media_type, tag=tag)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "base")


def test_layers_nobody_reads_are_not_fetched(
    workshop: Workshop, registry: LocalRegistry, layout: Layout
) -> None:
    """The artifact says where they are; a rebuild asks one question."""
    put(registry, layout, random_image(layout, layers=2), "base:1")
    text = f"FROM {registry.reference('base:1')}\nENV A=1\n"

    built = workshop.build(text)
    registry.clear_log()
    again = workshop.build(text)

    layers = [Digest(x["digest"]) for x in built.manifest["layers"]]
    assert set(built.artifact.origins) == set(layers)
    assert {str(r) for r in built.artifact.origins.values()} == {f"{registry.host}/base"}
    assert again.artifact.digest == built.artifact.digest
    assert [r.method for r in registry.requests] == ["HEAD"]


def test_layers_somebody_reads_are_fetched_once(
    workshop: Workshop, registry: LocalRegistry, layout: Layout
) -> None:
    """COPY must know what is there; then the store knows, too."""
    put(registry, layout, random_image(layout, layers=2), "base:1")
    workshop.file("a", "1")
    text = f"FROM {registry.reference('base:1')}\nCOPY a /\n"

    workshop.build(text)
    registry.clear_log()
    workshop.build(text)
    workshop.file("a", "2")
    workshop.build(text)

    assert {r.method for r in registry.requests} == {"HEAD"}


def test_a_base_of_many_stages_is_asked_for_once(
    workshop: Workshop, registry: LocalRegistry, layout: Layout
) -> None:
    """Every request counts against a quota: three stages cost one lookup and one manifest."""
    put(registry, layout, random_image(layout, layers=1), "base:1")
    base = registry.reference("base:1")
    stages = [f"FROM {base} AS {name}\nENV NAME={name}\n" for name in "abc"]
    workshop.file("x", "1")

    workshop.build("".join([*stages, "COPY --from=a . /a\nCOPY --from=b . /b\nCOPY x /\n"]))

    asked = [request.method for request in registry.requests if "/manifests/" in request.path]
    assert sorted(asked) == ["GET", "HEAD"]


def test_a_moved_tag_is_noticed(
    workshop: Workshop, registry: LocalRegistry, layout: Layout
) -> None:
    """Other layers come out."""
    put(registry, layout, random_image(layout, seed=1), "base:1")
    text = f"FROM {registry.reference('base:1')}\n"
    first = workshop.build(text)
    put(registry, layout, random_image(layout, seed=2), "base:1")

    second = workshop.build(text)

    assert first.manifest["layers"] != second.manifest["layers"]


def test_a_pinned_base_needs_no_registry(
    workshop: Workshop, registry: LocalRegistry, layout: Layout
) -> None:
    """Once it is in the store."""
    digest = random_image(layout)
    put(registry, layout, digest, "base:1")
    text = f"FROM {registry.reference('base')}@{digest}\nENV A=1\n"
    workshop.build(text)
    registry.clear_log()

    workshop.build(text)

    assert registry.requests == ()


def test_an_index_gives_the_platform(
    workshop: Workshop, registry: LocalRegistry, layout: Layout
) -> None:
    """FROM --platform, else the one that is built for."""
    platforms = (Platform.of("linux", "amd64"), Platform.of("linux", "arm64"))
    put(registry, layout, random_index(layout, platforms), "base:1")
    reference = registry.reference("base:1")

    built = workshop.build(f"FROM {reference}\n", platforms=(platforms[1],))
    chosen = workshop.build(f"FROM --platform=linux/arm64 {reference}\n")

    assert built.config["architecture"] == "arm64"
    assert chosen.config["architecture"] == "arm64"


def test_a_missing_base_blames_its_line(workshop: Workshop, registry: LocalRegistry) -> None:
    """`NotFoundError`, with the FROM."""
    with pytest.raises(NotFoundError, match="no image") as caught:
        workshop.build(f"# c\nFROM {registry.reference('none:1')}\nENV A=1\n")

    assert "> " in caught.value.report() and "none:1" in caught.value.report()


def test_docker_media_types_become_ocis(
    workshop: Workshop, registry: LocalRegistry, layout: Layout
) -> None:
    """The layers' digests stay."""
    digest = random_image(layout)
    data = layout.read(digest, 1 << 20)
    put(registry, layout, digest, "base:1")
    docker = data.replace(MediaType.OCI_LAYER_GZIP.encode(), MediaType.DOCKER_LAYER.encode())
    docker = docker.replace(MediaType.OCI_MANIFEST.encode(), MediaType.DOCKER_MANIFEST.encode())
    registry.add_manifest("base", docker, MediaType.DOCKER_MANIFEST, tag="2")

    built = workshop.build(f"FROM {registry.reference('base:2')}\n")

    assert built.manifest["mediaType"] == MediaType.OCI_MANIFEST
    assert [x["mediaType"] for x in built.manifest["layers"]] == [MediaType.OCI_LAYER_GZIP]


def test_a_named_context_replaces_an_image(
    workshop: Workshop, registry: LocalRegistry, layout: Layout
) -> None:
    """However its name is spelt."""
    put(registry, layout, random_image(layout), "mine:1")
    contexts = {"alpine": f"docker-image://{registry.reference('mine:1')}"}

    for name in ("alpine", "alpine:latest", "docker.io/library/alpine"):
        built = workshop.build(f"FROM {name}\n", build_contexts=contexts)
        assert {r.path for r in built.artifact.origins.values()} == {"mine"}


def test_copy_from_an_image(workshop: Workshop, registry: LocalRegistry, layout: Layout) -> None:
    """Its layers are read, not kept."""
    put(registry, layout, random_image(layout, layers=2, size=10), "mine:1")

    built = workshop.build(f"FROM scratch\nCOPY --from={registry.reference('mine:1')} / /all/\n")

    assert len(built.files()) == 2
    assert all(len(data) == 10 for data in built.files().values())


# -- ADD by URL --------------------------------------------------------------------------------


class Web:
    """A web server with one file."""

    def __init__(self) -> None:
        self.body = b"remote"
        self.asked: list[str] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        etag = f'"{len(self.body)}"'
        if handler.headers["If-None-Match"] == etag:
            handler.send_response(304)
            handler.end_headers()
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.body)))
        handler.send_header("ETag", etag)
        handler.send_header("Last-Modified", "Thu, 01 Jan 1970 00:01:00 GMT")
        handler.end_headers()
        handler.wfile.write(self.body)


@pytest.fixture
def web() -> Iterator[tuple[Web, str]]:
    state = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_add_fetches(workshop: Workshop, web: tuple[Web, str]) -> None:
    """A file of root's alone, as old as the server says, asked for again but not sent again."""
    state, url = web
    text = f"FROM scratch\nADD {url}/dir/file.txt /d/\n"

    built = workshop.build(text)
    again = workshop.build(text)
    state.body = b"changed"
    changed = workshop.build(text)

    assert built.files() == {"d/file.txt": b"remote"}
    member = built.member("d/file.txt")
    assert (member.mode, member.mtime) == (0o600, 60)
    assert again.artifact.digest == built.artifact.digest
    assert changed.files() == {"d/file.txt": b"changed"}
    assert len(state.asked) == 3


def test_a_checksum_saves_the_question(workshop: Workshop, web: tuple[Web, str]) -> None:
    """What is in the store under that digest is what was asked for."""
    state, url = web
    text = f"FROM scratch\nADD --checksum={Digest.of(b'remote')} {url}/f /f\n"

    workshop.build(text)
    workshop.build(text)

    assert len(state.asked) == 1


def test_a_wrong_checksum_fails(workshop: Workshop, web: tuple[Web, str]) -> None:
    """With the line."""
    _, url = web

    with pytest.raises(DigestMismatchError) as caught:
        workshop.build(f"FROM scratch\nADD --checksum={Digest.of(b'other')} {url}/f /f\n")

    assert "ADD --checksum" in caught.value.report()


# -- ADD from git ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h.test/a/b.git", GitSource(remote="https://h.test/a/b.git")),
        (
            "https://h.test/b.git#v1:sub/dir",
            GitSource(remote="https://h.test/b.git", ref="v1", folder="sub/dir"),
        ),
        ("git@h.test:a/b.git#:sub", GitSource(remote="git@h.test:a/b.git", folder="sub")),
        ("ssh://git@h.test/b", GitSource(remote="ssh://git@h.test/b")),
        ("git://h.test/b#x", GitSource(remote="git://h.test/b", ref="x")),
        ("https://h.test/a/b", None),
        ("https://h.test/b.tar.gz", None),
        ("a/b.git", None),
        ("./x:y", None),
        ("github.com/a/b", None),
    ],
)
def test_what_is_a_repository(text: str, expected: GitSource | None) -> None:
    """BuildKit's rules."""
    assert git_source(text) == expected


def test_add_needs_git(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the line says so."""
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(BuildError, match="needs git") as caught:
        workshop.build("FROM scratch\nADD https://h.test/b.git /b\n")

    assert caught.value.hint == "install git"


@pytest.mark.needs_git
def test_git_sources_are_checked_out(workshop: Workshop, tmp_path: Path) -> None:
    """At a ref, without .git; a repository that is not there fails with git's words."""
    from buildpush.backends.native.adding import Adding
    from buildpush.backends.native.copying.sources import Source
    from buildpush.backends.native.recipe.operations import Transfer
    from buildpush.dockerfile.instructions import Lines

    origin = tmp_path / "origin"
    _git_repository(origin)
    folder = tmp_path / "work"
    operation = Transfer(
        lines=Lines(first=1, last=1),
        text="",
        title="",
        created_by="",
        is_add=True,
        sources=(),
        inline=(),
        destination="/",
        workdir="/",
    )
    run = workshop.run()  # type: ignore[attr-defined]
    adding = Adding(request=None, run=run, store=None, folder=folder)  # type: ignore[arg-type]

    def names(source: Source) -> list[str]:
        return [node.path for node in source.listing.children("")]

    (folder / "1").mkdir(parents=True)
    whole = adding._checked_out(GitSource(remote=str(origin)), operation, folder / "1")
    (folder / "2").mkdir()
    part = adding._checked_out(
        GitSource(remote=str(origin), ref="v1", folder="sub"), operation, folder / "2"
    )
    (folder / "3").mkdir()
    with pytest.raises(BuildError, match="git fetch failed"):
        adding._checked_out(GitSource(remote=str(tmp_path / "no")), operation, folder / "3")
    (folder / "4").mkdir()
    with pytest.raises(BuildError, match="no folder"):
        adding._checked_out(GitSource(remote=str(origin), folder="nope"), operation, folder / "4")

    assert names(whole.source) == ["later", "sub"]
    assert names(part.source) == ["f"]


def _git_repository(path: Path) -> None:
    path.mkdir()
    (path / "sub").mkdir()
    (path / "sub" / "f").write_text("1")
    identity = ["-c", "user.name=n", "-c", "user.email=e@e.test"]
    for words in (
        ["init", "--quiet"],
        ["add", "."],
        [*identity, "commit", "--quiet", "-m", "one"],
        ["tag", "v1"],
    ):
        subprocess.run(["git", *words], cwd=path, check=True)
    (path / "later").write_text("2")
    subprocess.run(["git", "add", "."], cwd=path, check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "-m", "two"], cwd=path, check=True)
