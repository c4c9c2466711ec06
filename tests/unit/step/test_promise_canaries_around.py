"""What is promised of secrets: nor does what is around a push show any, whatever becomes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from canary_endings import ending
from canary_kinds import KINDS, PASSWORD, World, signed, world
from canary_watch import Watch, watch

from buildpush import BuildAndPushStep, CancelToken, copy, explain, push
from buildpush.auth import Access, Keychain
from buildpush.cli import main
from buildpush.errors import (
    AuthError,
    BuildError,
    BuildpushError,
    PartialPushError,
    StepCancelledError,
    StepTimeoutError,
    TagConflictError,
)
from buildpush.oci.layout import Layout
from buildpush.plan import Artifact, BuildRequest
from buildpush.runtime import Run
from buildpush.testing import (
    Dialect,
    FakeBackend,
    Fault,
    Hang,
    LocalRegistry,
    PrivateCa,
    random_image,
)

__all__ = ["watch"]

There = Callable[..., World]
Make = Callable[..., BuildAndPushStep]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    """Enter the world of a kind of credential."""
    opened = []

    def enter(kind: str = "password, tokens", **registry: object) -> World:
        manager = world(KINDS[kind], tmp_path, monkeypatch, **registry)
        opened.append(manager)
        return manager.__enter__()

    yield enter
    for manager in reversed(opened):
        manager.__exit__(None, None, None)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A step that pushes into a world."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")

    def step(place: World, **settings: object) -> BuildAndPushStep:
        known = {"repo": f"{place.host}/app", "context": context, "backend": FakeBackend()}
        return BuildAndPushStep.parse(
            {**known, "auth": list(place.auth), "retries": 0, **place.settings, **settings}
        )

    return step


def fails(action: Callable[[], object], watch: Watch, kind: type[BuildpushError]) -> None:
    """Do what fails in this way, and look at it. This frame knows no secret."""
    try:
        action()
    except kind as error:
        watch.failed(error)
    else:
        pytest.fail(f"{kind.__name__} was to come")


def test_a_cancelled_push_shows_no_secret(there: There, make: Make, watch: Watch) -> None:
    """In the middle of its bytes, which stand before a signed address."""
    place, cancel = there(), CancelToken()
    stuck = place.registry.inject(Fault(method="PUT", path="/blobs/uploads/", action=Hang()))

    def stop() -> None:
        stuck.wait()
        cancel.cancel()

    stopping = threading.Thread(target=stop)
    stopping.start()

    fails(lambda: make(place).run(on_event=watch, cancel=cancel), watch, StepCancelledError)

    stopping.join()
    assert watch.found(place.secrets()) == set()


def test_a_push_out_of_time_shows_no_secret(there: There, make: Make, watch: Watch) -> None:
    """The registry never answers."""
    place = there()
    place.registry.inject(Fault(method="PUT", path="/blobs/uploads/", action=Hang(), times=None))

    step = make(place, timeout=1)
    fails(lambda: step.run(on_event=watch), watch, StepTimeoutError)

    assert watch.found(place.secrets()) == set()


def test_a_registry_that_is_not_believed_learns_and_shows_nothing(
    there: There, make: Make, watch: Watch
) -> None:
    """Its certificate is somebody else's."""
    place = there(tls=PrivateCa().server("registry.example.com"))

    fails(lambda: make(place).run(on_event=watch), watch, BuildpushError)

    assert place.registry.requests == ()
    assert watch.found(place.secrets()) == set()


def test_a_proxy_that_lets_nobody_through_is_not_quoted(
    there: There, make: Make, watch: Watch
) -> None:
    """Its address has a password in it, which is wrong by now."""
    place = there()
    place.internet.password = "another"

    fails(lambda: make(place).run(on_event=watch), watch, BuildpushError)

    assert watch.found(place.secrets()) == set()


@pytest.mark.parametrize("settings", [{"on_existing_tag": "fail", "skip_preflight": True}, {}])
def test_a_tag_conflict_shows_no_secret(
    there: There, make: Make, watch: Watch, settings: dict[str, object]
) -> None:
    """Whether the step asks for it or the registry does."""
    place = there(dialect=Dialect(locations="relative", immutable="tag"))
    make(place, backend=FakeBackend(seed=1)).run()

    fails(lambda: make(place, **settings).run(on_event=watch), watch, TagConflictError)

    assert watch.found(place.secrets()) == set()


def test_a_push_that_went_to_some_places_only_shows_no_secret(
    there: There, make: Make, watch: Watch
) -> None:
    """Its error holds those of the places, and keeps the image."""
    place = there()
    step = make(place, destinations=[f"{place.host}/other"], on_partial="continue")

    with ending(place.registry, "putting a tag", "403"):
        fails(lambda: step.run(on_event=watch), watch, PartialPushError)

    error = watch.errors[0]
    assert isinstance(error, PartialPushError) and error.artifact is not None
    assert place.registry.tags("other") == ("latest",)
    assert watch.found(place.secrets()) == set()


@pytest.mark.parametrize("end", ["exit 3", "exit 0", "echo >&2; exit 1"])
def test_a_helper_that_says_too_much_is_not_quoted(
    there: There, make: Make, watch: Watch, end: str
) -> None:
    """It prints the password on both streams, in words that are no answer, and is done."""
    place = there("helper")
    said = json.dumps(f"Secret is {PASSWORD}")
    script = f"#!/bin/sh\nprintf %s '{said}'\nprintf %s '{said}' >&2\n{end}\n"
    place.write("bin/docker-credential-one", script)

    fails(lambda: make(place).run(on_event=watch), watch, AuthError)

    watch.saw("explanation", explain(f"{place.host}/app").render())
    assert watch.found(place.secrets()) == set()


class Peeking(FakeBackend):
    """Looks at every file that holds a needle while it builds, says what it knows, and fails."""

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        self.modes = {
            (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)
            for path in run.workdir.rglob("*")
            if path.is_file() and PASSWORD.encode() in path.read_bytes()
        }
        with run.task("RUN", "RUN cat /run/secrets/one") as task:
            for path in request.secrets.values():
                task.log("stdout", path.read_text())
            raise BuildError("exit code 1", evidence=())


def test_a_build_that_prints_its_secret_and_fails_shows_none(
    there: There, make: Make, watch: Watch
) -> None:
    """While it runs, a file for this user alone holds it; afterwards nothing does."""
    place, backend = there(), Peeking()
    place.setenv(ONE=PASSWORD)
    step = make(
        place, backend=backend, env_docker_secrets={"one": "ONE"}, secrets={"two": PASSWORD}
    )

    fails(lambda: step.run(on_event=watch), watch, BuildError)

    watch.saw("step", f"{step!r} {step} {step.model_dump_json(include={'secrets'})}")
    watch.saw("plan", f"{step.plan()!r} {step.plan().render()} {step.plan().to_json()}")
    assert backend.modes == {(0o600, 0o700)}
    assert watch.found(place.secrets()) == set()


def test_a_clients_key_is_seen_nowhere(there: There, make: Make, watch: Watch) -> None:
    """On success, and when the registry wants another one."""
    authority = PrivateCa()
    place = there(tls=authority.server("registry.example.com", clients=True))
    mine = authority.client(place.inputs)
    other = PrivateCa().client(place.inputs, "other")
    for pair in (mine, other):
        place.needles += pair[1].read_text().splitlines()[1:-1]
    ca = str(authority.file(place.inputs))

    def step(pair: tuple[Path, Path]) -> BuildAndPushStep:
        files = {"ca": ca, "certificate": str(pair[0]), "key": str(pair[1])}
        return make(place, registries={place.host: files})

    watch.saw("result", step(mine).run(on_event=watch))
    fails(lambda: step(other).run(on_event=watch), watch, BuildpushError)

    watch.saw("step", repr(step(mine)))
    assert watch.found(place.secrets()) == set()


SIGNED = Dialect(locations="other-port", downloads="other-port")


@pytest.mark.parametrize("fault", ["none", "PUT", "GET"])
def test_signed_addresses_are_seen_nowhere_in_a_copy(
    tmp_path: Path, watch: Watch, fault: str
) -> None:
    """Bytes go from storage to storage, whose addresses are the permission."""
    with LocalRegistry(dialect=SIGNED) as one, LocalRegistry(dialect=SIGNED) as two:
        layout = Layout.create(tmp_path / "image")
        random_image(layout)
        push(layout.path, one.reference("app:1"), retries=0, on_event=watch)
        for registry in (one, two):
            path = "/storage/|/blobs/uploads/"
            hang = Fault(method=fault, path=path, action=Hang(), times=None)
            if fault != "none":
                registry.inject(hang)
        target, kind = two.reference("app:1"), StepTimeoutError

        def work() -> object:
            return copy(one.reference("app:1"), target, retries=0, timeout=1, on_event=watch)

        if fault == "none":
            watch.saw("result", work())
        else:
            fails(work, watch, kind)

        needles = (*signed(one), *signed(two))
        assert len(needles) >= 2
        assert watch.found(needles) == set()


@pytest.mark.parametrize("how", ["well", "403", "500 in base64"])
@pytest.mark.parametrize("kind", ["config: auth", "GITHUB_TOKEN", "ECR, keys", "GAR, json key"])
def test_the_commands_print_no_secret(
    there: There,
    watch: Watch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    how: str,
) -> None:
    """push and explain, in words and as JSON."""
    place = there(kind)
    layout = Layout.create(tmp_path / "image")
    random_image(layout)
    auth = [f"--auth={name}" for name in place.auth if isinstance(name, str)]
    names = [f"{place.host}/app:1", *auth]
    send = ["push", str(layout.path), *names, "--json", "--retries=0", "--progress=jsonl"]

    if how == "well":
        codes = {main(send)}
    else:
        with ending(place.registry, "sending bytes", how):
            codes = {main(send)}
    main(["explain", *names])
    main(["explain", *names, "--json"])

    out, err = capfd.readouterr()
    watch.saw("stdout", out)
    watch.saw("stderr", err)
    assert codes == ({0} if how == "well" else codes - {0})
    assert "found" in out
    assert watch.found(place.secrets()) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_before_a_push_shows_no_secret(
    there: There, make: Make, watch: Watch, kind: str
) -> None:
    """explain() and preflight(), where the registry says yes and where it says no."""
    place = there(kind)
    step = make(place)
    accesses: tuple[Access, ...] = ("pull", "push")
    for access in accesses:
        found = explain(f"{place.host}/app", access, auth=place.auth)
        watch.saw("explanation", found)
        watch.saw("explanation, to read", f"{found.render()} {found.to_json()}")
    watch.saw("preflight", repr(step.preflight(on_event=watch)))

    with ending(place.registry, "looking for a blob", "403"):
        watch.saw("preflight", repr(step.preflight(on_event=watch)))
    with ending(place.registry, "the preflight", "403 in HTML"):
        fails(lambda: step.preflight(on_event=watch), watch, AuthError)

    assert watch.found(place.secrets()) == set()
