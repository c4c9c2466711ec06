"""Carry out one operation: look its key up, or make its layer and remember it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from attrs import define, evolve, field, frozen

from ...errors import BuildError, BuildpushError, UnsupportedFeatureError
from ...oci import Platform
from ...oci.layer import LayerWriter
from ...plan import BuildRequest
from ...runtime import CancelToken, Run, Task
from ...runtime.platforms import runnable
from .adding import Adding, sort_sources
from .clamping import layer_writer
from .copying.copy import CopyPlan, CopyRequest, Part, plan_copy, plan_mkdir, write_copy
from .copying.owners import owner_of
from .copying.sources import FilesSource, InlineFile, Source, read_file
from .export import timestamp
from .images import Image, Images, Layer
from .materials import Find, Materials
from .recipe.keys import LayerForm, chain, directory_key, execute_key, transfer_key
from .recipe.operations import Annotate, Execute, MakeDirectory, Operation, Transfer
from .records import StepRecord
from .running import Running, limits_of
from .sandbox.lazy import LazySandbox
from .store import Store, clear
from .tree import Tree

__all__ = ["Steps"]


@define(eq=False, kw_only=True)
class Steps:
    """Everything that steps of one build share. Safe between threads."""

    request: BuildRequest
    run: Run
    store: Store
    images: Images
    sandbox: LazySandbox
    work: Path
    form: LayerForm = field(init=False)
    materials: Materials = field(init=False)
    abort: CancelToken = field(factory=CancelToken, init=False)
    _names: Iterator[int] = field(factory=itertools.count, init=False)
    _keys: dict[str, threading.Lock] = field(factory=dict[str, threading.Lock], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _undo: Callable[[], None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Work out how layers are written, and listen for the run's cancel."""
        request = self.request
        epoch = request.source_date_epoch
        given = request.build_args.get("SOURCE_DATE_EPOCH", "")
        if epoch is None and given.isdecimal():
            epoch = int(given)
        if epoch is None and request.reproducible:
            epoch = 0
        self.form = LayerForm(
            compression=request.compression,
            level=request.compression_level,
            strict=request.reproducible == "strict",
            epoch=epoch,
        )
        self.materials = Materials(
            request=request, run=self.run, store=self.store, images=self.images, check=self.check
        )
        self._undo = self.run.cancel.on_cancel(self._pass_on)

    def _pass_on(self) -> None:
        """Stop for the same reason as the run."""
        try:
            self.run.cancel.check()
        except BuildpushError as reason:
            self.abort.cancel(reason)

    def close(self) -> None:
        """Stop listening, and keep the digests of the build contexts for the next build."""
        self._undo()
        self.materials.close()

    def stop(self) -> None:
        """Make whatever is being carried out stop soon."""
        self.abort.cancel()

    def check(self) -> None:
        """Raise when the run is cancelled (its reason), or another stage has failed."""
        self.run.cancel.check()
        self.abort.check()

    @property
    def created(self) -> str:
        """The time for what is made now: RFC 3339, never later than the epoch asked for."""
        if self.form.epoch is not None:
            return timestamp(datetime.fromtimestamp(self.form.epoch, tz=UTC))
        return timestamp(datetime.now(tz=UTC))

    @property
    def epoch_text(self) -> str | None:
        """The epoch asked for as RFC 3339, or None."""
        return self.created if self.form.epoch is not None else None

    # -- carrying out ----------------------------------------------------------------------

    def carry_out(
        self,
        operation: Operation,
        layers: tuple[Layer, ...],
        *,
        platform: Platform,
        find: Find,
        task: Task,
        ignore_cache: bool,
    ) -> StepRecord:
        """Do *operation* upon *layers*: from the store when it was done before.

        *find* gives what an origin stands for. Raises `BuildError` and what pulling raises.
        """
        self.check()
        job = _Job(layers=layers, platform=platform, find=find, task=task, fresh=ignore_cache)
        match operation:
            case MakeDirectory():
                return self._make_directory(operation, job)
            case Transfer():
                return self._transfer(operation, job)
            case Execute():
                return self._execute(operation, job)
            case Annotate():
                return StepRecord(layer=None, diff_id=None, created=self.created)

    def has_all(self, image: Image) -> bool:
        """Whether every layer of *image* is in the store already."""
        return all(
            self.store.has_blob(x.descriptor.digest, x.descriptor.size) for x in image.layers
        )

    def _make_directory(self, operation: MakeDirectory, job: _Job) -> StepRecord:
        parent = chain(layer.diff_id for layer in job.layers)
        key = directory_key(operation, parent=parent, form=self.form)

        def make() -> StepRecord:
            owner = self._owner(operation.user, job.layers) or (0, 0)
            tree = self.images.tree(job.layers)
            plan = plan_mkdir(operation.path, tree, *owner, created_ns=self._created_ns)
            # A folder that is there makes a layer of nothing, as in BuildKit.
            nothing = FilesSource({})
            return self._layer(lambda w: write_copy(plan, nothing, w, self.abort), plan)

        return self._once(key, job, make)

    def _transfer(self, operation: Transfer, job: _Job) -> StepRecord:
        material = job.find(operation.origin) if operation.origin is not None else None
        with ExitStack() as stack:
            local, remote = sort_sources(operation)
            also = [*self._inline(operation)]
            if remote:
                folder = stack.enter_context(self._folder())
                adding = Adding(
                    request=self.request, run=self.run, store=self.store, folder=folder
                )
                also = [*adding.parts(operation, remote), *also]
            source = stack.enter_context(self.materials.opened(material))
            request = CopyRequest(
                sources=local,
                destination=operation.destination,
                workdir=operation.workdir,
                chmod=operation.chmod,
                exclude=operation.exclude,
                parents=operation.parents,
                link=operation.link,
                unpack=operation.is_add if operation.unpack is None else operation.unpack,
                created_ns=self._created_ns,
            )
            key = transfer_key(
                operation,
                parent=chain(x.diff_id for x in self._below(operation, request, job)),
                content=content_of(request, source, also, self.check),
                form=self.form,
            )

            def make() -> StepRecord:
                owned = evolve(request, chown=self._owner(operation.chown, job.layers))
                tree = Tree() if request.independent else self.images.tree(job.layers)
                plan = plan_copy(owned, source, tree, also=also, check=self.check)
                return self._layer(lambda w: write_copy(plan, source, w, self.abort), plan)

            return self._once(key, job, make)

    def _below(self, operation: Transfer, request: CopyRequest, job: _Job) -> tuple[Layer, ...]:
        """The layers that a copy depends on: none with --link, unless it looks up a name."""
        numeric = operation.chown.replace(":", "").isdecimal() or not operation.chown
        return () if request.independent and numeric else job.layers

    def _inline(self, operation: Transfer) -> Iterator[Part]:
        for file in operation.inline:
            source = FilesSource({file.name: InlineFile(content=file.data)})
            yield Part(source=source, paths=(file.name,))

    def _execute(self, operation: Execute, job: _Job) -> StepRecord:
        running = Running(
            request=self.request,
            run=self.run,
            store=self.store,
            images=self.images,
            sandbox=self.sandbox,
            materials=self.materials,
            abort=self.abort,
            operation=operation,
            find=job.find,
            epoch=self.form.epoch,
        )
        key = execute_key(
            operation,
            parent=chain(layer.diff_id for layer in job.layers),
            mounts=running.mount_keys(),
            limits=limits_of(self.request),
            platform=job.platform,
            form=self.form,
        )

        def make() -> StepRecord:
            _require_runnable(job.platform)
            with self._folder() as folder:
                return self._layer(
                    lambda writer: running.execute(job.layers, writer, job.task, folder)
                )

        return self._once(key, job, make)

    def _once(self, key: str, job: _Job, make: Callable[[], StepRecord]) -> StepRecord:
        """The record under *key*, made by one thread; others, of other builds too, wait for it."""
        with self._lock:
            lock = self._keys.setdefault(key, threading.Lock())
        with ExitStack() as stack:
            stack.enter_context(lock)
            if not job.fresh:
                stack.enter_context(self.store.making(key, self._waiting(job.task)))
                record = self.store.step(key)
                if record is not None:
                    job.task.outcome = "cached"
                    return record
            record = make()
            self.store.remember(key, record)
            return record

    def _waiting(self, task: Task) -> Callable[[], None]:
        told = iter(("another build is at this step: waiting for its result",))

        def wait() -> None:
            for line in told:
                task.log("stderr", line)
            self.abort.sleep(0.1)

        return wait

    def _layer(
        self, fill: Callable[[LayerWriter], None], plan: CopyPlan | None = None
    ) -> StepRecord:
        """Write a layer with *fill* and take it into the store."""
        with self._folder() as folder:
            path = folder / "layer"
            with layer_writer(path, self.form) as writer:
                fill(writer)
                self.check()
                layer = writer.finish()
            self.store.adopt(path, layer.descriptor.digest)
        index = plan.index() if plan is not None and self.form.epoch is None else None
        if index is not None:
            self.store.keep_index(layer.diff_id, index.dump())
        return StepRecord(layer=layer.descriptor, diff_id=layer.diff_id, created=self.created)

    @contextmanager
    def _folder(self) -> Generator[Path]:
        folder = self.work / str(next(self._names))
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            clear(folder, self.sandbox.remove)

    @property
    def _created_ns(self) -> int:
        # Not the clock: the same Dockerfile and files shall give the same layers everywhere.
        return (self.form.epoch or 0) * 10**9

    def _owner(self, text: str, layers: tuple[Layer, ...]) -> tuple[int, int] | None:
        """The numbers for ``user:group``, looked up in *layers* when they are names."""
        if not text:
            return None

        def read(path: str) -> bytes | None:
            return read_file(self.materials.stacked(layers), path)

        owner = owner_of(text, read)
        if owner.unknown and not layers:
            raise BuildError(
                f"user or group {owner.unknown[0]!r} cannot be looked up in an empty image",
                hint="give their numbers",
            )
        for name in owner.unknown:
            self.run.warn(f"the image has no user or group {name!r}; root is taken instead")
        return owner.uid, owner.gid


def _require_runnable(platform: Platform) -> None:
    """Raise `UnsupportedFeatureError` when programs for *platform* do not run here."""
    possible = runnable(Platform.host())
    if platform.architecture not in {p.architecture for p in possible}:
        raise UnsupportedFeatureError(
            f"RUN for {platform} cannot be executed here",
            hint="install QEMU's binfmt handlers, or cross-compile in a stage that is FROM "
            "--platform=$BUILDPLATFORM",
        )


def content_of(
    request: CopyRequest, source: Source, also: Sequence[Part], check: Callable[[], None]
) -> str:
    """A digest of what *request* copies, found without a look at the image it goes into.

    Everything is planned into an empty folder, where no name hides another: so the digest holds
    all that could matter, and a cached step needs neither the layers below nor their indexes.
    """
    empty = evolve(request, destination=f"{request.destination.rstrip('/')}/", chown=None)
    try:
        return plan_copy(empty, source, Tree(), also=also, check=check).key
    except BuildError:
        # Sources that fit only into folders that are there: tell them apart one by one.
        each = [evolve(empty, sources=(one,)) for one in request.sources]
        keys = [plan_copy(one, source, Tree(), check=check).key for one in each]
        for part in also:
            alone = evolve(empty, sources=())
            keys.append(plan_copy(alone, source, Tree(), also=(part,), check=check).key)
        return " ".join(keys)


@frozen(kw_only=True)
class _Job:
    """What an operation is carried out upon; *fresh* ignores what the store remembers."""

    layers: tuple[Layer, ...]
    platform: Platform
    find: Find
    task: Task
    fresh: bool
