"""Which tags an image gets: rules over what git and CI say."""

from .drone import drone_tags, expand_tag, is_tagged_by_default
from .facts import GitFacts
from .labels import image_labels
from .rules import (
    Branch,
    Calver,
    Edge,
    Match,
    Pep440,
    PullRequest,
    Raw,
    Rule,
    Schedule,
    Semver,
    Sha,
    Tag,
)
from .tagging import Flavor, Tagging

__all__ = [
    "Branch",
    "Calver",
    "Edge",
    "Flavor",
    "GitFacts",
    "Match",
    "Pep440",
    "PullRequest",
    "Raw",
    "Rule",
    "Schedule",
    "Semver",
    "Sha",
    "Tag",
    "Tagging",
    "drone_tags",
    "expand_tag",
    "image_labels",
    "is_tagged_by_default",
]
