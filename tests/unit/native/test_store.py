"""The store keeps what it was given, drops what is damaged, and shares between processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from buildpush.backends.native.records import StepRecord
from buildpush.backends.native.store import Store
from buildpush.backends.native.trimming import touch_layers
from buildpush.errors import BuildError, DigestMismatchError
from buildpush.oci import Digest, Repository
from buildpush.oci.wire import Descriptor

DATA = b"a layer"
DIGEST = Digest.of(DATA)
CREATED = "2026-01-02T03:04:05Z"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", remove=unwanted) as opened:
        yield opened


def record() -> StepRecord:
    layer = Descriptor(media_type="m", digest=DIGEST, size=len(DATA))
    return StepRecord(layer=layer, diff_id=Digest.of(b"tar"), created=CREATED)


def no_wait() -> None:
    raise AssertionError("nobody holds the lock")


def unwanted(path: Path) -> None:
    raise AssertionError(f"plain removal was enough for {path}")


def test_folders_are_private(store: Store) -> None:
    """Layers may hold what only their owner may read."""
    modes = {oct(p.stat().st_mode & 0o777) for p in (store.root, store.root / "steps")}

    assert modes == {"0o700"}


def test_a_blob_is_kept_under_its_digest(store: Store) -> None:
    """And nothing else is left behind."""
    path = store.ingest([b"a ", b"layer"], DIGEST, len(DATA))

    assert path.read_bytes() == DATA
    assert store.has_blob(DIGEST, len(DATA))
    assert store.read_blob(DIGEST) == DATA
    assert [p.name for p in path.parent.iterdir()] == [DIGEST.hex]


@pytest.mark.parametrize("data", [b"another", b"a layer and more"])
def test_wrong_bytes_are_refused(store: Store, data: bytes) -> None:
    """They never get the name they claim."""
    with pytest.raises(DigestMismatchError):
        store.ingest([data], DIGEST, len(DATA))

    assert not store.has_blob(DIGEST)
    assert list(store.blob_path(DIGEST).parent.iterdir()) == []


def test_a_source_that_breaks_off_leaves_nothing(store: Store) -> None:
    """Whatever it raises passes through."""

    def broken() -> Iterator[bytes]:
        yield b"a "
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.ingest(broken(), DIGEST, len(DATA))

    assert list(store.blob_path(DIGEST).parent.iterdir()) == []


def test_a_truncated_blob_is_dropped(store: Store) -> None:
    """Its size gives it away."""
    path = store.ingest([DATA], DIGEST, len(DATA))
    path.write_bytes(DATA[:3])

    assert not store.has_blob(DIGEST, len(DATA))
    assert not path.exists()


def test_a_blob_that_was_written_to_is_dropped(store: Store) -> None:
    """Same size, other bytes: the time of the change gives it away."""
    path = store.ingest([DATA], DIGEST, len(DATA))
    path.write_bytes(b"A LAYER")

    assert not store.has_blob(DIGEST, len(DATA))
    assert not path.exists()


def test_a_touched_blob_is_hashed_and_kept(store: Store) -> None:
    """A backup that restores other times costs one hashing."""
    path = store.ingest([DATA], DIGEST, len(DATA))
    os.utime(path)

    assert store.has_blob(DIGEST, len(DATA))
    assert path.stat().st_mtime_ns == 1_000_000_000


def test_reading_verifies(store: Store) -> None:
    """Wrong bytes are dropped, whatever their times say."""
    path = store.ingest([DATA], DIGEST, len(DATA))
    path.write_bytes(b"A LAYER")

    assert store.read_blob(DIGEST) is None
    assert store.read_blob(DIGEST) is None


def test_a_file_is_taken_over(store: Store, tmp_path: Path) -> None:
    """Renamed, not copied."""
    source = tmp_path / "layer"
    source.write_bytes(DATA)

    path = store.adopt(source, DIGEST)

    assert path.read_bytes() == DATA and not source.exists()
    assert store.has_blob(DIGEST, len(DATA))


def test_a_step_is_remembered_with_its_layer(store: Store) -> None:
    """Only while the layer is there."""
    store.remember("key", record())
    assert store.step("key") is None

    store.write_blob(DATA)
    store.remember("key", record())

    assert store.step("key") == record()
    assert store.step("other") is None


def test_a_step_without_a_layer_is_remembered(store: Store) -> None:
    """A WORKDIR that was there already."""
    nothing = StepRecord(layer=None, diff_id=None, created=CREATED)

    store.remember("key", nothing)

    assert store.step("key") == nothing


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", b"0" * 64 + b"\n{}", b"\xff\xfe\n\n"],
    ids=["empty", "junk", "sum", "b"],
)
def test_a_damaged_record_is_dropped(store: Store, content: bytes) -> None:
    """It was cut short or written to."""
    store.write_blob(DATA)
    store.remember("key", record())
    path = store.root / "steps" / "key"
    path.write_bytes(content)

    assert store.step("key") is None
    assert not path.exists()


def test_a_record_of_another_form_is_dropped(store: Store) -> None:
    """Whole, but not what this version writes."""
    store.keep_note("x", b'{"layer": 5}')
    (store.root / "steps" / "note-x").rename(store.root / "steps" / "key")

    assert store.step("key") is None
    assert not (store.root / "steps" / "key").exists()


def test_indexes_origins_and_notes_are_kept(store: Store) -> None:
    """Origins are sets of repositories."""
    here, there = Repository("r.io", "a"), Repository("r.io", "b")
    store.keep_index(DIGEST, b"index")
    store.keep_note("n", b"note")
    for repository in (here, there, here):
        store.seen(DIGEST, repository)

    assert store.index(DIGEST) == b"index"
    assert store.note("n") == b"note"
    assert store.origins(DIGEST) == (here, there)
    assert store.origins(Digest.of(b"other")) == ()


def test_a_cache_outlives_its_use(store: Store) -> None:
    """It is fresh once."""
    with store.cache_mount("id", sharing="shared", wait=no_wait) as first:
        (first.path / "f").write_text("1")
    with store.cache_mount("id", sharing="locked", wait=no_wait) as second:
        found = (second.path / "f").read_text()

    assert (first.fresh, second.fresh, found) == (True, False, "1")


def test_a_locked_cache_waits(store: Store) -> None:
    """The wait is told to whoever may cancel it."""

    class Cancelled(Exception):
        pass

    def cancel() -> None:
        raise Cancelled

    with (
        store.cache_mount("id", sharing="shared", wait=no_wait),
        pytest.raises(Cancelled),
        store.cache_mount("id", sharing="locked", wait=cancel),
    ):
        raise AssertionError("two have it")


def test_a_private_cache_is_nobody_elses(store: Store) -> None:
    """A second user gets a second folder, and the first again when it is free."""
    with (
        store.cache_mount("id", sharing="private", wait=no_wait) as first,
        store.cache_mount("id", sharing="private", wait=no_wait) as second,
    ):
        assert first.path != second.path
    with store.cache_mount("id", sharing="private", wait=no_wait) as third:
        assert third.path == first.path


def test_shared_caches_overlap(store: Store) -> None:
    """Both see one folder."""
    with (
        store.cache_mount("id", sharing="shared", wait=no_wait) as first,
        store.cache_mount("id", sharing="shared", wait=no_wait) as second,
    ):
        assert first.path == second.path


def test_a_work_folder_goes_when_it_is_left(store: Store) -> None:
    """With everything in it."""
    with store.work() as folder:
        (folder / "x").mkdir()

    assert list((store.root / "work").iterdir()) == []


def test_what_a_dead_process_left_is_swept(store: Store) -> None:
    """What living ones use stays."""
    code = (
        "import os, sys, pathlib\n"
        "from buildpush.backends.native.store import Store\n"
        "store = Store(pathlib.Path(sys.argv[1])).__enter__()\n"
        "manager = store.work()\n"
        "(manager.__enter__() / 'x').write_text('1')\n"
        "os._exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code, store.root], check=False)
    assert len(list((store.root / "work").iterdir())) == 1

    with store.work() as mine:
        with Store(store.root, remove=unwanted):
            left = list((store.root / "work").iterdir())

        assert left == [mine.parent]


def test_a_crash_while_writing_loses_that_write(store: Store) -> None:
    """The half-written file is cleared by the next one who is alone."""
    code = (
        "import os, sys, pathlib\n"
        "from buildpush.backends.native.store import Store\n"
        "from buildpush.oci import Digest\n"
        "store = Store(pathlib.Path(sys.argv[1]))\n"
        "store.__enter__()\n"
        "def chunks():\n"
        "    yield b'half'\n"
        "    os._exit(1)\n"
        "store.ingest(chunks(), Digest.of(b'whole'), 5)\n"
    )
    subprocess.run([sys.executable, "-c", code, store.root], check=False)
    strays = list(store.root.glob("blobs/*/.new-*"))
    store.__exit__(None, None, None)

    with Store(store.root) as again:
        left = list(store.root.glob("blobs/*/.new-*"))

        assert len(strays) == 1 and left == []
        assert not again.has_blob(Digest.of(b"whole"))


def test_the_least_recently_used_blob_goes_first(tmp_path: Path) -> None:
    """As soon as somebody opens the store with a smaller limit."""
    old, new = Digest.of(b"old-"), Digest.of(b"new-")
    with Store(tmp_path) as store:
        for number, data in enumerate((b"old-", b"new-")):
            path = store.blob_path(store.write_blob(data))
            os.utime(path, ns=(number, path.stat().st_mtime_ns))

    with Store(tmp_path, limit=4) as trimmed:
        assert (trimmed.has_blob(old), trimmed.has_blob(new)) == (False, True)


def test_nothing_is_trimmed_under_another_build(tmp_path: Path) -> None:
    """Its blobs are in use."""
    with Store(tmp_path) as store:
        store.write_blob(DATA)

        with Store(tmp_path, limit=1) as other:
            assert other.has_blob(DIGEST)


def test_the_lock_is_shared(tmp_path: Path) -> None:
    """Two builds may go on at once; only trimming is alone."""
    with Store(tmp_path), (tmp_path / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)

        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_plain_removal_cannot_do_is_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox removes files of mapped ids; when it cannot either, the build says so."""
    removed: list[Path] = []

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    def by_others(path: Path) -> None:
        removed.append(path)
        real(path)

    real = shutil.rmtree
    monkeypatch.setattr("buildpush.backends.native.store.shutil.rmtree", refuse)
    with Store(tmp_path, remove=by_others) as store, store.work() as folder:
        pass
    stubborn = Store(tmp_path, remove=refuse)
    with pytest.raises(BuildError, match="work folder"), stubborn, stubborn.work():
        pass

    assert removed == [folder.parent]


def test_unpacked_layers_have_a_limit(tmp_path: Path) -> None:
    """Looked at once a day; those used lately stay."""
    with Store(tmp_path) as store:
        for name in ("aa", "bb"):
            (store.layers / name).mkdir()
            (store.layers / name / "f").write_bytes(b"x" * 100_000)
            os.utime(store.layers / name, (1, 1))
        touch_layers(store.layers, ["bb"])
    with Store(tmp_path, limit=150_000):
        today = {p.name for p in store.layers.iterdir()}
    os.utime(tmp_path / "trimmed", (1, 1))
    with Store(tmp_path, limit=150_000):
        tomorrow = {p.name for p in store.layers.iterdir()}

    assert (today, tomorrow) == ({"aa", "bb"}, {"bb"})


def test_records_nobody_asks_for_expire(tmp_path: Path) -> None:
    """After a month."""
    with Store(tmp_path) as store:
        for name in ("old", "new"):
            store.keep_note(name, b"1")
        os.utime(tmp_path / "steps" / "note-old", (1, 1))
        os.utime(tmp_path / "trimmed", (1, 1))

    with Store(tmp_path) as store:
        assert (store.note("old"), store.note("new")) == (None, b"1")


def test_no_folder_above_a_store_is_open_to_others(tmp_path: Path) -> None:
    """Whatever the umask: who can write above the store could put another in its place."""
    before = os.umask(0)
    try:
        with Store(tmp_path / "cache" / "native" / "v1", remove=unwanted):
            pass
    finally:
        os.umask(before)

    made = (tmp_path / "cache", tmp_path / "cache" / "native", tmp_path / "cache/native/v1/steps")
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700] * 3


def test_a_step_is_made_by_one_at_a_time(tmp_path: Path) -> None:
    """The second build calls *wait* until the first has made it; another key is free."""
    with Store(tmp_path) as one, Store(tmp_path) as two, ExitStack() as first:
        first.enter_context(one.making("key", _never))
        waits: list[str] = []

        def wait() -> None:
            waits.append("waited")
            first.close()

        with two.making("other", _never), two.making("key", wait):
            assert waits == ["waited"]


def test_locks_of_steps_do_not_pile_up(tmp_path: Path) -> None:
    """Whoever opens the store alone clears them."""
    with Store(tmp_path) as store, store.making("key", _never):
        pass

    with Store(tmp_path):
        assert list((tmp_path / "locks").iterdir()) == []


def _never() -> None:
    raise AssertionError("nobody holds this lock")
