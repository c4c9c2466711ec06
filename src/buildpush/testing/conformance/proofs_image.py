"""Proofs of what shapes an image without executing anything: contexts, forms, ways out."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from ...oci import Platform
from ...oci.layout import Layout
from ...plan import Feature
from ..images import random_image
from .proofs import Ask, Build, Proof, ask_of
from .pulled import pull_image, read_layer
from .workbench import Workbench

__all__ = ["IMAGE_PROOFS"]

_NOISE: Final = 4096
_EPOCH: Final = 1_000_000_000
_EPOCH_TEXT: Final = "2001-09-09T01:46:40Z"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


def _target(_: Workbench, build: Build) -> None:
    assert "file" in build().image.files()
    assert "later" not in build().image.files()


def _heredocs(_: Workbench, build: Build) -> None:
    assert build().image.text("here") == "expanded\nplain\n"


_FLAGGED: Final[Mapping[str, str | bytes]] = {
    "a": "",
    "deep/down/a": "",
    "deep/b.log": "",
    "whole.tar": bytes(10240),
}


def _flag(feature: Feature, instruction: str, *expected: str) -> Proof:
    """Proof of a flag of COPY or ADD: *expected* are the files that there are then."""

    def check(_: Workbench, build: Build) -> None:
        files = build().image.files()
        assert [name for name, file in files.items() if file.kind == "file"] == list(expected)

    ask = ask_of(f"FROM scratch\n{instruction}\n", _FLAGGED)
    return Proof(feature=feature, ask=ask, check=check)


def _checksum(bench: Workbench, _: Build) -> None:
    body = b"fetched\n"
    right = hashlib.sha256(body).hexdigest()
    with _served(body) as url:
        built = bench.build(f"FROM scratch\nADD --checksum=sha256:{right} {url} /file\n")
        failed = bench.fail(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {url} /file\n")
    assert built.image.text("file") == "fetched\n"
    assert right in failed.report, "it says which checksum was found"


def _layout_contexts(_: Workbench, build: Build) -> None:
    assert len(build().image.files()["file"].content) == _NOISE


def _layout_settings(bench: Workbench) -> Mapping[str, Any]:
    layout = Layout.create(bench.folder / "layout")
    digest = random_image(layout, size=_NOISE, platform=Platform.host())
    return {"build_contexts": {"layout": f"oci-layout://{layout.path}@{digest}"}}


def _build_contexts(_: Workbench, build: Build) -> None:
    files = build().image.files()
    assert files["from-folder"].content == b"other\n"
    assert files["from-image"].content.startswith(b"root:")


def _context_settings(bench: Workbench) -> Mapping[str, Any]:
    other = bench.folder / "other"
    other.mkdir(exist_ok=True)
    (other / "other").write_text("other\n")
    image = f"docker-image://{bench.make_base()}"
    return {"build_contexts": {"folder": str(other), "image": image}}


def _foreign() -> str:
    return "linux/arm64" if Platform.host().architecture != "arm64" else "linux/amd64"


def _multi_platform(_: Workbench, build: Build) -> None:
    built = build()
    reference = str(built.result.references[0])
    places = {
        f"{entry['platform']['os']}/{entry['platform']['architecture']}"
        for entry in built.image.index["manifests"]
        if entry["platform"]["os"] != "unknown"
    }
    assert places == {"linux/amd64", "linux/arm64"}
    for place in places:
        image = pull_image(reference, platform=place)
        assert image.text("file") == f"{place}\n"
        assert f"linux/{image.config['architecture']}" == place
    assert {str(platform) for platform in built.result.images} == places


def _foreign_platform(_: Workbench, build: Build) -> None:
    image = build().image
    assert f"{image.config['os']}/{image.config['architecture']}" == _foreign()
    assert image.text("file") == "content\n"


def _annotations(_: Workbench, build: Build) -> None:
    assert build().image.manifest["annotations"]["org.example.of"] == "the manifest"


def _compression(bench: Workbench, build: Build) -> None:
    for delivery in bench.deliveries():
        image = build(delivery=delivery).image
        assert image.layers[-1].startswith(_ZSTD)
        assert image.manifest["layers"][-1]["mediaType"].endswith("+zstd")
        assert image.text("file") == "content\n"
        assert "bin/busybox" in image.files()


def _source_date_epoch(_: Workbench, build: Build) -> None:
    image = build().image
    assert image.config["created"] == _EPOCH_TEXT
    late = {
        name: entry.mtime
        for blob in image.layers
        for name, entry in read_layer(blob).items()
        if entry.mtime > _EPOCH
    }
    assert late == {}


def _reproducible(_: Workbench, build: Build) -> None:
    first = build(no_cache=True).image
    time.sleep(1.1)  # what still depends on the time then shows it, in whole seconds
    second = build(no_cache=True).image
    assert second.manifest["layers"] == first.manifest["layers"]


def _strictly_reproducible(_: Workbench, build: Build) -> None:
    first = build(no_cache=True).result.digest
    time.sleep(1.1)
    assert build(no_cache=True).result.digest == first


def _export_layout(bench: Workbench, build: Build) -> None:
    built = build()
    layout = bench.folder / "exported"
    index = json.loads((layout / "index.json").read_bytes())
    assert str(built.result.digest) in {entry["digest"] for entry in index["manifests"]}
    for part in (built.image.manifest["config"], *built.image.manifest["layers"]):
        assert (layout / "blobs" / part["digest"].replace(":", "/")).stat().st_size == part["size"]
    assert built.result.outputs == (layout,)


def _export_files(bench: Workbench, build: Build) -> None:
    build()
    assert (bench.folder / "plain" / "file").read_text() == "content\n"


def _push_directly(_: Workbench, build: Build) -> None:
    built = build()
    assert built.image.digest == str(built.result.digest)
    assert built.image.text("file") == "content\n"


def _provenance(_: Workbench, build: Build) -> None:
    built = build()
    reference = str(built.result.references[0]).partition("@")[0].rpartition(":")[0]
    attested = [
        entry["digest"]
        for entry in built.image.index["manifests"]
        if entry.get("annotations", {}).get("vnd.docker.reference.type") == "attestation-manifest"
    ]
    statements = [
        json.loads(layer)
        for digest in attested
        for layer in pull_image(f"{reference}@{digest}").layers
    ]
    assert any("slsa.dev/provenance" in statement["predicateType"] for statement in statements)


def _squash(bench: Workbench, build: Build) -> None:
    image = build().image
    below = pull_image(bench.make_base())
    assert len(image.layers) == len(below.layers) + 1
    assert {"one", "two"} <= image.files().keys()


def _mirrors(_: Workbench, build: Build) -> None:
    assert "bin/busybox" in build().image.files()


def _cache_backends(bench: Workbench, build: Build) -> None:
    build()
    assert (bench.folder / "kept-cache" / "index.json").is_file()


def _add_url(bench: Workbench, _: Build) -> None:
    with _served(b"fetched\n") as url:
        built = bench.build(f"FROM scratch\nADD {url} /file\n")
    assert built.image.text("file") == "fetched\n"


@contextmanager
def _served(body: bytes) -> Generator[str]:
    """The URL of *body*, on a loopback socket."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file"
        finally:
            server.shutdown()
            thread.join()


_FILE: Final[Mapping[str, str | bytes]] = {"file": "content\n"}
_COPY: Final = "FROM scratch\nCOPY file /file\n"
_MADE: Final = "FROM scratch\nWORKDIR /made/here\nCOPY file .\n"

IMAGE_PROOFS: Final = (
    Proof(
        feature=Feature.TARGET,
        ask=ask_of(
            "FROM scratch AS first\nCOPY file /file\nFROM first\nCOPY file /later\n",
            _FILE,
            target="first",
        ),
        check=_target,
    ),
    Proof(
        feature=Feature.HEREDOCS,
        ask=ask_of("FROM scratch\nARG A=expanded\nCOPY <<EOF /here\n$A\nplain\nEOF\n"),
        check=_heredocs,
    ),
    _flag(Feature.COPY_LINK, "COPY --link a /linked/", "linked/a"),
    _flag(Feature.COPY_EXCLUDE, "COPY --exclude=*.log deep /x/", "x/down/a"),
    _flag(Feature.COPY_PARENTS, "COPY --parents deep/down/a /p/", "p/deep/down/a"),
    _flag(Feature.ADD_UNPACK, "ADD --unpack=false whole.tar /", "whole.tar"),
    Proof(
        feature=Feature.ADD_CHECKSUM,
        ask=ask_of(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} http://127.0.0.1:9/f /f\n"),
        check=_checksum,
        needs=(Feature.ADD_URL,),
    ),
    Proof(
        feature=Feature.ADD_URL,
        ask=ask_of("FROM scratch\nADD http://127.0.0.1:9/file /file\n"),
        check=_add_url,
    ),
    Proof(
        feature=Feature.BUILD_CONTEXTS,
        ask=Ask(
            dockerfile="FROM scratch\nCOPY --from=folder other /from-folder\n"
            "COPY --from=image etc/passwd /from-image\n",
            files={},
            settings=_context_settings,
        ),
        check=_build_contexts,
    ),
    Proof(
        feature=Feature.LAYOUT_CONTEXTS,
        ask=Ask(
            dockerfile="FROM scratch\nCOPY --from=layout random-0.bin /file\n",
            files={},
            settings=_layout_settings,
        ),
        check=_layout_contexts,
    ),
    Proof(
        feature=Feature.MULTI_PLATFORM,
        ask=ask_of(
            "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /file\n",
            {"amd64": "linux/amd64\n", "arm64": "linux/arm64\n"},
            platforms=["linux/amd64", "linux/arm64"],
        ),
        check=_multi_platform,
    ),
    Proof(
        feature=Feature.FOREIGN_PLATFORM,
        ask=ask_of(_COPY, _FILE, platforms=[_foreign()]),
        check=_foreign_platform,
    ),
    Proof(
        feature=Feature.ANNOTATIONS,
        ask=ask_of(_COPY, _FILE, annotations={"org.example.of": "the manifest"}),
        check=_annotations,
    ),
    Proof(
        feature=Feature.COMPRESSION,
        ask=ask_of("FROM $BASE\nCOPY file /file\n", _FILE, compression="zstd"),
        check=_compression,
    ),
    Proof(
        feature=Feature.SOURCE_DATE_EPOCH,
        ask=ask_of(_MADE, _FILE, source_date_epoch=_EPOCH),
        check=_source_date_epoch,
    ),
    Proof(
        feature=Feature.REPRODUCIBLE,
        ask=ask_of(_MADE, _FILE, reproducible=True),
        check=_reproducible,
    ),
    Proof(
        feature=Feature.STRICTLY_REPRODUCIBLE,
        ask=ask_of(_MADE, _FILE, reproducible="strict"),
        check=_strictly_reproducible,
    ),
    Proof(
        feature=Feature.EXPORT_LAYOUT,
        ask=Ask(settings=lambda bench: {"outputs": [f"type=oci,dest={bench.folder}/exported"]}),
        check=_export_layout,
    ),
    Proof(
        feature=Feature.EXPORT_FILES,
        ask=Ask(settings=lambda bench: {"outputs": [f"type=local,dest={bench.folder}/plain"]}),
        check=_export_files,
    ),
    Proof(
        feature=Feature.PUSH_DIRECTLY,
        ask=Ask(settings=lambda _: {"delivery": "direct"}),
        check=_push_directly,
    ),
    Proof(
        feature=Feature.PROVENANCE,
        ask=Ask(settings=lambda _: {"provenance": "min"}),
        check=_provenance,
    ),
    Proof(
        feature=Feature.SQUASH,
        ask=ask_of("FROM $BASE\nCOPY file /one\nCOPY file /two\n", _FILE, squash=True),
        check=_squash,
    ),
    Proof(
        feature=Feature.MIRRORS,
        ask=Ask(
            dockerfile="FROM mirrored.example/base/busybox:1\nLABEL a=b\n",
            files={},
            settings=lambda bench: {
                "mirrors": {"mirrored.example": bench.make_base().partition("/")[0]}
            },
        ),
        check=_mirrors,
    ),
    Proof(
        feature=Feature.CACHE_BACKENDS,
        ask=Ask(
            settings=lambda bench: {"cache_to": [f"type=local,dest={bench.folder}/kept-cache"]}
        ),
        check=_cache_backends,
    ),
    Proof(
        feature=Feature.ADD_GIT,
        ask=ask_of("FROM scratch\nADD https://git.example/acme/app.git /app\n"),
        why_not="there is no git server",
    ),
    Proof(
        feature=Feature.CUSTOM_SYNTAX,
        ask=ask_of("# syntax=registry.example/acme/frontend:1\nFROM scratch\nLABEL a=b\n"),
        why_not="there is no other frontend",
    ),
    Proof(
        feature=Feature.SBOM,
        ask=Ask(settings=lambda _: {"sbom": True}),
        why_not="its scanner is an image that not everybody can reach",
    ),
    Proof(
        feature=Feature.CERTIFICATES,
        ask=Ask(settings=lambda _: {"registries": {"registry.example": {"ca": "ca.pem"}}}),
        why_not="a registry with TLS has a name that every engine would have to be told",
    ),
    Proof(
        feature=Feature.INSECURE_REGISTRIES,
        ask=Ask(settings=lambda _: {"insecure": ["registry.example"]}),
        why_not="a registry on a loopback address is let off by everybody",
    ),
)
