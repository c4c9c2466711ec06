"""Compare a step with the best plain command line that builds and pushes the same.

    python benchmarks/overhead.py --backends buildx,buildah --workloads tiny,big --runs 5

Needs docker-registry and busybox, and the engines that are measured: buildx and docker are found
as the docker command finds them (DOCKER_HOST, the current context), buildah in PATH. Nothing of
theirs is removed, but they are left with the images that were built. Run it on a quiet machine.

Plain command and step alternate. Before each, one file changes that all layers depend on, so
that everything is executed anew on a base image that is there already, and the destination is a
new repository. With --unchanged nothing changes, and the tag has the image already.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from attrs import frozen
from workloads import Workload, make_workloads, push_bases, registry

from buildpush import BuildAndPushStep
from buildpush.backends.engine import buildx_plugin
from buildpush.runtime import Environment

PORT = 5899
HEAD = """\
| workload | backend | plain, s | step, s | ratio | difference, s | within 5 % + 0.15 s |
|---|---|---|---|---|---|---|"""
Commands = list[list[str]]
Delivery = Literal["auto", "layout", "direct"]
Build = Callable[[str], None]
"""Builds and pushes to a reference."""


def plain_commands(backend: str, workload: Workload, reference: str) -> Commands:
    """The best plain command lines of an engine, for what a step does with the same one."""
    context = str(workload.folder)
    match backend:
        case "buildx":
            own = str(buildx_plugin(Environment.current()) or "docker-buildx")
            network = ["--network", "host", "--allow", "network.host"]
            bare = ["--provenance=false", "--push"]
            return [[own, "build", "-q", *network, *bare, "-t", reference, context]]
        case "docker":
            build = ["docker", "build", "-q", "--network", "host", "-t", reference, context]
            return [build, ["docker", "push", "-q", reference]]
        case "buildah":
            build = ["buildah", "bud", "-q", "--layers", "--tls-verify=false"]
            send = ["buildah", "push", "-q", "--tls-verify=false", reference]
            return [[*build, "--network", "host", "-t", reference, context], send]
        case _:
            raise SystemExit(f"no plain command is known for {backend}")


def by_commands(backend: str, workload: Workload) -> Build:
    """Build with plain commands."""
    # BuildKit is faster than the classic builder, and what a step uses where it can.
    environment = {**Environment.current().variables, "DOCKER_BUILDKIT": "1"}

    def build(reference: str) -> None:
        for command in plain_commands(backend, workload, reference):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"{' '.join(command)}\n{done.stderr}")

    return build


def by_step(backend: str, workload: Workload, delivery: Delivery) -> Build:
    """Build with a step."""

    def build(reference: str) -> None:
        repository, _, tag = reference.rpartition(":")
        BuildAndPushStep(
            context=workload.folder,
            repo=repository,
            tags=[tag],
            backend=backend,
            network="default" if backend == "buildah" else "host",
            delivery=delivery,
        ).run()

    return build


@frozen
class Comparison:
    """Seconds of every run."""

    plain: list[float]
    step: list[float]

    def row(self, workload: Workload, backend: str) -> str:
        """A row of the table: medians, ratio, difference, and whether that is little enough."""
        plain, step = statistics.median(self.plain), statistics.median(self.step)
        verdict = "yes" if step <= plain * 1.05 + 0.15 else "no"
        spread = f"{min(self.plain):.2f}–{max(self.plain):.2f}"
        return (
            f"| {workload.what} | {backend} | {plain:.2f} ({spread}) | {step:.2f} "
            f"({min(self.step):.2f}–{max(self.step):.2f}) | {step / plain:.2f} "
            f"| {step - plain:+.2f} | {verdict} |"
        )


def compare(
    workload: Workload, plain: Build, step: Build, host: str, *, runs: int, unchanged: bool
) -> Comparison:
    """Alternate between the two; a first round, which warms up everything, does not count."""
    result = Comparison([], [])
    numbers = _numbers()
    for count in range(runs + 1):
        for name, build, seconds in (("plain", plain, result.plain), ("step", step, result.step)):
            number = 0 if unchanged else next(numbers)
            workload.change(number)
            reference = f"{host}/{workload.name}/{name}{number}:1"
            started = time.perf_counter()
            build(reference)
            if count:
                seconds.append(time.perf_counter() - started)
    return result


def _numbers() -> Iterator[int]:
    start = time.time_ns()
    while True:
        start += 1
        yield start


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backends", default="buildx,docker,buildah")
    parser.add_argument("--workloads", default="tiny,stages,many,big,base")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--delivery", default="auto", choices=("auto", "layout", "direct"))
    parser.add_argument("--unchanged", action="store_true")
    parser.add_argument("--folder", type=Path, help="where 3 GB of files may be for a while")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Print a Markdown table, row by row."""
    options = arguments(argv)
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as name,
        registry(Path(name) / "registry", PORT) as host,
    ):
        folder = Path(name)
        workloads = make_workloads(folder / "contexts", host)
        push_bases(folder / "bases", host)
        print(f"load average at the start: {os.getloadavg()[0]:.1f}, CPUs: {os.cpu_count()}\n")
        print(HEAD)
        for backend in options.backends.split(","):
            for workload in workloads:
                if workload.name in options.workloads.split(","):
                    measured = compare(
                        workload,
                        by_commands(backend, workload),
                        by_step(backend, workload, options.delivery),
                        host,
                        runs=options.runs,
                        unchanged=options.unchanged,
                    )
                    print(measured.row(workload, backend), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
