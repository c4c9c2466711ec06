"""The arguments we give to the real buildx mean what we think, and so does what it answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from buildpush.backends.buildkit.argv import Client, Destination, argv, environment
from buildpush.backends.buildkit.failures import build_error, cache_error
from buildpush.backends.buildkit.rawjson import RawJson
from buildpush.backends.buildkit.wire import read_metadata
from buildpush.backends.engine.command import converse
from buildpush.dockerfile import parse
from buildpush.errors import BuildError, CommandEvidence, NotFoundError, SourceEvidence
from buildpush.events import TaskFinished, TaskStarted
from buildpush.oci import Digest, ImageReference
from buildpush.plan import BuildRequest
from buildpush.plan.values import Cache, Ulimit
from buildpush.runtime import CancelToken, Run
from buildpush.runtime.process import Completed
from buildpush.testing import LocalRegistry, RecordingSink

pytestmark = pytest.mark.needs_buildx

HARD = "a,b \"c\"\n=ü\\ 'd'"


@frozen(kw_only=True)
class Done:
    """How one run of buildx ended."""

    completed: Completed
    translator: RawJson
    sink: RecordingSink
    metadata: Path

    @property
    def digest(self) -> Digest:
        return read_metadata(self.metadata)

    def outcome(self, title: str) -> str:
        """How the task ended whose title has *title* in it."""
        names = [
            e.task for e in self.sink.events if isinstance(e, TaskStarted) and title in e.title
        ]
        ends = [
            e.outcome for e in self.sink.events if isinstance(e, TaskFinished) and e.task in names
        ]
        return ends[-1]


Build = Callable[..., Done]


@pytest.fixture
def build(
    dockerd: Any, buildx_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Build:
    """Run buildx for a request; nothing is raised."""
    dockerd.activate(monkeypatch)

    def start(request: BuildRequest, destination: Destination) -> Done:
        sink = RecordingSink()
        run = Run(workdir=tmp_path, cancel=CancelToken(), sink=sink)
        variables = dict(os.environ)
        metadata = tmp_path / "metadata"
        words = argv(
            request,
            destination,
            metadata=metadata,
            client=Client(store=True),
            variables=variables,
        )
        translator = RawJson()
        env = environment(request, variables)
        completed = converse((str(buildx_plugin), *words), translator, run=run, env=env)
        return Done(completed=completed, translator=translator, sink=sink, metadata=metadata)

    return start


def request_for(tmp_path: Path, dockerfile: str, **fields: Any) -> BuildRequest:
    context = tmp_path / "context"
    context.mkdir(exist_ok=True)
    path = context / "Dockerfile"
    path.write_text(dockerfile)
    return BuildRequest(
        context=context,
        dockerfile=parse(dockerfile),
        dockerfile_path=path,
        network="host",
        **fields,
    )


def config_of(layout: Path, digest: Digest) -> dict[str, Any]:
    manifest = json.loads((layout / "blobs/sha256" / digest.hex).read_text())
    name = manifest["config"]["digest"].partition(":")[2]
    config: dict[str, Any] = json.loads((layout / "blobs/sha256" / name).read_text())
    return {**config, "annotations": manifest.get("annotations", {})}


@pytest.fixture
def base(busybox_base: Any, docker_registry: Any, repository: str) -> str:
    reference: str = busybox_base.push(docker_registry.host, f"{repository}/base")
    return reference


def test_any_text_arrives(build: Build, base: str, tmp_path: Path) -> None:
    """Commas, quotes, line feeds and the rest, in values and in paths."""
    odd = tmp_path / HARD
    odd.mkdir()
    (odd / "file").write_text("content")
    (odd / "secret").write_text("s3cret")
    text = f"""FROM {base}
ARG A
COPY --from=two file /file
RUN --mount=type=secret,id=s,required=true test "$(cat /run/secrets/s)" = s3cret
RUN grep -q '192.0.2.7.*db' /etc/hosts && grep -q '2001:db8::1.*six' /etc/hosts
RUN test "$(ulimit -n)" = 100 && df -k /dev/shm | grep -q ' 1024 '
LABEL seen=$A
"""
    request = request_for(
        tmp_path,
        text,
        build_args={"A": HARD},
        labels={HARD.replace("=", ""): HARD},
        annotations={"org.example.a": HARD, "urn.example:b": "x"},
        build_contexts={"two": str(odd)},
        secrets={"s": odd / "secret"},
        add_hosts={"db": "192.0.2.7", "six": "2001:db8::1"},
        ulimits=(Ulimit(name="nofile", soft=100, hard=200),),
        shm_size=1 << 20,
        local_outputs=(odd / "files",),
    )

    done = build(request, Destination(layout=odd / "layout"))

    assert done.completed.exit_code == 0, done.translator.said
    config = config_of(odd / "layout", done.digest)
    assert config["config"]["Labels"] == {HARD.replace("=", ""): HARD, "seen": HARD}
    assert config["annotations"] == {"org.example.a": HARD, "urn.example:b": "x"}
    assert (odd / "files/file").read_text() == "content"


def test_a_dockerfile_elsewhere_brings_its_own_ignore_file(build: Build, tmp_path: Path) -> None:
    """``<name>.dockerignore`` beside it wins over the context's, which wins over nothing."""
    text = "FROM scratch\nCOPY . /\n"
    request = request_for(tmp_path, text)
    for name in ("kept", "by-context", "by-file"):
        (request.context / name).write_text("")
    (request.context / ".dockerignore").write_text("by-context\n*ockerfile\n.dockerignore\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "app.Dockerfile").write_text(text)
    moved = evolve(request, dockerfile_path=elsewhere / "app.Dockerfile")

    build(evolve(moved, local_outputs=(tmp_path / "one",)), Destination(layout=tmp_path / "l1"))
    (elsewhere / "app.Dockerfile.dockerignore").write_text("by-file\n*ockerfile\n.dockerignore\n")
    build(evolve(moved, local_outputs=(tmp_path / "two",)), Destination(layout=tmp_path / "l2"))

    assert {path.name for path in (tmp_path / "one").iterdir()} == {"kept", "by-file"}
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"kept", "by-context"}


def test_a_push_reaches_every_reference_and_leaves_nothing_behind(
    build: Build, dockerd: Any, base: str, docker_registry: Any, repository: str, tmp_path: Path
) -> None:
    """The digest is the registry's; the daemon's store has no image of ours.

    Whoever wants zstd gets it for the base image's layers, too.
    """
    names = [f"{docker_registry.host}/{repository}/app:{tag}" for tag in ("1", "2")]
    request = request_for(
        tmp_path,
        f"FROM {base}\nRUN echo pushed > /file\n",
        references=tuple(map(ImageReference.parse, names)),
        compression="zstd",
        source_date_epoch=1_700_000_000,
    )

    done = build(request, Destination(push=True))

    assert done.completed.exit_code == 0, done.translator.said
    assert repository not in json.dumps(json.loads(dockerd.api("GET", "/images/json")))
    blobs = docker_registry.folder / "data/docker/registry/v2/blobs/sha256"
    data = (blobs / done.digest.hex[:2] / done.digest.hex / "data").read_bytes()
    assert Digest.of(data) == done.digest
    layers = json.loads(data)["layers"]
    assert [layer["mediaType"].rpartition("+")[2] for layer in layers] == ["zstd", "zstd"]
    tags = docker_registry.folder / f"data/docker/registry/v2/repositories/{repository}/app"
    for tag in ("1", "2"):
        link = tags / f"_manifests/tags/{tag}/current/link"
        assert link.read_text() == str(done.digest)


def test_timestamps_are_clamped_in_layers_too(build: Build, tmp_path: Path) -> None:
    """The same digest, whenever the files were written."""
    request = request_for(tmp_path, "FROM scratch\nCOPY file /\n", reproducible=True)
    digests: set[Digest] = set()
    for number in (1, 2):
        (request.context / "file").write_text("same")
        os.utime(request.context / "file", (number, number * 1_700_000_00))
        fresh = evolve(request, no_cache=True)
        digests.add(build(fresh, Destination(layout=tmp_path / f"l{number}")).digest)

    assert len(digests) == 1


def test_a_cache_is_written_and_read(
    build: Build, private_dockerd: Any, base: str, docker_registry: Any, repository: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By another daemon, which has built nothing yet."""
    attributes = {"ref": f"{docker_registry.host}/{repository}/cache:x", "mode": "max"}
    cache = Cache(type="registry", attributes=attributes)
    request = request_for(tmp_path, f"FROM {base}\nRUN date +%N > /now\n")

    build(evolve(request, cache_to=(cache,)), Destination(layout=tmp_path / "l1"))
    private_dockerd.activate(monkeypatch)
    done = build(evolve(request, cache_from=(cache,)), Destination(layout=tmp_path / "l2"))

    assert done.translator.warnings == []
    assert done.outcome("RUN date") == "cached"


def test_a_cache_that_is_not_there_is_a_warning_unless_required(
    build: Build, docker_registry: Any, repository: str, tmp_path: Path
) -> None:
    """BuildKit goes on in any case."""
    reference = f"{docker_registry.host}/{repository}/none:x"
    cache = Cache(type="registry", attributes={"ref": reference}, required=True)
    request = request_for(tmp_path, "FROM scratch\nCOPY . /\n", cache_from=(cache,))

    done = build(request, Destination(layout=tmp_path / "layout"))

    assert done.completed.exit_code == 0
    assert reference in done.translator.warnings[0]
    error = cache_error(request, done.translator.cache_faults)
    assert isinstance(error, NotFoundError)
    assert reference in error.message


def test_a_cache_that_cannot_be_written_fails_only_when_required(
    build: Build, tmp_path: Path
) -> None:
    """There is no registry at port 1."""
    attributes = {"ref": "127.0.0.1:1/cache:x"}
    request = request_for(tmp_path, "FROM scratch\nCOPY . /\n")

    codes = [
        build(
            evolve(
                request,
                cache_to=(Cache(type="registry", attributes=attributes, required=required),),
            ),
            Destination(layout=tmp_path / f"layout-{required}"),
        ).completed.exit_code
        for required in (False, True)
    ]

    assert codes[0] == 0
    assert codes[1] != 0


@pytest.mark.parametrize("noise", [0, 60_000])
def test_a_failing_run_is_told_with_its_last_words(
    build: Build, base: str, tmp_path: Path, noise: int
) -> None:
    """Even after 5 MiB of output, much of which BuildKit leaves out."""
    text = (
        f"FROM {base}\n\nRUN i=0; while [ $i -lt {noise} ]; do echo $i {'x' * 80};"
        " i=$((i+1)); done; echo MARK >&2; exit 7\n"
    )
    request = request_for(tmp_path, text)

    done = build(request, Destination(layout=tmp_path / "layout"))
    error = build_error(request, done.translator, done.completed)

    assert isinstance(error, BuildError)
    assert error.message.startswith("RUN failed with exit code 7: ")
    source, step = error.evidence
    assert isinstance(source, SourceEvidence)
    assert isinstance(step, CommandEvidence)
    assert (source.first_line, step.exit_code, step.tail[-1]) == (3, 7, "MARK")


def test_a_refused_push_is_typed(build: Build, tmp_path: Path) -> None:
    """No credential, at a registry that wants one."""
    with LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        request = request_for(
            tmp_path,
            "FROM scratch\nCOPY . /\n",
            references=(ImageReference.parse(registry.reference("app:1")),),
        )

        done = build(request, Destination(push=True))

    error = build_error(request, done.translator, done.completed)
    assert type(error).__name__ == "AuthError"
    assert registry_name(request) in error.message


def registry_name(request: BuildRequest) -> str:
    return str(request.references[0])
