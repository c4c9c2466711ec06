"""Full provenance is not made where it would publish a password."""

import json
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.engine.provenance import refuse_to_publish
from buildpush.dockerfile import parse
from buildpush.errors import UnsupportedFeatureError
from buildpush.plan import BuildRequest
from buildpush.runtime import Environment

PROXY = "http://me:s3cret@proxy:3128"


def request(**settings: Any) -> BuildRequest:
    dockerfile = parse("FROM scratch\n")
    path = Path("/context/Dockerfile")
    return BuildRequest(
        context=path.parent, dockerfile=dockerfile, dockerfile_path=path, **settings
    )


@pytest.fixture
def proxies(environment: Environment) -> Path:
    """The user's config.json, with a proxy that wants a password."""
    path = environment.home / ".docker" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"proxies": {"default": {"httpsProxy": PROXY}}}))
    return path


def test_a_proxys_password_would_be_a_build_arg(environment: Environment, proxies: Path) -> None:
    """Which nobody has asked for: so it is refused with the file, and without the password."""
    with pytest.raises(UnsupportedFeatureError, match="password of a proxy") as caught:
        refuse_to_publish(request(provenance="max"), environment)

    assert str(proxies) in caught.value.report()
    assert "s3cret" not in caught.value.report()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy"])
def test_so_would_one_that_was_given_as_a_build_arg(environment: Environment, name: str) -> None:
    """Images' histories leave these build args out; provenance does not."""
    with pytest.raises(UnsupportedFeatureError, match="in build_args"):
        refuse_to_publish(request(provenance="max", build_args={name: PROXY}), environment)


@pytest.mark.parametrize("provenance", [None, "min"])
def test_what_does_not_list_build_args_is_made(
    environment: Environment, proxies: Path, provenance: str | None
) -> None:
    """Nothing is told there."""
    refuse_to_publish(request(provenance=provenance), environment)


def test_a_proxy_without_password_is_no_secret(environment: Environment, proxies: Path) -> None:
    """Nor is a build arg that only looks like an address."""
    proxies.write_text(json.dumps({"proxies": {"default": {"httpsProxy": "http://proxy:3128"}}}))

    refuse_to_publish(request(provenance="max", build_args={"URL": PROXY}), environment)
