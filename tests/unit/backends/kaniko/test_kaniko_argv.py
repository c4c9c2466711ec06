"""What kaniko's executor is told, from requests; the whole of it in golden files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from attrs import evolve

from buildpush.backends.kaniko.executor.argv import (
    cache_repository,
    command,
    is_free,
    private_files,
)
from buildpush.backends.kaniko.executor.flavors import Executor, Flavor
from buildpush.backends.kaniko.executor.options import GitOptions, KanikoOptions
from buildpush.backends.kaniko.runner import Command, Places
from buildpush.dockerfile import parse
from buildpush.errors import SpecError
from buildpush.oci import ImageReference, Platform
from buildpush.plan import BuildRequest, Delivery
from buildpush.plan.values import Cache, Resources

GOLDEN = Path(__file__).parents[3] / "golden" / "kaniko" / "argv"
EXECUTORS = {
    "google-1.24.0": Executor(flavor=Flavor.GOOGLE, version=(1, 24, 0)),
    "chainguard-1.25.16": Executor(flavor=Flavor.CHAINGUARD, version=(1, 25, 16)),
    "oss-1.26.3": Executor(flavor=Flavor.OSSCONTAINERTOOLS, version=(1, 26, 3)),
    "oss-1.28.3": Executor(flavor=Flavor.OSSCONTAINERTOOLS, version=(1, 28, 3)),
}
OSS = EXECUTORS["oss-1.28.3"]
PLACES = Places(
    context="dir:///kaniko/buildpush/context",
    private=PurePosixPath("/kaniko/buildpush/private"),
    digest=PurePosixPath("/kaniko/buildpush/out/digest"),
    layout=PurePosixPath("/kaniko/buildpush/out/layout"),
)
PUSHED = Places(
    context="dir:///kaniko/buildpush/context",
    private=PurePosixPath("/kaniko/buildpush/private"),
    digest=PurePosixPath("/dev/termination-log"),
)
ARM = Platform.parse("linux/arm64")
TEXT = "FROM base AS build\nRUN make\nFROM scratch AS final\nCOPY --from=build /o /o\n"


def a_request(text: str = TEXT, **changes: Any) -> BuildRequest:
    return BuildRequest(
        context=Path("/src"),
        dockerfile=parse(text),
        dockerfile_path=Path("/src/Dockerfile"),
        **changes,
    )


def references(*names: str) -> tuple[ImageReference, ...]:
    return tuple(map(ImageReference.parse, names))


def repository(name: str) -> tuple[Cache, ...]:
    return (Cache(type="registry", attributes={"ref": name}),)


def told(
    changes: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    places: Places = PLACES,
    platform: Platform | None = None,
    executor: Executor = OSS,
) -> Command:
    return command(
        a_request(**changes or {}),
        executor,
        KanikoOptions(**options or {}),
        places,
        platform=platform,
    )


def follows(words: tuple[str, ...], *expected: str) -> bool:
    n = len(expected)
    return any(words[i : i + n] == expected for i in range(len(words)))


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "pushed": {
        "changes": {
            "delivery": Delivery.DIRECT,
            "references": references("r.example/team/app:1", "r.example/team/app:latest"),
            "retries": 2,
        },
        "places": PUSHED,
    },
    "step": {
        "changes": {
            "target": "build",
            "build_args": {"VERSION": "1 2", "HTTP_PROXY": "http://proxy:3128", "a-b": "c"},
            "labels": {"who": "a b", "x": "y=z"},
            "secrets": {"npm": Path("/run/npm")},
            "reproducible": True,
            "optimize": True,
            "squash": True,
            "mirrors": {"docker.io": ("mirror.example",), "quay.io": ("mirror.example/quay",)},
            "insecure": frozenset({"docker.io", "127.0.0.1:5000"}),
            "compression_level": 9,
            "cache_from": repository("r.example/cache:x"),
            "cache_to": repository("r.example/cache:y"),
            "limits": Resources(memory=1 << 30),
            "platforms": (ARM,),
        },
        "platform": ARM,
    },
    "options": {
        "changes": {"cache_from": repository("r.example/cache")},
        "options": {
            "cache_ttl": "90m",
            "cache_dir": "/cache",
            "cache_copy_layers": False,
            "cache_run_layers": True,
            "compressed_caching": True,
            "single_snapshot": True,
            "snapshot_mode": "time",
            "ignore_paths": ["/a", "/b,c"],
            "ignore_var_run": False,
            "push_retry": 1,
            "image_download_retry": 2,
            "image_fs_extract_retry": 3,
            "push_ignore_immutable_tag_errors": True,
            "skip_push_permission_check": True,
            "registry_maps": {"gcr.io": ["a.example", "b.example/x"]},
            "skip_default_registry_fallback": True,
            "registry_certificates": {"r.example": "/ca.pem"},
            "registry_client_certs": {"r.example": ("/c.pem", "/k.pem")},
            "insecure": False,
            "insecure_pull": True,
            "insecure_registries": ["i.example"],
            "skip_tls_verify": False,
            "skip_tls_verify_pull": True,
            "skip_tls_verify_registries": ["s.example"],
            "verbosity": "debug",
            "log_timestamp": True,
            "skip_unused_stages": True,
            "cleanup": True,
            "git": GitOptions(branch="main", single_branch=True, recurse_submodules=True),
            "context_sub_path": "app",
            "flags": {"new-thing": ["a", "b"]},
        },
    },
    "fork": {
        "changes": {"annotations": {"k": "v"}, "compression": "zstd"},
        "options": {
            "credential_helpers": ["env", "ecr"],
            "pre_cleanup": True,
            "materialize": True,
            "use_new_run": True,
            "git": GitOptions(depth=1),
            "feature_flags": {"FF_KANIKO_OCI_SCRATCH_BASE": True, "FF_KANIKO_COPY_AS_ROOT": False},
        },
    },
}
FOR = {
    "plain": tuple(EXECUTORS),
    "pushed": ("google-1.24.0", "oss-1.28.3"),
    "step": ("oss-1.26.3", "oss-1.28.3"),
    "options": ("google-1.24.0", "oss-1.28.3"),
    "fork": ("oss-1.28.3",),
}


def as_text(found: Command) -> str:
    """A word a line, what belongs to a flag indented, then the variables."""
    words = "".join(f"{'' if word.startswith('-') else '  '}{word}\n" for word in found.words)
    variables = "".join(f"{k}={v}\n" for k, v in sorted(found.variables.items()))
    return f"{words}\n{variables}"


@pytest.mark.parametrize(("case", "name"), [(c, n) for c, names in FOR.items() for n in names])
def test_what_the_executor_is_told(case: str, name: str) -> None:
    """Every word and every variable, as they were given to real executors."""
    found = told(**CASES[case], executor=EXECUTORS[name])

    golden = GOLDEN / f"{case}.{name}.txt"
    assert golden.read_text(encoding="utf-8") == as_text(found)


CANARY = "canary-7f3a91"


def test_nothing_secret_is_told(tmp_path: Path) -> None:
    """Secrets, keys and the values of build args are in files and variables, not in argv."""
    for name in ("secret", "key", "cert"):
        (tmp_path / name).write_text(f"{CANARY}-{name}")
    changes: dict[str, Any] = {
        "secrets": {"npm": tmp_path / "secret"},
        "build_args": {"NPM_TOKEN": f"{CANARY}-arg"},
    }
    options: dict[str, Any] = {
        "registry_client_certs": {"r.example": (tmp_path / "cert", tmp_path / "key")}
    }

    found = told(changes, options)
    files = private_files(a_request(**changes), OSS, KanikoOptions(**options))

    assert CANARY not in " ".join(found.words)
    assert str(tmp_path) not in " ".join(found.words)
    assert found.variables["NPM_TOKEN"] == f"{CANARY}-arg"
    assert files["secrets/npm"] == f"{CANARY}-secret".encode()
    assert files["certs/0.key.pem"] == f"{CANARY}-key".encode()
    assert follows(found.words, "--secret", "id=npm,src=/kaniko/buildpush/private/secrets/npm")


@pytest.mark.parametrize(
    "name", ["HTTPS_PROXY", "no_proxy", "AWS_SECRET", "DOCKER_CONFIG", "GODEBUG", "KANIKO_DIR",
             "FF_KANIKO_X", "PATH", "HOME", "SSL_CERT_DIR", "GIT_TOKEN", "a-b", "1A", ""],
)  # fmt: skip
def test_what_means_something_to_the_executor_stays_out_of_its_environment(name: str) -> None:
    """A build arg of that name would change what the executor itself does."""
    assert not is_free(name)


@pytest.mark.parametrize("name", ["VERSION", "NPM_TOKEN", "_x", "MY_HOME"])
def test_other_names_are_free(name: str) -> None:
    """They mean nothing but to the Dockerfile."""
    assert is_free(name)


def test_private_files_are_the_dockerfile_and_no_rules() -> None:
    """The context comes without what is ignored; no second reading of the rules."""
    files = private_files(a_request(), OSS, KanikoOptions())

    assert files == {"Dockerfile": TEXT.encode(), "Dockerfile.dockerignore": b""}


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Before anything is started."""
    options = KanikoOptions(registry_certificates={"r.example": tmp_path / "none.pem"})

    with pytest.raises(SpecError, match=r"CA of r\.example: .*none\.pem cannot be read"):
        private_files(a_request(), OSS, options)


def test_a_cache_is_one_repository() -> None:
    """kaniko has one --cache-repo."""
    both = a_request(cache_from=repository("a.example/x"), cache_to=repository("b.example/x"))

    with pytest.raises(SpecError, match=r"a\.example/x and b\.example/x"):
        cache_repository(both)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cache_from": repository("r.example/c:1")}, ("r.example/c", "--no-push-cache=true")),
        ({"cache_to": repository("r.example/c:1")}, ("r.example/c", "--cache-copy-layers=true")),
    ],
)
def test_a_cache_that_is_only_read_is_not_written(
    changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    """Copied layers are cached, too, for the executors that do it right."""
    assert follows(told(changes).words, "--cache=true", "--cache-repo", *words)


def test_no_cache_is_no_cache() -> None:
    """Neither the repository nor the folder."""
    kept = evolve(PLACES, cache=PurePosixPath("/kaniko/buildpush/cache"))

    without = told({"no_cache": True}, places=kept).words
    with_it = told(places=kept).words

    assert not any("cache" in word for word in without if word.startswith("--"))
    assert follows(with_it, "--cache-repo", "oci:/kaniko/buildpush/cache/layers")


def test_a_folder_for_the_cache_is_not_used_where_it_would_deceive() -> None:
    """An executor that forgets variables in its keys builds anew instead."""
    kept = evolve(PLACES, cache=PurePosixPath("/kaniko/buildpush/cache"))
    text = {"text": "FROM a\nARG X\nWORKDIR /w$X\n"}

    old = told(text, places=kept, executor=EXECUTORS["oss-1.26.3"]).words

    assert "--cache=true" not in old
    assert "--cache=true" in told(text, places=kept).words


def test_the_last_stage_needs_no_name() -> None:
    """Only an earlier one is named, as kaniko calls it."""
    assert "--target" not in told({"target": "final"}).words
    assert "--target" not in told({"target": "1"}).words
    assert follows(told({"target": "0"}).words, "--target", "build")


def test_old_executors_are_told_the_platform() -> None:
    """They leave TARGETARCH empty; what the caller says wins."""
    found = told(
        {"build_args": {"TARGETOS": "mine"}}, platform=ARM, executor=EXECUTORS["google-1.24.0"]
    )

    assert found.variables["TARGETARCH"] == "arm64"
    assert found.variables["TARGETOS"] == "mine"
    assert "TARGETARCH" not in told(platform=ARM).variables


UNNEEDED = (
    "ARG V\nFROM a AS one\n# say\nRUN \\\n  false\nFROM b\nRUN true\nFROM one AS two\n"
    "COPY --from=1 /x /x\nFROM c AS three\n"
)


def test_old_executors_get_no_stages_that_nobody_needs() -> None:
    """They would build them, or lose count of them; lines and numbers stay."""
    request = a_request(UNNEEDED, target="1")

    old = private_files(request, EXECUTORS["google-1.24.0"], KanikoOptions())["Dockerfile"]
    new = private_files(request, OSS, KanikoOptions())["Dockerfile"]

    assert old.decode() == (
        "ARG V\nFROM scratch AS one\n# say\n\n\nFROM b\nRUN true\nFROM scratch AS two\n\n"
        "FROM scratch AS three\n"
    )
    assert new.decode() == UNNEEDED


def test_the_steps_labels_win() -> None:
    """kaniko's --label does not: it is said again where the target ends."""
    text = "FROM a AS one\nLABEL who=me x.y='1'\nRUN true\nFROM b\n"
    request = a_request(text, target="one", labels={"who": 'a "b" $c', "x.y": "2", "new": "3"})

    found = private_files(request, EXECUTORS["google-1.24.0"], KanikoOptions())["Dockerfile"]

    assert found.decode().split("\n")[:5] == [
        "FROM a AS one",
        "LABEL who=me x.y='1'",
        "RUN true",
        'LABEL who="a \\"b\\" \\$c" x.y=2',
        "FROM scratch",
    ]


def test_from_names_its_image_where_kaniko_knows_no_platform() -> None:
    """TARGETARCH in FROM is empty to it."""
    text = "FROM a AS base-arm64\nFROM --platform=$TARGETPLATFORM \\\n base-${TARGETARCH} AS x\n"

    found = private_files(a_request(text, platforms=(ARM,)), OSS, KanikoOptions())["Dockerfile"]

    assert found.decode() == "FROM a AS base-arm64\nFROM base-arm64 AS x\n\n"
