"""What Drone shows of a run: a card about the image, and how many steps came from the cache."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from attrs import define, field

from ..events import Event, Outcome, Phase, PhaseStarted, TaskFinished, TaskStarted

if TYPE_CHECKING:
    from ..plan import BuildResult
    from ..publishing import PushResult
    from ..spec.drone import PluginSettings

__all__ = ["CacheMetrics", "card", "show"]

_SCHEMA: Final = "https://drone-plugins.github.io/drone-docker/card.json"
_UNITS: Final = ("B", "KB", "MB", "GB", "TB", "PB")
_STATUSES: Final[Mapping[Outcome, str]] = {"done": "done", "cached": "cached", "failed": "error"}


def card(asked: PluginSettings, result: BuildResult | PushResult) -> dict[str, object]:
    """The card that drone-docker makes: its schema, and the data that the schema shows.

    Of an image for several platforms it has the first.
    """
    summaries = sorted(result.images.items(), key=lambda pair: str(pair[0]))
    platform, image = summaries[0] if summaries else (None, None)
    size = image.size if image else 0
    tags = [f"{each.repository}:{each.tag}" for each in result.references if each.tag]
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    data = {
        "Id": str(image.config) if image else "",
        "RepoTags": tags,
        "ParsedRepoTags": [{"Tag": tag} for tag in tags],
        "RepoDigests": list(
            dict.fromkeys(f"{each.repository}@{result.digest}" for each in result.references)
        ),
        "Architecture": platform.architecture if platform else "",
        "Os": platform.os if platform else "",
        "Size": size,
        "VirtualSize": size,
        "Metadata": {"LastTagTime": now},
        "SizeString": _bytes(size),
        "VirtualSizeString": _bytes(size),
        "Time": now,
        "URL": _url(asked),
    }
    return {"schema": _SCHEMA, "data": data}


def _bytes(size: int) -> str:
    """A size as Go's bytesize writes it: ``1.50MB``."""
    number, unit = float(size), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.2f}{_UNITS[unit]}"


def _url(asked: PluginSettings) -> str:
    """Where people look at the repository."""
    registry, repo = asked.registry_url, str(asked.settings["repo"])
    if "amazonaws.com" in registry:
        return f"https://gallery.ecr.aws/{repo}"
    if "gcr.io" in registry:
        return f"https://console.cloud.google.com/gcr/images/{repo}"
    return f"https://hub.docker.com/r/{repo}"


def show(path: str, text: str) -> bool:
    """Print a card as Drone's log has it, where *path* is this process's own output."""
    streams = {"/dev/stdout": sys.stdout, "/dev/stderr": sys.stderr}
    if path not in streams:
        return False
    encoded = base64.b64encode(text.encode()).decode()
    print(f"\x1b]1338;{encoded}\x1b]0m", file=streams[path], flush=True)
    return True


@define(eq=False)
class CacheMetrics:
    """Counts how the steps of a build ended, as drone-buildx reads it from BuildKit's output."""

    _building: bool = field(default=False, init=False)
    _began: dict[str, float] = field(factory=dict[str, float], init=False)
    _ended: dict[str, tuple[str, float]] = field(factory=dict[str, tuple[str, float]], init=False)

    def hear(self, event: Event) -> None:
        """Note what *event* says."""
        match event:
            case PhaseStarted(phase=phase):
                self._building = phase is Phase.BUILD
            case TaskStarted(at=at, task=task) if self._building:
                self._began[task] = at
            case TaskFinished(at=at, task=task, outcome=outcome) if task in self._began:
                self._ended[task] = (_STATUSES[outcome], at - self._began[task])
            case _:
                pass

    def document(self) -> dict[str, object]:
        """The counts, and each step by its number; times are seconds."""
        statuses = [status for status, _ in self._ended.values()]
        return {
            "total_layers": len(statuses),
            **{name: statuses.count(name) for name in (*_STATUSES.values(), "canceled")},
            "layers": {
                str(number): {"status": status.upper(), "time": round(seconds, 1)}
                for number, (status, seconds) in enumerate(self._ended.values(), 1)
            },
        }
