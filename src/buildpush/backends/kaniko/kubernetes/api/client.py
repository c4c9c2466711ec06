"""The client of one cluster: objects, watches, logs and commands in containers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from .....runtime import CancelToken, Environment, Redactor
from .kinds import Kind, Object

__all__ = ["Change", "Cluster", "Listed", "Log", "Watch"]

Propagation = Literal["Background", "Foreground", "Orphan"]
PatchForm = Literal["merge", "strategic", "json"]
OutputStream = Literal["stdout", "stderr"]


class Listed(NamedTuple):
    """All objects that were asked for, and the version of the list: where a watch goes on."""

    items: tuple[Object, ...]
    version: str


class Change(NamedTuple):
    """What happened to an object: ``ADDED``, ``MODIFIED``, ``DELETED``, or ``BOOKMARK``.

    A bookmark's *thing* has nothing but its ``metadata.resourceVersion``.
    """

    what: str
    thing: Object


class Watch:
    """Changes as they happen. An iterator and a context manager; leave it to end the request.

    It ends when the server ends it, which it may at any time, and when it breaks off: list again
    (or go on from `version`). Raises `failures.Gone` when the version is too old, and the
    reason when the client's token is cancelled.
    """

    @property
    def version(self) -> str:
        """The ``resourceVersion`` that was seen last: where the next watch goes on."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Change]:
        raise NotImplementedError

    def __next__(self) -> Change:
        raise NotImplementedError

    def close(self) -> None:
        """End it, from any thread, at once: the iteration ends without an error."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raise NotImplementedError


class Log:
    """The lines of a container's log as they come, without their ends, in bytes.

    An iterator and a context manager; leave it to end the request. A line of more than 64 KiB
    comes in pieces that each are whole UTF-8. That it ends says nothing of how the container
    did. Raises `failures.BrokenOff` when it breaks off.
    """

    def __iter__(self) -> Iterator[bytes]:
        raise NotImplementedError

    def __next__(self) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        """End it, from any thread, at once: the iteration ends without an error."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raise NotImplementedError


class Cluster:
    """One cluster, as one user of it, in one namespace. Thread-safe; a context manager.

    *namespace* is where namespaced kinds are looked for, *server* its URL, *source* where that
    was found, in words for messages (``context "dev" of /home/me/.kube/config``).

    Every method raises `BackendUnavailableError` (`failures.Unreachable`, `failures.BrokenOff`)
    when the cluster cannot be reached or broke off, after trying again where nothing can have
    happened twice; `AuthError` when it does not know us (401) and `PermissionDeniedError` (403)
    with the verb, the resource and the namespace; `failures.NotThere` (404),
    `failures.Conflict` (409), and `PlanError` with the server's sentence for other refusals.
    """

    namespace: str
    server: str
    source: str

    @classmethod
    def open(
        cls,
        environment: Environment,
        *,
        kubeconfig: Path | None = None,
        context: str = "",
        namespace: str = "",
        cancel: CancelToken | None = None,
        redact: Redactor | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> Cluster:
        """Find the cluster that kubectl would find, and be ready to speak to it.

        *kubeconfig*, else ``KUBECONFIG``, else ``~/.kube/config``, else the service account of
        the pod that we are in; *context* and *namespace* stand in for the file's own. Whatever
        is under way ends when *cancel* flips; without one, only by its own time limits: for
        clearing up. *redact* learns every credential; *on_warning* is told once of each
        ``Warning`` that the server sends, from any thread. Nothing is sent yet. Raises
        `BackendUnavailableError` when there is no such cluster, context or file, and `AuthError`
        when its credentials cannot be had.
        """
        raise NotImplementedError

    def version(self) -> str:
        """What the server says it is: ``v1.36.2``."""
        raise NotImplementedError

    def get(self, kind: Kind, name: str) -> Object:
        """One object."""
        raise NotImplementedError

    def list(
        self, kind: Kind, *, labels: str = "", fields: str = "", everywhere: bool = False
    ) -> Listed:
        """All objects of a kind that the selectors match, in however many pages they come.

        *everywhere* asks for those of all namespaces.
        """
        raise NotImplementedError

    def create(self, kind: Kind, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object; what the server made of it."""
        raise NotImplementedError

    def patch(self, kind: Kind, name: str, body: object, *, form: PatchForm = "merge") -> Object:
        """Change an object; what it is now."""
        raise NotImplementedError

    def delete(
        self,
        kind: Kind,
        name: str,
        *,
        propagation: Propagation = "Background",
        grace: int | None = None,
        uid: str = "",
    ) -> bool:
        """Delete an object, *grace* seconds after telling it; False when there is none.

        With *uid*, only when it is still that one (else `failures.Conflict`).
        """
        raise NotImplementedError

    def watch(
        self,
        kind: Kind,
        *,
        labels: str = "",
        fields: str = "",
        version: str = "",
        seconds: int = 300,
    ) -> Watch:
        """Ask for changes since *version* (of a `Listed`), for at most so many *seconds*.

        Without one it begins with an ``ADDED`` for everything that there is.
        """
        raise NotImplementedError

    def log(
        self,
        pod: str,
        container: str,
        *,
        follow: bool = True,
        since: str = "",
        tail: int | None = None,
        limit: int | None = None,
        timestamps: bool = False,
    ) -> Log:
        """The log of a container: from *since* (RFC 3339), the last *tail* lines, *limit* bytes.

        With *timestamps* each line begins with its own and a space. Raises `failures.NotStarted`
        while there is none: to try again is the caller's.
        """
        raise NotImplementedError

    def execute(
        self,
        pod: str,
        container: str,
        argv: Sequence[str],
        *,
        stdin: Callable[[bool], Iterable[bytes]] | None = None,
        on_output: Callable[[OutputStream, bytes], None] | None = None,
    ) -> int:
        """Run *argv* in a container that runs, and return its exit status.

        *stdin* is called once the command was accepted, with whether its end can be told: a
        server before 1.30 never tells a command that its stdin ended. Its pieces are drawn in
        this thread as fast as the command reads them, and no longer once that has ended.
        *on_output* is called from another thread with what comes out meanwhile; what it raises
        ends the command's connection and is raised here.

        Raises `failures.NotStarted` when the container does not run yet, `failures.BrokenOff`
        when the connection is lost, `PermissionDeniedError` when ``get`` or ``create`` on
        ``pods/exec`` is missing, and `BackendUnavailableError` when *argv* cannot be started.
        """
        raise NotImplementedError

    def may(
        self, verb: str, kind: Kind, *, part: str = "", name: str = "", namespace: str = ""
    ) -> bool:
        """Whether we may do *verb* to a kind, or to a *part* of it such as ``log`` or ``exec``."""
        raise NotImplementedError

    def close(self) -> None:
        """Close every connection; streams that are open end."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raise NotImplementedError
