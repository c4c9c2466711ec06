"""What registries do differently, as one value."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Literal

from attrs import frozen

Locations = Literal["absolute", "relative", "http", "other-host", "other-port"]
Downloads = Literal["here", "other-host", "other-port"]
Ranges = Literal["strict", "ghcr", "ecr", "zot", "none"]
MountAnswer = Literal[201, 202, 400, 401, 403, 404, 405]
Rejection = Literal["docker", "oci", "index", "zstd", "odd-index", "subject-first"]
Immutable = Literal["", "tag", "repository", "rule"]


@frozen(kw_only=True)
class Dialect:
    """The choices the distribution-spec leaves to a registry, and the liberties known ones take.

    The defaults are the specification's own advice.

    **Addresses.** *locations*: the form of Location headers. ``http`` names plain HTTP whatever
    is spoken; ``other-host`` (``localhost``) and ``other-port`` send uploads elsewhere, where
    the query is the permission; the other host refuses an Authorization header. *downloads*:
    where a GET of a blob is redirected to, in the same two ways.

    **Uploads.** *ranges*: how chunks are taken. ``strict`` checks Content-Range and reports Range
    truly; ``ghcr`` answers 416 to a chunk with Content-Range of more than *chunk_limit* bytes;
    ``ecr`` reports the first chunk's end for ever; ``zot`` reports the size of the last chunk as
    if it were the whole; ``none`` ignores Content-Range, appends, and reports nothing.
    *min_chunk*: the OCI-Chunk-Min-Length to announce, 0 for none. *keeps_partial*: whether what
    arrived of a request that broke off counts. *single_post*: whether POST with a digest takes
    the body (Distribution 2.8 opens an upload instead). *body_limit*: 413 as a proxy says it, in
    HTML, for bodies over so many bytes. *time_limit*: connections are closed in the middle of a
    body after so many seconds. *cancels*: whether DELETE of an upload works, else 405.

    **Mounts.** *mount_answer*: 201 mounts what is there, 202 never mounts and opens an upload,
    the others refuse. *discovers_mounts*: a mount without ``from`` searches every repository.

    **Manifests.** *rejects*: ``docker`` or ``oci`` media types, any ``index``, ``zstd`` layers, an
    index of something else than manifests (``odd-index``, as build caches are), a manifest whose
    subject is not there yet (``subject-first``); *rejects_with* is the status for media types.
    *accepts_missing*: take manifests whose blobs or children are not there. *tag_parameters*: a
    manifest put by digest gets the tags in its query, as the specification's next version will
    have it. *immutable*: a tag
    that exists is never put again; refused with 400 in words about the ``tag`` or the
    ``repository``, or with 412 about a ``rule``. *deletes*: whether DELETE of tags, manifests and
    blobs works, else 405. *referrers*: whether there is a referrers endpoint (Distribution 2.8
    has none).

    **Logins.** *after_bad_bearer*: ``basic`` challenges for Basic when a token was presented and
    is no good, and takes Basic as well, as Harbor does. *bad_credentials*: what a wrong password
    or token gets, also where anonymous callers may pull.
    """

    locations: Locations = "absolute"
    downloads: Downloads = "here"
    ranges: Ranges = "strict"
    chunk_limit: int = 4 << 20
    min_chunk: int = 0
    keeps_partial: bool = True
    single_post: bool = True
    body_limit: int | None = None
    time_limit: float | None = None
    cancels: bool = True
    mount_answer: MountAnswer = 201
    discovers_mounts: bool = False
    rejects: AbstractSet[Rejection] = frozenset()
    rejects_with: Literal[400, 415] = 415
    accepts_missing: bool = False
    tag_parameters: bool = False
    immutable: Immutable = ""
    deletes: bool = True
    referrers: bool = True
    after_bad_bearer: Literal["bearer", "basic"] = "bearer"
    bad_credentials: Literal[401, 403] = 401

    @property
    def needs_other_port(self) -> bool:
        """Whether a second socket is needed."""
        return "other-port" in (self.locations, self.downloads)


@frozen(kw_only=True)
class Places:
    """The addresses of one running registry; *other_host* is another name for its own socket."""

    here: str
    other_host: str
    other_port: str
    dialect: Dialect

    def of(self, path: str) -> str:
        """The Location of something that stays in the registry."""
        match self.dialect.locations:
            case "relative":
                return path
            case "http":
                return f"http://{self.here.partition('://')[2]}{path}"
            case _:
                return f"{self.here}{path}"

    def of_upload(self, path: str) -> str:
        """The Location of an upload."""
        match self.dialect.locations:
            case "other-host" | "other-port" as where:
                return f"{self._elsewhere(where)}{path}"
            case _:
                return self.of(path)

    def of_download(self, path: str) -> str:
        """Where a blob's bytes are, "" for here."""
        match self.dialect.downloads:
            case "here":
                return ""
            case where:
                return f"{self._elsewhere(where)}{path}"

    @property
    def signed_uploads(self) -> bool:
        """Whether the query of an upload's address is all the permission it needs."""
        return self.dialect.locations in ("other-host", "other-port")

    def _elsewhere(self, where: Literal["other-host", "other-port"]) -> str:
        return self.other_host if where == "other-host" else self.other_port
