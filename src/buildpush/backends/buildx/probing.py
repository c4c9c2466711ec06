"""What buildx can do on this machine, now: its version, the builder, the BuildKit behind it.

A builder of the driver docker is asked by the Engine API, in a few milliseconds; of buildx itself
only what does not change is needed then, and kept. Other drivers are asked through the plugin,
in a private copy of the user's configuration, since buildx writes into it even to look.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from attrs import evolve, frozen

from ...errors import BackendUnavailableError
from ...oci import Platform
from ...runtime import CancelToken, Environment
from ..buildkit.answers import Answers, identity
from ..buildkit.asking import PATIENCE, inspect_engine, probe_folder
from ..buildkit.inspection import Inspection, parse_inspection, version_of
from ..engine.api import EngineApi, EngineInfo, EngineVersion
from ..engine.command import question
from ..engine.endpoints import Endpoint, current
from ..engine.folder import ClientFolder, buildx_plugin
from .abandoned import new_name
from .builders import Builder
from .diagnosis import explain_boot
from .instances import DOCKER, Instance, find, names
from .instances import current as current_instance
from .reaching import why_silent
from .situation import Choice, Situation

__all__ = ["examine"]

_SECONDS: Final = 5.0
_SNAPSHOTTER: Final = "org.mobyproject.buildkit.worker.snapshotter"
_INSECURE: Final = "security.insecure"

A = TypeVar("A")
B = TypeVar("B")


def examine(choice: Choice, environment: Environment) -> Situation:
    """Look at this installation, well within a second where everything answers.

    Raises `BackendUnavailableError` when buildx is not installed, there is no such builder, or
    what should answer does not; with what to do.
    """
    plugin = buildx_plugin(environment)
    if plugin is None:
        raise BackendUnavailableError(
            "buildx is not installed",
            hint="install the package docker-buildx (or docker-buildx-plugin), or put the plugin"
            " into ~/.docker/cli-plugins",
        )
    looking = _Looking(choice=choice, environment=environment, plugin=plugin)
    if choice.create is not None and choice.create.driver != DOCKER:
        return looking.at_new(choice.create)
    instance = looking.instance()
    if instance is not None and instance.driver != DOCKER:
        return looking.at_instance(instance)
    return looking.at_engine(looking.endpoint())


@frozen(kw_only=True)
class _Looking:
    """One look at an installation."""

    choice: Choice
    environment: Environment
    plugin: Path

    # -- which builder ----------------------------------------------------------------------

    def endpoint(self) -> Endpoint:
        """The engine that the driver docker means here."""
        choice = self.choice
        context = choice.context
        if choice.create is not None and choice.create.endpoint:
            return self._named_endpoint(choice.create.endpoint)
        if not context and not choice.host and self._wanted not in ("", "default"):
            context = self._wanted
        return current(self.environment, context=context, host=choice.host)

    def _named_endpoint(self, text: str) -> Endpoint:
        """An endpoint as ``docker buildx create`` takes it: a context's name, or an address."""
        if "://" in text:
            return current(self.environment, host=text)
        return current(self.environment, context=text)

    @property
    def _wanted(self) -> str:
        return self.choice.builder or self.environment.variables.get("BUILDX_BUILDER", "")

    def instance(self) -> Instance | None:
        """The builder that is meant, when somebody created it; None for an engine's own."""
        if self.choice.create is not None:
            return None
        if self._wanted:
            found = find(self.environment, self._wanted)
            if found is None:
                self._must_be_context()
            return found
        try:
            endpoint = self.endpoint()
        except BackendUnavailableError:
            # Somebody without any docker may still have chosen a remote builder.
            found = current_instance(self.environment, None)
            if found is None:
                raise
            return found
        return current_instance(self.environment, endpoint)

    def _must_be_context(self) -> None:
        """A docker context is a builder by itself; any other name is a mistake."""
        if self._wanted == "default":
            return
        try:
            current(self.environment, context=self._wanted)
        except BackendUnavailableError as error:
            known = ", ".join((*names(self.environment), "default"))
            raise BackendUnavailableError(
                f"there is no builder called {self._wanted!r}",
                hint=f"builders here: {known}; docker buildx ls",
            ) from error

    # -- looking at it ----------------------------------------------------------------------

    def at_engine(self, endpoint: Endpoint) -> Situation:
        """An engine's own BuildKit, asked by its API."""
        if endpoint.host.startswith("ssh://"):
            return self._through_ssh(endpoint)
        with EngineApi(endpoint, cancel=CancelToken(), timeout=_SECONDS) as api:
            buildx, (engine, details) = _both(self.version, lambda: (api.version(), api.info()))
        _refuse_strangers(engine, details, endpoint)
        own = Platform.of(details.os or "linux", (details.arch or engine.arch).lower())
        inspected = inspect_engine(self.plugin, endpoint, engine, details, self.environment)
        return Situation(
            plugin=self.plugin,
            version=buildx,
            driver=DOCKER,
            builder=endpoint.context or "default",
            endpoint=endpoint,
            store=details.containerd_store,
            rootless=details.rootless,
            engine=engine.version,
            buildkit=inspected.buildkit,
            platforms=tuple(dict.fromkeys((own, *inspected.platforms))),
        )

    def _through_ssh(self, endpoint: Endpoint) -> Situation:
        """An engine behind ssh, which only the plugin can speak to."""
        name = endpoint.context or "default"
        with probe_folder(self.environment, endpoint) as folder:
            version, table = _both(self.version, lambda: self._table(folder, name))
        _refuse_silence(table, name, DOCKER)
        found = self._situation(table, DOCKER, name, version)
        return evolve(found, endpoint=endpoint, store=_SNAPSHOTTER in found.labels)

    def at_instance(self, instance: Instance) -> Situation:
        """A builder that somebody created, asked through the plugin."""
        with probe_folder(self.environment, self._optional_endpoint()) as folder:
            version, table = _both(self.version, lambda: self._table(folder, instance.name))
        if instance.driver == "remote" and not table.running:
            raise _silent(
                f"builder {instance.name}: ", instance.endpoints, instance.options, table
            )
        _refuse_silence(table, instance.name, instance.driver)
        return self._situation(table, instance.driver, instance.name, version)

    def at_new(self, builder: Builder) -> Situation:
        """A builder that does not exist yet: asked when it is remote, assumed otherwise."""
        if builder.driver == "remote":
            return self._at_new_remote(builder)
        endpoint = self.endpoint() if builder.driver == "docker-container" else None
        own: tuple[Platform, ...] = ()
        engine = ""
        if endpoint is not None:
            with EngineApi(endpoint, cancel=CancelToken(), timeout=_SECONDS) as api:
                answered = api.version()
            engine = answered.version
            own = (Platform.of(answered.os or "linux", answered.arch),)
        return Situation(
            plugin=self.plugin,
            version=self.version(),
            driver=builder.driver,
            endpoint=endpoint,
            engine=engine,
            platforms=builder.platforms or own,
            entitlements=_entitlements(" ".join(builder.buildkitd_flags), builder.driver),
        )

    def _at_new_remote(self, builder: Builder) -> Situation:
        """Create it in a folder that is thrown away: for this driver that is only a file."""
        name, version = new_name(), self.version()
        with probe_folder(self.environment, self._optional_endpoint()) as folder:
            done = question(
                (str(self.plugin), *builder.argv(name, version_of(version))),
                environment=self.environment,
                env=folder.variables,
                timeout=PATIENCE,
            )
            if done.exit_code:
                raise explain_boot(builder.driver, builder.options, done.evidence)
            table = self._table(folder, name)
        if not table.running:
            raise _silent("", (builder.endpoint,), builder.options, table)
        return self._situation(table, builder.driver, "", version)

    def _situation(self, table: Inspection, driver: str, name: str, version: str) -> Situation:
        labels = {k: v for node in table.nodes for k, v in node.labels.items()}
        return Situation(
            plugin=self.plugin,
            version=version,
            driver=driver,
            builder=name,
            endpoint=self._optional_endpoint(),
            buildkit=table.buildkit,
            platforms=table.platforms,
            labels=labels,
            entitlements=_entitlements(" ".join(node.flags for node in table.nodes), driver),
        )

    # -- the plugin ---------------------------------------------------------------------------

    def version(self) -> str:
        """Ask which buildx this is; the answer is kept as long as the plugin is the same file."""
        return Answers.of(self.environment).get(
            f"version {identity(self.plugin)}", self._ask_version
        )

    def _ask_version(self) -> str:
        done = question(
            (str(self.plugin), "version"), environment=self.environment, timeout=PATIENCE
        )
        said = done.stdout.decode("utf-8", "replace")
        found = re.search(r"\bv?(\d+\.\d+\S*)", said)
        if done.exit_code or found is None:
            raise BackendUnavailableError(
                f"{self.plugin} does not say which buildx it is",
                evidence=(done.evidence,),
                hint="is it the program for this machine, and whole?",
            )
        return found[1]

    def _table(self, folder: ClientFolder, name: str) -> Inspection:
        done = question(
            (str(self.plugin), "inspect", name),
            environment=self.environment,
            env=folder.variables,
            timeout=PATIENCE,
        )
        if done.exit_code:
            raise BackendUnavailableError(
                f"builder {name} cannot be inspected", evidence=(done.evidence,)
            )
        return parse_inspection(done.stdout.decode("utf-8", "replace"))

    def _optional_endpoint(self) -> Endpoint | None:
        """The engine here, for drivers that may not need any."""
        try:
            return self.endpoint() if self.choice.create else self._default_endpoint()
        except BackendUnavailableError:
            return None

    def _default_endpoint(self) -> Endpoint:
        return current(self.environment, context=self.choice.context, host=self.choice.host)


def _refuse_strangers(version: EngineVersion, info: EngineInfo, endpoint: Endpoint) -> None:
    """Refuse engines that have no BuildKit for buildx to speak to."""
    if version.podman:
        raise BackendUnavailableError(
            f"podman {version.version} answers at {endpoint.host}, and has no BuildKit that buildx"
            " could use",
            hint="choose backend buildah, which builds with podman's own storage, or give buildx"
            " a builder of its own: BuildxBackend(create=Builder(driver='docker-container'))",
        )
    if info.os == "windows":
        raise BackendUnavailableError(
            f"the engine at {endpoint.host} runs Windows containers, for which it has no BuildKit",
            hint="switch it to Linux containers",
        )


def _refuse_silence(table: Inspection, name: str, driver: str) -> None:
    """Refuse a builder that cannot be used; one that is only stopped will be started."""
    if table.trouble and not table.running:
        raise BackendUnavailableError(
            f"builder {name} ({driver or 'of an unknown driver'}) cannot be used: {table.trouble}",
            hint="docker buildx inspect shows it; choose another one with builder=…",
        )


def _silent(
    whose: str, places: Sequence[str], options: Mapping[str, str], table: Inspection
) -> BackendUnavailableError:
    """Nobody answers for a remote builder: say why, as far as that can be found out."""
    reasons = (table.trouble, *(why_silent(place, options) for place in places))
    reason = next(filter(None, reasons), "")
    return BackendUnavailableError(
        f"{whose}no BuildKit answers at {', '.join(places) or 'its endpoint'}"
        f"{f': {reason}' if reason else ''}",
        hint="is buildkitd running there (buildkitd --addr …), and are cacert, cert, key and"
        " servername those it expects?",
    )


def _both(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Ask two questions at once."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        later = pool.submit(first)
        answer = second()
        return later.result(), answer


def _entitlements(flags: str, driver: str) -> frozenset[str]:
    """What a builder allows beyond the ordinary; of a remote one nobody tells, so it may try."""
    return frozenset({_INSECURE} if _INSECURE in flags or driver == "remote" else ())
