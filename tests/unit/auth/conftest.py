"""What tests of providers share: an Internet that is played on loopback, and clouds in it."""

import pytest
from stand_in_google import JWT, GoogleStandIn
from stand_in_internet import Internet, internet

__all__ = ["google", "internet"]


@pytest.fixture
def google(internet: Internet) -> GoogleStandIn:
    """Google's token services, which take one identity token."""
    return GoogleStandIn(internet, subject=JWT)
