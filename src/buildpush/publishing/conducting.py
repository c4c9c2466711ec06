"""A push without a build, from its first event to its result: a thread, a folder, a client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from ..auth import Chain, Keychain
from ..errors import SpecError
from ..events import Event, EventSink, Phase, PhaseStarted, Warned
from ..oci import Digest, ImageReference
from ..oci.layout import Layout
from ..plan import Destination, LayoutArtifact
from ..runtime import CancelToken, Deadline, Environment, Run
from ..runtime.host import host_faults
from ..runtime.workdir import workdir
from .options import Options
from .results import PushResult, images_of

if TYPE_CHECKING:
    from ..registry import RegistryClient
    from .sources.gathering import Gathering

__all__ = ["Job", "References", "conduct"]

References = str | ImageReference | Sequence[str | ImageReference]
"""Where to push to: one reference or several."""


@frozen(kw_only=True)
class Job:
    """What the work of one run is given: *references* are where the image is to go."""

    client: RegistryClient
    keychain: Keychain = field(repr=False)
    options: Options
    references: tuple[ImageReference, ...]
    run: Run

    def gathering(self) -> Gathering:
        """Begin an artifact in the run's folder."""
        from .sources.gathering import Gathering

        return Gathering(layout=Layout.create(self.run.workdir / "image"), run=self.run)

    def publish(self, artifact: LayoutArtifact) -> PushResult:
        """Push what was gathered."""
        from .destinations.publishing import publish
        from .repositories import make_missing

        self.run.emit(PhaseStarted(at=self.run.now, phase=Phase.PUSH))
        places = [reference.repository for reference in self.references]
        make_missing(self.client, places, self.keychain, self.run)
        done = publish(self.client, artifact, self.references, self.options.policy, self.run)
        digest = _digest(artifact, done)
        return PushResult(
            digest=digest,
            references=tuple(
                one.reference
                for one in done
                if one.status in ("pushed", "present") and one.reference.digest == digest
            ),
            destinations=done,
            images=images_of(Layout.open(artifact.path), artifact.digest),
        )


def _digest(artifact: LayoutArtifact, done: Sequence[Destination]) -> Digest:
    """What the tags name: the artifact's digest, or that of what it had to be converted to."""
    pushed = (one.reference.digest for one in done if one.status in ("pushed", "present"))
    return next(filter(None, pushed), artifact.digest)


def conduct(
    work: Callable[[Job], PushResult],
    to: References,
    options: Options,
    *,
    on_event: EventSink,
    cancel: CancelToken | None,
) -> PushResult:
    """Do *work* in a thread of its own and hand its events to *on_event* in this one.

    Leaving early, by whatever exception, cancels it first and waits until it has cleaned up.
    """
    references = _references(to)
    events: SimpleQueue[Event | None] = SimpleQueue()
    token = cancel or CancelToken()
    outcome: list[PushResult | BaseException] = []

    def body() -> None:
        try:
            outcome.append(_execute(work, references, options, events.put, token))
        except BaseException as error:  # noqa: BLE001 - raised again below
            outcome.append(error)
        finally:
            events.put(None)

    thread = threading.Thread(target=body, name="buildpush", daemon=True)
    thread.start()
    try:
        while (event := events.get()) is not None:
            on_event(event)
    finally:
        if not outcome:
            token.cancel()
        thread.join()
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _references(to: References) -> tuple[ImageReference, ...]:
    given = (to,) if isinstance(to, str | ImageReference) else tuple(to)
    if not given:
        raise SpecError("to: name at least one reference to push to")
    found = (
        one if isinstance(one, ImageReference) else ImageReference.parse(one) for one in given
    )
    return tuple(dict.fromkeys(found))


def _execute(
    work: Callable[[Job], PushResult],
    references: tuple[ImageReference, ...],
    options: Options,
    emit: EventSink,
    cancel: CancelToken,
) -> PushResult:
    from ..auth.bound import within
    from ..auth.files import ambient
    from ..auth.learning import Learnt

    environment = Environment.current()
    warnings: list[str] = []

    def sink(event: Event) -> None:
        if isinstance(event, Warned):
            warnings.append(event.message)
        emit(event)

    with (
        host_faults(environment),
        workdir(environment.temporary, environment.uid) as folder,
        Deadline(cancel, options.timeout),
    ):
        run = Run(workdir=folder, cancel=cancel, sink=sink, environment=environment)
        run.emit(PhaseStarted(at=run.now, phase=Phase.PLAN))
        cancel.check()
        signed_in = ambient(environment, run.warn, cancel=cancel, redact=run.redact)
        auth = within(Chain(options.auth), run.warn, cancel)
        keychain = Learnt(Chain((auth, signed_in)), run.redact)
        with options.client(keychain, run) as client:
            job = Job(
                client=client, keychain=keychain, options=options, references=references, run=run
            )
            result = work(job)
        return evolve(result, seconds=run.now, warnings=tuple(warnings))
