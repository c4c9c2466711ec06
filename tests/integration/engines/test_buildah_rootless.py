"""Buildah by somebody who is not root: subordinate ids, chroot, and what is missing without them."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpush.testing import LocalRegistry

pytestmark = [pytest.mark.needs_buildah, pytest.mark.needs_userns]

PROGRAM = """
import json, sys
from buildpush import BuildAndPushStep
from buildpush.backends.buildah import BuildahBackend
from buildpush.errors import BuildpushError
asked, told = json.load(sys.stdin), {}
try:
    backend = BuildahBackend()
    told["remarks"] = backend.probe().remarks
    for _ in range(2):
        step = BuildAndPushStep(repo=asked["repo"], context=asked["context"], backend=backend)
        told["digest"] = str(step.run().digest)
except BuildpushError as error:
    told["error"], told["hint"] = str(error), error.hint
print(json.dumps(told))
"""


@pytest.fixture
def somebody(missing: Callable[[str], None]) -> Iterator[pwd.struct_passwd]:
    """An account without rights but with subordinate ids, for the time of one test."""
    name = f"bpbuild{os.getpid()}"
    for file in ("/etc/subuid", "/etc/subgid"):
        Path(file).touch()  # useradd gives ids where these are, and only there
    made = subprocess.run(
        ["/usr/sbin/useradd", "--create-home", "--shell", "/bin/sh", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        missing(f"useradd: {made.stderr}")
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["/usr/sbin/userdel", "--remove", name], capture_output=True, check=True)


def _open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


@pytest.fixture(scope="module")
def importable() -> Iterator[list[str]]:
    """Where any user finds buildpush and what it needs: copied when it lies in a private folder."""
    import buildpush

    folders = [Path(str(buildpush.__file__)).parents[1], *map(Path, filter(None, sys.path))]
    with tempfile.TemporaryDirectory(prefix="buildpush-importable-") as copies:
        Path(copies).chmod(0o755)
        found: list[str] = []
        for number, folder in enumerate(folder for folder in folders if folder.is_dir()):
            if _open_to_all(folder.resolve()):
                found.append(str(folder))
            elif folder.name in ("src", "site-packages"):
                skipped = shutil.ignore_patterns("__pycache__", "IPython", "jedi", "mypy*")
                found.append(
                    str(shutil.copytree(folder, Path(copies) / str(number), ignore=skipped))
                )
        yield found


def ask(
    user: pwd.struct_passwd, importable: list[str], *, path: str, repo: str, context: Path
) -> dict[str, Any]:
    """What PROGRAM told, run by *user*."""
    real = Path(sys.executable).resolve()
    system = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    done = subprocess.run(
        [
            *("/usr/bin/setpriv", *ids, "--inh-caps=-all"),
            *(sys.executable if _open_to_all(real.parent) else system, "-B", "-c"),
            textwrap.dedent(PROGRAM),
        ],
        input=json.dumps({"repo": repo, "context": str(context)}),
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": user.pw_dir, "PATH": path, "PYTHONPATH": ":".join(importable)},
        cwd="/",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def context(somebody: pwd.struct_passwd) -> Path:
    folder = Path(somebody.pw_dir) / "context"
    folder.mkdir()
    return folder


def test_a_user_with_subordinate_ids_builds(
    somebody: pwd.struct_passwd, importable: list[str], context: Path, busybox_base: Any
) -> None:
    """RUN as another user of the image, a file that belongs to it, and a push."""
    with LocalRegistry() as registry:
        base = busybox_base.push(registry.host, "base/busybox")
        dockerfile = f"FROM {base}\nRUN echo mine > /tmp/f && chown app /tmp/f && ls -n /tmp/f\n"
        (context / "Dockerfile").write_text(dockerfile)

        repo = registry.reference("acme/app")
        told = ask(somebody, importable, path="/usr/bin:/bin", repo=repo, context=context)

        assert told.get("error") is None
        assert told["digest"] == str(registry.digest("acme/app", "latest"))
        assert "rootless" in told["remarks"][1]
    storage = Path(somebody.pw_dir, ".local/share/containers/storage")
    assert list(storage.glob("*-containers/*/userdata")) == []


def test_a_user_without_them_is_told_what_is_missing(
    somebody: pwd.struct_passwd, importable: list[str], context: Path, busybox_base: Any
) -> None:
    """A base image with files of several users cannot be unpacked by one."""
    lines = Path("/etc/subuid").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(f"{somebody.pw_name}:")]
    Path("/etc/subuid").write_text("".join(f"{line}\n" for line in kept))
    with LocalRegistry() as registry:
        base = busybox_base.push(registry.host, "base/busybox")
        (context / "Dockerfile").write_text(f"FROM {base}\nCOPY Dockerfile /\n")

        repo = registry.reference("acme/app")
        told = ask(somebody, importable, path="/usr/bin:/bin", repo=repo, context=context)

    assert "no user namespaces" in told["error"]
    assert "/etc/subuid" in told["hint"]
