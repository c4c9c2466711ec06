"""What a plan warns about: nothing wrong, but probably not what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from ..dockerfile.arguments import unused_build_args
from ..dockerfile.instructions import Dockerfile, Mount, Run
from ..oci import Platform
from ..spec import StepSpec
from .wants import looks_secret

__all__ = ["advice"]


def advice(spec: StepSpec, dockerfile: Dockerfile, host: Platform) -> Iterator[str]:
    """Warnings about build args and about the platform that nobody chose."""
    yield from spec.remarks
    yield from dockerfile.warnings
    for name in spec.build_args:
        if looks_secret(name):
            yield (
                f"build arg {name} looks like a secret, and build args can be read in the image's"
                " history: put it in secrets"
            )
    yield from _about_secrets(spec, dockerfile)
    for name in unused_build_args(dockerfile, spec.build_args):
        yield f"build arg {name} is not used: the Dockerfile has no ARG of that name"
    if spec.push and not spec.platforms and host.architecture != "amd64":
        yield (
            f"no platform is set, so the image will run on {host} only: set platforms when it is"
            " for machines of another kind"
        )


def _about_secrets(spec: StepSpec, dockerfile: Dockerfile) -> Iterator[str]:
    """Secrets that no RUN mounts: the id in one of the two places is misspelt, most likely."""
    mounted = {
        _secret_id(mount)
        for stage in dockerfile.stages
        for run in stage.instructions
        if isinstance(run, Run)
        for mount in run.mounts
        if mount.type == "secret"
    }
    if any("$" in name for name in mounted):
        return
    for name in sorted(spec.secrets.keys() - mounted):
        yield f"secret {name} is not used: no RUN has --mount=type=secret,id={name}"


def _secret_id(mount: Mount) -> str:
    """The id, which is the target's last part when it is not given."""
    target = mount.get("target", "dst", "destination")
    return mount.get("id") or PurePosixPath(target).name
