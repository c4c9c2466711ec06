"""An image of the docker daemon, saved into a file with every platform that the daemon has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import NotFoundError
from ...oci import Platform
from ...runtime import Run

if TYPE_CHECKING:
    from ...backends.engine.api import EngineApi

__all__ = ["save"]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Platform(_Wire):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Described(_Wire):
    platform: _Platform | None = None


class _Manifest(_Wire):
    available: bool = Field(default=False, alias="Available")
    kind: str = Field(default="", alias="Kind")
    descriptor: _Described = Field(default_factory=_Described, alias="Descriptor")


class _Image(_Wire):
    manifests: list[_Manifest] | None = Field(default=None, alias="Manifests")


def save(name: str, platforms: Sequence[Platform], run: Run) -> Path:
    """Have the daemon that ``docker`` speaks to write the image *name*; the archive's path.

    A daemon with containerd's store refuses to save an image that it has for other platforms than
    its own only: then the one of *platforms*, or the only one there is, is saved by itself. Raises
    `NotFoundError` when it is not there, `BackendUnavailableError` when no daemon answers.
    """
    from ...backends.engine.api import EngineApi
    from ...backends.engine.endpoints import current

    path = run.workdir / "saved.tar"
    environment = run.environment
    with EngineApi(current(environment), cancel=run.cancel, environment=environment) as api:
        try:
            _download(api, name, None, path, run)
        except NotFoundError as error:
            there = _available(api, name)
            wanted = [one for one in platforms or there if one in there]
            if len(wanted) == 1:
                if not platforms:
                    run.warn(
                        f"the docker daemon has {name} for {wanted[0]} only, although it lists"
                        " its own platform: the others are left out"
                    )
                _download(api, name, wanted[0], path, run)
                return path
            raise _absent(name, there, error) from error
    return path


def _download(api: EngineApi, name: str, platform: Platform | None, path: Path, run: Run) -> None:
    params = {"names": name}
    if platform is not None:
        fields = {"os": platform.os, "architecture": platform.architecture}
        if platform.variant:
            fields["variant"] = platform.variant
        params["platform"] = json.dumps(fields)
    title = f"export {name} from the docker daemon"
    with (
        run.task(f"save {name}", title) as task,
        api.download("/images/get", params=params) as chunks,
        path.open("wb") as file,
    ):
        for chunk in task.counting(chunks):
            file.write(chunk)


def _available(api: EngineApi, name: str) -> tuple[Platform, ...]:
    """The platforms of which the daemon has everything; none where it cannot tell."""
    try:
        said = api.call("GET", f"/images/{quote(name)}/json", params={"manifests": 1})
        found = _Image.model_validate_json(said).manifests or ()
    except (NotFoundError, ValidationError):
        return ()
    return tuple(
        Platform.of(one.os, one.architecture, one.variant)
        for manifest in found
        if manifest.available and manifest.kind == "image"
        for one in (manifest.descriptor.platform,)
        if one is not None
    )


def _absent(name: str, there: Sequence[Platform], error: NotFoundError) -> NotFoundError:
    if not there:
        return NotFoundError(
            f"the docker daemon has no image {name}",
            evidence=error.evidence,
            hint="docker image ls shows what it has",
        )
    listed = ", ".join(map(str, there))
    return NotFoundError(
        f"the docker daemon has {name} for {listed}, and cannot save them together",
        evidence=error.evidence,
        hint=f"take one of them: platforms={str(there[0])!r}, --platform {there[0]}",
    )
