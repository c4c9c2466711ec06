"""The same Dockerfile is the same image, whoever builds it: config and files, by all backends.

BuildKit (dockerd 28 with buildx) is what the others are compared with. What engines do otherwise
on their own account is listed here, each with its reason, and nothing else may differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from attrs import frozen
from same_result_cases import CASES, Case, fill

from buildpush import BuildAndPushStep
from buildpush.backends.buildah import BuildahBackend
from buildpush.backends.buildx import BuildxBackend
from buildpush.backends.docker import DockerBackend
from buildpush.backends.native import NativeBackend
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


@pytest.fixture
def workshop(
    tmp_path: Path,
    registry: LocalRegistry,
    base: str,
    dockerd: Engine,
    buildah_root: Engine,
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
        },
    )


# --- what engines do otherwise ---


@frozen(kw_only=True)
class Known:
    """A difference of *backend*; *line* is a pattern for it, *reason* is in the documentation too.

    In the case *case* only, where one is named.
    """

    backend: str
    line: str
    reason: str
    case: str = ""


_MOUNTED = "(etc/hostname|etc/hosts|etc/resolv.conf|run)"

KNOWN = (
    Known(
        backend="native",
        line=r"(dir|file) .*: time 'new' != 0",
        reason="Folders and files that the build makes itself are as old as time: the same inputs"
        " are the same layer.",
    ),
    Known(
        backend="native",
        line=r"dir .*: time 'new' != \d+",
        reason="A folder that was copied keeps its time when something is added to it later.",
    ),
    Known(
        backend="buildah",
        line=r"dir .*: time (\d+|'new') != (\d+|'new')",
        reason="Times of folders: copied ones get the time of the build.",
    ),
    Known(
        backend="buildah",
        line=r"config WorkingDir: '/' != (None|'')",
        reason="WorkingDir stays empty where BuildKit writes `/`.",
    ),
    Known(
        backend="buildah",
        line=rf"(file|dir) {_MOUNTED}: should not be there",
        reason="RUN leaves the empty files that were mounted over: `/etc/hosts`,"
        " `/etc/hostname`, `/etc/resolv.conf`, `/run`.",
    ),
    Known(
        backend="buildah",
        line=r"file .*: xattrs \{\} != ",
        reason="Extended attributes of users in archives stay.",
    ),
    Known(
        backend="buildah",
        line=r"file .*: xattrs \{.+\} != ",
        reason="COPY loses extended attributes, file capabilities among them.",
        case="attributes",
    ),
    Known(
        backend="buildah",
        line=r"file .*/set[ug]id: mode '0o[24]755' != '0o755'",
        reason="COPY drops the setuid and setgid bits.",
        case="modes",
    ),
    Known(
        backend="buildah",
        line=r"dir tree: mode '0o750' != '0o755'",
        reason="`COPY --chmod` of a folder leaves the folder itself as it was.",
        case="modes-given",
    ),
    Known(
        backend="buildah",
        line=r"\w+ owned/.*: owner \(5, 6\) != \(7, 8\)",
        reason="`ADD --chown` leaves what it unpacks to its owners.",
        case="archives-owned",
    ),
    *(
        Known(
            backend="buildah",
            line=rf"dir {path}: missing",
            reason="The folder of a WORKDIR is made by the next RUN only.",
            case=case,
        )
        for case, path in (
            ("workdir", "rel"),
            ("workdir-owned", "(numeric|srv.*)"),
            ("through-links", "real/place/new"),
        )
    ),
    Known(
        backend="buildah",
        line=r"(file|symlink) (pointer|real/file): ",
        reason="COPY onto a link replaces the link; elsewhere it writes the file it points to.",
        case="through-links",
    ),
    Known(
        backend="buildah",
        line=r"config (Cmd|Entrypoint): \['/bin/sh', '-exc',",
        reason="CMD and ENTRYPOINT as text run in `/bin/sh -c`, whatever SHELL says.",
        case="shell",
    ),
    Known(
        backend="buildah",
        line=r"config ExposedPorts: .*'9000-9002/tcp'",
        reason="EXPOSE of a range of ports is kept as the range.",
        case="ports",
    ),
    Known(
        backend="buildah",
        line=r"\w+ (all/)?tree/sub.*: missing",
        reason="In .dockerignore, `!` does not bring back what is below a folder that is left out"
        " when there is `**` in it.",
        case="ignored-except",
    ),
    Known(
        backend="buildah",
        line=r"(config Labels: .*|file [29]: .*)",
        reason="ENV wins over an ARG of the same name, wherever they are.",
        case="arguments-given",
    ),
    Known(
        backend="buildah",
        line=r"config Env: .*'A=`'",
        reason="With a backtick as escape character, it does not protect a `$`.",
        case="syntax",
    ),
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


def is_known(line: str, case: Case, backend: str) -> bool:
    return any(
        known.backend == backend
        and known.case in ("", case.name)
        and re.match(known.line, line) is not None
        for known in KNOWN
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_backend_makes_the_same_image(workshop: Workshop, case: Case) -> None:
    """Config and files are equal, but for what is listed."""
    reference = workshop.build(case, REFERENCE)

    found = [
        f"{name}: {line}"
        for name in workshop.backends
        if name not in (REFERENCE, *case.without)
        for line in differences(reference, workshop.build(case, name))
        if not is_known(line, case, name)
    ]

    assert not found, "\n".join(found)


def test_the_documentation_lists_the_differences() -> None:
    """Each with the reason that is given here; and nothing that is not here."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "differences.md"

    listed = [line[2:] for line in page.read_text().splitlines() if line.startswith("- ")]

    kept_out = [reason for case in CASES for reason in case.without.values()]
    known = [*(known.reason for known in KNOWN), *(_sentence(reason) for reason in kept_out)]
    assert sorted(listed) == sorted(set(known))


def _sentence(reason: str) -> str:
    return f"{reason[0].upper()}{reason[1:]}."
