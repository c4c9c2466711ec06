"""A stand-in for Google's token services, written from their public documentation; not Google's.

It plays sts.googleapis.com (Security Token Service, method ``token``), iamcredentials.googleapis.com
(``projects.serviceAccounts.generateAccessToken``), oauth2.googleapis.com (refresh tokens) and a
metadata server, and refuses every request that is not in the documented form: method, path,
headers and fields, no more and no fewer.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from attrs import define, field
from stand_in_internet import Answer, Asked, Internet

from buildpush.auth.gar import WorkloadIdentity
from buildpush.auth.oidc import TokenSource

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnktc3ViamVjdCJ9.c2lnbmF0dXJlLWNhbmFyeQ"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
IAM = "https://www.googleapis.com/auth/iam"
FORM = "application/x-www-form-urlencoded"
AUDIENCE = (
    "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci"
    "/providers/github"
)
ACCOUNT = "pusher@acme-prod.iam.gserviceaccount.com"
IMPERSONATION = (
    f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{ACCOUNT}"
    ":generateAccessToken"
)


@define
class GoogleStandIn:
    """What it takes, what it gives out, and the refusals it is told to answer with by host.

    *acting* says that a federated token is wanted to act as a service account, and for no more.
    """

    internet: Internet
    subject: str = field(default="", repr=False)
    federated: str = "ya29.d.federated-canary-1"
    impersonated: str = "ya29.c.impersonated-canary-2"
    refreshed: str = "ya29.a0.refreshed-canary-3"
    machine: str = "ya29.c.machine-canary-4"
    client: tuple[str, str] = ("", "")
    delegates: tuple[str, ...] = ()
    lifetime: int = 3600
    seconds: int = 3599
    acting: bool = True
    project: str = ""
    accounts: tuple[str, ...] = ("default",)
    flavor: str = "Google"
    refusals: dict[str, Answer] = field(factory=dict)
    complaints: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.internet.servers |= {
            "sts.googleapis.com": self._answering(self._sts),
            "iamcredentials.googleapis.com": self._answering(self._iam),
            "oauth2.googleapis.com": self._answering(self._refresh),
            "near": self._answering(self._metadata),
        }

    def _answering(self, play):  # type: ignore[no-untyped-def]
        def answer(asked: Asked) -> Answer:
            try:
                good = play(asked)
            except AssertionError as error:
                self.complaints.append(f"{asked.host}{asked.path}: {error}")
                return Answer(400, {"error": "invalid_request", "error_description": str(error)})
            return self.refusals.get(asked.host, good)

        return answer

    def _sts(self, asked: Asked) -> Answer:
        must(asked.method, "POST")
        must(asked.path, "/v1/token")
        must(dict(asked.query), {})
        must(asked.headers.get("content-type"), FORM)
        wanted = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": AUDIENCE,
            "scope": IAM if self.acting else SCOPE,
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": self.subject,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }
        if self.project:
            wanted["options"] = quote(json.dumps({"userProject": self.project}))
        must(asked.form, wanted)
        must(asked.headers.get("authorization"), basic(self.client))
        return Answer(
            200,
            {
                "access_token": self.federated,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": self.seconds,
            },
        )

    def _iam(self, asked: Asked) -> Answer:
        must(asked.method, "POST")
        must(asked.path, f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken")
        must(asked.headers.get("content-type"), "application/json")
        caller = asked.headers.get("authorization")
        assert caller in (f"Bearer {self.federated}", f"Bearer {self.refreshed}"), "another caller"
        body = json.loads(asked.body)
        must(tuple(body.pop("delegates", None) or ()), self.delegates)
        must(body, {"scope": [SCOPE], "lifetime": f"{self.lifetime}s"})
        end = datetime.fromtimestamp(time.time() + self.lifetime, UTC)
        return Answer(
            200,
            {
                "accessToken": self.impersonated,
                "expireTime": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        )

    def _refresh(self, asked: Asked) -> Answer:
        must(asked.method, "POST")
        must(asked.path, "/token")
        must(asked.headers.get("content-type"), FORM)
        must(asked.headers.get("authorization"), None)
        fields = asked.form
        fields.pop("scope", None)  # optional: RFC 6749, section 6
        must(
            fields,
            {
                "grant_type": "refresh_token",
                "client_id": self.client[0],
                "client_secret": self.client[1],
                "refresh_token": self.subject,
            },
        )
        return Answer(
            200,
            {
                "access_token": self.refreshed,
                "expires_in": self.seconds,
                "scope": SCOPE,
                "token_type": "Bearer",
            },
        )

    def _metadata(self, asked: Asked) -> Answer:
        must(asked.method, "GET")
        must(asked.headers.get("metadata-flavor"), "Google")
        found = re.fullmatch(
            r"/computeMetadata/v1/instance/service-accounts/([^/]+)/token", asked.path
        )
        assert found, "another path"
        headers = {"Metadata-Flavor": self.flavor} if self.flavor else {}
        if found[1] not in self.accounts:
            return Answer(404, b"not found", headers)
        token = {"access_token": self.machine, "expires_in": self.seconds, "token_type": "Bearer"}
        return Answer(200, token, headers)


def must(found: object, wanted: object) -> None:
    """Refuse what is not exactly as documented, without quoting it: it may be a secret."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        wrong = [n for n in {*found, *wanted} if found.get(n) != wanted.get(n)]
        assert not wrong, f"these fields are wrong: {sorted(wrong)}"
    assert found == wanted, f"not as documented: {type(wanted).__name__}"


def basic(pair: tuple[str, str]) -> str | None:
    """A client's id and secret in a header, None without one."""
    if not pair[0]:
        return None
    return f"Basic {base64.b64encode(':'.join(pair).encode()).decode()}"


def external_account(**source: object) -> dict[str, object]:
    """A credential file as `gcloud iam workload-identity-pools create-cred-config` writes it."""
    return {
        "universe_domain": "googleapis.com",
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": IMPERSONATION,
        "credential_source": source,
    }


def authorized_user(google: GoogleStandIn) -> dict[str, object]:
    return {
        "type": "authorized_user",
        "client_id": google.client[0],
        "client_secret": google.client[1],
        "refresh_token": google.subject,
    }


def workload_identity(
    token: TokenSource | Path | str = JWT, service_account: str = ACCOUNT
) -> WorkloadIdentity:
    return WorkloadIdentity(
        project_number="123456789012",
        pool="ci",
        provider="github",
        token=token,
        service_account=service_account,
    )


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
