"""How a command runs: who it is, what it sees, how it ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildpush.backends.native.sandbox.rootfs import JobMount
from buildpush.errors import BuildError, UnsupportedFeatureError
from buildpush.plan.values import Ulimit

if TYPE_CHECKING:
    from conftest import Bench

pytestmark = pytest.mark.needs_root

DOCKER_CAPABILITIES = "00000000a80425fb"


def test_the_exit_code_is_the_commands(any_bench: Bench) -> None:
    """And there is no layer of a failed command."""
    outcome = any_bench.sh("echo out; echo err >&2; touch /x; exit 42")

    assert (outcome.code, outcome.stdout, outcome.stderr) == (42, ["out"], ["err"])
    assert outcome.tar == b""


def test_a_signal_is_128_and_its_number(any_bench: Bench) -> None:
    """As a shell counts."""
    assert any_bench.run(("/bin/sh", "-c", "kill -KILL $$")).code == 137


def test_a_program_that_is_nowhere_is_127(any_bench: Bench) -> None:
    """With the line that docker prints."""
    outcome = any_bench.run(("no-such-program", "x"))

    assert outcome.code == 127
    assert outcome.stderr == ['exec: "no-such-program": executable file not found in $PATH']


def test_a_file_that_may_not_be_executed_is_126(any_bench: Bench) -> None:
    """Whether by its path or found in PATH."""
    by_path = any_bench.run(("/srv/a",))
    by_name = any_bench.run(("a",), env={"PATH": "/bin:/srv"})

    assert (by_path.code, by_path.stderr) == (126, ['exec: "/srv/a": permission denied'])
    assert (by_name.code, by_name.stderr) == (126, ['exec: "a": permission denied'])


def test_five_megabytes_of_output_arrive_line_by_line(any_bench: Bench) -> None:
    """In order, none lost, on both streams."""
    outcome = any_bench.sh("seq 400000; seq 300000 >&2; printf end")

    assert outcome.stdout == [*map(str, range(1, 400_001)), "end"]
    assert outcome.stderr == [*map(str, range(1, 300_001))]


def test_root_has_dockers_default_capabilities(any_bench: Bench) -> None:
    """And nothing beyond them can be had."""
    outcome = any_bench.sh(
        "mkdir -p /p; mount -t proc p /p 2>/dev/null; cat /proc/self/status /p/self/status"
    )
    found = dict(line.split(":\t") for line in outcome.stdout if line.startswith("Cap"))

    if found:  # there is no /proc in a plain chroot
        assert found == {
            "CapInh": "0" * 16,
            "CapPrm": DOCKER_CAPABILITIES,
            "CapEff": DOCKER_CAPABILITIES,
            "CapBnd": DOCKER_CAPABILITIES,
            "CapAmb": "0" * 16,
        }
    assert any_bench.sh("mount -t tmpfs t /tmp").code != 0


def test_another_user_has_no_capabilities(bench: Bench) -> None:
    """But might get Docker's from a file."""
    found = dict(
        line.split(":\t")
        for line in bench.sh("cat /proc/self/status", user="app").stdout
        if line.startswith("Cap")
    )

    assert found["CapEff"] == found["CapPrm"] == found["CapInh"] == "0" * 16
    assert found["CapBnd"] == DOCKER_CAPABILITIES


@pytest.mark.parametrize(
    ("user", "ids", "home"),
    [
        ("", "0:0:0", "/root"),
        ("app", "1000:1000:1000 1001", "/home/app"),
        ("app:extra", "1000:1001:1001", "/home/app"),
        ("1000", "1000:1000:1000 1001", "/home/app"),
        ("1234", "1234:0:0", "/"),
        ("1234:5678", "1234:5678:5678", "/"),
        ("root:app", "0:1000:1000", "/root"),
    ],
)
def test_user_is_a_name_or_a_number(any_bench: Bench, user: str, ids: str, home: str) -> None:
    """With the group, the supplementary groups and the home of the image's own files."""
    outcome = any_bench.sh("echo $(id -u):$(id -g):$(id -G); echo $HOME", user=user)

    assert outcome.stdout == [ids, home]


def test_an_unknown_user_or_group_is_named(any_bench: Bench) -> None:
    """In BuildKit's words."""
    with pytest.raises(
        BuildError, match="unable to find user nobody-here: no matching entries in"
    ):
        any_bench.sh("true", user="nobody-here")
    with pytest.raises(
        BuildError, match="unable to find group nogroup: no matching entries in gr"
    ):
        any_bench.sh("true", user="app:nogroup")


def test_the_environment_is_the_jobs_with_a_path_and_a_home(any_bench: Bench) -> None:
    """Nothing of the caller's own."""
    outcome = any_bench.run(("/bin/env",), env={"A": "1", "SECRET": "s3cret x"})

    assert sorted(outcome.stdout) == [
        "A=1",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SECRET=s3cret x",
    ]


def test_the_working_directory_is_entered_and_made_if_it_is_gone(any_bench: Bench) -> None:
    """A missing one belongs to the user, as with BuildKit."""
    assert any_bench.sh("pwd", workdir="/srv/old").stdout == ["/srv/old"]
    outcome = any_bench.sh("pwd", workdir="/made/deep", user="app")

    assert outcome.stdout == ["/made/deep"]
    assert outcome.listing == ["dir 755 1000:1000 made", "dir 755 1000:1000 made/deep"]


def test_stdin_is_empty_and_new_files_are_not_writable_for_others(any_bench: Bench) -> None:
    """The umask is 022."""
    assert any_bench.sh("cat; umask").stdout == ["0022"]


def test_a_broken_pipe_ends_a_program(any_bench: Bench) -> None:
    """SIGPIPE is not ignored, as Python would have it."""
    assert any_bench.sh("(yes; echo $? >&2) | head -n 1").stderr == ["141"]


def test_hosts_and_hostname(bench: Bench) -> None:
    """As BuildKit names the machine; added hosts follow."""
    outcome = bench.sh("hostname; cat /etc/hosts", add_hosts={"db": "10.0.0.2"}, hostname="box")

    assert outcome.stdout == [
        "box",
        "127.0.0.1\tlocalhost box",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "10.0.0.2\tdb",
    ]


def test_a_network_of_none_has_only_a_loopback(bench: Bench) -> None:
    """That is up."""
    outcome = bench.sh(
        "ip -o link; ping -c 1 -w 2 127.0.0.1 >/dev/null && echo up", network="none"
    )

    assert [line.split(": ")[1] for line in outcome.stdout[:-1]] == ["lo"]
    assert outcome.stdout[-1] == "up"


def test_the_default_network_is_the_hosts(bench: Bench) -> None:
    """The same interfaces."""
    outcome = bench.sh("ls /sys/class/net")

    assert sorted(outcome.stdout) == sorted(path.name for path in Path("/sys/class/net").iterdir())


def test_a_pid_namespace_shows_only_the_commands_own(bench: Bench) -> None:
    """Process 1 is the launcher's, the command is 2."""
    outcome = bench.sh("echo $$; ls /proc | grep -c '^[0-9]'")

    assert outcome.stdout[0] == "2"
    assert int(outcome.stdout[1]) <= 5


def test_what_root_could_harm_the_host_with_is_read_only(bench: Bench) -> None:
    """Kernel settings, sysfs, kernel memory."""
    outcome = bench.sh(
        "for f in /sys /sys/kernel /proc/sys/kernel/panic /proc/irq; do touch $f; done; "
        "cat /proc/keys /proc/timer_list"
    )

    assert outcome.stdout == []
    assert [line.rpartition(": ")[2] for line in outcome.stderr] == ["Read-only file system"] * 4


def test_shared_memory_has_the_size_asked_for(bench: Bench) -> None:
    """64 MiB if nothing is asked."""
    script = "df -k /dev/shm | tail -n 1 | awk '{print $2}'"

    assert bench.sh(script).stdout == ["65536"]
    assert bench.sh(script, shm_size=1 << 20).stdout == ["1024"]


def test_ulimits_are_set(any_bench: Bench) -> None:
    """Soft and hard; one that does not exist is named."""
    limit = Ulimit(name="nofile", soft=100, hard=200)

    outcome = any_bench.sh("ulimit -Sn; ulimit -Hn", ulimits=(limit,))

    assert outcome.stdout == ["100", "200"]
    with pytest.raises(BuildError, match="ulimit 'colour' is unknown"):
        any_bench.sh("true", ulimits=(Ulimit(name="colour", soft=1, hard=1),))


def test_what_a_command_left_running_is_gone(any_bench: Bench) -> None:
    """Even what left its session and its parent, and keeps its output open."""
    marker = f"7{os.getpid()}"

    outcome = any_bench.sh(
        f"setsid sleep {marker} & (setsid sleep {marker} &) ; sleep 0; echo done"
    )

    assert outcome.stdout == ["done"]
    assert processes(marker) == []


def processes(marker: str) -> list[str]:
    """Command lines that hold *marker* as a word."""
    found: list[str] = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_text(errors="replace").split("\0")
        except OSError:
            continue
        if marker in words:
            found.append(" ".join(words))
    return found


def test_a_chroot_cannot_have_its_own_network(any_bench: Bench) -> None:
    """So it refuses, rather than letting the command out."""
    if any_bench.sandbox.rung.name != "CHROOT":
        assert any_bench.sh("true", network="none").code == 0
        return
    with pytest.raises(UnsupportedFeatureError, match="network=none needs namespaces"):
        any_bench.sh("true", network="none")


def test_insecure_is_refused(bench: Bench) -> None:
    """There is no such thing here."""
    with pytest.raises(UnsupportedFeatureError, match="insecure"):
        bench.sh("true", security="insecure")


def test_the_hosts_files_cannot_be_changed(bench: Bench) -> None:
    """They are bound read-only, as in BuildKit."""
    assert bench.sh("echo x >> /etc/hosts").code != 0


def test_mount_targets_follow_links_inside_the_image(
    bench: Bench, layer: object, folder: Path
) -> None:
    """An absolute link means the image's own root, never the host's."""
    (folder / "shown").mkdir()
    (folder / "shown" / "f").write_text("hello\n")
    bench.layers = (*bench.layers, layer().symlink("way", "/srv/old").done())  # type: ignore[operator]
    mount = JobMount(kind="bind", source=folder / "shown", target="/way", readonly=True)

    outcome = bench.sh("cat /srv/old/f; touch /srv/old/g", mounts=(mount,))

    assert outcome.stdout == ["hello"]
    assert "Read-only" in outcome.stderr[0]
