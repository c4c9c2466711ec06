"""Why nobody answers at a remote BuildKit's address: buildx says only that nobody does."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

__all__ = ["why_silent"]

_SECONDS: Final = 2.0
_TLS_OPTIONS: Final = frozenset({"cacert", "cert", "key", "servername"})


def why_silent(address: str, options: Mapping[str, str]) -> str:
    """Connect as buildx would; what went wrong, empty when nothing did or nobody can tell.

    *address* is ``tcp://host:port`` or ``unix:///path``, *options* are the remote driver's.
    """
    parts = urlsplit(address)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_SECONDS)
                connection.connect(parts.path)
            return ""
        if parts.scheme != "tcp" or not parts.hostname:
            return ""
        place = (parts.hostname, parts.port or 1234)
        with socket.create_connection(place, timeout=_SECONDS) as connection:
            return _tls_trouble(connection, parts.hostname, options)
    except TimeoutError:
        return f"it did not answer within {_SECONDS:g} s"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def _tls_trouble(connection: socket.socket, host: str, options: Mapping[str, str]) -> str:
    if not options.keys() & _TLS_OPTIONS:
        return _greeting(connection, "it hung up: does it expect TLS (cacert, cert, key)?")
    try:
        context = ssl.create_default_context(cafile=options.get("cacert"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.set_alpn_protocols(["h2"])
        if options.get("cert"):
            context.load_cert_chain(Path(options["cert"]), options.get("key"))
    except OSError as error:
        return f"the TLS files cannot be used: {error}"
    name = options.get("servername") or host
    try:
        with context.wrap_socket(connection, server_hostname=name) as wrapped:
            return _greeting(wrapped, "it refused this client's certificate, or its absence")
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message}"
    except ssl.SSLError as error:
        return f"TLS failed: {error.reason or error}"


def _greeting(connection: socket.socket, otherwise: str) -> str:
    """HTTP/2 servers speak first; one that hangs up instead did not like what it saw."""
    try:
        return "" if connection.recv(1) else otherwise
    except TimeoutError:
        return ""
    except OSError:
        return otherwise
