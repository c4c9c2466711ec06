"""What buildx puts into a registry: platforms, annotations, attestations, secrets, agents."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep, BuildResult
from buildpush.backends.buildx import BuildxBackend
from buildpush.dockerfile import parse
from buildpush.errors import UnsupportedFeatureError
from buildpush.events import ignore
from buildpush.oci import Digest, Platform
from buildpush.plan import BuildRequest
from buildpush.runtime import CancelToken, Run
from buildpush.testing import LocalRegistry, RecordingSink

pytestmark = pytest.mark.needs_buildx

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
ANY = ("linux/amd64", "linux/arm64")


@pytest.fixture(autouse=True)
def engine(dockerd: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    dockerd.activate(monkeypatch)
    return dockerd


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as registry:
        yield registry


@pytest.fixture
def base(busybox_base: Any, registry: LocalRegistry) -> str:
    reference: str = busybox_base.push(registry.host, "library/base")
    return reference


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_text("text")
    return folder


def build(context: Path, registry: LocalRegistry, dockerfile: str, **settings: Any) -> BuildResult:
    (context / "Dockerfile").write_text(dockerfile)
    on_event = settings.pop("on_event", ignore)
    settings = {"network": "host", "repo": registry.reference("acme/app"), **settings}
    step = BuildAndPushStep(context=context, backend=BuildxBackend(), **settings)
    return step.run(on_event=on_event)


def document(registry: LocalRegistry, digest: object) -> dict[str, Any]:
    data = registry.manifest("acme/app", Digest(str(digest)))
    assert data is not None
    found: dict[str, Any] = json.loads(data)
    return found


def attestations(registry: LocalRegistry, result: BuildResult) -> dict[str, Any]:
    """The statements attached to the image, by the type of their predicate."""
    index = document(registry, result.digest)
    found: dict[str, Any] = {}
    for entry in index["manifests"]:
        if entry.get("annotations", {}).get("vnd.docker.reference.type") == "attestation-manifest":
            for layer in document(registry, entry["digest"])["layers"]:
                statement = registry.blob("acme/app", layer["digest"])
                assert statement is not None
                kind = layer["annotations"]["in-toto.io/predicate-type"]
                found[kind] = json.loads(statement)
    return found


@pytest.mark.parametrize("delivery", ["layout", "direct"])
def test_two_platforms_become_an_index(
    delivery: Any, context: Path, registry: LocalRegistry
) -> None:
    """Files are copied for any platform, whichever this machine is."""
    result = build(
        context,
        registry,
        "FROM scratch\nARG TARGETARCH\nCOPY file /file-for-$TARGETARCH\n",
        platforms=ANY,
        delivery=delivery,
    )

    index = document(registry, registry.digest("acme/app", "latest"))
    platforms = [entry["platform"] for entry in index["manifests"]]
    named = [f"{platform['os']}/{platform['architecture']}" for platform in platforms]
    assert index["mediaType"] == OCI_INDEX
    assert sorted(named) == sorted(ANY)
    assert set(result.images) == {Platform.parse(name) for name in ANY}
    assert registry.digest("acme/app", "latest") == result.digest


@pytest.mark.parametrize("delivery", ["layout", "direct"])
def test_one_platform_is_a_plain_image(
    delivery: Any, context: Path, registry: LocalRegistry, base: str
) -> None:
    """No provenance turns it into an index unless somebody asks for it."""
    result = build(
        context, registry, f"FROM {base}\nCOPY file /\nRUN cat /file > /x\n", delivery=delivery
    )

    assert document(registry, result.digest)["mediaType"] == OCI_MANIFEST
    assert registry.digest("acme/app", "latest") == result.digest


def test_a_foreign_run_is_refused_or_executed(
    context: Path, registry: LocalRegistry, engine: Any
) -> None:
    """The builder itself says for which platforms it executes programs."""
    runnable = BuildxBackend().probe().platforms
    foreign = next(p for p in ("linux/s390x", "linux/arm64") if p != str(Platform.host()))
    if Platform.parse(foreign) in runnable:
        pytest.skip(f"{foreign} runs here, and no base image for it is at hand")

    with pytest.raises(UnsupportedFeatureError, match=f"cannot execute RUN for {foreign}"):
        build(context, registry, "FROM scratch\nRUN true\n", platforms=[foreign])

    assert registry.repositories == ()


def test_annotations_reach_manifest_and_index(context: Path, registry: LocalRegistry) -> None:
    """Without a level they are the manifest's."""
    result = build(
        context,
        registry,
        "FROM scratch\nCOPY file /\n",
        platforms=ANY,
        annotations={
            "org.example.plain": "of manifests",
            "index:org.example.index": "of the index, with a comma",
            "manifest[linux/arm64]:org.example.arm": "of one",
        },
    )

    index = document(registry, result.digest)
    of_platform = {
        entry["platform"]["architecture"]: document(registry, entry["digest"])["annotations"]
        for entry in index["manifests"]
    }
    assert index["annotations"] == {"org.example.index": "of the index, with a comma"}
    assert of_platform == {
        "amd64": {"org.example.plain": "of manifests"},
        "arm64": {"org.example.plain": "of manifests", "org.example.arm": "of one"},
    }


@pytest.mark.parametrize("delivery", ["layout", "direct"])
def test_provenance_is_attached_when_asked_for(
    delivery: Any, context: Path, registry: LocalRegistry, base: str
) -> None:
    """It tells how the image was made, and from what."""
    result = build(
        context,
        registry,
        f"FROM {base}\nARG WORD\nCOPY file /\n",
        provenance="mode=max",
        build_args={"WORD": "said"},
        delivery=delivery,
    )

    found = attestations(registry, result)
    assert len(found) == 1
    text = json.dumps(found)
    assert "slsa.dev/provenance" in text and "said" in text and "library/base" in text


SCANNER = """FROM {base}
COPY --chmod=755 <<'EOF' /scan
#!/bin/sh
cat > "$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json" <<END
{{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document",
"predicate":{{"name":"found $(ls "$BUILDKIT_SCAN_SOURCE" | tr '\\n' ' ')"}}}}
END
EOF
ENTRYPOINT ["/scan"]
"""


def test_an_sbom_is_made_by_the_scanner_that_is_named(
    context: Path,
    registry: LocalRegistry,
    base: str,
    tmp_path: Path,
    bridged_dockerd: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The scanner is an image like any other: here one that lists the files it sees.

    BuildKit runs it with the default network, which the other engines of these tests lack.
    """
    bridged_dockerd.activate(monkeypatch)
    folder = tmp_path / "scanner"
    folder.mkdir()
    scanner = registry.reference("tools/scanner:1")
    build(folder, registry, SCANNER.format(base=base), repo=scanner[:-2], tags=["1"])

    result = build(
        context, registry, "FROM scratch\nCOPY file /seen\n", sbom=f"generator={scanner}"
    )

    found = attestations(registry, result)
    assert found["https://spdx.dev/Document"]["predicate"]["name"] == "found seen "


def test_secrets_are_mounted_and_leave_no_trace(
    context: Path, registry: LocalRegistry, base: str
) -> None:
    """Neither in the image nor in what is shown."""
    sink = RecordingSink()

    result = build(
        context,
        registry,
        f"FROM {base}\nRUN --mount=type=secret,id=word sha256sum /run/secrets/word | cut -c-64\n"
        "RUN --mount=type=secret,id=word cat /run/secrets/word\n",
        secrets={"word": "canary-of-buildx"},
        on_event=sink,
    )

    shown = "\n".join(sink.lines)
    assert hashlib.sha256(b"canary-of-buildx").hexdigest() in shown
    assert "canary-of-buildx" not in shown and "***" in shown
    manifest = document(registry, result.digest)
    blobs = [registry.blob("acme/app", x["digest"]) for x in manifest["layers"]]
    config = registry.blob("acme/app", manifest["config"]["digest"])
    assert config is not None and b"canary" not in config
    assert all(blob is not None and b"canary" not in blob for blob in blobs)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A running ssh-agent's socket, and the public key that it holds."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("needs ssh-agent")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    said = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True, text=True).stdout
    socket, pid = (re.search(rf"{n}=([^;]+);", said) for n in ("SSH_AUTH_SOCK", "SSH_AGENT_PID"))
    assert socket is not None and pid is not None
    try:
        subprocess.run(
            ["ssh-add", "-q", key],
            check=True,
            env={"SSH_AUTH_SOCK": socket[1], "PATH": "/usr/bin"},
        )
        yield Path(socket[1]), key.with_suffix(".pub").read_text()
    finally:
        subprocess.run(["kill", pid[1]], check=True)


def put_program(context: Path, name: str) -> None:
    """Copy a program of this machine, with its libraries, to ``rootfs`` of the context."""
    program = Path(str(shutil.which(name))).resolve()
    libraries = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for path in (str(program), *re.findall(r"(/\S+)", libraries)):
        target = context / "rootfs" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def test_an_agent_is_forwarded(
    context: Path, registry: LocalRegistry, base: str, agent: tuple[Path, str], tmp_path: Path
) -> None:
    """RUN sees the keys of a real ssh-agent, which never leave it."""
    socket, public = agent
    put_program(context, "ssh-add")
    out = tmp_path / "out"

    build(
        context,
        registry,
        f"FROM {base} AS build\nCOPY rootfs /\nRUN --mount=type=ssh ssh-add -L > /keys\n"
        "FROM scratch\nCOPY --from=build /keys /keys\n",
        ssh={"default": socket},
        outputs=[f"type=local,dest={out}"],
    )

    assert (out / "keys").read_text().split()[:2] == public.split()[:2]


def test_several_outputs_come_from_one_build(
    context: Path, registry: LocalRegistry, tmp_path: Path
) -> None:
    """Plain files from BuildKit; an archive and the push from the layout."""
    result = build(
        context,
        registry,
        "FROM scratch\nCOPY file /\n",
        outputs=[
            f"type=local,dest={tmp_path / 'files'}",
            f"type=oci,dest={tmp_path / 'image.tar'}",
        ],
    )

    assert (tmp_path / "files" / "file").read_text() == "text"
    assert (tmp_path / "image.tar").stat().st_size > 0
    assert registry.digest("acme/app", "latest") == result.digest


def test_a_dockerfile_is_checked_without_building(
    context: Path, registry: LocalRegistry, tmp_path: Path
) -> None:
    """Each finding is an event, with its line and rule."""
    path = context / "Dockerfile"
    path.write_text("FROM scratch AS Big\nCOPY file /\nCMD echo hi\n")
    request = BuildRequest(
        context=context, dockerfile=parse(path.read_text()), dockerfile_path=path
    )
    sink = RecordingSink()
    work = tmp_path / "work"
    work.mkdir()

    found = BuildxBackend().check(request, Run(workdir=work, cancel=CancelToken(), sink=sink))

    assert sink.warnings == tuple(warning.message for warning in found)
    assert [message.split(": ")[:2] for message in sink.warnings] == [
        ["Dockerfile, line 1", "StageNameCasing"],
        ["Dockerfile, line 3", "JSONArgsRecommended"],
    ]
    assert registry.repositories == ()
