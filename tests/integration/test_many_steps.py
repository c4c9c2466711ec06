"""A matrix of a hundred steps, a fifth of which fail: table, events and registry say the same."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

from buildpush import BuildAndPushStep, CancelToken
from buildpush.errors import PermissionDeniedError, RegistryUnavailableError
from buildpush.events import Event, Warned
from buildpush.strategy import (
    Ending,
    FailureStrategy,
    Matrix,
    Retry,
    Status,
    run_many,
)
from buildpush.testing import LocalRegistry
from buildpush.testing.faults import Fault, Hang
from buildpush.testing.faults import Status as Answer

MATRIX = Matrix({"letter": list("abcdefghij"), "number": list(range(10))})
DOWN_ONCE = 3  # the numbers whose registry is away for the first attempt, …
REFUSED = 7  # … and those that may never push


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context whose image depends on the combination."""
    (tmp_path / "app.txt").write_text("the same in all of them\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM scratch\nARG WHICH\nCOPY app.txt /app.txt\nLABEL which=$WHICH\n"
    )
    return tmp_path


def steps(context: Path, registry: LocalRegistry) -> Mapping[str, BuildAndPushStep]:
    """One for each combination; none tries anything again by itself."""
    return MATRIX.steps(
        lambda values: BuildAndPushStep(
            repo=registry.reference(f"app/{values['letter']}{values['number']}"),
            context=context,
            build_args={"WHICH": f"{values['letter']}{values['number']}"},
            backend="native",
            retries=0,
            skip_preflight=True,
        )
    )


def test_table_events_and_registry_agree(context: Path) -> None:
    """Ten are run again and succeed, ten are ignored, eighty know nothing of it."""
    heard: dict[str, list[Event]] = defaultdict(list)
    with LocalRegistry() as registry:
        for letter in "abcdefghij":
            registry.inject(
                Fault(Answer(503), method="PUT", path=f"/app/{letter}{DOWN_ONCE}/manifests/")
            )
            registry.inject(
                Fault(
                    Answer(403),
                    method="PUT",
                    path=f"/app/{letter}{REFUSED}/manifests/",
                    times=None,
                )
            )
        table = run_many(
            steps(context, registry),
            max_concurrency=4,
            failure_strategies=[
                FailureStrategy("Connectivity", Retry(2, intervals=0.01)),
                FailureStrategy("Authorization", Ending.IGNORE),
            ],
            on_event=lambda name, event: heard[name].append(event),
        )

        assert len(table) == 100 and table.ok
        for iteration, row in zip(MATRIX.iterations(), table, strict=True):
            assert row.name == iteration.name
            repository = f"app/{iteration.values['letter']}{iteration.values['number']}"
            warnings = [e.message for e in heard[row.name] if isinstance(e, Warned)]
            again = [text for text in warnings if "running the step again" in text]
            match iteration.values["number"]:
                case 3:
                    assert (row.status, row.attempts, len(again)) == (Status.SUCCESS, 2, 1)
                case 7:
                    assert (row.status, row.attempts, again) == (Status.IGNORED, 1, [])
                    assert isinstance(row.error, PermissionDeniedError)
                    assert registry.tags(repository) == ()
                case _:
                    assert (row.status, row.attempts, again) == (Status.SUCCESS, 1, [])
            if row.result is not None:
                assert registry.digest(repository, "latest") == row.result.digest
        assert len({row.result.digest for row in table if row.result}) == 90
        assert registry.uploads_open == 0


def test_cancel_in_the_middle_leaves_nothing(
    context: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four pushes hang when it comes: no tag of theirs, no upload, no folder of a run, no thread."""
    temporary = tmp_path_factory.mktemp("runs")
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = set(threading.enumerate())
    cancel = CancelToken()
    names = ("c-0", "c-1", "c-2", "c-3")  # with four at once, nothing else runs beside them
    with LocalRegistry() as registry:
        faults = [
            registry.inject(Fault(Hang(), method="PUT", path=f"/app/{at(name)}/manifests/"))
            for name in names
        ]

        def stop() -> None:
            if all(fault.wait(120) for fault in faults):
                cancel.cancel()

        stopper = threading.Thread(target=stop, daemon=True)
        stopper.start()
        table = run_many(steps(context, registry), max_concurrency=4, cancel=cancel)
        stopper.join()

        # Looked at while the requests still hang: who goes on with one later may yet tag.
        statuses = {name: table[name].status for name in names}
        assert statuses == dict.fromkeys(names, Status.ABORTED)
        assert [row.attempts for row in table] == [1] * 24 + [0] * 76
        assert {row.status for row in table} == {Status.SUCCESS, Status.ABORTED}
        assert not any(isinstance(row.error, RegistryUnavailableError) for row in table)
        for row in table:
            tags = ("latest",) if row.status is Status.SUCCESS else ()
            assert registry.tags(f"app/{at(row.name)}") == tags
        assert registry.uploads_open == 0
        for fault in faults:
            fault.release()
    assert list(temporary.iterdir()) == []
    left = set(threading.enumerate()) - before
    assert [thread for thread in left if thread.name.startswith("buildpush")] == []


def at(name: str) -> str:
    """The last part of the repository of the step *name*."""
    return name.replace("-", "")
