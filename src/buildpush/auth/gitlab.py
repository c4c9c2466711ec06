"""GitLab's container registry and its dependency proxy, with what a job of GitLab CI has anyway.

Follows GitLab's "Predefined CI/CD variables" and "Authenticate with the container registry".
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from ..oci import Repository
from ..runtime import Environment
from . import Access, Consulted, Credential
from .entries import host_of
from .logins import (
    Found,
    Login,
    explained,
    first_login,
    hide,
    host_in,
    miss,
    skipped,
    variables_of,
)

__all__ = ["GitLabKeychain"]

_NAME: Final = "GitLabKeychain"
_JOB_USER: Final = "gitlab-ci-token"


@frozen(kw_only=True)
class GitLabKeychain:
    """Logs in to one GitLab's registry, and pulls through its dependency proxy.

    *host* is the registry, by default ``CI_REGISTRY``. *username* and *password* are those of a
    deploy token, or a user with a personal token; by default a job's: ``CI_REGISTRY_PASSWORD``,
    ``CI_JOB_TOKEN``, or a deploy token's in ``CI_DEPLOY_PASSWORD``, whichever is set first. A
    job's own end with the job.
    """

    host: str = field(default="", converter=host_in)
    username: str = ""
    password: str = field(default="", repr=False, converter=hide)
    environment: Environment | None = field(default=None, repr=False)

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """The login for *repository*; None when its host is not this GitLab's, or without one.

        Raises `AuthError` for a password without a user name.
        """
        return self._look(repository, access).credential

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """One line: which variable has the login, or why none will do."""
        return explained(_NAME, lambda: self._look(repository, access))

    def _look(self, repository: Repository, access: Access) -> Found:
        variables = variables_of(self.environment)
        host = host_of(repository.host)
        registry = self.host or host_in(variables.get("CI_REGISTRY", ""))
        proxy = host_in(variables.get("CI_DEPENDENCY_PROXY_SERVER", ""))
        if host == registry:
            return self._registry(registry)
        if host == proxy:
            return self._proxy(proxy, access)
        if not registry:
            return skipped(_NAME, "CI_REGISTRY is not set: is this a job of GitLab?")
        return skipped(_NAME, f"{host} is not {registry}")

    def _registry(self, registry: str) -> Found:
        get = variables_of(self.environment).get
        job = get("CI_JOB_TOKEN", "")
        found = first_login(
            _NAME,
            registry,
            Login(
                source="GitLabKeychain(password=…)",
                username=self.username,
                password=self.password,
            ),
            Login(
                source="CI_REGISTRY_PASSWORD",
                username=get("CI_REGISTRY_USER", ""),
                password=get("CI_REGISTRY_PASSWORD", ""),
            ),
            Login(source="CI_JOB_TOKEN", username=_JOB_USER, password=job),
            Login(
                source="CI_DEPLOY_PASSWORD",
                username=get("CI_DEPLOY_USER", ""),
                password=get("CI_DEPLOY_PASSWORD", ""),
            ),
        )
        return found or miss(
            _NAME,
            registry,
            "neither CI_REGISTRY_PASSWORD, CI_JOB_TOKEN nor CI_DEPLOY_PASSWORD is set; a job has"
            " the first when the container registry is on for its project",
        )

    def _proxy(self, proxy: str, access: Access) -> Found:
        get = variables_of(self.environment).get
        if access == "push":
            return skipped(_NAME, f"{proxy} is the dependency proxy, which is only pulled from")
        found = first_login(
            _NAME,
            proxy,
            Login(
                source="CI_DEPENDENCY_PROXY_PASSWORD",
                username=get("CI_DEPENDENCY_PROXY_USER", ""),
                password=get("CI_DEPENDENCY_PROXY_PASSWORD", ""),
            ),
        )
        return found or miss(_NAME, proxy, "CI_DEPENDENCY_PROXY_PASSWORD is not set")
