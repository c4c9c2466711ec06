"""Whose credentials a build needs where: one client configuration holds one account per host.

Base images that need another account than the rest of their host are pulled into the daemon
first, each with a call of its own: what lies there is built upon without asking the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from attrs import evolve, field, frozen

from ...auth import Access, Credential, Keychain
from ...dockerfile.stages import resolve
from ...errors import CredentialConflictError, SpecError
from ...oci import ImageReference, Platform, Repository
from ...plan import BuildRequest
from ...plan.values import Cache
from .images import Pull

__all__ = ["Accounts", "base_images", "refuse_mounts", "settle"]


@frozen(kw_only=True)
class Accounts:
    """*first* has to be pulled before the build of *request*, which *wants* these repositories."""

    request: BuildRequest
    first: tuple[Pull, ...] = ()
    wants: tuple[tuple[Repository, Access], ...] = field(default=())


def base_images(request: BuildRequest, own: Platform) -> tuple[Pull, ...]:
    """The images that building *request* takes from registries; *own* is the daemon's platform."""
    found: dict[Pull, None] = {}
    for platform in request.platforms or (own,):
        resolution = resolve(
            request.dockerfile,
            target=request.target,
            build_args=request.build_args,
            platform=platform,
            build_platform=own,
            contexts=tuple(request.build_contexts),
        )
        for image in resolution.base_images:
            asked = image.platform if image.platform != own or request.platforms else None
            found[Pull(reference=image.reference, platform=asked)] = None
    for source in request.build_contexts.values():
        scheme, _, name = source.partition("://")
        if scheme == "docker-image":
            found[Pull(reference=ImageReference.parse(name))] = None
    return tuple(found)


def settle(request: BuildRequest, keychain: Keychain, own: Platform) -> Accounts:
    """Find out which images have to be pulled first, so that each is asked for as the right one.

    Raises what the keychain raises. A conflict that pulling first does not solve is found by
    `auth.files.docker_config`.
    """
    images = base_images(request, own)
    others = tuple(_others(request))
    pulls: list[tuple[Repository, Access]] = [(i.reference.repository, "pull") for i in images]
    answers: dict[str, set[Credential | None]] = {}
    for repository, access in (*pulls, *others):
        credential = keychain.resolve(repository, access)
        answers.setdefault(repository.host, set()).add(credential)
    torn = {host for host, found in answers.items() if len(found) > 1}
    first = tuple(i for i in images if i.reference.repository.host in torn)
    if first and request.pull:
        first = images  # all of them are fresh then, and BuildKit need not look
        request = evolve(request, pull=False)
    taken = {image.reference.repository for image in first}
    wants = (*(want for want in pulls if want[0] not in taken), *others)
    return Accounts(request=request, first=first, wants=tuple(dict.fromkeys(wants)))


def _others(request: BuildRequest) -> Iterator[tuple[Repository, Access]]:
    """What else BuildKit speaks to: caches, and the frontend that ``# syntax=`` names."""
    if request.dockerfile.syntax:
        with suppress(SpecError):  # BuildKit will say what is wrong with it
            yield ImageReference.parse(request.dockerfile.syntax).repository, "pull"
    for repository in _repositories(request.cache_from):
        yield repository, "pull"
    for repository in _repositories(request.cache_to):
        yield repository, "push"


def _repositories(caches: Iterable[Cache]) -> Iterator[Repository]:
    for cache in caches:
        if cache.type == "registry" and "ref" in cache.attributes:
            yield ImageReference.parse(cache.attributes["ref"]).repository


def refuse_mounts(request: BuildRequest, images: Iterable[Pull], keychain: Keychain) -> None:
    """Refuse a push by a daemon with containerd's store that some registries would not take.

    containerd asks the registry to mount the layers of a base image from where it was pulled, as
    the account that pushes, and gives up on a 403. Raises `CredentialConflictError`.
    """
    for reference in request.references:
        pushing = keychain.resolve(reference.repository, "push")
        for image in images:
            base = image.reference.repository
            if base.host != reference.repository.host or base == reference.repository:
                continue
            pulling = keychain.resolve(base, "pull")
            if pulling is not None and pulling != pushing:
                raise CredentialConflictError(
                    f"{base} is pulled and {reference.repository} is pushed by different accounts"
                    f" of {base.host}, and a docker daemon with containerd's store would ask for"
                    " the one's layers as the other",
                    hint="leave delivery at auto or layout, so that buildpush pushes",
                )
