"""The one way providers ask servers: bounded, direct where it must be, and silent."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from stand_in_internet import Answer, Asked, Internet

from buildpush.auth.asking import FORM, ask, form
from buildpush.errors import (
    AuthError,
    BuildpushError,
    RateLimitedError,
    RegistryUnavailableError,
    StepCancelledError,
)
from buildpush.runtime import CancelToken

TOKENS = "https://tokens.example.com/token"


def test_a_form_is_sent_as_one(internet: Internet, tmp_path: Path) -> None:
    """Under the server's own name, with its certificate checked; empty fields are left out."""
    internet.servers["tokens.example.com"] = lambda _: Answer(200, b"yes", {"X-One": "1"})

    answered = ask(
        "POST",
        f"{TOKENS}?v=1",
        about="asking",
        environment=internet.environment(tmp_path),
        headers={"Accept": "a/b"},
        body=form({"a": "x y", "b": ""}),
        content_type=FORM,
    )

    [asked] = internet.asked
    assert (answered.status, answered.data, answered.header("x-one")) == (200, b"yes", "1")
    assert (asked.method, asked.path, asked.query, asked.form) == (
        *("POST", "/token", {"v": "1"}),
        {"a": "x y"},
    )
    assert (asked.headers["content-type"], asked.headers["accept"]) == (FORM, "a/b")


@pytest.mark.parametrize("status", [200, 400, 401, 404])
def test_an_answer_is_the_providers_to_read(
    status: int, internet: Internet, tmp_path: Path
) -> None:
    """Only whoever asked knows what a refusal means."""
    internet.servers["tokens.example.com"] = lambda _: Answer(status)

    answered = ask("GET", TOKENS, about="asking", environment=internet.environment(tmp_path))

    assert answered.status == status


def test_a_server_that_stumbles_is_asked_again(internet: Internet, tmp_path: Path) -> None:
    """Three times in all."""
    left = [Answer(503), Answer(500)]
    internet.servers["tokens.example.com"] = lambda _: left.pop() if left else Answer(200)

    answered = ask("GET", TOKENS, about="asking", environment=internet.environment(tmp_path))

    assert answered.status == 200


def test_a_short_pause_is_kept_and_a_long_one_told(internet: Internet, tmp_path: Path) -> None:
    """A login should not take minutes."""
    left = [Answer(429, b"", {"Retry-After": "0"})]
    internet.servers["tokens.example.com"] = lambda _: left.pop() if left else Answer(200)
    internet.servers["slow.example.com"] = lambda _: Answer(429, b"", {"Retry-After": "11"})
    environment = internet.environment(tmp_path)

    answered = ask("GET", TOKENS, about="asking", environment=environment)
    with pytest.raises(RateLimitedError, match=r"asking: it .* a pause") as caught:
        ask("GET", "https://slow.example.com/", about="asking", environment=environment)

    assert answered.status == 200
    assert caught.value.retry_after == 11
    assert len(internet.asked) == 3


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://tokens.example.com/", "is not encrypted"),
        ("http://169.254.169.254/latest", "is not encrypted"),
        ("ftp://tokens.example.com/", "not an address"),
        ("https:///token", "not an address"),
        ("https://[::1/token", "not an address"),
        ("https://tokens.example.com:99999/", "not an address"),
    ],
)
def test_an_address_that_gives_keys_away_is_not_asked(
    url: str, said: str, internet: Internet, tmp_path: Path
) -> None:
    """Credential files and variables name addresses, too."""
    with pytest.raises(AuthError, match=said):
        ask("GET", url, about="asking", environment=internet.environment(tmp_path))

    assert internet.asked == []


def test_a_redirect_to_another_server_is_refused(internet: Internet, tmp_path: Path) -> None:
    """It would get the keys; on the same server it is followed."""

    def server(asked: Asked) -> Answer:
        places = {"/a": "/b", "/c": "https://evil.example.com/"}
        if asked.path in places:
            return Answer(307, b"", {"Location": places[asked.path]})
        return Answer(200)

    internet.servers |= {"tokens.example.com": server, "evil.example.com": server}
    environment = internet.environment(tmp_path)

    answered = ask("GET", "https://tokens.example.com/a", about="asking", environment=environment)
    with pytest.raises(AuthError, match="another server"):
        ask("GET", "https://tokens.example.com/c", about="asking", environment=environment)

    assert answered.status == 200
    assert "evil.example.com" not in {asked.host for asked in internet.asked}


def test_an_answer_without_end_is_not_read_to_its_end(internet: Internet, tmp_path: Path) -> None:
    """A mebibyte is more than any token."""
    internet.servers["tokens.example.com"] = lambda _: Answer(200, b"x" * (1 << 20))

    with pytest.raises(AuthError, match="longer than 1 MiB"):
        ask("GET", TOKENS, about="asking", environment=internet.environment(tmp_path))


def test_a_near_server_is_asked_without_the_proxy(internet: Internet, tmp_path: Path) -> None:
    """In plain HTTP, wherever the provider says it is; other exemptions stay."""
    internet.servers["near"] = lambda _: Answer(200, b"near")
    environment = internet.environment(
        tmp_path, HTTP_PROXY="http://127.0.0.1:1", NO_PROXY="example.com"
    )

    answered = ask(
        "GET", f"http://{internet.near}/", about="asking", environment=environment, near=True
    )

    assert answered.data == b"near"


def test_a_certificate_of_nobody_known_is_refused(internet: Internet, tmp_path: Path) -> None:
    """Token services are believed by certificate only."""
    internet.servers["tokens.example.com"] = lambda _: Answer(200)
    environment = internet.environment(tmp_path, SSL_CERT_FILE="")

    with pytest.raises(RegistryUnavailableError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        ask("GET", TOKENS, about="asking", environment=environment)

    assert "SSL_CERT_FILE" in caught.value.hint
    assert internet.asked == []


def test_a_cancelled_run_waits_for_no_answer(internet: Internet, tmp_path: Path) -> None:
    """The caller's reason comes through, in the middle of a request."""
    cancel = CancelToken()
    reason = BuildpushError("enough")

    def server(_: Asked) -> Answer:
        cancel.cancel(reason)
        return Answer(503)

    internet.servers["tokens.example.com"] = server

    with pytest.raises(BuildpushError) as caught:
        ask(
            "GET",
            TOKENS,
            about="asking",
            environment=internet.environment(tmp_path),
            cancel=cancel,
        )
    with pytest.raises(BuildpushError):
        ask(
            "GET",
            TOKENS,
            about="asking",
            environment=internet.environment(tmp_path),
            cancel=cancel,
        )

    assert caught.value is reason
    assert not isinstance(caught.value, StepCancelledError)
    assert len(internet.asked) == 1


def test_nothing_of_a_request_is_shown(
    internet: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at DEBUG level, in no repr, and in no evidence."""
    internet.servers["tokens.example.com"] = lambda _: Answer(
        401, b"body-canary", {"X-Token": "answer-canary"}
    )
    with caplog.at_level(logging.DEBUG):
        answered = ask(
            "POST",
            f"{TOKENS}?key=query-canary",
            about="asking",
            environment=internet.environment(tmp_path),
            headers={"Authorization": "Bearer header-canary"},
            body=form({"secret": "form-canary"}),
            content_type=FORM,
        )

    assert "canary" not in f"{caplog.text}{answered!r}{answered.evidence.render()}"


def test_to_import_a_provider_is_not_to_import_an_http_client() -> None:
    """Providers are made for every step, and few are asked."""
    code = (
        "import sys, buildpush.auth.gar, buildpush.auth.acr;"
        "sys.exit('httpx' in sys.modules or 'google' in sys.modules or 'azure' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
