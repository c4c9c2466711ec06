"""Where RUN is executed: what this machine allows, and the one call that runs a command in layers.

The work itself is done by the launcher (`launcher/`), a fresh process that this
file tells what to do.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

from attrs import evolve, field, frozen

from ....errors import BackendUnavailableError, BuildError, UnsupportedFeatureError
from ....events import Stream
from ....plan.values import Ulimit
from ....runtime import CancelToken, Environment
from ....runtime.environment import make_private
from .launcher import paths
from .launching import Launch, LayerFile, OnLine, Verdict

__all__ = ["JobMount", "LayerFile", "RunJob", "Rung", "Sandbox"]

HOSTNAME: Final = "buildkitsandbox"
"""What BuildKit calls the machine that a RUN sees."""
_ENOUGH_IDS: Final = 65536
_TAIL_LINES: Final = 20
Range = tuple[int, int, int]
MountKind = Literal["bind", "tmpfs", "cache", "secret", "ssh"]


class Rung(Enum):
    """How far up the ladder of isolation this process may climb; the value says it in words."""

    NAMESPACES = "namespaces, as root"
    ROOTLESS = "namespaces, in a user namespace with subordinate ids"
    CHROOT = "a chroot, without namespaces"
    NONE = "nothing that RUN could be executed in"


def _copy(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return dict(mapping)


@frozen(kw_only=True)
class JobMount:
    """One mount of a RUN.

    *source* is a folder or file of this machine (for ``ssh`` an agent's socket, for ``secret`` a
    file); a bind may show *layers* instead. *subpath* is a path in either. A bind that is not
    *readonly* takes writes and forgets them; a cache keeps them. *mode*, *uid*, *gid* are for
    secrets, sockets, a tmpfs and a cache that is still empty; *size* (bytes) is a tmpfs's.
    """

    kind: MountKind
    target: str
    source: Path | None = None
    layers: tuple[LayerFile, ...] | None = None
    subpath: str = ""
    readonly: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None


@frozen(kw_only=True)
class RunJob:
    """A command and what it sees. *env* may hold secrets: it is in no repr and on no command line.

    *user* is ``name|uid[:group|gid]`` as USER has it, empty for root; *add_hosts* maps names to
    addresses; *shm_size* is in bytes; *source_date_epoch* (seconds since 1970) is the latest
    time that the difference may hold.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(factory=dict[str, str], converter=_copy, repr=False)
    workdir: str = "/"
    user: str = ""
    mounts: tuple[JobMount, ...] = ()
    network: Literal["default", "host", "none"] = "default"
    hostname: str = HOSTNAME
    add_hosts: Mapping[str, str] = field(factory=dict[str, str], converter=_copy)
    shm_size: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    security: Literal["sandbox", "insecure"] = "sandbox"
    source_date_epoch: int | None = None


@frozen(kw_only=True)
class Sandbox:
    """A place to execute RUN in; `probe` finds the best there is.

    *overlay* says whether layers can be stacked without copying; *reason* why it is no better,
    and what would make it so (empty when it is the best).
    """

    rung: Rung
    environment: Environment = field(repr=False)
    overlay: bool = False
    reason: str = ""
    ids: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def probe(cls, environment: Environment, *, cancel: CancelToken | None = None) -> Sandbox:
        """Find the best rung by trying each in turn; `Rung.NONE` when there is none."""
        faults: list[str] = []
        for rung in (Rung.NAMESPACES, Rung.ROOTLESS, Rung.CHROOT):
            found, fault = _try(rung, environment, cancel or CancelToken())
            if found is not None:
                reason = "; ".join([*faults, found.reason] if found.reason else faults)
                return evolve(found, reason=reason)
            faults.append(fault)
        return cls(rung=Rung.NONE, environment=environment, reason="; ".join(faults))

    @classmethod
    def at(
        cls,
        rung: Rung,
        environment: Environment,
        *,
        overlay: bool = True,
        cancel: CancelToken | None = None,
    ) -> Sandbox:
        """Stand on *rung* and no other; without *overlay*, layers are copied even so.

        Raises `BackendUnavailableError` with the reason when it is not to be had.
        """
        found, fault = _try(rung, environment, cancel or CancelToken())
        if found is None:
            raise BackendUnavailableError(fault)
        return evolve(found, overlay=found.overlay and overlay)

    def run(
        self,
        job: RunJob,
        *,
        layers: Sequence[LayerFile],
        layers_root: Path,
        work: Path,
        on_line: OnLine,
        sink: Callable[[bytes], None],
        cancel: CancelToken,
    ) -> int:
        """Run *job* on top of *layers* (lowest first) and return its command's exit code.

        *layers_root* keeps unpacked layers for the next time; *work* is a private folder of the
        same file system, to be removed afterwards with `remove`. *on_line* gets each line of
        output, from two threads. When the code is 0, *sink* gets the difference as an
        uncompressed tar. 127 and 126 mean that the command does not exist or cannot be executed.

        Raises `BuildError` when the root file system cannot be set up, and the reason when
        cancelled; `UnsupportedFeatureError` for what this rung cannot do.
        """
        self._check(job)
        layers_root.mkdir(parents=True, exist_ok=True)
        tail: deque[str] = deque(maxlen=_TAIL_LINES)

        def hear(stream: Stream, line: str) -> None:
            tail.append(line)
            on_line(stream, line)

        mounted = [layer for mount in job.mounts for layer in mount.layers or ()]
        launch = Launch(
            job=self.job("run", work, **encode(job, layers, layers_root)),
            environment=self.environment,
            cancel=cancel,
            layers={str(layer.diff_id): layer for layer in (*layers, *mounted)},
            on_line=hear,
            sink=sink,
            root=_chroot_of(work) if self.rung is Rung.CHROOT else None,
        )
        verdict = launch()
        if verdict.exit_code is None or not verdict.done:
            raise failure(verdict, tail)
        return verdict.exit_code

    def remove(self, path: Path) -> None:
        """Remove the tree at *path*, whoever of the mapped ids owns its files. Follows no link."""
        if self.rung is not Rung.ROOTLESS or paths.lstat(str(path)) is None:
            paths.remove_tree(str(path))
            return
        with tempfile.TemporaryDirectory(dir=self.environment.temporary) as work:
            verdict = Launch(
                job=self.job("remove", Path(work), trees=[str(path.absolute())]),
                environment=self.environment,
                cancel=CancelToken(),
            )()
        if not verdict.done:
            raise failure(verdict, ())

    def _check(self, job: RunJob) -> None:
        if self.rung is Rung.NONE:
            raise UnsupportedFeatureError(f"RUN cannot be executed here: {self.reason}")
        if job.security == "insecure":
            raise UnsupportedFeatureError("RUN --security=insecure is not offered")
        if job.network == "none" and self.rung is Rung.CHROOT:
            raise UnsupportedFeatureError(
                f"RUN --network=none needs namespaces: {self.reason or 'a chroot was asked for'}"
            )

    def job(self, task: str, work: Path, **more: object) -> dict[str, Any]:
        """What the launcher is told about *task* on this rung."""
        return {
            "task": task,
            "rung": self.rung.name.lower(),
            "overlay": self.overlay,
            "ids": self.ids,
            "work": str(work.absolute()),
            **more,
        }


def _chroot_of(work: Path) -> Path:
    """Where the launcher keeps the root of a chroot; see `launcher.main.Session`."""
    return work.resolve() / "sandbox" / "root" / "plain"


def encode(job: RunJob, layers: Sequence[LayerFile], layers_root: Path) -> dict[str, Any]:
    """*job* as the launcher reads it."""
    return {
        "layers": [str(layer.diff_id) for layer in layers],
        "layers_root": str(layers_root.absolute()),
        "argv": list(job.argv),
        "env": dict(job.env),
        "workdir": job.workdir,
        "user": job.user,
        "mounts": [_encode_mount(mount, job.workdir) for mount in job.mounts],
        "network": job.network,
        "hostname": job.hostname,
        "add_hosts": sorted(job.add_hosts.items()),
        "shm_size": job.shm_size,
        "ulimits": [(limit.name, limit.soft, limit.hard) for limit in job.ulimits],
        "latest": job.source_date_epoch,
    }


def _encode_mount(mount: JobMount, workdir: str) -> dict[str, Any]:
    layers = mount.layers
    return {
        "kind": mount.kind,
        "target": mount.target if mount.target.startswith("/") else f"{workdir}/{mount.target}",
        "source": None if mount.source is None else str(mount.source.absolute()),
        "layers": None if layers is None else [str(layer.diff_id) for layer in layers],
        "subpath": mount.subpath,
        "readonly": mount.readonly,
        "mode": mount.mode,
        "uid": mount.uid,
        "gid": mount.gid,
        "size": mount.size,
    }


def failure(verdict: Verdict, tail: Sequence[str] | deque[str]) -> BuildError:
    if verdict.error:
        return BuildError(verdict.error)
    said = f": {' / '.join(tail)}" if tail else ""
    return BuildError(f"the sandbox's launcher ended without an answer{said}")


def _try(rung: Rung, environment: Environment, cancel: CancelToken) -> tuple[Sandbox | None, str]:
    """A sandbox on *rung*, or why there is none."""
    ids: Mapping[str, Any] | None = None
    if rung is Rung.NONE:
        return Sandbox(rung=rung, environment=environment), ""
    if rung is not Rung.ROOTLESS and environment.uid != 0:
        return None, f"not root, so no {rung.name.lower()}"
    if rung is Rung.ROOTLESS:
        ids, fault = subordinate_ids(environment)
        if fault:
            return None, fault
    sandbox = Sandbox(rung=rung, environment=environment, ids=ids)
    place = place_to_try(environment)
    work = Path(tempfile.mkdtemp(prefix="probe-", dir=place))
    try:
        verdict = Launch(
            job=sandbox.job("probe", work),
            environment=environment,
            cancel=cancel,
        )()
    finally:
        paths.remove_tree(str(work))
    if not verdict.done:
        return None, explain(rung, str(failure(verdict, ())))
    reason = str(verdict.answer["reason"])
    noted = f"layers are copied, not stacked: {reason}" if reason else ""
    return evolve(sandbox, overlay=bool(verdict.answer["overlay"]), reason=noted), ""


def place_to_try(environment: Environment) -> Path:
    """A folder to try things in: of the file system that builds will use, if possible."""
    try:
        make_private(environment.cache)
    except OSError:
        return environment.temporary
    # One that is there may yet be somebody else's, or read-only.
    usable = os.access(environment.cache, os.W_OK | os.X_OK)
    return environment.cache if usable else environment.temporary


def explain(rung: Rung, fault: str) -> str:
    match rung:
        case Rung.NAMESPACES:
            return (
                f"no namespaces as root: {fault} (a container gets them with CAP_SYS_ADMIN "
                "and a seccomp profile that permits unshare)"
            )
        case Rung.ROOTLESS:
            return (
                f"no user namespace: {fault} (the kernel settings user.max_user_namespaces and "
                "kernel.apparmor_restrict_unprivileged_userns, or a seccomp profile, may forbid it)"
            )
        case Rung.CHROOT | Rung.NONE:
            return f"no chroot: {fault}"


def subordinate_ids(environment: Environment) -> tuple[Mapping[str, Any] | None, str]:
    """The ids that a user namespace of this user can map, as the launcher takes them; or why not.

    A user gets those of /etc/subuid and /etc/subgid by newuidmap(1); root maps his own.
    """
    if environment.uid == 0:
        own = {name: _own_ids(Path(f"/proc/self/{name}_map")) for name in ("uid", "gid")}
        return own, ""
    programs = {name: environment.which(f"new{name}map") for name in ("uid", "gid")}
    if None in programs.values():
        return None, "no user namespace: newuidmap is missing (install uidmap or shadow-utils)"
    try:
        user = pwd.getpwuid(environment.uid).pw_name
    except KeyError:
        user = ""
    found: dict[str, Any] = {"programs": {name: str(path) for name, path in programs.items()}}
    for name, own_id in (("uid", environment.uid), ("gid", environment.gid)):
        file = Path(f"/etc/sub{name}")
        text = file.read_text("utf-8", "replace") if file.is_file() else ""
        ranges = parse_subordinate(text, user, environment.uid)
        if not ranges:
            return None, (
                f"no user namespace: {user or environment.uid} has no ids in {file} (give "
                f"{_ENOUGH_IDS} of them with: usermod --add-subuids 100000-165535 "
                f"--add-subgids 100000-165535 {user})"
            )
        found[name] = lay_out(own_id, ranges)
    return found, ""


def _own_ids(file: Path) -> list[Range]:
    rows = [line.split() for line in file.read_text("ascii").splitlines()]
    return [(int(row[0]), int(row[0]), int(row[2])) for row in rows]


def parse_subordinate(text: str, user: str, uid: int) -> list[tuple[int, int]]:
    """The (first id, count) pairs that *text*, a file like /etc/subuid, gives *user*; subuid(5)."""
    ranges: list[tuple[int, int]] = []
    for line in text.splitlines():
        name, *numbers = line.strip().split(":")
        if name in (user, str(uid)) and len(numbers) == 2 and all(n.isdigit() for n in numbers):
            ranges.append((int(numbers[0]), int(numbers[1])))
    return ranges


def lay_out(own: int, ranges: Sequence[tuple[int, int]]) -> list[Range]:
    """Map 0 to *own* and the ids from 1 on to *ranges*, one after the other."""
    rows: list[Range] = [(0, own, 1)]
    inside = 1
    for first, count in ranges:
        rows.append((inside, first, count))
        inside += count
    return rows
