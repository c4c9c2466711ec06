"""The ``config.json`` of one execution: who the executor is for each repository it asks.

kaniko looks for the whole name of a repository first when it pulls, and only for its host when it
pushes (go-containerregistry's default keychain). So a base image has a key of its own, and the
host's key belongs to what is pushed there: two accounts on one host are no conflict.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ...auth import Keychain
from ...auth.files import HUB, HUB_KEY, auth_entry
from ...dockerfile.stages import resolve
from ...errors import CredentialConflictError
from ...oci import ImageReference, Platform, Repository
from ...plan import BuildRequest, Delivery
from ...plan.values import Cache

__all__ = ["config_json"]

_HUB_NAME: Final = "index.docker.io"

Entry = Mapping[str, str]


def config_json(request: BuildRequest, keychain: Keychain, platform: Platform | None) -> bytes:
    """Everything that *request* needs for *platform*, and nothing else.

    Raises `CredentialConflictError` where two repositories on one host are pushed to with two
    credentials (the image's and a cache's), and what the keychain raises.
    """
    auths: dict[str, Entry] = {}
    pushed: dict[Repository, Entry | None] = {}
    for repository in dict.fromkeys(_pushed(request)):
        credential = keychain.resolve(repository, "push")
        entry = pushed[repository] = auth_entry(credential) if credential else None
        if entry and auths.setdefault(_host_key(repository.host), entry) != entry:
            raise CredentialConflictError(
                f"two credentials are needed to push to {repository.host}, the image's and the"
                " cache's, and kaniko takes one",
                hint="keep the cache on another host, or use one account for both",
            )
    for repository in dict.fromkeys(_pulled(request, platform)):
        if repository in pushed:
            continue  # it looks for a name before it pushes to it, too
        credential = keychain.resolve(repository, "pull")
        if credential is not None:
            auths[_key(repository)] = auth_entry(credential)
    return json.dumps({"auths": auths}, sort_keys=True).encode()


def _pushed(request: BuildRequest) -> Iterator[Repository]:
    if request.delivery is Delivery.DIRECT:
        yield from (reference.repository for reference in request.references)
    yield from _caches(request.cache_to)


def _pulled(request: BuildRequest, platform: Platform | None) -> Iterator[Repository]:
    """Base images, what COPY --from names, their mirrors, and caches that are read."""
    resolution = resolve(
        request.dockerfile,
        target=request.target,
        build_args=request.build_args,
        platform=platform or Platform.host(),
    )
    for image in resolution.base_images:
        repository = image.reference.repository
        yield repository
        for mirror in request.mirrors.get(repository.host, ()):
            host, _, prefix = mirror.partition("/")
            yield Repository(host, "/".join(filter(None, (prefix, repository.path))))
    yield from _caches(request.cache_from)


def _caches(caches: Iterable[Cache]) -> Iterator[Repository]:
    for cache in caches:
        reference = cache.attributes.get("ref") if cache.type == "registry" else None
        if reference:
            yield ImageReference.parse(reference).repository


def _key(repository: Repository) -> str:
    host = _HUB_NAME if repository.host == HUB else repository.host
    return f"{host}/{repository.path}"


def _host_key(host: str) -> str:
    return HUB_KEY if host == HUB else host
