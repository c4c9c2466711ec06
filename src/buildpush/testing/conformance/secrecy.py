"""Secrecy: what is secret is used, and seen by nobody else."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from ...auth import Credential, StaticKeychain
from ...plan import Feature
from ...runtime import Environment
from ..canaries import find_secrets
from ..registry import LocalRegistry
from ..snapshots import FileState, snapshot_tree
from .workbench import Workbench

__all__ = ["SecrecyTests", "Watcher"]

_PAUSE: Final = 0.01
_OTHERS: Final = 0o044
_USER: Final = "robot"
_USING: Final = (
    "FROM $BASE\nRUN --mount=type=secret,id=token cat /run/secrets/token"
    " && sha256sum </run/secrets/token >/sum && sleep 1\n"
)
_TELLING: Final = "FROM $BASE\nRUN --mount=type=secret,id=token cat /run/secrets/token; exit 7\n"


@define(eq=False)
class Watcher:
    """Looks around while a build runs: at every command line, and at files others may read.

    *leaks* says where one of *needles* was seen, never the needle.
    """

    needles: tuple[str, ...]
    folder: Path
    leaks: set[str] = field(factory=set[str], init=False)
    looks: int = field(default=0, init=False)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Look every few milliseconds until the block ends."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(_PAUSE):
                self.look()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def look(self) -> None:
        """Look once."""
        self.looks += 1
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            self._search(entry, f"argv of {entry.parent.name}")
        for path, readable in _open_to_others(self.folder):
            if readable:
                self._search(path, str(path))

    def _search(self, path: Path, where: str) -> None:
        try:
            data = path.read_bytes()
        except OSError:
            return  # gone meanwhile
        if any(needle.encode() in data for needle in self.needles):
            self.leaks.add(where)


def _open_to_others(folder: Path) -> Iterator[tuple[Path, bool]]:
    """The files below *folder* that another user could get at: no closed folder is on the way."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for path in entries:
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if path.is_symlink():
            continue
        if path.is_dir():
            if mode & 0o011:
                yield from _open_to_others(path)
        elif path.is_file():
            yield path, bool(mode & _OTHERS)


class SecrecyTests:
    """Part of `BackendConformance`."""

    def test_build_secrets_are_used_and_nowhere_else(self, bench: Workbench) -> None:
        """Not in events, arguments, layers, manifests, the cache, or files of others."""
        secret = _canary()
        if bench.refuses(Feature.SECRETS, _USING, secrets={"token": secret}):
            return
        watcher = Watcher((secret,), bench.temporary)

        with watcher.watching():
            built = bench.build(_USING, secrets={"token": secret})

        assert watcher.leaks == set() and watcher.looks > 1
        said = repr(built.sink.events) + repr(built.result)
        image = repr(built.image.config) + repr(built.image.manifest)
        assert find_secrets([secret], said, image, *built.image.layers, *_caches()) == ()
        assert built.image.text("sum").split()[0] == hashlib.sha256(secret.encode()).hexdigest()

    def test_a_failing_run_does_not_tell_its_secret(self, bench: Workbench) -> None:
        """The error's page and the events show asterisks."""
        secret = _canary()
        if bench.refuses(Feature.SECRETS, _TELLING, secrets={"token": secret}):
            return

        failed = bench.fail(_TELLING, secrets={"token": secret})

        said = (repr(failed.sink.events), failed.report, repr(failed.error))
        assert failed.report and find_secrets([secret], *said) == ()
        assert find_secrets([secret], *_caches()) == ()

    def test_credentials_are_used_and_nowhere_else(self, bench: Workbench) -> None:
        """A private base image and a private repository; the docker configuration is left alone."""
        for delivery in bench.deliveries():
            password = _canary()
            before = _docker_files()
            watcher = Watcher((password,), bench.temporary)
            with LocalRegistry(auth="token", users={_USER: password}) as private:
                text = f"FROM {bench.make_base_in(private)}\nCOPY a /a\n"
                settings = _private_settings(private, bench.repository, password, delivery)
                step = bench.step(text, {"a": delivery}, **settings)
                events: list[object] = []
                with watcher.watching():
                    result = step.run(on_event=events.append)
                pushed = private.digest(bench.repository, "latest")
                writes = [r for r in private.requests if r.method in ("PUT", "PATCH")]

            assert pushed == result.digest
            assert {request.principal for request in writes} == {_USER}
            assert watcher.leaks == set() and watcher.looks > 1
            assert find_secrets([password], repr(events) + repr(result), *_caches()) == ()
            assert _docker_files() == before


def _private_settings(
    private: LocalRegistry, repository: str, password: str, delivery: str
) -> Mapping[str, Any]:
    credential = Credential(username=_USER, password=password)
    return {
        "repo": private.reference(repository),
        "auth": [StaticKeychain(prefix=private.host, credential=credential)],
        "delivery": delivery,
    }


def _canary() -> str:
    return f"canary-{uuid.uuid4().hex}"


def _caches() -> tuple[Path, ...]:
    """What buildpush keeps on this machine, its logs among it."""
    cache = Environment.current().cache
    return (cache,) if cache.is_dir() else ()


def _docker_files() -> dict[str, FileState]:
    """The user's docker configuration, wherever it is."""
    environment = Environment.current()
    chosen = environment.variables.get("DOCKER_CONFIG")
    folder = Path(chosen) if chosen else environment.home / ".docker"
    return snapshot_tree(folder) if folder.is_dir() else {}
