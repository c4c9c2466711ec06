"""`GoogleKeychain` and the metadata server of a machine: Google's, somebody else's, or none."""

from pathlib import Path

import pytest
from stand_in_google import GoogleStandIn
from stand_in_internet import Internet

from buildpush import Repository
from buildpush.auth.gar import GoogleKeychain, MetadataServer
from buildpush.errors import AuthError

GAR = Repository("europe-west1-docker.pkg.dev", "acme-prod/images/app")


def test_a_machine_of_google_cloud_has_a_login_of_its_own(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Asked directly, whatever proxy is set."""
    environment = internet.environment(
        tmp_path, GCE_METADATA_HOST=internet.near, HTTP_PROXY="http://127.0.0.1:1"
    )

    found = GoogleKeychain(environment=environment).resolve(GAR, "push")

    assert google.complaints == []
    assert found is not None
    assert ("oauth2accesstoken", google.machine) == (found.username, found.password)


@pytest.mark.parametrize("flavor", ["", "Azure"])
def test_whoever_answers_at_the_metadata_address_must_be_google(
    flavor: str, google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Other clouds, and captive portals, answer there, too."""
    google.flavor = flavor
    environment = internet.environment(tmp_path, GCE_METADATA_HOST=internet.near)

    ambient = GoogleKeychain(environment=environment).resolve(GAR, "push")
    with pytest.raises(AuthError, match="is not Google's metadata server"):
        GoogleKeychain(source=MetadataServer(), environment=environment).resolve(GAR, "push")

    assert ambient is None


def test_a_machine_without_a_metadata_server_has_nothing_to_say(
    internet: Internet, tmp_path: Path
) -> None:
    """Unless it was to be asked: then that it is not there is an error."""
    environment = internet.environment(tmp_path, GCE_METADATA_HOST="127.0.0.1:1")

    ambient = GoogleKeychain(environment=environment).resolve(GAR, "push")
    with pytest.raises(AuthError, match=r"cannot reach 127\.0\.0\.1:1"):
        GoogleKeychain(source=MetadataServer(), environment=environment).resolve(GAR, "push")

    assert ambient is None


def test_a_machine_without_that_account_says_so(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """A machine may have been made without service accounts."""
    environment = internet.environment(tmp_path, GCE_METADATA_HOST=internet.near)
    source = MetadataServer(account="other@acme")

    with pytest.raises(AuthError, match="no service account 'other@acme'"):
        GoogleKeychain(source=source, environment=environment).resolve(GAR, "push")


def test_nothing_is_asked_of_a_metadata_server_that_is_ruled_out(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """NO_GCE_CHECK is Google's own variable for it."""
    environment = internet.environment(
        tmp_path, GCE_METADATA_HOST=internet.near, NO_GCE_CHECK="true"
    )

    assert GoogleKeychain(environment=environment).resolve(GAR, "push") is None
    assert internet.asked == []


def test_a_token_is_kept_and_renewed_before_it_ends(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """A build that takes longer than a token lives has a fresh one when it pushes."""
    clock = [1000.0]
    environment = internet.environment(tmp_path, GCE_METADATA_HOST=internet.near)
    keychain = GoogleKeychain(environment=environment, clock=lambda: clock[0])

    first = keychain.resolve(GAR, "pull")
    again = keychain.resolve(Repository("gcr.io", "acme/app"), "push")
    google.machine = "ya29.c.fresh-canary"
    clock[0] += 3599 - 200
    fresh = keychain.resolve(GAR, "push")

    assert first is again
    assert first is not None
    assert fresh is not None
    assert first.expires == 1000.0 + 3599
    assert fresh.password == "ya29.c.fresh-canary"
    assert len(internet.asked) == 2
