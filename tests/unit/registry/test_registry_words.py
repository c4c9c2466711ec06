"""Small readers: challenges, error bodies, Retry-After, URLs, proxies, sizes."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest
from attrs import field, frozen

from buildpush.auth import Access, Credential
from buildpush.errors import (
    AuthError,
    BuildpushError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
)
from buildpush.http.answers import retry_after
from buildpush.http.proxies import Proxies
from buildpush.http.trust import Trust, is_loopback, same_origin
from buildpush.oci import Repository
from buildpush.registry import evidence_of, safe_url
from buildpush.registry.challenges import Challenge, parse_challenges
from buildpush.registry.endpoints import Endpoints
from buildpush.registry.failures import Asked, LongWaitError, failure
from buildpush.registry.parallel import Siblings, each
from buildpush.registry.progress import size_text

BEARER = 'Bearer realm="https://auth.example.com/token",service="r.example.com"'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        ([""], []),
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (
            [f'{BEARER},scope="repository:a:pull,push repository:b:pull"'],
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.example.com/token",
                        "service": "r.example.com",
                        "scope": "repository:a:pull,push repository:b:pull",
                    },
                )
            ],
        ),
        (
            ['Negotiate, Basic realm="a, b", Bearer realm="c"'],
            [("negotiate", {}), ("basic", {"realm": "a, b"}), ("bearer", {"realm": "c"})],
        ),
        (
            ['Basic realm="x"', "Digest qop=auth"],
            [("basic", {"realm": "x"}), ("digest", {"qop": "auth"})],
        ),
        (['BEARER Realm = "a\\"b" , Service=c'], [("bearer", {"realm": 'a"b', "service": "c"})]),
        (['realm="nobody\'s"'], []),
        (['Bearer realm="unclosed'], [("bearer", {"realm": ""})]),
    ],
)
def test_challenges_are_read(
    headers: list[str], expected: list[tuple[str, dict[str, str]]]
) -> None:
    """Several in one header, quoted commas, any case; nonsense is skipped."""
    found = parse_challenges(headers)

    assert found == tuple(Challenge(scheme, parameters) for scheme, parameters in expected)


@frozen(kw_only=True)
class Said:
    """An answer that never was on a wire."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(factory=dict[str, str])
    method: str = "GET"
    url: str = "https://ci:p4ss@r.example.com/v2/app/manifests/1?X-Amz-Signature=abc&digest=d"

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    def read(self) -> bytes:
        return self.body


def shown(text: str) -> str:
    return text.replace("canary", "***")


def fail(
    answer: Said, credential: Credential | None = None, access: Access = "push"
) -> BuildpushError:
    asked = Asked(
        about="writing app",
        repository=Repository("r.example.com", "app"),
        access=access,
        credential=credential,
        redact=shown,
    )
    return failure(answer, asked)


def test_a_url_is_shown_without_secrets() -> None:
    """User info goes, and every query value that is not known to be harmless."""
    assert (
        safe_url("https://u:p@r.io/v2/a/blobs/uploads/1?digest=sha256:ab&_state=x&X-Amz-Sig=y")
        == "https://r.io/v2/a/blobs/uploads/1?digest=sha256:ab&_state=***&X-Amz-Sig=***"
    )
    assert safe_url("https://r.io/v2/") == "https://r.io/v2/"
    assert safe_url("http://[::1/") == "an address that is not a URL"


@pytest.mark.parametrize(
    ("body", "codes", "detail"),
    [
        (b'{"errors":[{"code":"DENIED","message":"no"}]}', ("DENIED",), "no"),
        (
            b'{"errors":[{"code":"A","message":"one","detail":{"n":1}},{"code":"B"}]}',
            ("A", "B"),
            'one; {"n": 1}',
        ),
        (b'{"errors":[{"message":7}]}', (), "7"),
        (b'{"errors":"none"}', (), '{"errors":"none"}'),
        (b"<html>\n <b>Bad\tGateway</b></html>", (), "Bad Gateway"),
        (
            b"<!DOCTYPE html><style>p {}</style><h1>502</h1><script>x = 1 < 2</script>&lt;no&gt;",
            (),
            "502 <no>",
        ),
        (b"<html><script>never ends", (), ""),
        (b"<html>" + b"<" * 60_000, (), "<" * 2048),
        (b'{"error":"invalid_grant","error_description":"too old"}', (), "invalid_grant: too old"),
        (b'{"details":"incorrect username or password"}', (), "incorrect username or password"),
        (b'{"message": null}', (), '{"message": null}'),
        (b"\xff\xfe", (), "��"),
        (b"", (), ""),
        (b'{"errors":[{"code":"X","message":"canary"}]}', ("X",), "***"),
        (b"x" * 9000, (), "x" * 2048),
        ("é".encode() * 2000, (), "é" * 1024),
    ],
)
def test_what_a_registry_says_is_kept(body: bytes, codes: tuple[str, ...], detail: str) -> None:
    """JSON, HTML, nothing or too much: bounded, redacted, and never a decoding error."""
    evidence = evidence_of(Said(status=500, body=body), shown)

    assert (evidence.codes, evidence.detail) == (codes, detail)
    assert evidence.url == "https://r.example.com/v2/app/manifests/1?X-Amz-Signature=***&digest=d"


CI = Credential(username="ci", password="canary", source="~/.docker/config.json")


@pytest.mark.parametrize(
    ("status", "credential", "kind", "words", "hint"),
    [
        (401, None, AuthError, "no credential was found for r.example.com/app (push)", "auth="),
        (401, CI, AuthError, "refused the credential from ~/.docker/config.json", "expired"),
        (
            403,
            CI,
            PermissionDeniedError,
            "'ci', from ~/.docker/config.json) may not push",
            "scope",
        ),
        (403, None, PermissionDeniedError, "an anonymous caller may not push", "app:pull,push"),
        (404, None, NotFoundError, "has no such thing", "created first"),
        (405, None, RegistryError, "HTTP 405", "repository key"),
        (408, None, RegistryUnavailableError, "HTTP 408", ""),
        (413, None, RegistryError, "HTTP 413", "limits the size"),
        (415, None, RegistryError, "HTTP 415", "Docker or OCI"),
        (418, None, RegistryError, "HTTP 418", ""),
        (429, None, RateLimitedError, "limits an anonymous caller", "log in"),
        (429, CI, RateLimitedError, "limits the account", "larger quota"),
        (502, None, RegistryUnavailableError, "HTTP 502", ""),
    ],
)
def test_a_status_becomes_the_error_with_its_remedy(
    status: int, credential: Credential | None, kind: type[BuildpushError], words: str, hint: str
) -> None:
    """The class says what to do, the message what happened, the hint how."""
    error = fail(Said(status=status), credential)

    assert type(error) is kind
    assert words in error.message
    assert hint in error.hint
    assert "canary" not in error.report()


def test_a_token_without_the_scope_is_a_denial() -> None:
    """Distribution answers 401 where others answer 403."""
    headers = {"www-authenticate": f'{BEARER},error="insufficient_scope"'}

    assert type(fail(Said(status=401, headers=headers), CI)) is PermissionDeniedError
    assert type(fail(Said(status=401, headers=headers))) is AuthError


def test_a_missing_image_may_be_a_missing_permission() -> None:
    """Some registries hide what one may not see."""
    assert "access is missing" in fail(Said(status=404), access="pull").hint


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "soon"}, None),
        (
            {
                "retry-after": "Mon, 23 Nov 2026 10:00:30 GMT",
                "date": "Mon, 23 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        ({"retry-after": "Mon, 23 Nov 2020 10:00:30 GMT"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT", "date": "yesterday"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    """A date is measured by the registry's own clock."""
    assert retry_after(Said(status=429, headers=headers)) == seconds


def test_a_pause_of_more_than_two_minutes_is_not_waited_for() -> None:
    """The error is final, and says how long it would have been."""
    error = fail(Said(status=429, headers={"retry-after": "121"}))

    assert isinstance(error, LongWaitError) and error.retry_after == 121.0
    assert not error.retryable
    assert "pause of 121 s" in error.message


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("registry.localhost", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("example.com:5000", False),
    ],
)
def test_this_machine_is_known_by_all_its_names(host: str, expected: bool) -> None:
    """Only it, and listed hosts, may be spoken to without TLS."""
    assert is_loopback(host) == expected
    assert Trust().allows(host) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://anywhere.example.com/", True),
        ("http://listed.example.com/", True),
        ("http://listed.example.com:8080/", True),
        ("http://ported.example.com:5000/", True),
        ("http://ported.example.com/", False),
        ("http://other.example.com/", False),
        ("http://localhost:5000/", True),
        ("ftp://localhost/", False),
        ("https://", False),
        ("http://localhost:x/", False),
    ],
)
def test_plain_http_is_for_listed_hosts(url: str, expected: bool) -> None:
    """A host without a port covers all its ports; one with a port only that."""
    insecure = Trust(frozenset({"listed.example.com", "ported.example.com:5000"}))

    assert insecure.permits(url) == expected


def test_a_registrys_scheme_is_settled_once() -> None:
    """The first answer decides; hosts that must speak TLS are never in doubt."""
    endpoints = Endpoints(Trust())

    before = (endpoints.base("localhost:1"), endpoints.settled("localhost:1"))
    endpoints.settle("localhost:1", "https")
    endpoints.settle("localhost:1", "http")

    assert before == ("http://localhost:1", False)
    assert endpoints.base("localhost:1") == "https://localhost:1"
    assert endpoints.settled("localhost:1")
    assert endpoints.base("docker.io") == "https://registry-1.docker.io"
    assert endpoints.settled("docker.io")


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("https://a/x", "https://a:443/y", True),
        ("http://a/", "https://a/", False),
        ("https://a:1/", "https://a:2/", False),
        ("https://a/", "https://b/", False),
        ("http://a:x/", "http://a/", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(left: str, right: str, expected: bool) -> None:
    """Default ports are the same as none."""
    assert same_origin(left, right) == expected


PROXY = {"HTTPS_PROXY": "http://u:canary@proxy:3128"}


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, "https://r.io/", ""),
        ({"HTTPS_PROXY": "http://p:1"}, "https://r.io/", "http://p:1"),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q"}, "https://r.io/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://r.io/", ""),
        ({"ALL_PROXY": "p:1"}, "http://r.io/", "http://p:1"),
        ({"HTTP_PROXY": "http://p", "REQUEST_METHOD": "GET"}, "http://r.io/", ""),
        ({"ALL_PROXY": "http://p"}, "http://localhost:5000/", ""),
        ({"ALL_PROXY": "http://p"}, "http://127.0.0.1/", ""),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "*"}, "http://r.io/", ""),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "x.io, r.io"}, "http://r.io/", ""),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "r.io"}, "http://sub.r.io/", ""),
        ({"ALL_PROXY": "http://p", "NO_PROXY": ".r.io"}, "http://sub.r.io/", ""),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "r.io"}, "http://bar.io/", "http://p"),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "r.io:8080"}, "http://r.io:8080/", ""),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "r.io:8080"}, "http://r.io/", "http://p"),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3/", ""),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "http://11.1.2.3/", "http://p"),
    ],
)
def test_a_proxy_is_chosen_as_curl_chooses(
    variables: dict[str, str], url: str, expected: str
) -> None:
    """Lower case before upper, suffixes, ports and networks in NO_PROXY, never for loopback."""
    assert Proxies.read(variables).choose(url) == expected


def test_a_proxys_password_is_not_shown() -> None:
    """Its repr says for which schemes there is one."""
    assert repr(Proxies.read(PROXY)) == "Proxies(https)"
    assert repr(Proxies.read({})) == "Proxies(none)"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (3_250_000, "3.2 MB"),
        (7_800_000_000, "7.8 GB"),
        (5_000_000_000_000, "5.0 TB"),
    ],
)
def test_sizes_are_shown_in_powers_of_ten(size: int, expected: str) -> None:
    """As docker shows them."""
    assert size_text(size) == expected


def test_results_come_in_the_order_of_the_items() -> None:
    """Whoever ends first."""
    assert each(range(10), lambda n, _: n * n) == [n * n for n in range(10)]


def test_the_first_failure_stops_the_others_and_is_raised() -> None:
    """What has not begun never does; what runs is told at its next piece."""
    begun: list[int] = []
    together, tick = threading.Barrier(2), threading.Event()

    def action(number: int, siblings: Siblings) -> None:
        begun.append(number)
        together.wait(10)
        if number == 0:
            raise NotFoundError("the first")
        while siblings.failure is None:
            tick.wait(0.001)
        siblings.check()

    with pytest.raises(NotFoundError, match="the first"):
        each(range(20), action, workers=2)

    assert sorted(begun) == [0, 1]
