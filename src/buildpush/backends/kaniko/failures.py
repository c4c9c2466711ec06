"""What it means when kaniko fails: the class, the message and the evidence of each failure.

The executor ends with RUN's exit code where RUN failed, with 255 where a signal ended RUN, and
with 1 for everything else: only its last words tell failures apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from attrs import frozen

from ...dockerfile.faults import evidence_of
from ...dockerfile.instructions import Add, Copy, Lines
from ...errors import (
    BackendUnavailableError,
    BuildError,
    BuildpushError,
    CommandEvidence,
    DiskFullError,
    DockerfileError,
    Evidence,
    OutOfMemoryError,
    PlanError,
    RegistryError,
    SourceEvidence,
)
from ...plan import BuildRequest
from ..buildkit.refusals import registry_error
from ..engine.hints import after_run
from .runner import Ending
from .translate import KanikoOutput

__all__ = ["build_error"]

_ROOM: Final = "give the container or the pod more (ephemeral) storage, or build less at once"
_MEMORY: Final = (
    "give it more memory, or let kaniko need less: KanikoOptions(compressed_caching=False),"
    ' and snapshot mode "redo"'
)
_KILLED: Final = 137
_MIB: Final = 1 << 20

_PREAMBLE: Final = re.compile(
    r"(?:error building image: |error pushing image: |error checking push permissions: |Error: "
    r"|error building stage: |failed to execute command: |failed to optimize instructions: "
    r"|precompute: (?:failed to optimize stage \d+: )?|failed to get baseImage: "
    r"|unable to complete operation after \d+ attempts, last error: )+"
)
_EXIT: Final = re.compile(r"waiting for process to exit: exit status (\d+)")
_SIGNAL: Final = re.compile(r"waiting for process to exit: signal: ([a-z ]+)")
_FULL: Final = re.compile(r"no space left on device|disk quota exceeded")
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
_FLAG: Final = re.compile(r"unknown (?:shorthand )?flag: (?:'\w' in )?(-[\w-]+)")
_BAD_FLAG: Final = re.compile(r"invalid argument (\".*?\") for \"(?:-\w, )?(--[\w-]+)\"")
_PARSE: Final = re.compile(
    r"parse error(?: on)? line (\d+): (.*)|^parsing dockerfile: (.*)", re.DOTALL
)
_TARGET: Final = re.compile(r"(\S+) is not a valid target build stage")
_OWN: Final = re.compile(
    r"(?:/kaniko\S*|\s/\S*): (permission denied|operation not permitted|read-only file system)"
)
_REMOTE: Final = re.compile(
    r"\b(?:GET|HEAD|POST|PUT|PATCH) https?://|Get \"https?://|unexpected status code"
    r"|UNAUTHORIZED|DENIED|MANIFEST_UNKNOWN|NAME_UNKNOWN|TOOMANYREQUESTS|dial tcp|x509:"
    r"|no child with platform|reading image \"|unsupported status code"
)
_PLATFORM: Final = re.compile(r"no child with platform (\S+) in index (\S+)")
_FETCH: Final = re.compile(r"(https?://[^\s\"]+)")
_SECRET: Final = re.compile(
    r"secret not defined: (\S+)|failed to read secret file \"[^\"]*\" for \"(\S+)\""
)


@frozen
class _Failure:
    """All there is to know about one failed build."""

    request: BuildRequest
    output: KanikoOutput
    ending: Ending
    redact: Callable[[str], str]
    text: str

    @property
    def what(self) -> str:
        """The instruction under way in one line, as kaniko calls it."""
        return self.output.position.text.partition("\n")[0] or "the build"

    def source(self, lines: Lines | None = None) -> tuple[SourceEvidence, ...]:
        """The guilty lines: *lines*, or those that kaniko was at."""
        found = lines or self.output.lines
        return () if found is None else (evidence_of(self.request.dockerfile, found),)

    def command(self) -> CommandEvidence:
        """What kaniko said in the end."""
        return CommandEvidence(
            argv=self.ending.argv,
            exit_code=self.ending.exit_code,
            tail=tuple(map(self.redact, (*self.output.said, *self.output.fatal.split("\n")))),
        )

    def ran(self, code: int) -> CommandEvidence:
        """What RUN wrote in the end, and how it ended."""
        tail = tuple(map(self.redact, self.output.tail))
        return CommandEvidence(argv=(self.redact(self.what),), exit_code=code, tail=tail)

    def error(
        self,
        kind: type[BuildpushError],
        message: str,
        *,
        hint: str = "",
        evidence: tuple[Evidence, ...] | None = None,
    ) -> BuildpushError:
        """An error of *kind*; its evidence is the lines and what kaniko said, unless given."""
        if evidence is None:
            evidence = (*self.source(), self.command())
        return kind(self.redact(message.partition("\n")[0]), evidence=evidence, hint=hint)


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
    failure = _Failure(request, output, ending, redact, text)
    for recognise in _RECOGNISERS:
        for found in recognise(failure):
            return found
    if text:
        return failure.error(BuildError, f"kaniko failed: {text}")
    return failure.error(BuildError, f"kaniko ended with exit code {ending.exit_code}")


# -- one kind of failure each: what it is, or nothing -----------------------------------------


def _memory(failure: _Failure) -> Iterator[BuildpushError]:
    """Something was killed for want of memory: the executor itself, or a command of RUN."""
    ending, code = failure.ending, _EXIT.search(failure.text)
    signal = _SIGNAL.search(failure.text)
    killed = (signal is not None and signal[1] == "killed") or (
        code is not None and int(code[1]) == _KILLED
    )
    if not killed and ending.cause != "out of memory":
        return
    limit = "" if ending.limit is None else f" of {ending.limit / _MIB:.0f} MiB"
    if ending.cause == "out of memory":
        message = f"{failure.what}: out of memory: the limit{limit} was too little"
        message = message if limit else f"{failure.what}: out of memory"
    else:
        message = f"{failure.what}: it was killed, most likely for want of memory"
    number = int(code[1]) if code is not None else -9
    ran = failure.ran(number) if failure.text else failure.command()
    error = OutOfMemoryError(
        failure.redact(message), evidence=(*failure.source(), ran), hint=_MEMORY
    )
    error.limit = ending.limit
    yield error


def _stopped(failure: _Failure) -> Iterator[BuildpushError]:
    """Somebody ended the executor: it says nothing then, and as PID 1 ends with code 2."""
    code = failure.ending.exit_code
    if failure.text:
        return
    if code in (_KILLED, -9):
        yield failure.error(
            BuildError,
            "kaniko was killed",
            hint="not by buildpush; the kernel does so when memory runs out",
        )
    elif code in (2, 130, 143, -2, -15):
        yield failure.error(
            BuildError,
            "kaniko was stopped by a signal",
            hint="not by buildpush: did somebody stop the container, or a cluster its pod?",
        )


def _command(failure: _Failure) -> Iterator[BuildpushError]:
    """A RUN that ended with an exit code or by a signal, or could not be started."""
    code, signal = _EXIT.search(failure.text), _SIGNAL.search(failure.text)
    start, user = _START.search(failure.text), _USER.search(failure.text)
    platforms = " or ".join(map(str, failure.request.platforms))
    if code is not None:
        number = int(code[1])
        ran = failure.ran(number)
        hint = after_run(number, ran.tail, room=_ROOM, platforms=platforms)
        message = f"{failure.what}: exit code {number}"
        yield failure.error(BuildError, message, hint=hint, evidence=(*failure.source(), ran))
    elif signal is not None:
        ran = failure.ran(failure.ending.exit_code)
        message = f"{failure.what}: ended by signal {signal[1].strip()}"
        yield failure.error(BuildError, message, evidence=(*failure.source(), ran))
    elif start is not None:
        program, why = start[1] or start[2], start[3]
        hint = after_run(0, (why,), room=_ROOM, platforms=platforms)
        hint = hint or "the program is not in the image, or not in its PATH"
        message = f"{failure.what}: {program} could not be started: {why}"
        yield failure.error(BuildError, message, hint=hint)
    elif user is not None:
        message = f"{failure.what}: there is no user {user[1]} in the image"
        yield failure.error(BuildError, message, hint="add the user, or give its number in USER")


def _disk(failure: _Failure) -> Iterator[BuildpushError]:
    """No room where kaniko works: its container's file system, /kaniko, or where it exports to."""
    if _FULL.search(failure.text):
        message = f"{failure.what}: the disk is full: {failure.text}"
        yield failure.error(DiskFullError, message, hint=_ROOM)


def _place(failure: _Failure) -> Iterator[BuildpushError]:
    """Not where kaniko can work: no container, no root, a file system that is read-only."""
    if "should only be run inside of a container" in failure.text:
        yield failure.error(
            BackendUnavailableError,
            "kaniko does not believe that it is in a container, and refuses to work",
            hint="it would overwrite the whole file system: run it by docker, podman or a cluster",
            evidence=(failure.command(),),
        )
        return
    found = _OWN.search(failure.text)
    if found and not _REMOTE.search(failure.text):
        what = f"kaniko may not write where it must: {failure.text}"
        hint = "kaniko needs to be root in its container and to write everywhere there"
        if failure.request.run_as_user is not None:
            hint += f": leave run_as_user ({failure.request.run_as_user}) out"
        elif found[1] == "read-only file system":
            hint += ": no read-only root file system"
        else:
            hint += ": does the pod or the engine run it as another user?"
        yield failure.error(BackendUnavailableError, what, hint=hint)


def _flag(failure: _Failure) -> Iterator[BuildpushError]:
    """An argument that this executor does not know, or does not like."""
    unknown, bad = _FLAG.search(failure.text), _BAD_FLAG.search(failure.text)
    if unknown:
        yield failure.error(
            PlanError,
            f"this executor does not know {unknown[1]}: is it of another flavor or version?",
            hint="name the flavor and the version in the image's tag, or leave that option out",
            evidence=(failure.command(),),
        )
    elif bad:
        message = f"this executor does not accept {bad[1]} for {bad[2]}"
        yield failure.error(PlanError, message, evidence=(failure.command(),))


def _parse(failure: _Failure) -> Iterator[BuildpushError]:
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


def _secret(failure: _Failure) -> Iterator[BuildpushError]:
    """A secret that RUN needs and nobody gave."""
    found = _SECRET.search(failure.text)
    if found is not None:
        name = found[1] or found[2]
        message = f"{failure.what}: it needs the secret {name}, and none was given"
        yield failure.error(BuildError, message, hint=f"give it in secrets, as {name}")


def _pushing(failure: _Failure) -> Iterator[BuildpushError]:
    """A registry that does not take the image, asked beforehand or when it is pushed."""
    found = _PUSH.search(failure.text)
    if found is None and not failure.output.fatal.startswith("error pushing image"):
        return
    target = "the image"
    if found is not None:
        target = found[1] or found[2] or found[3]
    before = failure.output.fatal.startswith("error checking")
    verb = "may not be pushed to" if before else "cannot be pushed to"
    why = failure.text[found.end() :] if found is not None else failure.text
    yield _of_registry(failure, f"{target} {verb}", why, (failure.command(),), RegistryError)


def _pulling(failure: _Failure) -> Iterator[BuildpushError]:
    """A base image that is not there, not to be read, or not for this platform."""
    image = failure.output.pulling
    if not _REMOTE.search(failure.text) or not image or failure.output.current is not None:
        return
    lines = _lines_of_image(failure, image)
    evidence = (*failure.source(lines), failure.command())
    platform = _PLATFORM.search(failure.text)
    if platform is not None:
        message = f"{image} has no image for {platform[1]}"
        hint = "choose a platform that it has, or another base image"
        yield failure.error(BuildError, message, hint=hint, evidence=evidence)
        return
    yield _of_registry(failure, f"{image} cannot be pulled", failure.text, evidence, RegistryError)


def _missing_file(failure: _Failure) -> Iterator[BuildpushError]:
    """COPY or ADD of what is not there; kaniko looks before it says which instruction it is at."""
    found = _MISSING.search(failure.text)
    if found is None:
        return
    path = found[1] or found[2] or found[3] or ""
    instruction = failure.output.current
    for candidate in (instruction, *failure.output.position.upcoming):
        if isinstance(candidate, Copy | Add) and _copies(candidate, path):
            instruction = candidate
            break
    what = instruction.text.partition("\n")[0] if instruction is not None else failure.what
    lines = instruction.lines if instruction is not None else None
    message = f"{what}: no such file: {path}" if path else f"{what}: no file is like that"
    hint = "is it in the build context, and not ignored by .dockerignore?"
    if isinstance(instruction, Copy) and instruction.from_stage:
        hint = f"is it in {instruction.from_stage}?"
    evidence = (*failure.source(lines), failure.command())
    yield failure.error(BuildError, message, hint=hint, evidence=evidence)


def _fetched(failure: _Failure) -> Iterator[BuildpushError]:
    """ADD of a URL that cannot be read."""
    url = _FETCH.search(failure.text)
    instruction = failure.output.current
    if url is not None and isinstance(instruction, Add):
        message = f"{failure.what}: {failure.text}"
        hint = "is it reachable from where kaniko runs?"
        yield failure.error(BuildError, message, hint=hint)


def _elsewhere(failure: _Failure) -> Iterator[BuildpushError]:
    """A registry's refusal anywhere else: while a file system is unpacked, or a cache is read."""
    if _REMOTE.search(failure.text):
        subject = failure.what if failure.output.current is not None else failure.output.pulling
        evidence = (*failure.source(), failure.command())
        yield _of_registry(failure, subject or "kaniko", failure.text, evidence, BuildError)


_RECOGNISERS: Final = (
    _memory, _stopped, _command, _disk, _place, _flag, _parse, _secret, _pushing, _pulling,
    _missing_file, _fetched, _elsewhere,
)  # fmt: skip


def _of_registry(
    failure: _Failure,
    subject: str,
    why: str,
    evidence: tuple[Evidence, ...],
    otherwise: type[BuildpushError],
) -> BuildpushError:
    why = failure.redact(why.partition("\n")[0])
    return registry_error(failure.redact(subject), why, evidence=evidence, otherwise=otherwise)


def _lines_of_image(failure: _Failure, image: str) -> Lines | None:
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


def _copies(instruction: Copy | Add, path: str) -> bool:
    return any(path.endswith(source.strip("./")) for source in instruction.sources)
