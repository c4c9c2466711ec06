"""What the buildah of this machine is and can do: version, storage, isolation, features."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeVar, cast

from attrs import field, frozen

from ...errors import BackendUnavailableError
from ...plan import Feature
from ...runtime import Environment
from ...runtime.process import Completed
from ..engine.command import ask_all, question
from .failures import cannot_start
from .wire import Info

__all__ = ["Buildah", "Isolation", "features_of", "find", "parse_version"]

Isolation = Literal["oci", "rootless", "chroot"]
Version = tuple[int, ...]
T = TypeVar("T")

_VERSION: Final = re.compile(r"version:?\s+v?(\d+)\.(\d+)(?:\.(\d+))?")
_TRIAL_SECONDS: Final = 5.0
_CHROOT: Final = "RUN is isolated by chroot only, which shares network, memory and cgroup"

_SINCE: Final[Mapping[Feature, Version]] = {
    Feature.BUILD_CONTEXTS: (1, 27),
    Feature.CACHE_IMPORT: (1, 27),
    Feature.REGISTRY_CACHE: (1, 27),
    Feature.STEP_NETWORK: (1, 30),
    Feature.HEREDOCS: (1, 33),
    Feature.ADD_GIT: (1, 38),
    Feature.COPY_LINK: (1, 41),
    Feature.COPY_EXCLUDE: (1, 41),
    Feature.COPY_PARENTS: (1, 41),
    Feature.ADD_CHECKSUM: (1, 41),
}
_NEVER: Final[Mapping[Feature, str]] = {
    Feature.NAMED_NETWORK: "RUN gets this machine's network, or none",
    Feature.ADD_UNPACK: "it has nothing like it",
    Feature.LAYOUT_CONTEXTS: "it has nothing like it",
}
_ALWAYS: Final = frozenset(
    {
        Feature.RUN,
        Feature.MULTI_PLATFORM,
        Feature.FOREIGN_PLATFORM,
        Feature.SECRETS,
        Feature.SSH,
        Feature.TARGET,
        Feature.RUN_MOUNTS,
        Feature.STAGE_MOUNTS,
        Feature.TMPFS_MOUNTS,
        Feature.ADD_HOSTS,
        Feature.ULIMITS,
        Feature.ADD_URL,
        Feature.ANNOTATIONS,
        Feature.LOCAL_CACHE,
        Feature.COMPRESSION,
        Feature.REPRODUCIBLE,
        Feature.SOURCE_DATE_EPOCH,
        Feature.SQUASH,
        Feature.MIRRORS,
        Feature.INSECURE_REGISTRIES,
        Feature.EXPORT_LAYOUT,
        Feature.EXPORT_FILES,
        Feature.PUSH_DIRECTLY,
    }
)
_WITH_RUNTIME: Final = frozenset(
    {
        Feature.RUN_NETWORK,
        Feature.NO_NETWORK,
        Feature.STEP_NETWORK,
        Feature.SHM_SIZE,
        Feature.CGROUP_PARENT,
        Feature.RESOURCES,
    }
)
_OLDEST: Final = (1, 24)


@frozen(kw_only=True)
class Buildah:
    """One installation: its program, where it stores images, how it isolates RUN.

    *storage* are the options that come before the command; *reason* says why RUN is isolated no
    better, *runtime* names the OCI runtime and *usual_runtime* the one buildah would choose.
    """

    program: str
    version: Version
    storage: tuple[str, ...] = ()
    graph_root: Path = field(default=Path("/var/lib/containers/storage"))
    driver: str = "overlay"
    rootless: bool = False
    isolation: Isolation = "chroot"
    runtime: str = ""
    usual_runtime: str = ""
    reason: str = ""

    @property
    def number(self) -> str:
        """The version as text."""
        return ".".join(map(str, self.version))

    def command(self, *words: str) -> tuple[str, ...]:
        """The whole argv of one of its commands."""
        return (self.program, *self.storage, *words)


def features_of(
    version: Version, isolation: Isolation
) -> tuple[frozenset[Feature], Mapping[Feature, str]]:
    """What a buildah of *version* does with RUN isolated so; and why not the rest."""
    found = set(_ALWAYS | _SINCE.keys() | _WITH_RUNTIME)
    notes = dict(_NEVER)
    if isolation == "chroot":
        notes |= dict.fromkeys(_WITH_RUNTIME, _CHROOT)
    elif isolation == "rootless":
        limits = (Feature.CGROUP_PARENT, Feature.RESOURCES)
        notes |= dict.fromkeys(limits, "a user who is not root may not make cgroups")
    for feature, since in _SINCE.items():
        if version < since:
            needed = ".".join(map(str, since))
            notes[feature] = f"that needs buildah {needed}, and this is {_text(version)}"
    return frozenset(found - notes.keys()), notes


def parse_version(text: str) -> Version:
    """The version in what ``buildah --version`` writes; empty when there is none."""
    match = _VERSION.search(text)
    return tuple(int(part) for part in match.groups("0")) if match else ()


def find(
    environment: Environment,
    *,
    root: Path | None = None,
    runroot: Path | None = None,
    driver: str = "",
    isolation: str = "",
) -> Buildah:
    """Look at the installed buildah: three short commands at once.

    Raises `BackendUnavailableError` when it is not installed, too old, or cannot store images
    here, with what to do about it.
    """
    program = environment.which("buildah")
    if program is None:
        raise BackendUnavailableError(
            "buildah is not installed", hint="install the package buildah, or use another backend"
        )
    name = str(program)
    chosen = isolation or environment.variables.get("BUILDAH_ISOLATION", "")
    storage = _storage(root, runroot, driver)
    tried: list[tuple[Isolation, str, str]] = []

    def trial() -> Completed | None:
        tried.append(_try_isolation(chosen, environment))
        return None

    version, info, isolated = ask_all(
        lambda: question((name, "--version"), environment=environment),
        lambda: question((name, *storage, "info"), environment=environment),
        trial,
    )
    number = parse_version(_stdout(version).decode("utf-8", "replace"))
    if number < _OLDEST:
        raise BackendUnavailableError(
            f"buildah {_text(number) or 'of unknown version'} is older than {_text(_OLDEST)}",
            hint="install a newer one",
        )
    facts = _facts(cast("Completed", _answered(info)))
    _answered(isolated)
    how, runtime, reason = tried[0]
    return Buildah(
        program=name,
        version=number,
        storage=storage,
        graph_root=Path(facts.store.root),
        driver=facts.store.driver,
        rootless=facts.host.rootless,
        isolation=how,
        runtime=runtime or facts.host.runtime,
        usual_runtime=facts.host.runtime,
        reason=reason,
    )


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def _answered(answer: T | BackendUnavailableError) -> T:
    if isinstance(answer, BackendUnavailableError):
        raise answer
    return answer


def _storage(root: Path | None, runroot: Path | None, driver: str) -> tuple[str, ...]:
    words: list[str] = []
    if root is not None:
        words += ["--root", str(root)]
    if runroot is not None:
        words += ["--runroot", str(runroot)]
    if driver:
        words += ["--storage-driver", driver]
    return tuple(words)


def _stdout(answer: Completed | BackendUnavailableError | None) -> bytes:
    done = _answered(answer)
    return done.stdout if done is not None else b""


def _facts(info: Completed) -> Info:
    if info.exit_code != 0:
        raise cannot_start(info.evidence)
    try:
        return Info.model_validate_json(info.stdout)
    except ValueError:  # pydantic's is one
        raise BackendUnavailableError(
            "buildah info wrote something that is not understood", evidence=(info.evidence,)
        ) from None


def _try_isolation(chosen: str, environment: Environment) -> tuple[Isolation, str, str]:
    """How RUN is isolated: as *chosen*, else by a runtime that is seen to work, else by chroot."""
    match chosen:
        case "oci" | "rootless" | "chroot":
            return chosen, "", ""
        case "":
            pass
        case _:
            raise BackendUnavailableError(
                f"buildah knows no isolation {chosen!r}", hint="choose oci, rootless or chroot"
            )
    if environment.uid != 0:
        return "chroot", "", "buildah is not run as root"
    reason = "there is neither crun nor runc"
    for runtime in ("crun", "runc"):
        program = environment.which(runtime)
        if program is None:
            continue
        fault = _try_runtime(program, environment)
        if not fault:
            return "oci", runtime, ""
        reason = f"{runtime} does not work here: {fault}"
    return "chroot", "", reason


def _try_runtime(program: Path, environment: Environment) -> str:
    """Run ``true`` in a container made of this machine's own programs; what went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="buildpush-trial-", dir=environment.temporary))
    try:
        (folder / "root").mkdir()
        (folder / "config.json").write_text(json.dumps(_trial_config()))
        argv = (str(program), "--root", str(folder / "state"), "run", "--bundle", str(folder))
        done = question((*argv, folder.name), environment=environment, timeout=_TRIAL_SECONDS)
        tail = done.evidence.tail
        return "" if done.exit_code == 0 else (tail[-1] if tail else f"exit {done.exit_code}")
    except BackendUnavailableError as error:
        return error.message
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _trial_config() -> dict[str, object]:
    shared = [p for p in ("/usr", "/bin", "/sbin", "/lib", "/lib64") if Path(p).is_dir()]
    mounts: list[dict[str, object]] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    for place in shared:
        options = ["rbind", "ro"]
        mounts.append({"destination": place, "type": "bind", "source": place, "options": options})
    process = {
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/true"],
        "env": ["PATH=/usr/bin:/bin"],
        "cwd": "/",
    }
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    return {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": "root"},
        "mounts": mounts,
        "linux": {"namespaces": namespaces},
    }
