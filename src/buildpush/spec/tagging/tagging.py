"""Many rules together: their order, what may be ``latest``, and rules as text."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, Literal, Self, cast

from attrs import Attribute, field, fields, frozen

from ...errors import SpecError
from ...oci import ImageReference, Repository
from .facts import GitFacts
from .rules import RULES, Branch, Made, PullRequest, Rule, Schedule, Tag
from .templates import fill

__all__ = ["Flavor", "Tagging"]

_NO_TAG: Final = re.compile(r"[^A-Za-z0-9._-]+")
_REFS: Final[Mapping[str, type]] = {"branch": Branch, "tag": Tag, "pr": PullRequest}
_DEFAULTS: Final[tuple[Rule, ...]] = (Schedule(), Branch(), Tag(), PullRequest())
_SOMEWHERE: Final = Repository(host="localhost", path="any")


@frozen(kw_only=True)
class Flavor:
    """What holds for all rules: when to add ``latest``, and what stands before and after tags.

    *latest* ``auto`` follows the tag that stands first; ``latest`` itself only gets prefix and
    suffix with *prefix_latest* and *suffix_latest*.
    """

    latest: bool | Literal["auto"] = "auto"
    prefix: str = ""
    suffix: str = ""
    prefix_latest: bool = False
    suffix_latest: bool = False


def _rules(given: Iterable[Rule]) -> tuple[Rule, ...]:
    rules = tuple(given)
    for rule in rules:
        if not isinstance(cast("object", rule), Rule):
            raise SpecError("tagging: expected rules, such as Semver() and Sha()")
    return rules or _DEFAULTS


@frozen
class Tagging:
    """Rules that make an image's tags. Without any: those for schedules, branches, tags and pulls.

    Names, defaults and priorities follow docker's metadata-action; `Calver` is ours.
    """

    rules: tuple[Rule, ...] = field(default=_DEFAULTS, converter=_rules)
    flavor: Flavor = field(factory=Flavor, kw_only=True)

    @classmethod
    def parse(cls, lines: str | Iterable[str], *, flavor: Flavor | None = None) -> Self:
        """Read rules as metadata-action has them: ``type=semver,pattern={{version}}``, one a line.

        A line without ``type=`` is a raw tag; empty lines and those that begin with # are none.
        Raises `SpecError` with the number of the line.
        """
        many = lines.splitlines() if isinstance(lines, str) else lines
        rules: list[Rule] = []
        for number, line in enumerate(many, start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    rules.append(_read(line.strip()))
                except SpecError as error:
                    raise SpecError(f"tags, line {number}: {error}", hint=error.hint) from None
        return cls(rules, flavor=flavor or Flavor())

    def tags(self, facts: GitFacts, now: datetime) -> tuple[str, ...]:
        """The tags for *facts*, each once, by priority; the first is the image's version.

        *now* must have a timezone. Characters that no tag has become dashes. Raises `SpecError`
        when no rule has a tag, or a rule's is none that a registry takes.
        """
        if now.tzinfo is None:
            raise SpecError("tags: now needs a timezone")
        found: dict[str, bool] = {}
        for rule in sorted(self.rules, key=lambda rule: -rule.priority):
            made = rule.make(facts, now) if _enabled(rule, facts, now) else None
            if made is not None:
                found.setdefault(self._whole(rule, made, facts, now), made.latest)
        if not found:
            raise SpecError(
                "no rule has a tag for what is built",
                hint="add one that always has: Sha(), or Raw(value='dev')",
            )
        wanted = self.flavor.latest
        if next(iter(found.values())) if wanted == "auto" else wanted:
            found.setdefault(self._latest(), True)
        return tuple(found)

    def _whole(self, rule: Rule, made: Made, facts: GitFacts, now: datetime) -> str:
        own = self.flavor.prefix if rule.prefix is None else rule.prefix
        after = self.flavor.suffix if rule.suffix is None else rule.suffix
        text = f"{fill(own, facts, now)}{made.value}{fill(after, facts, now)}"
        return _checked(_NO_TAG.sub("-", text), type(rule).__name__)

    def _latest(self) -> str:
        before = self.flavor.prefix if self.flavor.prefix_latest else ""
        after = self.flavor.suffix if self.flavor.suffix_latest else ""
        return _checked(f"{before}latest{after}", "latest")


def _checked(tag: str, rule: str) -> str:
    try:
        return ImageReference(repository=_SOMEWHERE, tag=tag or "-").tag or tag
    except SpecError:
        raise SpecError(f"{rule}: makes {tag[:140]!r}, which is no tag") from None


def _enabled(rule: Rule, facts: GitFacts, now: datetime) -> bool:
    said = fill(rule.enable, facts, now)
    if said not in ("true", "false"):
        raise SpecError(f"{type(rule).__name__}: enable: expected true or false")
    return said == "true"


def _read(line: str) -> Rule:
    """One rule of text."""
    written = next(csv.reader([line], skipinitialspace=True))
    pairs = [pair.partition("=") for pair in written]
    if not any(name.strip() == "type" for name, equals, _ in pairs if equals):
        if not pairs[0][1]:
            pairs[0] = ("value", "=", pairs[0][0])
        pairs.insert(0, ("type", "=", "raw"))
    given: dict[str, str] = {}
    for name, equals, value in pairs:
        if not equals:
            raise SpecError(f"expected name=value, not {name!r}")
        if name.strip() in given:
            raise SpecError(f"{name.strip()} is given twice")
        given[name.strip()] = value.strip()
    return _made(given.pop("type"), given)


def _made(kind: str, given: dict[str, str]) -> Rule:
    if kind == "ref":
        event = given.pop("event", "")
        if event not in _REFS:
            raise SpecError(f"ref: event: expected one of {', '.join(_REFS)}")
        rule = _REFS[event]
    elif kind in RULES:
        rule = RULES[kind]
    else:
        raise SpecError(
            f"there is no rule {kind!r}", hint=f"there are {', '.join((*RULES, 'ref'))}"
        )
    if kind == "sha" and "format" in given:
        given["long"] = {"long": "true", "short": "false"}.get(given.pop("format"), "neither")
    known: dict[str, Attribute[object]] = {each.name: each for each in fields(rule)}
    values: dict[str, object] = {}
    for name, text in given.items():
        if name not in known:
            raise SpecError(f"{kind}: there is no {name!r}", hint=f"there are {', '.join(known)}")
        values[name] = _value(f"{kind}: {name}", text, str(known[name].type))
    try:
        return cast("Callable[..., Rule]", rule)(**values)
    except TypeError:
        raise SpecError(f"{kind}: pattern or value is required") from None


def _value(where: str, text: str, kind: str) -> object:
    """*text* as an attribute of *kind* has it."""
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text]
        return int(text) if kind == "int" else text
    except (KeyError, ValueError):
        wanted = "a whole number" if kind == "int" else "true or false"
        raise SpecError(f"{where}: expected {wanted}") from None
