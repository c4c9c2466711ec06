"""The command line: options to settings, results to stdout, errors to exit codes."""

import json
from datetime import timedelta
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from buildpush.backends import BackendCatalog
from buildpush.cli import _parser, main
from buildpush.cli.commands import _secrets, _step, fields, pairs
from buildpush.cli.doctor import examine
from buildpush.errors import SpecError
from buildpush.plan import BuildRequest
from buildpush.spec import FromEnv
from buildpush.testing import FakeBackend, LocalRegistry
from buildpush.testing.faults import Fault, Status


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "hello.txt").write_text("hello\n")
    (folder / "Dockerfile").write_text(
        "FROM scratch AS first\nARG VERSION=dev\nLABEL version=$VERSION\nCOPY hello.txt /\n"
        "FROM scratch\nCOPY hello.txt /other\n"
    )
    return folder


def test_build_prints_pinned_references(
    context: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output has the result and nothing else; progress is on standard error."""
    repo = local_registry.reference("acme/app")

    code = main(["build", str(context), "--repo", repo, "-t", "1", "-t", "2", "--target", "first"])

    out, err = capsys.readouterr()
    digest = local_registry.digest("acme/app", "1")
    assert code == 0
    assert out == f"{repo}:1@{digest}\n{repo}:2@{digest}\n"
    assert "COPY hello.txt /" in err


def test_build_as_json(
    context: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program gets digests, sizes and the backend."""
    repo = local_registry.reference("acme/app")

    main(["build", str(context), "--repo", repo, "--json", "--progress", "none"])

    out, err = capsys.readouterr()
    result = json.loads(out)
    (image,) = result["images"].values()
    assert err == ""
    assert result["references"] == [f"{repo}:latest@{result['digest']}"]
    assert image["digest"] == result["digest"]
    assert image["layers"] == 1
    assert result["backend"]["name"] == "native"


def test_build_without_a_push(context: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The digest is the result, and the file is where it was wanted."""
    output = context.parent / "image.tar"

    code = main(
        [
            *("build", str(context), "--repo", "a.example/b", "--no-push"),
            *("--progress", "none", "--output", f"type=oci,dest={output}"),
        ]
    )

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0] == str(output)
    assert lines[1].startswith("sha256:")
    assert output.is_file()


def test_progress_as_jsonl(
    context: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line of standard error is an event."""
    main(["build", str(context), "--repo", local_registry.reference("a/b"), "--progress", "jsonl"])

    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [e["phase"] for e in events if e["event"] == "PhaseStarted"] == [
        "plan",
        "build",
        "push",
    ]


@pytest.mark.parametrize("argv", [["plan", "{}"], ["build", "{}", "--plan"]])
def test_plan_builds_nothing(
    argv: list[str],
    context: Path,
    local_registry: LocalRegistry,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says which backend would do it, and asks no registry."""
    code = main(
        [part.format(context) for part in argv] + ["--repo", local_registry.reference("a/b")]
    )

    assert code == 0
    assert "native" in capsys.readouterr().out
    assert local_registry.requests == ()


def test_plan_as_json(context: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program can read the plan."""
    main(["plan", str(context), "--repo", "a.example/b", "--json"])

    assert json.loads(capsys.readouterr().out)["backend"]["name"] == "native"


@pytest.fixture
def no_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program of this machine is found: what engines it has is another test's subject."""
    monkeypatch.setenv("PATH", "/nonexistent")


@pytest.mark.usefixtures("no_engines")
def test_doctor_tells_of_every_backend(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are here say what they cannot do; the others say why they are not here."""
    code = main(["doctor"])

    out = capsys.readouterr().out
    assert code == 0
    assert "native" in out
    assert "    RUN is executed in " in out
    assert "buildah: not here: buildah is not installed" in out
    assert "kaniko: not here: no kaniko image is chosen" in out


@pytest.mark.usefixtures("no_engines")
def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for a program."""
    main(["doctor", "--json"])

    found = {
        finding["backend"]: finding["ready"]
        for finding in json.loads(capsys.readouterr().out)["backends"]
    }
    assert found["native"] is True
    assert found["kaniko"] is False


def test_examine_asks_backends_of_third_parties_too() -> None:
    """Whatever is installed is examined, after those that buildpush knows."""
    (point,) = BackendCatalog.discover().entries["native"]

    findings = examine(BackendCatalog({"mine": (point,)}))

    assert [finding.name for finding in findings][-1] == "mine"
    assert findings[-1].capabilities is not None


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["build", "{context}", "--repo", "Not A Repo"], 2),
        (["build", "{context}/missing", "--repo", "a.example/b"], 2),
        (["build", "{context}", "--repo", "a.example/b", "--label", "novalue"], 2),
        (["build", "{context}", "--repo", "a.example/b", "--backend", "nope"], 3),
        (["build", "{context}", "--repo", "{registry}/denied"], 4),
        (["build", "{context}", "--repo", "a.example/b", "--no-push", "-f", "bad"], 5),
        (["build", "{context}", "--repo", "{registry}/broken"], 6),
    ],
)
def test_exit_codes_tell_whose_move_it_is(
    argv: list[str],
    code: int,
    context: Path,
    local_registry: LocalRegistry,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each branch of the error tree has its own code, and its report on standard error."""
    (context / "bad").write_text("FROM scratch\nCOPY nothing /\n")
    local_registry.inject(Fault(Status(403), path="/denied/", times=None))
    local_registry.inject(Fault(Status(400), path="/broken/", times=None))
    places = {"context": context, "registry": local_registry.host}

    found = main([part.format(**places) for part in argv])

    out, err = capsys.readouterr()
    assert (found, out) == (code, "")
    assert "buildpush: " in err


def test_usage_errors_exit_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    """As argparse has it."""
    with pytest.raises(SystemExit) as caught:
        main(["build"])

    assert caught.value.code == 2
    assert "--repo" in capsys.readouterr().err


def test_a_bare_build_argument_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with docker: what is not set there is not given."""
    monkeypatch.setenv("VERSION", "7")
    arguments = _parser().parse_args(
        ["build", ".", "--repo", "a.example/b", "--build-arg", "VERSION", "--build-arg", "UNSET_X"]
    )

    assert dict(_step(arguments).build_args) == {"VERSION": "7"}


def test_every_option_reaches_its_setting() -> None:
    """No option is read and forgotten."""
    arguments = _parser().parse_args(
        [
            "build",
            "ctx",
            "--repo",
            "a.example/b",
            "-f",
            "other",
            "--target",
            "t",
            "--label",
            "l=1",
            "--annotation",
            "a=1",
            "--build-context",
            "c=dir",
            "--add-host",
            "h=127.0.0.1",
            "--secret",
            "id=s,src=file",
            "--platform",
            "linux/amd64,linux/arm64",
            "--no-cache",
            "--pull",
            "--insecure",
            "r.example",
            "--network",
            "none",
            "--timeout",
            "1m",
            "--backend",
            "native",
            "-o",
            "type=docker,dest=x.tar",
            "--destination",
            "b.example/c:2",
            "--skip-preflight",
            "--auth",
            "ecr",
            "--on-existing-tag",
            "skip",
            "--expect-current",
            f"sha256:{'a' * 64}",
            "--on-partial",
            "continue",
            "--media-types",
            "oci",
            "--retries",
            "1",
        ]
    )

    step = _step(arguments)

    assert (step.context, step.dockerfile, step.target) == (Path("ctx"), Path("other"), "t")
    assert dict(step.labels) == {"l": "1"}
    assert dict(step.build_contexts) == {"c": "dir"}
    assert dict(step.secrets) == {"s": Path("file")}
    assert [str(platform) for platform in step.platforms] == ["linux/amd64", "linux/arm64"]
    assert (step.no_cache, step.pull, step.network, step.timeout) == (True, True, "none", 60.0)
    assert step.insecure == {"r.example"}
    assert step.backend == "native"
    assert step.outputs[0].destination == Path("x.tar")
    assert step.annotations
    assert step.add_hosts
    assert [str(reference) for reference in step.references] == [
        "a.example/b:latest",
        "b.example/c:2",
    ]
    assert (step.skip_preflight, len(step.auth), step.retries) == (True, 1, 1)
    assert (step.on_existing_tag, step.on_partial, step.media_types) == ("skip", "continue", "oci")
    assert step.expect_current


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("id=a,src=f", Path("f")),
        ("id=a,source=f", Path("f")),
        ("id=a,env=V", FromEnv("V")),
        ("id=a", FromEnv("a")),
    ],
)
def test_secrets_as_docker_writes_them(text: str, source: object) -> None:
    """A file, a variable, or the variable of the same name."""
    assert _secrets([text]) == {"a": source}


@pytest.mark.parametrize("text", ["src=f", "id=a,src", ""])
def test_a_broken_secret_is_refused(text: str) -> None:
    """It needs an id, and pairs."""
    with pytest.raises(SpecError):
        _secrets([text])


def test_fields_are_csv() -> None:
    """A value may hold a comma when it is quoted."""
    assert fields("-o", 'type=oci,"dest=a,b"') == {"type": "oci", "destination": "a,b"}


def test_pairs_need_an_equals_sign_where_there_is_no_environment() -> None:
    """A label without a value is a mistake."""
    with pytest.raises(SpecError, match="--label"):
        pairs("--label", ["x"])


class Announcing(FakeBackend):
    """A backend that says what it would start, and finds what was left behind."""

    def preview(self, request: BuildRequest) -> str:
        return f"start {request.references[0]} with {', '.join(request.secrets)}"

    def gc(self, *, older_than: timedelta) -> tuple[str, ...]:
        return (f"one of {older_than}",)


@pytest.fixture
def announcing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only backend that is installed is one that announces what it does."""
    point = EntryPoint("mine", "mine:Backend", "buildpush.backends")
    monkeypatch.setattr(BackendCatalog, "discover", lambda: BackendCatalog({"mine": (point,)}))
    monkeypatch.setattr(BackendCatalog, "load", lambda self, name: Announcing())


@pytest.mark.usefixtures("announcing")
def test_a_preview_is_what_the_backend_would_start(
    context: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing else, so that it can be piped; secrets are there by name only."""
    argv = ["plan", str(context), "--repo", "a.example/b", "--backend", "mine"]

    main([*argv, "--secret", "id=npm,src=/nonexistent", "--preview"])
    alone = capsys.readouterr().out
    main([*argv, "--json"])
    data = json.loads(capsys.readouterr().out)
    main(argv)
    rendered = capsys.readouterr().out

    assert alone == "start a.example/b:latest with npm\n"
    assert data["preview"] == "start a.example/b:latest with "
    assert "Starts\n  start a.example/b:latest with" in rendered


def test_a_backend_without_a_preview_says_so(
    context: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty answer would be taken for an answer."""
    code = main(["plan", str(context), "--repo", "a.example/b", "--preview"])

    assert code == 2
    assert "native cannot say beforehand" in capsys.readouterr().err


@pytest.mark.usefixtures("announcing")
def test_gc_prints_what_it_removed(capsys: pytest.CaptureFixture[str]) -> None:
    """By name, one on a line."""
    code = main(["gc", "--backend", "mine", "--older-than", "1h 30m"])

    assert code == 0
    assert capsys.readouterr().out == "one of 1:30:00\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["gc", "--backend", "native"], "native leaves nothing"),
        (["gc", "--older-than", "12"], "--older-than: '12' has no unit"),
    ],
)
def test_gc_refuses_what_it_cannot_do(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is removed."""
    assert main(argv) == 2
    assert words in capsys.readouterr().err


def test_an_error_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What others have said is quoted in there: a registry, a cluster, a build."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nRUN \x1b]0;title\x07\nNONSENSE \x1b[31m\n")

    assert main(["build", str(tmp_path), "--repo", "r.example/app"]) != 0

    err = capsys.readouterr().err
    assert "\x1b[31m" in err
    assert "\x1b]" not in err
    assert "\x07" not in err
