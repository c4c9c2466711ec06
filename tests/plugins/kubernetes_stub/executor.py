"""kaniko's executor, played: it reads its argv, says what the real one says, builds, and pushes.

Its lines are in the form and the order of recorded runs of osscontainertools 1.28.3. It builds what
is simple: FROM an image or scratch or a stage, COPY and ADD of files, RUN (really, by chroot), and
what only changes the config. What it makes is an image as kaniko would make it, not byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from .building import BuildFailed, Built, Site, build
from .consoles import Console
from .oci import MANIFEST, Name, Registry, RegistryRefusal, digest_of

VERSION: Final = "1.28.3"
_FLAGS: Final = (
    "active feature flags: FF_KANIKO_BUILDKIT_ARG_ENV_PRECEDENCE, FF_KANIKO_CLEAN_KANIKO_DIR"
)
_PROVIDERS: Final = "credential providers by priority: [env, google, ecr, acr, gitlab]"
_CHECKING: Final = "error checking push permissions: checking push permission for"
_PUSHING: Final = "error pushing image: failed to push to destination"


@define(kw_only=True)
class Arguments:
    """What the executor was told, of what it heeds here."""

    context: str = "/workspace"
    dockerfile: str = "Dockerfile"
    digest_file: str = ""
    target: str = ""
    platform: str = ""
    push: bool = True
    destinations: list[str] = field(factory=list)
    build_args: dict[str, str] = field(factory=dict)
    labels: dict[str, str] = field(factory=dict)
    annotations: dict[str, str] = field(factory=dict)
    secrets: dict[str, str] = field(factory=dict)
    skip_check: bool = False

    @classmethod
    def parse(cls, argv: Sequence[str], env: Any) -> Arguments:
        """``--name=value`` and ``--name value`` alike."""
        found = cls()
        words = iter(argv)
        for word in words:
            name, given, value = word.removeprefix("--").partition("=")
            if not given and name not in ("no-push", "skip-push-permission-check", "reproducible"):
                value = next(words, "") if name in _VALUED else "true"
            found._take(name, value, env)
        return found

    def _take(self, name: str, value: str, env: Any) -> None:
        match name:
            case "context" | "dockerfile" | "target":
                setattr(self, name, value)
            case "digest-file":
                self.digest_file = value
            case "custom-platform":
                self.platform = value
            case "no-push":
                self.push = value in ("", "true")
            case "skip-push-permission-check":
                self.skip_check = value in ("", "true")
            case "destination":
                self.destinations.append(value)
            case "secret":
                parts = dict(part.partition("=")[::2] for part in value.split(","))
                self.secrets[parts["id"]] = parts.get("src") or parts.get("source", "")
            case "build-arg" | "label" | "annotation":
                key, given, text = value.partition("=")
                into = {"build-arg": self.build_args, "label": self.labels}
                into.get(name, self.annotations)[key] = text if given else env.get(key, "")


_VALUED: Final = frozenset(
    {"context", "dockerfile", "target", "digest-file", "custom-platform", "destination",
     "build-arg", "label", "annotation", "secret"}
)  # fmt: skip


def play_kaniko(console: Console) -> int:
    """Be the executor; its exit code."""
    if list(console.argv) == ["--help"]:
        console.out("Flags:\n      --materialize   Guarantee the final state of the file system")
        return 0
    if list(console.argv) == ["version"]:
        console.out(f"Kaniko version :  v{VERSION}")
        return 0
    arguments = Arguments.parse(console.argv, console.env)
    try:
        return _build_and_push(console, arguments)
    except BuildFailed as failed:
        if not console.told_to_end:
            console.err(str(failed))
        return 2 if console.told_to_end else failed.code
    except RegistryRefusal as refusal:
        console.err(str(refusal))
        return 1


def _build_and_push(console: Console, arguments: Arguments) -> int:
    console.log(_FLAGS)
    console.log(_PROVIDERS)
    config = _docker_config(console)
    destinations = [Name.parse(text) for text in arguments.destinations]
    if arguments.push and not arguments.skip_check:
        for text, name in zip(arguments.destinations, destinations, strict=True):
            _check_permission(console, text, name, config)
    context = arguments.context.removeprefix("dir://")
    site = Site(
        console=console,
        context=console.path(context),
        dockerfile=_dockerfile(console, arguments, context),
        config=config,
        architecture=arguments.platform.split("/")[1]
        if arguments.platform
        else console.architecture,
        build_args=arguments.build_args,
        target=arguments.target,
        secrets={name: console.path(path) for name, path in arguments.secrets.items()},
    )
    built = build(site)
    if console.told_to_end:
        return 2
    built.config.setdefault("config", {}).setdefault("Labels", {}).update(arguments.labels)
    manifest = _manifest(built, arguments)
    if arguments.push:
        for text, name in zip(arguments.destinations, destinations, strict=True):
            _push(console, text, name, config, built, manifest)
    if arguments.digest_file:
        console.path(arguments.digest_file).write_text(digest_of(manifest))
    return 0


def _docker_config(console: Console) -> Any:
    folder = console.env.get("DOCKER_CONFIG", "/kaniko/.docker")
    path = console.path(f"{folder}/config.json")
    return json.loads(path.read_text()) if path.is_file() else {}


def _dockerfile(console: Console, arguments: Arguments, context: str) -> str:
    for path in (arguments.dockerfile, f"{context}/{arguments.dockerfile}"):
        found = console.path(path)
        if path.startswith("/") and found.is_file():
            return Path(found).read_text()
    raise BuildFailed(
        "error resolving dockerfile path: please provide a valid path to a Dockerfile within the"
        " build context with --dockerfile"
    )


def _check_permission(console: Console, text: str, name: Name, config: Any) -> None:
    registry = Registry(name.host, config)
    try:
        registry.cancel_upload(name, registry.start_upload(name))
    except RegistryRefusal as refusal:
        console.log(
            "make sure you entered the correct tag name, that you are authenticated correctly, and"
            " try again.",
            "warning",
        )
        raise BuildFailed(f'{_CHECKING} "{text}": {refusal}') from refusal
    finally:
        registry.close()


def _manifest(built: Built, arguments: Arguments) -> bytes:
    config = json.dumps(built.config).encode()
    built.blobs[digest_of(config)] = config
    made = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(config),
            "size": len(config),
        },
        "layers": built.layers,
        **({"annotations": arguments.annotations} if arguments.annotations else {}),
    }
    return json.dumps(made).encode()


def _push(
    console: Console, text: str, name: Name, config: Any, built: Built, manifest: bytes
) -> None:
    console.log(_PROVIDERS)
    console.log(f"Pushing image to {text}")
    registry = Registry(name.host, config)
    try:
        for digest, data in built.blobs.items():
            registry.put_blob(name, digest, data)
            if console.told_to_end:
                return
        registry.put_manifest(name, manifest, MANIFEST)
    except RegistryRefusal as refusal:
        raise BuildFailed(f"{_PUSHING} {text}: {refusal}") from refusal
    finally:
        registry.close()
    digest = digest_of(manifest)
    console.log(f"Pushed {name.host}/{name.repository}@{digest}")
