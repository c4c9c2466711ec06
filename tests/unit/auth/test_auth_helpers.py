"""Credential helpers: which one runs, how often, and what happens when it does not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define, field

from buildpush.auth import Credential
from buildpush.auth.files import DockerConfigKeychain
from buildpush.auth.helpers import Helper, HelperMissingError
from buildpush.errors import AuthError, StepCancelledError, StepTimeoutError
from buildpush.oci import ImageReference, Repository
from buildpush.runtime import CancelToken, Environment

R_IO = Repository("r.io", "acme/app")
HUB = ImageReference.parse("alpine").repository
ANSWER = '{"ServerURL":"x","Username":"ci","Secret":"word"}'


@define
class Machine:
    """A home with a config file and a PATH with helpers that note every question."""

    folder: Path
    cancel: CancelToken = field(factory=CancelToken)
    warnings: list[str] = field(factory=list[str])

    @property
    def environment(self) -> Environment:
        return Environment(
            variables={"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin"},
            uid=1000,
            gid=1000,
            home=self.folder,
            cwd=self.folder,
            cache=self.folder,
            temporary=self.folder,
        )

    def helper(self, name: str, script: str) -> None:
        path = self.folder / "bin" / f"docker-credential-{name}"
        path.parent.mkdir(exist_ok=True)
        asked = self.folder / f"{name}.asked"
        path.write_text(f'#!/bin/sh\nread server\necho "$1 $server" >>{asked}\n{script}\n')
        path.chmod(0o755)

    def asked(self, name: str) -> list[str]:
        path = self.folder / f"{name}.asked"
        return path.read_text().splitlines() if path.exists() else []

    def keychain(self, **document: object) -> DockerConfigKeychain:
        path = self.folder / "config.json"
        path.write_text(json.dumps(document))
        return DockerConfigKeychain(
            path=path,
            environment=self.environment,
            warn=self.warnings.append,
            cancel=self.cancel,
            redact=lambda text: text.replace("c4n4ry", "***"),
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def says(text: str, code: int = 0) -> str:
    return f"echo '{text}'; exit {code}"


def inline(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:word".encode()).decode()}


def test_a_store_is_asked_for_a_host_once(machine: Machine) -> None:
    """However many repositories and accesses want to know."""
    machine.helper("desktop", says(ANSWER))
    keychain = machine.keychain(credsStore="desktop", auths={"r.io": {}})

    found = [
        keychain.resolve(Repository("r.io", path), access)
        for path in ("a", "b")
        for access in ("pull", "push")
    ]

    assert found == [Credential(username="ci", password="word")] * 4
    assert machine.asked("desktop") == ["get r.io"]
    assert found[0] is not None
    assert found[0].source == "docker-credential-desktop (~/config.json)"


def test_a_store_knows_hosts_the_file_does_not_list(machine: Machine) -> None:
    """Docker asks it all the same."""
    machine.helper("pass", says(ANSWER))

    assert machine.keychain(credsStore="pass").resolve(R_IO, "pull") is not None


def test_docker_hub_is_asked_for_by_its_old_url(machine: Machine) -> None:
    """That is the name docker login stored."""
    machine.helper("pass", says(ANSWER))

    machine.keychain(credsStore="pass").resolve(HUB, "pull")

    assert machine.asked("pass") == ["get https://index.docker.io/v1/"]


def test_a_hosts_own_helper_comes_before_the_store_and_the_file(machine: Machine) -> None:
    """And no other helper runs."""
    for name in ("ecr-login", "other", "desktop"):
        machine.helper(name, says(ANSWER.replace("ci", name)))
    keychain = machine.keychain(
        credsStore="desktop",
        credHelpers={"https://r.io": "ecr-login", "q.io": "other"},
        auths={"r.io": inline("file")},
    )

    found = keychain.resolve(R_IO, "push")

    assert found is not None and found.username == "ecr-login"
    assert machine.asked("other") == machine.asked("desktop") == []


@pytest.mark.parametrize(
    "script",
    [
        says("credentials not found in native keychain", 1),
        says("error: Credentials not found", 1),
        says('{"ServerURL":"","Username":"","Secret":""}'),
        says("{}"),
    ],
)
def test_a_helper_that_has_nothing_is_no_failure(machine: Machine, script: str) -> None:
    """Then the file's own entry counts, if it has one."""
    machine.helper("pass", script)
    keychain = machine.keychain(credsStore="pass", auths={"q.io": inline("file")})

    assert keychain.resolve(R_IO, "push") is None
    assert keychain.resolve(Repository("q.io", "a"), "push") == Credential(
        username="file", password="word"
    )


def test_a_token_user_means_an_identity_token(machine: Machine) -> None:
    """As ACR's and Docker's helpers say it."""
    machine.helper("acr", says('{"Username":"<token>","Secret":"idt"}'))

    found = machine.keychain(credHelpers={"r.io": "acr"}).resolve(R_IO, "pull")

    assert found == Credential(identity_token="idt")


def test_a_missing_helper_lets_public_images_be_pulled(machine: Machine) -> None:
    """A config copied from a laptop must not break every pull: one warning, then anonymous."""
    keychain = machine.keychain(credsStore="desktop")

    assert keychain.resolve(R_IO, "pull") is None
    assert keychain.resolve(HUB, "pull") is None
    assert machine.warnings == [
        "~/config.json names the credential helper docker-credential-desktop, which is not on PATH"
    ]


def test_a_missing_helper_stops_a_push(machine: Machine) -> None:
    """A push that goes out anonymously would only fail later, and say less."""
    keychain = machine.keychain(credsStore="desktop")

    with pytest.raises(AuthError, match=r"~/config\.json .*docker-credential-desktop") as caught:
        keychain.resolve(R_IO, "push")
    assert machine.environment.variables["PATH"] in caught.value.hint


@pytest.mark.parametrize("access", ["pull", "push"])
def test_a_missing_helper_leaves_what_the_file_holds(machine: Machine, access: str) -> None:
    """There is something to go on."""
    keychain = machine.keychain(credsStore="desktop", auths={"r.io": inline("file")})

    found = keychain.resolve(R_IO, access)  # type: ignore[arg-type]

    assert found is not None and found.username == "file"
    assert len(machine.warnings) == 1


@pytest.mark.parametrize("access", ["pull", "push"])
def test_a_helper_that_fails_is_an_error_with_its_words(machine: Machine, access: str) -> None:
    """“Could not tell” is not “there is none”; secrets in its words are redacted."""
    machine.helper("ecr", "echo 'token c4n4ry expired'; echo 'login c4n4ry' >&2; exit 3")
    keychain = machine.keychain(credHelpers={"r.io": "ecr"})

    with pytest.raises(AuthError, match=r"exit code 3: token \*\*\* expired") as caught:
        keychain.resolve(R_IO, access)  # type: ignore[arg-type]

    assert "login ***" in caught.value.report()
    assert "c4n4ry" not in caught.value.report()


def test_a_helper_that_prints_a_secret_and_fails_is_not_quoted(machine: Machine) -> None:
    """Its standard output is where credentials come out."""
    machine.helper("odd", says('{"Username":"ci","Secret":"unknown-word"}', 2))

    with pytest.raises(AuthError, match=r"exit code 2$") as caught:
        machine.keychain(credHelpers={"r.io": "odd"}).resolve(R_IO, "pull")

    assert "unknown-word" not in caught.value.report()


@pytest.mark.parametrize("answer", ["", "not json c4n4ry", '{"Secret":["unknown-word"]}'])
def test_a_helper_that_talks_nonsense_is_an_error(machine: Machine, answer: str) -> None:
    """How many bytes it said, not which."""
    machine.helper("odd", says(answer))

    with pytest.raises(AuthError, match="that are not its JSON") as caught:
        machine.keychain(credHelpers={"r.io": "odd"}).resolve(R_IO, "pull")

    assert "word" not in caught.value.report() and "c4n4ry" not in caught.value.report()


@pytest.fixture
def slow(machine: Machine) -> Callable[[float], Helper]:
    """Make a helper that sleeps much longer than it may."""
    machine.helper("slow", "sleep 60")

    def make(seconds: float) -> Helper:
        return Helper(
            name="slow",
            source="config.json",
            environment=machine.environment,
            cancel=machine.cancel,
            redact=str,
            seconds=seconds,
        )

    return make


def test_a_helper_that_waits_for_somebody_is_given_up(slow: Callable[[float], Helper]) -> None:
    """The limit is in the message; nothing is left running."""
    with pytest.raises(AuthError, match=r"no answer for r\.io within 0\.05 s"):
        slow(0.05).get("r.io")


def test_a_cancelled_run_ends_its_helper(
    slow: Callable[[float], Helper], machine: Machine
) -> None:
    """The run's own reason is raised."""
    machine.cancel.cancel(StepTimeoutError("out of time"))

    with pytest.raises(StepTimeoutError, match="out of time"):
        slow(10).get("r.io")


def test_a_cancel_while_a_helper_runs_ends_it(
    slow: Callable[[float], Helper], machine: Machine
) -> None:
    """It is terminated, not waited for."""
    import threading

    def cancel_once_asked() -> None:
        tick = threading.Event()
        while not machine.asked("slow"):
            tick.wait(0.005)
        machine.cancel.cancel()

    thread = threading.Thread(target=cancel_once_asked)
    thread.start()

    with pytest.raises(StepCancelledError):
        slow(30).get("r.io")

    thread.join()


def test_a_helpers_name_is_not_a_path(machine: Machine) -> None:
    """A config file cannot make us run any program."""
    machine.helper("x", says(ANSWER))

    with pytest.raises(HelperMissingError):
        machine.keychain(credHelpers={"r.io": "../bin/docker-credential-x"}).resolve(R_IO, "push")


def test_a_helper_that_cannot_be_started_is_an_error(machine: Machine) -> None:
    """An interpreter that is not there, for example."""
    machine.helper("bad", "")
    path = machine.folder / "bin" / "docker-credential-bad"
    path.write_text("#!/nowhere/interpreter\n")

    with pytest.raises(AuthError, match="cannot be started: No such file"):
        machine.keychain(credHelpers={"r.io": "bad"}).resolve(R_IO, "pull")


def test_what_a_helper_said_is_asked_again_after_ten_minutes(machine: Machine) -> None:
    """Tokens of clouds end while a long build runs."""
    machine.helper("ecr", says(ANSWER))
    now = [0.0]
    keychain = machine.keychain(credHelpers={"r.io": "ecr"})
    keychain.clock = lambda: now[0]

    for now[0] in (0.0, 599.0, 600.0, 601.0):
        keychain.resolve(R_IO, "push")

    assert machine.asked("ecr") == ["get r.io"] * 2


def test_a_helper_is_told_of_in_the_trail_and_asked_no_second_time(machine: Machine) -> None:
    """Its own words for having nothing are a miss, and for a host of its own one to wonder at."""
    machine.helper("has", says(ANSWER))
    machine.helper("none", says("credentials not found", 1))
    keychain = machine.keychain(credsStore="has", credHelpers={"q.io": "none"})

    keychain.resolve(R_IO, "push")
    told = [str(step) for step in keychain.explain(R_IO, "push")]
    asked = keychain.explain(Repository("q.io", "a"), "push")

    assert told == ["~/config.json, credsStore: hit (by docker-credential-has)"]
    assert machine.asked("has") == ["get r.io"]
    assert str(asked[0]) == (
        "~/config.json, credHelpers.q.io: miss (docker-credential-none holds none for q.io)"
    )
    assert asked[0].expected
