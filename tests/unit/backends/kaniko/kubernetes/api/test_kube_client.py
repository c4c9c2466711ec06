"""What a cluster is asked, what its answers mean, and what is tried again."""

from __future__ import annotations

import base64
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from kube_answers import Answer, Api, Handler, Request, Server, Tunnel, status

# The fixtures' module is no package's: its values come by way of the fixtures.
from buildpush.backends.kaniko.kubernetes.api import failures
from buildpush.backends.kaniko.kubernetes.api.client import Cluster
from buildpush.backends.kaniko.kubernetes.api.kinds import EVENTS, JOBS, NODES, PODS, SECRETS
from buildpush.errors import (
    AuthError,
    BackendUnavailableError,
    BuildpushError,
    PermissionDeniedError,
    PlanError,
    StepCancelledError,
    StepTimeoutError,
)
from buildpush.runtime import CancelToken, Environment, Redactor

Surroundings = Callable[..., Environment]
Writer = Callable[..., Path]
Opener = Callable[..., Cluster]
NAMED = {"metadata": {"name": "x"}}


@pytest.fixture
def opened(api: Api, surroundings: Surroundings, kubeconfig: Writer) -> Iterator[Opener]:
    """Clients of the server, with a token unless said otherwise."""
    clients: list[Cluster] = []

    def make(
        user: dict[str, object] | None = None,
        about: dict[str, object] | None = None,
        environment: Environment | None = None,
        **options: Any,
    ) -> Cluster:
        config = api.config({"token": "s3cret-token"} if user is None else user, **(about or {}))
        client = Cluster.open(
            environment or surroundings(), kubeconfig=kubeconfig(config), **options
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting between attempts is not what these tests are about."""
    monkeypatch.setattr("random.uniform", lambda *_: 0.01)


def raised(call: Callable[[], object]) -> BuildpushError:
    with pytest.raises(BuildpushError) as caught:
        call()
    return caught.value


def test_an_object_is_asked_for_with_the_token(api: Api, opened: Opener) -> None:
    """In the namespace of the context, over TLS that the cluster's authority vouches for."""
    api.answers(Answer(body=NAMED))

    found = opened().get(JOBS, "a/b")

    assert found == NAMED
    assert api.paths() == ["GET /apis/batch/v1/namespaces/builds/jobs/a%2Fb"]
    assert api.requests[0].headers["Authorization"] == "Bearer s3cret-token"


def test_a_server_may_have_a_path(api: Api, opened: Opener) -> None:
    """Rancher's do."""
    opened(about={"server": f"{api.url}/k8s/clusters/c-1"}).get(NODES, "n")

    assert api.paths() == ["GET /k8s/clusters/c-1/api/v1/nodes/n"]


def test_all_pages_of_a_list_are_asked_for(api: Api, opened: Opener) -> None:
    """Ten thousand events do not come at once."""
    api.answers(
        Answer(body={"items": [NAMED], "metadata": {"continue": "a b", "resourceVersion": "7"}}),
        Answer(body={"items": [NAMED, NAMED], "metadata": {"resourceVersion": "7"}}),
    )

    found = opened().list(EVENTS, labels="a=b", fields="c=d")

    assert (len(found.items), found.version) == (3, "7")
    query = "labelSelector=a%3Db&fieldSelector=c%3Dd&limit=500"
    assert [
        f"GET /api/v1/namespaces/builds/events?{query}",
        f"GET /api/v1/namespaces/builds/events?{query}&continue=a+b",
    ] == api.paths()


def test_a_list_whose_pages_are_too_old_is_asked_for_at_once(api: Api, opened: Opener) -> None:
    """Servers forget a list after five minutes."""
    api.answers(
        Answer(body={"items": [NAMED], "metadata": {"continue": "x"}}),
        status(410, "Expired"),
        Answer(body={"items": [NAMED], "metadata": {"resourceVersion": "9"}}),
    )

    assert opened().list(PODS, everywhere=True) == ((NAMED,), "9")
    assert api.paths()[-1] == "GET /api/v1/pods"


def test_create_patch_and_delete_say_what_they_mean(api: Api, opened: Opener) -> None:
    """A Job that is deleted without a propagation would leave its pod."""
    client = opened()
    client.create(JOBS, NAMED, dry_run=True)
    client.patch(SECRETS, "s", {"a": 1}, form="json")
    there = client.delete(JOBS, "j", grace=0, uid="u")

    assert there
    jobs = "/apis/batch/v1/namespaces/builds/jobs"
    assert [
        f"POST {jobs}?dryRun=All",
        "PATCH /api/v1/namespaces/builds/secrets/s",
        f"DELETE {jobs}/j",
    ] == api.paths()
    assert api.requests[1].headers["Content-Type"] == "application/json-patch+json"
    assert json.loads(api.requests[2].body) == {
        "propagationPolicy": "Background",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
    }


def test_deleting_what_is_gone_is_fine(api: Api, opened: Opener) -> None:
    """Clearing up may be done twice."""
    api.answers(status(404, "NotFound"))

    assert not opened().delete(PODS, "p")


def test_the_server_says_its_version_and_our_rights(api: Api, opened: Opener) -> None:
    """For the doctor."""
    client = opened()
    api.answers(
        Answer(body={"gitVersion": "v1.36.2"}),
        Answer(body={"status": {"allowed": True}}),
        Answer(body={"status": {"allowed": False}}),
    )

    assert (
        client.version(),
        client.may("create", PODS, part="exec"),
        client.may("list", NODES),
    ) == ("v1.36.2", True, False)
    asked = [json.loads(one.body)["spec"]["resourceAttributes"] for one in api.requests[1:]]
    assert asked == [
        {"verb": "create", "resource": "pods", "subresource": "exec", "namespace": "builds"},
        {"verb": "list", "resource": "nodes"},
    ]


FORBIDDEN = 'jobs.batch is forbidden: User "u" cannot create resource "jobs" in API group "batch"'
REFUSALS = [
    (status(401, "Unauthorized", "Unauthorized"), AuthError, "does not accept the credential"),
    (status(403, "Forbidden", FORBIDDEN), PermissionDeniedError, "create on jobs"),
    (Answer(status=403, body=b"no"), PermissionDeniedError, "in namespace"),
    (status(403, "Forbidden", "exceeded quota: q"), PlanError, "exceeded quota: q"),
    (status(404, "NotFound", "gone fishing"), failures.NotThere, "gone fishing"),
    (status(409, "AlreadyExists", "there is one"), failures.Conflict, "there is one"),
    (status(410, "Gone"), failures.Gone, "410"),
    (status(422, "Invalid", "spec.x: bad"), PlanError, "spec.x: bad"),
    (status(400, "BadRequest", "no"), PlanError, "refused to create jobs"),
    (Answer(status=302, headers=(("Location", "/login"),)), PlanError, "302"),
    (Answer(status=500, body=b"<html> oh"), failures.Unreachable, "<html> oh"),
    (Answer(body=b"hello"), BackendUnavailableError, "5 bytes"),
    (Answer(body=[1]), BackendUnavailableError, "no object of Kubernetes"),
]


@pytest.mark.parametrize(("answer", "kind", "expected"), REFUSALS)
def test_each_refusal_has_its_error(
    answer: Answer, kind: type[BuildpushError], expected: str, api: Api, opened: Opener
) -> None:
    """The class tells what to do next, the message what the server said."""
    api.answers(answer)

    error = raised(lambda: opened().create(JOBS, NAMED))

    assert type(error) is kind
    assert expected in error.message
    assert "s3cret" not in error.report()


def test_a_conflict_knows_its_reason(api: Api, opened: Opener) -> None:
    """Something of that name, or something that changed meanwhile: two different moves."""
    api.answers(status(409, "AlreadyExists"))

    error = raised(lambda: opened().create(JOBS, NAMED))

    assert isinstance(error, failures.Conflict)
    assert error.reason == "AlreadyExists"


@pytest.mark.parametrize(
    "answer",
    [
        status(
            422,
            "Invalid",
            'Secret "x" is invalid: data[a]: Invalid value: "hunter2"',
            causes=[{"field": "data[a]", "reason": "FieldValueInvalid", "message": "hunter2"}],
        ),
        status(400, "BadRequest", 'error found in #10 byte of ...|"a":"hunter2"|...'),
        Answer(status=422, body=b"hunter2"),
        Answer(status=502, body=b"hunter2"),
    ],
)
def test_no_refusal_of_a_secret_quotes_it(answer: Answer, api: Api, opened: Opener) -> None:
    """Servers quote what they cannot read."""
    api.answers(answer)

    error = raised(lambda: opened().create(SECRETS, {**NAMED, "stringData": {"a": "hunter2"}}))

    assert "hunter2" not in error.report() + repr(error.__cause__) + repr(error.__context__)


def test_of_a_refused_secret_the_field_is_told(api: Api, opened: Opener) -> None:
    """That is enough to mend it."""
    cause = {"field": "data[.dockerconfigjson]", "reason": "FieldValueInvalid", "message": "x"}
    api.answers(status(422, "Invalid", "x", causes=[cause]))

    error = raised(lambda: opened().create(SECRETS, NAMED))

    assert "Invalid: data[.dockerconfigjson] (FieldValueInvalid)" in error.message


def test_a_token_that_was_replaced_is_read_anew_once(
    api: Api, opened: Opener, tmp_path: Path
) -> None:
    """On 401, before anybody is bothered."""
    path = tmp_path / "rotating"
    path.write_text("old-token")

    def answer(request: Request) -> Answer:
        path.write_text("new-token")
        good = request.headers["Authorization"] == "Bearer new-token"
        return Answer(body=NAMED) if good else status(401, "Unauthorized")

    api.answer = answer

    assert opened({"tokenFile": str(path)}).get(PODS, "p") == NAMED
    assert len(api.requests) == 2


def test_a_token_that_stays_refused_is_an_error(api: Api, opened: Opener, tmp_path: Path) -> None:
    """Once is enough."""
    (tmp_path / "t").write_text("abcdef")
    api.answers(status(401, "Unauthorized"))

    error = raised(lambda: opened({"tokenFile": "t"}).get(PODS, "p"))

    assert isinstance(error, AuthError)
    assert len(api.requests) == 2


@pytest.mark.parametrize("code", [429, 500, 503])
def test_reading_is_tried_again_when_the_server_cannot(
    code: int, api: Api, opened: Opener
) -> None:
    """An API server that restarts says so for a moment."""
    api.answers(status(code), status(code), Answer(body=NAMED))

    assert opened().get(PODS, "p") == NAMED
    assert len(api.requests) == 3


def test_reading_is_not_tried_for_ever(api: Api, opened: Opener) -> None:
    """The caller may."""
    api.answers(status(503, "ServiceUnavailable", "etcd"))

    error = raised(lambda: opened().get(PODS, "p"))

    assert isinstance(error, failures.Unreachable)
    assert error.retryable
    assert len(api.requests) == 5


def test_writing_is_tried_again_only_when_it_was_turned_away(api: Api, opened: Opener) -> None:
    """429 is said before anything is done; 500 perhaps after it."""
    api.answers(status(429), Answer(body=NAMED), status(500))
    client = opened()

    assert client.create(JOBS, NAMED) == NAMED
    assert isinstance(raised(lambda: client.create(JOBS, NAMED)), failures.Unreachable)
    assert len(api.requests) == 3


def test_retry_after_is_obeyed(api: Api, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within bounds, as a header or in the Status."""
    slept: list[float] = []
    monkeypatch.setattr(CancelToken, "sleep", lambda _, seconds: slept.append(seconds))
    late = Answer(status=429, headers=(("Retry-After", "7"),))
    api.answers(
        late, status(429, retryAfterSeconds=3), status(429, retryAfterSeconds=1e9), Answer()
    )

    opened().create(JOBS, NAMED)

    assert slept == [7, 3, 30]


def test_warnings_are_passed_on_once(api: Api, opened: Opener) -> None:
    """As kubectl shows them, without secrets."""
    heard: list[str] = []
    header = ("Warning", r'299 - "a \"b\" s3cret-token", 299 - "c"')
    api.answers(Answer(headers=(header, ("Warning", '299 - "d"'))))
    client = opened(on_warning=heard.append)
    client.get(PODS, "p")
    client.get(PODS, "p")

    assert heard == ['a "b" ***', "c", "d"]


def test_nobody_at_the_door_is_told_with_the_door(
    surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """Where, and where that was found; a write, too, is tried again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = kubeconfig(
        Api(lambda _: Answer(), url=f"https://127.0.0.1:{port}").config({"token": "abcd"})
    )
    with Cluster.open(surroundings(), kubeconfig=path) as client:
        error = raised(lambda: client.create(JOBS, NAMED))

    assert isinstance(error, failures.Unreachable)
    assert f"https://127.0.0.1:{port}" in error.message
    assert f'context "here" of {path}' in error.message
    assert "Connection refused" in error.message


def test_a_host_that_no_name_server_knows_is_told_at_once(
    surroundings: Surroundings, kubeconfig: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask again would not help."""
    asked: list[str] = []

    def unknown(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    path = kubeconfig(Api(lambda _: Answer(), url="https://nowhere.example").config({}))
    with Cluster.open(surroundings(), kubeconfig=path) as client:
        error = raised(lambda: client.get(PODS, "p"))

    assert "cannot be reached: Name or service not known" in error.message
    assert asked == ["nowhere.example"]


def test_a_host_that_can_have_no_name_is_told(
    surroundings: Surroundings, kubeconfig: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's resolver raises something else for labels that are too long."""

    def unknown(*_: object, **__: object) -> None:
        raise UnicodeError("label too long")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    path = kubeconfig(Api(lambda _: Answer(), url="https://long.example").config({}))
    with Cluster.open(surroundings(), kubeconfig=path) as client:
        error = raised(lambda: client.get(PODS, "p"))

    assert "long.example is no host name" in error.message


def test_a_server_of_another_authority_is_not_spoken_to(
    api: Api, opened: Opener, tmp_path: Path
) -> None:
    """Nor is the token sent to it."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))

    error = raised(lambda: opened(about={"certificate-authority": str(other)}).get(PODS, "p"))

    assert "CERTIFICATE_VERIFY_FAILED" in error.message
    assert "certificate-authority" in error.hint
    assert api.requests == []


def test_a_bundle_of_authorities_may_have_comments_in_any_language(
    api: Api, opened: Opener, tmp_path: Path
) -> None:
    """OpenSSL takes ASCII only."""
    pem = Path(str(api.config({})["clusters"][0]["cluster"]["certificate-authority"])).read_bytes()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes("# Főtanúsítvány\n".encode() + pem)

    assert opened(about={"certificate-authority": str(bundle)}).get(PODS, "p") == {}


def test_an_authority_that_is_no_certificate_is_named(
    api: Api, opened: Opener, tmp_path: Path
) -> None:
    """Whatever bytes it has."""
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"\xff\xfe no certificate")

    error = raised(lambda: opened(about={"certificate-authority": str(junk)}).get(PODS, "p"))

    assert f"the certificate-authority {junk} cannot be used" in error.message
    assert "PEM" in error.hint


def test_a_namespace_that_is_not_there_is_to_be_made(api: Api, opened: Opener) -> None:
    """Only an administrator sees that; others may do nothing there."""
    api.answers(status(404, "NotFound", 'namespaces "nope" not found'))

    error = raised(lambda: opened().get(PODS, "p"))

    assert 'namespaces "nope" not found' in error.message
    assert "name another" in error.hint


def test_a_server_s_other_name_may_be_told(api: Api, opened: Opener) -> None:
    """tls-server-name stands in for the host, and is checked."""
    error = raised(lambda: opened(about={"tls-server-name": "kubernetes"}).get(PODS, "p"))

    assert "kubernetes" in error.message
    assert opened(about={"tls-server-name": "127.0.0.1"}).get(PODS, "p") == {}


def test_verification_may_be_left_out(api: Api, opened: Opener) -> None:
    """Where a kubeconfig says so."""
    about = {"insecure-skip-tls-verify": True, "certificate-authority": ""}

    assert opened(about=about).get(PODS, "p") == {}


def test_a_client_certificate_is_shown(
    api: Api, opened: Opener, authority: trustme.CA, surroundings: Surroundings
) -> None:
    """And nothing of it is left on the disk."""
    made = authority.issue_cert("me.example", common_name="me")
    user: dict[str, object] = {
        "client-certificate-data": encoded(made.cert_chain_pems[0].bytes()),
        "client-key-data": encoded(made.private_key_pem.bytes()),
    }
    environment = surroundings()

    opened(user, environment=environment).get(PODS, "p")

    peer = api.requests[0].peer
    assert peer is not None
    assert (("commonName", "me"),) in peer["subject"]
    assert list(environment.temporary.iterdir()) == []


def test_a_certificate_that_does_not_fit_its_key_is_told_without_it(
    opened: Opener, authority: trustme.CA
) -> None:
    """No word of OpenSSL's, which may quote."""
    one, other = authority.issue_cert("a.example"), authority.issue_cert("b.example")
    user: dict[str, object] = {
        "client-certificate-data": encoded(one.cert_chain_pems[0].bytes()),
        "client-key-data": encoded(other.private_key_pem.bytes()),
    }

    error = raised(lambda: opened(user).get(PODS, "p"))

    assert isinstance(error, AuthError)
    assert "cannot be used with its key" in error.message


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_an_authority_that_is_none_is_told(opened: Opener, tmp_path: Path) -> None:
    """With its file."""
    (tmp_path / "bad.pem").write_text("hello")

    error = raised(lambda: opened(about={"certificate-authority": "bad.pem"}).get(PODS, "p"))

    assert f"certificate-authority {tmp_path / 'bad.pem'} cannot be used" in error.message


def test_groups_are_sent_one_by_one(api: Api, opened: Opener) -> None:
    """A header of several lines."""
    opened({"token": "abcd", "as": "jane", "as-groups": ["a", "b"]}).get(PODS, "p")

    assert api.requests[0].headers["Impersonate-User"] == "jane"
    assert api.requests[0].groups == ("a", "b")


def test_an_answer_without_end_is_bounded(
    api: Api, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever answers there, memory is ours."""
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.api.client._LARGEST", 1000)
    api.answers(Answer(body=b'{"a": "' + b"x" * 5000 + b'"}'))

    assert "1001 bytes" in raised(lambda: opened().get(PODS, "p")).message


def test_no_log_shows_the_token(
    api: Api, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where everything is logged."""
    caplog.set_level(logging.DEBUG)

    opened().get(PODS, "p")

    assert "s3cret" not in caplog.text


def test_a_proxy_passes_on_what_it_cannot_read(api: Api, opened: Opener) -> None:
    """By CONNECT, with the proxy's own credential; the cluster's never reaches it."""
    tunnel = Tunnel()

    opened(about={"proxy-url": tunnel.url}).get(PODS, "p")
    tunnel.close()

    place = api.url.removeprefix("https://")
    assert tunnel.heads[0].startswith(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n")
    assert f"Proxy-Authorization: Basic {encoded(b'me:pr0xy-pass')}" in tunnel.heads[0]
    assert "s3cret" not in tunnel.heads[0]


def test_a_proxy_may_be_spoken_to_by_tls(
    api: Api, opened: Opener, authority: trustme.CA, surroundings: Surroundings
) -> None:
    """TLS within TLS; the proxy's is vouched for by the system's authorities."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    tunnel = Tunnel(tls=context)
    api.answers(Answer(body={"a": "x" * 300_000}))
    place = api.url.removeprefix("https://127.0.0.1:")

    found = opened(
        about={"proxy-url": tunnel.url}, environment=surroundings(SSL_CERT_FILE=api.ca)
    ).get(PODS, "p")
    tunnel.close()

    assert len(str(found["a"])) == 300_000
    assert tunnel.heads[0].startswith(f"CONNECT 127.0.0.1:{place} ")


@pytest.mark.parametrize("exempt", ["", "cluster.example"])
def test_a_proxy_of_the_environment_is_used_unless_exempt(
    exempt: str,
    api: Api,
    opened: Opener,
    surroundings: Surroundings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HTTPS_PROXY and NO_PROXY, as everything else reads them."""
    tunnel = Tunnel(b"HTTP/1.1 503 Full\r\n\r\n")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    client = opened(
        about={"server": "https://cluster.example"},
        environment=surroundings(HTTPS_PROXY=tunnel.url, NO_PROXY=exempt),
    )
    monkeypatch.setattr(socket, "getaddrinfo", unknown if exempt else socket.getaddrinfo)
    error = raised(lambda: client.get(PODS, "p"))
    tunnel.close()

    assert ("Name or service not known" if exempt else "503 Full") in error.message


def test_a_proxy_that_is_not_there_is_to_blame(opened: Opener) -> None:
    """The cluster may be in the best of health."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    error = raised(lambda: opened(about={"proxy-url": f"http://127.0.0.1:{port}"}).get(PODS, "p"))

    assert f"the proxy 127.0.0.1:{port} cannot be reached: Connection refused" in error.message


def test_certificates_of_the_system_are_read_where_the_environment_says(
    api: Api, opened: Opener, surroundings: Surroundings
) -> None:
    """Where a kubeconfig names no authority; what cannot be read is named."""
    about = {"certificate-authority": ""}

    found = opened(about=about, environment=surroundings(SSL_CERT_FILE=api.ca)).get(PODS, "p")
    unknown = raised(lambda: opened(about=about).get(PODS, "p"))
    broken = raised(
        lambda: opened(about=about, environment=surroundings(SSL_CERT_FILE="/none")).get(PODS, "p")
    )

    assert found == {}
    assert "CERTIFICATE_VERIFY_FAILED" in unknown.message
    assert "SSL_CERT_FILE" in broken.message


def test_a_server_that_speaks_no_tls_is_told_so(opened: Opener) -> None:
    """The scheme is wrong, or the port."""
    tunnel = Tunnel(b"HTTP/1.1 400 Bad Request\r\n\r\n", eager=True)
    place = tunnel.url.rpartition("@")[2]

    error = raised(lambda: opened(about={"server": f"https://{place}"}).get(PODS, "p"))
    tunnel.close()

    assert "does not speak TLS" in error.hint


def test_a_server_that_never_answers_is_told_so(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, api: Api
) -> None:
    """After a while, and not five times over."""
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.api.client._PATIENCE", 0.2)
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.api.transport._ENOUGH", 0.1)
    late = threading.Event()

    def answer(_: Request) -> Answer:
        late.wait(10)
        return Answer()

    api.answer = answer
    error = raised(lambda: opened().get(PODS, "p"))
    late.set()

    assert "did not answer in time" in error.message
    assert len(api.requests) == 1


def test_a_proxy_that_refuses_is_to_blame(opened: Opener) -> None:
    """Not the cluster; its password is not told."""
    tunnel = Tunnel(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    error = raised(lambda: opened(about={"proxy-url": tunnel.url}).get(PODS, "p"))
    tunnel.close()

    assert "does not connect us" in error.message
    assert "407 Proxy Authentication Required" in error.message
    assert "pr0xy-pass" not in error.report()


@pytest.mark.parametrize("proxy", ["socks5://a:pr0xy-pass@h", "http://", "http://h:x"])
def test_a_proxy_that_is_none_is_told(proxy: str, opened: Opener) -> None:
    """Without its password."""
    error = raised(lambda: opened(about={"proxy-url": proxy}))

    assert "cannot be used" in error.message
    assert "pr0xy-pass" not in error.report()


def test_a_cancel_ends_a_request_that_waits(api: Api, opened: Opener) -> None:
    """At once, with its reason, be that a timeout."""
    cancel = CancelToken()
    late = threading.Event()

    def answer(_: Request) -> Answer:
        cancel.cancel(StepTimeoutError("too long"))
        late.wait(20)
        return Answer()

    api.answer = answer
    begun = time.monotonic()

    with pytest.raises(StepTimeoutError, match="too long"):
        opened(cancel=cancel).get(PODS, "p")

    late.set()
    assert time.monotonic() - begun < 10


def test_a_cancel_ends_connecting(surroundings: Surroundings, kubeconfig: Writer) -> None:
    """To a host that swallows everything."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        place = full.getsockname()
        others = []
        for _ in range(4):
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(place)
            others.append(other)
        path = kubeconfig(Api(lambda _: Answer(), url=f"https://127.0.0.1:{place[1]}").config({}))
        cancel = CancelToken()
        timer = threading.Timer(0.3, cancel.cancel)
        timer.start()
        begun = time.monotonic()
        with Cluster.open(surroundings(), kubeconfig=path, cancel=cancel) as client:
            error = raised(lambda: client.get(PODS, "p"))
        timer.join()
        for other in others:
            other.close()

    assert isinstance(error, StepCancelledError)
    assert time.monotonic() - begun < 5


def test_a_cancelled_client_sends_nothing(api: Api, opened: Opener) -> None:
    """Clearing up takes a client that was opened without a token."""
    cancel = CancelToken()
    client = opened(cancel=cancel)
    cancel.cancel()

    assert isinstance(raised(lambda: client.get(PODS, "p")), StepCancelledError)
    assert api.requests == []


def test_a_closed_client_says_so(opened: Opener) -> None:
    """Instead of opening connections that nobody closes."""
    client = opened()
    client.close()

    assert "was closed" in raised(lambda: client.get(PODS, "p")).message


def test_every_thread_may_ask(api: Api, opened: Opener) -> None:
    """Twenty at a time, on as many connections as that takes."""
    api.answer = lambda request: Answer(body={"path": request.path})
    client = opened(redact=Redactor())
    found: dict[int, object] = {}

    def ask(number: int) -> None:
        found[number] = client.get(PODS, f"p{number}")["path"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {n: f"/api/v1/namespaces/builds/pods/p{n}" for n in range(20)} == found


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [((("Retry-After", "\u00b2"),), "1"), ((), "NaN"), ((), "-Infinity"), ((), "-5")],
)
def test_an_odd_pause_is_no_pause(
    headers: tuple[tuple[str, str], ...], seconds: str, api: Api, opened: Opener
) -> None:
    """Such a server is asked again as if it had said nothing."""
    body = f'{{"kind": "Status", "details": {{"retryAfterSeconds": {seconds}}}}}'.encode()
    api.answers(Answer(status=429, body=[body], headers=headers), Answer(body=NAMED))

    assert opened().get(PODS, "p") == NAMED


def test_a_list_without_an_end_is_given_up(
    api: Api, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before memory is."""
    monkeypatch.setattr("buildpush.backends.kaniko.kubernetes.api.client._PAGES", 5)
    api.answers(Answer(body={"items": [NAMED], "metadata": {"continue": "more"}}))

    assert "does not come to an end" in raised(lambda: opened().list(PODS)).message
    assert len(api.requests) == 5


def test_a_server_steers_no_terminal(api: Api, opened: Opener) -> None:
    """Nor does it begin a line of its own, which a CI system may take for a command."""
    api.answers(status(422, "Invalid", "\x1b]0;title\x07 bad\r\n::set-env x\x9b2J"))

    report = raised(lambda: opened().create(JOBS, NAMED)).report()

    assert "bad ::set-env x" in report
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(report)


@pytest.mark.parametrize(("host", "sent"), [("127.0.0.1", True), ("cluster.example", False)])
def test_no_credential_goes_over_plain_http(
    host: str,
    sent: bool,
    surroundings: Surroundings,
    kubeconfig: Writer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with kubectl; but for this machine, where nobody is on the way."""
    lookup = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, port, **more: lookup("127.0.0.1", port, **more)
    )
    with Server(("127.0.0.1", 0), Handler) as server:
        server.api = Api(lambda _: status(401, "Unauthorized", "Unauthorized"))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        server.api.url = f"http://{host}:{server.server_address[1]}"
        path = kubeconfig(server.api.config({"token": "s3cret-token", "as": "somebody"}))
        with Cluster.open(surroundings(), kubeconfig=path) as client:
            error = raised(lambda: client.get(PODS, "p"))
        server.shutdown()
        thread.join()

    asked = server.api.requests[0].headers
    assert ("Authorization" in asked) is sent
    assert ("Impersonate-User" in asked) is sent
    assert ("not sent over plain http" in error.message) is not sent
