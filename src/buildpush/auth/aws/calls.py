"""One question to AWS: signed or not, JSON or form, and its refusals as errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast, runtime_checkable
from xml.etree import ElementTree as ET

from attrs import frozen

from ...errors import AuthError
from ...runtime import CancelToken, Environment
from ..asking import FORM, Answered, ask, form, now
from ..sigv4 import AwsKeys, sign
from .places import Place, partition_of
from .refusals import Refusal, refusal

__all__ = ["Aws", "KeySource"]

_JSON: Final = "application/x-amz-json-1.1"
_TARGETS: Final = {
    "ecr": "AmazonEC2ContainerRegistry_V20150921",
    "ecr-public": "SpencerFrontendService",
}
_STS_VERSION: Final = "2011-06-15"


@frozen(kw_only=True)
class Aws:
    """Who asks, and where: what every source of keys is given.

    *place* is where the registry is; *clock* tells seconds since 1970.
    """

    environment: Environment
    place: Place
    clock: Callable[[], float] = now
    cancel: CancelToken | None = None

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment's variables."""
        return self.environment.variables

    def json(
        self,
        service: str,
        action: str,
        fields: Mapping[str, object],
        keys: AwsKeys,
        *,
        place: Place,
    ) -> Mapping[str, object]:
        """Ask *action* of ECR, signed with *keys*; raises `AuthError` with AWS's reason."""
        url = place.endpoint(service, self.variables)
        body = json.dumps(fields).encode()
        headers = sign(
            keys,
            "POST",
            url,
            headers={"Content-Type": _JSON, "X-Amz-Target": f"{_TARGETS[service]}.{action}"},
            body=body,
            service=service,
            region=place.region,
            at=self.clock(),
        )
        about = f"asking {service}:{action} in {place.region}"
        answered = self._ask(url, headers, body, _JSON, about, place.region)
        if answered.status != 200:
            raise self._refused(answered, _json_refusal(answered), f"{service}:{action}", keys)
        found = _object(answered.data)
        if found is None:
            raise AuthError(f"{about}: the answer is not JSON", evidence=(answered.evidence,))
        return found

    def sts(self, action: str, fields: Mapping[str, str], keys: AwsKeys | None) -> ET.Element:
        """Ask *action* of STS, signed if there are *keys*; the answer is XML without namespaces."""
        place = self._sts_place()
        url = place.endpoint("sts", self.variables)
        body = form({"Action": action, "Version": _STS_VERSION, **fields})
        headers = {"Content-Type": FORM}
        if keys is not None:
            headers = sign(
                keys,
                "POST",
                url,
                headers=headers,
                body=body,
                service="sts",
                region=place.region,
                at=self.clock(),
            )
        about = f"asking sts:{action} in {place.region}"
        answered = self._ask(url, headers, body, FORM, about, place.region)
        root = _xml(answered.data)
        if answered.status != 200:
            code, message = _text(root, "Code"), _text(root, "Message")
            raise self._refused(
                answered,
                (code, message),
                f"sts:{action}",
                keys,
                secret=fields.get("WebIdentityToken", ""),
            )
        if root is None:
            raise AuthError(f"{about}: the answer is not XML", evidence=(answered.evidence,))
        return root

    def _sts_place(self) -> Place:
        """The region that the environment names if it can speak for the registry's, or that one."""
        true = "true"
        named = self.variables.get("AWS_REGION") or self.variables.get("AWS_DEFAULT_REGION") or ""
        own = self.place.region
        fits = named and partition_of(named) == partition_of(own)
        return Place(
            region=named if fits else own,
            fips=self.variables.get("AWS_USE_FIPS_ENDPOINT", "").lower() == true,
            dual=self.variables.get("AWS_USE_DUALSTACK_ENDPOINT", "").lower() == true,
        )

    def _ask(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        content_type: str,
        about: str,
        region: str,
    ) -> Answered:
        from ...http.answers import FinalError

        sent = {name: value for name, value in headers.items() if name != "Content-Type"}
        try:
            return ask(
                "POST",
                url,
                headers=sent,
                body=body,
                content_type=content_type,
                about=about,
                environment=self.environment,
                cancel=self.cancel,
            )
        except FinalError as error:
            raise FinalError(
                error.message, hint=f"{error.hint}; is {region} a region of AWS?"
            ) from error

    def _refused(
        self,
        answered: Answered,
        said: tuple[str, str],
        action: str,
        keys: AwsKeys | None,
        secret: str = "",
    ) -> Exception:
        return refusal(
            Refusal(
                code=said[0],
                message=said[1],
                action=action,
                source=keys.source if keys is not None else "",
                date=answered.header("date"),
            ),
            secrets=(
                secret,
                *((keys.access_key, keys.secret_key, keys.session_token) if keys else ()),
            ),
            evidence=answered.evidence,
            clock=self.clock(),
        )


@runtime_checkable
class KeySource(Protocol):
    """Where keys come from; `AwsKeys` are their own source."""

    def keys(self, aws: Aws, /) -> AwsKeys:
        """The keys, as fresh as can be had; raises `AuthError` when there are none."""
        ...


def _json_refusal(answered: Answered) -> tuple[str, str]:
    found = _object(answered.data) or {}
    code = str(found.get("__type") or answered.header("x-amzn-errortype"))
    message = found.get("message") or found.get("Message")
    return code.rpartition("#")[2].partition(":")[0], message if isinstance(message, str) else ""


def _object(data: bytes) -> Mapping[str, object] | None:
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else None


def _xml(data: bytes) -> ET.Element | None:
    text = data.decode("utf-8", "replace")
    # Without a document type there are no entities, and so nothing that could grow.
    if "<!" in text:
        return None
    try:
        root = ET.fromstring(text)  # noqa: S314
    except (ET.ParseError, ValueError):
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _text(root: ET.Element | None, name: str) -> str:
    return (root.findtext(f".//{name}") or "").strip() if root is not None else ""
