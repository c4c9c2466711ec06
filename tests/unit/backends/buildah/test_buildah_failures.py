"""Which error a failed build by buildah is: what recordings do not happen to show."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from buildpush.auth import Chain
from buildpush.backends.buildah.building import Building
from buildpush.backends.buildah.failures import build_error
from buildpush.backends.buildah.probing import Buildah
from buildpush.backends.buildah.translate import BuildOutput
from buildpush.dockerfile import parse
from buildpush.errors import (
    BuildError,
    BuildpushError,
    CommandEvidence,
    RegistryUnavailableError,
    SpecError,
)
from buildpush.events import ignore
from buildpush.plan import BuildRequest
from buildpush.plan.values import Cache
from buildpush.runtime import CancelToken, Run
from buildpush.runtime.process import Completed


def a_request() -> BuildRequest:
    return BuildRequest(
        context=Path("/src"),
        dockerfile=parse("FROM scratch\n"),
        dockerfile_path=Path("/src/Dockerfile"),
    )


def failed(*lines: str) -> BuildpushError:
    """The error of a build that wrote *lines*: those with an error in them to stderr."""
    output = BuildOutput()
    for line in lines:
        list(output.line("stderr" if line.startswith("Error: ") else "stdout", line, 0.0))
    evidence = CommandEvidence(argv=("buildah",), exit_code=125)
    return build_error(a_request(), output, Completed(exit_code=125, evidence=evidence))


@pytest.mark.parametrize(
    ("step", "printed", "error", "message", "hint"),
    [
        ("RUN foo", "", "while running runtime: exit status 127", "exit code 127", "PATH"),
        ("RUN foo", "", "while running runtime: exit status 137", "exit code 137", "memory"),
        ("RUN x", "Exec format error", "x: exit status 1", "exit code 1", "QEMU"),
        ("RUN x", "cp: No space left on device", "x: exit status 1", "exit code 1", "shm_size"),
        (
            'RUN ["/x"]',
            'unable to start container process: exec: "/x": stat /x: no such file or directory',
            "while running runtime: exit status 1",
            "exit code 1",
            "not in the image",
        ),
        (
            "COPY a /",
            "",
            'no items matching glob "/c/a" copied (1 filtered out using /c/.dockerignore): no',
            ".dockerignore leaves out",
            "exception",
        ),
        (
            "RUN a",
            "",
            "ssh required but no ssh with id k found",
            "needs the SSH agent k",
            "give it in ssh, as k",
        ),
    ],
)
def test_a_step_that_fails_says_what_to_do(
    step: str, printed: str, error: str, message: str, hint: str
) -> None:
    """The same as with the other backends."""
    last = f'Error: building at STEP "{step}": {error}'

    found = failed(f"STEP 1/1: {step}", printed, last)

    assert isinstance(found, BuildError)
    assert message in found.message
    assert hint in found.hint


def test_a_registry_that_breaks_off_is_not_the_dockerfiles_fault() -> None:
    """Buildah does not always say that it was a registry."""
    said = 'parsing image configuration: Get "http://r.io/v2/base/blobs/sha256:1": EOF'

    found = failed(f"Error: creating build container: {said}")

    assert type(found) is RegistryUnavailableError
    assert found.message == f"a base image cannot be pulled: {said}"


def test_a_temporary_folder_that_is_full_is_named() -> None:
    """Buildah only says that its pipe has been closed, and dumps the step."""
    step = "{Env:[PATH=/bin] Command:copy Args:[big /f] Original:COPY big /f}"
    said = 'storing layer "30" to file: io: read/write on closed pipe'

    found = failed(f"Error: committing container for step {step}: {said}")

    message = "a layer could not be written into the temporary folder"
    assert (type(found), found.message) == (BuildError, f"{message}: {said}")
    assert "TMPDIR" in found.hint


def test_a_folder_that_cannot_be_written_is_the_settings_fault() -> None:
    """And not the Dockerfile's."""
    said = 'failed while creating the destination path "/proc/x": mkdir /proc/x: no such file'

    found = failed(f"Error: failed to export build output: {said}")

    assert type(found) is SpecError
    assert found.message == "outputs: cannot write /proc/x: mkdir /proc/x: no such file"


def test_a_cache_that_must_be_read_must_be_in_reach(tmp_path: Path) -> None:
    """Buildah itself would build without it, and say nothing."""
    cache = Cache(type="registry", attributes={"ref": "127.0.0.1:9/cache"}, required=True)
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=ignore)
    building = Building(
        buildah=Buildah(program="/nowhere", version=(1, 28, 2)),
        request=evolve(a_request(), cache_from=(cache,), retries=0),
        keychain=Chain(()),
        run=run,
    )

    with (
        building,
        pytest.raises(RegistryUnavailableError, match=r"the cache 127\.0\.0\.1:9/cache could"),
    ):
        building.artifact()
