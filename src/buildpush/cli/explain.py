"""``explain``: where the credential for a reference is looked for, and what is found."""

from __future__ import annotations

import argparse

from ..auth.explaining import explain as explain_credential
from ..runtime import CancelToken
from .commands import print_json

__all__ = ["explain"]


def explain(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """Print the trail of sources for one reference and one kind of access; no secret is shown."""
    explanation = explain_credential(
        arguments.reference, arguments.access, auth=arguments.auth or (), cancel=cancel
    )
    if arguments.json:
        print_json(explanation.to_json())
        return
    from ..render.plain import visible

    print(visible(explanation.render()))
