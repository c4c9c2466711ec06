"""As much of a registry client as the stub's kubelet and its executor need; not buildpush's own."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from attrs import define, field, frozen

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPT: Final = f"{INDEX}, {DOCKER_LIST}, {MANIFEST}, {DOCKER}"


class RegistryRefusal(Exception):
    """The registry said no; the text is what kaniko would say about it."""


@frozen
class Name:
    """A reference, in its parts."""

    host: str
    repository: str
    target: str

    @classmethod
    def parse(cls, text: str) -> Name:
        """``host:port/path:tag`` or ``host:port/path@digest``."""
        rest, _, digest = text.partition("@")
        host, _, path = rest.partition("/")
        if "." not in host and ":" not in host and host != "localhost":
            host, path = "index.docker.io", rest
        path, _, tag = path.partition(":")
        return cls(host, path, digest or tag or "latest")


def digest_of(data: bytes) -> str:
    """``sha256:…``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@define(eq=False)
class Registry:
    """One registry, spoken to by plain HTTP; *config* is a docker config.json, parsed."""

    host: str
    config: Mapping[str, Any] = field(factory=dict)
    _connection: http.client.HTTPConnection | None = None
    _headers: dict[str, str] = field(factory=dict)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()

    def manifest(self, name: Name, architecture: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The manifest and the config of the image for *architecture*."""
        found = json.loads(self._get(name, f"manifests/{name.target}"))
        if "manifests" in found:
            entry = next(
                e for e in found["manifests"] if e["platform"]["architecture"] == architecture
            )
            found = json.loads(self._get(name, f"manifests/{entry['digest']}"))
        config = json.loads(self._get(name, f"blobs/{found['config']['digest']}"))
        return found, config

    def blob(self, name: Name, digest: str) -> bytes:
        """A blob."""
        return self._get(name, f"blobs/{digest}")

    def start_upload(self, name: Name) -> str:
        """Where a blob may be put; also how kaniko checks whether it may push at all."""
        path = f"/v2/{name.repository}/blobs/uploads/"
        status, headers, body = self._ask("POST", path, name, push=True)
        if status != 202:
            raise _refused("POST", self.host, path, status, body)
        return headers["Location"]

    def cancel_upload(self, name: Name, location: str) -> None:
        """Give an upload up."""
        self._ask("DELETE", _path(location), name, push=True)

    def put_blob(self, name: Name, digest: str, data: bytes) -> None:
        """Put a blob, unless it is there."""
        path = f"/v2/{name.repository}/blobs/{digest}"
        if self._ask("HEAD", path, name, push=True)[0] == 200:
            return
        location = _path(self.start_upload(name))
        path, _, query = location.partition("?")
        query = urlencode([*parse_qsl(query), ("digest", digest)])
        status, _, body = self._ask(
            "PUT", f"{path}?{query}", name, data=data, kind="application/octet-stream", push=True
        )
        if status != 201:
            raise _refused("PUT", self.host, path, status, body)

    def put_manifest(self, name: Name, data: bytes, media_type: str) -> None:
        """Put a manifest under the name's tag."""
        path = f"/v2/{name.repository}/manifests/{name.target}"
        status, _, body = self._ask("PUT", path, name, data=data, kind=media_type, push=True)
        if status != 201:
            raise _refused("PUT", self.host, path, status, body)

    def _get(self, name: Name, part: str) -> bytes:
        path = f"/v2/{name.repository}/{part}"
        status, _, body = self._ask("GET", path, name)
        if status != 200:
            raise _refused("GET", self.host, path, status, body)
        return body

    def _ask(
        self,
        method: str,
        path: str,
        name: Name,
        *,
        data: bytes | None = None,
        kind: str = "",
        push: bool = False,
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": _ACCEPT, **({"Content-Type": kind} if kind else {})}
        for attempt in (1, 2):
            answer = self._once(method, path, data, {**headers, **self._headers})
            if answer[0] != 401 or attempt == 2:
                return answer
            challenge = answer[1].get("WWW-Authenticate", "")
            self._headers = self._authorized(challenge, name, push=push)
            if not self._headers:
                return answer
        raise AssertionError

    def _once(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        for fresh in (False, True):
            if self._connection is None or fresh:
                self.close()
                self._connection = http.client.HTTPConnection(self.host, timeout=60)
            try:
                self._connection.request(method, path, body=data, headers=dict(headers))
                response = self._connection.getresponse()
                return response.status, response.headers, response.read()
            except (http.client.HTTPException, OSError) as error:
                if fresh:
                    raise RegistryRefusal(
                        f'{method.title()} "http://{self.host}{path}": {error}'
                    ) from error
        raise AssertionError

    def _authorized(self, challenge: str, name: Name, *, push: bool) -> dict[str, str]:
        """The header for the next try, empty where there is no credential."""
        auths: Mapping[str, Any] = self.config.get("auths") or {}
        entry = auths.get(f"{self.host}/{name.repository}") if not push else None
        entry = entry or auths.get(self.host) or {}
        pair = entry.get("auth", "")
        if challenge.lower().startswith("basic"):
            return {"Authorization": f"Basic {pair}"} if pair else {}
        values = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = urlsplit(values["realm"])
        scope = f"repository:{name.repository}:{'pull,push' if push else 'pull'}"
        query = urlencode({"service": values.get("service", ""), "scope": scope})
        headers = {"Authorization": f"Basic {pair}"} if pair else {}
        status, _, body = self._once("GET", f"{realm.path}?{query}", None, headers)
        if status != 200:
            return {}
        answer = json.loads(body)
        return {"Authorization": f"Bearer {answer.get('token') or answer['access_token']}"}


def basic(user: str, password: str) -> str:
    """The value of ``auth`` in a config.json."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _path(location: str) -> str:
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _refused(method: str, host: str, path: str, status: int, body: bytes) -> RegistryRefusal:
    try:
        errors = json.loads(body)["errors"]
        said = "; ".join(f"{e['code']}: {e.get('message', '')}" for e in errors)
    except (ValueError, KeyError):
        said = f"unexpected status code {status}"
    return RegistryRefusal(f"{method} http://{host}{path}: {said}")
