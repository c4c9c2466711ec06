"""Claims: each feature is honoured, or refused before anything is done."""

from __future__ import annotations

from typing import Final

import pytest

from ...errors import UnsupportedFeatureError
from ...plan import Feature
from ...plan.fit import Fit, reason
from .proofs import UNASKED, Proof
from .proofs_image import IMAGE_PROOFS
from .proofs_run import RUN_PROOFS
from .workbench import Workbench

__all__ = ["PROOFS", "HonouringTests"]

PROOFS: Final = (*IMAGE_PROOFS, *RUN_PROOFS)
"""One for each `Feature` that somebody can ask for."""


def _name(proof: Proof) -> str:
    return proof.feature.name.lower()


class HonouringTests:
    """Part of `BackendConformance`."""

    @pytest.mark.parametrize("proof", PROOFS, ids=_name)
    def test_a_feature_is_honoured_or_refused(self, bench: Workbench, proof: Proof) -> None:
        """A claimed feature shows in the image; another one is refused by the plan, with why."""
        if bench.can(proof.feature):
            proof.run(bench)
        else:
            assert_refused(bench, proof)

    def test_every_feature_has_a_proof(self) -> None:
        """So that a new feature is not forgotten here."""
        assert frozenset(proof.feature for proof in PROOFS) | UNASKED == frozenset(Feature)


def assert_refused(bench: Workbench, proof: Proof) -> None:
    """The plan says what cannot be done and why, and no build begins."""
    step = bench.step(proof.ask.dockerfile, proof.ask.files, **proof.ask.settings(bench))
    try:
        plan = step.plan()
    except UnsupportedFeatureError as error:
        refusal = error
    else:
        # Done in another way, which the plan has to tell.
        told = [d for d in plan.decisions if d.fit is Fit.APPROXIMATED and d.how]
        assert told, f"{proof.feature.name} is not claimed, and the plan says nothing of it"
        return
    assert proof.feature.value in refusal.message
    assert reason(proof.feature, bench.capabilities) in refusal.message
    assert ": " in refusal.message, "the message names the setting or the line that asks for it"
    with pytest.raises(UnsupportedFeatureError):
        step.run()
    assert bench.backend.builds == 0
    assert bench.repository not in bench.registry.repositories
