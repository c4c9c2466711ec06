"""The files that plugins leave: for Drone, for Harness, and for the steps after them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from ..errors import SpecError
from .reports import CacheMetrics, card, show

if TYPE_CHECKING:
    from ..plan import BuildResult
    from ..publishing import PushResult
    from ..spec.drone import PluginSettings

__all__ = ["write_files"]

_ESCAPED: Final = str.maketrans(
    {"\\": "\\\\", "\n": "\\n", "\r": "\\r", '"': '\\"', "!": "\\!", "$": "\\$", "`": "\\`"}
)


def write_files(
    asked: PluginSettings,
    result: BuildResult | PushResult,
    folder: Path,
    plugin: str,
    metrics: CacheMetrics | None = None,
) -> tuple[Path, ...]:
    """Write what *asked* names, below *folder* where it is relative; returns the paths.

    A card for ``/dev/stdout`` or ``/dev/stderr`` is printed, as Drone's log has it. Folders that are not there are made. Raises `SpecError` when a file cannot be written, and
    says that the image is there all the same.
    """
    written: list[Path] = []
    for variable, name, text in _files(asked, result, plugin, metrics):
        if show(name, text):
            continue
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise SpecError(
                f"{variable}: {path} cannot be written: {error.strerror}",
                hint=f"the image is there all the same: {result.digest}",
            ) from None
        written.append(path)
    return tuple(written)


def _files(
    asked: PluginSettings,
    result: BuildResult | PushResult,
    plugin: str,
    metrics: CacheMetrics | None,
) -> Iterator[tuple[str, str, str]]:
    """Each file's variable, its path and its text."""
    pushed = bool(result.references)
    if asked.artifact_file and pushed:
        yield "PLUGIN_ARTIFACT_FILE", asked.artifact_file, _artifact(asked, str(result.digest))
    if asked.output_file:
        yield "DRONE_OUTPUT", asked.output_file, _output(asked, str(result.digest))
    if asked.metadata_file and plugin.startswith("buildx"):
        yield "PLUGIN_METADATA_FILE", asked.metadata_file, _metadata(result)
    if asked.card and pushed:
        yield "DRONE_CARD_PATH", asked.card, json.dumps(card(asked, result))
    if asked.cache_metrics_file and metrics is not None:
        text = json.dumps(metrics.document(), indent=2)
        yield "PLUGIN_CACHE_METRICS_FILE", asked.cache_metrics_file, text
    if pushed:
        for flag, path in asked.digest_files.items():
            tagged = "tag" in flag
            names = (
                f"{reference.repository}:{reference.tag}@{reference.digest}"
                if tagged
                else f"{reference.repository}@{reference.digest}"
                for reference in result.references
            )
            variable = f"PLUGIN_{flag.upper().replace('-', '_')}"
            yield variable, path, "\n".join(dict.fromkeys(names))


def _artifact(asked: PluginSettings, digest: str) -> str:
    """The ``docker/v1`` file that Drone and Harness show; its tags are as they were given."""
    repo = str(asked.settings["repo"])
    if asked.registry_type in ("ECR", "GCR", "GAR"):
        repo = repo.removeprefix(f"{asked.registry_url.rstrip('/')}/")
    images = [{"image": f"{repo}:{tag}", "digest": digest} for tag in asked.raw_tags]
    document = {
        "kind": "docker/v1",
        "data": {
            "registryType": asked.registry_type,
            "registryUrl": asked.registry_url,
            "images": images,
        },
    }
    return json.dumps(document, indent="\t", ensure_ascii=False)


def _output(asked: PluginSettings, digest: str) -> str:
    """Variables for the steps after this one, as kaniko's plugin writes them."""
    found = {"digest": digest}
    for each in cast("tuple[str, ...]", asked.settings.get("outputs", ())):
        kind, _, path = each.partition(",dest=")
        if kind == "type=docker":
            found["IMAGE_TAR_PATH"] = path
    return "".join(f'{name}="{found[name].translate(_ESCAPED)}"\n' for name in sorted(found))


def _metadata(result: BuildResult | PushResult) -> str:
    """The keys of buildx's metadata file that other programs read."""
    document: dict[str, object] = {"containerimage.digest": str(result.digest)}
    if result.references:
        names = (f"{each.repository}:{each.tag}" for each in result.references if each.tag)
        document["image.name"] = ",".join(names)
    if len(result.images) == 1:
        (image,) = result.images.values()
        document["containerimage.config.digest"] = str(image.config)
    return json.dumps(document, indent=2)
