"""The native backend builds real images: layers, users, caches, failures, cancelling."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field

from buildpush.auth import Chain
from buildpush.backends.native import NativeBackend
from buildpush.dockerfile import parse
from buildpush.errors import (
    BuildError,
    CommandEvidence,
    DockerfileError,
    SourceEvidence,
    StepCancelledError,
    UnsupportedFeatureError,
)
from buildpush.events import Event, TaskFinished, TaskLog, TaskStarted, Warned
from buildpush.oci import Platform
from buildpush.plan import BuildRequest, Feature, LayoutArtifact
from buildpush.runtime import CancelToken, Environment, Run


@define
class Built:
    """An artifact and what was said while it was made."""

    artifact: LayoutArtifact
    events: list[Event]

    @property
    def outcomes(self) -> dict[str, str]:
        titles = {e.task: e.title for e in self.events if isinstance(e, TaskStarted)}
        return {titles[e.task]: e.outcome for e in self.events if isinstance(e, TaskFinished)}

    def blob(self, digest: str) -> bytes:
        return (self.artifact.path / "blobs" / digest.replace(":", "/")).read_bytes()

    def json(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.blob(digest))
        return found

    @property
    def manifest(self) -> dict[str, Any]:
        return self.json(str(self.artifact.digest))

    @property
    def config(self) -> dict[str, Any]:
        return self.json(self.manifest["config"]["digest"])

    def tar(self, number: int) -> tarfile.TarFile:
        data = self.blob(self.manifest["layers"][number]["digest"])
        return tarfile.open(fileobj=io.BytesIO(gzip.decompress(data)))

    def names(self, number: int) -> list[str]:
        with self.tar(number) as archive:
            return archive.getnames()

    def read(self, number: int, name: str) -> bytes:
        with self.tar(number) as archive:
            member = archive.extractfile(name)
            assert member is not None
            return member.read()


@define
class Workshop:
    """Builds Dockerfiles with one context and one store."""

    root: Path
    base: str
    events: list[Event] = field(factory=list[Event])
    runs: int = 0

    @property
    def context(self) -> Path:
        return self.root / "context"

    def file(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def request(self, text: str, **settings: Any) -> BuildRequest:
        contexts = {"base": self.base, **settings.pop("build_contexts", {})}
        return BuildRequest(
            context=self.context,
            dockerfile=parse(text),
            dockerfile_path=self.context / "Dockerfile",
            build_contexts=contexts,
            **settings,
        )

    def build(
        self,
        text: str,
        *,
        cancel: CancelToken | None = None,
        listen: Callable[[Event], None] = lambda _: None,
        **settings: Any,
    ) -> Built:
        self.runs += 1
        workdir = self.root / f"run{self.runs}"
        workdir.mkdir(mode=0o700)
        events: list[Event] = []
        self.events = events

        def sink(event: Event) -> None:
            events.append(event)
            listen(event)

        environment = evolve(Environment.current(), cache=self.root / "cache", cwd=self.root)
        run = Run(
            workdir=workdir,
            cancel=cancel or CancelToken(),
            sink=sink,
            environment=environment,
        )
        artifact = NativeBackend().build(self.request(text, **settings), Chain(()), run)
        return Built(artifact=artifact, events=events)


@pytest.fixture
def workshop(tmp_path: Path, busybox_base: Any) -> Workshop:
    (tmp_path / "context").mkdir()
    return Workshop(root=tmp_path, base=f"oci-layout://{busybox_base.layout}")


def test_copy_needs_no_root_file_system(workshop: Workshop) -> None:
    """Layers, config and history of a COPY-only image."""
    workshop.file("a", "hello\n", 0o755)

    built = workshop.build(
        'FROM scratch\nENV A=1\nWORKDIR /w\nCOPY --chown=5:6 a .\nCMD ["/w/a"]\n',
        labels={"l": "1"},
        annotations={"x": "y"},
    )

    assert built.names(0) == ["w"]
    with built.tar(1) as archive:
        entry = archive.getmember("w/a")
        assert (entry.mode, entry.uid, entry.gid) == (0o755, 5, 6)
    assert built.config["config"] == {
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1"],
        "Cmd": ["/w/a"],
        "WorkingDir": "/w",
        "Labels": {"l": "1"},
        "ArgsEscaped": True,
    }
    history = built.config["history"]
    assert [h["created_by"] for h in history] == [
        "ENV A=1",
        "WORKDIR /w",
        "COPY --chown=5:6 a . # buildkit",
        'CMD ["/w/a"]',
    ]
    assert [h.get("empty_layer", False) for h in history] == [True, False, False, True]
    assert built.config["created"] == history[-1]["created"]
    assert built.manifest["annotations"] == {"x": "y"}


def test_an_unchanged_rebuild_is_the_same_image(workshop: Workshop) -> None:
    """Every step cached, the same digest; a changed file changes both."""
    workshop.file("a", "1")
    text = "FROM scratch\nWORKDIR /w\nCOPY a .\n"

    first = workshop.build(text)
    second = workshop.build(text)
    workshop.file("a", "2")
    third = workshop.build(text)

    assert second.artifact.digest == first.artifact.digest
    assert second.outcomes == {"[1/2] WORKDIR /w": "cached", "[2/2] COPY a .": "cached"}
    assert third.artifact.digest != first.artifact.digest
    assert third.outcomes == {"[1/2] WORKDIR /w": "cached", "[2/2] COPY a .": "done"}


def test_stages_that_nobody_needs_are_not_built(workshop: Workshop) -> None:
    """A missing file in an unused stage does no harm."""
    workshop.file("a", "1")

    built = workshop.build(
        "FROM scratch AS one\nCOPY a /x\nFROM scratch AS unused\nCOPY missing /\n"
        "FROM scratch AS last\nCOPY --from=one /x /y\n"
    )

    assert built.names(0) == ["y"]
    assert sorted(built.outcomes) == ["[last 1/1] COPY --from=one /x /y", "[one 1/1] COPY a /x"]


def test_a_target_stops_the_build(workshop: Workshop) -> None:
    """The target's image is the result."""
    workshop.file("a", "1")

    built = workshop.build("FROM scratch AS one\nCOPY a /x\nFROM one\nCOPY a /y\n", target="one")

    assert len(built.manifest["layers"]) == 1


def test_a_missing_source_blames_its_line(workshop: Workshop) -> None:
    """`BuildError` with the instruction's lines."""
    with pytest.raises(BuildError, match="not found") as caught:
        workshop.build("FROM scratch\n\nCOPY nope /\n")

    (evidence,) = caught.value.evidence
    assert isinstance(evidence, SourceEvidence) and evidence.first_line == 3
    assert [e.outcome for e in workshop.events if isinstance(e, TaskFinished)] == ["failed"]


def test_heredocs_and_ignored_files(workshop: Workshop) -> None:
    """A here-document is a file; .dockerignore hides."""
    workshop.file("keep", "1")
    workshop.file("drop", "2")
    workshop.file(".dockerignore", "drop\n.dockerignore\n")

    built = workshop.build("FROM scratch\nARG A=x\nCOPY <<EOF /h\n$A\nEOF\nCOPY . /c/\n")

    assert built.read(0, "h") == b"x\n"
    assert built.names(1) == ["c", "c/keep"]


def test_labels_of_the_request_win(workshop: Workshop) -> None:
    """They are added last."""
    built = workshop.build("FROM scratch\nLABEL a=1 b=1\n", labels={"a": "2"})

    assert built.config["config"]["Labels"] == {"a": "2", "b": "1"}
    assert built.manifest["layers"] == []


def test_the_epoch_sets_every_time(workshop: Workshop) -> None:
    """Files newer than SOURCE_DATE_EPOCH are set back, and so is the config."""
    workshop.file("a", "1")

    built = workshop.build("FROM scratch\nCOPY a /x/\n", source_date_epoch=1000)

    with built.tar(0) as archive:
        assert {m.mtime for m in archive.getmembers()} == {1000}
    assert built.config["created"] == "1970-01-01T00:16:40Z"
    assert built.config["history"][0]["created"] == "1970-01-01T00:16:40Z"


def test_two_platforms_make_an_index(workshop: Workshop) -> None:
    """One manifest each; COPY needs no foreign program."""
    workshop.file("linux-amd64", "a")
    workshop.file("linux-arm64", "b")
    platforms = (Platform.of("linux", "amd64"), Platform.of("linux", "arm64"))

    built = workshop.build(
        "FROM scratch\nARG TARGETOS TARGETARCH\nCOPY $TARGETOS-$TARGETARCH /bin/x\n",
        platforms=platforms,
        annotations={"index:i": "1", "manifest[linux/arm64]:m": "2"},
    )

    index = built.manifest
    assert [m["platform"]["architecture"] for m in index["manifests"]] == ["amd64", "arm64"]
    assert index["annotations"] == {"i": "1"}
    arm = built.json(index["manifests"][1]["digest"])
    assert arm["annotations"] == {"m": "2"}
    assert built.json(arm["config"]["digest"])["architecture"] == "arm64"


def test_layers_may_be_zstd(workshop: Workshop) -> None:
    """The media type says so."""
    workshop.file("a", "1")

    built = workshop.build("FROM scratch\nCOPY a /\n", compression="zstd")

    (layer,) = built.manifest["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    assert built.blob(layer["digest"])[:4] == b"\x28\xb5\x2f\xfd"


def test_a_named_folder_is_a_source(workshop: Workshop, tmp_path: Path) -> None:
    """``COPY --from=name`` with a folder as build context; building upon it is refused."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "f").write_text("1")
    contexts = {"extra": "other"}

    built = workshop.build("FROM scratch\nCOPY --from=extra f /g\n", build_contexts=contexts)
    with pytest.raises(DockerfileError, match="not built upon"):
        workshop.build("FROM extra\nCOPY f /\n", build_contexts=contexts)

    assert built.names(0) == ["g"]


def test_copying_from_an_image_reads_its_layers(workshop: Workshop) -> None:
    """Symlinks in the source are followed inside that image."""
    built = workshop.build("FROM scratch\nCOPY --from=base /bin/sh /bin/busybox\n")

    with built.tar(0) as archive:
        entry = archive.getmember("bin/busybox")
        assert entry.isreg() and entry.mode == 0o755


@pytest.mark.needs_registry
def test_base_layers_stay_in_their_registry(
    workshop: Workshop, docker_registry: Any, busybox_base: Any, repository: str
) -> None:
    """An image that only adds metadata downloads no layer and says where the base's are."""
    reference = busybox_base.push(docker_registry.host, repository)

    built = workshop.build(f"FROM {reference}\nENV A=1\nUSER app\n")

    (layer,) = built.manifest["layers"]
    assert not (built.artifact.path / "blobs" / layer["digest"].replace(":", "/")).exists()
    assert [str(r) for r in built.artifact.origins.values()] == [reference.removesuffix(":latest")]
    assert built.config["config"]["User"] == "app"


# -- RUN -------------------------------------------------------------------------------------

needs_root = pytest.mark.needs_root


@needs_root
def test_run_makes_a_layer_of_its_difference(workshop: Workshop) -> None:
    """What was added, nothing else; its output are log lines."""
    built = workshop.build("FROM base\nENV A=1\nRUN echo hi && echo $A >/made\n")

    assert built.names(-1) == ["made"]
    assert built.read(-1, "made") == b"1\n"
    lines = [(e.stream, e.line) for e in built.events if isinstance(e, TaskLog)]
    assert lines == [("stdout", "hi")]
    assert built.config["history"][-1]["created_by"] == (
        "RUN /bin/sh -c echo hi && echo $A >/made # buildkit"
    )


@needs_root
def test_run_is_cached(workshop: Workshop) -> None:
    """The second time nothing is executed and the digest is the same."""
    text = "FROM base\nARG A=1\nRUN cat /proc/sys/kernel/random/uuid >/id\nRUN touch /b\n"

    first = workshop.build(text)
    second = workshop.build(text)
    fresh = workshop.build(text, no_cache=True)
    other = workshop.build(text, build_args={"A": "2"})

    assert second.artifact.digest == first.artifact.digest
    assert set(second.outcomes.values()) == {"cached"}
    assert fresh.artifact.digest != first.artifact.digest
    assert other.artifact.digest != first.artifact.digest


@needs_root
def test_the_cache_is_ignored_for_named_stages(workshop: Workshop) -> None:
    """``no_cache_filter`` names the stages to build anew."""
    text = (
        "FROM base AS one\nRUN cat /proc/sys/kernel/random/uuid >/id\n"
        "FROM base AS two\nRUN touch /x\nCOPY --from=one /id /\n"
    )
    workshop.build(text)

    built = workshop.build(text, no_cache_filter=("one",))

    assert built.outcomes["[one 2/2] RUN cat /proc/sys/kernel/random/uuid >/id"] == "done"
    assert built.outcomes["[two 2/3] RUN touch /x"] == "cached"
    assert built.outcomes["[two 3/3] COPY --from=one /id /"] == "done"


@needs_root
def test_user_and_workdir(workshop: Workshop) -> None:
    """A WORKDIR that has to be made belongs to USER; RUN is that user, there."""
    built = workshop.build(
        "FROM base\nUSER app\nWORKDIR /srv/x\nRUN touch f && id -u >u && pwd >p\n"
    )

    with built.tar(-2) as archive:
        assert archive.getmember("srv/x").uid == 1000
    with built.tar(-1) as archive:
        assert archive.getmember("srv/x/f").uid == 1000
    assert built.read(-1, "srv/x/u") == b"1000\n"
    assert built.read(-1, "srv/x/p") == b"/srv/x\n"


@needs_root
def test_a_workdir_that_is_there_makes_a_layer_of_nothing(workshop: Workshop) -> None:
    """As BuildKit does: its history line stands for a layer; the path stays as it was written."""
    built = workshop.build("FROM base\nWORKDIR /tmp/\n")

    assert built.names(-1) == []
    assert len(built.manifest["layers"]) == 2
    assert built.config["config"]["WorkingDir"] == "/tmp/"
    assert "empty_layer" not in built.config["history"][-1]


def test_names_of_users_need_an_image_to_be_looked_up_in(workshop: Workshop) -> None:
    """In ``scratch`` there is none; once there is a layer, an unknown name is root's."""
    workshop.file("a")

    with pytest.raises(BuildError, match="'ghost' cannot be looked up in an empty image"):
        workshop.build("FROM scratch\nCOPY --chown=ghost a /\n")

    built = workshop.build("FROM scratch\nCOPY a /\nCOPY --chown=ghost a /b\n")
    with built.tar(-1) as archive:
        assert archive.getmember("b").uid == 0


@needs_root
def test_a_run_leaves_the_mount_points_that_every_container_needs(workshop: Workshop) -> None:
    """/dev, /proc and /sys, as with BuildKit; nothing else that was made for the command."""
    built = workshop.build(
        "FROM base AS b\nFROM scratch\nCOPY --from=b /bin /bin\n"
        "RUN --mount=type=tmpfs,target=/t echo hi >/x\n"
    )

    assert sorted(built.names(-1)) == ["dev", "proc", "sys", "x"]


@needs_root
def test_a_failing_run_tells_what_failed(workshop: Workshop) -> None:
    """The lines of the Dockerfile, the command, its exit code and its last words."""
    with pytest.raises(BuildError, match="exit code 3") as caught:
        workshop.build("FROM base\nRUN echo out; echo err >&2; exit 3\n")

    source, command = caught.value.evidence
    assert isinstance(source, SourceEvidence) and source.first_line == 2
    assert isinstance(command, CommandEvidence)
    assert command.exit_code == 3
    assert command.argv == ("/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert sorted(command.tail) == ["err", "out"]


@needs_root
def test_secrets_leave_no_trace(workshop: Workshop, tmp_path: Path) -> None:
    """A RUN reads them; neither layer, config, event nor store holds them."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2-hunter2")
    secret.chmod(0o600)

    built = workshop.build(
        "FROM base\nRUN --mount=type=secret,id=s --mount=type=secret,id=e,env=E "
        "wc -c </run/secrets/s >/size && echo ${#E} >>/size && stat -c %a /run/secrets/s >>/size\n",
        secrets={"s": secret, "e": secret},
    )

    assert built.read(-1, "size") == b"15\n15\n400\n"
    assert "run/secrets/s" not in built.names(-1)
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"hunter2" not in data
            if data[:2] == b"\x1f\x8b":
                assert b"hunter2" not in gzip.decompress(data)
    assert "hunter2" not in repr(built.events)


@needs_root
def test_a_required_secret_must_be_given(workshop: Workshop) -> None:
    """Without ``required`` the mount is left out."""
    workshop.build("FROM base\nRUN --mount=type=secret,id=s test ! -e /run/secrets/s\n")

    with pytest.raises(BuildError, match="secret 's' is required"):
        workshop.build("FROM base\nRUN --mount=type=secret,id=s,required true\n")


@needs_root
def test_mounts(workshop: Workshop) -> None:
    """Binds from the context, a stage and an image; caches outlive the build; tmpfs does not."""
    workshop.file("in/a", "ctx")
    workshop.file("hidden", "x")
    workshop.file(".dockerignore", "hidden")
    text = (
        "FROM base AS other\nRUN echo stage >/s\n"
        "FROM base\nRUN --mount=target=/ctx --mount=from=other,source=/s,target=/o "
        "--mount=from=base,target=/b --mount=type=cache,target=/c --mount=type=tmpfs,target=/t "
        "cat /ctx/in/a /o >/r && test ! -e /ctx/hidden && test -x /b/bin/sh && echo x >>/c/n "
        "&& wc -l </c/n >>/r && touch /t/gone\n"
    )

    first = workshop.build(text)
    second = workshop.build(text, no_cache=True)

    assert first.read(-1, "r") == b"ctxstage\n1\n"
    assert second.read(-1, "r") == b"ctxstage\n2\n"
    with first.tar(-1) as archive:
        assert [m.name for m in archive.getmembers() if m.isreg()] == ["r"]


@needs_root
def test_a_changed_bind_runs_again(workshop: Workshop) -> None:
    """What is mounted counts by content."""
    workshop.file("a", "1")
    text = "FROM base\nRUN --mount=source=a,target=/a cat /a >/b\n"

    first = workshop.build(text)
    workshop.file("a", "2")
    second = workshop.build(text)

    assert (first.read(-1, "b"), second.read(-1, "b")) == (b"1", b"2")


@needs_root
def test_onbuild_of_another_stage(workshop: Workshop) -> None:
    """Triggers run in the stage built upon it."""
    built = workshop.build(
        "FROM base AS b\nONBUILD RUN echo x >/trigger\nFROM b\nRUN cat /trigger\n"
    )

    assert built.names(-2) == ["trigger"]
    assert "OnBuild" not in built.config["config"]


@needs_root
def test_scripts_in_heredocs(workshop: Workshop) -> None:
    """With ``#!`` the here-document is executed, without it the shell reads it."""
    built = workshop.build(
        "FROM base\nRUN <<EOF\necho a >/r\necho b >>/r\nEOF\nRUN <<EOF\n#!/bin/sh\necho c >>/r\nEOF\n"
    )

    assert built.read(-1, "r") == b"a\nb\nc\n"


@needs_root
def test_cancelling_stops_a_run(workshop: Workshop) -> None:
    """The reason comes out, and the command is gone."""
    token = CancelToken()

    def listen(event: Event) -> None:
        if isinstance(event, TaskLog) and event.line == "ready":
            threading.Thread(target=token.cancel).start()

    with pytest.raises(StepCancelledError):
        workshop.build("FROM base\nRUN echo ready; sleep 4321\n", cancel=token, listen=listen)

    running = [
        p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if os.access(p, os.R_OK)
    ]
    assert not [c for c in running if c.endswith(b"sleep\x004321\x00")]
    assert list((workshop.root / "cache/native/v1/work").iterdir()) == []


@needs_root
def test_a_failure_stops_the_other_stages(workshop: Workshop) -> None:
    """The first failure is the one that is reported."""
    with pytest.raises(BuildError, match="exit code 9"):
        workshop.build(
            "FROM base AS slow\nRUN sleep 4322\nFROM base AS bad\nRUN exit 9\n"
            "FROM base\nCOPY --from=slow / /\nCOPY --from=bad / /\n"
        )

    assert not any(isinstance(event, Warned) for event in workshop.events)


def test_probing_says_what_works() -> None:
    """COPY works everywhere; RUN is there or its absence is explained."""
    found = NativeBackend().probe()

    assert found.backend == "native"
    assert Feature.EXPORT_LAYOUT in found.features
    assert (Feature.RUN in found.features) != (Feature.RUN in found.notes)
    assert found.needs_root is False


@needs_root
def test_a_foreign_run_is_refused(workshop: Workshop) -> None:
    """Its line and a way out are shown; what is cached or copied does not matter."""
    with pytest.raises(UnsupportedFeatureError, match="linux/mips64le") as caught:
        workshop.build("FROM base\nRUN true\n", platforms=(Platform.of("linux", "mips64le"),))

    assert "binfmt" in caught.value.hint
    assert "RUN true" in caught.value.report()


@needs_root
def test_a_cross_build_runs_on_this_machine(workshop: Workshop) -> None:
    """``FROM --platform=$BUILDPLATFORM`` is executed here, for whatever target."""
    built = workshop.build(
        "FROM --platform=$BUILDPLATFORM base AS b\nARG TARGETARCH\nRUN echo $TARGETARCH >/a\n"
        "FROM scratch\nCOPY --from=b /a /a\n",
        platforms=(Platform.of("linux", "mips64le"),),
    )

    assert built.read(-1, "a") == b"mips64le\n"
    assert built.config["architecture"] == "mips64le"


@needs_root
def test_an_agent_is_forwarded(workshop: Workshop, tmp_path: Path) -> None:
    """Its socket is where SSH_AUTH_SOCK says, for as long as the RUN lasts."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()

        built = workshop.build(
            "FROM base\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK >/s\n",
            ssh={"default": tmp_path / "agent"},
        )

    assert built.read(-1, "s") == b"/run/buildkit/ssh_agent.0\n"


@needs_root
def test_a_cache_may_begin_with_a_stages_files(workshop: Workshop) -> None:
    """Only the first time."""
    text = (
        "FROM base AS seed\nRUN mkdir /s && echo 1 >/s/f && ln /s/f /s/g && ln -s f /s/l\n"
        "FROM base\nRUN --mount=type=cache,target=/c,from=seed,source=/s "
        "cat /c/f /c/l /c/g >/r && echo 2 >/c/f\n"
    )

    first = workshop.build(text)
    second = workshop.build(text, no_cache=True)

    assert first.read(-1, "r") == b"1\n1\n1\n"
    assert second.read(-1, "r") == b"2\n2\n2\n"


@needs_root
@pytest.mark.needs_registry
def test_a_registrys_base_is_run(
    workshop: Workshop, docker_registry: Any, busybox_base: Any, repository: str
) -> None:
    """Its layers are fetched when a RUN needs them."""
    reference = busybox_base.push(docker_registry.host, repository)

    built = workshop.build(f"FROM {reference}\nRUN touch /x\n")

    assert built.names(-1) == ["x"]
    base = built.manifest["layers"][0]["digest"]
    assert (built.artifact.path / "blobs" / base.replace(":", "/")).exists()


@needs_root
def test_a_user_may_be_a_name(workshop: Workshop) -> None:
    """Looked up in the image, for COPY and WORKDIR, too."""
    workshop.file("a", "1")

    built = workshop.build(
        "FROM base\nUSER app\nCOPY --chown=app:extra a /a\nRUN id -un >/tmp/u\n"
    )

    with built.tar(-2) as archive:
        assert (archive.getmember("a").uid, archive.getmember("a").gid) == (1000, 1001)
    assert built.read(-1, "tmp/u") == b"app\n"
