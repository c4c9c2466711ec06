"""RUN: what its mounts hold, what it may see, and the layer that is its difference."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal, cast

from attrs import define, field

from ...errors import BuildError, CommandEvidence
from ...events import Stream
from ...oci.layer import LayerWriter
from ...plan import BuildRequest
from ...runtime import CancelToken, Hidden, Run, Task
from ...runtime.process import TAIL_LINES
from .copying.copy import CopyRequest, plan_copy
from .copying.extract import extract
from .images import Images, Layer
from .materials import Find, Material, Materials
from .recipe.graph import SCRIPT_FOLDER
from .recipe.keys import RunLimits, chain
from .recipe.mounts import MountSpec
from .recipe.operations import Execute
from .sandbox.lazy import LazySandbox
from .sandbox.rootfs import JobMount, LayerFile, RunJob
from .store import Store
from .tree import Tree
from .trimming import touch_layers

__all__ = ["Running", "limits_of"]

Network = Literal["default", "host", "none"]
Security = Literal["sandbox", "insecure"]

_SECRET_FOLDER: Final = "/run/secrets"  # noqa: S105 - a place, not a secret
_AGENT_FOLDER: Final = "/run/buildkit"


def limits_of(request: BuildRequest) -> RunLimits:
    """What *request* asks of every RUN."""
    return RunLimits(
        network=request.network,
        add_hosts=request.add_hosts,
        shm_size=request.shm_size,
        ulimits=tuple((u.name, u.soft, u.hard) for u in request.ulimits),
    )


@define(eq=False, kw_only=True)
class Running:
    """One RUN about to happen."""

    request: BuildRequest
    run: Run
    store: Store
    images: Images
    sandbox: LazySandbox
    materials: Materials
    abort: CancelToken
    operation: Execute
    find: Find
    epoch: int | None = None
    _found: dict[int, Material | None] = field(factory=dict[int, Material | None], init=False)

    def mount_keys(self) -> list[str]:
        """What each mount holds, as text for the cache key; empty for caches, secrets and such.

        Raises `BuildError` for a required secret or agent that was not given, cached or not.
        """
        return [self._mount_key(number) for number in range(len(self.operation.mounts))]

    def _mount_key(self, number: int) -> str:
        spec, origin = self.operation.mounts[number]
        if spec.type in ("secret", "ssh"):
            self._require(spec)
            return ""
        if spec.type == "tmpfs" or (spec.type == "cache" and origin is None):
            return ""
        material = self.find(origin) if origin is not None else None
        if origin is None and spec.origin == "scratch":
            material = ()
        self._found[number] = material
        if isinstance(material, tuple):
            return chain(layer.diff_id for layer in material)
        with self.materials.opened(material) as source:
            wanted = CopyRequest(sources=(spec.source or "/",), destination="/mount")
            return plan_copy(wanted, source, Tree(), check=self.abort.check).key

    def _require(self, spec: MountSpec) -> None:
        given = self.request.secrets if spec.type == "secret" else self.request.ssh
        if spec.required and spec.id not in given:
            what = "secret" if spec.type == "secret" else "SSH agent"
            raise BuildError(
                f"the {what} {spec.id!r} is required by a mount and was not given",
                hint=f"pass it as one of the step's {'secrets' if what == 'secret' else 'ssh'}",
            )

    # -- execution -------------------------------------------------------------------------

    def execute(
        self, layers: tuple[Layer, ...], writer: LayerWriter, task: Task, folder: Path
    ) -> None:
        """Run the command upon *layers* and write what it changed into *writer*.

        *folder* is private and removed afterwards. Raises `BuildError` with the command's last
        lines when it fails.
        """
        tail: deque[str] = deque(maxlen=TAIL_LINES)

        def on_line(stream: Stream, line: str) -> None:
            line = self.run.redact(line)
            tail.append(line)
            task.log(stream, line)

        files = self._files(layers)
        with ExitStack() as stack:
            env = dict(self.operation.env)
            mounts = tuple(self._mounts(stack, folder, env))
            work = folder / "root"
            work.mkdir(mode=0o700)
            code = self.sandbox.get().run(
                self._job(env, mounts),
                layers=files,
                layers_root=self.store.layers,
                work=work,
                on_line=on_line,
                sink=writer.write,
                cancel=self.abort,
            )
        self.run.cancel.check()
        if code:
            raise self._failure(code, tuple(tail))

    def _files(self, layers: tuple[Layer, ...]) -> tuple[LayerFile, ...]:
        paths = self.images.blobs(layers)
        touch_layers(self.store.layers, (layer.diff_id.hex for layer in layers))
        return tuple(
            LayerFile(diff_id=layer.diff_id, path=path, media_type=layer.descriptor.media_type)
            for layer, path in zip(layers, paths, strict=True)
        )

    def _failure(self, code: int, tail: tuple[str, ...]) -> BuildError:
        redact = self.run.redact
        evidence = CommandEvidence(
            argv=tuple(redact(word) for word in self.operation.argv), exit_code=code, tail=tail
        )
        command = redact(self.operation.text.partition("\n")[0])
        return BuildError(f"{command}: exit code {code}", evidence=(evidence,))

    def _job(self, env: Mapping[str, str], mounts: tuple[JobMount, ...]) -> RunJob:
        operation, request = self.operation, self.request
        network = operation.network if operation.network != "default" else request.network
        proxies = {k: v for k, v in operation.proxies.items() if k not in env}
        return RunJob(
            argv=operation.argv,
            env={**env, **proxies},
            workdir=operation.workdir,
            user=operation.user,
            mounts=mounts,
            network=cast("Network", network),
            add_hosts=request.add_hosts,
            shm_size=request.shm_size,
            ulimits=request.ulimits,
            security=cast("Security", operation.security),
            source_date_epoch=self.epoch,
        )

    # -- mounts ----------------------------------------------------------------------------

    def _mounts(self, stack: ExitStack, folder: Path, env: dict[str, str]) -> Iterator[JobMount]:
        """The mounts in the order written; secrets meant as variables go into *env*."""
        if self.operation.script is not None:
            scripts = folder / "script"
            scripts.mkdir(mode=0o755)
            script = scripts / self.operation.script.name
            script.write_bytes(self.operation.script.data)
            script.chmod(0o755)
            yield JobMount(kind="bind", source=scripts, target=SCRIPT_FOLDER, readonly=True)
        for number, (spec, _) in enumerate(self.operation.mounts):
            match spec.type:
                case "bind":
                    yield self._bind(number, spec, folder / f"mount{number}")
                case "cache":
                    yield self._cache(number, spec, stack)
                case "tmpfs":
                    yield JobMount(
                        kind="tmpfs", target=spec.target, readonly=spec.read_only, size=spec.size
                    )
                case "secret":
                    yield from self._secret(spec, env)
                case "ssh":
                    yield from self._agent(number, spec, env)

    def _bind(self, number: int, spec: MountSpec, place: Path) -> JobMount:
        material = self._found[number]
        if isinstance(material, tuple):
            return JobMount(
                kind="bind",
                layers=self._files(material),
                subpath=spec.source,
                target=spec.target,
                readonly=spec.read_only,
            )
        if self.materials.hides_nothing(material):
            root = material.path if material is not None else self.request.context
            return JobMount(
                kind="bind",
                source=root,
                subpath=spec.source,
                target=spec.target,
                readonly=spec.read_only,
            )
        with self.materials.opened(material) as source:
            owners = self.run.environment.uid == 0
            extract(source, spec.source or "/", place, self.abort.check, owners=owners)
        return JobMount(kind="bind", source=place, target=spec.target, readonly=spec.read_only)

    def _cache(self, number: int, spec: MountSpec, stack: ExitStack) -> JobMount:
        cache = stack.enter_context(
            self.store.cache_mount(spec.id, sharing=spec.sharing, wait=self._wait)
        )
        if cache.fresh and number in self._found:
            cache.path.rmdir()
            with self.materials.opened(self._found[number]) as source:
                owners = self.run.environment.uid == 0
                extract(source, spec.source or "/", cache.path, self.abort.check, owners=owners)
        return JobMount(
            kind="cache",
            source=cache.path,
            target=spec.target,
            readonly=spec.read_only,
            mode=spec.mode,
            uid=spec.uid,
            gid=spec.gid,
        )

    def _wait(self) -> None:
        self.abort.sleep(0.1)

    def _secret(self, spec: MountSpec, env: dict[str, str]) -> Iterator[JobMount]:
        path = self.request.secrets.get(spec.id)
        if path is None:
            return
        if spec.env is not None:
            env[spec.env or spec.id] = Hidden(path.read_bytes(), "utf-8", "surrogateescape")
            if not spec.target:
                return
        yield JobMount(
            kind="secret",
            source=path,
            target=spec.target or f"{_SECRET_FOLDER}/{spec.id.rpartition('/')[2]}",
            readonly=True,
            mode=0o400 if spec.mode is None else spec.mode,
            uid=spec.uid or 0,
            gid=spec.gid or 0,
        )

    def _agent(self, number: int, spec: MountSpec, env: dict[str, str]) -> Iterator[JobMount]:
        path = self.request.ssh.get(spec.id)
        if path is None:
            return
        target = spec.target or f"{_AGENT_FOLDER}/ssh_agent.{number}"
        env.setdefault("SSH_AUTH_SOCK", target)
        yield JobMount(
            kind="ssh",
            source=path,
            target=target,
            readonly=False,
            mode=0o600 if spec.mode is None else spec.mode,
            uid=spec.uid or 0,
            gid=spec.gid or 0,
        )
