"""Proofs of what concerns RUN: mounts, networks, limits, and the caches of what was executed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ...plan import Feature
from .proofs import Ask, Build, Proof, ask_of
from .workbench import Workbench

__all__ = ["RUN_PROOFS"]

_SECRET: Final = "a secret for the conformance suite"  # noqa: S105 - it opens nothing
_RANDOM: Final = "cat /proc/sys/kernel/random/uuid"
_ONCE: Final = f"FROM $BASE\nRUN {_RANDOM} >/once\n"
_SYS_ADMIN: Final = 21


def _run(_: Workbench, build: Build) -> None:
    assert build().image.text("made") == "value 0\n"


def _run_mounts(_: Workbench, build: Build) -> None:
    files = build().image.files()
    assert files["seen"].content == b"kept\nfrom the context\n"
    assert {name for name in files if name.startswith(("cache/", "bound/"))} == set()


def _stage_mounts(_: Workbench, build: Build) -> None:
    files = build().image.files()
    assert files["seen"].content == b"from a stage\n"
    assert {name for name in files if name.startswith("stage/")} == set()


def _tmpfs_mounts(_: Workbench, build: Build) -> None:
    files = build().image.files()
    assert b" /scratch tmpfs " in files["seen"].content
    assert {name for name in files if name.startswith("scratch/")} == set()


def _secrets(_: Workbench, build: Build) -> None:
    image = build().image
    assert image.text("sum").split()[0] == hashlib.sha256(_SECRET.encode()).hexdigest()
    assert "run/secrets/token" not in image.files()


def _ssh(_: Workbench, build: Build) -> None:
    assert build().image.text("agent") == "socket\n"


def _no_network(_: Workbench, build: Build) -> None:
    lines = build().image.text("route").splitlines()
    assert lines[1:] == [], "there is a way out"


def _host_network(_: Workbench, build: Build) -> None:
    seen = build().image.text("devices")
    devices = Path("/proc/net/dev").read_text()
    assert _devices(seen) == _devices(devices)


def _devices(table: str) -> set[str]:
    return {line.partition(":")[0].strip() for line in table.splitlines() if ":" in line}


def _add_hosts(_: Workbench, build: Build) -> None:
    image = build().image
    assert ["203.0.113.7", "db.example"] in [line.split() for line in image.text("h").splitlines()]
    hosts = image.files().get("etc/hosts")
    assert hosts is None or b"db.example" not in hosts.content


def _shm_size(_: Workbench, build: Build) -> None:
    assert "size=98304k" in build().image.text("shm")


def _ulimits(_: Workbench, build: Build) -> None:
    assert build().image.text("limits") == "1000\n1500\n"


def _resources(_: Workbench, build: Build) -> None:
    assert str(256 << 20) in build().image.text("limit").split()


def _insecure_run(_: Workbench, build: Build) -> None:
    assert int(build().image.text("caps"), 16) >> _SYS_ADMIN & 1


def _local_cache(_: Workbench, build: Build) -> None:
    first, second = build(), build()
    assert second.image.text("once") == first.image.text("once")
    outcomes = {task.outcome for task in second.sink.state.tasks.values()}
    assert "cached" in outcomes, "no event tells that a step was cached"
    assert build(no_cache=True).image.text("once") != first.image.text("once")


def _no_cache_filter(_: Workbench, build: Build) -> None:
    first = build(no_cache_filter=[]).image
    second = build().image
    assert second.text("anew") != first.text("anew")
    assert second.text("kept") == first.text("kept")


def _cache_settings(bench: Workbench) -> Mapping[str, Any]:
    place = bench.registry.reference(f"{bench.repository}/cache:1")
    return {"cache_to": [f"type=registry,ref={place},mode=max"]}


def _registry_cache(bench: Workbench, build: Build) -> None:
    build()
    name = f"{bench.repository}/cache"
    assert any(repository.startswith(name) for repository in bench.registry.repositories)


def _import_settings(bench: Workbench) -> Mapping[str, Any]:
    place = bench.registry.reference(f"{bench.repository}/cache:1")
    if not bench.can(Feature.REGISTRY_CACHE):
        place = bench.registry.reference(f"{bench.repository}:latest")
    return {"cache_from": [f"type=registry,ref={place}"]}


def _cache_import(bench: Workbench, build: Build) -> None:
    if bench.can(Feature.REGISTRY_CACHE):
        first = bench.build(_ONCE, **_cache_settings(bench))
    else:
        # An image can be its own cache; BuildKit has to be told to keep what that takes in it.
        first = bench.build(_ONCE, build_args={"BUILDKIT_INLINE_CACHE": "1"})
    bench.forget_cache()
    second = build()
    assert second.image.text("once") == first.image.text("once")


_WITH_RUN: Final = (Feature.RUN,)
_WITH_MOUNTS: Final = (Feature.RUN, Feature.RUN_MOUNTS)

RUN_PROOFS: Final = (
    Proof(
        feature=Feature.RUN,
        ask=ask_of('FROM $BASE\nARG A=value\nRUN echo "$A $(id -u)" >/made\n'),
        check=_run,
    ),
    Proof(
        feature=Feature.RUN_MOUNTS,
        ask=ask_of(
            "FROM $BASE\n"
            "RUN --mount=type=cache,target=/cache,id=conformance echo kept >/cache/file\n"
            "RUN --mount=type=cache,target=/cache,id=conformance"
            " --mount=type=bind,source=given,target=/bound"
            " cat /cache/file /bound >/seen\n",
            {"given": "from the context\n"},
        ),
        check=_run_mounts,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.STAGE_MOUNTS,
        ask=ask_of(
            "FROM $BASE AS other\nCOPY other /other\n"
            "FROM $BASE\n"
            "RUN --mount=type=bind,from=other,source=other,target=/stage cat /stage >/seen\n",
            {"other": "from a stage\n"},
        ),
        check=_stage_mounts,
        needs=_WITH_MOUNTS,
    ),
    Proof(
        feature=Feature.TMPFS_MOUNTS,
        ask=ask_of(
            "FROM $BASE\n"
            "RUN --mount=type=tmpfs,target=/scratch touch /scratch/file"
            " && grep ' /scratch tmpfs ' /proc/mounts >/seen\n"
        ),
        check=_tmpfs_mounts,
        needs=_WITH_MOUNTS,
    ),
    Proof(
        feature=Feature.SECRETS,
        ask=ask_of(
            "FROM $BASE\nRUN --mount=type=secret,id=token sha256sum /run/secrets/token >/sum\n",
            secrets={"token": _SECRET},
        ),
        check=_secrets,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.SSH,
        ask=Ask(
            dockerfile='FROM $BASE\nRUN --mount=type=ssh test -S "$SSH_AUTH_SOCK"'
            " && echo socket >/agent\n",
            files={},
            settings=lambda bench: {"ssh": {"default": bench.agent()}},
        ),
        check=_ssh,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.RUN_NETWORK,
        ask=ask_of("FROM $BASE\nRUN cat /proc/net/dev >/devices\n", network="host"),
        check=_host_network,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.NO_NETWORK,
        ask=ask_of("FROM $BASE\nRUN cat /proc/net/route >/route\n", network="none"),
        check=_no_network,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.STEP_NETWORK,
        ask=ask_of("FROM $BASE\nRUN --network=none cat /proc/net/route >/route\n"),
        check=_no_network,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.ADD_HOSTS,
        ask=ask_of(
            "FROM $BASE\nRUN cat /etc/hosts >/h\n", add_hosts={"db.example": "203.0.113.7"}
        ),
        check=_add_hosts,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.SHM_SIZE,
        ask=ask_of("FROM $BASE\nRUN grep /dev/shm /proc/mounts >/shm\n", shm_size="96m"),
        check=_shm_size,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.ULIMITS,
        ask=ask_of(
            "FROM $BASE\nRUN ulimit -S -n >/limits && ulimit -H -n >>/limits\n",
            ulimits=["nofile=1000:1500"],
        ),
        check=_ulimits,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.RESOURCES,
        ask=ask_of(
            "FROM $BASE\nRUN cat /sys/fs/cgroup/memory.max"
            " /sys/fs/cgroup/memory/memory.limit_in_bytes >/limit 2>/dev/null || true\n",
            resources={"limits": {"memory": "256Mi"}},
        ),
        check=_resources,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.INSECURE_RUN,
        ask=ask_of(
            "FROM $BASE\nRUN --security=insecure grep CapEff /proc/self/status | cut -f 2 >/caps\n"
        ),
        check=_insecure_run,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.LOCAL_CACHE,
        ask=ask_of(_ONCE, caching=True),
        check=_local_cache,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.NO_CACHE_FILTER,
        ask=ask_of(
            f"FROM $BASE AS one\nRUN {_RANDOM} >/anew\n"
            f"FROM $BASE AS two\nRUN {_RANDOM} >/kept\nCOPY --from=one /anew /anew\n",
            no_cache_filter=["one"],
        ),
        check=_no_cache_filter,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.REGISTRY_CACHE,
        ask=Ask(dockerfile=_ONCE, files={}, settings=_cache_settings),
        check=_registry_cache,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.CACHE_IMPORT,
        ask=Ask(dockerfile=_ONCE, files={}, settings=_import_settings),
        check=_cache_import,
        needs=_WITH_RUN,
    ),
    Proof(
        feature=Feature.NAMED_NETWORK,
        ask=ask_of("FROM $BASE\nRUN true\n", network="a-network"),
        why_not="the suite makes no networks",
    ),
    Proof(
        feature=Feature.CGROUP_PARENT,
        ask=ask_of("FROM $BASE\nRUN true\n", cgroup_parent="/a-group"),
        why_not="what RUN sees of its cgroup depends on the machine",
    ),
    Proof(
        feature=Feature.DEVICES,
        ask=ask_of("FROM $BASE\nRUN --device=vendor.example/device=one true\n"),
        why_not="not every machine has a device to give",
    ),
    Proof(
        feature=Feature.RUN_AS_USER,
        ask=ask_of("FROM $BASE\nRUN true\n", run_as_user=1000),
        why_not="it is a matter of the place where the backend runs",
    ),
)
