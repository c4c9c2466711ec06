"""Evidence that LocalRegistry is like a real one: a real client, and a real registry beside it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from buildpush.oci import Digest
from buildpush.testing import Dialect, LocalRegistry

PERMISSIONS = {"ci": [("team", "pull"), ("team", "push")], "reader": [("team", "pull")]}
USERS = {"ci": "ci-pass", "reader": "reader-pass"}


def skopeo(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["skopeo", "--insecure-policy", *argv], capture_output=True, text=True, check=False
    )


@pytest.fixture
def source(busybox_base: Any) -> str:
    """The busybox base as skopeo names it."""
    return f"oci:{busybox_base.layout}"


# --- skopeo against LocalRegistry ---


@pytest.mark.needs_skopeo
@pytest.mark.parametrize("auth", ["none", "basic", "token"])
@pytest.mark.parametrize("relative", [False, True])
def test_skopeo_pushes_and_pulls(
    busybox_base: Any, source: str, tmp_path: Path, auth: Any, relative: bool
) -> None:
    """The same bytes come back, as the user who was let in."""
    dialect = Dialect(locations="relative" if relative else "absolute")
    with LocalRegistry(
        auth=auth, users=USERS, permissions=PERMISSIONS, dialect=dialect
    ) as registry:
        name = f"docker://{registry.reference('team/app:1')}"
        pushed = skopeo("copy", "--dest-tls-verify=false", "--dest-creds=ci:ci-pass", source, name)
        back = f"oci:{tmp_path / 'back'}"
        pulled = skopeo(
            "copy", "--src-tls-verify=false", "--src-creds=reader:reader-pass", name, back
        )
        digest = registry.digest("team/app", "1")
        uploads = registry.uploads_open

    assert (pushed.returncode, pulled.returncode) == (0, 0), pushed.stderr + pulled.stderr
    assert str(digest) == busybox_base.digest
    assert uploads == 0
    index = json.loads((tmp_path / "back" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == busybox_base.digest


@pytest.mark.needs_skopeo
@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize(
    ("credentials", "said"), [("reader:reader-pass", "denied"), ("ci:wrong", "unauthorized")]
)
def test_skopeo_is_refused(source: str, auth: Any, credentials: str, said: str) -> None:
    """Who may only read is denied, who has the wrong password is not known."""
    with LocalRegistry(auth=auth, users=USERS, permissions=PERMISSIONS) as registry:
        name = f"docker://{registry.reference('team/app:1')}"
        done = skopeo(
            "copy", "--dest-tls-verify=false", f"--dest-creds={credentials}", source, name
        )
        tags = registry.tags("team/app")

    assert done.returncode == 1
    assert said in done.stderr
    assert tags == ()


@pytest.mark.needs_skopeo
@pytest.mark.needs_registry
def test_skopeo_copies_from_a_real_registry_into_ours_and_back(
    docker_registry: Any, local_registry: LocalRegistry, busybox_base: Any, repository: str
) -> None:
    """The digest survives."""
    busybox_base.push(docker_registry.host, repository)
    real, ours = (
        f"docker://{registry.reference(repository)}"
        for registry in (docker_registry, local_registry)
    )
    plain = ("copy", "--src-tls-verify=false", "--dest-tls-verify=false")

    there = skopeo(*plain, f"{real}:latest", f"{ours}:1")
    back = skopeo(*plain, f"{ours}:1", f"{real}:back")
    found = skopeo("inspect", "--tls-verify=false", f"{real}:back")

    assert (there.returncode, back.returncode) == (0, 0), there.stderr + back.stderr
    assert json.loads(found.stdout)["Digest"] == busybox_base.digest


@pytest.mark.needs_skopeo
def test_skopeo_mounts_deletes_and_lists(
    local_registry: LocalRegistry, busybox_base: Any, repository: str
) -> None:
    """What else a client may ask for."""
    name = f"docker://{busybox_base.push(local_registry.host, repository)}"
    again = f"docker://{local_registry.reference('elsewhere:1')}"
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")

    copied = skopeo("copy", *plain, name, again)
    listed = skopeo("list-tags", "--tls-verify=false", again.removesuffix(":1"))
    deleted = skopeo("delete", "--tls-verify=false", again)

    assert (copied.returncode, deleted.returncode) == (0, 0), copied.stderr + deleted.stderr
    assert json.loads(listed.stdout)["Tags"] == ["1"]
    assert local_registry.tags("elsewhere") == ()


# --- docker-registry beside LocalRegistry ---

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
OCTETS = {"Content-Type": "application/octet-stream"}
ABSENT = f"sha256:{'0' * 64}"
CONFIG = b'{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers"}}'
BLOB = b"0123456789"

Seen = tuple[str, int, tuple[str, ...], tuple[str, ...]]


def codes(response: httpx.Response) -> tuple[str, ...]:
    if response.status_code < 400 or not response.content.startswith(b"{"):
        return ()
    return tuple(error["code"] for error in response.json()["errors"])


class Conversation:
    """Sends requests and notes what matters of each answer."""

    def __init__(self, http: httpx.Client, repository: str) -> None:
        self.http = http
        self.path = f"/v2/{repository}"
        self.seen: list[Seen] = []

    def say(self, label: str, method: str, path: str, **settings: Any) -> httpx.Response:
        target = path if path.startswith("http") else f"{self.path}{path}"
        response = self.http.request(method, target, **settings)
        named = ["docker-content-digest", "content-range", "range"]
        # The length of content that has a name; that of JSON is anybody's choice.
        named += ["content-length"] * ("docker-content-digest" in response.headers)
        headers = tuple(
            f"{name}: {response.headers[name]}" for name in named if name in response.headers
        )
        self.seen.append((label, response.status_code, codes(response), headers))
        return response

    def begin(self) -> str:
        place: str = self.say("begin", "POST", "/blobs/uploads/").headers["location"]
        return place


def blobs(talk: Conversation) -> None:
    digest = Digest.of(BLOB)
    talk.say("absent blob", "GET", f"/blobs/{ABSENT}")
    talk.say("bad digest", "GET", "/blobs/sha256:short")
    place = talk.begin()
    talk.say("state of an upload", "GET", place)
    talk.say("put", "PUT", f"{place}&digest={digest}", content=BLOB, headers=OCTETS)
    talk.say("finished upload", "GET", place)
    talk.say("head", "HEAD", f"/blobs/{digest}")
    talk.say("get", "GET", f"/blobs/{digest}")
    # Past the end is left out: Distribution 2.8 announces a body there and sends none.
    for ranged in ("bytes=2-4", "bytes=7-", "bytes=-3"):
        talk.say(ranged, "GET", f"/blobs/{digest}", headers={"Range": ranged})
    place = talk.begin()
    talk.say("wrong digest", "PUT", f"{place}&digest={ABSENT}", content=BLOB, headers=OCTETS)
    place = talk.begin()
    talk.say("no digest", "PUT", place, content=BLOB, headers=OCTETS)
    place = talk.begin()
    patched = talk.say("patch", "PATCH", place, content=BLOB[:4], headers=OCTETS)
    place = patched.headers["location"]
    patched = talk.say("patch on", "PATCH", place, content=BLOB[4:], headers=OCTETS)
    talk.say("close", "PUT", f"{patched.headers['location']}&digest={digest}")
    place = talk.begin()
    talk.say("cancel", "DELETE", place)
    talk.say("cancelled", "GET", place)
    talk.say("lost state", "PUT", f"{talk.begin().partition('?')[0]}?digest={digest}")
    other = talk.path.removeprefix("/v2/")
    talk.say("mount", "POST", f"-two/blobs/uploads/?mount={digest}&from={other}")
    talk.say("mounted", "HEAD", f"-two/blobs/{digest}")
    talk.say("failing mount", "POST", f"-two/blobs/uploads/?mount={ABSENT}&from={other}")
    talk.say("delete", "DELETE", f"/blobs/{digest}")
    talk.say("deleted", "HEAD", f"/blobs/{digest}")
    talk.say("elsewhere", "HEAD", f"-two/blobs/{digest}")


def manifests(talk: Conversation) -> None:
    config = Digest.of(CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": str(config),
            "size": len(CONFIG),
        },
        "layers": [],
    }
    data = json.dumps(document).encode()
    digest = Digest.of(data)
    child = {"mediaType": MANIFEST, "digest": str(digest), "size": len(data)}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}).encode()
    typed, listed = {"Content-Type": MANIFEST}, {"Content-Type": INDEX}
    accept = {"Accept": f"{MANIFEST}, {INDEX}"}
    talk.say("no repository", "GET", "/tags/list")
    talk.say("no manifest", "GET", "/manifests/1", headers=accept)
    talk.say("blob missing", "PUT", "/manifests/1", content=data, headers=typed)
    place = talk.begin()
    talk.say("config", "PUT", f"{place}&digest={config}", content=CONFIG, headers=OCTETS)
    talk.say("child missing", "PUT", "/manifests/1", content=index, headers=listed)
    talk.say("by digest", "PUT", f"/manifests/{digest}", content=data, headers=typed)
    talk.say("wrong name", "PUT", f"/manifests/{ABSENT}", content=data, headers=typed)
    talk.say("not JSON", "PUT", "/manifests/1", content=b"{", headers=typed)
    talk.say("index", "PUT", "/manifests/1", content=index, headers=listed)
    talk.say("tag", "PUT", "/manifests/2", content=data, headers=typed)
    talk.say("get", "GET", "/manifests/1", headers=accept)
    talk.say("head", "HEAD", "/manifests/2", headers=accept)
    talk.say("other kind", "GET", "/manifests/1", headers={"Accept": "application/json"})
    talk.say("tags", "GET", "/tags/list")
    talk.say("delete", "DELETE", f"/manifests/{digest}")
    talk.say("deleted", "GET", "/manifests/2", headers=accept)
    talk.say("delete again", "DELETE", f"/manifests/{digest}")
    talk.say("no such thing", "GET", "/nothing")


@pytest.fixture
def clients(docker_registry: Any, local_registry: LocalRegistry) -> Iterator[list[httpx.Client]]:
    """One for docker-registry, one for LocalRegistry."""
    made = [
        httpx.Client(base_url=registry.url, verify=False, trust_env=False)
        for registry in (docker_registry, local_registry)
    ]
    yield made
    for client in made:
        client.close()


@pytest.mark.needs_registry
@pytest.mark.parametrize("script", [blobs, manifests])
def test_both_registries_answer_alike(
    clients: list[httpx.Client], repository: str, script: Callable[[Conversation], None]
) -> None:
    """Status, error codes and the headers a client acts on, for every request of a long talk."""
    real, ours = (Conversation(client, repository) for client in clients)

    script(real)
    script(ours)

    assert ours.seen == real.seen
