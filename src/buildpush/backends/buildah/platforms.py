"""Stages for different platforms, which buildah mixes up unless each says its own.

A stage without ``--platform`` is built for the platform of the stage before it (seen with 1.28;
later versions put it right in some cases only), and the image is silently a wrong one.
"""

from __future__ import annotations

import re
from typing import Final

from ...dockerfile.stages import resolve
from ...oci import Platform
from ...plan import BuildRequest

__all__ = ["built_on", "spelled_out"]

_FROM: Final = re.compile(r"\s*FROM\b", re.IGNORECASE)


def built_on(request: BuildRequest) -> dict[str, str]:
    """Build args for what the Dockerfile asks about this machine: 1.28 knows none of them."""
    host = Platform.host()
    known = {
        "BUILDPLATFORM": str(host),
        "BUILDOS": host.os,
        "BUILDARCH": host.architecture,
        "BUILDVARIANT": host.variant,
    }
    return {name: value for name, value in known.items() if name in request.dockerfile.text}


def spelled_out(request: BuildRequest) -> str | None:
    """The Dockerfile with a platform in every FROM of an image, its lines where they were.

    None when no stage has a platform of its own: then there is nothing to mix up.
    """
    dockerfile = request.dockerfile
    if not any(stage.base.platform for stage in dockerfile.stages):
        return None
    host = Platform.host()
    stages = resolve(
        dockerfile,
        target=request.target,
        build_args=request.build_args,
        platform=next(iter(request.platforms), host),
        contexts=tuple(request.build_contexts),
    ).stages
    wanted = "$TARGETPLATFORM" if request.platforms else str(host)
    lines = dockerfile.text.splitlines(keepends=True)
    for stage in stages:
        base = stage.stage.base
        if base.platform or stage.base.stage is not None:
            continue
        number = base.lines.first - 1
        found = _FROM.match(lines[number])
        if found:
            end = found.end()
            lines[number] = f"{found[0]} --platform={wanted}{lines[number][end:]}"
    return "".join(lines)
