"""`PrivateCa`: certificates for a `LocalRegistry` that speaks TLS, and for its clients.

    authority = PrivateCa()
    with LocalRegistry(tls=authority.server("127.0.0.1")) as registry:
        push_something_to(registry, trusting=authority.file(tmp_path))

It needs the package trustme, which buildpush does not install.
"""

from __future__ import annotations

import ssl
from pathlib import Path

__all__ = ["PrivateCa"]


class PrivateCa:
    """A certificate authority that nobody trusts until they are given its file."""

    def __init__(self) -> None:
        try:
            import trustme
        except ImportError as error:
            raise ImportError("buildpush.testing.PrivateCa needs the package trustme") from error
        self._authority = trustme.CA()

    def file(self, folder: Path) -> Path:
        """Write the authority's certificate into *folder*, as PEM; its path."""
        path = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(path))
        return path

    def server(self, *names: str, clients: bool = False) -> ssl.SSLContext:
        """A server's context for these host names and addresses.

        With *clients*, only clients with a certificate of this authority are let in.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            self._authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
        return context

    def client(self, folder: Path, name: str = "client") -> tuple[Path, Path]:
        """Write a client's certificate and its key into *folder*; their paths."""
        issued = self._authority.issue_cert(f"{name}@example.org", common_name=name)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key
