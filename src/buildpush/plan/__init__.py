"""What will be done: the settings resolved against one backend, as frozen values."""

from .demands import StagePlan
from .document import Decision, Plan, PlannedSecrets
from .fit import BACKENDS, CANNOT, Fit
from .making import make_plan, push_policy
from .values import (
    Artifact,
    BuildRequest,
    BuildResult,
    Cache,
    Capabilities,
    Delivery,
    Destination,
    Feature,
    ImageSummary,
    LayoutArtifact,
    Output,
    PushedArtifact,
    PushPolicy,
    Resources,
    Ulimit,
)

__all__ = [
    "BACKENDS",
    "CANNOT",
    "Artifact",
    "BuildRequest",
    "BuildResult",
    "Cache",
    "Capabilities",
    "Decision",
    "Delivery",
    "Destination",
    "Feature",
    "Fit",
    "ImageSummary",
    "LayoutArtifact",
    "Output",
    "Plan",
    "PlannedSecrets",
    "PushPolicy",
    "PushedArtifact",
    "Resources",
    "StagePlan",
    "Ulimit",
    "make_plan",
    "push_policy",
]
