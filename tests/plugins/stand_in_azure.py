"""A stand-in for Microsoft Entra, a registry of Azure's and its machines; not Microsoft's.

Written from the public documentation: the OAuth 2.0 client credentials flow (with a secret, and
with a client assertion), Azure Container Registry's "AAD-OAuth" (``/oauth2/exchange`` and
``/oauth2/token``), and the managed identities of virtual machines, App Service and Azure Arc. It
refuses every request that is not in the documented form: method, path, headers and fields.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from stand_in_google import FORM, must
from stand_in_internet import Answer, Asked, Internet

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
REGISTRY = "acme.azurecr.io"
MANIFEST = json.dumps(
    {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
).encode()


def jwt(name: str, expires: float) -> str:
    """A JSON web token of the form that Microsoft's have, whose signature says *name*."""
    parts = (json.dumps({"alg": "RS256"}), json.dumps({"exp": int(expires)}), f"{name}-canary")
    return ".".join(base64.urlsafe_b64encode(p.encode()).rstrip(b"=").decode() for p in parts)


@define
class AzureStandIn:
    """What it takes, what it gives out, and the refusals it is told to answer with by host."""

    internet: Internet
    ends: float = 20_000.0
    secret: str = "client-secret-canary"
    assertion: str = ""
    tenant: str = TENANT
    host: str = REGISTRY
    authority: str = "login.microsoftonline.com"
    resource: str = "https://containerregistry.azure.net"
    identity: str = ""
    header: str = ""
    arc: Path | None = None
    refusals: dict[str, Answer] = field(factory=dict)
    complaints: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.place()

    def place(self) -> None:
        """Put the servers where they are now to be."""
        self.internet.servers |= {
            self.authority: self._answering(self._entra),
            self.host: self._answering(self._registry),
            "near": self._answering(self._machine),
        }

    @property
    def entra(self) -> str:
        return jwt("entra", self.ends)

    @property
    def refresh(self) -> str:
        return jwt("refresh", self.ends)

    @property
    def access(self) -> str:
        return jwt("access", self.ends)

    def _answering(self, play: Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
        def answer(asked: Asked) -> Answer:
            try:
                good = play(asked)
            except AssertionError as error:
                self.complaints.append(f"{asked.host}{asked.path}: {error}")
                return Answer(400, {"error": "invalid_request", "error_description": str(error)})
            return self.refusals.get(asked.host, good)

        return answer

    def _entra(self, asked: Asked) -> Answer:
        must(asked.method, "POST")
        must(asked.path, f"/{TENANT}/oauth2/v2.0/token")
        must(asked.headers.get("content-type"), FORM)
        must(asked.headers.get("authorization"), None)
        proof = {"client_secret": self.secret}
        if self.assertion:
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            proof = {"client_assertion_type": kind, "client_assertion": self.assertion}
        must(
            asked.form,
            {
                "grant_type": "client_credentials",
                "client_id": CLIENT,
                "scope": f"{self.resource}/.default",
                **proof,
            },
        )
        return Answer(
            200,
            {
                "token_type": "Bearer",
                "expires_in": 3599,
                "ext_expires_in": 3599,
                "access_token": self.entra,
            },
        )

    def _registry(self, asked: Asked) -> Answer:
        match asked.method, asked.path:
            case "POST", "/oauth2/exchange":
                must(asked.headers.get("content-type"), FORM)
                must(asked.headers.get("authorization"), None)
                wanted = {
                    "grant_type": "access_token",
                    "service": self.host,
                    "access_token": self.entra,
                }
                must(asked.form, {**wanted, **({"tenant": self.tenant} if self.tenant else {})})
                return Answer(200, {"refresh_token": self.refresh})
            case "POST", "/oauth2/token":
                return self._token(asked)
            case (("GET" | "HEAD"), "/v2/app/manifests/1"):
                return self._manifest(asked)
            case _:
                raise AssertionError("another method or path")

    def _token(self, asked: Asked) -> Answer:
        must(asked.headers.get("content-type"), FORM)
        must(asked.headers.get("authorization"), None)
        fields = asked.form
        fields.pop("client_id", None)  # the OAuth2 specification of registries wants one
        must(
            fields,
            {
                "grant_type": "refresh_token",
                "service": self.host,
                "scope": "repository:app:pull",
                "refresh_token": self.refresh,
            },
        )
        return Answer(200, {"access_token": self.access})

    def _manifest(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {self.access}":
            realm = f"https://{self.host}/oauth2/token"
            challenge = f'Bearer realm="{realm}",service="{self.host}",scope="repository:app:pull"'
            return Answer(401, {"errors": []}, {"WWW-Authenticate": challenge})
        digest = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
        kind = "application/vnd.oci.image.index.v1+json"
        return Answer(200, MANIFEST, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _machine(self, asked: Asked) -> Answer:
        must(asked.method, "GET")
        version, header = "2018-02-01", ("metadata", "true")
        if self.header:
            version, header = "2019-08-01", ("x-identity-header", self.header)
        elif self.arc is not None:
            version = "2020-06-01"
        must(asked.headers.get(header[0]), header[1])
        path = "/msi/token" if self.header else "/metadata/identity/oauth2/token"
        must(asked.path, path)
        query = {"api-version": version, "resource": self.resource}
        must(
            dict(asked.query), {**query, **({"client_id": self.identity} if self.identity else {})}
        )
        if self.arc is not None:
            proof = f"Basic {self.arc.read_text().strip()}" if self.arc.is_file() else ""
            if not proof or asked.headers.get("authorization") != proof:
                return Answer(401, b"", {"WWW-Authenticate": f"Basic realm={self.arc}"})
        token = {
            "access_token": self.entra,
            "client_id": CLIENT,
            "expires_in": "86399",
            "expires_on": str(int(self.ends)),
            "resource": self.resource,
            "token_type": "Bearer",
        }
        return Answer(200, token)
