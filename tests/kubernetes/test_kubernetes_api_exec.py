"""The stub is true of exec: protocols, channels and refusals are those of a real cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes_raw import RawApi, pod_of, shell_job
from kubernetes_target import Target
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = [pytest.mark.invalid_objects, pytest.mark.usefixtures("shells")]


@pytest.fixture
def api(target: Target) -> Iterator[RawApi]:
    """Requests as they are, by the administrator."""
    with target.raw() as found:
        yield found


# --- exec ---


@pytest.fixture
def running(target: Target, api: RawApi) -> str:
    """A pod whose first container waits."""
    api.post(
        "jobs", shell_job(target, "true", init="trap 'exit 1' TERM; while :; do sleep 0.1; done")
    )
    return pod_of(target, api, "running", container="first")


def heard(api: RawApi, pod: str, argv: list[str], **how: Any) -> tuple[str, list[bytes], Any]:
    """The protocol that was chosen, the messages, and the status at the end."""
    stdin = how.pop("stdin", None)
    with api.execute(pod, "first", argv, stdin=stdin is not None, **how) as web:
        if stdin is not None:
            web.send(b"\0" + stdin)
            if web.subprotocol == "v5.channel.k8s.io":
                web.send(b"\xff\0")
        messages: list[bytes] = []
        try:
            while True:
                message = web.recv(20)
                messages.append(message if isinstance(message, bytes) else message.encode())
        except ConnectionClosed:
            pass
    status = json.loads(messages[-1][1:]) if messages[-1][:1] == b"\3" else None
    return str(web.subprotocol), messages, status


def test_the_newest_protocol_that_both_know_is_spoken(
    target: Target, api: RawApi, running: str
) -> None:
    """v5 where it is offered first; its stdin has an end."""
    protocol, messages, status = heard(
        api, running, ["sh", "-c", "cat; echo err >&2"], stdin=b"hello"
    )

    if protocol == "v4.channel.k8s.io":
        pytest.skip("this server speaks v4 only")
    assert messages[0] == b"\1"
    assert b"".join(m[1:] for m in messages if m[0] == 1) == b"hello"
    assert b"".join(m[1:] for m in messages if m[0] == 2) == b"err\n"
    assert status == {"metadata": {}, "status": "Success"}


def test_an_exit_code_is_in_the_status(api: RawApi, running: str) -> None:
    """As a cause called ExitCode, on channel 3, at last."""
    _, _, status = heard(api, running, ["sh", "-c", "exit 3"])

    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


def test_a_killed_command_has_the_code_of_one(api: RawApi, running: str) -> None:
    """137, as shells have it."""
    _, _, status = heard(api, running, ["sh", "-c", "kill -9 $$"])

    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "137"}]


def test_the_older_protocol_has_no_end_of_stdin(api: RawApi, running: str) -> None:
    """So a command counts what it reads."""
    _, messages, status = heard(
        api, running, ["head", "-c", "5"], stdin=b"hello", protocols=("v4.channel.k8s.io",)
    )

    assert b"".join(m[1:] for m in messages if m[0] == 1) == b"hello"
    assert status == {"metadata": {}, "status": "Success"}


def test_a_program_that_is_not_there_is_told_in_the_status(api: RawApi, running: str) -> None:
    """An error of the server's, not an exit code."""
    _, _, status = heard(api, running, ["/not/there"])

    assert (status["status"], status["reason"]) == ("Failure", "InternalError")
    assert "no such file or directory" in status["message"]


def test_an_unknown_protocol_is_refused(api: RawApi, running: str) -> None:
    """403, and no word about it."""
    with (
        pytest.raises(InvalidStatus) as caught,
        api.execute(running, "first", ["true"], protocols=("v9.example",)),
    ):
        pass

    assert caught.value.response.status_code == 403


def test_nothing_runs_in_a_container_that_does_not(api: RawApi, running: str) -> None:
    """500 before the upgrade, in plain text; 400 for a container that there is not."""
    answers: list[tuple[int, bytes]] = []
    for name in ("main", "other"):
        with (
            pytest.raises(InvalidStatus) as caught,
            api.execute(running, name, ["true"]),
        ):
            pass
        response = caught.value.response
        answers.append((response.status_code, bytes(response.body or b"")))

    assert answers[0] == (500, b'container not found ("main")')
    assert answers[1][0] == 400


def test_exec_without_an_upgrade(api: RawApi, running: str) -> None:
    """400."""
    answer = api.get(f"pods/{running}/exec", command="true", container="first")

    assert (answer.status_code, answer.json()["message"]) == (400, "Upgrade request required")
