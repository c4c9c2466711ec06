"""Rules that make tags of what git says, each with docker's metadata-action's name and defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Final, Protocol, runtime_checkable

from attrs import field, frozen

from ...errors import SpecError
from .facts import GitFacts
from .templates import fill, format_date

__all__ = [
    "Branch",
    "Calver",
    "Edge",
    "Made",
    "Match",
    "Pep440",
    "PullRequest",
    "Raw",
    "Rule",
    "Schedule",
    "Semver",
    "Sha",
    "Tag",
]

_NUMBER: Final = r"(?:0|[1-9]\d*)"
_PART: Final = rf"(?:{_NUMBER}|\d*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER: Final = re.compile(
    rf"v?(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<pre>{_PART}(?:\.{_PART})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_RAW: Final = re.compile(r"\{\{\s*raw\s*\}\}")
_VERSION: Final = "{{version}}"


@frozen
class Made:
    """A tag that a rule makes, and whether the image it is for may also be ``latest``."""

    value: str
    latest: bool = False


@runtime_checkable
class Rule(Protocol):
    """Makes a tag, or none. Higher *priority* stands first; None leaves it to the flavor.

    *enable* is text, so that it may be ``{{is_default_branch}}``.
    """

    @property
    def priority(self) -> int:
        """Where the tag stands among those of other rules."""
        ...

    @property
    def prefix(self) -> str | None:
        """What stands before the tag."""
        ...

    @property
    def suffix(self) -> str | None:
        """What stands after the tag."""
        ...

    @property
    def enable(self) -> str:
        """Whether the rule counts: true or false."""
        ...

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The tag for *facts*; None when it has none for them. *now* has a timezone."""
        ...


@frozen(kw_only=True)
class _Common:
    enable: str = "true"
    priority: int = 0
    prefix: str | None = None
    suffix: str | None = None


@frozen(kw_only=True)
class _Versioned(_Common):
    """What both kinds of versions share: of the git tag, or of *value*."""

    pattern: str = _VERSION
    value: str = ""
    priority: int = 900
    what: ClassVar[str]

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The pattern, filled in; the whole version for what is no plain release."""
        raw = fill(self.value, facts, now) or facts.tag
        if not raw:
            return None
        parts = self._parts(raw)
        if parts is None:
            if self.value:
                raise SpecError(f"{self.what}: value is not a version: {raw[:128]!r}")
            return None
        final = parts.pop("final") == "true"
        pattern = self.pattern if final or _RAW.fullmatch(self.pattern) else _VERSION
        return Made(fill(pattern, facts, now, more={"raw": raw, **parts}), latest=final)

    def _parts(self, raw: str) -> dict[str, str] | None:
        raise NotImplementedError


@frozen(kw_only=True)
class Semver(_Versioned):
    """Of a git tag that is a semantic version: ``{{version}}``, ``{{major}}.{{minor}}``, ``{{raw}}``.

    A pre-release has its whole version alone. A git tag that is no version makes none; a *value*
    that is none raises `SpecError`.
    """

    what: ClassVar[str] = "semver"

    def _parts(self, raw: str) -> dict[str, str] | None:
        found = _SEMVER.fullmatch(raw)
        if found is None:
            return None
        numbers = {name: found[name] for name in ("major", "minor", "patch")}
        version = ".".join(numbers.values()) + (f"-{found['pre']}" if found["pre"] else "")
        return {"version": version, "final": "false" if found["pre"] else "true", **numbers}


@frozen(kw_only=True)
class Pep440(_Versioned):
    """As `Semver`, of a Python version; pre-, post- and development releases have it alone."""

    what: ClassVar[str] = "pep440"

    def _parts(self, raw: str) -> dict[str, str] | None:
        from packaging.version import InvalidVersion, Version  # lazily: few rules are of this kind

        try:
            version = Version(raw)
        except InvalidVersion:
            return None
        final = not (version.is_prerelease or version.is_postrelease)
        return {
            "version": str(version).replace("+", "-"),
            "major": str(version.major),
            "minor": str(version.minor),
            "patch": str(version.micro),
            "final": "true" if final else "false",
        }


@frozen(kw_only=True)
class Calver(_Common):
    """The day, by the words of calver.org: YYYY YY 0Y MM 0M DD 0D, of now or of the *commit*."""

    pattern: str = "YYYY.0M.0D"
    timezone: str = "UTC"
    commit: bool = False
    priority: int = 900

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The day of the build; with *commit* that of the commit, if it is known."""
        moment = facts.commit_time if self.commit else now
        if moment is None:
            return None
        return Made(_CALVER.sub(lambda found: _word(found, moment, self.timezone), self.pattern))


_CALVER: Final = re.compile(r"YYYY|YY|0Y|MM|0M|DD|0D|(?P<letter>[A-Za-z]+)")
_CALVER_FORMATS: Final = {
    "YYYY": "YYYY",
    "YY": "YY",
    "0Y": "YY",
    "MM": "M",
    "0M": "MM",
    "DD": "D",
    "0D": "DD",
}


def _word(found: re.Match[str], moment: datetime, zone: str) -> str:
    if found["letter"]:
        raise SpecError(
            f"calver: there is no {found['letter']!r}",
            hint=f"known are {', '.join(_CALVER_FORMATS)}",
        )
    return format_date(moment, _CALVER_FORMATS[found[0]], zone)


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise SpecError(f"match: pattern is no regular expression: {error}") from None


@frozen(kw_only=True)
class Match(_Common):
    """What *group* of a regular expression finds in the git tag, or in *value*."""

    pattern: re.Pattern[str] = field(converter=_compiled)
    group: int = 0
    value: str = ""
    priority: int = 800

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.group <= self.pattern.groups:
            raise SpecError(f"match: the pattern has no group {self.group}")

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The text that was found; none when there is nothing."""
        found = self.pattern.search(fill(self.value, facts, now) or facts.tag)
        text = found[self.group] if found else None
        return Made(text, latest=True) if text else None


@frozen(kw_only=True)
class Schedule(_Common):
    """For builds that a schedule began: ``nightly``, or a *pattern* with ``{{date 'YYYYMMDD'}}``."""

    pattern: str = "nightly"
    priority: int = 1000

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The pattern, filled in."""
        return Made(fill(self.pattern, facts, now)) if facts.event == "schedule" else None


@frozen(kw_only=True)
class Edge(_Common):
    """``edge`` for the newest commit of *branch*, the default branch when that is empty."""

    branch: str = ""
    priority: int = 700

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The word, on that branch."""
        del now
        wanted = self.branch or facts.default_branch
        return Made("edge") if wanted and facts.branch == wanted else None


@frozen(kw_only=True)
class Branch(_Common):
    """The branch's name."""

    priority: int = 600

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The name, on a branch."""
        del now
        return Made(facts.branch) if facts.branch else None


@frozen(kw_only=True)
class Tag(_Common):
    """The git tag's name."""

    priority: int = 600

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The name, of a git tag."""
        del now
        return Made(facts.tag, latest=True) if facts.tag else None


@frozen(kw_only=True)
class PullRequest(_Common):
    """The number of the pull request."""

    priority: int = 600
    prefix: str | None = "pr-"

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The number, in a pull request."""
        del now
        return Made(facts.pull_request) if facts.pull_request else None


@frozen(kw_only=True)
class Raw(_Common):
    """A text, with ``{{…}}`` filled in."""

    value: str
    priority: int = 200

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The text."""
        return Made(fill(self.value, facts, now))


@frozen(kw_only=True)
class Sha(_Common):
    """The commit: its first seven characters, or all of them with *long*."""

    long: bool = False
    priority: int = 100
    prefix: str | None = "sha-"

    def make(self, facts: GitFacts, now: datetime) -> Made | None:
        """The commit, if it is known."""
        del now
        return Made(facts.sha if self.long else facts.sha[:7]) if facts.sha else None


RULES: Final[Mapping[str, type]] = {
    "schedule": Schedule,
    "semver": Semver,
    "pep440": Pep440,
    "calver": Calver,
    "match": Match,
    "edge": Edge,
    "raw": Raw,
    "sha": Sha,
}
"""The rules by the names they have in text; those of ``ref`` go by its event."""
