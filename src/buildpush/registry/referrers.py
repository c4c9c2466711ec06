"""What refers to an image: signatures, SBOMs and other artifacts whose ``subject`` it is.

Follows the OCI distribution-spec 1.1, “Listing Referrers” and its tag schema for registries
without that API.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from ..errors import NotFoundError, RegistryError
from ..oci import Digest, ImageReference, Repository
from ..oci.wire import MAX_MANIFEST, Descriptor, Index, MediaType, parse_manifest
from .exchange import Call, Exchange
from .listing import next_page
from .token import Want

__all__ = ["list_referrers", "referrers_tag"]

_MOST_PAGES: Final = 100


def referrers_tag(repository: Repository, digest: Digest) -> ImageReference:
    """The tag that lists what refers to *digest* where the registry has no API for it."""
    return ImageReference(
        repository=repository, tag=f"{digest.algorithm}-{digest.hex}"[: len("sha256-") + 64]
    )


def list_referrers(
    exchange: Exchange,
    repository: Repository,
    digest: Digest,
    read: Callable[[ImageReference], bytes],
) -> tuple[Descriptor, ...]:
    """The manifests of *repository* whose subject is *digest*, by the API or by the tag schema.

    *read* gives a manifest's bytes. Raises what the registry's refusal means.
    """
    found: dict[Digest, Descriptor] = {}
    where = f"referrers/{digest}"
    for _ in range(_MOST_PAGES):
        page, following = exchange.retry(
            f"listing what refers to {digest}", partial(_page, exchange, repository, digest, where)
        )
        if page is None:
            return _by_tag(repository, digest, read)
        found |= {entry.digest: entry for entry in page.manifests}
        if not following:
            return tuple(found.values())
        where = following
    raise RegistryError(f"{repository}: the list of what refers to {digest} does not end")


def _page(
    exchange: Exchange, repository: Repository, digest: Digest, where: str
) -> tuple[Index | None, str]:
    """One page and where the next one is; None where the registry has no such API."""
    call = Call(
        method="GET",
        where=where,
        want=Want(repository=repository, access="pull"),
        about=f"listing what refers to {digest} in {repository}",
        headers={"Accept": MediaType.OCI_INDEX},
    )
    with exchange.send(call) as reply:
        served = reply.header("content-type").partition(";")[0].strip()
        if reply.status in (404, 405) or (reply.status == 200 and served != MediaType.OCI_INDEX):
            return None, ""
        if reply.status != 200:
            raise exchange.failure(call, reply)
        data = reply.read(MAX_MANIFEST + 1)
        following = next_page(exchange, call, reply)
    if len(data) > MAX_MANIFEST:
        raise RegistryError(f"{call.about}: it is larger than {MAX_MANIFEST >> 20} MiB")
    document = parse_manifest(data, MediaType.OCI_INDEX)
    assert isinstance(document, Index)
    return document, following


def _by_tag(
    repository: Repository, digest: Digest, read: Callable[[ImageReference], bytes]
) -> tuple[Descriptor, ...]:
    try:
        document = parse_manifest(read(referrers_tag(repository, digest)))
    except NotFoundError:
        return ()
    return document.manifests if isinstance(document, Index) else ()
