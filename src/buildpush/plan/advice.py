"""What a plan warns about: nothing wrong, but probably not what was meant."""

from __future__ import annotations

from collections.abc import Iterator

from ..dockerfile.arguments import unused_build_args
from ..dockerfile.instructions import Dockerfile
from ..oci import Platform
from ..spec import StepSpec
from .wants import looks_secret

__all__ = ["advice"]


def advice(spec: StepSpec, dockerfile: Dockerfile, host: Platform) -> Iterator[str]:
    """Warnings about build args and about the platform that nobody chose."""
    yield from dockerfile.warnings
    for name in spec.build_args:
        if looks_secret(name):
            yield (
                f"build arg {name} looks like a secret, and build args can be read in the image's"
                " history: put it in secrets"
            )
    for name in unused_build_args(dockerfile, spec.build_args):
        yield f"build arg {name} is not used: the Dockerfile has no ARG of that name"
    if spec.push and not spec.platforms and host.architecture != "amd64":
        yield (
            f"no platform is set, so the image will run on {host} only: set platforms when it is"
            " for machines of another kind"
        )
