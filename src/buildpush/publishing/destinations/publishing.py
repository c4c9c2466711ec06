"""One image to any number of names, repositories and registries, each with its own outcome.

All repositories are filled first, blobs before manifests before indexes; tags are put last, each
once, all with the same bytes, and are read back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from attrs import frozen

from ...errors import AuthError, RegistryError
from ...oci import ImageReference, Repository
from ...oci.layout import Layout
from ...plan import Destination, LayoutArtifact, PushPolicy
from ...registry import RegistryClient
from ...registry.filling import Filling, Places, fill_blobs, put_documents
from ...registry.images import Image, read_image
from ...registry.parallel import Siblings, each
from ...registry.push import pinned, read_back
from ...runtime import Run
from .instructions import sizes_explained
from .naming import judge, look, put_tag
from .outcomes import NotTriedError, Outcomes
from .variants import Variants
from .whereabouts import Whereabouts

__all__ = ["publish"]

_REGISTRIES: Final = 4
"""Registries that are pushed to at once; each takes a few blobs at once by itself."""

_WORTH: Final = 32 << 10
"""Bytes from which on it is worth remembering where a blob is."""


def publish(
    client: RegistryClient,
    artifact: LayoutArtifact,
    references: Sequence[ImageReference],
    policy: PushPolicy,
    run: Run,
) -> tuple[Destination, ...]:
    """Make every one of *references* name the image of *artifact*, as *policy* says.

    Returns what became of each, in their order. Raises `PartialPushError`, which has the same in
    its ``destinations``, when some have the image and some have not, and otherwise the error of
    the one that failed: `TagConflictError` for a tag that may not be moved, `AuthError`,
    `RegistryError`. Raises `SpecError` for a reference with another digest, and for an image
    that cannot have the media types that *policy* asks for.
    """
    layout = Layout.open(artifact.path)
    image = read_image(client, layout, artifact.digest, artifact.origins)
    variants = Variants.of(image, policy, run.warn)
    wanted = tuple(dict.fromkeys(references))
    for reference in wanted:
        pinned(reference, variants.image.digest)
    push = _Push(
        client=client,
        layout=layout,
        policy=policy,
        run=run,
        variants=variants,
        outcomes=Outcomes(wanted),
        places=Places(),
        whereabouts=Whereabouts(run.environment.cache / "blobs"),
    )
    return push.all()


@frozen(kw_only=True, eq=False)
class _Push:
    """One push on its way; what it learns is in *outcomes*, *places* and *variants*."""

    client: RegistryClient
    layout: Layout
    policy: PushPolicy
    run: Run
    variants: Variants
    outcomes: Outcomes
    places: Places
    whereabouts: Whereabouts

    def all(self) -> tuple[Destination, ...]:
        """Look, fill, tag; raise what went wrong."""
        with suppress(RegistryError, AuthError):  # the outcomes have them
            each(self.outcomes.open, self._look)
            self._remember()
            each(self._by_host(), self._fill_host, workers=_REGISTRIES)
            each(self._by_repository(), self._tag_all, workers=_REGISTRIES)
        self._not_tried()
        error = self.outcomes.error()
        if error is not None:
            raise error
        return self.outcomes.all

    def _attempt(self, references: Sequence[ImageReference], action: Callable[[], object]) -> None:
        """What goes wrong in *action* is the outcome of *references*, and ends a quick push."""
        try:
            action()
        except (RegistryError, AuthError) as error:
            self.outcomes.failed(references, error)
            if self.policy.on_partial == "fail_fast":
                raise

    def _not_tried(self) -> None:
        left = self.outcomes.open
        if not left:
            return
        first = next(one for one in self.outcomes.known if one.error is not None)
        error = NotTriedError(
            f"was not tried any more, since {first.reference} failed",
            hint="on_partial: continue tries every destination",
        )
        error.__cause__ = first.error
        self.outcomes.failed(left, error)

    def _by_repository(self) -> Sequence[tuple[ImageReference, ...]]:
        grouped: dict[Repository, list[ImageReference]] = {}
        for reference in self.outcomes.open:
            grouped.setdefault(reference.repository, []).append(reference)
        return [tuple(group) for group in grouped.values()]

    def _by_host(self) -> Sequence[tuple[tuple[ImageReference, ...], ...]]:
        grouped: dict[str, list[tuple[ImageReference, ...]]] = {}
        for group in self._by_repository():
            grouped.setdefault(group[0].repository.host, []).append(group)
        return [tuple(groups) for groups in grouped.values()]

    # --- looking ---

    def _look(self, reference: ImageReference, _: Siblings) -> None:
        self._attempt((reference,), partial(self._may_push, reference))

    def _may_push(self, reference: ImageReference) -> bool:
        """Whether *reference* is still to be pushed; if not, that is its outcome."""
        host = reference.repository.host
        found = look(self.client, reference)
        ours = self.variants.digests(host)
        verdict = judge(reference, found, ours, self.policy, self.variants.at(host).digest)
        if verdict == "push":
            return True
        self.outcomes.done(reference, "present" if verdict == "present" else "skipped", found)
        return False

    # --- filling ---

    def _remember(self) -> None:
        """Where blobs may be mounted from: where they came from, where they were seen before."""
        if not self.policy.mount:
            return
        for digest, origin in self.variants.image.origins.items():
            self.places.heard(digest, (origin,))
        for groups in self._by_host():
            known = self.whereabouts.of(groups[0][0].repository.host)
            for blob in self.variants.image.blobs:
                self.places.heard(blob.digest, known.get(blob.digest, ()))

    def _fill_host(
        self, groups: tuple[tuple[ImageReference, ...], ...], siblings: Siblings
    ) -> None:
        """Fill the repositories of one registry one after the other: later ones mount."""
        check = siblings.check if self.policy.on_partial == "fail_fast" else self.run.cancel.check
        for group in groups:
            self._attempt(group, partial(self._fill, group, check))

    def _fill(self, group: tuple[ImageReference, ...], check: Callable[[], None]) -> None:
        repository = group[0].repository
        job = Filling(
            client=self.client,
            layout=self.layout,
            run=self.run,
            places=self.places if self.policy.mount else None,
            check=check,
            first=self.outcomes.references[0].repository,
        )
        image = self.variants.at(repository.host)
        with sizes_explained(self.layout, image, repository, self.run):
            placed = fill_blobs(job, image, repository)
        self.outcomes.placed(repository, placed)
        self._learn(image, repository)
        try:
            put_documents(job, image, repository)
        except RegistryError as error:
            other = self.variants.after(error, repository.host)
            if other is None or any(reference.digest for reference in group):
                raise
            try:
                put_documents(job, other, repository)
            except RegistryError:
                raise error from None  # it was not about the media types
            self.variants.took(repository.host, other)

    def _learn(self, image: Image, repository: Repository) -> None:
        large = [blob.digest for blob in image.blobs if blob.size >= _WORTH]
        seen = [(digest, repository) for digest in large]
        for digest in large:
            origin = image.origins.get(digest)
            if origin is not None and (digest, origin) not in self.places.losses:
                seen.insert(0, (digest, origin))
        self.whereabouts.learn(seen, self.places.losses)

    # --- tagging ---

    @property
    def _is_picky(self) -> bool:
        """Whether it matters what a tag names now."""
        policy = self.policy
        return policy.on_existing_tag != "overwrite" or policy.expect_current is not None

    def _tag_all(self, group: tuple[ImageReference, ...], siblings: Siblings) -> None:
        """Tags of one repository one after the other, so that what failed is the last."""
        for reference in group:
            siblings.check()
            self._attempt((reference,), partial(self._tag, reference))

    def _tag(self, reference: ImageReference) -> None:
        image = self.variants.at(reference.repository.host)
        if reference.tag:
            # Filling took its time: others may have pushed meanwhile.
            if self._is_picky and not self._may_push(reference):
                return
            name = f"tag {reference.repository}:{reference.tag}"
            with self.run.task(name, name):
                verdict = put_tag(self.client, reference, image.top)
        else:
            verdict = "push"
        read_back(self.client, reference, image.digest, access="push")
        status = "pushed" if verdict == "push" else "present"
        self.outcomes.done(reference, status, image.digest)
