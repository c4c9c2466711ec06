"""Files as podman's own library writes them, read by us, against a registry with a password."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from guarded_registry import Secured, secured

import buildpush
from buildpush.auth.files import ambient
from buildpush.errors import AuthError
from buildpush.http.trust import Certificates
from buildpush.oci import Digest, Repository
from buildpush.oci.wire import Descriptor, MediaType
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Environment, Run

__all__ = ["secured"]

pytestmark = [pytest.mark.needs_registry, pytest.mark.needs_skopeo]
LAYER = b"a layer"


def log_in(server: Secured, key: str, file: Path | None, password: str = "secret") -> int:
    """``skopeo login`` to *key*, which it verifies at the registry."""
    argv = ["skopeo", "login", "--username", "ci", "--password-stdin"]
    argv += [f"--cert-dir={server.authority.parent / 'trusted'}"]
    argv += [f"--authfile={file}"] if file else []
    done = subprocess.run([*argv, key], input=password, text=True, capture_output=True)
    return done.returncode


@pytest.fixture
def server(secured: Secured) -> Secured:
    """The registry, trusted by skopeo."""
    folder = secured.authority.parent / "trusted"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(secured.authority.read_bytes())
    return secured


def push(server: Secured, path: str, folder: Path) -> None:
    environment = Environment.current()
    run = Run(workdir=folder, cancel=CancelToken(), sink=lambda _: None, environment=environment)
    layer = Descriptor(media_type=MediaType.OCI_LAYER, digest=Digest.of(LAYER), size=len(LAYER))
    certificates = {server.host: Certificates(ca=server.authority)}
    keychain = ambient(environment, pytest.fail)
    with RegistryClient(keychain, run, certificates=certificates) as client:
        client.put_blob(Repository(server.host, path), layer, lambda: iter((LAYER,)))


@pytest.mark.parametrize("key", ["{}", "{}/acme", "{}/acme/app"])
@pytest.mark.parametrize("place", ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"])
def test_a_login_by_skopeo_is_one_for_us(
    server: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, place: str
) -> None:
    """For a host, a part of it or one repository, in every place."""
    file = tmp_path / "containers" / "auth.json"
    file.parent.mkdir()
    monkeypatch.setenv(place, str(file if place == "REGISTRY_AUTH_FILE" else tmp_path))
    key = key.format(server.host)
    assert log_in(server, key, file) == 0
    before = (file.read_bytes(), file.stat().st_mtime_ns)

    push(server, "acme/app", tmp_path)

    explanation = buildpush.explain(f"{server.host}/acme/app")
    assert explanation.asked[-1].key == f"auths.{key}"
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_a_login_for_another_repository_is_none_and_nothing_is_pushed(
    server: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither with that account nor with none."""
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert log_in(server, f"{server.host}/acme", tmp_path / "auth.json") == 0

    with pytest.raises(AuthError, match="nothing is pushed there anonymously") as caught:
        push(server, "acme-eu/app", tmp_path)

    assert f"auths.{server.host}/acme: miss" in caught.value.report()


def test_a_password_that_is_wrong_is_refused_with_its_source(
    server: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's own answer, and where the credential was found."""
    file = tmp_path / "auth.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    assert log_in(server, server.host, file, "wrong-word") != 0
    file.write_text(
        f'{{"auths": {{"{server.host}": {{"username": "ci", "password": "wrong-word"}}}}}}'
    )

    with pytest.raises(AuthError, match=os.fspath(file)) as caught:
        push(server, "acme/app", tmp_path)

    assert "wrong-word" not in caught.value.report()
