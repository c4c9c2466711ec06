"""The instructions of a Dockerfile as frozen values, exactly as written: nothing is expanded."""

from __future__ import annotations

from attrs import field, frozen


@frozen(kw_only=True)
class Lines:
    """Where an instruction stands: first and last line, counted from 1, both included."""

    first: int
    last: int


@frozen(kw_only=True)
class Heredoc:
    """A here-document: ``<<EOF`` … ``EOF``.

    *content* is the body (tabs already stripped for ``<<-``); *expand* is False when the word
    was quoted, so that variables stay as they are.
    """

    name: str
    content: str
    expand: bool = True
    strip_tabs: bool = False


@frozen(kw_only=True)
class Mount:
    """One ``RUN --mount``: *type* is bind, cache, tmpfs, secret or ssh; *options* as written."""

    type: str
    options: tuple[tuple[str, str], ...] = ()

    def get(self, *names: str, default: str = "") -> str:
        """The value of the first option called one of *names*."""
        return next((value for key, value in self.options if key in names), default)

    def flag(self, *names: str) -> bool:
        """Whether a boolean option is given (bare, or with a true value)."""
        value = next((value for key, value in self.options if key in names), "false")
        return value.lower() in ("", "1", "t", "true")


@frozen(kw_only=True)
class _Instruction:
    lines: Lines
    text: str = field(default="", repr=False)
    """The instruction as written, continuation lines joined as BuildKit's parser joins them."""


@frozen(kw_only=True)
class From(_Instruction):
    """``FROM [--platform=P] image [AS name]``; *name* is lower-cased."""

    image: str
    platform: str = ""
    name: str = ""


@frozen(kw_only=True)
class Arg(_Instruction):
    """``ARG name[=default] …``."""

    args: tuple[tuple[str, str | None], ...]


@frozen(kw_only=True)
class Env(_Instruction):
    """``ENV key=value …``."""

    pairs: tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class Label(_Instruction):
    """``LABEL key=value …``."""

    pairs: tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class Run(_Instruction):
    """``RUN``: a shell command (*shell* True, one word) or an argv.

    With heredocs in shell form, *command* is the command line as written, ``<<EOF`` included.
    """

    command: tuple[str, ...]
    shell: bool
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[str, ...] = ()


@frozen(kw_only=True)
class Copy(_Instruction):
    """``COPY``. A heredoc source stands in *sources* as its name in *heredocs*."""

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    from_stage: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


@frozen(kw_only=True)
class Add(_Instruction):
    """``ADD``: like COPY, and archives are unpacked, URLs fetched."""

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


@frozen(kw_only=True)
class Cmd(_Instruction):
    """``CMD``: a shell command (*shell* True, one word) or an argv."""

    command: tuple[str, ...]
    shell: bool


@frozen(kw_only=True)
class Entrypoint(_Instruction):
    """``ENTRYPOINT``: a shell command (*shell* True, one word) or an argv."""

    command: tuple[str, ...]
    shell: bool


@frozen(kw_only=True)
class Workdir(_Instruction):
    """``WORKDIR path``."""

    path: str


@frozen(kw_only=True)
class User(_Instruction):
    """``USER name[:group]``."""

    user: str


@frozen(kw_only=True)
class Expose(_Instruction):
    """``EXPOSE port[/protocol] …``."""

    ports: tuple[str, ...]


@frozen(kw_only=True)
class Volume(_Instruction):
    """``VOLUME path …``."""

    paths: tuple[str, ...]


@frozen(kw_only=True)
class StopSignal(_Instruction):
    """``STOPSIGNAL signal``."""

    signal: str


@frozen(kw_only=True)
class Healthcheck(_Instruction):
    """``HEALTHCHECK``: durations in nanoseconds as the image config has them, 0 when unset.

    *test* is ``("NONE",)``, ``("CMD", …)`` or ``("CMD-SHELL", text)``.
    """

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@frozen(kw_only=True)
class Shell(_Instruction):
    """``SHELL ["program", "argument", …]``."""

    command: tuple[str, ...]


@frozen(kw_only=True)
class Maintainer(_Instruction):
    """``MAINTAINER name``: deprecated, still honoured."""

    name: str


@frozen(kw_only=True)
class OnBuild(_Instruction):
    """``ONBUILD instruction``: *trigger* is the instruction's text, *instruction* it, parsed."""

    trigger: str
    instruction: Instruction


Instruction = (
    Arg
    | Env
    | Label
    | Run
    | Copy
    | Add
    | Cmd
    | Entrypoint
    | Workdir
    | User
    | Expose
    | Volume
    | StopSignal
    | Healthcheck
    | Shell
    | Maintainer
    | OnBuild
)


@frozen(kw_only=True)
class Stage:
    """One FROM and what follows it, up to the next; *index* counts from 0."""

    index: int
    base: From
    instructions: tuple[Instruction, ...] = ()

    @property
    def name(self) -> str:
        """The name given with AS, else the index as text."""
        return self.base.name or str(self.index)


@frozen(kw_only=True)
class Dockerfile:
    """A parsed Dockerfile: *args* are the ARGs before the first FROM.

    *syntax* is the image named by ``# syntax=``, *check* the value of ``# check=``, *escape* the
    escape character, *text* the whole file.
    """

    filename: str
    text: str = field(repr=False)
    args: tuple[Arg, ...] = ()
    stages: tuple[Stage, ...] = ()
    escape: str = "\\"
    syntax: str = ""
    check: str = ""
    warnings: tuple[str, ...] = ()
