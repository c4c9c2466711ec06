"""What the backends that drive an engine share: where it listens, its API, its commands.

`endpoints` finds an engine, `api` speaks to it, `command` runs its command line, and `folder`
gives that command a private configuration with the credentials of one run.
"""

from __future__ import annotations

from .command import Translator, ask_all, converse, question
from .endpoints import Endpoint, TlsFiles, current, discover
from .folder import ClientFolder, buildx_plugin, client_folder

__all__ = [
    "ClientFolder",
    "Endpoint",
    "TlsFiles",
    "Translator",
    "ask_all",
    "buildx_plugin",
    "client_folder",
    "converse",
    "current",
    "discover",
    "question",
]
