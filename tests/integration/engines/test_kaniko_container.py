"""A real executor in containers of a real dockerd: what goes in, what comes out, what is left."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import define, evolve, field
from engine_fixtures import DockerEngine
from kaniko_fixtures import KanikoImage, execution

from buildpush.backends.kaniko.container import ContainerRunner
from buildpush.backends.kaniko.executor.flavors import features_of, guess
from buildpush.backends.kaniko.output.translate import KanikoOutput
from buildpush.backends.kaniko.runner import Ending
from buildpush.errors import BackendUnavailableError, PlanError, StepCancelledError
from buildpush.events import Event, TaskLog, TaskStarted
from buildpush.oci import ImageReference
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Manifest
from buildpush.plan import Feature, Resources, Ulimit
from buildpush.runtime import CancelToken, Run
from buildpush.testing import LocalRegistry
from buildpush.testing.conformance.shell import Busybox

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_docker]

_LABEL = "label=app.kubernetes.io/managed-by=buildpush"
_CANARY = "canary-1f0e7b53"
_LOGIN = base64.b64encode(f"ci:{_CANARY}".encode()).decode()


@define
class Shop:
    """A dockerd with the executor, a registry with a base image, and a context."""

    engine: DockerEngine
    image: str
    registry: LocalRegistry
    base: str
    folder: Path
    events: list[Event] = field(factory=list[Event])
    cancel: CancelToken = field(factory=CancelToken)
    output: KanikoOutput | None = None

    @property
    def context(self) -> Path:
        return self.folder / "context"

    @property
    def layout(self) -> Path:
        return self.folder / "work" / "layout"

    def build(
        self,
        dockerfile: str,
        *,
        push: str = "",
        to: LocalRegistry | None = None,
        runner: ContainerRunner | None = None,
        files: Mapping[str, bytes] | None = None,
        **more: Any,
    ) -> Ending:
        """Run the executor for *dockerfile*, after ``FROM`` the base."""
        settings: dict[str, Any] = {"insecure": frozenset((self.registry.host,)), **more}
        if push:
            settings["references"] = (ImageReference.parse((to or self.registry).reference(push)),)
        layout = None if push else self.layout
        text = f"FROM {self.base}\n{dockerfile}"
        one = execution(self.image, self.context, text, layout=layout, **settings)
        one = evolve(one, files={**one.files, **(files or {})})
        self.output = KanikoOutput(one.request)
        run = Run(workdir=self.folder / "work", cancel=self.cancel, sink=self.events.append)
        chosen = runner or ContainerRunner(network="host")
        return chosen.execute(one, self.output, run)

    @property
    def said(self) -> str:
        """What RUN has printed."""
        return "\n".join(_printed(self.events))

    @property
    def titles(self) -> list[str]:
        return [event.title for event in self.events if isinstance(event, TaskStarted)]

    def containers(self) -> list[str]:
        """The names of ours, whatever their state."""
        said = self.docker("ps", "--all", "--filter", _LABEL, "--format", "{{.Names}}")
        return said.split()

    def docker(self, *words: str) -> str:
        argv = ["/usr/bin/env", "docker", *words]
        env = {**os.environ, **self.engine.env}
        return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def shop(
    kaniko_image: KanikoImage,
    dockerd: DockerEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    dockerd.activate(monkeypatch)
    (tmp_path / "context").mkdir(mode=0o755)
    (tmp_path / "work").mkdir(mode=0o700)
    with LocalRegistry() as registry:
        base = Busybox(Path("/bin/busybox")).put(registry, "base", "1")
        made = Shop(dockerd, kaniko_image.name, registry, base, tmp_path)
        yield made
        assert made.containers() == []


@pytest.mark.parametrize("mounts", ["auto", "never"])
def test_an_image_is_left_as_a_layout(shop: Shop, mounts: Literal["auto", "never"]) -> None:
    """Whether folders are shared with the container or copied; nothing else is left behind."""
    (shop.context / "word").write_text("hello")
    runner = ContainerRunner(network="host", mounts=mounts)

    ending = shop.build("COPY word /word\nRUN cat /word", runner=runner)

    assert (ending.exit_code, shop.said) == (0, "hello")
    layout = Layout.open(shop.layout)
    (top,) = layout.index().manifests
    assert str(top.digest) == ending.digest
    (document,) = (document for _, document in layout.manifests(top.digest))
    assert isinstance(document, Manifest)
    assert all(layout.has(layer.digest) for layer in document.layers)
    assert [path.name for path in (shop.folder / "work").iterdir()] == ["layout"]


@pytest.mark.parametrize("mounts", ["auto", "never"])
def test_an_image_is_pushed_with_the_digest_that_is_told(
    shop: Shop, mounts: Literal["auto", "never"]
) -> None:
    """The registry is asked by nobody but the executor."""
    ending = shop.build(
        "RUN echo done", push="app:1", runner=ContainerRunner(network="host", mounts=mounts)
    )

    assert ending.exit_code == 0
    assert str(shop.registry.digest("app", "1")) == ending.digest


@pytest.mark.parametrize("mounts", ["auto", "never"])
def test_the_executor_logs_in_with_what_it_is_given(
    shop: Shop, mounts: Literal["auto", "never"]
) -> None:
    """Its credentials are one of the private files."""
    token = base64.b64encode(b"ci:pass-1f0e7b53").decode()
    with LocalRegistry(auth="basic", users={"ci": "pass-1f0e7b53"}) as registry:
        config = {"auths": {registry.host: {"auth": token}}}
        ending = shop.build(
            "RUN true",
            push="app:1",
            to=registry,
            files={"config.json": json.dumps(config).encode()},
            insecure=frozenset((shop.registry.host, registry.host)),
            runner=ContainerRunner(network="host", mounts=mounts),
        )

        assert str(registry.digest("app", "1")) == ending.digest


def test_what_root_owns_is_mounted_and_nothing_sent(shop: Shop) -> None:
    """A context of any size costs nothing."""
    (shop.context / "word").write_text("hello")

    shop.build("COPY word /word\nRUN cat /word")

    assert shop.said == "hello"
    assert not any("context" in title for title in shop.titles)


def test_files_of_others_become_roots(shop: Shop) -> None:
    """As with every other backend: the executor itself would keep their owner."""
    (shop.context / "word").write_text("hello")
    os.chown(shop.context / "word", 1000, 1000)

    shop.build("COPY word /word\nRUN stat -c %u:%g /word")

    assert shop.said == "0:0"
    assert any("context" in title for title in shop.titles)


def test_what_is_ignored_is_not_there(shop: Shop) -> None:
    """It is not even sent."""
    for name in ("kept", "dropped"):
        (shop.context / name).write_text(name)
    (shop.context / ".dockerignore").write_text("dropped\n")

    shop.build("COPY . /all/\nRUN ls /all")

    assert shop.said.split() == ["Dockerfile", "kept"]


def test_limits_names_and_sizes_are_the_containers(shop: Shop) -> None:
    """RUN has what its container has."""
    ending = shop.build(
        "RUN cat /etc/hosts; df -k /dev/shm | tail -n1; ulimit -n;"
        " cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max || true",
        add_hosts={"other.test": "192.0.2.7"},
        shm_size=8 << 20,
        ulimits=(Ulimit(name="nofile", soft=700, hard=700),),
        limits=Resources(memory=512 << 20, cpus=1.5),
    )

    assert ending.exit_code == 0
    lines = [line.split() for line in shop.said.splitlines()]
    assert ["192.0.2.7", "other.test"] in lines
    assert ["700"] in lines
    assert any(words[1:2] == ["8192"] for words in lines)
    assert [str(512 << 20)] in lines


def test_the_executor_is_another_user_where_that_is_asked_for(shop: Shop) -> None:
    """It reads what it is given, and then may write to nothing of the image's: kaniko's limit."""
    shop.base = "scratch"
    (shop.context / "word").write_text("hello")

    built = shop.build("ENV A=b", run_as_user=1234)
    refused = shop.build("COPY . /all/\nENV A=b", run_as_user=1234)

    assert (built.exit_code, refused.exit_code) == (0, 1)
    assert shop.output is not None
    assert "permission denied" in shop.output.fatal


def test_too_little_memory_is_told_with_its_limit(shop: Shop) -> None:
    """The kernel kills what RUN has started, and the engine says so."""
    ending = shop.build(
        "RUN head -c 300000000 /dev/zero | tail", limits=Resources(memory=64 << 20)
    )

    assert ending.exit_code != 0
    assert (ending.cause, ending.limit) == ("out of memory", 64 << 20)


def test_a_cancel_ends_the_container(shop: Shop) -> None:
    """Long before the build would have ended, and nothing stays."""

    def cancel_when_it_runs() -> None:
        while "sleeping" not in shop.said:
            time.sleep(0.05)
        started.append(time.monotonic())
        shop.cancel.cancel()

    started: list[float] = []
    threading.Thread(target=cancel_when_it_runs).start()
    with pytest.raises(StepCancelledError):
        shop.build("RUN echo sleeping; sleep 120")

    assert time.monotonic() - started[0] < 10
    assert shop.containers() == []


def test_what_a_killed_client_leaves_is_found_and_removed(shop: Shop) -> None:
    """Its container goes on without it, until somebody clears up."""
    command = [sys.executable, __file__, shop.image, shop.base, shop.registry.host]
    client = subprocess.Popen([*command, str(shop.folder)], env=_own_process())
    _wait(lambda: "running" in shop.docker("ps", "--filter", _LABEL, "--format", "{{.State}}"))
    client.kill()
    client.wait()
    names = shop.containers()

    young = ContainerRunner().gc(timedelta(hours=1))
    removed = ContainerRunner().gc(timedelta(0))

    assert (young, list(removed)) == ((), names)
    assert shop.containers() == []


def test_no_secret_is_in_what_the_engine_shows(shop: Shop) -> None:
    """Not in the container's configuration, nor in what has been started."""
    (shop.folder / "secret").write_text(_CANARY)
    shown: list[str] = []

    def look() -> None:
        _wait(lambda: "sleeping" in shop.said)
        shown.append(shop.docker("inspect", *shop.containers()))
        shown.extend(
            path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if path.parent.name != str(os.getpid())
        )

    version = guess(shop.image)
    mounts = version is not None and Feature.SECRETS in features_of(version)[0]
    watching = threading.Thread(target=look)
    watching.start()
    shop.build(
        "ARG WORD\nRUN echo sleeping; sleep 2; echo $WORD",
        files={"config.json": json.dumps({"auths": {"a.test": {"auth": _LOGIN}}}).encode()},
        secrets={"word": shop.folder / "secret"} if mounts else {},
        build_args={"WORD": "argued-1f0e7b53"},
    )
    watching.join()

    assert "argued-1f0e7b53" in shop.said
    assert json.loads(shown[0])[0]["State"]["Status"] == "running"
    assert not any(_CANARY in text or _LOGIN in text for text in shown)
    assert not any("argued-1f0e7b53" in text for text in shown[1:])


def test_an_engine_that_sees_other_folders_gets_copies(shop: Shop, tmp_path: Path) -> None:
    """As in CI, where a job's container has only the engine's socket: a mount would be empty."""
    (tmp_path / "hidden").mkdir()
    script = f'mount -t tmpfs tmpfs {tmp_path}/hidden && exec "$@"'
    command = [sys.executable, __file__, shop.image, shop.base, shop.registry.host]
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", script, "sh", *command),
            *(str(tmp_path / "hidden"), "RUN cat /word", "tell"),
        ],
        env=_own_process(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["0", "from the client", "send build context"]


def test_an_image_that_cannot_be_pulled_is_named(shop: Shop) -> None:
    """With what the engine said about it."""
    shop.image = f"{shop.registry.host}/kaniko:none"

    with pytest.raises(BackendUnavailableError, match="kaniko:none cannot be pulled") as raised:
        shop.build("RUN true")

    assert raised.value.hint
    assert shop.titles == [f"pull {shop.image}"]


def test_a_network_that_there_is_not_is_the_engines_to_refuse(shop: Shop) -> None:
    """In its own words."""
    shop.base = "scratch"

    with pytest.raises(PlanError, match="nowhere"):
        shop.build("COPY . /", network="nowhere")


def test_a_registry_on_our_loopback_is_out_of_reach(shop: Shop) -> None:
    """What to do about it is said before anything is started."""
    with pytest.raises(PlanError, match=shop.registry.host) as raised:
        shop.build("RUN true", runner=ContainerRunner())

    assert 'network="host"' in raised.value.hint


def test_the_version_is_asked_once(
    shop: Shop, kaniko_image: KanikoImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second probe starts no container."""
    first = ContainerRunner().probe(kaniko_image.name, ask_version=True)
    since = str(int(time.time()) + 1)
    time.sleep(1)
    second = ContainerRunner().probe(kaniko_image.name, ask_version=True)

    assert first.version.startswith("v1.")
    assert second == first
    until = str(int(time.time()) + 1)
    events = ("events", "--since", since, "--until", until, "--filter", "type=container")
    assert shop.docker(*events) == ""


def _printed(events: list[Event]) -> list[str]:
    return [e.line for e in tuple(events) if isinstance(e, TaskLog) and e.stream == "stdout"]


def _own_process() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "plugins")}


def _wait(until: Callable[[], bool]) -> None:
    for _ in range(400):
        if until():
            return
        time.sleep(0.05)
    pytest.fail("it did not come to that")


def _client() -> None:
    """What a process of its own does: build in the folder that is given."""
    image, base, host, folder, *more = sys.argv[1:]
    context, work = Path(folder, "context"), Path(folder, "work")
    for path in (context, work):
        path.mkdir(exist_ok=True, mode=0o700)
    (context / "word").write_text("from the client\n")
    text = f"FROM {base}\nCOPY word /word\n{more[0] if more else 'RUN sleep 120'}"
    one = execution(image, context, text, layout=work / "layout", insecure=frozenset((host,)))
    output = KanikoOutput(one.request)
    events: list[Event] = []
    run = Run(workdir=work, cancel=CancelToken(), sink=events.append)
    ending = ContainerRunner(network="host").execute(one, output, run)
    print(ending.exit_code, *_printed(events), sep="\n")
    for event in events:
        if isinstance(event, TaskStarted) and "context" in event.title:
            print(event.title.rpartition(" ")[0])


if __name__ == "__main__":
    _client()
