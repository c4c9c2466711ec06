"""What a plan is made of: frozen values that everything below the planner trusts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from ..dockerfile.instructions import Dockerfile
from ..errors import BuildpushError
from ..http.trust import Certificates
from ..oci import Digest, ImageReference, Platform, Repository
from ..spec.values import Cache, Output, Ulimit

__all__ = [
    "Artifact",
    "BuildRequest",
    "BuildResult",
    "Cache",
    "Capabilities",
    "Delivery",
    "Destination",
    "Feature",
    "ImageSummary",
    "LayoutArtifact",
    "Output",
    "PushPolicy",
    "PushedArtifact",
    "Resources",
    "Ulimit",
]


# mypy's attrs plugin cannot solve a generic converter, so there is one per value type.
def _copy_text(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return dict(mapping)


def _copy_paths(mapping: Mapping[str, Path]) -> Mapping[str, Path]:
    return dict(mapping)


def _copy_mirrors(mapping: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    return dict(mapping)


def _copy_certificates(mapping: Mapping[str, Certificates]) -> Mapping[str, Certificates]:
    return dict(mapping)


def _copy_origins(mapping: Mapping[Digest, Repository]) -> Mapping[Digest, Repository]:
    return dict(mapping)


class Feature(Enum):
    """Something a backend may or may not do; the value completes “cannot …”."""

    RUN = "execute RUN instructions"
    MULTI_PLATFORM = "build for more than one platform"
    FOREIGN_PLATFORM = "build for another platform than its own"
    SECRETS = "mount build secrets"
    SSH = "forward an SSH agent"
    TARGET = "stop at a build stage"
    HEREDOCS = "read here-documents"
    RUN_MOUNTS = "honour RUN --mount"
    STAGE_MOUNTS = "mount a stage or an image in RUN"
    TMPFS_MOUNTS = "mount a tmpfs in RUN"
    RUN_NETWORK = "choose a network for RUN"
    NO_NETWORK = "keep RUN from every network"
    STEP_NETWORK = "choose a network for a single RUN"
    NAMED_NETWORK = "attach RUN to a network by name"
    INSECURE_RUN = "run RUN --security=insecure"
    ADD_HOSTS = "add host names to RUN"
    SHM_SIZE = "set the size of /dev/shm"
    ULIMITS = "set ulimits"
    CGROUP_PARENT = "choose a parent cgroup"
    RESOURCES = "limit CPU and memory"
    DEVICES = "give devices to RUN"
    COPY_LINK = "honour COPY --link"
    COPY_EXCLUDE = "honour COPY --exclude"
    COPY_PARENTS = "honour COPY --parents"
    ADD_CHECKSUM = "check what ADD fetches"
    ADD_UNPACK = "choose whether ADD unpacks"
    ADD_URL = "fetch what ADD names by URL"
    ADD_GIT = "clone what ADD names by git URL"
    CUSTOM_SYNTAX = "use another Dockerfile frontend"
    BUILD_CONTEXTS = "use named build contexts"
    LAYOUT_CONTEXTS = "use an OCI layout as a build context"
    REMOTE_CONTEXT = "fetch the build context from a URL"
    ANNOTATIONS = "set annotations"
    NO_CACHE_FILTER = "ignore the cache for single stages"
    LOCAL_CACHE = "keep layers for later builds"
    CACHE_IMPORT = "read a cache from a registry"
    REGISTRY_CACHE = "keep a cache in a registry"
    CACHE_BACKENDS = "keep a cache outside a registry"
    COMPRESSION = "choose the layers' compression"
    REPRODUCIBLE = "build reproducibly"
    STRICTLY_REPRODUCIBLE = "build the same digest on any machine"
    SOURCE_DATE_EPOCH = "clamp timestamps to SOURCE_DATE_EPOCH"
    PROVENANCE = "attach provenance"
    SBOM = "attach an SBOM"
    SQUASH = "squash layers"
    RUN_AS_USER = "run as a given user"
    MIRRORS = "pull through mirrors"
    INSECURE_REGISTRIES = "pull from insecure registries"
    CERTIFICATES = "pull from registries with certificates of their own"
    EXPORT_LAYOUT = "export an OCI layout"
    EXPORT_FILES = "export plain files"
    PUSH_DIRECTLY = "push to a registry by itself"


class Delivery(Enum):
    """How the image leaves the backend."""

    LAYOUT = "the backend exports an OCI layout and buildpush pushes it"
    DIRECT = "the backend pushes by itself, and is given the credentials to do so"


@frozen(kw_only=True)
class Capabilities:
    """What a backend says about itself, on this machine, now.

    *platforms* are those it can execute RUN for; *notes* explain features that are absent
    (“RUN: no user namespaces and not root”) by feature; *remarks* say what else is worth
    knowing of this installation. *slow_export* says when handing over a layout takes noticeably
    longer than pushing directly would.
    """

    backend: str
    version: str
    features: frozenset[Feature] = frozenset()
    platforms: tuple[Platform, ...] = ()
    needs_root: bool = False
    needs_daemon: bool = False
    slow_export: Literal["never", "with a base", "always"] = "never"
    notes: Mapping[Feature, str] = field(factory=dict[Feature, str])
    remarks: tuple[str, ...] = ()


@frozen(kw_only=True)
class Resources:
    """Limits or requests: *memory* in bytes, *cpus* in whole CPUs; None where unset."""

    memory: int | None = None
    cpus: float | None = None


@frozen(kw_only=True)
class BuildRequest:
    """All a backend is told. No credentials for pushing, no registry client, no display.

    *context* is an absolute folder; *dockerfile* its parsed Dockerfile, *dockerfile_path* where
    that was read. *secrets* and *ssh* map ids to files (or an agent's socket) only this run can
    read. *references* are the names the image will get; *insecure* the registry hosts that may
    be spoken to by plain HTTP or without checking certificates, *certificates* the authorities and
    client certificates of others; *mirrors* what to ask first, in order, by host. *retries* is how
    often to try again, *max_connections* how many at once per host. *anonymous_fallback*: a pull
    whose credential is refused is tried without one.
    *local_outputs* are absolute folders that are to get the image's plain files, written by the
    backend itself.
    """

    context: Path
    dockerfile: Dockerfile
    dockerfile_path: Path
    references: tuple[ImageReference, ...] = ()
    delivery: Delivery = Delivery.LAYOUT
    target: str | None = None
    platforms: tuple[Platform, ...] = ()
    build_args: Mapping[str, str] = field(factory=dict[str, str], converter=_copy_text, repr=False)
    labels: Mapping[str, str] = field(factory=dict[str, str], converter=_copy_text, repr=False)
    annotations: Mapping[str, str] = field(factory=dict[str, str], converter=_copy_text)
    secrets: Mapping[str, Path] = field(factory=dict[str, Path], converter=_copy_paths)
    ssh: Mapping[str, Path] = field(factory=dict[str, Path], converter=_copy_paths)
    build_contexts: Mapping[str, str] = field(factory=dict[str, str], converter=_copy_text)
    network: str = "default"
    add_hosts: Mapping[str, str] = field(factory=dict[str, str], converter=_copy_text)
    shm_size: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    cgroup_parent: str | None = None
    limits: Resources = field(factory=Resources)
    requests: Resources = field(factory=Resources)
    run_as_user: int | None = None
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    cache_from: tuple[Cache, ...] = ()
    cache_to: tuple[Cache, ...] = ()
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    compression_level: int | None = None
    reproducible: bool | Literal["strict"] = False
    source_date_epoch: int | None = None
    provenance: str | None = None
    sbom: bool | str = False
    optimize: bool = False
    squash: bool = False
    mirrors: Mapping[str, tuple[str, ...]] = field(
        factory=dict[str, tuple[str, ...]], converter=_copy_mirrors
    )
    insecure: frozenset[str] = frozenset()
    certificates: Mapping[str, Certificates] = field(
        factory=dict[str, Certificates], converter=_copy_certificates
    )
    retries: int = 4
    max_connections: int = 8
    anonymous_fallback: bool = True
    local_outputs: tuple[Path, ...] = ()


@frozen(kw_only=True)
class LayoutArtifact:
    """An image on disk, as an OCI layout; still to be pushed.

    *digest* names its manifest or index. A blob listed in *origins* may be absent from the
    layout: it is already in that repository, to be mounted or fetched from there.
    """

    path: Path
    digest: Digest
    origins: Mapping[Digest, Repository] = field(
        factory=dict[Digest, Repository], converter=_copy_origins
    )


@frozen(kw_only=True)
class PushedArtifact:
    """An image the backend has already put in the registry."""

    digest: Digest


Artifact = LayoutArtifact | PushedArtifact


@frozen(kw_only=True)
class PushPolicy:
    """How a push meets what it finds: existing tags, failing destinations, picky registries.

    *on_existing_tag*: ``overwrite`` moves a tag; ``fail`` refuses every tag that exists,
    ``skip_if_same`` those that name another image; ``skip`` leaves existing tags as they are.
    *expect_current*: the digest that tags must name before they are moved. *on_partial*: whether
    one destination's failure spares the others. *media_types*: ``keep`` pushes the bytes as they
    are; ``docker`` and ``oci`` convert; ``auto`` converts when the registry refuses them. *mount*:
    whether blobs are taken over from other repositories of a registry. *preflight*: whether every
    destination is asked beforehand.
    """

    on_existing_tag: Literal["overwrite", "fail", "skip_if_same", "skip"] = "overwrite"
    expect_current: Digest | None = None
    on_partial: Literal["fail_fast", "continue"] = "fail_fast"
    media_types: Literal["keep", "auto", "docker", "oci"] = "keep"
    mount: bool = True
    preflight: bool = True


@frozen(kw_only=True)
class Destination:
    """What became of one name the image was to get.

    *reference* is pinned to the digest that was read back there, where there is one. ``present``
    named it before anything was sent; ``skipped`` was left as it was, on request. *uploaded*,
    *mounted* and *existing* are the bytes of the blobs of its repository.
    """

    reference: ImageReference
    status: Literal["pushed", "present", "skipped", "failed"]
    error: BuildpushError | None = None
    uploaded: int = 0
    mounted: int = 0
    existing: int = 0


@frozen(kw_only=True)
class ImageSummary:
    """One platform's image: digests of manifest and config, *size* in bytes as stored."""

    digest: Digest
    config: Digest
    size: int
    layers: int


@frozen(kw_only=True)
class BuildResult:
    """What a finished step hands back.

    *digest* was read back from the registry for every tag (or computed from the layout when
    nothing was pushed); *references* are pinned: ``name:tag@digest``; *destinations* says of each
    what was done there; *outputs* are the files
    written beside the push; *log* is the file that has every line of the run; *seconds* is the
    whole run's wall time.
    """

    digest: Digest
    references: tuple[ImageReference, ...]
    images: Mapping[Platform, ImageSummary]
    backend: Capabilities
    seconds: float
    destinations: tuple[Destination, ...] = ()
    outputs: tuple[Path, ...] = ()
    log: Path | None = None
    warnings: tuple[str, ...] = ()
