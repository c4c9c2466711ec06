"""The private client configuration: what of the user's is in it, and what is not."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.backends.engine import Endpoint, TlsFiles, buildx_plugin, client_folder, folder
from buildpush.events import Warned
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.testing import RecordingSink, snapshot_tree

NOBODY = {"buildpush.invalid": {}}


@pytest.fixture
def docker(environment: Environment) -> Path:
    """The user's ``~/.docker``."""
    path = environment.home / ".docker"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def run(tmp_path: Path, environment: Environment, sink: RecordingSink) -> Run:
    (tmp_path / "work").mkdir()
    return Run(
        workdir=tmp_path / "work",
        cancel=CancelToken(),
        sink=sink,
        environment=environment,
    )


def warnings(sink: RecordingSink) -> list[str]:
    return [event.message for event in sink.events if isinstance(event, Warned)]


def having(run: Run, **variables: str) -> Run:
    environment = run.environment
    return evolve(
        run, environment=evolve(environment, variables={**environment.variables, **variables})
    )


def config_of(run: Run, config: str = "{}") -> dict[str, Any]:
    with client_folder(run, config=config) as made:
        found: dict[str, Any] = json.loads((made.path / "config.json").read_text())
    return found


def test_without_anything_of_the_users(run: Run) -> None:
    """A config without logins, and nothing left when the block ends."""
    with client_folder(run, config="{}") as made:
        config = json.loads((made.path / "config.json").read_text())
        variables = made.variables

    assert config == {"auths": NOBODY}
    assert variables["DOCKER_CONFIG"] == str(made.path)
    assert variables["BUILDX_CONFIG"] == str(made.path / "buildx")
    assert list(run.workdir.iterdir()) == []


def test_only_the_given_logins(run: Run, docker: Path) -> None:
    """Of the user's config everything that is not a login stays."""
    kept = {
        "proxies": {"default": {"httpProxy": "http://proxy:1"}},
        "HttpHeaders": {"X-Meta": "1"},
        "currentContext": "ci",
        "plugins": {"debug": {"hooks": "exec"}},
        "features": {"buildkit": "true"},
        "aliases": {"builder": "buildx"},
        "cliPluginsExtraDirs": ["/opt/plugins"],
    }
    logins = {
        "auths": {"ghcr.io": {"auth": "dTpw"}},
        "credHelpers": {"gcr.io": "gcloud"},
        "credsStore": "desktop",
    }
    (docker / "config.json").write_text(json.dumps({**kept, **logins}))

    given = {"auths": {"r.example": {"auth": "eDp5"}}}

    assert config_of(run, json.dumps(given)) == {**kept, **given}


def test_a_config_without_logins_says_so(run: Run) -> None:
    """An empty one would make docker ask the desktop's password store."""
    assert config_of(run, '{"auths": {}}')["auths"] == NOBODY


def test_proxies_passwords_are_redacted(run: Run, docker: Path) -> None:
    """As written and as meant."""
    proxies = {"default": {"httpsProxy": "http://me:hunter%2122@proxy:1", "noProxy": "[x"}}
    (docker / "config.json").write_text(json.dumps({"proxies": proxies}))

    config_of(run)

    assert run.redact("hunter%2122 hunter!22") == "*** ***"


def test_only_this_user_can_look(run: Run, docker: Path) -> None:
    """Folders 0700 and files 0600, also what is copied."""
    (docker / "buildx" / "instances").mkdir(parents=True)
    (docker / "buildx" / "instances" / "ci").write_text("{}")
    (docker / "buildx" / "current").write_text("{}")

    with client_folder(run, config="{}") as made:
        found = {
            entry.relative_to(made.path).as_posix(): stat.S_IMODE(entry.stat().st_mode)
            for entry in (made.path, *made.path.rglob("*"))
        }

    assert found == {
        ".": 0o700,
        "config.json": 0o600,
        "buildx": 0o700,
        "buildx/.buildNodeID": 0o600,
        "buildx/current": 0o600,
        "buildx/instances": 0o700,
        "buildx/instances/ci": 0o600,
    }


def test_plugins_and_contexts_are_linked(run: Run, docker: Path) -> None:
    """They are read only."""
    for name in ("contexts", "cli-plugins"):
        (docker / name).mkdir()

    with client_folder(run, config="{}") as made:
        links = {name: (made.path / name).readlink() for name in ("contexts", "cli-plugins")}

    assert links == {name: docker / name for name in links}


def test_builders_are_copied(run: Run, docker: Path) -> None:
    """What buildx then writes does not reach the user's; its history stays where it is."""
    state = docker / "buildx"
    for name in ("instances/ci", "defaults/a", "activity/ci", "refs/ci/ci0/x", "certs/h/ca.pem"):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text(name)
    for name in ("current", ".buildNodeID", "buildkitd.default.toml", ".lock"):
        (state / name).write_text(name)
    before = snapshot_tree(docker)

    with client_folder(run, config="{}") as made:
        copy = made.path / "buildx"
        found = {
            p.relative_to(copy).as_posix(): p.read_text() for p in copy.rglob("*") if p.is_file()
        }
        for file in copy.rglob("*"):
            if file.is_file():
                file.write_text("changed")

    expected = ["instances/ci", "defaults/a", "activity/ci", "certs/h/ca.pem", "current",
                ".buildNodeID", "buildkitd.default.toml"]  # fmt: skip
    assert found == {name: name for name in expected}
    assert snapshot_tree(docker) == before


def test_builders_of_another_folder(run: Run, tmp_path: Path) -> None:
    """BUILDX_CONFIG says where, also relative to the current folder."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "current").write_text("mine")

    with client_folder(having(run, BUILDX_CONFIG="elsewhere"), config="{}") as made:
        assert (made.path / "buildx" / "current").read_text() == "mine"


def test_the_client_is_the_same_in_every_run(run: Run) -> None:
    """Else BuildKit would be sent the whole context by each."""
    found: list[str] = []
    for _ in range(2):
        with client_folder(run, config="{}") as made:
            found.append((made.path / "buildx" / ".buildNodeID").read_text())

    assert found[0] == found[1] != ""
    assert stat.S_IMODE((run.environment.cache / "buildx-node-id").stat().st_mode) == 0o600


def test_a_cache_folder_that_cannot_be_written_is_no_hindrance(run: Run, tmp_path: Path) -> None:
    """The client is a new one then."""
    environment = evolve(run.environment, cache=tmp_path / "file" / "cache")
    (tmp_path / "file").write_text("")

    with client_folder(evolve(run, environment=environment), config="{}") as made:
        assert len((made.path / "buildx" / ".buildNodeID").read_text()) == 16


def test_variables_that_hold_or_name_logins_are_gone(run: Run) -> None:
    """Everything else of the environment is passed on."""
    secret = having(
        run, DOCKER_AUTH_CONFIG="{}", REGISTRY_AUTH_FILE="/x", BUILDKIT_HOST="tcp://b:1"
    )

    with client_folder(secret, config="{}") as made:
        found = made.variables

    assert {"DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"} & found.keys() == set()
    assert (found["BUILDKIT_HOST"], found["LANG"]) == ("tcp://b:1", "C")
    assert "LANG" not in repr(made)


def test_the_folder_is_removed_when_the_command_fails(run: Run) -> None:
    """Its logins too."""
    with pytest.raises(ZeroDivisionError), client_folder(run, config="{}"):
        raise ZeroDivisionError

    assert list(run.workdir.iterdir()) == []


def test_a_folder_that_cannot_be_removed_is_said(
    run: Run, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since logins are in it; but the block's own error counts."""

    def refuse(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(folder.shutil, "rmtree", refuse)

    with pytest.raises(ZeroDivisionError), client_folder(run, config="{}"):
        raise ZeroDivisionError

    assert "could not be removed" in warnings(sink)[0]


def test_builders_that_cannot_be_read_are_a_warning(
    run: Run, sink: RecordingSink, docker: Path
) -> None:
    """A loop of links stands for another user's files."""
    (docker / "buildx" / "instances").mkdir(parents=True)
    (docker / "buildx" / "instances" / "ci").symlink_to("ci")
    (docker / "buildx" / "current").write_text("x")

    with client_folder(run, config="{}") as made:
        assert (made.path / "buildx" / "current").read_text() == "x"

    assert f"{docker}/buildx/instances/ci cannot be read" in warnings(sink)[0]


# --- the engine that is addressed ---


def test_the_users_own_engine(run: Run, docker: Path) -> None:
    """What names it stays; certificates are still found in the user's folder."""
    named = having(run, DOCKER_HOST="tcp://h:1", DOCKER_TLS_VERIFY="1")

    with client_folder(named, config="{}") as made:
        found = made.variables

    assert (found["DOCKER_HOST"], found["DOCKER_CERT_PATH"]) == ("tcp://h:1", str(docker))


def test_a_relative_certificate_folder(run: Run, tmp_path: Path) -> None:
    """The command may run in another folder."""
    named = having(run, DOCKER_TLS="1", DOCKER_CERT_PATH="certs")

    with client_folder(named, config="{}") as made:
        assert made.variables["DOCKER_CERT_PATH"] == str(tmp_path / "certs")


def test_a_context_is_named(run: Run) -> None:
    """And DOCKER_HOST, which would beat it, is gone."""
    endpoint = Endpoint(name="ci", host="unix:///x", context="ci")

    with client_folder(
        having(run, DOCKER_HOST="tcp://h:1"), config="{}", endpoint=endpoint
    ) as made:
        found = made.variables

    assert found["DOCKER_CONTEXT"] == "ci"
    assert "DOCKER_HOST" not in found


def test_an_address_without_a_context(run: Run, tmp_path: Path) -> None:
    """TLS files are linked under the names that docker looks for."""
    tls = TlsFiles(ca=tmp_path / "authority", cert=tmp_path / "c", key=tmp_path / "k")
    endpoint = Endpoint(name="argument", host="tcp://h:1", tls=tls)

    with client_folder(having(run, DOCKER_CONTEXT="ci"), config="{}", endpoint=endpoint) as made:
        found = made.variables
        certificates = Path(found["DOCKER_CERT_PATH"])
        links = {p.name: p.readlink() for p in certificates.iterdir()}

    assert (found["DOCKER_HOST"], found["DOCKER_TLS_VERIFY"]) == ("tcp://h:1", "1")
    assert "DOCKER_CONTEXT" not in found
    assert links == {"ca.pem": tls.ca, "cert.pem": tls.cert, "key.pem": tls.key}


def test_an_address_that_is_not_verified(run: Run) -> None:
    """DOCKER_TLS, and not DOCKER_TLS_VERIFY, which any value turns on."""
    endpoint = Endpoint(name="x", host="tcp://h:1", tls=TlsFiles(skip_verify=True))

    with client_folder(run, config="{}", endpoint=endpoint) as made:
        found = made.variables

    assert found["DOCKER_TLS"] == "1"
    assert "DOCKER_TLS_VERIFY" not in found


# --- the plugin ---


def put_plugin(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "docker-buildx"
    path.write_text("")
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Without this machine's own plugins."""
    monkeypatch.setattr(folder, "_SYSTEM_PLUGINS", ())
    return evolve(environment, variables={"PATH": str(environment.cwd / "bin")})


def test_no_plugin(nowhere: Environment) -> None:
    """Is no error: it may not be needed."""
    assert buildx_plugin(nowhere) is None


def test_where_a_plugin_is_found(
    nowhere: Environment, docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each place beats those before it, as for docker itself; PATH is the last resort."""
    places = [
        tmp_path / "bin",
        tmp_path / "system",
        docker / "cli-plugins",
        tmp_path / "elsewhere" / "cli-plugins",
        tmp_path / "extra",
    ]
    (tmp_path / "elsewhere").mkdir()
    config = {"cliPluginsExtraDirs": [str(tmp_path / "extra")]}
    (tmp_path / "elsewhere" / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(folder, "_SYSTEM_PLUGINS", (str(tmp_path / "system"),))
    variables = {**nowhere.variables, "DOCKER_CONFIG": str(tmp_path / "elsewhere")}
    environment = evolve(nowhere, variables=variables)

    found = [(put_plugin(place), buildx_plugin(environment)) for place in places]

    assert [put for put, _ in found] == [seen for _, seen in found]


def test_a_plugin_that_cannot_be_run_is_none(nowhere: Environment, docker: Path) -> None:
    """As docker ignores it."""
    put_plugin(docker / "cli-plugins").chmod(0o644)

    assert buildx_plugin(nowhere) is None


def test_the_usual_plugins_are_found_beside_another_config(
    run: Run, docker: Path, tmp_path: Path
) -> None:
    """With DOCKER_CONFIG elsewhere, ``~/.docker/cli-plugins`` is one more folder of plugins."""
    put_plugin(docker / "cli-plugins")

    config = config_of(having(run, DOCKER_CONFIG=str(tmp_path / "elsewhere")))

    assert config["cliPluginsExtraDirs"] == [str(docker / "cli-plugins")]
