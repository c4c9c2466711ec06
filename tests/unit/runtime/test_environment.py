"""The environment as a value."""

from pathlib import Path

import pytest

from buildpush.runtime import Environment


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """BUILDPUSH_CACHE wins over the user's cache folder."""
    monkeypatch.setenv("BUILDPUSH_CACHE", str(tmp_path))

    assert Environment.current().cache == tmp_path


def test_the_default_cache_folder_is_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """XDG_CACHE_HOME is honoured."""
    monkeypatch.delenv("BUILDPUSH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert Environment.current().cache == tmp_path / "buildpush"


def test_which_looks_in_the_environments_own_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program is found by PATH, and only when it may be executed."""
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "data").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    environment = Environment.current()

    assert environment.which("tool") == tmp_path / "tool"
    assert environment.which("data") is None


def test_repr_shows_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens in the environment do not reach a traceback."""
    monkeypatch.setenv("SOME_TOKEN", "hunter22")

    assert "hunter22" not in repr(Environment.current())
