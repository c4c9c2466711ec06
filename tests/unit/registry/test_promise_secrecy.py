"""What is promised of secrets that files and helpers hold: nobody sees them."""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

import buildpush
from buildpush import BuildAndPushStep
from buildpush.auth import Access, Keychain
from buildpush.auth.files import DockerConfigKeychain, ambient
from buildpush.errors import AuthError, BuildpushError
from buildpush.oci import Repository
from buildpush.runtime import Environment
from buildpush.testing import LocalRegistry, RecordingSink
from buildpush.testing.canaries import find_secrets

CANARY = "c4n4ry-of-a-password"


def entry(user: str, word: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{word}".encode()).decode()}


def home_file(document: object, name: str = ".docker/config.json") -> Path:
    path = Path(os.environ["HOME"], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def signed_in() -> Keychain:
    return ambient(Environment.current(), pytest.fail)


def helper(folder: Path, name: str, script: str) -> Path:
    """Install a credential helper that notes how it was started; the file with its notes."""
    program = folder / "bin" / f"docker-credential-{name}"
    program.parent.mkdir(exist_ok=True)
    notes = folder / f"{name}.notes"
    program.write_text(f'#!/bin/sh\nread server\necho "$0 $* <$server" >>{notes}\n{script}\n')
    program.chmod(0o755)
    return notes


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose bin is on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def answer(user: str, secret: str) -> str:
    return f"echo '{json.dumps({'ServerURL': 'x', 'Username': user, 'Secret': secret})}'"


class _Whole(logging.Handler):
    """Keeps every record of every logger, with its arguments."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {record.args!r} {record.exc_text or ''}")


@pytest.fixture
def whole() -> Iterator[_Whole]:
    """Everything that anybody logs, at DEBUG."""
    handler, root = _Whole(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


KINDS = ["auth", "username", "identitytoken", "registrytoken", "helper", "token helper"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("right", [True, False])
def test_no_kind_of_credential_is_seen_anywhere(
    path: Path,
    whole: _Whole,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    right: bool,
) -> None:
    """On success and when it is refused: no log, event, repr, error, pickle, argument or file."""
    (path / "context").mkdir()
    (path / "context" / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    sink = RecordingSink()
    shown: list[str | bytes] = []
    with LocalRegistry(auth="token", users={"ci": CANARY if right else "other"}) as registry:
        secret, document, notes = _arranged(kind, right, registry, path)
        home_file(document)
        step = BuildAndPushStep(
            repo=f"{registry.host}/app", context=path / "context", backend="native", retries=0
        )
        accesses: tuple[Access, ...] = ("pull", "push")
        for access in accesses:
            explanation = buildpush.explain(f"{registry.host}/app", access)
            shown += [repr(explanation), explanation.render(), pickle.dumps(explanation)]
        shown += _outcome(step, sink)
        assert registry.tags("app") == (("latest",) if "pushed" in shown else ())
        keychain = signed_in()
        credential = keychain.resolve(Repository(registry.host, "app"), "push")
        shown += [repr(keychain), repr(credential), repr(step), repr(sink.events)]

    works = right and kind != "registrytoken"
    assert ("pushed" in shown, "failed" in shown) == (works, not works)
    out, err = capfd.readouterr()
    started = notes.read_text() if notes is not None else ""
    logs = Environment.current().cache
    assert list(logs.rglob("*.log*")) and whole.lines
    assert find_secrets([secret], *shown, *whole.lines, out, err, started, logs) == ()


def _outcome(step: BuildAndPushStep, sink: RecordingSink) -> list[str | bytes]:
    """What can be seen of a run. This function's own frame, which is seen too, has no secret."""
    try:
        result = step.run(on_event=sink)
    except BuildpushError as error:
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        lines = "".join(trace.format())
        return ["failed", error.report(), repr(error), pickle.dumps(error), lines]
    return ["pushed", repr(result), pickle.dumps(result)]


def _arranged(
    kind: str, right: bool, registry: LocalRegistry, folder: Path
) -> tuple[str, object, Path | None]:
    """The secret, the config file that holds or finds it, and the notes of its helper."""
    identity = registry.identity_token("ci") if right else "c4n4ry-of-an-identity-token"
    match kind:
        case "auth":
            return CANARY, {"auths": {registry.host: entry("ci", CANARY)}}, None
        case "username":
            pair = {"username": "ci", "password": CANARY}
            return CANARY, {"auths": {registry.host: pair}}, None
        case "identitytoken" | "registrytoken":
            return identity, {"auths": {registry.host: {kind: identity}}}, None
        case "helper":
            notes = helper(folder, "one", answer("ci", CANARY))
            return CANARY, {"credHelpers": {registry.host: "one"}}, notes
        case _:
            notes = helper(folder, "one", answer("<token>", identity))
            return identity, {"credsStore": "one"}, notes


@pytest.mark.parametrize("script", ["echo {}; exit 3", "echo {} >&2; exit 3", "echo {}"])
def test_a_helper_that_fails_with_the_secret_in_its_words_is_not_quoted(
    path: Path, whole: _Whole, script: str
) -> None:
    """What the run knows already is redacted; what looks like an answer is not shown at all."""
    helper(path, "one", script.format(f'\'{{"Username":"ci","Secret":"{CANARY}"\''))
    config = home_file({"credHelpers": {"r.io": "one"}})
    keychain = DockerConfigKeychain(
        path=config, environment=Environment.current(), redact=lambda t: t.replace(CANARY, "***")
    )

    with pytest.raises(AuthError) as caught:
        keychain.resolve(Repository("r.io", "a"), "push")

    error = caught.value
    assert find_secrets([CANARY], error.report(), repr(error), *whole.lines) == ()
