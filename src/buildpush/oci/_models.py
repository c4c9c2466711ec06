"""The pydantic models behind `wire`: registry JSON as it arrives, before anything trusts it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from . import Digest
from ._values import History, ImageConfig, RunConfig


def _digest(text: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", text):
        raise ValueError("not a sha256 or sha512 digest")
    return text


DigestText = Annotated[str, AfterValidator(_digest)]
Size = Annotated[int, Field(ge=0, lt=1 << 63)]
Strings = list[str] | None
Annotations = dict[str, str] | None


class PlatformModel(BaseModel):
    """``platform`` of a descriptor in an index."""

    os: str = ""
    architecture: str = ""
    variant: str = ""


class DescriptorModel(BaseModel):
    """A descriptor as the image-spec writes it."""

    mediaType: str = ""  # noqa: N815 - the wire's own spelling
    digest: DigestText
    size: Size
    platform: PlatformModel | None = None
    annotations: Annotations = None
    artifactType: str = ""  # noqa: N815
    urls: Strings = None


class ManifestModel(BaseModel):
    """A manifest or an index; Go writes null for its empty lists, so null is empty."""

    schemaVersion: int = 2  # noqa: N815
    mediaType: str = ""  # noqa: N815
    artifactType: str = ""  # noqa: N815
    config: DescriptorModel | None = None
    layers: list[DescriptorModel] | None = None
    manifests: list[DescriptorModel] | None = None
    annotations: Annotations = None
    subject: DescriptorModel | None = None


class MarkerModel(BaseModel):
    """The file ``oci-layout``."""

    imageLayoutVersion: str  # noqa: N815


class SavedImageModel(BaseModel):
    """One image of the ``manifest.json`` that ``docker save`` writes."""

    Config: str
    RepoTags: Strings = None
    Layers: Strings = None
    LayerSources: dict[str, Any] | None = None


class HistoryModel(BaseModel):
    """One entry of a config's history."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None

    def to_value(self) -> History:
        """The trusted value."""
        return History(
            created=self.created,
            created_by=self.created_by or "",
            author=self.author or "",
            comment=self.comment or "",
            empty_layer=bool(self.empty_layer),
        )


class RootFSModel(BaseModel):
    """A config's rootfs."""

    diff_ids: list[DigestText] | None = None


class RunModel(BaseModel):
    """A config's config, in docker's spelling."""

    model_config = ConfigDict(extra="allow")

    User: str | None = None
    ExposedPorts: dict[str, Any] | None = None
    Env: Strings = None
    Entrypoint: Strings = None
    Cmd: Strings = None
    Volumes: dict[str, Any] | None = None
    WorkingDir: str | None = None
    Labels: dict[str, str] | None = None
    StopSignal: str | None = None
    ArgsEscaped: bool | None = None
    Healthcheck: dict[str, Any] | None = None
    OnBuild: Strings = None
    Shell: Strings = None

    def to_value(self) -> RunConfig:
        """The trusted value."""
        return RunConfig(
            user=self.User or "",
            exposed_ports=tuple(self.ExposedPorts or ()),
            env=tuple(self.Env or ()),
            entrypoint=tuple(self.Entrypoint or ()),
            cmd=tuple(self.Cmd or ()),
            volumes=tuple(self.Volumes or ()),
            working_dir=self.WorkingDir or "",
            labels=self.Labels or {},
            stop_signal=self.StopSignal or "",
            args_escaped=bool(self.ArgsEscaped),
            healthcheck=self.Healthcheck,
            on_build=tuple(self.OnBuild or ()),
            shell=tuple(self.Shell or ()),
            extra=self.__pydantic_extra__ or {},
        )


class ConfigModel(BaseModel):
    """A whole image config; what is unknown here is kept."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    architecture: str = ""
    os: str = ""
    variant: str | None = None
    os_version: str | None = Field(default=None, alias="os.version")
    os_features: Strings = Field(default=None, alias="os.features")
    created: str | None = None
    author: str | None = None
    config: RunModel | None = None
    rootfs: RootFSModel | None = None
    history: list[HistoryModel] | None = None

    def to_value(self) -> ImageConfig:
        """The trusted value."""
        return ImageConfig(
            architecture=self.architecture,
            os=self.os,
            variant=self.variant or "",
            os_version=self.os_version or "",
            os_features=tuple(self.os_features or ()),
            created=self.created,
            author=self.author or "",
            config=self.config.to_value() if self.config else RunConfig(),
            diff_ids=tuple(
                Digest(d) for d in (self.rootfs.diff_ids if self.rootfs else None) or ()
            ),
            history=tuple(entry.to_value() for entry in self.history or ()),
            extra=self.__pydantic_extra__ or {},
        )
