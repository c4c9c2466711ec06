"""What AWS's refusals become: each says what to do, and none repeats what it was sent."""

from __future__ import annotations

import socket

import pytest
from aws_fixtures import KEYS, aws, clock, here
from aws_stand_in import Answer, Clock, StandIn, refuse, refuse_xml

from buildpush.auth.ecr import EcrKeychain, WebIdentity
from buildpush.errors import (
    AuthError,
    BuildpushError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryUnavailableError,
)
from buildpush.oci import Repository
from buildpush.runtime import Environment

__all__ = ["aws", "clock", "here"]

APP = Repository("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "acme/app")
TOKEN = "eyJoc4n4ry.eyJzc4n4ry.c2lnc4n4ry"
DENIED = (
    "User: arn:aws:iam::123456789012:user/ci is not authorized to perform:"
    " ecr:GetAuthorizationToken on resource: * because no identity-based policy allows the"
    " ecr:GetAuthorizationToken action"
)
LATE = "Signature expired: 20261123T222439Z is now earlier than 20261124T001939Z"


@pytest.fixture
def keychain(aws: StandIn, clock: Clock, here: Environment) -> EcrKeychain:
    return EcrKeychain(source=KEYS, environment=aws.environment(here), clock=clock)


@pytest.mark.parametrize(
    ("answer", "kind", "said", "hint"),
    [
        (
            refuse("AccessDeniedException", DENIED),
            PermissionDeniedError,
            "AWS does not let the keys from argument do ecr:GetAuthorizationToken: User: arn",
            "allow ecr:GetAuthorizationToken",
        ),
        (
            refuse(
                "ExpiredTokenException", "The security token included in the request is expired"
            ),
            AuthError,
            "the keys from argument have expired",
            "fresh ones",
        ),
        (
            refuse("UnrecognizedClientException", "The security token is invalid."),
            AuthError,
            "it does not know the keys from argument",
            "AWS_SESSION_TOKEN",
        ),
        (
            refuse("InvalidSignatureException", LATE),
            AuthError,
            "this machine's clock is 0 s",
            "set the clock",
        ),
        (
            refuse("InvalidSignatureException", "The request signature we calculated …"),
            AuthError,
            "the secret key does not fit the access key",
            "mistyped",
        ),
        (
            refuse("ThrottlingException", "Rate exceeded"),
            RateLimitedError,
            "AWS limits how often ecr:GetAuthorizationToken is asked",
            "",
        ),
        (
            refuse("OptInRequired", "The AWS Access Key Id needs a subscription"),
            AuthError,
            "OptInRequired: The AWS Access Key Id needs",
            "the region is off",
        ),
        (Answer(status=418, body=b"?"), AuthError, "with HTTP 418", ""),
        (Answer(status=500, body=b"?"), RegistryUnavailableError, "it answered HTTP 500", ""),
    ],
)
def test_a_refusal_says_what_to_do(
    aws: StandIn,
    keychain: EcrKeychain,
    answer: Answer,
    kind: type[BuildpushError],
    said: str,
    hint: str,
) -> None:
    """The class is the remedy's, the words name the keys' source and the permission."""
    aws.answers["GetAuthorizationToken"] = [answer] * 3

    with pytest.raises(kind) as caught:
        keychain.resolve(APP, "push")

    assert type(caught.value) is kind
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.evidence


def test_a_clock_that_is_wrong_is_measured(
    aws: StandIn, keychain: EcrKeychain, clock: Clock
) -> None:
    """AWS dates its answers: that is how far this machine is off."""
    there = clock.now
    aws.clock = lambda: there
    keychain.clock = lambda: there - 7200

    with pytest.raises(AuthError, match=r"this machine's clock is 7200 s behind AWS's"):
        keychain.resolve(APP, "push")
    assert aws.objections == ["Signature expired"]
    aws.objections.clear()


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        ("InvalidIdentityToken", "with InvalidIdentityToken", "identity provider"),
        ("IDPRejectedClaim", "with IDPRejectedClaim", "expired or revoked"),
        ("ExpiredTokenException", "the OIDC token has expired", "fresh"),
        ("AccessDenied", "does not let the OIDC token do sts:AssumeRoleWith", "trust policy"),
    ],
)
def test_a_refused_identity_token_is_said_so_and_not_shown(
    aws: StandIn, clock: Clock, here: Environment, code: str, said: str, hint: str
) -> None:
    """AWS may repeat it; we do not."""
    words = f"Not authorized to perform sts:AssumeRoleWithWebIdentity with {TOKEN}"
    aws.answers["AssumeRoleWithWebIdentity"] = [refuse_xml(code, words)]
    source = WebIdentity(role="arn:aws:iam::123456789012:role/push", token=TOKEN)
    keychain = EcrKeychain(source=source, environment=aws.environment(here), clock=clock)

    with pytest.raises(AuthError, match=said) as caught:
        keychain.resolve(APP, "push")

    assert hint in caught.value.hint
    assert "c4n4ry" not in caught.value.report() + repr(keychain) + repr(source)


def test_a_region_that_is_not_there_is_an_error_that_asks_for_it(
    clock: Clock, here: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS knows no such endpoint: the region is the likeliest slip."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    keychain = EcrKeychain(source=KEYS, environment=here, clock=clock)

    with pytest.raises(RegistryUnavailableError) as caught:
        keychain.resolve(Repository(APP.host.replace("west", "wset"), "app"), "push")
    assert "api.ecr.eu-wset-1.amazonaws.com" in caught.value.message
    assert "is eu-wset-1 a region of AWS?" in caught.value.hint
