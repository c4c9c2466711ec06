"""Indexes as their own bytes: entries that keep every field, chosen from, joined, written. Pure.

An entry's ``platform`` may say more than `Platform` does (``os.version`` of Windows), and its
annotations are somebody's: so that entries are JSON here, and are written as they were read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from attrs import evolve, field, frozen

from ...errors import SpecError
from ...oci import Digest, Platform
from ...oci.wire import Descriptor, Index, MediaType, parse_manifest

__all__ = ["Entry", "describe", "entries_of", "joined", "narrowed", "without_strays"]

_REFERS: Final = "vnd.docker.reference.digest"


@frozen(kw_only=True)
class Entry:
    """One manifest that an index lists: as a value, and as it is written there.

    *origin* says for messages where it was found.
    """

    descriptor: Descriptor
    raw: Mapping[str, Any] = field(repr=False, hash=False)
    origin: str = ""

    @property
    def about(self) -> Digest | None:
        """The image that this attests to; None for what is no attestation."""
        said = self.descriptor.annotations.get(_REFERS, "")
        return Digest(said) if said else None

    @property
    def is_image(self) -> bool:
        """Whether this is somebody's platform, not an attestation (``unknown/unknown``)."""
        platform = self.descriptor.platform
        return self.about is None and not (platform and platform.os == "unknown")

    @property
    def runs_on(self) -> tuple[str, ...]:
        """Its platform with all that tells it from others: Windows has versions of one."""
        said = cast("Mapping[str, Any]", self.raw.get("platform") or {})
        return (
            str(self.descriptor.platform),
            str(said.get("os.version", "")),
            str(said.get("os.features") or ""),
        )


def entries_of(data: bytes, origin: str) -> tuple[Entry, ...]:
    """The entries of the index *data*; raises `RegistryError` when it is broken."""
    document = parse_manifest(data)
    assert isinstance(document, Index)
    tree = cast("Mapping[str, Any]", json.loads(data))
    raws = cast("Sequence[Mapping[str, Any]]", tree.get("manifests") or ())
    return tuple(
        Entry(descriptor=descriptor, raw=raw, origin=origin)
        for descriptor, raw in zip(document.manifests, raws, strict=True)
    )


def describe(
    descriptor: Descriptor, platform: Platform | None, config: bytes, origin: str
) -> Entry:
    """An entry of our own for an image; *config* says what `Platform` cannot."""
    entry = evolve(descriptor, platform=platform)
    raw = entry.to_json()
    if platform is not None:
        said = cast("Mapping[str, Any]", json.loads(config))
        extra = {key: said[key] for key in ("os.version", "os.features") if said.get(key)}
        raw["platform"] = {**cast("Mapping[str, Any]", raw["platform"]), **extra}
    return Entry(descriptor=entry, raw=raw, origin=origin)


def without_strays(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """*entries* without attestations to images that are not among them."""
    kept = tuple(entries)
    digests = {entry.descriptor.digest for entry in kept}
    return tuple(entry for entry in kept if entry.about is None or entry.about in digests)


def narrowed(data: bytes, kept: Sequence[Entry]) -> bytes:
    """The index *data* with the entries *kept* only; all else in it stays."""
    tree = cast("dict[str, Any]", json.loads(data))
    tree["manifests"] = [entry.raw for entry in kept]
    return _encoded(tree)


def joined(entries: Sequence[Entry], annotations: Mapping[str, str]) -> tuple[bytes, str]:
    """A new index of *entries*, and its media type: docker's where nothing in it is OCI's.

    Raises `SpecError` naming both where two are for one platform.
    """
    seen: dict[tuple[str, ...], Entry] = {}
    unique: dict[tuple[Digest, Digest | None], Entry] = {}
    for entry in entries:
        key = entry.descriptor.digest, entry.about
        if key in unique:
            continue
        unique[key] = entry
        if not entry.is_image or entry.descriptor.platform is None:
            continue
        first = seen.setdefault(entry.runs_on, entry)
        if first is not entry:
            raise SpecError(
                f"two images are for {entry.descriptor.platform}: {_called(first)} and"
                f" {_called(entry)}",
                hint="name each platform's image once",
            )
    types = {entry.descriptor.media_type for entry in unique.values()}
    old = types == {MediaType.DOCKER_MANIFEST} and not annotations
    media_type = MediaType.DOCKER_LIST if old else MediaType.OCI_INDEX
    tree: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [entry.raw for entry in unique.values()],
    }
    if annotations:
        tree["annotations"] = dict(sorted(annotations.items()))
    return _encoded(tree), media_type


def _called(entry: Entry) -> str:
    digest = str(entry.descriptor.digest)
    return entry.origin if digest in entry.origin else f"{digest} of {entry.origin}"


def _encoded(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
