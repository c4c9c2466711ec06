"""The native backend passes the suite that every backend has to pass."""

from __future__ import annotations

import pytest

from buildpush.backends.native import NativeBackend
from buildpush.testing.conformance import BackendConformance

pytestmark = pytest.mark.needs_root


class TestNative(BackendConformance):
    @pytest.fixture
    def backend(self) -> NativeBackend:
        return NativeBackend()
