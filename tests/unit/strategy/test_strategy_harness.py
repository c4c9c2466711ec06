"""Whole files of Harness's: which steps run, in which order, how often, and after what."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.auth import Keychain
from buildpush.auth.connectors import DockerConnector
from buildpush.errors import BuildError, ExpressionError, SpecError
from buildpush.plan import Artifact, BuildRequest
from buildpush.runtime import Run
from buildpush.spec.expressions import Context
from buildpush.strategy import Action, Ending, Intervention, Status, harness_steps, run_harness
from buildpush.testing import FakeBackend, LocalRegistry

CANARY = "hunter2-canary"


@pytest.fixture(autouse=True)
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a Dockerfile, and nobody logged in."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as registry:
        yield registry


def step(identifier: str, host: str, *, tags: str = "1.10", more: str = "") -> str:
    """One step of a list, at the start of its lines."""
    rows = "".join(f"    {row}\n" for row in more.splitlines())
    return (
        f"- step:\n    identifier: {identifier}\n    type: BuildAndPushDockerRegistry\n"
        f"    spec: {{connectorRef: hub, repo: {host}/{identifier}, tags: [{tags}]}}\n{rows}"
    )


def pipeline(*stages: tuple[str, str, str]) -> str:
    """Stages by identifier, with keys of their own, and a list of steps."""
    text = "pipeline:\n  identifier: shop\n  stages:\n"
    for identifier, keys, steps in stages:
        text += f"  - stage:\n      identifier: {identifier}\n"
        text += "".join(f"      {row}\n" for row in keys.splitlines())
        text += "      spec:\n        execution:\n          steps:\n"
        text += "".join(f"          {row}\n" for row in steps.splitlines())
    return text


def statuses(
    text: str, *, fails: frozenset[str] = frozenset(), **arguments: object
) -> Mapping[str, str]:
    """How the steps of *text* end on a fake backend, where the images of *fails* cannot be built."""
    table = run_harness(text, backend=_Failing(fails), **arguments)  # type: ignore[arg-type]
    return {row.name: row.status.value for row in table}


class _Failing(FakeBackend):
    """A fake backend that fails for some repositories."""

    def __init__(self, fails: frozenset[str]) -> None:
        super().__init__()
        self.fails = fails

    def build(self, request: BuildRequest, credentials: Keychain, run: Run) -> Artifact:
        if {each.repository.path for each in request.references} & self.fails:
            raise BuildError("it cannot be built")
        return super().build(request, credentials, run)


def test_steps_run_in_order_and_those_after_a_failure_do_not(registry: LocalRegistry) -> None:
    host = registry.host
    text = step("a", host) + step("b", host) + step("c", host)

    assert statuses(text) == {"a": "success", "b": "success", "c": "success"}
    assert statuses(text, fails=frozenset({"b"})) == {
        "a": "success",
        "b": "failed",
        "c": "skipped",
    }
    assert registry.tags("a") == ("1.10",)


@pytest.mark.parametrize(
    ("when", "failing", "status"),
    [
        ("when: {stageStatus: Success}", False, "success"),
        ("when: {stageStatus: Success}", True, "skipped"),
        ("when: {stageStatus: Failure}", False, "skipped"),
        ("when: {stageStatus: Failure}", True, "success"),
        ("when: {stageStatus: All}", True, "success"),
        ("when: {stageStatus: All, condition: <+codebase.branch> == 'main'}", True, "success"),
        ("when: {stageStatus: All, condition: <+codebase.branch> == 'dev'}", True, "skipped"),
        ("when: {stageStatus: Success, condition: <+steps.a.status> == 'SUCCEEDED'}", False, "success"),
        ("when: {stageStatus: All, condition: <+nobody>}", False, "failed"),
        ("when: {stageStatus: Sometimes}", False, "failed"),
        ("when: {status: All}", False, "failed"),
    ],
)  # fmt: skip
def test_a_condition_lets_a_step_run_or_not(
    registry: LocalRegistry, when: str, *, failing: bool, status: str
) -> None:
    text = step("a", registry.host) + step("b", registry.host, more=when)
    fails = frozenset({"a"}) if failing else frozenset[str]()
    names = Context.of({"codebase.branch": "main"})

    assert statuses(text, fails=fails, expressions=names)["b"] == status


def test_a_stage_runs_only_where_no_other_has_failed(registry: LocalRegistry) -> None:
    host = registry.host
    text = pipeline(
        ("one", "", step("a", host)),
        ("two", "", step("b", host)),
        ("three", "when: {pipelineStatus: All}", step("c", host)),
        ("four", "when: {pipelineStatus: Failure}", step("d", host)),
    )

    assert statuses(text, fails=frozenset({"a"})) == {
        "one.a": "failed",
        "two.b": "skipped",
        "three.c": "success",
        "four.d": "success",
    }


def test_a_matrix_makes_a_run_for_each_combination(registry: LocalRegistry) -> None:
    matrix = (
        "strategy:\n  matrix:\n    python: [3.11, 3.12]\n    base: [slim, alpine]\n"
        "    exclude: [{python: 3.11, base: alpine}]\n    maxConcurrency: 2\n"
    )
    text = step("a", registry.host, tags="<+matrix.python>-<+matrix.base>", more=matrix)

    assert statuses(text) == {
        "a[3.11-slim]": "success",
        "a[3.12-slim]": "success",
        "a[3.12-alpine]": "success",
    }
    assert set(registry.tags("a")) == {"3.11-slim", "3.12-slim", "3.12-alpine"}


@pytest.mark.parametrize(
    ("strategy", "tag", "tags"),
    [
        ("repeat: {items: [x, y]}", "<+repeat.item>", {"x", "y"}),
        ("repeat: {items: <+pipeline.list>}", "<+repeat.item>", {"p", "q"}),
        ("repeat: {times: 3}", "n<+strategy.iteration>", {"n0", "n1", "n2"}),
        ("repeat: {items: [a, b, c, d], start: 1, end: 3}", "<+repeat.item>", {"b", "c"}),
        (
            "repeat: {items: [a, b, c, d], start: 0, end: 50, unit: Percentage}",
            "<+repeat.item>",
            {"a", "b"},
        ),
        (
            "repeat: {items: [a, b, c], partitionSize: 2}",
            "<+repeat.item[0]>-<+strategy.iterations>",
            {"a-2", "c-2"},
        ),
        ("parallelism: 2", "<+strategy.iteration>of<+strategy.iterations>", {"0of2", "1of2"}),
    ],
)
def test_a_step_is_repeated(
    registry: LocalRegistry, strategy: str, tag: str, tags: set[str]
) -> None:
    text = step("a", registry.host, tags=f'"{tag}"', more=f"strategy: {{{strategy}}}")

    statuses(text, expressions=Context.of({"pipeline.list": ["p", "q"]}))

    assert set(registry.tags("a")) == tags


def test_a_stage_may_be_a_matrix_too(registry: LocalRegistry) -> None:
    matrix = "strategy: {matrix: {region: [eu, us]}}"
    text = pipeline(("s", matrix, step("a", registry.host, tags="<+matrix.region>")))

    assert set(statuses(text)) == {"s.a[eu]", "s.a[us]"}
    assert set(registry.tags("a")) == {"eu", "us"}


def _read(text: str) -> None:
    harness_steps(text)
    run_harness(text, backend=FakeBackend(), skip_preflight=True)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("strategy: {}", "expected one of matrix"),
        ("strategy: {matrix: {}}", "a matrix needs a dimension"),
        ("strategy: {matrix: {a: []}}", "a: must not be empty"),
        ("strategy: {repeat: {times: many}}", "times: expected a whole number"),
        ("strategy: {repeat: {items: {}}}", "items: expected a list"),
        ("strategy: {repeat: {items: [a], unit: Kilo}}", "unit: expected"),
        ("strategy: {parallelism: 0}", "times"),
        ("strategy: {matrix: {a: <+nobody>}}", "nothing is called nobody"),
        ("failureStrategies: x", "expected a list"),
        ("failureStrategies: [{onFailure: {errors: [Cold], action: {type: Ignore}}}]", "Cold"),
        ("failureStrategies: [{onFailure: {errors: [Unknown], action: {type: Cry}}}]", "called Cry"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_strategy_has_its_line(strategy: str, message: str) -> None:
    text = step("a", "r.test", more=strategy)

    with pytest.raises(SpecError, match=message) as caught:
        _read(text)

    assert "line " in str(caught.value)


_FAILED = "failureStrategies: [{onFailure: {errors: [AllErrors], action: %s}}]"


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("{type: Ignore}", "ignored"),
        ("{type: MarkAsSuccess}", "success"),
        ("{type: MarkAsFailure}", "failed"),
        ("{type: StageRollback}", "failed"),
        ("{type: Abort}", "failed"),
        ("{type: Retry, spec: {retryCount: 2, onRetryFailure: {action: {type: Ignore}}}}", "ignored"),
        ("{type: ManualIntervention, spec: {timeout: 1h, onTimeout: {action: {type: Ignore}}}}", "ignored"),
        ("{type: ManualIntervention, spec: {timeout: 1h}}", "failed"),
    ],
)  # fmt: skip
def test_failures_are_what_the_file_says(
    registry: LocalRegistry, action: str, status: str
) -> None:
    text = step("a", registry.host, more=_FAILED % action)
    staged = pipeline(("s", _FAILED % action, step("a", registry.host)))

    assert statuses(text, fails=frozenset({"a"})) == {"a": status}
    assert statuses(staged, fails=frozenset({"a"})) == {"s.a": status}


@pytest.mark.parametrize(
    "action",
    [
        "{type: Abort}",
        "{type: Retry, spec: {retryCount: 1, onRetryFailure: {action: {type: Abort}}}}",
    ],
)
def test_an_abort_ends_the_whole_pipeline(registry: LocalRegistry, action: str) -> None:
    always = "when: {stageStatus: All}"
    text = pipeline(
        ("one", "", step("a", registry.host, more=_FAILED % action) + step("b", registry.host, more=always)),
        ("two", "when: {pipelineStatus: All}", step("c", registry.host, more=always)),
    )  # fmt: skip

    assert statuses(text, fails=frozenset({"a"})) == {
        "one.a": "failed",
        "one.b": "skipped",
        "two.c": "skipped",
    }


def test_somebody_decides_about_a_failure(registry: LocalRegistry) -> None:
    action = "{type: ManualIntervention, spec: {timeout: 10m}}"
    asked: list[Intervention] = []

    def decide(intervention: Intervention) -> Action | None:
        asked.append(intervention)
        return Ending.MARK_AS_SUCCESS

    text = step("a", registry.host, more=_FAILED % action)

    assert statuses(text, fails=frozenset({"a"}), intervene=decide) == {"a": "success"}
    assert [(each.name, each.attempts, each.timeout) for each in asked] == [("a", 1, 600.0)]
    assert isinstance(asked[0].error, BuildError)


def test_steps_in_parallel_run_side_by_side(registry: LocalRegistry) -> None:
    both = threading.Barrier(2, timeout=30)

    class Meeting(FakeBackend):
        """A fake backend whose builds wait for each other."""

        def build(self, request: BuildRequest, credentials: Keychain, run: Run) -> Artifact:
            both.wait()
            return super().build(request, credentials, run)

    inside = "".join(
        f"    {row}\n"
        for row in (step("a", registry.host) + step("b", registry.host)).splitlines()
    )

    table = run_harness(f"- parallel:\n{inside}", backend=Meeting())

    assert table.ok
    assert len(table) == 2


def test_later_steps_name_what_earlier_ones_made(registry: LocalRegistry) -> None:
    text = pipeline(
        ("one", "", step("a", registry.host)),
        (
            "two",
            "",
            step("b", registry.host, tags="'<+steps.a.output.outputVariables.digest.substring(7, 19)>'")
            + step(
                "c",
                registry.host,
                tags="<+pipeline.stages.one.spec.execution.steps.a.status.toLowerCase()>",
            ),
        ),
    )  # fmt: skip

    assert set(statuses(text).values()) == {"success"}
    assert registry.tags("b") == (str(registry.digest("a", "1.10"))[7:19],)
    assert registry.tags("c") == ("succeeded",)


def test_a_step_whose_values_are_wrong_fails_alone(registry: LocalRegistry) -> None:
    text = step("a", registry.host, tags="<+nobody>") + step(
        "b", registry.host, more="when: {stageStatus: All}"
    )

    table = run_harness(text, backend=FakeBackend())

    assert [row.status for row in table] == [Status.FAILED, Status.SUCCESS]
    assert isinstance(table["a"].error, ExpressionError)
    assert "line 4: a.spec.tags[0]: nothing is called nobody" in str(table["a"].error)


def test_a_plugin_step_runs_as_the_plugin_does(
    registry: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGIN_NO_PUSH", "true")  # of a plugin that we are run by ourselves
    text = f"""\
identifier: kaniko
type: Plugin
timeout: 7m
spec:
  image: plugins/kaniko:1.13
  settings:
    repo: {registry.host}/app
    registry: {registry.host}
    tags: [1.10, latest]
    no_push: false
    skip_tls_verify: true
    artifact_file: out/artifact.json
"""
    (made,) = harness_steps(text, backend=FakeBackend()).values()
    assert made.timeout == 420

    table = run_harness(text, backend=FakeBackend(), insecure=[registry.host])

    table.raise_for_failure()
    assert set(registry.tags("app")) == {"1.10", "latest"}
    assert f"{registry.host}/app:1.10" in (tmp_path / "out" / "artifact.json").read_text()


def test_flags_in_the_variables_of_a_step_count(registry: LocalRegistry) -> None:
    text = f"""\
identifier: a
type: BuildAndPushDockerRegistry
spec:
  connectorRef: hub
  repo: {registry.host}/a
  tags: [one]
  envVariables: {{PLUGIN_NO_PUSH: "true", PLUGIN_TAR_PATH: image.tar}}
"""
    (made,) = harness_steps(text, backend=FakeBackend()).values()

    assert not made.push
    assert [(each.type, str(each.destination)) for each in made.outputs] == [
        ("docker", "image.tar")
    ]
    assert made.env_variables == {}


def test_connectors_log_in_for_their_registries_alone() -> None:
    text = step("a", "ghcr.io/acme").replace("connectorRef: hub", "connectorRef: account.ghcr")
    connectors = {
        "ghcr": DockerConnector(url="https://ghcr.io/acme", username="ci", password=CANARY)
    }

    (made,) = harness_steps(text, connectors=connectors).values()
    assert made.auth == (connectors["ghcr"],)
    assert CANARY not in repr(made)
    with pytest.raises(
        SpecError, match=r"line 4: connectorRef: no connector is called account\.ghcr"
    ):
        harness_steps(text, connectors={"hub": connectors["ghcr"]})
    (ambient,) = harness_steps(text).values()
    assert ambient.remarks == (
        "account.ghcr: no connectors were given, this machine's logins are used",
    )


@pytest.mark.parametrize(
    ("url", "repo", "expected"),
    [
        ("https://index.docker.io/v2/", "acme/app", "docker.io/acme/app"),
        ("https://registry.hub.docker.com/v2/", "acme/app", "docker.io/acme/app"),
        ("https://ghcr.io/acme", "app", "ghcr.io/acme/app"),
        ("https://ghcr.io/acme", "acme/app", "ghcr.io/acme/app"),
        ("https://ghcr.io/acme", "ghcr.io/acme/app", "ghcr.io/acme/app"),
        ("https://shop.jfrog.io", "docker/app", "shop.jfrog.io/docker/app"),
        ("localhost:5000", "app", "localhost:5000/app"),
        ("https://ghcr.io/acme", "quay.io/acme/app", "quay.io/acme/app"),
    ],
)
def test_a_repository_without_a_host_is_below_its_connector(
    url: str, repo: str, expected: str
) -> None:
    text = (
        "identifier: a\ntype: BuildAndPushDockerRegistry\n"
        f"spec: {{connectorRef: hub, repo: '{repo}', tags: [one]}}\n"
    )

    (made,) = harness_steps(text, connectors={"hub": DockerConnector(url=url)}).values()

    assert str(made.repo) == expected


def test_a_secret_in_a_build_arg_never_shows(registry: LocalRegistry) -> None:
    text = f"""\
identifier: a
type: BuildAndPushDockerRegistry
spec:
  connectorRef: hub
  repo: {registry.host}/a
  tags: [one]
  buildArgs: {{TOKEN: <+secrets.getValue("token")>}}
  labels: {{note: x-<+secrets.getValue("token").toUpperCase()>}}
"""
    events: list[str] = []
    (made,) = harness_steps(
        text, expressions=Context.of(secrets={"token": CANARY}), backend=FakeBackend()
    ).values()

    assert made.build_args == {"TOKEN": CANARY}
    plan = made.plan()
    result = made.run(on_event=lambda event: events.append(repr(event)))
    shown = [repr(made), repr(plan), plan.render(), str(plan.to_json()), *events, repr(result)]
    assert not [text for text in shown if CANARY in text or CANARY.upper() in text]
    assert evolve(plan, warnings=()).request.build_args == {"TOKEN": CANARY}


def test_a_run_asks_for_a_secret_once(registry: LocalRegistry) -> None:
    asked: list[str] = []

    def secret(name: str) -> str:
        asked.append(name)
        return CANARY

    more = "description: x"
    text = step("a", registry.host, more=more).replace(
        "tags: [1.10]", "tags: [one], buildArgs: {TOKEN: \"<+secrets.getValue('token')>\"}"
    )

    table = run_harness(text, backend=FakeBackend(), expressions=Context.of(secrets=secret))

    table.raise_for_failure()
    assert asked == ["token"]
