"""One buildx at work: the command it is, its output as events, what its failure means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from ...auth import Keychain
from ...errors import UnsupportedFeatureError
from ...plan import BuildRequest
from ...runtime import Run
from ..buildkit.argv import Destination, argv, environment
from ..buildkit.failures import build_error, cache_error
from ..buildkit.rawjson import RawJson
from ..engine.command import converse
from ..engine.conflicts import Settled, send_caches
from .lint import CHECK, Checking
from .situation import Situation

__all__ = ["Session"]

_CHECKING = (0, 15)


@frozen(kw_only=True)
class Session:
    """The plugin, the builder it is to use, and the variables it is started with."""

    request: BuildRequest
    settled: Settled
    found: Situation
    builder: str
    variables: Mapping[str, str] = field(repr=False)
    run: Run

    @property
    def metadata(self) -> Path:
        """The file in which buildx writes the digest."""
        return self.run.workdir / "metadata.json"

    def run_build(self, destination: Destination) -> None:
        """Build. Raises what the output of a failed build means."""
        request = self.settled.request
        translator = RawJson()
        done = converse(
            self._command(destination),
            translator,
            run=self.run,
            env=environment(request, self.variables),
        )
        if done.exit_code:
            raise build_error(self.request, translator, done, redact=self.run.redact)
        trouble = cache_error(request, translator.cache_faults, redact=self.run.redact)
        if trouble is not None:
            raise trouble

    def _command(self, destination: Destination) -> tuple[str, ...]:
        arguments = argv(
            self.settled.request,
            destination,
            metadata=self.metadata,
            builder=self.builder,
            client=self.found.client,
            variables=self.variables,
        )
        return (str(self.found.plugin), *arguments)

    def send_caches(self, keychain: Keychain) -> None:
        """Push the caches that another account than the engine's has to push."""
        send_caches(self.settled, keychain, self.run, self.request)

    def check(self) -> str:
        """BuildKit's report on the Dockerfile, as JSON. Builds nothing."""
        if self.found.numbers < _CHECKING:
            raise UnsupportedFeatureError(
                f"buildx {self.found.version} cannot check Dockerfiles",
                hint="buildx 0.15 and later can",
            )
        # Of several platforms the first is checked; an output would be made despite the check.
        words = self._command(Destination(load=True))
        kept = (word for word in words[2:] if not word.startswith("--output="))
        translator = Checking()
        done = converse(
            (*words[:2], CHECK, *kept),
            translator,
            run=self.run,
            env=environment(self.settled.request, self.variables),
        )
        if done.exit_code and not translator.report.lstrip().startswith("{"):
            raise build_error(self.request, translator.progress, done, redact=self.run.redact)
        return translator.report
