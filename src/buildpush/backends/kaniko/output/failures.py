"""What it means when kaniko fails: the class, the message and the evidence of each failure.

The executor ends with RUN's exit code where RUN failed, with 255 where a signal ended RUN, and
with 1 for everything else: only its last words tell failures apart.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from typing import Final

from ....dockerfile.instructions import Add, Copy, Lines
from ....errors import (
    AuthError,
    BuildError,
    BuildpushError,
    DiskFullError,
    DockerfileError,
    Evidence,
    RegistryError,
)
from ....plan import BuildRequest
from ...buildkit.refusals import registry_error
from ...engine.hints import after_run
from ..runner import Ending
from .account import EXIT, NO_ROOM, REMOTE, ROOM, SIGNAL, Failure
from .endings import disk_full, out_of_memory, stopped, unable_to_work, unknown_argument
from .translate import KanikoOutput

__all__ = ["build_error", "require_cache"]


_PREAMBLE: Final = re.compile(
    r"(?:error (?:building|pushing) image: |Error: "
    r"|error checking push permissions(?: -- make sure .*? and try again)?: "
    r"|error building stage: |failed to execute command: |failed to optimize instructions: "
    r"|precompute: (?:failed to optimize stage \d+: )?|failed to get baseImage: "
    r"|unable to complete operation after \d+ attempts, last error: )+"
)
_START: Final = re.compile(r"starting command: (?:fork/exec (\S+)|exec: (\S+)): (.*)", re.DOTALL)
_USER: Final = re.compile(r"credentials: .*?user (\S+) is not a uid")
_MISSING: Final = re.compile(
    r"failed to get fileinfo for (\S+): |copy failed: no source files specified"
    r"|lstat (\S+): no such file or directory|stat (\S+): no such file or directory"
)
_PUSH: Final = re.compile(
    r"failed to push to destination (\S+): |checking push permission for \"([^\"]+)\": "
    r"|creating push check transport for (\S+) failed: "
)
_PARSE: Final = re.compile(
    r"parse error(?: on)? line (\d+): (.*)|^parsing dockerfile: (.*)", re.DOTALL
)
_TARGET: Final = re.compile(r"\"?([^\s\"]+)\"? is not a valid target build stage")
_PLATFORM: Final = re.compile(r"no child with platform (\S+) in index (\S+)")
_FETCH: Final = re.compile(r"downloading remote source file: |(?=Get \"https?://)")
_CACHE: Final = re.compile(r"Error uploading layer to cache: ")
_REALM: Final = re.compile(r"invalid realm in www-authenticate: ([^\n]*)")
_SECRET: Final = re.compile(
    r"secret not defined: (\S+)|failed to read secret file \"[^\"]*\" for \"(\S+)\""
)


def build_error(
    request: BuildRequest,
    output: KanikoOutput,
    ending: Ending,
    redact: Callable[[str], str] = str,
) -> BuildpushError:
    """The error that a run of the executor which failed is to raise.

    *output* has seen everything that it wrote; *redact* takes the run's secrets out.
    """
    text = _PREAMBLE.sub("", output.fatal, count=1)
    failure = Failure(request, output, ending, redact, text)
    for recognise in _RECOGNISERS:
        for found in recognise(failure):
            return found
    if text:
        return failure.error(BuildError, f"kaniko failed: {text}")
    return failure.error(BuildError, f"kaniko ended with exit code {ending.exit_code}")


def require_cache(
    request: BuildRequest,
    output: KanikoOutput,
    ending: Ending,
    redact: Callable[[str], str] = str,
) -> None:
    """Raise where a cache that must be written was not: kaniko itself only warns of it."""
    if not any(cache.required for cache in request.cache_to):
        return
    for warning in output.warnings:
        said = _CACHE.match(warning)
        if said is not None:
            why = warning[said.end() :]
            failure = Failure(request, output, ending, redact, why)
            raise _of_registry(
                failure, "the cache could not be written", why, (failure.command(),), RegistryError
            )


# -- one kind of failure each: what it is, or nothing -----------------------------------------


def _command(failure: Failure) -> Iterator[BuildpushError]:
    """A RUN that ended with an exit code or by a signal, or could not be started."""
    code, ended = EXIT.search(failure.text), SIGNAL.search(failure.text)
    start, user = _START.search(failure.text), _USER.search(failure.text)
    platforms = " or ".join(map(str, failure.request.platforms))
    if code is not None:
        number = int(code[1])
        ran = failure.ran(number)
        hint = after_run(number, ran.tail, room=ROOM, platforms=platforms)
        message = f"{failure.what}: exit code {number}"
        full = any(NO_ROOM.search(line.lower()) for line in ran.tail)
        kind = DiskFullError if full else BuildError
        yield failure.error(kind, message, hint=hint, evidence=(*failure.source(), ran))
    elif ended is not None:
        ran = failure.ran(_number(ended[1], failure.ending.exit_code))
        message = f"{failure.what}: it was ended by a signal: {ended[1].strip()}"
        yield failure.error(BuildError, message, evidence=(*failure.source(), ran))
    elif start is not None:
        program, why = start[1] or start[2], start[3]
        hint = after_run(0, (why,), room=ROOM, platforms=platforms)
        hint = hint or "the program is not in the image, or not in its PATH"
        message = f"{failure.what}: {program} could not be started: {why}"
        yield failure.error(BuildError, message, hint=hint)
    elif user is not None:
        message = f"{failure.what}: there is no user {user[1]} in the image"
        yield failure.error(BuildError, message, hint="add the user, or give its number in USER")


def _parse(failure: Failure) -> Iterator[BuildpushError]:
    """A Dockerfile that kaniko's parser cannot read, or a stage that it does not find."""
    found, target = _PARSE.search(failure.text), _TARGET.search(failure.text)
    if found is not None:
        lines = Lines(first=int(found[1]), last=int(found[1])) if found[1] else None
        why = found[2] or found[3]
        evidence: tuple[Evidence, ...] = failure.source(lines) or (failure.command(),)
        message = f"kaniko cannot read the Dockerfile: {why}"
        hint = "kaniko's parser may be older than this Dockerfile's syntax"
        yield failure.error(DockerfileError, message, hint=hint, evidence=evidence)
    elif target is not None:
        message = f"target: there is no stage called {target[1]}"
        yield failure.error(BuildError, message, hint="see the stages' names after FROM … AS")


def _secret(failure: Failure) -> Iterator[BuildpushError]:
    """A secret that RUN needs and nobody gave."""
    found = _SECRET.search(failure.text)
    if found is not None:
        name = found[1] or found[2]
        message = f"{failure.what}: it needs the secret {name}, and none was given"
        yield failure.error(BuildError, message, hint=f"give it in secrets, as {name}")


def _pushing(failure: Failure) -> Iterator[BuildpushError]:
    """A registry that does not take the image, asked beforehand or when it is pushed."""
    found = _PUSH.search(failure.text)
    if found is None and not failure.output.fatal.startswith("error pushing image"):
        return
    target = "the image"
    if found is not None:
        target = found[1] or found[2] or found[3]
    why = _PUSH.sub("", failure.text)
    yield _of_registry(
        failure, f"cannot push to {target}", why, (failure.command(),), RegistryError
    )


def _realm(failure: Failure) -> Iterator[BuildpushError]:
    """A token service that newer clients of registries do not ask, since it might be a trap."""
    found = _REALM.search(failure.text)
    if found is not None:
        subject = failure.output.pulling or failure.what
        message = f"{subject}: kaniko does not ask the registry's token service: {found[1]}"
        hint = "let the registry name it by a host name and https, or use basic authentication"
        yield failure.error(AuthError, message, hint=hint)


def _pulling(failure: Failure) -> Iterator[BuildpushError]:
    """A base image that is not there, not to be read, or not for this platform."""
    image = failure.output.pulling
    if not REMOTE.search(failure.text) or not image or failure.output.current is not None:
        return
    lines = _lines_of_image(failure, image)
    evidence: tuple[Evidence, ...] = (*failure.source(lines), failure.command())
    platform = _PLATFORM.search(failure.text)
    if platform is not None:
        message = f"{image} has no image for {platform[1]}"
        hint = "choose a platform that it has, or another base image"
        yield failure.error(BuildError, message, hint=hint, evidence=evidence)
        return
    yield _of_registry(failure, f"{image} cannot be pulled", failure.text, evidence, RegistryError)


def _missing_file(failure: Failure) -> Iterator[BuildpushError]:
    """COPY or ADD of what is not there; kaniko looks before it says which instruction it is at."""
    found = _MISSING.search(failure.text)
    if found is None:
        return
    path = found[1] or found[2] or found[3] or ""
    instruction = failure.output.current
    name = path
    for candidate in (instruction, *failure.output.position.upcoming):
        if isinstance(candidate, Copy | Add):
            source = next((s for s in candidate.sources if path.endswith(s.strip("./"))), "")
            if source:
                instruction, name = candidate, source
                break
    what = instruction.text.partition("\n")[0] if instruction is not None else failure.what
    lines = instruction.lines if instruction is not None else None
    message = f"{what}: no such file: {name}" if name else f"{what}: there is no such file"
    hint = "is it in the build context, and not ignored by .dockerignore?"
    if isinstance(instruction, Copy) and instruction.from_stage:
        hint = f"is it in {instruction.from_stage}, which it is copied from?"
    evidence: tuple[Evidence, ...] = (*failure.source(lines), failure.command())
    yield failure.error(BuildError, message, hint=hint, evidence=evidence)


def _fetched(failure: Failure) -> Iterator[BuildpushError]:
    """ADD of a URL that cannot be read."""
    if isinstance(failure.output.current, Add) and _FETCH.search(failure.text):
        why = _FETCH.sub("", failure.text, count=1)
        message = f"{failure.what}: it cannot be fetched: {why}"
        yield failure.error(BuildError, message, hint="is it reachable from where kaniko runs?")


def _elsewhere(failure: Failure) -> Iterator[BuildpushError]:
    """A registry's refusal anywhere else: while a file system is unpacked, or a cache is read."""
    if REMOTE.search(failure.text):
        subject = failure.what if failure.output.current is not None else failure.output.pulling
        evidence: tuple[Evidence, ...] = (*failure.source(), failure.command())
        yield _of_registry(failure, subject or "kaniko", failure.text, evidence, BuildError)


_RECOGNISERS: Final = (
    out_of_memory, stopped, _command, disk_full, unable_to_work, unknown_argument,
    _parse, _secret, _realm, _pushing, _pulling, _missing_file, _fetched, _elsewhere,
)  # fmt: skip


def _of_registry(
    failure: Failure,
    subject: str,
    why: str,
    evidence: tuple[Evidence, ...],
    otherwise: type[BuildpushError],
) -> BuildpushError:
    why = failure.redact(why.partition("\n")[0])
    error = registry_error(failure.redact(subject), why, evidence=evidence, otherwise=otherwise)
    lowered = why.lower()
    if "http response to https" in lowered:
        error.hint = "it speaks plain HTTP: name it in insecure if that is meant"
    elif "x509" in lowered:
        error.hint = "kaniko does not trust its certificate: give it its authority's"
    elif "immutable" in lowered:
        error.hint = "the registry lets nobody change a tag: choose another one"
    elif type(error) is AuthError:
        error.hint = "give a credential for this registry, or a better one"
    return error


def _lines_of_image(failure: Failure, image: str) -> Lines | None:
    """The FROM, or the COPY --from, that names *image*; else one that takes it from an ARG."""
    stages = failure.request.dockerfile.stages
    copies = [
        (instruction.from_stage, instruction.lines)
        for stage in stages
        for instruction in stage.instructions
        if isinstance(instruction, Copy) and instruction.from_stage
    ]
    named = [(stage.base.image, stage.base.lines) for stage in stages] + copies
    exact = [lines for name, lines in named if name == image]
    guesses = [lines for name, lines in named if "$" in name]
    return next(iter(exact + guesses), None)


def _number(said: str, otherwise: int) -> int:
    """The number of a signal in Go's words, negative as an exit code; else *otherwise*."""
    names = {(signal.strsignal(n) or "").lower(): -n for n in signal.valid_signals()}
    return names.get(said.strip(), otherwise)
