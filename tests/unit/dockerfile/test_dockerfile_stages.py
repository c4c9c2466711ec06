"""From a Dockerfile and a target to stages and images."""

import pytest

from buildpush.dockerfile import parse
from buildpush.dockerfile.instructions import Copy, Lines, Run
from buildpush.dockerfile.stages import find_target, resolve
from buildpush.errors import DockerfileError, SourceEvidence
from buildpush.oci import ImageReference, Platform

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")

DOCKERFILE = """\
ARG GO=1.24
FROM --platform=$BUILDPLATFORM golang:${GO} AS build
RUN --mount=from=tools,target=/t make
FROM busybox AS unused
FROM alpine AS base
FROM base AS final
COPY --from=build /app /app
COPY --from=nginx:1.27 /etc /etc
FROM scratch
COPY --from=2 / /
"""


def refused(text: str, **options: str) -> tuple[str, int]:
    with pytest.raises(DockerfileError) as caught:
        resolve(parse(text), platform=AMD64, build_platform=AMD64, **options)  # type: ignore[arg-type]
    (evidence,) = caught.value.evidence
    assert isinstance(evidence, SourceEvidence)
    return caught.value.message, evidence.first_line


@pytest.mark.parametrize(
    ("target", "index"),
    [(None, 4), ("", 4), ("build", 0), ("BUILD", 0), ("final", 3), ("0", 0), ("4", 4)],
)
def test_a_target_is_a_name_or_an_index(target: str | None, index: int) -> None:
    """Names are case-insensitive; the last stage is the default."""
    assert find_target(parse(DOCKERFILE), target) == index


def test_of_two_stages_with_one_name_the_later_is_the_target() -> None:
    """As for COPY --from."""
    assert find_target(parse("FROM a AS x\nFROM b AS x\nFROM c"), "x") == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("fnal", 'target stage "fnal" could not be found (did you mean final?)'),
        ("5", 'target stage "5" could not be found'),
        ("-1", 'target stage "-1" could not be found'),
    ],
)
def test_an_unknown_target_is_refused(target: str, message: str) -> None:
    """The hint lists the names there are."""
    with pytest.raises(DockerfileError) as caught:
        find_target(parse(DOCKERFILE), target)

    assert caught.value.message == message
    assert "build, unused, base, final" in caught.value.hint


@pytest.mark.parametrize(
    ("target", "needed"),
    [("build", (0,)), ("base", (2,)), ("final", (0, 2, 3)), (None, (2, 4))],
)
def test_only_what_a_target_reaches_is_needed(target: str | None, needed: tuple[int, ...]) -> None:
    """By FROM, by COPY --from with a name or an index, and by mounts."""
    assert resolve(parse(DOCKERFILE), target=target).needed == needed


def test_base_images_come_with_their_platform_and_line() -> None:
    """FROM builds for its own platform; what is copied from is for the target."""
    resolution = resolve(parse(DOCKERFILE), target="final", platform=ARM64, build_platform=AMD64)
    images = resolution.base_images

    assert [(i.stage, i.name, i.reference, i.platform, i.lines.first) for i in images] == [
        (0, "golang:1.24", ImageReference.parse("golang:1.24"), AMD64, 2),
        (0, "tools", ImageReference.parse("tools"), ARM64, 3),
        (2, "alpine", ImageReference.parse("alpine"), ARM64, 5),
        (3, "nginx:1.27", ImageReference.parse("nginx:1.27"), ARM64, 8),
    ]


def test_a_stage_builds_for_the_platform_of_the_stage_below() -> None:
    """FROM stage inherits, whatever its own --platform says."""
    text = "FROM --platform=linux/arm64 a AS x\nFROM --platform=linux/amd64 x"

    resolution = resolve(parse(text), platform=AMD64, build_platform=AMD64)

    assert [stage.platform for stage in resolution.stages] == [ARM64, ARM64]


@pytest.mark.parametrize(
    ("written", "platform"),
    [("arm64", ARM64), ("linux", AMD64), ("ARM", Platform("linux", "arm", "v7"))],
)
def test_half_a_platform_is_completed_from_the_build_platform(
    written: str, platform: Platform
) -> None:
    """``--platform=arm64`` is common shorthand."""
    resolution = resolve(
        parse(f"FROM --platform={written} a"), platform=ARM64, build_platform=AMD64
    )

    assert resolution.stages[0].platform == platform


def test_from_sees_earlier_stages_only() -> None:
    """A later stage of that name is no stage yet: the name is an image's."""
    resolution = resolve(parse("FROM b AS a\nFROM x AS b"), target="a")

    assert resolution.stages[0].base.reference == ImageReference.parse("b")


def test_a_mount_knows_no_index() -> None:
    """Unlike COPY --from=0, ``from=0`` is an image called 0."""
    resolution = resolve(parse("FROM a\nFROM b\nRUN --mount=from=0,target=/x y"))

    assert [origin.stage for origin in resolution.stages[1].sources] == [None]
    assert resolution.needed == (1,)


def test_scratch_is_nothing_to_fetch() -> None:
    """Unless a stage has taken the name."""
    plain = resolve(parse("FROM scratch\nCOPY --from=scratch / /"))
    named = resolve(parse("FROM a AS scratch\nFROM scratch"))

    assert plain.stages[0].base.is_scratch
    assert plain.base_images == ()
    assert named.stages[1].base.stage == 0


def test_triggers_of_the_stage_below_come_first() -> None:
    """ONBUILD runs in the stage that says FROM, and makes it need what it copies from."""
    text = (
        "FROM a AS tools\nFROM b AS base\nONBUILD COPY --from=tools / /\nFROM base AS mid\nRUN x\n"
        "FROM mid"
    )

    resolution = resolve(parse(text))

    assert [type(i) for i in resolution.stages[2].instructions] == [Copy, Run]
    assert resolution.stages[3].instructions == ()
    assert resolve(parse(text), target="mid").needed == (0, 1, 2)
    assert resolve(parse(text), target="base").needed == (1,)


def test_build_contexts_replace_images_and_stages() -> None:
    """A replaced stage is neither built nor looked into."""
    text = (
        "FROM alpine:latest AS a\nFROM nosuch AS b\nCOPY --from=x / /\nFROM a\n"
        "COPY --from=b / /\nCOPY --from=docs / /\nRUN --mount=from=ghcr.io/a/b:1,target=/m x"
    )

    resolution = resolve(parse(text), contexts=["alpine", "b", "docs", "ghcr.io/a/b:1"])

    assert resolution.base_images == ()
    assert resolution.needed == (0, 1, 2)
    assert resolution.stages[1].sources == ()
    assert [origin.context for origin in resolution.stages[2].sources] == [False, True, True]


def test_a_name_that_is_no_image_may_still_be_a_context() -> None:
    """Contexts are compared as written first."""
    dockerfile = parse("FROM a\nCOPY --from=My_Docs / /\nCOPY --from=Other / /")

    with pytest.raises(DockerfileError, match='failed to parse stage name "Other"'):
        resolve(dockerfile, contexts=["My_Docs"])


def test_scratch_cannot_be_replaced_by_a_context() -> None:
    """Nor can the context itself."""
    resolution = resolve(parse("FROM scratch"), contexts=["scratch"])

    assert resolution.stages[0].base.is_scratch


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("FROM $X", "base name ($X) should not be blank", 1),
        ("ARG A=${B:?say}\nFROM x", "failed to process '${B:?say}': B: say", 1),
        ("FROM '", "failed to process", 1),
        ("FROM a AS x\nFROM X", 'failed to parse stage name "X"', 2),
        ("FROM a\nFROM b\nCOPY --from=A: / /\nFROM c", 'failed to parse stage name "A:"', 3),
        ("FROM --platform=$X a", "empty platform value from expression $X", 1),
        ("FROM --platform=a/b/c/d x", "failed to parse platform a/b/c/d", 1),
        ("FROM a\nCOPY --from=1 / /", "invalid stage index 1", 2),
        ("FROM a\nCOPY --from=-1 / /", "invalid stage index -1", 2),
        ("FROM a AS x\nCOPY --from=x / /", "circular dependency detected on stage: x", 2),
        ("FROM a\nCOPY --from=0 / /", "circular dependency detected on stage: 0", 2),
        (
            "FROM a AS x\nRUN y\nCOPY --from=z / /\nFROM b AS z\nRUN --mount=from=x,target=/x z",
            "circular dependency detected on stage: x",
            3,
        ),
        (
            "FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nFROM x",
            'cannot copy from stage "y", it needs to be defined before current stage "x"',
            2,
        ),
        (
            "FROM a AS x\nRUN --mount=from=y,target=/m z\nFROM b AS y\nFROM x",
            'cannot mount from stage "y" to "/m", stage needs to be defined before',
            2,
        ),
    ],
)
def test_stages_that_do_not_fit_are_refused_with_the_line(
    text: str, message: str, line: int
) -> None:
    """Messages are BuildKit's, where it has one."""
    found, where = refused(text)

    assert found.startswith(message)
    assert where == line


def test_a_later_stage_matters_only_to_a_stage_that_is_needed() -> None:
    """BuildKit does not look into the others."""
    text = "FROM a AS x\nCOPY --from=y / /\nFROM b AS y"

    assert resolve(parse(text), target="y").needed == (1,)


def test_a_stage_in_the_wrong_case_is_hinted_at() -> None:
    """FROM compares exactly; an image name has no upper case, so the intent is clear."""
    with pytest.raises(DockerfileError) as caught:
        resolve(parse("FROM a AS Build\nFROM Build"))

    assert caught.value.hint == "FROM wants the stage in lower case: build"


def test_many_stages_are_no_problem() -> None:
    """Chains longer than Python's recursion limit resolve."""
    text = "FROM a AS s0\n" + "".join(
        f"FROM b AS s{n}\nCOPY --from=s{n - 1} / /\n" for n in range(1, 1500)
    )

    assert len(resolve(parse(text)).needed) == 1500


def test_lines_are_those_of_the_instruction() -> None:
    """An origin is evidence for whoever cannot fetch it."""
    resolution = resolve(parse(DOCKERFILE), target="final")

    assert resolution.stages[3].sources[1].lines == Lines(first=8, last=8)
