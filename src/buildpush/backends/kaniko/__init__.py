"""kaniko: builds without any privilege, in a container of its own or in a cluster's pods."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field

from ...auth import Keychain
from ...errors import BackendUnavailableError
from ...plan import Artifact, BuildRequest, Capabilities, Feature
from ...runtime import Environment, Run
from .. import Sweeping
from .executor.flavors import Flavor, features_of, guess
from .executor.options import KanikoOptions
from .runner import Runner

if TYPE_CHECKING:
    from .building import Kaniko
    from .container import ContainerRunner as ContainerRunner
    from .executor.options import GitOptions as GitOptions
    from .kubernetes import KubernetesRunner as KubernetesRunner
    from .kubernetes import PodSettings as PodSettings
    from .local import LocalRunner as LocalRunner

__all__ = [
    "ContainerRunner",
    "Flavor",
    "GitOptions",
    "KanikoBackend",
    "KanikoOptions",
    "KubernetesRunner",
    "LocalRunner",
    "PodSettings",
    "Runner",
]

_HOMES: Final = {
    "ContainerRunner": "container",
    "GitOptions": "executor.options",
    "KubernetesRunner": "kubernetes",
    "LocalRunner": "local",
    "PodSettings": "kubernetes",
}


def __getattr__(name: str) -> object:
    """Import a runner when it is first asked for (PEP 562): most builds need one of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


_ARCHIVED = "gcr.io/kaniko-project/"


@define(eq=False, kw_only=True)
class KanikoBackend:
    """Builds with kaniko's executor, which a runner starts where it does no harm.

    *image* is the executor's image, best by digest; without it, BUILDPUSH_KANIKO_IMAGE. There is
    no default: Google's is archived, and which fork to trust is the caller's to say. *runner* is
    a `ContainerRunner`, a `KubernetesRunner` or a `LocalRunner`; without it, what
    BUILDPUSH_KANIKO_RUNNER names, else what fits where we are. *flavor* (else
    BUILDPUSH_KANIKO_FLAVOR) and *version* say what is in the image where neither its name nor the
    executor tells. *options* are kaniko's own settings, beyond the step's.
    """

    image: str = ""
    runner: Runner | None = None
    flavor: Flavor | None = None
    version: str = ""
    options: KanikoOptions = field(factory=KanikoOptions)
    _found: Kaniko | None = field(default=None, init=False)

    def probe(self) -> Capabilities:
        """Say what this executor does in the hands of this runner.

        Raises `BackendUnavailableError` where no image is chosen or the runner cannot work here.
        """
        kaniko = self._look()
        executor, found = kaniko.executor, kaniko.found
        features, notes = features_of(executor)
        both = features | found.features | {Feature.MULTI_PLATFORM}
        archived = ("its image is archived: no one mends it",)
        return Capabilities(
            backend="kaniko",
            version=f"{executor.number} ({executor.flavor.value})",
            features=both,
            platforms=found.platforms,
            notes={f: note for f, note in {**notes, **found.notes}.items() if f not in both},
            remarks=(
                *((f"image {kaniko.image}",) if kaniko.image else ()),
                *found.remarks,
                *(archived if kaniko.image.startswith(_ARCHIVED) else ()),
            ),
        )

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        """Build *request*: a layout where the runner can export one, else pushed by kaniko.

        Raises `BuildError` with the instruction's lines and its output; `PodNotStartedError` and
        `PodLostError` for what a cluster does; `CredentialConflictError` beforehand.
        """
        from .building import Building

        kaniko = self._found or self._look()
        return Building(kaniko=kaniko, request=request, keychain=keychain, run=run).artifact()

    def preview(self, request: BuildRequest) -> str:
        """The command line or the manifests that `build` would start, without any secret.

        Raises `UnsupportedFeatureError` for what this executor would ignore or do wrongly.
        """
        from .building import previews

        texts = [text.strip("\n") for text in previews(self._found or self._look(), request)]
        return "\n---\n".join(texts) if texts[0].startswith("apiVersion") else "\n".join(texts)

    def gc(self, *, older_than: timedelta) -> tuple[str, ...]:
        """Remove what killed clients have left in the engine or the cluster; its names.

        What is *older_than* that is taken for abandoned, so let it be longer than any build
        takes. Raises `BackendUnavailableError`, `AuthError`.
        """
        from .choosing import choose_runner

        runner = self.runner or choose_runner(Environment.current())
        if not isinstance(runner, Sweeping):
            return ()
        return runner.gc(older_than=older_than)

    def _look(self) -> Kaniko:
        from .building import Kaniko
        from .choosing import FLAVOR, choose_flavor, choose_image, choose_runner
        from .local import LocalRunner

        environment = Environment.current()
        runner = self.runner or choose_runner(environment)
        image, options = self.image, self.options
        if not isinstance(runner, LocalRunner):
            image = image or choose_image(environment)
            if options.ignore_var_run is None:
                # Nothing of ours is mounted there, so what RUN writes below it belongs to the image.
                options = evolve(options, ignore_var_run=False)
        flavor = self.flavor or choose_flavor(environment)
        executor = guess(image, flavor=flavor, version=self.version)
        found = runner.probe(image, ask_version=executor is None)
        executor = executor or guess(image, found.version, flavor=flavor, version=self.version)
        if executor is None:
            raise BackendUnavailableError(
                f"{image or 'the executor'} does not say which kaniko it is"
                f"{f' ({found.version})' if found.version else ''}",
                hint="say whose it is: KanikoBackend(flavor=Flavor.OSSCONTAINERTOOLS), or"
                f" {FLAVOR}=osscontainertools; chainguard and google are the others. Where the"
                " version does not show, version='1.28.3'",
            )
        self._found = Kaniko(
            image=image, executor=executor, options=options, runner=runner, found=found
        )
        return self._found
