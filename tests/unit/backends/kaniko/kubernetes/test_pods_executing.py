"""One execution in a cluster that the test plays: made, fed, followed and cleared up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from pods_cluster import PlayedCluster, breaking, hanging

from buildpush.backends.kaniko.kubernetes.api.client import Listed
from buildpush.backends.kaniko.kubernetes.api.failures import BrokenOff, Gone, Unreachable
from buildpush.backends.kaniko.kubernetes.api.kinds import EVENTS, JOBS, PODS, SECRETS, Kind
from buildpush.backends.kaniko.kubernetes.builds import Build, Naming
from buildpush.backends.kaniko.kubernetes.clearing import collect
from buildpush.backends.kaniko.kubernetes.executing import Executing, asked_version, run_id
from buildpush.backends.kaniko.kubernetes.scripts import ARRIVED, FAILED, RECEIVE
from buildpush.backends.kaniko.kubernetes.settings import (
    ContextDelivery,
    PodSettings,
    RemoteContext,
    StreamedContext,
)
from buildpush.backends.kaniko.kubernetes.sightings import Lookout
from buildpush.backends.kaniko.runner import Command, Ending, Execution
from buildpush.dockerfile import parse
from buildpush.errors import (
    BackendUnavailableError,
    BuildpushError,
    DiskFullError,
    PermissionDeniedError,
    PodLostError,
    PodNotStartedError,
    SpecError,
    StepCancelledError,
)
from buildpush.events import Event, Stream, TaskLog, Warned
from buildpush.oci import ImageReference
from buildpush.plan import BuildRequest, Resources
from buildpush.runtime import CancelToken, Environment, Run

NAME = "buildpush-app-1"
DIGEST = "sha256:" + "1" * 64
STAMP = b"2026-11-23T19:00:0%d.000000000Z "


@define(eq=False)
class Lines:
    """A translator that keeps what it is told."""

    heard: list[str] = field(factory=list)

    def line(self, stream: Stream, line: str, at: float) -> Iterable[Event]:
        self.heard.append(line)
        return (TaskLog(at=at, task="t", stream=stream, line=line),)

    def finish(self, at: float) -> Iterable[Event]:
        self.heard.append("(finished)")
        return ()


def lines(*texts: str, start: int = 0) -> list[bytes]:
    return [STAMP % number + text.encode() for number, text in enumerate(texts, start)]


def pod(main: Any = None, init: Any = None, **status: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"phase": "Pending", **status}
    if main is not None:
        found["containerStatuses"] = [{"name": "kaniko", "state": main}]
    if init is not None:
        found["initContainerStatuses"] = [{"name": "context", "state": init}]
    labels = {"app.kubernetes.io/instance": NAME, "buildpush.dev/client": "c1"}
    labels["app.kubernetes.io/managed-by"] = "buildpush"
    return {"metadata": {"name": f"{NAME}-xyz", "uid": "p1", "labels": labels}, "status": found}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


WAITING = {"waiting": {"reason": "PodInitializing"}}
RUNNING: dict[str, Any] = {"running": {}}
SUCCEEDED = ended(0, "Completed", DIGEST)


@define(eq=False)
class Play:
    """A cluster, and one execution in it."""

    cluster: PlayedCluster
    run: Run
    execution: Execution
    events: list[Event]
    lookout: Lookout
    translator: Lines = field(factory=Lines)

    def work(
        self,
        delivery: ContextDelivery | None = None,
        *,
        schedule_timeout: float = 60.0,
        keep: bool = False,
    ) -> Ending:
        build = Build(
            execution=self.execution,
            naming=Naming(name=NAME, run="r1", client="c1"),
            delivery=delivery or RemoteContext(url="s3://b/c.tar"),
            pod=PodSettings(limits={"memory": "1Gi"}),
        )
        return Executing(
            build=build,
            run=self.run,
            open_cluster=lambda _: self.cluster,  # type: ignore[arg-type, return-value]
            lookout=self.lookout,
            schedule_timeout=schedule_timeout,
            keep_on_failure=keep,
        ).work(self.translator)

    def when_made(self, *acts: Callable[[], None]) -> None:
        """Let the cluster do *acts* as soon as the Secret is there, the last object made."""

        def made(kind: Kind, _: Any) -> None:
            if kind is SECRETS:
                for act in acts:
                    act()

        self.cluster.on_create = made

    def becomes(self, main: Any = None, init: Any = None, **status: Any) -> Callable[[], None]:
        return lambda: self.cluster.show(PODS, pod(main, init, **status))

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]

    @property
    def left(self) -> set[str]:
        return {f"{kind}/{name}" for kind, name in self.cluster.things if kind != "events"}


@pytest.fixture
def play(tmp_path: Path) -> Play:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\n")
    request = BuildRequest(
        context=context,
        dockerfile=parse("FROM scratch\n"),
        dockerfile_path=context / "Dockerfile",
        references=(ImageReference.parse("r.example/app:1"),),
        limits=Resources(memory=1 << 29),
        retries=1,
    )
    execution = Execution(
        image="example/kaniko",
        request=request,
        command=lambda places: Command(words=(f"--context={places.context}",)),
        files={"Dockerfile": b"FROM scratch\n"},
    )
    cluster = PlayedCluster()
    found: list[Event] = []
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=found.append)
    lookout = Lookout(client="c1", open_cluster=lambda _: cluster)  # type: ignore[arg-type, return-value]
    return Play(cluster, run, execution, found, lookout)


def over(play: Play) -> Any:
    """A log whose last line comes just before the container ends."""

    def log() -> Iterable[bytes]:
        yield from lines("one", "two")
        play.becomes(SUCCEEDED, phase="Succeeded")()

    return log()


def test_a_build_that_succeeds(play: Play) -> None:
    """Its lines, its digest, and nothing left; the Secret is the Job's own."""
    play.when_made(play.becomes(RUNNING))
    play.cluster.logs = [over(play)]

    ending = play.work()

    assert (ending.exit_code, ending.digest) == (0, DIGEST)
    assert ending.argv == ("example/kaniko", "--context=s3://b/c.tar")
    assert play.translator.heard == ["one", "two", "(finished)"]
    assert play.left == set()
    assert ("delete", "jobs", NAME, "Background") in play.cluster.asked


def test_the_job_is_made_before_the_secret_that_it_owns(play: Play) -> None:
    """A Secret that is made first would be left by a client that is killed in between."""
    owners: list[Any] = []

    def made(kind: Kind, thing: Any) -> None:
        if kind is SECRETS:
            owners.extend(thing["metadata"]["ownerReferences"])
            play.becomes(RUNNING)()

    play.cluster.on_create = made
    play.cluster.logs = [over(play)]
    play.work()

    assert [(owner["kind"], owner["uid"]) for owner in owners] == [("Job", "u1")]


def test_a_build_that_fails_for_want_of_memory(play: Play) -> None:
    """The cause is the kubelet's word for it; the limit is the one that was set."""
    play.when_made(play.becomes(ended(137, "OOMKilled"), phase="Failed"))
    play.cluster.logs = [lines("one")]

    ending = play.work()

    assert (ending.exit_code, ending.cause, ending.limit) == (137, "out of memory", 1 << 29)


def test_a_log_that_breaks_off_goes_on_where_it_was(play: Play) -> None:
    """No line twice, none lost; the end is the container's, not the log's."""
    play.when_made(play.becomes(RUNNING))

    def rest() -> Iterable[bytes]:
        yield from lines("one", "two", "three")
        play.becomes(SUCCEEDED)()

    play.cluster.logs = [breaking(lines("one", "two"), BrokenOff("reset")), rest()]
    play.work()

    assert play.translator.heard == ["one", "two", "three", "(finished)"]
    assert [asked[3] for asked in play.cluster.asked if asked[0] == "log"] == [
        "",
        "2026-11-23T19:00:01.000000000Z",
    ]


def test_a_log_that_never_ends_is_closed_when_the_pod_is_lost(play: Play) -> None:
    """A node that is gone closes nothing."""
    play.when_made(play.becomes(RUNNING))

    def log() -> Iterable[bytes]:
        yield from lines("one")
        play.becomes(RUNNING, reason="NodeLost", message="node unreachable")()
        raise BrokenOff("no route")

    play.cluster.logs = [log()]
    with pytest.raises(PodLostError, match="NodeLost: node unreachable") as caught:
        play.work()

    assert caught.value.reason == "NodeLost"
    assert caught.value.retryable
    assert play.left == set()


def test_a_lost_pods_open_log_is_closed_by_the_sight_of_it(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's thread reads the log; the watching thread sees the pod go."""
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.following._LOG_GRACE", 0.01)
    play.when_made(play.becomes(RUNNING))
    log = hanging(lines("one"))
    play.cluster.logs = [log]
    threading.Timer(0.05, play.becomes(ended(137), reason="Evicted", phase="Failed")).start()

    with pytest.raises(PodLostError, match="Evicted"):
        play.work()

    assert log.closed.is_set()


def test_a_pod_that_never_starts_is_an_error_at_once_where_that_is_final(play: Play) -> None:
    """Nobody waits for the time limit when the cluster has said its last word."""
    message = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": …'
    play.when_made(lambda: play.cluster.event(NAME, "FailedCreate", message))

    with pytest.raises(PodNotStartedError, match=r"FailedCreate: .*PodSecurity") as caught:
        play.work()

    assert caught.value.reason == "FailedCreate"
    assert "has to be root" in caught.value.hint
    assert play.left == set()


def test_what_may_yet_pass_is_told_once(play: Play) -> None:
    """An image that does not come is refused, and backs off, by turns."""
    back_off = play.becomes({"waiting": {"reason": "ImagePullBackOff", "message": "refused"}})

    def turn() -> None:
        threading.Timer(0.05, back_off).start()

    refused = play.becomes({"waiting": {"reason": "ErrImagePull", "message": "refused"}})
    play.when_made(refused, turn)

    with pytest.raises(PodNotStartedError, match="ImagePullBackOff: refused"):
        play.work(schedule_timeout=0.3)

    assert [said for said in play.warnings if "waits" in said] == [
        f"Job builds/{NAME} waits: ErrImagePull: refused"
    ]


def test_an_image_that_is_no_executors(play: Play) -> None:
    """The container's runtime finds nothing to start."""
    play.when_made(play.becomes(ended(128, "StartError", "exec: not found in $PATH")))

    with pytest.raises(PodNotStartedError, match="StartError: exec") as caught:
        play.work()

    assert "kaniko's executor" in caught.value.hint


def test_an_image_that_cannot_receive_a_context(play: Play) -> None:
    """Kaniko's own has no shell, but for its debug images."""
    failed = ended(128, "StartError", 'exec: "sh": executable file not found in $PATH')
    play.when_made(play.becomes(None, failed, phase="Failed"))

    with pytest.raises(PodNotStartedError, match='exec: "sh"') as caught:
        play.work(StreamedContext())

    assert "busybox" in caught.value.hint


def test_a_pod_that_does_not_start_in_time_says_what_it_waited_for(play: Play) -> None:
    """The reason is the cluster's, though it might have passed."""
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    play.when_made(play.becomes(conditions=[{**scheduled, "message": "0/3 nodes"}]))

    with pytest.raises(PodNotStartedError, match=r"within 0.2 s: Unschedulable: 0/3") as caught:
        play.work(schedule_timeout=0.2)

    assert caught.value.reason == "Unschedulable"
    assert any("waits: Unschedulable" in said for said in play.warnings)


def test_a_cluster_that_makes_no_pod_and_says_nothing(play: Play) -> None:
    """A Job may be suspended by a queue, or its controller be down."""
    with pytest.raises(PodNotStartedError, match="the cluster has made no pod") as caught:
        play.work(schedule_timeout=0.1)

    assert caught.value.reason == "NoPod"


def test_a_deadline_that_passes_while_it_builds(play: Play) -> None:
    """The Job's condition tells it from a pod that somebody deleted."""
    play.when_made(play.becomes(RUNNING))
    failed = {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}

    def log() -> Iterable[bytes]:
        yield from lines("one")
        found = play.cluster.things["jobs", NAME]
        play.cluster.show(JOBS, {**found, "status": {"conditions": [failed]}})
        play.cluster.hide(PODS, f"{NAME}-xyz")

    play.cluster.logs = [log()]
    with pytest.raises(PodLostError, match="14400 s, its active deadline"):
        play.work()


def test_a_cancelled_build_is_cleared_up(play: Play) -> None:
    """By a client of its own: the run's sends nothing any more."""
    play.when_made(play.becomes(WAITING))
    threading.Timer(0.05, play.run.cancel.cancel).start()

    with pytest.raises(StepCancelledError):
        play.work(keep=True)

    assert play.left == set()


def test_a_failed_build_is_kept_where_asked_but_never_its_secret(play: Play) -> None:
    """Job and pod can be looked at; the credentials are gone."""
    play.when_made(play.becomes(ended(3)))
    play.cluster.logs = [lines("one")]

    assert play.work(keep=True).exit_code == 3
    assert play.left == {f"jobs/{NAME}", f"pods/{NAME}-xyz"}
    assert any("kept because it failed" in said for said in play.warnings)


def test_a_successful_build_is_not_kept(play: Play) -> None:
    """There is nothing to look at."""
    play.when_made(play.becomes(RUNNING))
    play.cluster.logs = [over(play)]
    play.work(keep=True)

    assert play.left == set()


def test_a_job_whose_creation_was_not_answered_is_removed(play: Play) -> None:
    """It may have been made."""
    play.cluster.answers["create"] = [BrokenOff("no answer")]
    play.cluster.things["jobs", NAME] = {"metadata": {"name": NAME, "uid": "u", "labels": {}}}

    with pytest.raises(BrokenOff):
        play.work()

    assert play.left == set()


def test_clearing_up_that_fails_hides_no_error(play: Play) -> None:
    """What ended the build is what the caller hears of; the rest is a warning."""
    play.when_made(play.becomes(ended(3)))
    play.cluster.logs = [lines("one")]
    play.cluster.answers["delete"] = [PermissionDeniedError("may not delete secrets")]

    assert play.work().exit_code == 3
    assert any("could not be removed from the cluster" in said for said in play.warnings)


def test_what_does_not_go_in_time_is_named(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its finalizer may wait for somebody; gc finds it later."""
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.executing.CLEARING_SECONDS", 0.05)
    play.when_made(play.becomes(RUNNING))
    play.cluster.logs = [over(play)]
    monkeypatch.setattr(PlayedCluster, "delete", lambda *_, **__: True)

    play.work()

    assert any(f"pod/{NAME}-xyz" in said for said in play.warnings)


def test_too_much_for_a_secret_is_refused_before_anything_is_made(play: Play) -> None:
    """No Job waits for a Secret that cannot come."""
    play.execution = evolve(play.execution, files={"x": bytes((1 << 20) + 1)})

    with pytest.raises(SpecError):
        play.work()

    assert play.cluster.asked == []


# ------------------------------------------------------------------ sending the context


def accepting(play: Play, answer: Callable[[bytes], tuple[int, bytes, bytes]]) -> None:
    """Let the pod receive, and *answer* with a status, stdout and stderr."""

    def execute(argv: Any, stdin: Any, on_output: Any) -> int:
        if argv[2] == ARRIVED:
            play.becomes(RUNNING)()
            return 0
        assert argv[2] == RECEIVE
        code, stdout, stderr = answer(b"".join(stdin(True)))
        if stdout:
            on_output("stdout", stdout)
        if stderr:
            on_output("stderr", stderr)
        return code

    play.cluster.on_execute = execute
    play.when_made(play.becomes(WAITING, RUNNING))


def digest_of(data: bytes) -> bytes:
    import hashlib

    found = b""
    while True:
        line, _, data = data.partition(b"\n")
        if line == b"0":
            return hashlib.sha256(found).hexdigest().encode() + b"  -\n"
        found, data = found + data[: int(line)], data[int(line) :]


def test_the_context_is_sent_compared_and_released(play: Play) -> None:
    """Kaniko's container starts when the pod was told that its context is complete."""
    accepting(play, lambda data: (0, digest_of(data), b""))
    play.cluster.logs = [over(play)]

    assert play.work(StreamedContext()).exit_code == 0
    assert [argv[2] for argv in play.cluster.executed] == [RECEIVE, ARRIVED]


def test_a_context_that_arrived_otherwise_is_sent_again(play: Play) -> None:
    """Its digest is what tells."""
    answers = [b"0" * 64, None]

    def answer(data: bytes) -> tuple[int, bytes, bytes]:
        return 0, answers.pop(0) or digest_of(data), b""

    accepting(play, answer)
    play.cluster.logs = [over(play)]

    assert play.work(StreamedContext()).exit_code == 0
    assert any("did not arrive as it was sent" in said for said in play.warnings)


@pytest.mark.parametrize(
    ("stderr", "error", "said"),
    [
        (b"tar: write error: No space left on device\n", DiskFullError, "no room"),
        (b"sh: tar: not found\n", BackendUnavailableError, "tar: not found"),
        (b"tar: short read\n", BrokenOff, "short read"),
    ],
)
def test_what_the_pods_tar_said_is_in_the_error(
    play: Play, stderr: bytes, error: type[BuildpushError], said: str
) -> None:
    """A disk that is full is no connection that broke."""
    accepting(play, lambda _: (0, b"", stderr + FAILED.encode()))

    with pytest.raises(error, match=said) as caught:
        play.work(StreamedContext())

    assert FAILED not in str(caught.value)
    assert play.left == set()


def test_a_receiving_that_ends_badly_without_a_word(play: Play) -> None:
    """Its exit code is all there is."""
    accepting(play, lambda _: (127, b"", b""))

    with pytest.raises(BackendUnavailableError, match="exit code 127") as caught:
        play.work(StreamedContext())
    assert "mkfifo" in caught.value.hint


def test_a_pod_that_is_evicted_while_the_context_is_sent_is_a_lost_pod(play: Play) -> None:
    """Not a broken connection, of which it is only the consequence."""

    def answer(_: bytes) -> tuple[int, bytes, bytes]:
        play.becomes(None, ended(137), phase="Failed", reason="Evicted", message="disk")()
        raise BrokenOff("reset")

    accepting(play, answer)
    with pytest.raises(PodLostError, match="Evicted: disk"):
        play.work(StreamedContext())


def test_a_container_before_kanikos_that_fails_is_told_with_its_log(play: Play) -> None:
    """It gave up waiting, or its image has no shell."""
    play.when_made(play.becomes(None, ended(1), phase="Failed"))
    play.cluster.logs = [[b"nobody has sent the build context"]]

    with pytest.raises(PodNotStartedError, match="nobody has sent") as caught:
        play.work(StreamedContext())
    assert caught.value.reason == "Error"


def test_a_context_that_is_copied_onto_a_full_disk(play: Play) -> None:
    """The container that copies it says so in its log."""
    play.when_made(play.becomes(None, ended(1), phase="Failed"))
    play.cluster.logs = [[b"cp: write error: No space left on device"]]

    with pytest.raises(DiskFullError, match="No space left"):
        play.work(StreamedContext())


# ------------------------------------------------------------------ watching


def test_a_watch_that_ends_or_is_too_old_begins_anew(play: Play) -> None:
    """Nothing that happened in between is missed."""
    play.when_made(
        lambda: play.cluster.end_watches(PODS, Gone("too old")),
        lambda: play.cluster.end_watches(JOBS),
        play.becomes(RUNNING),
    )
    play.cluster.logs = [over(play)]

    assert play.work().exit_code == 0
    assert [asked[0] for asked in play.cluster.asked].count("list pods") >= 2


def test_a_cluster_that_is_out_of_reach_for_a_moment_is_waited_for(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that restarts ends no build."""
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.sightings._PAUSES", (0.01,))
    play.cluster.answers["list pods"] = [Unreachable("refused"), Unreachable("refused")]
    play.when_made(play.becomes(RUNNING))
    play.cluster.logs = [over(play)]

    assert play.work().exit_code == 0


def test_a_cluster_that_stays_out_of_reach_ends_the_build(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever."""
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.sightings._PAUSES", (0.01,))
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.sightings._PATIENCE", 0.03)
    play.cluster.answers["list pods"] = [Unreachable("refused") for _ in range(20)]

    with pytest.raises(Unreachable):
        play.work()


def test_without_the_right_to_watch_pods_nothing_can_be_followed(play: Play) -> None:
    """It is said at once."""
    play.cluster.answers["watch pods"] = [PermissionDeniedError("may not watch pods")]

    with pytest.raises(PermissionDeniedError, match="may not watch pods"):
        play.work()


def test_without_the_right_to_events_a_build_goes_on(play: Play) -> None:
    """Only reasons may be missing, and that is said."""
    play.cluster.answers["list events"] = [PermissionDeniedError("may not list events")]
    threading.Timer(0.1, play.becomes(RUNNING)).start()
    play.cluster.logs = [over(play)]

    assert play.work().exit_code == 0
    assert any("may not list events" in said for said in play.warnings)


def test_several_builds_share_their_watches(play: Play) -> None:
    """Three connections, whatever their number; they end with the last."""
    first, second = play.lookout.begin("one"), play.lookout.begin("two")
    play.cluster.event("one-abcde", "FailedMount", "x")
    while not first.seen.events:
        first.wait(first.version, 1.0)

    assert second.seen.events == ()
    watches = [asked for asked in play.cluster.asked if asked[0].startswith("watch")]
    assert len(watches) <= 3
    play.lookout.end(first)
    play.lookout.end(second)
    assert play.lookout.sights() == ()


def test_a_lookout_that_cannot_begin_tells_everybody(play: Play) -> None:
    """A kubeconfig may be gone by then."""

    def broken(_: CancelToken) -> Any:
        raise BackendUnavailableError("no kubeconfig")

    lookout = Lookout(client="c1", open_cluster=broken)
    sight = lookout.begin("one")
    while sight.error is None:
        sight.wait(sight.version, 1.0)
    lookout.end(sight)

    assert str(sight.error) == "no kubeconfig"


def test_an_event_that_comes_again_takes_its_own_place(play: Play) -> None:
    """Events are counted up, not repeated; the one seen last is last."""
    sight = play.lookout.begin(NAME)
    for reason, message in (("A", "1"), ("B", "1"), ("A", "2")):
        play.cluster.event(NAME, reason, message)
    while [e["message"] for e in sight.seen.events] != ["1", "2"]:
        sight.wait(sight.version, 1.0)
    play.lookout.end(sight)

    assert [e["reason"] for e in sight.seen.events] == ["B", "A"]


# ------------------------------------------------------------------ versions and leftovers


def ask(play: Play) -> str:
    return asked_version(
        "example/kaniko",
        Naming(name=NAME, client="c1"),
        PodSettings(),
        run=play.run,
        open_cluster=lambda _: play.cluster,  # type: ignore[arg-type, return-value]
        lookout=play.lookout,
        schedule_timeout=5,
    )


def test_an_executor_is_asked_for_its_version_by_a_job(play: Play) -> None:
    """Its flags tell which of the forks it is; and nothing is left."""
    play.cluster.on_create = lambda *_: play.becomes(ended(0, "Completed"))()
    play.cluster.logs = [[b"Kaniko version :  v1.28.3"], [b"Flags:", b"  --materialize  Leave"]]

    assert ask(play) == "v1.28.3 --materialize"
    assert play.left == set()


def test_an_image_that_does_not_say_its_version(play: Play) -> None:
    """It may be no executor's."""
    play.cluster.on_create = lambda *_: play.becomes(ended(1))()
    play.cluster.logs = [[b"sh: version: not found"]]

    with pytest.raises(BackendUnavailableError, match="version: not found"):
        ask(play)
    assert play.left == set()


def leftover(kind: Kind, name: str, minutes: int, owner: str = "") -> tuple[Any, Any]:
    made = datetime(2026, 11, 23, 12, 0, tzinfo=UTC) - timedelta(minutes=minutes)
    metadata: dict[str, Any] = {
        "name": name,
        "uid": f"uid-{name}",
        "creationTimestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "labels": {
            "app.kubernetes.io/managed-by": "buildpush",
            "app.kubernetes.io/instance": name.removesuffix("-pod"),
            "buildpush.dev/client": "c0",
        },
    }
    if owner:
        metadata["ownerReferences"] = [{"uid": owner}]
    return (kind.plural, name), {"metadata": metadata}


def test_gc_removes_what_is_old_and_ours(play: Play) -> None:
    """Pods go with their Job; those that have none any more go by themselves."""
    play.cluster.things = dict(
        [
            leftover(JOBS, "buildpush-old", 90),
            leftover(PODS, "buildpush-old-pod", 90, "uid-buildpush-old"),
            leftover(SECRETS, "buildpush-old", 90, "uid-buildpush-old"),
            leftover(JOBS, "buildpush-new", 10),
            leftover(SECRETS, "buildpush-orphan", 90, "uid-gone"),
            leftover(PODS, "buildpush-orphan-pod", 90, "uid-gone"),
        ]
    )
    play.cluster.things["secrets", "theirs"] = {"metadata": {"name": "theirs", "uid": "x"}}
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    removed = collect(play.cluster, timedelta(hours=1), now)  # type: ignore[arg-type]

    assert removed == (
        *("job/buildpush-old", "secret/buildpush-old"),
        *("secret/buildpush-orphan", "pod/buildpush-orphan-pod"),
    )
    assert play.left == {"jobs/buildpush-new", "secrets/theirs"}


def test_gc_does_not_need_the_right_to_delete_pods(play: Play) -> None:
    """Builds do without it; a pod that has lost its Job is left then."""
    play.cluster.things = dict([leftover(PODS, "buildpush-orphan-pod", 90)])
    play.cluster.answers["delete"] = [PermissionDeniedError("may not")]
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    assert collect(play.cluster, timedelta(0), now) == ()  # type: ignore[arg-type]


def test_gc_says_that_it_may_not_delete_jobs(play: Play) -> None:
    """Without that it has nothing to offer."""
    play.cluster.things = dict([leftover(JOBS, "buildpush-old", 90)])
    play.cluster.answers["delete"] = [PermissionDeniedError("may not")]
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    with pytest.raises(PermissionDeniedError):
        collect(play.cluster, timedelta(0), now)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("registry-login", {"app.kubernetes.io/instance": "registry-login"}),
        ("buildpush-by-hand", {"buildpush.dev/client": None}),
        ("buildpush-server", {"app.kubernetes.io/instance": "buildpush-release"}),
        ("buildpush-server", {"app.kubernetes.io/instance": None}),
    ],
)
def test_gc_leaves_what_only_looks_like_ours(
    name: str, labels: dict[str, str | None], play: Play
) -> None:
    """Somebody's own deployment of something called buildpush, or what was applied by hand."""
    for kind in (JOBS, SECRETS, PODS):
        key, thing = leftover(kind, name, 90)
        told = {**thing["metadata"]["labels"], **labels}
        thing["metadata"]["labels"] = {k: v for k, v in told.items() if v is not None}
        play.cluster.things[key] = thing
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    assert collect(play.cluster, timedelta(0), now) == ()  # type: ignore[arg-type]
    assert len(play.left) == 3


def test_gc_removes_what_it_has_seen_and_nothing_of_the_same_name(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its uid: between looking and removing others may make something."""
    play.cluster.things = dict([leftover(JOBS, "buildpush-old", 90)])
    seen = {JOBS: play.cluster.list(JOBS)}
    play.cluster.things["jobs", "buildpush-old"] = {"metadata": {"uid": "another"}}
    monkeypatch.setattr(
        PlayedCluster, "list", lambda _, kind, **__: seen.get(kind, Listed((), "1"))
    )
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    assert collect(play.cluster, timedelta(0), now) == ()  # type: ignore[arg-type]
    assert play.left == {"jobs/buildpush-old"}


def test_a_runs_id_is_a_label() -> None:
    """The same for all platforms of one run, another for another."""
    environment = Environment.current()
    runs = [
        Run(workdir=Path(f), cancel=CancelToken(), sink=lambda _: None, environment=environment)
        for f in ("/tmp/a", "/tmp/a", "/tmp/b")
    ]

    first, same, other = map(run_id, runs)
    assert first == same != other
    assert len(first) <= 63 and first.isalnum()
    assert EVENTS.plural == "events"
