"""A small image builder for the played executor: layers by differences, as kaniko's snapshots."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from buildpush.dockerfile import parse
from buildpush.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Instruction,
    Label,
    Run,
    Stage,
    User,
    Volume,
    Workdir,
)
from buildpush.dockerfile.words import expand_word
from buildpush.errors import DockerfileError

from .consoles import Console
from .files import copy_file, copy_tree, snapshot
from .oci import Name, Registry, RegistryRefusal

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"


class BuildFailed(Exception):
    """The executor's last line, and its exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@frozen(kw_only=True)
class Site:
    """What a build is given."""

    console: Console
    context: Path
    dockerfile: str
    config: Any
    architecture: str
    build_args: Mapping[str, str]
    target: str
    secrets: Mapping[str, Path] = field(factory=dict)


@define(kw_only=True)
class Built:
    """An image: its config, the descriptors of its layers, and its blobs by digest."""

    config: dict[str, Any]
    layers: list[dict[str, Any]] = field(factory=list)
    blobs: dict[str, bytes] = field(factory=dict)


def build(site: Site) -> Built:
    """The image of the target stage; raises `BuildFailed` with kaniko's words."""
    try:
        dockerfile = parse(site.dockerfile)
    except DockerfileError as error:
        raise BuildFailed(f"error building image: parsing dockerfile: {error}") from error
    values = {a: site.build_args.get(a, d or "") for arg in dockerfile.args for a, d in arg.args}
    stages: dict[str, _Stage] = {}
    last = len(dockerfile.stages) - 1
    wanted = next(
        (s.index for s in dockerfile.stages if site.target in (s.name, str(s.index))), last
    )
    site.console.log("Built cross stage deps: map[]")
    for stage in dockerfile.stages[: wanted + 1]:
        work = _Stage(site, stage, stages, expand_word(stage.base.image, values))
        work.go()
        stages[stage.name] = stages[str(stage.index)] = work
    return stages[str(wanted)].built


class _Stage:
    """One stage: its root file system here, and what has become of its image."""

    def __init__(self, site: Site, stage: Stage, stages: dict[str, _Stage], image: str) -> None:
        self.site = site
        self.console = site.console
        self.stage = stage
        self.stages = stages
        self.image = image
        self.root = site.console.scratch / str(stage.index)
        self.root.mkdir(parents=True)
        self.args: dict[str, str] = {}
        config = {
            "architecture": site.architecture,
            "os": "linux",
            "config": {"Env": [f"PATH={_PATH}"]},
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [],
        }
        self.built = Built(config=config)

    @property
    def run_config(self) -> dict[str, Any]:
        """What a container is started with."""
        found: dict[str, Any] = self.built.config["config"]
        return found

    @property
    def env(self) -> dict[str, str]:
        """Variables as RUN sees them."""
        pairs = (pair.partition("=") for pair in self.run_config.get("Env") or ())
        return {**self.args, **{name: value for name, _, value in pairs}}

    def go(self) -> None:
        """Carry it out."""
        self._base()
        index = self.stage.index
        self.console.log(f"Building stage '{self.image}' [idx: '{index}', base-idx: '-1']")
        unpacked = False
        for instruction in self.stage.instructions:
            if self.console.told_to_end:
                raise BuildFailed("terminated", 2)
            if isinstance(instruction, Run | Copy | Add | Workdir) and not unpacked:
                unpacked = True
                self.console.log(f"Unpacking rootfs as cmd {instruction.text} requires it.")
            self._do(instruction)

    def _base(self) -> None:
        if self.image == "scratch":
            return
        if self.image.lower() in self.stages:
            earlier = self.stages[self.image.lower()]
            self.built = copy.deepcopy(earlier.built)
            shutil.copytree(earlier.root, self.root, symlinks=True, dirs_exist_ok=True)
            return
        self.console.log(f"Retrieving image manifest {self.image}")
        name = Name.parse(self.image)
        self.console.log(f"Retrieving image {self.image} from registry {name.host}")
        registry = Registry(name.host, self.site.config)
        try:
            manifest, config = registry.manifest(name, self.site.architecture)
            self.built = Built(config=config, layers=list(manifest["layers"]))
            for layer in manifest["layers"]:
                data = registry.blob(name, layer["digest"])
                self.built.blobs[layer["digest"]] = data
                with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
                    archive.extractall(self.root, filter="fully_trusted")
        except RegistryRefusal as error:
            raise BuildFailed(f"error building image: {error}") from error
        finally:
            registry.close()

    def _do(self, instruction: Instruction) -> None:
        say = self.console.log
        if not isinstance(instruction, Arg):
            say(instruction.text)
        match instruction:
            case Run():
                self._run(instruction)
            case Copy() | Add():
                self._copy(instruction)
            case Workdir(path=path):
                say("Cmd: workdir")
                where = str(Path("/", self.run_config.get("WorkingDir") or "", self._word(path)))
                self.run_config["WorkingDir"] = where
                say(f"Changed working directory to {where}")
                before = snapshot(self.root)
                self._real(where).mkdir(parents=True, exist_ok=True)
                self._layer(before, instruction.text)
            case Arg(args=args):
                for name, default in args:
                    self.args[name] = self.site.build_args.get(name, self._word(default or ""))
            case _:
                self._configure(instruction)
                self.built.config["history"].append(
                    {"created_by": instruction.text, "empty_layer": True}
                )

    def _configure(self, instruction: Instruction) -> None:
        config = self.run_config
        match instruction:
            case Env(pairs=pairs):
                known = dict(pair.partition("=")[::2] for pair in config.get("Env") or ())
                known |= {name: self._word(value) for name, value in pairs}
                config["Env"] = [f"{name}={value}" for name, value in known.items()]
            case Label(pairs=pairs):
                labels = config.setdefault("Labels", {})
                labels |= {self._word(n): self._word(v) for n, v in pairs}
            case Cmd(command=command, shell=shell):
                config["Cmd"] = ["/bin/sh", "-c", *command] if shell else list(command)
            case Entrypoint(command=command, shell=shell):
                config["Entrypoint"] = ["/bin/sh", "-c", *command] if shell else list(command)
            case User(user=user):
                config["User"] = self._word(user)
            case Expose(ports=ports):
                config["ExposedPorts"] = {p if "/" in p else f"{p}/tcp": {} for p in ports}
            case Volume(paths=paths):
                config["Volumes"] = {path: {} for path in paths}
            case _:
                pass

    def _word(self, text: str) -> str:
        return expand_word(text, self.env)

    def _real(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    # --- RUN ---

    def _run(self, instruction: Run) -> None:
        shell = ["/bin/sh", "-c", *instruction.command]
        argv = shell if instruction.shell else list(instruction.command)
        self.console.log("Initializing snapshotter ...")
        self.console.log("Taking snapshot of full filesystem...")
        before = snapshot(self.root)
        shown = " ".join(argv)
        self.console.log(f"Cmd: {argv[0]}")
        self.console.log(f"Args: [{' '.join(argv[1:])}]")
        self.console.log(f"Running: [{shown}]")
        with self._mounted(instruction):
            code = self._execute(argv)
        if code:
            raise BuildFailed(
                "error building image: error building stage: failed to execute command: waiting"
                f" for process to exit: exit status {code}",
                code,
            )
        self.console.log("Taking snapshot of full filesystem...")
        self._layer(before, instruction.text)

    @contextmanager
    def _mounted(self, instruction: Run) -> Iterator[None]:
        """Have the build secrets that RUN asks for while it runs, and not in the layer."""
        found: list[Path] = []
        for mount in instruction.mounts:
            name = mount.get("id") or Path(mount.get("target", "dst")).name
            if mount.type == "secret" and name in self.site.secrets:
                place = self._real(mount.get("target", "dst") or f"/run/secrets/{name}")
                found += [p for p in (place.parent.parent, place.parent) if not p.exists()]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(self.site.secrets[name].read_bytes())
                found.append(place)
        yield
        for place in reversed(found):
            place.rmdir() if place.is_dir() else place.unlink()

    def _execute(self, argv: list[str]) -> int:
        workdir = self.run_config.get("WorkingDir") or "/"
        inside = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', workdir, *argv]
        process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "chroot", str(self.root), *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.env, "HOME": "/root"},
            start_new_session=True,
        )

        def end() -> None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        self.console.on_stop(end)
        threads = [
            threading.Thread(target=self._pump, args=(pipe, name), daemon=True)
            for pipe, name in ((process.stdout, "stdout"), (process.stderr, "stderr"))
        ]
        for thread in threads:
            thread.start()
        code = process.wait()
        for thread in threads:
            thread.join()
        if self.console.told_to_end:
            raise BuildFailed("terminated", 2)
        return 128 - code if code < 0 else code

    def _pump(self, pipe: Any, name: str) -> None:
        with pipe:
            while data := os.read(pipe.fileno(), 1 << 16):
                self.console.output.write(data, name)

    # --- COPY ---

    def _copy(self, instruction: Copy | Add) -> None:
        before = snapshot(self.root)
        source = self.site.context
        if isinstance(instruction, Copy) and instruction.from_stage:
            source = self.stages[instruction.from_stage.lower()].root
        workdir = self.run_config.get("WorkingDir") or "/"
        written = self._word(instruction.destination)
        target = str(Path(workdir, written)) + ("/" if written.endswith(("/", ".")) else "")
        sources = [self._word(text).lstrip("/") for text in instruction.sources]
        folder = target.endswith("/") or len(sources) > 1
        for text in sources:
            self._copy_one(source, text, target, folder=folder)
        self.console.log("Taking snapshot of files...")
        self._layer(before, instruction.text)

    def _copy_one(self, source: Path, text: str, target: str, *, folder: bool) -> None:
        found = [source / text]
        if any(sign in text for sign in "*?["):
            parent = source / Path(text).parent
            inside = sorted(parent.iterdir()) if parent.is_dir() else []
            found = [path for path in inside if fnmatch(path.name, Path(text).name)]
        for path in found:
            if not os.path.lexists(path):
                shown = f"/workspace/{text}"
                raise BuildFailed(
                    "error building image: error building stage: failed to get files used from"
                    f" context: failed to get fileinfo for {shown}: lstat {shown}: no such file or"
                    " directory"
                )
            place = self._real(target)
            if path.is_dir() and not path.is_symlink():
                place.mkdir(parents=True, exist_ok=True)
                copy_tree(path, place)
            else:
                whole = place / path.name if folder or place.is_dir() else place
                whole.parent.mkdir(parents=True, exist_ok=True)
                copy_file(path, whole)

    # --- layers ---

    def _layer(self, before: Mapping[str, tuple[object, ...]], text: str) -> None:
        after = snapshot(self.root)
        changed = sorted(name for name, state in after.items() if before.get(name) != state)
        gone = sorted(name for name in before if name not in after)
        gone = [name for name in gone if name.rpartition("/")[0] not in gone]
        if not changed and not gone:
            self.built.config["history"].append({"created_by": text, "empty_layer": True})
            return
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name in changed:
                archive.add(self.root / name, name, recursive=False)
            for name in gone:
                folder, _, last = name.rpartition("/")
                archive.addfile(tarfile.TarInfo(f"{folder}/.wh.{last}".lstrip("/")))
        data = gzip.compress(stream.getvalue(), 1, mtime=0)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.built.blobs[digest] = data
        self.built.layers.append({"mediaType": _LAYER, "digest": digest, "size": len(data)})
        whole = f"sha256:{hashlib.sha256(stream.getvalue()).hexdigest()}"
        self.built.config["rootfs"]["diff_ids"].append(whole)
        self.built.config["history"].append({"created_by": text})
