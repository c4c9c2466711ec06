"""What Drone shows of a plugin's run: the card, and how much came from the cache."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpush import run_plugin
from buildpush.events import Phase, PhaseStarted, TaskFinished, TaskLog, TaskStarted
from buildpush.plugins.reports import CacheMetrics
from buildpush.testing import LocalRegistry


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as registry:
        yield registry


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Dockerfile").write_text(
        "FROM scratch\nCOPY Dockerfile /one\nCOPY Dockerfile /two\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def variables(registry: LocalRegistry, **more: str) -> dict[str, str]:
    repo = f"{registry.host}/app"
    return {"PLUGIN_REPO": repo, "PLUGIN_TAGS": "1.10,latest", **more}


def test_a_card_shows_the_image(registry: LocalRegistry, folder: Path) -> None:
    done = run_plugin(variables(registry, DRONE_CARD_PATH="card.json"), backend="native")

    shown = json.loads((folder / "card.json").read_text())
    assert folder / "card.json" in done.files
    assert shown["schema"] == "https://drone-plugins.github.io/drone-docker/card.json"
    data = shown["data"]
    tags = [f"{registry.host}/app:1.10", f"{registry.host}/app:latest"]
    assert data["RepoTags"] == tags
    assert data["ParsedRepoTags"] == [{"Tag": tag} for tag in tags]
    assert data["RepoDigests"] == [f"{registry.host}/app@{done.digest}"]
    assert done.result is not None
    (image,) = done.result.images.values()
    assert (data["Id"], data["Size"]) == (str(image.config), image.size)
    assert data["SizeString"] == f"{image.size / 1024:.2f}KB"
    assert data["Os"] == "linux"
    assert data["URL"] == f"https://hub.docker.com/r/{registry.host}/app"


def test_a_card_goes_to_the_log(
    registry: LocalRegistry, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_plugin(variables(registry, DRONE_CARD_PATH="/dev/stdout"), backend="native")

    line = capsys.readouterr().out
    assert line.startswith("\x1b]1338;")
    assert line.endswith("\x1b]0m\n")
    shown = json.loads(base64.b64decode(line[len("\x1b]1338;") : -len("\x1b]0m\n")]))
    assert shown["data"]["RepoTags"][0] == f"{registry.host}/app:1.10"
    assert not (folder / "dev").exists()


def test_no_card_is_shown_of_what_was_not_pushed(registry: LocalRegistry, folder: Path) -> None:
    given = variables(registry, DRONE_CARD_PATH="card.json", PLUGIN_DRY_RUN="true")

    run_plugin(given, backend="native")

    assert not (folder / "card.json").exists()


def test_the_cache_s_part_is_counted(registry: LocalRegistry, folder: Path) -> None:
    given = variables(registry, PLUGIN_CACHE_METRICS_FILE="metrics.json")
    counted: list[dict[str, object]] = []
    for _ in range(2):
        run_plugin(given, plugin="buildx", backend="native")
        counted.append(json.loads((folder / "metrics.json").read_text()))

    first, second = counted
    assert isinstance(first["done"], int)
    assert isinstance(second["cached"], int)
    assert first["cached"] == first["error"] == first["canceled"] == 0
    assert first["total_layers"] == first["done"] >= 2
    assert second["cached"] >= 2


def test_each_step_has_its_number_and_its_time() -> None:
    metrics = CacheMetrics()
    for event in (
        TaskStarted(at=0.0, task="preflight", title="may we push?"),
        PhaseStarted(at=0.5, phase=Phase.BUILD),
        TaskFinished(at=0.5, task="preflight", outcome="done"),
        TaskStarted(at=1.0, task="a", title="one"),
        TaskLog(at=1.5, task="a", line="x", stream="stdout"),
        TaskStarted(at=2.0, task="b", title="two"),
        TaskFinished(at=3.5, task="b", outcome="cached"),
        PhaseStarted(at=4.0, phase=Phase.PUSH),
        TaskStarted(at=4.0, task="upload", title="a blob"),
        TaskFinished(at=4.0, task="a", outcome="failed"),
        TaskFinished(at=5.0, task="upload", outcome="done"),
    ):
        metrics.hear(event)

    assert metrics.document() == {
        "total_layers": 2,
        "done": 0,
        "cached": 1,
        "error": 1,
        "canceled": 0,
        "layers": {
            "1": {"status": "CACHED", "time": 1.5},
            "2": {"status": "ERROR", "time": 3.0},
        },
    }
