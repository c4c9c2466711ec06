"""What the plan says of pushing: the policy, certificates, and who has to push."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.errors import UnsupportedFeatureError
from buildpush.http.trust import Certificates
from buildpush.oci import Digest
from buildpush.plan import Capabilities, Delivery, Feature, Plan, PushPolicy

Planner = Callable[..., Plan]
DIGEST = f"sha256:{'a' * 64}"


def test_the_policy_is_what_was_asked(plan: Planner) -> None:
    """Every setting of it arrives."""
    made = plan(
        on_partial="continue",
        on_existing_tag="skip_if_same",
        expect_current=DIGEST,
        media_types="auto",
        mount=False,
        skip_preflight=True,
    )

    assert made.policy == PushPolicy(
        on_partial="continue",
        on_existing_tag="skip_if_same",
        expect_current=Digest(DIGEST),
        media_types="auto",
        mount=False,
        preflight=False,
    )


def test_registries_become_certificates_and_insecure_hosts(plan: Planner) -> None:
    """The request has one list of what may be spoken to without proof."""
    made = plan(
        insecure=["a.eu"],
        registries={
            "b.eu": {"insecure": True},
            "c.eu": {"ca": "ca.pem"},
            "d.eu": {"certificate": "c.pem", "key": "k.pem"},
        },
    )

    assert made.request.insecure == {"a.eu", "b.eu"}
    assert made.request.certificates == {
        "c.eu": Certificates(ca=Path("ca.pem")),
        "d.eu": Certificates(certificate=Path("c.pem"), key=Path("k.pem")),
    }


@pytest.mark.parametrize(
    "settings",
    [{"on_existing_tag": "fail"}, {"expect_current": DIGEST}, {"media_types": "docker"}],
)
def test_who_has_to_look_at_a_tag_has_to_push(
    plan: Planner, native: Capabilities, settings: dict[str, object]
) -> None:
    """A backend that would rather push by itself exports; one that cannot is refused."""
    slow = evolve(
        native,
        features=native.features | {Feature.PUSH_DIRECTLY, Feature.EXPORT_LAYOUT},
        slow_export="always",
    )
    unable = evolve(slow, features=slow.features - {Feature.EXPORT_LAYOUT})

    assert plan(backend=slow).request.delivery is Delivery.DIRECT
    assert plan(backend=slow, **settings).request.delivery is Delivery.LAYOUT
    with pytest.raises(UnsupportedFeatureError, match=next(iter(settings))):
        plan(backend=unable, **settings)
    with pytest.raises(UnsupportedFeatureError, match="delivery is direct"):
        plan(backend=slow, delivery="direct", **settings)
