"""What `StepSpec` takes from Python, for type checkers: wider types than those it keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Required, TypedDict

from pydantic import SecretStr

from ..oci import Digest, ImageReference, Platform, Repository
from .fieldtypes import RegistrySettings, ResourceSettings
from .values import Cache, FromEnv, Output, SshSource, Ulimit

__all__ = ["StepArguments"]

_Names = str | Iterable[str]
_Pairs = str | Sequence[str] | Mapping[str, str]
_Numbers = str | Sequence[str] | Mapping[str, str] | Mapping[str, int] | Mapping[str, str | int]
_Caches = str | Cache | Sequence[str | Cache]


class _Amounts(TypedDict, total=False):
    memory: str | int
    cpu: str | float


class _Resources(TypedDict, total=False):
    limits: _Amounts
    requests: _Amounts


class _Registry(TypedDict, total=False):
    ca: str | Path
    certificate: str | Path
    key: str | Path
    insecure: bool


class StepArguments(TypedDict, total=False):
    """The keyword arguments of `StepSpec`; see `StepSpec` for what each means."""

    repo: Required[str | Repository]
    tags: str | int | Iterable[str | int]
    context: str | Path
    dockerfile: str | Path
    target: str | None
    build_args: _Numbers
    labels: _Numbers
    annotations: _Numbers
    platforms: str | Platform | Iterable[str | Platform]
    build_contexts: _Pairs
    secrets: (
        str
        | Sequence[str]
        | Mapping[str, str]
        | Mapping[str, SecretStr]
        | Mapping[str, Path]
        | Mapping[str, FromEnv]
        | Mapping[str, str | SecretStr | Path | FromEnv]
    )
    env_docker_secrets: _Pairs
    file_docker_secrets: _Pairs | Mapping[str, Path]
    ssh: (
        bool
        | str
        | Sequence[str]
        | Mapping[str, str]
        | Mapping[str, Path]
        | Mapping[str, SshSource]
    )
    network: str
    add_hosts: _Pairs
    shm_size: str | int | None
    ulimits: str | Sequence[str | Ulimit] | Mapping[str, int] | Mapping[str, str | int]
    cgroup_parent: str | None
    resources: _Resources | ResourceSettings
    run_as_user: int | None
    no_cache: bool
    no_cache_filter: _Names
    pull: bool
    caching: bool
    cache_from: _Caches
    cache_to: _Caches
    remote_cache_repo: str | ImageReference | None
    outputs: str | Path | Output | Mapping[str, str] | Sequence[str | Output | Mapping[str, str]]
    push: bool
    delivery: Literal["auto", "layout", "direct"]
    compression: Literal["gzip", "zstd", "none", "uncompressed"]
    compression_level: int | None
    reproducible: bool | Literal["strict"]
    source_date_epoch: int | str | datetime | None
    provenance: Literal["min", "max"] | bool | None
    sbom: bool | str
    squash: bool
    optimize: bool
    mirrors: _Pairs | Mapping[str, Sequence[str]]
    insecure: _Names
    registries: Mapping[str, _Registry] | Mapping[str, RegistrySettings]
    destinations: str | ImageReference | Repository | Sequence[str | ImageReference | Repository]
    on_partial: Literal["fail_fast", "continue"]
    on_existing_tag: Literal["overwrite", "fail", "skip_if_same", "skip"]
    expect_current: str | Digest | None
    media_types: Literal["keep", "auto", "docker", "oci"]
    mount: bool
    skip_preflight: bool
    anonymous_fallback: bool
    max_connections: int
    retries: int
    timeout: str | float | timedelta | None
    quiet: bool
    connector_ref: str | None
    registry_ref: str | None
    base_image_connector_refs: _Names
    env_variables: _Numbers
    hidden: Sequence[str | SecretStr]
    remarks: Sequence[str]
