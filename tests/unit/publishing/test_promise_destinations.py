"""What is promised of one image that goes to several places, against real sockets."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from buildpush.errors import (
    NotFoundError,
    PartialPushError,
    PermissionDeniedError,
    RegistryUnavailableError,
    SpecError,
    StepCancelledError,
)
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor
from buildpush.plan import Destination
from buildpush.runtime import Run
from buildpush.testing import Dialect, Fault, LocalRegistry, RecordingSink, Status

Send = Callable[..., tuple[Destination, ...]]
Start = Callable[..., LocalRegistry]
LAYERS = (b"one" * 1000, b"two" * 2000)
BYTES = 3000 + 6000 + 14
DENIED = Status(403)


def puts(registry: LocalRegistry, what: str) -> list[str]:
    """The last part of every PUT's path that holds *what*, in order."""
    found = [r.path for r in registry.requests if r.method == "PUT" and what in r.path]
    return [path.rpartition("/")[2] for path in found]


def statuses(destinations: tuple[object, ...]) -> list[str]:
    return [one.status for one in destinations if isinstance(one, Destination)]


def test_fifty_tags_cost_each_blob_once_and_each_tag_one_put(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """However many names there are, blobs are looked for, read and sent once."""
    image = images.image(*LAYERS)
    tags = [f"v{number}" for number in range(50)]

    sent = send(image, *(local_registry.reference(f"app:{tag}") for tag in tags))

    assert statuses(sent) == ["pushed"] * 50
    assert puts(local_registry, "/manifests/") == [str(image.digest), *tags]
    asked = Counter(r.method for r in local_registry.requests if "/blobs/" in r.path)
    assert asked == {"HEAD": 3, "POST": 3, "PUT": 3}
    assert {local_registry.digest("app", tag) for tag in tags} == {image.digest}


def test_every_outcome_is_pinned_to_what_was_read_back(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """A caller has the digest of each, and how many bytes travelled."""
    image = images.image(*LAYERS)

    (sent,) = send(image, local_registry.reference("app:1"))

    assert str(sent.reference) == f"{local_registry.host}/app:1@{image.digest}"
    assert (sent.uploaded, sent.mounted, sent.existing, sent.error) == (BYTES, 0, 0, None)
    last = local_registry.requests[-1]
    assert (last.method, last.path) == ("GET", "/v2/app/manifests/1")


def test_a_second_repository_of_a_registry_is_filled_by_mounts(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """No byte of a layer travels twice to one registry."""
    image = images.image(*LAYERS)

    one, two, three = send(image, *(local_registry.reference(f"{name}:1") for name in "abc"))

    assert (one.uploaded, two.mounted, three.mounted) == (BYTES, BYTES, BYTES)
    assert sum(r.bytes_received for r in local_registry.requests if "/blobs/" in r.path) == BYTES
    assert local_registry.digest("c", "1") == image.digest


def test_without_mounts_every_repository_gets_its_own_bytes(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """Where mounts are not wanted, none is asked for."""
    image = images.image(*LAYERS)

    sent = send(image, *(local_registry.reference(f"{n}:1") for n in "ab"), mount=False)

    assert [one.uploaded for one in sent] == [BYTES, BYTES]
    assert not any("mount=" in r.query for r in local_registry.requests)


@pytest.mark.parametrize("answer", [202, 400, 401, 403, 404, 405])
def test_a_registry_that_mounts_nothing_gets_uploads(
    send: Send, images: Any, registries: Start, answer: int
) -> None:
    """Whatever it answers to the question."""
    registry = registries(dialect=Dialect(mount_answer=answer))  # type: ignore[arg-type]
    image = images.image(*LAYERS)

    sent = send(image, registry.reference("a:1"), registry.reference("b:1"))

    assert [one.uploaded for one in sent] == [BYTES, BYTES]


def test_registries_are_filled_at_the_same_time(
    send: Send, images: Any, registries: Start
) -> None:
    """A slow one does not keep the others waiting."""
    hosts = [registries() for _ in range(3)]
    gate = threading.Barrier(3)

    class Meeting(Fault):
        def claims(self, incoming: Any) -> bool:
            if incoming.method == "PUT" and "/manifests/sha256" in incoming.path:
                gate.wait(10)  # nobody gets past it alone
            return False

    for registry in hosts:
        registry.inject(Meeting(action=Status(200)))

    sent = send(images.image(*LAYERS), *(registry.reference("app:1") for registry in hosts))

    assert statuses(sent) == ["pushed"] * 3


def test_nothing_is_tagged_before_every_repository_is_filled(
    send: Send, images: Any, registries: Start
) -> None:
    """The error is the refused one's own: nobody has the image."""
    one, two = registries(), registries()
    two.inject(Fault(method="POST", action=DENIED, times=None))

    with pytest.raises(PermissionDeniedError, match="may not push"):
        send(images.image(*LAYERS), one.reference("app:1"), two.reference("app:1"))

    assert (one.tags("app"), two.tags("app")) == ((), ())


def test_a_destination_that_was_reached_is_reported_when_a_later_one_fails(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """The first is pushed, with its digest; the second has its error; the third was not tried."""
    fault = local_registry.inject(
        Fault(method="PUT", path="/manifests/b$", action=Status(503), times=None)
    )
    image = images.image(*LAYERS)

    with pytest.raises(PartialPushError, match="1 of 3 destinations have the image") as caught:
        send(image, *(local_registry.reference(f"app:{tag}") for tag in "abc"))

    one, two, three = caught.value.destinations
    assert statuses((one, two, three)) == ["pushed", "failed", "failed"]
    assert isinstance(one, Destination)
    assert isinstance(two, Destination)
    assert isinstance(three, Destination)
    assert one.reference.digest == image.digest
    assert isinstance(two.error, RegistryUnavailableError)
    assert "was not tried any more" in str(three.error)
    assert (fault.fired, local_registry.tags("app")) == (2, ("a",))


def test_with_continue_one_failure_spares_the_others(
    send: Send, images: Any, registries: Start
) -> None:
    """All are tried, and the error lists each with its own."""
    one, two, three = registries(), registries(), registries()
    two.inject(Fault(method="POST", action=DENIED, times=None))
    three.inject(Fault(method="PUT", path="/manifests/1", action=Status(503), times=None))
    image = images.image(*LAYERS)
    names = [one.reference("app:1"), two.reference("app:1"), three.reference("app:1")]

    with pytest.raises(PartialPushError) as caught:
        send(image, *names, three.reference("app:2"), on_partial="continue")

    found = [d for d in caught.value.destinations if isinstance(d, Destination)]
    assert statuses(tuple(found)) == ["pushed", "failed", "failed", "pushed"]
    assert [type(d.error) for d in found] == [
        type(None),
        PermissionDeniedError,
        RegistryUnavailableError,
        type(None),
    ]
    assert one.digest("app", "1") == three.digest("app", "2") == image.digest
    assert two.reference("app:1") in caught.value.message


@pytest.mark.parametrize("on_partial", ["fail_fast", "continue"])
def test_a_single_failure_is_raised_as_itself(
    send: Send, images: Any, registries: Start, on_partial: str
) -> None:
    """One destination, or several tags of one repository: no need for a list."""
    registry = registries()
    registry.inject(Fault(method="POST", action=DENIED, times=None))

    with pytest.raises(PermissionDeniedError):
        send(
            images.image(*LAYERS),
            registry.reference("app:1"),
            registry.reference("app:2"),
            on_partial=on_partial,
        )


def test_several_failures_and_no_success_are_listed_too(
    send: Send, images: Any, registries: Start
) -> None:
    """With continue, each has its own error."""
    one, two = registries(), registries()
    one.inject(Fault(method="POST", action=DENIED, times=None))
    two.inject(Fault(method="POST", action=Status(400), times=None))

    with pytest.raises(PartialPushError, match="0 of 2") as caught:
        send(
            images.image(*LAYERS),
            one.reference("app:1"),
            two.reference("app:1"),
            on_partial="continue",
        )

    assert statuses(caught.value.destinations) == ["failed", "failed"]


def test_a_destination_that_had_the_image_already_counts_as_one_that_has_it(
    send: Send, images: Any, registries: Start
) -> None:
    """So that the other's failure is a partial one."""
    one, two = registries(), registries()
    image = images.image(*LAYERS)
    send(image, one.reference("app:1"))
    two.inject(Fault(method="POST", action=DENIED, times=None))

    with pytest.raises(PartialPushError) as caught:
        send(image, one.reference("app:1"), two.reference("app:1"))

    assert statuses(caught.value.destinations) == ["present", "failed"]


def test_pushing_again_only_looks(send: Send, images: Any, local_registry: LocalRegistry) -> None:
    """Tags that name the image cost one HEAD each."""
    image = images.image(*LAYERS)
    names = [local_registry.reference(f"app:{tag}") for tag in "ab"]
    send(image, *names)
    local_registry.clear_log()

    again = send(image, *names)

    assert statuses(again) == ["present", "present"]
    assert [r.method for r in local_registry.requests] == ["HEAD", "HEAD"]


def test_a_child_comes_before_every_index_that_lists_it(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """Also when one of them is nested and another is not."""
    one, two = images.image(b"amd"), images.image(b"arm", docker=True)
    inner = images.index(one)
    index = images.index(one, inner, two)

    send(index, local_registry.reference("app:1"))

    order = puts(local_registry, "/manifests/")
    assert order == [str(d.digest) for d in (one, inner, two, index)] + ["1"]
    assert local_registry.manifest("app", two.digest) == images.layout.read(two.digest)


def test_an_attestation_comes_after_what_it_is_about(
    send: Send, images: Any, registries: Start
) -> None:
    """Also where a registry refuses a manifest whose subject is not there yet."""
    registry = registries(dialect=Dialect(rejects=frozenset({"subject-first"})))
    image = images.image(b"amd")
    about = images.image(b"attestation", subject=image)
    index = images.index(about, image)

    send(index, registry.reference("app:1"))

    assert puts(registry, "/manifests/")[:2] == [str(image.digest), str(about.digest)]


def test_a_child_that_the_layout_lacks_is_brought_from_where_it_is(
    send: Send, images: Any, registries: Start, layout: Layout
) -> None:
    """Its manifest is copied, its blobs are mounted or copied, and then comes the index."""
    here, elsewhere = registries(), registries()
    one, two = images.image(*LAYERS), images.image(b"arm")
    index = images.index(one, two)
    origins: dict[Digest, Repository] = {}
    for registry, image in ((here, one), (elsewhere, two)):
        send(image, registry.reference("parts:1"))
        origins[image.digest] = Repository(registry.host, "parts")
        layout.blob_path(image.digest).unlink()
    for data in (*LAYERS, b"arm", b'{"os":"linux"}'):
        layout.blob_path(Digest.of(data)).unlink()

    (sent,) = send(index, here.reference("app:1"), origins=origins)

    assert sent.mounted >= len(LAYERS[0]) + len(LAYERS[1])
    assert here.digest("app", "1") == index.digest
    assert here.blob("app", Digest.of(b"arm")) == b"arm"


def test_a_child_that_only_the_destination_has_is_enough(
    send: Send, images: Any, local_registry: LocalRegistry, layout: Layout
) -> None:
    """And one that nobody has is named, before the index is refused for it."""
    one, two = images.image(*LAYERS), images.image(b"arm")
    index = images.index(one, two)
    send(two, local_registry.reference("app:arm"))
    layout.blob_path(two.digest).unlink()

    (sent,) = send(index, local_registry.reference("app:1"))
    with pytest.raises(NotFoundError, match=str(two.digest)):
        send(index, local_registry.reference("other:1"))

    assert sent.status == "pushed"
    assert local_registry.tags("other") == ()


def test_only_the_blobs_that_a_registry_lost_are_sent_again_and_once(
    send: Send, images: Any, local_registry: LocalRegistry, recording_sink: RecordingSink
) -> None:
    """HEAD said that it has one, the manifest was refused for it."""
    lost = Digest.of(LAYERS[0])
    lie = Fault(method="HEAD", path=f"/blobs/{lost}", action=Status(200, body=b""))
    local_registry.inject(lie)
    image = images.image(*LAYERS)

    send(image, local_registry.reference("app:1"))

    uploads = [r for r in local_registry.requests if r.method == "PUT" and "/blobs/" in r.path]
    sizes = sorted(r.bytes_received for r in uploads)
    assert sizes == sorted([len(LAYERS[0]), len(LAYERS[1]), 14])
    assert sum("claims to have blobs" in w for w in recording_sink.warnings) == 1


def test_a_registry_that_never_finds_a_blob_is_not_asked_for_ever(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """Each blob is sent again once, then its refusal is the error."""
    image = images.image(*LAYERS)
    named = str(Digest.of(LAYERS[0]))
    unknown = {"code": "MANIFEST_BLOB_UNKNOWN", "detail": {"digest": named}}
    body = json.dumps({"errors": [unknown]})
    fault = local_registry.inject(
        Fault(
            method="PUT",
            path="/manifests/",
            action=Status(400, body=body.encode()),
            times=None,
        )
    )

    with pytest.raises(Exception, match="MANIFEST_BLOB_UNKNOWN"):
        send(image, local_registry.reference("app:1"))

    assert fault.fired == 2


def test_a_reference_by_digest_is_put_without_a_tag(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """And one with another digest is refused before anything is sent."""
    image = images.image(*LAYERS)

    (sent,) = send(image, f"{local_registry.host}/app@{image.digest}")
    with pytest.raises(SpecError, match="cannot be pushed"):
        send(image, f"{local_registry.host}/app@{Digest.of(b'else')}")

    assert (sent.status, local_registry.tags("app")) == ("pushed", ())


def test_a_cancelled_push_is_no_failed_destination(
    send: Send, images: Any, local_registry: LocalRegistry, run: Run
) -> None:
    """The reason of the cancel is raised, whatever on_partial says."""
    image: Descriptor = images.image(*LAYERS)

    class Cancelling(Fault):
        def claims(self, incoming: Any) -> bool:
            if incoming.method == "PUT" and "/manifests/" in incoming.path:
                run.cancel.cancel()
            return False

    local_registry.inject(Cancelling(action=Status(200)))

    with pytest.raises(StepCancelledError):
        send(image, local_registry.reference("app:1"), on_partial="continue")

    assert local_registry.tags("app") == ()


def test_no_names_are_no_push(send: Send, images: Any) -> None:
    """Nothing is asked of anybody."""
    assert send(images.image(*LAYERS)) == ()


def test_the_same_name_twice_is_one_destination(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """It is put once."""
    name = local_registry.reference("app:1")

    sent = send(images.image(*LAYERS), name, name)

    assert [one.reference.tag for one in sent] == ["1"]
    assert ImageReference.parse(name).tag in local_registry.tags("app")
