"""What `parse` and `parse_onbuild` promise beyond the golden cases."""

from contextlib import suppress
from unittest.mock import Mock

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buildpush.dockerfile import parse, parse_onbuild
from buildpush.dockerfile.features import used_features
from buildpush.dockerfile.instructions import Add, Copy, Dockerfile, Lines, OnBuild, Run
from buildpush.errors import DockerfileError, SourceEvidence


def refusal(text: str | bytes) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    return caught.value


def body(text: str) -> str:
    return f"FROM alpine\n{text}\n"


def test_an_error_shows_the_whole_file_under_its_name() -> None:
    """A report needs no other source than the error."""
    with pytest.raises(DockerfileError) as caught:
        parse("FROM alpine\n\nRUNN true\n", filename="docker/app.Dockerfile")

    assert caught.value.evidence == (
        SourceEvidence(
            filename="docker/app.Dockerfile",
            first_line=3,
            last_line=3,
            text="FROM alpine\n\nRUNN true\n",
        ),
    )
    assert caught.value.message == "unknown instruction: RUNN (did you mean RUN?)"


def test_a_stage_is_put_together_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many instructions it has: long generated files take no time to speak of."""
    evolve = Mock(wraps=attrs.evolve)
    monkeypatch.setattr("buildpush.dockerfile.parser.evolve", evolve)

    (stage,) = parse("FROM scratch\n" + "ENV A=b\n" * 100).stages

    assert len(stage.instructions) == 100
    assert evolve.call_count == 1


def test_bytes_and_text_parse_alike() -> None:
    """A byte order mark belongs to neither."""
    text = "FROM alpine\nLABEL name=é\n"

    assert parse("\ufeff" + text) == parse(text.encode("utf-8-sig")) == parse(text)


def test_the_text_of_a_parsed_file_can_be_written() -> None:
    """Bytes that are not UTF-8 (in a comment) would break every display of the text."""
    dockerfile = parse(b"# \xff\nFROM alpine\n")

    assert dockerfile.text == "# \ufffd\nFROM alpine\n"


def test_half_a_surrogate_pair_is_no_text() -> None:
    """Such a str cannot be written to any file."""
    error = refusal("FROM alpine\nRUN \ud800\n")

    assert error.message == "the instruction is not UTF-8"
    error.report().encode()


@pytest.mark.parametrize(
    ("length", "ending", "fits"),
    [(65_535, "\n", True), (65_535, "", True), (65_536, "\n", False), (65_536, "", False)],
)
def test_a_line_holds_65535_bytes(length: int, ending: str, *, fits: bool) -> None:
    """The limit is that of BuildKit's scanner, counted in bytes without the line feed."""
    line = "RUN é".encode()
    text = b"FROM alpine\n" + line + b"x" * (length - len(line)) + ending.encode()

    if fits:
        assert len(parse(text).stages[0].instructions) == 1
    else:
        assert "maximum allowed size of 65535" in refusal(text).message


def test_keywords_are_known_in_any_case() -> None:
    """FROM, from and From are one."""
    dockerfile = parse("from alpine as a\nrUn true\n")

    assert dockerfile.stages[0].name == "a"
    assert isinstance(dockerfile.stages[0].instructions[0], Run)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b c", "FROM requires either one or three arguments"),
        ("FROM --platform=a --platform=b c", "duplicate flag specified: --platform"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =x", "ARG names can not be blank"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV --x A=1", "unknown flag: --x"),
        ("LABEL", "LABEL requires at least one argument"),
        ("LABEL a", "LABEL must have two arguments"),
        ("RUN []", "RUN requires at least one argument"),
        ("RUN --network=hots x", 'invalid network mode "hots" (did you mean host?)'),
        ("RUN --security=none x", 'security "none" is not valid'),
        ("RUN --mount x", "missing a value on flag: --mount"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        ('COPY ["a"]', "COPY requires at least two arguments, but only one was provided. "),
        ("COPY --from='a\"' b c", "failed to process"),
        ("ADD <<E <<F\nE\nF", "ADD cannot accept a heredoc as a destination"),
        ("CMD --x y", "unknown flag: --x"),
        ("ENTRYPOINT --x y", "unknown flag: --x"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("USER", "USER requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ('VOLUME ["a", " "]', "VOLUME specified can not be an empty string"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD --x RUN y", "unknown flag: --x"),
        ("ONBUILD MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUNN x", "unknown instruction: RUNN (did you mean RUN?)"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CURL x", 'Unknown type "CURL" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --timeout=1us CMD x", 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=-1s CMD x", 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=x CMD x", "--retries is not a number: 'x'"),
        ("HEALTHCHECK --retries=2147483648 CMD x", "--retries is not a number: '2147483648'"),
    ],
)
def test_an_instruction_with_wrong_words_is_refused(line: str, message: str) -> None:
    """Messages are BuildKit's, where it has one."""
    error = refusal(body(line))

    assert error.message.startswith(message)
    assert isinstance(error.evidence[0], SourceEvidence)
    assert error.evidence[0].first_line == 2


def test_nothing_may_hide_behind_a_deep_json_array() -> None:
    """Python's parser gives up on depth by RecursionError; the shell form is what is left."""
    dockerfile = parse(body("RUN " + "[" * 50_000))

    (run,) = dockerfile.stages[0].instructions
    assert isinstance(run, Run)
    assert run.shell


def test_numbers_of_any_length_are_no_json_strings() -> None:
    """Python refuses to convert more than 4300 digits with an error of its own."""
    assert "strings only" in refusal(body(f"RUN [{'1' * 5000}]")).message


def test_json_copy_of_a_heredoc_marker_is_an_empty_file() -> None:
    """The JSON form starts no heredoc, yet BuildKit still takes the marker for one."""
    dockerfile = parse(body('COPY ["<<EOF", "/x"]'))

    (copy,) = dockerfile.stages[0].instructions
    assert isinstance(copy, Copy)
    assert [(doc.name, doc.content) for doc in copy.heredocs] == [("EOF", "")]


def test_two_heredocs_of_one_name_share_the_last_body() -> None:
    """BuildKit looks bodies up by name."""
    dockerfile = parse(body("ADD <<A <<A /x\none\nA\ntwo\nA"))

    (add,) = dockerfile.stages[0].instructions
    assert isinstance(add, Add)
    assert [doc.content for doc in add.heredocs] == ["two\n", "two\n"]


def test_a_trigger_of_an_image_parses_to_its_instruction() -> None:
    """Heredocs stand in the trigger as ONBUILD wrote them."""
    assert parse_onbuild("COPY <<-EOF /x\n\tbody\nEOF") == Copy(
        lines=Lines(first=1, last=3),
        text="COPY <<-EOF /x",
        sources=("EOF",),
        destination="/x",
        heredocs=parse_onbuild("ADD <<-EOF /x\n\tbody\nEOF").heredocs,  # type: ignore[union-attr]
    )


def test_what_onbuild_writes_onbuild_reads() -> None:
    """A trigger survives the way through an image's config."""
    dockerfile = parse(body("ONBUILD RUN --network=none <<A cat <<-'B'\na $x\nA\n\tb\n\tB"))
    (onbuild,) = dockerfile.stages[0].instructions
    assert isinstance(onbuild, OnBuild)
    assert isinstance(onbuild.instruction, Run)

    again = parse_onbuild(onbuild.trigger)

    assert isinstance(again, Run)
    assert again.heredocs == onbuild.instruction.heredocs
    assert again.command == onbuild.instruction.command


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        ("", "onbuild trigger should be a single expression"),
        ("RUN a\nRUN b", "onbuild trigger should be a single expression"),
        ("FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUN a", "ONBUILD isn't allowed as an ONBUILD trigger"),
        ("COPY a", "COPY requires at least two arguments"),
        ("NONSENSE", "unknown instruction: NONSENSE"),
    ],
)
def test_a_trigger_that_cannot_run_is_refused(trigger: str, message: str) -> None:
    """An image can hold any text."""
    with pytest.raises(DockerfileError) as caught:
        parse_onbuild(trigger, filename="ONBUILD of base:1")

    assert caught.value.message.startswith(message)
    assert isinstance(caught.value.evidence[0], SourceEvidence)
    assert caught.value.evidence[0].filename == "ONBUILD of base:1"


_WORDS = """
    ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL VOLUME WORKDIR
    AS as NONE scratch alpine # \\ ` $ ${ } : = == [ ] , -- ' " << <<EOF <<-EOF <<"EOF" EOF <<""
    --mount= --from= type=secret,id=x escape=` --x ["a"]
"""
_PIECES = st.sampled_from(
    [*_WORDS.split(), "\n", "\r\n", "\n", " ", "\t", " ", "\u3000", "\x00", "\ud800", "FROM a\n"]
)
_TEXT = st.lists(_PIECES | st.text(max_size=3), max_size=40).map("".join)


@settings(max_examples=300, deadline=None)
@given(_TEXT | st.binary(max_size=60))
@example("FROM a\nRUN <<" + "9" * 5000 + "\n")
@example("FROM a\nRUN " + "9" * 5000 + "<<A\nA\n")
@example("FROM a\nCOPY --from=" + "${a:-" * 2000 + " b c\n")
@example("\\")
@example("FROM a\nRUN x\\")
def test_any_text_is_a_dockerfile_or_an_error_with_its_lines(text: str | bytes) -> None:
    """No other exception ever leaves the parser, whatever it is fed."""
    try:
        dockerfile = parse(text)
    except DockerfileError as error:
        (evidence,) = error.evidence
        assert isinstance(evidence, SourceEvidence)
        assert 1 <= evidence.first_line <= evidence.last_line
        error.report().encode()
    else:
        assert isinstance(dockerfile, Dockerfile)
        dockerfile.text.encode()
        with suppress(DockerfileError):
            used_features(dockerfile, build_args={"A": "1"})
