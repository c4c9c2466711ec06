"""GitHub's container registry, with the token that a job of GitHub Actions or ``gh`` has anyway."""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from ..oci import Repository
from ..runtime import Environment, Hidden
from . import Access, Consulted, Credential

__all__ = ["GhcrKeychain"]

_HOST: Final = "ghcr.io"
_VARIABLES: Final = ("GITHUB_TOKEN", "GH_TOKEN")
_ANYBODY: Final = "x-access-token"
_PERSON: Final = "a personal token (classic) needs write:packages to push"
_JOB: Final = (
    "GitHub gives a job its token only if asked: env: GITHUB_TOKEN: ${{ github.token }}, with"
    " permissions: packages: write"
)


def _hide(value: str) -> str:
    return Hidden(value.strip())


@frozen(kw_only=True)
class GhcrKeychain:
    """Logs in to ghcr.io, and to nothing else.

    *token* is one of a job, or a personal one (classic); by default what ``GITHUB_TOKEN`` or
    ``GH_TOKEN`` holds. *username* is by default ``GITHUB_ACTOR``: GitHub looks at the token only.
    """

    token: str = field(default="", repr=False, converter=_hide)
    username: str = ""
    environment: Environment | None = field(default=None, repr=False)

    def resolve(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - what a token may do is GitHub's to say
    ) -> Credential | None:
        """The token for *repository*; None when it is not on ghcr.io, or nobody gave one."""
        if repository.host != _HOST:
            return None
        variables = (self.environment or Environment.current()).variables
        found = [(self.token, "GhcrKeychain(token=…)")]
        found += [(variables.get(name, "").strip(), name) for name in _VARIABLES]
        for token, source in found:
            if token:
                username = self.username or variables.get("GITHUB_ACTOR") or _ANYBODY
                return Credential(username=username, password=Hidden(token), source=source)
        return None

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """One line: the variable that has the token, or that there is none and how to get one."""
        if repository.host != _HOST:
            why = f"{repository.host} is not {_HOST}"
            return (Consulted(source="GhcrKeychain", outcome="skipped", why=why),)
        found = self.resolve(repository, access)
        if found is not None:
            return (Consulted(source=found.source, key=_HOST, outcome="hit", expected=True),)
        variables = (self.environment or Environment.current()).variables
        inside = variables.get("GITHUB_ACTIONS") == "true"
        return (
            Consulted(
                source="GhcrKeychain",
                key=_HOST,
                outcome="miss",
                why=f"neither GITHUB_TOKEN nor GH_TOKEN is set; {_JOB if inside else _PERSON}",
                expected=access == "push",
            ),
        )
