"""What is promised of what earlier pushes learnt: layers are mounted from where they were seen."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildpush.oci import Digest, Repository
from buildpush.plan import Destination
from buildpush.publishing.destinations.whereabouts import Whereabouts
from buildpush.runtime import Run
from buildpush.testing import Dialect, LocalRegistry

Send = Callable[..., tuple[Destination, ...]]
Start = Callable[..., LocalRegistry]
BASE = b"base" * 20_000


def digest(number: int) -> Digest:
    return Digest.of(str(number).encode())


def here(path: str) -> Repository:
    return Repository("r.example", path)


def files(run: Run) -> list[Path]:
    return sorted((run.environment.cache / "blobs").glob("*.json"))


def test_a_layer_that_an_earlier_push_put_elsewhere_is_mounted(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """Another image, another repository, another run: the base layer does not travel again."""
    send(images.image(BASE, b"one"), local_registry.reference("one:1"))

    (sent,) = send(images.image(BASE, b"two"), local_registry.reference("two:1"))

    assert sent.mounted == len(BASE)
    assert local_registry.blob("two", Digest.of(BASE)) == BASE


def test_a_base_layers_origin_is_remembered_too(
    send: Send, images: Any, local_registry: LocalRegistry, run: Run
) -> None:
    """A later image with the same base need not say where it is from."""
    local_registry.add_blob("library/base", BASE)
    base = Repository(local_registry.host, "library/base")
    send(images.image(BASE), local_registry.reference("a:1"), origins={Digest.of(BASE): base})

    known = Whereabouts(run.environment.cache / "blobs").of(local_registry.host)

    assert known[Digest.of(BASE)] == (Repository(local_registry.host, "a"), base)


def test_a_memory_that_is_wrong_costs_an_upload_and_is_forgotten(
    send: Send, images: Any, local_registry: LocalRegistry, run: Run
) -> None:
    """It is only a hint."""
    memory = Whereabouts(run.environment.cache / "blobs")
    gone = Repository(local_registry.host, "gone")
    memory.learn([(Digest.of(BASE), gone)])

    (sent,) = send(images.image(BASE), local_registry.reference("app:1"))

    assert sent.uploaded == len(BASE) + 14
    app = Repository(local_registry.host, "app")
    assert memory.of(local_registry.host)[Digest.of(BASE)] == (app,)


@pytest.mark.parametrize("answer", [400, 403, 404, 405])
def test_a_registry_that_refuses_mounts_does_not_fail_a_push(
    send: Send, images: Any, registries: Start, answer: int
) -> None:
    """The layer is sent."""
    registry = registries(dialect=Dialect(mount_answer=answer))  # type: ignore[arg-type]
    send(images.image(BASE, b"one"), registry.reference("one:1"))

    (sent,) = send(images.image(BASE, b"two"), registry.reference("two:1"))

    assert (sent.status, sent.mounted) == ("pushed", 0)


def test_nothing_is_mounted_from_memory_when_mounts_are_off(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """No repository's name is told to the registry."""
    send(images.image(BASE, b"one"), local_registry.reference("one:1"))
    local_registry.clear_log()

    send(images.image(BASE, b"two"), local_registry.reference("two:1"), mount=False)

    assert not any("from=" in request.query for request in local_registry.requests)


def test_a_memory_of_one_registry_is_no_other_registrys(tmp_path: Path) -> None:
    """Each host has its own file."""
    memory = Whereabouts(tmp_path)

    memory.learn([(digest(1), here("a")), (digest(1), Repository("other.example", "b"))])

    assert memory.of("r.example") == {digest(1): (here("a"),)}
    assert memory.of("third.example") == {}


def test_what_is_remembered_is_for_this_user_alone(
    send: Send, images: Any, local_registry: LocalRegistry, run: Run
) -> None:
    """Names of repositories may be private."""
    send(images.image(BASE), local_registry.reference("app:1"))

    (path,) = files(run)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent / "lock")}
    assert (modes, stat.S_IMODE(path.parent.stat().st_mode)) == ({0o600}, 0o700)


def test_small_blobs_are_not_remembered(
    send: Send, images: Any, local_registry: LocalRegistry, run: Run
) -> None:
    """Sending one costs no more than mounting it."""
    send(images.image(b"small"), local_registry.reference("app:1"))

    assert files(run) == []


def test_memory_is_bounded(tmp_path: Path) -> None:
    """The oldest blobs go first, and a blob has three places at most."""
    memory = Whereabouts(tmp_path)
    memory.learn([(digest(number), here("a")) for number in range(4001)])
    memory.learn([(digest(7), here(path)) for path in "bcd"])

    known = memory.of("r.example")

    assert (len(known), digest(0) in known) == (4000, False)
    assert known[digest(7)] == (here("d"), here("c"), here("b"))


def test_memory_of_many_registries_is_bounded(tmp_path: Path) -> None:
    """Fifty of them."""
    memory = Whereabouts(tmp_path)
    memory.learn([(digest(1), Repository(f"r{n}.example", "a")) for n in range(60)])

    assert len(list(tmp_path.glob("*.json"))) == 50


@pytest.mark.parametrize(
    "content",
    ["", "no json", "[]", '{"host":"other.example","blobs":{}}', '{"host":"r.example"}'],
)
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, content: str) -> None:
    """And the next push writes a whole one."""
    memory = Whereabouts(tmp_path)
    memory.learn([(digest(1), here("a"))])
    (path,) = tmp_path.glob("*.json")
    path.write_text(content)

    found = memory.of("r.example")
    memory.learn([(digest(2), here("b"))])

    assert (found, memory.of("r.example")) == ({}, {digest(2): (here("b"),)})


def test_entries_that_are_no_names_are_left_out(tmp_path: Path) -> None:
    """Nothing from a file reaches a URL unread."""
    memory = Whereabouts(tmp_path)
    memory.learn([(digest(1), here("a"))])
    (path,) = tmp_path.glob("*.json")
    known = json.loads(path.read_text())
    known["blobs"] |= {"sha256:short": ["a"], str(digest(2)): ["../a?x=y"]}
    path.write_text(json.dumps(known))

    assert memory.of("r.example") == {digest(1): (here("a"),)}


def test_a_cache_that_cannot_be_written_fails_no_push(
    send: Send, images: Any, local_registry: LocalRegistry, run: Run
) -> None:
    """Nothing is remembered then."""
    run.environment.cache.parent.mkdir(exist_ok=True)
    run.environment.cache.write_text("a file, no folder")

    (sent,) = send(images.image(BASE), local_registry.reference("app:1"))

    assert sent.status == "pushed"


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    """Each reads and writes under a lock that processes share."""

    def learn(start: int) -> None:
        for number in range(start, start + 10):
            Whereabouts(tmp_path).learn([(digest(number), here("a"))])

    threads = [threading.Thread(target=learn, args=(n * 10,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(Whereabouts(tmp_path).of("r.example")) == 40
