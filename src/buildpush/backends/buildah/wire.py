"""What buildah writes as JSON, as far as it is looked at."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Info", "Inspected"]


class _Host(BaseModel):
    model_config = ConfigDict(extra="ignore")

    runtime: str = Field(default="", alias="OCIRuntime")
    rootless: bool = False


class _Store(BaseModel):
    model_config = ConfigDict(extra="ignore")

    root: str = Field(alias="GraphRoot")
    driver: str = Field(alias="GraphDriverName")


class Info(BaseModel):
    """``buildah info``."""

    model_config = ConfigDict(extra="ignore")

    host: _Host
    store: _Store


class Inspected(BaseModel):
    """``buildah inspect --type image``: *config* is the image's config, byte for byte."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    config: str = Field(alias="Config")
