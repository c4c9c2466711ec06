"""A step's destinations asked beforehand: with its own trust, credentials and policy."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ..auth import Chain, Keychain
from ..auth.bound import within
from ..auth.files import ambient
from ..auth.learning import Learnt
from ..events import EventSink
from ..oci import ImageReference, Repository
from ..plan import Delivery, push_policy
from ..publishing.preflight import preflight
from ..registry import RegistryClient
from ..runtime import CancelToken, Environment, Run
from ..runtime.retry import RetryPolicy
from ..runtime.workdir import workdir
from ..spec import StepSpec

__all__ = ["ask_beforehand", "ask_now", "there_already"]


def ask_beforehand(
    spec: StepSpec, keychain: Keychain, run: Run, delivery: Delivery = Delivery.LAYOUT
) -> tuple[Repository, ...]:
    """Prove that *spec* may be pushed; raises as `preflight` does."""

    def open_client(side: Run) -> RegistryClient:
        return _client(spec, keychain, side)

    with run.task("preflight", "may we push?"):
        return preflight(
            open_client,
            spec.references,
            push_policy(spec),
            run,
            keychain=keychain,
            from_elsewhere=delivery is Delivery.DIRECT,
        )


def ask_now(
    spec: StepSpec, auth: tuple[Keychain, ...], on_event: EventSink, cancel: CancelToken
) -> tuple[Repository, ...]:
    """`ask_beforehand` in a run of its own, with the ambient credentials behind *auth*."""
    with _alone(auth, on_event, cancel) as (keychain, run):
        return ask_beforehand(spec, keychain, run)


def there_already(
    spec: StepSpec, auth: tuple[Keychain, ...], on_event: EventSink, cancel: CancelToken
) -> ImageReference | None:
    """The first of the references of *spec* that its registry has already."""
    with _alone(auth, on_event, cancel) as (keychain, run), _client(spec, keychain, run) as client:
        found = (each for each in spec.references if client.head_manifest(each))
        return next(found, None)


def _client(spec: StepSpec, keychain: Keychain, run: Run) -> RegistryClient:
    return RegistryClient(
        within(keychain, run.warn, run.cancel),
        run,
        insecure=spec.trust.insecure,
        certificates=spec.trust.certificates,
        policy=RetryPolicy(attempts=2),
    )


@contextmanager
def _alone(
    auth: tuple[Keychain, ...], on_event: EventSink, cancel: CancelToken
) -> Generator[tuple[Keychain, Run]]:
    """A run of its own, with the ambient credentials behind *auth*."""
    environment = Environment.current()
    with workdir(environment.temporary, environment.uid) as folder:
        run = Run(workdir=folder, cancel=cancel, sink=on_event, environment=environment)
        signed_in = ambient(environment, run.warn, cancel=cancel, redact=run.redact)
        given = within(Chain(auth), run.warn, cancel)
        yield Learnt(Chain((given, signed_in)), run.redact), run
