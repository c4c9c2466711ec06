"""What was asked: the settings of a step, from Python, YAML or JSON, checked and frozen."""

from .arguments import StepArguments
from .fieldtypes import ResourceAmounts, ResourceSettings
from .settings import StepSpec, spellings
from .values import Cache, FromEnv, Output, SecretSource, SshSource, Ulimit

__all__ = [
    "Cache",
    "FromEnv",
    "Output",
    "ResourceAmounts",
    "ResourceSettings",
    "SecretSource",
    "SshSource",
    "StepArguments",
    "StepSpec",
    "Ulimit",
    "spellings",
]
