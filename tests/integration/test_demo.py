"""The README's first command: it installs the package and shows a pushed image with its digest."""

import json
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from buildpush.cli import main

ROOT = Path(__file__).parents[2]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def test_the_demo_shows_two_pinned_references(capsys: pytest.CaptureFixture[str]) -> None:
    """Both tags were read back with one digest; the table is all of standard output."""
    code = main(["demo"])

    out, err = capsys.readouterr()
    references = [line for line in out.splitlines() if line.startswith("pushed and read back")]
    assert code == 0
    assert len(references) == 2
    assert len(set(DIGEST.findall(out))) == 1
    assert "== push ==" in err


def test_the_demo_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for a program."""
    main(["demo", "--json"])

    result = json.loads(capsys.readouterr().out)
    assert [name.rpartition("@")[2] for name in result["references"]] == [result["digest"]] * 2


@pytest.mark.needs_root
def test_the_demo_executes_a_run_where_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    """As root the example's stage with a RUN is built, on a base of this machine's own shell."""
    main(["demo"])

    assert "RUN while read -r line" in capsys.readouterr().err


def test_the_demo_without_a_shell_builds_the_plain_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no base image can be made, the stage without RUN is built and pushed."""
    monkeypatch.setenv("PATH", "/nonexistent")

    code = main(["demo"])

    out, err = capsys.readouterr()
    assert (code, len(DIGEST.findall(out))) == (0, 3)
    assert "COPY --chown=1000:1000 pages /site" in err
    assert "RUN" not in err


def test_the_readmes_first_command_works_as_printed(tmp_path: Path) -> None:
    """In a copy of the sources and a fresh virtual environment it ends with a pushed image."""
    command = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    sources = tmp_path / "sources"
    skipped = shutil.ignore_patterns(".git", ".nox", ".venv", "tests", "__pycache__")
    shutil.copytree(ROOT, sources, ignore=skipped)
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    variables = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("COVERAGE", "COV_"))},
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(environment),
    }

    done = subprocess.run(
        ["sh", "-eu", "-c", command], cwd=sources, env=variables, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert len(set(DIGEST.findall(done.stdout.partition("backend ")[2]))) == 1
