"""What `probe` owes: the truth about this machine, well-formed, at once, and again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ...oci import Platform
from ...plan import Feature
from ...plan.fit import reason
from .proofs import UNASKED
from .workbench import Workbench

__all__ = ["ProbingTests"]

_GENEROUS = 30.0


class ProbingTests:
    """Part of `BackendConformance`."""

    def test_probing_again_says_the_same(self, bench: Workbench) -> None:
        """It is asked by every plan, and builds nothing."""
        pool = ThreadPoolExecutor(1)
        try:
            answers = [pool.submit(bench.backend.probe) for _ in range(2)]
            first, second = (answer.result(_GENEROUS) for answer in answers)
        finally:
            pool.shutdown(wait=False)

        assert second == first
        assert bench.registry.repositories in ((), ("base/busybox",))

    def test_capabilities_are_well_formed(self, bench: Workbench) -> None:
        """A name without spaces, features and platforms as types, notes only on what is absent."""
        found = bench.capabilities

        assert found.backend and found.backend == "".join(found.backend.split())
        assert all(isinstance(feature, Feature) for feature in found.features)
        assert all(isinstance(platform, Platform) for platform in found.platforms)
        assert found.features.isdisjoint(found.notes), "a note explains why a feature is absent"
        assert all(note.strip() for note in found.notes.values())
        assert all(remark.strip() for remark in found.remarks)
        if Feature.RUN in found.features:
            assert found.platforms, "whoever executes RUN says for which platforms"

    def test_an_image_can_leave_it(self, bench: Workbench) -> None:
        """As a layout or by its own push; otherwise nothing could ever be planned."""
        ways = {Feature.EXPORT_LAYOUT, Feature.PUSH_DIRECTLY}

        assert ways & bench.capabilities.features

    def test_what_is_absent_has_a_reason(self, bench: Workbench) -> None:
        """In its notes, or for buildpush's own backends in the table of what they never can."""
        found = bench.capabilities
        absent = frozenset(Feature) - found.features - UNASKED

        assert {feature.name for feature in absent if not reason(feature, found)} == set()
