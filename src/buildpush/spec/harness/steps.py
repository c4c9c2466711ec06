"""The steps of a file that build and push: a step alone, a stage, a pipeline, or a list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import evolve, field, frozen

from ...errors import SpecError
from .document import Node, Place, fault, read_document

__all__ = ["IDENTIFIER", "Ancestor", "HarnessFile", "HarnessStep", "read_harness"]

IDENTIFIER: Final = re.compile(r"[a-zA-Z_][0-9a-zA-Z_]{0,127}")
_NAME: Final = re.compile(r"[a-zA-Z_0-9.-][-0-9a-zA-Z_\s.]{0,127}")
_STEP_KEYS: Final = frozenset(
    [
        "identifier",
        "name",
        "type",
        "spec",
        "timeout",
        "when",
        "failureStrategies",
        "strategy",
        "description",
        "enforce",
    ]
)
_TYPES: Final = tuple(
    f"BuildAndPush{kind}" for kind in ("DockerRegistry", "ECR", "GCR", "GAR", "ACR")
)
_OURS: Final = re.compile(
    r"(?:.*/)?(plugins|drone)/(?:(?P<engine>docker|kaniko|buildx|buildah)(?:-(?P<kind>docker|ecr|gcr|gar|acr))?"
    r"|(?P<alone>ecr|gcr|gar|acr))(?:[:@].*)?"
)


@frozen
class Ancestor:
    """What a step stands in: a pipeline, a stage or a group of steps, with its own settings."""

    kind: str
    node: Node = field(repr=False)
    place: Place

    @property
    def identifier(self) -> str:
        """Its identifier, or its kind where it has none."""
        return self.node.names["identifier"].text if "identifier" in self.node.names else self.kind


@frozen(kw_only=True)
class HarnessStep:
    """One step of a file, as it is written.

    *plugin* is the program of a Plugin step (``docker``, ``kaniko-ecr``), empty for the others.
    *batch* is the same number for steps that run side by side, and grows from step to step.
    """

    identifier: str
    name: str
    type: str
    place: Place
    node: Node = field(repr=False)
    spec: Node = field(repr=False)
    above: tuple[Ancestor, ...] = ()
    plugin: str = ""
    batch: int = 0

    @property
    def path(self) -> str:
        """Where it is: the identifiers of its stage and its groups, and its own."""
        inside = (each.identifier for each in self.above if each.kind != "pipeline")
        return ".".join((*inside, self.identifier))

    @property
    def where(self) -> Place:
        """The place of its settings."""
        return self.place.below("spec", self.spec.line)

    @property
    def stage(self) -> str:
        """The identifier of its stage, empty without one."""
        return next((each.identifier for each in self.above if each.kind == "stage"), "")


@frozen
class HarnessFile:
    """The steps of a file, in order; *others* are steps that build nothing, by path and type."""

    steps: tuple[HarnessStep, ...]
    others: tuple[str, ...] = ()

    def step(self, identifier: str = "") -> HarnessStep:
        """The step with this identifier or path; without one, the only one there is.

        Raises `SpecError` that lists the steps there are.
        """
        found = [step for step in self.steps if identifier in ("", step.identifier, step.path)]
        if len(found) == 1:
            return found[0]
        there = ", ".join(step.path for step in self.steps) or "none"
        if not found:
            what = f"no step is called {identifier}" if identifier else "no step builds and pushes"
        else:
            what = (
                f"{len(found)} steps {'are called ' + identifier if identifier else 'are there'}"
            )
        raise SpecError(what, hint=f"say which one, by its path; there are: {there}")


def read_harness(text: str, *, filename: str = "") -> HarnessFile:
    """Find the steps of *text*: those of type BuildAndPush…, and Plugin steps with our plugins.

    Raises `SpecError`, with path and line, for text that is no YAML, for unknown keys and wrong
    types of a step, and where there is no step at all.
    """
    root = read_document(text, filename)
    finder = _Finder()
    top = Place(filename, root.line)
    found = tuple(finder.walk(root, top, ()))
    if not found and not finder.others:
        raise fault(top, "there is no step in it", "give a step, a stage or a pipeline")
    seen: dict[str, HarnessStep] = {}
    for step in found:
        if step.path in seen:
            raise fault(step.place, f"the step {step.path} is there twice")
        seen[step.path] = step
    return HarnessFile(found, tuple(finder.others))


class _Finder:
    """Walks a file from the outside in."""

    def __init__(self) -> None:
        self.others: list[str] = []
        self.batch = 0

    def walk(self, node: Node, place: Place, above: tuple[Ancestor, ...]) -> Iterator[HarnessStep]:
        """The steps in *node*, whatever it is."""
        names = node.names
        if node.items:
            for item in node.items:
                yield from self.walk(item, Place(place.filename, item.line, place.path), above)
        elif "parallel" in names:
            yield from self._parallel(names["parallel"], place, above)
        elif wrapped := next((kind for kind in _WRAPPERS if kind in names), ""):
            yield from self._wrapped(wrapped, names[wrapped], place, above)
        elif "type" in names and _is_step(names["type"].text):
            yield from self._step(node, place, above)
        elif "spec" in names or "stages" in names:
            kind = "pipeline" if "stages" in names else "stage"
            yield from self._wrapped(kind, node, place, above)
        elif "type" in names and "identifier" in names:
            self.others.append(f"{names['identifier'].text} ({names['type'].text})")

    def _wrapped(
        self, kind: str, node: Node, place: Place, above: tuple[Ancestor, ...]
    ) -> Iterator[HarnessStep]:
        if not node.names:
            raise fault(place, f"{kind}: expected a mapping")
        own = _named(node, Place(place.filename, node.line, place.path))
        if kind == "step":
            yield from self._step(node, place, above)
            return
        within = (*above, Ancestor(kind, node, own))
        names = node.names
        if kind == "pipeline":
            yield from self._list(names.get("stages"), own.path, "stages", own, within)
        elif kind == "stage":
            execution = names.get("spec", node).names.get("execution", node)
            steps = execution.names.get("steps")
            yield from self._list(steps, own.path, "steps", own, within)
        else:
            yield from self._list(names.get("steps"), own.path, "steps", own, within)

    def _list(
        self,
        node: Node | None,
        path: str,
        name: str,
        place: Place,
        above: tuple[Ancestor, ...],
    ) -> Iterator[HarnessStep]:
        if node is None or node.value is None:
            return
        if not isinstance(node.value, tuple):
            raise fault(place.below(name, node.line), "expected a list")
        for item in node.items:
            yield from self.walk(item, Place(place.filename, item.line, path), above)

    def _parallel(
        self, node: Node, place: Place, above: tuple[Ancestor, ...]
    ) -> Iterator[HarnessStep]:
        """Steps side by side share a batch; stages side by side keep their own order inside."""
        if not isinstance(node.value, tuple):
            raise fault(place.below("parallel", node.line), "expected a list")
        self.batch += 1
        batch = self.batch
        for item in node.items:
            found = self.walk(item, Place(place.filename, item.line, place.path), above)
            alone = "step" in item.names
            yield from (evolve(step, batch=batch) if alone else step for step in found)

    def _step(
        self, node: Node, place: Place, above: tuple[Ancestor, ...]
    ) -> Iterator[HarnessStep]:
        names = node.names
        kind = names["type"].text if "type" in names else ""
        place = _named(node, Place(place.filename, node.line, place.path))
        plugin = _plugin(node) if kind == "Plugin" else ""
        if kind not in _TYPES and not plugin:
            self.others.append(f"{place.path} ({kind or 'without a type'})")
            return
        _check(node, place)
        self.batch += 1
        identifier = names["identifier"].text
        yield HarnessStep(
            identifier=identifier,
            name=names["name"].text if "name" in names else identifier,
            type=kind,
            place=place,
            node=node,
            spec=names["spec"],
            above=above,
            plugin=plugin,
            batch=self.batch,
        )


_WRAPPERS: Final = ("pipeline", "stage", "stepGroup", "step")


def _is_step(kind: str) -> bool:
    return kind in _TYPES or kind == "Plugin"


def _named(node: Node, place: Place) -> Place:
    """*place* with the node's identifier at the end of its path."""
    identifier = node.names.get("identifier")
    return place.below(identifier.text, node.line) if identifier and identifier.text else place


def _plugin(node: Node) -> str:
    """The program that a Plugin step's image runs; empty where it is none of ours."""
    spec = node.names.get("spec")
    image = spec.names.get("image") if spec else None
    found = _OURS.fullmatch(image.text) if image else None
    if not found:
        return ""
    if found["alone"]:
        return found["alone"]
    kind = "" if found["kind"] in (None, "docker") else f"-{found['kind']}"
    return f"{found['engine']}{kind}"


def _check(node: Node, place: Place) -> None:
    """The keys of a step's own level, and the two texts with a grammar."""
    names = node.names
    for name, value in names.items():
        if name not in _STEP_KEYS:
            known = ", ".join(sorted(_STEP_KEYS))
            raise fault(
                place.below(name, value.line), "a step has no such key", f"it has: {known}"
            )
    for name in ("identifier", "spec"):
        if name not in names:
            raise fault(place, f"{name} is required")
    if not IDENTIFIER.fullmatch(names["identifier"].text):
        line = names["identifier"].line
        raise fault(place.below("identifier", line), "expected letters, digits and _, 128 at most")
    if "name" in names and not _NAME.fullmatch(names["name"].text):
        raise fault(place.below("name", names["name"].line), "is no name of a step")
    if not isinstance(names["spec"].value, Mapping):
        raise fault(place.below("spec", names["spec"].line), "expected a mapping")
