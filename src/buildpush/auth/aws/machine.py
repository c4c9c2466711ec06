"""Keys that the machine gives to what runs on it: containers of ECS and EKS, instances of EC2.

Follows "Container credential provider" of the AWS SDKs' reference, and IMDSv2.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import quote, urlsplit

from attrs import frozen

from ...errors import AuthError, RegistryUnavailableError
from ...http.trust import hostname, is_loopback
from ...runtime import CancelToken, Deadline, Hidden
from ...runtime.retry import RetryPolicy
from ..asking import Answered, ask
from ..sigv4 import AwsKeys
from .calls import Aws
from .roles import made

__all__ = ["ContainerKeys", "InstanceKeys"]

RELATIVE: Final = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_TOKEN: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - a variable's name
_TOKEN_FILE: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105
_ECS: Final = "http://169.254.170.2"
_AGENTS: Final = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")
)
_IMDS: Final = "http://169.254.169.254"
_IMDS6: Final = "http://[fd00:ec2::254]"
_ROLES: Final = "latest/meta-data/iam/security-credentials/"
_PATIENCE: Final = 2.0
_ONCE: Final = RetryPolicy(attempts=1)
_NAMES: Final = ("AccessKeyId", "SecretAccessKey", "Token")


@frozen
class ContainerKeys:
    """The keys of a task of ECS, or of a pod by EKS Pod Identity."""

    def keys(self, aws: Aws, /) -> AwsKeys:
        """Ask the container's agent; raises `AuthError` when it may not be, or has none."""
        url = self._url(aws.variables)
        headers = {"Accept": "application/json"}
        token = self._token(aws)
        if token:
            headers["Authorization"] = token
        answered = ask(
            "GET",
            url,
            headers=headers,
            about="asking the container's agent for keys",
            environment=aws.environment,
            near=urlsplit(url).scheme == "http",
            cancel=aws.cancel,
        )
        return _read(answered, "the container's role")

    def _url(self, variables: Mapping[str, str]) -> str:
        relative, full = variables.get(RELATIVE, ""), variables.get(FULL, "")
        if relative:
            if not relative.startswith("/"):
                raise AuthError(f"{RELATIVE} does not begin with a slash")
            return _ECS + relative
        if not full:
            raise AuthError(f"neither {RELATIVE} nor {FULL} is set")
        if not _is_agent(full):
            raise AuthError(
                f"{FULL} names {hostname(urlsplit(full).netloc) or 'no host'}, which is not asked"
                " for keys in the clear",
                hint="https:// may be anywhere; http:// is for this machine and for the agents of"
                " ECS and EKS",
            )
        return full

    def _token(self, aws: Aws) -> str:
        """What proves to the agent who we are; its file is read anew each time."""
        path = aws.variables.get(_TOKEN_FILE, "")
        text = aws.variables.get(_TOKEN, "")
        if path:
            try:
                text = (aws.environment.cwd / path).read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise AuthError(
                    f"{path}, named in {_TOKEN_FILE}, cannot be read: {type(error).__name__}"
                ) from None
            text = text.strip()
        if not text.isascii() or not text.isprintable():
            raise AuthError(f"what {_TOKEN_FILE if path else _TOKEN} gives is no token")
        return Hidden(text)


@frozen
class InstanceKeys:
    """The keys of the role that an instance of EC2 runs as."""

    def keys(self, aws: Aws, /) -> AwsKeys:
        """Ask the instance's metadata; raises `AuthError` when there is none, or no role."""
        if aws.variables.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise AuthError("AWS_EC2_METADATA_DISABLED says not to ask for an instance's role")
        six = aws.variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6"
        base = aws.variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or (_IMDS6 if six else _IMDS)
        base = base.rstrip("/") + "/"
        wait = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        given = self._ask(aws, "PUT", f"{base}latest/api/token", wait)
        token = given.data.decode("ascii", "replace").strip()
        if given.status != 200 or not token.isprintable():
            raise AuthError(
                "the instance's metadata service gives out no token", evidence=(given.evidence,)
            )
        proof = {"X-aws-ec2-metadata-token": Hidden(token)}
        listed = self._ask(aws, "GET", f"{base}{_ROLES}", proof)
        role = listed.data.decode("utf-8", "replace").strip().partition("\n")[0]
        if listed.status != 200 or not role:
            raise AuthError("this instance runs as no role", evidence=(listed.evidence,))
        answered = self._ask(aws, "GET", f"{base}{_ROLES}{quote(role, safe='')}", proof)
        return _read(answered, f"the instance's role {role}")

    def _ask(self, aws: Aws, method: str, url: str, headers: Mapping[str, str]) -> Answered:
        """One request, which is not waited for: where there is no such server, nobody answers."""
        limit = CancelToken()
        undo = aws.cancel.on_cancel(limit.cancel) if aws.cancel is not None else None
        try:
            with Deadline(limit, _PATIENCE):
                return ask(
                    method,
                    url,
                    headers=headers,
                    about="asking for the instance's role",
                    environment=aws.environment,
                    near=True,
                    seconds=_PATIENCE,
                    policy=_ONCE,
                    cancel=limit,
                )
        except TimeoutError as error:
            raise RegistryUnavailableError(
                "asking for the instance's role: nobody answers, so this is no instance of EC2"
            ) from error
        finally:
            if undo is not None:
                undo()


def _is_agent(url: str) -> bool:
    """Whether *url* may be asked for keys: a server that proves who it is, or a machine's own."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme != "http":
        return False
    if is_loopback(parts.netloc):
        return True
    try:
        return ipaddress.ip_address(hostname(parts.netloc)) in _AGENTS
    except ValueError:
        return False


def _read(answered: Answered, source: str) -> AwsKeys:
    try:
        found: object = json.loads(answered.data)
    except (ValueError, RecursionError):
        found = None
    if answered.status != 200 or not isinstance(found, dict):
        raise AuthError(
            f"{source} has no keys: it answered HTTP {answered.status}",
            evidence=(answered.evidence,),
        )
    parts = cast("Mapping[str, object]", found)
    code = str(parts.get("Code", "Success"))
    if code != "Success":
        said = code if re.fullmatch(r"[A-Za-z]{1,80}", code) else "it says so"
        raise AuthError(f"{source} has no keys: {said}", evidence=(answered.evidence,))
    return made(parts, source, str(parts.get("Expiration", "")), names=_NAMES)
