"""The life of one pod: scheduled, its volumes laid out, its containers run one after another.

As seen on 1.36.2: a container is still ``waiting`` (PodInitializing with init containers, else
ContainerCreating) while its volumes cannot be mounted, of which only events tell; the pod's phase
follows the end of its last container by a second or two; a pod that is deleted ends as Failed
before it goes.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from . import podstatus, volumes
from .consoles import Console
from .containers import Played, Running, Shell
from .executor import play_kaniko
from .fates import Fate, Script
from .images import PullError, bring
from .kinds import PODS
from .output import Output
from .scheduling import Node, choose
from .shells import PodRoot
from .store import Object
from .validation import quantity

if TYPE_CHECKING:
    from .cluster import Inside

_MESSAGE: Final = 4096


class _Gone(Exception):
    """The pod is to go."""


@define(eq=False)
class Life:
    """One pod's life, in a thread of its own."""

    inside: Inside
    namespace: str
    name: str
    uid: str
    spec: Mapping[str, Any]
    outputs: dict[str, Output] = field(factory=dict)
    shells: dict[str, Shell] = field(factory=dict)
    node: Node | None = None
    lost: bool = False
    _fate: Fate = field(factory=Fate)
    _gone: threading.Event = field(factory=threading.Event)
    _grace: float = 0.0
    _current: Running | None = None
    _taken: tuple[str, str, str] | None = None
    _lock: threading.Lock = field(factory=threading.Lock)
    over: threading.Event = field(factory=threading.Event)

    def begin(self) -> None:
        """Start it."""
        self._fate = self.inside.fates.of(self.name)
        threading.Thread(target=self._run, name=f"pod-{self.name}", daemon=True).start()

    # --- from outside ---

    def delete(self, grace: float) -> None:
        """End it: TERM now, KILL after *grace* seconds, and then it is forgotten."""
        with self._lock:
            first = not self._gone.is_set()
            self._grace = grace
            self._gone.set()
            current = self._current
        if current is not None and not self.lost:
            if grace <= 0:
                current.kill()
            elif first:
                current.stop(grace)

    def take_away(self, reason: str, message: str, condition: str) -> None:
        """Evict it: its containers are killed, and it stays as Failed."""
        self._taken = (reason, message, condition)
        self._say(reason, message, by="kubelet", warning=True)
        with self._lock:
            current = self._current
        if current is not None:
            current.kill()

    # --- the life ---

    def _run(self) -> None:
        try:
            self._live()
        except _Gone:
            pass
        finally:
            for output in self.outputs.values():
                output.end()
                self.inside.logs.append(output.text)
            self._gone.wait()
            for shell in self.shells.values():
                shell.kill()
            self.inside.store.remove(PODS, self.namespace, self.name, uid=self.uid)
            self.inside.lives.pop(self.uid, None)
            shutil.rmtree(self.root.folder, ignore_errors=True)
            self.over.set()

    @property
    def root(self) -> PodRoot:
        """Its file system."""
        return PodRoot(self.inside.folder / self.uid)

    def _live(self) -> None:
        self._schedule()
        self._pause(self.inside.pace.start)
        if self._fate.stuck:
            self._until_gone()
        self.root.make()
        self._mount()
        for container in self.spec.get("initContainers") or ():
            if self._container(container, init=True) != 0:
                self._end("Failed")
                return
            if container is self.spec["initContainers"][-1]:
                self._edit(lambda s: podstatus.condition(s, "Initialized", "True", self._now()))
        codes = [self._container(container, init=False) for container in self.spec["containers"]]
        self._end("Failed" if any(codes) else "Succeeded")

    def _schedule(self) -> None:
        while True:
            node, why = choose(self.inside.nodes, self.spec)
            why = self._fate.unschedulable or why
            if not why:
                break
            self._edit(
                lambda s, why=why: podstatus.condition(
                    s, "PodScheduled", "False", self._now(), reason="Unschedulable", message=why
                )
            )
            self._say("FailedScheduling", why, by="default-scheduler", warning=True)
            self._pause(self.inside.pace.retry)
        assert node is not None
        self.node = node

        def bind(found: Object) -> None:
            found["spec"]["nodeName"] = node.name
            podstatus.condition(found["status"], "PodScheduled", "True", self._now())

        self._change(bind)
        said = f"Successfully assigned {self.namespace}/{self.name} to {node.name}"
        self._say("Scheduled", said, by="default-scheduler")
        self._edit(lambda s: podstatus.bound(s, self.spec, self._now()))

    def _mount(self) -> None:
        while True:
            try:
                volumes.lay_out(self.inside.store, self.namespace, self.spec, self.root)
            except volumes.NotMounted as error:
                self._say("FailedMount", str(error), by="kubelet", warning=True)
                self._pause(self.inside.pace.retry)
            else:
                break
        self._edit(
            lambda s: podstatus.condition(s, "PodReadyToStartContainers", "True", self._now())
        )

    def _container(self, spec: Mapping[str, Any], *, init: bool) -> int:
        """Run one container; its exit code."""
        path = f"spec.{'initContainers' if init else 'containers'}{{{spec['name']}}}"
        self._pull(spec, path, init=init)
        env = self._variables(spec, path, init=init)
        output = Output()
        log = self.root.real(spec["terminationMessagePath"])
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        log.touch(0o666)
        container_id = f"containerd://{self.uid.replace('-', '')}{spec['name']}"
        self._say("Created", "Container created", by="kubelet", path=path)
        began = self._now()
        try:
            with self._lock:
                if self._gone.is_set() or self._taken:
                    raise _Gone
                self.outputs[spec["name"]] = output
                current = self._begin(spec, env, output, init=init)
                self._current = current
        except FileNotFoundError as error:
            return self._not_started(spec, error, path, init=init)
        self._say("Started", "Container started", by="kubelet", path=path)
        entry = podstatus.running(spec, began, container_id, main=not init)

        def run(status: Object) -> None:
            podstatus.put(status, entry, init=init)
            if not init:
                status["phase"] = "Running"
                for kind in ("Ready", "ContainersReady"):
                    podstatus.condition(status, kind, "True", began)

        self._edit(run)
        self._strike("init" if init else "main")
        code = current.wait()
        output.end()
        with self._lock:
            self._current = None
        self._stopped(entry, current, code, log, began, init=init)
        return code

    def _begin(
        self, spec: Mapping[str, Any], env: Mapping[str, str], output: Output, *, init: bool
    ) -> Running:
        script = self._script(spec, init=init)
        if script is None:
            shell = Shell.begin(self.root, spec, env, output)
            self.shells[spec["name"]] = shell
            return shell
        assert self.node is not None
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        console = Console(
            argv=[word.replace("$$", "$") for word in spec.get("args") or ()],
            env=env,
            output=output,
            path=self.root.real,
            scratch=self.root.folder / ".scratch",
            architecture=self.node.architecture,
            memory=int(quantity(limit)) if limit else None,
        )
        played = Played(console=console, script=script)
        played.begin()
        return played

    def _script(self, spec: Mapping[str, Any], *, init: bool) -> Script | None:
        if init:
            return None
        if self._fate.script is not None:
            return self._fate.script
        return play_kaniko if not spec.get("command") and "kaniko" in spec["image"] else None

    def _strike(self, at: str) -> None:
        """Let what a test has ordained happen to it."""
        if self._fate.at != at:
            return
        if self._fate.evicted:
            self.take_away("Evicted", self._fate.evicted, "TerminationByKubelet")
        if self._fate.preempted:
            self.inside.preempt(self, self._fate.preempted)
        if self._fate.no_node:
            threading.Thread(target=self.inside.lose_node, args=(self,), daemon=True).start()

    def _stopped(
        self,
        entry: Object,
        current: Running,
        code: int,
        log: Any,
        began: str,
        *,
        init: bool,
    ) -> None:
        if self.lost:
            raise _Gone
        self._pause(self.inside.pace.end, heed=False)
        oom = isinstance(current, Played) and current.console.oom
        reason = "OOMKilled" if oom else "Error" if code else "Completed"
        end: Object = {"exitCode": code, "reason": reason}
        message = self._message(entry["name"], code, log)
        if message:
            end["message"] = message
        end |= {"startedAt": began, "finishedAt": self._now()}
        end["containerID"] = entry["containerID"]
        ended = podstatus.terminated(entry, end, init=init)
        if self._taken:  # all of it in one change, as a real kubelet's
            self._end("Failed", lambda s: podstatus.put(s, ended, init=init))
            raise _Gone
        self._edit(lambda s: podstatus.put(s, ended, init=init))
        if self._gone.is_set():
            self._end("Failed" if code or init else "Succeeded")
            raise _Gone

    def _message(self, name: str, code: int, log: Any) -> str:
        spec = next(
            c
            for c in (*(self.spec.get("initContainers") or ()), *self.spec["containers"])
            if c["name"] == name
        )
        text = log.read_bytes()[:_MESSAGE] if log.is_file() else b""
        if not text and code and spec["terminationMessagePolicy"] == "FallbackToLogsOnError":
            return self.outputs[name].text[-2048:]
        return str(text.decode(errors="replace"))

    def _not_started(
        self, spec: Mapping[str, Any], error: OSError, path: str, *, init: bool
    ) -> int:
        why = podstatus.unstartable(str(error))
        self._say("Failed", f"Error: {why}", by="kubelet", warning=True, path=path)
        ended = podstatus.not_begun(spec, why, self._now(), init=init)
        self._edit(lambda s: podstatus.put(s, ended, init=init))
        self.outputs[spec["name"]].end()
        return 128

    def _pull(self, spec: Mapping[str, Any], path: str, *, init: bool) -> None:
        """Have the image, sooner or later."""
        image = spec["image"]
        tries = 0
        while True:
            try:
                if self._fate.pull is not None and (init or self._fate.at == "main"):
                    raise PullError(*self._fate.pull)
                bring(image, self.root, self.inside.images)
            except PullError as error:
                tries += 1
                self._unpulled(spec, error, path, tries, init=init)
                self._pause(self.inside.pace.retry)
            else:
                said = f'Container image "{image}" already present on machine'
                self._say("Pulled", said, by="kubelet", path=path)
                return

    def _unpulled(
        self, spec: Mapping[str, Any], error: PullError, path: str, tries: int, *, init: bool
    ) -> None:
        image, reason, message = spec["image"], error.reason, error.message
        if reason == "ErrImagePull":
            self._say("Pulling", f'Pulling image "{image}"', by="kubelet", path=path)
            self._warn(f'Failed to pull image "{image}": {message}', path)
            self._warn("Error: ErrImagePull", path)
            if tries % 2 == 0:
                reason = "ImagePullBackOff"
                message = f'Back-off pulling image "{image}": ErrImagePull: {message}'
                self._say("BackOff", f'Back-off pulling image "{image}"', by="kubelet", path=path)
        else:
            self._say(reason, message, by="kubelet", warning=True, path=path)
            self._warn(f"Error: {reason}", path)
        entry = podstatus.waiting(spec, reason, message)
        self._edit(lambda s: podstatus.put(s, entry, init=init))

    def _variables(self, spec: Mapping[str, Any], path: str, *, init: bool) -> dict[str, str]:
        while True:
            try:
                pod = self.inside.store.find(PODS, self.namespace, self.name) or {}
                return volumes.variables(self.inside.store, pod, spec)
            except volumes.NoConfig as error:
                self._warn(f"Error: {error}", path)
                entry = podstatus.waiting(spec, "CreateContainerConfigError", str(error))
                self._edit(lambda s, e=entry: podstatus.put(s, e, init=init))
                self._pause(self.inside.pace.retry)

    def _end(self, phase: str, first: Callable[[Object], None] = lambda _: None) -> None:
        self._pause(self.inside.pace.phase, heed=False)
        taken = self._taken

        def end(status: Object) -> None:
            now = self._now()
            first(status)
            podstatus.ended(status, "Failed" if taken else phase, now)
            if taken:
                reason, message, why = taken
                status.update(reason=reason, message=message)
                podstatus.condition(
                    status, "DisruptionTarget", "True", now, reason=why, message=message
                )

        self._edit(end)

    # --- small things ---

    def _until_gone(self) -> None:
        self._gone.wait()
        raise _Gone

    def _pause(self, seconds: float, *, heed: bool = True) -> None:
        if heed:
            if self._gone.wait(seconds):
                raise _Gone
        elif seconds:
            threading.Event().wait(seconds)

    def _now(self) -> str:
        return self.inside.store.now()

    def _change(self, change: Any) -> None:
        found = self.inside.store.find(PODS, self.namespace, self.name)
        if found is not None and found["metadata"]["uid"] == self.uid:
            self.inside.store.try_update(PODS, self.namespace, self.name, change)

    def _edit(self, change: Any) -> None:
        self._change(lambda found: change(found["status"]))

    def _say(
        self, reason: str, message: str, *, by: str, warning: bool = False, path: str = ""
    ) -> None:
        found = self.inside.store.find(PODS, self.namespace, self.name)
        if found is not None:
            self.inside.events.say(found, reason, message, by=by, warning=warning, field_path=path)

    def _warn(self, message: str, path: str) -> None:
        self._say("Failed", message, by="kubelet", warning=True, path=path)
