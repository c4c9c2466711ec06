"""One container of a pod while it runs: a real shell, or a program that the stub plays."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field

from .consoles import Console, Killed
from .output import Output
from .shells import PodRoot, Process, execute, start

KILLED = 137


class Running(Protocol):
    """What the kubelet does with a container that runs."""

    def wait(self) -> int:
        """The exit code, once it has ended."""
        ...

    def stop(self, grace: float) -> None:
        """Send TERM, and KILL when *grace* seconds are over."""
        ...

    def kill(self) -> None:
        """Send KILL."""
        ...


@define(eq=False, kw_only=True)
class Shell:
    """A program of busybox, and those that were executed beside it."""

    root: PodRoot
    process: Process
    env: Mapping[str, str]
    _timer: threading.Timer | None = None
    _beside: list[subprocess.Popen[bytes]] = field(factory=list)

    @classmethod
    def begin(
        cls, root: PodRoot, spec: Mapping[str, Any], env: Mapping[str, str], output: Output
    ) -> Shell:
        """Start what *spec* says; `FileNotFoundError` for a program that is not there."""
        argv = [*(spec.get("command") or ["sh"]), *(spec.get("args") or ())]
        argv = [word.replace("$$", "$") for word in argv]  # as the kubelet reads it
        workdir = spec.get("workingDir") or ""
        return cls(root=root, process=start(root, argv, env, output, workdir=workdir), env=env)

    def wait(self) -> int:
        """The exit code."""
        code = self.process.wait()
        if self._timer is not None:
            self._timer.cancel()
        for beside in self._beside:
            if beside.poll() is None:
                beside.kill()
        return code

    def stop(self, grace: float) -> None:
        """TERM, then KILL."""
        self.process.signal(signal.SIGTERM)
        self._timer = threading.Timer(grace, self.process.kill)
        self._timer.daemon = True
        self._timer.start()

    def kill(self) -> None:
        """KILL."""
        self.process.kill()

    def execute(self, argv: Sequence[str], *, stdin: bool) -> subprocess.Popen[bytes]:
        """Start another program in it."""
        beside = execute(self.root, self.process, argv, self.env, stdin=stdin)
        self._beside.append(beside)
        return beside

    @property
    def is_over(self) -> bool:
        """Whether its first process has ended, and every other with it."""
        return self.process.popen.poll() is not None


@define(eq=False, kw_only=True)
class Played:
    """A program that is a function, in a thread of its own."""

    console: Console
    script: Callable[[Console], int]
    _code: int = KILLED
    _ended: threading.Event = field(factory=threading.Event)

    def begin(self) -> None:
        """Start it."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._code = self.script(self.console)
        except Killed:
            self._code = KILLED
        except BaseException as error:
            self.console.output.write(f"the stub's program broke: {error!r}\n".encode(), "stderr")
            self._code = 99
            raise
        finally:
            self.console.output.end()
            self._ended.set()

    def wait(self) -> int:
        """The exit code."""
        self._ended.wait()
        return self._code

    def stop(self, grace: float) -> None:
        """TERM, then KILL."""
        self.console.terminate()
        timer = threading.Timer(grace, self.kill)
        timer.daemon = True
        timer.start()

    def kill(self) -> None:
        """KILL."""
        self.console.kill()
        self._ended.set()
