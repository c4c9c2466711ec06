"""What is promised of tags that exist, are immutable, or move meanwhile, against real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from buildpush.errors import PermissionDeniedError, RegistryError, TagConflictError
from buildpush.oci import Digest
from buildpush.plan import Destination
from buildpush.testing import Dialect, Fault, LocalRegistry, Status

Send = Callable[..., tuple[Destination, ...]]
Start = Callable[..., LocalRegistry]


def tagged(registry: LocalRegistry, tag: str = "1") -> int:
    """How often *tag* was put."""
    path = f"/manifests/{tag}"
    return sum(r.method == "PUT" and r.path.endswith(path) for r in registry.requests)


@pytest.mark.parametrize("choice", ["skip", "skip_if_same"])
def test_a_tag_that_names_the_image_already_is_success(
    send: Send, images: Any, local_registry: LocalRegistry, choice: str
) -> None:
    """A second run of the same pipeline is green, and sends nothing."""
    image = images.image(b"same")
    send(image, local_registry.reference("app:1"))
    local_registry.clear_log()

    (again,) = send(image, local_registry.reference("app:1"), on_existing_tag=choice)

    assert (again.status, again.reference.digest) == ("present", image.digest)
    assert [r.method for r in local_registry.requests] == ["HEAD"]


@pytest.mark.parametrize("choice", ["fail", "skip_if_same"])
def test_a_tag_of_another_image_is_refused_before_anything_is_sent(
    send: Send, images: Any, local_registry: LocalRegistry, choice: str
) -> None:
    """The error has the tag and both digests."""
    old, new = images.image(b"old"), images.image(b"new")
    send(old, local_registry.reference("app:1"))
    local_registry.clear_log()

    with pytest.raises(TagConflictError, match=f"on_existing_tag is {choice}") as caught:
        send(new, local_registry.reference("app:1"), on_existing_tag=choice)

    error = caught.value
    assert error.reference == local_registry.reference("app:1")
    assert (error.found, error.wanted) == (str(old.digest), str(new.digest))
    assert [r.method for r in local_registry.requests] == ["HEAD"]


def test_fail_refuses_also_a_tag_of_the_same_image(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """It says that the tag must be new."""
    image = images.image(b"same")
    send(image, local_registry.reference("app:1"))

    with pytest.raises(TagConflictError):
        send(image, local_registry.reference("app:1"), on_existing_tag="fail")


def test_skip_leaves_existing_tags_and_puts_the_others(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """The outcome of a skipped one is pinned to what it names."""
    old, new = images.image(b"old"), images.image(b"new")
    send(old, local_registry.reference("app:1"))

    one, two = send(
        new,
        local_registry.reference("app:1"),
        local_registry.reference("app:2"),
        on_existing_tag="skip",
    )

    assert (one.status, one.reference.digest) == ("skipped", old.digest)
    assert (two.status, two.reference.digest) == ("pushed", new.digest)
    assert local_registry.digest("app", "1") == old.digest


def test_overwrite_moves_a_tag(send: Send, images: Any, local_registry: LocalRegistry) -> None:
    """That is the default, as with docker push."""
    old, new = images.image(b"old"), images.image(b"new")
    send(old, local_registry.reference("app:1"))

    (sent,) = send(new, local_registry.reference("app:1"))

    assert (sent.status, local_registry.digest("app", "1")) == ("pushed", new.digest)


@pytest.mark.parametrize("immutable", ["tag", "repository", "rule"])
def test_an_immutable_tag_of_another_image_is_a_conflict_in_any_wording(
    send: Send, images: Any, registries: Start, immutable: str
) -> None:
    """The registry's own words are the evidence."""
    registry = registries(dialect=Dialect(immutable=immutable))  # type: ignore[arg-type]
    old, new = images.image(b"old"), images.image(b"new")
    send(old, registry.reference("app:1"))

    with pytest.raises(TagConflictError, match="will not move it") as caught:
        send(new, registry.reference("app:1"))

    assert (caught.value.found, caught.value.wanted) == (str(old.digest), str(new.digest))
    assert caught.value.evidence
    assert registry.digest("app", "1") == old.digest


@pytest.mark.parametrize(
    "refusal",
    [
        Status(400, errors=("TAG_INVALID",)),
        Status(400, errors=("MANIFEST_INVALID",)),
        Status(403, errors=("DENIED",)),
        Status(405, errors=("UNSUPPORTED",)),
        Status(409, body=b"Conflict"),
        Status(412, body=b""),
        Status(400, body=b"this tag cannot be overwritten"),
    ],
    ids=lambda status: f"{status.code} {status.errors or status.body}",
)
def test_refusals_of_a_tag_are_told_by_their_code_and_confirmed(
    send: Send, images: Any, local_registry: LocalRegistry, refusal: Status
) -> None:
    """The bytes were taken by digest, the tag names something else: so it is about the tag."""
    old, new = images.image(b"old"), images.image(b"new")
    send(old, local_registry.reference("app:1"))
    local_registry.inject(Fault(method="PUT", path="/manifests/1$", action=refusal, times=None))

    with pytest.raises(TagConflictError) as caught:
        send(new, local_registry.reference("app:1"))

    assert caught.value.found == str(old.digest)


def test_a_tag_that_somebody_put_with_the_same_image_meanwhile_is_present(
    send: Send, images: Any, registries: Start
) -> None:
    """Two runs of one pipeline race for an immutable tag, and both are green."""
    registry = registries(dialect=Dialect(immutable="tag"))
    image = images.image(b"same")
    data = images.layout.read(image.digest)

    class Racing(Fault):
        def claims(self, incoming: Any) -> bool:
            if incoming.method == "PUT" and incoming.path.endswith("/manifests/1"):
                registry.add_manifest("app", data, image.media_type, tag="1")
            return False

    registry.inject(Racing(action=Status(200)))

    (sent,) = send(image, registry.reference("app:1"))

    assert (sent.status, tagged(registry)) == ("present", 1)


def test_a_refused_tag_that_does_not_exist_is_no_conflict(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """Then it is what the registry says: a lack of permission."""
    local_registry.inject(
        Fault(method="PUT", path="/manifests/1$", action=Status(403), times=None)
    )

    with pytest.raises(PermissionDeniedError):
        send(images.image(b"new"), local_registry.reference("app:1"))


def test_an_unclear_refusal_of_a_tag_stays_what_it_was(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """No code and no word says that the tag is immutable."""
    send(images.image(b"old"), local_registry.reference("app:1"))
    refusal = Status(400, body=b"out of cheese")
    local_registry.inject(Fault(method="PUT", path="/manifests/1$", action=refusal, times=None))

    with pytest.raises(RegistryError, match="out of cheese") as caught:
        send(images.image(b"new"), local_registry.reference("app:1"))

    assert not isinstance(caught.value, TagConflictError)


def test_a_tag_moves_only_from_what_is_expected(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """From the expected digest it moves; from any other it does not."""
    one, two, three = (images.image(data) for data in (b"1", b"2", b"3"))
    send(one, local_registry.reference("app:1"))

    send(two, local_registry.reference("app:1"), expect_current=one.digest)
    with pytest.raises(TagConflictError, match="as expected") as caught:
        send(three, local_registry.reference("app:1"), expect_current=one.digest)

    assert caught.value.found == str(two.digest)
    assert local_registry.digest("app", "1") == two.digest


def test_a_tag_that_vanished_is_not_what_was_expected(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """And a run that is repeated after it succeeded is no conflict."""
    one, two = images.image(b"1"), images.image(b"2")

    with pytest.raises(TagConflictError, match="does not exist"):
        send(two, local_registry.reference("app:1"), expect_current=one.digest)
    send(two, local_registry.reference("app:1"))
    (again,) = send(two, local_registry.reference("app:1"), expect_current=one.digest)

    assert again.status == "present"


@pytest.mark.parametrize("policy", [{"on_existing_tag": "fail"}, {"expect_current": True}])
def test_a_tag_that_moves_while_blobs_are_sent_is_noticed_before_it_is_put(
    send: Send, images: Any, local_registry: LocalRegistry, policy: dict[str, Any]
) -> None:
    """It is looked at again, right before its PUT."""
    old, other, new = (images.image(data) for data in (b"old", b"other", b"new"))
    data = images.layout.read(other.digest)
    if "expect_current" in policy:
        send(old, local_registry.reference("app:1"))
        policy = {"expect_current": old.digest}

    class Moving(Fault):
        def claims(self, incoming: Any) -> bool:
            if incoming.method == "PUT" and "/blobs/" in incoming.path:
                local_registry.add_manifest("app", data, other.media_type, tag="1")
            return False

    local_registry.clear_log()
    local_registry.inject(Moving(action=Status(200)))

    with pytest.raises(TagConflictError) as caught:
        send(new, local_registry.reference("app:1"), **policy)

    assert (caught.value.found, tagged(local_registry)) == (str(other.digest), 0)


def test_with_continue_a_conflict_spares_the_other_tags(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """And without, nothing is put at all."""
    old, new = images.image(b"old"), images.image(b"new")
    send(old, local_registry.reference("app:1"))
    names = [local_registry.reference("app:1"), local_registry.reference("app:2")]

    with pytest.raises(TagConflictError):
        send(new, *names, on_existing_tag="fail")
    before = local_registry.tags("app")
    with pytest.raises(RegistryError, match="1 of 2"):
        send(new, *names, on_existing_tag="fail", on_partial="continue")

    assert (before, local_registry.tags("app")) == (("1",), ("1", "2"))
    assert local_registry.digest("app", "1") == Digest(str(old.digest))
