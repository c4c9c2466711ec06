"""What a backend must be able to do, with the line that asks for it."""

import pytest

from buildpush.dockerfile import parse
from buildpush.dockerfile.faults import evidence_of
from buildpush.dockerfile.features import Need, remote_kind, used_features


def needs(text: str, target: str | None = None, **build_args: str) -> list[tuple[Need, int]]:
    uses = used_features(parse(text), target, build_args=build_args)
    return [(use.need, use.lines.first) for use in uses]


def test_copying_and_metadata_need_nothing_special() -> None:
    """Every backend can do that much."""
    assert needs('FROM a\nENV A=1\nCOPY x /y\nADD z.tar /\nCMD ["x"]') == []


@pytest.mark.parametrize(
    ("instruction", "found"),
    [
        ("RUN x", [Need.RUN]),
        ("RUN <<A\nA", [Need.RUN, Need.RUN_HEREDOC]),
        ("RUN --mount=target=/x y", [Need.RUN, Need.MOUNT_BIND]),
        (
            "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --mount=type=cache y",
            [Need.RUN, Need.MOUNT_CACHE, Need.MOUNT_TMPFS],
        ),
        ("RUN --mount=type=secret,id=x y", [Need.RUN, Need.MOUNT_SECRET]),
        ("RUN --mount=type=ssh y", [Need.RUN, Need.MOUNT_SSH]),
        ("RUN --network=default y", [Need.RUN]),
        ("RUN --network=none y", [Need.RUN, Need.NETWORK]),
        ("RUN --security=insecure y", [Need.RUN, Need.SECURITY]),
        ("RUN --device=gpu y", [Need.RUN, Need.DEVICE]),
        ("COPY --from=b / /", [Need.COPY_FROM]),
        ("COPY --parents --link a b", [Need.PARENTS, Need.LINK]),
        ("COPY --exclude=a --exclude=b c d", [Need.EXCLUDE]),
        ("COPY <<A /a\nA", [Need.COPY_HEREDOC]),
        ("ADD <<A /a\nA", [Need.COPY_HEREDOC]),
        ("ADD https://a.b/c https://a.b/d /", [Need.ADD_URL]),
        ("ADD --checksum=sha256:a https://a.b/c /", [Need.ADD_URL, Need.CHECKSUM]),
        ("ADD git@a.b:c/d.git /", [Need.ADD_GIT]),
        ("ADD --unpack=false a /", [Need.UNPACK]),
    ],
)
def test_an_instruction_asks_for_what_it_uses(instruction: str, found: list[Need]) -> None:
    """Once per line, however often."""
    assert needs(f"FROM a\n{instruction}") == [(need, 2) for need in found]


def test_stages_nobody_needs_ask_for_nothing() -> None:
    """A backend without RUN can still build the target that only copies."""
    text = "FROM a AS test\nRUN x\nFROM b AS final\nCOPY x y"

    assert needs(text, "final") == []
    assert needs(text, "test") == [(Need.RUN, 2)]


def test_variables_the_dockerfile_sets_are_expanded() -> None:
    """Also across stages, and with build args over defaults."""
    text = (
        "ARG HOST=a.b\nFROM x AS base\nARG HOST\nENV URL=https://${HOST}/c\n"
        "FROM base\nARG KIND=cache\nADD $URL /\nRUN --mount=type=$KIND,target=/x y"
    )

    assert needs(text) == [(Need.ADD_URL, 7), (Need.RUN, 8), (Need.MOUNT_CACHE, 8)]
    assert needs(text, KIND="tmpfs")[2] == (Need.MOUNT_TMPFS, 8)


def test_what_cannot_be_expanded_is_left_alone() -> None:
    """The build will say so with the right line; a plan need not."""
    text = "FROM x\nARG A=${B:?c}\nENV D=${B:?c}\nADD ${B:?https://x/} /"

    assert needs(text) == []


def test_triggers_count_where_they_run() -> None:
    """The line is the one with ONBUILD."""
    text = "FROM a AS base\nONBUILD RUN x\nFROM base"

    assert needs(text) == [(Need.ONBUILD, 2), (Need.RUN, 2)]
    assert needs(text, "base") == []


def test_a_use_can_be_shown() -> None:
    """A refusal carries the Dockerfile's lines."""
    dockerfile = parse("FROM a\nRUN --network=none \\\n  x\n", filename="D")
    use = used_features(dockerfile)[1]

    shown = evidence_of(dockerfile, use.lines).render()

    assert use.detail == "--network=none"
    assert shown == "D:2\n     1 | FROM a\n>    2 | RUN --network=none \\\n>    3 |   x"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("https://github.com/a/b.git", "git"),
        ("https://github.com/a/b.git#v1:sub", "git"),
        ("https://github.com/a/b.git?tag=v1", "git"),
        ("http://a/b.git", "git"),
        ("git://a/b", "git"),
        ("ssh://git@a/b", "git"),
        ("git@github.com:a/b.git#main", "git"),
        ("https://a.b/c.tar.gz?x=.git", "url"),
        ("http://a", "url"),
        ("github.com/a/b", ""),
        ("./a@b:c", ""),
        ("ftp://a/b", ""),
        ("a.git", ""),
        ("", ""),
    ],
)
def test_a_source_is_a_path_unless_it_says_otherwise(source: str, kind: str) -> None:
    """The old ``github.com/…`` spelling is a path to ADD."""
    assert remote_kind(source) == kind
