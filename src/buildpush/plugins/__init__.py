"""Runs of Drone's plugins, from their environment to the files that they leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

from ..errors import SpecError
from ..events import Event, EventSink, Warned, ignore
from ..runtime import CancelToken, Environment
from ..runtime.workdir import workdir
from ..spec.drone import PluginSettings
from ..step import BuildAndPushStep
from ..step.asking import there_already
from ..step.drone import keychains, step_of
from ..step.variables import Mode, read_plugin
from .baking import bake
from .files import write_files
from .reports import CacheMetrics
from .result import PluginResult

if TYPE_CHECKING:
    from ..auth import Keychain
    from ..plan import BuildResult
    from ..publishing import PushResult
    from ..step.overrides import Overrides

__all__ = ["PluginResult", "run_plugin"]


def run_plugin(
    environ: Mapping[str, str] | None = None,
    *,
    plugin: str = "docker",
    mode: Mode = "compatible",
    on_event: EventSink = ignore,
    cancel: CancelToken | None = None,
    **settings: Unpack[Overrides],
) -> PluginResult:
    """Do what a plugin of Drone does with the same variables: build and push, or push alone.

    *plugin* is ``docker``, ``buildx``, ``buildah`` or ``kaniko``, one of these with ``-ecr``,
    ``-gcr``, ``-gar`` or ``-acr``, or ``ecr``, ``gcr``, ``gar``, ``acr`` or ``heroku`` alone; *environ* this process's variables without it; *settings* are of
    the step, such as ``backend``, and win. ``compatible`` does what the plugin does and says
    where that is not what the variables say; ``strict`` refuses instead.

    With ``PLUGIN_BAKE_FILE`` all targets of ``PLUGIN_BAKE_OPTIONS`` are built, one after the other.
    Raises `SpecError` for variables that are wrong, and what builds and pushes raise.
    """
    cancel = cancel or CancelToken()
    current = Environment.current()
    asked, variables = read_plugin(environ, plugin, mode)
    remarks = tuple(map(str, asked.findings))
    _refuse(asked)
    if asked.work == "nothing":
        _say(remarks, on_event)
        return PluginResult(skipped=asked.because, remarks=remarks)
    if asked.bake_file:
        return bake(asked, variables, cast("Mapping[str, object]", settings), on_event, cancel)
    metrics = CacheMetrics()
    with workdir(current.temporary, current.uid) as private:
        result: BuildResult | PushResult
        if asked.work == "push_only":
            _say(remarks, on_event)
            result = _push(asked, variables, settings, private, on_event, cancel)
        else:
            made = cast("Mapping[str, object]", settings)
            step = step_of(asked, variables, BuildAndPushStep.parse, made, private=private)
            if asked.skip_if_tag_exists:
                there = there_already(step, step.auth, on_event, cancel)
                if there is not None:
                    return PluginResult(skipped=f"{there} is there already", remarks=remarks)
            result = step.run(on_event=_both(metrics.hear, on_event), cancel=cancel)
    return PluginResult(
        digest=result.digest,
        references=result.references,
        files=write_files(asked, result, current.cwd, plugin, metrics),
        remarks=remarks,
        result=result,
    )


def _both(first: EventSink, second: EventSink) -> EventSink:
    def sink(event: Event) -> None:
        first(event)
        second(event)

    return sink


def _say(remarks: tuple[str, ...], on_event: EventSink) -> None:
    for remark in remarks:
        on_event(Warned(at=0.0, message=remark))


def _refuse(asked: PluginSettings) -> None:
    """What would be lost, and somebody counts on."""
    if asked.signing is not None:
        raise SpecError(
            "PLUGIN_COSIGN_PRIVATE_KEY: images are not signed here",
            hint="sign the digest afterwards with cosign; leave the variable out",
        )


def _push(
    asked: PluginSettings,
    variables: Mapping[str, str],
    settings: Overrides,
    private: Path,
    on_event: EventSink,
    cancel: CancelToken,
) -> PushResult:
    from ..publishing import push

    repo, tags = str(asked.settings["repo"]), cast("tuple[str, ...]", asked.settings["tags"])
    chosen = {
        name: value
        for name, value in (*asked.settings.items(), *settings.items())
        if name in ("insecure", "mirrors", "registries", "timeout", "retries")
    }
    if asked.source_tar:
        source = asked.source_tar
    else:
        name = asked.source_image or f"{repo}:{tags[0]}"
        tagged = ":" in name.rpartition("/")[2] or "@" in name
        source = f"docker-daemon:{name if tagged else f'{name}:latest'}"
    return push(
        source,
        [f"{repo}:{tag}" for tag in tags],
        auth=cast(
            "Sequence[Keychain | str]",
            (settings.get("auth", ()), *keychains(asked, variables, private=private)),
        ),
        on_event=on_event,
        cancel=cancel,
        **chosen,  # type: ignore[arg-type]
    )
