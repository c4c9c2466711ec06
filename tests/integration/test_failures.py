"""Each failure raises the class that says what to fix, and shows its evidence."""

import re
import socket
from pathlib import Path
from typing import Protocol

import pytest

from buildpush import BuildAndPushStep, Credential, StaticKeychain
from buildpush.errors import (
    AuthError,
    BuildError,
    BuildpushError,
    DigestMismatchError,
    DockerfileError,
    HttpEvidence,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryUnavailableError,
    SourceEvidence,
)
from buildpush.testing import LocalRegistry
from buildpush.testing.faults import Fault, FlipByte, Reset, Status, Truncate


class PushableImage(Protocol):
    def push(self, host: str, repository: str, tag: str) -> str: ...


PASSWORD = "c4nary-p4ssword"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_text("hello\n")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
    return folder


@pytest.fixture
def base(local_registry: LocalRegistry, busybox_base: PushableImage) -> str:
    """A base image in the registry, by its reference."""
    return busybox_base.push(local_registry.host, "base/busybox", "1")


def push_to(registry: LocalRegistry, context: Path, **settings: object) -> None:
    BuildAndPushStep.parse(
        {
            "repo": registry.reference("acme/app"),
            "context": context,
            "retries": 0,
            "backend": "native",
            **settings,
        }
    ).run()


def login(registry: LocalRegistry, password: str = PASSWORD) -> StaticKeychain:
    credential = Credential(username="ci", password=password)
    return StaticKeychain(prefix=registry.host, credential=credential)


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_no_credential_is_an_auth_error(auth: str, context: Path) -> None:
    """The reader learns for which repository, and how to give one."""
    with (
        LocalRegistry(auth=auth, users={"ci": PASSWORD}) as registry,  # type: ignore[arg-type]
        pytest.raises(AuthError) as caught,
    ):
        push_to(registry, context)

    assert "acme/app" in caught.value.message
    assert "credential" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_a_refused_credential_is_an_auth_error(auth: str, context: Path) -> None:
    """The reader learns where the refused credential came from; the password stays hidden."""
    with (
        LocalRegistry(auth=auth, users={"ci": "another"}) as registry,  # type: ignore[arg-type]
        pytest.raises(AuthError) as caught,
    ):
        push_to(registry, context, auth=[login(registry)])

    assert "refused" in caught.value.message
    assert "argument" in caught.value.message
    assert PASSWORD not in caught.value.report()


def test_a_missing_right_is_permission_denied(context: Path) -> None:
    """Somebody who may pull, but not push, is told so."""
    permissions = {"ci": {("acme", "pull")}}
    with (
        LocalRegistry(auth="basic", users={"ci": PASSWORD}, permissions=permissions) as registry,
        pytest.raises(PermissionDeniedError) as caught,
    ):
        push_to(registry, context, auth=[login(registry)])

    evidence = caught.value.evidence[0]
    assert isinstance(evidence, HttpEvidence)
    assert (evidence.status, evidence.codes) == (403, ("DENIED",))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Status(500), RegistryUnavailableError),
        (Status(503), RegistryUnavailableError),
        (Status(429), RateLimitedError),
        (Reset(), RegistryUnavailableError),
        (Status(403), PermissionDeniedError),
        (Status(401), AuthError),
    ],
)
@pytest.mark.parametrize("path", ["/blobs/uploads/", "/manifests/"])
def test_a_broken_push_says_what_to_do(
    fault: Status | Reset, expected: type[BuildpushError], path: str, context: Path
) -> None:
    """Wherever the push breaks, the class is right and no tag is left."""
    with LocalRegistry() as registry:
        registry.inject(Fault(fault, method="POST|PUT", path=path, times=None))

        with pytest.raises(expected) as caught:
            push_to(registry, context)

        assert registry.tags("acme/app") == ()
    assert isinstance(caught.value, expected)


def test_a_refused_connection_names_host_and_port(context: Path) -> None:
    """A registry that is down is something to try again later."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"

    with pytest.raises(RegistryUnavailableError, match=re.escape(host)) as caught:
        BuildAndPushStep(repo=f"{host}/acme/app", context=context, retries=0).run()

    assert caught.value.retryable


def test_a_missing_base_image_is_not_found(context: Path, local_registry: LocalRegistry) -> None:
    """The base image's name is in the message, and the Dockerfile's line in the evidence."""
    base = local_registry.reference("no/such:1")
    (context / "Dockerfile").write_text(f"# a comment\nFROM {base}\n")

    with pytest.raises(NotFoundError, match=re.escape(base)) as caught:
        push_to(local_registry, context)

    source = next(e for e in caught.value.evidence if isinstance(e, SourceEvidence))
    assert source.first_line == 2


@pytest.mark.parametrize(
    ("action", "expected"),
    [(FlipByte(at=100), DigestMismatchError), (Truncate(after=100), RegistryUnavailableError)],
)
def test_a_damaged_base_layer_is_noticed(
    action: FlipByte | Truncate,
    expected: type[BuildpushError],
    context: Path,
    local_registry: LocalRegistry,
    base: str,
) -> None:
    """Wrong bytes and a broken connection are two different things, and neither is kept."""
    (context / "Dockerfile").write_text(f"FROM {base}\nCOPY file /dir/\n")
    fault = local_registry.inject(Fault(action, method="GET", path="/blobs/", times=None))

    with pytest.raises(expected) as caught:
        push_to(local_registry, context)

    assert fault.fired
    assert isinstance(caught.value, expected)
    fault.release()


def test_a_damaged_base_layer_is_not_remembered(
    context: Path, local_registry: LocalRegistry, base: str
) -> None:
    """When the registry is well again, so is the build."""
    (context / "Dockerfile").write_text(f"FROM {base}\nCOPY file /dir/\n")
    local_registry.inject(Fault(FlipByte(at=100), method="GET", path="/blobs/"))
    with pytest.raises(DigestMismatchError):
        push_to(local_registry, context)

    push_to(local_registry, context)

    assert local_registry.tags("acme/app") == ("latest",)


def test_a_bad_dockerfile_names_file_and_line(
    context: Path, local_registry: LocalRegistry
) -> None:
    """Nothing runs, nothing is asked of the registry."""
    (context / "Dockerfile").write_text("FROM scratch\nLABEL a=1\nCOPPY file /\n")

    with pytest.raises(DockerfileError) as caught:
        push_to(local_registry, context)

    assert "Dockerfile:3" in caught.value.report()
    assert ">    3 | COPPY file /" in caught.value.report()
    assert local_registry.requests == ()


def test_a_missing_file_names_the_copy(context: Path, local_registry: LocalRegistry) -> None:
    """The error shows the line that wants the file."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")

    with pytest.raises(BuildError, match="nothing") as caught:
        push_to(local_registry, context)

    assert ">    2 | COPY nothing /" in caught.value.report()


@pytest.mark.needs_root
def test_a_failing_run_shows_lines_code_and_output(
    context: Path,
    local_registry: LocalRegistry,
    base: str,
) -> None:
    """What a person needs at night is on one page."""
    (context / "Dockerfile").write_text(
        f"FROM {base}\nRUN echo MARK-1 \\\n && echo MARK-2 >&2 \\\n && exit 7\nUSER 1\n"
    )

    with pytest.raises(BuildError) as caught:
        push_to(local_registry, context)

    report = caught.value.report()
    assert "exit code 7" in caught.value.message
    assert ">    2 | RUN echo MARK-1 \\" in report
    assert ">    4 |  && exit 7" in report
    assert "     5 | USER 1" in report
    # Two pipes: which of the lines was read first is nobody's promise.
    assert {"  MARK-1", "  MARK-2"} <= set(report.splitlines())
    assert local_registry.tags("acme/app") == ()
