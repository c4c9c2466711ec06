"""What is promised of credentials: the right one, for the right repository, seen by nobody."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import buildpush
from buildpush import BuildAndPushStep, Credential, StaticKeychain
from buildpush.auth import Chain, Keychain
from buildpush.auth.files import ambient
from buildpush.errors import AuthError
from buildpush.oci import Digest, Repository
from buildpush.oci.wire import Descriptor, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import LocalRegistry, RecordingSink
from buildpush.testing.canaries import find_secrets

QUICK = RetryPolicy(attempts=2, first_wait=0.001, longest_wait=0.002)
ClientOf = Callable[[Keychain], RegistryClient]
CANARY = "c4n4ry-of-a-password"
USERS = {"base": "b-word", "app": "a-word", "cache": "c-word"}
PERMISSIONS = {
    "base": [("base", "pull")],
    "app": [("app", "pull"), ("app", "push")],
    "cache": [("cache", "pull"), ("cache", "push")],
}


@pytest.fixture
def client_of(tmp_path: Path) -> Iterator[ClientOf]:
    """Make a client, closed at the end, whose run hears nothing."""
    made: list[RegistryClient] = []

    def make(keychain: Keychain) -> RegistryClient:
        run = Run(workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink())
        made.append(RegistryClient(keychain, run, policy=QUICK))
        return made[-1]

    yield make
    for client in made:
        client.close()


def entry(user: str, word: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{word}".encode()).decode()}


def home_file(document: object, name: str = ".docker/config.json") -> Path:
    path = Path(os.environ["HOME"], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def signed_in(warn: Callable[[str], None] = pytest.fail) -> Keychain:
    return ambient(Environment.current(), warn)


def put(client: RegistryClient, repository: Repository, data: bytes) -> None:
    """Push one blob."""
    descriptor = Descriptor(media_type=MediaType.OCI_LAYER, digest=Digest.of(data), size=len(data))
    client.put_blob(repository, descriptor, lambda: iter((data,)))


def get(client: RegistryClient, repository: Repository, digest: Digest) -> bytes:
    descriptor = Descriptor(media_type=MediaType.OCI_LAYER, digest=digest, size=4)
    with client.get_blob(repository, descriptor) as body:
        return b"".join(body)


def principals(registry: LocalRegistry, method: str, path: str) -> set[str]:
    """Who did what with success."""
    return {
        r.principal
        for r in registry.requests
        if r.method == method and f"/v2/{path}/" in r.path and r.status < 400
    }


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("given", ["auth.json", "config.json", "arguments"])
def test_three_accounts_on_one_host_never_cross(
    client_of: ClientOf, given: str, backwards: bool
) -> None:
    """The base image, the image and the cache each as their own, whatever comes first."""
    with LocalRegistry(auth="token", users=USERS, permissions=PERMISSIONS) as registry:
        base = registry.add_blob("base", b"base")
        names = list(reversed(USERS)) if backwards else list(USERS)
        keys = {name: f"{registry.host}/{name}" for name in names}
        if given == "arguments":
            keychain: Keychain = Chain(
                tuple(
                    StaticKeychain(
                        prefix=key, credential=Credential(username=name, password=USERS[name])
                    )
                    for name, key in keys.items()
                )
            )
        else:
            place = ".config/containers/auth.json" if given == "auth.json" else None
            document = {"auths": {key: entry(name, USERS[name]) for name, key in keys.items()}}
            home_file(document, *filter(None, (place,)))
            keychain = signed_in()
        client = client_of(keychain)

        data = get(client, Repository(registry.host, "base"), base)
        put(client, Repository(registry.host, "app"), b"app layer")
        put(client, Repository(registry.host, "cache"), b"cache layer")

        assert data == b"base"
        assert principals(registry, "GET", "base") == {"base"}
        assert principals(registry, "PUT", "app") == {"app"}
        assert principals(registry, "PUT", "cache") == {"cache"}
        for path, owner in (("base", "base"), ("app", "app"), ("cache", "cache")):
            seen = {r.principal for r in registry.requests if f"/v2/{path}/" in r.path}
            assert seen <= {owner, ""}


def test_a_step_pulls_its_base_as_one_account_and_pushes_as_another(tmp_path: Path) -> None:
    """A whole run, with both in one file by repository."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    with LocalRegistry(auth="token", users=USERS, permissions=PERMISSIONS) as registry:
        tag = _base_image(registry)
        (tmp_path / "Dockerfile").write_text(f"FROM {tag}\nCOPY Dockerfile /\n")
        auths = {f"{registry.host}/{name}": entry(name, USERS[name]) for name in ("app", "base")}
        config = home_file({"auths": auths})
        before = (config.read_bytes(), config.stat().st_mtime_ns)

        BuildAndPushStep(repo=f"{registry.host}/app", context=tmp_path, backend="native").run()

        assert principals(registry, "GET", "base") == {"base"}
        assert principals(registry, "PUT", "app") == {"app"}
        assert (config.read_bytes(), config.stat().st_mtime_ns) == before


def _base_image(registry: LocalRegistry) -> str:
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    ).encode()
    registry.add_blob("base", config)
    manifest = dump(
        Manifest(
            media_type=MediaType.OCI_MANIFEST,
            config=Descriptor(
                media_type=MediaType.OCI_CONFIG, digest=Digest.of(config), size=len(config)
            ),
            layers=(),
        )
    )
    registry.add_manifest("base", manifest, MediaType.OCI_MANIFEST, tag="1")
    return registry.reference("base:1")


@pytest.mark.parametrize(
    "key",
    ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"],
)
@pytest.mark.parametrize("name", ["alpine", "docker.io/library/alpine", "index.docker.io/a/b"])
def test_every_name_of_docker_hub_is_one_registry(key: str, name: str) -> None:
    """Whichever of them a tool wrote, and whichever of them a reference says."""
    home_file({"auths": {key: entry("hub", "word")}})

    explanation = buildpush.explain(name, "pull")

    assert str(explanation.asked[-1]) == f"~/.docker/config.json, auths.{key}: hit"


@pytest.mark.parametrize(
    "key", ["{}", "https://{}", "http://{}", "{}/", "https://{}/v1/", "{}/v2/"]
)
def test_every_spelling_of_a_host_pushes(client_of: ClientOf, key: str) -> None:
    """The very same request is made."""
    with LocalRegistry(auth="token", users={"ci": "word"}) as registry:
        home_file({"auths": {key.format(registry.host): entry("ci", "word")}})

        put(client_of(signed_in()), Repository(registry.host, "app"), b"layer")

        assert principals(registry, "PUT", "app") == {"ci"}


@pytest.mark.parametrize("key", ["r.example", "https://r.example", "r.example:443", "r.example/"])
@pytest.mark.parametrize("name", ["r.example/app", "r.example:443/app"])
def test_the_default_port_makes_no_other_host(key: str, name: str) -> None:
    """Of a key and of a reference."""
    home_file({"auths": {key: entry("ci", "word")}})

    assert buildpush.explain(name).kind == "a user name and a password"


def test_a_broken_file_is_an_error_with_its_line_and_column(client_of: ClientOf) -> None:
    """Never an anonymous request that only looks like a wrong password."""
    path = home_file('{\n  "auths": {\n    "r.io": {"auth": ' + CANARY + "}\n  }\n}\n")
    with LocalRegistry(auth="token", users={"ci": "word"}) as registry:
        with pytest.raises(AuthError) as caught:
            put(client_of(signed_in()), Repository(registry.host, "app"), b"layer")

        assert caught.value.message == "~/.docker/config.json is not JSON at line 3, column 22"
        assert find_secrets([CANARY], caught.value.report()) == ()
        assert {r.principal for r in registry.requests} == {""}
        assert {r.method for r in registry.requests} <= {"GET", "HEAD", "POST"}
        assert registry.uploads_open == 0
    assert path.exists()


def helper(folder: Path, name: str, script: str) -> Path:
    """Install a credential helper that notes how it was started; the file with its notes."""
    program = folder / "bin" / f"docker-credential-{name}"
    program.parent.mkdir(exist_ok=True)
    notes = folder / f"{name}.notes"
    program.write_text(f'#!/bin/sh\nread server\necho "$0 $* <$server" >>{notes}\n{script}\n')
    program.chmod(0o755)
    return notes


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose bin is on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def answer(user: str, secret: str) -> str:
    return f"echo '{json.dumps({'ServerURL': 'x', 'Username': user, 'Secret': secret})}'"


def test_without_its_helper_a_public_image_is_pulled_and_a_push_says_what_is_missing(
    client_of: ClientOf, path: Path
) -> None:
    """A config copied from a laptop: one warning; then the program, the file and the PATH."""
    home_file({"credsStore": "desktop"})
    heard: list[str] = []
    with LocalRegistry(auth="token", users={"ci": "word"}, anonymous_pull=True) as registry:
        digest = registry.add_blob("public", b"blob")
        other = registry.add_blob("other", b"blob")
        client = client_of(signed_in(heard.append))

        pulled = get(client, Repository(registry.host, "public"), digest)
        again = get(client, Repository(registry.host, "other"), other)
        with pytest.raises(AuthError) as caught:
            put(client, Repository(registry.host, "public"), b"layer")

    assert pulled == again == b"blob"
    assert len(heard) == 1
    assert "docker-credential-desktop" in heard[0] and "~/.docker/config.json" in heard[0]
    assert heard[0] in caught.value.message
    assert os.environ["PATH"] in caught.value.hint


def test_only_the_helper_of_the_host_is_run_and_only_once(client_of: ClientOf, path: Path) -> None:
    """However many blobs and repositories want to know, from however many threads."""
    mine = helper(path, "mine", answer("ci", "word"))
    others = [helper(path, name, "sleep 60") for name in ("store", "other")]
    with LocalRegistry(auth="token", users={"ci": "word"}) as registry:
        home_file({"credsStore": "store", "credHelpers": {registry.host: "mine", "q.io": "other"}})
        client = client_of(signed_in())

        with ThreadPoolExecutor(8) as pool:
            pushes = [
                pool.submit(put, client, Repository(registry.host, f"app-{n % 4}"), b"%d" % n)
                for n in range(16)
            ]
            for push in pushes:
                push.result()

        assert mine.read_text() == (f"{path}/bin/docker-credential-mine get <{registry.host}\n")
        assert not any(notes.exists() for notes in others)


def test_an_empty_entry_beside_a_store_is_looked_up_in_the_store(
    client_of: ClientOf, path: Path
) -> None:
    """That is what docker login leaves in the file."""
    helper(path, "desktop", answer("ci", "word"))
    with LocalRegistry(auth="basic", users={"ci": "word"}) as registry:
        home_file({"auths": {registry.host: {}}, "credsStore": "desktop"})

        put(client_of(signed_in()), Repository(registry.host, "app"), b"layer")

        assert principals(registry, "PUT", "app") == {"ci"}


def test_a_helper_that_knows_nothing_is_not_one_that_crashed(
    client_of: ClientOf, path: Path
) -> None:
    """The first is a public pull; the second stops even that."""
    helper(path, "empty", "echo 'credentials not found in native keychain'; exit 1")
    helper(path, "crashed", "echo 'the keyring is locked' ; exit 1")
    with LocalRegistry(auth="token", users={"ci": "word"}, anonymous_pull=True) as registry:
        digest = registry.add_blob("public", b"blob")
        repository = Repository(registry.host, "public")

        home_file({"credsStore": "empty"})
        assert get(client_of(signed_in()), repository, digest) == b"blob"
        home_file({"credsStore": "crashed"})
        with pytest.raises(AuthError, match=r"failed .* exit code 1: the keyring is locked"):
            get(client_of(signed_in()), repository, digest)


def test_fifty_accounts_at_once_each_get_their_own_and_the_file_stays_as_it_is(
    tmp_path: Path,
) -> None:
    """In parallel, half of them from a file that everybody shares."""
    users = {f"user-{n}": f"word-{n}" for n in range(50)}
    permissions = {user: [(user, "push"), (user, "pull")] for user in users}
    with LocalRegistry(auth="token", users=users, permissions=permissions) as registry:
        auths = {f"{registry.host}/{user}": entry(user, word) for user, word in users.items()}
        config = home_file({"auths": auths})
        os.utime(config, ns=(1_000_000_007, 1_000_000_007))
        before = (config.read_bytes(), config.stat().st_mtime_ns)

        def push(user: str) -> None:
            own = StaticKeychain(
                prefix=f"{registry.host}/{user}",
                credential=Credential(username=user, password=users[user]),
            )
            keychain = own if int(user.rpartition("-")[2]) % 2 else signed_in()
            run = Run(workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink())
            with RegistryClient(keychain, run, policy=QUICK) as client:
                put(client, Repository(registry.host, f"{user}/app"), user.encode())

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(push, users))

        seen = {
            (r.path.split("/")[2], r.principal)
            for r in registry.requests
            if r.path.startswith("/v2/user-") and r.principal
        }
        assert seen == {(user, user) for user in users}
        assert (config.read_bytes(), config.stat().st_mtime_ns) == before


@pytest.mark.parametrize("else_", ["another repository", "an empty entry", "a helper"])
def test_nothing_is_pushed_anonymously_where_an_account_was_set_up(
    client_of: ClientOf, path: Path, else_: str
) -> None:
    """The error lists what was asked; the registry gets no anonymous request for a token."""
    helper(path, "empty", "echo 'credentials not found in native keychain'; exit 1")
    with LocalRegistry(auth="token", users={"ci": "word"}) as registry:
        documents: Mapping[str, object] = {
            "another repository": {"auths": {f"{registry.host}/other": entry("ci", "word")}},
            "an empty entry": {"auths": {registry.host: {}}},
            "a helper": {"credHelpers": {registry.host: "empty"}},
        }
        home_file(documents[else_])

        with pytest.raises(AuthError) as caught:
            put(client_of(signed_in()), Repository(registry.host, "app"), b"layer")

        assert "~/.docker/config.json" in caught.value.report()
        assert not [r for r in registry.requests if r.path == "/token"]
        assert registry.uploads_open == 0 and registry.repositories == ()
