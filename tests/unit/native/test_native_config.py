"""How instructions change the config, and how the exporter dates the history."""

from __future__ import annotations

import pytest
from attrs import evolve

from buildpush.backends.native.recipe.config import (
    DEFAULT_PATH,
    apply,
    dated,
    empty_image,
    go_duration,
    join_path,
    with_path,
)
from buildpush.backends.native.recipe.scope import Base
from buildpush.dockerfile.instructions import (
    Cmd,
    Entrypoint,
    Expose,
    Healthcheck,
    Lines,
    StopSignal,
    User,
    Volume,
)
from buildpush.oci import Platform
from buildpush.oci.wire import History, ImageConfig, RunConfig

LINES = Lines(first=1, last=1)
IMAGE = empty_image(Platform.of("linux", "arm", "v7"))


def with_config(**settings: object) -> ImageConfig:
    return evolve(IMAGE, config=evolve(IMAGE.config, **settings))  # type: ignore[arg-type]


def test_scratch_has_a_path_and_a_folder() -> None:
    """As BuildKit's emptyImage."""
    assert IMAGE.config == RunConfig(env=(f"PATH={DEFAULT_PATH}",), working_dir="/")
    assert (IMAGE.os, IMAGE.architecture, IMAGE.variant) == ("linux", "arm", "v7")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ((), (f"PATH={DEFAULT_PATH}",)),
        (("A=1",), ("A=1", f"PATH={DEFAULT_PATH}")),
        (("PATH=/mine", "A=1"), ("PATH=/mine", "A=1")),
        (("PATHS=x",), ("PATHS=x", f"PATH={DEFAULT_PATH}")),
    ],
)
def test_every_image_gets_a_path(env: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Unless it has one."""
    assert with_path(with_config(env=env)).config.env == expected


def test_an_entrypoint_drops_the_inherited_cmd() -> None:
    """But not one of the same stage."""
    image = with_config(cmd=("old",))
    entrypoint = Entrypoint(lines=LINES, command=("e",), shell=False)

    inherited, _ = apply(image, entrypoint, cmd_is_set=False)
    own, _ = apply(image, entrypoint, cmd_is_set=True)

    assert (inherited.config.cmd, own.config.cmd) == ((), ("old",))
    assert inherited.config.entrypoint == ("e",)


def test_shell_form_uses_the_shell() -> None:
    """SHELL's, else /bin/sh."""
    image = with_config(shell=("bash", "-ec"))

    changed, text = apply(image, Cmd(lines=LINES, command=("a b",), shell=True), cmd_is_set=False)

    assert changed.config.cmd == ("bash", "-ec", "a b")
    assert changed.config.args_escaped is True
    assert text == 'CMD ["bash" "-ec" "a b"]'


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("plain", '"plain"'),
        ('a"b\\', '"a\\"b\\\\"'),
        ("tab\tline\n", '"tab\\tline\\n"'),
        ("ümlaut", '"ümlaut"'),
        ("\x01", '"\\x01"'),
        ("\u200b", '"\\u200b"'),
        ("\U000e0001", '"\\U000e0001"'),
    ],
)
def test_words_are_quoted_as_go_quotes(word: str, shown: str) -> None:
    """In the history of CMD and ENTRYPOINT."""
    _, text = apply(IMAGE, Cmd(lines=LINES, command=(word,), shell=False), cmd_is_set=False)

    assert text == f"CMD [{shown}]"


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("80", ["80/tcp"]),
        ("80/UDP", ["80/udp"]),
        ("80-82", ["80/tcp", "81/tcp", "82/tcp"]),
        ("127.0.0.1:8080:80", ["80/tcp"]),
        ("0/sctp", ["0/sctp"]),
        ("65535", ["65535/tcp"]),
    ],
)
def test_ports(port: str, expected: list[str]) -> None:
    """Ranges are spelt out, a host's part is dropped."""
    image, text = apply(IMAGE, Expose(lines=LINES, ports=(port,)), cmd_is_set=False)

    assert list(image.config.exposed_ports) == expected
    assert text == f"EXPOSE [{' '.join(expected)}]"


@pytest.mark.parametrize("port", ["", "x", "80/icmp", "70000", "9-8", "-1", "80-", "²"])
def test_bad_ports(port: str) -> None:
    """`ValueError` names the port."""
    with pytest.raises(ValueError, match="invalid port"):
        apply(IMAGE, Expose(lines=LINES, ports=(port,)), cmd_is_set=False)


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "sigkill", "9", "SIGRTMIN+3", "RTMAX-1"])
def test_signals(name: str) -> None:
    """By name with or without SIG, by number, real-time ones by distance."""
    image, text = apply(IMAGE, StopSignal(lines=LINES, signal=name), cmd_is_set=False)

    assert (image.config.stop_signal, text) == (name, f"STOPSIGNAL {name}")


@pytest.mark.parametrize("name", ["", "0", "SIGNOPE", "TERM+1", "RTMIN+", "-9"])
def test_bad_signals(name: str) -> None:
    """Nobody knows them."""
    with pytest.raises(ValueError, match="unknown signal"):
        apply(IMAGE, StopSignal(lines=LINES, signal=name), cmd_is_set=False)


def test_an_empty_volume_is_refused() -> None:
    """A variable was not set."""
    with pytest.raises(ValueError, match="VOLUME"):
        apply(IMAGE, Volume(lines=LINES, paths=("/a", "")), cmd_is_set=False)


def test_a_healthcheck_replaces_the_inherited_one() -> None:
    """What is unset is left out, for the engine's default."""
    image = with_config(healthcheck={"Test": ["NONE"], "Retries": 9})
    check = Healthcheck(lines=LINES, test=("CMD", "x"), interval=1_500_000_000)

    changed, text = apply(image, check, cmd_is_set=False)

    assert changed.config.healthcheck == {"Test": ["CMD", "x"], "Interval": 1_500_000_000}
    assert text == (
        "HEALTHCHECK {Test:[CMD x] Interval:1.5s Timeout:0s StartPeriod:0s StartInterval:0s "
        "Retries:0}"
    )


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_000_000, "2ms"),
        (999_999_999, "999.999999ms"),
        (1_000_000_000, "1s"),
        (61_500_000_000, "1m1.5s"),
        (3_600_000_000_000, "1h0m0s"),
    ],
)
def test_durations_as_go_prints_them(nanoseconds: int, text: str) -> None:
    """``time.Duration.String``."""
    assert go_duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("folder", "path", "expected"),
    [
        ("", "a", "/a"),
        ("/a", "b/../c", "/a/c"),
        ("/a", "/b", "/b"),
        ("/a", "../../..", "/"),
        ("/a", "b//c/", "/a/b/c"),
        ("/", "//b/../c/", "//b/../c/"),
    ],
)
def test_joining_paths(folder: str, path: str, expected: str) -> None:
    """Absolute; clean where they had to be joined."""
    assert join_path(folder, path) == expected


def test_a_user_is_what_it_says() -> None:
    """Names are looked up when they are used."""
    image, text = apply(IMAGE, User(lines=LINES, user="a:b"), cmd_is_set=False)

    assert (image.config.user, text) == ("a:b", "USER a:b")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), ()),
        ((None,), (None,)),
        (("1", None, "2"), ("1", "2", "2")),
        (("1", None, None, "2", None), ("1", "2", "2", "2", "2")),
        ((None, "5", None), ("5", "5", "5")),
        (("1", "2", None), ("1", "2", "2")),
    ],
)
def test_dating_the_history(
    given: tuple[str | None, ...], expected: tuple[str | None, ...]
) -> None:
    """Lines without a time get the first new layer's, later ones that of the layer before."""
    lines = [History(created=created) for created in given]

    assert tuple(line.created for line in dated(lines)) == expected


def test_a_base_keeps_what_is_unknown_but_not_what_is_stale() -> None:
    """A cache embedded in the base is not the new image's."""
    image = evolve(IMAGE, extra={"moby.buildkit.cache.v0": "x", "container": "y", "mine": 1})

    base = Base.of_image(image)

    assert base.image.extra == {"mine": 1}


def test_a_base_without_a_slash_in_its_folder() -> None:
    """WORKDIR of the base is made absolute."""
    base = Base.of_image(with_config(working_dir="srv/"))

    assert base.image.config.working_dir == "/srv"
