"""Harness's YAML: what is found in a file, what its steps ask for, and what is wrong with them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildpush.errors import BuildpushError, ExpressionError, SpecError
from buildpush.spec.expressions import Context
from buildpush.spec.harness import read_harness, settings_of

CANARY = "hunter2-canary"

PIPELINE = """\
pipeline:
  name: The Shop
  identifier: shop
  properties: {ci: {codebase: {connectorRef: git, build: <+input>}}}
  variables:
    - {name: version, type: String, value: "1.10"}
    - {name: token, type: Secret, value: npm}
    - {name: asked, type: String, value: <+input>}
  stages:
    - stage:
        identifier: build
        type: CI
        variables:
          - name: major
            type: String
            value: <+pipeline.variables.version.split('\\.')[0]>
        spec:
          execution:
            steps:
              - step: {identifier: test, name: test, type: Run, spec: {command: make}}
              - step:
                  identifier: push
                  name: Push it
                  type: BuildAndPushDockerRegistry
                  timeout: 1h 5m
                  spec:
                    connectorRef: account.hub
                    repo: acme/app
                    tags:
                      - 1.10
                      - <+stage.variables.major>-<+step.identifier>
                    buildArgs:
                      TOKEN: <+pipeline.variables.token>
                    labels: {team: <+pipeline.name>}
              - parallel:
                  - step:
                      identifier: east
                      type: BuildAndPushECR
                      spec: &ECR
                        connectorRef: aws
                        account: "123456789012"
                        region: us-east-1
                        imageName: web
                        tags: <+input>
                  - stepGroup:
                      identifier: others
                      steps:
                        - step:
                            identifier: kaniko
                            type: Plugin
                            spec:
                              connectorRef: hub
                              image: plugins/kaniko:1.13.3
                              settings:
                                repo: acme/app
                                tags: [1.10, latest]
                                build_args: ["A=<+matrix.a>"]
                                no_push: true
                                create-repository: false
                        - step: {identifier: slack, type: Plugin, spec: {image: plugins/slack}}
    - parallel:
        - stage: {identifier: deploy, type: CD, spec: {}}
"""

STEP = """\
identifier: push
type: BuildAndPushDockerRegistry
spec:
  connectorRef: hub
  repo: acme/app
  tags: [1.10]
"""


def test_the_steps_of_a_pipeline_are_found_with_their_places() -> None:
    found = read_harness(PIPELINE, filename="shop.yaml")

    assert [(s.path, s.type, s.plugin, s.stage, s.place.line) for s in found.steps] == [
        ("build.push", "BuildAndPushDockerRegistry", "", "build", 22),
        ("build.east", "BuildAndPushECR", "", "build", 37),
        ("build.others.kaniko", "Plugin", "kaniko", "build", 49),
    ]
    assert found.others == ("shop.build.test (Run)", "shop.build.others.slack (Plugin)")
    push, east, kaniko = (step.batch for step in found.steps)
    assert push < east < kaniko
    assert str(found.steps[0].place) == "shop.yaml:22: shop.build.push"


@pytest.mark.parametrize(
    ("image", "program"),
    [
        ("plugins/docker", "docker"),
        ("plugins/docker:21.1", "docker"),
        ("registry.corp/mirror/plugins/kaniko-ecr:1.13.3", "kaniko-ecr"),
        ("plugins/buildah-docker@sha256:" + "a" * 64, "buildah"),
        ("plugins/buildx-gar:1", "buildx-gar"),
        ("plugins/ecr:21", "ecr"),
        ("plugins/acr", "acr"),
    ],
)
def test_a_plugin_step_is_known_by_its_image(image: str, program: str) -> None:
    text = f"identifier: p\ntype: Plugin\nspec:\n  image: {image}\n  settings: {{repo: a}}\n"

    assert read_harness(text).step().plugin == program


@pytest.mark.parametrize("image", ["plugins/slack", "acme/docker", "plugins/dockerx", ""])
def test_other_plugins_are_other_steps(image: str) -> None:
    found = read_harness(f"identifier: p\ntype: Plugin\nspec: {{image: '{image}'}}\n")

    assert found.steps == ()
    assert found.others == ("p (Plugin)",)


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        STEP,
        f"step:\n{_indented(STEP, 2)}",
        f"- step:\n{_indented(STEP, 4)}",
        f"parallel:\n- step:\n{_indented(STEP, 4)}",
        f"stage:\n  spec:\n    execution:\n      steps:\n      - step:\n{_indented(STEP, 10)}",
        f"identifier: s\ntype: CI\nspec:\n  execution:\n    steps:\n    - step:\n{_indented(STEP, 8)}",
        f"stepGroup:\n  steps:\n  - step:\n{_indented(STEP, 6)}",
    ],
)
def test_a_step_is_found_wherever_it_stands(text: str) -> None:
    step = read_harness(text).step("push")

    assert settings_of(step, Context()).settings == {"repo": "acme/app", "tags": ["1.10"]}


def test_scalars_stay_text_and_expressions_get_their_values() -> None:
    step = read_harness(PIPELINE).step("push")

    asked = settings_of(step, Context.of(secrets={"npm": CANARY}))

    assert asked.settings == {
        "repo": "acme/app",
        "tags": ["1.10", "1-push"],
        "buildArgs": {"TOKEN": CANARY},
        "labels": {"team": "The Shop"},
        "timeout": "1h 5m",
    }
    assert asked.connector == "account.hub"
    assert CANARY in asked.hidden
    assert CANARY not in repr(asked)


def test_what_the_caller_says_wins_over_the_file() -> None:
    context = Context.of({"pipeline.variables.version": "2.7"}, secrets={"npm": CANARY})

    tags = settings_of(read_harness(PIPELINE).step("push"), context).settings["tags"]

    assert tags == ["1.10", "2-push"]


@pytest.mark.parametrize(
    ("given", "tags"),
    [("1.4", ["1.4"]), ("1.4, latest", ["1.4", "latest"]), (["a", "b"], ["a", "b"])],
)
def test_a_list_may_be_one_expression(given: object, tags: list[str]) -> None:
    text = PIPELINE.replace("&ECR", "")
    step = read_harness(text).step("build.east")

    asked = settings_of(step, Context.of(inputs={"east.spec.tags": given}))

    assert asked.settings["repo"] == "123456789012.dkr.ecr.us-east-1.amazonaws.com/web"
    assert asked.settings["tags"] == tags


def test_a_plugin_gets_its_settings_as_variables() -> None:
    step = read_harness(PIPELINE.replace("&ECR", "")).step("kaniko")

    asked = settings_of(step, Context.of({"matrix.a": "x,y"}))

    assert asked.variables == {
        "PLUGIN_REPO": "acme/app",
        "PLUGIN_TAGS": "1.10,latest",
        "PLUGIN_BUILD_ARGS": "A=x,y",
        "PLUGIN_NO_PUSH": "true",
        "PLUGIN_CREATE_REPOSITORY": "false",
    }


def _typed(kind: str, **keys: str) -> str:
    rows = "".join(f"  {name}: {value}\n" for name, value in keys.items())
    return f"identifier: p\ntype: BuildAndPush{kind}\nspec:\n{rows}"


@pytest.mark.parametrize(
    ("text", "repo"),
    [
        (
            _typed(
                "GCR",
                host="gcr.io",
                projectID="shop",
                imageName="web",
                connectorRef="g",
                tags="a",
            ),
            "gcr.io/shop/web",
        ),
        (
            _typed(
                "GAR",
                host="us-docker.pkg.dev/",
                projectID="/shop/repo",
                imageName="web",
                connectorRef="g",
                tags="a",
            ),
            "us-docker.pkg.dev/shop/repo/web",
        ),
        (
            _typed(
                "GAR",
                host="h.dev",
                projectID="p",
                imageName="h.dev/p/web",
                connectorRef="g",
                tags="a",
            ),
            "h.dev/p/web",
        ),
        (
            _typed(
                "ACR",
                repository="https://x.azurecr.io/web",
                connectorRef="g",
                tags="a",
                subscriptionId="s",
            ),
            "x.azurecr.io/web",
        ),
        (
            _typed(
                "ECR",
                account="1",
                region="eu-west-1",
                imageName="1.dkr.ecr.eu-west-1.amazonaws.com/w",
                connectorRef="g",
                tags="a",
            ),
            "1.dkr.ecr.eu-west-1.amazonaws.com/w",
        ),
        (_typed("DockerRegistry", registryRef="har", repo="web", tags="a"), "web"),
    ],
)
def test_where_the_image_goes_is_put_together_as_the_runner_does(text: str, repo: str) -> None:
    assert settings_of(read_harness(text).step(), Context()).settings["repo"] == repo


def test_every_connector_of_base_images_counts() -> None:
    text = STEP + "  baseImageConnectorRefs: [one, account.two]\n"

    assert settings_of(read_harness(text).step(), Context()).bases == ("one", "account.two")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tags:", "tagz:", "f.yaml:6: push.spec.tagz: a step of type BuildAndPushDockerRegistry has no such key"),
        ("  repo: acme/app\n", "", "f.yaml:4: push.spec: required: repo"),
        ("  connectorRef: hub\n", "", "push.spec: required: connectorRef or registryRef"),
        ("tags: [1.10]", "tags:", "push.spec: required: tags"),
        ("identifier: push", "identifier: 1push", "f.yaml:1: 1push.identifier: expected letters"),
        ("identifier: push\n", "", "f.yaml:1: identifier is required"),
        ("type:", "name: '-a/b'\ntype:", "f.yaml:2: push.name: is no name"),
        ("type:", "color: red\ntype:", "f.yaml:2: push.color: a step has no such key"),
        ("  repo: acme/app\n", "  repo: acme/app\n  repo: b\n", "f.yaml:6: spec.repo: is given twice"),
        ("repo: acme/app", "repo: <+pipeline.name>", "f.yaml:5: push.spec.repo: nothing is called pipeline"),
        ("[1.10]", "[1.10, <+input>]", "f.yaml:6: push.spec.tags[1]: an input is needed"),
        ("repo: acme/app", "repo: !env X", "f.yaml:5: spec.repo: has a tag"),
        ("repo: acme/app", "repo: &a x\n  target: *a", "f.yaml:6: aliases are not read"),
        ("repo: acme/app", "repo: 'x", "is no YAML"),
        ("spec:\n", "spec: x\nnospec:\n", "a step has no such key"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_path_and_its_line(old: str, new: str, message: str) -> None:
    assert old in STEP
    with pytest.raises(SpecError) as caught:
        settings_of(read_harness(STEP.replace(old, new, 1), filename="f.yaml").step(), Context())

    assert message in str(caught.value)


def test_a_variable_without_a_value_is_blamed_only_by_who_names_it() -> None:
    used = PIPELINE.replace("repo: acme/app", "repo: <+pipeline.variables.asked>", 1)
    context = Context.of(secrets={"npm": CANARY})

    assert settings_of(read_harness(PIPELINE).step("push"), context)
    with pytest.raises(ExpressionError, match=r"8: shop\.variables\[2\]\.value: an input is need"):
        settings_of(read_harness(used, filename="f").step("push"), context)


def test_a_step_is_asked_for_by_a_name_that_only_one_has() -> None:
    text = f"- step:\n{_indented(STEP, 4)}- stage:\n    identifier: b\n    spec: {{execution: {{steps: [{{step: {{identifier: push, type: BuildAndPushDockerRegistry, spec: {{}}}}}}]}}}}\n"
    found = read_harness(text)

    assert [step.path for step in found.steps] == ["push", "b.push"]
    assert found.step("b.push").stage == "b"
    with pytest.raises(SpecError, match="2 steps are called push") as caught:
        found.step("push")
    assert "there are: push, b.push" in caught.value.hint
    with pytest.raises(SpecError, match="no step is called pull"):
        found.step("pull")
    with pytest.raises(SpecError, match="no step builds and pushes"):
        read_harness("identifier: a\ntype: Plugin\nspec: {image: x}").step()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing in it"),
        ("# only a comment", "nothing in it"),
        ("just text", "there is no step in it"),
        ("a: 1\n---\nb: 2", "another document"),
        ("pipeline: x", "pipeline: expected a mapping"),
        ("pipeline:\n  stages: {}", "stages: expected a list"),
        ("parallel: x", "parallel: expected a list"),
        ("[" * 3000, "is no YAML, or is nested too deeply"),
        ("a: " * 100, "is no YAML"),
        ("? [a]\n: b", "a name must be text"),
        ("<<: {a: 1}", "a name must be text"),
        ("\x00", "is no YAML"),
        (f"- step:\n{_indented(STEP, 4)}- step:\n{_indented(STEP, 4)}", "push is there twice"),
        ("x" * (3 << 20), "is larger than"),
    ],
)
def test_a_file_that_is_none_says_so(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_harness(text)


_LINES = STEP.splitlines() + PIPELINE.splitlines() + [
    f"  password: {CANARY}",
    f"  repo: '{CANARY}",
    f"  tags: <+{CANARY}(>",
    f"  resources: {{limits: {{memory: {CANARY}}}}}",
    f"  timeout: &x {CANARY}",
    f"  optimize: !!python/name:{CANARY} x",
    "- - -",
    "  ? x",
    "\t",
]  # fmt: skip


@settings(max_examples=300)
@given(lines=st.lists(st.sampled_from(_LINES), min_size=1, max_size=14), whole=st.booleans())
def test_any_file_is_read_or_refused_and_shows_no_value(*, lines: list[str], whole: bool) -> None:
    text = (STEP if whole else "") + "\n".join(lines)
    reports: list[str] = []
    try:
        for step in read_harness(text, filename="f.yaml").steps:
            settings_of(step, Context.of(secrets={"npm": "secret-canary"}))
    except BuildpushError as error:
        reports.append(error.report())

    assert all("f.yaml" in report for report in reports)
    assert not [report for report in reports if "secret-canary" in report]
