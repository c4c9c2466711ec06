"""Which kaniko an image holds, and what of a Dockerfile that kaniko honours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

from attrs import frozen

from ....errors import SpecError
from ....plan import Feature

__all__ = [
    "Executor",
    "Flavor",
    "Version",
    "features_of",
    "guess",
    "newer",
    "parse_version",
    "saying",
]

Version = tuple[int, int, int]


class Flavor(Enum):
    """Whose kaniko it is: Google's, archived at 1.24, or one of the forks that went on."""

    GOOGLE = "google"
    OSSCONTAINERTOOLS = "osscontainertools"
    CHAINGUARD = "chainguard"


@frozen(kw_only=True)
class Executor:
    """One executor: the same number means different things to different flavors."""

    flavor: Flavor
    version: Version

    @property
    def number(self) -> str:
        """Its version as it is written: ``1.28.3``."""
        return ".".join(map(str, self.version))

    def __str__(self) -> str:
        return f"kaniko {self.number} ({self.flavor.value})"

    def has(self, needed: Version | None) -> bool:
        """Whether this is the fork that took everything up, in version *needed* or later."""
        ours = self.flavor is Flavor.OSSCONTAINERTOOLS
        return ours and needed is not None and self.version >= needed


_VERSION: Final = re.compile(r"(?<![\d.])v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")
_LAST_OF_GOOGLE: Final[Version] = (1, 24, 0)
_TELLING: Final = (
    ("--materialize", Flavor.OSSCONTAINERTOOLS),
    ("--annotation", Flavor.CHAINGUARD),
    ("--snapshot-mode", Flavor.GOOGLE),
)
"""Flags that only one flavor has, or only one that lacks those before it."""
_NAMES: Final = (
    (Flavor.OSSCONTAINERTOOLS, ("osscontainertools", "mzihlmann")),
    (Flavor.CHAINGUARD, ("chainguard", "cgr.dev")),
    (Flavor.GOOGLE, ("gcr.io/kaniko-project/", "googlecontainertools")),
)


def parse_version(text: str) -> Version:
    """The version in *text*: ``v1.28.3-debug``, ``Kaniko version :  v1.24.0``, ``1.25``.

    Raises `SpecError` where there is none.
    """
    found = _VERSION.search(text)
    if found is None:
        raise SpecError(
            f"{text[:80]!r} is no version of kaniko", hint="write it like this: 1.28.3"
        )
    return int(found[1]), int(found[2]), int(found[3] or 0)


def saying(version: str, usage: str) -> str:
    """What an executor says of itself, in a line: its *version*, and telling flags of its *usage*.

    The forks went on from one number, and print it alike; but not all have the same flags.
    """
    flags = (flag for flag, _ in _TELLING if flag in usage.split())
    return " ".join((version.rpartition(":")[2].strip(), *flags))


def guess(
    image: str, said: str = "", *, flavor: Flavor | None = None, version: str = ""
) -> Executor | None:
    """Which executor *image* holds, by its name, its tag, and what it *said* (see `saying`).

    *flavor* and *version* are what the caller knows, and win. None where all of that does not
    tell: a name of one's own is nobody's, a digest no version, and several forks went on from
    1.24. Raises `SpecError` for a *version* that is none.
    """
    name, _, _ = image.partition("@")
    repository, separator, tag = name.rpartition(":")
    if not separator or "/" in tag:
        repository, tag = name, ""
    lowered = f"{repository.lower()}/"
    if flavor is None:
        flavor = next((f for f, words in _NAMES if any(word in lowered for word in words)), None)
    found = _VERSION.search(said) or _VERSION.search(tag)
    number = parse_version(version) if version else parse_version(found[0]) if found else None
    if flavor is Flavor.GOOGLE and number is None and tag in ("latest", "debug", "slim"):
        number = _LAST_OF_GOOGLE
    if flavor is None and number is not None and number < _LAST_OF_GOOGLE:
        flavor = Flavor.GOOGLE  # there was no other
    if flavor is None and said:
        flags = said.split()
        flavor = next((f for flag, f in _TELLING if flag in flags), None)
    if flavor is None or number is None:
        return None
    return Executor(flavor=flavor, version=number)


_ALWAYS: Final = frozenset(
    {
        Feature.RUN,
        Feature.TARGET,
        Feature.FOREIGN_PLATFORM,
        Feature.ADD_URL,
        Feature.COPY_LINK,
        Feature.REGISTRY_CACHE,
        Feature.CACHE_IMPORT,
        Feature.REPRODUCIBLE,
        Feature.SQUASH,
        Feature.MIRRORS,
        Feature.INSECURE_REGISTRIES,
        Feature.CERTIFICATES,
    }
)
_SINCE: Final[Mapping[Feature, Version]] = {
    Feature.HEREDOCS: (1, 25, 4),
    Feature.RUN_MOUNTS: (1, 25, 6),
    Feature.SECRETS: (1, 26, 3),
    Feature.ANNOTATIONS: (1, 25, 3),
    Feature.COMPRESSION: (1, 28, 1),
}
"""What Google's never got, and since when osscontainertools' has it."""
_ANNOTATIONS_OF_CHAINGUARD: Final[Version] = (1, 25, 16)

_IGNORED: Final = "it ignores the flag"
_NEVER: Final[Mapping[Feature, str]] = {
    Feature.SSH: "it has no --ssh, and ignores what would mount it",
    Feature.STAGE_MOUNTS: "it mounts nothing of other stages or images",
    Feature.TMPFS_MOUNTS: "it ignores such a mount, and what is in it lands in the image",
    Feature.RUN_NETWORK: "it has no networks of its own",
    Feature.NO_NETWORK: "RUN shares the network that base images are fetched by",
    Feature.STEP_NETWORK: "it ignores RUN --network",
    Feature.NAMED_NETWORK: "it has no networks of its own",
    Feature.INSECURE_RUN: "it ignores RUN --security",
    Feature.DEVICES: "it ignores RUN --device",
    Feature.COPY_EXCLUDE: _IGNORED,
    Feature.COPY_PARENTS: _IGNORED,
    Feature.ADD_CHECKSUM: "it ignores the flag, and takes whatever it is sent",
    Feature.ADD_UNPACK: _IGNORED,
    Feature.ADD_GIT: "it fetches the URL as a file",
    Feature.CUSTOM_SYNTAX: "it reads Dockerfiles itself",
    Feature.BUILD_CONTEXTS: "it has no --build-context",
    Feature.LAYOUT_CONTEXTS: "it has no --build-context",
    Feature.NO_CACHE_FILTER: "it has no --no-cache-filter",
    Feature.CACHE_BACKENDS: "its cache is a repository",
    Feature.STRICTLY_REPRODUCIBLE: "its compression differs between versions",
    Feature.SOURCE_DATE_EPOCH: "its only timestamp is 0",
    Feature.PROVENANCE: "it makes no attestations",
    Feature.SBOM: "it makes no attestations",
    Feature.EXPORT_FILES: "it exports images",
}
_LACKS: Final[Mapping[Feature, str]] = {
    Feature.HEREDOCS: "it runs nothing of them, or fails",
    Feature.RUN_MOUNTS: "it ignores RUN --mount",
    Feature.SECRETS: "it has no --secret",
    Feature.ANNOTATIONS: "it has no --annotation",
    Feature.COMPRESSION: "it takes the base image's format, and Docker's knows only gzip",
}


def features_of(executor: Executor) -> tuple[frozenset[Feature], Mapping[Feature, str]]:
    """What *executor* honours, whoever runs it, and what is said of what it does not."""
    features = _ALWAYS | {f for f in _SINCE if _has(f, executor)}
    notes = dict(_NEVER)
    for feature, lack in _LACKS.items():
        if feature not in features:
            notes[feature] = f"{executor} cannot: {lack}; {newer(_SINCE[feature])} can"
    return features, notes


def newer(version: Version) -> str:
    """How to name the first version of the fork that can."""
    return f"osscontainertools' {'.'.join(map(str, version))}"


def _has(feature: Feature, executor: Executor) -> bool:
    if feature is Feature.ANNOTATIONS and executor.flavor is Flavor.CHAINGUARD:
        return executor.version >= _ANNOTATIONS_OF_CHAINGUARD
    return executor.has(_SINCE[feature])
