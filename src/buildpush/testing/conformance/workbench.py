"""`Workbench`: builds with the backend under test, through the step, and shows what came of it."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field, frozen

from ...auth import Keychain
from ...backends import Backend
from ...errors import BuildpushError, UnsupportedFeatureError
from ...events import Event, TaskLog, ignore
from ...plan import Artifact, BuildRequest, BuildResult, Capabilities, Feature
from ...runtime import CancelToken, Run
from ...step import BuildAndPushStep
from ..registry import LocalRegistry
from ..sink import RecordingSink
from .pulled import PulledImage, pull_image

__all__ = ["Built", "Counted", "Stopped", "Workbench"]

_LONG_ENOUGH = 120.0


@define(eq=False)
class Counted:
    """The backend under test, and how often it was asked to build."""

    inner: Backend
    builds: int = 0

    def probe(self) -> Capabilities:
        """What the backend under test says."""
        return self.inner.probe()

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        """What the backend under test builds."""
        self.builds += 1
        return self.inner.build(request, keychain, run)


@frozen(kw_only=True)
class Built:
    """A step that ended well: its result, what it said, and what the registry has now."""

    result: BuildResult
    sink: RecordingSink
    image: PulledImage


@frozen(kw_only=True)
class Stopped:
    """A step that was stopped: the error that it ended with, None when it did not end."""

    error: BaseException | None
    sink: RecordingSink

    @property
    def report(self) -> str:
        """The error's whole page."""
        return self.error.report() if isinstance(self.error, BuildpushError) else ""


@define(eq=False, kw_only=True)
class Workbench:
    """Where a conformance test builds.

    *folder* is the test's own, *repository* a name in *registry* that no other test uses. In a
    Dockerfile, ``$BASE`` stands for the base image, which is made when it is first asked for.
    *settings* are given to every step; *temporary* is the folder for temporary files; *closing* ends with the test.
    """

    backend: Counted
    registry: LocalRegistry
    folder: Path
    temporary: Path
    repository: str
    make_base: Callable[[], str]
    settings: Mapping[str, Any]
    make_base_in: Callable[[LocalRegistry], str]
    forget_cache: Callable[[], None]
    closing: ExitStack
    _capabilities: Capabilities | None = field(default=None, init=False)

    @property
    def capabilities(self) -> Capabilities:
        """What the backend says of itself, asked once."""
        if self._capabilities is None:
            self._capabilities = self.backend.probe()
        return self._capabilities

    def can(self, *features: Feature) -> bool:
        """Whether the backend claims all of *features*."""
        return self.capabilities.features.issuperset(features)

    def deliveries(self) -> tuple[str, ...]:
        """The values of the setting *delivery* that the backend claims to serve."""
        ways = {"layout": Feature.EXPORT_LAYOUT, "direct": Feature.PUSH_DIRECTLY}
        return tuple(name for name, way in ways.items() if self.can(way))

    @property
    def context(self) -> Path:
        """The build context."""
        return self.folder / "context"

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Put *files* into the context, as 0644, with folders as 0755."""
        for name, content in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            path.chmod(0o644)

    def filled(self, text: str) -> str:
        """*text* with the base image's reference instead of ``$BASE``."""
        return text.replace("$BASE", self.make_base()) if "$BASE" in text else text

    def step(
        self, dockerfile: str, files: Mapping[str, str | bytes] | None = None, **settings: Any
    ) -> BuildAndPushStep:
        """A step that builds *dockerfile* with *files*; it pushes to this test's repository."""
        self.write({"Dockerfile": self.filled(dockerfile), **(files or {})})
        return BuildAndPushStep.parse(
            {
                "repo": self.registry.reference(self.repository),
                "context": self.context,
                "timeout": _LONG_ENOUGH,
                "backend": self.backend,
                **self.settings,
                **settings,
            }
        )

    def build(
        self,
        dockerfile: str,
        files: Mapping[str, str | bytes] | None = None,
        *,
        on_event: Callable[[Event], None] = ignore,
        **settings: Any,
    ) -> Built:
        """Build, push, and read back from the registry what the first tag means."""
        step = self.step(dockerfile, files, **settings)
        sink = RecordingSink()

        def listen(event: Event) -> None:
            sink(event)
            on_event(event)

        result = step.run(on_event=listen)
        return Built(result=result, sink=sink, image=pull_image(str(step.references[0])))

    def fail(
        self, dockerfile: str, files: Mapping[str, str | bytes] | None = None, **settings: Any
    ) -> Stopped:
        """Build what is to fail; the error and what was said before it."""
        sink = RecordingSink()
        try:
            self.step(dockerfile, files, **settings).run(on_event=sink)
        except BuildpushError as error:
            return Stopped(error=error, sink=sink)
        raise AssertionError("the step ended well, although it should have failed")

    def refuses(self, feature: Feature, dockerfile: str, **settings: Any) -> bool:
        """Whether *feature* is not claimed; then a step that asks for it must not be built."""
        if self.can(feature):
            return False
        step = self.step(dockerfile, **settings)
        with pytest.raises(UnsupportedFeatureError, match=re.escape(feature.value)):
            step.run()
        assert self.backend.builds == 0
        return True

    def stop(self, step: BuildAndPushStep, *, when: str, within: float) -> Stopped:
        """Run *step*, cancel it once it logs the line *when*, and wait *within* seconds."""
        cancel, sink, seen = CancelToken(), RecordingSink(), threading.Event()
        caught: list[BaseException] = []

        def listen(event: Event) -> None:
            sink(event)
            if isinstance(event, TaskLog) and event.line == when:
                seen.set()

        def work() -> None:
            try:
                step.run(on_event=listen, cancel=cancel)
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                caught.append(error)
            finally:
                seen.set()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert seen.wait(_LONG_ENOUGH), f"the line {when!r} never came"
        cancel.cancel()
        thread.join(within)
        assert not thread.is_alive(), f"still running {within:g} s after it was cancelled"
        return Stopped(error=caught[0] if caught else None, sink=sink)

    def agent(self) -> Path:
        """A socket that an SSH agent could listen on; until the test ends."""
        # In a folder of its own: a socket's path has room for 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="agent-", dir="/tmp"))
        self.closing.callback(shutil.rmtree, folder)
        listener = self.closing.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(folder / "socket"))
        listener.listen()
        return folder / "socket"

    def beside(self, number: int) -> Workbench:
        """Another one for a build at the same time: its own context and repository."""
        folder = self.folder / f"beside-{number}"
        (folder / "context").mkdir(parents=True)
        return evolve(self, folder=folder, repository=f"{self.repository}-{number}")
