"""Pushing images: the order of things, what is spared, and what a failure leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from buildpush.auth import Chain, Credential, StaticKeychain
from buildpush.errors import (
    DigestMismatchError,
    NotFoundError,
    PermissionDeniedError,
    RegistryError,
    RegistryUnavailableError,
    SpecError,
    StepCancelledError,
)
from buildpush.events import TaskFinished, TaskProgress, TaskStarted
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, Index, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.registry.push import PushReport, Tally, push
from buildpush.runtime import Run
from buildpush.testing import (
    DropUpload,
    Fault,
    FlipByte,
    LocalRegistry,
    RecordingSink,
    ReplaceHeaders,
    Status,
    WrongDigest,
)

ClientFor = Callable[..., RegistryClient]
LAYERS = (b"one" * 1000, b"two" * 2000)
CONFIG = b'{"os":"linux"}'
BYTES = sum(map(len, LAYERS)) + len(CONFIG)


@pytest.fixture
def send(client: RegistryClient, layout: Layout, run: Run) -> Callable[..., PushReport]:
    """Push a digest of the layout to references given as text."""

    def push_it(
        digest: Digest, *names: str, origins: dict[Digest, Repository] | None = None
    ) -> PushReport:
        references = [ImageReference.parse(name) for name in names]
        return push(client, layout, digest, references, origins=origins or {}, run=run)

    return push_it


def sent(registry: LocalRegistry, method: str) -> list[str]:
    return [r.path for r in registry.requests if r.method == method]


def test_an_image_arrives_whole_and_verified(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """Blobs, the manifest by digest, the tag, and the tag read back."""
    image = images.image(*LAYERS)

    report = send(image.digest, local_registry.reference("acme/app:1"))

    assert local_registry.digest("acme/app", "1") == image.digest
    assert [local_registry.blob("acme/app", Digest.of(d)) for d in LAYERS] == list(LAYERS)
    assert report.uploaded == Tally(blobs=3, bytes=BYTES)
    assert (report.mounted, report.existing) == (Tally(), Tally())
    assert [str(p.reference) for p in report.references] == [
        f"{local_registry.host}/acme/app:1@{image.digest}"
    ]
    assert sent(local_registry, "PUT")[-2:] == [
        f"/v2/acme/app/manifests/{image.digest}",
        "/v2/acme/app/manifests/1",
    ]
    assert local_registry.requests[-1].method == "GET"


def test_children_come_before_what_lists_them_and_tags_last(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """At no moment does the registry hold a manifest whose parts are missing."""
    one, two = images.image(b"amd"), images.image(b"arm", docker=True)
    inner = images.index({"linux/amd64": one})
    index = images.index({"linux/amd64": inner, "linux/arm64": two})

    send(index.digest, *(local_registry.reference(f"app:{tag}") for tag in ("a", "b")))

    targets = [p.rpartition("/")[2] for p in sent(local_registry, "PUT") if "/manifests/" in p]
    assert targets[-3:] == [str(index.digest), "a", "b"]
    assert targets.index(str(one.digest)) < targets.index(str(inner.digest))
    assert set(targets[:-3]) == {str(d.digest) for d in (one, two, inner)}
    assert local_registry.manifest("app", two.digest) == images.layout.read(two.digest)


def test_a_second_push_only_looks(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """Tags that name the digest already cost one HEAD each."""
    image = images.image(*LAYERS)
    names = [local_registry.reference(f"app:{tag}") for tag in ("1", "latest")]
    send(image.digest, *names)
    local_registry.clear_log()

    report = send(image.digest, *names)

    assert {r.method for r in local_registry.requests} == {"HEAD"}
    assert len(local_registry.requests) == 2
    assert [p.already for p in report.references] == [True, True]


def test_blobs_that_are_there_are_not_sent(
    send: Callable[..., PushReport],
    images: Any,
    local_registry: LocalRegistry,
    recording_sink: RecordingSink,
) -> None:
    """They are counted, and shown as cached."""
    local_registry.add_blob("app", LAYERS[0])
    image = images.image(*LAYERS)

    report = send(image.digest, local_registry.reference("app:1"))

    assert report.existing == Tally(blobs=1, bytes=len(LAYERS[0]))
    task = f"push {Digest.of(LAYERS[0])}"
    ends = {e.task: e.outcome for e in recording_sink.of(TaskFinished)}
    assert ends[task] == "cached"
    assert ends[f"push {Digest.of(LAYERS[1])}"] == "done"


def test_every_blob_is_a_task_with_its_size(
    send: Callable[..., PushReport],
    images: Any,
    local_registry: LocalRegistry,
    recording_sink: RecordingSink,
) -> None:
    """A display can show a row per blob, and how far it is."""
    image = images.image(*LAYERS)

    send(image.digest, local_registry.reference("app:1"))

    titles = {e.task: e.title for e in recording_sink.of(TaskStarted)}
    digest = Digest.of(LAYERS[1])
    assert titles[f"push {digest}"] == f"push {str(digest)[:19]} (6.0 kB)"
    assert titles[f"tag {local_registry.host}/app:1"] == f"tag {local_registry.host}/app:1"
    last = [e for e in recording_sink.of(TaskProgress) if e.task == f"push {digest}"][-1]
    assert (last.done, last.total) == (6000, 6000)


def test_two_repositories_share_their_blobs(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """What the first repository has is mounted into the second."""
    image = images.image(*LAYERS)

    report = send(image.digest, local_registry.reference("a:1"), local_registry.reference("b:1"))

    assert report.uploaded.blobs == report.mounted.blobs == 3
    assert local_registry.digest("b", "1") == image.digest


def test_a_base_layer_is_mounted_from_where_it_came(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """The layout need not even have it."""
    image = images.image(*LAYERS)
    images.layout.blob_path(Digest.of(LAYERS[0])).unlink()
    local_registry.add_blob("base", LAYERS[0])
    base = Repository(local_registry.host, "base")

    report = send(
        image.digest, local_registry.reference("app:1"), origins={Digest.of(LAYERS[0]): base}
    )

    assert report.mounted == Tally(blobs=1, bytes=len(LAYERS[0]))


def test_a_base_layer_of_another_registry_is_copied(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """It streams from one registry to the other, verified on the way."""
    image = images.image(*LAYERS)
    images.layout.blob_path(Digest.of(LAYERS[0])).unlink()
    with LocalRegistry() as other:
        other.add_blob("base", LAYERS[0])
        origins = {Digest.of(LAYERS[0]): Repository(other.host, "base")}

        report = send(image.digest, local_registry.reference("app:1"), origins=origins)

    assert report.uploaded.blobs == 3
    assert local_registry.blob("app", Digest.of(LAYERS[0])) == LAYERS[0]


def test_a_layer_nobody_has_is_named(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """The digest is in the message, and nothing was tagged."""
    image = images.image(*LAYERS)
    missing = Digest.of(LAYERS[0])
    images.layout.blob_path(missing).unlink()

    with pytest.raises(NotFoundError, match=str(missing)):
        send(image.digest, local_registry.reference("app:1"))

    assert local_registry.tags("app") == ()


def test_foreign_layers_are_left_where_they_are(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """Their licence says that they may not be pushed."""
    foreign = Descriptor(
        media_type="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        digest=Digest.of(b"windows"),
        size=7,
        urls=("https://example.com/layer",),
    )
    manifest = Manifest(
        media_type=MediaType.OCI_MANIFEST,
        config=images.layout.add_bytes(CONFIG, MediaType.OCI_CONFIG),
        layers=(foreign,),
    )
    image = images.layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST)

    report = send(image.digest, local_registry.reference("app:1"))

    assert report.uploaded.blobs == 1
    assert local_registry.blob("app", foreign.digest) is None


def test_a_reference_may_be_a_digest_alone(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """Then nothing is tagged."""
    image = images.image(*LAYERS)

    send(image.digest, f"{local_registry.host}/app@{image.digest}")

    assert local_registry.tags("app") == ()
    assert local_registry.manifest("app", image.digest) is not None


def test_a_reference_with_another_digest_is_refused(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """Nothing is sent under a wrong name."""
    image = images.image(*LAYERS)

    with pytest.raises(SpecError, match="cannot be pushed"):
        send(image.digest, f"{local_registry.host}/app:1@{Digest.of(b'else')}")

    assert local_registry.requests == ()


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("PUT", "/blobs/uploads/", RegistryUnavailableError),
        ("PUT", "/manifests/sha256", RegistryUnavailableError),
        ("POST", "/blobs/uploads/", RegistryUnavailableError),
    ],
)
def test_a_failed_push_leaves_no_tag(
    send: Callable[..., PushReport],
    images: Any,
    local_registry: LocalRegistry,
    method: str,
    path: str,
    error: type[Exception],
) -> None:
    """Tags come last, so there is nothing to clean up."""
    local_registry.inject(Fault(method=method, path=path, action=Status(500), times=None))
    image = images.image(*LAYERS)

    with pytest.raises(error):
        send(image.digest, local_registry.reference("app:1"))

    assert local_registry.tags("app") == ()


def test_no_repository_is_tagged_before_all_are_filled(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """A second registry that refuses leaves the first one's tags alone."""
    image = images.image(*LAYERS)
    with LocalRegistry() as other:
        other.inject(Fault(method="POST", action=Status(403), times=None))

        with pytest.raises(PermissionDeniedError, match="may not push"):
            send(image.digest, local_registry.reference("app:1"), other.reference("app:1"))

    assert local_registry.tags("app") == ()


def test_one_blob_that_breaks_is_the_only_one_sent_again(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """The others keep what they have."""
    fault = local_registry.inject(Fault(method="PUT", path="/blobs/", action=DropUpload(5)))
    image = images.image(*LAYERS)

    report = send(image.digest, local_registry.reference("app:1"))

    puts = [r for r in local_registry.requests if r.method == "PUT" and "/blobs/" in r.path]
    assert (fault.fired, len(puts)) == (1, 4)
    assert report.uploaded.blobs == 3


def test_a_cancelled_push_tags_nothing(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry, run: Run
) -> None:
    """The reason of the cancel is what is raised."""
    image = images.image(*LAYERS)
    hung = threading.Event()

    class Cancelling(Fault):
        def claims(self, incoming: Any) -> bool:
            if incoming.method == "PUT" and "/manifests/" in incoming.path:
                hung.set()
                run.cancel.cancel()
            return False

    local_registry.inject(Cancelling(action=Status(200)))

    with pytest.raises(StepCancelledError):
        send(image.digest, local_registry.reference("app:1"))

    assert hung.is_set()
    assert local_registry.tags("app") == ()


@pytest.mark.parametrize("action", [WrongDigest(), FlipByte(0)], ids=["header", "bytes"])
def test_a_tag_that_does_not_read_back_fails_the_push(
    send: Callable[..., PushReport],
    images: Any,
    local_registry: LocalRegistry,
    action: WrongDigest | FlipByte,
) -> None:
    """Success means that the registry has this digest."""
    local_registry.inject(Fault(method="GET", path="/manifests/1", action=action))
    image = images.image(*LAYERS)

    with pytest.raises(DigestMismatchError):
        send(image.digest, local_registry.reference("app:1"))


def test_a_tag_that_moved_meanwhile_is_noticed(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """Somebody else pushed to the same tag: the message names both digests."""
    image = images.image(*LAYERS)
    other = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))
    headers = {
        "Content-Type": MediaType.OCI_INDEX,
        "Docker-Content-Digest": str(Digest.of(other)),
    }
    local_registry.inject(
        Fault(method="GET", path="/manifests/1", action=Status(200, headers=headers, body=other))
    )

    with pytest.raises(DigestMismatchError, match=f"now names {Digest.of(other)}") as caught:
        send(image.digest, local_registry.reference("app:1"))

    assert str(image.digest) in caught.value.message


def test_blobs_the_registry_only_claims_to_have_are_sent_again(
    send: Callable[..., PushReport],
    images: Any,
    local_registry: LocalRegistry,
    recording_sink: RecordingSink,
) -> None:
    """HEAD said yes, the manifest was refused: the blobs go out after all, once."""
    local_registry.inject(
        Fault(method="HEAD", path="/blobs/", action=Status(200, body=b""), times=3)
    )
    image = images.image(*LAYERS)

    send(image.digest, local_registry.reference("app:1"))

    assert local_registry.digest("app", "1") == image.digest
    assert any("claims to have blobs" in w for w in recording_sink.warnings)


def test_a_manifest_the_registry_does_not_take_is_its_error(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """The registry's code and words are shown."""
    local_registry.inject(
        Fault(
            method="PUT",
            path="/manifests/",
            action=Status(
                415, body=b'{"errors":[{"code":"MANIFEST_INVALID","message":"no docker here"}]}'
            ),
            times=None,
        )
    )
    image = images.image(*LAYERS, docker=True)

    with pytest.raises(RegistryError, match="MANIFEST_INVALID: no docker here") as caught:
        send(image.digest, local_registry.reference("app:1"))

    assert "Docker or OCI" in caught.value.hint


def test_at_most_three_blobs_travel_at_once(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """Registries are not flooded, however many layers there are."""
    gate, lock = threading.Barrier(3), threading.Lock()
    now, peak = 0, 0

    class Counting(Fault):
        def claims(self, incoming: Any) -> bool:
            nonlocal now, peak
            if incoming.method == "POST":
                with lock:
                    now += 1
                    peak = max(peak, now)
                gate.wait(10)
                with lock:
                    now -= 1
            return False

    local_registry.inject(Counting(action=Status(200)))
    image = images.image(*(bytes([n]) for n in range(11)))  # and a config: four times three

    report = send(image.digest, local_registry.reference("app:1"))

    assert (report.uploaded.blobs, peak) == (12, 3)


def test_a_pushs_errors_hold_no_secret(
    client_for: ClientFor, images: Any, run: Run, recording_sink: RecordingSink
) -> None:
    """Not even when the registry echoes it."""
    canary = "c4n4ry-p4ss"
    image = images.image(*LAYERS)
    with LocalRegistry(auth="basic", users={"ci": canary}) as registry:
        registry.inject(
            Fault(
                method="POST",
                times=None,
                action=Status(500, body=f"you sent {canary}".encode()),
            )
        )
        keychain = StaticKeychain(
            prefix=registry.host, credential=Credential(username="ci", password=canary)
        )
        reference = ImageReference.parse(registry.reference("app:1"))

        with pytest.raises(RegistryUnavailableError, match=r"you sent \*\*\*") as caught:
            push(
                client_for(Chain((keychain,))),
                images.layout,
                image.digest,
                [reference],
                origins={},
                run=run,
            )

    assert canary not in caught.value.report()
    assert not [e for e in recording_sink.events if canary in repr(e)]


def test_headers_of_a_registry_are_not_needed(
    send: Callable[..., PushReport], images: Any, local_registry: LocalRegistry
) -> None:
    """A registry that never says Docker-Content-Digest is pushed to all the same."""
    local_registry.inject(
        Fault(times=None, action=ReplaceHeaders({"Docker-Content-Digest": None}))
    )
    image = images.image(*LAYERS)

    send(image.digest, local_registry.reference("app:1"))

    assert local_registry.digest("app", "1") == image.digest
