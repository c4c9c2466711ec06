"""Which error a failed build is: what recorded streams do not happen to show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.buildkit.blame import find_instruction
from buildpush.backends.buildkit.failures import build_error, cache_error
from buildpush.backends.buildkit.rawjson import RawJson
from buildpush.backends.buildkit.refusals import registry_error
from buildpush.backends.buildkit.wire import read_metadata
from buildpush.dockerfile import parse
from buildpush.errors import (
    AuthError,
    BackendUnavailableError,
    BuildError,
    BuildpushError,
    CommandEvidence,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
    SourceEvidence,
    SpecError,
    UnsupportedFeatureError,
)
from buildpush.oci import Digest, ImageReference, Platform
from buildpush.plan import BuildRequest
from buildpush.plan.values import Cache
from buildpush.runtime import Redactor
from buildpush.runtime.process import Completed

DOCKERFILE = """FROM base AS one
RUN a
FROM other
RUN a
COPY --from=one /x /y
RUN echo $WHO
WORKDIR /w
RUN <<EOF
b
EOF
FROM scratch AS bare
COPY c /
FROM one AS more
ADD d /
"""


def request_for(dockerfile: str = DOCKERFILE, **fields: Any) -> BuildRequest:
    return BuildRequest(
        context=Path("/src"),
        dockerfile=parse(dockerfile),
        dockerfile_path=Path("/src/Dockerfile"),
        **fields,
    )


def failed(*said: str, name: str = "", error: str = "", **fields: Any) -> BuildpushError:
    """The error of a build in which the vertex *name* had *error* and the client *said* so."""
    translator = RawJson()
    if name:
        times = {"started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:01Z"}
        vertex = {"digest": "sha256:1", "name": name, "error": error, **times}
        translator.line("stderr", json.dumps({"vertexes": [vertex]}), 1.0)
    for line in said or (f"ERROR: failed to build: failed to solve: {error}",):
        translator.line("stderr", line, 2.0)
    translator.finish(3.0)
    evidence = CommandEvidence(argv=("docker-buildx", "build"), exit_code=1)
    redact = Redactor()
    redact.learn("hunter2hunter2")
    return build_error(
        request_for(**fields), translator, Completed(exit_code=1, evidence=evidence), redact=redact
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("[one 2/2] RUN a", 2),
        ("[linux/arm64 one 2/2] RUN a", 2),
        ("[stage-1 2/5] RUN a", 4),
        ("[stage-1 3/5] COPY --from=one /x /y", 5),
        ("[stage-1 4/5] RUN echo me", 6),
        ("[stage-1 5/6] WORKDIR /w", 7),
        ("[stage-1 6/6] RUN <<EOF (b)", 8),
        ("[bare 1/1] COPY c /", 12),
        ("[more 1/1] ADD d /", 14),
        ("[node0 linux/arm64 one 2/2] RUN a", 2),
        ("[node0 2/5] RUN a", 4),
        ("[nosuch 1/1] RUN b", None),
        ("[stage-1 9/9] RUN unheard of", None),
        ("exporting to image", None),
    ],
)
def test_a_vertex_stands_for_an_instruction(name: str, line: int | None) -> None:
    """BuildKit counts FROM an image, and what makes a file system."""
    found = find_instruction(parse(DOCKERFILE), name)

    assert (found.lines.first if found is not None else None) == line


def test_secrets_stay_out_of_the_error() -> None:
    """BuildKit's messages have the variables' values in them."""
    process = (
        'process "/bin/sh -c login hunter2hunter2" did not complete successfully: exit code: 1'
    )

    error = failed(name="[2/2] RUN login hunter2hunter2", error=process)

    assert "RUN failed with exit code 1: /bin/sh -c login ***" in error.message
    assert "hunter2" not in error.report()


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            "ERROR: failed to build: failed to solve: Unavailable: closing transport due to: EOF",
            BackendUnavailableError,
            "went away",
        ),
        ('ERROR: no builder "ci" found', BackendUnavailableError, 'no builder called "ci"'),
        ('ERROR: failed to find driver "x"', BackendUnavailableError, "not there"),
        (
            "ERROR: failed to build: Multi-platform build is not supported for the docker driver.",
            UnsupportedFeatureError,
            "Multi-platform build",
        ),
        (
            "unknown flag: --build-context",
            UnsupportedFeatureError,
            "does not know --build-context",
        ),
        ("ERROR: failed to solve: write /x: no space left on device", BuildError, "no space left"),
        (
            "ERROR: failed to solve: failed to create synctarget dest dir /x: mkdir /x: read-only",
            SpecError,
            "outputs: cannot write /x: mkdir /x: read-only",
        ),
        ("ERROR: failed to solve: something new", BuildError, "the build failed: something new"),
        (
            "ERROR: failed to solve: invalid response status 404",
            BuildError,
            "ADD: invalid response status 404",
        ),
    ],
)
def test_what_the_client_says_in_the_end_decides(
    said: str, kind: type[BuildpushError], words: str
) -> None:
    """Where no step failed, or not by itself."""
    error = failed(said)

    assert type(error) is kind
    assert words in error.message


def test_silence_is_a_failure_too() -> None:
    """As when the client was killed."""
    assert failed(" ").message == "the build failed: BuildKit's client ended with exit code 1"


def test_a_command_that_go_quotes_otherwise_is_shown_as_it_is() -> None:
    """JSON knows fewer escapes."""
    process = r'process "printf \a" did not complete successfully: exit code: 1'

    error = failed(name="[2/2] RUN ?", error=process)

    assert error.message == r"RUN failed with exit code 1: printf \a"


def test_a_killed_command_may_have_run_out_of_memory() -> None:
    """Exit code 137 is SIGKILL."""
    process = 'process "/bin/sh -c a" did not complete successfully: exit code: 137'

    assert "memory" in failed(name="[one 2/2] RUN a", error=process).hint


def test_the_hint_names_the_platform_that_cannot_be_executed() -> None:
    """And what to install."""
    translator = RawJson()
    times = {"started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:01Z"}
    process = 'process "/bin/sh -c a" did not complete successfully: exit code: 255'
    vertex = {"digest": "sha256:1", "name": "[one 2/2] RUN a", "error": process, **times}
    log = {
        "vertex": "sha256:1",
        "stream": 1,
        "data": "ZXhlYyAvYmluL3NoOiBleGVjIGZvcm1hdCBlcnJvcgo=",
    }
    translator.line("stderr", json.dumps({"vertexes": [vertex], "logs": [log]}), 1.0)
    translator.finish(2.0)
    evidence = CommandEvidence(argv=("docker-buildx",), exit_code=1)
    request = request_for(platforms=(Platform.parse("linux/arm64"),))

    error = build_error(request, translator, Completed(exit_code=1, evidence=evidence))

    assert "linux/arm64" in error.hint
    assert "binfmt" in error.hint
    source, step = error.evidence
    assert isinstance(source, SourceEvidence)
    assert isinstance(step, CommandEvidence)
    assert (source.first_line, step.exit_code) == (2, 255)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("unexpected status from HEAD request to https://r/v2/: 401 Unauthorized", AuthError),
        (
            "unexpected status from HEAD request to https://r/v2/: 403 Forbidden",
            PermissionDeniedError,
        ),
        ("unexpected status from GET request to https://r/v2/: 404 Not Found", NotFoundError),
        ("unexpected status: 429 Too Many Requests", RateLimitedError),
        ("toomanyrequests: You have reached your pull rate limit", RateLimitedError),
        ("unexpected status: 503 Service Unavailable", RegistryUnavailableError),
        (
            "pull access denied, repository does not exist or may require authorization: denied",
            NotFoundError,
        ),
        ("denied: requested access to the resource is denied", PermissionDeniedError),
        ("failed to fetch oauth token: denied", PermissionDeniedError),
        ("no basic auth credentials", AuthError),
        ("dial tcp: lookup r on 192.0.2.1:53: no such host", RegistryUnavailableError),
        ("net/http: TLS handshake timeout", RegistryUnavailableError),
        ("tls: failed to verify certificate: x509: unknown authority", RegistryUnavailableError),
        ("unexpected status: 413 Request Entity Too Large", RegistryError),
        ("no match for platform in manifest", BuildError),
    ],
)
def test_a_registrys_refusal(said: str, kind: type[BuildpushError]) -> None:
    """The class is the remedy."""
    assert type(registry_error("pushing r/a failed", said)) is kind


@pytest.mark.parametrize(
    ("cache", "fault", "fails"),
    [
        (Cache(type="registry", attributes={"ref": "r.io/c:1"}, required=True), "r.io/c:1", True),
        (
            Cache(type="registry", attributes={"ref": "r.io/c"}, required=True),
            "r.io/c:latest",
            True,
        ),
        (Cache(type="registry", attributes={"ref": "r.io/c:1"}), "r.io/c:1", False),
        (Cache(type="registry", attributes={"ref": "r.io/d:1"}, required=True), "r.io/c:1", False),
        (Cache(type="local", attributes={"src": "/c"}, required=True), "local:123", True),
        (Cache(type="gha", required=True), "gha:scope", True),
    ],
)
def test_a_required_cache_must_be_read(cache: Cache, fault: str, fails: bool) -> None:
    """BuildKit itself goes on without."""
    faults = [(f"importing cache manifest from {fault}", "not found")]

    error = cache_error(request_for(cache_from=(cache,)), faults)

    assert (type(error) is NotFoundError) is fails


def test_the_digest_is_read_from_the_metadata(tmp_path: Path) -> None:
    """And its absence is a failure."""
    path = tmp_path / "metadata"
    path.write_text(json.dumps({"containerimage.digest": "sha256:" + "0" * 64, "else": [1]}))
    empty = tmp_path / "empty"
    empty.write_text("{}")

    assert read_metadata(path) == Digest("sha256:" + "0" * 64)
    for wrong in (empty, tmp_path / "none"):
        with pytest.raises(BuildError, match="did not say what it built"):
            read_metadata(wrong)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("failed to authorize: failed to fetch oauth token: unauthorized", AuthError),
        ("failed to push r.test/app:1: unavailable", RegistryUnavailableError),
        ("failed to push r.test/app:1: unknown: unknown", RegistryError),
        ("failed to push r.test/app:1: write /x: no space left on device", BuildError),
    ],
)
def test_a_push_that_fails_is_not_the_dockerfiles_fault(
    said: str, kind: type[BuildpushError]
) -> None:
    """A password that is refused is told in words that do not name what was pushed."""
    reference = ImageReference.parse("r.test/app:1")

    error = failed(name="exporting to image", error=said, references=(reference,))

    assert type(error) is kind
    assert "pushing r.test/app:1 failed" in error.message


@pytest.mark.parametrize(
    ("place", "hint"), [("/var/lib/x", "prune"), ("/tmp/buildpush-ab/export/x", "TMPDIR")]
)
def test_whose_disk_is_full_is_told_by_the_path(place: str, hint: str) -> None:
    """What is exported comes to this machine; the rest is the builder's."""
    error = failed(f"ERROR: failed to solve: write {place}: no space left on device")

    assert hint in error.hint
