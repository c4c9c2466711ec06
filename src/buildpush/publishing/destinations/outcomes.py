"""What became of each destination of a push, and the one error that tells of several."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from attrs import define, evolve, field

from ...errors import BuildpushError, PartialPushError, RegistryError
from ...oci import Digest, ImageReference, Repository
from ...oci.wire import Descriptor
from ...plan import Destination
from ...registry.filling import tally
from ...registry.uploads import Placed

__all__ = ["NotTriedError", "Outcomes"]

_SHOWN = 5


class NotTriedError(RegistryError):
    """A destination that was given up since another had failed."""


@define(eq=False)
class Outcomes:
    """Filled from several threads; read when they have ended."""

    references: tuple[ImageReference, ...]
    _found: dict[ImageReference, Destination] = field(
        factory=dict[ImageReference, Destination], init=False
    )
    _placed: dict[Repository, list[tuple[Placed, Descriptor]]] = field(
        factory=dict[Repository, list[tuple[Placed, Descriptor]]], init=False
    )
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def done(self, reference: ImageReference, status: str, digest: Digest | None) -> None:
        """*reference* is ``pushed``, ``present`` or ``skipped``, and names *digest*."""
        pinned = reference if digest is None else reference.with_digest(digest)
        made = Destination(reference=pinned, status=status)  # type: ignore[arg-type]
        with self._lock:
            self._found[reference] = made

    def failed(self, references: Iterable[ImageReference], error: BuildpushError) -> None:
        """Those of *references* of which nothing is known yet have failed."""
        with self._lock:
            for reference in references:
                self._found.setdefault(
                    reference, Destination(reference=reference, status="failed", error=error)
                )

    def placed(self, repository: Repository, placed: Sequence[tuple[Placed, Descriptor]]) -> None:
        """The blobs of *repository* are there."""
        with self._lock:
            self._placed[repository] = list(placed)

    @property
    def open(self) -> tuple[ImageReference, ...]:
        """Those of which nothing is known yet."""
        with self._lock:
            return tuple(one for one in self.references if one not in self._found)

    @property
    def known(self) -> tuple[Destination, ...]:
        """What is known so far."""
        with self._lock:
            return tuple(self._found[one] for one in self.references if one in self._found)

    @property
    def all(self) -> tuple[Destination, ...]:
        """One destination for each reference, in their order."""
        with self._lock:
            return tuple(self._counted(self._found[one]) for one in self.references)

    def _counted(self, destination: Destination) -> Destination:
        placed = self._placed.get(destination.reference.repository, [])
        if destination.status == "present" or not placed:
            return destination
        return evolve(
            destination,
            uploaded=tally(placed, "uploaded").bytes,
            mounted=tally(placed, "mounted").bytes,
            existing=tally(placed, "exists").bytes,
        )

    def error(self) -> BuildpushError | None:
        """What is to be raised: nothing, the one error there is, or one that lists them all."""
        everything = self.all
        failed = [one for one in everything if one.status == "failed"]
        errors = list(dict.fromkeys(one.error for one in failed if one.error is not None))
        errors = [one for one in errors if not isinstance(one, NotTriedError)]
        if not errors:
            return None
        have = [one for one in everything if one.status in ("pushed", "present")]
        return errors[0] if len(errors) == 1 and not have else _partial(everything, failed, have)


def _partial(
    everything: tuple[Destination, ...], failed: list[Destination], have: list[Destination]
) -> PartialPushError:
    reasons = "; ".join(f"{one.reference}: {one.error}" for one in failed[:_SHOWN])
    more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    errors = dict.fromkeys(one.error for one in failed)
    evidence = tuple(proof for error in errors if error for proof in error.evidence[:2])
    hints = dict.fromkeys(error.hint for error in errors if error and error.hint)
    error = PartialPushError(
        f"{len(have)} of {len(everything)} destinations have the image, and"
        f" {len(failed)} have not: {reasons}{more}",
        evidence=tuple(dict.fromkeys(evidence))[: 2 * _SHOWN],
        hint="; ".join(list(hints)[:_SHOWN]),
    )
    error.destinations = everything
    return error
