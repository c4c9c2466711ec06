"""Fetch one file by URL: what ``ADD https://…`` and remote contexts need. No credentials are sent."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from attrs import frozen

from ..errors import (
    BuildpushError,
    DigestMismatchError,
    NotFoundError,
    RegistryError,
    RegistryUnavailableError,
)
from ..http.answers import evidence_of, moment_of, number_of, safe_url
from ..http.trust import Trust
from ..oci import Digest
from ..runtime import Run
from ..runtime.retry import RetryPolicy, retrying

if TYPE_CHECKING:
    from ..http.transport import Reply, Transport

__all__ = ["Downloaded", "download"]

LIMIT: Final = 8 << 30
"""Bytes a download may have when the caller sets no other limit."""


@frozen(kw_only=True)
class Downloaded:
    """A fetched file: its sha256 *digest*, *size* in bytes, and the server's word on its age.

    *modified* is Last-Modified in seconds since 1970, None when unsaid; *etag* what to send next
    time to learn whether it changed.
    """

    digest: Digest
    size: int
    modified: int | None = None
    etag: str = ""


def download(
    url: str,
    destination: Path,
    *,
    run: Run,
    insecure: frozenset[str] = frozenset(),
    etag: str = "",
    checksum: Digest | None = None,
    limit: int = LIMIT,
    policy: RetryPolicy | None = None,
) -> Downloaded | None:
    """Write what *url* (http or https) holds to *destination*; None when it still has *etag*.

    Redirects are followed, never from https to plain http. Raises `DigestMismatchError` when
    the bytes do not match *checksum* (and removes them), `NotFoundError`, `RegistryError` when
    there are more than *limit* bytes or the server refuses, and `RegistryUnavailableError` when
    it keeps failing.
    """
    from ..http.transport import Transport

    parts = urlsplit(url)
    # Whoever writes http:// in a Dockerfile has chosen plain HTTP for that host.
    chosen = [parts.netloc.rpartition("@")[2]] if parts.scheme == "http" else []
    transport = Transport(run, Trust(insecure.union(chosen)))
    try:
        return retrying(
            f"downloading {safe_url(url)}",
            lambda: _once(transport, url, destination, run, etag, checksum, limit),
            run=run,
            policy=policy,
        )
    except BaseException:
        destination.unlink(missing_ok=True)
        raise
    finally:
        transport.close()


def _once(
    transport: Transport,
    url: str,
    destination: Path,
    run: Run,
    etag: str,
    checksum: Digest | None,
    limit: int,
) -> Downloaded | None:
    headers = {"If-None-Match": etag} if etag else {}
    with transport.send("GET", url, headers=headers) as reply:
        if reply.status == 304 and etag:
            return None
        if reply.status != 200:
            raise _failure(reply, url, run)
        found = _save(reply, url, destination, limit)
    if checksum is not None and found.digest != checksum:
        actual = _digest_of(destination, checksum.algorithm)
        if actual != checksum:
            raise DigestMismatchError(f"{safe_url(url)} is {actual}, not {checksum}")
    return found


def _save(reply: Reply, url: str, destination: Path, limit: int) -> Downloaded:
    hasher = hashlib.sha256()
    size = 0
    with destination.open("wb") as stream:
        for chunk in reply.chunks():
            size += len(chunk)
            if size > limit:
                raise RegistryError(f"{safe_url(url)} holds more than {limit} bytes")
            hasher.update(chunk)
            stream.write(chunk)
    length = number_of(reply.header("content-length"))
    if length is not None and length != size:
        raise RegistryUnavailableError(f"{safe_url(url)} broke off after {size} bytes")
    modified = moment_of(reply.header("last-modified"))
    return Downloaded(
        digest=Digest(f"sha256:{hasher.hexdigest()}"),
        size=size,
        modified=int(modified.timestamp()) if modified is not None else None,
        etag=reply.header("etag"),
    )


def _digest_of(path: Path, algorithm: str) -> Digest:
    with path.open("rb") as stream:
        return Digest(f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}")


def _failure(reply: Reply, url: str, run: Run) -> BuildpushError:
    evidence = (evidence_of(reply, run.redact),)
    message = f"{safe_url(url)} answered with HTTP {reply.status}"
    if reply.status in (404, 410):
        return NotFoundError(message, evidence=evidence, hint="check the address")
    if reply.status in (408, 429) or reply.status >= 500:
        return RegistryUnavailableError(message, evidence=evidence)
    return RegistryError(message, evidence=evidence)
