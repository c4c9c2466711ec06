"""A build request as the classic builder is sent it: parameters, Dockerfile and context."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.backends.docker.classic import check, parameters, sent
from buildpush.backends.engine.context import Context
from buildpush.dockerfile import parse
from buildpush.dockerfile.ignore import IgnoreRules
from buildpush.errors import BuildError, SpecError, UnsupportedFeatureError
from buildpush.oci import Platform
from buildpush.plan import BuildRequest
from buildpush.plan.values import Cache, Resources, Ulimit


def a_request(folder: Path, text: str = "FROM scratch\nCOPY . /\n", **fields: Any) -> BuildRequest:
    path = folder / "Dockerfile"
    path.write_text(text)
    dockerfile = parse(text.encode(), filename="Dockerfile")
    return BuildRequest(context=folder, dockerfile=dockerfile, dockerfile_path=path, **fields)


def members(context: Context) -> dict[str, tarfile.TarInfo]:
    data = b"".join(context.stream())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: info for info in archive}


def content(context: Context, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.stream()))) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def test_every_setting_has_its_parameter(tmp_path: Path) -> None:
    """In the Engine API's words."""
    request = a_request(
        tmp_path,
        "FROM scratch AS app\n",
        target="app",
        platforms=(Platform.parse("linux/amd64"),),
        build_args={"A": "b c"},
        labels={"l": "v"},
        network="host",
        add_hosts={"db": "10.0.0.1"},
        shm_size=1 << 26,
        ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
        cgroup_parent="/limit",
        limits=Resources(memory=1 << 30, cpus=1.5),
        no_cache=True,
        pull=True,
        squash=True,
        cache_from=(Cache(type="registry", attributes={"ref": "r.io/a:1"}),),
    )

    assert dict(parameters(request, sent(request))) == {
        "version": 1,
        "dockerfile": "Dockerfile",
        "rm": True,
        "forcerm": True,
        "target": "app",
        "platform": "linux/amd64",
        "buildargs": '{"A": "b c"}',
        "labels": '{"l": "v"}',
        "networkmode": "host",
        "extrahosts": "db:10.0.0.1",
        "shmsize": 1 << 26,
        "ulimits": json.dumps([{"Name": "nofile", "Soft": 1, "Hard": 2}]),
        "memory": 1 << 30,
        "memswap": 1 << 30,
        "cpuperiod": 100_000,
        "cpuquota": 150_000,
        "cgroupparent": "/limit",
        "nocache": True,
        "pull": True,
        "squash": True,
        "cachefrom": '["r.io/a:1"]',
    }


def test_nothing_is_said_that_was_not_asked_for(tmp_path: Path) -> None:
    """Above all no network: the daemon has its own default."""
    request = a_request(tmp_path)

    assert set(parameters(request, sent(request))) == {"version", "dockerfile", "rm", "forcerm"}


def test_the_context_is_sent_without_what_is_ignored(tmp_path: Path) -> None:
    """But for the two files that the daemon itself reads, and then takes out again."""
    request = a_request(tmp_path)
    (tmp_path / ".dockerignore").write_text("*\n!kept\n!tree/in\n")
    for name in ("kept", "dropped"):
        (tmp_path / name).write_text(name)
    (tmp_path / "tree/in").mkdir(parents=True)
    (tmp_path / "tree/in/file").write_text("x")
    (tmp_path / "tree/out").write_text("x")

    what = sent(request)

    assert what.dockerfile == "Dockerfile"
    assert set(members(what.context)) == {
        "Dockerfile", ".dockerignore", "kept", "tree", "tree/in", "tree/in/file",
    }  # fmt: skip


def test_files_belong_to_root_and_keep_their_modes(tmp_path: Path) -> None:
    """As docker's own clients send them."""
    request = a_request(tmp_path)
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o4751)
    (tmp_path / "link").symlink_to("run.sh")

    found = members(sent(request).context)

    assert (found["run.sh"].uid, found["run.sh"].gid, found["run.sh"].mode) == (0, 0, 0o4751)
    assert (found["link"].issym(), found["link"].linkname) == (True, "run.sh")


def test_a_dockerfile_from_elsewhere_is_sent_under_a_name_that_is_taken_out_again(
    tmp_path: Path,
) -> None:
    """And the ignore file beside it counts, not the context's."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("x")
    (context / ".dockerignore").write_text("nothing\n")
    path = tmp_path / "app.Dockerfile"
    path.write_text("FROM scratch\n")
    (tmp_path / "app.Dockerfile.dockerignore").write_text("file\n")
    request = evolve(a_request(context), dockerfile_path=path)

    what = sent(request)

    assert what.dockerfile == ".buildpush.Dockerfile"
    assert "file" not in members(what.context)
    assert content(what.context, ".dockerignore") == b"nothing\n.buildpush.Dockerfile\n"


def test_platform_arguments_are_declared_for_a_builder_that_knows_none(tmp_path: Path) -> None:
    """In front of the first FROM, and only where a FROM uses them."""
    text = "# escape=`\nARG X\nFROM --platform=$BUILDPLATFORM a\nARG TARGETARCH\nRUN true\n"
    request = a_request(tmp_path, text, platforms=(Platform.parse("linux/arm64"),))

    what = sent(request)

    assert content(what.context, what.dockerfile).decode().splitlines()[:4] == [
        "# escape=`",
        "ARG X",
        "ARG BUILDPLATFORM",
        "FROM --platform=$BUILDPLATFORM a",
    ]
    assert what.shift == 1
    args = json.loads(str(parameters(request, what)["buildargs"]))
    assert args == {"TARGETARCH": "arm64", "BUILDPLATFORM": str(Platform.host())}


def test_chmod_is_refused_with_its_line(tmp_path: Path) -> None:
    """The builder would say so itself, but only after having built what comes before."""
    request = a_request(tmp_path, "FROM scratch\nCOPY a /\nCOPY --chmod=755 b /\n")

    with pytest.raises(UnsupportedFeatureError, match="--chmod=755") as caught:
        check(request)

    assert ">    3 | COPY --chmod=755 b /" in caught.value.report()


def test_a_file_that_shrinks_while_it_is_sent_is_an_error(tmp_path: Path) -> None:
    """Rather than an image with something else in it."""
    file = tmp_path / "file"
    file.write_bytes(bytes(3 << 20))
    pieces = Context(folder=tmp_path, rules=IgnoreRules()).stream()
    next(pieces)
    file.write_bytes(b"")

    with pytest.raises(BuildError, match="file became shorter"):
        list(pieces)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(SpecError, match="no-such"):
        list(Context(folder=tmp_path / "no-such", rules=IgnoreRules()).stream())


def test_an_ignore_file_that_links_out_of_the_context_is_not_sent(tmp_path: Path) -> None:
    """Or ``COPY . /`` would put a file of this machine into the image."""
    context = tmp_path / "context"
    context.mkdir()
    (tmp_path / "private").write_text("canary\n")
    (context / ".dockerignore").symlink_to(tmp_path / "private")
    request = a_request(context, "FROM --platform=$BUILDPLATFORM scratch\nCOPY . /\n")

    what = sent(request)

    assert content(what.context, ".dockerignore") == b".buildpush.Dockerfile\n.dockerignore\n"


@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_a_file_that_is_replaced_while_it_is_sent_is_an_error(tmp_path: Path, kind: str) -> None:
    """Neither is a link followed out of the context, nor is a pipe waited for."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "a").write_bytes(bytes((1 << 18) - 1024))  # with two headers one piece of the tar
    (context / "b").write_text("text")
    (tmp_path / "private").write_text("text")
    pieces = Context(folder=context, rules=IgnoreRules()).stream()
    next(pieces)

    match kind:
        case "link":
            (context / "b").unlink()
            (context / "b").symlink_to(tmp_path / "private")
        case "pipe":
            (context / "b").unlink()
            os.mkfifo(context / "b")
        case _:
            (tmp_path / "private").rename(context / "b")

    with pytest.raises(BuildError, match="b was replaced"):
        list(pieces)
