"""When a token ends, as far as it can be read."""

from __future__ import annotations

import base64
import json

import pytest

from buildpush.auth.keeping import expiry_of


@pytest.mark.parametrize(
    ("end", "expected"),
    [(1700000000, 1700000000.0), (10**400, None), (True, None), ("soon", None), (None, None)],
    ids=["number", "endless", "truth", "text", "none"],
)
def test_the_end_of_a_token_is_a_number_that_can_be_compared(
    end: object, expected: float | None
) -> None:
    """Anything else is as if nothing had been said."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).decode().rstrip("=")

    assert expiry_of(f"e30.{claims}.x") == expected
