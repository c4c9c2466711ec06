"""What counts for the cache, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from buildpush.backends.native.recipe.keys import (
    LayerForm,
    RunLimits,
    chain,
    directory_key,
    execute_key,
    transfer_key,
)
from buildpush.backends.native.recipe.mounts import MountSpec
from buildpush.backends.native.recipe.operations import (
    Execute,
    ImageOrigin,
    InlineFile,
    MakeDirectory,
    Transfer,
)
from buildpush.dockerfile.instructions import Lines
from buildpush.oci import Digest, Platform

LINES = Lines(first=1, last=1)
FORM = LayerForm()
RUN = Execute(
    lines=LINES,
    text="RUN x",
    title="[1/1] RUN x",
    created_by="RUN x",
    argv=("sh", "-c", "x"),
    env={"A": "1", "B": "2"},
    proxies={},
    workdir="/",
    user="",
    mounts=((MountSpec(type="secret", id="s"), None),),
    script=None,
    network="default",
    security="sandbox",
)
COPY = Transfer(
    lines=LINES,
    text="COPY a b",
    title="[1/1] COPY a b",
    created_by="COPY a b",
    is_add=False,
    sources=("a",),
    inline=(),
    destination="b",
    workdir="/",
)


def key(operation: Execute = RUN, **settings: Any) -> str:
    defaults: dict[str, Any] = {
        "parent": "p",
        "mounts": [""],
        "limits": RunLimits(),
        "platform": Platform.of("linux", "amd64"),
        "form": FORM,
    }
    return execute_key(operation, **{**defaults, **settings})


def test_a_stack_is_its_layers_in_order() -> None:
    """Neither a subset nor another order is the same."""
    a, b = Digest.of(b"a"), Digest.of(b"b")

    assert len({chain(x) for x in ([], [a], [b], [a, b], [b, a])}) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": ("sh", "-c", "y")},
        {"env": {"A": "1"}},
        {"env": {"B": "2", "A": "1"}},
        {"workdir": "/w"},
        {"user": "u"},
        {"network": "none"},
        {"security": "insecure"},
        {"script": InlineFile(name="EOF", data=b"#!x")},
        {"mounts": ((MountSpec(type="secret", id="t"), None),)},
        {"mounts": ((MountSpec(type="secret", id="s", env="E"), None),)},
    ],
)
def test_what_makes_another_run(changes: dict[str, Any]) -> None:
    """Everything that the command can notice."""
    assert key(evolve(RUN, **changes)) != key()


@pytest.mark.parametrize(
    "settings",
    [
        {"parent": "q"},
        {"mounts": ["content"]},
        {"limits": RunLimits(add_hosts={"h": "1.2.3.4"})},
        {"platform": Platform.of("linux", "arm64")},
        {"form": LayerForm(compression="zstd")},
        {"form": LayerForm(epoch=0)},
    ],
)
def test_what_surrounds_a_run(settings: dict[str, Any]) -> None:
    """Parents, mounted content, limits, platform and the form of the layer."""
    assert key(**settings) != key()


@pytest.mark.parametrize(
    "changes",
    [
        {"lines": Lines(first=7, last=8)},
        {"title": "[7/9] RUN x"},
        {"created_by": "another"},
        {"proxies": {"http_proxy": "http://p"}},
    ],
)
def test_what_does_not_count(changes: dict[str, Any]) -> None:
    """Where an instruction stands, how it is shown, and proxies."""
    assert key(evolve(RUN, **changes)) == key()


def test_an_origins_name_does_not_count() -> None:
    """Its content does."""
    spec = MountSpec(type="bind", origin="one", target="/x")
    one = evolve(RUN, mounts=((spec, ImageOrigin(name="one")),))
    two = evolve(RUN, mounts=((evolve(spec, origin="two"), ImageOrigin(name="two")),))

    assert key(one, mounts=["same"]) == key(two, mounts=["same"])


@pytest.mark.parametrize(
    "changes",
    [
        {"destination": "c"},
        {"workdir": "/w"},
        {"chown": "1"},
        {"chmod": "600"},
        {"link": True},
        {"parents": True},
        {"is_add": True},
        {"unpack": True},
        {"inline": (InlineFile(name="a", data=b"1"),)},
    ],
)
def test_what_makes_another_copy(changes: dict[str, Any]) -> None:
    """Flags and destination, beside the content."""
    first = transfer_key(COPY, parent="p", content="c", form=FORM)

    assert transfer_key(evolve(COPY, **changes), parent="p", content="c", form=FORM) != first


def test_a_copy_is_its_content() -> None:
    """The sources' names count in the content's digest."""
    first = transfer_key(COPY, parent="p", content="c", form=FORM)

    assert transfer_key(evolve(COPY, sources=("z",)), parent="p", content="c", form=FORM) == first
    assert transfer_key(COPY, parent="p", content="d", form=FORM) != first
    assert transfer_key(COPY, parent="q", content="c", form=FORM) != first


def test_a_folder_is_its_path_and_owner() -> None:
    """Upon its parent."""
    make = MakeDirectory(lines=LINES, text="", title="", created_by="", path="/a", user="")

    keys = {
        directory_key(evolve(make, path=path, user=user), parent=parent, form=FORM)
        for path, user, parent in (
            ("/a", "", "p"),
            ("/b", "", "p"),
            ("/a", "u", "p"),
            ("/a", "", "q"),
        )
    }

    assert len(keys) == 4
