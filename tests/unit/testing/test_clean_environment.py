"""The surroundings the tests run in, made by tests/conftest.py."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from buildpush.testing import LocalRegistry


def test_the_home_is_empty_and_private() -> None:
    """Whatever the developer has at home, tests do not see it."""
    home = Path(os.environ["HOME"])

    assert list(home.iterdir()) == []
    assert home.stat().st_mode & 0o777 == 0o700
    assert os.environ["BUILDPUSH_CACHE"] == str(home / "cache")


def test_the_developers_settings_are_gone() -> None:
    """No docker config, no XDG folders."""
    names = [name for name in os.environ if name.startswith(("DOCKER_", "XDG_", "PLUGIN_"))]

    assert names == []


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80, 0, 0)])
def test_unit_tests_cannot_leave_this_machine(address: tuple[str, int]) -> None:
    """Connecting elsewhere fails the test, before anything is sent."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with (
        socket.socket(family) as connection,
        pytest.raises(pytest.fail.Exception, match="tried to connect"),
    ):
        connection.connect(address)


def test_unit_tests_cannot_look_up_names() -> None:
    """Nor ask a name server."""
    with pytest.raises(pytest.fail.Exception, match="tried to look up"):
        socket.getaddrinfo("registry.example", 443)


def test_unit_tests_can_speak_to_this_machine(local_registry: LocalRegistry) -> None:
    """By address and by name."""
    port = int(local_registry.host.rpartition(":")[2])

    for host in ("127.0.0.1", "localhost"):
        with socket.create_connection((host, port)) as connection:
            assert connection.getpeername()[1] == port
