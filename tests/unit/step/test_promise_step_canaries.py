"""What is promised of secrets: a whole step shows none of them, however it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from canary_endings import ENDINGS, PLACES, ending
from canary_kinds import KINDS, World, world
from canary_watch import Watch, watch

from buildpush import BuildAndPushStep
from buildpush.errors import BuildpushError
from buildpush.testing import FakeBackend

__all__ = ["watch"]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return folder


def step_in(place: World, context: Path, **settings: object) -> BuildAndPushStep:
    """A step that pushes there, with a backend that builds at once."""
    known: dict[str, object] = {
        "repo": f"{place.host}/app",
        "context": context,
        "backend": FakeBackend(),
        "auth": list(place.auth),
        "retries": 0,
    }
    return BuildAndPushStep.parse({**known, **place.settings, **settings})


@pytest.mark.parametrize("kind", KINDS)
def test_a_push_that_works_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: Watch, context: Path, kind: str
) -> None:
    """Nowhere: the needles are what was given, every token and every signed address."""
    with world(KINDS[kind], tmp_path, monkeypatch) as place:
        step = step_in(place, context)

        watch.saw("result", step.run(on_event=watch))

        watch.saw("step", f"{step!r} {step} {step.model_dump()!r}")
        assert place.registry.tags("app") == ("latest",)
        assert watch.found(place.secrets()) == set()


def fails(step: BuildAndPushStep, watch: Watch) -> None:
    """Run a step that cannot succeed. This function's own frame knows no secret."""
    try:
        step.run(on_event=watch)
    except BuildpushError as error:
        watch.failed(error)


@pytest.mark.parametrize("place", PLACES)
def test_a_push_that_ends_badly_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: Watch, context: Path, place: str
) -> None:
    """Wherever and however it ends, and whatever the server repeats of what it was sent."""
    with world(KINDS["password, tokens"], tmp_path, monkeypatch) as there:
        for number, how in enumerate(ENDINGS):
            step = step_in(there, context, backend=FakeBackend(seed=number))
            watch.now = how

            with ending(there.registry, place, how) as struck:
                fails(step, watch)

            assert struck.ended, how
        assert watch.found(there.secrets()) == set()


SOME = {
    "the first request": ("the preflight", "400 in text"),
    "beginning an upload": ("beginning an upload", "403"),
    "sending bytes": ("sending bytes", "401"),
    "sending bytes, in base64": ("sending bytes", "500 in base64"),
    "losing the connection": ("sending bytes", "reset"),
    "putting a manifest": ("putting a manifest", "400 in JSON's escapes"),
    "putting a tag": ("putting a tag", "a redirect to nobody"),
    "limits": ("putting a tag", "429"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_credential_is_seen_when_a_push_ends_badly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: Watch, context: Path, kind: str
) -> None:
    """Nor before, where its source is asked for it; the server repeats all it hears."""
    with world(KINDS[kind], tmp_path, monkeypatch) as there:
        for number, (what, (place, how)) in enumerate(SOME.items()):
            step = step_in(there, context, backend=FakeBackend(seed=number))
            watch.now = what

            with ending(there.registry, place, how):
                fails(step, watch)

        assert len(watch.errors) == len(SOME)
        assert watch.found(there.secrets()) == set()
