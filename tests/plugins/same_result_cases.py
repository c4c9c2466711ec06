"""Dockerfiles that every engine has to build to the same image, and the context they share."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

LONG = "long-" + "x" * 120
DEEP = "/".join(["deep-folder-number-" + str(n) for n in range(12)])
OLD = 1_000_000_000
# cap_net_raw+ep, as the kernel stores it: version 2, effective.
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


@frozen(kw_only=True)
class Case:
    """A Dockerfile for the shared context; ``$BASE`` and ``$TRIGGERS`` are base images.

    *without* says why a backend cannot take part.
    """

    name: str
    dockerfile: str
    ignore: str = ""
    settings: Mapping[str, object] = field(factory=dict[str, object])
    without: Mapping[str, str] = field(factory=dict[str, str])


def fill(context: Path) -> None:
    """Make the files that the cases copy: every kind of them, all with an old time."""
    files = {
        "a.txt": "a\n", "b.txt": "b\n", "c.log": "c\n", "file1": "1", "file2": "2", "file30": "30",
        "empty": "", "tree/top": "t", "tree/sub/one": "1", "tree/sub/two.log": "2",
        "tree/sub/deeper/three": "3", "tree/.hidden": "h", "with space": "s", "ünïcode-名": "u",
        f"{DEEP}/{LONG}": "deep", "modes/setuid": "x", "modes/setgid": "x", "modes/nothing": "x",
        "modes/script": "#!/bin/sh\n", "linked/one": "same", "attributes": "x",
    }  # fmt: skip
    for name, content in files.items():
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o644)
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2755), ("nothing", 0), ("script", 0o755)):
        (context / "modes" / name).chmod(mode)
    (context / "modes" / "sticky").mkdir()
    (context / "modes" / "sticky").chmod(0o1777)
    (context / "bare").mkdir()
    os.link(context / "linked" / "one", context / "linked" / "two")
    (context / "links").mkdir()
    for name, target in (
        *(("relative", "../a.txt"), ("absolute", "/etc/passwd"), ("dangling", "nowhere")),
        *(("folder", "../tree"), ("long", LONG)),
    ):
        (context / "links" / name).symlink_to(target)
    os.setxattr(context / "attributes", "security.capability", CAPABILITY)
    for name, mode in (("plain.tar", "w:"), ("packed.tar.gz", "w:gz"), ("packed.tar.xz", "w:xz")):
        _write_tar(context / name, mode)
    _make_old(context)


def _write_tar(path: Path, mode: str) -> None:
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]

        def add(name: str, kind: bytes = tarfile.REGTYPE, **more: object) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mtime, info.mode, info.uid, info.gid = kind, OLD, 0o640, 7, 8
            for key, value in more.items():
                setattr(info, key, value)
            info.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"tar\n"))

        add("in-tar", tarfile.DIRTYPE, mode=0o750)
        add("in-tar/file")
        add("in-tar/hard", tarfile.LNKTYPE, linkname="in-tar/file")
        add("in-tar/soft", tarfile.SYMTYPE, linkname="file", mode=0o777)
        add("in-tar/setuid", mode=0o4711)
        add(f"in-tar/{LONG}")
        add("in-tar/capable", pax_headers={"SCHILY.xattr.user.note": "kept"})


def _make_old(context: Path) -> None:
    for folder, folders, names in os.walk(context):
        for name in (*folders, *names):
            os.utime(Path(folder, name), (OLD, OLD), follow_symlinks=False)
    os.utime(context, (OLD, OLD))


_NO_HEREDOCS = "it reads here-documents since 1.33"

CASES = (
    Case(
        name="arguments",
        dockerfile="ARG WORD=global\nARG UNUSED\nFROM scratch AS first\nARG WORD\nARG OTHER=${WORD}-x\n"
        "ENV FIRST=$WORD SECOND=$OTHER\nFROM scratch\nARG WORD=own\nARG TARGETOS\nARG TARGETPLATFORM\n"
        'LABEL word=$WORD os=$TARGETOS unset="[$UNUSED]"\nENV W=$WORD\nCOPY a.txt /$TARGETOS-$WORD\n',
        settings={"build_args": {"OTHER": "given"}},
    ),
    Case(
        name="arguments-given",
        dockerfile="ARG WORD=global\nFROM scratch\nARG WORD\nARG A=1\nENV A=2\nARG A=3\n"
        "LABEL word=$WORD a=$A\nCOPY a.txt /$A\n",
        settings={"build_args": {"WORD": "a b", "A": "9"}, "labels": {"step": "1"}},
    ),
    Case(
        name="environment",
        dockerfile='FROM scratch\nENV A=1 B="two words" C=th\\ ree\nENV D four words here\n'
        "ENV E=${A}x F=${NONE:-default} G=${A:+set} H=${NONE:+set} I='$A' J=\"$A\" K=\\$A\n"
        'ENV A=changed L=$A\nENV M=$A N="q\\"uote" O=\'s"q\' PATH=/own:$PATH\nCOPY a.txt /\n',
    ),
    Case(
        name="workdir",
        dockerfile="FROM $BASE\nWORKDIR /one\nWORKDIR two/../three\nENV D=four\nWORKDIR $D\n"
        "COPY a.txt .\nCOPY b.txt up/\nRUN pwd >here\nWORKDIR /\nWORKDIR rel\n",
    ),
    Case(
        name="workdir-owned",
        dockerfile="FROM $BASE\nUSER app\nWORKDIR /home/app/mine\nRUN touch x && id -un >who\n"
        "WORKDIR /srv/new/deep\nUSER 1234:5678\nWORKDIR /numeric\n",
    ),
    Case(
        name="globs",
        dockerfile="FROM scratch\nCOPY *.txt /all/\nCOPY file? /one/\nCOPY file[13]* /two/\n"
        "COPY tree/*/one /three/\nCOPY a.txt b.txt c.log /four/\nCOPY a.t* /renamed\n",
    ),
    Case(
        name="folders",
        dockerfile="FROM scratch\nCOPY tree /contents\nCOPY tree/ /slash/\nCOPY tree/sub tree/top /into/\n"
        "COPY bare /bare\nCOPY tree /contents/again\nCOPY bare/ /bare/\n",
    ),
    Case(
        name="merging",
        dockerfile="FROM $BASE\nRUN mkdir -p /d/sub && chmod 700 /d && chown app /d/sub && echo old >/d/top\n"
        "COPY tree /d\nCOPY a.txt /d/sub/\n",
    ),
    Case(
        name="owners",
        dockerfile="FROM $BASE\nCOPY --chown=app:extra a.txt /named\nCOPY --chown=app a.txt /user\n"
        "COPY --chown=12:34 tree /ids\nCOPY --chown=77 a.txt /uid\nUSER app\nCOPY a.txt /still-root\n"
        "COPY --chown=app a.txt /made/for/it/\n",
    ),
    Case(
        name="modes-given",
        dockerfile="FROM scratch\nCOPY --chmod=600 a.txt /plain\nCOPY --chmod=4755 a.txt /special\n"
        "COPY --chmod=750 tree /tree\n",
    ),
    Case(
        name="modes",
        dockerfile="FROM $BASE\nCOPY modes /modes\nRUN cp -a /modes /again && mkdir -m 2775 /shared"
        " && chmod 1777 /shared && touch /none && chmod 0 /none\n",
    ),
    Case(
        name="archives",
        dockerfile="FROM scratch\nADD plain.tar /plain/\nADD packed.tar.gz /gz\nADD packed.tar.xz /xz/\n"
        "COPY plain.tar /copied/\nADD a.txt /added/\nADD tree /tree/\n",
    ),
    Case(name="archives-owned", dockerfile="FROM scratch\nADD --chown=5:6 plain.tar /owned/\n"),
    Case(
        name="links",
        dockerfile="FROM scratch\nCOPY links /links\nCOPY links/relative /followed\n"
        "COPY links/folder /folder\n",
    ),
    Case(
        name="through-links",
        dockerfile="FROM $BASE\nRUN mkdir -p /real/place && ln -s /real /way && ln -s place /real/there"
        " && ln -s /real/file /pointer && echo old >/real/file\n"
        "COPY a.txt /way/\nCOPY b.txt /way/there/\nCOPY a.txt /pointer\nCOPY tree /way/there\n"
        "WORKDIR /way/there/new\n",
    ),
    Case(
        name="hard-links",
        dockerfile="FROM $BASE\nCOPY linked /linked\nRUN echo x >/one && ln /one /two && ln /one /three\n"
        "RUN ln /two /four && ln -s /four /five\nRUN echo more >>/two\n",
    ),
    Case(
        name="user",
        dockerfile="FROM $BASE\nUSER app:extra\nRUN id -u >/tmp/u && id -g >/tmp/g && echo $HOME >/tmp/h\n"
        "USER 0\nRUN id -u >/u\nUSER nobody-knows\n",
    ),
    Case(
        name="volumes",
        dockerfile='FROM $BASE\nRUN mkdir /data && echo before >/data/x\nVOLUME /data ["/more"]\n'
        'VOLUME ["/more", "/with space"]\nENV V=/expanded\nVOLUME $V\nCOPY a.txt /data/\n',
    ),
    Case(
        name="healthcheck",
        dockerfile="FROM scratch AS first\nHEALTHCHECK --interval=5s --timeout=1m --retries=4"
        " --start-period=2m CMD test -f /a.txt\nFROM first AS second\nCOPY a.txt /\n"
        'HEALTHCHECK CMD ["/bin/check", "it"]\n',
    ),
    Case(
        name="healthcheck-none",
        dockerfile="FROM scratch AS first\nHEALTHCHECK CMD true\nFROM first\nCOPY a.txt /\n"
        "HEALTHCHECK NONE\n",
    ),
    Case(
        name="triggers-kept",
        dockerfile="FROM scratch\nONBUILD COPY . /app\nONBUILD RUN make it\nONBUILD LABEL a=b\nCOPY a.txt /\n",
    ),
    Case(name="triggers-pulled", dockerfile="FROM $TRIGGERS\nCOPY b.txt /\n"),
    Case(
        name="shell",
        dockerfile='FROM $BASE\nSHELL ["/bin/sh", "-exc"]\nRUN echo $0 >/one\nCMD echo from shell\n'
        'ENTRYPOINT started $HOME\nSHELL ["/bin/sh", "-c"]\nRUN echo two >/two\n',
    ),
    Case(
        name="commands",
        dockerfile='FROM scratch\nCOPY a.txt /\nCMD ["first"]\nENTRYPOINT ["/a", "b c", "\\"d"]\n'
        "CMD echo it's $HOME && true\n",
    ),
    Case(
        name="commands-inherited",
        dockerfile='FROM scratch AS first\nCOPY a.txt /\nCMD ["first"]\nFROM first AS second\n'
        'ENTRYPOINT ["second"]\nFROM second\nLABEL a=b\n',
    ),
    Case(
        name="labels",
        dockerfile="FROM scratch AS first\nCOPY a.txt /\nLABEL one=1 two=first\nFROM first\n"
        'LABEL two="second" "with space"="a b" multi="line one \\\n  line two" quote=\'"\'\n'
        'LABEL org.example.long-name.v1=x empty="" three=$HOME\n',
        settings={"labels": {"one": "of the step"}},
    ),
    Case(
        name="ports",
        dockerfile="FROM scratch\nCOPY a.txt /\nEXPOSE 80 443/tcp 53/udp\nENV P=8080\nEXPOSE $P\n"
        "EXPOSE 9000-9002\nSTOPSIGNAL SIGKILL\nSTOPSIGNAL 9\nUSER nobody:nogroup\n",
    ),
    Case(
        name="whiteouts",
        dockerfile="FROM $BASE\nCOPY tree /tree\nRUN rm /tree/top /etc/group && rm -r /tree/sub\n"
        "RUN mkdir /tree/sub && echo new >/tree/sub/new\nRUN rm -rf /home\nCOPY a.txt /home/\n",
    ),
    Case(
        name="replaced",
        dockerfile="FROM $BASE\nCOPY tree /tree\nRUN rm -r /tree && mkdir /tree && echo n >/tree/new\n"
        "RUN rm -r /tree && ln -s etc /tree\nRUN rm /tree && echo file >/tree\n"
        "RUN rm /tree && mkdir -p /tree/sub && chmod 711 /tree\n",
    ),
    Case(
        name="ignored",
        dockerfile="FROM scratch\nCOPY . /all/\n",
        ignore="# a comment\n*.log\n!c.log\n**/two.*\ntree/sub/deeper\nlinks\nmodes\nattributes\n"
        "*.tar*\n**/.hidden\n/empty\nfile?\n!file2\ndeep*\nDockerfile*\n.dockerignore\n",
    ),
    Case(
        name="ignored-except",
        dockerfile="FROM scratch\nCOPY . /all/\nCOPY tree /tree/\n",
        ignore="*\n!tree/sub/**/three\n!tree/top\n!*.txt\nb.txt\n",
    ),
    Case(
        name="heredocs",
        dockerfile="FROM $BASE\nARG A=value\nCOPY <<one <<'two' /here/\n$A\none\n$A\ntwo\n"
        "RUN <<EOF\necho $A >/ran\necho second >>/ran\nEOF\n"
        "COPY --chmod=755 --chown=1:2 <<-EOF /script\n\t#!/bin/sh\n\techo hi\nEOF\n"
        "RUN cat <<EOF >/inside\nkept\nEOF\n",
        without={"buildah": _NO_HEREDOCS},
    ),
    Case(
        name="stages",
        dockerfile="FROM scratch AS one\nCOPY a.txt /one\nFROM scratch AS two\nCOPY --from=one /one /two\n"
        "FROM scratch AS unneeded\nCOPY not-there /\nFROM two AS three\nCOPY --from=0 /one /zero\n"
        "COPY --from=two / /whole/\nFROM three\nLABEL last=1\n",
    ),
    Case(
        name="stages-in-any-case",
        dockerfile="FROM scratch AS One\nCOPY a.txt /one\nFROM scratch\nCOPY --from=oNE /one /two\n",
        without={"buildah": "it takes upper and lower case in names of stages for different"},
    ),
    Case(
        name="from-image",
        dockerfile="FROM scratch\nCOPY --from=$BASE /etc /etc\nCOPY --from=$BASE /bin/busybox /bin/cat /x/\n"
        "COPY --from=$BASE --chown=3:4 home /home\n",
    ),
    Case(
        name="attributes",
        dockerfile="FROM $BASE\nCOPY attributes /copied\nRUN cp /copied /plain\nADD plain.tar /\n",
    ),
    Case(
        name="names",
        dockerfile='FROM scratch\nCOPY ["with space", "/to a/"]\nCOPY ünïcode-名 /ü/名\n'
        "COPY tree/.hidden /.dot/file\n",
    ),
    Case(
        name="deep",
        dockerfile=f"FROM $BASE\nCOPY {DEEP.split('/', maxsplit=1)[0]} /d\nRUN cd /d && ln -s {LONG} link"
        f" && mkdir {LONG} && touch {LONG}/{LONG}\n",
    ),
    Case(
        name="empty",
        dockerfile="FROM $BASE\nRUN true\nWORKDIR /tmp\nRUN touch /x && rm /x\nCOPY empty /e\nCOPY bare /b/\n"
        "ENV A=\nLABEL b=\n",
    ),
    Case(
        name="pipes",
        dockerfile="FROM $BASE\nRUN mkfifo -m 640 /fifo && chown 3:4 /fifo\n",
    ),
    Case(
        name="devices",
        dockerfile="FROM $BASE\nRUN mknod -m 600 /char c 1 3 && mknod /block b 7 0\n",
        without={"buildah": "its RUN may not make device files"},
    ),
    Case(
        name="times",
        dockerfile="FROM $BASE\nCOPY tree /tree\nADD plain.tar /tar/\nRUN touch -d '2001-01-01 00:00:00' /old"
        " && mkdir /folder && touch -d '2002-02-02 00:00:00' /folder\n"
        "RUN chmod 600 /tree/top\n",
    ),
    Case(
        name="syntax",
        dockerfile="# escape=`\n\n# a comment\nfrom $BASE\nrun echo one `\n  # inside\n\n  two >/one\n"
        'RUN ["/bin/sh", "-c", "echo $HOME >/two"]\nEnv A=`$x\ncopy ["a.txt", "/c"]\n'
        "MAINTAINER somebody <s@example.com>\n",
    ),
    Case(
        name="execution",
        dockerfile='FROM $BASE\nARG A=\'a b\'\nENV B="c  d"\nRUN echo "$A|$B|$C" >/one; echo $A >>/one\n'
        "RUN set -e; for x in 1 2; do echo $x; done >/two\nRUN cat </dev/null; test ! -t 0 && umask >/u\n"
        "ARG C=later\nRUN echo $C >/three && env | cut -d= -f1 | sort | grep -v -e HOSTNAME -e OLDPWD"
        " -e SHLVL >/names\n",
    ),
)
