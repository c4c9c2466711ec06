"""A Dockerfile, a backend and a plan, as the planner's tests need them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from buildpush.dockerfile import parse
from buildpush.oci import Platform
from buildpush.plan import CANNOT, Capabilities, Feature, Plan, make_plan
from buildpush.plan.fit import BACKENDS
from buildpush.spec import StepSpec

AMD64 = Platform("linux", "amd64")
Planner = Callable[..., Plan]


@pytest.fixture
def native() -> Capabilities:
    """The native backend where nothing stands in its way."""
    return Capabilities(
        backend="native",
        version="1.0",
        features=frozenset(Feature) - CANNOT["native"].keys(),
        platforms=(AMD64,),
    )


@pytest.fixture
def plan(native: Capabilities) -> Planner:
    """Plan a Dockerfile's text with some settings, on the native backend unless given another."""

    def planned(
        text: str = "FROM scratch\nCOPY a /a\n",
        *,
        backend: Capabilities = native,
        host: Platform = AMD64,
        installed: Collection[str] = BACKENDS,
        **settings: Any,
    ) -> Plan:
        return make_plan(
            StepSpec.parse({"repo": "ghcr.io/acme/app", **settings}),
            backend,
            dockerfile=parse(text),
            context=Path("/src"),
            dockerfile_path=Path("/src/Dockerfile"),
            host=host,
            installed=installed,
        )

    return planned
