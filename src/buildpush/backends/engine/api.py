"""The Engine API by unix socket, tcp or TLS: what docker and podman answer, cancellable at once."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Final, Self

import httpx
from attrs import frozen

from ...errors import (
    BackendUnavailableError,
    BuildError,
    BuildpushError,
    HttpEvidence,
    NotFoundError,
)
from ...runtime import CancelToken, Environment
from ...runtime.sockets import Sockets, Watch
from .dialling import knock, not_tls, route, unreachable
from .endpoints import Endpoint
from .objects import objects
from .ssh import Bridge, bridge
from .wire import Info, Said, Version, W, parse

__all__ = ["EngineApi", "EngineInfo", "EngineVersion"]

_LIMIT: Final = 64 << 20
_SAID: Final = 1 << 16
_PATIENCE: Final = 60.0
_CHUNK: Final = 1 << 20
# Where nothing is encrypted, loading the system's authorities is 30 ms for nothing.
_PLAIN: Final = partial(httpx.HTTPTransport, verify=False)
_SNAPSHOTTERS: Final = "io.containerd.snapshotter.v1"


@frozen(kw_only=True)
class EngineVersion:
    """Who answers: *api* is the newest version of the API it speaks, *podman* whether it is one."""

    version: str
    api: str
    os: str
    arch: str
    podman: bool


@frozen(kw_only=True)
class EngineInfo:
    """How an engine is set up.

    *containerd_store*: images are kept by containerd, so the daemon holds indexes and can export
    OCI layouts. *insecure* holds hosts and networks (CIDR); *mirrors* those of Docker Hub.
    """

    driver: str
    containerd_store: bool
    rootless: bool
    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    experimental: bool = False
    os: str = "linux"
    arch: str = ""
    kernel: str = ""
    security: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class EngineApi:
    """A client of one engine. Thread-safe; a context manager.

    *timeout* is how many seconds connecting, and each of `version` and `info`, may take. When
    *cancel* flips every connection is shut, so that whatever is under way raises its reason at
    once. *environment* is for ``ssh://`` endpoints, which are reached by the ``ssh`` command.
    Every method raises `BackendUnavailableError` when the engine is not there, may not be used,
    or breaks off.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cancel: CancelToken,
        timeout: float = 10,
        environment: Environment | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._cancel = cancel
        self._timeout = timeout
        self._stack = ExitStack()
        self._sockets = Sockets(cancel)
        self._bridge: Bridge | None = None
        if endpoint.host.startswith("ssh://"):
            opened = bridge(
                endpoint,
                environment=environment or Environment.current(),
                cancel=cancel,
                timeout=timeout,
            )
            self._bridge = self._stack.enter_context(opened)
        self._way = way = route(endpoint, bridge=self._bridge.path if self._bridge else None)
        self._reached = False
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(
                uds=str(way.socket) if way.socket else None, verify=way.tls, trust_env=False
            ),
            trust_env=False,
            timeout=httpx.Timeout(None, connect=timeout),
            headers={"Accept-Encoding": "identity", "User-Agent": "buildpush"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._sockets.forget()
        self._client.close()
        self._stack.close()

    def version(self) -> EngineVersion:
        """Ask who answers."""
        said = self._ask("/version", Version)
        return EngineVersion(
            version=said.version,
            api=said.api,
            os=said.os,
            arch=said.arch,
            podman=any("podman" in part.name.lower() for part in said.components),
        )

    def info(self) -> EngineInfo:
        """Ask how the engine is set up."""
        said = self._ask("/info", Info)
        return EngineInfo(
            driver=said.driver,
            containerd_store=any(_SNAPSHOTTERS in row for row in said.driver_status),
            rootless=any(text.startswith("name=rootless") for text in said.security_options),
            insecure=said.insecure(),
            mirrors=said.registries.mirrors if said.registries else (),
            experimental=said.experimental,
            os=said.os_type,
            arch=said.architecture,
            kernel=said.kernel,
            security=said.security_options,
            warnings=said.warnings,
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | bool] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] = b"",
        patience: float | None = _PATIENCE,
    ) -> bytes:
        """Send one request and return the answer's body, at most 64 MiB.

        *patience* is how many seconds the engine may be silent, None for ever. Raises
        `NotFoundError` for 404 and `BuildError` for any other refusal, with the engine's words.
        """
        with self._open(method, path, params, headers, body, patience) as response:
            data = self._whole(response, _LIMIT + 1)
        if len(data) > _LIMIT:
            raise BuildError(f"the docker engine's answer to {method} {path} exceeds 64 MiB")
        return data

    def messages(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | bool] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] = b"",
    ) -> Iterator[Mapping[str, object]]:
        """Send one request and yield each JSON object of the answer as soon as it is whole.

        The engine may be silent between two of them for as long as it likes. What goes wrong
        after the answer has begun is an object with ``errorDetail``: it is the caller's to see.
        Raises what `call` raises, before the first object.
        """
        with self._open(method, path, params, headers, body, None) as response:
            yield from objects(self._chunks(response), f"{method} {path}")

    @contextmanager
    def download(
        self,
        path: str,
        *,
        params: Mapping[str, str | int | bool] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[Iterator[bytes]]:
        """Send a GET and give the answer's body as it arrives. Raises what `call` raises."""
        with self._open("GET", path, params, headers, b"", None) as response:
            yield self._chunks(response)

    def _ask(self, path: str, model: type[W]) -> W:
        try:
            answer = self.call("GET", path, patience=self._timeout)
        except (BuildError, NotFoundError) as error:
            place = f"{self._endpoint.host} ({self._endpoint.name})"
            raise BackendUnavailableError(
                f"what answers at {place} is no docker engine, or does not let itself be asked:"
                f" {error.message}",
                evidence=error.evidence,
                hint="set DOCKER_HOST or DOCKER_CONTEXT to an engine",
            ) from error
        return parse(answer, model, f"GET {path}")

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int | bool] | None,
        headers: Mapping[str, str] | None,
        body: bytes | Iterable[bytes],
        patience: float | None,
    ) -> Generator[httpx.Response]:
        """Send one request; the answer, its body unread, when it is not a refusal."""
        self._cancel.check()
        self._knock()
        with self._faults(), Watch(self._sockets) as watch:
            request = self._client.build_request(
                method,
                f"{self._way.base}{path}",
                params=dict(params or {}),
                headers=dict(headers or {}),
                content=self._checked(body),
                timeout=httpx.Timeout(None, connect=self._timeout, read=patience),
            )
            request.extensions["trace"] = watch
            response = self._client.send(request, stream=True)
        try:
            if response.status_code >= 400:
                raise self._refusal(method, path, response)
            yield response
        finally:
            response.close()

    def _knock(self) -> None:
        """See that somebody is there: a socket each time, since its engine may have ended."""
        if self._bridge is not None or (self._reached and self._way.socket is None):
            return
        try:
            knock(self._way, sockets=self._sockets, timeout=self._timeout)
        except OSError as error:
            self._cancel.check()
            raise unreachable(self._endpoint, error) from error
        self._cancel.check()
        self._reached = True

    def _checked(self, body: bytes | Iterable[bytes]) -> bytes | Iterator[bytes] | None:
        if isinstance(body, bytes):
            return body or None
        return self._pieces(body)

    def _pieces(self, body: Iterable[bytes]) -> Iterator[bytes]:
        for piece in body:
            for start in range(0, len(piece), _CHUNK):
                self._cancel.check()
                yield piece[start : start + _CHUNK]

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        with self._faults():
            for chunk in response.iter_raw():
                self._cancel.check()
                yield chunk
            self._cancel.check()

    def _whole(self, response: httpx.Response, limit: int) -> bytes:
        found = bytearray()
        for chunk in self._chunks(response):
            found += chunk
            if len(found) >= limit:
                break
        return bytes(found[:limit])

    def _refusal(self, method: str, path: str, response: httpx.Response) -> BuildpushError:
        status = response.status_code
        detail = _message(self._whole(response, _SAID))
        wants_tls = not_tls(self._endpoint, detail)
        if wants_tls is not None:
            return wants_tls
        evidence = HttpEvidence(method=method, url=path, status=status, detail=detail)
        kind = NotFoundError if status == 404 else BuildError
        return kind(
            f"the docker engine refused: {detail or f'status {status}'}", evidence=(evidence,)
        )

    @contextmanager
    def _faults(self) -> Generator[None]:
        """Turn httpx's errors into ours; a cancelled call raises the reason instead."""
        try:
            yield
        except httpx.HTTPError as error:
            self._cancel.check()
            raise self._unavailable(error) from error

    def _unavailable(self, error: httpx.HTTPError) -> BackendUnavailableError:
        """What *error* means, where connecting and breaking off are different troubles."""
        said = " ".join(dict.fromkeys(self._bridge.said)) if self._bridge else ""
        if said or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return unreachable(self._endpoint, error, said=said)
        place = f"{self._endpoint.host} ({self._endpoint.name})"
        if isinstance(error, httpx.TimeoutException):
            return BackendUnavailableError(
                f"the docker engine at {place} did not answer in time",
                hint="it is overloaded or hung: look at its log, or start it again",
            )
        return BackendUnavailableError(
            f"the docker engine at {place} broke off: {str(error) or type(error).__name__}",
            hint="the daemon ended, or was started again, meanwhile: look at its log",
        )


def _message(data: bytes) -> str:
    try:
        return parse(data, Said, "the answer").message.strip()
    except BackendUnavailableError:
        return data[:500].decode("utf-8", "replace").strip()
