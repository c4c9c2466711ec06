"""A `StandIn` that is running, and what is needed to speak to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from aws_stand_in import Clock, StandIn, serving

from buildpush.auth.sigv4 import AwsKeys
from buildpush.runtime import Environment

KEYS = AwsKeys(access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG+secret")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def aws(clock: Clock) -> Iterator[StandIn]:
    """ECR and STS on loopback: what is refused for its form fails the test in the end."""
    stand_in = StandIn(keys=[KEYS], clock=clock)
    with serving(stand_in.answer, clock) as url:
        stand_in.url = url
        yield stand_in
    assert stand_in.objections == []


@pytest.fixture
def here(tmp_path: Path) -> Environment:
    """This process's environment with an empty home, and no variables."""
    return evolve(Environment.current(), home=tmp_path, cwd=tmp_path, variables={})
