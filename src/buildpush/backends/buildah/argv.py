"""From a `BuildRequest` to the arguments of ``buildah build`` and ``buildah push``: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from ...errors import SpecError
from ...oci import ImageReference, Platform
from ...plan import BuildRequest
from ...plan.wants import looks_secret
from .platforms import built_on
from .probing import Buildah

__all__ = [
    "MARK",
    "Surroundings",
    "build",
    "build_environment",
    "epoch_of",
    "is_free",
    "push",
]

_CPU_PERIOD: Final = 100_000
MARK: Final = "buildpush-run"
"""The id of a secret that no RUN mounts: working containers are told apart by its path."""

# Variables that mean something to buildah itself: a build arg of that name goes into argv.
_MEANT: Final = frozenset(
    {
        "all_proxy",
        "ftp_proxy",
        "home",
        "http_proxy",
        "https_proxy",
        "lang",
        "no_proxy",
        "path",
        "pwd",
        "shell",
        "tmpdir",
        "tz",
        "user",
    }
)
_MEANT_BEGINNINGS: Final = (
    "_containers",
    "buildah_",
    "cni_",
    "containers_",
    "dbus_",
    "docker_",
    "go",
    "lc_",
    "ld_",
    "libpod_",
    "listen_",
    "netavark_",
    "podman_",
    "registry_",
    "ssh_",
    "ssl_",
    "storage_",
    "xdg_",
)


# Those among them by which buildah reads nothing that is called a token or a password.
_SECRETS_OF_OTHERS: Final = ("docker_", "registry_")


@frozen(kw_only=True)
class Surroundings:
    """The files of one run that buildah is told of.

    *authfile* is the auth.json to use, *policy* a signature policy when the machine has none,
    *mark* a file whose path tells this run's working containers from others, *ignorefile* the
    rules that leave files out of the context.
    """

    authfile: Path
    mark: Path
    dockerfile: Path
    context: Path
    policy: Path | None = None
    ignorefile: Path | None = None


def build(
    request: BuildRequest,
    buildah: Buildah,
    where: Surroundings,
    *,
    platform: Platform | None = None,
    variables: Mapping[str, str] | None = None,
    oci: bool = True,
) -> tuple[str, ...]:
    """The whole argv that builds *request* for *platform*, its own when that is None.

    *variables* are those of the environment it is started in: a build arg that is there under
    its own name is only named. Without *oci* in docker's format, which alone remembers
    HEALTHCHECK, ONBUILD and SHELL. Raises `SpecError` for a path that no option can hold.
    """
    words = _Build(request, buildah, where, platform, variables or {}, oci)
    return buildah.command("build", *words.all(), "--", str(where.context))


def build_environment(request: BuildRequest, variables: Mapping[str, str]) -> dict[str, str]:
    """*variables* and the build args that can be handed over in the environment, out of sight."""
    return dict(variables) | {
        name: value for name, value in _build_args(request).items() if is_free(name)
    }


def push(
    buildah: Buildah,
    image: str,
    destination: str,
    request: BuildRequest,
    *,
    authfile: Path,
    digestfile: Path | None = None,
    policy: Path | None = None,
    oci: bool = True,
) -> tuple[str, ...]:
    """The whole argv that writes *image* to *destination* (``docker://…``, ``oci:…``)."""
    words = ["push", "--authfile", str(authfile), "--format", "oci" if oci else "v2s2"]
    if destination.startswith("docker://"):
        words += _retries(request, buildah)
    if digestfile is not None:
        words += ["--digestfile", str(digestfile)]
    if policy is not None:
        words += ["--signature-policy", str(policy)]
    if request.compression == "none":
        words.append("--disable-compression")  # heeded by dir: only
    if request.compression == "zstd" and oci:
        words += ["--compression-format", "zstd"]
    if request.compression_level is not None and request.compression != "none":
        words += ["--compression-level", str(request.compression_level)]
    return buildah.command(*words, image, destination)


def is_free(name: str) -> bool:
    """Whether a variable called *name* means nothing to buildah."""
    lowered = name.lower()
    if looks_secret(name) and lowered.startswith(_SECRETS_OF_OTHERS):
        return True
    return lowered not in _MEANT and not lowered.startswith(_MEANT_BEGINNINGS)


def epoch_of(request: BuildRequest) -> int | None:
    """The moment that timestamps are set to, in seconds; None to leave them alone."""
    given = request.build_args.get("SOURCE_DATE_EPOCH", "")
    if request.source_date_epoch is not None:
        return request.source_date_epoch
    if given.isdecimal():
        return int(given)
    return 0 if request.reproducible else None


def _build_args(request: BuildRequest) -> dict[str, str]:
    found = dict(request.build_args)
    if request.source_date_epoch is not None:
        found.setdefault("SOURCE_DATE_EPOCH", str(request.source_date_epoch))
    return built_on(request) | found


def _retries(request: BuildRequest, buildah: Buildah) -> list[str]:
    return ["--retry", str(request.retries)] if buildah.version >= (1, 28) else []


@frozen
class _Build:
    """The options of one build, by subject."""

    request: BuildRequest
    buildah: Buildah
    where: Surroundings
    platform: Platform | None
    variables: Mapping[str, str] = field(repr=False)
    oci: bool

    def all(self) -> Iterator[str]:
        yield from ("--file", _listed(str(self.where.dockerfile)))
        # Its --squash takes the base in; a build without layers makes one on top of it.
        yield f"--layers={'false' if self.request.squash else 'true'}"
        yield from ("--format", "oci" if self.oci else "docker")
        yield from ("--force-rm", "--isolation", self.buildah.isolation)
        if self.buildah.runtime != self.buildah.usual_runtime:
            yield from ("--runtime", self.buildah.runtime)
        if self.buildah.version >= (1, 28):
            yield "--identity-label=false"
        yield from ("--authfile", str(self.where.authfile))
        if self.where.policy is not None:
            yield from ("--signature-policy", str(self.where.policy))
        if self.where.ignorefile is not None:
            yield from ("--ignorefile", str(self.where.ignorefile))
        yield from _retries(self.request, self.buildah)
        yield from self._what()
        yield from self._materials()
        yield from self._isolation()
        yield from self._cache()
        yield from self._form()

    def _what(self) -> Iterator[str]:
        request = self.request
        if self.platform is not None:
            yield from ("--platform", str(self.platform))
        if request.target is not None:
            yield from ("--target", request.target)
        for name, value in _build_args(request).items():
            known = self.variables.get(name) == value and is_free(name)
            yield from ("--build-arg", name if known else f"{name}={value}")
        for name, value in request.labels.items():
            yield from ("--label", f"{name}={value}")

    def _materials(self) -> Iterator[str]:
        yield from ("--secret", f"id={MARK},src={_field(self.where.mark)}")
        for name, path in self.request.secrets.items():
            yield from ("--secret", f"id={name},src={_field(path)}")
        for name, path in self.request.ssh.items():
            yield from ("--ssh", f"{name}={_field(path)}")
        for name, place in self.request.build_contexts.items():
            yield from ("--build-context", f"{name}={place}")

    def _isolation(self) -> Iterator[str]:
        request = self.request
        # The network buildah would make for each RUN needs a plugin or netavark, and time.
        yield from ("--network", "none" if request.network == "none" else "host")
        for name, address in request.add_hosts.items():
            yield from ("--add-host", f"{name}:{address}")
        for limit in request.ulimits:
            yield from ("--ulimit", str(limit))
        if request.shm_size is not None:
            yield from ("--shm-size", str(request.shm_size))
        if request.cgroup_parent is not None:
            yield from ("--cgroup-parent", request.cgroup_parent)
        if request.limits.memory is not None:
            yield from ("--memory", str(request.limits.memory))
        if request.limits.cpus is not None:
            yield from ("--cpu-period", str(_CPU_PERIOD))
            yield from ("--cpu-quota", str(max(1000, round(request.limits.cpus * _CPU_PERIOD))))

    def _cache(self) -> Iterator[str]:
        request = self.request
        if request.no_cache:
            yield "--no-cache"
        newer = "newer" if self.buildah.version >= (1, 29) else "true"
        yield f"--pull={'always' if request.pull else newer}"
        for option, caches in (
            ("--cache-from", request.cache_from),
            ("--cache-to", request.cache_to),
        ):
            for cache in caches:
                reference = ImageReference.parse(cache.attributes["ref"])
                yield from (option, str(reference.repository))

    def _form(self) -> Iterator[str]:
        request, epoch = self.request, epoch_of(self.request)
        if epoch is not None and self.buildah.version >= (1, 41):
            yield from ("--source-date-epoch", str(epoch), "--rewrite-timestamp")
        elif epoch is not None:
            yield from ("--timestamp", str(epoch))
        for folder in request.local_outputs:
            yield from ("--output", f"type=local,dest={_field(folder)}")


def _field(path: Path) -> str:
    """*path* as part of an option that is a list of fields."""
    text = str(path)
    if "," in text:
        raise SpecError(
            f"buildah cannot be told of {text}: a comma ends the field",
            hint="use a path without commas",
        )
    return text


def _listed(text: str) -> str:
    """*text* as one value of an option that takes a line of CSV."""
    if any(character in text for character in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text
