"""What registries do differently within the specification, as one value."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Dialect:
    """The choices the distribution-spec leaves to a registry; the defaults are its own advice.

    *relative_locations*: Location headers without scheme and host. *referrers*: whether there is
    a referrers endpoint (Distribution 2.8 has none). *mounts*: whether cross-repository mounts
    work. *discovers_mounts*: a mount without ``from`` searches every repository. *single_post*:
    whether POST with a digest takes the body (Distribution 2.8 opens an upload instead).
    *min_chunk*: the OCI-Chunk-Min-Length to announce, in bytes, 0 for none.
    """

    relative_locations: bool = False
    referrers: bool = True
    mounts: bool = True
    discovers_mounts: bool = False
    single_post: bool = True
    min_chunk: int = 0
