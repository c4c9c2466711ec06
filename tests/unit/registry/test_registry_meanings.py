"""What refusals of known registries mean: the permission by its name, and where to get it."""

from __future__ import annotations

import pytest

from buildpush.auth import Access
from buildpush.oci import Repository
from buildpush.registry.bodies import parse_granted
from buildpush.registry.meanings import Meaning, meaning_of, says_expired

UPLOAD = "artifactregistry.repositories.uploadArtifacts"
DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"


@pytest.mark.parametrize(
    ("host", "path", "access", "missing"),
    [
        (
            "europe-west1-docker.pkg.dev",
            "acme/images/app",
            "push",
            f"{UPLOAD} on projects/acme/locations/europe-west1/repositories/images",
        ),
        (
            "us-docker.pkg.dev",
            "acme/images/team/app",
            "pull",
            f"{DOWNLOAD} on projects/acme/locations/us/repositories/images",
        ),
        (
            "us-docker.pkg.dev",
            "example.com/build/images/app",
            "push",
            f"{UPLOAD} on projects/example.com:build/locations/us/repositories/images",
        ),
        (
            "gcr.io",
            "acme/app",
            "push",
            f"{UPLOAD} on projects/acme/locations/us/repositories/gcr.io",
        ),
        (
            "eu.gcr.io",
            "acme/app",
            "push",
            f"{UPLOAD} on projects/acme/locations/europe/repositories/eu.gcr.io",
        ),
    ],
)
def test_a_denial_of_google_names_the_permission_and_the_resource(
    host: str, path: str, access: Access, missing: str
) -> None:
    """Worked out from the name where Google does not say it."""
    meaning = meaning_of(403, "denied", Repository(host, path), access)

    assert meaning.missing == missing
    assert "roles/artifactregistry." in meaning.hint


def test_what_google_says_itself_counts_first() -> None:
    """It knows the resource."""
    said = (
        'denied: Permission "artifactregistry.repositories.uploadArtifacts" denied on resource'
        ' "projects/p/locations/us/repositories/r" (or it may not exist)'
    )
    repository = Repository("us-docker.pkg.dev", "acme/images/app")

    meaning = meaning_of(403, said, repository, "push")

    assert meaning.missing == f"{UPLOAD} on projects/p/locations/us/repositories/r"


@pytest.mark.parametrize(
    ("status", "host", "path", "access", "words"),
    [
        (404, "us-docker.pkg.dev", "acme/images/app", "push", "gcloud artifacts repositories"),
        (403, "ghcr.io", "acme/app", "push", "write:packages"),
        (403, "ghcr.io", "acme/app", "push", "linked to the workflow's repository"),
        (401, "ghcr.io", "acme/app", "pull", "packages: read"),
        (
            404,
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "team/app",
            "push",
            "aws ecr create-repository --repository-name team/app --region eu-west-1",
        ),
        (
            403,
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "team/app",
            "push",
            "ecr:PutImage on arn:aws:ecr:eu-west-1:123456789012:repository/team/app",
        ),
        (
            403,
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "app",
            "pull",
            "ecr:GetDownloadUrlForLayer on arn:aws-cn:ecr:cn-north-1:123456789012:repository/app",
        ),
        (
            403,
            "123456789012.dkr-ecr.us-gov-west-1.on.aws",
            "app",
            "pull",
            "arn:aws-us-gov:ecr:us-gov-west-1:123456789012:repository/app",
        ),
    ],
)
def test_a_known_registrys_refusal_says_what_to_do(
    status: int, host: str, path: str, access: Access, words: str
) -> None:
    """By the name of the permission, or the command that helps."""
    assert words in meaning_of(status, "", Repository(host, path), access).hint


@pytest.mark.parametrize(
    ("status", "host"),
    [
        (403, "registry.example.com"),
        (500, "us-docker.pkg.dev"),
        (404, "ghcr.io"),
        (401, "123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
        (403, "evil-ghcr.io"),
    ],
)
def test_nothing_is_made_up(status: int, host: str) -> None:
    """Other registries and other answers mean what they say."""
    assert meaning_of(status, "no", Repository(host, "acme/x/app"), "push") == Meaning()


def test_an_expired_credential_is_told_from_a_missing_permission() -> None:
    """By ECR's words."""
    assert says_expired("denied: Your authorization token has expired. Reauthenticate")
    assert not says_expired("denied: requested access to the resource is denied")


@pytest.mark.parametrize(
    ("claims", "shown"),
    [
        (
            '{"access":[{"type":"repository","name":"app","actions":["push","pull"]}]}',
            "repository:app:pull,push",
        ),
        ('{"access":[]}', "nothing"),
        ('{"access":null}', None),
        ('{"scope":"x"}', None),
        ("[]", None),
        (
            '{"access":[{"type":"repository","name":"\\u001b[2J","actions":["pull"]}]}',
            "repository: [2J:pull",
        ),
    ],
)
def test_a_readable_token_says_what_it_grants(claims: str, shown: str | None) -> None:
    """Its text is printable; one without access says nothing."""
    import base64

    part = base64.urlsafe_b64encode(claims.encode()).rstrip(b"=").decode()

    granted = parse_granted(f"e30.{part}.sig")

    assert (str(granted) if granted is not None else None) == shown


@pytest.mark.parametrize("token", ["opaque", "a.b", "a.é.c", "a.!!!.c", "a.e30x.c"])
def test_an_opaque_token_says_nothing(token: str) -> None:
    """Whatever it looks like."""
    assert parse_granted(token) is None
