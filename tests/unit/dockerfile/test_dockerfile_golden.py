"""Every folder of tests/golden/dockerfile: a Dockerfile, and what it parses to or why not."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from buildpush.dockerfile import parse
from buildpush.dockerfile.instructions import Dockerfile, Lines
from buildpush.errors import DockerfileError, SourceEvidence

GOLDEN = Path(__file__).parents[2] / "golden" / "dockerfile"
CASES = sorted(path.parent for path in GOLDEN.glob("*/Dockerfile"))


def shown(value: Any) -> Any:
    """A value as JSON: its class under "is", its lines as "2-5", and only what is not default."""
    if isinstance(value, Lines):
        return f"{value.first}-{value.last}"
    if isinstance(value, tuple):
        return [shown(item) for item in value]
    if not attrs.has(type(value)):
        return value
    fields = {
        field.name: shown(getattr(value, field.name))
        for field in attrs.fields(type(value))
        if getattr(value, field.name) != field.default
        and not (isinstance(value, Dockerfile) and field.name in ("text", "filename"))
    }
    return {"is": type(value).__name__, **fields}


def outcome(folder: Path) -> tuple[str, str]:
    """The golden file's name and what should stand in it."""
    try:
        dockerfile = parse((folder / "Dockerfile").read_bytes())
    except DockerfileError as error:
        (evidence,) = error.evidence
        assert isinstance(evidence, SourceEvidence)
        where = f"lines {evidence.first_line}-{evidence.last_line}"
        return "error.txt", f"{where}: {error.message}\n"
    return "result.json", json.dumps(shown(dockerfile), indent=1, ensure_ascii=False) + "\n"


def test_there_are_cases_of_both_kinds() -> None:
    """An empty folder would pass silently."""
    assert len(CASES) > 30
    assert any((case / "error.txt").exists() for case in CASES)
    assert any((case / "result.json").exists() for case in CASES)


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_dockerfile_parses_to_its_golden_result(folder: Path) -> None:
    """The golden files were written by hand or read line by line against BuildKit's rules."""
    name, text = outcome(folder)

    assert [name] == sorted(
        path.name for path in folder.iterdir() if path.name in ("error.txt", "result.json")
    )
    assert (folder / name).read_text("utf-8") == text
