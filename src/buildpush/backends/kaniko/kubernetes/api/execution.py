"""Commands in containers, over a WebSocket: how one is agreed on, fed, and how it ended.

Follows ``v5.channel.k8s.io`` and ``v4.channel.k8s.io``: the first byte of a message is its
channel, 0 to 3 for stdin, stdout, stderr and the Status at the end.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Final, Literal

import httpcore

from .....errors import BackendUnavailableError
from .credentials import Grant
from .dialling import Wire
from .failures import Ask, BrokenOff, NotStarted, not_started
from .pool import mapped
from .transport import CONNECT, Refused, Transport
from .wire import Status

try:
    from websockets.client import ClientProtocol
    from websockets.exceptions import InvalidHandshake, InvalidStatus
    from websockets.typing import Subprotocol
    from websockets.uri import parse_uri
except ImportError as missing:
    raise BackendUnavailableError(
        "running commands in containers of a cluster needs websockets",
        hint='pip install "buildpush[k8s]"',
    ) from missing

from .websocket import Session

__all__ = ["execute"]

_VERSIONS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_PIECE: Final = (1 << 17) - 1
_ANSWER: Final = 30.0
_MESSAGE: Final = 4 << 20
_CODE: Final = re.compile(r"[0-9]{1,9}")


def execute(
    transport: Transport,
    ask: Ask,
    *,
    stdin: Callable[[bool], Iterable[bytes]] | None,
    on_output: Callable[[Literal["stdout", "stderr"], bytes], None] | None,
) -> int:
    """Run what *ask* asks for; its exit status. Raises what `client.Cluster.execute` tells."""
    wire, protocol = transport.attempt(ask, lambda grant: _upgrade(transport, ask, grant))
    can_end = protocol.subprotocol == _VERSIONS[0]
    with Session(wire, protocol, on_output=on_output or _unheard, cancel=transport.cancel) as one:
        if stdin is not None:
            _feed(one, stdin(can_end), can_end=can_end)
        status = one.result()
    if status is None:
        raise BrokenOff(
            f"the cluster at {transport.access.server} broke off ({ask.what}) before it said how"
            " the command ended",
            hint="the node, the API server, or a proxy between them, gave up; try again",
        )
    return _exit_status(transport, ask, status)


def _feed(session: Session, pieces: Iterable[bytes], *, can_end: bool) -> None:
    """Draw *pieces* as long as the command is there to read them."""
    try:
        for piece in pieces:
            for start in range(0, len(piece), _PIECE):
                if not session.send(b"\x00" + piece[start : start + _PIECE]):
                    return
        if can_end:
            session.send(b"\xff\x00")
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def _exit_status(transport: Transport, ask: Ask, status: Status) -> int:
    if status.status == "Success":
        return 0
    if status.reason == "NonZeroExitCode":
        for cause in status.details.causes:
            if cause.reason == "ExitCode" and _CODE.fullmatch(cause.message):
                return int(cause.message)
    said = transport.redact(status.message)[:500]
    kind = NotStarted if not_started(status.message) else BackendUnavailableError
    raise kind(f"the cluster could not run the command ({ask.what}): {said or status.reason}")


def _upgrade(
    transport: Transport, ask: Ask, grant: Grant
) -> tuple[Wire, ClientProtocol] | Refused:
    """Ask for a WebSocket; what goes wrong below it is httpcore's error."""
    uri = parse_uri(f"ws{transport.url(ask).removeprefix('http')}")
    protocol = ClientProtocol(
        uri,
        subprotocols=[Subprotocol(version) for version in _VERSIONS],
        max_size=_MESSAGE,
        # The library's own writes every header to the log, the credential's, too.
        logger=logging.Logger("buildpush.websocket", logging.CRITICAL),  # noqa: LOG001
    )
    request = protocol.connect()
    for name, value in grant.headers:
        request.headers[name] = value
    protocol.send_request(request)
    with mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
        wire = transport.dial(grant)
    try:
        with mapped(httpcore.ReadTimeout, httpcore.ReadError):
            _shake(wire, protocol)
    except BaseException:
        wire.close()
        raise
    failure = protocol.handshake_exc
    if failure is None and protocol.subprotocol is not None:
        return wire, protocol
    wire.close()
    if isinstance(failure, InvalidStatus):
        answer = failure.response
        return Refused(code=answer.status_code, body=bytes(answer.body or b""))
    transport.cancel.check()
    if failure is None or isinstance(failure, InvalidHandshake):
        raise BrokenOff(
            f"what answers at {transport.access.server} does not speak the WebSocket protocol of"
            f" Kubernetes ({failure or 'no version of it'})",
            hint="is there a proxy that does not let WebSockets pass?",
        )
    raise httpcore.ReadError("it hung up") from failure


def _shake(wire: Wire, protocol: ClientProtocol) -> None:
    """Send the request and read until its answer is whole."""
    while True:
        for data in protocol.data_to_send():
            if data:
                wire.send(data, CONNECT)
        if protocol.handshake_exc is not None or protocol.state.name != "CONNECTING":
            return
        data = wire.receive(1 << 16, _ANSWER)
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()


def _unheard(stream: str, data: bytes) -> None:
    """Nobody wants what the command says."""
