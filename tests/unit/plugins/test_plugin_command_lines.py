"""What our engines are told, beside what the plugins tell theirs, for the same variables.

The plugins' words are those of drone-buildx, drone-kaniko and drone-buildah.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve

from buildpush import BuildAndPushStep
from buildpush.backends.buildah.argv import Surroundings
from buildpush.backends.buildah.argv import build as buildah_argv
from buildpush.backends.buildah.probing import Buildah
from buildpush.backends.buildkit.argv import Destination, environment
from buildpush.backends.buildkit.argv import argv as buildx_argv
from buildpush.backends.kaniko.executor.argv import command
from buildpush.backends.kaniko.executor.flavors import Executor, Flavor
from buildpush.backends.kaniko.executor.options import KanikoOptions
from buildpush.backends.kaniko.runner import Places
from buildpush.plan import BuildRequest, Delivery
from buildpush.spec.drone import PluginSettings
from buildpush.step.variables import read_plugin
from buildpush.testing import FakeBackend

COMMON: Mapping[str, str] = {
    "PLUGIN_REPO": "ghcr.io/acme/app",
    "PLUGIN_TAGS": "1.10,latest",
    "PLUGIN_CUSTOM_LABELS": "team=payments",
    "PLUGIN_BUILD_ARGS": "A=1,B=x=y",
    "PLUGIN_TARGET": "prod",
    "PLUGIN_CONTEXT": "src",
    "PLUGIN_DOCKERFILE": "src/Dockerfile",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "Dockerfile").write_text(
        "FROM scratch AS prod\nARG A\nARG B\nCOPY . /\nFROM prod\nLABEL last=yes\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def requested(variables: Mapping[str, str], plugin: str) -> tuple[BuildRequest, PluginSettings]:
    """What a backend that does everything itself would be asked, and all that the plugin was."""
    step = BuildAndPushStep.from_plugin_env(variables, plugin=plugin, backend=FakeBackend())
    plan = step.plan()
    files = {name: Path("secrets", name) for name in plan.secrets}
    request = evolve(plan.with_files(files, {}), delivery=Delivery.DIRECT)
    return request, read_plugin(variables, plugin, "strict")[0]


_BARE = frozenset({"--force-rm", "--no-cache", "--pull", "--"})


def joined(words: Iterable[str]) -> list[str]:
    """The words, each option with its value as one."""
    found: list[str] = []
    for word in words:
        before = found[-1] if found else ""
        if before.startswith("--") and "=" not in before and before not in _BARE:
            found[-1] = f"{before}={word}"
        else:
            found.append(word)
    return found


def compared(words: Iterable[str], lines: Mapping[str, str], beside: Mapping[str, str]) -> None:
    """Each of *lines*, the plugin's words to ours, is there; *beside* are ours alone, and why."""
    ours = joined(words)
    expected = [*lines.values(), *beside]

    assert sorted(ours) == sorted(expected)
    assert all(beside.values())


def test_buildx_is_told_what_the_plugin_tells_it(folder: Path) -> None:
    variables = {
        **COMMON,
        "PLUGIN_AUTO_LABEL": "false",
        "PLUGIN_NO_CACHE": "true",
        "PLUGIN_ADD_HOST": "db:10.0.0.1",
        "PLUGIN_PLATFORM": "linux/amd64,linux/arm64",
        "PLUGIN_CACHE_FROM": "type=registry,ref=acme/cache;type=gha",
        "PLUGIN_CACHE_TO": "type=registry,ref=acme/cache,mode=max",
        "PLUGIN_SECRETS_FROM_ENV": "npm=NPM",
        "NPM": "x",
    }
    request, _ = requested(variables, "buildx")
    metadata = folder / "metadata.json"

    ours = buildx_argv(request, Destination(push=True), metadata=metadata, builder="b")

    compared(
        ours,
        {
            "build": "build",
            "-f src/Dockerfile": f"--file={folder}/src/Dockerfile",
            "--builder b": "--builder=b",
            "-t ghcr.io/acme/app:1.10": "--tag=ghcr.io/acme/app:1.10",
            "-t ghcr.io/acme/app:latest": "--tag=ghcr.io/acme/app:latest",
            "--push": "--output=type=image,push=true,oci-mediatypes=true,compression=gzip",
            "src": f"{folder}/src",
            "--metadata-file M": f"--metadata-file={metadata}",
            "--pull=true": "--pull",
            "--no-cache": "--no-cache",
            "--cache-from type=registry,ref=c": "--cache-from=type=registry,ref=acme/cache",
            "--cache-from type=gha": "--cache-from=type=gha",
            "--cache-to type=registry,ref=c,mode=max": "--cache-to=type=registry,"
            "image-manifest=true,oci-mediatypes=true,ignore-error=true,ref=acme/cache,mode=max",
            "--build-arg A=1": "--build-arg=A",
            "--build-arg B=x=y": "--build-arg=B",
            "--add-host db:10.0.0.1": "--add-host=db:10.0.0.1",
            "--secret id=npm,env=NPM": "--secret=id=npm,src=secrets/npm",
            "--target prod": "--target=prod",
            "--platform linux/amd64,linux/arm64": "--platform=linux/amd64,linux/arm64",
            "--label team=payments": "--label=team=payments",
        },
        beside={
            "--progress=rawjson": "events are read from it",
            "--provenance=false": "an image is one manifest where nobody asks for more",
            "--sbom=false": "likewise",
        },
    )
    # The values of build args travel by environment, where nobody else sees them.
    given = environment(request, {})
    assert (given["A"], given["B"]) == ("1", "x=y")


def test_kaniko_is_told_what_the_plugin_tells_it() -> None:
    variables = {
        **COMMON,
        "PLUGIN_ENABLE_CACHE": "true",
        "PLUGIN_CACHE_REPO": "ghcr.io/acme/layers",
        "PLUGIN_CACHE_TTL": "24",
        "PLUGIN_SNAPSHOT_MODE": "redo",
        "PLUGIN_SINGLE_SNAPSHOT": "true",
        "PLUGIN_REGISTRY": "ghcr.io",
        "PLUGIN_PUSH_RETRY": "3",
        "PLUGIN_SKIP_UNUSED_STAGES": "true",
        "PLUGIN_VERBOSITY": "debug",
    }
    request, asked = requested(variables, "kaniko")
    options = KanikoOptions(**asked.kaniko)  # type: ignore[arg-type]
    places = Places(
        context="dir:///src",
        private=PurePosixPath("/private"),
        digest=PurePosixPath("/kaniko/digest-file"),
    )
    executor = Executor(flavor=Flavor.OSSCONTAINERTOOLS, version=(1, 28, 3))

    ours = command(request, executor, options, places, platform=None)

    compared(
        ours.words,
        {
            "--dockerfile=src/Dockerfile": "--dockerfile=/private/Dockerfile",
            "--context=dir://src": "--context=dir:///src",
            "--destination=ghcr.io/acme/app:1.10": "--destination=ghcr.io/acme/app:1.10",
            "--destination=ghcr.io/acme/app:latest": "--destination=ghcr.io/acme/app:latest",
            "--build-arg=A=1": "--build-arg=A",
            "--build-arg=B=x=y": "--build-arg=B",
            "--label=team=payments": "--label=team=payments",
            "--target=prod": "--target=prod",
            "--cache=true": "--cache=true",
            "--cache-repo=ghcr.io/acme/layers": "--cache-repo=ghcr.io/acme/layers",
            "--cache-ttl=24h": "--cache-ttl=24h",
            "--snapshot-mode=redo": "--snapshot-mode=redo",
            "--single-snapshot": "--single-snapshot=true",
            "--push-retry=3": "--push-retry=3",
            "--skip-unused-stages": "--skip-unused-stages=true",
            "--verbosity=debug": "--verbosity=debug",
            "--digest-file=/kaniko/digest-file": "--digest-file=/kaniko/digest-file",
        },
        beside={
            "--log-format=json": "events are read from it",
            "--cache-copy-layers=true": "a cache has the layers of COPY, too",
            "--image-download-retry=4": "what may pass later is tried again",
            "--image-fs-extract-retry=4": "likewise",
        },
    )
    assert {name: ours.variables[name] for name in "AB"} == {"A": "1", "B": "x=y"}


def test_buildah_is_told_what_the_plugin_tells_it(folder: Path) -> None:
    variables = {**COMMON, "PLUGIN_AUTO_LABEL": "false", "PLUGIN_NO_CACHE": "true"}
    request, _ = requested(variables, "buildah")
    where = Surroundings(
        authfile=folder / "auth.json",
        mark=folder / "mark",
        dockerfile=folder / "src" / "Dockerfile",
        context=folder / "src",
    )
    buildah = Buildah(program="buildah", version=(1, 28, 2))

    compared(
        buildah_argv(request, buildah, where),
        {
            "buildah": "buildah",
            "bud": "build",
            "-f src/Dockerfile": f"--file={folder}/src/Dockerfile",
            "src": f"{folder}/src",
            "--pull=true": "--pull=always",
            "--no-cache": "--no-cache",
            "--build-arg A=1": "--build-arg=A=1",
            "--build-arg B=x=y": "--build-arg=B=x=y",
            "--target prod": "--target=prod",
            "--label team=payments": "--label=team=payments",
        },
        beside={
            "--": "what follows is a folder, whatever it is called",
            "--format=oci": "for a Dockerfile that needs no other",
            "--layers=true": "layers are kept for later builds",
            "--force-rm": "working containers are not left behind",
            "--isolation=chroot": "how RUN is isolated is found out, and said",
            "--identity-label=false": "the label would change with buildah's version",
            f"--authfile={folder}/auth.json": "the logins of this run alone",
            "--retry=4": "what may pass later is tried again",
            f"--secret=id=buildpush-run,src={folder}/mark": "tells this run's containers apart",
            "--network=host": "the network that RUN has here",
        },
    )
