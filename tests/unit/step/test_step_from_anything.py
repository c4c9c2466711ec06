"""Whatever variables and files say, a step comes of it, or an error of ours that shows no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from buildpush import BuildAndPushStep, BuildpushError, Context
from buildpush.auth.connectors import DockerConnector
from buildpush.spec.drone import PROGRAMS, own_variables
from buildpush.spec.drone.clouds import CLOUDS
from buildpush.spec.drone.flags import PROGRAMS as ENGINES
from buildpush.spec.drone.flags import flags_of

CANARY = "hunter2canary"
SECRETS = ("PASSWORD", "SECRET_KEY", "JSON_KEY", "TOKEN", "CONFIG", "PRIVATE_KEY", "API_KEY")
SECRETS += ("SSH_AGENT_KEY", "CLIENT_SECRET", "CLIENT_CERTIFICATE")
TEXTS = ["", "true", "false", "1", "x", "a=b", "a=b,c", "ghcr.io", "ghcr.io/acme/app", "type=s3"]
TEXTS += ["type=registry,ref=", "https://", "a;b", "-1", "é", "\n", "{}", "id=x,env=Y", "docker"]
TEXTS += [
    "docker-container",
    "remote",
    "linux/amd64",
    "refs/tags/v1.2.3",
    "../x",
    "\x00",
    "=",
    ",",
]


def variables_of(program: str) -> list[str]:
    own = own_variables(program) if program in CLOUDS else frozenset[str]()
    engine = CLOUDS[program][0] if program in CLOUDS else program
    read = {name for flag in flags_of(engine) for name in flag.variables}
    return sorted({*own, *read})


NAMES = {program: variables_of(program) for program in PROGRAMS}


@st.composite
def environments(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    program = draw(st.sampled_from(PROGRAMS))
    chosen = draw(st.lists(st.sampled_from(NAMES[program]), max_size=8, unique=True))
    found = {"PLUGIN_REPO": "ghcr.io/acme/app"} if draw(st.booleans()) else {}
    for name in chosen:
        secret = any(part in name for part in SECRETS)
        texts = [CANARY, f"{CANARY}=", f"{{{CANARY}"] if secret else TEXTS
        found[name] = draw(st.sampled_from(texts))
    return program, found


@settings(max_examples=400)
@given(
    environments(),
    st.sampled_from(["strict", "compatible"]),
    st.sampled_from(["native", "kaniko", "buildx", "docker", "auto"]),
)
def test_any_variables(
    chosen: tuple[str, Mapping[str, str]], mode: Literal["strict", "compatible"], backend: str
) -> None:
    program, variables = chosen
    said: list[str] = []
    try:
        step = BuildAndPushStep.from_plugin_env(
            variables, plugin=program, mode=mode, backend=backend
        )
        said += [repr(step), *step.remarks]
    except BuildpushError as error:
        said += [error.report(), repr(error.__cause__), repr(error.__context__)]

    assert not [text for text in said if CANARY in text]


KEYS = ["repo", "tags", "buildArgs", "labels", "context", "dockerfile", "target", "resources"]
KEYS += ["cacheFrom", "cacheTo", "caching", "optimize", "runAsUser", "envVariables", "region"]
KEYS += ["baseImageConnectorRefs", "envDockerSecrets", "fileDockerSecrets", "connectorRef"]
VALUES = [
    "x",
    "1.10",
    "[a, b]",
    "{a: b}",
    "[]",
    "{}",
    "~",
    "'<+a>'",
    "true",
    "-1",
    "'a,b'",
    "[[]]",
]
VALUES += ["'<+secrets.getValue(\"s\")>'", "['<+secrets.getValue(\"s\")>']", "{a: [b]}", "'<+'"]
VALUES += ["{T: '<+secrets.getValue(\"s\")>'}", "{PLUGIN_NO_PUSH: maybe}", "{limits: {cpu: x}}"]
VALUES += ["{PLUGIN_PASSWORD: '<+secrets.getValue(\"s\")>'}", "ghcr.io/acme/app", "<+input>"]


@settings(max_examples=400)
@given(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=6),
    st.booleans(),
)
def test_any_file(keys: dict[str, str], connected: bool) -> None:
    whole = {"connectorRef": "hub", "repo": "ghcr.io/acme/app", "tags": "[a]", **keys}
    rows = "".join(f"  {name}: {value}\n" for name, value in whole.items())
    text = f"identifier: a\ntype: BuildAndPushDockerRegistry\nspec:\n{rows}"
    said: list[str] = []
    wrong = "no line was wrong"
    try:
        step = BuildAndPushStep.from_harness(
            text,
            expressions=Context.of({"a": 1}, secrets={"s": CANARY}),
            connectors={"hub": DockerConnector()} if connected else None,
        )
        said += [repr(step), *step.remarks]
    except BuildpushError as error:
        said += [error.report(), repr(error.__cause__), repr(error.__context__)]
        wrong = error.message

    assert not [text for text in said if CANARY in text]
    assert "line " in wrong


def test_every_engine_is_here() -> None:
    assert set(ENGINES) < set(NAMES)
