"""The credential of the moment: fixed, from a file, or from a program that knows it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.kaniko.kubernetes.api.config import User, read_access
from buildpush.backends.kaniko.kubernetes.api.credentials import Credentials
from buildpush.errors import AuthError, StepCancelledError
from buildpush.runtime import CancelToken, Environment, Hidden, Redactor

Surroundings = Callable[..., Environment]
Writer = Callable[..., Path]
V1 = "client.authentication.k8s.io/v1"


class Times:
    """A clock and a calendar that stand still until they are moved."""

    def __init__(self) -> None:
        self.passed = 0.0

    def clock(self) -> float:
        return self.passed

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def make(surroundings: Surroundings, times: Times) -> Callable[..., Credentials]:
    def credentials(user: User, **options: Any) -> Credentials:
        return Credentials(
            user,
            environment=options.pop("environment", surroundings()),
            cancel=options.pop("cancel", CancelToken()),
            redact=options.pop("redact", Redactor()),
            clock=times.clock,
            now=times.now,
            **options,
        )

    return credentials


@pytest.fixture
def plugin(tmp_path: Path, kubeconfig: Writer, surroundings: Surroundings) -> Callable[..., User]:
    """A user whose exec plugin is the shell *script*."""

    def user(script: str, **entry: object) -> User:
        program = tmp_path / "plugin"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        about = {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never", **entry}
        path = kubeconfig(
            {
                "current-context": "x",
                "clusters": [{"name": "c", "cluster": {"server": "https://h"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {"exec": about}}],
            }
        )
        return read_access(surroundings(), kubeconfig=path).user

    return user


def says(status: Mapping[str, object], version: str = V1, counted: Path | None = None) -> str:
    """A script that prints an ExecCredential, and adds a line to *counted* when it is run."""
    said = json.dumps({"kind": "ExecCredential", "apiVersion": version, "status": status})
    return f"echo run >> {counted or '/dev/null'}; cat <<'EOF'\n{said}\nEOF"


def authorization(credentials: Credentials) -> str:
    return "".join(value for name, value in credentials.current().headers)


def test_a_token_is_sent_as_it_is(make: Callable[..., Credentials]) -> None:
    """And no refusal helps to get another."""
    credentials = make(User(token=Hidden("abcd")))

    assert authorization(credentials) == "Bearer abcd"
    assert not credentials.refused(credentials.current())


def test_a_password_is_sent_as_basic_and_learnt(make: Callable[..., Credentials]) -> None:
    """Its base64 is as secret as itself."""
    redact = Redactor()

    sent = authorization(make(User(username="me", password=Hidden("p4ss")), redact=redact))

    assert sent == "Basic bWU6cDRzcw=="
    assert redact("bWU6cDRzcw== p4ss") == "*** ***"


def test_no_credential_is_sent_where_there_is_none(make: Callable[..., Credentials]) -> None:
    """A proxy on loopback may do without."""
    assert make(User()).current().headers == ()


def test_no_repr_of_a_grant_shows_it(make: Callable[..., Credentials]) -> None:
    """It is a local variable of much that can fail."""
    assert "abcd" not in repr(make(User(token=Hidden("abcd"))).current())


def test_a_token_file_is_read_again_after_a_minute(
    make: Callable[..., Credentials], times: Times, tmp_path: Path
) -> None:
    """Service account tokens are rewritten before they end."""
    path = tmp_path / "token"
    path.write_text("first\n")
    credentials = make(User(token_file=path))
    before = authorization(credentials)
    path.write_text("second\n")
    at_once = authorization(credentials)
    times.passed = 61

    assert (
        before,
        at_once,
        authorization(credentials),
    ) == ("Bearer first", "Bearer first", "Bearer second")


def test_a_token_file_is_read_again_when_it_was_refused(
    make: Callable[..., Credentials], tmp_path: Path
) -> None:
    """401 is said of a token that has just been replaced."""
    path = tmp_path / "token"
    path.write_text("first")
    credentials = make(User(token_file=path))
    old = credentials.current()
    path.write_text("second")

    assert credentials.refused(old)
    assert authorization(credentials) == "Bearer second"


def test_a_refusal_of_an_old_grant_changes_nothing(
    make: Callable[..., Credentials], plugin: Callable[..., User], tmp_path: Path
) -> None:
    """Of ten threads that get 401 at once, one asks anew."""
    credentials = make(plugin(says({"token": "abcd"}, counted=tmp_path / "runs")))
    old = credentials.current()
    credentials.refused(old)
    credentials.current()
    credentials.refused(old)
    credentials.current()

    assert (tmp_path / "runs").read_text() == "run\n" * 2


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_token_file_that_cannot_be_read_is_an_error(
    content: bytes | None, make: Callable[..., Credentials], tmp_path: Path
) -> None:
    """To ask as nobody in its stead would only bring a stranger refusal."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(AuthError, match=str(path)):
        make(User(token_file=path)).current()


def test_a_token_stands_in_for_a_missing_token_file(
    make: Callable[..., Credentials], tmp_path: Path
) -> None:
    """A kubeconfig may have both."""
    assert (
        authorization(make(User(token_file=tmp_path / "none", token=Hidden("abcd"))))
        == "Bearer abcd"
    )


@pytest.mark.parametrize("token", ["two\nlines", "ümlaut"])
def test_a_token_that_no_header_can_hold_is_an_error_without_it(
    token: str, make: Callable[..., Credentials]
) -> None:
    """An HTTP library would quote it."""
    with pytest.raises(AuthError) as caught:
        make(User(token=Hidden(token))).current()

    assert token not in caught.value.report()


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_a_plugin_is_asked_in_the_version_it_speaks(
    version: str,
    make: Callable[..., Credentials],
    plugin: Callable[..., User],
    tmp_path: Path,
) -> None:
    """With what it needs to know in KUBERNETES_EXEC_INFO, its arguments and its environment."""
    spoken = f"client.authentication.k8s.io/{version}"
    script = f'echo "$KUBERNETES_EXEC_INFO $OWN $1" > {tmp_path}/told; ' + says(
        {"token": "abcd"}, spoken
    )
    user = plugin(
        script,
        apiVersion=spoken,
        provideClusterInfo=True,
        args=["word"],
        env=[{"name": "OWN", "value": "mine"}],
    )

    assert authorization(make(user)) == "Bearer abcd"

    info, own, argument = (tmp_path / "told").read_text().rsplit(maxsplit=2)
    assert (own, argument) == ("mine", "word")
    assert {
        "kind": "ExecCredential",
        "apiVersion": spoken,
        "spec": {"interactive": False, "cluster": {"server": "https://h"}},
    } == json.loads(info)


def test_a_plugin_is_asked_again_shortly_before_its_answer_ends(
    make: Callable[..., Credentials], plugin: Callable[..., User], times: Times, tmp_path: Path
) -> None:
    """Not with every request, and not only once it is refused."""
    status = {"token": "abcd", "expirationTimestamp": "2030-01-01T01:00:00Z"}
    credentials = make(plugin(says(status, counted=tmp_path / "runs")))
    counted = []
    for passed in (0, 3500, 3541):
        times.passed = passed
        credentials.current()
        counted.append((tmp_path / "runs").read_text().count("run"))

    assert counted == [1, 1, 2]


def test_a_plugin_may_grant_a_certificate(
    make: Callable[..., Credentials], plugin: Callable[..., User]
) -> None:
    """Some clouds do, and whoever logs in by smart card. Its key is a secret of the run."""
    redact = Redactor()

    grant = make(
        plugin(says({"clientCertificateData": "CERT", "clientKeyData": "KEYDATA"})), redact=redact
    ).current()

    assert (grant.cert, grant.key, grant.headers) == (b"CERT", b"KEYDATA", ())
    assert redact("KEYDATA") == "***"


def test_a_plugin_on_path_is_found_by_its_name(
    make: Callable[..., Credentials],
    plugin: Callable[..., User],
    surroundings: Surroundings,
    tmp_path: Path,
) -> None:
    """Only a name with a slash is a path."""
    user = plugin(says({"token": "abcd"}), command="plugin")
    environment = surroundings(PATH=f"{tmp_path}:/usr/bin:/bin")

    assert authorization(make(user, environment=environment)) == "Bearer abcd"


FAILING = [
    ("exit 3", {"installHint": "do this"}, "failed: exit code 3"),
    ("echo s3cret-no-json", {}, "is not JSON"),
    (says({"token": "abcd"}, "client.authentication.k8s.io/v1beta1"), {}, "no ExecCredential of"),
    (says({}), {}, "neither a token nor a certificate"),
    (says({"clientKeyData": "s3cret-key"}), {}, "not both"),
    ("", {"apiVersion": "client.authentication.k8s.io/v2"}, "speaks client"),
    ("", {"apiVersion": None}, "speaks no apiVersion"),
    ("", {"command": ""}, "has no command"),
    ("", {"interactiveMode": "Always"}, "needs a terminal"),
    ("", {"command": "no-such-plugin"}, 'no-such-plugin of user "u"'),
    ("", {"command": "./nothing"}, "is not installed"),
]


@pytest.mark.parametrize(("script", "entry", "expected"), FAILING)
def test_a_plugin_that_does_not_help_is_an_error(
    script: str,
    entry: Mapping[str, object],
    expected: str,
    make: Callable[..., Credentials],
    plugin: Callable[..., User],
) -> None:
    """It is named, and where it is named; what it printed is not shown."""
    with pytest.raises(AuthError) as caught:
        make(plugin(script, **entry)).current()

    assert expected in caught.value.message
    assert "s3cret" not in caught.value.report()


def test_a_missing_plugin_s_own_hint_is_passed_on(
    make: Callable[..., Credentials], plugin: Callable[..., User]
) -> None:
    """Whoever wrote the kubeconfig knows how to install it."""
    with pytest.raises(AuthError) as caught:
        make(plugin("", command="nope", installHint="brew install nope")).current()

    assert caught.value.hint == "brew install nope"


def test_a_plugin_that_cannot_be_started_is_an_error(
    make: Callable[..., Credentials], plugin: Callable[..., User], tmp_path: Path
) -> None:
    """The system's own word for it is passed on."""
    user = plugin("")
    (tmp_path / "plugin").write_text("#!/no/such/interpreter\n")

    with pytest.raises(AuthError, match="cannot be started: No such file"):
        make(user).current()


def test_a_plugin_that_hangs_is_ended(
    make: Callable[..., Credentials], plugin: Callable[..., User]
) -> None:
    """It may wait for a browser that nobody sees."""
    with pytest.raises(AuthError, match=r"no credential within 0\.2 s"):
        make(plugin("exec sleep 600"), seconds=0.2).current()


def test_a_cancel_ends_a_plugin(
    make: Callable[..., Credentials], plugin: Callable[..., User]
) -> None:
    """At once, with its reason."""
    cancel = CancelToken()
    timer = threading.Timer(0.2, cancel.cancel)
    timer.start()

    with pytest.raises(StepCancelledError):
        make(plugin("exec sleep 600"), cancel=cancel).current()

    timer.join()
