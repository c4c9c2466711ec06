"""`explain`: where the credential for a reference is looked for, and why it is found or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from attrs import evolve, field, frozen

from ..errors import AuthError, RegistryError
from ..oci import ImageReference, Repository
from ..runtime import CancelToken, Environment, Redactor
from . import Access, Chain, Consulted, Credential, Keychain, trail
from .bound import within
from .catalog import keychains
from .files import ambient
from .learning import Learnt

__all__ = ["Explanation", "explain"]


@frozen(kw_only=True)
class Explanation:
    """How the credential for *access* to *repository* was looked for. Holds no secret.

    *asked* are the sources in the order in which they were asked, up to the answer. *kind* says
    what was found (``user name and password``) and *source* where; both are empty when nothing
    was. *expires* is when it ends, in seconds since 1970, None when nobody said. *problem* is
    the error that a run would end with.
    """

    repository: Repository
    access: Access
    asked: tuple[Consulted, ...]
    kind: str = ""
    source: str = ""
    expires: float | None = None
    problem: str = ""
    warnings: tuple[str, ...] = field(default=())

    @property
    def anonymous(self) -> bool:
        """Whether nothing is known, so that a registry would be asked by nobody in particular."""
        return not self.kind and not self.problem

    @property
    def overlooked(self) -> tuple[Consulted, ...]:
        """The sources that were set up for this very registry, and have nothing all the same."""
        if self.kind:
            return ()
        return tuple(one for one in self.asked if one.expected)

    def render(self) -> str:
        """The trail, one line for each source, and what it came to."""
        return "\n".join(self._lines())

    def to_json(self) -> dict[str, object]:
        """The same as JSON values."""
        return {
            "repository": str(self.repository),
            "access": self.access,
            "asked": [
                {
                    "source": one.source,
                    "key": one.key,
                    "outcome": one.outcome,
                    "why": one.why,
                    "expected": one.expected,
                }
                for one in self.asked
            ],
            "anonymous": self.anonymous,
            "kind": self.kind,
            "source": self.source,
            "expires": self.expires,
            "problem": self.problem,
            "warnings": list(self.warnings),
        }

    def _lines(self) -> Iterator[str]:
        yield f"credential to {self.access} {self.repository}:"
        yield from (f"  {number}. {one}" for number, one in enumerate(self.asked, start=1))
        if not self.asked:
            yield "  nobody was asked"
        yield from (f"warning: {text}" for text in self.warnings)
        if self.problem:
            yield f"error: {self.problem}"
        elif self.kind:
            until = "" if self.expires is None else f", until {_when(self.expires)}"
            yield f"found: {self.kind}, from {self.source}{until}"
        elif self.access == "pull" or not self.overlooked:
            yield "found: nothing; the registry is asked anonymously"
        else:
            yield "found: nothing, where something was set up; nothing is pushed anonymously then"


def explain(
    reference: str | ImageReference,
    access: Access = "push",
    *,
    auth: Iterable[Keychain | str] = (),
    cancel: CancelToken | None = None,
) -> Explanation:
    """Say where a step looks for the credential for *reference*, and what it finds.

    The sources are those of a step: *auth*, keychains or their names, and then the files of this
    machine's user. Helpers and clouds are asked as in a run; the registry itself is not. What a
    source raises is part of the answer. Raises `InvalidReferenceError` for text that is no
    reference, `PlanError` for a name that no keychain has, and *cancel*'s reason.
    """
    if isinstance(reference, str):
        reference = ImageReference.parse(reference)
    heard: list[str] = []
    redact, token = Redactor(), cancel or CancelToken()
    signed_in = ambient(Environment.current(), heard.append, cancel=token, redact=redact)
    given = within(Chain(keychains(auth)), heard.append, token)
    keychain = Learnt(Chain((given, signed_in)), redact)
    found: Credential | None = None
    problem = ""
    try:
        found = keychain.resolve(reference.repository, access)
    except (AuthError, RegistryError) as error:
        problem = error.message
    asked = trail(keychain, reference.repository, access)
    return Explanation(
        repository=reference.repository,
        access=access,
        asked=tuple(_discreet(one, redact) for one in asked),
        kind=_kind(found) if found else "",
        source=redact(found.source) if found else "",
        expires=found.expires if found else None,
        problem=redact(problem),
        warnings=tuple(map(redact, heard)),
    )


def _discreet(one: Consulted, redact: Redactor) -> Consulted:
    """*one* without the secrets of the credential that was found, whatever a keychain says."""
    return evolve(one, source=redact(one.source), key=redact(one.key), why=redact(one.why))


def _kind(credential: Credential) -> str:
    if credential.registry_token:
        return "a registry token"
    if credential.identity_token:
        return "an identity token"
    return "a user name and a password"


def _when(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "a far day"
