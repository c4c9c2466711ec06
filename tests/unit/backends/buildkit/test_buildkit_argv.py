"""From a request to the arguments of BuildKit's client."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpush.backends.buildkit.argv import (
    FIRST_CLIENT,
    Client,
    Destination,
    argv,
    csv_record,
    environment,
)
from buildpush.dockerfile import parse
from buildpush.errors import UnsupportedFeatureError
from buildpush.oci import ImageReference, Platform
from buildpush.plan import BuildRequest
from buildpush.plan.values import Cache, Resources, Ulimit

LAYOUT = Destination(layout=Path("/out/layout"))
PUSH = Destination(push=True)
LOAD = Destination(load=True)


def request_for(dockerfile: str = "FROM scratch\n", **fields: Any) -> BuildRequest:
    return BuildRequest(
        context=Path("/src"),
        dockerfile=parse(dockerfile),
        dockerfile_path=Path("/elsewhere/Dockerfile"),
        **fields,
    )


def arguments(
    request: BuildRequest, destination: Destination = LAYOUT, **options: Any
) -> tuple[str, ...]:
    return argv(request, destination, metadata=Path("/out/metadata"), **options)


def values_of(option: str, words: tuple[str, ...]) -> list[str]:
    return [w.removeprefix(f"{option}=") for w in words if w.startswith(f"{option}=")]


def output_of(request: BuildRequest, destination: Destination) -> Mapping[str, str]:
    """The first output, read as the client reads it."""
    text = values_of("--output", arguments(request, destination))[0]
    return dict(field.split("=", 1) for field in next(csv.reader([text])))


def test_the_least_that_can_be_asked_for() -> None:
    """The Dockerfile by its own path, the context last, no attestations, a layout."""
    assert arguments(request_for()) == (
        "build",
        "--progress=rawjson",
        "--metadata-file=/out/metadata",
        "--file=/elsewhere/Dockerfile",
        "--provenance=false",
        "--sbom=false",
        "--output=type=oci,tar=false,dest=/out/layout,compression=gzip",
        "/src",
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"target": "app"}, "--target=app"),
        (
            {"platforms": (Platform.parse("linux/amd64"), Platform.parse("linux/arm/v7"))},
            "--platform=linux/amd64,linux/arm/v7",
        ),
        ({"labels": {"a": 'x,"y"\n=z'}}, '--label=a=x,"y"\n=z'),
        ({"annotations": {"org.a": "v,w"}}, "--annotation=org.a=v,w"),
        ({"annotations": {"index:org.a": "v"}}, "--annotation=index:org.a=v"),
        (
            {"annotations": {"manifest[linux/arm64]:a": "v"}},
            "--annotation=manifest[linux/arm64]:a=v",
        ),
        ({"annotations": {"urn.x:y": "v"}}, "--annotation=manifest:urn.x:y=v"),
        ({"secrets": {"s": Path('/a,b"c')}}, '--secret=id=s,"src=/a,b""c"'),
        ({"ssh": {"default": Path("/run/agent")}}, "--ssh=default=/run/agent"),
        ({"build_contexts": {"two": "/x,y"}}, "--build-context=two=/x,y"),
        ({"network": "none"}, "--network=none"),
        ({"add_hosts": {"db": "::1"}}, "--add-host=db:::1"),
        ({"shm_size": 1 << 20}, "--shm-size=1048576"),
        ({"ulimits": (Ulimit(name="nofile", soft=1, hard=-1),)}, "--ulimit=nofile=1:-1"),
        ({"cgroup_parent": "ci"}, "--cgroup-parent=ci"),
        ({"no_cache": True}, "--no-cache"),
        ({"no_cache_filter": ("a", "b")}, "--no-cache-filter=b"),
        ({"pull": True}, "--pull"),
        ({"provenance": "max"}, "--provenance=mode=max"),
        ({"sbom": True}, "--sbom=true"),
        ({"sbom": "generator=a/scanner:V1"}, "--sbom=generator=a/scanner:V1"),
        ({"local_outputs": (Path("/o,p"),)}, '--output=type=local,"dest=/o,p"'),
        ({"source_date_epoch": 7}, "--build-arg=SOURCE_DATE_EPOCH"),
        ({"reproducible": True}, "--build-arg=SOURCE_DATE_EPOCH"),
    ],
    ids=str,
)
def test_a_field_becomes_an_argument(fields: dict[str, Any], expected: str) -> None:
    """Options that take a CSV record are quoted for it, the others are left as they are."""
    assert expected in arguments(request_for(**fields))


def test_a_path_that_ssh_cannot_be_told_is_refused() -> None:
    """The client reads a comma there as the end of a path, and has no way to quote it."""
    with pytest.raises(UnsupportedFeatureError, match="comma"):
        arguments(request_for(ssh={"default": Path("/a,b")}))


def test_a_network_that_a_single_run_asks_for_is_allowed() -> None:
    """RUN --network=host, --security and --device are entitlements as well."""
    text = (
        "FROM scratch\nRUN --network=host a\nRUN --security=insecure b\n"
        "RUN --device=vendor.com/gpu c\n"
    )

    words = arguments(request_for(text))

    assert values_of("--allow", words) == ["network.host", "security.insecure", "device"]


def test_limits_are_for_clients_that_have_them() -> None:
    """Half a CPU is half of the period that the kernel counts in."""
    request = request_for(limits=Resources(memory=1 << 30, cpus=0.5))

    assert values_of("--resource", arguments(request)) == []
    assert values_of("--resource", arguments(request, client=Client(resources=True))) == [
        "memory=1073741824",
        "cpu-period=100000",
        "cpu-quota=50000",
    ]


def test_a_builder_is_named() -> None:
    """Without one, the client takes its current builder."""
    assert "--builder=ci" in arguments(request_for(), builder="ci")


# -- caches ----------------------------------------------------------------------------------


def test_a_registry_cache_is_an_image_that_registries_take() -> None:
    """And trouble with it is a warning."""
    cache = Cache(type="registry", attributes={"ref": "r.example/c:1", "mode": "max"})

    (written,) = values_of("--cache-to", arguments(request_for(cache_to=(cache,))))

    form = "image-manifest=true,oci-mediatypes=true"
    assert written == f"type=registry,{form},ignore-error=true,ref=r.example/c:1,mode=max"


def test_what_is_said_of_a_cache_wins() -> None:
    """A required cache fails the build; an attribute that is given is left alone."""
    attributes = {"ref": "localhost:5000/c", "image-manifest": "false"}
    cache = Cache(type="registry", attributes=attributes, required=True)

    (written,) = values_of("--cache-to", arguments(request_for(cache_to=(cache,))))

    form = "registry.insecure=true,image-manifest=false,oci-mediatypes=true"
    assert written == f"type=registry,{form},ignore-error=false,ref=localhost:5000/c"


def test_a_cache_is_read_without_what_says_how_it_is_written() -> None:
    """One value serves for both directions."""
    cache = Cache(type="registry", attributes={"ref": "r.example/c:1", "mode": "max"})

    assert values_of("--cache-from", arguments(request_for(cache_from=(cache,)))) == [
        "type=registry,ref=r.example/c:1"
    ]


@pytest.mark.parametrize("type", ["local", "gha", "s3", "azblob"])
def test_other_caches_keep_their_attributes(type: str) -> None:
    """Paths with commas are quoted."""
    cache = Cache(type=type, attributes={"dest": "/c,d"})

    words = arguments(request_for(cache_to=(cache,), cache_from=(cache,)))

    assert values_of("--cache-to", words) == [f'type={type},ignore-error=true,"dest=/c,d"']
    assert values_of("--cache-from", words) == [f'type={type},"dest=/c,d"']


def test_an_inline_cache_has_nothing_to_ignore() -> None:
    """It is part of the image."""
    words = arguments(request_for(cache_to=(Cache(type="inline"),)))

    assert values_of("--cache-to", words) == ["type=inline"]


# -- where it goes ---------------------------------------------------------------------------


def references(*texts: str) -> tuple[ImageReference, ...]:
    return tuple(map(ImageReference.parse, texts))


def test_every_reference_is_pushed_and_nothing_kept() -> None:
    """The daemon's own store does not get an image that nobody asked for."""
    request = request_for(references=references("r.example/a:1", "r.example/a:2"))

    words = arguments(request, PUSH, client=Client(store=True))

    assert values_of("--tag", words) == ["r.example/a:1", "r.example/a:2"]
    assert values_of("--output", words) == [
        "type=image,push=true,oci-mediatypes=true,store=false,unpack=false,compression=gzip"
    ]


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost", "[::1]:5000", "plain.example"])
def test_plain_http_is_allowed_where_it_is_fine(host: str) -> None:
    """On this machine, and for hosts that were listed."""
    request = request_for(
        references=references(f"{host}/a:1"), insecure=frozenset({"plain.example"})
    )

    assert output_of(request, PUSH)["registry.insecure"] == "true"


def test_plain_http_is_not_allowed_elsewhere() -> None:
    """Certificates are checked."""
    request = request_for(references=references("r.example/a:1"))

    assert "registry.insecure" not in output_of(request, PUSH)


def test_an_image_is_loaded_as_the_daemon_stores_it() -> None:
    """Its store decides about compression."""
    request = request_for(references=references("a:1"), compression="zstd")

    assert output_of(request, LOAD) == {"type": "docker"}


@pytest.mark.parametrize(
    ("fields", "destination", "expected"),
    [
        ({}, LAYOUT, ("gzip", None)),
        ({"compression": "zstd", "compression_level": 9}, LAYOUT, ("zstd", "9")),
        (
            {"compression": "zstd", "compression_level": 9, "provenance": "min"},
            LAYOUT,
            ("zstd", "9"),
        ),
        ({"sbom": True}, LAYOUT, ("gzip", None)),
        ({"compression": "none"}, PUSH, ("uncompressed", None)),
        ({"compression_level": 1}, PUSH, ("gzip", "1")),
    ],
)
def test_who_compresses(
    fields: dict[str, Any], destination: Destination, expected: tuple[str, str | None]
) -> None:
    """BuildKit, where digests are named by attestations or it pushes by itself; else buildpush."""
    output = output_of(request_for(**fields), destination)

    assert (output["compression"], output.get("compression-level")) == expected


@pytest.mark.parametrize("fields", [{"source_date_epoch": 7}, {"reproducible": "strict"}])
def test_timestamps_in_layers_are_clamped_too(fields: dict[str, Any]) -> None:
    """A build arg alone only changes the config."""
    assert output_of(request_for(**fields), LAYOUT)["rewrite-timestamp"] == "true"


def test_a_destination_is_exactly_one() -> None:
    """Neither nothing nor both."""
    with pytest.raises(ValueError, match="exactly one"):
        Destination()
    with pytest.raises(ValueError, match="exactly one"):
        Destination(push=True, load=True)


# -- the first client ------------------------------------------------------------------------


def test_the_first_client_is_told_what_it_understands() -> None:
    """docker 20.10: text for progress, a file with the image's id, caches by reference alone."""
    request = request_for(
        references=references("a:1"),
        cache_from=(Cache(type="registry", attributes={"ref": "r.example/c:1"}),),
        cache_to=(Cache(type="inline"),),
        sbom=True,
    )

    assert arguments(request, LOAD, client=FIRST_CLIENT) == (
        "build",
        "--progress=plain",
        "--iidfile=/out/metadata",
        "--file=/elsewhere/Dockerfile",
        "--build-arg=BUILDKIT_INLINE_CACHE=1",
        "--cache-from=r.example/c:1",
        "--tag=docker.io/library/a:1",
        "/src",
    )


def test_older_clients_write_text() -> None:
    """JSON came with buildx 0.13, attestations with 0.10."""
    words = arguments(request_for(), client=Client(buildx=(0, 9, 1)))

    assert "--progress=plain" in words
    assert not values_of("--provenance", words)


# -- the environment ---------------------------------------------------------------------------


def test_build_args_stay_out_of_argv() -> None:
    """Everybody on the machine can read a process's arguments; its environment only its user."""
    request = request_for(build_args={"TOKEN": "s3cret", "EMPTY": ""})

    assert values_of("--build-arg", arguments(request)) == ["TOKEN", "EMPTY"]
    assert {"TOKEN": "s3cret", "EMPTY": ""}.items() <= environment(request, {}).items()


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "https_proxy", "DOCKER_HOST", "BUILDX_BUILDER", "GODEBUG", "TZ"]
)
def test_a_build_arg_that_would_disturb_the_client_is_an_argument(name: str) -> None:
    """Its value would otherwise decide what the client does."""
    request = request_for(build_args={name: "x"})

    assert values_of("--build-arg", arguments(request)) == [f"{name}=x"]
    assert name not in environment(request, {})


@pytest.mark.parametrize(
    "name", ["GITHUB_TOKEN", "GIT_PASSWORD", "DOCKER_PASSWORD", "REGISTRY_TOKEN"]
)
def test_a_token_whose_name_means_nothing_to_the_client_stays_out_of_argv(name: str) -> None:
    """Although it begins as names do that mean something."""
    request = request_for(build_args={name: "s3cret"})

    assert values_of("--build-arg", arguments(request)) == [name]
    assert environment(request, {})[name] == "s3cret"


@pytest.mark.parametrize(
    "name", ["ACTIONS_RUNTIME_TOKEN", "AWS_SECRET_ACCESS_KEY", "DOCKER_AUTH_CONFIG", "GIT_SSH"]
)
def test_what_the_client_logs_in_with_is_never_a_build_args(name: str) -> None:
    """A cache or a registry would be asked as somebody else."""
    assert name not in environment(request_for(build_args={name: "s3cret"}), {})


def test_a_build_arg_that_the_client_has_anyway_is_not_repeated() -> None:
    """A proxy's password need not be shown when it is in the environment already."""
    request = request_for(build_args={"HTTP_PROXY": "http://me:pass@proxy"})
    variables = {"HTTP_PROXY": "http://me:pass@proxy"}

    assert values_of("--build-arg", arguments(request, variables=variables)) == ["HTTP_PROXY"]
    assert environment(request, variables)["HTTP_PROXY"] == "http://me:pass@proxy"


def test_nothing_in_the_environment_changes_the_image() -> None:
    """What was not asked for stays out; what costs time for nothing is off."""
    variables = {
        "SOURCE_DATE_EPOCH": "1",
        "DOCKER_DEFAULT_PLATFORM": "linux/arm64",
        "BUILDX_GIT_LABELS": "full",
        "PATH": "/bin",
    }

    assert environment(request_for(), variables) == {
        "PATH": "/bin",
        "BUILDX_METADATA_PROVENANCE": "disabled",
        "BUILDX_GIT_INFO": "false",
    }


def test_provenance_says_which_commit_it_was() -> None:
    """Only then is git asked."""
    assert "BUILDX_GIT_INFO" not in environment(request_for(provenance="min"), {})


def test_the_epoch_asked_for_is_a_build_arg() -> None:
    """One that the build args have already is left alone."""
    epoch = environment(request_for(source_date_epoch=7), {})["SOURCE_DATE_EPOCH"]
    given = request_for(source_date_epoch=7, build_args={"SOURCE_DATE_EPOCH": "8"})

    assert epoch == "7"
    assert environment(given, {})["SOURCE_DATE_EPOCH"] == "8"


# -- CSV -----------------------------------------------------------------------------------------


@given(st.dictionaries(st.text("abc", min_size=1), st.text(), min_size=1))
def test_a_record_reads_back(pairs: dict[str, str]) -> None:
    """Any text survives, whatever it contains."""
    text = io.StringIO(csv_record(pairs), newline="")

    assert list(csv.reader(text, strict=True)) == [[f"{k}={v}" for k, v in pairs.items()]]


def test_a_line_feed_is_quoted() -> None:
    """As a comma and a quote are."""
    assert csv_record({"dest": 'a\nb"c'}) == '"dest=a\nb""c"'
