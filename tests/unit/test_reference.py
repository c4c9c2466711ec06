"""The generated pages of the reference are what the code says now."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
GENERATE = runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("page", ["settings", "python", "kaniko"])
def test_a_generated_page_is_up_to_date(page: str) -> None:
    """When this fails, run ``python docs/generate.py``."""
    written = (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")

    assert written == GENERATE[f"{page}_page"]()


def test_every_row_of_the_settings_page_has_its_cells() -> None:
    """No value of a setting breaks the table."""
    tables: list[list[int]] = [[]]
    for line in GENERATE["settings_page"]().splitlines():
        if line.startswith("|"):
            tables[-1].append(line.replace("\\|", "").count("|"))
        elif tables[-1]:
            tables.append([])

    assert [len(set(counts)) for counts in tables if counts] == [1, 1]


def test_every_public_name_says_what_it_is() -> None:
    """No row of the page about Python is empty but for plain values."""
    rows = [line for line in GENERATE["python_page"]().splitlines() if line.startswith("| `")]

    silent = [row for row in rows if row.split("|")[2].strip() == ""]

    assert len(rows) > 100
    assert silent == []
