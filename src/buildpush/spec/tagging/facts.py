"""What git and CI say about what is built: the values that tags and labels are made of."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

from attrs import frozen

__all__ = ["GitFacts"]

_PULLS = ("refs/pull/", "refs/merge-requests/")


@frozen(kw_only=True)
class GitFacts:
    """One commit and why it is built; what nobody knows is empty.

    *ref* is whole (``refs/tags/v1.2``), *pull_request* its number, *base_branch* where it is to
    go, *event* what caused the build: push, tag, pull_request, schedule, or CI's own word.
    """

    sha: str = ""
    ref: str = ""
    default_branch: str = ""
    pull_request: str = ""
    base_branch: str = ""
    remote_url: str = ""
    link: str = ""
    event: str = ""
    commit_time: datetime | None = None

    @property
    def branch(self) -> str:
        """The branch's name, empty when *ref* is none."""
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else ""

    @property
    def tag(self) -> str:
        """The git tag's name, empty when *ref* is none."""
        return self.ref.removeprefix("refs/tags/") if self.ref.startswith("refs/tags/") else ""

    @property
    def on_default_branch(self) -> bool:
        """Whether *ref* is the default branch, where that is known."""
        return bool(self.branch) and self.branch == self.default_branch

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Self:
        """What CI says in the environment: GitHub Actions, GitLab CI, else Drone and Harness.

        GitHub does not say there which branch is the default, nor when the commit was made.
        """
        if variables.get("GITHUB_ACTIONS") == "true":
            return cls._github(variables)
        if variables.get("GITLAB_CI") == "true":
            return cls._gitlab(variables)
        event = variables.get("DRONE_BUILD_EVENT", "")
        return cls(
            sha=variables.get("DRONE_COMMIT_SHA", ""),
            ref=variables.get("DRONE_COMMIT_REF", ""),
            default_branch=variables.get("DRONE_REPO_BRANCH", ""),
            pull_request=variables.get("DRONE_PULL_REQUEST", ""),
            base_branch=variables.get("DRONE_TARGET_BRANCH", "")
            if event == "pull_request"
            else "",
            remote_url=variables.get("DRONE_REMOTE_URL", ""),
            link=variables.get("DRONE_REPO_LINK", ""),
            event="schedule" if event == "cron" else event,
        )

    @classmethod
    def _github(cls, variables: Mapping[str, str]) -> Self:
        ref = variables.get("GITHUB_REF", "")
        repository = variables.get("GITHUB_REPOSITORY", "")
        url = f"{variables.get('GITHUB_SERVER_URL', '')}/{repository}" if repository else ""
        return cls(
            sha=variables.get("GITHUB_SHA", ""),
            ref=ref,
            pull_request=ref.split("/")[2] if ref.startswith(_PULLS) else "",
            base_branch=variables.get("GITHUB_BASE_REF", ""),
            remote_url=url,
            link=url,
            event=variables.get("GITHUB_EVENT_NAME", ""),
        )

    @classmethod
    def _gitlab(cls, variables: Mapping[str, str]) -> Self:
        number = variables.get("CI_MERGE_REQUEST_IID", "")
        tag, branch = variables.get("CI_COMMIT_TAG", ""), variables.get("CI_COMMIT_BRANCH", "")
        ref = f"refs/tags/{tag}" if tag else f"refs/heads/{branch}" if branch else ""
        committed = None
        with suppress(ValueError):
            committed = datetime.fromisoformat(variables.get("CI_COMMIT_TIMESTAMP", ""))
        if committed is not None and committed.tzinfo is None:
            committed = committed.replace(tzinfo=UTC)
        source = variables.get("CI_PIPELINE_SOURCE", "")
        return cls(
            sha=variables.get("CI_COMMIT_SHA", ""),
            ref=f"refs/merge-requests/{number}/head" if number else ref,
            default_branch=variables.get("CI_DEFAULT_BRANCH", ""),
            pull_request=number,
            base_branch=variables.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", ""),
            remote_url=variables.get("CI_PROJECT_URL", ""),
            link=variables.get("CI_PROJECT_URL", ""),
            event="pull_request" if source == "merge_request_event" else source,
            commit_time=committed,
        )
