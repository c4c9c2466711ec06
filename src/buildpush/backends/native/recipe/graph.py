"""From a stage of a Dockerfile to the list of operations that build it. Pure.

Variables are expanded here, in the order and with the scopes BuildKit gives them
(frontend/dockerfile/dockerfile2llb/convert.go): an ARG is a variable of the rest of its stage and
of the stages built upon it; whichever of ARG and ENV comes later wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from attrs import define, evolve, field

from ....dockerfile import parse_onbuild
from ....dockerfile.arguments import argument_value
from ....dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Env,
    Expose,
    Heredoc,
    Instruction,
    Label,
    Run,
    Stage,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from ....dockerfile.words import expand_heredoc, expand_word, expand_words
from ....errors import DockerfileError
from ....oci.wire import ImageConfig
from .config import Metadata, apply, run_history, with_shell
from .mounts import MountSpec, parse_mount
from .operations import (
    Annotate,
    Execute,
    ImageOrigin,
    InlineFile,
    MakeDirectory,
    Operation,
    Origin,
    StageOrigin,
    Transfer,
)
from .scope import Base, Scope, StagePlan, fault

__all__ = ["plan_stage"]

_PROXIES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
SCRIPT_FOLDER: Final = "/dev/pipes"
"""Where a RUN finds the here-document that begins with ``#!``."""


def plan_stage(stage: Stage, base: Base, scope: Scope) -> StagePlan:
    """The operations of *stage* built upon *base*, its ONBUILD triggers first.

    Raises `DockerfileError` with the lines of the instruction that cannot be carried out.
    """
    planner = _Planner(
        stage=stage, scope=scope, image=base.image, env=dict(base.env), args=list(base.args)
    )
    for trigger in base.triggers:
        instruction = evolve(_trigger(trigger, stage, scope), lines=stage.base.lines)
        planner.add(instruction, note="ONBUILD ")
    for instruction in stage.instructions:
        planner.add(instruction)
    return StagePlan(
        operations=_titled(planner, counts=base.counts),
        image=planner.image,
        env=planner.env,
        args=tuple(planner.args),
    )


def _trigger(trigger: str, stage: Stage, scope: Scope) -> Instruction:
    try:
        return parse_onbuild(trigger)
    except DockerfileError as error:
        raise fault(
            scope.dockerfile,
            stage.base.lines,
            f"the base image's ONBUILD trigger cannot be parsed: {error.message}",
        ) from error


def _titled(planner: _Planner, *, counts: bool) -> tuple[Operation, ...]:
    """Number the steps as BuildKit does: ``[stage 2/5] RUN …``, the base being the first."""
    stages = planner.scope.dockerfile.stages
    stage = planner.stage
    name = "" if len(stages) == 1 else stage.base.name or f"stage-{stage.index}"
    total = int(counts) + sum(not isinstance(o, Annotate) for o in planner.operations)
    width = 1 + int(math.log10(total)) if total else 1
    number = int(counts)
    titled: list[Operation] = []
    for operation in planner.operations:
        if isinstance(operation, Annotate):
            titled.append(operation)
            continue
        number += 1
        words = [word for word in (planner.scope.prefix, name) if word]
        head = " ".join([*words, f"{number:>{width}d}/{total}"]).strip()
        titled.append(evolve(operation, title=f"[{head}] {operation.title}"))
    return tuple(titled)


@define
class _Planner:
    stage: Stage
    scope: Scope
    image: ImageConfig
    env: dict[str, str]
    args: list[tuple[str, str | None]]
    operations: list[Operation] = field(factory=list[Operation])
    cmd_is_set: bool = False
    note: str = ""

    def add(self, instruction: Instruction, *, note: str = "") -> None:
        """Plan one instruction; *note* stands before it in its title."""
        self.note = note
        try:
            self._add(instruction)
        except ValueError as error:
            if isinstance(error, DockerfileError):
                raise
            raise fault(self.scope.dockerfile, instruction.lines, str(error)) from error

    def _add(self, instruction: Instruction) -> None:
        match instruction:
            case Arg():
                self._arg(instruction)
            case Run():
                self._execute(instruction)
            case Copy() | Add():
                self._transfer(instruction)
            case Workdir():
                self._workdir(instruction)
            case _:
                expanded = self._expanded(instruction)
                created_by = self._apply(expanded)
                self._annotate(instruction, created_by)

    # -- variables -------------------------------------------------------------------------

    def _word(self, text: str) -> str:
        return expand_word(text, self.env, escape=self.scope.dockerfile.escape)

    def _set(self, key: str, value: str) -> None:
        self.env.pop(key, None)  # a variable set again goes last, as in BuildKit's EnvList
        self.env[key] = value

    def _arg(self, instruction: Arg) -> None:
        shown: list[str] = []
        for name, default in instruction.args:
            value = argument_value(
                name,
                default,
                build_args=self.scope.build_args,
                global_args=self.scope.global_args,
                env=self.env,
                escape=self.scope.dockerfile.escape,
            )
            if value is not None:
                self._set(name, value)
            self.args.append((name, value))
            shown.append(name if value is None else f"{name}={value}")
        self._annotate(instruction, f"ARG {' '.join(shown)}")

    def _expanded(self, instruction: Metadata) -> Metadata:
        """Expand the variables of an instruction that has any; all at once, so that the pairs
        of one ENV do not see each other.
        """
        word = self._word
        match instruction:
            case Env(pairs=pairs) | Label(pairs=pairs):
                return evolve(instruction, pairs=tuple((word(k), word(v)) for k, v in pairs))
            case Expose(ports=ports):
                escape = self.scope.dockerfile.escape
                words = [w for p in ports for w in expand_words(p, self.env, escape=escape)]
                return evolve(instruction, ports=tuple(words))
            case Volume(paths=paths):
                return evolve(instruction, paths=tuple(word(path) for path in paths))
            case User(user=user):
                return evolve(instruction, user=word(user))
            case StopSignal(signal=signal):
                return evolve(instruction, signal=word(signal))
            case Workdir(path=path):
                return evolve(instruction, path=word(path))
            case _:
                return instruction

    def _apply(self, instruction: Metadata) -> str:
        self.image, created_by = apply(self.image, instruction, cmd_is_set=self.cmd_is_set)
        if isinstance(instruction, Env):
            for key, value in instruction.pairs:
                self._set(key, value)
        if isinstance(instruction, Cmd):
            self.cmd_is_set = True
        return created_by

    # -- operations ------------------------------------------------------------------------

    def _title(self, text: str) -> str:
        try:
            shown = self._word(text)
        except ValueError:
            shown = text
        head, _, rest = shown.partition(" ")
        return f"{self.note}{head.upper()} {rest}".rstrip()

    def _annotate(self, instruction: Instruction, created_by: str) -> None:
        self.operations.append(
            Annotate(
                lines=instruction.lines,
                text=instruction.text,
                title=instruction.text,
                created_by=created_by,
            )
        )

    def _workdir(self, instruction: Workdir) -> None:
        expanded = self._expanded(instruction)
        created_by = self._apply(expanded)
        path = self.image.config.working_dir
        if path == "/":
            self._annotate(instruction, created_by)
            return
        self.operations.append(
            MakeDirectory(
                lines=instruction.lines,
                text=instruction.text,
                title=self._title(instruction.text),
                created_by=created_by,
                path=path,
                user=self.image.config.user,
            )
        )

    def _transfer(self, instruction: Copy | Add) -> None:
        word = self._word
        sources = list(instruction.sources)
        for heredoc in instruction.heredocs:
            sources.remove(heredoc.name)
        common = Transfer(
            lines=instruction.lines,
            text=instruction.text,
            title=self._title(instruction.text.partition("\n")[0]),
            created_by="",
            is_add=isinstance(instruction, Add),
            sources=tuple(word(source) for source in sources),
            inline=tuple(self._inline(heredoc) for heredoc in instruction.heredocs),
            destination=word(instruction.destination),
            workdir=self.image.config.working_dir or "/",
            chown=word(instruction.chown),
            chmod=word(instruction.chmod),
            link=instruction.link,
            exclude=instruction.exclude,
        )
        if isinstance(instruction, Add):
            transfer = evolve(
                common,
                checksum=word(instruction.checksum),
                keep_git_dir=instruction.keep_git_dir,
                unpack=instruction.unpack,
            )
        else:
            origin = self._origin(instruction.from_stage) if instruction.from_stage else None
            transfer = evolve(common, origin=origin, parents=instruction.parents)
        self.operations.append(evolve(transfer, created_by=_transfer_history(transfer)))

    def _inline(self, heredoc: Heredoc) -> InlineFile:
        content = heredoc.content
        if heredoc.expand:
            content = expand_heredoc(content, self.env)
        return InlineFile(name=heredoc.name, data=content.encode("utf-8", "surrogateescape"))

    def _origin(self, name: str) -> Origin:
        """The stage or image called *name*; only earlier stages may be read from."""
        stages = self.scope.dockerfile.stages
        index = next((s.index for s in stages if s.base.name == name.lower()), None)
        if index is None and name.isdecimal():
            index = int(name)
            if index >= len(stages):
                raise ValueError(f"there is no stage {name}; the last is {len(stages) - 1}")
        if index is None:
            return ImageOrigin(name=name)
        if index >= self.stage.index:
            raise ValueError(f"stage {name!r} must come before the stage that reads from it")
        return StageOrigin(index=index)

    def _execute(self, instruction: Run) -> None:
        argv, script = _command(instruction)
        if instruction.shell:
            argv = with_shell(self.image, argv)
        mounts = tuple(self._mount(instruction, index) for index in range(len(instruction.mounts)))
        self.operations.append(
            Execute(
                lines=instruction.lines,
                text=instruction.text,
                title=f"{self.note}RUN {_run_text(instruction)}",
                created_by=run_history(argv, self.args, self.env),
                argv=argv,
                env=dict(self.env),
                proxies=_proxies(self.scope.build_args),
                workdir=self.image.config.working_dir or "/",
                user=self.image.config.user,
                mounts=mounts,
                script=script,
                network=instruction.network,
                security=instruction.security,
            )
        )

    def _mount(self, instruction: Run, index: int) -> tuple[MountSpec, Origin | None]:
        workdir = self.image.config.working_dir or "/"
        spec = parse_mount(instruction.mounts[index], self._word, workdir=workdir)
        if not spec.origin or spec.origin.lower() == "scratch":
            return evolve(spec, origin=""), None
        origin = self._origin(spec.origin)
        return spec, origin


def _proxies(build_args: Mapping[str, str]) -> Mapping[str, str]:
    """The proxy variables among the build args, in both spellings, as programs differ."""
    given = {key.lower(): value for key, value in build_args.items() if value}
    found: dict[str, str] = {}
    for name in _PROXIES:
        if name in given:
            found |= {name: given[name], name.upper(): given[name]}
    return found


def _run_text(instruction: Run) -> str:
    return instruction.text.partition("\n")[0].partition(" ")[2].strip()


def _command(instruction: Run) -> tuple[tuple[str, ...], InlineFile | None]:
    """The words to run, and the script that a lone ``<<EOF`` with ``#!`` stands for."""
    if not instruction.heredocs:
        return instruction.command, None
    line = instruction.command[0]
    first = instruction.heredocs[0]
    if _is_heredoc(line):
        if first.content.startswith("#!"):
            data = first.content.encode("utf-8", "surrogateescape")
            return (f"{SCRIPT_FOLDER}/{first.name}",), InlineFile(name=first.name, data=data)
        return (first.content,), None
    parts = [line, *(f"\n{h.content}{h.name}" for h in instruction.heredocs)]
    return ("".join(parts),), None


def _is_heredoc(line: str) -> bool:
    """Whether *line* is one here-document word and nothing else."""
    word = line.strip().lstrip("0123456789")
    return word.startswith("<<") and " " not in word and "<" not in word[2:]


def _transfer_history(transfer: Transfer) -> str:
    words = ["ADD" if transfer.is_add else "COPY"]
    if transfer.parents:
        words.append("--parents")
    if transfer.chown:
        words.append(f"--chown={transfer.chown}")
    if transfer.chmod:
        words.append(f"--chmod={transfer.chmod}")
    words += [*transfer.sources, *(f"<<{file.name}" for file in transfer.inline)]
    return " ".join([*words, transfer.destination, "# buildkit"])
