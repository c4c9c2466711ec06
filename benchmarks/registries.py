"""Compare pushing, mounting and pulling with crane, on Debian's docker-registry.

    python benchmarks/registries.py --runs 7 --crane /usr/bin/crane

Each way of asking takes turns with the other one. *call* is what a program waits for whose HTTP
client is loaded (a second image, that is), *process* the whole life of a Python that does nothing
else; crane is always a process. Seconds are medians, CPU seconds count both processor modes of the client alone.
Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen
from workloads import MEGABYTE, registry

from buildpush.auth import Chain
from buildpush.events import ignore
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, Manifest, MediaType, dump, parse_manifest
from buildpush.registry import RegistryClient
from buildpush.registry.pull import pull
from buildpush.registry.push import push
from buildpush.runtime import CancelToken, Run

PORT = 5898
SIZES = (150, 80, 50, 30, 15, 5)
HEAD = """\
| what | crane, s | call, s | ratio | process, s | crane CPU, s | process CPU, s |
|---|---|---|---|---|---|---|"""


@frozen
class Cost:
    """Seconds on the clock and on the processor; *inner* without starting and importing."""

    wall: float
    cpu: float
    inner: float


@define
class Row:
    """One line of the table: what was measured, both ways."""

    what: str
    crane: list[Cost] = field(factory=list[Cost])
    ours: list[Cost] = field(factory=list[Cost])

    def render(self) -> str:
        """The line, all of it medians."""

        def middle(costs: Sequence[Cost], name: str) -> float:
            return statistics.median(float(getattr(cost, name)) for cost in costs)

        crane, call = middle(self.crane, "wall"), middle(self.ours, "inner")
        return (
            f"| {self.what} | {crane:.2f} | {call:.2f} | {call / crane:.2f} |"
            f" {middle(self.ours, 'wall'):.2f} | {middle(self.crane, 'cpu'):.2f} |"
            f" {middle(self.ours, 'cpu'):.2f} |"
        )


def make_layout(folder: Path) -> Digest:
    """An image of 330 MB in six layers that do not compress."""
    layout = Layout.create(folder)
    source = random.Random(330)
    layers = [
        layout.add_bytes(source.randbytes(size * MEGABYTE), MediaType.OCI_LAYER) for size in SIZES
    ]
    config = layout.add_bytes(
        b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":['
        + b",".join(b'"%s"' % str(layer.digest).encode() for layer in layers)
        + b"]}}",
        MediaType.OCI_CONFIG,
    )
    manifest = dump(Manifest(config=config, layers=tuple(layers)))
    image = layout.add_bytes(manifest, MediaType.OCI_MANIFEST)
    layout.set_index([image])
    return image.digest


def timed(argv: Sequence[str]) -> Cost:
    """Run a command; what it cost, and what its last line says of itself."""
    before = os.times()
    began = time.perf_counter()
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    said = done.stdout.decode().split()
    return Cost(wall, cpu, float(said[-1]) if argv[0] == sys.executable else wall)


def child(verb: str, folder: Path, digest: str, reference: str, origin: str) -> float:
    """Push or pull in this process; the seconds of the call."""
    importlib.import_module("buildpush.http.transport")
    began = time.perf_counter()
    there = ImageReference.parse(reference)
    with tempfile.TemporaryDirectory() as work:
        run = Run(workdir=Path(work), cancel=CancelToken(), sink=ignore)
        with RegistryClient(Chain(()), run) as client:
            if verb == "pull":
                pull(client, there, Layout.create(folder), run=run)
            else:
                layout = Layout.open(folder)
                host, _, path = origin.partition("/")
                blobs = _blobs(layout) if origin else ()
                origins = {blob.digest: Repository(host, path) for blob in blobs}
                push(client, layout, Digest(digest), [there], origins=origins, run=run)
    return time.perf_counter() - began


def _blobs(layout: Layout) -> Sequence[Descriptor]:
    top = parse_manifest(layout.read(layout.index().manifests[0].digest))
    assert isinstance(top, Manifest)
    return (top.config, *top.layers)


def measure(crane: str, folder: Path, host: str, runs: int) -> tuple[Row, ...]:
    """Every comparison, *runs* times, in turns."""
    layout = folder / "layout"
    digest = str(make_layout(layout))
    pushed, mounted, pulled = Row("push"), Row("push again elsewhere"), Row("pull")

    def ours(verb: str, place: Path, name: str, origin: str = "") -> Cost:
        own = [sys.executable, __file__, "--child", verb, "--digest", digest]
        return timed([*own, "--folder", str(place), "--ref", f"{host}/{name}", "--origin", origin])

    for n in range(runs):
        pushed.crane.append(timed([crane, "push", str(layout), f"{host}/crane{n}:1"]))
        pushed.ours.append(ours("push", layout, f"ours{n}:1"))
        mounted.crane.append(timed([crane, "push", str(layout), f"{host}/crane{n}-b:1"]))
        mounted.ours.append(ours("push", layout, f"ours{n}-b:1", f"{host}/ours{n}"))
        for row in (pulled.crane, pulled.ours):
            place = folder / "pulled"
            if row is pulled.crane:
                argv = [crane, "pull", "--format", "oci", f"{host}/ours{n}:1", str(place)]
                row.append(timed(argv))
            else:
                row.append(ours("pull", place, f"ours{n}:1"))
            shutil.rmtree(place)
        for name in (f"crane{n}", f"crane{n}-b", f"ours{n}", f"ours{n}-b"):
            shutil.rmtree(folder / "registry/data/docker/registry/v2/repositories" / name)
    return pushed, mounted, pulled


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--crane", default="crane")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--digest", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ref", default="", help=argparse.SUPPRESS)
    parser.add_argument("--origin", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(child(asked.child, asked.folder, asked.digest, asked.ref, asked.origin))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with registry(folder / "registry", PORT) as host:
            rows = measure(asked.crane, folder, host, asked.runs)
    print(HEAD)
    for row in rows:
        print(row.render())


if __name__ == "__main__":
    main()
