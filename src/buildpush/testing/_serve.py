"""``python -m buildpush.testing.registry``: a `LocalRegistry` for programs outside of a test."""

from __future__ import annotations

import argparse
import secrets
import signal
import threading
from pathlib import Path
from types import FrameType

from .registry import Dialect, LocalRegistry


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted; print the address, and the credential that was made up."""
    parser = argparse.ArgumentParser(
        prog="python -m buildpush.testing.registry",
        description="An OCI registry on 127.0.0.1 that forgets everything when it ends.",
    )
    parser.add_argument("--port", type=int, default=0, help="the port; 0 finds a free one")
    parser.add_argument("--auth", choices=("none", "basic", "token"), default="none")
    parser.add_argument("--folder", type=Path, help="keep the blobs here, not in a temporary one")
    parser.add_argument(
        "--liberal",
        action="store_true",
        help="do what the specification merely allows: mounts that name no repository, manifests "
        "before their blobs, tags as parameters",
    )
    given = parser.parse_args(arguments)
    password = secrets.token_urlsafe(12)
    with LocalRegistry(
        port=given.port,
        auth=given.auth,
        users={"user": password},
        folder=given.folder,
        dialect=Dialect(
            discovers_mounts=given.liberal,
            accepts_missing=given.liberal,
            tag_parameters=given.liberal,
        ),
        log_limit=1000,
    ) as registry:
        print(registry.url, flush=True)  # noqa: T201
        if given.auth != "none":
            print(f"user\n{password}", flush=True)  # noqa: T201
        over = threading.Event()

        def stop(_number: int, _frame: FrameType | None) -> None:
            over.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        over.wait()
