"""Which of the images of a layout or an archive is meant: by tag, by name, by digest. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from ...errors import InvalidReferenceError, SpecError
from ...oci import Digest, ImageReference
from ...oci.saved import SavedImage, names_of
from ...oci.wire import Descriptor

__all__ = ["choose", "listed"]

_SHOWN: Final = 10
T = TypeVar("T")


def listed(entries: Sequence[Descriptor]) -> tuple[SavedImage, ...]:
    """The images of a layout's index, each once, with all its names."""
    names: dict[Digest, tuple[str, ...]] = {}
    for entry in entries:
        names[entry.digest] = (*names.get(entry.digest, ()), *names_of(entry))
    return tuple(SavedImage(names=said, digest=digest) for digest, said in names.items())


def choose(images: Sequence[SavedImage], wanted: str, place: str) -> SavedImage:
    """The one of *images* that *wanted* names, or the only one when it is empty.

    *place* is how messages call where they are. Raises `SpecError` that lists what there is.
    """
    found = [image for image in images if not wanted or _is_called(image, wanted)]
    if len(found) == 1:
        return found[0]
    there = _shown(images)
    if not images:
        raise SpecError(f"{place} holds no image")
    if not found:
        raise SpecError(f"{place} holds no image {wanted!r}; it has {there}")
    if wanted:
        raise SpecError(
            f"{place} holds {len(found)} images that {wanted!r} may mean: {_shown(found)}",
            hint="give the whole name, or the digest",
        )
    raise SpecError(
        f"{place} holds {len(found)} images: {there}",
        hint="say which: oci:PATH:TAG or oci:PATH@DIGEST; or image=, --image with a tag, a name"
        " or a digest",
    )


def _is_called(image: SavedImage, wanted: str) -> bool:
    if image.digest is not None and wanted.removeprefix("@") == str(image.digest):
        return True
    if wanted in image.names:
        return True
    named = [reference for name in image.names if (reference := _reference(name))]
    asked = _reference(wanted)
    return (asked is not None and asked in named) or any(
        reference.tag == wanted for reference in named
    )


def _reference(name: str) -> ImageReference | None:
    try:
        return ImageReference.parse(name)
    except InvalidReferenceError:
        return None


def _shown(images: Sequence[SavedImage]) -> str:
    texts = [
        " or ".join(image.names) or str(image.digest or "one without a name") for image in images
    ]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
