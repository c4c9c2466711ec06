"""How a container for the executor is made: its options, its folders, and what goes in. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from attrs import evolve, frozen

from ....oci.tar import END, Entry, pack, padding
from ....plan import BuildRequest
from ..runner import Command, Execution, Places

__all__ = [
    "EXECUTOR",
    "LABELS",
    "OUT",
    "PREFIX",
    "PRIVATE",
    "ROOT",
    "STREAM",
    "Shape",
    "compressed",
    "environment_of",
    "handed_over",
    "options",
    "places",
    "told",
]

EXECUTOR: Final = "/kaniko/executor"
ROOT: Final = PurePosixPath("/kaniko/buildpush")
PRIVATE: Final = ROOT / "private"
CONTEXT: Final = ROOT / "context"
OUT: Final = ROOT / "out"
LAYOUT: Final = OUT / "layout"
DIGEST: Final = OUT / "digest"
MANAGED: Final = "app.kubernetes.io/managed-by"
RUN: Final = "buildpush.dev/run"
CREATED: Final = "buildpush.dev/created"
LABELS: Final[Mapping[str, str]] = {MANAGED: "buildpush"}
"""What every container of ours has, beside `RUN` and `CREATED`."""

PREFIX: Final = "buildpush-kaniko-"
"""What the name of every container of ours begins with."""
STREAM: Final = "tar://stdin"
_STORED: Final = 0
_FASTEST: Final = 1
# What the engine's own command takes from its environment: never a build arg's value.
_TAKEN: Final = re.compile(
    r"(PATH|HOME|USER|TMPDIR|LANG|.*_PROXY"
    r"|(DOCKER|BUILDX|BUILDKIT|CONTAINERS?|CONTAINERD|PODMAN|NERDCTL|STORAGE|REGISTRY|XDG|DBUS|LD"
    r"|SSL|GO|SSH|LC|NO|OTEL)(_.*)?|GO.*)",
    re.IGNORECASE,
)


@frozen(kw_only=True)
class Shape:
    """One container: its *name*, *labels* and *network*, and the folders here that are mounted.

    *context* is None where it is streamed; *private* and *out* are None where what is in them is
    copied. *layout* is whether the executor is to leave one.
    """

    name: str
    labels: Mapping[str, str]
    network: str = ""
    private: Path | None = None
    out: Path | None = None
    context: Path | None = None
    layout: bool = False


def places(shape: Shape) -> Places:
    """Where the executor finds everything."""
    return Places(
        context=STREAM if shape.context is None else f"dir://{CONTEXT}",
        private=PRIVATE,
        digest=DIGEST,
        layout=LAYOUT if shape.layout else None,
    )


def told(execution: Execution, places: Places) -> Command:
    """What the executor is told, and where its credentials are."""
    command = execution.command(places)
    variables = {"DOCKER_CONFIG": str(places.private), **command.variables}
    return evolve(command, variables=variables)


def options(
    shape: Shape, image: str, command: Command, request: BuildRequest, kind: str
) -> tuple[str, ...]:
    """What follows ``create`` or ``run``: options, image, and the executor's arguments."""
    words = ["--name", shape.name]
    for name, value in shape.labels.items():
        words += ["--label", f"{name}={value}"]
    if kind != "nerdctl":
        # What RUN prints may be a secret, and is passed on as it comes.
        words += ["--log-driver", "none"]
    if kind == "podman":
        words += ["--stop-timeout", "0"]
    words += ["--pull", "never", "--entrypoint", EXECUTOR]
    if shape.context is None:
        words.append("--interactive")
    words += _mounts(shape)
    if shape.network:
        words += ["--network", shape.network]
    words += _limits(request)
    words += _environment(command, request)
    return (*words, image, *command.words)


def _mounts(shape: Shape) -> Iterator[str]:
    folders = (
        (shape.private, PRIVATE, ",readonly"),
        (shape.out, OUT, ""),
        (shape.context, CONTEXT, ",readonly"),
    )
    for source, target, more in folders:
        if source is not None:
            # Not --volume: that makes a folder where there is none, an empty one.
            yield "--mount"
            yield f"type=bind,{_field(f'source={source}')},target={target}{more}"


def _field(text: str) -> str:
    """One field of a line of CSV (RFC 4180), which is what the option takes."""
    if not {",", '"', "\n"} & set(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _limits(request: BuildRequest) -> Iterator[str]:
    for name, address in request.add_hosts.items():
        yield from ("--add-host", f"{name}:{address}")
    if request.shm_size is not None:
        yield from ("--shm-size", str(request.shm_size))
    for limit in request.ulimits:
        yield from ("--ulimit", str(limit))
    if request.cgroup_parent is not None:
        yield from ("--cgroup-parent", request.cgroup_parent)
    if request.limits.memory is not None:
        yield from ("--memory", str(request.limits.memory))
    if request.limits.cpus is not None:
        yield from ("--cpus", f"{request.limits.cpus:g}")
    if request.run_as_user is not None:
        yield from ("--user", str(request.run_as_user))


def _environment(command: Command, request: BuildRequest) -> Iterator[str]:
    for name, value in command.variables.items():
        yield "--env"
        yield name if _by_name(name, request) else f"{name}={value}"


def environment_of(command: Command, request: BuildRequest) -> Mapping[str, str]:
    """What the engine's command needs in its own environment: values that no argv should show."""
    return {n: v for n, v in command.variables.items() if _by_name(n, request)}


def _by_name(name: str, request: BuildRequest) -> bool:
    return name in request.build_args and not _TAKEN.fullmatch(name)


def handed_over(files: Mapping[str, bytes], *, owner: int, layout: bool) -> Iterator[bytes]:
    """A tar for ``cp - NAME:/kaniko``: private files, and the folders that the executor fills."""
    base = PurePosixPath(ROOT.name)
    folders = {base: 0o755, base / PRIVATE.name: 0o700, base / OUT.name: 0o755}
    if layout:
        folders[base / OUT.name / LAYOUT.name] = 0o755
    for name in files:
        for above in reversed(PurePosixPath(name).parents[:-1]):
            folders[base / PRIVATE.name / above] = 0o700
    for path, mode in folders.items():
        yield pack(Entry(name=str(path), kind="dir", mode=mode, uid=owner))
    for name, data in files.items():
        path = base / PRIVATE.name / name
        entry = Entry(name=str(path), kind="file", mode=0o600, uid=owner, size=len(data))
        yield pack(entry) + data + padding(len(data))
    yield END


def compressed(pieces: Iterable[bytes], *, near: bool) -> Iterator[bytes]:
    """*pieces* as gzip, which is all that the executor reads.

    On this machine nothing is made smaller: reading it back would take longer than it saves.
    """
    packer = zlib.compressobj(_STORED if near else _FASTEST, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for piece in pieces:
        ready = packer.compress(piece)
        if ready:
            yield ready
    yield packer.flush()
