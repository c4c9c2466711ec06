"""Follow one build in its pod: until it starts, while it talks, and how it ended."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

from attrs import define, field

from ....errors import (
    BackendUnavailableError,
    BuildpushError,
    DiskFullError,
    PodLostError,
    PodNotStartedError,
)
from ....runtime import Run
from ...engine.command import Translator
from .api.client import Cluster, Log
from .api.failures import BrokenOff, NotStarted, NotThere, Unreachable
from .builds import INIT, MAIN
from .judging import NEVER, Finished, Stage, Standing, Trouble, judge
from .lines import LogCursor
from .sightings import Sight

__all__ = ["Following"]

_LOOK: Final = 5.0
"""Seconds after which the judgement is made anew although nothing was seen: patience runs out."""
_LOG_GRACE: Final = 10.0
"""Seconds for the log to end after the container has."""
_BREAK_PAUSE: Final = 0.2
"""Seconds before a log that broke off is opened again; twice as many each time."""
_END_PAUSE: Final = 3.0
"""Seconds before one that ended is: the container's end is seen up to two seconds later."""
_STATE_GRACE: Final = 30.0
"""Seconds for the container's end to be seen after its log has ended and would not go on."""
_TAIL: Final = 20


@define(eq=False, kw_only=True)
class Following:
    """One build that was begun: *what* names it in messages (``Job builds/buildpush-app-…``)."""

    sight: Sight
    cluster: Cluster
    run: Run
    what: str
    schedule_timeout: float
    active_deadline: int
    _left: float = field(init=False)
    _since: tuple[str, float] = field(default=("", 0.0), init=False)
    _blind: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._left = self.schedule_timeout

    @contextmanager
    def awake(self) -> Generator[None]:
        """While it lasts, a cancelled run wakes up whoever waits."""
        undo = self.run.cancel.on_cancel(self.sight.wake)
        try:
            yield
        finally:
            undo()

    def until_started(self, *stages: Stage) -> Standing:
        """Wait until the pod is as far as one of *stages*; what it waits for is told.

        The time that passes counts against the schedule's limit, over all calls. Raises
        `PodNotStartedError` with the cluster's reason, `PodLostError`.
        """
        begun = self.run.clock()
        try:
            while True:
                version = self.sight.version
                standing = self.standing()
                if standing.stage in (*stages, Stage.OVER):
                    return standing
                left = self._left - (self.run.clock() - begun)
                if left <= 0:
                    raise self._late(standing)
                self.sight.wait(version, min(left, self._pause(standing)))
        finally:
            self._left -= self.run.clock() - begun

    def standing(self) -> Standing:
        """How far it is now. Raises what ended the run, or the build, as soon as that is final."""
        self.run.cancel.check()
        if self.sight.error is not None:
            raise self.sight.error
        if self.sight.blind and not self._blind:
            self._blind = True
            self.run.warn(f"events are not seen, so reasons may be missing: {self.sight.blind}")
        standing = judge(self.sight.seen)
        trouble = standing.trouble
        key = trouble.key if trouble else ""
        now = self.run.clock()
        if key != self._since[0]:
            self._since = (key, now)
            if trouble is not None and _is_told(trouble):
                self.run.warn(f"{self.what} waits: {trouble.reason}: {_one_line(trouble.message)}")
        if trouble is not None and now - self._since[1] >= trouble.patience:
            raise self._error(trouble, standing)
        return standing

    def _pause(self, standing: Standing) -> float:
        """How long to wait for the next change: until patience with a trouble runs out."""
        trouble = standing.trouble
        if trouble is None or trouble.patience == NEVER:
            return _LOOK
        waited = self.run.clock() - self._since[1]
        return min(_LOOK, max(0.0, trouble.patience - waited))

    # -------------------------------------------------------------- while it runs

    def through(self, translator: Translator) -> Finished:
        """Pass kaniko's lines through *translator* to its end, and say how that was.

        The end of a log proves nothing: it ends cleanly too when the pod is taken away, when
        the log is rotated, or when a proxy has had enough.
        """
        cursor = LogCursor()
        pause, quiet_since = _BREAK_PAUSE, self.run.clock()
        while True:
            lines, whole = self._log(cursor, translator)
            now = self.run.clock()
            if lines:
                pause, quiet_since = _BREAK_PAUSE, now
            finished = self._ended_within(max(pause, _END_PAUSE if whole else 0.0))
            if finished is not None:
                return finished
            standing = self.standing()
            if standing.stage is Stage.OVER and now - quiet_since > _STATE_GRACE:
                raise self._error(_unknown(), standing)
            pause = min(pause * 2, _LOOK)

    def _ended_within(self, seconds: float) -> Finished | None:
        """How the container ended, if that is seen in so many *seconds*."""
        until = self.run.clock() + seconds
        while True:
            version = self.sight.version
            standing = self.standing()
            left = until - self.run.clock()
            if standing.finished is not None or left <= 0:
                return standing.finished
            self.sight.wait(version, min(left, self._pause(standing)))

    def _log(self, cursor: LogCursor, translator: Translator) -> tuple[int, bool]:
        """Pass on the log from where *cursor* is; how many lines, and whether its end was clean."""
        lines = 0
        pod = judge(self.sight.seen).pod
        cursor.reopened()
        try:
            with self._opened(pod, cursor) as log:
                for raw in log:
                    line = cursor.take(raw)
                    if line is None:
                        continue
                    lines += 1
                    for event in translator.line("stdout", line, self.run.now):
                        self.run.emit(event)
        except (NotStarted, NotThere, BrokenOff, Unreachable):
            self.run.cancel.check()
            return lines, False
        return lines, True

    @contextmanager
    def _opened(self, pod: str, cursor: LogCursor) -> Generator[Log]:
        """The log, which is closed when nothing more can come: the pod is lost, or long over."""
        timers: list[threading.Timer] = []
        with self.cluster.log(pod, MAIN, follow=True, since=cursor.since, timestamps=True) as log:

            def look() -> None:
                over = self.sight.error is not None or _is_over(judge(self.sight.seen))
                if over and not timers:
                    timers.append(threading.Timer(_LOG_GRACE, log.close))
                    timers[0].daemon = True
                    timers[0].start()

            undo = self.sight.on_change(look)
            look()
            try:
                yield log
            finally:
                undo()
                for timer in timers:
                    timer.cancel()

    def tail(self, container: str) -> str:
        """The last lines of a container's log, empty where there are none to be had."""
        kept: deque[str] = deque(maxlen=_TAIL)
        pod = judge(self.sight.seen).pod
        with (
            suppress(BackendUnavailableError, NotThere),
            self.cluster.log(pod, container, follow=False, tail=_TAIL) as log,
        ):
            kept.extend(raw.decode("utf-8", "replace") for raw in log)
        return self.run.redact("\n".join(kept))

    # -------------------------------------------------------------- what went wrong

    def _late(self, standing: Standing) -> PodNotStartedError:
        trouble = standing.trouble
        reason = trouble.reason if trouble else ("Pending" if standing.pod else "NoPod")
        note = standing.note or (
            "nothing says why" if standing.pod else "the cluster has made no pod for it"
        )
        error = PodNotStartedError(
            f"{self.what} did not start within {self.schedule_timeout:g} s: {_one_line(note)}",
            hint=_hint(reason, note) or "raise schedule_timeout, or see why the cluster is slow",
        )
        error.reason = reason
        return error

    def _error(self, trouble: Trouble, standing: Standing) -> BuildpushError:
        reason, said = trouble.reason, _one_line(self.run.redact(trouble.message))
        colon = f": {said}" if said else ""
        match trouble.kind:
            case "not started":
                error = PodNotStartedError(
                    f"{self.what} cannot start: {reason}{colon}", hint=_hint(reason, said)
                )
                error.reason = reason
                return error
            case "lost":
                before = standing.stage in (Stage.PENDING, Stage.FILLING)
                where = f" while it was {standing.stage.value}" if before and standing.pod else ""
                lost = PodLostError(
                    f"{self.what} was taken away{where}: {reason}{colon}",
                    hint=_hint(reason, said) or "try again",
                )
                lost.reason = reason
                return lost
            case "deadline":
                ended = PodNotStartedError if standing.stage is Stage.PENDING else PodLostError
                failure = ended(
                    f"{self.what} was ended after {self.active_deadline} s, its active deadline",
                    hint="raise PodSettings.active_deadline above the step's timeout",
                )
                failure.reason = reason
                return failure
            case "filling":
                return self._not_filled(trouble)

    def _not_filled(self, trouble: Trouble) -> BuildpushError:
        said = self.tail(INIT) or trouble.message
        full = "No space left" in said or "no space left" in said
        last = _one_line(said) or f"exit code {trouble.exit_code}"
        message = f"{self.what} did not get its build context: {trouble.reason}: {last}"
        if full:
            return DiskFullError(message, hint="raise PodSettings.ephemeral_storage")
        hint = _NO_TAR if trouble.reason == "StartError" else _hint(trouble.reason, said)
        error = PodNotStartedError(message, hint=hint)
        error.reason = trouble.reason
        return error


def _is_over(standing: Standing) -> bool:
    trouble = standing.trouble
    return standing.stage is Stage.OVER or (
        trouble is not None and trouble.kind in ("lost", "deadline")
    )


def _is_told(trouble: Trouble) -> bool:
    """Whether somebody who watches should know what a pod waits for that may yet start."""
    return trouble.kind == "not started" and bool(trouble.patience) and not trouble.expected


def _unknown() -> Trouble:
    return Trouble(kind="lost", reason="Unknown", message="nothing says how it ended")


def _one_line(text: str) -> str:
    return " ".join(text.split())


_NO_TAR: Final = "the image that the delivery names needs sh and tar: busybox, or kaniko's -debug"
_HINTS: Final[tuple[tuple[str, str], ...]] = (
    ("StartError", "is the image one of kaniko's executor, and for the node's platform?"),
    (
        'PodSecurity "restricted',
        "kaniko has to be root, which this namespace forbids: name another",
    ),
    ("violates PodSecurity", "allow it in the namespace, or set PodSettings.security_context"),
    ("exceeded quota", "ask for less in PodSettings.limits, or for a larger quota"),
    ("must specify", "say it: PodSettings.limits and PodSettings.requests"),
    ("ErrImageNeverPull", "the node does not have the image: load it, or let it be pulled"),
    ("Image", "is the image's name right, and PodSettings.image_pull_secrets?"),
    ("runAsNonRoot", "kaniko is root in its container: PodSettings.pod_security_context"),
    ("ephemeral", "raise PodSettings.ephemeral_storage"),
    ("Unschedulable", "is there a node for the platform, with room for its requests?"),
    ("FailedMount", "does what PodSettings.volumes name exist in the namespace?"),
    ("ConfigError", "does what PodSettings.env_from_secrets name exist in the namespace?"),
    ("serviceaccount", "does PodSettings.service_account exist in the namespace?"),
    ("OOMKilled", "raise the memory limit"),
)


def _hint(reason: str, message: str) -> str:
    said: Callable[[str], bool] = lambda word: word in reason or word in message  # noqa: E731
    return next((hint for word, hint in _HINTS if said(word)), "")
