"""What buildah's storage says of an image in it."""

from __future__ import annotations

from ...errors import BuildError
from ...oci.wire import ImageConfig, parse_config
from ..engine.command import question
from .wire import Inspected
from .workplace import Workplace

__all__ = ["inspect"]


def inspect(image: str, place: Workplace) -> ImageConfig:
    """The config of *image*, an id or a name.

    Raises `BuildError` when there is no such image or its config is not understood.
    """
    done = question(
        place.buildah.command("inspect", "--type", "image", image),
        environment=place.run.environment,
        env=place.variables(),
        cancel=place.run.cancel,
    )
    try:
        inspected = Inspected.model_validate_json(done.stdout)
    except ValueError:
        raise BuildError(
            f"the image {image} cannot be looked at", evidence=(done.evidence,)
        ) from None
    return parse_config(inspected.config.encode())
