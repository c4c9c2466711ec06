"""What the page about kaniko says by hand is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from attrs import define, fields

from buildpush import BuildAndPushStep
from buildpush.backends.kaniko import Flavor, KanikoBackend
from buildpush.backends.kaniko.container import ContainerRunner
from buildpush.backends.kaniko.kubernetes import KubernetesRunner, PodSettings
from buildpush.backends.kaniko.runner import Ending, Execution, Found
from buildpush.errors import UnsupportedFeatureError
from buildpush.plan import Feature

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "kaniko.md").read_text("utf-8")
NEWEST = "1.28.3"


def section(title: str) -> str:
    return PAGE.partition(f"\n{title}\n")[2].partition("\n#")[0]


LINES = [
    (cells[0], cells[2])
    for row in section("## Lines that are refused").splitlines()
    if row.startswith("| `")
    for cells in [[cell.strip() for cell in row.strip("|").split(" | ")]]
]


@define
class Nobody:
    """Runs nothing: enough for a plan."""

    def probe(self, image: str, *, ask_version: bool) -> Found:
        everything = frozenset({Feature.PUSH_DIRECTLY, Feature.EXPORT_LAYOUT})
        return Found(features=everything)

    def execute(self, execution: Execution, translator: object, run: object) -> Ending:
        raise AssertionError("nothing is to be run")

    def preview(self, execution: Execution) -> str:
        return "kaniko"


def refusal(lines: str, version: str, folder: Path) -> str:
    """Why a plan for *lines* is refused; empty where it is not."""
    (folder / "app.sh").write_text("#!/bin/sh\n")
    (folder / "Dockerfile").write_text(f"FROM busybox\n{lines}\n")
    flavor = Flavor.GOOGLE if version == "1.24.0" else Flavor.OSSCONTAINERTOOLS
    backend = KanikoBackend(image="kaniko", flavor=flavor, version=version, runner=Nobody())
    step = BuildAndPushStep(repo="localhost:5000/app", context=folder, backend=backend)
    try:
        step.plan()
    except UnsupportedFeatureError as error:
        return error.report()
    return ""


def example(cell: str) -> str:
    """The Dockerfile's lines in a cell: *this* before *that*."""
    return "\n".join(re.findall(r"`([^`]+)`", cell))


@pytest.mark.parametrize(("cell", "since"), LINES, ids=[cell for cell, _ in LINES])
def test_a_line_of_the_page_is_refused_until_the_version_that_mends_it(
    cell: str, since: str, tmp_path: Path
) -> None:
    """The table of what kaniko would do wrongly is the code's."""
    assert refusal(example(cell), "1.24.0", tmp_path)
    if since == "none":
        assert refusal(example(cell), NEWEST, tmp_path)
    else:
        assert refusal(example(cell), before(since), tmp_path)
        assert not refusal(example(cell), since, tmp_path)


def before(version: str) -> str:
    """A version that is a little older."""
    major, minor, patch = map(int, version.split("."))
    return f"{major}.{minor}.{patch - 1}" if patch else f"{major}.{minor - 1}.9"


def test_the_page_has_every_line() -> None:
    """The table was read."""
    assert len(LINES) > 10


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("### ContainerRunner", ContainerRunner),
        ("### KubernetesRunner", KubernetesRunner),
        ("### PodSettings", PodSettings),
    ],
)
def test_the_page_names_every_setting(title: str, kind: type) -> None:
    """No setting of a runner, or of a pod, is left out, and none is made up."""
    firsts = [row.split("|")[1] for row in section(title).splitlines() if row.startswith("| `")]

    named = [name for cell in firsts for name in re.findall(r"`(\w+)`", cell)]

    assert sorted(named) == sorted(a.name for a in fields(kind) if not a.name.startswith("_"))


def test_the_page_names_every_variable() -> None:
    """Those of kaniko's that the code reads."""
    from buildpush.backends.kaniko import choosing

    read = {
        value
        for value in vars(choosing).values()
        if isinstance(value, str) and value.startswith("BUILDPUSH_KANIKO_")
    }

    assert {*re.findall(r"^\| `(BUILDPUSH_\w+)` \|", PAGE, re.MULTILINE)} == read
