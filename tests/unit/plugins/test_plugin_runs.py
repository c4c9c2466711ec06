"""Runs of plugins against a registry, with a backend that hands over a layout."""

import json
from pathlib import Path

import pytest

from buildpush import AuthError, BuildAndPushStep, SpecError, run_plugin
from buildpush.oci import Repository
from buildpush.testing import FakeBackend, LocalRegistry, RecordingSink

CANARY = "c4n4ry-pa55word"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def variables(registry: LocalRegistry, **more: str) -> dict[str, str]:
    given = {"REPO": f"{registry.host}/acme/app", "TAGS": "1.10,latest", "REGISTRY": registry.host}
    return {f"PLUGIN_{name}": value for name, value in (given | more).items()}


@pytest.mark.parametrize("plugin", ["docker", "buildx", "kaniko"])
def test_the_artifact_file_and_the_registry_agree(plugin: str, folder: Path) -> None:
    with LocalRegistry() as registry:
        environ = variables(registry, ARTIFACT_FILE="out/artifact.json")
        done = run_plugin(environ, plugin=plugin, backend=FakeBackend())
        pushed = {tag: registry.digest("acme/app", tag) for tag in registry.tags("acme/app")}
    text = (folder / "out/artifact.json").read_text()
    assert json.loads(text) == {
        "kind": "docker/v1",
        "data": {
            "registryType": "Docker",
            "registryUrl": environ["PLUGIN_REGISTRY"],
            "images": [
                {"image": f"{environ['PLUGIN_REPO']}:{tag}", "digest": str(done.digest)}
                for tag in ("1.10", "latest")
            ],
        },
    }
    assert text.startswith('{\n\t"kind"')
    assert pushed == {"1.10": done.digest, "latest": done.digest}
    assert done.files == (folder / "out/artifact.json",)


def test_auto_tag_on_another_branch_is_nothing_to_do() -> None:
    with LocalRegistry() as registry:
        environ = variables(registry, AUTO_TAG="true") | {
            "DRONE_COMMIT_REF": "refs/heads/feature",
            "DRONE_REPO_BRANCH": "main",
        }
        del environ["PLUGIN_TAGS"]
        done = run_plugin(environ, backend=FakeBackend())
        assert "neither a git tag nor the default branch" in done.skipped
        assert registry.tags("acme/app") == ()
        with pytest.raises(SpecError, match="neither a git tag nor the default branch"):
            BuildAndPushStep.from_plugin_env(environ)


def test_drone_output_and_digest_files_say_what_was_pushed(folder: Path) -> None:
    with LocalRegistry() as registry:
        environ = variables(registry, TAGS="1.10", TAR_PATH="a b$c.tar") | {
            "DRONE_OUTPUT": "output.env"
        }
        done = run_plugin(environ, plugin="kaniko", backend=FakeBackend())
    assert (folder / "output.env").read_text() == (
        f'IMAGE_TAR_PATH="a b\\$c.tar"\ndigest="{done.digest}"\n'
    )
    assert (folder / "a b$c.tar").exists()


def test_an_archive_is_pushed_without_a_build(folder: Path) -> None:
    with LocalRegistry() as registry:
        dry = variables(registry, NO_PUSH="true", TAR_PATH="image.tar")
        built = run_plugin(dry, plugin="kaniko", backend=FakeBackend())
        assert registry.tags("acme/app") == ()
        only = variables(registry, PUSH_ONLY="true", SOURCE_TAR_PATH="image.tar")
        (folder / "Dockerfile").unlink()
        pushed = run_plugin(only, plugin="kaniko", backend=FakeBackend())
        assert set(registry.tags("acme/app")) == {"1.10", "latest"}
        assert len(pushed.references) == 2
        assert built.references == ()
        with pytest.raises(SpecError, match="PLUGIN_PUSH_ONLY"):
            BuildAndPushStep.from_plugin_env(only, plugin="kaniko")


def test_the_env_file_and_tags_file_are_read_and_set_variables_win(folder: Path) -> None:
    (folder / "more.env").write_text(
        "export PLUGIN_BUILD_ARGS='A=1'  # a comment\nPLUGIN_REPO=127.0.0.1:1/other/name\n"
    )
    (folder / ".tags").write_text("3,3.1")
    step = BuildAndPushStep.from_plugin_env(
        {"PLUGIN_REPO": "127.0.0.1:1/acme/app", "PLUGIN_ENV_FILE": "more.env"}
    )
    assert step.tags == ("3", "3.1")
    assert str(step.repo) == "127.0.0.1:1/acme/app"
    assert step.build_args == {"A": "1"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"A=1\nnot a variable " + CANARY.encode() + b"\n", "line 2"),
        (b"PLUGIN_REPO=" + b"\xff" + CANARY.encode(), "UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_env_file_is_an_error_that_quotes_none_of_it(
    content: bytes | None, fault: str, folder: Path
) -> None:
    if content is not None:
        (folder / "more.env").write_bytes(content)
    with pytest.raises(SpecError, match=fault) as caught:
        run_plugin({"PLUGIN_ENV_FILE": "more.env", "PLUGIN_REPO": "127.0.0.1:1/a/b"})
    assert CANARY not in caught.value.report()


def test_pulls_and_pushes_of_one_host_have_their_own_logins() -> None:
    environ = {
        "PLUGIN_REPO": "registry.example.com/acme/app",
        "PLUGIN_REGISTRY": "https://registry.example.com/v2/",
        "PLUGIN_USERNAME": "pusher",
        "PLUGIN_PASSWORD": CANARY,
        "PLUGIN_BASE_IMAGE_REGISTRY": "registry.example.com",
        "PLUGIN_BASE_IMAGE_USERNAME": "puller",
        "PLUGIN_BASE_IMAGE_PASSWORD": CANARY,
        "PLUGIN_TAGS": "1",
    }
    step = BuildAndPushStep.from_plugin_env(environ)
    repository = Repository.parse("registry.example.com/acme/app")
    found = {
        access: next(filter(None, (each.resolve(repository, access) for each in step.auth)))
        for access in ("pull", "push")
    }
    assert {access: each.username for access, each in found.items()} == {
        "pull": "puller",
        "push": "pusher",
    }
    assert CANARY not in repr(step)


def test_values_of_the_environment_given_reach_build_args_and_secrets() -> None:
    step = BuildAndPushStep.from_plugin_env(
        {
            "PLUGIN_REPO": "127.0.0.1:1/a/b",
            "PLUGIN_TAGS": "1",
            "PLUGIN_BUILD_ARGS_FROM_ENV": "VERSION",
            "VERSION": "7",
            "PLUGIN_SECRETS_FROM_ENV": "token=TOKEN",
            "TOKEN": CANARY,
        }
    )
    assert step.build_args["VERSION"] == "7"
    assert step.secrets["token"].get_secret_value() == CANARY  # type: ignore[union-attr]
    assert CANARY not in repr(step)


@pytest.mark.parametrize(
    ("plugin", "variable", "value"),
    [
        ("docker", "COSIGN_PRIVATE_KEY", CANARY),
        ("buildx", "BAKE_OPTIONS", "app;--progress=plain"),
    ],
)
def test_what_would_be_lost_is_refused_before_anything_is_pushed(
    plugin: str, variable: str, value: str
) -> None:
    with LocalRegistry() as registry:
        environ = variables(registry, **{variable: value})
        if plugin == "buildx":
            environ["PLUGIN_BAKE_FILE"] = "docker-bake.hcl"
        with pytest.raises(SpecError, match=f"PLUGIN_{variable}") as caught:
            run_plugin(environ, plugin=plugin)
        assert CANARY not in caught.value.report()
        assert registry.tags("acme/app") == ()


def test_what_is_left_out_is_said_while_it_runs() -> None:
    seen = RecordingSink()
    with LocalRegistry() as registry:
        environ = variables(registry, SNAPSHOT_MODE="redo", CACHE_DIR="/cache")
        done = run_plugin(environ, plugin="kaniko", backend=FakeBackend(), on_event=seen)
    said = "\n".join(str(getattr(event, "message", "")) for event in seen.events)
    assert "snapshot_mode" in said
    assert "PLUGIN_CACHE_DIR" in said
    assert any("PLUGIN_CACHE_DIR" in remark for remark in done.remarks)


def test_a_file_that_cannot_be_written_says_that_the_image_is_there(folder: Path) -> None:
    (folder / "file").write_text("")
    with LocalRegistry() as registry:
        environ = variables(registry, ARTIFACT_FILE="file/artifact.json")
        with pytest.raises(SpecError, match="PLUGIN_ARTIFACT_FILE") as caught:
            run_plugin(environ, backend=FakeBackend())
        assert set(registry.tags("acme/app")) == {"1.10", "latest"}
    assert "the image is there all the same: sha256:" in caught.value.report()


def test_a_refused_push_leaves_no_artifact_file(folder: Path) -> None:
    with LocalRegistry(auth="basic", users={"a": "b"}) as registry:
        environ = variables(registry, ARTIFACT_FILE="artifact.json")
        with pytest.raises(AuthError, match=registry.host):
            run_plugin(environ, backend=FakeBackend())
    assert not (folder / "artifact.json").exists()
