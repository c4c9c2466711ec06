"""What buildx writes: its files of builders, and its report on a Dockerfile, parsed at the door."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

__all__ = ["CheckReport", "CurrentFile", "Fault", "Finding", "InstanceFile", "NodeFile", "parse"]


def _none_is_empty(value: object) -> object:
    """Go writes null for a list or map that is empty."""
    return () if value is None else value


def _none_is_no_map(value: object) -> object:
    return {} if value is None else value


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class NodeFile(_Wire):
    """One node of a builder."""

    name: str = Field(default="", alias="Name")
    endpoint: str = Field(default="", alias="Endpoint")
    options: Annotated[dict[str, str], BeforeValidator(_none_is_no_map)] = Field(
        default={}, alias="DriverOpts"
    )


class InstanceFile(_Wire):
    """``instances/<name>``: a builder."""

    name: str = Field(default="", alias="Name")
    driver: str = Field(default="", alias="Driver")
    nodes: Annotated[tuple[NodeFile, ...], BeforeValidator(_none_is_empty)] = Field(
        default=(), alias="Nodes"
    )


class CurrentFile(_Wire):
    """``current``: the builder chosen by ``docker buildx use``, for one endpoint or for all."""

    key: str = Field(default="", alias="Key")
    name: str = Field(default="", alias="Name")
    everywhere: bool = Field(default=False, alias="Global")


class _Start(_Wire):
    line: int = 0


class _Range(_Wire):
    start: _Start = _Start()


class _Location(_Wire):
    ranges: Annotated[tuple[_Range, ...], BeforeValidator(_none_is_empty)] = ()

    @property
    def line(self) -> int:
        """The first line that is meant, 0 when none is."""
        return self.ranges[0].start.line if self.ranges else 0


class Finding(_Wire):
    """One rule that a Dockerfile does not follow."""

    rule: str = Field(default="", alias="ruleName")
    description: str = ""
    detail: str = ""
    url: str = ""
    location: Annotated[_Location, BeforeValidator(_none_is_no_map)] = _Location()


class Fault(_Wire):
    """Why a Dockerfile could not be read to its end."""

    message: str = ""
    location: Annotated[_Location, BeforeValidator(_none_is_no_map)] = _Location()


class CheckReport(_Wire):
    """What ``buildx build --call=check,format=json`` prints."""

    warnings: Annotated[tuple[Finding, ...], BeforeValidator(_none_is_empty)] = ()
    error: Fault | None = Field(default=None, alias="buildError")


W = TypeVar("W", bound=_Wire)


def parse(data: bytes | str, model: type[W]) -> W | None:
    """*data* as a *model*; None for what is none. Nothing of it is quoted: it may hold secrets."""
    try:
        return model.model_validate_json(data)
    except ValidationError:
        return None
