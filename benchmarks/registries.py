"""Compare pushing, mounting and pulling with crane, on Debian's docker-registry.

    python benchmarks/registries.py --runs 7 --crane /usr/bin/crane

Both ways take turns, and at going first. *call* is what a program waits for whose HTTP client is
loaded (a second image, that is), *process* the whole life of a Python that does nothing else;
crane is always a process. Our modules are compiled, as pip leaves them. Every push is to a
repository that is not there, of a registry that has had the blobs before: it takes in and hashes
all that is sent, and drops the copy. Seconds are medians, CPU seconds count both processor modes
of the client alone. Run it on a quiet machine, in an environment that holds only buildpush
and what it requires: httpx loads trio, rich and click where it finds them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import resource
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
from buildpush.runtime import CancelToken, Environment, Run

PORT = 5898
SIZES = (150, 80, 50, 30, 15, 5)
HEAD = """\
| what | crane, s | call, s | ratio | process, s | ratio | crane CPU, s | process CPU, s |
|---|---|---|---|---|---|---|---|"""


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

        crane = middle(self.crane, "wall")
        call, process = middle(self.ours, "inner"), middle(self.ours, "wall")
        return (
            f"| {self.what} | {crane:.2f} | {call:.2f} | {call / crane:.2f} |"
            f" {process:.2f} | {process / crane:.2f} |"
            f" {middle(self.crane, 'cpu'):.2f} | {middle(self.ours, 'cpu'):.2f} |"
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


def timed(argv: Sequence[str], compiled: Path) -> Cost:
    """Run a command; what it cost, and what its last line says of itself.

    Nothing of what went before is still being written, and Python finds *compiled* modules.
    """
    os.sync()
    variables = {
        name: value
        for name, value in Environment.current().variables.items()
        if name != "PYTHONDONTWRITEBYTECODE"
    }
    variables["PYTHONPYCACHEPREFIX"] = str(compiled)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables
    )
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = done.stdout.decode().split()
    return Cost(wall, cpu, float(said[-1]) if "--child" in argv else wall)


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


@frozen
class Bench:
    """One layout, the registry on *host*, and both ways of moving one to the other."""

    crane: str
    folder: Path
    host: str
    digest: str

    def pushed(self, by: str, name: str, origin: str = "") -> Cost:
        """Push to a new repository; *origin* is one that has the blobs, if we are to know it."""
        layout, there = self.folder / "layout", f"{self.host}/{name}:1"
        match by:
            case "crane":
                argv = [self.crane, "push", str(layout), there]
            case "command":
                argv = [sys.executable, "-m", "buildpush", "push", str(layout), there]
            case _:
                argv = self._child("push", layout, there, origin and f"{self.host}/{origin}")
        return timed(argv, self.folder / "compiled")

    def pulled(self, by: str, name: str) -> Cost:
        """Pull into a new layout."""
        place, there = self.folder / "pulled", f"{self.host}/{name}:1"
        if by == "crane":
            argv = [self.crane, "pull", "--format", "oci", there, str(place)]
        else:
            argv = self._child("pull", place, there, "")
        cost = timed(argv, self.folder / "compiled")
        shutil.rmtree(place)
        return cost

    def forget(self, name: str) -> None:
        """Remove a repository; its blobs stay, once for all repositories."""
        shutil.rmtree(self.folder / "registry/data/docker/registry/v2/repositories" / name)

    def _child(self, verb: str, place: Path, there: str, origin: str) -> list[str]:
        own = [sys.executable, __file__, "--child", verb, "--digest", self.digest]
        return [*own, "--folder", str(place), "--ref", there, "--origin", origin]


def measure(bench: Bench, runs: int) -> tuple[Row, ...]:
    """Every comparison, *runs* times, in turns; and once before, which does not count."""
    pushed, mounted, pulled = Row("push"), Row("push again elsewhere"), Row("pull")
    command = Row("push, as a command")
    for n in range(runs + 1):
        for by in ("crane", "ours") if n % 2 else ("ours", "crane"):
            own = f"{by}{n}"
            costs = [
                (pushed, bench.pushed(by, own)),
                (mounted, bench.pushed(by, f"{own}-b", own)),
                (pulled, bench.pulled(by, own)),
            ]
            if by == "ours":
                command.ours.append(bench.pushed("command", f"{own}-c"))
                bench.forget(f"{own}-c")
            for row, cost in costs:
                (row.crane if by == "crane" else row.ours).append(cost)
            bench.forget(own)
            bench.forget(f"{own}-b")
    command.crane = pushed.crane
    rows = (pushed, command, mounted, pulled)
    for warm in (pushed.crane, *(row.ours for row in rows), mounted.crane, pulled.crane):
        del warm[0]
    return rows


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
            digest = str(make_layout(folder / "layout"))
            rows = measure(Bench(asked.crane, folder, host, digest), asked.runs)
    print(HEAD)
    for row in rows:
        print(row.render())


if __name__ == "__main__":
    main()
