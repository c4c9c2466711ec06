"""What a refusal means at registries known by their names: the permission, and where to get it.

Facts from the documentation of Artifact Registry, GitHub Packages and ECR.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from ..auth import Access
from ..oci import Repository

__all__ = ["Meaning", "meaning_of", "says_expired"]

_GAR: Final = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev")
_GCR: Final = re.compile(r"(?:(?P<location>us|eu|asia)\.)?gcr\.io")
_ECR: Final = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)"
)
_LOCATIONS: Final = {"us": "us", "eu": "europe", "asia": "asia"}
_GAR_NAMES: Final = {
    "pull": "artifactregistry.repositories.downloadArtifacts",
    "push": "artifactregistry.repositories.uploadArtifacts",
}
_GAR_ROLES: Final = {
    "pull": "roles/artifactregistry.reader",
    "push": "roles/artifactregistry.writer",
}
_GAR_SAID: Final = re.compile(
    r"Permission [\"']+(?P<permission>[\w.]+)[\"']+ denied on resource [\"']+(?P<resource>[^\"']+)"
)
_ECR_PUSH: Final = (
    "ecr:BatchCheckLayerAvailability, ecr:InitiateLayerUpload, ecr:UploadLayerPart,"
    " ecr:CompleteLayerUpload and ecr:PutImage"
)
_ECR_PULL: Final = "ecr:BatchGetImage and ecr:GetDownloadUrlForLayer"
_EXPIRED: Final = re.compile(r"token has expired|token is expired", re.IGNORECASE)


@frozen(kw_only=True)
class Meaning:
    """*missing* is the permission and its resource, for the message; *hint* the next move.

    Both are empty when the registry is not known, or nothing is known about this refusal.
    """

    missing: str = ""
    hint: str = ""


def says_expired(detail: str) -> bool:
    """Whether a refusal is about a credential that ended: ECR says so with a 403."""
    return _EXPIRED.search(detail) is not None


def meaning_of(status: int, detail: str, repository: Repository, access: Access) -> Meaning:
    """What *repository*'s registry means by *status* and the words *detail*."""
    host = repository.host
    if match := _GAR.fullmatch(host) or _GCR.fullmatch(host):
        return _google(status, detail, repository, access, match["location"] or "")
    if host == "ghcr.io":
        return _github(status, repository, access)
    if match := _ECR.fullmatch(host):
        return _amazon(status, repository, access, match["account"], match["region"])
    return Meaning()


def _google(
    status: int, detail: str, repository: Repository, access: Access, location: str
) -> Meaning:
    project, _, rest = repository.path.partition("/")
    if "." in project and rest:
        # A project of a domain: example.com:build is written example.com/build.
        first, _, rest = rest.partition("/")
        project = f"{project}:{first}"
    name = rest.partition("/")[0]
    if repository.host.endswith("gcr.io"):
        location, name = _LOCATIONS.get(location, "us"), repository.host
    resource = f"projects/{project}/locations/{location}/repositories/{name}"
    if status == 404:
        return Meaning(
            hint=f"is there a repository {resource}? Create it with: gcloud artifacts"
            f" repositories create {name} --repository-format=docker --location={location}"
            f" --project={project}"
        )
    if status != 403:
        return Meaning()
    said = _GAR_SAID.search(detail)
    permission = said["permission"] if said else _GAR_NAMES[access]
    resource = said["resource"] if said else resource
    return Meaning(
        missing=f"{permission} on {resource}",
        hint=f"grant {_GAR_ROLES[access]} on {resource}; Google says the same when it does not"
        " exist",
    )


def _github(status: int, repository: Repository, access: Access) -> Meaning:
    if status not in (401, 403):
        return Meaning()
    scope = "write:packages" if access == "push" else "read:packages"
    grant = "write" if access == "push" else "read"
    return Meaning(
        hint=f"a personal token needs the scope {scope}, a workflow's GITHUB_TOKEN"
        f" permissions: packages: {grant}; and the package {repository} must be linked to the"
        " workflow's repository (package settings, Manage Actions access, or the label"
        " org.opencontainers.image.source when it is first pushed)"
    )


def _amazon(
    status: int, repository: Repository, access: Access, account: str, region: str
) -> Meaning:
    if status == 404 and access == "push":
        return Meaning(
            hint="ECR creates no repository by itself; run: aws ecr create-repository"
            f" --repository-name {repository.path} --region {region} --registry-id {account}"
        )
    if status == 403:
        actions = _ECR_PUSH if access == "push" else _ECR_PULL
        partition = {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rsplit("-", 2)[0], "aws")
        resource = f"arn:{partition}:ecr:{region}:{account}:repository/{repository.path}"
        return Meaning(hint=f"allow {actions} on {resource}, in its policy or the caller's")
    return Meaning()
