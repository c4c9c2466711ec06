"""The executor's image in an engine: pulled where it is absent, and asked once for its version."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from ....errors import BackendUnavailableError
from ....events import Stream
from ....runtime.environment import make_private
from ....runtime.process import Completed, run_command
from ..executor.flavors import saying
from .creation import EXECUTOR
from .desk import Desk, last_words

__all__ = ["bring", "version_of"]

_TASK: Final = "kaniko image"


def bring(image: str, desk: Desk) -> str:
    """See that *image* is there, pulling it with the user's own credentials; its id.

    Raises `BackendUnavailableError`, naming the image, when it cannot be pulled.
    """
    found = _image_id(image, desk)
    if found:
        return found
    run, engine = desk.run, desk.engine
    with run.task(_TASK, f"pull {image}") as task:

        def tell(stream: Stream, line: str) -> None:
            task.log(stream, line)

        # The private configuration knows no credentials: the image is the user's to get.
        done = run_command(
            engine.command(*engine.address, "pull", image),
            run=run,
            env=run.environment.variables,
            on_line=tell,
        )
        found = _image_id(image, desk) if done.exit_code == 0 else ""
        if not found:
            raise _not_pulled(image, done, desk)
    return found


def version_of(image: str, desk: Desk) -> str:
    """What the executor in *image* calls itself (``v1.28.3``), asked once for each image.

    Raises `BackendUnavailableError` when the image cannot be had, or is not kaniko's.
    """
    identity = bring(image, desk)
    known = _memory(identity, desk)
    with suppress(OSError):
        return known.read_text().strip()
    run = ("run", "--rm", "--pull", "never", "--network", "none", "--entrypoint", EXECUTOR, image)
    done = desk.ask(*run, "version")
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.exit_code != 0 or not said:
        raise BackendUnavailableError(
            f"{image} has no working kaniko in it: {last_words(done)}",
            evidence=(done.evidence,),
            hint=f"choose an image with {EXECUTOR}, for {desk.engine.platform}",
        )
    usage = desk.ask(*run, "--help").stdout.decode("utf-8", "replace")
    version = saying(said, usage)
    with suppress(OSError):
        make_private(known.parent)
        known.write_text(version)
    return version


def _memory(identity: str, desk: Desk) -> Path:
    name = identity.rpartition(":")[2]
    return desk.run.environment.cache / "kaniko-versions" / name


def _image_id(image: str, desk: Desk) -> str:
    done = desk.ask("image", "inspect", "--format", "{{.ID}}", image)
    return done.stdout.decode("utf-8", "replace").strip() if done.exit_code == 0 else ""


def _not_pulled(image: str, done: Completed, desk: Desk) -> BackendUnavailableError:
    said = last_words(done)
    known = " ".join(done.evidence.tail).lower()
    if any(word in known for word in ("no such host", "dial tcp", "timeout", "refused", "proxy")):
        hint = "is there a way to the registry from the engine? or load the image into the engine"
    elif any(word in known for word in ("denied", "unauthorized", "authentication", "forbidden")):
        hint = f"is the name right? then log in: {desk.engine.kind} login"
    elif any(word in known for word in ("not found", "manifest unknown", "no matching")):
        hint = "there is no image of that name and tag, for this platform: choose one that is"
    else:
        hint = f"try it by hand: {desk.engine.kind} pull {image}"
    return BackendUnavailableError(
        f"the kaniko image {image} cannot be pulled: {said}", evidence=(done.evidence,), hint=hint
    )
