"""Which kaniko an image holds, and what that one honours."""

from __future__ import annotations

import pytest

from buildpush.backends.kaniko.executor.featureflags import SINCE, chosen
from buildpush.backends.kaniko.executor.flavors import (
    Executor,
    Flavor,
    features_of,
    guess,
    parse_version,
)
from buildpush.errors import SpecError
from buildpush.plan import Feature

GOOGLE, OSS, CHAINGUARD = Flavor.GOOGLE, Flavor.OSSCONTAINERTOOLS, Flavor.CHAINGUARD


def oss(*version: int) -> Executor:
    first, second, third = version
    return Executor(flavor=OSS, version=(first, second, third))


@pytest.mark.parametrize(
    ("image", "said", "flavor", "version"),
    [
        ("gcr.io/kaniko-project/executor:v1.24.0", "", GOOGLE, (1, 24, 0)),
        ("gcr.io/kaniko-project/executor:v1.9.1-debug", "", GOOGLE, (1, 9, 1)),
        ("gcr.io/kaniko-project/executor:debug", "", GOOGLE, (1, 24, 0)),
        ("ghcr.io/osscontainertools/kaniko:v1.28.3", "", OSS, (1, 28, 3)),
        ("docker.io/mzihlmann/kaniko:1.25", "", OSS, (1, 25, 0)),
        (
            "ghcr.io/osscontainertools/kaniko@sha256:" + "a" * 64,
            "Kaniko version :  v1.28.3\n",
            OSS,
            (1, 28, 3),
        ),
        ("cgr.dev/acme/kaniko:latest", "v1.25.16", CHAINGUARD, (1, 25, 16)),
        ("mirror.example:5000/x/chainguard/kaniko:1.25.16", "", CHAINGUARD, (1, 25, 16)),
        ("mirror.example:5000/kaniko:v1.13.3", "", GOOGLE, (1, 13, 3)),
        ("mirror.example/osscontainertools/kaniko:mine", "v1.28.3", OSS, (1, 28, 3)),
    ],
)
def test_an_image_tells_which_kaniko_it_holds(
    image: str, said: str, flavor: Flavor, version: tuple[int, int, int]
) -> None:
    """The name says whose, the tag or the executor itself which version."""
    assert Executor(flavor=flavor, version=version) == guess(image, said)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("registry.example/tools/kaniko:v1.25.0", ""),
        ("registry.example:5000/kaniko", "v1.28.3"),
        ("ghcr.io/osscontainertools/kaniko:latest", ""),
        ("ghcr.io/osscontainertools/kaniko@sha256:" + "1" * 64, ""),
        ("", ""),
    ],
)
def test_nothing_is_guessed_from_too_little(image: str, said: str) -> None:
    """1.25 is Chainguard's or osscontainertools'; a digest is no version."""
    assert guess(image, said) is None


def test_what_the_executor_says_outdoes_the_tag() -> None:
    """A tag can be anything."""
    found = guess("ghcr.io/osscontainertools/kaniko:v1.25.0", "Kaniko version :  v1.28.3")

    assert found is not None
    assert found.number == "1.28.3"
    assert str(found) == "kaniko 1.28.3 (osscontainertools)"


@pytest.mark.parametrize("text", ["", "latest", "1", "1.2.3.4", "sha256:123"])
def test_what_is_no_version_is_said(text: str) -> None:
    """A version is two or three numbers."""
    with pytest.raises(SpecError, match="is no version of kaniko"):
        parse_version(text)


@pytest.mark.parametrize(
    ("feature", "since"),
    [
        (Feature.HEREDOCS, (1, 25, 4)),
        (Feature.RUN_MOUNTS, (1, 25, 6)),
        (Feature.SECRETS, (1, 26, 3)),
        (Feature.ANNOTATIONS, (1, 25, 3)),
    ],
)
def test_the_fork_learnt_what_google_never_did(
    feature: Feature, since: tuple[int, int, int]
) -> None:
    """And the note says which version can."""
    first, second, third = since

    old, old_notes = features_of(oss(first, second, third - 1))
    new, new_notes = features_of(oss(*since))
    google, google_notes = features_of(Executor(flavor=GOOGLE, version=(1, 24, 0)))

    assert feature not in old
    assert feature not in google
    assert feature in new
    assert f"osscontainertools' {first}.{second}.{third} can" in old_notes[feature]
    assert "kaniko 1.24.0 (google) cannot" in google_notes[feature]
    assert feature not in new_notes


def test_chainguard_has_annotations_only() -> None:
    """Its 1.25.16 is Google's 1.24 with --annotation."""
    features, _ = features_of(Executor(flavor=CHAINGUARD, version=(1, 25, 16)))

    assert Feature.ANNOTATIONS in features
    assert not features & {Feature.HEREDOCS, Feature.RUN_MOUNTS, Feature.SECRETS}


@pytest.mark.parametrize("flavor", list(Flavor))
def test_nothing_is_both_honoured_and_excused(flavor: Flavor) -> None:
    """Every feature is honoured, explained, or the runner's."""
    features, notes = features_of(Executor(flavor=flavor, version=(1, 28, 3)))
    runner = {
        Feature.EXPORT_LAYOUT,
        Feature.PUSH_DIRECTLY,
        Feature.MULTI_PLATFORM,
        Feature.LOCAL_CACHE,
        Feature.ADD_HOSTS,
        Feature.SHM_SIZE,
        Feature.ULIMITS,
        Feature.CGROUP_PARENT,
        Feature.RESOURCES,
        Feature.REMOTE_CONTEXT,
        Feature.RUN_AS_USER,
    }

    assert not features & notes.keys()
    assert set(Feature) - features - notes.keys() == runner


def test_feature_flags_bring_the_fork_closer_to_buildkit() -> None:
    """Those that it knows, and that are not so by themselves."""
    newest = chosen(oss(1, 28, 3), {}, reproducible=False)

    assert newest["FF_KANIKO_COPY_AS_ROOT"] == "true"
    assert newest["FF_KANIKO_EXPAND_HEREDOC"] == "true"
    assert newest["FF_KANIKO_RUN_HONOR_GROUP"] == "true"
    assert "FF_KANIKO_RUN_MOUNT_BIND" not in newest
    assert "FF_KANIKO_REPRODUCIBLE_PRESERVE_BASE_LAYERS" not in newest
    assert newest.keys() <= SINCE.keys()


@pytest.mark.parametrize(
    ("version", "name", "there"),
    [
        ((1, 26, 2), "RUN_MOUNT_SECRET", False),
        ((1, 26, 3), "RUN_MOUNT_SECRET", True),
        ((1, 27, 0), "RUN_MOUNT_SECRET", False),
        ((1, 27, 6), "RUN_MOUNT_BIND", True),
        ((1, 25, 1), "COPY_AS_ROOT", False),
    ],
)
def test_a_flag_is_set_from_its_birth_until_it_is_the_default(
    version: tuple[int, int, int], name: str, there: bool
) -> None:
    """Later the executor warns of it; earlier, too."""
    assert (f"FF_KANIKO_{name}" in chosen(oss(*version), {}, reproducible=False)) is there


def test_others_get_only_what_the_caller_says() -> None:
    """Google's and Chainguard's know no feature flags."""
    google = Executor(flavor=GOOGLE, version=(1, 24, 0))

    assert chosen(google, {}, reproducible=True) == {}
    assert (
        chosen(oss(1, 28, 3), {"FF_KANIKO_COPY_AS_ROOT": False}, reproducible=True)[
            "FF_KANIKO_COPY_AS_ROOT"
        ]
        == "false"
    )


def test_base_layers_stay_as_they_are_when_reproducible() -> None:
    """Else every layer of the base image would be written anew."""
    flags = chosen(oss(1, 27, 6), {}, reproducible=True)

    assert flags["FF_KANIKO_REPRODUCIBLE_PRESERVE_BASE_LAYERS"] == "true"
