"""The one object most people need: settings in, result out, sync or async."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Unpack, cast

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from attrs import evolve
from pydantic import ConfigDict, PlainValidator

from ..auth import Chain, Keychain, PullOnly
from ..auth.reading import read_keychains
from ..backends import AUTO_ORDER, Backend, BackendCatalog, Previewing, choose
from ..errors import CredentialConflictError, SpecError
from ..events import Event, EventSink, Phase, PhaseStarted, Warned, ignore
from ..oci import ImageReference, Repository
from ..plan import Artifact, BuildRequest, BuildResult, Delivery, Feature, Plan, make_plan
from ..runtime import CancelToken, Deadline, Environment, Run
from ..runtime.host import host_faults
from ..runtime.workdir import workdir
from ..spec import StepArguments, StepSpec
from .streams import AsyncEventStream, Body, EventStream, Worker

if TYPE_CHECKING:
    from ..auth.connectors import Connectors
    from ..spec.expressions import Context
    from .bake import BakeArguments
    from .overrides import Overrides

__all__ = ["AsyncEventStream", "BuildAndPushStep", "EventStream"]


def _read_backend(value: object) -> str | Backend:
    if isinstance(value, str):
        return value
    if isinstance(value, Backend) and not isinstance(value, type):
        return value
    raise ValueError("expected the name of a backend, or an object with probe() and build()")


class BuildAndPushArguments(StepArguments, total=False):
    """The keyword arguments of `BuildAndPushStep`."""

    backend: str | Backend
    auth: Keychain | str | Sequence[Keychain | str]


class BuildAndPushStep(StepSpec):
    """Builds one image and pushes it. Holds no state: run it as often as you like.

    The settings say *what* (see `StepSpec`); *backend* says *how*: the name of an installed
    backend, ``"auto"`` for the first that can, or an object of your own; *auth* says *who*:
    keychains, or names of installed ones (``ecr``), asked in order, before the ambient docker
    configuration.

    Raises `SpecError` when a setting is wrong; every fault is in its message.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    backend: Annotated[str | Backend, PlainValidator(_read_backend)] = "auto"
    auth: Annotated[tuple[Keychain, ...], PlainValidator(read_keychains)] = ()

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[BuildAndPushArguments]) -> None: ...

    else:

        def __init__(self, **settings: Any) -> None:
            if settings.get("env_variables") or settings.get("envVariables"):
                from .flags import with_flags

                settings = with_flags(settings)
            super().__init__(**settings)

    @classmethod
    def from_harness(
        cls,
        source: str | Path,
        *,
        step: str = "",
        expressions: Context | None = None,
        connectors: Connectors | None = None,
        **settings: Unpack[Overrides],
    ) -> Self:
        """One step of Harness's YAML: of a file, or of a text with more than one line.

        *source* is a step alone, a stage or a pipeline; *step* says which one, by its identifier
        or path, where there are several. *expressions* has the values of its ``<+…>``, *connectors* who
        logs in, by the names that it refers to; without them, this machine's own logins are
        used. *settings* win.

        Raises `SpecError` with path and line for unknown keys and wrong values, and
        `ExpressionError` for expressions that have no value. See `run_harness` for all the steps
        of a file, with their conditions, strategies and failures.
        """
        from ..spec.expressions import Context
        from .harness import one_step, read_file

        found = read_file(source).step(step)
        make = cast("Callable[[Mapping[str, object]], Self]", cls.parse)
        given = cast("Mapping[str, object]", settings)
        return one_step(found, make, expressions or Context(), connectors, given)

    @classmethod
    def from_bake(
        cls,
        *files: str | Path,
        targets: Sequence[str] = ("default",),
        overrides: Sequence[str] = (),
        variables: Mapping[str, str | int | bool] | None = None,
        cwd: str | Path = ".",
        cancel: CancelToken | None = None,
        **settings: Unpack[BakeArguments],
    ) -> Mapping[str, Self]:
        """The steps that bake files (HCL, JSON, compose) describe, by target, in build order.

        docker's buildx resolves the files, without a daemon; any backend can run the steps.
        *files*, *targets*, *overrides* (``TARGET.FIELD=VALUE``) and *cwd*, where relative paths
        begin, are those of ``docker buildx bake``; *variables* reach it by environment, and
        *settings* win over what the files say. Flipping *cancel* ends it. A target with tags in several repositories makes
        a step for each: ``target``, then ``target@repository``.

        Raises `SpecError` for a file that is wrong or asks for what a step has not, naming
        target and field, and `BackendUnavailableError` where buildx is not installed.
        """
        from .bake import Request, steps

        words = {True: "true", False: "false"}
        request = Request(
            files=tuple(map(str, files)),
            targets=tuple(targets),
            overrides=tuple(overrides),
            variables={
                name: words[value] if isinstance(value, bool) else str(value)
                for name, value in (variables or {}).items()
            },
            cwd=Path(cwd),
        )
        make = cast("Callable[[Mapping[str, object]], Self]", cls.parse)
        return steps(request, make, cast("Mapping[str, object]", settings), cancel=cancel)

    @classmethod
    def from_plugin_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        plugin: str = "docker",
        mode: Literal["strict", "compatible"] = "strict",
        **settings: Unpack[Overrides],
    ) -> Self:
        """The step that the ``PLUGIN_`` variables of one of Drone's plugins describe.

        *plugin* is ``docker``, ``buildx``, ``buildah`` or ``kaniko``, one of these with ``-ecr``,
        ``-gcr``, ``-gar`` or ``-acr``, or ``ecr``, ``gcr``, ``gar`` or ``acr`` alone; *environ* this process's variables without it; *settings*
        win. The mode ``strict`` refuses variables that would do nothing, lose something or
        contradict each other; ``compatible`` does what the plugin does, and the plan warns.

        Raises `SpecError` that names every variable that is wrong, also where they describe no
        build: `run_plugin` does those, and writes a plugin's files.
        """
        from .drone import not_a_step, step_of
        from .variables import read_plugin

        asked, variables = read_plugin(environ, plugin, mode)
        if why := not_a_step(asked):
            raise SpecError(why, hint="a step is one build; run_plugin does what the plugin does")
        make = cast("Callable[[Mapping[str, object]], Self]", cls.parse)
        return step_of(asked, variables, make, cast("Mapping[str, object]", settings))

    def to_harness(self, *, connector: str, identifier: str, name: str = "") -> str:
        """The step as Harness's YAML: one of type BuildAndPushDockerRegistry.

        *connector* is the name of the connector to push with. Raises `SpecError` for settings that
        Harness has no word for, and for a step with the value of a secret in it.
        """
        from ..spec.harness import write_harness

        return write_harness(self, connector=connector, identifier=identifier, name=name)

    def plan(self, *, backend: str | Backend | None = None) -> Plan:
        """Resolve the settings against a backend, without building anything.

        Reads the Dockerfile and probes the backend; raises `DockerfileError`, or `PlanError`
        with every reason why it cannot be done here.
        """
        environment = Environment.current()
        with host_faults(environment):
            return self._choose(backend or self.backend, environment)[1]

    def preflight(
        self, *, on_event: EventSink = ignore, cancel: CancelToken | None = None
    ) -> tuple[Repository, ...]:
        """Ask every destination whether we may push to it, without building; those that say yes.

        An upload is opened in each and cancelled, all within five seconds; what does not answer
        in time is a warning. Raises the error of the destination that refuses, `PreflightError`
        with all of them when several do.
        """
        from .asking import ask_now

        return ask_now(self, self.auth, on_event, cancel or CancelToken())

    def run(
        self,
        *,
        backend: str | Backend | None = None,
        on_event: EventSink = ignore,
        cancel: CancelToken | None = None,
    ) -> BuildResult:
        """Build and push. *on_event* is called in this thread, one event at a time.

        *backend* overrides the step's own for this run; flipping *cancel* from another thread
        stops it. Raises a `BuildpushError`; whatever was started is gone by then.
        """
        with self.stream(backend=backend, cancel=cancel) as stream:
            for event in stream:
                on_event(event)
            return stream.result

    async def arun(
        self,
        *,
        backend: str | Backend | None = None,
        on_event: EventSink = ignore,
        cancel: CancelToken | None = None,
    ) -> BuildResult:
        """`run`, awaitable, on asyncio or trio. Cancelling the task stops the build first."""
        async with self.astream(backend=backend, cancel=cancel) as stream:
            async for event in stream:
                on_event(event)
            return stream.result

    @contextmanager
    def stream(
        self, *, backend: str | Backend | None = None, cancel: CancelToken | None = None
    ) -> Generator[EventStream]:
        """Iterate over a run's events; leaving the block early stops the run."""
        events: SimpleQueue[Event | None] = SimpleQueue()
        worker = Worker(
            self._body(backend),
            emit=events.put,
            close=lambda: events.put(None),
            cancel=cancel or CancelToken(),
        )
        try:
            yield EventStream(worker, iter(events.get, None))
        finally:
            worker.stop()

    @asynccontextmanager
    async def astream(
        self, *, backend: str | Backend | None = None, cancel: CancelToken | None = None
    ) -> AsyncGenerator[AsyncEventStream]:
        """`stream`, for ``async with`` and ``async for``."""
        send, receive = anyio.create_memory_object_stream[Event](math.inf)
        loop = anyio.lowlevel.current_token()
        worker = Worker(
            self._body(backend),
            emit=lambda event: anyio.from_thread.run_sync(send.send_nowait, event, token=loop),
            close=lambda: anyio.from_thread.run_sync(send.close, token=loop),
            cancel=cancel or CancelToken(),
        )
        try:
            yield AsyncEventStream(worker, receive)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(worker.stop)
            receive.close()

    def _body(self, backend: str | Backend | None) -> Body:
        def body(emit: EventSink, cancel: CancelToken) -> BuildResult:
            return self._execute(backend or self.backend, emit, cancel)

        return body

    def _execute(
        self, backend: str | Backend, emit: EventSink, cancel: CancelToken
    ) -> BuildResult:
        """The whole of a run, top to bottom. Everything else in this file is plumbing."""
        from ..auth.bound import within
        from ..auth.files import ambient
        from ..auth.learning import Learnt
        from .asking import ask_beforehand
        from .delivery import deliver  # lazily: it loads the HTTP client
        from .journal import journal
        from .secrets import find_agents, write_secrets

        environment = Environment.current()
        with (
            host_faults(environment),
            workdir(environment.temporary, environment.uid) as folder,
            journal(environment.cache / "logs") as log,
            Deadline(cancel, self.timeout),
        ):
            warnings: list[str] = []
            run = Run(
                workdir=folder,
                cancel=cancel,
                sink=_noting(emit, warnings, log.sink, quiet=self.quiet),
                environment=environment,
            )
            for value in self.hidden:
                run.redact.learn(value.get_secret_value())
            run.emit(PhaseStarted(at=run.now, phase=Phase.PLAN))
            if log.reason:
                run.warn(f"no log is kept: {log.reason}")
            chosen, plan = self._choose(backend, environment)
            for warning in plan.warnings:
                run.warn(warning)
            signed_in = ambient(environment, run.warn, cancel=cancel, redact=run.redact)
            auth = within(Chain(self.auth), run.warn, cancel)
            keychain = Learnt(Chain((auth, signed_in)), run.redact)
            request = evolve(
                plan.with_files(write_secrets(plan.secrets, run), find_agents(plan.ssh, run)),
                local_outputs=_local_outputs(plan, environment.cwd),
            )
            with log.named_in_errors():
                if plan.push and plan.policy.preflight:
                    ask_beforehand(self, keychain, run, plan.request.delivery)
                run.emit(PhaseStarted(at=run.now, phase=Phase.BUILD))
                able = Feature.EXPORT_LAYOUT in plan.backend.features
                artifact = self._build(chosen, request, keychain, run, exports=able)
                cancel.check()
                result = deliver(artifact, plan, keychain, run)
            return evolve(result, seconds=run.now, warnings=tuple(warnings), log=log.path)

    def _build(
        self,
        backend: Backend,
        request: BuildRequest,
        keychain: Keychain,
        run: Run,
        *,
        exports: bool,
    ) -> Artifact:
        """Let *backend* build; without the right to push where the push is ours."""
        if request.delivery is Delivery.DIRECT:
            try:
                return backend.build(request, keychain, run)
            except CredentialConflictError as error:
                if self.delivery != "auto" or not exports:
                    raise
                run.warn(f"{error.message}: buildpush pushes instead of the backend")
        exporting = evolve(request, delivery=Delivery.LAYOUT)
        return backend.build(exporting, PullOnly(keychain, _cached_in(request)), run)

    def _choose(self, backend: str | Backend, environment: Environment) -> tuple[Backend, Plan]:
        from ..dockerfile import parse
        from ..oci import Platform
        from .finding import dockerfile_path, read_dockerfile

        path = dockerfile_path(self.context, self.dockerfile, environment)
        dockerfile = parse(read_dockerfile(path), filename=str(self.dockerfile))

        catalog = BackendCatalog.discover()

        def plan_for(backend: Backend) -> Plan:
            made = make_plan(
                self,
                backend.probe(),
                dockerfile=dockerfile,
                context=environment.cwd / self.context,
                dockerfile_path=path,
                host=Platform.host(),
                installed=catalog.entries,
            )
            if isinstance(backend, Previewing):
                # Their names are enough: nothing is read until the step runs.
                names = {name: Path(name) for name in made.secrets}
                made = evolve(made, preview=backend.preview(made.with_files(names, {})))
            return made.veiled(self.veiled) if self.hidden else made

        if not isinstance(backend, str):
            return backend, plan_for(backend)
        names = AUTO_ORDER if backend == "auto" else (backend,)
        return choose(names, catalog, plan_for)


def _cached_in(request: BuildRequest) -> frozenset[Repository]:
    """The repositories that a backend writes caches to."""
    refs = (c.attributes.get("ref") for c in request.cache_to if c.type == "registry")
    return frozenset(ImageReference.parse(ref).repository for ref in refs if ref)


def _local_outputs(plan: Plan, cwd: Path) -> tuple[Path, ...]:
    return tuple(cwd / output.destination for output in plan.outputs if output.type == "local")


def _noting(emit: EventSink, warnings: list[str], log: EventSink, *, quiet: bool) -> EventSink:
    """Log everything, keep the warnings for the result; a quiet step shows nothing else."""

    def sink(event: Event) -> None:
        log(event)
        if isinstance(event, Warned):
            warnings.append(event.message)
            emit(event)
        elif not quiet:
            emit(event)

    return sink
