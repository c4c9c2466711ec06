"""How a cluster's TLS is checked, and how a client certificate is shown to it."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path
from typing import Any, Final

from .....errors import AuthError, BackendUnavailableError
from .....runtime import Environment
from .config import Access
from .credentials import Grant

__all__ = ["default_context", "make_context"]

_LOAD: Final = "the certificates named by SSL_CERT_FILE or SSL_CERT_DIR cannot be read"


class _Context(ssl.SSLContext):
    """Expects another name in the server's certificate than the one it was dialled by."""

    name: str = ""

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        if self.name:
            options["server_hostname"] = self.name
        return super().wrap_bio(*args, **options)


def make_context(access: Access, grant: Grant, environment: Environment) -> ssl.SSLContext:
    """The TLS that *access* asks for, with the certificate of *grant*.

    Raises `BackendUnavailableError` or `AuthError` when its certificates cannot be used.
    """
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.name = access.server_name
    # Authorities that clusters make for themselves lack what Python 3.13's strictness wants.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if access.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif access.ca:
        _trust(context, access)
    else:
        _trust_system(context, environment)
    if grant.cert:
        _show(context, grant, access, environment.temporary)
    return context


def default_context(environment: Environment) -> ssl.SSLContext:
    """TLS as the system trusts it: for proxies."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust_system(context, environment)
    return context


def _trust(context: ssl.SSLContext, access: Access) -> None:
    try:
        # Bundles have comments in any language; OpenSSL wants ASCII, and does not need them.
        context.load_verify_locations(cadata=access.ca.read().decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        place = access.ca.path or f"in {access.source}"
        raise BackendUnavailableError(
            f"the certificate-authority {place} cannot be used: {error}",
            hint="it is to be one or more certificates in PEM form",
        ) from error


def _trust_system(context: ssl.SSLContext, environment: Environment) -> None:
    file = environment.variables.get("SSL_CERT_FILE")
    folder = environment.variables.get("SSL_CERT_DIR")
    try:
        if file or folder:
            context.load_verify_locations(cafile=file or None, capath=folder or None)
            return
        context.load_default_certs()
    except OSError as error:
        raise BackendUnavailableError(f"{_LOAD}: {error}") from error
    import certifi  # comes with httpx; slim images have no authorities of their own

    context.load_verify_locations(certifi.where())


def _show(context: ssl.SSLContext, grant: Grant, access: Access, folder: Path) -> None:
    """Load the client certificate: Python reads it from a file only, which lives for that."""
    try:
        handle, name = tempfile.mkstemp(prefix="buildpush-", dir=folder)
    except OSError as error:
        raise BackendUnavailableError(
            f"no file for the client certificate can be made in {folder}: {error.strerror}",
            hint="set TMPDIR to a folder that can be written to",
        ) from error
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(grant.cert.rstrip() + b"\n" + grant.key)
        context.load_cert_chain(path, password=_no_password)
    except (OSError, ValueError):
        # `from None`: what OpenSSL says of PEM it cannot read is not worth quoting a key for.
        raise AuthError(
            f"the client certificate of {access.source} cannot be used with its key",
            hint="both are to be in PEM form, belong together, and the key is to have no password",
        ) from None
    finally:
        path.unlink()


def _no_password() -> bytes:
    """Otherwise OpenSSL asks the terminal."""
    return b""
