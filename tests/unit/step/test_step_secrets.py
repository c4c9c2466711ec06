"""Secrets become files that only the run can read."""

import base64
from pathlib import Path

import pytest
from pydantic import SecretStr

from buildpush.auth import Credential, Keychain, StaticKeychain
from buildpush.errors import SpecError
from buildpush.events import TaskLog
from buildpush.oci import Repository
from buildpush.plan import Artifact, BuildRequest, Capabilities, Feature
from buildpush.runtime import CancelToken, Run
from buildpush.spec import FromEnv
from buildpush.step import BuildAndPushStep
from buildpush.step.secrets import find_agents, write_secrets
from buildpush.testing import RecordingSink


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TOKEN", "from-the-environment")
    monkeypatch.chdir(tmp_path)
    workdir = tmp_path / "work"
    workdir.mkdir()
    return Run(workdir=workdir, cancel=CancelToken(), sink=lambda _: None)


def test_each_source_becomes_a_private_file(run: Run, tmp_path: Path) -> None:
    """0600 in a folder 0700, whatever the umask; the bytes are the source's."""
    (tmp_path / "key.bin").write_bytes(b"\x00\xff from a file")

    files = write_secrets(
        {
            "text": SecretStr("from-the-text"),
            "file": Path("key.bin"),
            "../variable": FromEnv("TOKEN"),
        },
        run,
    )

    assert {name: path.read_bytes() for name, path in files.items()} == {
        "text": b"from-the-text",
        "file": b"\x00\xff from a file",
        "../variable": b"from-the-environment",
    }
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert {path.parent for path in files.values()} == {run.workdir / "secrets"}
    assert (run.workdir / "secrets").stat().st_mode & 0o777 == 0o700


def test_every_secret_is_learnt(run: Run) -> None:
    """What a build prints of it is hidden from then on."""
    write_secrets({"a": SecretStr("from-the-text"), "b": FromEnv("TOKEN")}, run)

    assert run.redact("from-the-text from-the-environment") == "*** ***"


def test_no_secrets_make_no_folder(run: Run) -> None:
    """Nothing is written where nothing is needed."""
    assert write_secrets({}, run) == {}
    assert list(run.workdir.iterdir()) == []


@pytest.mark.parametrize("source", [FromEnv("NOT_SET_ANYWHERE"), Path("no-such-file"), Path()])
def test_a_source_that_is_not_there_names_the_secret(source: FromEnv | Path, run: Run) -> None:
    """The reader learns which secret, and where it was looked for."""
    with pytest.raises(SpecError, match=r"secrets\.npm"):
        write_secrets({"npm": source}, run)


def test_agents_are_found_by_variable_or_path(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path, or the variable that holds it."""
    (tmp_path / "agent").write_text("")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    fresh = Run(workdir=run.workdir, cancel=run.cancel, sink=run.sink)

    found = find_agents({"default": FromEnv("SSH_AUTH_SOCK"), "other": Path("agent")}, fresh)

    assert found == {"default": tmp_path / "agent", "other": tmp_path / "agent"}


@pytest.mark.parametrize("source", [FromEnv("NOT_SET_ANYWHERE"), Path("no-such-socket")])
def test_a_missing_agent_is_said_before_the_build(source: FromEnv | Path, run: Run) -> None:
    """A private repository that cannot be cloned is better known at once."""
    with pytest.raises(SpecError, match=r"ssh\.default"):
        find_agents({"default": source}, run)


class Talkative:
    """A backend that prints the credential it was given, as an engine's debug log might."""

    def probe(self) -> Capabilities:
        return Capabilities(
            backend="talkative", version="1", features=frozenset({Feature.EXPORT_LAYOUT})
        )

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        found = keychain.resolve(Repository.parse("r.io/base"), "pull")
        assert found is not None
        pair = base64.b64encode(f"{found.username}:{found.password}".encode()).decode()
        for line in (found.password, found.identity_token, found.registry_token, pair):
            run.emit(TaskLog(at=0, task="t", stream="stdout", line=f"used {line}"))
        raise SpecError("enough")


def test_whatever_a_keychain_tells_a_backend_is_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the backend hands it to an engine, and buildpush never logs in with it."""
    monkeypatch.setenv("BUILDPUSH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    credential = Credential(
        username="me",
        password="canary-one",
        identity_token="canary-two",
        registry_token="canary-three",
    )
    sink = RecordingSink()
    step = BuildAndPushStep(
        repo="r.io/app",
        context=tmp_path,
        backend=Talkative(),
        auth=[StaticKeychain(prefix="r.io", credential=credential)],
        skip_preflight=True,
    )

    with pytest.raises(SpecError, match="enough"):
        step.run(on_event=sink)

    said = [event.line for event in sink.events if isinstance(event, TaskLog)]
    assert said == ["used ***"] * 4
