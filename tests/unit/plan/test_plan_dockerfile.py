"""What a Dockerfile asks of a backend: refused with its lines, or planned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from buildpush.errors import DockerfileError, SourceEvidence, UnsupportedFeatureError
from buildpush.oci import Platform
from buildpush.plan import (
    Capabilities,
    Feature,
    Plan,
)

Planner = Callable[..., Plan]
ARM64 = Platform("linux", "arm64")


def without(backend: Capabilities, *features: Feature, **notes: str) -> Capabilities:
    return evolve(
        backend,
        features=backend.features - set(features),
        notes={Feature[name]: note for name, note in notes.items()},
    )


def refused(plan: Planner, *args: str, **settings: object) -> UnsupportedFeatureError:
    with pytest.raises(UnsupportedFeatureError) as caught:
        plan(*args, **settings)
    return caught.value


def test_a_line_that_cannot_be_done_is_shown(plan: Planner, native: Capabilities) -> None:
    """With the probe's reason, and the backends that could."""
    backend = without(native, Feature.RUN, RUN="no user namespaces and not root")

    error = refused(plan, "FROM a\nUSER x\nRUN make \\\n  all\n", backend=backend)

    assert error.message == (
        "Dockerfile, line 3: native cannot execute RUN instructions"
        " (no user namespaces and not root)"
    )
    (evidence,) = error.evidence
    assert isinstance(evidence, SourceEvidence)
    assert (evidence.first_line, evidence.last_line) == (3, 4)
    assert error.hint == "choose backend buildx or docker or buildah or kaniko"


def test_a_stage_that_is_not_needed_refuses_nothing(plan: Planner, native: Capabilities) -> None:
    """Nor does what comes after the target."""
    text = "FROM a AS one\nCOPY a /\nFROM a AS two\nRUN make\nFROM one\nCOPY b /\n"
    backend = without(native, Feature.RUN)

    made = plan(text, backend=backend)

    assert [(stage.name, stage.needed) for stage in made.stages] == [
        ("one", True),
        ("two", False),
        ("", True),
    ]
    assert refused(plan, text, backend=backend, target="two").evidence


@pytest.mark.parametrize(
    ("line", "feature"),
    [
        ("RUN make", Feature.RUN),
        ("RUN <<E\nmake\nE", Feature.HEREDOCS),
        ("COPY <<E /e\nx\nE", Feature.HEREDOCS),
        ("ADD <<E /e\nx\nE", Feature.HEREDOCS),
        ("RUN --mount=type=cache,target=/c make", Feature.RUN_MOUNTS),
        ("RUN --mount=type=secret,id=a make", Feature.SECRETS),
        ("RUN --mount=type=ssh make", Feature.SSH),
        ("RUN --network=none make", Feature.STEP_NETWORK),
        ("RUN --security=insecure make", Feature.INSECURE_RUN),
        ("ADD https://acme.eu/x.tgz /", Feature.ADD_URL),
        ("ADD https://acme.eu/x.git /", Feature.ADD_GIT),
        ("ADD git@acme.eu:x /", Feature.ADD_GIT),
        ("COPY --link a /", Feature.COPY_LINK),
        ("COPY --exclude=*.o a /", Feature.COPY_EXCLUDE),
        ("COPY --parents a /", Feature.COPY_PARENTS),
        ("ADD --unpack=false a /", Feature.ADD_UNPACK),
    ],
)
def test_each_instruction_needs_its_feature(
    plan: Planner, native: Capabilities, line: str, feature: Feature
) -> None:
    """With the feature the line is planned; without it, it is what is refused."""
    text = f"FROM a\n{line}\n"
    able = evolve(native, features=frozenset(Feature))

    plan(text, backend=able)
    error = refused(plan, text, backend=without(able, feature))

    assert error.message.startswith(f"Dockerfile, line 2: native cannot {feature.value}")
    assert ";" not in error.message


def test_every_need_of_a_dockerfile_is_known_to_the_planner() -> None:
    """A new kind of need must be given features, or none on purpose."""
    from buildpush.dockerfile.features import Need
    from buildpush.plan.demands import _FEATURES

    assert set(_FEATURES) == set(Need)


@pytest.mark.parametrize(
    "syntax",
    ["docker/dockerfile:1.7", "docker.io/docker/dockerfile:1", "m.eu:5/docker/dockerfile"],
)
def test_the_official_frontend_needs_nothing(plan: Planner, syntax: str) -> None:
    """Also from a mirror."""
    assert plan(f"# syntax={syntax}\nFROM scratch\nCOPY a /\n").stages


def test_another_frontend_is_refused_with_its_line(plan: Planner) -> None:
    """Such a file may not be a Dockerfile at all."""
    error = refused(plan, "# syntax=acme/mockerfile:1\nFROM scratch\nCOPY a /\n")

    assert error.message.startswith("Dockerfile, line 1: native cannot use another Dockerfile")
    assert error.hint == "choose backend buildx or docker"


def test_all_refusals_come_at_once(plan: Planner, native: Capabilities) -> None:
    """Settings, lines and what nobody else can do either."""
    error = refused(
        plan,
        "FROM a\nRUN x\nRUN y\n",
        backend=without(native, Feature.RUN),
        sbom=True,
        squash=True,
        connector_ref="c",
    )

    assert error.message.startswith("4 reasons why not: ")
    assert "Dockerfile, lines 2, 3: " in error.message
    assert [e.first_line for e in error.evidence if isinstance(e, SourceEvidence)] == [2, 3]
    assert error.hint == "no other backend can do all of it: leave something out"


def test_a_long_dockerfile_shows_only_its_first_lines(plan: Planner, native: Capabilities) -> None:
    """A report stays a page."""
    error = refused(plan, "FROM a\n" + "RUN x\n" * 50, backend=without(native, Feature.RUN))

    assert len(error.evidence) == 8


def test_what_is_refused_for_everybody_needs_no_hint(plan: Planner) -> None:
    """Its message is the way out."""
    assert refused(plan, connector_ref="c").hint == ""


def test_run_for_a_foreign_platform_is_refused_where_it_stands(plan: Planner) -> None:
    """A stage for the build platform is fine, and so is COPY."""
    text = "FROM --platform=$BUILDPLATFORM a AS b\nRUN make\nFROM c\nCOPY --from=b /x /x\n"

    assert plan(text, platforms="linux/arm64,linux/amd64").request.platforms[0] == ARM64
    error = refused(plan, text + "RUN ls\n", platforms="linux/arm64,linux/amd64")
    assert error.message == "Dockerfile, line 5: native cannot execute RUN for linux/arm64"


def test_a_backend_that_does_not_say_where_it_runs_is_believed(
    plan: Planner, native: Capabilities
) -> None:
    """Its platforms are empty, its features are not."""
    backend = evolve(native, platforms=())

    assert plan("FROM a\nRUN x\n", backend=backend, platforms="linux/arm64").request


def test_a_remote_backend_builds_for_its_own_platform(plan: Planner, native: Capabilities) -> None:
    """When nobody says otherwise, it is not ours that counts."""
    backend = evolve(native, backend="far", platforms=(ARM64,))

    assert plan("FROM a\nRUN x\n", backend=backend).warnings == (
        (
            "no platform is set, so the image will run on linux/arm64 only: set platforms when it is"
            " for machines of another kind"
        ),
    )


def test_an_unknown_target_is_a_fault_of_the_dockerfile(plan: Planner) -> None:
    """With the lines, before any backend is blamed."""
    with pytest.raises(DockerfileError, match="nosuch"):
        plan("FROM scratch AS a\n", target="nosuch")


def test_base_images_are_those_that_will_be_pulled(plan: Planner) -> None:
    """With arguments expanded; not stages, scratch, contexts, or what is skipped."""
    text = (
        "ARG V=3\nFROM alpine:$V AS a\nFROM unused\nFROM ctx AS c\nFROM scratch\n"
        "COPY --from=a / /\nCOPY --from=c / /\nCOPY --from=busybox / /\n"
    )

    made = plan(text, build_contexts={"ctx": "./x"}, build_args={"V": "4"})

    assert made.base_images == ("alpine:4", "busybox")


def test_a_frontend_that_the_file_names_decides_what_it_reads(
    plan: Planner, native: Capabilities
) -> None:
    """Where the backend fetches it, what its built-in one lacks does not matter."""
    text = "FROM scratch\nCOPY --parents a /\n"
    named = f"# syntax=docker/dockerfile:1\n{text}"
    backend = evolve(native, features=frozenset(Feature) - {Feature.COPY_PARENTS})

    assert refused(plan, text, backend=backend)
    assert plan(named, backend=backend).stages
    assert refused(plan, named, backend=without(backend, Feature.CUSTOM_SYNTAX))


@pytest.mark.parametrize(
    ("installed", "hint"),
    [
        (("native", "buildah", "kaniko"), "choose backend buildah or kaniko"),
        (("native", "buildah"), "choose backend buildah"),
        (
            ("native",),
            "backend buildah or kaniko could, but is not part of this installation",
        ),
    ],
)
def test_what_is_not_installed_is_not_offered(
    plan: Planner, installed: tuple[str, ...], hint: str
) -> None:
    """But named, where nothing else would help."""
    assert refused(plan, squash=True, installed=installed).hint == hint
