"""AWS's signature, against what AWS publishes and what its own library makes."""

from __future__ import annotations

import pytest

from buildpush.auth.sigv4 import AwsKeys, sign

# The example keys of AWS's documentation.
KEYS = AwsKeys(access_key="AKIDEXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TOKEN = "AQoDYXdzEPT//////////wEXAMPLE=="
IN_2015 = 1_440_938_160.0
IN_2026 = 1_795_472_679.0


def signature(signed: dict[str, str]) -> str:
    return signed["Authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "expected"),
    [
        ("GET", "", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "?Param2=value2&Param1=value1",
            {},
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "",
            {"My-Header1": " value1", "My-Header2": '  "a   b   c"'},
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "GET",
            "",
            {"My-Header1": "value2,value2,value1"},
            b"",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "POST",
            "",
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
    ids=["vanilla", "post", "query-order", "header-trim", "header-duplicate", "form"],
)
def test_a_request_of_the_published_suite_is_signed_as_published(
    method: str, url: str, headers: dict[str, str], body: bytes, expected: str
) -> None:
    """AWS's signature version 4 test suite: inputs and results are facts."""
    signed = sign(
        KEYS,
        method,
        f"https://example.amazonaws.com/{url}",
        headers=headers,
        body=body,
        service="service",
        region="us-east-1",
        at=IN_2015,
    )

    assert signature(signed) == expected


def test_the_documentations_example_is_signed_as_documented() -> None:
    """IAM's ListUsers, from "Create a signed AWS API request"."""
    signed = sign(
        KEYS,
        "GET",
        "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
        body=b"",
        service="iam",
        region="us-east-1",
        at=IN_2015,
    )

    assert signed["X-Amz-Date"] == "20150830T123600Z"
    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request,"
        " SignedHeaders=content-type;host;x-amz-date,"
        " Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


JSON = "application/x-amz-json-1.1"
FORM = "application/x-www-form-urlencoded"
ECR = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
PUBLIC = "SpencerFrontendService.GetAuthorizationToken"


@pytest.mark.parametrize(
    ("service", "region", "host", "target", "token", "expected"),
    [
        (
            "ecr",
            "eu-west-1",
            "api.ecr.eu-west-1.amazonaws.com",
            ECR,
            "",
            "eaf41582c6c973e5c46304187d9f564a6ca57a33a94aa5edb74f451ba073a36f",
        ),
        (
            "ecr",
            "eu-west-1",
            "api.ecr.eu-west-1.amazonaws.com",
            ECR,
            TOKEN,
            "5f499b667a683f6010fe8dcac7c41ba26ec2f50b8741a5b10d99bccc8cfa3b96",
        ),
        (
            "ecr-public",
            "us-east-1",
            "api.ecr-public.us-east-1.amazonaws.com",
            PUBLIC,
            "",
            "dd1ba361fba889f9f4810fd4555f21dfbc502cf9445430cab1305bdc76e3fdf0",
        ),
        (
            "ecr-public",
            "us-east-1",
            "api.ecr-public.us-east-1.amazonaws.com",
            PUBLIC,
            TOKEN,
            "5e4dbfb6b130fd7ddf9298f11573060f4de5757812c566ce44d46b227ac0253c",
        ),
        (
            "sts",
            "eu-west-1",
            "sts.eu-west-1.amazonaws.com",
            "",
            "",
            "120d126a63439e1112c48641f0898c93d516eb940808d6e5a931b375c6012c92",
        ),
        (
            "sts",
            "eu-west-1",
            "sts.eu-west-1.amazonaws.com",
            "",
            TOKEN,
            "d1889571eb21ddbb43b99fb3e7f24abb5039f1d4924197c54b38ab98ffd54ce7",
        ),
    ],
)
def test_a_request_to_ecr_and_sts_is_signed_as_botocore_signs_it(
    service: str, region: str, host: str, target: str, token: str, expected: str
) -> None:
    """Recorded from botocore 1.44.5 for the same instant."""
    keys = AwsKeys(access_key=KEYS.access_key, secret_key=KEYS.secret_key, session_token=token)
    headers = {"Content-Type": JSON, "X-Amz-Target": target} if target else {"Content-Type": FORM}

    signed = sign(
        keys,
        "POST",
        f"https://{host}/",
        headers=headers,
        body=b"{}" if target else b"Action=AssumeRole&Version=2011-06-15",
        service=service,
        region=region,
        at=IN_2026,
    )

    assert signature(signed) == expected
    assert signed.get("X-Amz-Security-Token", "") == token


def test_paths_queries_ports_and_spaces_are_signed_as_botocore_signs_them() -> None:
    """Recorded from botocore 1.44.5: what a stand-in's address may bring."""
    signed = sign(
        KEYS,
        "POST",
        "https://example.amazonaws.com:8443/a%20b/c?b=2&a=%2F&a=%20x",
        headers={"X-Odd": "  two   spaces "},
        body=b"",
        service="service",
        region="us-east-1",
        at=IN_2026,
    )

    assert signature(signed) == "4ab7bd65c9b9c6cb43eb842fdc006a0eaf1175aeffaa7a4ece300080a8de823f"


def test_keys_show_nothing_but_where_they_came_from() -> None:
    """All three parts are hidden, one by one and together."""
    keys = AwsKeys(
        access_key="AKIAC4N4RY", secret_key="c4n4ry-secret", session_token="c4n4ry-token"
    )

    shown = repr(keys) + repr(keys.access_key) + repr(keys.secret_key) + repr(keys.session_token)

    assert "c4n4ry" not in shown.lower()
    assert "argument" in repr(keys)


def test_a_line_break_that_was_pasted_with_a_key_does_not_count() -> None:
    """Secrets in files and CI settings end with one."""
    pasted = AwsKeys(access_key="AKIDEXAMPLE\n", secret_key=f" {KEYS.secret_key}\n")

    assert pasted == KEYS
