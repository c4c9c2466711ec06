"""What the host of a registry of ECR says, and where AWS is asked about it."""

from __future__ import annotations

import pytest

from buildpush.auth.aws.places import Place, ecr_host
from buildpush.errors import AuthError

ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("host", "place"),
    [
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com", Place(region="eu-west-1")),
        (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn", Place(region="cn-north-1")),
        (f"{ACCOUNT}.dkr.ecr.us-gov-west-1.amazonaws.com", Place(region="us-gov-west-1")),
        (
            f"{ACCOUNT}.dkr.ecr-fips.us-east-1.amazonaws.com",
            Place(region="us-east-1", fips=True),
        ),
        (f"{ACCOUNT}.dkr-ecr.us-east-1.on.aws", Place(region="us-east-1", dual=True)),
        (
            f"{ACCOUNT}.dkr-ecr-fips.us-gov-east-1.on.aws",
            Place(region="us-gov-east-1", fips=True, dual=True),
        ),
        (
            f"{ACCOUNT}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
            Place(region="cn-north-1", dual=True),
        ),
        (f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu", Place(region="eusc-de-east-1")),
    ],
)
def test_account_and_region_are_in_the_host(host: str, place: Place) -> None:
    """Nobody has to say them twice."""
    found = ecr_host(host)

    assert found is not None
    assert (found.account, found.place, found.service) == (ACCOUNT, place, "ecr")


def test_the_public_registry_is_asked_about_in_one_region() -> None:
    """Its logins come from us-east-1, wherever one is."""
    found = ecr_host("public.ecr.aws")

    assert found is not None
    assert (found.account, found.place.region, found.service) == ("", "us-east-1", "ecr-public")


@pytest.mark.parametrize(
    "host",
    [
        "docker.io",
        "ghcr.io",
        "1234.dkr.ecr.eu-west-1.amazonaws.com",
        f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
        f"{ACCOUNT}.dkr.ecr.eu-west-1.evil.example",
        f"x{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com",
        f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com:443",
        "evil.public.ecr.aws",
        f"{ACCOUNT}.s3.eu-west-1.amazonaws.com",
    ],
)
def test_other_hosts_are_somebody_elses(host: str) -> None:
    """A login for ECR goes to ECR only."""
    assert ecr_host(host) is None


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (f"{ACCOUNT}.dkr.ecr.europe.amazonaws.com", "'europe', which is no AWS region"),
        (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com", "aws-cn, whose registries end in"),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com.cn", "eu-west-1 is in aws,"),
    ],
)
def test_a_host_that_cannot_exist_is_an_error(host: str, said: str) -> None:
    """Better than to look for its name in DNS."""
    with pytest.raises(AuthError, match=said):
        ecr_host(host)


# Recorded from botocore 1.44.5, but for the path.
@pytest.mark.parametrize(
    ("service", "place", "expected"),
    [
        ("ecr", Place(region="eu-west-1"), "api.ecr.eu-west-1.amazonaws.com"),
        ("ecr", Place(region="cn-north-1"), "api.ecr.cn-north-1.amazonaws.com.cn"),
        ("ecr", Place(region="us-gov-west-1"), "api.ecr.us-gov-west-1.amazonaws.com"),
        ("ecr", Place(region="eusc-de-east-1"), "api.ecr.eusc-de-east-1.amazonaws.eu"),
        ("ecr", Place(region="us-iso-east-1"), "api.ecr.us-iso-east-1.c2s.ic.gov"),
        ("ecr", Place(region="us-isob-east-1"), "api.ecr.us-isob-east-1.sc2s.sgov.gov"),
        ("ecr", Place(region="us-east-1", fips=True), "ecr-fips.us-east-1.amazonaws.com"),
        ("ecr", Place(region="us-east-1", dual=True), "ecr.us-east-1.api.aws"),
        ("ecr", Place(region="us-east-1", fips=True, dual=True), "ecr-fips.us-east-1.api.aws"),
        (
            "ecr",
            Place(region="cn-north-1", dual=True),
            "ecr.cn-north-1.api.amazonwebservices.com.cn",
        ),
        ("ecr-public", Place(region="us-east-1"), "api.ecr-public.us-east-1.amazonaws.com"),
        ("sts", Place(region="eu-west-1"), "sts.eu-west-1.amazonaws.com"),
        ("sts", Place(region="cn-north-1"), "sts.cn-north-1.amazonaws.com.cn"),
        ("sts", Place(region="us-east-1", fips=True), "sts-fips.us-east-1.amazonaws.com"),
        ("sts", Place(region="us-gov-west-1", fips=True), "sts.us-gov-west-1.amazonaws.com"),
        ("sts", Place(region="us-east-1", dual=True), "sts.us-east-1.api.aws"),
    ],
)
def test_services_are_where_botocore_finds_them(service: str, place: Place, expected: str) -> None:
    """Every partition has its own ending, and ECR its own rules."""
    assert place.endpoint(service, {}) == f"https://{expected}/"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AWS_ENDPOINT_URL": "https://all.example"}, "https://all.example/"),
        (
            {
                "AWS_ENDPOINT_URL": "https://all.example",
                "AWS_ENDPOINT_URL_ECR": "https://ecr.example/",
            },
            "https://ecr.example/",
        ),
        (
            {
                "AWS_ENDPOINT_URL": "https://all.example",
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            },
            "https://api.ecr.eu-west-1.amazonaws.com/",
        ),
    ],
)
def test_an_endpoint_can_be_put_in_place_of_aws(variables: dict[str, str], expected: str) -> None:
    """As AWS's own tools do it: for private endpoints and stand-ins."""
    assert Place(region="eu-west-1").endpoint("ecr", variables) == expected


def test_the_public_services_endpoint_has_its_own_variable() -> None:
    """Dashes become underscores."""
    variables = {"AWS_ENDPOINT_URL_ECR_PUBLIC": "https://p.example"}

    assert Place(region="us-east-1").endpoint("ecr-public", variables) == "https://p.example/"
