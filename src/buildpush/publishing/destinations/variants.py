"""Which media types a registry gets: those the image has, those asked for, those it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from attrs import define, field

from ...errors import HttpEvidence, RegistryError, RegistryUnavailableError, SpecError
from ...oci import Digest
from ...plan import PushPolicy
from ...registry.images import Image
from .conversion import Family, convert, family_of

__all__ = ["Variants", "named"]


@define(eq=False)
class Variants:
    """An image as it is, and converted where *policy* says so. Thread-safe.

    With ``auto`` each registry gets the image as it is until it refuses that, then, once and with
    a warning, the other family.
    """

    image: Image
    policy: PushPolicy
    warn: Callable[[str], None]
    _chosen: dict[str, Image] = field(factory=dict[str, Image], init=False)
    _other: Image | None = field(default=None, init=False)
    _tried: bool = field(default=False, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    @classmethod
    def of(cls, image: Image, policy: PushPolicy, warn: Callable[[str], None]) -> Variants:
        """Convert at once what is to be converted; raises `SpecError` where that cannot be."""
        match policy.media_types:
            case "docker" | "oci" as family:
                return cls(convert(image, family, warn), policy, warn)
            case "keep" | "auto":
                return cls(image, policy, warn)

    def at(self, host: str) -> Image:
        """What *host* is to get."""
        with self._lock:
            return self._chosen.get(host, self.image)

    def digests(self, host: str) -> Mapping[Digest, Image]:
        """The images that are as good as each other on *host*."""
        found = {self.at(host).digest: self.at(host)}
        other = self._converted()
        if other is not None:
            found |= {self.image.digest: self.image, other.digest: other}
        return found

    def after(self, error: RegistryError, host: str) -> Image | None:
        """What to try when *host* has refused a manifest with *error*; None when nothing is left."""
        if not _is_about_types(error):
            return None
        if self.policy.media_types == "keep":
            advice = "media_types: auto converts what a registry does not take"
            error.hint = "; ".join(filter(None, (error.hint, advice)))
        return None if self.at(host) is not self.image else self._converted()

    def took(self, host: str, image: Image) -> None:
        """*host* has taken the converted *image*."""
        with self._lock:
            known = self._chosen.get(host)
            self._chosen[host] = image
        if known is not image:
            self.warn(
                f"{host} does not take the image's {family_of(self.image)} media types: it has"
                f" {image.digest} there, with those of {family_of(image)}, and not"
                f" {self.image.digest}"
            )

    def _converted(self) -> Image | None:
        if self.policy.media_types != "auto":
            return None
        with self._lock:
            if not self._tried:
                self._tried = True
                other: Family = "oci" if family_of(self.image) == "docker" else "docker"
                try:
                    self._other = convert(self.image, other, self.warn)
                except SpecError:
                    self._other = None  # then there is only what it is
            return self._other


def named(image: Image, digest: Digest) -> Image:
    """*image*, or the one it became by conversion, that has *digest*.

    Raises `SpecError` when it has never had it.
    """
    if image.digest == digest:
        return image
    families: tuple[Family, ...] = ("oci", "docker")
    for family in families:
        with suppress(SpecError):
            other = convert(image, family, lambda _: None)
            if other.digest == digest:
                return other
    raise SpecError(f"{image.digest} was never {digest}")


def _is_about_types(error: RegistryError) -> bool:
    if isinstance(error, RegistryUnavailableError):
        return False
    proofs = [proof for proof in error.evidence if isinstance(proof, HttpEvidence)]
    return any(proof.status == 415 or "MANIFEST_INVALID" in proof.codes for proof in proofs)
