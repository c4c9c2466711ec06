"""A stand-in for ECR and STS, written from their public reference: it refuses what AWS would."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from attrs import Factory, define, field, frozen

from buildpush.auth.sigv4 import AwsKeys
from buildpush.runtime import Environment

TARGETS = {
    "AmazonEC2ContainerRegistry_V20150921": "ecr",
    "SpencerFrontendService": "ecr-public",
}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[\w-]+)/"
    r"(?P<service>[\w-]+)/aws4_request, SignedHeaders=(?P<signed>[\w;-]+),"
    r" Signature=(?P<signature>[0-9a-f]{64})"
)


@frozen(kw_only=True)
class Asked:
    """One request, as it came."""

    action: str
    service: str
    region: str
    key: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@frozen(kw_only=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = Factory(dict)


def refuse(code: str, message: str = "", status: int = 400) -> Answer:
    """An error as ECR tells it."""
    body = {"__type": f"com.amazonaws.ecr#{code}", "message": message}
    return Answer(status=status, body=json.dumps(body).encode())


def refuse_xml(code: str, message: str = "", status: int = 400) -> Answer:
    """An error as STS tells it."""
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender'
        f"</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
    return Answer(status=status, body=body.encode())


@define(eq=False, kw_only=True)
class StandIn:
    """Knows *keys*, tells time by *clock*, and gives ECR logins that last *seconds*.

    *answers* has what an action is answered with instead, in turn; *objections* says what was
    wrong with requests that were refused for their form.
    """

    keys: list[AwsKeys]
    clock: Callable[[], float]
    account: str = "123456789012"
    seconds: float = 12 * 3600.0
    session_seconds: float = 3600.0
    password: Callable[[int], str] = lambda count: f"ecr-password-{count}"
    answers: dict[str, list[Answer]] = field(factory=dict)
    objections: list[str] = field(factory=list)
    asked: list[Asked] = field(factory=list)
    repositories: set[str] = field(factory=set)
    url: str = ""
    _lock: threading.Lock = field(factory=threading.Lock)

    def count(self, action: str) -> int:
        return sum(one.action == action for one in self.asked)

    def environment(self, current: Environment, **variables: str) -> Environment:
        """An environment that has nothing but *variables* and this server's address."""
        known = {"AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}
        return Environment(
            variables={**known, **variables},
            uid=current.uid,
            gid=current.gid,
            home=current.home,
            cwd=current.cwd,
            cache=current.cache,
            temporary=current.temporary,
        )

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        with self._lock:
            return self._answer(method, path, headers, body)

    def _answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        lower = {name.lower(): value for name, value in headers.items()}
        sts = "x-amz-target" not in lower
        prefix, _, action = lower.get("x-amz-target", "").partition(".")
        if sts:
            action = parse_qs(body.decode()).get("Action", [""])[0]
        match = _AUTHORIZATION.fullmatch(lower.get("authorization", ""))
        one = Asked(
            action=action,
            service="sts" if sts else TARGETS.get(prefix, ""),
            region=match["region"] if match else "",
            key=match["key"] if match else "",
            headers=lower,
            body=body,
        )
        self.asked.append(one)
        if self.answers.get(action):
            return self.answers[action].pop(0)
        wrong = [*self._form(method, path, one), *self._signature(one, match)]
        if wrong:
            self.objections += wrong
            return (refuse_xml if sts else refuse)("InvalidSignatureException", "; ".join(wrong))
        return self._sts(one) if sts else self._ecr(one)

    def _form(self, method: str, path: str, one: Asked) -> Iterator[str]:
        if (method, path) != ("POST", "/"):
            yield f"{method} {path}"
        kind = one.headers.get("content-type")
        if one.service == "sts":
            if kind != "application/x-www-form-urlencoded":
                yield f"content type {kind}"
            if one.form.get("Version") != "2011-06-15":
                yield "version of STS"
        else:
            if kind != "application/x-amz-json-1.1":
                yield f"content type {kind}"
            if one.action == "GetAuthorizationToken" and one.body != b"{}":
                yield "registryIds are deprecated: the body is {}"

    def _signature(self, one: Asked, match: re.Match[str] | None) -> Iterator[str]:
        if one.action == "AssumeRoleWithWebIdentity":
            if "authorization" in one.headers:
                yield "this action is not signed"
            return
        if match is None:
            yield "no signature"
            return
        date = one.headers.get("x-amz-date", "")
        if not re.fullmatch(r"\d{8}T\d{6}Z", date) or date[:8] != match["day"]:
            yield f"date {date}"
            return
        sent = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if abs(sent - self.clock()) > 300:
            yield "Signature expired"
        if match["service"] != one.service:
            yield f"signed for {match['service']}"
        keys = next((k for k in self.keys if k.access_key == match["key"]), None)
        if keys is None:
            yield "unknown key"
            return
        wanted = ["content-type", "host", "x-amz-date"]
        wanted += ["x-amz-security-token"] if keys.session_token else []
        wanted += ["x-amz-target"] if one.service != "sts" else []
        if match["signed"] != ";".join(wanted):
            yield f"signed headers {match['signed']}"
        if one.headers.get("x-amz-security-token", "") != keys.session_token:
            yield "session token"
        if signature_of(one, keys, wanted, date, match["region"]) != match["signature"]:
            yield "signature"

    def _ecr(self, one: Asked) -> Answer:
        if one.action == "CreateRepository":
            name = one.json["repositoryName"]
            if name in self.repositories:
                return refuse("RepositoryAlreadyExistsException", f"{name} already exists")
            self.repositories.add(name)
        if one.action == "DescribeRepositories" and not (
            set(one.json["repositoryNames"]) <= self.repositories
        ):
            return refuse("RepositoryNotFoundException", "no such repository")
        if one.action != "GetAuthorizationToken":
            return Answer()
        password = self.password(self.count("GetAuthorizationToken"))
        data: dict[str, object] = {
            "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
            "expiresAt": self.clock() + self.seconds,
        }
        if one.service == "ecr-public":
            return Answer(body=json.dumps({"authorizationData": data}).encode())
        data["proxyEndpoint"] = f"https://{self.account}.dkr.ecr.{one.region}.amazonaws.com"
        return Answer(body=json.dumps({"authorizationData": [data]}).encode())

    def _sts(self, one: Asked) -> Answer:
        number = len(self.keys)
        keys = AwsKeys(
            access_key=f"ASIASESSION{number}",
            secret_key=f"session/secret+{number}",
            session_token=f"session//token+{number}==",
        )
        self.keys.append(keys)
        end = datetime.fromtimestamp(self.clock() + self.session_seconds, UTC)
        credentials = (
            f"<Credentials><AccessKeyId>{keys.access_key}</AccessKeyId><SecretAccessKey>"
            f"{keys.secret_key}</SecretAccessKey><SessionToken>{keys.session_token}"
            f"</SessionToken><Expiration>{end:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
        )
        body = (
            f'<{one.action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<{one.action}Result>{credentials}</{one.action}Result></{one.action}Response>"
        )
        return Answer(body=body.encode())


def signature_of(one: Asked, keys: AwsKeys, names: list[str], date: str, region: str) -> str:
    """What the signature has to be: botocore's, or where there is none, step by step by hand."""
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        return _by_hand(one, keys, names, date, region)
    url = f"http://{one.headers['host']}/"
    request = AWSRequest("POST", url, {n: one.headers[n] for n in names}, one.body)
    request.context["timestamp"] = date
    frozen_keys = Credentials(str(keys.access_key), str(keys.secret_key), None)
    auth = SigV4Auth(frozen_keys, one.service, region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return str(auth.signature(text, request))


def _by_hand(one: Asked, keys: AwsKeys, names: list[str], date: str, region: str) -> str:
    lines = ["POST", "/", ""]
    lines += [f"{name}:{one.headers[name]}" for name in names]
    lines += ["", ";".join(names), hashlib.sha256(one.body).hexdigest()]
    scope = [date[:8], region, one.service, "aws4_request"]
    hashed = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", date, "/".join(scope), hashed])
    key = b"AWS4" + keys.secret_key.encode()
    for part in (*scope, text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


@contextmanager
def serving(
    answer: Callable[[str, str, Mapping[str, str], bytes], Answer], clock: Callable[[], float]
) -> Iterator[str]:
    """Serve *answer* on loopback, dated by *clock*; the value is the URL, without a slash."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = answer(self.command, self.path, dict(self.headers.items()), body)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        do_GET = do_POST = do_PUT = _any  # noqa: N815

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(clock(), usegmt=True)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@define(eq=False)
class Clock:
    """Seconds since 1970 that stand still until told otherwise."""

    now: float = 1_795_472_679.0

    def __call__(self) -> float:
        return self.now
