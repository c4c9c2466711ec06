"""A thousand builds, fifty at a time: none is lost, and none leaves anything."""

from __future__ import annotations

from typing import Final

import pytest
from kubernetes_target import Target

COUNT: Final = 1_000
AT_ONCE: Final = 50


@pytest.mark.timeout(1260)
@pytest.mark.slow
def test_a_thousand_jobs(stub_target: Target) -> None:
    """Each ends in an image of its own under its own tag; the cluster is as empty as before.

    It takes some 100 s of two quiet cores, and several times that while coverage is measured.
    """
    dockerfile = "ARG NUMBER\nFROM scratch\nARG NUMBER\nCOPY a.txt /\nLABEL number=$NUMBER\n"
    steps = [
        stub_target.settings(
            dockerfile, {"a.txt": "A"}, tags=[str(n)], build_args={"NUMBER": str(n)}, timeout=1200
        )
        for n in range(COUNT)
    ]
    with stub_target.client(steps=steps, at_once=AT_ONCE, quiet=True) as child:
        done = child.until(lambda line: line["event"] in ("done", "end"), seconds=1200)

    assert [line for line in child.lines if line["event"] == "failed"] == []
    assert len(set(done["digests"])) == COUNT
    registry = stub_target.registry
    assert registry is not None
    assert len(registry.tags(stub_target.token)) == COUNT
    found = {str(registry.digest(stub_target.token, str(n))) for n in range(COUNT)}
    assert found == set(done["digests"])
    assert stub_target.the_stub.left() == ()
    created = [s for s in stub_target.the_stub.seen if s.method == "POST" and "/jobs" in s.target]
    assert len(created) == COUNT
