"""Writing a blob: found there already, mounted from a neighbour, or sent.

Mounts and uploads follow the distribution-spec; `sending` has what happens to the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from attrs import define, field

from ..errors import AuthError, RegistryError
from ..oci import Repository
from ..oci.wire import Descriptor
from .exchange import Call, Exchange
from .limits import Habits, check_size
from .outgoing import Outgoing
from .sending import Sending, Session, begun
from .token import Want

Placed = Literal["exists", "mounted", "uploaded"]

MOST_MOUNTS: Final = 3
"""How many neighbours are asked for a blob: each that has it no more costs one POST."""


def _nothing() -> None:
    pass


@define(eq=False, kw_only=True)
class Upload:
    """One blob on its way to one repository.

    *prepare* is called once, with no request under way, when the bytes will be needed.
    """

    exchange: Exchange
    habits: Habits
    repository: Repository
    descriptor: Descriptor
    open_body: Callable[[], Iterator[bytes]] = field(repr=False)
    mount_from: Sequence[Repository] = ()
    look_first: bool = True
    about: str = ""
    source: Path | None = None
    prepare: Callable[[], None] = _nothing

    def place(self) -> Placed:
        """Make sure the blob is there; each request is retried by itself."""
        check_size(self.repository, self.descriptor)
        if self.look_first and self._is_there():
            return "exists"
        session: Session | None = None
        for origin in self._neighbours():
            mounted, opened = self._mount(origin)
            if mounted:
                return "mounted"
            session = opened or session
        self.prepare()
        outgoing = Outgoing(
            about=self._about,
            descriptor=self.descriptor,
            open_body=self.open_body,
            source=self.source,
        )
        Sending(
            exchange=self.exchange,
            habits=self.habits,
            want=self._want(),
            outgoing=outgoing,
            begin=self._begin,
            arrived=self._arrived if self.look_first else lambda: False,
        ).send(session or self._begin())
        return "uploaded"

    def prove(self) -> None:
        """Begin an upload and cancel it: whoever may do that may push."""
        session = self._begin()
        call = Call(method="DELETE", where=session.location, want=self._want(), about=self._about)
        # Some registries know no DELETE here; they forget an upload that nobody goes on with.
        with suppress(RegistryError, AuthError), self.exchange.send(call):
            pass

    def _want(self, also: Repository | None = None) -> Want:
        return Want(repository=self.repository, access="push", also=also)

    @property
    def _about(self) -> str:
        return self.about or f"uploading blob {self.descriptor.digest} to {self.repository}"

    def _is_there(self) -> bool:
        return self.exchange.retry(
            f"looking for {self.descriptor.digest}",
            lambda: has_blob(self.exchange, self._want(), self.descriptor),
        )

    def _arrived(self) -> bool:
        """Whether the blob is there after all: its answer may have been lost."""
        with suppress(RegistryError, AuthError):
            return has_blob(self.exchange, self._want(), self.descriptor)
        return False

    def _neighbours(self) -> tuple[Repository, ...]:
        here = self.repository
        near = (r for r in self.mount_from if r.host == here.host and r != here)
        return tuple(dict.fromkeys(near))[:MOST_MOUNTS]

    def _mount(self, origin: Repository) -> tuple[bool, Session | None]:
        """Ask for a mount; whether it happened, else the upload that was begun, if one was.

        A registry that will not, for whatever reason, gets the blob by an upload.
        """
        call = Call(
            method="POST",
            where=f"blobs/uploads/?mount={self.descriptor.digest}"
            f"&from={quote(origin.path, safe='/')}",
            want=self._want(also=origin),
            about=f"mounting blob {self.descriptor.digest} from {origin} into {self.repository}",
        )
        try:
            return self.exchange.retry(call.about, lambda: self._mounted(call))
        except (AuthError, RegistryError):
            # The token service may refuse the neighbour's scope; ours is asked for on its own.
            return False, None

    def _mounted(self, call: Call) -> tuple[bool, Session | None]:
        with self.exchange.send(call) as reply:
            match reply.status:
                case 201:
                    return True, None
                case 202:
                    return False, begun(self.exchange, call, reply)
                case _:
                    raise self.exchange.failure(call, reply)

    def _begin(self) -> Session:
        call = Call(method="POST", where="blobs/uploads/", want=self._want(), about=self._about)

        def attempt() -> Session:
            with self.exchange.send(call) as reply:
                if reply.status != 202:
                    raise self.exchange.failure(call, reply)
                return begun(self.exchange, call, reply)

        return self.exchange.retry(call.about, attempt)


def has_blob(exchange: Exchange, want: Want, descriptor: Descriptor) -> bool:
    """Whether a repository has a blob."""
    call = Call(
        method="HEAD",
        where=f"blobs/{descriptor.digest}",
        want=want,
        about=f"looking for blob {descriptor.digest} in {want.repository}",
    )
    with exchange.send(call) as reply:
        if reply.status == 404:
            return False
        if reply.status < 400:  # a redirect to storage says that it is there
            return True
        raise exchange.failure(call, reply)
