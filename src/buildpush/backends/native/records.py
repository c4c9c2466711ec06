"""What the store remembers of a finished step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from ...oci import Digest
from ...oci.wire import Descriptor

__all__ = ["StepRecord"]


@frozen(kw_only=True)
class StepRecord:
    """What one build step made: its layer (None when nothing changed) and when, as RFC 3339."""

    layer: Descriptor | None
    diff_id: Digest | None
    created: str

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {
            "layer": self.layer.to_json() if self.layer else None,
            "diff_id": str(self.diff_id) if self.diff_id else None,
            "created": self.created,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepRecord:
        """Read what `to_json` wrote; raises `KeyError`, `TypeError` or `ValueError`."""
        layer = data["layer"]
        return cls(
            layer=_descriptor(layer) if layer else None,
            diff_id=Digest(data["diff_id"]) if data["diff_id"] else None,
            created=str(data["created"]),
        )


def _descriptor(data: Mapping[str, Any]) -> Descriptor:
    return Descriptor(
        media_type=str(data["mediaType"]), digest=Digest(data["digest"]), size=int(data["size"])
    )
