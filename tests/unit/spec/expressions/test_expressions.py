"""Texts with expressions, what they name, and the errors of those that name nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpush.errors import ExpressionError, SpecError
from buildpush.spec.expressions import Context, evaluate, resolve, resolve_tree

CANARY = "hunter2-canary"

CONTEXT = Context.of(
    {
        "pipeline": {
            "sequenceId": 42,
            "name": "Web App",
            "variables": {"version": "1.10", "flag": "yes", "off": "false", "which": "version"},
        },
        "codebase.branch": "feature/New-Thing",
        "codebase.tag": "v1.2.3",
        "codebase.commitSha": "0123456789abcdef",
        "codebase.commitMessage": '<+secrets.getValue("token")>',
        "matrix": {"python": "3.12", "images": ["app", "web"], "at": {"name": "eu"}},
        "none": None,
        "nothing": "",
        "half": 2.5,
        "whole": 2.0,
        "body": '{"items": [{"id": "a"}, {"id": "b"}]}',
        "steps": {"build": {"output": {"outputVariables": {"TAG": "7"}}}},
    },
    secrets={"token": CANARY, "db.password": "p-canary"},
    inputs={"spec.tags": "1.4", "region": "eu-west-1", "many": "a, b"},
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a < b + c > d", "a < b + c > d"),
        ("<+pipeline.sequenceId>", 42),
        ("b<+pipeline.sequenceId>", "b42"),
        ("v<+pipeline.variables.version>-<+matrix.python>", "v1.10-3.12"),
        ("<+ pipeline.variables.version >", "1.10"),
        ("<+matrix.images>", ["app", "web"]),
        ("<+matrix.images[1]>", "web"),
        ("<+matrix.images.0>", "app"),
        ("<+matrix.at.name>", "eu"),
        ('<+matrix["python"]>', "3.12"),
        ("<+pipeline.variables.<+pipeline.variables.which>>", "1.10"),
        ("<+steps.build.output.outputVariables.TAG>", "7"),
        ("<+pipeline.sequenceId + 100>", 142),
        ("<+pipeline.sequenceId> + 100", "42 + 100"),
        ('<+"1" + "2">', "12"),
        ('<+1 + "2">', 3),
        ('<+1 + "x">', "1x"),
        ("<+7 / 2>", 3),
        ("<+-7 / 2>", -3),
        ("<+7 % 4>", 3),
        ("<+2 * 3 - 1>", 5),
        ("<+1 + 2 * 3>", 7),
        ("<+(1 + 2) * 3>", 9),
        ("<+half * 2>", 5.0),
        ("n<+whole>", "n2"),
        ("n<+true>", "ntrue"),
        ("<+codebase.branch.toLowerCase().replace('/', '-')>", "feature-new-thing"),
        ("<+codebase.branch.toUpperCase()>", "FEATURE/NEW-THING"),
        ("<+codebase.tag.substring(1)>", "1.2.3"),
        ("<+codebase.commitSha.substring(0, 7)>", "0123456"),
        ("<+codebase.commitSha.charAt(1)>", "1"),
        ('<+codebase.tag.replaceAll("v(\\d+)\\..*", "$1")>', "1"),
        ('<+codebase.tag.replaceAll("\\.", "\\$")>', "v1$2$3"),
        ('<+codebase.tag.split("\\.")[0]>', "v1"),
        ('<+codebase.tag.split("\\.").size()>', 3),
        ('<+codebase.tag.concat("-").concat(7)>', "v1.2.3-7"),
        ("<+codebase.tag.length()>", 6),
        ('<+codebase.tag.indexOf("2")>', 3),
        ('<+codebase.tag.lastIndexOf(".")>', 4),
        ('<+codebase.tag.startsWith("v") ? "release" : "build">', "release"),
        ('<+pipeline.name.trim().contains("App") ? 1 : 2>', 1),
        ("<+matrix.images.contains('web')>", True),
        ("<+matrix.images.indexOf('db')>", -1),
        ("<+matrix.at.containsKey('name')>", True),
        ('<+codebase.pr ?: "none">', "none"),
        ('<+nothing ?: "none">', "none"),
        ('<+nothing ?? "none">', ""),
        ("<+codebase.pr ?? codebase.tag>", "v1.2.3"),
        ('<+json.select("items[1].id", body)>', "b"),
        ('<+regex.extract("[0-9]+\\.[0-9]+", codebase.tag)>', "1.2"),
        ('<+"b<+pipeline.sequenceId>".concat("!")>', "b42!"),
        ('<+secrets.getValue("token")>', CANARY),
        ('<+secrets.getValue("account.token")>', CANARY),
        ('<+secrets.getValue("org.db.password")>', "p-canary"),
        ("<+codebase.commitMessage>", '<+secrets.getValue("token")>'),
        ("m: <+codebase.commitMessage>", 'm: <+secrets.getValue("token")>'),
    ],
)
def test_a_text_has_the_values_of_its_expressions(text: str, value: object) -> None:
    found = resolve(text, CONTEXT).value

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("", True),
        ("  ", True),
        ("true", True),
        ("<+codebase.tag> == 'v1.2.3'", True),
        ('<+codebase.branch> == "main"', False),
        ('"<+codebase.branch>" != "main"', True),
        ("<+pipeline.variables.flag> == true", True),
        ("<+pipeline.variables.flag> == false", False),
        ("<+pipeline.variables.off> == true", False),
        ("<+pipeline.variables.off> == false", True),
        ("true == <+pipeline.variables.flag>", True),
        ("<+pipeline.sequenceId> == '42'", True),
        ("<+pipeline.sequenceId> == 'x'", False),
        ("<+pipeline.sequenceId> > 41 && <+pipeline.sequenceId> <= 42", True),
        ("<+pipeline.sequenceId> >= 43", False),
        ("<+pipeline.variables.version> < '1.9'", True),
        ("'b' > 'a'", True),
        ("<+codebase.tag> =~ 'v\\d+.*'", True),
        ("<+codebase.tag> =~ 'v'", False),
        ("<+codebase.tag> !~ 'x.*'", True),
        ("<+codebase.tag> =~ ['v1.2.3', 'v2']", True),
        ("<+codebase.tag> !~ ['v2']", True),
        ("<+codebase.tag> =^ 'v1'", True),
        ("<+codebase.tag> !^ 'v1'", False),
        ("<+codebase.tag> =$ '.3'", True),
        ("<+codebase.tag> !$ '.3'", False),
        ("<+codebase.pr> == null", True),
        ("<+codebase.tag> != null", True),
        ("<+none> == null", True),
        ("not (<+codebase.tag> eq 'v1')", True),
        ("!<+matrix.images.isEmpty()> and <+matrix.images.size()> == 2", True),
        ("<+codebase.branch> == 'main' || <+codebase.tag.matches('v1.*')>", True),
        ("<+codebase.branch> == 'main' or false", False),
        ("<+codebase.branch == 'main' ? 'a' : 'b'> == 'b'", True),
        ("<+input>.default(false)", False),
    ],
)
def test_a_condition_holds_or_does_not(condition: str, *, holds: bool) -> None:
    assert evaluate(condition, CONTEXT) is holds


@pytest.mark.parametrize(
    ("text", "where", "value"),
    [
        ("<+input>", "stage.spec.tags", "1.4"),
        ("<+input>", "region", "eu-west-1"),
        ("<+input>.allowedValues(eu-west-1, us-east-1)", "region", "eu-west-1"),
        ("<+input>.default(us-east-1)", "region", "eu-west-1"),
        ("<+input>.default(us-east-1)", "other", "us-east-1"),
        ('<+input>.default("a b").allowedValues("a b",c)', "other", "a b"),
        ("<+input>.regex(^[a-z]+-(west|east)-\\d$)", "region", "eu-west-1"),
        ("<+input>.regex(.*).default(x)", "other", "x"),
        ("<+input>.selectOneFrom(eu-west-1,b)", "region", "eu-west-1"),
        ("<+input>.selectManyFrom(a,b,c)", "many", ["a", "b"]),
        ("<+input>.executionInput().default(x)", "other", "x"),
    ],
)
def test_an_input_is_what_was_given_or_its_default(text: str, where: str, value: object) -> None:
    assert resolve(text, CONTEXT, where=where).value == value


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "<+pipeline.variables.vresion>",
            "pipeline.variables.vresion",
            "pipeline.variables.version",
        ),
        ("<+pipeline.wwwww>", "pipeline.wwwww", "below pipeline there are: name, sequenceId"),
        ("<+zzz>", "nothing is called zzz", "there are: body, codebase"),
        ("<+codebase.tag.first.second>", "codebase.tag.first", ""),
        ("<+matrix.images[2]>", "matrix.images.2", ""),
        (
            '<+secrets.getValue("tokem")>',
            "no secret is called tokem",
            "there are: db.password, token",
        ),
        ("<+secrets.getValue()>", "takes one name", ""),
        ("<+none>-x", "null", ""),
        ("x<+matrix.images>", "list", ""),
        ("<+codebase.tag", "not closed", ""),
        ("<+'a>", "not closed", ""),
        ("<+>", "expected a value", ""),
        ("<+1 +>", "expected a value", ""),
        ("<+1 2>", "unexpected text", ""),
        ("<+a.>", "expected a name", ""),
        ("<+codebase.tag.explode()>", "no method explode here, but: charAt", ""),
        ("<+pipeline.sequenceId.length()>", "no method length", ""),
        ("<+codebase.tag.substring(99)>", "substring", ""),
        ("<+codebase.tag.replace('a')>", "replace", ""),
        ("<+codebase.tag.matches('(')>", "pattern is wrong", ""),
        ("<+1 / 0>", "division by zero", ""),
        ("<+1 % 0>", "division by zero", ""),
        ("<+'x' * 2>", "expected a number", ""),
        ("<+matrix.images < 1>", "cannot be compared", ""),
        ("<+'x' ? 1 : 2>", "neither true nor false", ""),
        ("<+input>", "an input is needed", "inputs={'spec.image': …}"),
        ("<+input>.allowedValues(a,b).default(c)", "none of: a, b", ""),
        ("<+input>.regex(\\d+).default(c)", "does not fit the pattern \\d+", ""),
        ("<+input>.maybe(c)", "after <+input> there may be", ""),
        ("<+input>x", "after <+input> there may be", ""),
        ("<+" + "(" * 60 + ")" * 60 + ">", "nested too deeply", ""),
        ("<+" * 60 + "a" + ">" * 60, "nested too deeply", ""),
        ("<+1" + " + 1" * 60 + ">", "too many operators", ""),
        ("<+a" + ".a" * 60 + ">", "too long", ""),
        ("x" * 9000 + "<+a>", "longer than", ""),
        ("<+json.select('a', 'no json')>", "select", ""),
    ],
)
def test_what_cannot_be_resolved_says_what_and_where(text: str, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        resolve(text, CONTEXT, where="spec.image")

    assert str(caught.value).startswith("spec.image: ")
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.expression == text
    assert caught.value.where == "spec.image"
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "condition", ["'prod'", "1", "<+matrix.images>", "<+nothing>", "<+codebase.tag> =", "<+input>"]
)
def test_a_condition_that_is_neither_true_nor_false_is_an_error(condition: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(condition, CONTEXT, where="when.condition")


def test_a_tree_is_resolved_below_its_path() -> None:
    tree = {
        "tags": ["<+codebase.tag>", "b<+pipeline.sequenceId>"],
        "args": {"TOKEN": "x-<+secrets.getValue('token')>", "N": 7},
        "region": "<+input>",
    }

    found = resolve_tree(tree, CONTEXT, where="spec")

    assert found.value == {
        "tags": ["v1.2.3", "b42"],
        "args": {"TOKEN": f"x-{CANARY}", "N": 7},
        "region": "eu-west-1",
    }
    assert CANARY in found.secrets
    with pytest.raises(ExpressionError, match=r"^spec\.tags\[1\]: "):
        resolve_tree({"tags": ["a", "<+b>"]}, CONTEXT, where="spec")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ('<+secrets.getValue("token").toUpperCase()>', CANARY.upper()),
        ('<+secrets.getValue("token").concat("!")>', f"{CANARY}!"),
        ('x<+secrets.getValue("token").substring(3)>', CANARY[3:]),
    ],
)
def test_what_is_made_of_a_secret_is_one(text: str, hidden: str) -> None:
    found = resolve(text, CONTEXT)

    assert {CANARY, hidden} <= set(found.secrets)
    assert CANARY not in repr(found)
    assert hidden not in repr(found)


def test_a_secret_is_asked_for_only_when_it_is_needed() -> None:
    asked: list[str] = []

    def secret(name: str) -> str:
        asked.append(name)
        if name != "token":
            raise KeyError(name)
        return CANARY

    context = Context.of({"a": "1"}, secrets=secret)

    assert resolve("<+a>", context).secrets == ()
    assert asked == []
    assert resolve("<+secrets.getValue('account.token')>", context).value == CANARY
    with pytest.raises(ExpressionError, match="no secret is called other"):
        resolve("<+secrets.getValue('other')>", context)


def test_a_context_shows_names_alone() -> None:
    context = Context.of({"a.b": CANARY}, secrets={"t": CANARY}, inputs={"i": CANARY})

    assert repr(context) == "Context(a)"
    assert repr(context.within({"matrix.x": CANARY})) == "Context(a, matrix)"


def test_values_in_front_hide_those_of_the_same_name_alone() -> None:
    context = CONTEXT.within({"matrix.python": "3.13", "step.identifier": "push"})

    assert resolve("<+matrix.python>/<+matrix.at.name>", context).value == "3.13/eu"
    assert resolve("<+matrix.python>", CONTEXT).value == "3.12"


def test_a_dotted_name_through_a_value_is_refused() -> None:
    with pytest.raises(SpecError, match="codebase is a value"):
        Context.of({"codebase": "x", "codebase.branch": "y"})


def test_errors_show_no_value() -> None:
    context = Context.of({"a": CANARY, "n": [CANARY]}, secrets={"t": CANARY})
    for text in (
        "<+a.b>",
        "<+a * 2>",
        "<+a ? 1 : 2>",
        "<+n.x>",
        "<+a.explode()>",
        "<+secrets.getValue('t').matches('(')>",
        "<+secrets.getValue(secrets.getValue('t').length())>",
        "<+json.select('a.b', a)>",
    ):
        with pytest.raises(ExpressionError) as caught:
            resolve(text, context)
        assert CANARY not in caught.value.report()
        assert caught.value.__cause__ is None
        assert CANARY not in repr(caught.value.__context__)


_PIECES = ["<+", ">", "'", '"', "(", ")", "[", "]", ".", ",", "a", "b.c", "1", " ", "==", "?", ":"]
_PIECES += ["secrets", ".getValue", "<+input>", ".default(", "+", "-", "!", "&&", "\\", "$", "é"]


@given(st.lists(st.sampled_from(_PIECES), max_size=30).map("".join))
def test_any_text_has_a_value_or_an_error_of_ours(text: str) -> None:
    context = Context.of({"a": {"b": 1}, "b": "x"}, secrets={"a": CANARY})
    reports: list[str] = []
    for work in (resolve, evaluate):
        try:
            work(text, context, where="here")
        except ExpressionError as error:
            reports.append(error.report())
    assert not [report for report in reports if CANARY in report]
