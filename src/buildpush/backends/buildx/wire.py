"""What buildx wrote about its builders: instance files and inspections, parsed at the door."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["CurrentFile", "InstanceFile"]


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
