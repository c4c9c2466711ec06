"""How containers for the executor are made, found and removed, by an engine that is a script."""

from __future__ import annotations

import gzip
import io
import os
import shlex
import tarfile
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from attrs import evolve

from buildpush.backends.kaniko.container import ContainerRunner
from buildpush.backends.kaniko.container.creation import (
    Shape,
    compressed,
    environment_of,
    handed_over,
    options,
    places,
)
from buildpush.backends.kaniko.container.engines import Engine, addressed, find, in_container
from buildpush.backends.kaniko.runner import Command, Ending, Execution, Places, Runner
from buildpush.dockerfile import parse
from buildpush.errors import (
    BackendUnavailableError,
    BuildError,
    PlanError,
    SpecError,
    UnsupportedFeatureError,
)
from buildpush.events import Event, Warned
from buildpush.oci import ImageReference, Platform
from buildpush.plan import BuildRequest, Delivery, Feature, Resources, Ulimit
from buildpush.runtime import CancelToken, Environment, Run

_FACTS = """os=linux
architecture=x86_64
version=28.5.2
kernel=$(uname -r)
memory=true
security=name=seccomp
"""


class Silent:
    """A translator that only remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, stream: str, line: str, at: float) -> tuple[Event, ...]:
        self.lines.append(line)
        return ()

    def finish(self, at: float) -> tuple[Event, ...]:
        return ()


class Workshop:
    """A PATH with nothing but scripts that are called like engines, and an execution."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = folder / "context"
        self.work = folder / "work"
        self.events: list[Event] = []
        for path in (self.context, self.work, folder / "bin"):
            path.mkdir()

    def engine(self, kind: str, **answers: str) -> None:
        """An engine that answers its commands by lines of shell, and writes down what it is told."""
        cases = "\n".join(f"{name.replace('_', '-')}) {line} ;;" for name, line in answers.items())
        script = (
            f"#!/bin/sh\nPATH=/usr/bin:/bin\n"
            f"echo $(echo \"$@\" | tr '\\n' ' ') >> {self.folder}/{kind}.log\n"
            f'case "$1" in\n{cases}\n*) : ;;\nesac\n'
        )
        program = self.folder / "bin" / kind
        program.write_text(script)
        program.chmod(0o755)

    def docker(self, facts: str = _FACTS, **answers: str) -> None:
        """A docker that makes, starts and removes containers; *answers* are other ones."""
        usual = {
            "info": f"cat <<-END\n{facts}END\n",
            "image": "echo sha256:1234",
            "create": "echo id",
            "start": "echo said",
            "container": "echo exited 0 false",
        }
        self.engine("docker", **{**usual, **answers})

    def told(self, kind: str = "docker") -> list[str]:
        """What the engine was told, a command a line."""
        return (self.folder / f"{kind}.log").read_text().splitlines()

    def execution(self, **settings: Any) -> Execution:
        request = BuildRequest(
            context=self.context,
            dockerfile=parse("FROM scratch\n"),
            dockerfile_path=self.context / "Dockerfile",
            **settings,
        )
        return Execution(
            image="kaniko:1",
            request=request,
            command=lambda where: Command(words=("--context", where.context)),
            files={"Dockerfile": b"FROM scratch\n", "secrets/token": b"hidden"},
        )

    def execute(self, runner: ContainerRunner | None = None, **settings: Any) -> Ending:
        run = Run(workdir=self.work, cancel=CancelToken(), sink=self.events.append)
        chosen = runner or ContainerRunner()
        return chosen.execute(self.execution(**settings), Silent(), run)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    made = Workshop(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    return made


def _request(**settings: Any) -> BuildRequest:
    return BuildRequest(
        context=Path("/context"),
        dockerfile=parse("FROM scratch\n"),
        dockerfile_path=Path("/context/Dockerfile"),
        **settings,
    )


def test_it_is_a_runner() -> None:
    """The backend needs no more of it."""
    assert isinstance(ContainerRunner(), Runner)


# --- options ---


def test_a_container_has_the_limits_that_were_asked_for() -> None:
    """Each by the engine's own option."""
    request = _request(
        add_hosts={"a.test": "192.0.2.7"},
        shm_size=1024,
        ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
        cgroup_parent="/builds",
        limits=Resources(memory=2048, cpus=0.5),
        run_as_user=7,
    )

    words = options(Shape(name="n", labels={}), "image", Command(words=("x",)), request, "docker")

    assert shlex.join(words) == (
        "--name n --log-driver none --pull never --entrypoint /kaniko/executor --interactive"
        " --add-host a.test:192.0.2.7 --shm-size 1024 --ulimit nofile=1:2 --cgroup-parent /builds"
        " --memory 2048 --cpus 0.5 --user 7 image x"
    )


def test_folders_are_mounted_by_the_option_that_makes_none() -> None:
    """A comma in a path is quoted, as the option wants it: it is a line of CSV."""
    shape = Shape(
        name="n", labels={}, private=Path("/a,b"), out=Path("/out"), context=Path('/c"d')
    )

    words = options(shape, "image", Command(words=()), _request(), "podman")

    assert [word for word in words if word.startswith("type=")] == [
        'type=bind,"source=/a,b",target=/kaniko/buildpush/private,readonly',
        "type=bind,source=/out,target=/kaniko/buildpush/out",
        'type=bind,"source=/c""d",target=/kaniko/buildpush/context,readonly',
    ]
    assert "--interactive" not in words


def test_a_build_args_value_is_in_no_argument() -> None:
    """But where the engine's own command would take it for its own."""
    command = Command(words=(), variables={"WORD": "1", "DOCKER_HOST": "2", "OTHER": "3"})
    request = _request(build_args={"WORD": "1", "DOCKER_HOST": "2"})

    words = options(Shape(name="n", labels={}), "image", command, request, "docker")

    given = [value for option, value in pairwise(words) if option == "--env"]
    assert given == ["WORD", "DOCKER_HOST=2", "OTHER=3"]
    assert environment_of(command, request) == {"WORD": "1"}


def test_places_are_below_the_executors_folder() -> None:
    """Which it leaves alone."""
    assert places(Shape(name="n", labels={}, layout=True)) == Places(
        context="tar://stdin",
        private=PurePosixPath("/kaniko/buildpush/private"),
        digest=PurePosixPath("/kaniko/buildpush/out/digest"),
        layout=PurePosixPath("/kaniko/buildpush/out/layout"),
    )


def test_what_is_copied_in_is_private() -> None:
    """And belongs to whom the executor is run as."""
    data = b"".join(handed_over({"certs/a.pem": b"data"}, owner=7, layout=True))

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {entry.name: (oct(entry.mode), entry.uid) for entry in archive}
    assert found == {
        "buildpush": ("0o755", 7),
        "buildpush/private": ("0o700", 7),
        "buildpush/out": ("0o755", 7),
        "buildpush/out/layout": ("0o755", 7),
        "buildpush/private/certs": ("0o700", 7),
        "buildpush/private/certs/a.pem": ("0o600", 7),
    }


@pytest.mark.parametrize("near", [True, False])
def test_a_context_is_sent_as_gzip(near: bool) -> None:
    """Smaller only when it has far to go."""
    data = b"".join(compressed([b"a" * 10_000] * 2, near=near))

    assert gzip.decompress(data) == b"a" * 20_000
    assert (len(data) > 20_000) is near


# --- finding engines ---


def test_the_first_engine_that_answers_is_taken(shop: Workshop) -> None:
    """docker is there, and its daemon is not."""
    shop.engine("docker", info="echo no daemon >&2; exit 1")
    shop.engine(
        "podman",
        info="echo os=linux; echo architecture=arm64; echo version=4.3.1; echo remote=true;"
        " echo 'controllers=[cpu]'",
    )

    found = find(Environment.current())

    assert found == Engine(
        kind="podman",
        program=str(shop.folder / "bin" / "podman"),
        version="4.3.1",
        platform=Platform.parse("linux/arm64"),
        near=False,
        limits=False,
    )
    assert found.platforms == (Platform.parse("linux/arm64"),)
    assert (found.name, found.address) == ("podman 4.3.1", ())


def test_every_engine_says_why_it_is_not_used(shop: Workshop) -> None:
    """In one sentence."""
    shop.engine("docker", info="echo permission denied >&2; exit 1")

    with pytest.raises(BackendUnavailableError) as raised:
        find(Environment.current())

    assert raised.value.message == (
        "no container engine answers: docker at tcp://192.0.2.1:2375 (DOCKER_HOST) does not"
        " answer: permission denied; podman is not installed, or not in PATH; nerdctl is not"
        " installed, or not in PATH"
    )


def test_an_engine_that_is_named_is_the_only_one_asked(shop: Workshop) -> None:
    """Its own error is told."""
    shop.engine("docker", info="echo permission denied >&2; exit 1")

    with pytest.raises(BackendUnavailableError, match="docker at") as raised:
        find(Environment.current(), engine="docker")

    assert "group docker" in raised.value.hint


def test_there_is_no_other_engine() -> None:
    """A slip in a name is told at once."""
    with pytest.raises(SpecError, match="'dokcer'"):
        find(Environment.current(), engine="dokcer")


def test_what_is_called_docker_may_be_podman(shop: Workshop) -> None:
    """As the package podman-docker has it; podman knows other templates."""
    line = 'case "$3" in *Host.OS*) echo os=linux; echo version=4; echo architecture=amd64; esac'
    shop.engine("docker", info=line, __version="echo podman version 4.3.1")

    assert find(Environment.current(), engine="docker").kind == "podman"


def test_containers_of_windows_are_of_no_use(shop: Workshop) -> None:
    """kaniko is a program for linux."""
    shop.docker(facts="os=windows\nversion=28\narchitecture=amd64\n")

    with pytest.raises(BackendUnavailableError, match="containers of windows"):
        find(Environment.current())


@pytest.mark.parametrize(
    ("security", "reason"),
    [
        ("name=userns", "the engine gives containers other user ids"),
        ("name=selinux", "SELinux protects this machine's folders"),
        ("name=seccomp", ""),
    ],
)
def test_what_stands_against_mounting_is_known(shop: Workshop, security: str, reason: str) -> None:
    """No protection is turned off for the sake of speed."""
    shop.docker(facts=_FACTS.replace("name=seccomp", security))

    assert find(Environment.current()).mounts == reason


def test_docker_gets_a_configuration_of_its_own(shop: Workshop) -> None:
    """Nobody's credentials are in it, and the user's is not written to."""
    shop.docker()
    run = Run(workdir=shop.work, cancel=CancelToken(), sink=shop.events.append)
    engine = find(Environment.current())

    with addressed(engine, run) as variables:
        folder = Path(variables["DOCKER_CONFIG"])
        assert folder.is_relative_to(shop.work)
    assert engine.address == ("--host", "tcp://192.0.2.1:2375")


def test_a_container_is_known_by_its_variable() -> None:
    """podman and systemd set it."""
    environment = Environment.current()

    assert in_container(evolve(environment, variables={"container": "podman"}))


# --- the runner ---


def test_a_probe_says_what_the_container_adds(shop: Workshop) -> None:
    """The version only when it is asked for."""
    shop.docker()

    found = ContainerRunner().probe("kaniko:1", ask_version=False)

    assert {Feature.EXPORT_LAYOUT, Feature.RESOURCES, Feature.ADD_HOSTS} <= found.features
    assert (found.version, found.remarks) == (
        "",
        ("in containers of docker 28.5.2 at tcp://192.0.2.1:2375",),
    )


def test_an_engine_without_limits_is_not_asked_for_any(shop: Workshop) -> None:
    """It would only warn."""
    shop.docker(facts=_FACTS.replace("memory=true", "memory=false"))

    found = ContainerRunner().probe("kaniko:1", ask_version=False)

    assert Feature.RESOURCES not in found.features
    assert "cannot limit memory" in found.notes[Feature.RESOURCES]


def test_the_version_is_remembered(shop: Workshop) -> None:
    """By the image's id: another image of the same name is asked again."""
    shop.docker(run="echo 'Kaniko version :  v1.28.3'")

    found = [ContainerRunner().probe("kaniko:1", ask_version=True).version for _ in range(2)]

    assert found == ["v1.28.3", "v1.28.3"]
    assert [line.split()[-1] for line in shop.told() if line.startswith("run ")] == [
        *("version", "--help")
    ]


def test_an_image_without_an_executor_is_named(shop: Workshop) -> None:
    """With what became of it."""
    shop.docker(run="echo 'exec: no such file' >&2; exit 127")

    with pytest.raises(BackendUnavailableError, match="kaniko:1 has no working kaniko") as raised:
        ContainerRunner().probe("kaniko:1", ask_version=True)

    assert "exec: no such file" in raised.value.message


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("dial tcp: lookup a.test: no such host", "a way to the registry"),
        ("pull access denied for kaniko", "log in"),
        ("manifest unknown", "no image of that name"),
        ("something else", "by hand"),
    ],
)
def test_why_an_image_cannot_be_pulled_is_understood(shop: Workshop, said: str, hint: str) -> None:
    """And what to do next."""
    shop.docker(image="exit 1", __host=f"echo 'Error response from daemon: {said}' >&2; exit 1")

    with pytest.raises(BackendUnavailableError) as raised:
        shop.execute()

    assert raised.value.message == f"the kaniko image kaniko:1 cannot be pulled: {said}"
    assert hint in raised.value.hint


def test_to_an_engine_elsewhere_everything_is_copied(shop: Workshop) -> None:
    """And the container is removed in the end."""
    shop.docker(cp=f"cat > {shop.folder}/tar")

    ending = shop.execute()

    told = [line.split()[0] for line in shop.told()]
    assert told[1:] == ["info", "image", "create", "cp", "start", "container", "cp", "rm"]
    assert (ending.exit_code, ending.argv[1]) == (0, "run")
    assert not any("--mount" in line for line in shop.told())
    assert "--force --volumes buildpush-kaniko-" in shop.told()[-1]


@pytest.mark.parametrize(
    ("answers", "match"),
    [
        ({"create": "echo no such option >&2; exit 1"}, "does not make the container: no such"),
        ({"cp": "echo disk full >&2; exit 1"}, "does not take the build's files: disk full"),
        ({"container": "echo created 127 false"}, "does not start the container: said"),
        ({"container": "echo running 0 false"}, "broke off while the container was running"),
        ({"container": "echo 'No such container: x' >&2; exit 1"}, "was taken away while it ran"),
    ],
)
def test_what_goes_wrong_is_told_and_the_container_removed(
    shop: Workshop, answers: dict[str, str], match: str
) -> None:
    """Whatever it is."""
    shop.docker(**answers)

    with pytest.raises(PlanError, match=match):
        shop.execute()

    assert shop.told()[-1].startswith("rm ")


def test_what_cannot_be_removed_is_told(shop: Workshop) -> None:
    """With the command that does it."""
    shop.docker(rm="echo busy >&2; exit 1")

    shop.execute()

    (warning,) = (event for event in shop.events if isinstance(event, Warned))
    assert "could not be removed: docker rm --force buildpush-kaniko-" in warning.message


def test_what_the_engine_warns_of_is_passed_on(shop: Workshop) -> None:
    """A limit that it will not keep, for example."""
    shop.docker(create="echo id; echo 'WARNING: no swap limit' >&2")

    shop.execute()

    (warning,) = (event for event in shop.events if isinstance(event, Warned))
    assert warning.message == "docker: no swap limit"


def test_a_layout_with_anything_else_in_it_is_refused(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUN is root in there, and may have put a link to one of our files in a layer's place."""
    shop.docker(cp='case "$2" in -) : ;; *) ln -s /etc/hostname "$3/layer" ;; esac')

    with pytest.raises(BuildError, match="something else in the image's place: layer"):
        shop.execute()


def test_memory_that_was_too_little_is_told(shop: Workshop) -> None:
    """It is the engine that knows."""
    shop.docker(container="echo exited 137 true")

    ending = shop.execute(limits=Resources(memory=1 << 20))

    assert (ending.exit_code, ending.cause, ending.limit) == (137, "out of memory", 1 << 20)


def test_without_a_network_nothing_can_be_built(shop: Workshop) -> None:
    """RUN shares the network in which base images are fetched."""
    with pytest.raises(UnsupportedFeatureError, match="without a network"):
        ContainerRunner().preview(shop.execution(network="none"))


@pytest.mark.parametrize("place", ["reference", "mirror"])
def test_a_registry_on_our_loopback_is_out_of_reach(shop: Workshop, place: str) -> None:
    """But for a container that shares our network."""
    reference = ImageReference.parse("localhost:5000/app:1")
    settings: dict[str, Any] = (
        {"references": (reference,), "delivery": Delivery.DIRECT}
        if place == "reference"
        else {"mirrors": {"docker.io": ("localhost:5000",)}}
    )

    with pytest.raises(PlanError, match="localhost:5000 is this machine's own loopback"):
        ContainerRunner().preview(shop.execution(**settings))
    assert "--network host" in ContainerRunner(network="host").preview(shop.execution(**settings))


def test_a_preview_can_be_pasted(shop: Workshop) -> None:
    """It names the private files, and shows nothing of what is in them."""
    text = ContainerRunner(engine="podman").preview(shop.execution())

    *before, last = text.splitlines()
    assert before == [
        "# in private: Dockerfile, secrets/token",
        "mkdir -p private out",
        "# without what .dockerignore names:",
        f"tar -C {shop.context} --owner=0 --group=0 --numeric-owner -czf - . |",
    ]
    assert last == (
        "  podman run --rm --name buildpush-kaniko-by-hand"
        " --label app.kubernetes.io/managed-by=buildpush --log-driver none --stop-timeout 0"
        " --pull never --entrypoint /kaniko/executor --interactive"
        ' --mount type=bind,source="$PWD"/private,target=/kaniko/buildpush/private,readonly'
        ' --mount type=bind,source="$PWD"/out,target=/kaniko/buildpush/out'
        " --env DOCKER_CONFIG=/kaniko/buildpush/private kaniko:1 --context tar://stdin"
    )


def test_only_old_containers_of_ours_are_removed(shop: Workshop) -> None:
    """Their own labels say when they were made."""
    now = datetime.now(UTC)
    cases = f"*old) echo {now - timedelta(hours=3)} ;; *new) echo {now.isoformat()} ;; *) echo ;;"
    names = "; ".join(f"echo buildpush-kaniko-{name}" for name in ("a-old", "b-new", "c"))
    shop.docker(ps=names, container=f'case "$*" in {cases} esac')

    assert ContainerRunner().gc(timedelta(hours=1)) == ("buildpush-kaniko-a-old",)
    listing = next(line for line in shop.told() if line.startswith("ps "))
    assert "label=app.kubernetes.io/managed-by=buildpush" in listing


def test_labels_alone_make_no_container_ours(shop: Workshop) -> None:
    """A container has its image's, too, and anybody may make an image."""
    shop.docker(
        ps="echo web; echo buildpush-kaniko-vague; echo buildpush-kaniko-odd",
        container="case \"$*\" in *odd) printf '\\377' ;; *) echo 2020-01-01T00:00:00 ;; esac",
    )

    assert ContainerRunner().gc(timedelta(0)) == ()
    assert not [line for line in shop.told() if line.startswith("rm ")]


def test_an_engine_that_does_not_list_is_told(shop: Workshop) -> None:
    """Nothing is taken for removed that was not seen."""
    shop.docker(ps="echo Error: hung >&2; exit 1")

    with pytest.raises(BackendUnavailableError, match="does not list its containers: hung"):
        ContainerRunner().gc(timedelta(0))


def test_nerdctl_makes_and_starts_at_once(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot attach to the input of a container that it has made."""
    facts = "os=linux; echo architecture=x86_64; echo version=2.1; echo kernel=$(uname -r)"
    shop.engine(
        "nerdctl",
        info=f"echo {facts}; echo memory=true",
        image="echo sha256:1",
        run="echo said",
        container="echo exited 0",
    )

    ending = shop.execute(ContainerRunner(engine="nerdctl"))

    assert ending.exit_code == 0
    assert [line.split()[0] for line in shop.told("nerdctl")] == [
        *("info", "image", "run", "container", "rm")
    ]


def test_nerdctl_copies_nothing(shop: Workshop) -> None:
    """Where its folders are not ours, there is no way."""
    shop.engine(
        "nerdctl",
        info="echo os=linux; echo version=2.1; echo architecture=x86_64",
        image="echo sha256:1",
    )

    with pytest.raises(BackendUnavailableError, match="nerdctl cannot copy into a container"):
        shop.execute(ContainerRunner(engine="nerdctl", mounts="never"))


def test_a_folder_that_the_engine_does_not_find_is_copied(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """podman by its own kernel, but in another file system: its refusal names our folder."""
    facts = "os=linux; echo architecture=x86_64; echo version=4; echo kernel=$(uname -r)"
    folder = f"{shop.work}/$(ls {shop.work})/private"
    refuse = f'case "$*" in *--mount*) echo "statfs {folder}: no" >&2; exit 125;; esac; echo id'
    shop.engine(
        "podman",
        info=f"echo {facts}",
        image="echo 1",
        create=refuse,
        container="echo exited 0 false",
    )

    shop.execute(ContainerRunner(engine="podman"))

    told = [line.split()[0] for line in shop.told("podman")]
    assert told == ["info", "image", "create", "create", "cp", "start", "container", "cp", "rm"]


def test_a_mounted_context_belongs_to_root(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it is streamed, by which every file becomes root's."""
    facts = "os=linux; echo architecture=x86_64; echo version=4; echo kernel=$(uname -r)"
    shop.engine(
        "podman",
        info=f"echo {facts}; echo rootless=true",
        image="echo 1",
        create="echo id",
        container="echo exited 0 false",
    )
    (shop.context / "folder").mkdir()
    (shop.context / "folder" / "file").write_text("text")
    # A rootless engine shows its own user's files as root's.
    mine = (shop.context / "folder" / "file").stat()
    assert (mine.st_uid, mine.st_gid) == (os.getuid(), os.getgid())

    shop.execute(ContainerRunner(engine="podman"))

    create = next(line for line in shop.told("podman") if line.startswith("create"))
    assert f"source={shop.context},target=/kaniko/buildpush/context,readonly" in create
    assert "--context dir:///kaniko/buildpush/context" in create
