"""Variables, scopes, titles and history of a planned stage, as BuildKit has them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from buildpush.backends.native.recipe.config import DEFAULT_PATH, empty_image
from buildpush.backends.native.recipe.graph import plan_stage
from buildpush.backends.native.recipe.operations import (
    Annotate,
    Execute,
    ImageOrigin,
    MakeDirectory,
    StageOrigin,
    Transfer,
)
from buildpush.backends.native.recipe.scope import Base, Scope, StagePlan
from buildpush.dockerfile import Dockerfile, parse
from buildpush.dockerfile.arguments import global_arguments
from buildpush.errors import DockerfileError, SourceEvidence
from buildpush.oci import Platform
from buildpush.oci.wire import ImageConfig, RunConfig

AMD64 = Platform.of("linux", "amd64")
ARM64 = Platform.of("linux", "arm64")


def scope_of(dockerfile: Dockerfile, args: Mapping[str, str] | None = None) -> Scope:
    return Scope(
        dockerfile=dockerfile,
        build_args=args or {},
        global_args=global_arguments(
            dockerfile, build_args=args or {}, platform=ARM64, build_platform=AMD64
        ),
    )


def planned(
    body: str,
    *,
    args: Mapping[str, str] | None = None,
    image: ImageConfig | None = None,
    head: str = "",
) -> StagePlan:
    """The plan of the one stage whose instructions are *body*."""
    dockerfile = parse(f"{head}FROM scratch\n{body}\n")
    base = Base.of_image(image or empty_image(AMD64), counts=image is not None)
    return plan_stage(dockerfile.stages[0], base, scope_of(dockerfile, args))


@pytest.mark.parametrize(
    ("head", "body", "args", "expected"),
    [
        ("", "ENV X=$A", {}, ""),
        ("ARG A=global\n", "ENV X=$A", {}, ""),
        ("ARG A=global\n", "ARG A\nENV X=$A", {}, "global"),
        ("ARG A=global\n", "ARG A=own\nENV X=$A", {}, "own"),
        ("ARG A=global\n", "ARG A\nENV X=$A", {"A": "given"}, "given"),
        ("", "ENV X=$A", {"A": "undeclared"}, ""),
        ("", "ARG A=1\nENV A=2\nENV X=$A", {"A": "3"}, "2"),
        ("", "ENV A=2\nARG A=1\nENV X=$A", {}, "1"),
        ("", "ARG A=1\nARG B=$A$A\nENV X=$B", {}, "11"),
        ("", "ENV A=old\nENV A=new X=$A", {}, "old"),
        ("", "ENV A=1\nENV X='$A'", {}, "$A"),
        ("", 'ENV A=1\nENV X="$A b"', {}, "1 b"),
        ("", "ENV A=1\nENV X=\\$A", {}, "$A"),
        ("", "ENV X=${A:-fallback}", {}, "fallback"),
        ("", "ENV A=1\nENV X=${A:+set}", {}, "set"),
        ("", "ARG TARGETARCH\nENV X=$TARGETARCH", {}, "arm64"),
        ("", "ENV X=$TARGETARCH", {}, ""),
        ("", "ENV X=$HTTP_PROXY", {"HTTP_PROXY": "http://p"}, ""),
    ],
)
def test_scopes(head: str, body: str, args: dict[str, str], expected: str) -> None:
    """What ``X`` becomes."""
    plan = planned(body, args=args, head=head)

    assert plan.env["X"] == expected
    assert f"X={expected}" in plan.image.config.env


def test_args_are_the_environment_of_run_but_not_of_the_image() -> None:
    """An ARG is gone when the image is finished."""
    plan = planned("ARG A=1\nENV B=2\nRUN true")

    execute = plan.operations[-1]
    assert isinstance(execute, Execute)
    assert dict(execute.env) == {"PATH": DEFAULT_PATH, "A": "1", "B": "2"}
    assert plan.image.config.env == (f"PATH={DEFAULT_PATH}", "B=2")


def test_run_is_not_expanded() -> None:
    """The shell in the container expands RUN, CMD, ENTRYPOINT and HEALTHCHECK."""
    plan = planned("ENV A=1\nRUN echo $A\nCMD echo $A\nHEALTHCHECK CMD echo $A")

    run = plan.operations[1]
    assert isinstance(run, Execute)
    assert run.argv == ("/bin/sh", "-c", "echo $A")
    assert plan.image.config.cmd == ("/bin/sh", "-c", "echo $A")
    assert plan.image.config.healthcheck == {"Test": ["CMD-SHELL", "echo $A"]}


def test_proxies_reach_run_without_being_declared() -> None:
    """In both spellings, and in no history."""
    plan = planned("RUN true", args={"HTTP_PROXY": "http://user:word@p"})

    run = plan.operations[0]
    assert isinstance(run, Execute)
    assert run.proxies == {"http_proxy": "http://user:word@p", "HTTP_PROXY": "http://user:word@p"}
    assert "HTTP_PROXY" not in run.env
    assert run.created_by == "RUN /bin/sh -c true # buildkit"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("ARG A", "ARG A"),
        ("ARG A=1 B=$PATH", f"ARG A=1 B={DEFAULT_PATH}"),
        ("ENV A=1 B='c d'", "ENV A=1 B=c d"),
        ("RUN a && b", "RUN /bin/sh -c a && b # buildkit"),
        ('RUN ["a", "b"]', "RUN a b # buildkit"),
        ("COPY a b/", "COPY a b/ # buildkit"),
        ("COPY --chown=1:2 --chmod=644 a b c/", "COPY --chown=1:2 --chmod=644 a b c/ # buildkit"),
        ("COPY --link --exclude=x a c/", "COPY a c/ # buildkit"),
        ("ADD a.tar /", "ADD a.tar / # buildkit"),
        ("COPY <<EOF /f\nx\nEOF", "COPY <<EOF /f # buildkit"),
        ("WORKDIR a", "WORKDIR /a"),
        ("WORKDIR a//b/../c/", "WORKDIR /a/c"),
        ("WORKDIR /a//b/../c/", "WORKDIR /a//b/../c/"),
        ("WORKDIR /.", "WORKDIR /."),
        ("USER u:g", "USER u:g"),
        ("EXPOSE 80 90-91/udp", "EXPOSE [80/tcp 90/udp 91/udp]"),
        ("VOLUME /a /b", "VOLUME [/a /b]"),
        ("LABEL a=1 b=2", "LABEL a=1 b=2"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGTERM"),
        ('CMD ["a", "b\\"c"]', 'CMD ["a" "b\\"c"]'),
        ("ENTRYPOINT x y", 'ENTRYPOINT ["/bin/sh" "-c" "x y"]'),
        ('SHELL ["/bin/bash", "-c"]', "SHELL [/bin/bash -c]"),
        (
            "HEALTHCHECK --interval=90s --retries=2 CMD x",
            (
                "HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:0s StartPeriod:0s "
                "StartInterval:0s Retries:2}"
            ),
        ),
        ("ONBUILD RUN x", ""),
        ("MAINTAINER me", "MAINTAINER me"),
    ],
)
def test_history(body: str, expected: str) -> None:
    """The text BuildKit leaves in the history."""
    plan = planned(body)

    assert plan.operations[-1].created_by == expected


def test_history_of_run_begins_with_its_args() -> None:
    """Each ARG once, with the value RUN sees; ENV over ARG shows the ENV's."""
    plan = planned("ARG A=1\nARG B\nARG A=2\nENV B=env\nRUN x")

    assert plan.operations[-1].created_by == "RUN |2 A=2 B=env /bin/sh -c x # buildkit"


def test_titles_count_the_steps() -> None:
    """FROM is the first step when there is something to fetch; only what makes layers counts."""
    image = ImageConfig(architecture="amd64", os="linux")

    plan = planned("ENV A=1\nWORKDIR /w\nCOPY $A x\nRUN echo $A", image=image)

    titles = [o.title for o in plan.operations if not isinstance(o, Annotate)]
    assert titles == ["[2/4] WORKDIR /w", "[3/4] COPY 1 x", "[4/4] RUN echo $A"]


def test_titles_name_the_stage_when_there_are_several() -> None:
    """Unnamed stages are called stage-0, stage-1, …"""
    dockerfile = parse("FROM scratch AS one\nCOPY a b\nFROM scratch\nCOPY a b\n")
    base = Base.of_image(empty_image(AMD64), counts=False)

    plans = [plan_stage(s, base, scope_of(dockerfile)) for s in dockerfile.stages]

    titles = [plan.operations[0].title for plan in plans]
    assert titles == ["[one 1/1] COPY a b", "[stage-1 1/1] COPY a b"]


def test_onbuild_triggers_of_the_base_run_first() -> None:
    """In order, and the new image has them no more."""
    image = ImageConfig(
        architecture="amd64",
        os="linux",
        config=RunConfig(on_build=("ENV A=trigger", "RUN echo $A")),
    )

    plan = planned("ENV B=$A\nONBUILD RUN later", image=image)

    assert [o.created_by for o in plan.operations] == [
        "ENV A=trigger",
        "RUN /bin/sh -c echo $A # buildkit",
        "ENV B=trigger",
        "",
    ]
    assert plan.operations[1].title == "[2/2] ONBUILD RUN echo $A"
    assert plan.image.config.on_build == ("RUN later",)


def test_a_stage_upon_a_stage_inherits_its_args() -> None:
    """ARGs of the parent stage stay in scope, as BuildKit has it."""
    dockerfile = parse("FROM scratch AS a\nARG X=1\nONBUILD ENV Y=$X\nFROM a\nRUN env\n")
    scope = scope_of(dockerfile)
    first = plan_stage(dockerfile.stages[0], Base.of_image(empty_image(AMD64)), scope)

    second = plan_stage(dockerfile.stages[1], Base.of_stage(first), scope)

    run = second.operations[-1]
    assert isinstance(run, Execute)
    assert run.env["X"] == "1" and run.env["Y"] == "1"
    assert run.created_by == "RUN |1 X=1 /bin/sh -c env # buildkit"


def test_origins_are_stages_or_images() -> None:
    """By name in any case, by number, else an image."""
    dockerfile = parse(
        "FROM scratch AS Base\nFROM scratch\nCOPY --from=BASE a b\nCOPY --from=0 a b\n"
        "RUN --mount=from=busybox,target=/m x\n"
    )
    base = Base.of_image(empty_image(AMD64))

    plan = plan_stage(dockerfile.stages[1], base, scope_of(dockerfile))

    assert plan.origins == (StageOrigin(index=0), ImageOrigin(name="busybox"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM scratch AS a\nCOPY --from=a x y\n", "must come before"),
        ("FROM scratch AS a\nCOPY --from=7 x y\n", "no stage 7"),
        ("FROM scratch AS a\nEXPOSE $NO 70000\n", "70000"),
        ("FROM scratch AS a\nSTOPSIGNAL SIGNOPE\n", "SIGNOPE"),
        ('FROM scratch AS a\nENV A="${B:?b is needed}"\n', "b is needed"),
        ("FROM scratch AS a\nARG T=/\nRUN --mount=type=cache,target=$T x\n", "mount target"),
        ("FROM scratch AS a\nARG T=odd\nRUN --mount=type=$T x\n", "odd"),
    ],
)
def test_faults_show_their_line(text: str, message: str) -> None:
    """Every error of planning is a `DockerfileError` with the instruction's lines."""
    dockerfile = parse(text)
    base = Base.of_image(empty_image(AMD64))

    with pytest.raises(DockerfileError, match=message) as caught:
        plan_stage(dockerfile.stages[0], base, scope_of(dockerfile))

    evidence = caught.value.evidence[0]
    assert isinstance(evidence, SourceEvidence)
    assert evidence.first_line == len(text.splitlines())


def test_workdir_is_relative_to_the_one_before() -> None:
    """It names an absolute, clean path, for the user of the moment."""
    plan = planned("WORKDIR /a/b\nUSER me\nWORKDIR ../c")

    last = plan.operations[-1]
    assert isinstance(last, MakeDirectory)
    assert (last.path, last.user) == ("/a/c", "me")


def test_the_root_as_workdir_makes_nothing() -> None:
    """It is always there."""
    plan = planned("WORKDIR /")

    assert isinstance(plan.operations[0], Annotate)
    assert plan.operations[0].created_by == "WORKDIR /"


def test_heredocs_become_files() -> None:
    """Variables in them are expanded unless the word was quoted; quotes in the text stay."""
    plan = planned("ENV A=1\nCOPY <<a <<'b' /d/\n\"$A\"\na\n$A\nb")

    copy = plan.operations[-1]
    assert isinstance(copy, Transfer)
    assert copy.sources == ()
    assert [(f.name, f.data) for f in copy.inline] == [("a", b'"1"\n'), ("b", b"$A\n")]


@pytest.mark.parametrize(
    ("body", "argv"),
    [
        ("RUN <<EOF\na\nb\nEOF", ("/bin/sh", "-c", "a\nb\n")),
        ("RUN cat <<EOF\na\nEOF", ("/bin/sh", "-c", "cat <<EOF\na\nEOF")),
        ("RUN <<EOF\n#!/bin/python\nx\nEOF", ("/bin/sh", "-c", "/dev/pipes/EOF")),
        ('SHELL ["bash", "-c"]\nRUN x', ("bash", "-c", "x")),
    ],
)
def test_commands_of_run(body: str, argv: tuple[str, ...]) -> None:
    """Heredocs are the script, go to the shell, or are run by their ``#!``."""
    run = planned(body).operations[-1]

    assert isinstance(run, Execute)
    assert run.argv == argv


def test_a_heredoc_with_an_interpreter_is_a_file() -> None:
    """It is put where the shell can execute it."""
    run = planned("RUN <<EOF\n#!/bin/python\nx\nEOF").operations[-1]

    assert isinstance(run, Execute) and run.script is not None
    assert (run.script.name, run.script.data) == ("EOF", b"#!/bin/python\nx\n")


def test_mounts_have_their_defaults() -> None:
    """Relative targets start at the working directory; caches are writable."""
    plan = planned(
        "WORKDIR /w\nENV I=key\n"
        "RUN --mount=type=cache,target=c --mount=type=secret,id=$I,required "
        "--mount=type=tmpfs,target=/t,size=2m --mount=target=/ctx,rw "
        "--mount=type=ssh --mount=type=cache,from=scratch,target=/x,ro,sharing=locked x"
    )

    run = plan.operations[-1]
    assert isinstance(run, Execute)
    specs = [spec for spec, _ in run.mounts]
    assert [(s.type, s.target, s.id, s.read_only) for s in specs] == [
        ("cache", "/w/c", "c", False),
        ("secret", "", "key", True),
        ("tmpfs", "/t", "", False),
        ("bind", "/ctx", "", False),
        ("ssh", "", "default", True),
        ("cache", "/x", "/x", True),
    ]
    assert (specs[1].required, specs[2].size, specs[5].sharing) == (True, 2 << 20, "locked")
