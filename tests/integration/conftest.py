"""Real engines for integration tests: a registry, base images, and how to push those into it.

Nothing here uses buildpush: what it makes is evidence about buildpush.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import http.client
import io
import json
import os
import platform
import pwd
import re
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


# --- base images ---


@frozen(kw_only=True)
class BaseImage:
    """An image with one layer, as an OCI layout; *digest* names its manifest."""

    layout: Path
    digest: str

    def blob(self, digest: str) -> bytes:
        return (self.layout / "blobs" / digest.replace(":", "/")).read_bytes()

    @property
    def platform(self) -> dict[str, str]:
        """As an index names it."""
        config = json.loads(self.blob(json.loads(self.blob(self.digest))["config"]["digest"]))
        return {"os": config["os"], "architecture": config["architecture"]}

    def push(self, host: str, repository: str, tag: str = "latest") -> str:
        """Put it into an open registry at *host*; the reference's text."""
        data = self.blob(self.digest)
        manifest = json.loads(data)
        connection = http.client.HTTPConnection(host, timeout=60)
        try:
            for part in (manifest["config"], *manifest["layers"]):
                self._put_blob(connection, repository, part["digest"])
            path = f"/v2/{repository}/manifests/{tag}"
            _send(connection, "PUT", path, data, {"Content-Type": _MANIFEST}, expect=201)
        finally:
            connection.close()
        return f"{host}/{repository}:{tag}"

    def _put_blob(
        self, connection: http.client.HTTPConnection, repository: str, digest: str
    ) -> None:
        begin = f"/v2/{repository}/blobs/uploads/"
        place = _send(connection, "POST", begin, b"", {}, expect=202)
        target = re.sub(r"^https?://[^/]+", "", place)
        target += f"{'&' if '?' in target else '?'}digest={digest}"
        octets = {"Content-Type": "application/octet-stream"}
        _send(connection, "PUT", target, self.blob(digest), octets, expect=201)


@frozen(kw_only=True)
class BaseIndex:
    """The same image for several platforms."""

    images: tuple[BaseImage, ...]

    def push(self, host: str, repository: str, tag: str = "latest") -> str:
        """Put all of it into an open registry at *host*; the reference's text."""
        entries: list[dict[str, Any]] = []
        for image in self.images:
            image.push(host, repository, f"{tag}-{image.platform['architecture']}")
            size = len(image.blob(image.digest))
            entry = {"mediaType": _MANIFEST, "digest": image.digest, "size": size}
            entries.append({**entry, "platform": image.platform})
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}
        connection = http.client.HTTPConnection(host, timeout=60)
        try:
            path = f"/v2/{repository}/manifests/{tag}"
            data = json.dumps(index).encode()
            _send(connection, "PUT", path, data, {"Content-Type": _INDEX}, expect=201)
        finally:
            connection.close()
        return f"{host}/{repository}:{tag}"


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    *,
    expect: int,
) -> str:
    connection.request(method, path, body=body, headers=headers)
    response = connection.getresponse()
    said = response.read()
    assert response.status == expect, (method, path, response.status, said)
    return response.headers.get("Location", "")


def _write_layout(folder: Path, layer_tar: Path, machine: str = platform.machine()) -> str:
    """Make the layout *folder* of one layer and a plain config; the manifest's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    with layer_tar.open("rb") as file:
        diff_id = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    layer = put(gzip.compress(layer_tar.read_bytes(), 1, mtime=0), _LAYER)
    config = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/sh"],
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "a base image for tests"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": put(json.dumps(config).encode(), _CONFIG),
        "layers": [layer],
    }
    named = put(json.dumps(manifest).encode(), _MANIFEST)
    index = {"schemaVersion": 2, "manifests": [named]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    digest: str = named["digest"]
    return digest


_PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
app:x:1000:1000:app:/home/app:/bin/sh
"""
_GROUP = "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\napp:x:1000:\nextra:x:1001:app\n"
_FOLDERS = {"tmp": (0o1777, 0), "root": (0o700, 0), "home/app": (0o755, 1000)}


def _busybox_tar(busybox: Path, target: Path, *emulator: Path) -> None:
    applets = subprocess.run(
        [*emulator, busybox, "--list"], check=True, capture_output=True, text=True
    ).stdout.split()
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes, mode: int, body: bytes = b"", owner: int = 0) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size = kind, mode, len(body)
            info.uid = info.gid = owner
            archive.addfile(info, io.BytesIO(body))

        for name in ("bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "var"):
            add(name, tarfile.DIRTYPE, 0o755)
        for name, (mode, owner) in _FOLDERS.items():
            add(name, tarfile.DIRTYPE, mode, owner=owner)
        add("bin/busybox", tarfile.REGTYPE, 0o755, busybox.read_bytes())
        for applet in sorted(set(applets) - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            archive.addfile(link)
        add("etc/passwd", tarfile.REGTYPE, 0o644, _PASSWD.encode())
        add("etc/group", tarfile.REGTYPE, 0o644, _GROUP.encode())


@pytest.fixture(scope="session")
def busybox_base(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], None]
) -> BaseImage:
    """A base image of 2 MB: busybox, its applets, users root, daemon, nobody and app (1000)."""
    found = shutil.which("busybox")
    if found is None:
        missing("busybox-static (sh tests/provision.sh)")
    folder = tmp_path_factory.mktemp("busybox")
    _busybox_tar(Path(str(found)), folder / "layer.tar")
    layout = folder / "layout"
    return BaseImage(layout=layout, digest=_write_layout(layout, folder / "layer.tar"))


@pytest.fixture(scope="session")
def busybox_arm64_base(tmp_path_factory: pytest.TempPathFactory, foreign_arm64: Path) -> BaseImage:
    """`busybox_base` for arm64, on any machine."""
    folder = tmp_path_factory.mktemp("busybox-arm64")
    busybox, emulator = foreign_arm64 / "busybox", foreign_arm64 / "qemu-aarch64-static"
    _busybox_tar(busybox, folder / "layer.tar", emulator)
    layout = folder / "layout"
    digest = _write_layout(layout, folder / "layer.tar", "aarch64")
    return BaseImage(layout=layout, digest=digest)


@pytest.fixture(scope="session")
def two_platform_base(busybox_base: BaseImage, busybox_arm64_base: BaseImage) -> BaseIndex:
    """`busybox_base` for this machine and for arm64."""
    return BaseIndex(images=(busybox_base, busybox_arm64_base))


def _test_cache() -> Path:
    # Not $HOME: a test may have put another one there.
    default = Path(pwd.getpwuid(os.getuid()).pw_dir, ".cache", "buildpush-tests")
    return Path(os.environ.get("BUILDPUSH_TEST_CACHE") or default)


def _apt_sources(suite: str) -> str:
    """The machine's own apt sources for *suite*, so that no mirror is named in our files."""
    found: list[str] = []
    etc = Path("/etc/apt")
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            suites = re.search(r"^Suites:(.*)$", stanza, re.MULTILINE)
            if suites and {suite, f"{suite}-security"} & set(suites[1].split()):
                found.append(stanza.strip())
    lines = [*etc.glob("sources.list"), *etc.glob("sources.list.d/*.list")]
    for path in sorted(lines):
        for line in path.read_text().splitlines():
            words = re.sub(r"\[[^]]*\]", "", line).split()
            if words[:1] == ["deb"] and words[2:3] in ([suite], [f"{suite}-security"]):
                found.append(_as_stanza(line, words))
    return "\n\n".join(found) + "\n"


def _as_stanza(line: str, words: list[str]) -> str:
    signed = re.search(r"signed-by=([^\s\]]+)", line)
    stanza = f"Types: deb\nURIs: {words[1]}\nSuites: {words[2]}\nComponents: {' '.join(words[3:])}"
    return f"{stanza}\nSigned-By: {signed[1]}" if signed else stanza


@pytest.fixture(scope="session")
def debian_base(missing: Callable[[str], None]) -> BaseImage:
    """A minimal Debian of this machine's own release; made once, then kept in the test cache."""
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        missing("root and mmdebstrap (sh tests/provision.sh)")
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    cache = _test_cache()
    cache.mkdir(parents=True, exist_ok=True)
    layout = cache / f"debian-{suite}-{platform.machine()}-1"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not layout.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as work:
                said = _debootstrap(suite, Path(work))
                if said:
                    missing(f"a Debian mirror in the machine's apt sources; mmdebstrap: {said}")
                _write_layout(Path(work, "layout"), Path(work, "layer.tar"))
                Path(work, "layout").rename(layout)
    index = json.loads((layout / "index.json").read_text())
    return BaseImage(layout=layout, digest=index["manifests"][0]["digest"])


def _debootstrap(suite: str, work: Path) -> str:
    """Make layer.tar; empty, or what mmdebstrap last said when it failed."""
    sources = work / "machine.sources"
    sources.write_text(_apt_sources(suite))
    done = subprocess.run(
        ["mmdebstrap", "--variant=minbase", suite, work / "layer.tar", sources],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(work), "HOME": str(work)},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr.strip()[-300:]


# --- a real registry ---


@frozen(kw_only=True)
class DockerRegistry:
    """A running docker-registry: plain HTTP, no authentication, deleting enabled."""

    host: str
    folder: Path

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def reference(self, name: str) -> str:
        return f"{self.host}/{name}"


@pytest.fixture(scope="session")
def docker_registry(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], None]
) -> Iterator[DockerRegistry]:
    """Debian's docker-registry (Distribution) on a free loopback port, for the whole session."""
    if shutil.which("docker-registry") is None:
        missing("docker-registry (sh tests/provision.sh)")
    folder = tmp_path_factory.mktemp("docker-registry")
    process, port = _start_registry(folder)
    try:
        yield DockerRegistry(host=f"127.0.0.1:{port}", folder=folder)
    finally:
        process.terminate()
        process.wait(10)


def _start_registry(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(3):  # somebody else may take the free port first
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        config = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(folder / "data")},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        (folder / "config.yml").write_text(json.dumps(config))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["docker-registry", "serve", folder / "config.yml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), "OTEL_SDK_DISABLED": "true"},
            )
        if _answers(process, port):
            return process, port
    raise AssertionError((folder / "log").read_text()[-2000:])


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    while process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200
        except ConnectionError:
            # Not yet; the process's end, looked at next, bounds the loop.
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        finally:
            connection.close()
    return False


@pytest.fixture
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A repository path no other test uses."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"{name}/{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"
