"""From a `BuildRequest` to the arguments of ``docker buildx build``: pure, nothing is looked up.

Several options are lists of ``key=value`` fields that the client reads as one CSV record, others
are taken as they stand; which is which is the client's, and all of it is in this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from attrs import field, frozen

from ...dockerfile.instructions import Run
from ...errors import UnsupportedFeatureError
from ...http.trust import Trust
from ...oci import ImageReference
from ...plan import BuildRequest
from ...plan.values import Cache
from ...plan.wants import looks_secret

__all__ = ["FIRST_CLIENT", "Client", "Destination", "argv", "csv_record", "environment"]

_CPU_PERIOD: Final = 100_000

# Variables that mean something to the client itself: a build arg of that name goes into argv.
_MEANT: Final = frozenset({
    "all_proxy", "editor", "home", "hostaliases", "lang", "localdomain", "logname", "pager", "path",
    "pwd", "res_options", "shell", "term", "tmpdir", "traceparent", "tracestate", "tz", "user",
})  # fmt: skip
_MEANT_BEGINNINGS: Final = (
    "actions_", "aws_", "azure_", "buildkit_", "buildx_", "cni_", "compose_", "containerd_",
    "docker_", "experimental_", "git_", "github_", "go", "google_", "jaeger_", "kube", "lc_", "ld_",
    "otel_", "registry_", "ssh_", "ssl_", "sudo_", "xdg_",
)  # fmt: skip

# Those among them by which the client reads nothing that is called a token or a password.
_SECRETS_OF_OTHERS: Final = ("docker_", "git_", "github_", "registry_")

# What would change the image without being asked for: the request says it all.
_DROPPED: Final = ("SOURCE_DATE_EPOCH", "DOCKER_DEFAULT_PLATFORM", "BUILDX_GIT_LABELS")


@frozen(kw_only=True)
class Destination:
    """What becomes of the image; exactly one of the three.

    *layout* is the folder that gets an OCI layout; *push* sends it to every reference of the
    request; *load* puts it into the daemon's own store under those references.
    """

    layout: Path | None = None
    push: bool = False
    load: bool = False

    def __attrs_post_init__(self) -> None:
        """Refuse none and several: a caller's mistake."""
        if (self.layout is not None) + self.push + self.load != 1:
            raise ValueError("a destination is exactly one of layout, push and load")


@frozen(kw_only=True)
class Client:
    """The program that is given the arguments.

    *buildx* is its version, empty for the docker CLI 20.10 and its own BuildKit client;
    *resources* says whether it has ``--resource``; *store* whether the builder keeps what it
    pushes unless told not to (dockerd's own BuildKit over the containerd image store).
    """

    buildx: tuple[int, ...] = (0, 29, 1)
    resources: bool = False
    store: bool = False

    @property
    def raw_json(self) -> bool:
        """Whether it writes its progress as JSON (buildx 0.13 and later)."""
        return self.buildx >= (0, 13)

    @property
    def attestations(self) -> bool:
        """Whether it makes attestations, and makes them unless told not to (buildx 0.10)."""
        return self.buildx >= (0, 10)


FIRST_CLIENT: Final = Client(buildx=())
"""The BuildKit client inside the docker CLI 20.10: ``DOCKER_BUILDKIT=1 docker build``."""


def argv(
    request: BuildRequest,
    destination: Destination,
    *,
    metadata: Path,
    builder: str = "",
    client: Client = Client(),
    variables: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """The arguments after the program's name: ``build``, the options, the context's folder.

    *metadata* is the file that gets the digest (the id of the image from `FIRST_CLIENT`); *builder*
    names the builder, the current one when empty; *variables* are those of the caller's
    environment, `environment` being what the program is to be started with. Raises
    `UnsupportedFeatureError` for a path that the client has no way to be told.
    """
    return tuple(_Arguments(request, destination, client, variables or {}).all(metadata, builder))


def environment(request: BuildRequest, variables: Mapping[str, str]) -> Mapping[str, str]:
    """The variables to start the program with: *variables*, and build args that stay out of argv.

    What would change the image unasked is taken out, and what costs time for nothing turned off.
    """
    kept = {name: value for name, value in variables.items() if name not in _DROPPED}
    kept["BUILDX_METADATA_PROVENANCE"] = "disabled"
    if not request.provenance:
        kept["BUILDX_GIT_INFO"] = "false"
    return kept | {
        name: value
        for name, value in _build_args(request).items()
        if _travels_by_environment(name, value, variables)
    }


def csv_record(pairs: Mapping[str, str]) -> str:
    """``key=value,key=value`` as one record of CSV, quoted as Go's reader wants it (RFC 4180)."""
    return ",".join(_csv_field(f"{key}={value}") for key, value in pairs.items())


def _csv_field(text: str) -> str:
    if any(character in text for character in ',"\r\n') or text[:1].isspace():
        return '"' + text.replace('"', '""') + '"'
    return text


def _travels_by_environment(name: str, value: str, variables: Mapping[str, str]) -> bool:
    """Whether setting the variable *name* to *value* cannot disturb the client."""
    if variables.get(name) == value:
        return True
    lower = name.lower()
    meant = lower in _MEANT or lower.startswith(_MEANT_BEGINNINGS) or lower.endswith("_proxy")
    if looks_secret(name) and lower.startswith(_SECRETS_OF_OTHERS):
        meant = False
    return not meant and bool(name) and "=" not in name and "\0" not in name + value


def _build_args(request: BuildRequest) -> Mapping[str, str]:
    """The build args, and the one that clamps timestamps."""
    args = dict(request.build_args)
    if request.source_date_epoch is not None:
        args.setdefault("SOURCE_DATE_EPOCH", str(request.source_date_epoch))
    elif request.reproducible:
        args.setdefault("SOURCE_DATE_EPOCH", "0")
    return args


@frozen
class _Arguments:
    """The arguments for one request; each method yields those that answer one question."""

    request: BuildRequest
    destination: Destination
    client: Client
    variables: Mapping[str, str] = field(repr=False)

    def all(self, metadata: Path, builder: str) -> Iterator[str]:
        """Everything, in order."""
        yield "build"
        yield from self._client(metadata, builder)
        yield from self._source()
        yield from self._surroundings()
        yield from self._caching()
        yield from self._form()
        yield from self._outputs()
        yield str(self.request.context)

    # -- how the client behaves ------------------------------------------------------------

    def _client(self, metadata: Path, builder: str) -> Iterator[str]:
        if builder:
            yield f"--builder={builder}"
        yield f"--progress={'rawjson' if self.client.raw_json else 'plain'}"
        if self.client.buildx:
            yield f"--metadata-file={metadata}"
        else:
            yield f"--iidfile={metadata}"

    # -- what is built ---------------------------------------------------------------------

    def _source(self) -> Iterator[str]:
        request = self.request
        yield f"--file={request.dockerfile_path}"
        if request.target:
            yield f"--target={request.target}"
        if request.platforms:
            yield f"--platform={','.join(map(str, request.platforms))}"
        for name, value in self._all_build_args().items():
            by_environment = _travels_by_environment(name, value, self.variables)
            yield f"--build-arg={name}" if by_environment else f"--build-arg={name}={value}"
        for name, place in request.build_contexts.items():
            yield f"--build-context={name}={place}"
        for name, path in request.secrets.items():
            yield f"--secret={csv_record({'id': name, 'src': str(path)})}"
        for name, path in request.ssh.items():
            yield f"--ssh={name}={self._agent(name, path)}"

    def _all_build_args(self) -> Mapping[str, str]:
        args = _build_args(self.request)
        if not self.client.buildx and any(c.type == "inline" for c in self.request.cache_to):
            return {"BUILDKIT_INLINE_CACHE": "1", **args}
        return args

    @staticmethod
    def _agent(name: str, path: Path) -> Path:
        if "," in str(path):
            raise UnsupportedFeatureError(
                f"ssh: the path of {name} has a comma in it, which BuildKit's client reads as two"
                " paths",
                hint="use a path without a comma, such as a symbolic link's",
            )
        return path

    # -- what RUN finds around it ----------------------------------------------------------

    def _surroundings(self) -> Iterator[str]:
        request = self.request
        if request.network != "default":
            yield f"--network={request.network}"
        for host, address in request.add_hosts.items():
            yield f"--add-host={_csv_field(f'{host}:{address}')}"
        if request.shm_size is not None:
            yield f"--shm-size={request.shm_size}"
        for limit in request.ulimits:
            yield f"--ulimit={limit}"
        if request.cgroup_parent:
            yield f"--cgroup-parent={request.cgroup_parent}"
        if self.client.resources:
            yield from self._resources()
        if self.client.buildx:
            yield from self._entitlements()

    def _resources(self) -> Iterator[str]:
        limits = self.request.limits
        if limits.memory is not None:
            yield f"--resource=memory={limits.memory}"
        if limits.cpus is not None:
            yield f"--resource=cpu-period={_CPU_PERIOD}"
            yield f"--resource=cpu-quota={round(limits.cpus * _CPU_PERIOD)}"

    def _entitlements(self) -> Iterator[str]:
        """What single RUN instructions ask for, and the client wants to be asked for as well."""
        steps = [
            step
            for stage in self.request.dockerfile.stages
            for step in stage.instructions
            if isinstance(step, Run)
        ]
        if any(step.network == "host" for step in steps):
            yield "--allow=network.host"
        if any(step.security == "insecure" for step in steps):
            yield "--allow=security.insecure"
        if any(step.devices for step in steps):
            yield "--allow=device"

    # -- which earlier results may be used, and which are kept -------------------------------

    def _caching(self) -> Iterator[str]:
        request = self.request
        if request.no_cache:
            yield "--no-cache"
        for stage in request.no_cache_filter:
            yield f"--no-cache-filter={stage}"
        if request.pull:
            yield "--pull"
        for cache in request.cache_from:
            yield f"--cache-from={self._cache_from(cache)}"
        for cache in request.cache_to:
            if self.client.buildx:
                yield f"--cache-to={self._cache_to(cache)}"

    def _cache_from(self, cache: Cache) -> str:
        """*cache* to be read; without what only says how one is written."""
        if not self.client.buildx:
            return cache.attributes.get("ref", "")
        of_writing = ("mode", "image-manifest", "oci-mediatypes", "ignore-error")
        given = {key: value for key, value in cache.attributes.items() if key not in of_writing}
        return csv_record({"type": cache.type, **self._unencrypted(cache), **given})

    def _cache_to(self, cache: Cache) -> str:
        """*cache* to be written; its trouble is the build's only when it is required."""
        attributes = {"type": cache.type, **self._unencrypted(cache)}
        if cache.type == "registry":
            # Several registries refuse the index that is the default of older BuildKits.
            attributes |= {"image-manifest": "true", "oci-mediatypes": "true"}
        if cache.type != "inline":
            attributes["ignore-error"] = str(not cache.required).lower()
        return csv_record({**attributes, **cache.attributes})

    def _unencrypted(self, cache: Cache) -> Mapping[str, str]:
        if cache.type != "registry":
            return {}
        reference = ImageReference.parse(cache.attributes["ref"])
        return {"registry.insecure": "true"} if self._is_insecure(reference) else {}

    def _is_insecure(self, reference: ImageReference) -> bool:
        return Trust(self.request.insecure).allows(reference.repository.host)

    # -- what the image is like --------------------------------------------------------------

    def _form(self) -> Iterator[str]:
        request = self.request
        for name, value in request.labels.items():
            yield f"--label={name}={value}"
        for name, value in request.annotations.items():
            yield f"--annotation={_annotation_name(name)}={value}"
        if self.client.attestations:
            mode = f"mode={request.provenance.removeprefix('mode=')}" if request.provenance else ""
            yield f"--provenance={mode or 'false'}"
            sbom = request.sbom
            yield f"--sbom={sbom if isinstance(sbom, str) else str(sbom).lower()}"

    # -- where it goes -----------------------------------------------------------------------

    def _outputs(self) -> Iterator[str]:
        if self.destination.push or self.destination.load:
            for reference in self.request.references:
                yield f"--tag={reference}"
        if self.client.buildx:
            yield f"--output={csv_record(self._image())}"
        for folder in self.request.local_outputs:
            yield f"--output={csv_record({'type': 'local', 'dest': str(folder)})}"

    def _image(self) -> Mapping[str, str]:
        """The attributes of the output that is the image."""
        attributes: dict[str, str] = {}
        if self.destination.layout is not None:
            attributes |= {"type": "oci", "tar": "false", "dest": str(self.destination.layout)}
        elif self.destination.push:
            attributes |= {"type": "image", "push": "true", "oci-mediatypes": "true"}
            if self.client.store:
                attributes |= {"store": "false", "unpack": "false"}
            if any(map(self._is_insecure, self.request.references)):
                attributes["registry.insecure"] = "true"
        else:
            attributes |= {"type": "docker"}
        attributes |= self._compression()
        rewriting = self.request.reproducible or self.request.source_date_epoch is not None
        if rewriting and not self.destination.load:  # what a daemon unpacks, it cannot rewrite
            attributes["rewrite-timestamp"] = "true"
        return attributes

    def _compression(self) -> Mapping[str, str]:
        request = self.request
        if self.destination.load:
            return {}  # the daemon keeps its layers as it likes
        level = request.compression_level
        # Layers that an earlier build has left compressed would stay as they are.
        forced = request.compression != "gzip"
        return {
            "compression": _COMPRESSION[request.compression],
            **({} if level is None else {"compression-level": str(level)}),
            **({"force-compression": "true"} if forced else {}),
        }


_COMPRESSION: Final[Mapping[Literal["gzip", "zstd", "none"], str]] = {
    "gzip": "gzip",
    "zstd": "zstd",
    "none": "uncompressed",
}


def _annotation_name(name: str) -> str:
    """*name* with its level; one that has a colon of its own would be read as a level."""
    level = name.partition(":")[0]
    if ":" not in name or level == "index" or level.startswith("manifest"):
        return name
    return f"manifest:{name}"
