"""Keys of a role: assumed with an identity token or with other keys, for an hour.

Follows STS's AssumeRole and AssumeRoleWithWebIdentity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from attrs import field, frozen

from ...errors import AuthError
from ..oidc import TokenSource, Wanted, as_token_source
from ..sigv4 import AwsKeys
from .calls import Aws, KeySource

__all__ = ["AssumedRole", "WebIdentity", "parse_time"]

AUDIENCE: Final = "sts.amazonaws.com"
_SESSION: Final = "buildpush"
_ARN: Final = re.compile(r"arn:[\w-]+:iam::\d{12}:role/\S+")
_HOUR: Final = 3600


def _role_arn(_: object, __: object, value: str) -> None:
    if not _ARN.fullmatch(value):
        raise AuthError(
            f"{value!r} is not the ARN of a role",
            hint="it is written as in arn:aws:iam::123456789012:role/push",
        )


def _session_name(_: object, __: object, value: str) -> None:
    if value and not re.fullmatch(r"[\w+=,.@-]{2,64}", value, re.ASCII):
        raise AuthError(
            f"{value!r} cannot name a session of AWS",
            hint="2 to 64 letters, digits and any of _+=,.@-",
        )


@frozen(kw_only=True)
class WebIdentity:
    """The keys of *role*, got for an OpenID Connect token and no other secret.

    *token* is where it comes from: a source such as `GithubOidc`, the path of a file, or the
    token itself as a text. *session* is how AWS's logs call us.
    """

    role: str = field(validator=_role_arn)
    token: TokenSource | Path | str = field(repr=False)
    session: str = field(default="", validator=_session_name)

    def keys(self, aws: Aws, /) -> AwsKeys:
        """Trade the token; raises `AuthError` when AWS does not take it."""
        wanted = Wanted(audience=AUDIENCE, environment=aws.environment, cancel=aws.cancel)
        fields = {
            "RoleArn": self.role,
            "RoleSessionName": self.session or _SESSION,
            "WebIdentityToken": as_token_source(self.token).token(wanted),
        }
        answer = aws.sts("AssumeRoleWithWebIdentity", fields, None)
        return _keys(answer, f"{_name(self.role)} by web identity")


@frozen(kw_only=True)
class AssumedRole:
    """The keys of *role*, assumed by whoever owns *keys*; those may be of a role themselves.

    *external_id* is what the owner of the role may demand, *session* how AWS's logs call us,
    *seconds* how long the keys are to hold.
    """

    role: str = field(validator=_role_arn)
    source: KeySource
    external_id: str = field(default="", repr=False)
    session: str = field(default="", validator=_session_name)
    seconds: int = _HOUR

    def keys(self, aws: Aws, /) -> AwsKeys:
        """Assume the role; raises `AuthError` when AWS does not let us."""
        own = self.source.keys(aws)
        fields = {
            "RoleArn": self.role,
            "RoleSessionName": self.session or _SESSION,
            "ExternalId": self.external_id,
            "DurationSeconds": str(self.seconds),
        }
        answer = aws.sts("AssumeRole", fields, own)
        return _keys(answer, f"{_name(self.role)} by {own.source}")


def _name(arn: str) -> str:
    """A role as messages call it: its name and its account."""
    account, _, path = arn.partition("::")[2].partition(":role/")
    return f"role {path.rpartition('/')[2]} of {account}"


def _keys(answer: ET.Element, source: str) -> AwsKeys:
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    found = {name: (answer.findtext(f".//Credentials/{name}") or "").strip() for name in names}
    return made(found, source, answer.findtext(".//Credentials/Expiration") or "", names=names)


def made(
    found: Mapping[str, object], source: str, expiration: str, *, names: tuple[str, str, str]
) -> AwsKeys:
    """The keys that an answer holds under *names*; raises `AuthError` when one is missing."""
    parts = [str(found.get(name) or "") for name in names]
    if not all(parts):
        absent = ", ".join(name for name, part in zip(names, parts, strict=True) if not part)
        raise AuthError(f"the answer with the keys of {source} lacks {absent}")
    return AwsKeys(
        access_key=parts[0],
        secret_key=parts[1],
        session_token=parts[2],
        source=source,
        expires=parse_time(expiration),
    )


def parse_time(text: str) -> float | None:
    """ISO 8601 in seconds since 1970; None when it is not that."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return when.timestamp() if when.tzinfo else None
