"""What git says of a real checkout; nothing of it is executed, and nothing written."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from buildpush.errors import SpecError
from buildpush.spec.tagging import GitFacts, image_labels
from buildpush.step.checkout import read_checkout
from buildpush.testing import snapshot_tree

MOMENT = "2026-03-04T05:06:07+02:00"


def git(folder: Path, *words: str) -> str:
    author = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    moments = {"GIT_COMMITTER_EMAIL": "a@b", "GIT_COMMITTER_DATE": MOMENT}
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        env={**os.environ, **author, **moments, "GIT_CONFIG_GLOBAL": "/dev/null"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=feature/cart")
    git(folder, "remote", "add", "origin", "https://user:hunter2@git.test/acme/shop.git")
    (folder / "src").mkdir()
    (folder / "src" / "file").write_text("text")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    return folder


def test_a_branch_is_read_from_anywhere_inside(checkout: Path) -> None:
    facts = read_checkout(checkout / "src")

    assert facts == GitFacts(
        sha=git(checkout, "rev-parse", "HEAD"),
        ref="refs/heads/feature/cart",
        remote_url="https://git.test/acme/shop.git",
        link="https://git.test/acme/shop.git",
        commit_time=datetime.fromisoformat(MOMENT),
    )


def test_a_tag_counts_where_no_branch_does(checkout: Path) -> None:
    git(checkout, "tag", "v1.4.2")
    assert read_checkout(checkout).branch == "feature/cart"

    git(checkout, "checkout", "--quiet", "v1.4.2")

    assert read_checkout(checkout).tag == "v1.4.2"


def test_the_default_branch_is_the_remote_s(checkout: Path) -> None:
    git(checkout, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(checkout, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")

    assert read_checkout(checkout).default_branch == "main"


def test_what_ci_says_wins(checkout: Path) -> None:
    facts = read_checkout(
        checkout, variables={"DRONE_COMMIT_REF": "refs/tags/v2", "DRONE_BUILD_EVENT": "tag"}
    )

    assert (facts.ref, facts.event) == ("refs/tags/v2", "tag")
    assert facts.sha == git(checkout, "rev-parse", "HEAD")


def test_nothing_of_the_checkout_is_executed_or_written(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    for name in ("core.fsmonitor", "core.pager", "core.sshCommand", "diff.external"):
        git(checkout, "config", name, str(trap))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    before = snapshot_tree(checkout)

    assert read_checkout(checkout).branch == "feature/cart"

    assert snapshot_tree(checkout) == before
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_checkout_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="no such folder"):
        read_checkout(tmp_path / "nowhere")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SpecError, match="is no git checkout"):
        read_checkout(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecError, match="git cannot be asked"):
        read_checkout(tmp_path)


def test_labels_are_made_of_the_facts(checkout: Path) -> None:
    facts = read_checkout(checkout)
    now = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

    assert image_labels(facts, created=now, version="1.4.2", licenses="MIT") == {
        "org.opencontainers.image.created": "2026-03-04T05:06:07Z",
        "org.opencontainers.image.licenses": "MIT",
        "org.opencontainers.image.revision": facts.sha,
        "org.opencontainers.image.source": "https://git.test/acme/shop.git",
        "org.opencontainers.image.title": "shop",
        "org.opencontainers.image.url": "https://git.test/acme/shop.git",
        "org.opencontainers.image.version": "1.4.2",
    }
    assert list(image_labels(GitFacts(), created=now)) == ["org.opencontainers.image.created"]
