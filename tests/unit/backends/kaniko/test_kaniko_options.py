"""kaniko's own options, checked as they are given."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.kaniko.executor.options import GitOptions, KanikoOptions
from buildpush.errors import SpecError


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("336h", 1209600), (timedelta(hours=6), 21600), (90, 90), (None, None), ("1h 30m", 5400)],
)
def test_a_ttl_is_a_duration(given: Any, seconds: float | None) -> None:
    """As text, as a timedelta, as seconds."""
    assert seconds == KanikoOptions(cache_ttl=given).cache_ttl


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cache_ttl": "6"}, "cache_ttl"),
        ({"cache_ttl": 0}, "nothing would be kept"),
        ({"snapshot_mode": "fast"}, r"snapshot_mode\): there is no 'fast'"),
        ({"image_format": "OCI"}, "image_format"),
        ({"verbosity": "loud"}, "verbosity"),
        ({"push_retry": -1}, "push_retry"),
        ({"push_retry": True}, "push_retry"),
        ({"image_download_retry": "3"}, "image_download_retry"),
        ({"cleanup": "yes"}, r"cleanup\): 'yes' is neither true nor false"),
        ({"cache_copy_layers": 1}, "cache_copy_layers"),
        ({"ignore_paths": ["relative"]}, "'relative' is not absolute"),
        ({"cache_dir": "cache"}, "cache_dir"),
        ({"context_sub_path": "../up"}, "leads out"),
        ({"context_sub_path": "/abs"}, "leads out"),
        ({"registry_maps": {"https://docker.io": "m.example"}}, "is no registry's host"),
        ({"registry_maps": {"docker.io": "https://m.example"}}, "is no mirror"),
        ({"insecure_registries": ["a/b"]}, "insecure_registries"),
        ({"skip_tls_verify_registries": "http://x"}, "skip_tls_verify_registries"),
        ({"registry_certificates": {"a b": "/ca.pem"}}, "registry_certificates"),
        ({"registry_client_certs": {"a": ("/c.pem",)}}, "has no pair"),
        ({"credential_helpers": ["vault"]}, "there is no 'vault'"),
        ({"feature_flags": {"COPY_AS_ROOT": True}}, "is no name of one"),
        ({"feature_flags": {"FF_KANIKO_COPY_AS_ROOT": "maybe"}}, "'maybe'"),
        ({"flags": {"cache-ttl": "6h"}}, "--cache-ttl has its own setting"),
        ({"flags": {"ignore-path": "/x"}}, "--ignore-path has its own setting"),
        ({"flags": {"destination": "x"}}, "--destination is buildpush's to set"),
        ({"flags": {"--kaniko-dir": "/x"}}, "--kaniko-dir is buildpush's to set"),
        ({"flags": {"a b": "x"}}, "is no flag's name"),
        ({"flags": {"x=y --force": True}}, "is no flag's name"),
        (
            {"use_new_run": True, "pre_cleanup": True, "preserve_context": True},
            "the executor's own files",
        ),
        ({"use_new_run": True, "snapshot_mode": "redo"}, "exclude each other"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], says: str) -> None:
    """Which option, what is wrong, and what was expected."""
    with pytest.raises(SpecError, match=says) as caught:
        KanikoOptions(**options)

    assert caught.value.hint


@pytest.mark.parametrize("depth", [-1, True])
def test_a_depth_is_a_number_of_commits(depth: Any) -> None:
    """0 is all of them."""
    with pytest.raises(SpecError, match="depth"):
        GitOptions(depth=depth)


def test_one_mirror_or_several() -> None:
    """A text, or a list."""
    options = KanikoOptions(registry_maps={"docker.io": "a.example", "quay.io": ["b:1", "c/d"]})

    assert options.registry_maps == {"docker.io": ("a.example",), "quay.io": ("b:1", "c/d")}


def test_flags_of_newer_executors_are_taken_as_go_spells_them() -> None:
    """Truths, numbers, and several values."""
    options = KanikoOptions(flags={"new-thing": True, "--level": 3, "many": ["a", "b"]})

    assert options.flags == {"new-thing": ("true",), "level": ("3",), "many": ("a", "b")}


def test_where_a_key_lies_is_nobodys_business() -> None:
    """Neither its content nor its path is shown."""
    options = KanikoOptions(registry_client_certs={"r.example": ("/c.pem", "/secret-place.key")})

    assert options.registry_client_certs == {
        "r.example": (Path("/c.pem"), Path("/secret-place.key"))
    }
    assert "secret-place" not in repr(options)


def test_options_can_be_shared() -> None:
    """Nothing of them changes after they were made."""
    given = {"FF_KANIKO_X": True}
    options = KanikoOptions(feature_flags=given, credential_helpers=[])
    given["FF_KANIKO_Y"] = True

    assert options.feature_flags == {"FF_KANIKO_X": True}
    assert options.credential_helpers == ()
