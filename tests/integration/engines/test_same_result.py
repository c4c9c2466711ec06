"""The same Dockerfile is the same image, whoever builds it: config and files, by all backends.

BuildKit (dockerd 28 with buildx) is what the others are compared with. What engines do otherwise
on their own account is listed in same_result_known.py, each with its reason, and nothing else may
differ. Kaniko takes part where BUILDPUSH_TEST_KANIKO names an executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from attrs import frozen
from kaniko_executors import ARCHIVES, flavor_of, kaniko_backend
from same_result_cases import CASES, Case, fill
from same_result_known import KNOWN, KNOWN_OF_KANIKO, is_known

from buildpush import BuildAndPushStep
from buildpush.backends.buildah import BuildahBackend
from buildpush.backends.buildx import BuildxBackend
from buildpush.backends.docker import DockerBackend
from buildpush.backends.kaniko import KanikoBackend
from buildpush.backends.native import NativeBackend
from buildpush.errors import UnsupportedFeatureError
from buildpush.testing import ImageFile, LocalRegistry, PulledImage, pull_image
from buildpush.testing.conformance.shell import Busybox

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_docker,
    pytest.mark.needs_buildx,
    pytest.mark.needs_buildah,
]

REFERENCE = "buildx"
_CONFIG = (
    *("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels", "ExposedPorts", "Volumes"),
    *("StopSignal", "Healthcheck", "OnBuild", "Shell"),
)
_OLD = 1_500_000_000  # a time before this one was not made by the build
_TRIGGERS = (
    "FROM scratch\nONBUILD ARG GIVEN=default\nONBUILD COPY tree /from-trigger\n"
    "ONBUILD LABEL triggered=$GIVEN\nENV KEPT=1\n"
)


class Engine(Protocol):
    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None: ...


@frozen
class Workshop:
    """Builds cases with one backend after the other, into one registry."""

    folder: Path
    registry: LocalRegistry
    base: str
    triggers: str
    backends: Mapping[str, tuple[Any, Callable[[], None]]]

    def compared(self, case: Case, name: str, reference: PulledImage) -> Iterator[str]:
        """What differs from *reference*, a line each; or why it was refused."""
        try:
            image = self.build(case, name)
        except UnsupportedFeatureError as error:
            yield f"refused: {error.message}"
        else:
            yield from differences(reference, image)

    def build(self, case: Case, name: str) -> PulledImage:
        context = self.folder / f"{case.name}-{name}"
        context.mkdir()
        fill(context)
        text = case.dockerfile.replace("$BASE", self.base).replace("$TRIGGERS", self.triggers)
        (context / "Dockerfile").write_text(text)
        if case.ignore:
            (context / ".dockerignore").write_text(case.ignore)
        backend, activate = self.backends[name]
        activate()
        reference = self.registry.reference(f"same/{case.name}:{name}")
        repo, _, tag = reference.rpartition(":")
        network = {} if name in ("native", "buildah") else {"network": "host"}
        settings = {"repo": repo, "tags": [tag], "context": context, "backend": backend}
        BuildAndPushStep.parse({**settings, **network, **case.settings}).run()
        return pull_image(reference)


@pytest.fixture(scope="module")
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as registry:
        yield registry


@pytest.fixture(scope="module")
def base(registry: LocalRegistry) -> str:
    busybox = Path("/bin/busybox")
    return Busybox(busybox).put(registry, "base/busybox", "1")


@pytest.fixture(scope="module")
def kanikos(request: pytest.FixtureRequest) -> Mapping[str, KanikoBackend]:
    """A backend for each executor at hand, by its flavor; none where there is none."""
    images = request.getfixturevalue("kaniko_images") if ARCHIVES else ()
    return {f"kaniko-{flavor_of(image.name)}": kaniko_backend(image.name) for image in images}


@pytest.fixture
def workshop(
    tmp_path: Path,
    registry: LocalRegistry,
    base: str,
    dockerd: Engine,
    buildah_root: Engine,
    kanikos: Mapping[str, KanikoBackend],
    monkeypatch: pytest.MonkeyPatch,
) -> Workshop:
    def docker() -> None:
        dockerd.activate(monkeypatch)

    def buildah() -> None:
        buildah_root.activate(monkeypatch)

    def nothing() -> None:
        pass

    triggers = tmp_path / "triggers"
    triggers.mkdir()
    (triggers / "Dockerfile").write_text(_TRIGGERS)
    repo = registry.reference("base/triggers")
    BuildAndPushStep(repo=repo, context=triggers, backend=NativeBackend()).run()
    return Workshop(
        folder=tmp_path,
        registry=registry,
        base=base,
        triggers=f"{repo}:latest",
        backends={
            "buildx": (BuildxBackend(), docker),
            "native": (NativeBackend(), nothing),
            "docker": (DockerBackend(), docker),
            "buildah": (BuildahBackend(), buildah),
            **{name: (backend, docker) for name, backend in kanikos.items()},
        },
    )


def _facts(file: ImageFile) -> dict[str, Any]:
    """What of a file must be the same, by name."""
    return {
        "kind": file.kind,
        "mode": oct(file.mode & 0o7777) if file.kind != "symlink" else "",
        "owner": (file.uid, file.gid),
        "content": file.content,
        "link": file.link if file.kind == "symlink" else "",
        "device": file.device,
        "xattrs": dict(file.xattrs),
        "twins": file.twins,
        "time": int(file.mtime) if file.mtime < _OLD else "new",
    }


def differences(one: PulledImage, other: PulledImage) -> Iterator[str]:
    """Each difference as a line: where, what the reference has, what the other has."""
    for name in _CONFIG:
        expected, found = one.run_config.get(name), other.run_config.get(name)
        if (expected or None) != (found or None):
            yield f"config {name}: {expected!r} != {found!r}"
    mine, theirs = one.files(), other.files()
    for path in sorted(mine.keys() | theirs.keys()):
        if path not in theirs:
            yield f"{mine[path].kind} {path}: missing"
        elif path not in mine:
            yield f"{theirs[path].kind} {path}: should not be there"
        else:
            expected, found = _facts(mine[path]), _facts(theirs[path])
            for fact in expected:
                if expected[fact] != found[fact]:
                    yield f"{mine[path].kind} {path}: {fact} {expected[fact]!r} != {found[fact]!r}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_backend_makes_the_same_image(workshop: Workshop, case: Case) -> None:
    """Config and files are equal, but for what is listed."""
    reference = workshop.build(case, REFERENCE)

    found = [
        f"{name}: {line}"
        for name in workshop.backends
        if name not in (REFERENCE, *case.without)
        for line in workshop.compared(case, name, reference)
        if not is_known(line, case, name)
    ]

    assert not found, "\n".join(found)


def test_the_documentation_lists_the_differences() -> None:
    """Each with the reason that is given here; and nothing that is not here."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "differences.md"

    listed = {line[2:] for line in page.read_text().splitlines() if line.startswith("- ")}

    kept_out = [reason for case in CASES for reason in case.without.values()]
    known = [
        *(known.reason for known in (*KNOWN, *KNOWN_OF_KANIKO)),
        *(_sentence(reason) for reason in kept_out),
    ]
    assert sorted(listed) == sorted(set(known))


def _sentence(reason: str) -> str:
    return f"{reason[0].upper()}{reason[1:]}."
