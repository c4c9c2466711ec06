"""From a `BuildRequest` to the arguments of kaniko's executor and its private files: pure.

Nothing secret is ever an argument: credentials, secrets and keys are private files, and a build
arg's value is an environment variable wherever its name means nothing to the executor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from ....errors import SpecError
from ....oci import ImageReference, Platform
from ....plan import BuildRequest, Delivery
from ..runner import Command, Places
from .featureflags import chosen
from .flavors import Executor
from .handover import dockerfile, resolution
from .options import KanikoOptions
from .stale import KEYS_ARE_WHOLE, stale

__all__ = ["CERTIFICATES", "SECRETS", "cache_repository", "command", "is_free", "private_files"]

CERTIFICATES: Final = "certs"
SECRETS: Final = "secrets"
_HUB: Final = "index.docker.io"
_HUB_NAMES: Final = frozenset(("docker.io", "registry-1.docker.io", _HUB))
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Variables that mean something to the executor, to Go, or to the clients of clouds inside it.
_MEANT: Final = frozenset(
    (
        *("all_proxy", "benchmark_file", "builder_output", "container", "debug", "ftp_proxy"),
        *("home", "hostname", "http_proxy", "https_proxy", "no_proxy", "path", "pwd", "shell"),
        *("ssl_cert_dir", "ssl_cert_file", "tmpdir", "tz", "user", "xdg_config_home"),
    )
)
_MEANT_BEGINNINGS: Final = (
    *("acr_", "aws_", "azure_", "container_", "docker_", "ff_kaniko_", "gcp_", "git_", "gitlab_"),
    *("go", "identity_", "imds_", "kaniko_", "kubernetes_", "ld_", "msi_", "otel_", "registry_"),
    *("s3_", "ssh_", "storage_emulator_"),
)
_LESS_MEMORY: Final = 2 << 30
"""Bytes: below this, whole layers are not held in memory to be compressed for the cache."""


def command(
    request: BuildRequest,
    executor: Executor,
    options: KanikoOptions,
    places: Places,
    *,
    platform: Platform | None,
) -> Command:
    """What the executor is told to build *request* for *platform*, its own when that is None.

    What this executor does not know is not asked of it: `refusals.refuse` comes first. Raises
    `SpecError` for what no argument can hold.
    """
    words = _Words(request, executor, options, places, platform)
    arguments = _build_args(request, executor, platform)
    variables = {name: value for name, value in arguments.items() if is_free(name)}
    variables |= chosen(executor, options.feature_flags, reproducible=bool(request.reproducible))
    variables["DOCKER_CONFIG"] = str(places.private)
    return Command(words=tuple(words.all()), variables=variables)


def private_files(
    request: BuildRequest, executor: Executor, options: KanikoOptions
) -> Mapping[str, bytes]:
    """The files that the executor reads and nobody else may: name to content.

    The Dockerfile comes with an empty list of what to ignore, since the context comes without
    it. Raises `SpecError` for a certificate that cannot be read.
    """
    text = dockerfile(request, executor).encode("utf-8", "surrogateescape")
    files = {"Dockerfile": text, "Dockerfile.dockerignore": b""}
    for number, (host, path) in enumerate(_authorities(request, options).items()):
        files[f"{CERTIFICATES}/{number}.ca.pem"] = _read(path, f"CA of {host}")
    for number, (host, (certificate, key)) in enumerate(_client(request, options).items()):
        files[f"{CERTIFICATES}/{number}.cert.pem"] = _read(certificate, f"certificate for {host}")
        files[f"{CERTIFICATES}/{number}.key.pem"] = _read(key, f"key for {host}")
    for name, path in request.secrets.items():
        files[f"{SECRETS}/{name}"] = _read(path, f"secret {name}")
    return files


def _authorities(request: BuildRequest, options: KanikoOptions) -> Mapping[str, Path]:
    """The CA's file by host: the step's, and over them those that are for kaniko only."""
    asked = {host: own.ca for host, own in request.certificates.items() if own.ca is not None}
    return {**asked, **options.registry_certificates}


def _client(request: BuildRequest, options: KanikoOptions) -> Mapping[str, tuple[Path, Path]]:
    """The client certificate and its key by host; one file may hold both."""
    asked = {
        host: (own.certificate, own.key or own.certificate)
        for host, own in request.certificates.items()
        if own.certificate is not None
    }
    return {**asked, **options.registry_client_certs}


def is_free(name: str) -> bool:
    """Whether an environment variable called *name* means nothing to the executor."""
    lowered = name.lower()
    return (
        _ENVIRONMENT_NAME.fullmatch(name) is not None
        and lowered not in _MEANT
        and not lowered.startswith(_MEANT_BEGINNINGS)
    )


def cache_repository(request: BuildRequest) -> str:
    """The one repository that the step's caches are in; empty for none.

    Raises `SpecError` where they name several: kaniko reads and writes one.
    """
    found = {
        str(ImageReference.parse(cache.attributes["ref"]).repository)
        for cache in (*request.cache_from, *request.cache_to)
        if cache.type == "registry" and "ref" in cache.attributes
    }
    if len(found) > 1:
        raise SpecError(
            f"kaniko's cache is one repository, not {' and '.join(sorted(found))}",
            hint="name one with remote_cache_repo",
        )
    return next(iter(found), "")


def hub(host: str) -> str:
    """*host* as kaniko calls it: Docker Hub goes by another name there."""
    return _HUB if host in _HUB_NAMES else host


@frozen
class _Words:
    """The arguments of one build, by subject."""

    request: BuildRequest
    executor: Executor
    options: KanikoOptions
    places: Places
    platform: Platform | None

    def all(self) -> Iterator[str]:
        yield "--log-format=json"
        if self.options.verbosity != "info":
            yield f"--verbosity={self.options.verbosity}"
        yield from self._given("log_timestamp")
        yield from self._context()
        yield from self._what()
        yield from self._result()
        yield from self._form()
        yield from self._cache()
        yield from self._snapshots()
        yield from self._registries()
        yield from self._certificates()
        for name in ("cleanup", "pre_cleanup", "preserve_context", "materialize"):
            yield from self._given(name)
        for name, values in self.options.flags.items():
            for value in values:
                yield f"--{name}={value}"

    def _given(self, name: str) -> Iterator[str]:
        """The flag called *name*, where the options say yes or no."""
        value = getattr(self.options, name)
        if value is not None:
            yield f"--{name.replace('_', '-')}={str(value).lower()}"

    def _private(self, name: str) -> str:
        return str(self.places.private / name)

    def _context(self) -> Iterator[str]:
        options = self.options
        yield from ("--context", self.places.context)
        if options.context_sub_path:
            yield from ("--context-sub-path", options.context_sub_path)
        yield from ("--dockerfile", self._private("Dockerfile"))
        git = options.git
        if git is not None:
            said = {
                "branch": git.branch,
                "single-branch": str(git.single_branch).lower() if git.single_branch else "",
                "depth": str(git.depth) if git.depth else "",
                "recurse-submodules": str(git.recurse_submodules).lower(),
                "insecure-skip-tls": str(git.insecure_skip_tls).lower(),
            }
            for name, value in said.items():
                if value:
                    yield from ("--git", f"{name}={value}")

    def _what(self) -> Iterator[str]:
        request = self.request
        if self.platform is not None:
            yield from ("--custom-platform", str(self.platform))
        target = target_name(request)
        if target:
            yield from ("--target", target)
        if self.options.skip_unused_stages is None and not self.executor.has((1, 26, 0)):
            # It loses count of the stages when it leaves some out: the Dockerfile does it.
            yield "--skip-unused-stages=false"
        yield from self._given("skip_unused_stages")
        for name, value in _build_args(request, self.executor, self.platform).items():
            yield from ("--build-arg", name if is_free(name) else f"{name}={value}")
        for name, value in request.labels.items():
            yield from ("--label", f"{name}={value}")
        for name, value in request.annotations.items():
            yield from ("--annotation", f"{name}={value}")
        for name in request.secrets:
            yield from ("--secret", f"id={name},src={self._private(f'{SECRETS}/{name}')}")

    def _result(self) -> Iterator[str]:
        yield from ("--digest-file", str(self.places.digest))
        if self.places.layout is not None:
            yield from ("--oci-layout-path", str(self.places.layout))
        if self.request.delivery is not Delivery.DIRECT or self.places.layout is not None:
            yield "--no-push"
            return
        for reference in self.request.references:
            yield from ("--destination", _destination(reference))

    def _form(self) -> Iterator[str]:
        request = self.request
        image_format = self.options.image_format
        if not image_format and wants_oci(request) and self.executor.has((1, 28, 1)):
            image_format = "oci"
        if image_format:
            yield f"--image-format={image_format}"
        if request.compression != "gzip":
            yield f"--compression={request.compression}"
        if request.compression_level is not None:
            yield f"--compression-level={request.compression_level}"
        if request.reproducible:
            yield "--reproducible"

    def _cache(self) -> Iterator[str]:
        options, repository = self.options, cache_repository(self.request)
        if options.cache_dir:
            yield from ("--cache-dir", options.cache_dir)
        copies = bool(options.cache_copy_layers)
        unsafe = any(stale(self.request, self.executor, copies=copies))
        if not repository and self.places.cache is not None and not unsafe:
            repository = f"oci:{self.places.cache / 'layers'}"
        if not repository or self.request.no_cache:
            return
        yield from ("--cache=true", "--cache-repo", repository)
        if options.no_push_cache is not None:
            yield from self._given("no_push_cache")
        elif not self.request.cache_to and not repository.startswith("oci:"):
            yield "--no-push-cache=true"
        if options.cache_ttl is not None:
            yield f"--cache-ttl={_go_duration(options.cache_ttl)}"
        if options.cache_copy_layers is None and self.executor.has(KEYS_ARE_WHOLE):
            yield "--cache-copy-layers=true"
        yield from self._given("cache_copy_layers")
        yield from self._given("cache_run_layers")
        little = self.request.limits.memory
        if options.compressed_caching is None and little is not None and little < _LESS_MEMORY:
            yield "--compressed-caching=false"
        yield from self._given("compressed_caching")

    def _snapshots(self) -> Iterator[str]:
        options = self.options
        mode = options.snapshot_mode
        if mode is None and self.request.optimize and not options.use_new_run:
            mode = "redo"
        if mode is not None:
            yield f"--snapshot-mode={mode}"
        if options.single_snapshot is None and self.request.squash:
            yield "--single-snapshot=true"
        yield from self._given("single_snapshot")
        for path in options.ignore_paths:
            yield from ("--ignore-path", path)
        yield from self._given("ignore_var_run")
        yield from self._given("use_new_run")

    def _registries(self) -> Iterator[str]:
        request, options = self.request, self.options
        for name in ("push_retry", "image_download_retry", "image_fs_extract_retry"):
            value = getattr(options, name)
            yield f"--{name.replace('_', '-')}={request.retries if value is None else value}"
        for host, mirrors in request.mirrors.items():
            for mirror in mirrors:
                if hub(host) == _HUB:
                    yield from ("--registry-mirror", mirror)
                else:
                    yield from ("--registry-map", f"{host}={mirror}")
        for host, mirrors in options.registry_maps.items():
            for mirror in mirrors:
                yield from ("--registry-map", f"{hub(host)}={mirror}")
        for host in sorted(request.insecure | {*options.insecure_registries}):
            yield from ("--insecure-registry", hub(host))
        for host in sorted(request.insecure | {*options.skip_tls_verify_registries}):
            yield from ("--skip-tls-verify-registry", hub(host))
        for name in (
            "skip_default_registry_fallback",
            "push_ignore_immutable_tag_errors",
            "insecure",
            "insecure_pull",
            "skip_tls_verify",
            "skip_tls_verify_pull",
        ):
            yield from self._given(name)
        yield from self._asked_first()
        if options.credential_helpers is not None:
            for helper in options.credential_helpers or ("",):
                yield f"--credential-helpers={helper}"

    def _asked_first(self) -> Iterator[str]:
        """Whether kaniko asks beforehand if it may push.

        Where it does not push the image it asks for the cache, and fails without: but a cache
        that cannot be written is no reason to fail, unless the step says so.
        """
        pushed = self.request.delivery is Delivery.DIRECT and self.places.layout is None
        cached = self.request.cache_to and not self.request.no_cache
        wanted = any(cache.required for cache in self.request.cache_to)
        if self.options.skip_push_permission_check is None and not pushed and cached:
            if not wanted:
                yield "--skip-push-permission-check=true"
        else:
            yield from self._given("skip_push_permission_check")

    def _certificates(self) -> Iterator[str]:
        for number, host in enumerate(_authorities(self.request, self.options)):
            path = self._private(f"{CERTIFICATES}/{number}.ca.pem")
            yield from ("--registry-certificate", f"{hub(host)}={path}")
        for number, host in enumerate(_client(self.request, self.options)):
            begin = self._private(f"{CERTIFICATES}/{number}")
            yield from (
                "--registry-client-cert",
                f"{hub(host)}={begin}.cert.pem,{begin}.key.pem",
            )


def target_name(request: BuildRequest) -> str:
    """What kaniko calls the target: a stage's name, empty for the last stage."""
    index = resolution(request).target
    last = index == len(request.dockerfile.stages) - 1
    return "" if last else request.dockerfile.stages[index].name


def wants_oci(request: BuildRequest) -> bool:
    """Whether *request* asks for what only OCI's manifests can say."""
    return bool(request.annotations) or request.compression == "zstd"


def _build_args(
    request: BuildRequest, executor: Executor, platform: Platform | None
) -> Mapping[str, str]:
    """The step's build args, and those that an older executor does not set by itself."""
    if executor.has((1, 25, 3)) or platform is None:
        return request.build_args
    named = {
        "PLATFORM": str(platform),
        "OS": platform.os,
        "ARCH": platform.architecture,
        "VARIANT": platform.variant,
    }
    known = {f"TARGET{name}": value for name, value in named.items()}
    return {**known, **request.build_args}


def _destination(reference: ImageReference) -> str:
    name = str(reference.repository)
    return f"{name}:{reference.tag or 'latest'}"


def _go_duration(value: float) -> str:
    whole = round(value)
    return f"{whole // 3600}h" if whole % 3600 == 0 else f"{whole}s"


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"{what}: {path} cannot be read: {error.strerror}") from error
