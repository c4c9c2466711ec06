"""What a repository has, and having less of it: tags page by page, manifests and blobs deleted.

Follows the OCI distribution-spec 1.1, "Content Discovery" and "Content Management".
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import RegistryError
from ..http.answers import safe_url
from ..http.trust import same_origin
from ..oci import Repository
from .exchange import Call, Exchange
from .token import Want

if TYPE_CHECKING:
    from ..http.transport import Reply

__all__ = ["delete", "list_tags", "next_page"]

_PAGE: Final = 1000
_MOST_PAGES: Final = 10_000
_LIMIT: Final = 8 << 20
_NEXT: Final = re.compile(r'<([^<>]*)>\s*;[^<>]*\brel="?next"?', re.IGNORECASE)


class _Tags(BaseModel):
    model_config = ConfigDict(extra="ignore")

    tags: tuple[str, ...] | None = None


def list_tags(exchange: Exchange, repository: Repository) -> tuple[str, ...]:
    """Every tag of *repository*, in the registry's order.

    Raises `NotFoundError` when there is no such repository, `RegistryError` for a list that
    makes no sense or has no end.
    """
    found: dict[str, None] = {}
    where, seen = f"tags/list?n={_PAGE}", set[str]()
    for _ in range(_MOST_PAGES):
        seen.add(where)
        tags, where = exchange.retry(
            f"listing the tags of {repository}", partial(_page, exchange, repository, where)
        )
        found |= dict.fromkeys(tags)
        if not where:
            return tuple(found)
        if where in seen:
            break
    raise RegistryError(f"listing the tags of {repository}: the list does not end")


def _page(exchange: Exchange, repository: Repository, where: str) -> tuple[tuple[str, ...], str]:
    """The tags of one page, and where the next one is, empty after the last."""
    call = Call(
        method="GET",
        where=where,
        want=Want(repository=repository, access="pull"),
        about=f"listing the tags of {repository}",
    )
    with exchange.send(call) as reply:
        if reply.status != 200:
            raise exchange.failure(call, reply)
        following = next_page(exchange, call, reply)
        data = reply.read(_LIMIT)
    try:
        tags = _Tags.model_validate_json(data).tags or ()
    except ValidationError as error:
        raise RegistryError(f"{call.about}: the answer is no list of tags") from error
    return tags, following


def next_page(exchange: Exchange, call: Call, reply: Reply) -> str:
    """Where *reply* says that the list goes on (RFC 8288), empty after the last page.

    Raises `RegistryError` for a page that is not the registry's own.
    """
    link = _NEXT.search(reply.header("link"))
    if link is None:
        return ""
    try:
        following: str = urljoin(reply.url, link[1])
    except ValueError as error:
        raise RegistryError(f"{call.about}: its next page is not a URL") from error
    if not same_origin(following, exchange.endpoints.base(call.want.repository.host)):
        raise RegistryError(
            f"{call.about}: the next page is at {safe_url(following)}, somewhere else"
        )
    return following


def delete(exchange: Exchange, repository: Repository, where: str, what: str) -> None:
    """Delete *where*, a path below the repository; raises `NotFoundError` when it is not there."""
    call = Call(
        method="DELETE",
        where=where,
        want=Want(repository=repository, access="push", deletes=True),
        about=f"deleting {what}",
    )

    def attempt() -> None:
        with exchange.send(call) as reply:
            if reply.status == 405:
                raise RegistryError(
                    f"{call.about}: {repository.host} deletes nothing by its API",
                    hint="use its web pages or its own API, or allow it in its settings"
                    " (storage.delete.enabled of Distribution)",
                )
            if reply.status not in (200, 202, 204):
                raise exchange.failure(call, reply)

    exchange.retry(call.about, attempt)
