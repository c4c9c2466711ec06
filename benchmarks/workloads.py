"""What is built: five build contexts, and the base images that they need, in a local registry."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from buildpush.auth import Chain
from buildpush.events import ignore
from buildpush.oci import Digest, ImageReference, Platform
from buildpush.oci.layer import Layer, LayerWriter
from buildpush.oci.layout import Layout
from buildpush.oci.tar import Entry
from buildpush.oci.wire import History, ImageConfig, Manifest, MediaType, RunConfig, dump
from buildpush.registry import RegistryClient
from buildpush.registry.push import push
from buildpush.runtime import CancelToken, Run

MEGABYTE = 1 << 20


@frozen
class Workload:
    """A build context; *name* and *what* are how the table calls it."""

    name: str
    what: str
    folder: Path

    def change(self, number: int) -> None:
        """Change the one file that every layer depends on."""
        (self.folder / "files" / "stamp").write_text(f"{number}\n")


def make_workloads(folder: Path, host: str) -> tuple[Workload, ...]:
    """Write all five build contexts below *folder*; their base images come from *host*."""
    middle = f"{host}/base/middle"
    loop = "RUN mkdir /out && for i in $(seq 2000); do cat /stamp > /out/$i; done\n"
    dockerfiles = {
        "tiny": (
            "busybox, COPY of one file, RUN",
            f"FROM {host}/base/tiny\nWORKDIR /app\nCOPY files /app/\nRUN cp stamp copy\n",
        ),
        "stages": (
            "two stages on a base of 170 MB, RUN making 2,000 files, COPY --from",
            f"FROM {middle} AS made\nCOPY files /\n{loop}FROM {middle}\nCOPY --from=made /out /out\n",
        ),
        "many": ("FROM scratch, COPY of 20,000 files (119 MB)", "FROM scratch\nCOPY files /\n"),
        "big": ("FROM scratch, COPY of one 400 MB file", "FROM scratch\nCOPY files /\n"),
        "base": (
            "a base of 1 GB, RUN making one file",
            f"FROM {host}/base/large\nCOPY files /\nRUN cp /stamp /copy\n",
        ),
    }
    workloads: list[Workload] = []
    for name, (what, dockerfile) in dockerfiles.items():
        workload = Workload(name, what, folder / name)
        (workload.folder / "files").mkdir(parents=True)
        (workload.folder / "Dockerfile").write_text(dockerfile)
        workload.change(0)
        workloads.append(workload)
    _fill(folder / "many" / "files", files=20_000, size=119 * MEGABYTE // 20_000)
    _fill(folder / "big" / "files", files=1, size=400 * MEGABYTE)
    return tuple(workloads)


def _fill(folder: Path, *, files: int, size: int) -> None:
    source = random.Random(size)
    for number in range(files):
        place = folder / f"{number // 200:03}"
        place.mkdir(exist_ok=True)
        with (place / f"{number:05}").open("wb") as file:
            for _ in range(size // MEGABYTE):
                file.write(_half_random(source, MEGABYTE))
            file.write(_half_random(source, size % MEGABYTE))


def _half_random(source: random.Random, size: int) -> bytes:
    """Bytes that compress to half their size."""
    return source.randbytes(size // 2) + bytes(size - size // 2)


# --- the registry and its base images ---


@contextmanager
def registry(folder: Path, port: int) -> Iterator[str]:
    """Debian's docker-registry on loopback; its host."""
    folder.mkdir()
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        time.sleep(1)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def push_bases(folder: Path, host: str) -> None:
    """Give the registry a busybox as it is, and with 170 MB and 1 GB of other files."""
    folder.mkdir()
    run = Run(workdir=folder, cancel=CancelToken(), sink=ignore)
    with RegistryClient(Chain(()), run) as client:
        for name, fillings in {"tiny": 0, "middle": 1, "large": 6}.items():
            layout = Layout.create(folder / name)
            digest = _base(layout, fillings)
            reference = ImageReference.parse(f"{host}/base/{name}")
            push(client, layout, digest, [reference], origins={}, run=run)


def _base(layout: Layout, fillings: int) -> Digest:
    """An image of busybox and layers of 170 MB each."""
    layers = [_busybox(layout.path), *(_filling(layout.path, n) for n in range(fillings))]
    platform = Platform.host()
    config = ImageConfig(
        os=platform.os,
        architecture=platform.architecture,
        config=RunConfig(env=("PATH=/bin",), cmd=("sh",)),
        diff_ids=tuple(layer.diff_id for layer in layers),
        history=tuple(History(created_by="benchmarks") for _ in layers),  # buildah counts them
    )
    for number, layer in enumerate(layers):
        layout.add_file(layout.path / f"layer{number}", layer.descriptor)
    manifest = Manifest(
        config=layout.add_bytes(config.dump(), MediaType.OCI_CONFIG),
        layers=tuple(layer.descriptor for layer in layers),
    )
    return layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST).digest


def _busybox(folder: Path) -> Layer:
    program = shutil.which("busybox")
    assert program, "busybox is not installed (sh tests/provision.sh)"
    body = Path(program).read_bytes()
    with LayerWriter(folder / "layer0") as writer:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            writer.add(Entry(name, "dir", 0o755))
        writer.add(Entry("bin/busybox", "file", 0o755, size=len(body)), body)
        for applet in ("sh", "cp", "cat", "seq", "mkdir"):
            writer.add(Entry(f"bin/{applet}", "symlink", 0o777, link="busybox"))
        return writer.finish()


def _filling(folder: Path, number: int) -> Layer:
    source = random.Random(number)
    with LayerWriter(folder / f"layer{number + 1}") as writer:
        for part in range(170):
            entry = Entry(f"filling/{number}-{part}", "file", 0o644, size=MEGABYTE)
            writer.add(entry, _half_random(source, MEGABYTE))
        return writer.finish()
