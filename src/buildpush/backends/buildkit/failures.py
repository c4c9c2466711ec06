"""What the output of a failed build means: the error, with the lines and the output that show why.

BuildKit tells failures apart by their text alone. Each entry here has been seen; what is not
recognised becomes a `BuildError` in BuildKit's own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Final

from attrs import frozen

from ...dockerfile.faults import evidence_of
from ...dockerfile.instructions import Copy, Instruction, Lines, Run
from ...errors import (
    BackendUnavailableError,
    BuildError,
    BuildpushError,
    CommandEvidence,
    DockerfileError,
    Evidence,
    RegistryError,
    SourceEvidence,
    SpecError,
    UnsupportedFeatureError,
)
from ...plan import BuildRequest
from ...runtime.process import Completed
from ..engine.hints import after_run
from .blame import find_instruction, find_lines, is_excerpt
from .refusals import registry_error
from .vertices import (
    TAIL_LINES,
    Account,
    Vertex,
    exports_cache,
    imported_cache,
    is_cancelled,
)

__all__ = ["PUSHING", "build_error", "cache_error"]

PUSHING: Final = "pushing"
"""How the message of an error begins that came when the image was built already."""

_FIRST_WORDS: Final = re.compile(
    r"(?:ERROR: |error: |failed to build: |failed to solve(?: with frontend \S+)?: "
    r"|failed to create LLB definition: |rpc error: code = \w+ desc = )+"
)
_COMMAND: Final = re.compile(
    r"(?:process (?P<quoted>\"(?:[^\"\\]|\\.)*\") did not complete successfully"
    r"|executor failed running \[(?P<listed>.*?)\]): (?P<why>.*)",
    re.DOTALL,
)
_EXIT: Final = re.compile(r"exit code: (\d+)")
_TOKEN: Final = re.compile(r"failed to authorize|failed to fetch \w+ token")
_FULL: Final = "no space left on device"

_GONE: Final = re.compile(
    r"cannot connect to the docker daemon|error reading from server|closing transport"
    r"|client connection is closing|transport: error while dialing|code = unavailable desc = (?:closing|connection|error|transport)"
    r"|no builder .* found|failed to find driver|no valid drivers found|failed to receive status"
    r"|error during connect|failed to list workers|unexpected EOF|graceful_stop|use of closed",
    re.IGNORECASE,
)


@frozen
class _Failure:
    """All there is to know about one failed build."""

    request: BuildRequest
    account: Account
    completed: Completed
    redact: Callable[[str], str]
    text: str
    vertex: Vertex | None

    # -- evidence -----------------------------------------------------------------------------

    def source(self) -> tuple[SourceEvidence, ...]:
        """The guilty lines, as far as they are known."""
        dockerfile = self.request.dockerfile
        lines = find_lines(dockerfile, self.account.said, self.vertex)
        return (evidence_of(dockerfile, lines),) if lines is not None else ()

    def client(self) -> CommandEvidence:
        """What the client said in the end."""
        said = [line for line in self.account.said if not is_excerpt(line)][-TAIL_LINES:]
        return CommandEvidence(
            argv=self.completed.evidence.argv,
            exit_code=self.completed.exit_code,
            tail=tuple(self.redact(line) for line in said),
        )

    def output(self) -> tuple[str, ...]:
        """The last lines of what failed, else of whatever wrote last."""
        lines = self.vertex.evidence() if self.vertex is not None else ()
        return tuple(self.redact(line) for line in lines)

    def error(
        self,
        kind: type[BuildpushError],
        message: str,
        *,
        hint: str = "",
        evidence: tuple[Evidence, ...] | None = None,
    ) -> BuildpushError:
        """An error of *kind*; its evidence is the lines and what the client said, unless given."""
        if evidence is None:
            evidence = (*self.source(), self.client())
        return kind(self.redact(message), evidence=evidence, hint=hint)


def build_error(
    request: BuildRequest,
    account: Account,
    completed: Completed,
    *,
    redact: Callable[[str], str] = str,
) -> BuildpushError:
    """The error that a build which ended with a failure is to raise.

    *account* is the translator that read the output; *redact* takes secrets out of what is shown.
    """
    text = _last_words(account)
    failure = _Failure(request, account, completed, redact, text, _guilty(account, text))
    for recognise in _RECOGNISERS:
        for found in recognise(failure):
            return found
    if is_cancelled(text):
        text = "the builder cancelled it"
    what = text or f"BuildKit's client ended with exit code {completed.exit_code}"
    hint = ""
    if _FULL in text:
        hint = _TEMPORARY if _OURS in text else _DISK
    return failure.error(BuildError, f"the build failed: {what}", hint=hint)


def cache_error(
    request: BuildRequest, faults: list[tuple[str, str]], *, redact: Callable[[str], str] = str
) -> BuildpushError | None:
    """The error for a cache that had to be read and was not, though the build succeeded; or None.

    *faults* are a translator's ``cache_faults``. BuildKit itself never fails for such a cache.
    """
    for name, said in faults:
        place = imported_cache(name)
        for cache in request.cache_from:
            reference = cache.attributes.get("ref", "")
            same = place in (reference, f"{reference}:latest") or place.startswith(cache.type)
            if cache.required and place and same:
                what = f"the cache {reference or cache.type} could not be read"
                return registry_error(what, redact(said))
    return None


def _last_words(account: Account) -> str:
    """What the client says is wrong, without its own preamble."""
    lines = [line for line in account.said if not line.startswith(("------", " > ", "View build"))]
    errors = [line for line in lines if line.startswith(("ERROR: ", "error: "))]
    last = (errors or lines or [""])[-1]
    return _FIRST_WORDS.sub("", last, count=1).strip()


def _guilty(account: Account, text: str) -> Vertex | None:
    """The vertex that made the build fail: the one whose error the client repeats."""
    failed = [
        vertex
        for vertex in account.vertices
        if vertex.error and not is_cancelled(vertex.error) and not imported_cache(vertex.name)
    ]
    for vertex in failed:
        first = vertex.error.partition("\n")[0]
        if first in text or text in vertex.error:
            return vertex
    return failed[-1] if failed else None


# -- one kind of failure each: what it is, or nothing -----------------------------------------

_OURS: Final = "/buildpush-"  # as every run's folder begins
_TEMPORARY: Final = "free some space in the temporary folder, or set TMPDIR to a larger one"
_DISK: Final = "make room where the builder keeps its data, e.g. docker buildx prune"


def _command(failure: _Failure) -> Iterator[BuildpushError]:
    """A RUN that ended with an exit code, or could not be started."""
    vertex = failure.vertex
    found = _COMMAND.search((vertex.error if vertex is not None else "") or failure.text)
    found = found or _COMMAND.search(failure.text)
    if found is None or vertex is None:
        return
    code = _EXIT.search(found["why"])
    command = _unquoted(found["quoted"]) if found["quoted"] else found["listed"]
    instruction = find_instruction(failure.request.dockerfile, vertex.name)
    what = _shown(instruction, command)
    tail = failure.output()
    if code is None:
        yield _not_started(failure, found["why"], what)
        return
    number = int(code[1])
    step = CommandEvidence(argv=(failure.redact(command),), exit_code=number, tail=tail)
    platforms = " or ".join(map(str, failure.request.platforms)) or "the image's platform"
    hint = after_run(number, tail, room=_DISK, platforms=platforms)
    message = f"RUN failed with exit code {number}: {what}"
    yield failure.error(BuildError, message, hint=hint, evidence=(*failure.source(), step))


def _shown(instruction: Instruction | None, command: str) -> str:
    """One line for what RUN was to do, with variables as they are written."""
    if not isinstance(instruction, Run):
        return command.partition("\n")[0]
    line = " ".join(instruction.command).strip().partition("\n")[0]
    if instruction.heredocs:
        line += f" ({instruction.heredocs[0].content.strip().partition(chr(10))[0]} …)"
    return line


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]  # Go escapes what JSON does not know: shown as it is


def _not_started(failure: _Failure, why: str, what: str) -> BuildpushError:
    hint = ""
    if _FULL in why:
        hint = _DISK
    elif "network" in why:
        hint = "the daemon has no such network: try network: host, or none"
    return failure.error(BuildError, f"RUN could not be executed: {why}: {what}", hint=hint)


def _gone(failure: _Failure) -> Iterator[BuildpushError]:
    """The daemon or the builder went away, or never was there."""
    if _GONE.search(failure.text):
        named = re.search(r"no builder (\S+) found", failure.text)
        yield failure.error(
            BackendUnavailableError,
            f"there is no builder called {named[1]}"
            if named
            else f"the builder is not there, or went away: {failure.text}",
            hint="docker buildx ls lists the builders" if named else "is its daemon running?",
            evidence=(failure.client(),),
        )


def _parse(failure: _Failure) -> Iterator[BuildpushError]:
    """A Dockerfile that this BuildKit's frontend cannot read."""
    found = re.search(r"dockerfile parse error(?: on)? line \d+: (.*)", failure.text, re.DOTALL)
    source = failure.source()
    if found and source:
        newer = re.search(r"unknown flag", found[1], re.IGNORECASE)
        hint = "if a newer BuildKit knows it: add # syntax=docker/dockerfile:1" if newer else ""
        yield failure.error(DockerfileError, found[1], hint=hint, evidence=source)
    elif "file with no instructions" in failure.text or "cannot be empty" in failure.text:
        evidence = evidence_of(failure.request.dockerfile, Lines(first=1, last=1))
        message = "the Dockerfile has no instructions"
        yield failure.error(DockerfileError, message, evidence=(evidence,))


def _registry(failure: _Failure) -> Iterator[BuildpushError]:
    """A registry that refused, or could not be reached: for a base image, a push, a cache."""
    vertex, text = failure.vertex, failure.text
    name = vertex.name if vertex is not None else ""
    pushed = re.match(r"failed to push (\S+): (.*)", text, re.DOTALL)
    resolved = re.search(r"failed to resolve source metadata for (\S+): (.*)", text, re.DOTALL)
    loaded = re.match(
        r"(?:\[[^\]]*\] )?(?:load metadata for|resolve image config for(?: docker-image:/)?|FROM)"
        r"[ /](\S+)",
        name,
    )
    otherwise: type[BuildpushError] = BuildError
    if pushed:
        subject, why = f"{PUSHING} {pushed[1]} failed", pushed[2]
        otherwise = BuildError if _FULL in text else RegistryError
    elif name == "exporting to image" and _TOKEN.search(text):
        references = ", ".join(map(str, failure.request.references))
        subject, why = f"{PUSHING} {references} failed", text
    elif exports_cache(name):
        subject, why = "the cache could not be written", text
    elif resolved:
        subject, why = f"the image {resolved[1]} could not be read", resolved[2]
    elif loaded and vertex is not None:
        subject, why = f"the image {loaded[1]} could not be read", vertex.error
    else:
        return
    evidence: tuple[Evidence, ...] = (*failure.source(), failure.client())
    yield registry_error(
        failure.redact(subject), failure.redact(why), evidence=evidence, otherwise=otherwise
    )


def _secret(failure: _Failure) -> Iterator[BuildpushError]:
    """A secret or an agent that RUN needs and nobody gave."""
    found = re.search(r"secret (\S+?):? not found", failure.text)
    if found:
        message = f"RUN needs the secret {found[1]}, and none was given"
        yield failure.error(BuildError, message, hint=f"give it in secrets, as {found[1]}")
    elif re.search(r"unset ssh forward key|no SSH key .* forwarded", failure.text):
        named = re.search(r"unset ssh forward key (\S+)|no SSH key \"(\S+)\"", failure.text)
        name = ((named[1] or named[2]) if named else "") or "default"
        message = f"RUN needs the SSH agent {name}, and none was given"
        yield failure.error(BuildError, message, hint=f"give it in ssh, as {name}")


def _missing_file(failure: _Failure) -> Iterator[BuildpushError]:
    """COPY or ADD of what is not there."""
    found = re.search(
        r"(?:failed to (?:calculate checksum|compute cache key).*?)\"(?P<a>[^\"]+)\":? not found"
        r"|lstat (?:/\S*?/merged)?(?P<b>/.*?): no such file",
        failure.text,
    )
    if found is None:
        return
    instruction = None
    if failure.vertex is not None:
        instruction = find_instruction(failure.request.dockerfile, failure.vertex.name)
    place = instruction.from_stage if isinstance(instruction, Copy) else ""
    path = found["a"] or found["b"]
    if place:
        message = f"there is no {path} in {place} to copy"
        yield failure.error(BuildError, message, evidence=failure.source() or None)
        return
    message = f"there is no {path.lstrip('/')} in the build context"
    hint = "paths are relative to the context, and .dockerignore may leave files out"
    yield failure.error(BuildError, message, hint=hint, evidence=failure.source() or None)


def _fetched(failure: _Failure) -> Iterator[BuildpushError]:
    """ADD of a URL that cannot be read, or holds something else."""
    text = failure.text
    url = re.search(
        r"Get \"(?P<url>[^\"]+)\": (?P<why>.*)|invalid response status", text, re.DOTALL
    )
    if url:
        what = f"ADD could not fetch {url['url']}: {url['why']}" if url["url"] else f"ADD: {text}"
        yield failure.error(BuildError, what, hint="is it reachable from where the builder runs?")
    elif "digest mismatch" in text:
        message = f"ADD fetched something else than its --checksum says: {text}"
        yield failure.error(BuildError, message)


def _unable(failure: _Failure) -> Iterator[BuildpushError]:
    """What this client, driver or daemon does not do."""
    text = failure.text
    written = re.search(r"failed to create synctarget dest dir (.*?): (.*)", text)
    flag = re.search(r"unknown (?:shorthand )?flag: (?:'\w' in )?(--?[\w-]+)", text)
    allowed = re.search(r"entitlement (\S+) is not allowed|(\S+) is not allowed by build", text)
    if written:
        yield failure.error(SpecError, f"outputs: cannot write {written[1]}: {written[2]}")
    elif flag:
        message = f"this version of BuildKit's client does not know {flag[1]}"
        yield failure.error(UnsupportedFeatureError, message, hint="install a newer buildx")
    elif allowed:
        message = f"the builder does not allow {allowed[1] or allowed[2]}"
        hint = "allow it where the builder is configured (insecure-entitlements)"
        yield failure.error(UnsupportedFeatureError, message, hint=hint)
    elif re.search(r"is not supported for the \S+ driver|not supported by the current", text):
        hint = "use another builder, or turn on the daemon's containerd image store"
        yield failure.error(UnsupportedFeatureError, text, hint=hint)
    elif re.search(r"target stage .* could not be found", text):
        message = f"target: {text}"
        yield failure.error(BuildError, message, hint="see the stages' names after FROM … AS")
    elif text.startswith("failed to get build context"):
        yield failure.error(SpecError, f"build_contexts: {text}", evidence=(failure.client(),))


_RECOGNISERS: Final = (
    _command, _parse, _secret, _missing_file, _registry, _fetched, _unable, _gone,
)  # fmt: skip
