"""What it means when buildah fails: the class, the message and the evidence of each failure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from attrs import evolve

from ...dockerfile.faults import evidence_of
from ...dockerfile.instructions import Lines
from ...errors import (
    AuthError,
    BackendUnavailableError,
    BuildError,
    BuildpushError,
    CommandEvidence,
    DockerfileError,
    Evidence,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
    SourceEvidence,
    SpecError,
)
from ...plan import BuildRequest
from ...runtime.process import Completed
from ..engine.hints import after_run
from .translate import BuildOutput, Step, TransferOutput, message_of

__all__ = [
    "CACHE_NOT_WRITTEN",
    "build_error",
    "cannot_start",
    "lines_of",
    "push_error",
    "was_killed_by_itself",
]

_AT_STEP: Final = re.compile(r'building at STEP "(.*?)": (.*)', re.DOTALL)
_EXIT: Final = re.compile(r"(?:^|: )exit status (\d+)$")
_SIGNAL: Final = re.compile(r"(?:^|: )signal: (.+)$")
_SOURCE: Final = re.compile(r"docker://(\S+?)(?:[:,]? |: |$)")
_INITIALIZING: Final = re.compile(
    r"^(?:creating build container: |pushing image \"[^\"]*\" to \"[^\"]*\": "
    r"|failed pushing cache to \{.*?\}: |trying to reuse blob \S+ at destination: "
    r"|checking whether a blob \S+ exists in \S+: )*"
    r"(?:initializing (?:source|destination) docker://\S+: )?"
)
_OUTPUT: Final = re.compile(r"failed to export build output: [^\"]*\"([^\"]*)\": (.*)")
_CACHE: Final = "failed pushing cache to "
_IGNORED: Final = re.compile(r"no items matching glob \"[^\"]*\" copied \((\d+) filtered out")
_UNGIVEN: Final = re.compile(r"(secret|ssh) required but no \S+ with id (\S+) found")
_HELPER: Final = re.compile(r"(?:^|: )(?:while running runtime: )?signal: killed$")
_LOST: Final = "(Unable to determine exit status)"
_CONTAINER: Final = re.compile(
    r'^(?:resolving mountpoints for container "[0-9a-f]+": '
    r"|committing container for step \{.*?\}: (?=[a-z]))",
    re.DOTALL,
)
_NO_FILE: Final = re.compile(
    r'copier: (?:stat|lstat): ("[^"]*"|\[.*\]): no such file or directory'
)
_NO_PLATFORM: Final = re.compile(r"no image found in (?:image index|manifest list) for ([^\n]*)")
_PARSING: Final = ("unknown instruction", "dockerfile parse error", "only supports the --")

CACHE_NOT_WRITTEN: Final = "the cache could not be written"
"""How the message begins where a build failed for nothing but its cache."""

Class = Callable[..., BuildpushError]

# What a message has in it, in order of meaning → the class and the next move.
_REGISTRY: Final[tuple[tuple[tuple[str, ...], Class, str], ...]] = (
    (
        ("toomanyrequests", "too many requests", "429"),
        RateLimitedError,
        "wait, or log in: registries allow more to those they know",
    ),
    (
        ("unauthorized", "authentication required", "invalid username/password", "status 401"),
        AuthError,
        "give a credential for it in auth, or log in",
    ),
    (
        ("access to the resource is denied", ": denied", "forbidden", "status 403"),
        PermissionDeniedError,
        "ask for access to the repository, or use another credential",
    ),
    (
        ("manifest unknown", "name unknown", "not found", "name_unknown", "status 404"),
        NotFoundError,
        "check the name and the tag",
    ),
    (
        ("server gave http response to https client",),
        RegistryUnavailableError,
        "it speaks plain HTTP: name it in insecure if that is meant",
    ),
    (
        ("x509", "certificate"),
        RegistryUnavailableError,
        "its certificate is not trusted here: install its authority's",
    ),
    (
        (
            "connection refused",
            "no such host",
            "i/o timeout",
            "connection reset",
            "network is unreachable",
            "no route to host",
            "context deadline exceeded",
            "unexpected eof",
            '": eof',
            "server misbehaving",
            "received unexpected http status: 5",
            "pinging container registry",
        ),
        RegistryUnavailableError,
        "is the registry there, and reachable from this machine?",
    ),
)
_MACHINE: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    (
        ("no space left on device", "disk quota exceeded"),
        "the disk is full",
        "free space where buildah stores images (GraphRoot of buildah info), or use another root",
    ),
    (
        ("to file: io: read/write on closed pipe",),
        "a layer could not be written into the temporary folder",
        "is it full? set TMPDIR to a larger folder",
    ),
    (
        ("newuidmap", "newgidmap", "insufficient uids or gids", "no subuid", "no subgid"),
        "this user has no user namespaces of its own",
        "install uidmap, and give the user a range of ids in /etc/subuid and /etc/subgid",
    ),
    (
        ("must be executed as root", "must be run as root", "operation not permitted"),
        "buildah may not do here what it needs",
        "run it as root, or where user namespaces are allowed",
    ),
    (
        ("fuse-overlayfs", "fuse: device not found", "/dev/fuse"),
        "the storage driver overlay needs fuse-overlayfs here, which does not work",
        "install fuse-overlayfs and give access to /dev/fuse, or use the storage driver vfs",
    ),
    (
        ("is not supported over", "backing file system is unsupported", "driver not supported"),
        "the storage driver does not work on this file system",
        "use the storage driver vfs, or a root on another file system",
    ),
    (
        ("database configuration mismatch", "user specified graph driver"),
        "the storage was made with another driver",
        "use that driver, or another root",
    ),
)


def cannot_start(evidence: CommandEvidence) -> BackendUnavailableError:
    """Why ``buildah info`` failed."""
    said = _last_error(evidence.tail)
    for words, message, hint in _MACHINE:
        if _has(said, words):
            return BackendUnavailableError(
                f"buildah cannot work here: {message}", evidence=(evidence,), hint=hint
            )
    return BackendUnavailableError(f"buildah cannot work here: {said}", evidence=(evidence,))


def was_killed_by_itself(output: BuildOutput) -> bool:
    """Whether buildah's own helper was killed while RUN was executed, and not RUN.

    Before 1.31 a helper gets the signal meant for the death of its parent when a thread of the
    parent ends: nothing is wrong with the instruction.
    """
    return bool(_HELPER.search(output.error)) or any(_LOST in line for line in output.tail)


def build_error(
    request: BuildRequest,
    output: BuildOutput,
    completed: Completed,
    redact: Callable[[str], str] = str,
) -> BuildpushError:
    """Why ``buildah build`` failed: the instruction's lines, its last output, what to do.

    *output* has seen everything as it was written; *redact* takes the run's secrets out.
    """
    reason = redact(output.error) or _last_error(completed.evidence.tail)
    match = _AT_STEP.fullmatch(reason)
    if match is not None:
        reason = match[2]
    found = lines_of(request, output.step) if output.step else None
    source = () if found is None else (evidence_of(request.dockerfile, found),)
    command = evolve(completed.evidence, tail=tuple(map(redact, output.tail)))
    evidence: tuple[Evidence, ...] = (*source, command)
    if completed.exit_code < 0:
        return _killed(command, evidence)
    if match is not None and output.step is not None:
        text = redact(output.step.text)
        error = _of_instruction(text, reason, command, source)
        if error is not None:
            return error
    machine = _of_machine(reason, evidence)
    if machine is not None:
        return machine
    unwritten = _OUTPUT.search(reason)
    if unwritten is not None:
        return SpecError(
            f"outputs: cannot write {unwritten[1]}: {unwritten[2]}", evidence=evidence
        )
    if _CACHE in reason:
        return _of_registry(CACHE_NOT_WRITTEN, reason, (command,))
    named = _SOURCE.search(reason)
    if named is not None or "registry" in reason or "/v2/" in reason:
        what = named[1] if named else "a base image"
        return _of_registry(f"{what} cannot be pulled", reason, evidence)
    if _has(reason, _PARSING) and source:
        why = _plainly(reason)
        return DockerfileError(f"buildah cannot read the Dockerfile: {why}", evidence=evidence)
    if match is not None:
        what = match[1].partition("\n")[0]
        return BuildError(f"{what}: {_plainly(reason)}", evidence=evidence)
    return BuildError(f"buildah failed: {_plainly(reason)}", evidence=evidence)


def push_error(
    target: str,
    output: TransferOutput,
    completed: Completed,
    redact: Callable[[str], str] = str,
) -> BuildpushError:
    """Why ``buildah push`` to *target* failed."""
    reason = redact(output.error) or _last_error(completed.evidence.tail)
    evidence = (evolve(completed.evidence, tail=tuple(map(redact, output.tail))),)
    if completed.exit_code < 0:
        return _killed(completed.evidence, evidence)
    machine = _of_machine(reason, evidence)
    if machine is not None:
        return machine
    return _of_registry(f"cannot push to {target}", reason, evidence)


def _killed(command: CommandEvidence, evidence: tuple[Evidence, ...]) -> BuildError:
    """Somebody ended buildah itself: its output says nothing about that."""
    return BuildError(
        f"buildah was {command.ending}",
        evidence=evidence,
        hint="not by buildpush; the kernel does so when memory runs out",
    )


def lines_of(request: BuildRequest, step: Step) -> Lines | None:
    """The lines of the instruction that *step* is, as buildah counts; None when it is unknown.

    Triggers of a base image come first and labels from the request last: neither has lines.
    """
    if step.stage > len(request.dockerfile.stages):
        return None
    stage = request.dockerfile.stages[step.stage - 1]
    if step.number == 1:
        return stage.base.lines
    words = step.text.split()
    index = step.number - 2
    # Triggers were put in front of the stage's own instructions: look from the end.
    extra = step.steps - 1 - len(stage.instructions)
    for shift in dict.fromkeys((0, extra, extra - 1)):
        place = index - shift
        if 0 <= place < len(stage.instructions):
            found = stage.instructions[place]
            if found.text.split()[:1] and _same(found.text, words):
                return found.lines
    return None


def _same(text: str, words: Sequence[str]) -> bool:
    mine = text.split()
    return mine[0].upper() == words[0].upper() and mine[1:2] == list(words[1:2])


def _of_instruction(
    text: str, reason: str, command: CommandEvidence, source: tuple[SourceEvidence, ...]
) -> BuildpushError | None:
    """The failure of one instruction, when its kind is known."""
    exit_code, signal = _EXIT.search(reason), _SIGNAL.search(reason)
    first = text.partition("\n")[0]
    is_run = first.upper().startswith("RUN")
    if is_run and exit_code is not None:
        code = int(exit_code[1])
        ran = evolve(command, argv=(first,), exit_code=code)
        hint = after_run(code, command.tail, room=_MACHINE[0][2])
        return BuildError(f"{first}: exit code {code}", evidence=(*source, ran), hint=hint)
    if is_run and signal is not None:
        return BuildError(f"{first}: ended by signal {signal[1]}", evidence=(*source, command))
    ungiven = _UNGIVEN.search(reason)
    if ungiven is not None:
        what = "secret" if ungiven[1] == "secret" else "SSH agent"
        setting = "secrets" if ungiven[1] == "secret" else "ssh"
        return BuildError(
            f"{first}: it needs the {what} {ungiven[2]}, and none was given",
            evidence=(*source, command),
            hint=f"give it in {setting}, as {ungiven[2]}",
        )
    if _IGNORED.search(reason) is not None:
        return BuildError(
            f"{first}: .dockerignore leaves out everything that it would copy",
            evidence=(*source, command),
            hint="add an exception to .dockerignore: a line that begins with !",
        )
    missing = _NO_FILE.search(reason)
    if missing is not None:
        name = missing[1].strip('"[]')
        return BuildError(
            f"{first}: no such file: {name.lstrip('/')}",
            evidence=(*source, command),
            hint="is it in the build context, and not ignored by .dockerignore?",
        )
    return None


def _plainly(reason: str) -> str:
    """*reason* without what only buildah's authors could read."""
    return _CONTAINER.sub("", reason).partition(" &imagebuilder.")[0]


def _of_machine(reason: str, evidence: tuple[Evidence, ...]) -> BuildpushError | None:
    for words, message, hint in _MACHINE:
        if _has(reason, words):
            return BuildError(f"{message}: {_plainly(reason)}", evidence=evidence, hint=hint)
    return None


def _of_registry(what: str, reason: str, evidence: tuple[Evidence, ...]) -> BuildpushError:
    platform = _NO_PLATFORM.search(reason)
    if platform is not None:
        return NotFoundError(
            f"{what}: it has no image for {platform[1]}",
            evidence=evidence,
            hint="choose a platform that it has, or another base image",
        )
    short = _INITIALIZING.sub("", reason)
    for words, kind, hint in _REGISTRY:
        if _has(reason, words):
            return kind(f"{what}: {short}", evidence=evidence, hint=hint)
    return RegistryError(f"{what}: {short}", evidence=evidence)


def _has(text: str, words: Sequence[str]) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in words)


def _last_error(tail: Sequence[str]) -> str:
    """The last thing of *tail* that reads like an error."""
    for line in reversed(tail):
        if line.startswith("Error: "):
            return line.removeprefix("Error: ")
        level, message = message_of(line)
        if level in ("error", "fatal"):
            return message
    return tail[-1] if tail else "it gave no reason"
