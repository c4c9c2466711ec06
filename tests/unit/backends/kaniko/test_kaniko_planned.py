"""What a real kaniko would silently leave out or do wrongly never gets past the plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import frozen

from buildpush import BuildAndPushStep
from buildpush.backends.engine.command import Translator
from buildpush.backends.kaniko import Flavor, KanikoBackend
from buildpush.backends.kaniko.runner import Ending, Execution, Found
from buildpush.errors import SourceEvidence, UnsupportedFeatureError
from buildpush.plan import Feature
from buildpush.runtime import Run

NEWEST, OLD_FORK = "oss-1.28.3", "oss-1.25.0"
GOOGLE, CHAINGUARD = "google-1.24.0", "chainguard-1.25.16"
EXECUTORS: Final = {
    NEWEST: (Flavor.OSSCONTAINERTOOLS, "1.28.3"),
    OLD_FORK: (Flavor.OSSCONTAINERTOOLS, "1.25.0"),
    GOOGLE: (Flavor.GOOGLE, "1.24.0"),
    CHAINGUARD: (Flavor.CHAINGUARD, "1.25.16"),
}
ALL = (NEWEST, OLD_FORK, GOOGLE, CHAINGUARD)
OLDER = (OLD_FORK, GOOGLE, CHAINGUARD)
FORKED = (OLD_FORK, CHAINGUARD)
SUM = "sha256:" + "0" * 64


class NoRunner:
    """Would run executors; planning needs none."""

    def probe(self, image: str, *, ask_version: bool) -> Found:
        features = {Feature.EXPORT_LAYOUT, Feature.PUSH_DIRECTLY, Feature.RUN_NETWORK}
        return Found(features=frozenset(features))

    def preview(self, execution: Execution) -> str:
        return "executor"

    def execute(self, execution: Execution, translator: Translator, run: Run) -> Ending:
        raise AssertionError("nothing is to be started")


@frozen
class Danger:
    """Lines of which *line* would go wrong with each of *executors*; the others honour it."""

    name: str
    text: str
    says: str
    executors: tuple[str, ...] = ALL
    line: int = 2


# Each was tried with a real executor of the four: those named here passed the build without the
# effect, or with another, or failed at it in the middle; the others gave BuildKit's result.
DANGERS: Final = (
    Danger("run-heredoc", "RUN <<E\ntrue\nE", "here-documents", OLDER),
    Danger("copy-heredoc", "COPY <<'E' /a\nbody\nE", "here-documents", OLDER),
    Danger("secret", "RUN --mount=type=secret,id=s true", "mount", OLDER),
    Danger("bind", "RUN --mount=target=/x true", "mount", OLDER),
    Danger("cache", "RUN --mount=type=cache,target=/x true", "mount", OLDER),
    Danger("bind-stage", "FROM a AS b\nRUN true\nFROM c\nRUN --mount=from=b,target=/x true", "mount",
           line=4),
    Danger("bind-image", "RUN --mount=from=busybox,target=/x true", "mount"),
    Danger("tmpfs", "RUN --mount=type=tmpfs,target=/x true", "mount"),
    Danger("ssh", "RUN --mount=type=ssh true", "mount"),
    Danger("network-none", "RUN --network=none true", "network"),
    Danger("insecure", "RUN --security=insecure true", "security"),
    Danger("group", "USER 1000:50\nRUN true", "without the group 50", OLDER, 3),
    Danger("chmod-letters", "COPY --chmod=u=rwX a /a", "--chmod=u=rwX", OLDER),
    Danger("chmod-special", "COPY --chmod=4755 a /a", "--chmod=4755", OLDER),
    Danger("exclude", "COPY --exclude=*.log d /d", "--exclude"),
    Danger("parents", "COPY --parents d/a /d/", "--parents"),
    Danger("outside", "COPY ../a /a", "leaves the build context"),
    Danger("checksum", f"ADD --checksum={SUM} https://h.example/a /a", "check what ADD fetches"),
    Danger("git", "ADD https://h.example/a.git /a", "git"),
    Danger("git-ref", "ADD git@h.example:a.git /a", "git"),
    Danger("unpack", "ADD --unpack=false a /a", "unpack"),
    Danger("start-interval", "HEALTHCHECK --start-interval=1s CMD true", "--start-interval"),
    Danger("volume", "VOLUME /v\nRUN touch /v/x", "after VOLUME", line=3),
    Danger("own-folder", "COPY a /kaniko/a", "the executor's own"),
    Danger("hosts", "COPY a /etc/hosts", "never takes /etc/hosts"),
    Danger("platform-args", "ARG TARGETARCH", "leaves TARGETARCH empty", OLDER),
    Danger("stage-arg", "ARG TARGETSTAGE", "leaves TARGETSTAGE empty", OLDER),
    Danger("from-variable", "FROM b-$TARGETARCH", "does not know TARGETARCH in FROM"),
    Danger("syntax", "# syntax=h.example/own:1\nFROM base", "frontend", line=1),
    Danger("devices", "RUN --device=h.example/d=a true", "device"),
    Danger("label-twice", "LABEL a='\"b\"'", "twice", (NEWEST,)),
    Danger("arg-after-env", "ENV A=1\nARG A=2", "lets the ENV A win", OLDER, 3),
    Danger("all-of-a-stage", "FROM base AS x\nRUN true\nFROM base\nCOPY --from=x / /x/", "own /proc",
           line=4),
    Danger("kept-cmd", "FROM base AS x\nCMD a\nFROM x\nENTRYPOINT b", "keeps the CMD", (NEWEST,), 4),
    Danger("copy-as-user", "USER 1000\nCOPY a /a", "not as root", (OLD_FORK,), 3),
    Danger("packed", "ADD packed.tar.xz /x/", "gzip and bzip2 only"),
)  # fmt: skip


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "d").mkdir(parents=True)
    for name in ("a", "d/a"):
        (folder / name).write_text("text")
    (folder / "packed.tar.xz").write_bytes(b"\xfd7zXZ\x00")
    return folder


def a_step(context: Path, text: str, executor: str, **settings: Any) -> BuildAndPushStep:
    flavor, version = EXECUTORS[executor]
    runner = NoRunner()
    backend = KanikoBackend(image="own/kaniko", flavor=flavor, version=version, runner=runner)
    begins = text.startswith(("FROM", "# syntax"))
    (context / "Dockerfile").write_text(text if begins else f"FROM base AS base\n{text}\n")
    repo = "registry.example/acme/app"
    return BuildAndPushStep(repo=repo, context=context, backend=backend, **settings)


def line_of(danger: Danger) -> int:
    return 1 if danger.name == "from-variable" else danger.line


@pytest.mark.parametrize("executor", ALL)
@pytest.mark.parametrize("danger", DANGERS, ids=lambda danger: danger.name)
def test_a_danger_is_refused_when_planned(danger: Danger, executor: str, context: Path) -> None:
    """By its line, with each executor that it is one for, and with no other."""
    step = a_step(context, danger.text, executor)

    if executor not in danger.executors:
        step.plan()
        return
    with pytest.raises(UnsupportedFeatureError) as caught:
        step.plan()

    error = caught.value
    lines = [e.first_line for e in error.evidence if isinstance(e, SourceEvidence)]
    assert danger.says in error.message
    assert lines == [line_of(danger)]
    assert f"line {line_of(danger)}" in error.message
    assert error.hint


SETTINGS: Final[Mapping[str, tuple[dict[str, Any], tuple[str, ...]]]] = {
    "annotations": ({"annotations": {"a": "b"}}, (OLD_FORK, GOOGLE)),
    "uncompressed": ({"compression": "none"}, ALL),
    "zstd": ({"compression": "zstd"}, OLDER),
    "secrets": ({"secrets": {"s": {"env": "S"}}}, OLDER),
    "ssh": ({"ssh": ["default"]}, ALL),
    "sbom": ({"sbom": True}, ALL),
    "provenance": ({"provenance": True}, ALL),
    "contexts": ({"build_contexts": {"x": "docker-image://y"}}, ALL),
    "variant": ({"platforms": ["linux/arm/v7"]}, OLDER),
}


@pytest.mark.parametrize("executor", ALL)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_without_effect_is_refused_when_planned(
    name: str, executor: str, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each executor that does not know it."""
    monkeypatch.setenv("S", "canary-secret")
    settings, executors = SETTINGS[name]
    step = a_step(context, "LABEL a=b", executor, **settings)

    if executor not in executors:
        step.plan()
        return
    with pytest.raises(UnsupportedFeatureError) as caught:
        step.plan()

    assert caught.value.hint
