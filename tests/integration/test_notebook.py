"""A step in a Jupyter kernel, where an event loop is already running."""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from buildpush.testing import LocalRegistry

CELLS = (
    "from buildpush import BuildAndPushStep, render\nstep = BuildAndPushStep(repo={repo!r})",
    "result = step.run(on_event=render.choose())\nprint(result.references[0])",
    "again = await step.arun(on_event=render.choose())\nprint(again.digest == result.digest)",
    "async with step.astream() as stream:\n    async for _ in stream:\n        pass\nprint(stream.result.digest)",
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_step_runs_in_a_notebook(
    tmp_path: Path, local_registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """run, arun and astream work in cells, and the display is a table that updates itself."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY hello.txt /\n")
    (tmp_path / "hello.txt").write_text("hello\n")
    kernels = tmp_path / "kernels" / "here"
    kernels.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "here", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    repo = local_registry.reference("acme/app")
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(source.replace("{repo!r}", repr(repo))) for source in CELLS
        ]
    )

    NotebookClient(
        notebook,
        kernel_name="here",
        timeout=120,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()

    digest = str(local_registry.digest("acme/app", "latest"))
    displays = [o for o in notebook.cells[1].outputs if o.output_type == "display_data"]
    texts = ["".join(o.get("text", "") for o in cell.outputs) for cell in notebook.cells]
    assert texts[1] == f"{repo}:latest@{digest}\n"
    assert texts[2] == "True\n"
    assert texts[3] == f"{digest}\n"
    assert len(displays) == 1
    assert "COPY hello.txt /" in displays[0].data["text/html"]
