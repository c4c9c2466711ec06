"""Before a build: may we push to every destination? Asked in parallel, within seconds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from attrs import evolve

from ..auth import Chain, Keychain
from ..auth.bound import within
from ..errors import (
    AuthError,
    BuildpushError,
    PreflightError,
    RegistryError,
    RegistryUnavailableError,
    StepTimeoutError,
    TagConflictError,
)
from ..events import Event
from ..oci import ImageReference, Repository
from ..plan import PushPolicy
from ..registry import RegistryClient
from ..registry.parallel import each
from ..runtime import CancelToken, Deadline, Run
from .repositories import prove

__all__ = ["SECONDS", "preflight"]

SECONDS: Final = 5.0
"""How long all destinations together may take to answer."""

_AT_ONCE: Final = 16


def preflight(
    open_client: Callable[[Run], RegistryClient],
    references: Sequence[ImageReference],
    policy: PushPolicy,
    run: Run,
    *,
    keychain: Keychain | None = None,
    from_elsewhere: bool = False,
    seconds: float = SECONDS,
) -> tuple[Repository, ...]:
    """Open and cancel an upload in every repository of *references*; those that let us.

    *open_client* is given a run that ends after *seconds*. A repository that does not exist is
    made if *keychain* was told to (`auth.making`). Tags that may not exist, or must name
    a digest, are looked at, too. What has not answered in time is a warning: the push will tell.
    So is a registry out of reach when the push will come *from_elsewhere*. Raises the error of
    the destination that says no, or one `PreflightError` with the errors of several.
    """
    places = tuple(dict.fromkeys(reference.repository for reference in references))
    with _bounded(run, seconds) as side, open_client(side) as client:
        able = within(keychain or Chain(()), side.warn, side.cancel)
        answers = each(
            places,
            lambda place, _: _ask(client, place, references, policy, able),
            workers=_AT_ONCE,
        )
    failures: list[BuildpushError] = []
    proven: list[Repository] = []
    for place, error in zip(places, answers, strict=True):
        if error is None:
            proven.append(place)
        elif isinstance(error, StepTimeoutError):
            run.warn(
                f"{place.host} has not said within {seconds:g} s whether {place} may be pushed to"
            )
        elif isinstance(error, RegistryUnavailableError) and from_elsewhere:
            run.warn(f"whether {place} may be pushed to is not known: {error.message}")
        else:
            failures.append(error)
    if failures:
        raise _refusal(failures)
    return tuple(proven)


def _ask(
    client: RegistryClient,
    place: Repository,
    references: Sequence[ImageReference],
    policy: PushPolicy,
    keychain: Keychain,
) -> BuildpushError | None:
    """The error that a push to *place* would meet; None when it looks good."""
    try:
        prove(client, place, keychain)
        for reference in references:
            if reference.repository == place and reference.tag:
                _look(client, reference, policy)
    except (AuthError, RegistryError, StepTimeoutError) as error:
        return error
    return None


def _look(client: RegistryClient, tag: ImageReference, policy: PushPolicy) -> None:
    """Whether *tag* is as *policy* wants it now; what only the new digest tells has to wait."""
    if policy.on_existing_tag != "fail" and policy.expect_current is None:
        return
    found = client.head_manifest(tag, access="push")
    names = "" if found is None else str(found.digest)
    wanted = "" if policy.expect_current is None else str(policy.expect_current)
    if policy.on_existing_tag == "fail" and names:
        problem = f"{tag} exists already: it names {names}"
        hint = "choose another tag, or let on_existing_tag be skip_if_same, skip or overwrite"
    elif wanted and names != wanted:
        problem = f"{tag} names {names or 'nothing'}, not {wanted} as expect_current says"
        hint = "somebody else pushed to it: look at what is there before you replace it"
    else:
        return
    error = TagConflictError(problem, hint=hint)
    error.reference, error.found, error.wanted = str(tag), names, wanted
    raise error


def _refusal(failures: Sequence[BuildpushError]) -> BuildpushError:
    if len(failures) == 1:
        return failures[0]
    error = PreflightError(
        f"{len(failures)} destinations cannot be pushed to, and nothing was built: "
        + "; ".join(failure.message for failure in failures),
        evidence=tuple(dict.fromkeys(piece for f in failures for piece in f.evidence)),
        hint="; ".join(dict.fromkeys(failure.hint for failure in failures if failure.hint)),
    )
    error.failures = tuple(failures)
    return error


@contextmanager
def _bounded(run: Run, seconds: float) -> Generator[Run]:
    """A run beside *run* that ends by itself after *seconds*, without ending *run*."""
    limit = CancelToken()

    def forward(event: Event) -> None:
        run.emit(evolve(event, at=run.now))

    with ExitStack() as stack:
        undo: Callable[[], None] = run.cancel.on_cancel(limit.cancel)
        stack.callback(undo)
        stack.enter_context(Deadline(limit, seconds))
        side = Run(
            workdir=run.workdir,
            cancel=limit,
            sink=forward,
            redact=run.redact,
            environment=run.environment,
        )
        try:
            yield side
        finally:
            run.cancel.check()  # its own reason, where it has one
