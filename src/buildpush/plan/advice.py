"""What a plan warns about: nothing wrong, but probably not what was meant."""

from __future__ import annotations

from collections.abc import Iterator

from ..dockerfile.instructions import Arg, Dockerfile
from ..oci import Platform
from ..spec import StepSpec
from .wants import looks_secret

__all__ = ["advice"]

# BuildKit's predefined ARGs: usable without a declaration.
_PREDEFINED = frozenset(
    ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH")
)


def advice(spec: StepSpec, dockerfile: Dockerfile, host: Platform) -> Iterator[str]:
    """Warnings about build args and about the platform that nobody chose."""
    for name in spec.build_args:
        if looks_secret(name):
            yield (
                f"build arg {name} looks like a secret, and build args can be read in the image's"
                " history: put it in secrets"
            )
    unused = sorted(spec.build_args.keys() - _declared(dockerfile))
    for name in unused:
        if name.upper() not in _PREDEFINED and not name.startswith("BUILDKIT_"):
            yield f"build arg {name} is not used: the Dockerfile has no ARG of that name"
    if spec.push and not spec.platforms and host.architecture != "amd64":
        yield (
            f"no platform is set, so the image will run on {host} only: set platforms when it is"
            " for machines of another kind"
        )


def _declared(dockerfile: Dockerfile) -> frozenset[str]:
    found = [name for arg in dockerfile.args for name, _ in arg.args]
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            if isinstance(instruction, Arg):
                found += [name for name, _ in instruction.args]
    return frozenset(found)
