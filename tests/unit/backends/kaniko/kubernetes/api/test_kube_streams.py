"""Watches and logs: as they come, whole, and ended by whoever wants to."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kube_answers import Answer, Api, status

from buildpush.backends.kaniko.kubernetes.api import failures
from buildpush.backends.kaniko.kubernetes.api.client import Cluster
from buildpush.backends.kaniko.kubernetes.api.kinds import PODS
from buildpush.backends.kaniko.kubernetes.api.streams import lines
from buildpush.errors import BackendUnavailableError, StepCancelledError
from buildpush.runtime import CancelToken, Environment

Opener = Callable[..., Cluster]


@pytest.fixture
def opened(
    api: Api, surroundings: Callable[..., Environment], kubeconfig: Callable[..., Path]
) -> Iterator[Opener]:
    clients: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        path = kubeconfig(api.config({"token": "s3cret-token"}))
        clients.append(Cluster.open(surroundings(), kubeconfig=path, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def written() -> Iterator[queue.Queue[bytes | None]]:
    """What a server is to write next; None ends it."""
    found: queue.Queue[bytes | None] = queue.Queue()
    yield found
    found.put(None)


def body(written: queue.Queue[bytes | None]) -> Iterator[bytes]:
    while (chunk := written.get()) is not None:
        yield chunk


def event(what: str, version: str, **thing: object) -> bytes:
    made = {"metadata": {"resourceVersion": version}, **thing}
    return json.dumps({"type": what, "object": made}).encode() + b"\n"


def test_changes_come_as_they_happen(
    api: Api, opened: Opener, written: queue.Queue[bytes | None]
) -> None:
    """Each at once, however the network cuts them; bookmarks move the version on."""
    api.answers(Answer(body=body(written)))
    with opened().watch(PODS, labels="a=b", version="5", seconds=60) as watch:
        first = event("ADDED", "6", kind="Pod")
        written.put(first[:10])
        written.put(first[10:] + b"\n")
        added = next(watch)
        written.put(event("BOOKMARK", "9"))
        bookmark = next(watch)
        written.put(None)
        rest = list(watch)

    assert (
        added.what,
        added.thing["kind"],
        bookmark.what,
        rest,
    ) == ("ADDED", "Pod", "BOOKMARK", [])
    assert watch.version == "9"
    assert api.paths() == [
        (
            "GET /api/v1/namespaces/builds/pods?labelSelector=a%3Db&watch=1"
            "&allowWatchBookmarks=true&timeoutSeconds=60&resourceVersion=5"
        )
    ]


def test_a_version_that_is_too_old_is_gone(api: Api, opened: Opener) -> None:
    """In the midst of the answer, or before it."""
    error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
    api.answers(Answer(body=iter([json.dumps(error).encode() + b"\n"])), status(410, "Gone"))
    client = opened()

    with pytest.raises(failures.Gone), client.watch(PODS, version="1") as watch:
        next(watch)
    with pytest.raises(failures.Gone):
        client.watch(PODS, version="1")


def test_a_watch_that_breaks_off_just_ends(api: Api, opened: Opener) -> None:
    """What was cut off comes again with the next."""
    whole = event("ADDED", "6")
    api.answers(Answer(body=iter([whole, whole[:9]]), cut=True))

    with opened().watch(PODS) as watch:
        assert [change.what for change in watch] == ["ADDED"]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b'{"type": 1}\n',
        b'{"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd"}}\n',
    ],
)
def test_what_is_no_event_is_an_error(line: bytes, api: Api, opened: Opener) -> None:
    """Nothing is skipped in silence."""
    api.answers(Answer(body=iter([line])))

    with opened().watch(PODS) as watch, pytest.raises(BackendUnavailableError):
        next(watch)


def test_an_event_is_bounded(api: Api, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless line is no reason to fill the memory."""
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.api.streams._LARGEST", 100)
    api.answers(Answer(body=iter([b"x" * 60, b"x" * 60])))

    with opened().watch(PODS) as watch, pytest.raises(BackendUnavailableError, match="exceeds"):
        next(watch)


def test_large_events_come_whole(api: Api, opened: Opener) -> None:
    """An object may have a megabyte and more."""
    data = event("ADDED", "6", text="x" * (3 << 20))
    api.answers(Answer(body=iter([data[:1000], data[1000:]])))

    with opened().watch(PODS) as watch:
        assert len(str(next(watch).thing["text"])) == 3 << 20


def test_a_log_comes_line_by_line(
    api: Api, opened: Opener, written: queue.Queue[bytes | None]
) -> None:
    """A line is there when it is written, and one without an end at the end."""
    api.answers(Answer(body=body(written)))
    with opened().log(
        "p", "c", since="2030-01-01T00:00:00Z", tail=5, limit=9, timestamps=True
    ) as log:
        written.put(b"one\ntw")
        first = next(log)
        written.put(b"o\n\nthr\xc3")
        second, empty = next(log), next(log)
        written.put(b"\xa9")
        written.put(None)
        rest = list(log)

    assert (first, second, empty, rest) == (b"one", b"two", b"", [b"thr\xc3\xa9"])
    assert api.paths() == [
        (
            "GET /api/v1/namespaces/builds/pods/p/log?container=c&follow=true"
            "&sinceTime=2030-01-01T00%3A00%3A00Z&tailLines=5&limitBytes=9&timestamps=true"
        )
    ]


def test_a_log_need_not_be_followed(api: Api, opened: Opener) -> None:
    """Then it ends by itself."""
    api.answers(Answer(body=b"a\nb\n"))

    with opened().log("p", "c", follow=False) as log:
        assert list(log) == [b"a", b"b"]


def test_long_lines_come_in_pieces_of_whole_characters() -> None:
    """Each can be decoded for itself; none grows without bound."""
    text = "aé€🙂" * 10

    found = list(lines(iter([text.encode()[:33], text.encode()[33:] + b"\nend"]), limit=7))

    assert text == "".join(piece.decode() for piece in found[:-1])
    assert all(0 < len(piece) <= 7 for piece in found)
    assert found[-1] == b"end"


def test_what_is_no_text_comes_in_pieces_too() -> None:
    """Bytes are passed on as they are."""
    data = b"\x80" * 20

    assert data == b"".join(lines(iter([data]), limit=7))


def test_a_container_that_waits_has_no_log_yet(api: Api, opened: Opener) -> None:
    """To try again is the caller's, who watches the pod anyway."""
    said = 'container "c" in pod "p" is waiting to start: PodInitializing'
    api.answers(status(400, "BadRequest", said))

    with pytest.raises(failures.NotStarted, match="PodInitializing"):
        opened().log("p", "c")


def test_a_log_that_breaks_off_says_so(api: Api, opened: Opener) -> None:
    """Lines would be missing: the caller asks again, from where it knows."""
    api.answers(Answer(body=iter([b"one\n"]), cut=True))

    with opened().log("p", "c") as log:
        assert next(log) == b"one"
        with pytest.raises(failures.BrokenOff):
            next(log)


def blocked(follow: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A thread that follows something; what came of it."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(follow())
        except StepCancelledError as error:
            found.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


@pytest.mark.parametrize("what", ["watch", "log"])
@pytest.mark.parametrize("by", ["stream", "client", "token"])
def test_a_stream_can_be_ended_from_another_thread(
    what: str, by: str, api: Api, opened: Opener, written: queue.Queue[bytes | None]
) -> None:
    """At once, though nothing comes: by itself and by its client in peace, by a cancel not."""
    api.answers(Answer(body=body(written)))
    cancel = CancelToken()
    client = opened(cancel=cancel)
    stream = client.watch(PODS) if what == "watch" else client.log("p", "c")
    thread, found = blocked(lambda: list(stream))

    {"stream": stream.close, "client": client.close, "token": cancel.cancel}[by]()
    thread.join(10)

    assert not thread.is_alive()
    assert [StepCancelledError if by == "token" else []] == found
    stream.close()


def test_leaving_a_stream_early_leaves_the_client_as_it_was(
    api: Api, opened: Opener, written: queue.Queue[bytes | None]
) -> None:
    """Other requests go on; the rest of the stream is nobody's."""
    api.answers(Answer(body=body(written)), Answer(body={"a": 1}))
    client = opened()
    with client.log("p", "c") as log:
        written.put(b"one\n")
        next(log)

    assert list(log) == []
    assert client.get(PODS, "p") == {"a": 1}
