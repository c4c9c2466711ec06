"""A plugin's run with a bake file: several builds, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from ..errors import SpecError
from ..events import EventSink, Warned
from ..runtime import CancelToken, Environment
from ..step import BuildAndPushStep
from ..step.drone import keychains
from .files import write_files
from .result import PluginResult

if TYPE_CHECKING:
    from ..spec.drone import PluginSettings
    from ..step.bake import BakeArguments

__all__ = ["bake"]

# The settings of a plugin's run that a bake has, too; a bake file says the rest.
_SHARED: Final = ("backend", "mirrors", "insecure", "retries", "timeout", "quiet")
_FILES: Final = "PLUGIN_ARTIFACT_FILE and PLUGIN_METADATA_FILE: are for one image, and not written"


def bake(
    asked: PluginSettings,
    variables: Mapping[str, str],
    settings: Mapping[str, object],
    on_event: EventSink,
    cancel: CancelToken,
) -> PluginResult:
    """Build the targets that *asked* names; nothing is pushed unless all of them can be built.

    Raises `SpecError` for options of bake that have no meaning here, and what a bake raises.
    """
    targets, overrides = _tokens(asked.bake_options)
    given = {
        name: settings.get(name, asked.settings.get(name))
        for name in _SHARED
        if name in settings or name in asked.settings
    }
    push = settings.get("push", asked.settings.get("push"))
    if push is not None:
        given["push"] = push
    auth = (settings.get("auth", ()), *keychains(asked, variables))
    steps = BuildAndPushStep.from_bake(
        asked.bake_file,
        targets=targets or ("default",),
        overrides=overrides,
        variables=_for_files(variables),
        cancel=cancel,
        **cast("BakeArguments", {**given, "auth": auth}),
    )
    several = len(steps) > 1
    wanted = asked.artifact_file or asked.metadata_file
    remarks = (*map(str, asked.findings), *((_FILES,) if several and wanted else ()))
    for remark in remarks:
        on_event(Warned(at=0.0, message=remark))
    for step in steps.values():
        step.plan()
    results = [step.run(on_event=on_event, cancel=cancel) for step in steps.values()]
    references = tuple(each for result in results for each in result.references)
    if several:
        return PluginResult(references=references, remarks=remarks)
    (result,) = results
    return PluginResult(
        digest=result.digest,
        references=references,
        files=write_files(asked, result, Environment.current().cwd, "buildx"),
        remarks=remarks,
        result=result,
    )


def _for_files(variables: Mapping[str, str]) -> dict[str, str]:
    """What the files may read: the variables that are not this process's anyway, nor a plugin's."""
    own = Environment.current().variables
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith("PLUGIN_") and own.get(name) != value
    }


def _tokens(options: Iterable[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Targets and overrides of ``PLUGIN_BAKE_OPTIONS``: words as for ``docker buildx bake``."""
    targets: list[str] = []
    overrides: list[str] = []
    words = iter(word for option in options for word in option.split())
    for word in words:
        name, equals, value = word.partition("=")
        if name == "--set":
            overrides.append(value if equals else next(words, ""))
        elif word.startswith("-"):
            raise SpecError(
                f"PLUGIN_BAKE_OPTIONS: {name} is not known here",
                hint="targets and --set TARGET.FIELD=VALUE are",
            )
        else:
            targets.append(word)
    return targets, overrides
