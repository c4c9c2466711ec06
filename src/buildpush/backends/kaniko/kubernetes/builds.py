"""What one build's objects are made from: the execution, their names, the pod's settings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from attrs import field, frozen

from ..runner import Execution, Places
from .settings import (
    ContextDelivery,
    PodSettings,
    RegistryContext,
    RemoteContext,
    StreamedContext,
)

__all__ = [
    "CLIENT_LABEL",
    "INIT",
    "JOB_LABEL",
    "MAIN",
    "MANAGED_BY",
    "PREFIX",
    "PRIVATE",
    "RUN_LABEL",
    "SHARED",
    "TERMINATION_LOG",
    "Build",
    "Naming",
    "name_of",
    "places",
    "secret_keys",
]

MANAGED_BY: Final = ("app.kubernetes.io/managed-by", "buildpush")
JOB_LABEL: Final = "app.kubernetes.io/instance"
RUN_LABEL: Final = "buildpush.dev/run"
CLIENT_LABEL: Final = "buildpush.dev/client"
PREFIX: Final = "buildpush-"
"""What the name of everything of ours begins with."""
MAIN: Final = "kaniko"
"""The container that builds."""
INIT: Final = "context"
"""The container that has the context ready before."""
PRIVATE: Final = PurePosixPath("/kaniko/buildpush/private")
SHARED: Final = PurePosixPath("/kaniko/buildpush/work")
TERMINATION_LOG: Final = PurePosixPath("/dev/termination-log")

_NAME_UNSAFE: Final = re.compile(r"[^a-z0-9]+")
_KEY_UNSAFE: Final = re.compile(r"[^-._a-zA-Z0-9]")
_LONGEST_SLUG: Final = 24


@frozen(kw_only=True)
class Naming:
    """What the objects of one execution are called.

    *name* is the Job's and the Secret's; *run* and *client* tell, as labels, which run of which
    process made them; empty in a preview.
    """

    name: str
    run: str = ""
    client: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The labels of everything that belongs to it."""
        found = {MANAGED_BY[0]: MANAGED_BY[1], JOB_LABEL: self.name}
        found |= {RUN_LABEL: self.run} if self.run else {}
        found |= {CLIENT_LABEL: self.client} if self.client else {}
        return found


@frozen(kw_only=True)
class Build:
    """What the objects of an execution are made from.

    *patience* is how many seconds the pod waits for a context that nobody sends; with *keep* the
    Job stays for a day after a failure. *context_image* is the image that brings the context,
    where one does.
    """

    execution: Execution = field(repr=False)
    naming: Naming
    pod: PodSettings = field(factory=PodSettings)
    delivery: ContextDelivery = field(factory=StreamedContext)
    context_image: str = ""
    patience: int = 300
    keep: bool = False


def name_of(execution: Execution, token: str) -> str:
    """A name that says what is built, made unique by *token*: ``buildpush-app-amd64-1f…``."""
    references = execution.request.references
    words = ["buildpush"]
    if references:
        last = references[0].repository.path.rpartition("/")[2]
        words.append(_NAME_UNSAFE.sub("-", last.lower())[:_LONGEST_SLUG].strip("-"))
    if execution.platform is not None:
        words.append(_NAME_UNSAFE.sub("-", execution.platform.architecture.lower()))
    return "-".join([*filter(None, words), token])


def places(delivery: ContextDelivery) -> Places:
    """Where things lie in kaniko's container."""
    match delivery:
        case RemoteContext(url=url):
            context = url
        case StreamedContext() | RegistryContext():
            context = f"dir://{SHARED}/context"
    return Places(context=context, private=PRIVATE, digest=TERMINATION_LOG)


def secret_keys(names: Iterable[str]) -> dict[str, str]:
    """The key in the Secret for each private file; its own name, as far as a key can hold it."""
    keys: dict[str, str] = {}
    for name in sorted(names):
        key = _KEY_UNSAFE.sub("-", name).lstrip(".")[:200] or "file"
        taken = set(keys.values())
        number = 2
        unique = key
        while unique in taken:
            unique = f"{key}.{number}"
            number += 1
        keys[name] = unique
    return keys
