"""One execution from its Job to its ending: made, fed, followed, and cleared up whatever happens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from attrs import evolve, field, frozen

from ....errors import (
    BackendUnavailableError,
    BuildpushError,
    StepCancelledError,
    StepTimeoutError,
)
from ....runtime import CancelToken, Deadline, Run
from ...engine.command import Translator
from ..runner import Ending
from .api.client import Cluster
from .api.kinds import JOBS, SECRETS, as_object
from .builds import Build, Naming, places
from .clearing import CLEARING_SECONDS, clear
from .contexts import send
from .following import Following
from .judging import Finished, Stage
from .manifests import job, secret
from .pods import memory_limit
from .probing import ask_version
from .publishing import publish
from .settings import PodSettings, RegistryContext, StreamedContext
from .sightings import Lookout, Sight

__all__ = ["Executing", "asked_version", "run_id"]


def run_id(run: Run) -> str:
    """What the objects of one run have in common, as a label: the same for all its platforms."""
    return hashlib.sha256(str(run.workdir).encode()).hexdigest()[:16]


@frozen(kw_only=True)
class Executing:
    """An execution in a cluster.

    *open_cluster* makes a client for a token: the run's for the work, another for clearing up.
    """

    build: Build
    run: Run
    open_cluster: Callable[[CancelToken], Cluster] = field(repr=False)
    lookout: Lookout = field(repr=False)
    schedule_timeout: float
    keep_on_failure: bool = False

    def work(self, translator: Translator) -> Ending:
        """Build to the end, whatever that is. Nothing is left but what is to be kept."""
        secret(self.build, uid="")  # too large is an error before anything is made
        with self.open_cluster(self.run.cancel) as cluster:
            build = self._published()
            manifest = job(build)
            sight = self.lookout.begin(build.naming.name)
            try:
                with self._cleared() as done:
                    following = self._following(sight, cluster)
                    with following.awake():
                        self._make(cluster, build, manifest)
                        finished = self._follow(following, translator)
                    done(finished)
            finally:
                self.lookout.end(sight)
        return self._ending(finished)

    def _published(self) -> Build:
        """The build with the image that brings its context, where one does."""
        build = self.build
        if not isinstance(build.delivery, RegistryContext):
            return build
        title = self._title("push build context")
        image = publish(build.execution, build.delivery, title, self.run)
        return evolve(build, context_image=image)

    def _following(self, sight: Sight, cluster: Cluster) -> Following:
        return Following(
            sight=sight,
            cluster=cluster,
            run=self.run,
            what=f"Job {cluster.namespace}/{self.build.naming.name}",
            schedule_timeout=self.schedule_timeout,
            active_deadline=self.build.pod.active_deadline,
        )

    def _make(self, cluster: Cluster, build: Build, manifest: dict[str, Any]) -> None:
        """The Job, then its Secret: the pod waits for that, and it goes with the Job."""
        made = cluster.create(JOBS, manifest)
        uid = (as_object(made.get("metadata")) or {}).get("uid")
        if not uid or not isinstance(uid, str):
            # A Secret that nobody owned would stay for ever.
            raise BackendUnavailableError(
                f"the cluster at {cluster.server} does not say which Job it has made"
            )
        cluster.create(SECRETS, secret(build, uid))

    def _follow(self, following: Following, translator: Translator) -> Finished:
        title = self._title("start pod")
        delivery = self.build.delivery
        with self.run.task(title, title):
            if isinstance(delivery, StreamedContext):
                standing = following.until_started(Stage.FILLING, Stage.RUNNING)
                if standing.stage is Stage.FILLING:
                    send(
                        self.build.execution.request,
                        following,
                        packed=delivery.compress,
                        title=self._title("send build context"),
                        run=self.run,
                    )
            following.until_started(Stage.RUNNING)
        try:
            return following.through(translator)
        finally:
            for event in translator.finish(self.run.now):
                self.run.emit(event)

    def _title(self, words: str) -> str:
        return self.build.execution.title(words)

    @contextmanager
    def _cleared(self) -> Generator[Callable[[Finished], None]]:
        """Clear up after the block, by a client and a time limit of its own."""
        finished: list[Finished] = []
        failed = True
        try:
            yield finished.append
            failed = not finished or finished[0].exit_code != 0
        except (StepCancelledError, StepTimeoutError):
            failed = False  # what is cancelled is not to go on, so it is not kept
            raise
        except BuildpushError:
            failed = not self.run.cancel.cancelled
            raise
        except BaseException:
            failed = False
            raise
        finally:
            keep = failed and self.keep_on_failure
            _clear_up(self.build.naming.name, self.open_cluster, self.run, keep=keep)

    def _ending(self, finished: Finished) -> Ending:
        command = self.build.execution.command(places(self.build.delivery))
        words = (self.build.execution.image, *command.words)
        digest = finished.message.strip() if finished.exit_code == 0 else ""
        return Ending(
            exit_code=finished.exit_code,
            argv=tuple(self.run.redact(word) for word in words),
            digest=digest,
            cause="out of memory" if finished.out_of_memory else "",
            limit=memory_limit(self.build) if finished.out_of_memory else None,
        )


def asked_version(
    image: str,
    naming: Naming,
    pod: PodSettings,
    *,
    run: Run,
    open_cluster: Callable[[CancelToken], Cluster],
    lookout: Lookout,
    schedule_timeout: float,
) -> str:
    """What the executor in *image* calls itself, asked by a Job that does nothing else.

    Raises `PodNotStartedError`, `PodLostError`, `BackendUnavailableError`.
    """
    with open_cluster(run.cancel) as cluster:
        sight = lookout.begin(naming.name)
        following = Following(
            sight=sight,
            cluster=cluster,
            run=run,
            what=f"Job {cluster.namespace}/{naming.name}",
            schedule_timeout=schedule_timeout,
            active_deadline=pod.active_deadline,
        )
        try:
            return ask_version(cluster, following, image, naming, pod)
        finally:
            _clear_up(naming.name, open_cluster, run, keep=False)
            lookout.end(sight)


def _clear_up(
    name: str, open_cluster: Callable[[CancelToken], Cluster], run: Run, *, keep: bool
) -> None:
    token = CancelToken()
    try:
        with Deadline(token, CLEARING_SECONDS), open_cluster(token) as cluster:
            left = clear(cluster, name, token, keep_job=keep)
    except BuildpushError as error:
        # What ended the build is what the caller is to hear of.
        run.warn(f"{name} could not be removed from the cluster: {error.message}")
        return
    if left:
        seconds = f"{CLEARING_SECONDS:g} s"
        run.warn(f"still there after {seconds}, though told to go: {', '.join(left)}")
    if keep:
        run.warn(f"kept because it failed: Job {name}, and its pod")
