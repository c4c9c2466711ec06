"""What ``push``, ``copy`` and ``index`` do: images that exist already, to registries."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Protocol

from ..runtime import CancelToken
from .commands import display, landed, pairs, print_json

if TYPE_CHECKING:
    from ..publishing import PushResult
    from ..publishing.options import PushArguments

__all__ = ["add_commands", "add_policy", "copy", "index", "push", "push_result_to_json"]


class _Commands(Protocol):
    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser: ...


def add_commands(commands: _Commands) -> None:
    """Declare the commands and their options."""
    parser = commands.add_parser("push", help="push an image that exists: a layout, an archive …")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a layout's folder, an OCI or docker archive, docker-daemon:NAME, docker://REFERENCE",
    )
    _references(parser)
    parser.add_argument("--image", default="", help="which of several: a tag, a name or a digest")
    parser.add_argument(
        "--compression",
        choices=("gzip", "zstd", "none"),
        default="gzip",
        help="of layers that docker saved plain",
    )
    _shared(parser)
    parser = commands.add_parser("copy", help="copy an image from a registry to others")
    parser.add_argument("source", metavar="SOURCE", help="a reference")
    _references(parser)
    parser.add_argument(
        "--referrers", action="store_true", help="copy signatures and SBOMs that refer to it, too"
    )
    _shared(parser)
    parser = commands.add_parser("index", help="make one index of images built apart")
    _references(parser)
    parser.add_argument(
        "--image",
        dest="images",
        action="append",
        required=True,
        metavar="REFERENCE@DIGEST",
        help="an image or an index; or what push takes; may be repeated",
    )
    parser.add_argument(
        "--annotation",
        dest="annotations",
        action="append",
        metavar="NAME=VALUE",
        help="of the index",
    )
    parser.add_argument(
        "--no-attestations", action="store_true", help="leave out what attests to the images"
    )
    _shared(parser)


def _references(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "references", metavar="REFERENCE", nargs="+", help="where to push to; several if you like"
    )


def _shared(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--platform", dest="platforms", action="append", metavar="OS/ARCH[,…]", help="only these")
    add("--insecure", action="append", metavar="HOST", help="a registry to reach by plain HTTP")
    add_policy(parser)
    add("--timeout", help="such as 90s, 10m or 1h 30m")
    add("--json", action="store_true", help="print the result as JSON")
    add("--progress", choices=("plain", "jsonl", "none"), default="plain", help="on stderr")


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Declare the options about who pushes, what exists already, and what fails."""
    add = parser.add_argument
    add("--auth", action="append", metavar="NAME", help="a keychain to ask first, such as ecr")
    add("--on-existing-tag", choices=("overwrite", "fail", "skip_if_same", "skip"))
    add("--expect-current", metavar="DIGEST", help="what the tags must name before they are moved")
    add("--on-partial", choices=("fail_fast", "continue"), help="when one destination fails")
    add("--media-types", choices=("keep", "auto", "docker", "oci"), help="convert manifests")
    add("--retries", type=int, help="how often to try again; 4 if not given")


def push(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``push``: print the pinned references, or everything as JSON."""
    from ..publishing import push as push_image

    result = push_image(
        arguments.source,
        arguments.references,
        image=arguments.image,
        compression=arguments.compression,
        on_event=display(arguments.progress),
        cancel=cancel,
        **_options(arguments),
    )
    _print(result, arguments)


def copy(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``copy``: print the pinned references, or everything as JSON."""
    from ..publishing import copy as copy_image

    result = copy_image(
        arguments.source,
        arguments.references,
        referrers=arguments.referrers,
        on_event=display(arguments.progress),
        cancel=cancel,
        **_options(arguments),
    )
    _print(result, arguments)


def index(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``index``: print the pinned references, or everything as JSON."""
    from ..publishing import assemble

    result = assemble(
        arguments.images,
        arguments.references,
        annotations=pairs("--annotation", arguments.annotations),
        attestations="drop" if arguments.no_attestations else "keep",
        on_event=display(arguments.progress),
        cancel=cancel,
        **_options(arguments),
    )
    _print(result, arguments)


def push_result_to_json(result: PushResult) -> dict[str, object]:
    """A result as JSON values: digests and references as text, sizes in bytes."""
    return {
        **landed(result),
        "seconds": round(result.seconds, 3),
        "warnings": list(result.warnings),
    }


def _options(arguments: argparse.Namespace) -> PushArguments:
    options: PushArguments = {}
    if arguments.platforms is not None:
        options["platforms"] = [p for text in arguments.platforms for p in text.split(",")]
    if arguments.auth is not None:
        options["auth"] = arguments.auth
    if arguments.insecure is not None:
        options["insecure"] = arguments.insecure
    if arguments.on_existing_tag is not None:
        options["on_existing_tag"] = arguments.on_existing_tag
    if arguments.expect_current is not None:
        options["expect_current"] = arguments.expect_current
    if arguments.on_partial is not None:
        options["on_partial"] = arguments.on_partial
    if arguments.media_types is not None:
        options["media_types"] = arguments.media_types
    if arguments.retries is not None:
        options["retries"] = arguments.retries
    if arguments.timeout is not None:
        options["timeout"] = arguments.timeout
    return options


def _print(result: PushResult, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(push_result_to_json(result))
        return
    for reference in result.references:
        print(reference)
