"""`StepSpec`: every setting of a step, checked once, here, and frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from attrs import evolve
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from ..errors import SpecError
from ..http.trust import Certificates, Trust
from ..oci import ImageReference
from .faults import spec_error
from .fieldtypes import (
    Agents,
    Annotations,
    Caches,
    Compression,
    Destinations,
    DigestText,
    Epoch,
    Hosts,
    LocalPath,
    Mirrors,
    Names,
    Network,
    OptionalText,
    Outputs,
    Platforms,
    Provenance,
    Reference,
    Registries,
    RegistryHosts,
    RepositoryName,
    ResourceSettings,
    Sbom,
    SecretFiles,
    Secrets,
    SecretVariables,
    Size,
    Tags,
    TextMap,
    Timeout,
    Ulimits,
)
from .quantities import DEFAULT_TIMEOUT
from .texts import kind_of
from .values import FromEnv, SecretSource

if TYPE_CHECKING:
    from typing import Unpack

    from .arguments import StepArguments


class StepSpec(BaseModel):
    """The settings of one build-and-push step: what to build, how, and where it goes.

    Names are accepted in snake_case and, as Harness writes them, in camelCase. Raises
    `SpecError` when a setting is wrong; every fault is in its message, with its path.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
        defer_build=True,  # the schema of what is only a base class is never needed
    )

    repo: RepositoryName = Field(description="The repository to push to, without tag.")
    tags: Tags = Field(default=("latest",), description="The tags the image gets; at least one.")
    context: LocalPath = Field(default=Path(), description="The build context: a folder.")
    dockerfile: LocalPath = Field(
        default=Path("Dockerfile"),
        description="The Dockerfile: in the build context, else from the current folder.",
    )
    target: OptionalText = Field(default=None, description="The stage to stop at.")
    build_args: TextMap = Field(default={}, description="Values for the Dockerfile's ARGs.")
    labels: TextMap = Field(default={}, description="Labels of the image.")
    annotations: Annotations = Field(
        default={},
        description="Annotations of the manifest; prefix `index:` or `manifest[platform]:`"
        " for another level.",
    )
    platforms: Platforms = Field(
        default=(), description="Platforms to build for; none means the backend's own."
    )
    build_contexts: TextMap = Field(
        default={}, description="Named build contexts: a folder, `docker-image://…` or a URL."
    )
    secrets: Secrets = Field(
        default={},
        description="Build secrets by id: text is the value, `Path` a file, `FromEnv` a variable"
        " (in YAML `{file: …}`, `{env: …}`).",
    )
    env_docker_secrets: SecretVariables = Field(
        default={}, description="Build secrets from environment variables; added to secrets."
    )
    file_docker_secrets: SecretFiles = Field(
        default={}, description="Build secrets from files; added to secrets."
    )
    ssh: Agents = Field(
        default={}, description="SSH agents or keys by id; `default` is SSH_AUTH_SOCK's agent."
    )
    network: Network = Field(
        default="default", description="The network of RUN: default, none, host or a name."
    )
    add_hosts: Hosts = Field(default={}, description="Host names for RUN, with addresses.")
    shm_size: Size = Field(default=None, description="Size of /dev/shm, as docker writes it.")
    ulimits: Ulimits = Field(default=(), description="Limits of RUN: `nofile=1024:2048`.")
    cgroup_parent: OptionalText = Field(default=None, description="The parent cgroup of RUN.")
    resources: ResourceSettings = Field(
        default=ResourceSettings(),
        description="CPU and memory the build may use (limits) or is promised (requests).",
    )
    run_as_user: int | None = Field(
        default=None, ge=0, description="The user id the build runs as."
    )
    no_cache: bool = Field(default=False, description="Execute every step anew.")
    no_cache_filter: Names = Field(default=(), description="Stages to execute anew.")
    pull: bool = Field(default=False, description="Look for newer base images, always.")
    caching: bool = Field(default=False, description="Keep layers for later builds.")
    cache_from: Caches = Field(
        default=(), description="Caches to read: a reference, or `type=…,key=value`."
    )
    cache_to: Caches = Field(default=(), description="Caches to write, written likewise.")
    remote_cache_repo: Reference | None = Field(
        default=None,
        validation_alias=AliasChoices("remoteCacheRepo", "remoteCacheImage"),
        serialization_alias="remoteCacheRepo",
        description="A registry cache, read and written.",
    )
    outputs: Outputs = Field(
        default=(), description="Files that also get the image: `type=oci|docker|local,dest=PATH`."
    )
    push: bool = Field(default=True, description="Push the image; false builds only.")
    delivery: Literal["auto", "layout", "direct"] = Field(
        default="auto",
        description="Who pushes: buildpush, from a layout; the backend, directly; or planned.",
    )
    compression: Compression = Field(default="gzip", description="The layers' compression.")
    compression_level: int | None = Field(
        default=None, description="1 to 9 for gzip, 1 to 22 for zstd."
    )
    reproducible: bool | Literal["strict"] = Field(
        default=False,
        description="Same inputs, same layers; `strict`: the same digest on any machine.",
    )
    source_date_epoch: Epoch = Field(
        default=None, description="Clamp timestamps to this second since 1970."
    )
    provenance: Provenance = Field(default=None, description="Attach provenance: min or max.")
    sbom: Sbom = Field(
        default=False, description="Attach an SBOM: true, or `generator=IMAGE` for its scanner."
    )
    squash: bool = Field(default=False, description="Make one layer of all new ones.")
    optimize: bool = Field(
        default=False, description="Snapshot faster, where snapshots are taken."
    )
    mirrors: Mirrors = Field(
        default={}, description="What to pull through first, by registry host; one or several."
    )
    insecure: RegistryHosts = Field(
        default=frozenset(), description="Registries to speak to without checking certificates."
    )
    registries: Registries = Field(
        default={},
        description="By host: `ca`, `certificate` and `key` (PEM files), or `insecure`.",
    )
    destinations: Destinations = Field(
        default=(),
        description="More places to push to: a repository gets every tag, a reference its own.",
    )
    on_partial: Literal["fail_fast", "continue"] = Field(
        default="fail_fast", description="Whether one destination's failure spares the others."
    )
    on_existing_tag: Literal["overwrite", "fail", "skip_if_same", "skip"] = Field(
        default="overwrite", description="What to do about tags that exist already."
    )
    expect_current: DigestText = Field(
        default=None, description="The digest that the tags must name before they are moved."
    )
    media_types: Literal["keep", "auto", "docker", "oci"] = Field(
        default="keep",
        description="Whether manifests are converted: never, when refused (auto), or always.",
    )
    mount: bool = Field(
        default=True, description="Take blobs over from other repositories of a registry."
    )
    skip_preflight: bool = Field(
        default=False, description="Build without asking first whether we may push."
    )
    anonymous_fallback: bool = Field(
        default=True, description="Pull anonymously where a credential is refused."
    )
    max_connections: int = Field(
        default=8, ge=1, le=256, description="Requests at once to one registry, at most."
    )
    retries: int = Field(
        default=4, ge=0, le=20, description="How often to try again what may pass later."
    )
    timeout: Timeout = Field(
        default=DEFAULT_TIMEOUT, description="Seconds, or `1h 30m`; null means no limit."
    )
    quiet: bool = Field(default=False, description="Show only warnings and the result.")
    connector_ref: OptionalText = Field(
        default=None, description="Harness connector for the push registry."
    )
    registry_ref: OptionalText = Field(
        default=None, description="Harness Artifact Registry to push to."
    )
    base_image_connector_refs: Names = Field(
        default=(), description="Harness connectors for the base images' registries."
    )
    env_variables: TextMap = Field(
        default={}, description="Flags of Harness's plugin containers: they become settings."
    )

    hidden: tuple[SecretStr, ...] = Field(
        default=(),
        description="Values that never show: not in events, logs, errors, plans or `repr`.",
    )
    remarks: tuple[str, ...] = Field(
        default=(),
        description="Warnings that belong to the plan, from whoever wrote the settings.",
    )

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[StepArguments]) -> None: ...

    else:

        def __init__(self, **settings: Any) -> None:
            error = None
            try:
                super().__init__(**settings)
            except ValidationError as caught:
                error = spec_error(caught, self._spellings())
            # Raised out here so that pydantic's error, which holds the input, is not its context.
            if error is not None:
                raise error

    @classmethod
    def parse(cls, data: object) -> Self:
        """Check *data*, a mapping as YAML or JSON gives it.

        Raises one `SpecError` that lists every fault with its path (``buildArgs.TOKEN: …``), in
        the spelling that was used, and never quotes a rejected value that could be a secret.
        """
        if not isinstance(data, Mapping):
            raise SpecError(f"a step is a mapping of settings, not {kind_of(data)}")
        settings = cast("Mapping[object, object]", data)
        if not all(isinstance(name, str) for name in settings):
            raise SpecError("the names of settings are text")
        make = cast("Callable[..., Self]", cls)
        return make(**cast("Mapping[str, object]", settings))

    @property
    def references(self) -> tuple[ImageReference, ...]:
        """The names the image gets: the repository with each tag, then the other destinations."""
        bare = (ImageReference(repository=self.repo), *self.destinations)
        named = (
            evolve(place, tag=tag)
            for place in bare
            for tag in ((place.tag,) if place.tag else self.tags)
        )
        return tuple(dict.fromkeys(named))

    @property
    def trust(self) -> Trust:
        """Which registries need not prove who they are, and certificates by host."""
        return Trust(
            self.insecure.union(host for host, tls in self.registries.items() if tls.insecure),
            certificates={
                host: Certificates(ca=tls.ca, certificate=tls.certificate, key=tls.key)
                for host, tls in self.registries.items()
                if tls.ca or tls.certificate
            },
        )

    def veiled(self, text: str) -> str:
        """*text* without the values that are `hidden`."""
        for value in sorted((each.get_secret_value() for each in self.hidden), key=len)[::-1]:
            text = text.replace(value, "***").replace(repr(value)[1:-1], "***") if value else text
        return text

    @classmethod
    def _spellings(cls) -> Mapping[str, tuple[str, ...]]:
        """The names of all settings, each with its spellings in YAML."""
        return {name: spellings(cls, name) for name in cls.model_fields}

    @model_validator(mode="after")
    def _gather_secrets(self) -> Self:
        merged: dict[str, SecretSource] = dict(self.secrets)
        variables = {key: FromEnv(name) for key, name in self.env_docker_secrets.items()}
        for source in (variables, self.file_docker_secrets):
            for key, value in source.items():
                if merged.setdefault(key, value) != value:
                    raise ValueError(f"secrets.{key}: is given twice, with two sources")
        if merged != self.secrets:
            object.__setattr__(self, "secrets", merged)  # frozen for everybody else
            self.__pydantic_fields_set__.add("secrets")
        return self

    @model_validator(mode="after")
    def _check_level(self) -> Self:
        level = self.compression_level
        highest = {"gzip": 9, "zstd": 22, "none": 0}[self.compression]
        if level is not None and not 1 <= level <= highest:
            wanted = f"1 to {highest} for {self.compression}" if highest else "no level for none"
            raise ValueError(f"compression_level: expected {wanted}")
        return self

    def __repr_args__(self) -> Any:
        """Show what was set; secrets show as asterisks."""
        return [
            (name, _Shown(self.veiled(repr(getattr(self, name)))))
            for name in type(self).model_fields
            if name in self.model_fields_set
        ]


class _Shown(str):
    """Text that is its own `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def spellings(model: type[BaseModel], name: str) -> tuple[str, ...]:
    """How the setting *name* may be spelled in YAML, besides its own name."""
    field = model.model_fields[name]
    match field.validation_alias:
        case AliasChoices(choices=choices):
            return tuple(str(choice) for choice in choices)
        case str() as alias:
            return (alias,)
        case _:
            return (name,)
