"""The pytest plugin: fixtures `local_registry` and `recording_sink`, loaded with buildpush.

pytest imports this file in every project that has buildpush installed, so it imports nothing of
buildpush until a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

# The suite's assertions are to show both sides in whoever's test run it is part of.
pytest.register_assert_rewrite("buildpush.testing.conformance")

if TYPE_CHECKING:
    from . import RecordingSink
    from .registry import LocalRegistry


@pytest.fixture
def local_registry() -> Iterator[LocalRegistry]:
    """An empty OCI registry without authentication on a loopback socket."""
    from .registry import LocalRegistry

    with LocalRegistry() as registry:
        yield registry


@pytest.fixture
def recording_sink() -> RecordingSink:
    """An event sink that keeps what it is given."""
    from . import RecordingSink

    return RecordingSink()
