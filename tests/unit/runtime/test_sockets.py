"""Sockets that a cancel shuts down."""

import socket
import ssl

from buildpush.runtime import CancelToken
from buildpush.runtime.sockets import Sockets

PATIENCE = 10.0


def test_a_connection_made_while_cancelling_is_shut_too() -> None:
    """A socket that is opened a moment too late does not escape."""
    cancel = CancelToken()
    sockets = Sockets(cancel)
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    with ours, theirs:
        cancel.cancel()

        sockets.add(ours)

        assert theirs.recv(1) == b""


def test_a_wrapped_socket_stays_wrapped_when_it_is_shut() -> None:
    """Later reads must not return ciphertext as if it were plain text."""
    cancel = CancelToken()
    sockets = Sockets(cancel)
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with theirs, context.wrap_socket(ours, do_handshake_on_connect=False) as wrapped:
        sockets.add(wrapped)

        cancel.cancel()

        assert theirs.recv(1) == b""
        assert isinstance(wrapped._sslobj, object) and wrapped._sslobj is not None
