"""The managed identity of a machine of Azure's: App Service, Azure Arc, or any virtual machine.

Follows Microsoft's "How managed identities work" for each of the three.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from attrs import frozen

from ...errors import AuthError, RegistryUnavailableError
from ...runtime import Hidden
from ..asking import PATIENCE, PROBE, Answered, ask
from ..keeping import Token
from .exchange import Azure, granted
from .refusals import machine_said

__all__ = ["ARC_KEYS", "VARIABLES", "managed"]

ARC_KEYS: Final = Path("/var/opt/azcmagent/tokens")
"""Where Azure Arc puts the keys that prove that a caller is on the machine."""
VARIABLES: Final = (
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IMDS_ENDPOINT",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
)
_IMDS: Final = "http://169.254.169.254"
_LONGEST_KEY: Final = 4096
_PROBE_SECONDS: Final = 2.0


@frozen(kw_only=True)
class _Endpoint:
    """One place to ask: its *name* for messages, its version, and the header it wants."""

    name: str
    url: str
    version: str
    headers: Mapping[str, str]
    arc: bool = False


def managed(azure: Azure, client: str, *, probe: bool) -> Token | str:
    """The token of this machine's identity, or why there is none.

    *client* is the client id of one of several identities, empty for the machine's own. A *probe*
    does not wait long, since this may be no machine of Azure's.
    """
    endpoint = _endpoint(azure)
    query = {"api-version": endpoint.version, "resource": azure.resource}
    if client:
        query["client_id"] = client
    url = f"{endpoint.url}{'&' if '?' in endpoint.url else '?'}{urlencode(query)}"
    about = f"asking {endpoint.name} for a token"
    try:
        headers = endpoint.headers
        answered = _ask(azure, url, about, headers, probe=probe)
        if endpoint.arc and answered.status == 401:
            headers = {**headers, "Authorization": _arc_key(answered, about)}
            answered = _ask(azure, url, about, headers, probe=probe)
    except RegistryUnavailableError as error:
        return error.message
    if answered.status != 200:
        return f"{endpoint.name} gives no token: {machine_said(answered, *headers.values())}"
    try:
        return granted(answered, about, azure.clock)
    except AuthError as error:
        if probe:  # whatever answers there, it is no endpoint of Azure's
            return error.message
        raise


def _endpoint(azure: Azure) -> _Endpoint:
    endpoint, header, arc, pod = (azure.environment.variables.get(name, "") for name in VARIABLES)
    if endpoint and header:
        return _Endpoint(
            name="the managed identity of App Service",
            url=endpoint,
            version="2019-08-01",
            headers={"X-IDENTITY-HEADER": Hidden(header)},
        )
    if endpoint and arc:
        return _Endpoint(
            name="the managed identity of Azure Arc",
            url=endpoint,
            version="2020-06-01",
            headers={"Metadata": "true"},
            arc=True,
        )
    return _Endpoint(
        name="Azure's metadata server",
        url=f"{pod.rstrip('/') or _IMDS}/metadata/identity/oauth2/token",
        version="2018-02-01",
        headers={"Metadata": "true"},
    )


def _ask(
    azure: Azure, url: str, about: str, headers: Mapping[str, str], *, probe: bool
) -> Answered:
    return ask(
        "GET",
        url,
        about=about,
        environment=azure.environment,
        headers=headers,
        near=True,
        seconds=_PROBE_SECONDS if probe else 10.0,
        policy=PROBE if probe else PATIENCE,
        cancel=azure.cancel,
    )


def _arc_key(answered: Answered, about: str) -> str:
    """Read the file that Arc's challenge names, which only users of the machine can."""
    found = re.fullmatch(
        r"(?i:basic)\s+(?i:realm)=\"?([^\",]+)\"?", answered.header("www-authenticate")
    )
    path = Path(found[1]) if found else Path()
    if path.parent != ARC_KEYS or path.suffix != ".key":
        raise AuthError(
            f"{about}: it names no key file in {ARC_KEYS}", evidence=(answered.evidence,)
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AuthError(
            f"{about}: its key {path} cannot be read: {error.strerror}",
            hint="is this user in the group himds?",
        ) from error
    if len(data) > _LONGEST_KEY:
        raise AuthError(f"{about}: its key {path} is longer than {_LONGEST_KEY} bytes")
    return Hidden(f"Basic {data.decode('ascii', 'replace').strip()}")
