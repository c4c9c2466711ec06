"""What only kaniko can be told: its flags beyond the step's settings, typed and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, get_args

from attrs import Attribute, field, fields, frozen

from ....errors import SpecError
from ....spec.quantities import parse_duration

__all__ = ["GitOptions", "KanikoOptions"]

SnapshotMode = Literal["full", "redo", "time"]
ImageFormat = Literal["", "docker", "oci"]
Verbosity = Literal["trace", "debug", "info", "warn", "error"]
CredentialHelper = Literal["env", "google", "ecr", "acr", "gitlab"]

_PAIR: Final = 2
_FLAG: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_FEATURE_FLAG: Final = re.compile(r"FF_KANIKO_[A-Z0-9]+(?:_[A-Z0-9]+)*")
_HOST: Final = re.compile(r"[A-Za-z0-9.\-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_TARGET: Final = re.compile(rf"(?:{_HOST.pattern})(?:/[A-Za-z0-9._\-/]+)?")

_OURS: Final = frozenset(
    (
        *("annotation", "bucket", "build-arg", "cache", "cache-repo", "compression"),
        *("compression-level", "context", "custom-platform", "customPlatform", "destination"),
        *("digest-file", "dockerfile", "dryrun", "force", "force-build-metadata", "help"),
        *("image-name-tag-with-digest-file", "image-name-with-digest-file", "kaniko-dir"),
        *("label", "log-format", "no-push", "oci-layout-path", "reproducible", "secret"),
        *("tar-path", "tarPath", "target"),
    )
)
"""Flags that say what the step and buildpush say already, or that would undo it."""
_CALLED_HERE: Final[dict[str, str]] = {
    "snapshotMode": "snapshot_mode",
    "ignore-path": "ignore_paths",
    "whitelist-var-run": "ignore_var_run",
    "registry-map": "registry_maps",
    "registry-mirror": "registry_maps",
    "registry-certificate": "registry_certificates",
    "registry-client-cert": "registry_client_certs",
    "insecure-registry": "insecure_registries",
    "skip-tls-verify-registry": "skip_tls_verify_registries",
}


@frozen(kw_only=True)
class GitOptions:
    """How a context that is a git repository is cloned: kaniko's ``--git``."""

    branch: str = ""
    single_branch: bool = False
    depth: int = 0
    recurse_submodules: bool = False
    insecure_skip_tls: bool = False

    def __attrs_post_init__(self) -> None:
        if isinstance(self.depth, bool) or self.depth < 0:
            raise _wrong("git", f"depth is {self.depth!r}", "a number of commits, 0 for all")


def _ttl(value: str | float | timedelta | None) -> float | None:
    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise _wrong("cache_ttl", str(error), "'336h', a timedelta, or seconds") from error


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    # A single text is an iterable of texts, too: it is looked for among what was given.
    return (value,) if isinstance(value, str) else tuple(value)


def _helpers(value: Iterable[CredentialHelper] | None) -> tuple[CredentialHelper, ...] | None:
    return None if value is None else tuple(value)


def _maps(value: Mapping[str, str | Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    return {host: _texts(mirrors) for host, mirrors in value.items()}


def _paths(value: Mapping[str, Path | str]) -> Mapping[str, Path]:
    return {host: Path(path) for host, path in value.items()}


def _pairs(
    value: Mapping[str, tuple[Path | str, Path | str]],
) -> Mapping[str, tuple[Path, Path]]:
    found: dict[str, tuple[Path, Path]] = {}
    for host, pair in value.items():
        if len(pair) != _PAIR:
            raise _wrong("registry_client_certs", f"{host} has no pair", "(certificate, key)")
        found[host] = (Path(pair[0]), Path(pair[1]))
    return found


def _flag_values(
    value: Mapping[str, str | bool | int | Iterable[str]],
) -> Mapping[str, tuple[str, ...]]:
    """What each extra flag is given: true and false as Go spells them, several in order."""
    found: dict[str, tuple[str, ...]] = {}
    for name, given in value.items():
        match given:
            case bool():
                found[name.removeprefix("--")] = (str(given).lower(),)
            case str() | int():
                found[name.removeprefix("--")] = (str(given),)
            case _:
                found[name.removeprefix("--")] = tuple(given)
    return found


def _feature_flags(value: Mapping[str, bool]) -> Mapping[str, bool]:
    return dict(value)


def _one_of(kind: object) -> Callable[[Any, Attribute[Any], Any], None]:
    known = get_args(kind)

    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value is not None and value not in known:
            raise _wrong(attribute.name, f"there is no {value!r}", _listed(known))

    return check


def _count(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _wrong(attribute.name, f"{value!r} is no number of retries", "0 or more")


def _truth(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, bool):
        raise _wrong(attribute.name, f"{value!r} is neither true nor false", "True or False")


@frozen(kw_only=True)
class KanikoOptions:
    """What only kaniko can be told, beyond the settings of the step.

    None leaves a flag to kaniko's own default. Durations are written as ``336h`` or given as a
    `timedelta` or seconds; hosts as in image names (``registry.example.com:5000``, ``docker.io``).
    What a flavor or version does not know is refused before the build.

    *snapshot_mode* is redo where the step says ``optimize``; the retries are the step's where
    none are given. *registry_certificates* maps a host to a CA's PEM file here,
    *registry_client_certs* to a certificate and its key, which stays secret. *cache_dir* is a
    folder in the executor's container with base images that kaniko's warmer has put there.
    *feature_flags* are kaniko's ``FF_KANIKO_…``; *flags* is for what a newer executor knows and
    this class does not: names without dashes, each with a text, a truth, or several texts.
    """

    cache_ttl: float | None = field(default=None, converter=_ttl)
    cache_dir: str = ""
    cache_copy_layers: bool | None = field(default=None, validator=_truth)
    cache_run_layers: bool | None = field(default=None, validator=_truth)
    compressed_caching: bool | None = field(default=None, validator=_truth)
    no_push_cache: bool | None = field(default=None, validator=_truth)

    single_snapshot: bool | None = field(default=None, validator=_truth)
    snapshot_mode: SnapshotMode | None = field(default=None, validator=_one_of(SnapshotMode))
    ignore_paths: tuple[str, ...] = field(default=(), converter=_texts)
    ignore_var_run: bool | None = field(default=None, validator=_truth)
    use_new_run: bool | None = field(default=None, validator=_truth)

    push_retry: int | None = field(default=None, validator=_count)
    image_download_retry: int | None = field(default=None, validator=_count)
    image_fs_extract_retry: int | None = field(default=None, validator=_count)
    push_ignore_immutable_tag_errors: bool | None = field(default=None, validator=_truth)
    skip_push_permission_check: bool | None = field(default=None, validator=_truth)
    registry_maps: Mapping[str, tuple[str, ...]] = field(
        factory=dict[str, tuple[str, ...]], converter=_maps
    )
    skip_default_registry_fallback: bool | None = field(default=None, validator=_truth)
    registry_certificates: Mapping[str, Path] = field(factory=dict[str, Path], converter=_paths)
    registry_client_certs: Mapping[str, tuple[Path, Path]] = field(
        factory=dict[str, tuple[Path, Path]], converter=_pairs, repr=False
    )
    insecure: bool | None = field(default=None, validator=_truth)
    insecure_pull: bool | None = field(default=None, validator=_truth)
    insecure_registries: tuple[str, ...] = field(default=(), converter=_texts)
    skip_tls_verify: bool | None = field(default=None, validator=_truth)
    skip_tls_verify_pull: bool | None = field(default=None, validator=_truth)
    skip_tls_verify_registries: tuple[str, ...] = field(default=(), converter=_texts)
    credential_helpers: tuple[CredentialHelper, ...] | None = field(
        default=None, converter=_helpers
    )

    image_format: ImageFormat = field(default="", validator=_one_of(ImageFormat))
    verbosity: Verbosity = field(default="info", validator=_one_of(Verbosity))
    log_timestamp: bool | None = field(default=None, validator=_truth)
    skip_unused_stages: bool | None = field(default=None, validator=_truth)
    cleanup: bool | None = field(default=None, validator=_truth)
    pre_cleanup: bool | None = field(default=None, validator=_truth)
    preserve_context: bool | None = field(default=None, validator=_truth)
    materialize: bool | None = field(default=None, validator=_truth)
    git: GitOptions | None = None
    context_sub_path: str = ""

    feature_flags: Mapping[str, bool] = field(factory=dict[str, bool], converter=_feature_flags)
    flags: Mapping[str, tuple[str, ...]] = field(
        factory=dict[str, tuple[str, ...]], converter=_flag_values
    )

    def __attrs_post_init__(self) -> None:
        _check_cache(self)
        _check_container(self)
        _check_paths(self)
        _check_hosts(self)
        _check_names(self)
        _check_flags(self)


def _check_cache(options: KanikoOptions) -> None:
    if options.cache_ttl is not None and not 0 < options.cache_ttl < math.inf:
        raise _wrong("cache_ttl", "nothing would be kept", "a duration such as '336h'")
    if options.use_new_run and options.snapshot_mode not in (None, "full"):
        raise SpecError(
            f"use_new_run and snapshot_mode={options.snapshot_mode!r} exclude each other",
            hint="use_new_run takes no snapshots after RUN: leave snapshot_mode out",
        )


def _check_container(options: KanikoOptions) -> None:
    if options.use_new_run and options.pre_cleanup and options.preserve_context:
        raise SpecError(
            "use_new_run, pre_cleanup and preserve_context together put the executor's own files"
            " into the image",
            hint="leave one of them out",
        )


def _check_paths(options: KanikoOptions) -> None:
    inside = [("cache_dir", options.cache_dir)] if options.cache_dir else []
    inside += [("ignore_paths", path) for path in options.ignore_paths]
    for name, path in inside:
        if not PurePosixPath(path).is_absolute():
            raise _wrong(name, f"{path!r} is not absolute", "a path in the executor's container")
    below = PurePosixPath(options.context_sub_path)
    if below.is_absolute() or ".." in below.parts:
        raise _wrong("context_sub_path", f"{str(below)!r} leads out", "a folder of the context")


def _check_hosts(options: KanikoOptions) -> None:
    named: dict[str, Iterable[str]] = {
        "registry_maps": options.registry_maps,
        "registry_certificates": options.registry_certificates,
        "registry_client_certs": options.registry_client_certs,
        "insecure_registries": options.insecure_registries,
        "skip_tls_verify_registries": options.skip_tls_verify_registries,
    }
    for name, hosts in named.items():
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise _wrong(name, f"{host!r} is no registry's host", "such as 'docker.io'")
    for target in (mirror for mirrors in options.registry_maps.values() for mirror in mirrors):
        if not _TARGET.fullmatch(target):
            raise _wrong("registry_maps", f"{target!r} is no mirror", "host, or host/path")


def _check_names(options: KanikoOptions) -> None:
    known = get_args(CredentialHelper)
    for helper in options.credential_helpers or ():
        if helper not in known:
            raise _wrong("credential_helpers", f"there is no {helper!r}", _listed(known))
    for name, value in options.feature_flags.items():
        if not _FEATURE_FLAG.fullmatch(name):
            raise _wrong("feature_flags", f"{name!r} is no name of one", "FF_KANIKO_…")
        if value not in (True, False):
            raise _wrong("feature_flags", f"{name} is {value!r}", "True or False")


def _check_flags(options: KanikoOptions) -> None:
    typed = {a.name.replace("_", "-"): a.name for a in fields(KanikoOptions)} | _CALLED_HERE
    for name in options.flags:
        if name in typed:
            raise _wrong("flags", f"--{name} has its own setting", f"{typed[name]}=…")
        if name in _OURS:
            raise _wrong("flags", f"--{name} is buildpush's to set", "the step's own settings")
        if not _FLAG.fullmatch(name):
            raise _wrong("flags", f"{name!r} is no flag's name", "such as 'use-new-run'")


def _listed(known: tuple[str, ...]) -> str:
    return " or ".join(map(repr, known))


def _wrong(name: str, what: str, expected: str) -> SpecError:
    return SpecError(f"KanikoOptions({name}): {what}", hint=f"expected: {expected}")
