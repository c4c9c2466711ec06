"""Walk the graph: stages side by side, unused ones never, cached steps not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from attrs import define, evolve, field, frozen

from ...auth import Keychain
from ...dockerfile.faults import evidence_of
from ...dockerfile.instructions import Add, Copy, Lines, Stage, Workdir
from ...dockerfile.instructions import Run as RunIt
from ...dockerfile.resolution import Resolution, ResolvedStage
from ...dockerfile.stages import resolve
from ...errors import (
    BuildError,
    BuildpushError,
    PlanError,
    SourceEvidence,
    StepCancelledError,
    StepTimeoutError,
)
from ...oci import Platform
from ...oci.wire import History
from ...plan import BuildRequest, LayoutArtifact
from ...runtime import Run, Task
from ...runtime.host import host_fault, is_of_host
from .export import BuiltImage, export, finished_config
from .images import Image, Images, Layer
from .materials import Folder, Material
from .recipe.config import COMMENT, empty_image
from .recipe.graph import plan_stage
from .recipe.operations import (
    Annotate,
    Execute,
    ImageOrigin,
    Operation,
    Origin,
    StageOrigin,
    Transfer,
)
from .recipe.scope import Base, Scope, StagePlan, fault
from .records import StepRecord
from .sandbox.lazy import LazySandbox
from .steps import Steps
from .store import VERSION, Store

__all__ = ["solve"]

_SCRATCH: Final = "scratch"
_SCHEMES: Final = ("docker-image://", "oci-layout://")


def solve(request: BuildRequest, keychain: Keychain, run: Run) -> LayoutArtifact:
    """Build *request* for each of its platforms (this machine's when it names none).

    Raises `DockerfileError` for what cannot be understood, `BuildError` for what failed, and
    what pulling raises; each shows the lines of the instruction it happened in.
    """
    sandbox = LazySandbox(run)
    with ExitStack() as stack:
        store = stack.enter_context(
            Store(run.environment.cache / "native" / VERSION, remove=sandbox.remove)
        )
        images = Images(store=store, request=request, keychain=keychain, run=run)
        stack.callback(images.close)
        work = stack.enter_context(store.work())
        steps = Steps(
            request=request, run=run, store=store, images=images, sandbox=sandbox, work=work
        )
        stack.callback(steps.close)
        platforms = request.platforms or (Platform.host(),)
        built = [
            _Build(request=request, run=run, steps=steps, platform=p).run_it() for p in platforms
        ]
        return export(built, request, store, run.workdir / "layout")


@frozen(kw_only=True)
class _Snapshot:
    """A stage that is built: its layers, the history so far, and the plan it came from."""

    layers: tuple[Layer, ...]
    history: tuple[History, ...]
    plan: StagePlan
    folder: Path | None = None
    """Set instead of layers when a named context of plain files took the stage's place."""


@define(eq=False, kw_only=True)
class _Build:
    """One platform's build."""

    request: BuildRequest
    run: Run
    steps: Steps
    platform: Platform
    resolution: Resolution = field(init=False)
    scope: Scope = field(init=False)
    _futures: dict[int, Future[_Snapshot]] = field(
        factory=dict[int, Future[_Snapshot]], init=False
    )
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _failed: BaseException | None = field(default=None, init=False)
    _pool: ThreadPoolExecutor = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Connect the stages and work out the global ARGs."""
        request = self.request
        build_args = dict(request.build_args)
        if request.source_date_epoch is not None:
            build_args.setdefault("SOURCE_DATE_EPOCH", str(request.source_date_epoch))
        self.resolution = resolve(
            request.dockerfile,
            target=request.target,
            build_args=build_args,
            platform=self.platform,
            build_platform=Platform.host(),
            contexts=request.build_contexts,
        )
        self.scope = Scope(
            dockerfile=request.dockerfile,
            build_args=build_args,
            global_args=self.resolution.arguments,
            prefix=str(self.platform) if len(request.platforms) > 1 else "",
        )

    def run_it(self) -> BuiltImage:
        """Build the target and everything it needs."""
        # One thread per stage: a stage waits in its thread for those it needs, which are earlier
        # ones, so this cannot deadlock.
        self._pool = ThreadPoolExecutor(len(self.resolution.stages), thread_name_prefix="stage")
        with self._pool:
            futures = [self._start(index) for index in self.resolution.needed]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            except BaseException as error:
                self._fail(error)
                raise
        if self._failed is not None:
            raise self._failed
        return self._finished(self._futures[self.resolution.target].result())

    def _finished(self, snapshot: _Snapshot) -> BuiltImage:
        asked = self.platform if self.request.platforms else None
        config = finished_config(
            snapshot.plan.image,
            layers=snapshot.layers,
            history=snapshot.history,
            labels=self.request.labels,
            platform=asked,
        )
        return BuiltImage(platform=config.platform, config=config, layers=snapshot.layers)

    # -- stages ----------------------------------------------------------------------------

    def _start(self, index: int) -> Future[_Snapshot]:
        """The stage, under way: started when nobody has yet."""
        with self._lock:
            if index not in self._futures:
                stage = self.resolution.stages[index]
                self._futures[index] = self._pool.submit(self._guarded, stage)
            return self._futures[index]

    def _guarded(self, stage: ResolvedStage) -> _Snapshot:
        try:
            return self._stage(stage)
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """Remember the first failure and stop what other stages are doing."""
        with self._lock:
            if self._failed is None:
                self._failed = error
        self.steps.stop()

    def _stage(self, resolved: ResolvedStage) -> _Snapshot:
        stage = resolved.stage
        if resolved.base.context and resolved.base.name == stage.base.name:
            return self._replaced(resolved)
        base, layers, history = self._base(resolved)
        plan = plan_stage(stage, base, self.scope)
        for origin in plan.origins:
            if isinstance(origin, StageOrigin):
                self._start(origin.index)
        ignore_cache = self._ignores_cache(stage)
        for number, operation in enumerate(plan.operations):
            self.run.cancel.check()
            if self._failed is not None:
                raise StepCancelledError("another stage failed")
            record: StepRecord | None = None
            if not isinstance(operation, Annotate):
                for origin in _stages_read_by(operation):
                    # Waited for here, so that the step's time is its own.
                    self._start(origin.index).result()
                name = f"{self.platform} {stage.index} {number}"
                with self._task(name, operation.title, operation.lines) as task:
                    record = self.steps.carry_out(
                        operation,
                        layers,
                        platform=resolved.platform,
                        find=self._material,
                        task=task,
                        ignore_cache=ignore_cache,
                    )
            if operation.created_by:
                history = (*history, _history_line(operation, record, self.steps.epoch_text))
            if record is not None and record.layer is not None:
                assert record.diff_id is not None
                layers = (*layers, Layer(descriptor=record.layer, diff_id=record.diff_id))
        return _Snapshot(layers=layers, history=history, plan=plan)

    def _ignores_cache(self, stage: Stage) -> bool:
        wanted = {name.lower() for name in self.request.no_cache_filter}
        return self.request.no_cache or bool(wanted & {stage.base.name, str(stage.index)} - {""})

    def _task(self, name: str, title: str, lines: Lines) -> _Blamed:
        return _Blamed(run=self.run, request=self.request, name=name, title=title, lines=lines)

    # -- bases -----------------------------------------------------------------------------

    def _base(
        self, resolved: ResolvedStage
    ) -> tuple[Base, tuple[Layer, ...], tuple[History, ...]]:
        origin = resolved.base
        if origin.stage is not None:
            below = self._start(origin.stage).result()
            if below.folder is not None:
                raise self._no_base(resolved)
            return Base.of_stage(below.plan), below.layers, below.history
        if origin.is_scratch:
            return Base.of_image(empty_image(self.platform), counts=False), (), ()
        source = self._source(origin.name)
        if isinstance(source, Folder):
            raise self._no_base(resolved)
        image = self._found(resolved, source)
        config = evolve(image.config, created=None)
        return Base.of_image(config), image.layers, _base_history(config.history, image)

    def _source(self, name: str) -> str | Folder:
        """What an image's name stands for: a reference or layout to look up, or a folder."""
        context = self.steps.images.named_context(name)
        if context is not None and not context.startswith(_SCHEMES):
            return Folder(path=self.steps.materials.folder(context))
        return context or name

    def _no_base(self, resolved: ResolvedStage) -> BuildpushError:
        return fault(
            self.request.dockerfile,
            resolved.stage.base.lines,
            f"the build context {resolved.base.name!r} is a folder: it can be copied from, "
            "not built upon",
        )

    def _found(self, resolved: ResolvedStage, source: str) -> Image:
        base = resolved.stage.base
        total = 1 + sum(isinstance(i, Copy | Add | RunIt | Workdir) for i in resolved.instructions)
        name = base.name or f"stage-{resolved.index}"
        words = (self.scope.prefix, name if len(self.resolution.stages) > 1 else "")
        number = f"{1:>{len(str(total))}d}/{total}"
        title = f"[{' '.join(filter(None, (*words, number)))}] FROM {resolved.base.name}"
        with self._task(f"{self.platform} {resolved.index} FROM", title, base.lines) as task:
            image = self.steps.images.find(source, resolved.platform)
            task.outcome = "cached" if self.steps.has_all(image) else "done"
        wanted, config = resolved.platform, image.config
        if (config.os, config.architecture) != (wanted.os, wanted.architecture):
            self.run.warn(
                f"base image {resolved.base.name} is for {config.platform}, not for {wanted}"
            )
        return image

    def _replaced(self, resolved: ResolvedStage) -> _Snapshot:
        """A named build context in the place of a stage of that name."""
        stage = evolve(resolved.stage, instructions=())
        source = self._source(resolved.base.name)
        if isinstance(source, Folder):
            base = Base.of_image(empty_image(self.platform), counts=False)
            plan = plan_stage(stage, base, self.scope)
            return _Snapshot(layers=(), history=(), plan=plan, folder=source.path)
        image = self._found(resolved, source)
        config = evolve(image.config, created=None)
        base = evolve(Base.of_image(config), triggers=())
        plan = plan_stage(stage, base, self.scope)
        history = _base_history(config.history, image)
        return _Snapshot(layers=image.layers, history=history, plan=plan)

    # -- what operations read from ---------------------------------------------------------

    def _material(self, origin: Origin) -> Material:
        """What COPY --from or a mount reads: another stage (waited for), an image, a folder."""
        match origin:
            case StageOrigin(index=index):
                snapshot = self._start(index).result()
                if snapshot.folder is not None:
                    return Folder(path=snapshot.folder)
                return snapshot.layers
            case ImageOrigin(name=name):
                if name.lower() == _SCRATCH:
                    return ()
                source = self._source(name)
                if isinstance(source, Folder):
                    return source
                return self.steps.images.find(source, self.platform).layers


def _stages_read_by(operation: Operation) -> Iterator[StageOrigin]:
    match operation:
        case Transfer(origin=origin):
            origins: tuple[Origin | None, ...] = (origin,)
        case Execute(mounts=mounts):
            origins = tuple(origin for _, origin in mounts)
        case _:
            origins = ()
    return (origin for origin in origins if isinstance(origin, StageOrigin))


def _history_line(operation: Operation, record: StepRecord | None, epoch: str | None) -> History:
    made_layer = record is not None and record.layer is not None
    return History(
        created=record.created if record is not None and made_layer else epoch,
        created_by=operation.created_by,
        comment=COMMENT,
        empty_layer=not made_layer,
    )


def _base_history(history: tuple[History, ...], image: Image) -> tuple[History, ...]:
    """The base's history made to fit its layers, as BuildKit's exporter does.

    Lines that claim layers beyond those there are count as empty; layers without a line get one.
    """
    left = len(image.layers)
    lines: list[History] = []
    for line in history:
        lines.append(line if line.empty_layer or left else evolve(line, empty_layer=True))
        left -= not lines[-1].empty_layer
    return (*lines, *(History(comment="buildkit.exporter.image.v0") for _ in range(left)))


@define(eq=False, kw_only=True)
class _Blamed:
    """A task whose errors show the lines of the instruction they happened in."""

    run: Run
    request: BuildRequest
    name: str
    title: str
    lines: Lines
    _stack: ExitStack = field(factory=ExitStack, init=False)

    def __enter__(self) -> Task:
        return self._stack.enter_context(self.run.task(self.name, self.title))

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._stack.__exit__(kind, error, trace)  # type: ignore[arg-type]
        if isinstance(error, StepCancelledError | StepTimeoutError):
            return
        if isinstance(error, BuildpushError):
            if not any(isinstance(e, SourceEvidence) for e in error.evidence):
                source = evidence_of(self.request.dockerfile, self.lines)
                error.evidence = (source, *error.evidence)
        elif isinstance(error, OSError | ValueError):
            source = evidence_of(self.request.dockerfile, self.lines)
            if isinstance(error, OSError) and is_of_host(error):
                refusal = host_fault(error, self.run.environment)
                raise PlanError(refusal.message, evidence=(source,), hint=refusal.hint) from error
            raise BuildError(f"{self.title}: {error}", evidence=(source,)) from error
