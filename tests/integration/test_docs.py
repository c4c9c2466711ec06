"""The documentation does what it says: every code block of every page is executed."""

import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from _pytest.mark.structures import ParameterSet
from attrs import frozen
from engine_fixtures import DockerEngine
from kaniko_fixtures import KanikoImage

from buildpush import dockerfile
from buildpush.cli import EXIT_CODES
from buildpush.testing import LocalRegistry, RecordingSink

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
README = ROOT / "README.md"
CLUSTERS = ROOT / "docs" / "how-to" / "kubernetes.md"
_ENGINES_OF_THE_README = "## With the engines you have"
BAKE_FILE = """\
variable "REPO" {}

group "default" {
  targets = ["app"]
}

target "app" {
  tags = ["${REPO}:1.4"]
}
"""
_FENCE = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


# What a page needs beyond a registry: the markers of the tests, whose fixtures are below.
_NEEDS = {
    "bake": ("needs_buildx",),
    "buildah": ("needs_buildah",),
    "buildx": ("needs_buildx",),
    "cache": ("needs_buildx", "needs_buildah"),
    "choose-a-backend": ("needs_docker", "needs_buildah"),
    "docker": ("needs_docker",),
    "kaniko": ("needs_docker",),
    "kubernetes": ("needs_cluster",),
    "logs": ("needs_root",),
    "multi-platform": ("needs_buildx", "needs_buildah"),
    "secrets": ("needs_root",),
}
# marker -> the fixture that brings it
_ENGINES = {
    "needs_buildx": "dockerd",
    "needs_docker": "dockerd",
    "needs_buildah": "buildah_root",
    "needs_cluster": "stub_cluster",
}
# What the blocks of this title need: no registry of packages has it, so they are tested apart.
_EXECUTOR = "with an executor"


class PushableImage(Protocol):
    def push(self, host: str, repository: str, tag: str) -> str: ...


class Engine(Protocol):
    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None: ...


@frozen
class Block:
    """One fenced block: its language, its title, its text, and the line it begins on."""

    language: str
    title: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = rest.removeprefix('title="').removesuffix('"')
        found.append(Block(language, title, match["code"], text[: match.start()].count("\n") + 1))
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with something to build, as the pages assume it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "hello.txt").write_text("hello\n")
    (folder / "Dockerfile").write_text(
        "FROM scratch\nARG VERSION=dev\nLABEL version=$VERSION\nCOPY hello.txt /\n"
    )
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def names(project: Path) -> Iterator[dict[str, object]]:
    """The names the pages' Python blocks may use."""
    with LocalRegistry() as registry:
        yield {"__name__": "docs", "repo": registry.reference("acme/app"), "registry": registry}


def run_blocks(page: Path, found: list[Block], names: dict[str, object], project: Path) -> None:
    for block in found:
        match block.language:
            case "python":
                source = "\n" * block.line + block.code
                exec(compile(source, str(page), "exec"), names)
            case "sh":
                run_shell(block, names)
            case "dockerfile":
                dockerfile.parse(block.code, filename=block.title or "Dockerfile")
                if block.title:
                    (project / block.title).write_text(block.code)
            case "hcl":  # whoever uses it will say what is wrong with it
                (project / block.title).write_text(block.code)
            case "toml":
                tomllib.loads(block.code)
            case "yaml" if block.title:
                (project / block.title).write_text(block.code)
            case "yaml":
                check_manifests(block.code)
            case "text":
                pass
            case other:
                raise AssertionError(f"{page}:{block.line}: nothing checks {other!r} blocks")


def run_shell(block: Block, names: dict[str, object]) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "REPO": str(names["repo"]),
        "BASE": str(names.get("base", "")),
    }
    done = subprocess.run(
        ["sh", "-eu", "-c", block.code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def check_manifests(text: str) -> None:
    """Every object is one that Kubernetes knows, and has nothing in it that it does not."""
    yaml = pytest.importorskip("yaml")
    validate = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all(text):
        validate.validate(document, validate.latest_version(), strict=True)


def run_page(page: Path, found: list[Block], names: dict[str, object], project: Path) -> None:
    run_blocks(page, found, names, project)
    for name, value in list(names.items()):
        if name.startswith("test_") and inspect.isfunction(value):
            with LocalRegistry() as registry:
                value(local_registry=registry, recording_sink=RecordingSink())


def pages() -> Iterator[ParameterSet]:
    """The pages that have something to execute, each marked with what that needs."""
    for page in PAGES:
        if blocks(page):
            marks = [getattr(pytest.mark, name) for name in _NEEDS.get(page.stem, ())]
            yield pytest.param(page, marks=marks, id=f"{page.parent.name}/{page.stem}")


@pytest.fixture
def stub_cluster(tmp_path: Path, missing: Callable[[str], None]) -> Iterator[Engine]:
    """A cluster on loopback, which plays kaniko; who asks it may do what the page's Role says."""
    from kubernetes_stub import Node, Rule, StubCluster
    from kubernetes_stub import missing as what_is_missing

    lacking = what_is_missing()
    if lacking:
        missing(lacking)
    nodes = (Node(name="one"), Node(name="two", architecture="arm64"))
    with StubCluster(tmp_path / "cluster", nodes=nodes) as stub:
        stub.add_namespace("restricted", restricted=True)
        rules = (
            Rule(verbs=(*r["verbs"],), resources=(*r["resources"],), groups=(*r["apiGroups"],))
            for r in role_on_the_page()["rules"]
        )
        token = stub.rights.token("reader", "", tuple(rules))
        yield _Reached(stub.kubeconfig(tmp_path / "kubeconfig", token=token))
        assert stub.invalid == ()
        assert stub.left() == ()


def role_on_the_page() -> dict[str, Any]:
    """The Role that the page about clusters has people apply."""
    yaml = pytest.importorskip("yaml")
    [manifests] = [b for b in blocks(CLUSTERS) if b.title == "buildpush.yaml"]
    [role] = [d for d in yaml.safe_load_all(manifests.code) if d["kind"] == "Role"]
    found: dict[str, Any] = role
    return found


@frozen
class _Reached:
    """A cluster that a kubeconfig leads to."""

    kubeconfig: Path

    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBECONFIG", str(self.kubeconfig))


@pytest.fixture
def engines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the engines that the test is marked to need, and name them in the environment."""
    wanted = {
        fixture: None
        for marker, fixture in _ENGINES.items()
        if request.node.get_closest_marker(marker) is not None
    }
    for fixture in wanted:
        engine: Engine = request.getfixturevalue(fixture)
        engine.activate(monkeypatch)


@pytest.fixture
def base(request: pytest.FixtureRequest, names: dict[str, object]) -> None:
    """A base image with a shell, called `base`, for the pages that need more than a registry."""
    if any(marker.name.startswith("needs_") for marker in request.node.iter_markers()):
        image: PushableImage = request.getfixturevalue("busybox_base")
        host = str(names["repo"]).partition("/")[0]
        names["base"] = image.push(host, "base/busybox", "1")


@pytest.mark.usefixtures("engines", "base")
@pytest.mark.parametrize("page", list(pages()))
def test_every_block_of_a_page_runs(page: Path, names: dict[str, object], project: Path) -> None:
    """Read from top to bottom, each page works."""
    run_page(page, [b for b in blocks(page) if b.title != _EXECUTOR], names, project)


@pytest.mark.needs_docker
@pytest.mark.usefixtures("kaniko_by_its_name")
def test_the_page_about_kaniko_runs_with_an_executor(
    names: dict[str, object], project: Path
) -> None:
    """Its builds, too, where somebody has brought an executor: BUILDPUSH_TEST_KANIKO names it."""
    page = ROOT / "docs" / "how-to" / "kaniko.md"

    run_page(page, blocks(page), names, project)


@pytest.fixture
def kaniko_by_its_name(
    kaniko_images: tuple[KanikoImage, ...],
    dockerd: DockerEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real executor of the version that the page names, in dockerd under the name it has there."""
    name = "ghcr.io/osscontainertools/kaniko:v1.28.3"
    dockerd.activate(monkeypatch)
    for image in kaniko_images:
        said = docker("run", "--rm", "--network", "none", image.name, "version")
        if "v1.28.3" in said:
            docker("tag", image.name, name)
            return
    pytest.skip(f"needs the executor of {name} in BUILDPUSH_TEST_KANIKO")


def docker(*words: str) -> str:
    """What docker says."""
    argv = ["/usr/bin/env", "docker", *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_the_blocks_of_the_readme_run(names: dict[str, object], project: Path) -> None:
    """All but the two commands on top, which have tests of their own, and those for engines."""
    run_page(README, [b for b in blocks(README)[2:] if not for_engines(b)], names, project)


@pytest.mark.needs_buildx
@pytest.mark.usefixtures("engines")
def test_the_engines_of_the_readme_run(names: dict[str, object], project: Path) -> None:
    """What it does with the engines that people have."""
    (project / "docker-bake.hcl").write_text(BAKE_FILE)

    run_page(README, [b for b in blocks(README) if for_engines(b)], names, project)


def for_engines(block: Block) -> bool:
    """Whether a block of the README is in the section that needs them."""
    before = README.read_text().splitlines()[: block.line]
    return [line for line in before if line.startswith("## ")][-1:] == [_ENGINES_OF_THE_README]


def test_the_role_of_the_page_is_what_the_code_asks_for() -> None:
    """All the rights that a build needs, and none that it does not."""
    yaml = pytest.importorskip("yaml")
    from buildpush.backends.kaniko.kubernetes.rights import role_manifest

    role = role_on_the_page()

    assert role == yaml.safe_load(role_manifest("builds"))


def test_the_readmes_test_command_is_what_ci_runs() -> None:
    """Continuous integration does nothing a reader could not do."""
    command = blocks(README)[1].code.strip()

    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(f"\n{command}")


def test_links_between_pages_lead_somewhere() -> None:
    """No page points at a file that is not there."""
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in (*PAGES, README)
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []


def test_the_exit_codes_are_those_of_the_page() -> None:
    """The table in the reference is the table in the code."""
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()

    documented = {
        kind: int(code)
        for code, kind in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)
    }

    assert documented == {kind.__name__: code for kind, code in EXIT_CODES.items()}


def test_the_errors_pages_have_the_right_exit_codes() -> None:
    """Each error's page says what the command line will exit with."""
    from buildpush import errors

    wrong = []
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.BuildpushError):
            code = next(EXIT_CODES[parent] for parent in kind.__mro__ if parent in EXIT_CODES)
            page = (ROOT / "docs" / "errors" / f"{kind.slug}.md").read_text()
            if f"| `{kind.slug}` | {code} |" not in page:
                wrong.append(kind.__name__)

    assert wrong == []
