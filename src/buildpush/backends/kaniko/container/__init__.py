"""Runs the executor in a fresh container of docker, podman or nerdctl, which is gone afterwards."""

from __future__ import annotations

import secrets
import shlex
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, Literal

from attrs import define, field

from ....errors import PlanError, UnsupportedFeatureError
from ....oci import Platform
from ....plan import BuildRequest, Feature
from ....runtime import Environment, Run
from ...engine.command import Translator
from ...engine.conflicts import wants
from ..runner import Ending, Execution, Found
from .box import Box
from .creation import CREATED, LABELS, PREFIX, RUN, Shape, options, places, told
from .desk import Desk, quiet_desk
from .engines import Engine, addressed, find
from .pulling import bring, version_of

__all__ = ["ContainerRunner"]

_HERE: Final = Path("@HERE@")
_ALWAYS: Final = frozenset(
    {
        Feature.EXPORT_LAYOUT,
        Feature.PUSH_DIRECTLY,
        Feature.RUN_NETWORK,
        Feature.NAMED_NETWORK,
        Feature.ADD_HOSTS,
        Feature.SHM_SIZE,
        Feature.ULIMITS,
        Feature.RUN_AS_USER,
    }
)
_LIMITS: Final = (Feature.RESOURCES, Feature.CGROUP_PARENT)
_AT_ONCE: Final = 2
"""Executions of one build at a time: each takes a CPU, and memory for whole layers."""


@define(kw_only=True)
class ContainerRunner:
    """Runs kaniko's executor in a container of its own, unprivileged.

    *engine* is ``docker``, ``podman`` or ``nerdctl``; without it the first of them that answers.
    *network* is the container's, which RUN shares: ``host``, or the name of one of the engine's;
    a step's own setting wins. *context* and *host* choose another docker than the one that
    ``docker`` itself would use. *mounts* is ``never`` where nothing of this machine is to be
    mounted into the container: all is copied then, as for an engine elsewhere.
    """

    engine: Literal["", "docker", "podman", "nerdctl"] = ""
    network: str = ""
    context: str = ""
    host: str = ""
    mounts: Literal["auto", "never"] = "auto"
    _known: tuple[Environment, Engine] | None = field(default=None, init=False, repr=False)

    def probe(self, image: str, *, ask_version: bool) -> Found:
        """Ask the engine what it is; with *ask_version* the executor too, whose image is pulled.

        Raises `BackendUnavailableError` when no engine answers, or the image cannot be had.
        """
        environment = Environment.current()
        engine = self._find(environment)
        version = ""
        if ask_version:
            with quiet_desk(engine, environment) as desk:
                version = version_of(image, desk)
        reason = f"{engine.name} cannot limit memory here"
        return Found(
            features=_ALWAYS | frozenset(_LIMITS if engine.limits else ()),
            notes={} if engine.limits else dict.fromkeys(_LIMITS, reason),
            version=version,
            platforms=engine.platforms,
            remarks=(f"in containers of {engine.name}",),
            at_once=_AT_ONCE,
        )

    def execute(self, execution: Execution, translator: Translator, run: Run) -> Ending:
        """Run the executor to its end, in a container that is removed whatever happens.

        Raises `BackendUnavailableError` where the image cannot be pulled or the engine fails,
        `PlanError` for a container that the engine does not make, `UnsupportedFeatureError` for
        what no container can do, and the reason of a cancel.
        """
        engine = self._find(run.environment)
        shape = Shape(
            name=f"{PREFIX}{secrets.token_hex(6)}",
            labels={**LABELS, RUN: run.workdir.name, CREATED: _now().isoformat()},
            network=self._network(execution.request),
            layout=execution.layout is not None,
        )
        with addressed(engine, run) as variables:
            desk = Desk(engine=engine, variables=variables, run=run)
            bring(execution.image, desk)
            folder = Path(mkdtemp(prefix="kaniko-", dir=run.workdir))
            try:
                box = Box(desk=desk, execution=execution, shape=shape, folder=folder)
                return box.work(translator, may_mount=self.mounts == "auto")
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def preview(self, execution: Execution) -> str:
        """The commands that do the same by hand, given the private files; without their contents.

        Raises `UnsupportedFeatureError` for what no container can do.
        """
        request = execution.request
        shape = Shape(
            name=f"{PREFIX}by-hand",
            labels=LABELS,
            network=self._network(request),
            private=_HERE / "private",
            out=_HERE / "out",
            layout=execution.layout is not None,
        )
        kind = self.engine or "docker"
        command = told(execution, places(shape))
        words = ("run", "--rm", *options(shape, execution.image, command, request, kind))
        text = shlex.join((kind, *words)).replace(f"{_HERE}/", '"$PWD"/')
        made = "out/layout" if shape.layout else "out"
        folder = shlex.quote(str(request.context))
        return (
            f"# in private: {', '.join(sorted(execution.files))}\n"
            f"mkdir -p private {made}\n"
            "# without what .dockerignore names:\n"
            f"tar -C {folder} --owner=0 --group=0 --numeric-owner -czf - . |\n"
            f"  {text}"
        )

    def gc(self, older_than: timedelta) -> tuple[str, ...]:
        """Remove our containers that were made longer ago than that, running or not; their names.

        What is still there belongs to runs that were killed, or are under way: give more than the
        longest build takes. Raises `BackendUnavailableError` when the engine does not answer.
        """
        environment = Environment.current()
        with quiet_desk(self._find(environment), environment) as desk:
            before = _now() - older_than
            names = [name for name, made in desk.ours() if made <= before]
            return tuple(name for name in names if desk.remove(name))

    def _find(self, environment: Environment) -> Engine:
        if self._known is None or self._known[0] != environment:
            engine = find(environment, engine=self.engine, context=self.context, host=self.host)
            self._known = (environment, engine)
        return self._known[1]

    def _network(self, request: BuildRequest) -> str:
        """The container's network; empty for the engine's usual one."""
        if request.network == "none":
            raise UnsupportedFeatureError(
                "kaniko cannot build without a network: RUN shares that of its container, in"
                " which base images are fetched",
                hint="leave network out, or choose another backend",
            )
        network = self.network if request.network == "default" else request.network
        if network != "host":
            for host in _loopback_hosts(request):
                raise PlanError(
                    f"{host} is this machine's own loopback, which a container does not share",
                    hint='let it: network="host" (RUN then shares this machine\'s network, too),'
                    " or use a name of this machine that others know",
                )
        return "" if network == "default" else network


def _loopback_hosts(request: BuildRequest) -> tuple[str, ...]:
    """The registries on this machine's loopback that the executor itself would speak to."""
    from ....http.trust import is_loopback

    hosts = [want.repository.host for want in wants(request, Platform.host())]
    hosts += [
        mirror.partition("/")[0] for mirrors in request.mirrors.values() for mirror in mirrors
    ]
    return tuple(dict.fromkeys(host for host in hosts if is_loopback(host)))


def _now() -> datetime:
    return datetime.now(UTC)
