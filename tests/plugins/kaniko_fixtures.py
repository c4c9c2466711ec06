"""Real kaniko executors for the tests: images that BUILDPUSH_TEST_KANIKO names, loaded into dockerd.

No registry of packages has an executor, so there is none unless somebody brings one: a file as
``docker save`` writes it, or several, separated by colons.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from engine_fixtures import DockerEngine

from buildpush.backends.kaniko.executor.argv import command, private_files
from buildpush.backends.kaniko.executor.flavors import Executor as KanikoVersion
from buildpush.backends.kaniko.executor.flavors import Flavor, guess
from buildpush.backends.kaniko.executor.options import KanikoOptions
from buildpush.backends.kaniko.runner import Execution
from buildpush.dockerfile import parse
from buildpush.plan import BuildRequest, Delivery

_VARIABLE = "BUILDPUSH_TEST_KANIKO"


@frozen
class KanikoImage:
    """An image with an executor: its *name* in dockerd, and the *archive* it came from."""

    name: str
    archive: Path


@pytest.fixture(scope="session")
def kaniko_archives() -> tuple[Path, ...]:
    """The files that hold images with an executor, one at least.

    Skips where there is none, also where engines are required: no registry of packages has one.
    """
    found = tuple(Path(name) for name in os.environ.get(_VARIABLE, "").split(":") if name)
    if not found:
        pytest.skip(f"needs a kaniko executor ({_VARIABLE}=an image as docker save writes it)")
    return found


@pytest.fixture(scope="session")
def kaniko_images(
    kaniko_archives: tuple[Path, ...], dockerd: DockerEngine
) -> tuple[KanikoImage, ...]:
    """Every image with an executor, in the session's `dockerd`."""
    return tuple(load_kaniko(archive, dockerd.env) for archive in kaniko_archives)


@pytest.fixture(scope="session")
def kaniko_image(kaniko_archives: tuple[Path, ...], dockerd: DockerEngine) -> KanikoImage:
    """The first image with an executor, in the session's `dockerd`."""
    return load_kaniko(kaniko_archives[0], dockerd.env)


def execution(
    image: str, context: Path, dockerfile: str, *, layout: Path | None, **settings: Any
) -> Execution:
    """*dockerfile* in *context*, as the backend would hand it to a runner."""
    (context / "Dockerfile").write_text(dockerfile)
    request = BuildRequest(
        context=context,
        dockerfile=parse(dockerfile),
        dockerfile_path=context / "Dockerfile",
        delivery=Delivery.DIRECT if layout is None else Delivery.LAYOUT,
        **settings,
    )
    version = guess(image) or KanikoVersion(flavor=Flavor.OSSCONTAINERTOOLS, version=(1, 28, 3))
    options = KanikoOptions()
    files = private_files(request, version, options)
    return Execution(
        image=image,
        request=request,
        command=lambda places: command(request, version, options, places, platform=None),
        files={"config.json": b"{}", **files},
        layout=layout,
    )


def load_kaniko(archive: Path, env: Mapping[str, str]) -> KanikoImage:
    """Load *archive* into the docker that *env* names."""
    variables = {**os.environ, **env}
    argv = ["/usr/bin/env", "docker", "load", "--quiet", "--input", str(archive)]
    subprocess.run(argv, env=variables, check=True, capture_output=True)
    return KanikoImage(_name_in(archive), archive)


def _name_in(archive: Path) -> str:
    with tarfile.open(archive) as opened:
        file = opened.extractfile("manifest.json")
        assert file is not None
        name: str = json.load(file)[0]["RepoTags"][0]
        return name
