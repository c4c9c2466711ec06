"""What will be done: the settings resolved against one backend, as frozen values."""

from .values import (
    Artifact,
    BuildRequest,
    BuildResult,
    Cache,
    Capabilities,
    Delivery,
    Feature,
    ImageSummary,
    LayoutArtifact,
    Output,
    PushedArtifact,
    Resources,
    Ulimit,
)

__all__ = [
    "Artifact",
    "BuildRequest",
    "BuildResult",
    "Cache",
    "Capabilities",
    "Delivery",
    "Feature",
    "ImageSummary",
    "LayoutArtifact",
    "Output",
    "PushedArtifact",
    "Resources",
    "Ulimit",
]
