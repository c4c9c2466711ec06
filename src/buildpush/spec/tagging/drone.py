"""The tags that Drone's plugins make of a git tag: auto-tag, and kaniko's expand-tag."""

from __future__ import annotations

import re
from typing import Final

from ...errors import SpecError

__all__ = ["drone_tags", "expand_tag", "is_tagged_by_default"]

# What coreos/go-semver takes: three numbers, whose leading zeros do not disturb it.
_THREE: Final = re.compile(
    r"(?P<major>\d+)\.(?P<minor>\d+)\.(?P<patch>\d+)"
    r"(?:-(?P<pre>[0-9A-Za-z.-]+))?(?:\+(?P<meta>[0-9A-Za-z.-]+))?",
    re.ASCII,
)
_NUMBER: Final = r"(?:0|[1-9]\d*)"
_PART: Final = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
# What golang.org/x/mod/semver takes: short forms too, but only whole versions have more parts.
_SHORT: Final = re.compile(
    rf"v(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER})(?:\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<pre>{_PART}(?:\.{_PART})*))?(?:\+(?P<meta>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?)?)?",
    re.ASCII,
)


def is_tagged_by_default(ref: str, default_branch: str) -> bool:
    """Whether auto-tag has a word for *ref*: a tag, or the default branch."""
    return ref.startswith("refs/tags/") or ref.removeprefix("refs/heads/") == default_branch


def drone_tags(ref: str, *, suffix: str = "") -> tuple[str, ...]:
    """The tags of auto-tag for a git *ref*: ``refs/tags/v1.2.3`` gives 1, 1.2 and 1.2.3.

    Numbers keep their leading zeros, a version below 1 has no tag of one number, and one with a
    pre-release or build part has itself alone. *suffix* follows each after a dash, and replaces
    ``latest``. Raises `SpecError` for a git tag that is not a version.
    """
    tags = _of_ref(ref)
    if not suffix:
        return tags
    return tuple(suffix if tag == "latest" else f"{tag}-{suffix}" for tag in tags)


def _of_ref(ref: str) -> tuple[str, ...]:
    if not ref.startswith("refs/tags/"):
        return ("latest",)
    name = ref.removeprefix("refs/tags/")
    found = _THREE.fullmatch(name.removeprefix("v"))
    if found is None:
        raise SpecError(
            f"auto-tag: the git tag {name[:128]!r} is not a version of three numbers",
            hint="name releases v1.2.3, or give the tags yourself",
        )
    major, minor, patch = found["major"], found["minor"], found["patch"]
    if found["pre"] or found["meta"]:
        rest = (f"-{found['pre']}" if found["pre"] else "") + (
            f"+{found['meta']}" if found["meta"] else ""
        )
        return (f"{int(major)}.{int(minor)}.{int(patch)}{rest}",)
    short = () if int(major) == 0 else (major,)
    return (*short, f"{major}.{minor}", f"{major}.{minor}.{patch}")


def expand_tag(tag: str) -> tuple[str, ...]:
    """The tags that kaniko's plugin makes of one: v1.2.3 gives 1, 1.2 and 1.2.3.

    A pre-release gives itself alone, without the v; a build part follows each, its underscores
    made dashes; what is no version is left as it is.
    """
    version = tag.replace("_", "-")
    found = _SHORT.fullmatch(version) or _SHORT.fullmatch(f"v{version}")
    if found is None:
        return (tag,)
    build = f"+{found['meta']}" if found["meta"] else ""
    major, minor, patch = found["major"], found["minor"] or "0", found["patch"] or "0"
    if found["pre"]:
        return (f"{major}.{minor}.{patch}-{found['pre']}{build}",)
    return tuple(
        f"{each}{build}" for each in (major, f"{major}.{minor}", f"{major}.{minor}.{patch}")
    )
