"""One build from its request to its artifact: an execution for each platform, and what joins them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from attrs import evolve, frozen

from ...auth import Keychain
from ...errors import (
    BuildpushError,
    PodLostError,
    RegistryError,
    SpecError,
    StepCancelledError,
)
from ...oci import Digest, ImageReference, Platform
from ...plan import Artifact, BuildRequest, Delivery, LayoutArtifact, PushedArtifact
from ...plan.annotations import Annotations
from ...runtime import CancelToken, Run
from ..engine.exported import adopt
from ..registries import open_registry, reach_required_caches
from .credentials import config_json
from .executor.argv import command, private_files
from .executor.flavors import Executor
from .executor.options import KanikoOptions
from .executor.refusals import refuse
from .joining import Built, join, put_index
from .output.failures import build_error, require_cache
from .output.translate import KanikoOutput
from .runner import Ending, Execution, Found, Runner

__all__ = ["Building", "Kaniko", "previews"]

T = TypeVar("T")

CONFIG: Final = "config.json"
_LONGEST_TAG: Final = 128
_DEADLINE: Final = "DeadlineExceeded"
_LOST: Final = 2
"""How often a build whose pod was taken away is begun again."""


@frozen(kw_only=True)
class Kaniko:
    """A kaniko that was found: its image, what is in it, and what runs it."""

    image: str
    executor: Executor
    options: KanikoOptions
    runner: Runner
    found: Found

    @property
    def own(self) -> Platform | None:
        """The platform that it runs on; None in a cluster, which finds a node of each."""
        return next(iter(self.found.platforms), None)


def previews(kaniko: Kaniko, request: BuildRequest) -> Iterator[str]:
    """What `Building` would start, for each platform; nothing is asked for or read but files.

    Raises `UnsupportedFeatureError` for what this executor would ignore or do wrongly.
    """
    refuse(request, kaniko.executor, kaniko.options, own=kaniko.own)
    for platform, single in _platforms(request, kaniko.own):
        files = private_files(evolve(single, secrets={}), kaniko.executor, kaniko.options)
        names = {CONFIG: b"", **files, **{f"secrets/{name}": b"" for name in single.secrets}}
        layout = Path("layout") if request.delivery is Delivery.LAYOUT else None
        yield kaniko.runner.preview(_execution(kaniko, single, platform, names, layout))


@frozen(kw_only=True)
class Building:
    """A build under way."""

    kaniko: Kaniko
    request: BuildRequest
    keychain: Keychain
    run: Run

    def artifact(self) -> Artifact:
        """Build for each platform, and push or export what comes of it."""
        refuse(self.request, self.kaniko.executor, self.kaniko.options, own=self.kaniko.own)
        reach_required_caches(self.request, self.keychain, self.run)
        platforms = tuple(_platforms(self.request, self.kaniko.own))
        if self.request.delivery is Delivery.DIRECT:
            return self._pushed(platforms)
        return self._exported(platforms)

    def _pushed(self, platforms: tuple[tuple[Platform | None, BuildRequest], ...]) -> Artifact:
        digests = self._all([partial(self._push, platform, one) for platform, one in platforms])
        if len(digests) == 1:
            return PushedArtifact(digest=digests[0])
        images = [
            Built(platform=platform, digest=digest)
            for (platform, _), digest in zip(platforms, digests, strict=True)
            if platform is not None
        ]
        annotations = Annotations(texts=self.request.annotations)
        with open_registry(self.request, self.keychain, self.run) as client:
            title = f"push index of {len(images)} platforms"
            with self.run.task(title, title):
                digest = put_index(client, images, self.request.references, annotations)
        return PushedArtifact(digest=digest)

    def _exported(
        self, platforms: tuple[tuple[Platform | None, BuildRequest], ...]
    ) -> LayoutArtifact:
        images = self._all([partial(self._export, platform, one) for platform, one in platforms])
        if len(images) == 1:
            return images[0]
        named = [(p, i) for (p, _), i in zip(platforms, images, strict=True) if p is not None]
        annotations = Annotations(texts=self.request.annotations)
        return join(named, self.run.workdir / "kaniko-index", annotations)

    def _push(self, platform: Platform | None, request: BuildRequest, run: Run) -> Digest:
        ending = self._execute(request, platform, None, run)
        try:
            return Digest(ending.digest.strip())
        except SpecError as error:
            raise RegistryError(
                "kaniko says that it has pushed the image, and not with which digest",
                hint="is something else writing to the pod's termination message?",
            ) from error

    def _export(
        self, platform: Platform | None, request: BuildRequest, run: Run
    ) -> LayoutArtifact:
        name = f"kaniko-{str(platform).replace('/', '-')}" if platform else "kaniko"
        folder = run.workdir / name
        self._execute(request, platform, folder, run)
        return adopt(folder, request, self.keychain, run)

    def _execute(
        self, request: BuildRequest, platform: Platform | None, layout: Path | None, run: Run
    ) -> Ending:
        """Run the executor; once more where the cluster took its pod away.

        Not where its deadline passed: the same build would meet the same one.
        """
        prefix = f"{platform} " if len(self.request.platforms) > 1 else ""
        config = config_json(request, self.keychain, platform)
        files = private_files(request, self.kaniko.executor, self.kaniko.options)
        files = {CONFIG: config, **files}
        execution = _execution(self.kaniko, request, platform, files, layout)
        execution = evolve(execution, prefix=prefix)
        left = _LOST if request.retries else 0
        while True:
            output = KanikoOutput(request, prefix=prefix)
            try:
                ending = self.kaniko.runner.execute(execution, output, run)
            except PodLostError as error:
                if not left or error.reason == _DEADLINE:
                    raise
                left -= 1
                run.warn(f"{error.message}: once more")
                continue
            if ending.exit_code != 0:
                raise build_error(request, output, ending, run.redact)
            require_cache(request, output, ending, run.redact)
            return ending

    def _all(self, jobs: list[Callable[[Run], T]]) -> list[T]:
        """Do all *jobs*, as many at once as the runner takes; the first failure ends the others."""
        if len(jobs) == 1 or self.kaniko.found.at_once == 1:
            return [job(self.run) for job in jobs]
        with (
            _together(self.run) as run,
            ThreadPoolExecutor(min(len(jobs), self.kaniko.found.at_once)) as pool,
        ):
            futures = [pool.submit(job, run) for job in jobs]
            failure: BaseException | None = None
            for future in as_completed(futures):
                error = future.exception()
                if error is not None and failure is None:
                    failure = error
                    run.cancel.cancel(StepCancelledError("another platform's build has failed"))
            if failure is not None:
                self.run.cancel.check()
                raise failure
            return [future.result() for future in futures]


@contextmanager
def _together(run: Run) -> Generator[Run]:
    """A run whose cancel ends with *run*'s, and can be flipped without it."""
    token = CancelToken()
    undo = run.cancel.on_cancel(lambda: token.cancel(_reason(run.cancel)))
    try:
        yield evolve(run, cancel=token)
    finally:
        undo()


def _reason(token: CancelToken) -> BuildpushError | None:
    try:
        token.check()
    except BuildpushError as error:
        return error
    return None


def _platforms(
    request: BuildRequest, own: Platform | None
) -> Iterator[tuple[Platform | None, BuildRequest]]:
    """The request for each platform; pushed directly, each with a tag of its own."""
    if not request.platforms:
        yield own, request
        return
    several = len(request.platforms) > 1
    for platform in request.platforms:
        single = evolve(request, platforms=(platform,))
        if several and request.delivery is Delivery.DIRECT:
            single = evolve(single, references=(_tagged(request.references[0], platform),))
        yield platform, single


def _tagged(reference: ImageReference, platform: Platform) -> ImageReference:
    """The name under which one platform's image waits for the index: ``app:1.4-linux-arm64``."""
    suffix = f"-{str(platform).replace('/', '-')}"
    return evolve(reference, tag=f"{reference.tag[: _LONGEST_TAG - len(suffix)]}{suffix}")


def _execution(
    kaniko: Kaniko,
    request: BuildRequest,
    platform: Platform | None,
    files: Mapping[str, bytes],
    layout: Path | None,
) -> Execution:
    return Execution(
        image=kaniko.image,
        request=request,
        command=lambda places: command(
            request, kaniko.executor, kaniko.options, places, platform=platform
        ),
        files=files,
        platform=platform,
        layout=layout,
    )
