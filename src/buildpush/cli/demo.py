"""The whole path in one call: a registry, a base image, a build, a push, a read-back."""

from __future__ import annotations

import re
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from attrs import frozen

from ..backends import BackendCatalog
from ..events import EventSink, ignore
from ..oci import Digest, Platform
from ..oci.layer import LayerWriter
from ..oci.tar import Entry
from ..oci.wire import Descriptor, ImageConfig, Manifest, MediaType, RunConfig, dump
from ..plan import BuildResult, Feature
from ..runtime import CancelToken, Run
from ..runtime.process import run_command
from ..step import BuildAndPushStep
from ..testing.registry import LocalRegistry

_SHELL = Path("/bin/sh")


def run_demo(*, on_event: EventSink, cancel: CancelToken) -> BuildResult:
    """Build the shipped example with the native backend and push two tags to a registry of ours.

    The base image is made of this machine's own shell, so nothing is fetched. Where RUN cannot
    be executed here, the example's stage without one is built.
    """
    can_run = Feature.RUN in BackendCatalog.discover().load("native").probe().features
    with (
        as_file(files("buildpush.cli") / "example") as example,
        tempfile.TemporaryDirectory(prefix="buildpush-demo-") as folder,
        LocalRegistry() as registry,
    ):
        shell = _shell_files(Path(folder), cancel) if can_run else ()
        if shell:
            _add_base_image(registry, shell, Path(folder) / "base")
        return BuildAndPushStep(
            repo=registry.reference("demo/site"),
            tags=("1.0", "latest"),
            context=example,
            backend="native",
            target="site" if shell else "plain",
            build_args={"BASE": registry.reference("demo/base:1"), "VERSION": "1.0"},
        ).run(on_event=on_event, cancel=cancel)


def table(result: BuildResult) -> str:
    """A result as a short table: pinned references, sizes in bytes, seconds."""
    rows = [("backend", f"{result.backend.backend} {result.backend.version}")]
    rows += [("pushed and read back", str(reference)) for reference in result.references]
    rows += [
        (f"image {platform}", f"{image.size} bytes in {image.layers} layers")
        for platform, image in result.images.items()
    ]
    rows += [("digest", str(result.digest)), ("seconds", f"{result.seconds:.2f}")]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


@frozen
class _File:
    """A file of this machine and its place in the base image."""

    source: Path
    name: str


def _shell_files(folder: Path, cancel: CancelToken) -> tuple[_File, ...]:
    """Find this machine's shell and the libraries it needs; nothing when they cannot be told."""
    run = Run(workdir=folder, cancel=cancel, sink=ignore)
    ldd = run.environment.which("ldd")
    if ldd is None or not _SHELL.exists():
        return ()
    listed = run_command((str(ldd), str(_SHELL)), run=run, env=run.environment.variables)
    # "libc.so.6 => /lib/… (0x…)", "/lib64/ld-linux… (0x…)"; a static shell lists nothing.
    libraries = re.findall(r"(?:^|\s)(/\S+)\s+\(0x", listed.stdout.decode("utf-8", "replace"))
    return tuple(
        _File(Path(path), path.lstrip("/")) for path in dict.fromkeys((str(_SHELL), *libraries))
    )


def _add_base_image(registry: LocalRegistry, shell: tuple[_File, ...], blob: Path) -> None:
    """Put an image that holds nothing but a shell into *registry*, as ``demo/base:1``."""
    folders = sorted({str(p) for f in shell for p in Path(f.name).parents if p.name} | {"tmp"})
    with LayerWriter(blob) as writer:
        for name in folders:
            writer.add(Entry(name=name, kind="dir", mode=0o1777 if name == "tmp" else 0o755))
        for file in shell:
            content = file.source.read_bytes()
            writer.add(Entry(name=file.name, kind="file", mode=0o755, size=len(content)), content)
        layer = writer.finish()
    config = ImageConfig(
        architecture=Platform.host().architecture,
        os="linux",
        variant=Platform.host().variant,
        config=RunConfig(env=("PATH=/bin",)),
        diff_ids=(layer.diff_id,),
    ).dump()
    manifest = Manifest(
        config=Descriptor(
            media_type=MediaType.OCI_CONFIG, digest=Digest.of(config), size=len(config)
        ),
        layers=(layer.descriptor,),
    )
    registry.add_blob("demo/base", blob.read_bytes())
    registry.add_blob("demo/base", config)
    registry.add_manifest("demo/base", dump(manifest), manifest.media_type, tag="1")
