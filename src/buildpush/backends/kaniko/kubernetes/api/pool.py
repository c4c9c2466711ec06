"""httpx on connections of our own, which a cancel ends at once: the adapters between the two."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpcore
import httpx

from .....errors import BuildpushError
from .dialling import Dialler, Wire

__all__ = ["Pool", "mapped", "wire_of"]


class Pool(httpx.BaseTransport):
    """httpcore's pool, as httpx wants it, on connections that a cancel ends."""

    def __init__(self, tls: ssl.SSLContext, dialler: Dialler) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=None,
            max_keepalive_connections=16,
            keepalive_expiry=30,
            network_backend=_Backend(dialler),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*; what goes wrong is httpcore's error."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=cast("dict[str, Any]", answer.extensions),
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class _Backend(httpcore.NetworkBackend):
    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - the interface is httpcore's
        socket_options: object = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        with mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            return _Stream(self._dialler.open(host.strip("[]"), port, timeout))


class _Stream(httpcore.NetworkStream):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with mapped(httpcore.ReadTimeout, httpcore.ReadError):
            return self._wire.receive(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with mapped(httpcore.WriteTimeout, httpcore.WriteError):
            self._wire.send(buffer, timeout)

    def close(self) -> None:
        self._wire.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        with mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                self._wire.secure(ssl_context, server_hostname or "", timeout)
            except BaseException:
                self._wire.close()
                raise
        return self

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._wire.tls
            case "is_readable":
                return self._wire.readable()
            case "wire":
                return self._wire
            case _:
                return None


def wire_of(response: httpx.Response) -> Wire:
    """The connection that *response* comes by."""
    stream = response.extensions["network_stream"]
    found = stream.get_extra_info("wire")
    assert isinstance(found, Wire)
    return found


@contextmanager
def mapped(
    timeout: type[httpcore.TimeoutException], fault: type[httpcore.NetworkError]
) -> Generator[None]:
    """Name the system's errors as httpcore does; our own pass, though some are timeouts, too."""
    try:
        yield
    except BuildpushError:
        raise
    except TimeoutError as error:
        raise timeout(str(error)) from error
    except OSError as error:
        raise fault(str(error)) from error
