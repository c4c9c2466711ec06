"""Contract: secrets are in the Secret that the Job owns, nowhere else, and soon not even there."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from kubernetes_target import PASSWORD, USER, Target

from buildpush.backends.kaniko.kubernetes.api.kinds import JOBS, SECRETS
from buildpush.errors import BuildError
from buildpush.events import Event, TaskLog
from buildpush.testing import LocalRegistry, RecordingSink, find_secrets

BUILD_SECRET: Final = "build-canary-91c2e7"
BASE_PASSWORD: Final = "base-canary-b83d10"
TOKEN_USER: Final = "puller"
NEEDLES: Final = (
    *(PASSWORD, BUILD_SECRET, BASE_PASSWORD),
    # As it stands in a config.json, which may be encoded once more as a whole.
    *(
        base64.b64encode(f"{who}:{what}".encode()).decode()
        for who, what in ((USER, PASSWORD), (TOKEN_USER, BASE_PASSWORD))
    ),
)


@pytest.fixture
def private_base(target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A base image that only a token can pull, from a registry of its own."""
    ours = target.needs_local_registry()
    with LocalRegistry(auth="token", users={TOKEN_USER: BASE_PASSWORD}) as registry:
        pairs = {ours.host: f"pusher:{PASSWORD}", registry.host: f"{TOKEN_USER}:{BASE_PASSWORD}"}
        auths = {h: {"auth": base64.b64encode(p.encode()).decode()} for h, p in pairs.items()}
        config = Path(target.folder, "docker", "config.json")
        config.write_text(json.dumps({"auths": auths}))
        target.registry = registry
        reference = target.base()
        target.registry = ours
        yield reference


def test_canaries_are_in_the_owned_secret_alone(target: Target, private_base: str) -> None:
    """While it builds, all that can be read of the cluster is read; and again afterwards."""
    seen: list[str] = []
    secrets: list[dict[str, Any]] = []
    jobs: list[dict[str, Any]] = []
    sink = RecordingSink()

    def listen(event: Event) -> None:
        sink(event)
        if isinstance(event, TaskLog) and event.line == "MARK":
            seen.extend(target.dump())
            seen.extend(_command_lines())
            secrets.extend(target.objects(SECRETS))
            jobs.extend(target.objects(JOBS))

    secret = target.folder / "secret"
    secret.write_text(BUILD_SECRET)
    mount = "--mount=type=secret,id=npm"
    count = f"RUN {mount} wc -c < /run/secrets/npm; echo MARK; sleep 3"
    dockerfile = f"FROM {private_base}\n{count}\n"
    target.step(dockerfile, secrets={"npm": secret}).run(on_event=listen)

    assert str(len(BUILD_SECRET)) in sink.lines
    assert find_secrets(NEEDLES, *seen) == ()
    assert find_secrets(NEEDLES, *map(repr, sink.events)) == ()
    assert len(secrets) == 1
    owner = secrets[0]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Job", jobs[0]["metadata"]["uid"])
    held = b"\n".join(base64.b64decode(v) for v in secrets[0]["data"].values())
    assert {found.needle for found in find_secrets(NEEDLES, held)} >= {1, 3, 4}
    assert target.left_after(20) == ()


def test_the_server_never_saw_a_canary_outside_of_secrets(stub_target: Target) -> None:
    """Every version of every object, every request, every log line: also of a build that fails."""
    secret = stub_target.folder / "secret"
    secret.write_text(BUILD_SECRET)
    with pytest.raises(BuildError):
        stub_target.step(
            "FROM $BASE\nRUN --mount=type=secret,id=npm test -s /run/secrets/npm; exit 1\n",
            secrets={"npm": secret},
        ).run()

    stub = stub_target.the_stub
    assert find_secrets(NEEDLES, *stub.ever(secrets=False)) == ()
    assert {f.needle for f in find_secrets(NEEDLES, *stub.ever(secrets=True))} == {0, 1, 3}
    assert stub.left() == ()


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_text(errors="replace")
