"""A real executor in the container that Python is in, too: what it builds, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest
from engine_fixtures import DockerEngine
from kaniko_fixtures import KanikoImage

import buildpush
from buildpush.testing import LocalRegistry
from buildpush.testing.conformance.shell import Busybox

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_docker]

_PRELUDE = """
import json, sys
from pathlib import Path
from kaniko_fixtures import execution
from buildpush.auth import Chain
from buildpush.backends.kaniko.local import LocalRunner
from buildpush.backends.kaniko.output.translate import KanikoOutput
from buildpush.errors import BuildpushError
from buildpush.oci import ImageReference
from buildpush.oci.layout import Layout
from buildpush.registry.client import RegistryClient
from buildpush.registry.push import push
from buildpush.runtime import CancelToken, Run
from buildpush.runtime.workdir import workdir
from buildpush.runtime import Environment
HOST, BASE = sys.argv[1:3]
REFERENCES = (ImageReference.parse(f"{HOST}/made:1"),)
def build(text, run, layout, **settings):
    context = Path("/kaniko/tmp/context")
    context.mkdir(exist_ok=True, parents=True)
    (context / "word").write_text("hello")
    settings = {"insecure": frozenset((HOST,)), "references": REFERENCES, **settings}
    one = execution(sys.argv[3], context, text, layout=layout, **settings)
    output = KanikoOutput(one.request)
    ending = LocalRunner().execute(one, output, run)
    return ending, output
def running():
    return workdir(Environment.current().temporary, 0)
def run_in(folder, events=None):
    return Run(workdir=folder, cancel=CancelToken(), sink=(events or []).append)
TWO_STAGES = f'''FROM {BASE} AS first
COPY word /word
RUN mkdir /made && cat /word > /made/text && echo $(id -u) >> /made/text
FROM {BASE}
RUN echo second > /second && test ! -e /word
COPY --from=first /made/text /text
'''
"""


@pytest.fixture(scope="module")
def place(
    kaniko_image: KanikoImage, dockerd: DockerEngine, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """An image with the executor, a shell, and the shared libraries that this Python loads."""
    layer = io.BytesIO()
    with (
        tarfile.open(kaniko_image.archive) as archive,
        tarfile.open(fileobj=layer, mode="w") as to,
    ):
        _copy_executor(archive, to)
        for name in ("bin/busybox", "bin/sh"):
            to.add("/bin/busybox", name)
        for library in sorted(_libraries()):
            to.add(library.resolve(), str(library).lstrip("/"))
    name = "kaniko-with-python:1"
    subprocess.run(
        ["/usr/bin/env", "docker", "import", "-", name],
        input=layer.getvalue(),
        env={**os.environ, **dockerd.env},
        check=True,
        capture_output=True,
    )
    return name


def _copy_executor(archive: tarfile.TarFile, to: tarfile.TarFile) -> None:
    manifest = archive.extractfile("manifest.json")
    assert manifest is not None
    layer = json.load(manifest)[0]["Layers"][0]
    with tarfile.open(fileobj=archive.extractfile(layer)) as files:
        for entry in files:
            to.addfile(entry, files.extractfile(entry) if entry.isreg() else None)


def _libraries() -> set[Path]:
    """What this Python's programs and modules are linked with, outside of its own folder."""
    folders = (Path(sys.prefix), Path(sys.base_prefix))
    wanted = [Path(sys.executable), *Path(sysconfig.get_path("stdlib")).glob("lib-dynload/*.so")]
    wanted += Path(sysconfig.get_path("purelib")).rglob("*.so")
    listed = subprocess.run(["ldd", *wanted], check=False, capture_output=True, text=True).stdout
    found = {Path(path) for path in re.findall(r"(/\S+\.so[^\s:]*) \(0x", listed)}
    return {path for path in found if not any(path.is_relative_to(folder) for folder in folders)}


@attrs.frozen
class Inside:
    """A container in which Python can be run; *host* is a registry, *base* an image in it."""

    image: str
    env: Mapping[str, str]
    registry: LocalRegistry
    base: str
    kaniko: str

    def run(self, script: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run *script* in a fresh container; its output."""
        volumes = {Path(sys.prefix), Path(sys.base_prefix), Path(buildpush.__file__).parents[2]}
        volumes |= {Path(attrs.__file__).parents[1]}
        options = [f"--volume={path}:{path}:ro" for path in volumes]
        options += ["--network=host", "--env=TMPDIR=/kaniko/tmp", "--env=HOME=/kaniko/tmp"]
        options += ["--env=BUILDPUSH_CACHE=/kaniko/tmp/cache", "--tmpfs=/kaniko/tmp", *more]
        plugins = str(Path(__file__).parents[2] / "plugins")
        options.append(f"--env=PYTHONPATH={plugins}")
        return subprocess.run(
            [
                *("/usr/bin/env", "docker", "run", "--rm", *options, self.image),
                *(sys.executable, "-c", _PRELUDE + script),
                *(self.registry.host, self.base, self.kaniko),
            ],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def inside(place: str, kaniko_image: KanikoImage, dockerd: DockerEngine) -> Iterator[Inside]:
    with LocalRegistry() as registry:
        base = Busybox(Path("/bin/busybox")).put(registry, "base", "1")
        yield Inside(place, dockerd.env, registry, base, kaniko_image.name)


def test_two_builds_follow_each_other_and_each_is_pushed_by_python(inside: Inside) -> None:
    """What the executor has removed around it, Python has not needed."""
    done = inside.run("""
for number in ("1", "2"):
    with running() as folder:
        run = run_in(folder)
        ending, output = build(TWO_STAGES, run, folder / "layout")
        assert ending.exit_code == 0, (ending, output.tail, output.fatal)
        assert not Path("/second").exists()
        layout = Layout.open(folder / "layout")
        with RegistryClient(Chain(()), run, insecure=frozenset((HOST,))) as client:
            reference = ImageReference.parse(f"{HOST}/made:{number}")
            push(client, layout, layout.index().manifests[0].digest, (reference,), origins={}, run=run)
        print(ending.digest, sorted(p.name for p in Path("/kaniko").iterdir()))
print(sorted(p.name for p in Path("/").iterdir()))
""")
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert inside.registry is not None
