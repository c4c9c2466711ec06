"""RUN --mount: which options go together."""

import pytest

from buildpush.dockerfile.faults import Fault
from buildpush.dockerfile.mounts import expand_mount, parse_mount


def test_a_mount_without_a_type_is_a_bind() -> None:
    """Keys are lower-cased, values are as written."""
    mount = parse_mount("Source=/A,TARGET=/b,ro")

    assert (mount.type, mount.options) == (
        "bind",
        (("source", "/A"), ("target", "/b"), ("ro", "")),
    )
    assert mount.flag("ro")


@pytest.mark.parametrize(
    "text",
    [
        "type=bind,from=stage,source=a,target=/b,readonly=false",
        "type=CACHE,target=/c,sharing=Shared",
        "type=tmpfs,target=/t,size=1g",
        "type=secret,id=x,required,uid=1,gid=2,mode=400",
        "type=secret,source=/x,env=X",
        "type=ssh",
        "type=ssh,id=default,required=0,mode=0600",
        "from=stage$,target=/x",
        '"source=a ""b"", c",target=/x',
    ],
)
def test_what_buildkit_takes_is_taken(text: str) -> None:
    """One of each type, with all it may have."""
    assert parse_mount(text).options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid field '' must be a key=value pair"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("target=/x,", "invalid field '' must be a key=value pair"),
        ("type=cahce", 'unsupported mount type "cahce" (did you mean cache?)'),
        ("colour=red", "unexpected key 'colour' in 'colour=red'"),
        ("readonly=yes", "invalid value for readonly: yes"),
        ("readonly=", "invalid value for readonly: "),
        ("required", "unexpected key 'required' for mount type 'bind'"),
        ("required,type=secret,id=x", "unexpected key 'required' for mount type 'bind'"),
        ("type=cache,target=/c,size=1", "unexpected key 'size' for mount type 'cache'"),
        ("type=tmpfs,target=/c,size=big", "invalid value for size: big"),
        ("type=cache,sharing=mine", 'unsupported sharing value "mine"'),
        ("type=bind,sharing=private", "invalid cache sharing set for bind mount"),
        ("type=cache,mode=9", "invalid value for mode: 9"),
        ("type=cache,uid=root", "invalid value for uid: root"),
        ("type=bind,mode=0755", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,uid=1", 'uid not allowed for "tmpfs" type mounts'),
        ("type=bind,gid=1", 'gid not allowed for "bind" type mounts'),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=x,from=y", "secret mount should not have a from"),
        ("type=secret,id=x,sharing=locked", "secret mount should not define sharing"),
        ("type=secret,id=x,src=y", "both source and id can't be set"),
        ("from=${X}", "'from' doesn't support variable expansion"),
        ('target="/x"', 'failed to parse csv mounts: bare "'),
        ('"target=/x', "failed to parse csv mounts: extraneous or missing"),
        ('"target=/x"y', "failed to parse csv mounts: extraneous or missing"),
    ],
)
def test_what_buildkit_refuses_is_refused(text: str, message: str) -> None:
    """Messages are BuildKit's, where it has one."""
    with pytest.raises(Fault) as caught:
        parse_mount(text)

    assert caught.value.message.startswith(message)


def test_variables_are_checked_when_they_are_known() -> None:
    """Until then any value might come out of them, a type included."""
    mount = parse_mount("type=${T},target=$W,size=$S")
    values = {"${T}": "TmpFS", "$W": "/t", "$S": "64m"}

    expanded = expand_mount(mount, lambda text: values.get(text, text))

    assert mount.type == "${T}"
    assert (expanded.type, expanded.get("target"), expanded.get("size")) == ("tmpfs", "/t", "64m")
    with pytest.raises(Fault, match="unexpected key 'size'"):
        expand_mount(mount, lambda text: "cache" if text == "${T}" else "1")
