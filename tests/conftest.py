"""What every test gets: a clean environment, both event loops, no network, and honest skips."""

from __future__ import annotations

import ipaddress
import itertools
import os
import platform
import pwd
import shutil
import socket
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest_plugins = ("engine_fixtures", "docker_ways", "kaniko_fixtures", "guarded_registry")

_KEPT = ("BUILDPUSH_REQUIRE_ENGINES", "BUILDPUSH_TEST_CACHE", "BUILDPUSH_TEST_KANIKO")
_DROPPED = (
    *("DOCKER_", "REGISTRY_AUTH", "XDG_", "BUILDPUSH_", "BUILDKIT_", "PLUGIN_", "DRONE_"),
    *("BUILDX_", "BUILDAH_", "CONTAINERS_", "CONTAINER_HOST", "STORAGE_", "SSH_AUTH_SOCK"),
    *("CI_", "QUAY_", "HARBOR_", "JF_"),
    "KUBE",
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}

# marker -> what it needs, and how to get it
_NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "needs_root": (lambda: os.geteuid() == 0, "root (run the tests as root)"),
    "needs_registry": (
        lambda: shutil.which("docker-registry") is not None,
        "docker-registry (sh tests/provision.sh)",
    ),
    "needs_skopeo": (
        lambda: shutil.which("skopeo") is not None,
        "skopeo (sh tests/provision.sh)",
    ),
    "needs_git": (lambda: shutil.which("git") is not None, "git (sh tests/provision.sh)"),
    "needs_debian": (
        lambda: os.geteuid() == 0 and shutil.which("mmdebstrap") is not None,
        "root and mmdebstrap (sh tests/provision.sh)",
    ),
    "needs_docker": (
        lambda: os.geteuid() == 0 and (_newer_docker() / "usr/sbin/dockerd").is_file(),
        "root and two dockers (sh tests/provision.sh)",
    ),
    "needs_buildx": (
        lambda: os.geteuid() == 0 and (_newer_docker() / "usr/sbin/dockerd").is_file(),
        "root, dockerd and buildx (sh tests/provision.sh)",
    ),
    "needs_buildah": (
        lambda: os.geteuid() == 0 and shutil.which("buildah") is not None,
        "root and buildah (sh tests/provision.sh)",
    ),
    "needs_userns": (
        lambda: _user_namespaces(),
        "unprivileged user namespaces and newuidmap (sh tests/provision.sh)",
    ),
}


def _user_namespaces() -> bool:
    def number(path: str, default: str) -> int:
        file = Path(path)
        return int(file.read_text() if file.is_file() else default)

    return (
        shutil.which("newuidmap") is not None
        and number("/proc/sys/user/max_user_namespaces", "0") > 0
        and number("/proc/sys/kernel/unprivileged_userns_clone", "1") == 1
    )


def _engines() -> Path:
    """Where tests/provision.sh unpacks what is not installed."""
    # Not $HOME: a test may have put another one there.
    cache = Path(pwd.getpwuid(os.getuid()).pw_dir, ".cache", "buildpush-tests")
    return Path(os.environ.get("BUILDPUSH_TEST_CACHE") or cache, "engines")


def _newer_docker() -> Path:
    """The docker that is newer than the release's."""
    machine = platform.machine()
    return _engines() / f"docker-{_ARCHITECTURES.get(machine, machine)}"


def _missing(reason: str) -> None:
    """Skip; or fail, where BUILDPUSH_REQUIRE_ENGINES=1 promises that everything is there."""
    if os.environ.get("BUILDPUSH_REQUIRE_ENGINES") == "1":
        pytest.fail(f"missing here although required: {reason}", pytrace=False)
    pytest.skip(f"needs {reason}")


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """Call it with what is missing and how to get it: skips, or fails when engines are required."""
    return _missing


@pytest.fixture(scope="session")
def newer_docker() -> Path:
    """The folder that holds dockerd 28, its CLI, containerd and buildx below ``usr``."""
    found = _newer_docker()
    if os.geteuid() != 0 or not (found / "usr/sbin/dockerd").is_file():
        _missing("root and a newer docker (sh tests/provision.sh)")
    return found


@pytest.fixture(scope="session")
def foreign_arm64() -> Path:
    """The folder that holds ``busybox`` for arm64, and ``qemu-aarch64-static``, which runs it."""
    found = _engines() / "foreign-arm64"
    if not (found / "qemu-aarch64-static").is_file():
        _missing("programs for arm64 on another CPU (sh tests/provision.sh)")
    return found


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Honour the ``needs_…`` markers."""
    for marker, (present, reason) in _NEEDS.items():
        if item.get_closest_marker(marker) is not None and not present():
            _missing(reason)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every async test runs on both event loops."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("homes")
    numbers = itertools.count()
    # mktemp() per test would list its siblings each time; a counter does not.
    return (folder / str(number) for number in numbers)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, _homes: Iterator[Path]) -> None:
    """An empty home, a cache of its own, and none of the developer's settings."""
    home = next(_homes)
    home.mkdir(mode=0o700)
    for name in list(os.environ):
        if name.startswith(_DROPPED) and name not in _KEPT:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("BUILDPUSH_CACHE", str(home / "cache"))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts that have asked nobody for a pause yet.

    Ports are given out again, and made-up hosts have the same names in every test; the error that
    tells of a pause, which pytest keeps, keeps the pause.
    """
    monkeypatch.setattr("buildpush.http.ceiling._SHARED", weakref.WeakValueDictionary())


def _is_local(host: str | bytes | None) -> bool:
    text = host.decode() if isinstance(host, bytes) else host
    if not text or text == "localhost" or text.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside ``integration/``, only this machine can be spoken to."""
    if "integration" in request.node.path.parts:
        return
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not _is_local(address[0]):
            pytest.fail(f"a unit test tried to connect to {address[0]}")
        connect(self, address)  # type: ignore[arg-type]

    def guarded_resolve(host: str | bytes | None, *args: object, **kwargs: object) -> object:
        if not _is_local(host):
            pytest.fail(f"a unit test tried to look up {host!r}")
        return resolve(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)
