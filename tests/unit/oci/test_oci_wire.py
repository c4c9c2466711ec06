"""Registry JSON: read strictly, written as Go writes it, and never quoted in errors."""

from __future__ import annotations

import json

import pytest

from buildpush.errors import RegistryError
from buildpush.oci import Digest, Platform
from buildpush.oci.wire import (
    Descriptor,
    History,
    ImageConfig,
    Index,
    Manifest,
    MediaType,
    RunConfig,
    dump,
    parse_config,
    parse_manifest,
)

A = Digest("sha256:" + "a" * 64)
B = Digest("sha256:" + "b" * 64)
CONFIG = Descriptor(media_type=MediaType.OCI_CONFIG, digest=A, size=7)
LAYER = Descriptor(media_type=MediaType.OCI_LAYER_GZIP, digest=B, size=9)


def as_json(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


# --- media types ---


@pytest.mark.parametrize(
    ("media_type", "compression", "foreign"),
    [
        (MediaType.OCI_LAYER, "none", False),
        (MediaType.OCI_LAYER_GZIP, "gzip", False),
        (MediaType.OCI_LAYER_ZSTD, "zstd", False),
        (MediaType.DOCKER_LAYER, "gzip", False),
        ("application/vnd.docker.image.rootfs.diff.tar", "none", False),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd", False),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip", True),
    ],
)
def test_layers_say_how_they_are_stored(media_type: str, compression: str, foreign: bool) -> None:
    """Docker's spelling and OCI's."""
    assert MediaType.is_layer(media_type)
    assert MediaType.compression_of(media_type) == compression
    assert MediaType.is_foreign(media_type) == foreign


def test_media_types_are_told_apart() -> None:
    """An index is not a manifest, a config no layer."""
    assert [MediaType.is_index(t) for t in MediaType.ACCEPT] == [True, False, True, False]
    assert [MediaType.is_manifest(t) for t in MediaType.ACCEPT] == [False, True, False, True]
    assert MediaType.is_config(MediaType.DOCKER_CONFIG) and not MediaType.is_config("text/plain")
    assert not MediaType.is_layer("application/vnd.in-toto+json")


# --- manifests ---


def test_a_manifest_is_written_in_gos_order() -> None:
    """Compact, empty fields left out."""
    manifest = Manifest(
        config=CONFIG, layers=(LAYER,), annotations={"z": "1", "a": "<&>"}, subject=CONFIG
    )

    config = f'{{"mediaType":"{MediaType.OCI_CONFIG}","digest":"{A}","size":7}}'
    layer = f'{{"mediaType":"{MediaType.OCI_LAYER_GZIP}","digest":"{B}","size":9}}'
    assert dump(manifest).decode() == (
        f'{{"schemaVersion":2,"mediaType":"{MediaType.OCI_MANIFEST}","config":{config},'
        f'"layers":[{layer}],"subject":{config},'
        r'"annotations":{"a":"\u003c\u0026\u003e","z":"1"}}'
    )


def test_an_index_is_written_in_gos_order() -> None:
    """With each platform's words in the order of the image-spec."""
    child = Descriptor(
        media_type=MediaType.OCI_MANIFEST,
        digest=A,
        size=1,
        platform=Platform("linux", "arm", "v7"),
        annotations={"k": "v"},
        artifact_type="x/y",
        urls=("https://example.com/a",),
    )

    assert dump(Index(manifests=(child,), artifact_type="t/u")).decode() == (
        f'{{"schemaVersion":2,"mediaType":"{MediaType.OCI_INDEX}","artifactType":"t/u",'
        f'"manifests":[{{"mediaType":"{MediaType.OCI_MANIFEST}","digest":"{A}","size":1,'
        '"urls":["https://example.com/a"],"annotations":{"k":"v"},'
        '"platform":{"architecture":"arm","os":"linux","variant":"v7"},"artifactType":"x/y"}]}'
    )


@pytest.mark.parametrize(
    "document",
    [
        Manifest(config=CONFIG, layers=(LAYER, LAYER), annotations={"a": "b"}),
        Manifest(config=CONFIG, media_type=MediaType.DOCKER_MANIFEST),
        Manifest(config=CONFIG, subject=LAYER, artifact_type="a/b"),
        Index(),
        Index(media_type=MediaType.DOCKER_LIST, manifests=(CONFIG, LAYER), subject=CONFIG),
    ],
)
def test_what_is_written_is_read_again(document: Manifest | Index) -> None:
    """Reading undoes writing, with or without the header that came with it."""
    assert parse_manifest(dump(document)) == document
    assert parse_manifest(dump(document), f"{document.media_type}; charset=utf-8") == document


def test_descriptors_can_be_keys() -> None:
    """Equal ones are one."""
    assert len({CONFIG, Descriptor(media_type=MediaType.OCI_CONFIG, digest=A, size=7)}) == 1


def test_nulls_are_empty() -> None:
    """Go writes null for a list of nothing."""
    config = {"mediaType": "m", "digest": str(A), "size": 0, "annotations": None, "urls": None}
    data = as_json(config=config, layers=None, annotations=None)

    assert parse_manifest(data) == Manifest(
        config=Descriptor(media_type="m", digest=A, size=0), layers=()
    )
    assert parse_manifest(as_json(manifests=None)) == Index()


def test_the_header_decides_what_the_document_leaves_open() -> None:
    """Old docker manifests and OCI ones may lack a media type inside."""
    data = as_json(config=CONFIG.to_json(), layers=[])

    assert parse_manifest(data, MediaType.DOCKER_MANIFEST).media_type == MediaType.DOCKER_MANIFEST
    assert parse_manifest(data, "text/plain").media_type == MediaType.OCI_MANIFEST
    listed = parse_manifest(as_json(manifests=[]), MediaType.DOCKER_LIST)
    assert listed == Index(media_type=MediaType.DOCKER_LIST)


def test_a_platform_of_an_index_is_normalised() -> None:
    """So that linux/arm64/v8 is found by those who look for linux/arm64."""
    child = {**CONFIG.to_json(), "platform": {"os": "linux", "architecture": "arm64"}}
    eight = {**CONFIG.to_json(), "platform": {**child["platform"], "variant": "v8"}}  # type: ignore[dict-item]

    document = parse_manifest(as_json(manifests=[child, eight]))

    assert isinstance(document, Index)
    assert [m.platform for m in document.manifests] == [Platform("linux", "arm64")] * 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "manifest: is not JSON"),
        (b"<html>", "manifest: is not JSON"),
        (b"\xff", "manifest: is not JSON"),
        (b"[" * 100_000, "manifest: is not JSON"),
        (b'{"schemaVersion": NaN}', "manifest: is not JSON"),
        (b"[]", "manifest: the document: "),
        (as_json(), "manifest: has neither a config nor manifests"),
        (as_json(layers=[]), "manifest: has neither a config nor manifests"),
        (as_json(schemaVersion=1, fsLayers=[]), "manifest: schema version 1 is not supported"),
        (as_json(manifests=[], layers=[]), "ambiguous"),
        (as_json(manifests=[], config=CONFIG.to_json()), "ambiguous"),
        (as_json(config=CONFIG.to_json(), layers=[{}]), "manifest: layers.0.digest: "),
        (as_json(config={**CONFIG.to_json(), "size": -1}), "manifest: config.size: "),
        (as_json(config={**CONFIG.to_json(), "size": "7"}), "manifest: config.size: "),
        (as_json(config={**CONFIG.to_json(), "size": 1 << 63}), "manifest: config.size: "),
        (as_json(config={**CONFIG.to_json(), "digest": "md5:0"}), "manifest: config.digest: "),
        (as_json(manifests=[], annotations={"k": 1}), "manifest: annotations.k: "),
    ],
)
def test_the_error_says_which_field_is_wrong(data: bytes, message: str) -> None:
    """In one line."""
    with pytest.raises(RegistryError) as caught:
        parse_manifest(data)

    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (as_json(manifests=[]), MediaType.OCI_MANIFEST),
        (as_json(manifests=[], mediaType=MediaType.DOCKER_MANIFEST), ""),
        (as_json(config=CONFIG.to_json(), layers=[]), MediaType.OCI_INDEX),
        (as_json(config=CONFIG.to_json(), mediaType=MediaType.DOCKER_LIST), ""),
    ],
)
def test_a_document_that_is_not_what_it_is_called_is_refused(data: bytes, media_type: str) -> None:
    """Two readers must not see two images in the same bytes."""
    with pytest.raises(RegistryError, match="does not match its media type"):
        parse_manifest(data, media_type)


def test_errors_never_quote_the_input() -> None:
    """It may hold anything, and be megabytes."""
    secret = "hunter2-" * 1000
    for data in (
        as_json(config=secret),
        as_json(config={"digest": secret, "size": 1}),
        as_json(mediaType=[secret]),
        secret.encode(),
    ):
        with pytest.raises(RegistryError) as caught:
            parse_manifest(data)
        error: BaseException | None = caught.value
        while error is not None:
            assert "hunter2" not in repr(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

    with pytest.raises(RegistryError) as caught:
        parse_manifest(as_json(manifests=[], annotations={"k\n" * 1000: 1}))
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


# --- configs ---


FULL = ImageConfig(
    architecture="arm",
    os="linux",
    variant="v7",
    os_version="10.0",
    os_features=("win32k",),
    created="2024-01-02T03:04:05.678Z",
    author="me",
    config=RunConfig(
        user="1:2",
        exposed_ports=("80/tcp", "443/tcp"),
        env=("PATH=/bin", "A=b=c"),
        entrypoint=("/e",),
        cmd=("a", "b"),
        volumes=("/v",),
        working_dir="/w",
        labels={"b": "2", "a": "1"},
        stop_signal="SIGQUIT",
        args_escaped=True,
        healthcheck={"Retries": 3, "Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000},
        on_build=("RUN x",),
        shell=("/bin/bash", "-c"),
        extra={"Tty": False, "Domainname": ""},
    ),
    diff_ids=(A, B),
    history=(
        History(created="2024-01-01T00:00:00Z", created_by="ADD file:… in /", comment="c"),
        History(created_by="CMD", author="x", empty_layer=True),
    ),
    extra={"docker_version": "1.2", "container_config": {"Hostname": "h"}},
)


def test_a_config_is_written_as_buildkit_writes_it() -> None:
    """Top-level keys sorted, the container's in the order of Go's struct, unknown ones kept."""
    assert FULL.dump().decode() == (
        '{"architecture":"arm","author":"me","config":{"User":"1:2",'
        '"ExposedPorts":{"443/tcp":{},"80/tcp":{}},"Env":["PATH=/bin","A=b=c"],'
        '"Entrypoint":["/e"],"Cmd":["a","b"],"Volumes":{"/v":{}},"WorkingDir":"/w",'
        '"Labels":{"a":"1","b":"2"},"StopSignal":"SIGQUIT","ArgsEscaped":true,'
        '"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000,"Retries":3},'
        '"OnBuild":["RUN x"],"Shell":["/bin/bash","-c"],"Domainname":"","Tty":false},'
        '"container_config":{"Hostname":"h"},"created":"2024-01-02T03:04:05.678Z",'
        '"docker_version":"1.2","history":[{"created":"2024-01-01T00:00:00Z",'
        '"created_by":"ADD file:… in /","comment":"c"},'
        '{"created_by":"CMD","author":"x","empty_layer":true}],"os":"linux",'
        '"os.features":["win32k"],"os.version":"10.0","rootfs":{"type":"layers",'
        f'"diff_ids":["{A}","{B}"]}},"variant":"v7"}}'
    )


def test_a_config_is_read_as_it_was_written() -> None:
    """Nothing is lost; ports and volumes are sets, kept sorted."""
    again = parse_config(FULL.dump())

    assert again.dump() == FULL.dump()
    assert again.history == FULL.history and again.extra == FULL.extra
    assert again.config.exposed_ports == ("443/tcp", "80/tcp")
    assert again.platform == Platform("linux", "arm", "v7")


def test_an_almost_empty_config_is_small() -> None:
    """What Go's omitempty omits is absent, what it keeps is there."""
    assert ImageConfig(architecture="amd64", os="linux").dump() == (
        b'{"architecture":"amd64","config":{},"os":"linux",'
        b'"rootfs":{"type":"layers","diff_ids":[]}}'
    )


def test_an_empty_healthcheck_is_not_no_healthcheck() -> None:
    """Go's pointer to nothing in particular is an empty object."""
    config = parse_config(b'{"config":{"Healthcheck":{}}}')

    assert config.config.healthcheck == {}
    assert b'"Healthcheck":{}' in config.dump()
    assert parse_config(b'{"config":{"Healthcheck":null}}').config.healthcheck is None


def test_nulls_of_old_docker_configs_are_empty() -> None:
    """Docker 1.x wrote null for all it had not."""
    data = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": dict.fromkeys(("Env", "Cmd", "Labels", "Volumes", "OnBuild", "Shell")),
            "history": None,
            "rootfs": {"type": "layers", "diff_ids": None},
        }
    ).encode()

    assert parse_config(data) == ImageConfig(architecture="amd64", os="linux")
    assert parse_config(b'{"architecture":"amd64","os":"linux"}') == parse_config(data)


def test_an_unknown_field_does_not_override_a_known_one() -> None:
    """`extra` comes from a base image, and the known fields from the build."""
    config = RunConfig(user="new", extra={"User": "old"})

    assert config.to_json() == {"User": "new"}


def test_text_is_escaped_as_go_escapes_it() -> None:
    """HTML's characters and line separators as escapes, bytes that are no text replaced."""
    history = History(created_by='RUN <a> & "b" \u2028 é \x7f \x01 \t \udcff')

    data = ImageConfig(architecture="a", os="o", history=(history,)).dump()

    expected = '"RUN \\u003ca\\u003e \\u0026 \\"b\\" \\u2028 é \x7f \\u0001 \\t \\ufffd"'
    assert expected.encode() in data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "image config: the document: "),
        (b'{"config":{"Env":"A=b"}}', "image config: config.Env: "),
        (b'{"rootfs":{"diff_ids":["x"]}}', "image config: rootfs.diff_ids.0: "),
        (b'{"extra":Infinity}', "image config: is not JSON"),
    ],
)
def test_a_bad_config_is_refused_by_field(data: bytes, message: str) -> None:
    """As manifests are."""
    with pytest.raises(RegistryError) as caught:
        parse_config(data)

    assert message in str(caught.value)
