"""What a plugin's variables ask for: settings of a step, logins, and what is done around a build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

__all__ = ["Finding", "FindingKind", "PluginLogin", "PluginSettings", "Signing"]

FindingKind = Literal["no-op", "contradiction", "lossy", "quirk", "unknown"]
"""Why a variable deserves a word.

It does nothing; it cannot be together with another; something of it is lost; the plugin does
something else than its name says; the plugin does not know it.
"""


@frozen(kw_only=True)
class Finding:
    """What is to be said about one variable; *text* quotes no value."""

    kind: FindingKind
    variable: str
    text: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.text}"


@frozen(kw_only=True)
class PluginLogin:
    """One login; *host* is as the plugin has it, and may be a URL. *config* is a whole file's text."""

    kind: Literal["basic", "config", "ecr", "gcr", "acr"]
    host: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    config: str = field(default="", repr=False)
    pull_only: bool = False
    options: Mapping[str, str] = field(factory=dict[str, str], repr=False)


@frozen(kw_only=True)
class Signing:
    """How the image is signed with cosign; *private_key* is PEM text, or a file's name."""

    private_key: str = field(repr=False)
    password: str = field(default="", repr=False)
    parameters: tuple[str, ...] = field(default=(), repr=False)


@frozen(kw_only=True)
class PluginSettings:
    """What one run of a plugin is to do.

    *settings* are those of a step; *kaniko* those of `KanikoOptions`, which other backends do
    not need for the same image. *builder* is what buildx is to create, by its own names;
    *bake_file* stands for context and Dockerfile. *work* ``nothing`` says *because* why; ``push_only`` pushes
    *source_tar*. *raw_tags* are the tags as they were given: those that the artifact file lists.
    """

    work: Literal["build", "push_only", "nothing"] = "build"
    because: str = ""
    settings: Mapping[str, object] = field(factory=dict[str, object], repr=False)
    kaniko: Mapping[str, object] = field(factory=dict[str, object], repr=False)
    logins: tuple[PluginLogin, ...] = ()
    raw_tags: tuple[str, ...] = ()
    registry_type: str = ""
    registry_url: str = ""
    source_tar: str = ""
    source_image: str = ""
    ssh_key: str = field(default="", repr=False)
    signing: Signing | None = None
    builder: Mapping[str, object] = field(factory=dict[str, object], repr=False)
    bake_file: str = ""
    bake_options: tuple[str, ...] = ()
    card: str = ""
    metadata_file: str = ""
    cache_metrics_file: str = ""
    artifact_file: str = ""
    output_file: str = ""
    digest_files: Mapping[str, str] = field(factory=dict[str, str])
    create_repository: bool = False
    scan_on_push: bool = False
    skip_if_tag_exists: bool = False
    lifecycle_policy: str = ""
    repository_policy: str = ""
    findings: tuple[Finding, ...] = ()
