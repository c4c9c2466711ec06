"""RUN --mount: what is shown, what is kept, what never reaches the layer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildpush.backends.native.sandbox.rootfs import JobMount
from buildpush.errors import BuildError

if TYPE_CHECKING:
    from conftest import Bench, LayerMaker

pytestmark = pytest.mark.needs_root


def test_a_secret_is_readable_and_not_in_the_layer(any_bench: Bench, folder: Path) -> None:
    """With mode, owner and place as asked for; its folders go with it."""
    (folder / "token").write_text("s3cret\n")
    mount = JobMount(
        kind="secret", source=folder / "token", target="/run/secrets/token", mode=0o440, uid=1000
    )

    outcome = any_bench.sh(
        "cat /run/secrets/token; stat -c '%a %u:%g' /run/secrets/token",
        mounts=(mount,),
        user="app",
    )

    assert outcome.stdout == ["s3cret", "440 1000:0"]
    assert outcome.names == []


def test_a_secret_over_a_file_of_the_image_leaves_it_as_it_was(
    any_bench: Bench, folder: Path
) -> None:
    """The layer does not mention the file."""
    (folder / "token").write_text("s3cret\n")
    mount = JobMount(kind="secret", source=folder / "token", target="/srv/a")

    outcome = any_bench.sh("cat /srv/a; echo x > /srv/new", mounts=(mount,))

    assert outcome.stdout == ["s3cret"]
    assert outcome.names == ["srv", "srv/new"]


def test_a_missing_secret_is_named(any_bench: Bench, folder: Path) -> None:
    """By its target; nothing runs."""
    mount = JobMount(kind="secret", source=folder / "none", target="/run/secrets/token")

    with pytest.raises(BuildError, match="secret for /run/secrets/token cannot be read"):
        any_bench.sh("true", mounts=(mount,))


def test_a_cache_keeps_what_is_put_into_it(any_bench: Bench, folder: Path) -> None:
    """From one command to the next, outside of the layer; a new one gets its owner."""
    (folder / "cache").mkdir()
    mount = JobMount(
        kind="cache", source=folder / "cache", target="/home/app/.cache", uid=1000, mode=0o700
    )

    first = any_bench.sh(
        "echo kept > /home/app/.cache/f; stat -c '%a %u' /home/app/.cache",
        mounts=(mount,),
        user="app",
    )
    second = any_bench.sh("cat /home/app/.cache/f", mounts=(mount,))

    assert first.stdout == ["700 1000"]
    assert second.stdout == ["kept"]
    assert first.names == second.names == []
    assert (folder / "cache" / "f").read_text() == "kept\n"


def test_a_cache_survives_a_failing_command(any_bench: Bench, folder: Path) -> None:
    """What was downloaded need not be downloaded again."""
    (folder / "cache").mkdir()
    mount = JobMount(kind="cache", source=folder / "cache", target="/cache")

    assert any_bench.sh("echo x > /cache/f; exit 1", mounts=(mount,)).code == 1
    assert (folder / "cache" / "f").read_text() == "x\n"


def test_a_bind_shows_a_folder_and_forgets_writes(any_bench: Bench, folder: Path) -> None:
    """The host's own files are never changed."""
    (folder / "src").mkdir()
    (folder / "src" / "f").write_text("host\n")
    mount = JobMount(kind="bind", source=folder / "src", target="/src")

    outcome = any_bench.sh("cat /src/f; echo mine > /src/f; cat /src/f", mounts=(mount,))

    assert outcome.stdout == ["host", "mine"]
    assert (folder / "src" / "f").read_text() == "host\n"
    assert outcome.names == []


def test_a_read_only_bind_refuses_writes(bench: Bench, folder: Path) -> None:
    """Of a file, found below its source by a path that cannot climb out."""
    (folder / "src").mkdir()
    (folder / "src" / "f").write_text("host\n")
    mount = JobMount(
        kind="bind", source=folder / "src", subpath="../../f", target="here", readonly=True
    )

    outcome = bench.sh("cat /srv/here; echo x > /srv/here", mounts=(mount,), workdir="/srv")

    assert outcome.stdout == ["host"]
    assert "Read-only" in outcome.stderr[0]


def test_a_source_that_does_not_exist_is_named(any_bench: Bench, folder: Path) -> None:
    """With the mount's target."""
    mount = JobMount(kind="bind", source=folder, subpath="none", target="/src")

    with pytest.raises(
        BuildError, match="bind mount on /src has no source: 'none' does not exist"
    ):
        any_bench.sh("true", mounts=(mount,))


def test_a_bind_from_another_image(any_bench: Bench, layer: Callable[[], LayerMaker]) -> None:
    """A stage's layers are stacked like a root's; writes to them are forgotten."""
    first = layer().add("data").add("data/a", b"1\n", mode=0o644).add("data/b", b"2\n", mode=0o644)
    second = layer().add("data").add("data/.wh.a", b"").add("data/c", b"3\n", mode=0o644)
    layers = (first.done(), second.done())
    mount = JobMount(kind="bind", layers=layers, subpath="/data", target="/from")

    outcome = any_bench.sh("cd /from; ls; cat *; echo x > new && echo ok", mounts=(mount,))

    assert outcome.stdout == ["b", "c", "2", "3", "ok"]
    assert outcome.names == []


def test_a_tmpfs_is_empty_and_gone_afterwards(any_bench: Bench) -> None:
    """What the image has there is hidden, and untouched."""
    mount = JobMount(kind="tmpfs", target="/srv", size=1 << 20)

    outcome = any_bench.sh("ls /srv; echo x > /srv/f; stat -c %a /srv", mounts=(mount,))

    assert outcome.stdout == ["1777"]
    assert outcome.names == []


def test_mounts_may_lie_in_one_another(bench: Bench, folder: Path) -> None:
    """The outer one first, in whatever order they are written."""
    (folder / "f").write_text("inner\n")
    inner = JobMount(kind="bind", source=folder / "f", target="/t/in/f", readonly=True)
    outer = JobMount(kind="tmpfs", target="/t")

    outcome = bench.sh("cat /t/in/f", mounts=(inner, outer))

    assert outcome.stdout == ["inner"]
    assert outcome.names == []


def test_an_agents_socket_is_offered_to_the_user(any_bench: Bench, folder: Path) -> None:
    """RUN sees a socket with the owner and mode asked for, although the agent's is root's."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(folder / "agent"))
        (folder / "agent").chmod(0o600)
        agent.listen()
        mount = JobMount(
            kind="ssh", source=folder / "agent", target="/run/agent", uid=1000, mode=0o600
        )

        outcome = any_bench.sh("stat -c '%F %a %u' /run/agent", mounts=(mount,), user="app")

    assert outcome.stdout == ["socket 600 1000"]
    assert outcome.names == []
