"""What kaniko's last words mean where no recording shows it: the error, its hint, its lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from buildpush.backends.kaniko.output.failures import build_error
from buildpush.backends.kaniko.output.translate import KanikoOutput
from buildpush.backends.kaniko.runner import Cause, Ending
from buildpush.dockerfile import parse
from buildpush.errors import (
    AuthError,
    BackendUnavailableError,
    BuildError,
    BuildpushError,
    CommandEvidence,
    DiskFullError,
    DockerfileError,
    NotFoundError,
    OutOfMemoryError,
    PermissionDeniedError,
    PlanError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
    SourceEvidence,
)
from buildpush.plan import BuildRequest

DOCKERFILE = """FROM base:1
RUN make
ADD https://example.com/a.tar /a
COPY one two /x/
COPY --from=other /y /y
"""
STAGE = "error building image: error building stage: "
FAILED = f"{STAGE}failed to execute command: "
X509 = 'failed to get filesystem from image: Get "https://host/v2/": x509: certificate unknown'
EOF = 'Get "https://example.com/a.tar": EOF'
LIMITED = "PUT https://host/v2/: TOOMANYREQUESTS: slow"
ENDED = f"{FAILED}waiting for process to exit: "


def log(message: str) -> str:
    fields = {"level": "info", "msg": message, "time": "2026-01-01T00:00:00Z"}
    return json.dumps(fields, separators=(",", ":"))


START = (log("Building stage 'base:1' [idx: '0', base-idx: '-1']"),)
RUN = (*START, log("RUN make"), log("Running: [/bin/sh -c make]"), "compiling")
ADD = (*START, log("ADD https://example.com/a.tar /a"))
PULL = (log("Retrieving image manifest base:1"),)
PUSH = (log("Pushing image to host/app:1"),)


def failure(
    *lines: str,
    code: int = 1,
    cause: Cause = "",
    limit: int | None = None,
    run_as_user: int | None = None,
    secret: str = "",
) -> BuildpushError:
    """The error for a run that wrote *lines* to stderr."""
    request = BuildRequest(
        context=Path("/src"),
        dockerfile=parse(DOCKERFILE),
        dockerfile_path=Path("/src/Dockerfile"),
        run_as_user=run_as_user,
    )
    output = KanikoOutput(request)
    for line in lines:
        list(output.line("stderr", line, 0.0))
    list(output.finish(1.0))
    ending = Ending(exit_code=code, argv=("docker", "run"), cause=cause, limit=limit)

    def redact(text: str) -> str:
        return text.replace(secret, "***") if secret else text

    return build_error(request, output, ending, redact)


def line_of(error: BuildpushError) -> int:
    return next(e.first_line for e in error.evidence if isinstance(e, SourceEvidence))


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        ((*RUN, f"{ENDED}exit status 7"), BuildError, "RUN make: exit code 7"),
        (
            (*RUN, f"{ENDED}signal: aborted"),
            BuildError,
            "RUN make: it was ended by a signal: aborted",
        ),
        (
            (*RUN, "write: No space left on device", f"{ENDED}exit status 1"),
            DiskFullError,
            "RUN make: exit code 1",
        ),
        (
            (*RUN, f"{ENDED}signal: killed"),
            OutOfMemoryError,
            "RUN make: it was killed, most likely for want of memory",
        ),
        (
            (*PULL, "error building image: no child with platform linux/s390x in index base:1"),
            BuildError,
            "base:1 has no image for linux/s390x",
        ),
        (
            (*ADD, f"{FAILED}downloading remote source file: {EOF}"),
            BuildError,
            f"ADD https://example.com/a.tar /a: it cannot be fetched: {EOF}",
        ),
        (
            ("error building image: parsing dockerfile: file with no instructions",),
            DockerfileError,
            "kaniko cannot read the Dockerfile: file with no instructions",
        ),
        (
            (*START, f'{FAILED}failed to read secret file "/x" for "npm": open /x: no such file'),
            BuildError,
            "the build: it needs the secret npm, and none was given",
        ),
        (
            (*START, f"{STAGE}copy failed: no source files specified"),
            BuildError,
            "the build: there is no such file",
        ),
        (
            (*PULL, *START, f"{STAGE}{X509}"),
            RegistryUnavailableError,
            f"base:1 cannot be pulled: {X509}",
        ),
        (
            (*ADD, f"{STAGE}{LIMITED}"),
            RateLimitedError,
            f"ADD https://example.com/a.tar /a: {LIMITED}",
        ),
        (
            (
                *PUSH,
                "error pushing image: failed to push to destination host/app:1: something new",
            ),
            RegistryError,
            "cannot push to host/app:1: something new",
        ),
        (
            ('Error: required flag(s) "x" not set',),
            BuildError,
            'kaniko failed: required flag(s) "x" not set',
        ),
        (
            ("panic: runtime error", "goroutine 1"),
            BuildError,
            "kaniko failed: panic: runtime error",
        ),
        ((*START,), BuildError, "kaniko ended with exit code 1"),
    ],
)
def test_last_words_mean_this(
    lines: tuple[str, ...], kind: type[BuildpushError], message: str
) -> None:
    """Each kind of failure has a class of its own, and one line says what it is."""
    error = failure(*lines)

    assert type(error) is kind
    assert error.message == message


@pytest.mark.parametrize(
    ("said", "kind", "hint"),
    [
        ("UNAUTHORIZED: authentication required", AuthError, "or a better one"),
        ("DENIED: requested access to the resource is denied", PermissionDeniedError, "access"),
        ("MANIFEST_UNKNOWN: manifest unknown", NotFoundError, "is the name right?"),
        ("unexpected status code 401 Unauthorized", AuthError, "credential"),
        ("http: server gave HTTP response to HTTPS client", RegistryUnavailableError, "insecure"),
        ("x509: certificate has expired", RegistryUnavailableError, "authority's"),
        ("the tag is immutable", RegistryError, "choose another one"),
    ],
)
def test_a_registry_that_refuses_says_what_to_do(
    said: str, kind: type[BuildpushError], hint: str
) -> None:
    """When the image is pushed, and when a base image is pulled."""
    url = 'Get "https://host/v2/": '
    pushed = failure(
        *PUSH, f"error pushing image: failed to push to destination host/app:1: {url}{said}"
    )
    pulled = failure(*PULL, f"error building image: {url}{said}")

    assert [type(pushed), type(pulled)] == [kind, kind]
    assert hint in pushed.hint
    assert pushed.message == f"cannot push to host/app:1: {url}{said}"
    assert pulled.message == f"base:1 cannot be pulled: {url}{said}"
    assert line_of(pulled) == 1


@pytest.mark.parametrize("lines", [RUN, (*RUN, f"{ENDED}exit status 2")])
def test_an_engine_that_knows_of_memory_is_believed(lines: tuple[str, ...]) -> None:
    """Whether everything was killed or a part of what RUN started."""
    error = failure(*lines, code=137, cause="out of memory", limit=512 << 20)

    assert isinstance(error, OutOfMemoryError)
    assert error.limit == 512 << 20
    assert error.message == "RUN make: out of memory, with a limit of 512 MiB"
    assert "compressed_caching=False" in error.hint
    assert line_of(error) == 2
    assert "compiling" in error.report()


def test_an_unknown_limit_is_not_told() -> None:
    """Not every engine says how much it was."""
    error = failure(*PUSH, code=137, cause="out of memory")

    assert error.message == "the push to host/app:1: out of memory"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (137, "kaniko was killed"),
        (2, "kaniko was stopped by a signal"),
        (143, "kaniko was stopped by a signal"),
    ],
)
def test_an_executor_that_was_ended_is_not_the_dockerfiles_fault(code: int, message: str) -> None:
    """It says nothing then; what RUN wrote last is shown."""
    error = failure(*RUN, code=code)

    assert type(error) is BuildError
    assert error.message == message
    assert error.hint.startswith("not by buildpush")
    assert "compiling" in error.report()


@pytest.mark.parametrize(
    ("said", "number", "hint"),
    [
        ("open /kaniko/Dockerfile: permission denied", None, "run it as another user?"),
        ("open /kaniko/Dockerfile: permission denied", 1000, "leave run_as_user (1000) out"),
        ("mkdir /bin: read-only file system", None, "no read-only root file system"),
        ("chown /home: operation not permitted", None, "capabilities"),
    ],
)
def test_kaniko_must_be_root(said: str, number: int | None, hint: str) -> None:
    """The message names the place, the hint what takes the right away."""
    error = failure(f"Error: error resolving dockerfile path: {said}", run_as_user=number)

    assert isinstance(error, BackendUnavailableError)
    assert said in error.message
    assert hint in error.hint


def test_kaniko_must_be_in_a_container() -> None:
    """Anywhere else it would overwrite the machine."""
    error = failure(
        "kaniko should only be run inside of a container, run with the --force flag if you are"
        " sure you want to continue"
    )

    assert isinstance(error, BackendUnavailableError)
    assert "--force" not in error.message + error.hint


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("unknown flag: --frob", "this executor does not know --frob"),
        ("unknown shorthand flag: 'x' in -x", "this executor does not know -x"),
        ('invalid argument "a" for "-d, --destination" flag: no', "does not accept"),
    ],
)
def test_a_flag_of_another_flavor_is_named(said: str, message: str) -> None:
    """It is the plan that is wrong, not the Dockerfile."""
    error = failure(f"Error: {said}")

    assert isinstance(error, PlanError)
    assert message in error.message


@pytest.mark.parametrize(
    ("path", "line", "name", "hint"),
    [
        ("/context/two", 4, "two", ".dockerignore"),
        ("/kaniko/deps/0/y", 5, "/y", "is it in other"),
    ],
)
def test_a_missing_file_is_found_in_its_instruction(
    path: str, line: int, name: str, hint: str
) -> None:
    """Kaniko looks for it before it says which instruction it is at."""
    error = failure(
        *START,
        "error building image: error building stage: failed to get files used from context:"
        f" failed to get fileinfo for {path}: lstat {path}: no such file or directory",
    )

    assert error.message.endswith(f"no such file: {name}")
    assert line_of(error) == line
    assert hint in error.hint


def test_a_signal_is_shown_as_one() -> None:
    """Kaniko itself ends with 255 then."""
    error = failure(*RUN, f"{ENDED}signal: segmentation fault", code=255)

    codes = [e.exit_code for e in error.evidence if isinstance(e, CommandEvidence)]
    assert codes == [-11]


def test_secrets_are_taken_out() -> None:
    """Of the message, of the command and of what it wrote."""
    error = failure(*RUN[:-1], "the token is s3cr3t", f"{ENDED}exit status 1", secret="s3cr3t")
    other = failure(*START, "error building image: s3cr3t is wrong", secret="s3cr3t")

    assert "s3cr3t" not in error.report() + other.report()
    assert "the token is ***" in error.report()
    assert "kaniko failed: *** is wrong" in other.report()
