"""All the steps of a file of Harness's: their order, conditions, strategies and failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack, cast

from attrs import define, field, frozen

from ..auth.connectors import Connectors
from ..errors import BuildpushError, SpecError
from ..events import EventSink
from ..plugins import run_plugin
from ..runtime import CancelToken
from ..spec.expressions import Context
from ..spec.harness import HarnessSettings, HarnessStep, context_of, settings_of
from ..step import BuildAndPushStep
from ..step.drone import not_a_step
from ..step.flags import read_flags
from ..step.harness import arguments_of, made_of, one_step, read_file, surroundings
from ..step.overrides import Overrides
from .failures import Ending, FailureStrategy, Retry, choose
from .running import Intervening, Job, NamedEventSink, Runnable, run_many
from .table import Row, RunTable
from .written import Expansion, expansion_of, failure_strategies_of, may_run

if TYPE_CHECKING:
    from ..plan import BuildResult
    from ..publishing import PushResult

__all__ = ["harness_steps", "run_harness"]

_ONCE: Final = Expansion(runs=(("", {}),))


def harness_steps(
    source: str | Path,
    *,
    step: str = "",
    expressions: Context | None = None,
    connectors: Connectors | None = None,
    **settings: Unpack[Overrides],
) -> Mapping[str, BuildAndPushStep]:
    """Every step of *source* that is one build, by its path, and by the values of its strategy.

    The arguments are those of `BuildAndPushStep.from_harness`. Nothing is asked about conditions,
    and there are no outputs of earlier steps but those that *expressions* has. Raises `SpecError`
    with path and line.
    """
    made: dict[str, BuildAndPushStep] = {}
    given = cast("Mapping[str, object]", settings)
    parse = cast("Callable[[Mapping[str, object]], BuildAndPushStep]", BuildAndPushStep.parse)
    for found in _chosen(source, step):
        for name, context in _runs(found, expressions or Context())[0]:
            made[name] = one_step(found, parse, context, connectors, given)
    return made


def run_harness(
    source: str | Path,
    *,
    step: str = "",
    expressions: Context | None = None,
    connectors: Connectors | None = None,
    intervene: Intervening | None = None,
    on_event: NamedEventSink | None = None,
    cancel: CancelToken | None = None,
    **settings: Unpack[Overrides],
) -> RunTable:
    """Run the steps of *source* that build and push, in order, and say how each ended.

    Steps in ``parallel`` run side by side; ``strategy``, ``when`` and ``failureStrategies`` of
    steps and of their stages do what they do in Harness. Later steps may name what earlier ones
    have made: ``<+steps.ID.output.outputVariables.digest>`` and ``image``. Steps of other types
    are passed over. Arguments are those of `BuildAndPushStep.from_harness` and `run_many`.

    Raises `SpecError` for a file that is wrong before anything runs; what is wrong with the values of
    one step is that step's failure.
    """
    steps = _chosen(source, step)
    runner = _Runner(
        context=expressions or Context(),
        connectors=connectors,
        settings=cast("Mapping[str, object]", settings),
        many={
            "intervene": intervene,
            "cancel": cancel or CancelToken(),
            **({"on_event": on_event} if on_event else {}),
        },
    )
    for found in steps:  # a file that is wrong runs nothing at all
        runner.strategies(found)
    for _, batch in groupby(steps, key=lambda each: each.batch):
        runner.run(list(batch))
    return RunTable(tuple(runner.rows))


def _chosen(source: str | Path, step: str) -> Sequence[HarnessStep]:
    found = read_file(source)
    if step:
        return (found.step(step),)
    if not found.steps:
        found.step()
    return found.steps


def _runs(step: HarnessStep, context: Context) -> tuple[list[tuple[str, Context]], int]:
    """The runs of *step*: a name and a context for each, and how many may run at once."""
    runs = [(step.path, context)]
    most = 0
    nodes = [(each.node, each.place) for each in step.above if each.kind != "pipeline"]
    for node, place in (*nodes, (step.node, step.place)):
        longer: list[tuple[str, Context]] = []
        for name, within in runs:
            scope, _ = context_of(step, within)
            expansion = expansion_of(node, place, scope) or _ONCE
            most = max(most, expansion.max_concurrency)
            longer += (
                (f"{name}[{own}]" if own else name, within.within(values) if values else within)
                for own, values in expansion.runs
            )
        runs = longer
    return runs, most


@frozen
class _Wrong:
    """A step that cannot be made: its run raises why."""

    error: BuildpushError

    def run(self, *, on_event: EventSink, cancel: CancelToken) -> BuildResult:
        """Raise what is wrong."""
        del on_event, cancel
        raise self.error


@frozen(kw_only=True)
class _Plugin:
    """A plugin's run, which may be something else than one build."""

    program: str
    environ: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, Any] = field(repr=False)

    def run(self, *, on_event: EventSink, cancel: CancelToken) -> BuildResult | PushResult | None:
        """Run it; nothing comes of one that has nothing to do."""
        done = run_plugin(
            self.environ, plugin=self.program, on_event=on_event, cancel=cancel, **self.settings
        )
        return done.result


@define(eq=False, kw_only=True)
class _Runner:
    """One `run_harness`: the rows so far, and what later steps may name."""

    context: Context
    connectors: Connectors | None
    settings: Mapping[str, object]
    many: dict[str, Any]
    rows: list[Row] = field(factory=list[Row], init=False)
    stages: dict[str, str] = field(factory=dict[str, str], init=False)
    aborted: bool = field(default=False, init=False)

    def strategies(self, step: HarnessStep) -> tuple[FailureStrategy, ...]:
        """What is done about failures: the step's own word first, then that of what is around it."""
        around = [(each.node, each.place) for each in reversed(step.above)]
        found: tuple[FailureStrategy, ...] = ()
        for node, place in ((step.node, step.place), *around):
            found += failure_strategies_of(node, place, self.context)
        return found

    def run(self, batch: Sequence[HarnessStep]) -> None:
        """Run steps that stand side by side, and remember what they have made."""
        jobs: dict[str, Job] = {}
        made_by: dict[str, HarnessStep] = {}
        most = 0
        for step in batch:
            try:
                runs, own = _runs(step, self.context)
            except SpecError as error:
                runs, own = [(step.path, self.context)], 0
                jobs[step.path] = Job(step=_Wrong(error))
            for name, context in runs:
                made_by[name] = step
                self.stages[name] = step.stage
                if name not in jobs:
                    jobs[name] = self._job(step, context)
            most += own or len(runs)
        table = run_many(jobs, max_concurrency=max(most, 1), **self.many)
        for row in table:
            self.rows.append(row)
            self._remember(made_by[row.name], row)
            self.aborted = self.aborted or self._aborts(made_by[row.name], row)

    def _aborts(self, step: HarnessStep, row: Row) -> bool:
        """Whether the failure of *row* is one that ends the whole pipeline."""
        if row.ok or row.error is None:
            return False
        action = choose(row.error, self.strategies(step))
        last = action.then if isinstance(action, Retry) else action
        return last is Ending.ABORT

    def _job(self, step: HarnessStep, context: Context) -> Job:
        scope, _ = context_of(step, context)
        runnable: Runnable
        try:
            runs = self._may_run(step, scope)
            runnable = self._runnable(step, context) if runs else _Wrong(SpecError("skipped"))
        except BuildpushError as error:
            runs, runnable = True, _Wrong(error)
        return Job(
            step=runnable,
            when=None if runs else lambda _: False,
            failure_strategies=self.strategies(step),
        )

    def _may_run(self, step: HarnessStep, scope: Context) -> bool:
        """Whether ``when`` of the step and of its stage let it run, by what has failed so far."""
        if self.aborted:
            return False
        bad = {self.stages[row.name] for row in self.rows if not row.ok}
        for each in step.above:
            before = bool(bad - {step.stage})
            if each.kind == "stage" and not may_run(
                each.node, each.place, scope, failed=before, key="pipelineStatus"
            ):
                return False
        return may_run(step.node, step.place, scope, failed=step.stage in bad)

    def _runnable(self, step: HarnessStep, context: Context) -> Runnable:
        asked = settings_of(step, context)
        environ = surroundings()
        if step.plugin:
            own = {"hidden": asked.hidden, **asked.settings, **self.settings}
            variables = {**environ, **asked.variables}
            return _Plugin(program=step.plugin, environ=variables, settings=own)
        flags = asked.settings.get("envVariables")
        if isinstance(flags, Mapping) and not_a_step(
            read_flags(cast("Mapping[str, object]", flags), asked.settings)
        ):
            return self._pushing(step, asked, environ)
        parse = cast("Callable[[Mapping[str, object]], BuildAndPushStep]", BuildAndPushStep.parse)
        return made_of(step, asked, parse, self.connectors, self.settings)

    def _pushing(
        self, step: HarnessStep, asked: HarnessSettings, environ: Mapping[str, str]
    ) -> Runnable:
        """A step whose flags ask for a push of what is built already."""
        whole = arguments_of(step, asked, self.connectors, self.settings)
        flags = cast("Mapping[str, object]", asked.settings["envVariables"])
        variables = {
            **environ,
            "PLUGIN_REPO": str(whole["repo"]),
            "PLUGIN_TAGS": ",".join(cast("Sequence[str]", whole["tags"])),
            **{name: str(value) for name, value in flags.items()},
        }
        own = {**self.settings, "auth": whole["auth"], "hidden": asked.hidden}
        program = "kaniko" if flags.get("PLUGIN_SOURCE_TAR_PATH") else "docker"
        return _Plugin(program=program, environ=variables, settings=own)

    def _remember(self, step: HarnessStep, row: Row) -> None:
        """What later steps may name of this one."""
        made: dict[str, object] = {"status": _STATUS.get(row.status.value, "FAILED")}
        if row.result is not None:
            names = [str(each) for each in row.result.references]
            outputs = {"digest": str(row.result.digest), "image": names[0] if names else ""}
            made["output"] = {"outputVariables": outputs}
        steps = {"steps": {step.identifier: made}}
        whole = {"spec": {"execution": steps}}
        self.context = self.context.behind(
            {
                **steps,
                "execution": steps,
                **({"pipeline": {"stages": {step.stage: whole}}} if step.stage else {}),
            }
        )


_STATUS: Final = {"success": "SUCCEEDED", "skipped": "SKIPPED", "ignored": "IGNORE_FAILED"}
