"""Build container images and push them, with whichever backend is at hand.

Everything here is imported when it is first used, so that ``import buildpush`` costs next to
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .auth import Access as Access
    from .auth import Chain as Chain
    from .auth import Credential as Credential
    from .auth import Keychain as Keychain
    from .auth import StaticKeychain as StaticKeychain
    from .auth.explaining import Explanation as Explanation
    from .auth.explaining import explain as explain
    from .backends import Backend as Backend
    from .errors import AuthError as AuthError
    from .errors import BuildError as BuildError
    from .errors import BuildpushError as BuildpushError
    from .errors import PlanError as PlanError
    from .errors import RegistryError as RegistryError
    from .errors import SpecError as SpecError
    from .errors import StepCancelledError as StepCancelledError
    from .errors import StepTimeoutError as StepTimeoutError
    from .events import Event as Event
    from .events import RunState as RunState
    from .oci import Digest as Digest
    from .oci import ImageReference as ImageReference
    from .oci import Platform as Platform
    from .oci import Repository as Repository
    from .plan import BuildResult as BuildResult
    from .plan import Capabilities as Capabilities
    from .plan import Plan as Plan
    from .plugins import run_plugin as run_plugin
    from .publishing import PushResult as PushResult
    from .publishing import assemble as assemble
    from .publishing import copy as copy
    from .publishing import push as push
    from .runtime import CancelToken as CancelToken
    from .spec import FromEnv as FromEnv
    from .spec import StepSpec as StepSpec
    from .spec.expressions import Context as Context
    from .step import BuildAndPushStep as BuildAndPushStep
    from .strategy import Matrix as Matrix
    from .strategy import RunTable as RunTable
    from .strategy import arun_many as arun_many
    from .strategy import run_harness as run_harness
    from .strategy import run_many as run_many

_HOMES = {
    "auth": ("Access", "Chain", "Credential", "Keychain", "StaticKeychain"),
    "auth.explaining": ("Explanation", "explain"),
    "backends": ("Backend",),
    "errors": (
        "AuthError",
        "BuildError",
        "BuildpushError",
        "PlanError",
        "RegistryError",
        "SpecError",
        "StepCancelledError",
        "StepTimeoutError",
    ),
    "events": ("Event", "RunState"),
    "oci": ("Digest", "ImageReference", "Platform", "Repository"),
    "plan": ("BuildResult", "Capabilities", "Plan"),
    "plugins": ("run_plugin",),
    "publishing": ("PushResult", "assemble", "copy", "push"),
    "runtime": ("CancelToken",),
    "spec": ("FromEnv", "StepSpec"),
    "spec.expressions": ("Context",),
    "step": ("BuildAndPushStep",),
    "strategy": ("Matrix", "RunTable", "arun_many", "run_harness", "run_many"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Access",
    "AuthError",
    "Backend",
    "BuildAndPushStep",
    "BuildError",
    "BuildResult",
    "BuildpushError",
    "CancelToken",
    "Capabilities",
    "Chain",
    "Context",
    "Credential",
    "Digest",
    "Event",
    "Explanation",
    "FromEnv",
    "ImageReference",
    "Keychain",
    "Matrix",
    "Plan",
    "PlanError",
    "Platform",
    "PushResult",
    "RegistryError",
    "Repository",
    "RunState",
    "RunTable",
    "SpecError",
    "StaticKeychain",
    "StepCancelledError",
    "StepSpec",
    "StepTimeoutError",
    "arun_many",
    "assemble",
    "copy",
    "explain",
    "push",
    "run_harness",
    "run_many",
    "run_plugin",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
