"""The commands push, copy and index: arguments in, pinned references out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpush import Digest, Platform
from buildpush.cli import main
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Index
from buildpush.testing import LocalRegistry, random_image
from buildpush.testing.images import random_index

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "image")


def test_push_prints_pinned_references(
    registry: LocalRegistry, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each, and progress elsewhere."""
    digest = random_image(layout)
    names = [registry.reference("app:1"), registry.reference("app:2")]

    code = main(["push", str(layout.path), *names])

    said = capsys.readouterr()
    assert (code, said.out.splitlines()) == (0, [f"{name}@{digest}" for name in names])
    assert "push" in said.err


def test_push_chooses_and_tells_all_as_json(
    registry: LocalRegistry, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sizes in bytes, digests as text."""
    wanted, _ = random_image(layout, seed=1), random_image(layout, seed=2)
    name = registry.reference("app:1")
    argv = ["push", str(layout.path), name, "--image", str(wanted), "--json", "--progress", "none"]

    code = main(argv)

    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert found["digest"] == str(wanted)
    assert found["references"] == [f"{name}@{wanted}"]
    assert [one["status"] for one in found["destinations"]] == ["pushed"]
    assert list(found["images"]) == ["linux/amd64"]


def test_copy_takes_what_it_is_told_to(
    registry: LocalRegistry, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """One platform, by every option that push and copy share."""
    top = layout.document(random_index(layout, [AMD, ARM]))
    assert isinstance(top, Index)
    main(["push", str(layout.path), registry.reference("app:1"), "--progress", "none"])
    capsys.readouterr()
    shared = (
        *("--platform", "linux/arm64", "--on-existing-tag", "fail", "--on-partial", "continue"),
        *("--media-types", "keep", "--retries", "1", "--timeout", "1m", "--insecure", "r.io"),
    )

    code = main(
        ["copy", registry.reference("app:1"), registry.reference("b:1"), "--referrers", *shared]
    )

    arm = top.manifests[1].digest
    assert (code, capsys.readouterr().out) == (0, f"{registry.reference('b:1')}@{arm}\n")


def test_index_joins_images(
    registry: LocalRegistry, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    """With annotations of its own."""
    images = []
    for platform in (AMD, ARM):
        digest = random_image(layout, platform=platform)
        place = registry.reference(f"app-{platform.architecture}")
        main(["push", f"oci:{layout.path}@{digest}", place, "--progress", "none"])
        images += ["--image", f"{place}@{digest}"]
    capsys.readouterr()

    code = main(
        [
            "index",
            registry.reference("app:1"),
            *images,
            *("--annotation", "a=b", "--no-attestations", "--progress", "none"),
        ]
    )

    document = json.loads(registry.manifest("app", "1") or b"")
    digest = Digest(capsys.readouterr().out.strip().partition("@")[2])
    assert (code, digest) == (0, registry.digest("app", "1"))
    assert document["annotations"] == {"a": "b"}
    assert len(document["manifests"]) == 2


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["push", "nothing-here", "r.io/app:1"], 2),
        (["push", ".", "r.io/app:1", "--expect-current", "x"], 2),
        (["push", ".", "r.io/app:1", "--auth", "no-such-keychain"], 2),
        (["copy", "UPPER/x:!", "r.io/app:1"], 2),
        (["index", "r.io/app:1", "--image", "x", "--annotation", "x"], 2),
    ],
)
def test_mistakes_are_the_callers(
    argv: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And exit as those of other commands do."""
    monkeypatch.chdir(tmp_path)

    assert main(argv) == code
