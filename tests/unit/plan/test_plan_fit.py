"""The fit table: every setting, every backend, a decision."""

from __future__ import annotations

import pytest

from buildpush.plan import BACKENDS, CANNOT, Capabilities, Feature, Fit
from buildpush.plan.fit import ROWS, able, assumed, expect, judge
from buildpush.spec import StepSpec


def test_every_setting_has_a_row_and_every_row_a_setting() -> None:
    """No setting without a decision, and nothing left over from a setting that is gone."""
    assert {key.partition(":")[0] for key in ROWS} == set(StepSpec.model_fields)


@pytest.mark.parametrize("name", BACKENDS)
def test_every_refusal_says_why(name: str) -> None:
    """And so does everything that is only nearly met."""
    unexplained = [
        key for key in ROWS if expect(key, name).fit is not Fit.EXACT and not expect(key, name).how
    ]

    assert unexplained == []


def test_the_table_knows_the_backends_that_are_tried() -> None:
    """Those of ``backend: auto``, in its order."""
    from buildpush.backends import AUTO_ORDER

    assert BACKENDS == AUTO_ORDER
    assert set(CANNOT) == set(BACKENDS)


def test_rows_name_only_backends_that_exist() -> None:
    """A misspelt name would never match."""
    named = {name for row in ROWS.values() for name in (*row.close, *row.instead)}

    assert named <= set(BACKENDS)


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        # settings.md 1.1 and 1.5: native, buildx, docker, buildah, kaniko
        ("build_args", "EEEEE"),
        ("labels", "EEEEE"),
        ("target", "EEEEE"),
        ("secrets", "EEEEA"),
        ("ssh", "EEEER"),
        ("annotations", "EEEEE"),
        ("platforms: several", "EEEEA"),
        ("network", "EEEEA"),
        ("network: by name", "RRRRE"),
        ("network: none", "EEEER"),
        ("cgroup_parent", "REEEE"),
        ("no_cache_filter", "EEERR"),
        ("cache_from", "REEAA"),
        ("cache_to", "REEAA"),
        ("remote_cache_repo", "REEEE"),
        ("caching", "EEEER"),
        ("source_date_epoch", "EEEAR"),
        ("provenance", "REERR"),
        ("sbom", "REERR"),
        ("optimize", "AAAAE"),
        ("reproducible: strict", "ERRRR"),
        ("outputs: local", "REEER"),
        ("run_as_user", "ARRAA"),
        ("compression", "EAAEA"),
        ("squash", "RRRAE"),
        ("build_contexts: layouts", "EEERR"),
        ("connector_ref", "RRRRR"),
    ],
)
def test_the_columns_say_what_the_engines_can(key: str, fits: str) -> None:
    """E exact, A approximated, R refused."""
    found = "".join(expect(key, name).fit.name[0] for name in BACKENDS)

    assert found == fits


def test_a_probe_has_the_last_word() -> None:
    """A feature that is missing on this machine is refused, with the probe's reason."""
    probed = Capabilities(
        backend="native", version="1", notes={Feature.SHM_SIZE: "no user namespaces here"}
    )

    verdict = judge("shm_size", probed)

    assert verdict.fit is Fit.REFUSED
    assert verdict.how == "no user namespaces here"


def test_a_backend_that_has_learned_something_is_believed() -> None:
    """The table's "cannot" is for backends that were not probed."""
    probed = Capabilities(backend="native", version="2", features=frozenset({Feature.SBOM}))

    assert judge("sbom", probed).fit is Fit.EXACT


def test_a_backend_of_somebody_else_is_judged_by_its_features_alone() -> None:
    """The table has no column for it."""
    theirs = Capabilities(backend="podman", version="5", features=frozenset({Feature.SSH}))

    assert judge("ssh", theirs).fit is Fit.EXACT
    assert judge("sbom", theirs).fit is Fit.REFUSED
    assert judge("run_as_user", theirs).fit is Fit.REFUSED
    assert judge("labels", theirs).fit is Fit.EXACT


def test_alternatives_can_do_all_of_it() -> None:
    """In the order in which backends are tried, without the one that refused."""
    assert able(["sbom"], [], but="native") == ("buildx", "docker")
    assert able(["ssh"], [Feature.SQUASH], but="native") == ("buildah",)
    assert able([], [Feature.RUN], but="native") == ("buildx", "docker", "buildah", "kaniko")
    assert able(["sbom", "squash"], [], but="native") == ()


def test_an_assumed_backend_has_all_but_what_it_cannot() -> None:
    """The table's idea of a backend that runs well."""
    kaniko = assumed("kaniko")

    assert Feature.RUN in kaniko.features
    assert kaniko.features.isdisjoint(CANNOT["kaniko"])


def test_the_table_and_the_native_backend_agree() -> None:
    """What the table says native cannot, its probe does not claim, and the other way round.

    What this machine lacks (no namespaces, no git) is noted by the probe.
    """
    from buildpush.backends.native import NativeBackend

    probed = NativeBackend().probe()

    silent = set(Feature) - probed.features - probed.notes.keys()
    assert silent == set(CANNOT["native"])
