"""kaniko in a cluster: a Job for each platform, and nothing left behind."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field

from ....errors import SpecError, UnsupportedFeatureError
from ....events import ignore
from ....runtime import CancelToken, Deadline, Environment, Run
from ...engine.command import Translator
from ..runner import Ending, Execution, Found
from .builds import Build, Naming, name_of
from .settings import (
    ContextDelivery,
    Owner,
    PodSettings,
    RegistryContext,
    RemoteContext,
    SecretKey,
    StreamedContext,
)

if TYPE_CHECKING:
    from .api.client import Cluster
    from .rights import Right
    from .sightings import Lookout

__all__ = [
    "KubernetesRunner",
    "Owner",
    "PodSettings",
    "RegistryContext",
    "RemoteContext",
    "SecretKey",
    "StreamedContext",
]

_AT_ONCE: Final = 16
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_PROBE_SECONDS: Final = 30.0
_GC_SECONDS: Final = 300.0

Opener = Callable[[CancelToken], "Cluster"]


def _positive(_: object, attribute: object, value: float) -> None:
    if not value > 0:
        raise SpecError(f"{getattr(attribute, 'name', '')} must be more than 0 seconds")


def _a_namespace(_: object, __: object, value: str) -> None:
    # It stands in previews, which people paste into a shell.
    if value and not _NAMESPACE.fullmatch(value):
        raise SpecError(f"namespace: {value!r} is no name of a namespace")


@define(eq=False, kw_only=True)
class KubernetesRunner:
    """Runs kaniko's executor in pods of a cluster, found as kubectl finds it.

    *namespace* and *context* stand in for the kubeconfig's own; *pod* is how the pod looks, and
    *delivery* how the build context gets there. A pod that has not started after
    *schedule_timeout* seconds is an error with the cluster's reason, earlier where that is final.
    With *keep_on_failure* a failed Job and its pod stay for a day, never its Secret.
    """

    namespace: str = field(default="", validator=_a_namespace)
    context: str = ""
    kubeconfig: Path | None = None
    pod: PodSettings = field(factory=PodSettings)
    delivery: ContextDelivery = field(factory=StreamedContext)
    schedule_timeout: float = field(default=300.0, validator=_positive)
    keep_on_failure: bool = False
    _client: str = field(factory=lambda: secrets.token_hex(8), init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _lookouts: dict[tuple[str, ...], Lookout] = field(
        factory=dict[tuple[str, ...], "Lookout"], init=False
    )

    def probe(self, image: str, *, ask_version: bool) -> Found:
        """Say what can be done in this cluster, by one's rights there.

        With *ask_version* a Job asks the executor, once for an image pinned by digest. Raises
        `BackendUnavailableError` with the rights that are missing, `PodNotStartedError`.
        """
        from .probing import FEATURES, NOTES, check

        environment = Environment.current()
        token = CancelToken()
        with Deadline(token, _PROBE_SECONDS), self._open(environment)(token) as cluster:
            server = check(cluster, exec_needed=isinstance(self.delivery, StreamedContext))
            remark = f"Kubernetes {server}, namespace {cluster.namespace}, {cluster.source}"
        version = self._version(image, environment) if ask_version else ""
        return Found(
            features=FEATURES,
            notes=NOTES,
            version=version,
            remarks=(remark,),
            at_once=_AT_ONCE,
        )

    def execute(self, execution: Execution, translator: Translator, run: Run) -> Ending:
        """Run the executor in a pod, to its end; nothing is left behind.

        Raises `PodNotStartedError`, `PodLostError`, and what the client of the cluster raises.
        """
        from .executing import Executing, run_id

        if execution.layout is not None:
            raise UnsupportedFeatureError(
                "kaniko in a pod cannot export an OCI layout", hint="delivery: direct"
            )
        naming = Naming(
            name=name_of(execution, secrets.token_hex(5)), run=run_id(run), client=self._client
        )
        return Executing(
            build=evolve(self._build(execution), naming=naming),
            run=run,
            open_cluster=self._open(run.environment, run),
            lookout=self._lookout(run.environment),
            schedule_timeout=self.schedule_timeout,
            keep_on_failure=self.keep_on_failure,
        ).work(translator)

    def preview(self, execution: Execution) -> str:
        """The Job and the shape of its Secret, as YAML to be read or applied; nothing is asked."""
        from .manifests import preview_token
        from .previewing import preview

        build = self._build(execution)
        naming = Naming(name=name_of(execution, preview_token(build)))
        if isinstance(self.delivery, RegistryContext):
            build = evolve(build, context_image=f"{self.delivery.repository}:context")
        return preview(evolve(build, naming=naming), self.namespace)

    def gc(self, *, older_than: timedelta) -> tuple[str, ...]:
        """Remove what buildpush made in the namespace and killed clients left; its names.

        What is *older_than* that is taken for abandoned, whoever made it: let it be longer than
        any build takes. Raises `BackendUnavailableError`, `AuthError`.
        """
        from .clearing import collect

        if older_than < timedelta(0):
            raise SpecError("older_than cannot be negative")
        token = CancelToken()
        opener = self._open(Environment.current())
        with Deadline(token, _GC_SECONDS), opener(token) as cluster:
            return collect(cluster, older_than, datetime.now(UTC))

    def rights(self) -> tuple[Right, ...]:
        """Which of the least rights are missing in the namespace."""
        from .rights import missing

        token = CancelToken()
        opener = self._open(Environment.current())
        with Deadline(token, _PROBE_SECONDS), opener(token) as cluster:
            return missing(cluster, exec_needed=isinstance(self.delivery, StreamedContext))

    def _build(self, execution: Execution) -> Build:
        return Build(
            execution=execution,
            naming=Naming(name=name_of(execution, "preview")),
            pod=self.pod,
            delivery=self.delivery,
            patience=max(60, int(self.schedule_timeout)),
            keep=self.keep_on_failure,
        )

    def _open(self, environment: Environment, run: Run | None = None) -> Opener:
        from .api.client import Cluster

        def opener(token: CancelToken) -> Cluster:
            return Cluster.open(
                environment,
                kubeconfig=self.kubeconfig,
                context=self.context,
                namespace=self.namespace,
                cancel=token,
                redact=run.redact if run else None,
                on_warning=run.warn if run else None,
            )

        return opener

    def _lookout(self, environment: Environment) -> Lookout:
        """The watches for one cluster, shared by all executions that see the same kubeconfig."""
        from .sightings import Lookout

        key = (environment.variables.get("KUBECONFIG", ""), str(environment.home))
        with self._lock:
            found = self._lookouts.get(key)
            if found is None:
                opener = self._open(environment)
                found = Lookout(client=self._client, open_cluster=opener)
                self._lookouts[key] = found
            return found

    def _version(self, image: str, environment: Environment) -> str:
        from .probing import recall, remember

        known = recall(environment, image)
        if known:
            return known
        version = self._asked(image, environment)
        remember(environment, image, version)
        return version

    def _asked(self, image: str, environment: Environment) -> str:
        from .executing import asked_version

        run = Run(
            workdir=environment.temporary,
            cancel=CancelToken(),
            sink=ignore,
            environment=environment,
        )
        name = f"buildpush-version-{secrets.token_hex(5)}"
        return asked_version(
            image,
            Naming(name=name, client=self._client),
            self.pod,
            run=run,
            open_cluster=self._open(environment),
            lookout=self._lookout(environment),
            schedule_timeout=self.schedule_timeout,
        )
