"""What engines do otherwise than BuildKit, each with its reason: the documentation lists them, too."""

from __future__ import annotations

import re

from attrs import frozen
from same_result_cases import Case


@frozen(kw_only=True)
class Known:
    """A difference of the *backend*s that match; *line* is a pattern for it.

    *reason* is in the documentation, word by word. In the case *case* only, where one is named.
    """

    backend: str
    line: str
    reason: str
    case: str = ""


def is_known(line: str, case: Case, backend: str) -> bool:
    return any(
        re.fullmatch(known.backend, backend)
        and known.case in ("", case.name)
        and re.match(known.line, line) is not None
        for known in (*KNOWN, *KNOWN_OF_KANIKO)
    )


_MOUNTED = "(etc/hostname|etc/hosts|etc/resolv.conf|run)"

KNOWN = (
    Known(
        backend="native",
        line=r"(dir|file) .*: time 'new' != 0",
        reason="Folders and files that the build makes itself are as old as time: the same inputs"
        " are the same layer.",
    ),
    Known(
        backend="native",
        line=r"dir .*: time 'new' != \d+",
        reason="A folder that was copied keeps its time when something is added to it later.",
    ),
    Known(
        backend="buildah",
        line=r"dir .*: time (\d+|'new') != (\d+|'new')",
        reason="Times of folders: copied ones get the time of the build.",
    ),
    Known(
        backend="buildah",
        line=r"config WorkingDir: '/' != (None|'')",
        reason="WorkingDir stays empty where BuildKit writes `/`.",
    ),
    Known(
        backend="buildah",
        line=rf"(file|dir) {_MOUNTED}: should not be there",
        reason="RUN leaves the empty files that were mounted over: `/etc/hosts`,"
        " `/etc/hostname`, `/etc/resolv.conf`, `/run`.",
    ),
    Known(
        backend="buildah",
        line=r"file .*: xattrs \{\} != ",
        reason="Extended attributes of users in archives stay.",
    ),
    Known(
        backend="buildah",
        line=r"file .*: xattrs \{.+\} != ",
        reason="COPY loses extended attributes, file capabilities among them.",
        case="attributes",
    ),
    Known(
        backend="buildah",
        line=r"file .*/set[ug]id: mode '0o[24]755' != '0o755'",
        reason="COPY drops the setuid and setgid bits.",
        case="modes",
    ),
    Known(
        backend="buildah",
        line=r"dir tree: mode '0o750' != '0o755'",
        reason="`COPY --chmod` of a folder leaves the folder itself as it was.",
        case="modes-given",
    ),
    Known(
        backend="buildah",
        line=r"\w+ owned/.*: owner \(5, 6\) != \(7, 8\)",
        reason="`ADD --chown` leaves what it unpacks to its owners.",
        case="archives-owned",
    ),
    *(
        Known(
            backend="buildah",
            line=rf"dir {path}: missing",
            reason="The folder of a WORKDIR is made by the next RUN only.",
            case=case,
        )
        for case, path in (
            ("workdir", "rel"),
            ("workdir-owned", "(numeric|srv.*)"),
            ("through-links", "real/place/new"),
        )
    ),
    Known(
        backend="buildah",
        line=r"(file|symlink) (pointer|real/file): ",
        reason="COPY onto a link replaces the link; elsewhere it writes the file it points to.",
        case="through-links",
    ),
    Known(
        backend="buildah",
        line=r"config (Cmd|Entrypoint): \['/bin/sh', '-exc',",
        reason="CMD and ENTRYPOINT as text run in `/bin/sh -c`, whatever SHELL says.",
        case="shell",
    ),
    Known(
        backend="buildah",
        line=r"config ExposedPorts: .*'9000-9002/tcp'",
        reason="EXPOSE of a range of ports is kept as the range.",
        case="ports",
    ),
    Known(
        backend="buildah",
        line=r"\w+ (all/)?tree/sub.*: missing",
        reason="In .dockerignore, `!` does not bring back what is below a folder that is left out"
        " when there is `**` in it.",
        case="ignored-except",
    ),
    Known(
        backend="buildah",
        line=r"(config Labels: .*|file [29]: .*)",
        reason="ENV wins over an ARG of the same name, wherever they are.",
        case="arguments-given",
    ),
    Known(
        backend="buildah",
        line=r"config Env: .*'A=`'",
        reason="With a backtick as escape character, it does not protect a `$`.",
        case="syntax",
    ),
)

_OLDER = "kaniko-(google|chainguard)"
_FORK = "kaniko-osscontainertools"
_ALL = "kaniko-.*"

KNOWN_OF_KANIKO = (
    Known(
        backend=_ALL,
        line=r"config WorkingDir: '/' != None",
        reason="WorkingDir stays empty where BuildKit writes `/`.",
    ),
    Known(
        backend=_ALL,
        line=r"dir .*: time \d+ != 'new'",
        reason="Times of folders: where something was put, they are the build's.",
    ),
    Known(
        backend=_ALL,
        line=r"config ExposedPorts: .*'9000-9002/tcp'",
        reason="EXPOSE of a range of ports is kept as the range.",
        case="ports",
    ),
    Known(
        backend=_ALL,
        line=r"file (one|two|three|four): (content|twins) ",
        reason="A hard link stays one in later layers: what RUN writes to one name is in all.",
        case="hard-links",
    ),
    Known(
        backend=_ALL,
        line=r"file (all/)?linked/(one|two): twins ",
        reason="Hard links in the build context become files of their own, where .dockerignore"
        " leaves something out, and always with Google's and Chainguard's.",
    ),
    Known(
        backend=_ALL,
        line=r"file x/cat: ",
        reason="COPY --from of a link copies the link, not what it points to: name the file.",
        case="from-image",
    ),
    Known(
        backend=_ALL,
        line=r"symlink .*in-tar/soft: (owner \(7, 8\) != \(0, 0\)|time \d+ != 'new')",
        reason="Symbolic links out of archives belong to root, and are as old as the build.",
    ),
    Known(
        backend=_ALL,
        line=r"dir tar: (mode '0o755' != '0o750'|owner \(0, 0\) != \(7, 8\))",
        reason="A folder that ADD makes for what it unpacks has the mode of the archive's first"
        " entry, and its owner with osscontainertools': make it first, with WORKDIR.",
        case="times",
    ),
    Known(
        backend=_ALL,
        line=r"config Env: .*'A=`'",
        reason="With a backtick as escape character, it does not protect a `$`.",
        case="syntax",
    ),
    Known(
        backend=_ALL,
        line="refused: .* line 4: kaniko unpacks gzip and bzip2 only, not packed.tar.xz",
        reason="Refused: ADD of an archive that is packed with xz or zstd.",
        case="archives",
    ),
    Known(
        backend=_ALL,
        line="refused: .* line 2: kaniko gives what is in plain.tar to the owners in it",
        reason="Refused: ADD --chown of an archive, whose files keep their owners.",
        case="archives-owned",
    ),
    Known(
        backend=_ALL,
        line="refused: .* line 3: kaniko copies the link links/relative",
        reason="Refused: COPY of a symbolic link in the build context, which stays a link.",
        case="links",
    ),
    Known(
        backend=_ALL,
        line="refused: .* line 9: kaniko cannot copy the whole of another stage",
        reason="Refused: COPY --from=stage of `/`, which is the executor's own, with its /proc.",
        case="stages",
    ),
    Known(
        backend=_FORK,
        line=r"file copied: xattrs \{\} != ",
        reason="COPY keeps file capabilities.",
        case="attributes",
    ),
    Known(
        backend=_FORK,
        line="refused: .* line 5: .* out of the label quote twice",
        reason="Refused: LABEL with quotes, backslashes or dollars in a value,"
        " which it takes out twice: set it with the step's labels.",
        case="labels",
    ),
    Known(
        backend=_FORK,
        line="refused: .* line 5: .* keeps the CMD of the stage before",
        reason="Refused: ENTRYPOINT in a stage on top of one with a CMD, which"
        " it keeps: write CMD [] before it.",
        case="commands-inherited",
    ),
    Known(
        backend=_OLDER,
        line=r"file .*: time \d+ != 'new'",
        reason="Times of files are the build's.",
    ),
    Known(
        backend=_OLDER,
        line=r"dir d: mode '0o700' != '0o755'",
        reason="COPY of a folder onto one that is there changes its"
        " mode to that of the one copied.",
        case="merging",
    ),
    Known(
        backend=_OLDER,
        line=r"dir (expanded|more|with space): should not be there",
        reason="VOLUME makes its folder.",
        case="volumes",
    ),
    Known(
        backend=_OLDER,
        line=r"dir (srv|srv/new): owner \(1000, 1000\) != \(0, 0\)",
        reason="Of the folders that WORKDIR makes, only the last one belongs to USER.",
        case="workdir-owned",
    ),
    Known(
        backend=_OLDER,
        line="refused: .*kaniko cannot read here-documents",
        reason="Refused: here-documents, which it skips.",
        case="heredocs",
    ),
    Known(
        backend=_OLDER,
        line="refused: .* line 3: .* without the group extra",
        reason="Refused: RUN as a USER with a group, which it leaves out.",
        case="user",
    ),
    Known(
        backend=_OLDER,
        line="refused: .* line 3: .* cannot do --chmod=4755",
        reason="Refused: `COPY --chmod` of more than three digits, or by letters.",
        case="modes-given",
    ),
    Known(
        backend=_OLDER,
        line="refused: .* line 9: .* leaves TARGETOS empty",
        reason="Refused: TARGETOS and its like, where the step names no platforms.",
        case="arguments",
    ),
    Known(
        backend=_OLDER,
        line="refused: .* line 6: .* lets the ENV A win over this ARG",
        reason="Refused: ARG of a name that ENV has set, since ENV wins.",
        case="arguments-given",
    ),
)
