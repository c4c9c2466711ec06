"""Small parts: cleaned configs, annotations, leftovers, and what a failed probe means."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.auth import Chain
from buildpush.backends.buildah import BuildahBackend
from buildpush.backends.buildah.failures import cannot_start, push_error
from buildpush.backends.buildah.images import (
    Exported,
    clean_config,
    combine,
    only_docker_says,
)
from buildpush.backends.buildah.leftovers import remove_leftovers
from buildpush.backends.buildah.probing import Buildah
from buildpush.backends.buildah.translate import TransferOutput, message_of
from buildpush.dockerfile import parse
from buildpush.errors import (
    AuthError,
    BackendUnavailableError,
    BuildError,
    BuildpushError,
    CommandEvidence,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryUnavailableError,
    SpecError,
)
from buildpush.events import Event, Warned
from buildpush.oci import Digest, ImageReference, Platform
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, MediaType, parse_config
from buildpush.plan import BuildRequest, PushedArtifact
from buildpush.plan.annotations import Annotations
from buildpush.plan.values import Cache, Delivery
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.runtime.process import Completed

DIFF = Digest.of(b"layer")
CONFIG = {
    "created": "2026-01-01T00:00:00Z",
    "container": "abc",
    "container_config": {"Hostname": "abc"},
    "parent": "sha256:1",
    "architecture": "amd64",
    "os": "linux",
    "config": {"Hostname": "abc", "Tty": False, "Env": ["A=1"], "Healthcheck": {"Test": ["NONE"]}},
    "rootfs": {"type": "layers", "diff_ids": [str(DIFF)]},
    "history": [
        {"created": "0001-01-01T00:00:00Z", "created_by": "a"},
        {"created": "2026-01-01T00:00:00Z", "created_by": "b", "comment": "FROM abc"},
        {"created_by": "c", "comment": "mine", "empty_layer": True},
    ],
}


def test_a_config_is_cleaned_of_what_is_different_each_time() -> None:
    """Ids, host names and parents would make every build another image."""
    cleaned = json.loads(clean_config(parse_config(json.dumps(CONFIG).encode())).dump())

    assert cleaned.keys() == {"created", "architecture", "os", "config", "rootfs", "history"}
    assert cleaned["config"] == {"Env": ["A=1"], "Healthcheck": {"Test": ["NONE"]}}
    assert cleaned["history"] == [
        {"created_by": "a"},
        {"created": "2026-01-01T00:00:00Z", "created_by": "b"},
        {"created_by": "c", "comment": "mine", "empty_layer": True},
    ]


@pytest.mark.parametrize("name", ["Healthcheck", "OnBuild", "Shell"])
def test_what_an_oci_config_by_buildah_would_lose(name: str) -> None:
    """Three settings that only docker's format has."""
    value: Any = {"Test": ["NONE"]} if name == "Healthcheck" else ["x"]
    config = {**CONFIG, "config": {name: value}}

    assert only_docker_says(parse_config(json.dumps(config).encode()))
    assert not only_docker_says(parse_config(json.dumps({**CONFIG, "config": {}}).encode()))


def test_annotations_go_where_they_say(tmp_path: Path) -> None:
    """Keys are read as buildx reads them."""
    layout = Layout.create(tmp_path / "layout")
    config = clean_config(parse_config(json.dumps(CONFIG).encode()))
    layer = Descriptor(media_type=MediaType.OCI_LAYER_GZIP, digest=Digest.of(b"x"), size=1)
    texts = {
        "a": "1",
        "index:b": "2",
        "manifest[linux/arm64]:c": "3",
        "manifest-descriptor:d": "4",
    }

    image = Exported(config=config, layers=(layer,))
    combine([image, image], layout, Annotations(texts=texts), several=True)

    (top,) = layout.index().manifests
    index = json.loads(layout.read(top.digest))
    manifest = json.loads(layout.read(Digest(index["manifests"][0]["digest"])))
    assert index["annotations"] == {"b": "2"}
    assert index["manifests"][0]["annotations"] == {"d": "4"}
    assert index["manifests"][0]["platform"] == {"architecture": "amd64", "os": "linux"}
    assert manifest["annotations"] == {"a": "1"}


def test_an_annotation_needs_a_key() -> None:
    """`index:` alone is none."""
    with pytest.raises(SpecError, match="no key"):
        Annotations(texts={"index:": "x"}).at("index")


def test_an_export_that_lacks_a_layer_is_refused(tmp_path: Path) -> None:
    """The config says how many there are."""
    config = parse_config(json.dumps(CONFIG).encode())

    with pytest.raises(BuildError, match="0 layers of 1"):
        combine(
            [Exported(config=config, layers=())],
            Layout.create(tmp_path / "layout"),
            Annotations(),
            several=False,
        )


@pytest.mark.parametrize(
    ("said", "expected", "message"),
    [
        ('Error: cannot find newuidmap: exec: "newuidmap": not found', "uidmap", "namespaces"),
        ("Error: mkdir /x: no space left on device", "space", "disk is full"),
        ("Error: 'overlay' is not supported over overlayfs", "vfs", "storage driver"),
        ("Error: something else", "", "something else"),
        ("", "", "no reason"),
    ],
)
def test_a_buildah_that_cannot_work_says_why(said: str, expected: str, message: str) -> None:
    """What is missing, and how to get it."""
    evidence = CommandEvidence(
        argv=("buildah", "info"), exit_code=125, tail=(said,) if said else ()
    )

    error = cannot_start(evidence)

    assert message in error.message
    assert expected in error.hint


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("writing blob: initiating layer upload to /v2/x: denied", PermissionDeniedError),
        ("requested access to the resource is denied", PermissionDeniedError),
        ("unauthorized: authentication required", AuthError),
        ("toomanyrequests: slow down", RateLimitedError),
        ("name unknown: no such repository", NotFoundError),
        ("dial tcp 1.2.3.4:443: connect: connection refused", RegistryUnavailableError),
        ("received unexpected HTTP status: 503 Service Unavailable", RegistryUnavailableError),
        ("tls: failed to verify certificate: x509: unknown", RegistryUnavailableError),
        ("server gave HTTP response to HTTPS client", RegistryUnavailableError),
        ('writing blob: Post "http://r.io/v2/app/blobs/uploads/": EOF', RegistryUnavailableError),
        ("write /x: no space left on device", BuildError),
    ],
)
def test_a_push_that_fails_says_what_to_do(said: str, kind: type[BuildpushError]) -> None:
    """The class is the remedy; secrets of the run are taken out."""
    output = TransferOutput(task="push", title="push")
    list(output.line("stderr", "Copying blob s3cret", 0.0))
    list(output.line("stderr", f"Error: {said}", 0.0))
    completed = Completed(
        exit_code=125, evidence=CommandEvidence(argv=("buildah",), exit_code=125)
    )

    error = push_error("r.io/app:1", output, completed, lambda text: text.replace("s3cret", "***"))

    assert type(error) is kind
    assert "s3cret" not in error.report()
    assert error.hint


def test_a_line_of_buildahs_log_is_read() -> None:
    """With its quotes undone."""
    assert message_of('time="x" level=warning msg="a \\"b\\""') == ("warning", 'a "b"')
    assert message_of('time="x" level=error msg=plain') == ("error", "plain")
    assert message_of("anything else") == ("", "")


# --- with a program in buildah's place ---


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Buildah]:
    """A script in buildah's place, which writes down what it was asked."""

    def make(script: str) -> Buildah:
        path = tmp_path / "bin" / "buildah"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{script}\n')
        path.chmod(0o755)
        return Buildah(program=str(path), version=(1, 28, 2), graph_root=tmp_path / "storage")

    return make


def an_environment(tmp_path: Path, **variables: str) -> Environment:
    return Environment(
        variables={"PATH": "/usr/bin:/bin", **variables},
        uid=1000,
        gid=1000,
        home=tmp_path,
        cwd=tmp_path,
        cache=tmp_path,
        temporary=tmp_path,
    )


def test_only_containers_of_ours_that_nobody_needs_are_removed(
    program: Callable[[str], Buildah], tmp_path: Path
) -> None:
    """Told apart by the mark: this run's, a dead run's, a living run's, and somebody else's."""
    (tmp_path / "living").touch()
    marks = {"mine": "mine", "dead": "dead", "living": "living", "other": ""}
    for name, mark in marks.items():
        folder = tmp_path / "storage" / "overlay-containers" / name / "userdata"
        folder.mkdir(parents=True)
        secret = f"id=buildpush-run,src={tmp_path / mark}" if mark else "id=x,src=/y"
        (folder / "buildah.json").write_text(json.dumps({"Secrets": [secret, "id=a,src=/b"]}))
    (tmp_path / "mine").touch()

    removed = remove_leftovers(program("exit 0"), an_environment(tmp_path), mark=tmp_path / "mine")

    assert sorted(removed) == ["dead", "mine"]
    assert sorted((tmp_path / "asked").read_text().split()) == ["dead", "mine", "rm", "rm"]


def a_run(tmp_path: Path, events: list[Event]) -> Run:
    (tmp_path / "work").mkdir(mode=0o700)
    return Run(
        workdir=tmp_path / "work",
        cancel=CancelToken(),
        sink=events.append,
        environment=an_environment(tmp_path),
    )


def a_request(tmp_path: Path) -> BuildRequest:
    path = tmp_path / "Dockerfile.in"
    path.write_text("FROM scratch\n")
    return BuildRequest(
        context=tmp_path,
        dockerfile=parse(path.read_text()),
        dockerfile_path=path,
        delivery=Delivery.DIRECT,
        platforms=(Platform.parse("linux/amd64"),),
        references=(ImageReference.parse("r.io/app:1"),),
    )


KILLED = "Error: while running runtime: signal: killed"
FLAKY = f"""
case "$1" in
build)
    echo "STEP 1/1: FROM scratch"
    test -e $0.once || {{ touch $0.once; echo '{KILLED}' >&2; exit 1; }}
    echo {"a" * 64} ;;
inspect) echo '{json.dumps({"Config": json.dumps(CONFIG)})}' ;;
push) while test "$1" != --digestfile; do shift; done; echo {DIFF} > "$2" ;;
esac
"""


def test_a_run_that_buildah_killed_itself_is_tried_again(
    program: Callable[[str], Buildah], tmp_path: Path
) -> None:
    """Releases before 1.31 do that when a thread of theirs ends; the user is told."""
    from buildpush.backends.buildah.building import Building

    events: list[Event] = []
    with Building(
        buildah=program(FLAKY),
        request=a_request(tmp_path),
        keychain=Chain(()),
        run=a_run(tmp_path, events),
    ) as building:
        artifact = building.artifact()

    assert artifact == PushedArtifact(digest=DIFF)

    assert [e.message for e in events if isinstance(e, Warned)] == [
        "buildah 1.28.2 killed its own RUN: once more"
    ]


UNCACHED = f"""
case "$1" in
build)
    echo "STEP 1/1: FROM scratch"
    case "$*" in *--cache-to*)
        echo 'Error: failed pushing cache to {{{{a}}}}: connection refused' >&2; exit 125 ;;
    esac
    echo {"a" * 64} ;;
inspect) echo '{json.dumps({"Config": json.dumps(CONFIG)})}' ;;
push) while test "$1" != --digestfile; do shift; done; echo {DIFF} > "$2" ;;
esac
"""


@pytest.mark.parametrize("required", [False, True])
def test_a_cache_that_cannot_be_written_fails_only_who_requires_it(
    program: Callable[[str], Buildah], tmp_path: Path, required: bool
) -> None:
    """Buildah itself fails the build: it is done once more, from its layers."""
    from buildpush.backends.buildah.building import Building

    events: list[Event] = []
    cache = Cache(type="registry", attributes={"ref": "r.io/cache:1"}, required=required)
    with Building(
        buildah=program(UNCACHED),
        request=evolve(a_request(tmp_path), cache_to=(cache,)),
        keychain=Chain(()),
        run=a_run(tmp_path, events),
    ) as building:
        if required:
            with pytest.raises(RegistryUnavailableError, match="the cache could not be written"):
                building.artifact()
            return
        artifact = building.artifact()

    assert artifact == PushedArtifact(digest=DIFF)
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "the cache could not be written: connection refused"
    ]


def test_a_buildah_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package's name."""
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(BackendUnavailableError, match="not installed"):
        BuildahBackend().probe()


def probing(monkeypatch: pytest.MonkeyPatch, program: Buildah) -> None:
    monkeypatch.setenv("PATH", f"{Path(program.program).parent}:/usr/bin:/bin")


INFO = '{"host": {"OCIRuntime": "runc", "rootless": true}, "store": {"GraphDriverName": "vfs", "GraphRoot": "/s"}}'


def test_a_probe_tells_what_is_installed(
    monkeypatch: pytest.MonkeyPatch, program: Callable[[str], Buildah]
) -> None:
    """Version, storage, isolation."""
    script = f"""test "$1" = --version && echo 'buildah version 1.33.0 (x)' || echo '{INFO}'"""
    probing(monkeypatch, program(script))

    found = BuildahBackend(isolation="chroot").probe()

    assert found.version == "1.33.0"
    assert found.remarks == (
        "RUN is isolated by chroot",
        "images are stored in /s by vfs, rootless",
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'buildah version 1.19.0'", "older than 1.24"),
        ("echo podman", "unknown version"),
        ("test $1 = --version && echo 'buildah version 1.28.2' || echo no", "not understood"),
        (
            "test $1 = --version && echo 'version 1.28.2' || { echo Error: no subuid >&2; exit 1; }",
            "no user namespaces",
        ),
    ],
)
def test_a_probe_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, program: Callable[[str], Buildah], script: str, said: str
) -> None:
    """Rather than let the build find out."""
    probing(monkeypatch, program(script))

    with pytest.raises(BackendUnavailableError, match=said):
        BuildahBackend(isolation="chroot").probe()


def test_an_isolation_that_nobody_knows_is_refused(
    monkeypatch: pytest.MonkeyPatch, program: Callable[[str], Buildah]
) -> None:
    """Before buildah says so in the middle of a build."""
    script = f"test $1 = --version && echo 'buildah version 1.28.2' || echo '{INFO}'"
    probing(monkeypatch, program(script))

    with pytest.raises(BackendUnavailableError, match="no isolation 'vm'"):
        BuildahBackend(isolation="vm").probe()
