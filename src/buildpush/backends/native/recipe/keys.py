"""The cache key of an operation: what goes in, never when or where on this machine. Pure.

Two operations with one key would make the same layer, as far as a builder can tell: the same
parent layers, the same definition with its variables expanded, the same copied bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from attrs import asdict, field, frozen

from ....oci import Digest, Platform
from ....oci.wire import Compression
from .mounts import MountSpec
from .operations import Execute, InlineFile, MakeDirectory, Transfer

__all__ = ["LayerForm", "RunLimits", "chain", "directory_key", "execute_key", "transfer_key"]

_SCHEMA = 2
"""Raise it when a change of the code would make other layers from the same input."""


@frozen(kw_only=True)
class LayerForm:
    """How layers are written: it decides their bytes, so it is in every key.

    *epoch* is the latest modification time allowed, in seconds.
    """

    compression: Compression = "gzip"
    level: int | None = None
    strict: bool = False
    epoch: int | None = None


@frozen(kw_only=True)
class RunLimits:
    """What the request asks of every RUN and a program could notice."""

    network: str = "default"
    add_hosts: Mapping[str, str] = field(factory=dict[str, str])
    shm_size: int | None = None
    ulimits: tuple[tuple[str, int, int], ...] = ()


def _key(kind: str, form: LayerForm, **parts: object) -> str:
    text = json.dumps(
        [_SCHEMA, kind, asdict(form), parts],
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def chain(diff_ids: Iterable[Digest]) -> str:
    """One digest for a stack of layers."""
    hasher = hashlib.sha256()
    for diff_id in diff_ids:
        hasher.update(f"{diff_id}\n".encode())
    return hasher.hexdigest()


def directory_key(operation: MakeDirectory, *, parent: str, form: LayerForm) -> str:
    """The key of making a working directory upon *parent* (a `chain`)."""
    return _key("directory", form, parent=parent, path=operation.path, user=operation.user)


def transfer_key(operation: Transfer, *, parent: str, content: str, form: LayerForm) -> str:
    """The key of a COPY or ADD of what *content* stands for, a digest of the copied sources."""
    return _key(
        "transfer",
        form,
        parent=parent,
        content=content,
        is_add=operation.is_add,
        inline=_inline(operation.inline),
        destination=operation.destination,
        workdir=operation.workdir,
        chown=operation.chown,
        chmod=operation.chmod,
        link=operation.link,
        parents=operation.parents,
        unpack=operation.unpack,
        keep_git_dir=operation.keep_git_dir,
    )


def _inline(files: Sequence[InlineFile]) -> list[list[str]]:
    return [[file.name, hashlib.sha256(file.data).hexdigest()] for file in files]


def execute_key(
    operation: Execute,
    *,
    parent: str,
    mounts: Sequence[str],
    limits: RunLimits,
    platform: Platform,
    form: LayerForm,
) -> str:
    """The key of a RUN; *mounts* are the `chain` or digest of each mount's content, or empty.

    Secrets count by id alone and proxies not at all, as in BuildKit.
    """
    return _key(
        "execute",
        form,
        parent=parent,
        platform=str(platform),
        argv=list(operation.argv),
        env=[[key, value] for key, value in operation.env.items()],
        workdir=operation.workdir,
        user=operation.user,
        network=operation.network,
        security=operation.security,
        script=_inline([operation.script] if operation.script else []),
        mounts=[
            [_mount(spec), content]
            for (spec, _), content in zip(operation.mounts, mounts, strict=True)
        ],
        limits=asdict(limits),
    )


def _mount(spec: MountSpec) -> dict[str, object]:
    """A mount without the name of its origin, for which its content stands."""
    return {key: value for key, value in asdict(spec).items() if key != "origin"}
