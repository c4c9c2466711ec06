"""Rules for tags, with the examples that docker's metadata-action documents of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpush import BuildAndPushStep
from buildpush.errors import SpecError
from buildpush.oci import ImageReference
from buildpush.spec.tagging import (
    Branch,
    Calver,
    Edge,
    Flavor,
    GitFacts,
    Match,
    Pep440,
    PullRequest,
    Raw,
    Rule,
    Schedule,
    Semver,
    Sha,
    Tag,
    Tagging,
)

NOW = datetime(2026, 3, 4, 23, 5, 6, tzinfo=UTC)
SHA = "860c1904a1ce19322e91ac35af1ab07466440c37"
MAIN = GitFacts(sha=SHA, ref="refs/heads/main", default_branch="main", event="push")
PULL = GitFacts(sha=SHA, ref="refs/pull/2/merge", pull_request="2", base_branch="main")
NIGHT = GitFacts(sha=SHA, ref="refs/heads/main", default_branch="main", event="schedule")


def tagged(name: str) -> GitFacts:
    """A push of the git tag *name*."""
    return GitFacts(sha=SHA, ref=f"refs/tags/{name}", event="tag")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (MAIN, ("main",)),
        (tagged("v1.2.3"), ("v1.2.3", "latest")),
        (PULL, ("pr-2",)),
        (NIGHT, ("nightly", "main")),
        (GitFacts(ref="refs/heads/my/feature#1"), ("my-feature-1",)),
    ],
)
def test_without_rules_refs_and_schedules_are_tags(
    facts: GitFacts, expected: tuple[str, ...]
) -> None:
    """The branch, the git tag with latest, the pull request's number; schedules stand first."""
    assert Tagging().tags(facts, NOW) == expected


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("v1.2.3", ["{{version}}"], ("1.2.3", "latest")),
        ("v1.2.3", ["{{raw}}"], ("v1.2.3", "latest")),
        (
            "v1.2.3",
            ["{{version}}", "{{major}}.{{minor}}", "{{major}}"],
            ("1.2.3", "1.2", "1", "latest"),
        ),
        ("1.2.3+build.7", ["{{version}}"], ("1.2.3", "latest")),
        ("v2.0.8-beta.67", ["{{version}}", "{{major}}.{{minor}}"], ("2.0.8-beta.67",)),
        ("v2.0.8-beta.67", ["{{raw}}"], ("v2.0.8-beta.67",)),
        ("v1.2.3", ["v{{major}}-{{sha}}"], ("v1-860c190", "latest")),
    ],
)
def test_semantic_versions(name: str, patterns: list[str], expected: tuple[str, ...]) -> None:
    """A pre-release has its whole version alone, and is never latest."""
    assert Tagging([Semver(pattern=p) for p in patterns]).tags(tagged(name), NOW) == expected


@pytest.mark.parametrize("name", ["v1.2", "latest", "1.02.3", "v1.2.3.4", "1.٣.0"])
def test_a_git_tag_that_is_no_version_has_no_tag_of_one(name: str) -> None:
    """Other rules go on; without any the error says what to add."""
    assert Tagging([Semver(), Sha()]).tags(tagged(name), NOW) == ("sha-860c190",)
    with pytest.raises(SpecError) as caught:
        Tagging([Semver()]).tags(tagged(name), NOW)
    assert "no rule has a tag" in str(caught.value) and "Sha()" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("1.2.3", "{{version}}", ("1.2.3", "latest")),
        ("v1.2", "{{major}}.{{minor}}", ("1.2", "latest")),
        ("1.2.3rc2", "{{major}}", ("1.2.3rc2",)),
        ("1.2.3.post1", "{{major}}", ("1.2.3.post1",)),
        ("1.2.3.dev4", "{{major}}", ("1.2.3.dev4",)),
        ("1.2.3-beta.4", "{{version}}", ("1.2.3b4",)),
        ("1.0+local.7", "{{version}}", ("1.0-local.7", "latest")),
    ],
)
def test_python_versions(name: str, pattern: str, expected: tuple[str, ...]) -> None:
    """They are normalised; only plain releases have short tags."""
    assert Tagging([Pep440(pattern=pattern)]).tags(tagged(name), NOW) == expected


@pytest.mark.parametrize(
    ("rule", "facts", "expected"),
    [
        (Calver(), MAIN, "2026.03.04"),
        (Calver(pattern="YY.MM.DD"), MAIN, "26.3.4"),
        (Calver(pattern="YYYY.0M.0D", timezone="Asia/Tokyo"), MAIN, "2026.03.05"),
        (
            Calver(commit=True),
            GitFacts(commit_time=datetime(2025, 12, 1, tzinfo=UTC)),
            "2025.12.01",
        ),
        (Sha(), MAIN, "sha-860c190"),
        (Sha(long=True, prefix=""), MAIN, SHA),
        (Edge(), MAIN, "edge"),
        (Edge(branch="dev"), GitFacts(ref="refs/heads/dev"), "edge"),
        (Branch(suffix="-x"), MAIN, "main-x"),
        (Tag(prefix="git-"), tagged("v1"), "git-v1"),
        (PullRequest(), PULL, "pr-2"),
        (Schedule(pattern="{{date 'YYYYMMDD'}}"), NIGHT, "20260304"),
        (Schedule(pattern="{{date 'YYYYMMDD-HHmmss' tz='Asia/Tokyo'}}"), NIGHT, "20260305-080506"),
        (Match(pattern=r"v(\d+)", group=1), tagged("release-v7"), "7"),
        (Match(pattern=r"\d\.\d", value="a1.2b"), MAIN, "1.2"),
        (Raw(value="{{branch}}-{{date '[w]X'}}"), MAIN, "main-w1772665506"),
        (Raw(value="to-{{base_ref}}"), PULL, "to-main"),
    ],
)
def test_a_rule_has_this_tag(rule: Rule, facts: GitFacts, expected: str) -> None:
    """Each kind, with its prefix and its fields filled in."""
    assert Tagging([rule], flavor=Flavor(latest=False)).tags(facts, NOW) == (expected,)


@pytest.mark.parametrize(
    ("rule", "facts"),
    [
        (Sha(), GitFacts()),
        (Edge(), GitFacts(ref="refs/heads/other", default_branch="main")),
        (Edge(), GitFacts(ref="refs/heads/main")),
        (Branch(), tagged("v1")),
        (Tag(), MAIN),
        (PullRequest(), MAIN),
        (Schedule(), MAIN),
        (Semver(), MAIN),
        (Match(pattern="x"), tagged("v1")),
        (Calver(commit=True), MAIN),
        (Raw(value="x", enable="false"), MAIN),
        (Raw(value="x", enable="{{is_default_branch}}"), tagged("v1")),
    ],
)
def test_a_rule_has_no_tag_for_what_it_is_not_about(rule: Rule, facts: GitFacts) -> None:
    """So that rules can stand together."""
    assert Tagging([rule, Raw(value="only")]).tags(facts, NOW) == ("only",)


def test_priorities_order_the_tags() -> None:
    """Rules of one priority keep their order; a rule may have one of its own."""
    rules = [Sha(), Raw(value="r"), Branch(), Edge(), Semver(value="1.0.0"), Schedule()]

    assert Tagging(rules).tags(NIGHT, NOW) == (
        "nightly",
        "1.0.0",
        "edge",
        "main",
        "r",
        "sha-860c190",
    )
    assert Tagging([Branch(), Sha(priority=601)]).tags(MAIN, NOW)[0] == "sha-860c190"


@pytest.mark.parametrize(
    ("flavor", "expected"),
    [
        (Flavor(), ("1.2.3", "latest")),
        (Flavor(latest=False), ("1.2.3",)),
        (Flavor(latest=True), ("1.2.3", "latest")),
        (Flavor(prefix="p-", suffix="-s"), ("p-1.2.3-s", "latest")),
        (
            Flavor(prefix="p-", suffix="-s", prefix_latest=True, suffix_latest=True),
            ("p-1.2.3-s", "p-latest-s"),
        ),
    ],
)
def test_the_flavor_decides_about_latest(flavor: Flavor, expected: tuple[str, ...]) -> None:
    """And about what stands before and after all tags."""
    assert Tagging([Semver()], flavor=flavor).tags(tagged("1.2.3"), NOW) == expected


def test_rules_can_be_read_as_text() -> None:
    """One a line, quoted where a value has commas; comments and empty lines are none."""
    read = Tagging.parse(
        """
        # releases
        type=semver,pattern={{version}}
        type=semver,pattern={{major}}.{{minor}},priority=850
        type=pep440,pattern={{version}},value=1.0
        type=ref,event=branch,prefix=b-
        type=ref,event=pr
        type=ref,event=tag,enable=false
        type=sha,format=long
        type=edge,branch=dev
        type=schedule,pattern=weekly
        type=calver,commit=true
        type=match,"pattern=v(\\d{1,3})",group=1
        type=raw,value=x
        dev
        next,enable={{is_default_branch}}
        """
    )

    assert read.rules == (
        Semver(),
        Semver(pattern="{{major}}.{{minor}}", priority=850),
        Pep440(value="1.0"),
        Branch(prefix="b-"),
        PullRequest(),
        Tag(enable="false"),
        Sha(long=True),
        Edge(branch="dev"),
        Schedule(pattern="weekly"),
        Calver(commit=True),
        Match(pattern=r"v(\d{1,3})", group=1),
        Raw(value="x"),
        Raw(value="dev"),
        Raw(value="next", enable="{{is_default_branch}}"),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("type=tag", "there is no rule 'tag'"),
        ("type=ref", "event: expected one of branch, tag, pr"),
        ("type=semver,patern=x", "there is no 'patern'"),
        ("type=sha,priority=high", "priority: expected a whole number"),
        ("type=sha,format=medium", "expected true or false"),
        ("type=match", "pattern or value is required"),
        ("type=match,pattern=(", "no regular expression"),
        ("type=match,pattern=x,group=1", "no group 1"),
        ("type=sha,short", "expected name=value"),
        ("type=sha,prefix=a,prefix=b", "prefix is given twice"),
        ("type=raw", "pattern or value is required"),
    ],
)
def test_a_line_that_is_wrong_is_named(line: str, said: str) -> None:
    """By its number, with what was expected."""
    with pytest.raises(SpecError) as caught:
        Tagging.parse(f"dev\n{line}")

    assert str(caught.value).startswith("tags, line 2: ") and said in str(caught.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Tagging([Raw(value="x" * 200)]).tags(MAIN, NOW), "which is no tag"),
        (lambda: Tagging([Raw(value=".x")]).tags(MAIN, NOW), "which is no tag"),
        (lambda: Tagging([Raw(value="{{who}}")]).tags(MAIN, NOW), "no {{who}}"),
        (lambda: Tagging([Raw(value="{{date 'Q'}}")]).tags(MAIN, NOW), "no 'Q'"),
        (lambda: Tagging([Raw(value="{{date 'D' tz='Moon'}}")]).tags(MAIN, NOW), "'Moon'"),
        (lambda: Tagging([Raw(value="{{commit_date 'D'}}")]).tags(MAIN, NOW), "nothing says when"),
        (lambda: Tagging([Semver(value="x")]).tags(MAIN, NOW), "value is not a version"),
        (lambda: Tagging([Calver(pattern="YYYY.WW")]).tags(MAIN, NOW), "no 'WW'"),
        (lambda: Tagging([Raw(value="x", enable="yes")]).tags(MAIN, NOW), "true or false"),
        (lambda: Tagging().tags(MAIN, datetime(2026, 1, 1)), "timezone"),  # noqa: DTZ001
        (lambda: Tagging(["latest"]), "expected rules"),  # type: ignore[list-item]
    ],
)
def test_what_makes_no_tag_is_refused(make: Callable[[], object], said: str) -> None:
    """One error says which rule, and why."""
    with pytest.raises(SpecError) as caught:
        make()

    assert said in str(caught.value)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_branch_and_any_line_make_tags_or_our_error(branch: str, line: str) -> None:
    """Whatever a repository or a file says: tags that a registry takes, or `SpecError`."""
    facts = GitFacts(sha=SHA, ref=f"refs/heads/{branch}", default_branch="main")
    for make in (lambda: Tagging([Branch(), Sha()]), lambda: Tagging.parse(line)):
        try:
            tags = make().tags(facts, NOW)
        except SpecError:
            continue
        assert tags
        for tag in tags:
            assert ImageReference.parse(f"r.example/app:{tag}").tag == tag


def test_a_step_takes_the_tags() -> None:
    """As they come."""
    step = BuildAndPushStep(
        repo="r.example/app", tags=Tagging([Semver(), Sha()]).tags(tagged("v1.2.3"), NOW)
    )

    assert step.tags == ("1.2.3", "sha-860c190", "latest")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, GitFacts()),
        (
            {
                "DRONE_COMMIT_SHA": SHA,
                "DRONE_COMMIT_REF": "refs/heads/main",
                "DRONE_REPO_BRANCH": "main",
                "DRONE_BUILD_EVENT": "cron",
                "DRONE_REMOTE_URL": "https://git.example/a.git",
                "DRONE_REPO_LINK": "https://git.example/a",
            },
            GitFacts(
                sha=SHA,
                ref="refs/heads/main",
                default_branch="main",
                event="schedule",
                remote_url="https://git.example/a.git",
                link="https://git.example/a",
            ),
        ),
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_SHA": SHA,
                "GITHUB_REF": "refs/pull/2/merge",
                "GITHUB_BASE_REF": "main",
                "GITHUB_EVENT_NAME": "pull_request",
                "GITHUB_SERVER_URL": "https://git.example",
                "GITHUB_REPOSITORY": "acme/app",
            },
            GitFacts(
                sha=SHA,
                ref="refs/pull/2/merge",
                pull_request="2",
                base_branch="main",
                event="pull_request",
                remote_url="https://git.example/acme/app",
                link="https://git.example/acme/app",
            ),
        ),
        (
            {
                "GITLAB_CI": "true",
                "CI_COMMIT_SHA": SHA,
                "CI_COMMIT_TAG": "v1.0.0",
                "CI_DEFAULT_BRANCH": "main",
                "CI_PIPELINE_SOURCE": "push",
                "CI_COMMIT_TIMESTAMP": "2026-03-04T23:05:06+00:00",
            },
            GitFacts(
                sha=SHA,
                ref="refs/tags/v1.0.0",
                default_branch="main",
                event="push",
                commit_time=NOW,
            ),
        ),
        (
            {
                "GITLAB_CI": "true",
                "CI_MERGE_REQUEST_IID": "7",
                "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
                "CI_PIPELINE_SOURCE": "merge_request_event",
                "CI_COMMIT_TIMESTAMP": "yesterday",
            },
            GitFacts(
                ref="refs/merge-requests/7/head",
                pull_request="7",
                base_branch="main",
                event="pull_request",
            ),
        ),
    ],
)
def test_what_ci_says_is_read(variables: dict[str, str], expected: GitFacts) -> None:
    """From GitHub, GitLab, Drone and Harness; what is missing is empty."""
    assert GitFacts.from_variables(variables) == expected
