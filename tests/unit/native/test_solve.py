"""Whole builds that need neither root nor a network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import pytest
from attrs import evolve

from buildpush.errors import (
    BuildError,
    DockerfileError,
    SourceEvidence,
    SpecError,
    StepCancelledError,
    StepTimeoutError,
)
from buildpush.oci import Platform
from buildpush.oci.layout import Layout
from buildpush.oci.wire import (
    History,
    Manifest,
    MediaType,
    dump,
    parse_config,
    parse_manifest,
)
from buildpush.runtime import CancelToken
from buildpush.testing import random_image


class Built(Protocol):
    artifact: Any
    manifest: dict[str, Any]
    config: dict[str, Any]

    def files(self, number: int = -1) -> dict[str, bytes]: ...
    def member(self, name: str, number: int = -1) -> Any: ...


class Workshop(Protocol):
    root: Path
    context: Path
    store: Path
    outcomes: dict[str, str]
    warnings: list[str]
    events: list[Any]

    def file(self, name: str, text: str = "") -> Path: ...
    def build(self, text: str, **settings: Any) -> Built: ...


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout.create(tmp_path / "base")
    random_image(found, layers=2, size=64)
    return found


def test_copy_makes_a_layer(workshop: Workshop) -> None:
    """Files, config and history."""
    workshop.file("a", "1")

    built = workshop.build("FROM scratch\nCOPY --chown=7 --chmod=600 a /x/b\n")

    assert built.files() == {"x/b": b"1"}
    member = built.member("x/b")
    assert (member.uid, member.gid, member.mode) == (7, 7, 0o600)
    assert [h["created_by"] for h in built.config["history"]] == [
        "COPY --chown=7 --chmod=600 a /x/b # buildkit"
    ]


def test_the_same_files_make_the_same_layers_in_another_store(
    workshop: Workshop, tmp_path: Path
) -> None:
    """Made folders have no time of their own."""
    workshop.file("a", "1")
    text = "FROM scratch\nWORKDIR /w/x\nCOPY a b/c\n"
    first = workshop.build(text)
    (tmp_path / "cache").rename(tmp_path / "old")

    second = workshop.build(text)

    assert second.manifest["layers"] == first.manifest["layers"]


def test_an_unchanged_rebuild_is_cached(workshop: Workshop) -> None:
    """And a touched file is still the same file."""
    path = workshop.file("a", "1")
    text = "FROM scratch\nCOPY a /\n"
    first = workshop.build(text)
    os.utime(path, (5, 5))

    second = workshop.build(text)

    assert second.artifact.digest == first.artifact.digest
    assert workshop.outcomes == {"[1/1] COPY a /": "cached"}


@pytest.mark.parametrize("settings", [{"no_cache": True}, {"no_cache_filter": ("S",)}])
def test_the_cache_can_be_ignored(workshop: Workshop, settings: dict[str, Any]) -> None:
    """For all stages, or for those named."""
    workshop.file("a", "1")
    text = "FROM scratch AS s\nCOPY a /\n"
    workshop.build(text)

    workshop.build(text, **settings)

    assert workshop.outcomes == {"[1/1] COPY a /": "done"}


def test_a_damaged_layer_is_made_again(workshop: Workshop) -> None:
    """It is never served."""
    workshop.file("a", "1")
    text = "FROM scratch\nCOPY a /\n"
    first = workshop.build(text)
    digest = first.manifest["layers"][0]["digest"].removeprefix("sha256:")
    blob = workshop.store / "blobs" / "sha256" / digest
    size = blob.stat().st_size
    blob.unlink()  # the artifact's file is a hard link
    blob.write_bytes(b"x" * size)

    second = workshop.build(text)

    assert workshop.outcomes == {"[1/1] COPY a /": "done"}
    assert second.files() == {"a": b"1"}


def test_a_wildcard_sees_every_match(workshop: Workshop) -> None:
    """A change in any of them counts, wherever they go."""
    workshop.file("x1", "1")
    workshop.file("x2", "2")
    text = "FROM scratch\nWORKDIR /d\nCOPY x* /d\n"
    workshop.build(text)
    workshop.file("x1", "changed")

    built = workshop.build(text)

    assert built.files() == {"d/x1": b"changed", "d/x2": b"2"}


def test_stages_copy_from_each_other(workshop: Workshop) -> None:
    """By name and by number."""
    workshop.file("a", "1")

    built = workshop.build(
        "FROM scratch AS one\nCOPY a /p/q\nFROM scratch\nCOPY --from=one /p/q /r\n"
        "COPY --from=0 p /s\n"
    )

    assert (built.files(0), built.files(1)) == ({"r": b"1"}, {"s/q": b"1"})


def test_a_stage_upon_a_stage_shares_its_layers(workshop: Workshop) -> None:
    """And its history."""
    workshop.file("a", "1")

    built = workshop.build(
        "FROM scratch AS one\nENV A=1\nCOPY a /a\nFROM one\nCOPY a /b\n", target=None
    )

    assert [built.files(0), built.files(1)] == [{"a": b"1"}, {"b": b"1"}]
    assert len(built.config["history"]) == 3


def test_global_args_choose_the_base(workshop: Workshop) -> None:
    """FROM is expanded with them."""
    workshop.file("a", "1")
    text = "ARG WHICH=two\nFROM scratch AS one\nCOPY a /1\nFROM scratch AS two\nCOPY a /2\nFROM $WHICH\n"

    assert workshop.build(text).files() == {"2": b"1"}
    assert workshop.build(text, build_args={"WHICH": "one"}).files() == {"1": b"1"}


def test_names_of_owners_are_looked_up(workshop: Workshop) -> None:
    """In the image, and root is taken for strangers, with a warning."""
    workshop.file("a", "1")
    head = "FROM scratch\nCOPY <<EOF /etc/passwd\nme:x:42:43::/:\nEOF\n"

    known = workshop.build(f"{head}COPY --chown=me a /a\n")
    unknown = workshop.build(f"{head}COPY --chown=you a /a\n")

    assert (known.member("a").uid, known.member("a").gid) == (42, 43)
    assert unknown.member("a").uid == 0
    assert any("'you'" in warning for warning in workshop.warnings)


def test_a_linked_copy_does_not_depend_on_what_is_below(workshop: Workshop) -> None:
    """With another parent it is still cached."""
    workshop.file("a", "1")
    workshop.build("FROM scratch\nCOPY --link a /x/\n")

    workshop.build("FROM scratch\nCOPY a /other\nCOPY --link a /x/\n")

    assert workshop.outcomes["[2/2] COPY --link a /x/"] == "cached"


def test_a_base_from_a_layout(workshop: Workshop, layout: Layout) -> None:
    """``oci-layout://`` in the place of an image; its layers are kept as they are."""
    workshop.file("a", "1")

    built = workshop.build(
        "FROM thing:1\nCOPY a /\n", build_contexts={"thing:1": f"oci-layout://{layout.path}"}
    )

    assert len(built.manifest["layers"]) == 3
    assert built.artifact.origins == {}
    for layer in built.manifest["layers"]:
        assert (built.artifact.path / "blobs" / layer["digest"].replace(":", "/")).exists()
    assert built.config["config"]["Env"] == ["PATH=/bin"]


def test_a_relative_layout_with_a_digest(workshop: Workshop, layout: Layout) -> None:
    """The path starts at the working directory; the digest chooses."""
    digest = layout.index().manifests[0].digest

    built = workshop.build("FROM x\n", build_contexts={"x": f"oci-layout://base@{digest}"})

    assert len(built.manifest["layers"]) == 2


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("oci-layout://base:nope", "has no image nope"),
        ("oci-layout://nowhere", "nowhere"),
        ("nowhere", "not a folder"),
    ],
)
def test_a_context_that_is_not_there(
    workshop: Workshop, layout: Layout, context: str, message: str
) -> None:
    """`SpecError` says which; a layout that exists lists what it lacks."""
    with pytest.raises(SpecError, match=message):
        workshop.build("FROM x\n", build_contexts={"x": context})


def test_a_context_replaces_a_stage(workshop: Workshop, layout: Layout) -> None:
    """Nothing of the stage is executed."""
    workshop.file("a", "1")
    contexts = {"dep": f"oci-layout://{layout.path}", "files": "other"}
    (workshop.root / "other").mkdir()
    (workshop.root / "other" / "f").write_text("2")

    built = workshop.build(
        "FROM scratch AS dep\nCOPY missing /\nFROM scratch AS files\nCOPY missing /\n"
        "FROM dep\nCOPY --from=files f /g\n",
        build_contexts=contexts,
    )

    assert len(built.manifest["layers"]) == 3
    assert built.files() == {"g": b"2"}


def test_a_base_for_another_platform_warns(workshop: Workshop, layout: Layout) -> None:
    """COPY works all the same."""
    workshop.file("a", "1")

    built = workshop.build(
        "FROM x\nCOPY a /\n",
        build_contexts={"x": f"oci-layout://{layout.path}"},
        platforms=(Platform.of("linux", "s390x"),),
    )

    assert built.config["architecture"] == "s390x"
    assert any("linux/s390x" in warning for warning in workshop.warnings)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("FROM scratch\nCOPY nope /\n", 2, "not found"),
        ("FROM scratch\nWORKDIR /a\nCOPY https://x.test/y /\n", 3, "COPY cannot fetch"),
        ("FROM scratch\nADD --checksum=sha256:00 nope /\n", 2, "checksum"),
        ("FROM scratch\nCOPY a /x\nWORKDIR /x\n", 3, "not a directory"),
        ("FROM scratch\nRUN --mount=type=secret,id=s,required true\n", 2, "'s' is required"),
        ("FROM scratch\nRUN --mount=type=ssh,required true\n", 2, "'default' is required"),
    ],
)
def test_failures_show_their_line(workshop: Workshop, text: str, line: int, message: str) -> None:
    """As evidence, once."""
    workshop.file("a", "1")

    with pytest.raises(BuildError, match=message) as caught:
        workshop.build(text)

    sources = [e for e in caught.value.evidence if isinstance(e, SourceEvidence)]
    assert [e.first_line for e in sources] == [line]


def test_an_unknown_target_is_refused_before_anything_runs(workshop: Workshop) -> None:
    """No task has begun."""
    with pytest.raises(DockerfileError, match="nope"):
        workshop.build("FROM scratch\nCOPY x /\n", target="nope")

    assert workshop.outcomes == {}


def test_a_cancelled_build_raises_its_reason(workshop: Workshop) -> None:
    """Whatever was going on."""
    workshop.file("a", "1")
    late, called = CancelToken(), CancelToken()
    late.cancel(StepTimeoutError("too late"))
    called.cancel()

    with pytest.raises(StepTimeoutError, match="too late"):
        workshop.build("FROM scratch\nCOPY a /\n", cancel=late)
    with pytest.raises(StepCancelledError):
        workshop.build("FROM scratch\nCOPY a /\n", cancel=called)


def test_nothing_is_left_in_the_work_folder(workshop: Workshop) -> None:
    """Neither after success nor after failure."""
    workshop.file("a", "1")
    workshop.build("FROM scratch\nCOPY a /\n")
    with pytest.raises(BuildError):
        workshop.build("FROM scratch\nCOPY a /\nCOPY nope /\n")

    assert list((workshop.store / "work").iterdir()) == []


def test_annotations_go_where_they_say(workshop: Workshop) -> None:
    """As buildx reads their keys."""
    platforms = (Platform.of("linux", "amd64"), Platform.of("linux", "arm64"))

    built = workshop.build(
        "FROM scratch\nENV A=1\n",
        platforms=platforms,
        annotations={
            "a:plain": "1",
            "index,manifest:both": "2",
            "manifest[linux/arm64]:arm": "3",
            "manifest-descriptor:on": "4",
        },
    )

    index = built.manifest
    assert index["annotations"] == {"both": "2"}
    assert [m["annotations"] for m in index["manifests"]] == [{"on": "4"}, {"on": "4"}]
    found = [built.json(m["digest"])["annotations"] for m in index["manifests"]]  # type: ignore[attr-defined]
    assert found == [{"a:plain": "1", "both": "2"}, {"a:plain": "1", "both": "2", "arm": "3"}]


def test_an_annotation_needs_a_key(workshop: Workshop) -> None:
    """A prefix alone is none."""
    with pytest.raises(SpecError, match="no key"):
        workshop.build("FROM scratch\nENV A=1\n", annotations={"index:": "1", "manifest:": "2"})


@pytest.mark.parametrize("reproducible", [True, "strict"])
def test_reproducible_builds_have_no_times(workshop: Workshop, reproducible: Any) -> None:
    """Everything is of 1970."""
    workshop.file("a", "1")

    built = workshop.build("FROM scratch\nCOPY a /\n", reproducible=reproducible)

    assert built.member("a").mtime == 0
    assert built.config["created"] == "1970-01-01T00:00:00Z"


def test_the_epoch_is_a_build_arg(workshop: Workshop) -> None:
    """For RUN and expansions that declare it."""
    built = workshop.build(
        "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV A=$SOURCE_DATE_EPOCH\n", source_date_epoch=5
    )

    assert built.config["config"]["Env"][-1] == "A=5"


def test_a_build_arg_may_set_the_epoch(workshop: Workshop) -> None:
    """As BuildKit has it."""
    workshop.file("a", "1")

    built = workshop.build("FROM scratch\nCOPY a /\n", build_args={"SOURCE_DATE_EPOCH": "1000"})

    assert built.member("a").mtime == 1000


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], [False, False]),
        ([True, False], [True, False, False]),
        ([False, False, False], [False, False, True]),
    ],
)
def test_a_bases_history_is_made_to_fit(
    workshop: Workshop, layout: Layout, lines: list[bool], expected: list[bool]
) -> None:
    """Every layer has one line."""
    manifest = parse_manifest(layout.read(layout.index().manifests[0].digest, 1 << 20))
    assert isinstance(manifest, Manifest)
    config = parse_config(layout.read(manifest.config.digest, 1 << 20))
    odd = evolve(config, history=tuple(History(empty_layer=empty) for empty in lines))
    blob = layout.add_bytes(odd.dump(), MediaType.OCI_CONFIG)
    top = layout.add_bytes(dump(evolve(manifest, config=blob)), MediaType.OCI_MANIFEST)
    layout.set_index([top])

    built = workshop.build("FROM x\n", build_contexts={"x": "oci-layout://base"})

    found = [line.get("empty_layer", False) for line in built.config["history"]]
    assert found == expected
