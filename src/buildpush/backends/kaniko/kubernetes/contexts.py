"""Send the build context into a pod: streamed, checked, again if the connection breaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field

from ....dockerfile.ignore import IgnoreRules
from ....errors import BackendUnavailableError, DiskFullError
from ....plan import BuildRequest
from ....runtime import Run
from ....runtime.retry import RetryPolicy, retrying
from ...engine.context import Context
from .api.client import Cluster, OutputStream
from .api.failures import BrokenOff
from .archives import Sent, gnu
from .builds import INIT
from .following import Following
from .judging import Stage
from .scripts import ARRIVED, BROKEN, FAILED, RECEIVE

__all__ = ["context_of", "send"]

_MOST_SAID: Final = 8192
_CUT_SHORT: Final = re.compile(r"short read|unexpected end of file", re.IGNORECASE)


def context_of(request: BuildRequest) -> Context:
    """What is to be sent: the folder without what its ignore file names."""
    rules = IgnoreRules.read(request.context, request.dockerfile_path)
    return Context(folder=request.context, rules=rules, root=True, pipes=False)


@define(eq=False)
class _Said:
    """What a command in a container says, as much of it as is worth keeping."""

    redact: Callable[[str], str]
    stdout: bytearray = field(factory=bytearray)
    stderr: bytearray = field(factory=bytearray)

    def hear(self, stream: OutputStream, data: bytes) -> None:
        kept = self.stdout if stream == "stdout" else self.stderr
        kept += data
        del kept[:-_MOST_SAID]
        if FAILED.encode() in self.stderr:
            raise _refused(1, self.error)  # ends the sending

    @property
    def error(self) -> str:
        said = bytes(self.stderr).decode("utf-8", "replace").replace(FAILED, "")
        return self.redact(said.strip())


def send(
    request: BuildRequest, following: Following, *, packed: bool, title: str, run: Run
) -> None:
    """Send *request*'s context into the pod that waits for it, and let it go on.

    What has arrived is compared by digest. A connection that breaks is tried again as often as
    the request says. Raises `BackendUnavailableError` with what the pod's ``tar`` said,
    `DiskFullError` where it had no room, and what ended the pod meanwhile.
    """
    context = context_of(request)
    total = context.size()

    def attempt() -> None:
        standing = following.standing()
        if standing.stage is not Stage.FILLING:
            standing = following.until_started(Stage.FILLING, Stage.RUNNING)
        if standing.stage is Stage.FILLING:
            _send_once(context, total, following.cluster, standing.pod, packed, title, run)

    retrying(title, attempt, run=run, policy=RetryPolicy(attempts=request.retries + 1))


def _send_once(
    context: Context,
    total: int,
    cluster: Cluster,
    pod: str,
    packed: bool,
    title: str,
    run: Run,
) -> None:
    said = _Said(run.redact)
    with run.task(title, title) as task:
        sent = Sent(chunks=gnu(task.counting(context.stream(), total)), packed=packed)

        def stdin(_: bool) -> Iterable[bytes]:
            return sent.pieces()

        command = ["sh", "-c", RECEIVE, "receive", "z" if packed else ""]
        code = cluster.execute(pod, INIT, command, stdin=stdin, on_output=said.hear)
        if code != 0:
            raise _refused(code, said.error)
        received = bytes(said.stdout[:64]).decode("ascii", "replace")
        if received != sent.digest:
            raise BrokenOff("the build context did not arrive as it was sent")
        if cluster.execute(pod, INIT, ["sh", "-c", ARRIVED]) != 0:
            raise BrokenOff("the pod could not be told that its build context is complete")


def _refused(code: int, said: str) -> BackendUnavailableError | DiskFullError:
    last = " ".join(said.split()) or f"exit code {code}"
    # Ended with its container: what has become of that is seen before the next attempt.
    if code in (BROKEN, 137, 143) or _CUT_SHORT.search(last):
        return BrokenOff(f"the build context did not arrive: {last}")
    if "no space left" in last.lower():
        return DiskFullError(
            f"the pod has no room for the build context: {last}",
            hint="raise PodSettings.ephemeral_storage, or name what is not needed in .dockerignore",
        )
    return BackendUnavailableError(
        f"the build context could not be unpacked in the pod: {last}",
        hint="does StreamedContext.image have sh, tar, tee, dd, mkfifo and sha256sum?",
    )
