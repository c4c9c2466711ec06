"""What is promised of repositories that do not exist yet: made where that was asked for, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define
from aws_fixtures import KEYS, aws, clock, here
from aws_stand_in import Clock, StandIn, refuse

from buildpush import BuildAndPushStep, push
from buildpush.auth.ecr import EcrKeychain
from buildpush.auth.learning import Learnt
from buildpush.errors import NotFoundError, PermissionDeniedError
from buildpush.oci import ImageReference
from buildpush.oci.layout import Layout
from buildpush.plan import PushPolicy
from buildpush.publishing.preflight import preflight
from buildpush.registry import RegistryClient
from buildpush.runtime import Environment, Redactor, Run
from buildpush.testing import LocalRegistry

__all__ = ["aws", "clock", "here"]

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
Registries = Callable[..., LocalRegistry]


class Linked(set[str]):
    """The repositories that AWS knows: one that is added exists in *registry*, too."""

    def __init__(self, registry: LocalRegistry) -> None:
        super().__init__()
        self.registry = registry

    def add(self, name: str) -> None:
        super().add(name)
        self.registry.create_repository(name)


@define
class Ecr:
    """A registry without repositories that AWS's API has a say in, and a keychain for it."""

    registry: LocalRegistry
    aws: StandIn
    environment: Environment

    def keychain(self, *, create_repository: bool) -> EcrKeychain:
        return EcrKeychain(
            source=KEYS,
            environment=self.environment,
            clock=self.aws.clock,
            aliases={self.registry.host: ECR},
            create_repository=create_repository,
        )

    def ask(self, run: Run, *names: str, create_repository: bool = True) -> int:
        """Ask whether *names* may be pushed to; how many may."""
        keychain = Learnt(self.keychain(create_repository=create_repository), Redactor())
        references = [ImageReference.parse(self.registry.reference(name)) for name in names]
        proven = preflight(
            lambda side: RegistryClient(keychain, side),
            references,
            PushPolicy(),
            run,
            keychain=keychain,
        )
        return len(proven)


@pytest.fixture
def ecr(registries: Registries, aws: StandIn, clock: Clock, here: Environment) -> Ecr:
    registry = registries(repositories=(), auth="basic", users={"AWS": "ecr-password-1"})
    aws.repositories = Linked(registry)
    return Ecr(registry, aws, aws.environment(here))


def test_a_repository_that_does_not_exist_is_made_before_the_build(ecr: Ecr, run: Run) -> None:
    """Once, however many tags it gets; the other one too."""
    assert ecr.ask(run, "acme/app:1", "acme/app:2", "acme/web:1") == 2
    assert ecr.aws.count("CreateRepository") == 2


def test_a_repository_that_exists_is_not_made(ecr: Ecr, run: Run) -> None:
    """Nobody needs the permission to make one then."""
    ecr.registry.create_repository("acme/app")

    assert ecr.ask(run, "acme/app:1") == 1
    assert ecr.aws.count("CreateRepository") == 0


def test_nothing_is_made_unless_it_was_asked_for_and_the_error_says_how(
    ecr: Ecr, run: Run
) -> None:
    """A typing error in a name makes no repository."""
    with pytest.raises(NotFoundError) as caught:
        ecr.ask(run, "acme/app:1", create_repository=False)

    assert "EcrKeychain(create_repository=True)" in caught.value.hint
    assert ecr.aws.count("CreateRepository") == 0


def test_keys_that_may_not_make_a_repository_say_so_before_the_build(ecr: Ecr, run: Run) -> None:
    """The error is AWS's, not that there is no such repository."""
    denied = refuse("AccessDeniedException", "not authorized to perform: ecr:CreateRepository")
    ecr.aws.answers["CreateRepository"] = [denied]

    with pytest.raises(PermissionDeniedError, match="ecr:CreateRepository"):
        ecr.ask(run, "acme/app:1")


def test_a_step_makes_the_repository_that_it_pushes_to(ecr: Ecr) -> None:
    """By `BuildAndPushStep.preflight`, as by a run."""
    step = BuildAndPushStep(
        repo=ecr.registry.reference("acme/app"), auth=[ecr.keychain(create_repository=True)]
    )

    proven = step.preflight()

    assert [place.path for place in proven] == ["acme/app"]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_push_without_a_build_makes_its_repository_too(
    ecr: Ecr, layout: Layout, images: Any, wanted: bool
) -> None:
    """As `push`, `copy` and `assemble` ask nothing beforehand."""
    image = images.image(b"layer")
    layout.set_index([image])
    name = ecr.registry.reference("acme/app:1")

    def send() -> object:
        return push(layout.path, to=name, auth=ecr.keychain(create_repository=wanted))

    if wanted:
        send()
        assert ecr.registry.tags("acme/app") == ("1",)
    else:
        with pytest.raises(NotFoundError):
            send()
