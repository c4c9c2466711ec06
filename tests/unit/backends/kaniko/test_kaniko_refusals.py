"""What a kaniko would ignore or do wrongly is refused, with the line and the way out.

Every refusal stands for a difference that was seen between a real executor's image and
BuildKit's, of the same Dockerfile.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.kaniko.executor.flavors import Executor, Flavor
from buildpush.backends.kaniko.executor.options import GitOptions, KanikoOptions
from buildpush.backends.kaniko.executor.refusals import refuse
from buildpush.dockerfile import parse
from buildpush.errors import SourceEvidence, UnsupportedFeatureError
from buildpush.oci import Platform
from buildpush.plan import BuildRequest
from buildpush.plan.values import Cache

GOOGLE = Executor(flavor=Flavor.GOOGLE, version=(1, 24, 0))
OLD_GOOGLE = Executor(flavor=Flavor.GOOGLE, version=(1, 9, 1))
CHAINGUARD = Executor(flavor=Flavor.CHAINGUARD, version=(1, 25, 16))
NEWEST = Executor(flavor=Flavor.OSSCONTAINERTOOLS, version=(1, 28, 3))
AMD, ARM, ARM7 = map(Platform.parse, ("linux/amd64", "linux/arm64", "linux/arm/v7"))


def oss(*version: int) -> Executor:
    first, second, third = version
    return Executor(flavor=Flavor.OSSCONTAINERTOOLS, version=(first, second, third))


def a_request(text: str, context: Path = Path("/nowhere"), **changes: Any) -> BuildRequest:
    return BuildRequest(
        context=context,
        dockerfile=parse(text if "FROM" in text else f"FROM base\n{text}"),
        dockerfile_path=context / "Dockerfile",
        **changes,
    )


def repository(name: str) -> tuple[Cache, ...]:
    return (Cache(type="registry", attributes={"ref": name}),)


@pytest.mark.parametrize(
    ("executor", "text", "line", "says"),
    [
        (NEWEST, "RUN --mount=type=tmpfs,target=/t true", 2, "no heed of --mount=type=tmpfs"),
        (NEWEST, "RUN --mount=type=ssh true", 2, "no heed of --mount=type=ssh"),
        (NEWEST, "USER a\nRUN --mount=from=other,target=/x true", 3, "cannot mount from other"),
        (NEWEST, "RUN --mount=type=cache,target=/x,from=b true", 2, "cannot mount from b"),
        (NEWEST, "RUN --mount=type=cache,target=/x,ro true", 2, "for reading only"),
        (NEWEST, "WORKDIR /w\nRUN --mount=source=a,target=a true", 3, "mounts a below /, not"),
        (oss(1, 27, 2), "RUN --mount=target=/x true", 2, "no heed of --mount=type=bind"),
        (oss(1, 26, 2), "RUN --mount=type=secret,id=x true", 2, "--mount=type=secret"),
        (GOOGLE, "RUN --mount=type=cache,target=/x true", 2, "kaniko 1.24.0 .google. takes no"),
        (oss(1, 28, 0), "USER a:b\nLABEL c=d\nRUN true", 4, "as a without the group b"),
        (NEWEST, "VOLUME /v\nRUN touch /v/x", 3, "RUN writes below /v after VOLUME"),
        (NEWEST, "VOLUME /v\nWORKDIR /v/in\nRUN touch x", 4, "below /v after VOLUME"),
        (NEWEST, "WORKDIR /w\nVOLUME data\nRUN touch /w/data", 4, "below data after VOLUME"),
        (NEWEST, "VOLUME /v\nRUN <<E\ntouch /v/x\nE", 3, "below /v after VOLUME"),
        (oss(1, 27, 6), "COPY --chmod=u+x a /a", 2, "cannot do --chmod=u.x"),
        (GOOGLE, "COPY --chmod=4755 a /a", 2, "cannot do --chmod=4755"),
        (oss(1, 28, 0), "COPY <<E /a\n$x\nE", 2, "expands no variables in <<E"),
        (oss(1, 25, 1), "USER a\nCOPY b /b", 3, "copies as a, not as root"),
        (NEWEST, "COPY a ../up/b /c/", 2, "leaves the build context for ../up/b"),
        (NEWEST, "COPY a /kaniko/a", 2, "/kaniko is the executor's own"),
        (NEWEST, "WORKDIR /\nADD a kaniko", 3, "ADD: /kaniko is the executor's own"),
        (NEWEST, "WORKDIR /kaniko", 2, "WORKDIR: /kaniko"),
        (GOOGLE, "COPY a /etc/hosts", 2, "never takes /etc/hosts into the image"),
        (NEWEST, "HEALTHCHECK --start-interval=1s CMD true", 2, "forgets HEALTHCHECK"),
        (NEWEST, "ONBUILD HEALTHCHECK --start-interval=1s CMD true", 2, "forgets HEALTHCHECK"),
        (NEWEST, 'LABEL a=b\nLABEL j="{\\"a\\": 1}"', 3, "out of the label j twice"),
        (NEWEST, "LABEL j='a $x'", 2, "label j twice"),
        (oss(1, 25, 2), "ARG TARGETARCH", 2, "leaves TARGETARCH empty"),
        (GOOGLE, "ARG BUILDPLATFORM", 2, "leaves BUILDPLATFORM empty"),
        (NEWEST, "FROM base-${TARGETARCH}\n", 1, "does not know TARGETARCH in FROM"),
        (NEWEST, "FROM --platform=windows/amd64 a\n", 1, "no heed of --platform"),
        (NEWEST, "FROM a AS x\nUSER u:g\nFROM x\nVOLUME /v\nRUN rm /v/*", 5, "after VOLUME"),
        (GOOGLE, "FROM a AS x\nUSER u:g\nFROM x\nRUN true", 4, "without the group g"),
    ],
)
def test_a_line_that_would_go_wrong_is_shown(
    executor: Executor, text: str, line: int, says: str
) -> None:
    """Before anything is started, with what would mend it."""
    with pytest.raises(UnsupportedFeatureError, match=says) as caught:
        refuse(a_request(text), executor, KanikoOptions())

    (evidence,) = caught.value.evidence
    assert isinstance(evidence, SourceEvidence)
    assert evidence.first_line == line
    assert f"line {line}: " in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("executor", "text"),
    [
        (NEWEST, "RUN --mount=target=/x,rw --mount=type=cache,target=$Y true"),
        (NEWEST, "WORKDIR /w\nRUN --mount=type=secret,id=a --mount=type=cache,target=/c true"),
        (NEWEST, "RUN --mount=type=bind,source=a,target=a true"),
        (NEWEST, "USER a:b\nRUN true"),
        (GOOGLE, "USER 1000:1000\nRUN true"),
        (GOOGLE, "USER a:b"),
        (NEWEST, "VOLUME /v\nRUN touch /var/x /v2 /opt/v\nCOPY a /v/\nWORKDIR /v"),
        (NEWEST, "RUN touch /v/x\nVOLUME /v"),
        (NEWEST, "COPY --chmod=u+x,g-w a /a\nCOPY --chmod=4755 b /b"),
        (GOOGLE, "COPY --chmod=0755 a /a\nCOPY --chmod=$MODE a /b"),
        (NEWEST, "COPY <<E /a\n$x\nE"),
        (oss(1, 27, 0), "COPY <<'E' /a\n$x\nE"),
        (GOOGLE, "USER a\nCOPY b /b"),
        (oss(1, 25, 1), "USER a\nCOPY --chown=a b /b\nUSER root\nCOPY c /c"),
        (NEWEST, "COPY --from=x ../a /a\nADD https://h.example/../a /b"),
        (NEWEST, "COPY a /kaniko-tools/\nWORKDIR $K"),
        (NEWEST, 'LABEL a="b c" d=\'e\' "f g"=h'),
        (GOOGLE, 'LABEL j="{\\"a\\": 1}"'),
        (NEWEST, "ARG TARGETARCH\nARG BUILDPLATFORM"),
        (GOOGLE, "ARG TARGETARCH=amd64"),
        (NEWEST, "FROM --platform=$BUILDPLATFORM a AS x\nFROM --platform=$TARGETPLATFORM b\n"),
        (NEWEST, "FROM a AS unneeded\nRUN --mount=type=ssh true\nFROM b\n"),
        (NEWEST, "HEALTHCHECK --start-period=1s CMD true"),
    ],
)
def test_what_goes_right_is_not_refused(executor: Executor, text: str) -> None:
    """What nobody needs is not looked at either."""
    refuse(a_request(text), executor, KanikoOptions())


def test_the_platform_is_told_where_it_is_known() -> None:
    """Then old executors know TARGETARCH, and FROM can name it."""
    request = a_request("ARG X\nFROM base-${TARGETARCH}\nARG TARGETARCH\n", platforms=(ARM,))

    refuse(request, GOOGLE, KanikoOptions())


def test_a_cross_build_needs_its_own_platform() -> None:
    """kaniko would take the stage's base for the target, and try to run it here."""
    request = a_request("FROM --platform=$BUILDPLATFORM go\nRUN go build\n", platforms=(AMD, ARM))

    refuse(request, NEWEST, KanikoOptions())
    with pytest.raises(UnsupportedFeatureError, match="would be for linux/arm64, not linux/amd64"):
        refuse(request, NEWEST, KanikoOptions(), own=AMD)


@pytest.mark.parametrize(
    ("executor", "text", "line", "options"),
    [
        (oss(1, 27, 6), "ARG A\nWORKDIR /w$A", 3, {}),
        (oss(1, 25, 0), "ARG A\nCOPY a /$A/a", 3, {"cache_copy_layers": True}),
        (CHAINGUARD, "ARG A\nRUN true\nADD --chown=$A a /a", 4, {"cache_copy_layers": True}),
    ],
)
def test_a_cache_that_would_deceive_is_refused(
    executor: Executor, text: str, line: int, options: dict[str, Any]
) -> None:
    """Its keys have the instruction as written, not what its variables stand for."""
    request = a_request(text, cache_to=repository("r.example/c"))

    with pytest.raises(UnsupportedFeatureError, match=f"line {line}: .* variables have changed"):
        refuse(request, executor, KanikoOptions(**options))
    refuse(a_request(text), executor, KanikoOptions(**options))
    refuse(request, NEWEST, KanikoOptions(**options))
    refuse(request, GOOGLE, KanikoOptions(**options))


def test_copies_are_not_cached_unless_it_is_safe() -> None:
    """Chainguard's kaniko is told to only on request."""
    request = a_request("ARG A\nCOPY a /$A/a\nWORKDIR /$A", cache_to=repository("r.example/c"))

    refuse(request, CHAINGUARD, KanikoOptions())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("COPY link /x", "copies the link link, not"),
        ("COPY sub/* /x/", "copies the link sub/link, not"),
        ("ADD --chmod=600 ./link /x", "copies the link link, not"),
    ],
)
def test_links_in_the_context_are_copied_as_links(tmp_path: Path, text: str, says: str) -> None:
    """BuildKit copies what they point to; what is below a folder stays a link in both."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link").symlink_to("../file")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_text("x")

    with pytest.raises(UnsupportedFeatureError, match=says):
        refuse(a_request(text, tmp_path), NEWEST, KanikoOptions())
    refuse(a_request("COPY sub /x\nCOPY . /y\nCOPY $V /z", tmp_path), NEWEST, KanikoOptions())


def an_archive(path: Path, *names: str) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name == "." else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(b""))


def test_archives_keep_their_owners(tmp_path: Path) -> None:
    """ADD --chown is not heeded for what is unpacked."""
    an_archive(tmp_path / "a.tgz", "x")
    (tmp_path / "broken.gz").write_bytes(b"\x1f\x8b")

    with pytest.raises(UnsupportedFeatureError, match="to the owners in it, not to app"):
        refuse(a_request("ADD --chown=app a.tgz /x", tmp_path), NEWEST, KanikoOptions())
    refuse(a_request("ADD a.tgz broken.gz none /x/", tmp_path), GOOGLE, KanikoOptions())


def test_an_archive_of_a_folder_changes_that_folder(tmp_path: Path) -> None:
    """Its first entry is ./, and older executors apply it to the destination."""
    an_archive(tmp_path / "a.tgz", ".", "x")

    with pytest.raises(UnsupportedFeatureError, match=r"the mode and owner of \./ in a\.tgz"):
        refuse(a_request("ADD a.tgz /x", tmp_path), GOOGLE, KanikoOptions())
    refuse(a_request("ADD a.tgz /x", tmp_path), NEWEST, KanikoOptions())


@pytest.mark.parametrize(
    ("executor", "changes", "options", "says"),
    [
        (GOOGLE, {}, {"image_format": "oci"}, "image_format: kaniko 1.24.0 .google. has no"),
        (oss(1, 25, 3), {}, {"pre_cleanup": True}, "pre_cleanup"),
        (oss(1, 25, 1), {}, {"credential_helpers": ["env"]}, "credential_helpers"),
        (GOOGLE, {}, {"materialize": False}, "materialize"),
        (GOOGLE, {}, {"preserve_context": True}, "preserve_context"),
        (OLD_GOOGLE, {}, {"registry_client_certs": {"a.b": ("c", "d")}}, "registry_client_certs"),
        (OLD_GOOGLE, {}, {"push_ignore_immutable_tag_errors": True}, "push_ignore_immutable"),
        (GOOGLE, {}, {"git": GitOptions(depth=1)}, "cannot clone to a depth"),
        (GOOGLE, {}, {"feature_flags": {"FF_KANIKO_X": True}}, "feature_flags: .* has none"),
        (NEWEST, {}, {"feature_flags": {"FF_KANIKO_X": True}}, "has no FF_KANIKO_X"),
        (oss(1, 27, 0), {}, {"feature_flags": {"FF_KANIKO_EXPAND_HEREDOC": True}}, "has no FF_"),
        (NEWEST, {"compression": "none"}, {}, "always compressed"),
        (oss(1, 28, 0), {"compression": "zstd"}, {}, "Docker's has no zstd"),
        (NEWEST, {"compression": "zstd"}, {"image_format": "docker"}, "Docker's image format"),
        (NEWEST, {"annotations": {"a": "b"}}, {"image_format": "docker"}, "annotations: "),
        (NEWEST, {"no_cache": True, "cache_to": repository("r.example/c")}, {}, "no_cache: "),
        (NEWEST, {"cache_to": repository("r.example/c")}, {"no_push_cache": True}, "cache_to"),
        (NEWEST, {"cache_from": repository("r.example/c")}, {"no_push_cache": False}, "only"),
        (OLD_GOOGLE, {"mirrors": {"quay.io": "m.example"}}, {}, "mirrors of docker.io only"),
        (NEWEST, {"secrets": {"a/../b": Path("/x")}}, {}, "'a/../b' names none"),
        (NEWEST, {"secrets": {"..": Path("/x")}}, {}, "secrets: "),
        (NEWEST, {"secrets": {"a,src=/etc/shadow": Path("/x")}}, {}, "secrets: "),
        (NEWEST, {"target": "0"}, {}, "target: kaniko knows stages by name, not 0"),
        (GOOGLE, {"platforms": (ARM7,)}, {}, "forgets the variant of linux/arm/v7"),
        (NEWEST, {"labels": {"a": "$x"}}, {}, "does not set a over the Dockerfile's"),
    ],
)
def test_a_setting_that_is_unknown_to_it_is_refused(
    executor: Executor, changes: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    """Naming the executor: an unknown flag would end the pod."""
    request = a_request("FROM a\nLABEL a=b\nFROM b\nLABEL a=c\n", **changes)

    with pytest.raises(UnsupportedFeatureError, match=says) as caught:
        refuse(request, executor, KanikoOptions(**options))

    assert caught.value.hint


@pytest.mark.parametrize(
    ("executor", "changes", "options"),
    [
        (NEWEST, {"compression": "zstd", "annotations": {"a": "b"}}, {"image_format": "oci"}),
        (GOOGLE, {"mirrors": {"docker.io": "a", "quay.io": "b"}}, {"cache_ttl": "1h"}),
        (oss(1, 29, 0), {}, {"feature_flags": {"FF_KANIKO_NEW": True}}),
        (NEWEST, {"platforms": (ARM7,)}, {"credential_helpers": []}),
        (GOOGLE, {"labels": {"a": "$x"}, "secrets": {"a.b-c_d": Path("/x")}}, {}),
        (NEWEST, {"cache_from": repository("r.example/c"), "no_cache": True}, {}),
    ],
)
def test_a_setting_that_it_knows_passes(
    executor: Executor, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    """What a newer executor may know is left to it."""
    request = a_request("FROM a AS one\nFROM b\nLABEL a=c\n", **changes)

    refuse(request, executor, KanikoOptions(**options))
