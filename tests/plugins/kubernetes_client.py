"""A client of a cluster, as a process of its own: to be measured, or killed.

Reads one task as JSON from stdin, builds, and prints a line of JSON for every event; at last what
has become of each step, and how much memory it took.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from buildpush.backends.kaniko import Flavor, KanikoBackend
from buildpush.backends.kaniko.kubernetes import KubernetesRunner, PodSettings, StreamedContext
from buildpush.events import Event, TaskLog, TaskProgress, TaskStarted, Warned
from buildpush.step import BuildAndPushStep

_LOCK = threading.Lock()


def say(**words: object) -> None:
    """Print a line."""
    with _LOCK:
        print(json.dumps(words), flush=True)


def tell(event: Event) -> None:
    """Print an event."""
    match event:
        case TaskStarted(title=title):
            say(event="started", text=title)
        case TaskProgress(task=task, done=done):
            say(event="progress", text=task, done=done)
        case TaskLog(line=line):
            say(event="log", text=line)
        case Warned(message=message):
            say(event="warned", text=message)
        case _:
            pass


def _peak() -> int:
    """The most memory this process has held, in bytes.

    Not ru_maxrss, which a child begins with what its parent held when it was started.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


def main() -> None:
    """Do the task."""
    task: dict[str, Any] = json.load(sys.stdin)
    image = task["image"]
    runner = KubernetesRunner(
        kubeconfig=Path(task["kubeconfig"]),
        namespace=task["namespace"],
        pod=PodSettings(**task["pod"]),
        delivery=StreamedContext(image=task["context_image"], compress=task.get("compress", True)),
    )
    backend = KanikoBackend(
        image=image,
        runner=runner,
        flavor=Flavor(task["flavor"]),
        version=task["version"],
    )
    quiet = task.get("quiet", False)

    def build(settings: dict[str, Any]) -> str:
        step = BuildAndPushStep.parse({**settings, "backend": backend})
        try:
            result = step.run() if quiet else step.run(on_event=tell)
        except Exception as error:  # noqa: BLE001 - told to the test
            say(event="failed", text=f"{type(error).__name__}: {error}", repo=settings["repo"])
            return ""
        return str(result.digest)

    with ThreadPoolExecutor(task.get("at_once", 1)) as pool:
        digests = list(pool.map(build, task["steps"]))
    say(event="done", digests=digests, rss=_peak())


main()
