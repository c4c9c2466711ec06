"""Results: the digest is the registry's, images are what their Dockerfiles say, nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from attrs import field, frozen

from ...events import Phase, PhaseStarted, TaskFinished, TaskStarted
from ...plan import Feature
from ..snapshots import snapshot_tree
from .pulled import ImageFile, PulledImage, decompressed, pull_image
from .workbench import Workbench

__all__ = ["TruthTests"]

_ALL_TAGS: Final = ("1.4", "1", "latest")
_AT_ONCE: Final = 3


@frozen(kw_only=True)
class Case:
    """A Dockerfile, files, and what of the image has to be: files without those of the base."""

    name: str
    dockerfile: str
    files: Mapping[str, str | bytes] = field(factory=dict[str, str | bytes])
    config: Mapping[str, Any] = field(factory=dict[str, Any])
    expected: Mapping[str, tuple[str, int, int, int, str]] = field(
        factory=dict[str, tuple[str, int, int, int, str]]
    )
    needs_run: bool = False


_CASES: Final = (
    Case(
        name="metadata",
        dockerfile="FROM scratch\nCOPY a /a\nENV A=1 B=$A\nENV C=${A}x\nLABEL l.one=1 l.two='2 3'\n"
        'USER 12:34\nEXPOSE 80 53/udp\nVOLUME ["/data"]\nSTOPSIGNAL SIGINT\n'
        'ENTRYPOINT ["/a", "-x"]\nCMD ["y z"]\n',
        files={"a": "1"},
        config={
            "User": "12:34",
            "Labels": {"l.one": "1", "l.two": "2 3"},
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "Volumes": {"/data": {}},
            "StopSignal": "SIGINT",
            "Entrypoint": ["/a", "-x"],
            "Cmd": ["y z"],
        },
        expected={"a": ("file", 0o644, 0, 0, "1")},
    ),
    Case(
        name="owners-and-modes",
        dockerfile="FROM scratch\nCOPY --chown=5:6 a /x\nCOPY tree /t/\n",
        files={"a": "1", "tree/deep/down/b": "2", "tree/c": "3"},
        expected={
            "x": ("file", 0o644, 5, 6, "1"),
            "t": ("dir", 0o755, 0, 0, ""),
            "t/c": ("file", 0o644, 0, 0, "3"),
            "t/deep": ("dir", 0o755, 0, 0, ""),
            "t/deep/down": ("dir", 0o755, 0, 0, ""),
            "t/deep/down/b": ("file", 0o644, 0, 0, "2"),
        },
    ),
    Case(
        name="ignored",
        dockerfile="FROM scratch\nWORKDIR /w\nCOPY . .\n",
        files={
            ".dockerignore": "*.log\n!keep.log\nout\nDockerfile\n.dockerignore\n",
            "a.log": "",
            "keep.log": "k",
            "out/x": "",
            "in/x": "i",
        },
        config={"WorkingDir": "/w"},
        expected={
            "w": ("dir", 0o755, 0, 0, ""),
            "w/keep.log": ("file", 0o644, 0, 0, "k"),
            "w/in": ("dir", 0o755, 0, 0, ""),
            "w/in/x": ("file", 0o644, 0, 0, "i"),
        },
    ),
    Case(
        name="stages",
        dockerfile="FROM scratch AS one\nCOPY a /a\nFROM scratch AS unused\nCOPY a /z\n"
        "FROM scratch\nCOPY --from=one /a /b\nCOPY --from=0 /a /c\n",
        files={"a": "1"},
        expected={
            "b": ("file", 0o644, 0, 0, "1"),
            "c": ("file", 0o644, 0, 0, "1"),
        },
    ),
    Case(
        name="run",
        dockerfile="FROM $BASE\nARG A=1\nENV B=2\nUSER app\nWORKDIR /home/app\n"
        'RUN echo "$A $B $(id -un) $(pwd)" >said && ln said twin && ln -s said link\n'
        "USER root\nRUN rm /etc/group && mkdir -m 1777 /shared && chmod 4755 /bin/busybox\n",
        config={"User": "root", "WorkingDir": "/home/app"},
        expected={
            "home/app": ("dir", 0o755, 1000, 1000, ""),
            "home/app/said": ("file", 0o644, 1000, 1000, "1 2 app /home/app\n"),
            "home/app/twin": ("file", 0o644, 1000, 1000, "1 2 app /home/app\n"),
            "home/app/link": ("symlink", 0o777, 1000, 1000, "said"),
            "etc/group": ("gone", 0, 0, 0, ""),
            "shared": ("dir", 0o1777, 0, 0, ""),
        },
        needs_run=True,
    ),
)


def _case_name(case: Case) -> str:
    return case.name


class TruthTests:
    """Part of `BackendConformance`."""

    def test_the_digest_is_that_of_the_registry(self, bench: Workbench) -> None:
        """Of the bytes under every tag; and everything they name is there and hashes right."""
        built = bench.build("FROM scratch\nCOPY a /a\n", {"a": "1"}, tags=list(_ALL_TAGS))

        assert bench.registry.tags(bench.repository) == tuple(sorted(_ALL_TAGS))
        for tag in _ALL_TAGS:
            image = pull_image(bench.registry.reference(f"{bench.repository}:{tag}"))
            assert image.digest == str(built.result.digest)
        pinned = {f"{bench.repository}:{tag}@{built.result.digest}" for tag in _ALL_TAGS}
        host = bench.registry.host
        assert {str(r).removeprefix(f"{host}/") for r in built.result.references} == pinned
        _assert_consistent(built.image)

    @pytest.mark.parametrize("case", _CASES, ids=_case_name)
    def test_config_and_files_are_what_the_dockerfile_says(
        self, bench: Workbench, case: Case
    ) -> None:
        """Names, owners, modes, contents, links; environment, command, labels, ports."""
        if case.needs_run and bench.refuses(Feature.RUN, case.dockerfile):
            return

        image = bench.build(case.dockerfile, case.files).image

        found = {name: image.run_config.get(name) for name in case.config}
        assert found == dict(case.config)
        files = image.files()
        if case.needs_run:
            files = {name: file for name, file in files.items() if name in case.expected}
        seen = {name: _facts(file) for name, file in files.items()}
        expected = {n: facts for n, facts in case.expected.items() if facts[0] != "gone"}
        assert seen == expected

    def test_the_environment_of_the_image(self, bench: Workbench) -> None:
        """ENV in its order, expanded; ARG leaves nothing."""
        image = bench.build(
            "FROM scratch\nARG X=x\nENV A=1 B=$X\nENV C=${A}2\nCOPY a /\n", {"a": ""}
        )
        names = [pair for pair in image.image.run_config["Env"] if not pair.startswith("PATH=")]

        assert names == ["A=1", "B=x", "C=12"]

    def test_labels_and_arguments_of_the_step(self, bench: Workbench) -> None:
        """Build args win over defaults, labels of the step over the Dockerfile's."""
        built = bench.build(
            "FROM scratch\nARG X=x\nLABEL x=$X own=1 both=file\nCOPY a /\n",
            {"a": ""},
            build_args={"X": "given with spaces"},
            labels={"both": "step", "more": "2"},
        )

        assert built.image.run_config["Labels"] == {
            "x": "given with spaces",
            "own": "1",
            "both": "step",
            "more": "2",
        }

    def test_the_context_is_only_read(self, bench: Workbench) -> None:
        """Not one name, mode, owner, time or byte is another afterwards."""
        step = bench.step("FROM scratch\nCOPY . /\n", {"a": "1", "deep/b": "2"})
        before = snapshot_tree(bench.context)

        step.run()

        assert snapshot_tree(bench.context) == before

    def test_events_tell_a_whole_story(self, bench: Workbench) -> None:
        """Phases in order; every task that begins ends, and begins before it ends."""
        events = bench.build("FROM scratch\nCOPY a /a\n", {"a": "1"}).sink.events

        phases = [event.phase for event in events if isinstance(event, PhaseStarted)]
        assert phases[:2] == [Phase.PLAN, Phase.BUILD]
        assert len(phases) == len(set(phases)) and phases[-1] in (Phase.PUSH, Phase.VERIFY)
        running: set[str] = set()
        for event in events:
            if isinstance(event, TaskStarted):
                running.add(event.task)
            elif isinstance(event, TaskFinished):
                assert event.task in running, f"{event.task} ended without having begun"
                running.remove(event.task)
        assert running == set()

    def test_builds_at_once_do_not_mix(self, bench: Workbench) -> None:
        """One backend object serves several steps of one process."""
        benches = [bench.beside(number) for number in range(_AT_ONCE)]

        def work(number: int) -> tuple[str, str]:
            text = f"FROM scratch\nLABEL number={number}\nCOPY a /a\n"
            image = benches[number].build(text, {"a": str(number)}).image
            return image.run_config["Labels"]["number"], image.text("a")

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(work, range(_AT_ONCE)))

        assert found == [(str(number), str(number)) for number in range(_AT_ONCE)]


def _facts(file: ImageFile) -> tuple[str, int, int, int, str]:
    content = file.link if file.kind == "symlink" else file.content.decode()
    return file.kind, file.mode & 0o7777, file.uid, file.gid, content


def _assert_consistent(image: PulledImage) -> None:
    """One diff id for each layer, that of its uncompressed bytes; sizes as the manifest says."""
    diff_ids = [f"sha256:{hashlib.sha256(decompressed(b)).hexdigest()}" for b in image.layers]
    assert image.config["rootfs"]["diff_ids"] == diff_ids
    assert [layer["size"] for layer in image.manifest["layers"]] == [len(b) for b in image.layers]
    real = [entry for entry in image.config["history"] if not entry.get("empty_layer")]
    assert len(real) == len(diff_ids)
