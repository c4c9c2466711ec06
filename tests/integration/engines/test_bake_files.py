"""Real bake files through the real buildx, and what their steps put into a registry."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep, SpecError
from buildpush.backends.buildx import BuildxBackend
from buildpush.backends.docker import DockerBackend
from buildpush.cli import main
from buildpush.errors import SourceEvidence
from buildpush.testing import LocalRegistry

pytestmark = pytest.mark.needs_buildx


@pytest.fixture
def project(tmp_path: Path, buildx_plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an application, a second context, and buildx within reach."""
    monkeypatch.setenv("PATH", str(buildx_plugin.parent), prepend=":")
    folder = tmp_path / "project"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "Dockerfile").write_text(
        "ARG FROM=scratch\nFROM $FROM AS final\nARG VERSION\nLABEL version=$VERSION\n"
        "COPY hello.txt /\n"
    )
    (folder / "app" / "hello.txt").write_text("hello\n")
    monkeypatch.chdir(folder)
    return folder


def manifest(registry: LocalRegistry, repository: str, tag: str) -> dict[str, Any]:
    data = registry.manifest(repository, tag)
    assert data is not None
    found: dict[str, Any] = json.loads(data)
    return found


def config(registry: LocalRegistry, repository: str, tag: str) -> dict[str, Any]:
    digest = manifest(registry, repository, tag)["config"]["digest"]
    data = registry.blob(repository, digest)
    assert data is not None
    found: dict[str, Any] = json.loads(data)
    return found


def files(registry: LocalRegistry, repository: str, tag: str) -> Mapping[str, bytes]:
    """The regular files of an image, by path; later layers win."""
    found: dict[str, bytes] = {}
    for layer in manifest(registry, repository, tag)["layers"]:
        blob = registry.blob(repository, layer["digest"])
        assert blob is not None
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob))) as archive:
            for member in archive:
                if member.isreg():
                    body = archive.extractfile(member)
                    assert body is not None
                    found[member.name] = body.read()
    return found


HCL = """
variable "REGISTRY" {}
variable "VERSION" {
  default = "dev"
}

function "tag" {
  params = [name]
  result = ["${REGISTRY}/acme/${name}:${VERSION}", "${REGISTRY}/acme/${name}:latest"]
}

group "default" {
  targets = ["app", "flavour"]
}

target "_common" {
  context = "app"
  args = {
    VERSION = upper(VERSION)
  }
  labels = {
    "com.example.literal" = "$${NOT_OURS} %%{either}"
  }
}

target "app" {
  inherits = ["_common"]
  tags = tag("app")
  annotations = ["com.example.kind=app"]
}

target "flavour" {
  inherits = ["_common"]
  name = "flavour-${taste}"
  matrix = {
    taste = ["sweet", "sour"]
  }
  tags = ["${REGISTRY}/acme/flavour:${taste}"]
  dockerfile-inline = <<EOT
FROM scratch
ARG VERSION
LABEL taste=${taste} version=$VERSION
COPY hello.txt /$${VERSION}.txt
EOT
}
"""


def test_variables_functions_inheritance_groups_and_a_matrix(
    project: Path, local_registry: LocalRegistry
) -> None:
    """All that makes the format a language is in the images that land."""
    (project / "docker-bake.hcl").write_text(HCL)

    steps = BuildAndPushStep.from_bake(
        variables={"REGISTRY": local_registry.host, "VERSION": "v1"}, backend="native"
    )
    digests = {name: str(step.run().digest) for name, step in steps.items()}

    assert list(digests) == ["app", "flavour-sweet", "flavour-sour"]
    assert digests["app"] == str(local_registry.digest("acme/app", "v1"))
    assert digests["app"] == str(local_registry.digest("acme/app", "latest"))
    assert manifest(local_registry, "acme/app", "v1")["annotations"] == {"com.example.kind": "app"}
    labels = config(local_registry, "acme/app", "v1")["config"]["Labels"]
    assert labels == {"version": "V1", "com.example.literal": "${NOT_OURS} %{either}"}
    sour = config(local_registry, "acme/flavour", "sour")["config"]["Labels"]
    assert (sour["taste"], sour["version"]) == ("sour", "V1")
    assert files(local_registry, "acme/flavour", "sour") == {"V1.txt": b"hello\n"}


def test_targets_that_build_on_each_other(project: Path, local_registry: LocalRegistry) -> None:
    """The image of one is a named context of the next: its files and its configuration."""
    (project / "docker-bake.json").write_text(
        json.dumps(
            {
                "target": {
                    "default": {
                        "context": "app",
                        "contexts": {"base": "target:base", "tools": "target:tools"},
                        "dockerfile-inline": "FROM base\nCOPY --from=tools /tool.txt /\n",
                        "tags": [f"{local_registry.host}/acme/linked:1"],
                    },
                    "base": {"context": "app", "args": {"VERSION": "7"}},
                    "tools": {
                        "context": "app",
                        "dockerfile-inline": "FROM scratch\nCOPY hello.txt /tool.txt\n",
                        "tags": [f"{local_registry.host}/acme/tools:3"],
                    },
                }
            }
        )
    )

    steps = BuildAndPushStep.from_bake(backend="native")
    results = {name: step.run() for name, step in steps.items()}

    assert set(list(steps)[:2]) == {"base", "tools"}
    assert [str(r) for r in results["default"].references] == [
        f"{local_registry.host}/acme/linked:1@{local_registry.digest('acme/linked', '1')}"
    ]
    assert (results["base"].references, results["tools"].references) == ((), ())
    assert local_registry.repositories == ("acme/linked",)
    assert files(local_registry, "acme/linked", "1") == {
        "hello.txt": b"hello\n",
        "tool.txt": b"hello\n",
    }
    assert config(local_registry, "acme/linked", "1")["config"]["Labels"] == {"version": "7"}


def test_a_compose_file(
    project: Path, local_registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services with a build are targets; variables come from the environment, too."""
    monkeypatch.setenv("TAG", "5")
    (project / "compose.yaml").write_text(
        f"""
services:
  web:
    image: {local_registry.host}/acme/web:${{TAG:-none}}
    build:
      context: app
      args:
        VERSION: "2"
      additional_contexts:
        other: service:db
  db:
    build:
      context: .
      dockerfile_inline: |
        FROM scratch
        COPY app/hello.txt /
    image: {local_registry.host}/acme/db:${{TAG:-none}}
  cache:
    image: redis
"""
    )

    steps = BuildAndPushStep.from_bake(backend="native")
    for step in steps.values():
        step.run()

    assert list(steps) == ["db", "web"]
    assert config(local_registry, "acme/web", "5")["config"]["Labels"]["version"] == "2"
    assert files(local_registry, "acme/db", "5") == {"hello.txt": b"hello\n"}


def test_several_files_and_overrides(project: Path, local_registry: LocalRegistry) -> None:
    """Later files win over earlier ones, overrides over both."""
    (project / "a.hcl").write_text('target "default" {\n  context = "app"\n  tags = ["x/y"]\n}\n')
    (project / "b.json").write_text('{"target": {"default": {"args": {"VERSION": "b"}}}}')

    (step,) = BuildAndPushStep.from_bake(
        "a.hcl",
        "b.json",
        overrides=[f"default.tags={local_registry.host}/acme/over:1", "*.labels.by=override"],
        backend="native",
    ).values()
    step.run()

    labels = config(local_registry, "acme/over", "1")["config"]["Labels"]
    assert labels == {"version": "b", "by": "override"}


def test_a_secret_and_a_run(
    project: Path, local_registry: LocalRegistry, busybox_base: Any
) -> None:
    """A secret's value can be given beside the file; it is in no argument and in no layer."""
    base = busybox_base.push(local_registry.host, "base", "1")
    (project / "docker-bake.hcl").write_text(
        'variable "TOKEN" {}\n'
        f'target "default" {{\n  tags = ["{local_registry.host}/acme/secret:1"]\n'
        '  secret = ["id=token,env=TOKEN"]\n'
        f'  dockerfile-inline = "FROM {base}\\nRUN --mount=type=secret,id=token'
        ' wc -c < /run/secrets/token > /length\\n"\n}\n'
    )

    (step,) = BuildAndPushStep.from_bake(
        variables={"TOKEN": "hunter2-hunter2"}, backend="native"
    ).values()
    step.run()

    found = files(local_registry, "acme/secret", "1")
    assert found["length"].strip() == b"15"
    assert b"hunter2" not in b"".join(found.values())
    assert "hunter2" not in repr(step)


def test_relative_paths_begin_where_buildx_would_run(project: Path) -> None:
    """Not at the bake file: that is how docker reads them."""
    (project / "ci").mkdir()
    (project / "ci" / "docker-bake.hcl").write_text(
        'target "default" {\n  context = "app"\n  tags = ["x/y"]\n}\n'
    )

    (step,) = BuildAndPushStep.from_bake("ci/docker-bake.hcl", cwd=project).values()

    assert (step.context, step.dockerfile) == (project / "app", project / "app" / "Dockerfile")


LOOP = """
target "default" {
  contexts = { a = "target:b" }
}
target "b" {
  contexts = { a = "target:default" }
}
"""


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ('target "default" {\n  tags = [ "a"\n  oops\n}\n', "Missing item separator", 3),
        ('target "default" {\n  context = NOPE\n}\n', 'There is no variable named "NOPE"', 2),
        ('target "default" {\n  inherits = ["no"]\n}\n', "failed to find target no", None),
        (LOOP, "infinite loop", None),
    ],
)
def test_a_broken_file_is_told_in_buildxs_own_words(
    project: Path, text: str, words: str, line: int | None
) -> None:
    """With the line, where it names one."""
    (project / "docker-bake.hcl").write_text(text)

    with pytest.raises(SpecError) as caught:
        BuildAndPushStep.from_bake()

    assert words in caught.value.message
    (evidence,) = caught.value.evidence
    found = evidence.first_line if isinstance(evidence, SourceEvidence) else None
    assert found == line


def test_no_bake_file(project: Path) -> None:
    """buildx says so."""
    with pytest.raises(SpecError, match="couldn't find a bake definition"):
        BuildAndPushStep.from_bake()


def test_the_command(
    project: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """It builds, pushes, and prints what it pushed."""
    (project / "docker-bake.hcl").write_text(HCL)
    options = ["--var", f"REGISTRY={local_registry.host}", "--var", "VERSION=9"]

    code = main(["bake", "app", *options, "--backend", "native"])

    out, err = capsys.readouterr()
    digest = local_registry.digest("acme/app", "9")
    repository = f"{local_registry.host}/acme/app"
    assert code == 0
    assert out == f"{repository}:9@{digest}\n{repository}:latest@{digest}\n"
    assert "target app\n" in err


def test_one_image_in_two_repositories(
    project: Path, local_registry: LocalRegistry, busybox_base: Any
) -> None:
    """Two steps, and yet one image: the second finds what the first has done."""
    host = local_registry.host
    base = busybox_base.push(host, "base", "1")
    tags = [f"{host}/one/app:1", f"{host}/two/app:1"]
    (project / "docker-bake.json").write_text(
        json.dumps(
            {
                "target": {
                    "default": {
                        "dockerfile-inline": f"FROM {base}\nRUN cat /proc/uptime > /when\n",
                        "tags": tags,
                    }
                }
            }
        )
    )

    steps = BuildAndPushStep.from_bake(backend="native")
    first, second = (step.run().digest for step in steps.values())

    assert list(steps) == ["default", f"default@{host}/two/app"]
    assert first == second


@pytest.mark.needs_docker
@pytest.mark.parametrize("backend", [BuildxBackend(), DockerBackend()], ids=["buildx", "docker"])
def test_targets_that_build_on_each_other_with_an_engine(
    backend: BuildxBackend | DockerBackend,
    dockerd: Any,
    project: Path,
    local_registry: LocalRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """BuildKit takes the layouts that targets leave for each other, also of several platforms."""
    dockerd.activate(monkeypatch)
    (project / "docker-bake.hcl").write_text(
        'target "default" {\n'
        f'  tags = ["{local_registry.host}/acme/linked:1"]\n'
        '  contexts = {\n    base = "target:base"\n    tools = "target:tools"\n  }\n'
        '  dockerfile-inline = "FROM base\\nCOPY --from=tools /hello.txt /tool.txt\\n"\n}\n'
        'target "base" {\n  context = "app"\n}\n'
        'target "tools" {\n  context = "app"\n  platforms = ["linux/amd64", "linux/arm64"]\n}\n'
    )

    for step in BuildAndPushStep.from_bake(backend=backend).values():
        step.run()

    found = files(local_registry, "acme/linked", "1")
    assert found == {"hello.txt": b"hello\n", "tool.txt": b"hello\n"}
