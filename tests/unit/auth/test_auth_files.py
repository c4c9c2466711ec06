"""config.json and auth.json: every spelling, the right order, and nothing quoted or written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from buildpush.auth import Chain, Credential, Keychain, StaticKeychain, trail
from buildpush.auth.files import (
    DockerConfigKeychain,
    ambient,
    ambient_files,
    docker_config,
)
from buildpush.errors import AuthError, CredentialConflictError
from buildpush.oci import ImageReference, Repository
from buildpush.runtime import Environment

HUB = ImageReference.parse("alpine").repository
GHCR = Repository("ghcr.io", "acme/app")


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[Mapping[str, str]], Environment]:
    """Make an environment whose home is a fresh folder."""
    (tmp_path / "home").mkdir()

    def make(variables: Mapping[str, str]) -> Environment:
        return Environment(
            variables=variables,
            uid=1000,
            gid=1000,
            home=tmp_path / "home",
            cwd=tmp_path,
            cache=tmp_path,
            temporary=tmp_path,
        )

    return make


Make = Callable[[Mapping[str, str]], Environment]
Config = Callable[[object], DockerConfigKeychain]


@pytest.fixture
def config(tmp_path: Path, environment: Make) -> Config:
    """Write a config file and open it."""

    def write(document: object) -> DockerConfigKeychain:
        path = tmp_path / "home" / ".docker" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return DockerConfigKeychain(path=path, environment=environment({}))

    return write


def user_of(keychain: Keychain, repository: Repository) -> str | None:
    found = keychain.resolve(repository, "pull")
    return None if found is None else found.username


@pytest.mark.parametrize(
    ("key", "repository"),
    [
        ("docker.io", HUB),
        ("index.docker.io", HUB),
        ("registry-1.docker.io", HUB),
        ("https://index.docker.io/v1/", HUB),
        ("https://index.docker.io/v2/", HUB),
        ("https://registry-1.docker.io/v2/", HUB),
        ("https://docker.io", HUB),
        ("ghcr.io", GHCR),
        ("GHCR.io", GHCR),
        ("ghcr.io/", GHCR),
        ("ghcr.io:443", GHCR),
        ("https://ghcr.io", GHCR),
        ("https://ghcr.io/", GHCR),
        ("https://ghcr.io/v1/", GHCR),
        ("https://ghcr.io/v2", GHCR),
        ("ghcr.io/acme", GHCR),
        ("ghcr.io/acme/app", GHCR),
        ("localhost:5000", Repository("localhost:5000", "a")),
        ("ghcr.io", Repository("ghcr.io:443", "a")),
    ],
)
def test_every_spelling_of_a_key_is_found(
    config: Config, key: str, repository: Repository
) -> None:
    """Docker, podman and people write the same registry in many ways."""
    keychain = config({"auths": {key: auth("ci", "word")}})

    assert keychain.resolve(repository, "push") == Credential(username="ci", password="word")


@pytest.mark.parametrize(
    ("key", "repository"),
    [
        ("ghcr.io/acme", Repository("ghcr.io", "acme-eu/app")),
        ("ghcr.io/acme/app", Repository("ghcr.io", "acme/other")),
        ("ghcr.io", Repository("sub.ghcr.io", "a")),
        ("localhost:5000", Repository("localhost:5001", "a")),
        ("quay.io", HUB),
    ],
)
def test_a_key_covers_no_neighbour(config: Config, key: str, repository: Repository) -> None:
    """Paths match in whole components, hosts exactly."""
    assert config({"auths": {key: auth("ci", "word")}}).resolve(repository, "pull") is None


def test_the_longest_key_wins_whatever_the_order(config: Config) -> None:
    """Two accounts on one host, as containers' auth.json allows."""
    auths = {
        "ghcr.io/acme/app": auth("app", "w"),
        "ghcr.io": auth("host", "w"),
        "ghcr.io/acme": auth("acme", "w"),
    }
    one, other = config({"auths": auths}), config({"auths": dict(reversed(auths.items()))})

    for keychain in (one, other):
        assert user_of(keychain, GHCR) == "app"
        assert user_of(keychain, Repository("ghcr.io", "acme/x")) == "acme"
        assert user_of(keychain, Repository("ghcr.io", "else/x")) == "host"


def test_a_plain_key_wins_over_a_url(config: Config) -> None:
    """Old tools leave an https:// entry behind that nobody renews."""
    auths = {"https://r.io": auth("stale", "w"), "r.io": auth("fresh", "w")}

    assert user_of(config({"auths": auths}), Repository("r.io", "a")) == "fresh"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (auth("ci", "pass:with:colons"), Credential(username="ci", password="pass:with:colons")),
        (auth("ci", "word\0\0"), Credential(username="ci", password="word")),
        ({"username": "ci", "password": "word"}, Credential(username="ci", password="word")),
        ({"identitytoken": "idt"}, Credential(identity_token="idt")),
        (
            {**auth("ci", ""), "identitytoken": "idt"},
            Credential(username="ci", identity_token="idt"),
        ),
        (auth("<token>", "idt"), Credential(identity_token="idt")),
        ({"registrytoken": "rt"}, Credential(registry_token="rt")),
        ({}, None),
        (None, None),
        ({"auth": ""}, None),
        ({"email": "a@b.c"}, None),
        (auth("ci", ""), None),
    ],
)
def test_every_form_of_an_entry_is_read(
    config: Config, entry: object, expected: Credential | None
) -> None:
    """Pairs, identity tokens, registry tokens; an empty entry is none."""
    assert config({"auths": {"r.io": entry}}).resolve(Repository("r.io", "a"), "pull") == expected


def test_a_credential_says_where_it_was_found(config: Config) -> None:
    """For messages; with the home folder as people write it."""
    found = config({"auths": {"r.io": auth("ci", "w")}}).resolve(Repository("r.io", "a"), "pull")

    assert found is not None and found.source == "~/.docker/config.json"


def test_a_file_that_is_not_there_knows_nothing(tmp_path: Path, environment: Make) -> None:
    """Nor does one whose folder is a file."""
    (tmp_path / "file").write_text("x")

    for path in (tmp_path / "none.json", tmp_path / "file" / "config.json"):
        keychain = DockerConfigKeychain(path=path, environment=environment({}))
        assert keychain.resolve(GHCR, "push") is None


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, environment: Make) -> None:
    """“Could not look” never means anonymous."""
    keychain = DockerConfigKeychain(path=tmp_path, environment=environment({}))

    with pytest.raises(AuthError, match="cannot be read: Is a directory"):
        keychain.resolve(GHCR, "pull")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"auths": {"r.io": {"auth": "s3cret"}', "is not JSON at line 1, column 38"),
        ("{auths: s3cret}", "is not JSON at line 1"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "the document"),
        ('{"auths": ["s3cret"]}', "auths: Input should be a valid dictionary"),
        ('{"auths": {"r.io": {"auth": ["s3cret"]}}}', r"auths\.r\.io\.auth: Input should be"),
        ('{"auths": {"r.io": {"auth": "s3cret!"}}}', r"auths\.r\.io\.auth is not base64"),
        ('{"auths": {"r.io": {"auth": "c2VjcmV0"}}}', r"auths\.r\.io\.auth is not user:password"),
        ('{"credHelpers": {"r.io": 7}}', r"credHelpers\.r\.io"),
    ],
)
def test_a_malformed_file_is_named_and_not_quoted(config: Config, text: str, fault: str) -> None:
    """The path and what is wrong, but no value."""
    with pytest.raises(AuthError, match=rf"^~/\.docker/config\.json .*{fault}") as caught:
        config(text).resolve(GHCR, "pull")

    assert "s3cret" not in caught.value.report()
    assert caught.value.__cause__ is None


def test_the_file_is_read_once_and_never_written(config: Config) -> None:
    """A run sees one state of the file, and leaves no trace in it."""
    keychain = config({"auths": {"r.io": auth("before", "w")}})
    repository = Repository("r.io", "a")
    keychain.resolve(repository, "pull")
    keychain.path.write_text("{broken")
    stamp = keychain.path.stat().st_mtime_ns

    assert user_of(keychain, repository) == "before"
    assert keychain.path.stat().st_mtime_ns == stamp


def test_a_keychains_repr_shows_no_secret(config: Config) -> None:
    """Before and after it has read its file."""
    keychain = config({"auths": {"r.io": auth("ci", "c4n4ry")}})
    keychain.resolve(Repository("r.io", "a"), "pull")

    assert "c4n4ry" not in repr(keychain)
    assert base64.b64encode(b"ci:c4n4ry").decode() not in repr(keychain)


def unheard(message: str) -> None:
    pytest.fail(message)


def put(path: Path, host: str, user: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": {host: auth(user, "w")}}))


def test_the_ambient_files_are_asked_in_order(tmp_path: Path, environment: Make) -> None:
    """DOCKER_AUTH_CONFIG, then docker's file, then containers'."""
    put(tmp_path / "home/.docker/config.json", "r.io/docker", "docker")
    put(tmp_path / "run/containers/auth.json", "r.io", "containers")
    text = json.dumps({"auths": {"r.io/variable": auth("variable", "w")}})
    variables = {"DOCKER_AUTH_CONFIG": text, "XDG_RUNTIME_DIR": str(tmp_path / "run")}

    keychain = ambient(environment(variables), unheard)

    users = [user_of(keychain, Repository("r.io", p)) for p in ("variable/a", "docker/a", "x")]
    assert users == ["variable", "docker", "containers"]
    assert keychain.resolve(Repository("q.io", "a"), "pull") is None
    found = keychain.resolve(Repository("r.io", "variable/a"), "pull")
    assert found is not None and found.source == "DOCKER_AUTH_CONFIG"


def test_docker_config_names_dockers_folder(tmp_path: Path, environment: Make) -> None:
    """Then the one in the home folder is not read."""
    put(tmp_path / "home/.docker/config.json", "r.io", "home")
    put(tmp_path / "other/config.json", "q.io", "other")

    keychain = ambient(environment({"DOCKER_CONFIG": str(tmp_path / "other")}), unheard)

    assert user_of(keychain, Repository("q.io", "a")) == "other"
    assert user_of(keychain, Repository("r.io", "a")) is None


def test_registry_auth_file_stands_alone(tmp_path: Path, environment: Make) -> None:
    """As for podman and skopeo: who names a file wants that file."""
    put(tmp_path / "home/.docker/config.json", "r.io", "home")
    put(tmp_path / "auth.json", "q.io", "file")

    keychain = ambient(environment({"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}), unheard)

    assert user_of(keychain, Repository("q.io", "a")) == "file"
    assert user_of(keychain, Repository("r.io", "a")) is None


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"XDG_RUNTIME_DIR": "run"}, "run/containers/auth.json"),
        ({"XDG_CONFIG_HOME": "settings"}, "settings/containers/auth.json"),
        ({}, "home/.config/containers/auth.json"),
    ],
)
def test_every_place_of_containers_is_looked_at(
    tmp_path: Path, environment: Make, variables: Mapping[str, str], place: str
) -> None:
    """The volatile one of Linux, and the one in the settings, which is macOS's."""
    put(tmp_path / place, "r.io", "podman")

    keychain = ambient(environment(variables), unheard)

    assert user_of(keychain, Repository("r.io", "a")) == "podman"


def test_without_a_runtime_folder_root_has_one_of_its_own(environment: Make) -> None:
    """Where podman writes as root."""
    places = [file.name for file in ambient_files(environment({}))]

    assert places == [
        "~/.docker/config.json",
        "/run/containers/1000/auth.json",
        "~/.config/containers/auth.json",
    ]


def test_a_named_file_that_does_not_exist_stops_a_push(tmp_path: Path, environment: Make) -> None:
    """Who names a file means it; a public image can still be pulled, with one warning."""
    variables = {"REGISTRY_AUTH_FILE": "gone/auth.json"}
    heard: list[str] = []
    keychain = ambient(environment(variables), heard.append)

    assert keychain.resolve(GHCR, "pull") is keychain.resolve(HUB, "pull") is None
    message = f"REGISTRY_AUTH_FILE names {tmp_path}/gone/auth.json, which does not exist"
    assert heard == [message]
    with pytest.raises(AuthError, match=rf"^{message}$"):
        keychain.resolve(GHCR, "push")


def test_a_helper_that_one_file_misses_may_be_another_files_entry(
    tmp_path: Path, environment: Make
) -> None:
    """A credsStore from a laptop beside a login by podman."""
    (tmp_path / "home/.docker").mkdir()
    (tmp_path / "home/.docker/config.json").write_text('{"credsStore": "desktop"}')
    put(tmp_path / "home/.config/containers/auth.json", "r.io", "podman")
    heard: list[str] = []

    keychain = ambient(environment({"PATH": ""}), heard.append)

    found = keychain.resolve(Repository("r.io", "a"), "push")
    assert found is not None and found.username == "podman"
    assert len(heard) == 1 and "docker-credential-desktop" in heard[0]
    assert [step.outcome for step in trail(keychain, Repository("r.io", "a"), "push")] == [
        "error",
        "miss",
        "hit",
    ]
    with pytest.raises(AuthError, match="docker-credential-desktop"):
        keychain.resolve(Repository("q.io", "a"), "push")


@pytest.mark.parametrize("key", ["auths", "credHelpers", "credsStore"])
def test_a_key_of_a_repository_is_more_exact_than_a_helper_for_its_host(
    config: Config, key: str
) -> None:
    """Who writes a path into a key means it."""
    document: dict[str, object] = {"auths": {"r.io/acme": auth("acme", "w")}}
    document |= {"credHelpers": {"r.io": "gone"}} if key == "credHelpers" else {}
    document |= {"credsStore": "gone"} if key == "credsStore" else {}

    assert user_of(config(document), Repository("r.io", "acme/a")) == "acme"


def lines(keychain: DockerConfigKeychain, repository: Repository) -> list[str]:
    return [str(step) for step in keychain.explain(repository, "push")]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"auths": {"https://r.io/v1/": auth("ci", "w")}}, ["auths.https://r.io/v1/: hit"]),
        ({}, ["auths: miss (neither r.io/acme/app nor r.io/acme nor r.io is a key)"]),
        (
            {"auths": {"r.io:5000": auth("ci", "w"), "q.io": auth("ci", "w")}},
            [
                (
                    "auths: miss (neither r.io/acme/app nor r.io/acme nor r.io is a key; r.io:5000"
                    " is one)"
                )
            ],
        ),
        (
            {"auths": {"r.io/acme-eu": auth("ci", "w"), "r.io": {}}},
            [
                "auths.r.io/acme-eu: miss (it does not cover r.io/acme/app)",
                "auths.r.io: miss (the entry is empty)",
            ],
        ),
        (
            {"credsStore": "gone", "auths": {"r.io": auth("ci", "w")}},
            ["credsStore: miss (docker-credential-gone is not on PATH)", "auths.r.io: hit"],
        ),
        (
            {"credHelpers": {"r.io": "gone"}},
            [
                (
                    "credHelpers.r.io: error (~/.docker/config.json names the credential helper"
                    " docker-credential-gone, which is not on PATH)"
                )
            ],
        ),
    ],
)
def test_a_file_says_which_keys_it_was_asked_for(
    config: Config, document: object, expected: list[str]
) -> None:
    """Every key that was tried, and why it will not do."""
    told = lines(config(document), Repository("r.io", "acme/app"))

    assert told == [f"~/.docker/config.json, {line}" for line in expected]


def test_a_file_that_is_none_or_broken_says_so(config: Config, environment: Make) -> None:
    """One line each."""
    gone = DockerConfigKeychain(path=Path("/nowhere/config.json"), environment=environment({}))

    assert lines(gone, GHCR) == ["/nowhere/config.json: miss (no such file)"]
    assert lines(config("{"), GHCR) == [
        "~/.docker/config.json: error (~/.docker/config.json is not JSON at line 1, column 2)"
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"auths": {"q.io": auth("ci", "w")}}, False),
        ({"auths": {"r.io/else": auth("ci", "w")}}, True),
        ({"auths": {"r.io": {}}}, True),
        ({"credHelpers": {"q.io": "gone"}}, False),
        ({"credHelpers": {"r.io": "gone"}}, True),
    ],
)
def test_a_file_says_whether_it_should_have_known(
    config: Config, document: object, expected: bool
) -> None:
    """What is set up for a host and has nothing is not the same as knowing nothing."""
    asked = trail(config(document), Repository("r.io", "acme/app"), "push")

    assert [step.outcome for step in asked] != ["hit"]
    assert any(step.expected for step in asked) == expected


def only(prefix: str, **fields: str) -> StaticKeychain:
    return StaticKeychain(prefix=prefix, credential=Credential(**fields))


def test_a_docker_config_holds_what_is_wanted_and_nothing_else() -> None:
    """Docker's own spelling of the Hub; tokens in their own fields; anonymous hosts left out."""
    keychain = Chain(
        (
            only("docker.io", username="hub", password="w"),
            only("acr.io", identity_token="idt"),
            only("gar.io", registry_token="rt"),
            only("unused.io", username="x", password="y"),
        )
    )

    text = docker_config(
        keychain,
        [
            (HUB, "pull"),
            (HUB, "push"),
            (Repository("acr.io", "a"), "pull"),
            (Repository("gar.io", "a"), "push"),
            (Repository("open.io", "a"), "pull"),
        ],
    )

    assert json.loads(text) == {
        "auths": {
            "acr.io": {"identitytoken": "idt"},
            "https://index.docker.io/v1/": auth("hub", "w"),
            "gar.io": {"registrytoken": "rt"},
        }
    }


def test_two_credentials_for_one_host_do_not_fit() -> None:
    """Better no file than one where the last writer wins."""
    keychain = Chain(
        (
            only("r.io/base", username="a", password="w"),
            only("r.io/app", username="b", password="w"),
        )
    )
    wants = [(Repository("r.io", "base"), "pull"), (Repository("r.io", "app"), "push")]

    with pytest.raises(CredentialConflictError, match=r"r\.io"):
        docker_config(keychain, wants)  # type: ignore[arg-type]
