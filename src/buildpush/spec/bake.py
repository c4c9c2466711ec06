"""Bake files, resolved: from the JSON that ``buildx bake --print`` writes to settings of steps.

Follows docker's bake file reference. buildx has already done what makes the format a language
(variables, functions, inheritance, matrices); what is left is one mapping per target, of which
every field either becomes a setting or is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from attrs import evolve, field, frozen
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ..errors import SpecError
from ..oci import ImageReference, Repository
from . import bakefields as fields
from .bakefields import LINK, Outputs, Surroundings
from .values import Output

__all__ = ["BakeFile", "BakeStep", "parse_bake"]

_UNNAMED: Final = "localhost"
"""The registry in the name of an image that goes nowhere."""


def _copy(mapping: Mapping[str, object]) -> Mapping[str, object]:
    return dict(mapping)


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="allow",  # so that what a newer buildx has can be refused by name
        frozen=True,
        hide_input_in_errors=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        items = cast("Mapping[str, object]", data).items()
        return {name: value for name, value in items if value is not None}


class _Group(_Model):
    targets: tuple[str, ...] = ()


class BakeTarget(_Model):
    """One target as buildx prints it; older versions write caches and the like as text."""

    description: str = ""
    context: str = "."
    contexts: Mapping[str, str] = {}
    dockerfile: str = "Dockerfile"
    dockerfile_inline: str = ""
    args: Mapping[str, str | None] = {}
    labels: Mapping[str, str | None] = {}
    annotations: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    target: str = ""
    platforms: tuple[str, ...] = ()
    cache_from: tuple[str | Mapping[str, Any], ...] = ()
    cache_to: tuple[str | Mapping[str, Any], ...] = ()
    secret: tuple[str | Mapping[str, Any], ...] = ()
    ssh: tuple[str | Mapping[str, Any], ...] = ()
    output: tuple[str | Mapping[str, Any], ...] = ()
    attest: tuple[str | Mapping[str, Any], ...] = ()
    pull: bool = False
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    network: str = ""
    shm_size: str = ""
    ulimits: tuple[str, ...] = ()
    extra_hosts: Mapping[str, str | None] = {}
    entitlements: tuple[str, ...] = ()
    call: str = ""

    @property
    def links(self) -> tuple[str, ...]:
        """The targets whose images this one builds on."""
        return tuple(v.removeprefix(LINK) for v in self.contexts.values() if v.startswith(LINK))


@frozen(kw_only=True)
class BakeStep:
    """One step a bake file asks for: a target, with the tags of one repository.

    *name* is the target's; for each further repository of its tags ``target@repository``.
    *settings* are those of `StepSpec`; *inline* is the text of a Dockerfile that is no file yet.
    """

    name: str
    target: str
    description: str = ""
    settings: Mapping[str, object] = field(converter=_copy)
    inline: str = ""


class BakeFile(_Model):
    """A resolved bake file: its targets by name, and which of them were asked for."""

    group: Mapping[str, _Group] = {}
    target: Mapping[str, BakeTarget] = {}

    @property
    def needs_folder(self) -> bool:
        """Whether a Dockerfile or an image must be kept somewhere until the steps have run."""
        return any(target.dockerfile_inline or target.links for target in self.target.values())

    def steps(
        self, surroundings: Surroundings, *, push: bool | None = None
    ) -> tuple[BakeStep, ...]:
        """The steps, each after those that it builds on.

        *push* overrides what the outputs say, but for targets that are only built on. Raises one
        `SpecError` that names each target and field which has no meaning for a step.
        """
        asked = tuple(self._asked())
        links = {link for target in self.target.values() for link in target.links}
        tags = {name: self._tag(name) for name in links}
        made: list[BakeStep] = []
        faults: list[str] = []
        for name in self._order(asked):
            reader = _Reader(
                name=name,
                target=self.target[name],
                around=evolve(surroundings, link_tags=tags),
                push=push if name in asked else False,
                linked=name in links,
            )
            made += reader.read(faults)
        if faults:
            raise SpecError(
                "; ".join(faults),
                hint="override the field (TARGET.FIELD=VALUE), or leave the target out",
            )
        return tuple(made)

    def _asked(self) -> Iterator[str]:
        """The targets that were asked for; the others are only built on."""
        if "default" not in self.group:
            yield from self.target
            return
        seen: set[str] = set()
        pending = ["default"]
        while pending:
            name = pending.pop(0)
            # A target may have its group's name: "default" often has.
            if name in self.group and name not in seen:
                pending = [*self.group[name].targets, *pending]
            elif name in self.target:
                yield name
            seen.add(name)

    def _order(self, asked: Iterable[str]) -> tuple[str, ...]:
        """The targets in the file's own order, but each after those that it builds on."""
        placed: dict[str, None] = {}

        def place(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise SpecError(f"targets build on each other: {' -> '.join((*path, name))}")
            for link in self.target[name].links:
                if link not in self.target:
                    raise SpecError(f"target {name!r}: contexts: there is no target {link!r}")
                place(link, (*path, name))
            placed[name] = None

        for name in (*asked, *self.target):
            place(name, ())
        return tuple(placed)

    def _tag(self, name: str) -> str:
        """The tag under which the image of a linked target will be found."""
        target = self.target.get(name)
        try:
            return ImageReference.parse(target.tags[0]).tag if target and target.tags else "latest"
        except SpecError:
            return "latest"  # the target itself says what is wrong with it


@frozen(kw_only=True)
class _Reader:
    """Reads one target."""

    name: str
    target: BakeTarget
    around: Surroundings
    push: bool | None
    linked: bool

    def read(self, faults: list[str]) -> tuple[BakeStep, ...]:
        """The target's steps; what cannot be a step's is added to *faults*, by name."""
        settings: dict[str, object] = {}
        for name, read in (*self._what(), *self._how()):
            try:
                settings |= read()
            except ValueError as error:
                faults.append(f"target {self.name!r}: {name}: {error}")
        faults += [
            f"target {self.name!r}: {name}: a step has nothing like it"
            for name in self.target.model_extra or {}
        ]
        try:
            out = fields.outputs(self.target.output, self.around)
            settings |= self._form(out)
        except ValueError as error:
            faults.append(f"target {self.name!r}: output: {error}")
            return ()
        try:
            push = out.push if self.push is None else self.push
            places = self._places(self.target.tags or out.names, push=push)
        except ValueError as error:
            faults.append(f"target {self.name!r}: tags: {error}")
            return ()
        own = {**settings, "push": push}
        return tuple(self._steps(own, places, out))

    def _what(self) -> Iterable[tuple[str, Callable[[], Mapping[str, object]]]]:
        target, around = self.target, self.around
        return (
            ("context", lambda: {"context": fields.context(target.context, around)}),
            ("contexts", lambda: fields.named_contexts(target.contexts, around)),
            ("dockerfile", lambda: fields.dockerfile(target.dockerfile, target.context, around)),
            ("args", lambda: fields.build_args(target.args)),
            ("labels", lambda: {"labels": fields.plain(target.labels)}),
            ("annotations", lambda: {"annotations": fields.image_annotations(target.annotations)}),
            ("target", lambda: {"target": target.target}),
            ("platforms", lambda: {"platforms": fields.platforms(target.platforms, around)}),
            ("attest", lambda: fields.attestations(target.attest)),
            ("call", lambda: fields.call(target.call)),
        )

    def _how(self) -> Iterable[tuple[str, Callable[[], Mapping[str, object]]]]:
        target, around = self.target, self.around
        return (
            ("cache-from", lambda: {"cache_from": fields.caches(target.cache_from, around)}),
            ("cache-to", lambda: {"cache_to": fields.caches(target.cache_to, around)}),
            ("secret", lambda: {"secrets": fields.secrets(target.secret, around)}),
            ("ssh", lambda: {"ssh": fields.ssh(target.ssh, around)}),
            ("entitlements", lambda: fields.entitlements(target.entitlements)),
            ("extra-hosts", lambda: {"add_hosts": fields.hosts(target.extra_hosts)}),
            ("network", lambda: {"network": target.network}),
            ("shm-size", lambda: {"shm_size": target.shm_size}),
            ("ulimits", lambda: {"ulimits": target.ulimits}),
            ("pull", lambda: {"pull": target.pull}),
            ("no-cache", lambda: {"no_cache": target.no_cache}),
            ("no-cache-filter", lambda: {"no_cache_filter": target.no_cache_filter}),
        )

    def _form(self, out: Outputs) -> Mapping[str, object]:
        if out.needs_epoch and not self.target.args.get("SOURCE_DATE_EPOCH"):
            raise ValueError("rewrite-timestamp needs the build arg SOURCE_DATE_EPOCH")
        return dict(out.form)

    def _places(self, names: Iterable[str], *, push: bool) -> Mapping[Repository, list[str]]:
        """The tags of each repository that the image goes to."""
        found: dict[Repository, list[str]] = {}
        for name in names:
            reference = ImageReference.parse(name)
            if reference.digest is not None:
                raise ValueError(f"an image cannot be given a digest: {name}")
            found.setdefault(reference.repository, []).append(reference.tag)
        if found:
            return found
        if push:
            raise ValueError("none, so that there is nowhere to push to")
        return {Repository(_UNNAMED, fields.path_component(self.name)): ["latest"]}

    def _steps(
        self, settings: Mapping[str, object], places: Mapping[Repository, list[str]], out: Outputs
    ) -> Iterator[BakeStep]:
        for number, (repository, tags) in enumerate(places.items()):
            files = () if number else out.files
            if self.linked and not number:
                kept = Output(type="oci", destination=self.around.link(self.name))
                files = (*files, kept)
            own = {**settings, "repo": repository, "tags": tags, "outputs": files}
            yield BakeStep(
                name=f"{self.name}@{repository}" if number else self.name,
                target=self.name,
                description=self.target.description,
                settings={name: value for name, value in own.items() if value or name == "push"},
                inline=fields.unescaped(self.target.dockerfile_inline),
            )


def parse_bake(data: bytes) -> BakeFile:
    """Read what ``buildx bake --print`` wrote; raises `SpecError` when it is something else."""
    try:
        return BakeFile.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        fault = f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}"
    # Raised out here so that pydantic's error, which holds the input, is not its context.
    raise SpecError(
        f"what buildx printed is no resolved bake file: {fault}",
        hint="is this buildx much older or newer than 0.29?",
    )
