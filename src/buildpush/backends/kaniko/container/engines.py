"""Which container engine runs the executor: docker, podman or nerdctl, by its own command."""

from __future__ import annotations

import platform as machine
import socket
import struct
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from attrs import frozen

from ....errors import BackendUnavailableError, SpecError
from ....events import ignore
from ....oci import Platform
from ....runtime import CancelToken, Environment, Run
from ....runtime.platforms import runnable
from ....runtime.process import Completed
from ...engine.command import question
from ...engine.endpoints import Endpoint, current
from ...engine.folder import client_folder

__all__ = ["KINDS", "Engine", "Kind", "addressed", "find"]

Kind = Literal["docker", "podman", "nerdctl"]
KINDS: Final[tuple[Kind, ...]] = ("docker", "podman", "nerdctl")
"""The engines, in the order in which they are looked for."""

_SECONDS: Final = 15.0
_NO_CREDENTIALS: Final = "{}"
_MARKS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))
_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# What each is asked, as lines of NAME=VALUE: a template says less than JSON, and says it alike.
_DOCKER: Final = """\
os={{.OSType}}
architecture={{.Architecture}}
version={{.ServerVersion}}
kernel={{.KernelVersion}}
memory={{.MemoryLimit}}
security={{join .SecurityOptions ","}}"""
_NERDCTL: Final = """\
os={{.OSType}}
architecture={{.Architecture}}
version={{.ServerVersion}}
kernel={{.KernelVersion}}
memory={{.MemoryLimit}}
security={{.SecurityOptions}}"""
_PODMAN: Final = """\
os={{.Host.OS}}
architecture={{.Host.Arch}}
version={{.Version.Version}}
kernel={{.Host.Kernel}}
controllers={{.Host.CgroupControllers}}
remote={{.Host.ServiceIsRemote}}
rootless={{.Host.Security.Rootless}}
selinux={{.Host.Security.SELinuxEnabled}}"""
_QUESTIONS: Final[Mapping[Kind, str]] = {
    "docker": _DOCKER,
    "podman": _PODMAN,
    "nerdctl": _NERDCTL,
}
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@frozen(kw_only=True)
class Engine:
    """A container engine that has answered.

    *near*: it runs under this machine's kernel, and may see this machine's folders; *here*: what
    is in them is certainly the same. *mounts* says why nothing of ours should be mounted all the
    same, empty where it may be: a mount that the container cannot read, or that would need the
    container's protection to be turned off.
    *limits* is whether it can limit memory and CPU. *rootless*: root in a container is who calls.
    """

    kind: Kind
    program: str
    version: str
    platform: Platform
    near: bool
    here: bool = False
    mounts: str = ""
    limits: bool = True
    rootless: bool = False
    endpoint: Endpoint | None = None

    @property
    def name(self) -> str:
        """For people: what it is, and where when that is not this machine."""
        away = self.endpoint is not None and not self.endpoint.host.startswith("unix://")
        place = f" at {self.endpoint.host}" if self.endpoint is not None and away else ""
        return f"{self.kind} {self.version}{place}"

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """Those that its containers can execute programs for."""
        return runnable(self.platform) if self.near else (self.platform,)

    @property
    def address(self) -> tuple[str, ...]:
        """The options that name the engine to a command with the user's own environment."""
        if self.endpoint is None:
            return ()
        if self.endpoint.context:
            return ("--context", self.endpoint.context)
        return ("--host", self.endpoint.host)

    def command(self, *words: str) -> tuple[str, ...]:
        """The whole argv of one of its commands."""
        return (self.program, *words)


def find(
    environment: Environment, *, engine: str = "", context: str = "", host: str = ""
) -> Engine:
    """The engine called *engine*, else the first of `KINDS` that answers.

    *context* and *host* are docker's. Raises `BackendUnavailableError` when none does, with what
    each one said.
    """
    kinds: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind == (engine or kind))
    if not kinds:
        raise SpecError(f"{engine!r} is no container engine", hint=f"choose {', '.join(KINDS)}")
    if (context or host) and not engine:
        kinds = ("docker",)
    refusals: list[BackendUnavailableError] = []
    for kind in kinds:
        try:
            return _look(environment, kind, context=context, host=host)
        except BackendUnavailableError as error:
            refusals.append(error)
    if len(refusals) == 1:
        raise refusals[0]
    raise BackendUnavailableError(
        f"no container engine answers: {'; '.join(error.message for error in refusals)}",
        evidence=tuple(piece for error in refusals for piece in error.evidence),
        hint="install and start docker or podman, or let kaniko run in a cluster",
    )


@contextmanager
def addressed(engine: Engine, run: Run) -> Generator[Mapping[str, str]]:
    """The environment of the engine's commands, while the block runs.

    docker gets a private folder for its configuration, without anybody's credentials.
    """
    with _variables(engine.kind, engine.endpoint, run) as variables:
        yield variables


def in_container(environment: Environment) -> bool:
    """Whether this process is in a container, whose folders an engine does not see as they are."""
    variables = environment.variables
    if variables.get("container") or variables.get("KUBERNETES_SERVICE_HOST"):
        return True
    return any(path.exists() for path in (*_MARKS, _POD))


@contextmanager
def _variables(kind: Kind, endpoint: Endpoint | None, run: Run) -> Generator[Mapping[str, str]]:
    if kind != "docker":
        yield run.environment.variables
        return
    with client_folder(run, config=_NO_CREDENTIALS, endpoint=endpoint) as folder:
        yield folder.variables


def _look(environment: Environment, kind: Kind, *, context: str, host: str) -> Engine:
    program = environment.which(kind)
    if program is None:
        raise BackendUnavailableError(
            f"{kind} is not installed, or not in PATH", hint=f"install {kind}"
        )
    if kind == "docker" and _is_podman(program, environment):
        kind = "podman"
    endpoint = current(environment, context=context, host=host) if kind == "docker" else None
    run = Run(
        workdir=environment.temporary, cancel=CancelToken(), sink=ignore, environment=environment
    )
    with _variables(kind, endpoint, run) as variables:
        argv = (str(program), "info", "--format", _QUESTIONS[kind])
        done = question(argv, environment=environment, env=variables, timeout=_SECONDS)
    facts = _facts(done)
    if done.exit_code != 0 or not facts.get("os") or not facts.get("version"):
        raise _silent(kind, endpoint, done)
    if facts["os"] != "linux":
        raise BackendUnavailableError(
            f"{kind} runs containers of {facts['os']}, and kaniko is a program for linux",
            hint="switch the engine to linux containers",
        )
    return _engine(kind, str(program), facts, endpoint, contained=in_container(environment))


def _is_podman(program: Path, environment: Environment) -> bool:
    """Whether what is called docker is podman, as the package podman-docker has it."""
    if program.resolve().name == "podman":
        return True
    # A script that calls podman is short; the real thing is a large program.
    if program.stat().st_size > 1 << 16:
        return False
    done = question((str(program), "--version"), environment=environment, timeout=_SECONDS)
    return b"podman" in done.stdout.lower()


def _facts(done: Completed) -> Mapping[str, str]:
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {name: value.strip() for name, mark, value in pairs if mark}


def _silent(kind: Kind, endpoint: Endpoint | None, done: Completed) -> BackendUnavailableError:
    said = next((line for line in reversed(done.evidence.tail) if line.strip()), "")
    place = f" at {endpoint.host} ({endpoint.name})" if endpoint is not None else ""
    hint = "start it, or make it usable for this user"
    if "permission denied" in said.lower():
        hint = "may this user use it? (the group docker, or a rootless engine)"
    return BackendUnavailableError(
        f"{kind}{place} does not answer: {said or done.evidence.ending}",
        evidence=(done.evidence,),
        hint=hint,
    )


def _engine(
    kind: Kind,
    program: str,
    facts: Mapping[str, str],
    endpoint: Endpoint | None,
    *,
    contained: bool,
) -> Engine:
    security = facts.get("security", "")
    away = facts.get("remote") == "true" or (
        endpoint is not None and not endpoint.host.startswith("unix://")
    )
    mounts = ""
    if "name=userns" in security:
        mounts = "the engine gives containers other user ids"
    elif "selinux" in security or facts.get("selinux") == "true":
        mounts = "SELinux protects this machine's folders"
    controllers = facts.get("controllers")
    limits = facts.get("memory") == "true" if controllers is None else "memory" in controllers
    architecture = facts.get("architecture", "")
    near = not away and facts.get("kernel") == machine.release()
    rootless = "name=rootless" in security or facts.get("rootless") == "true"
    return Engine(
        kind=kind,
        program=program,
        version=facts["version"],
        platform=Platform.of("linux", _ARCHITECTURES.get(architecture, architecture)),
        near=near,
        here=near and _is_here(endpoint, rootless=rootless, contained=contained),
        mounts=mounts,
        limits=limits,
        rootless=rootless,
        endpoint=endpoint,
    )


def _is_here(endpoint: Endpoint | None, *, rootless: bool, contained: bool) -> bool:
    """Whether the engine's folders are ours, and not those of the machine around our container.

    A command that is its own engine sees what we see. A daemon does where it lives in our mount
    namespace; one that cannot be looked at does unless we are in a container.
    """
    if endpoint is None:
        return True
    process = _listener(Path(endpoint.host.removeprefix("unix://")))
    if process <= 0:
        return False  # it is in none of our process namespaces
    try:
        same = Path(f"/proc/{process}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
    except OSError:
        return not contained
    return same or (rootless and not contained)


def _listener(path: Path) -> int:
    """The process that listens at a socket; 0 where that is outside of our namespace."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.settimeout(_SECONDS)
            client.connect(str(path))
            size = struct.calcsize("3i")
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        except OSError:
            return 0
    process: int = struct.unpack("3i", credentials)[0]
    return process
