"""GitLab, Harbor, Quay and JFrog: whose hosts, which variable, and what their servers are asked."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_in_internet import Answer, Asked, Internet

from buildpush.auth import Access, Credential, Keychain, trail
from buildpush.auth.gitlab import GitLabKeychain
from buildpush.auth.harbor import HarborKeychain
from buildpush.auth.jfrog import JFrogKeychain
from buildpush.auth.quay import QuayKeychain
from buildpush.errors import AuthError, RegistryUnavailableError
from buildpush.oci import Repository
from buildpush.runtime import Environment


def part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def jwt(**claims: object) -> str:
    return f"{part({'alg': 'none'})}.{part(claims)}.c2lnbmF0dXJl"


ID_TOKEN = jwt(sub="canary-subject")
FAR = 4102444800


def environment(folder: Path, variables: dict[str, str]) -> Environment:
    return Environment(
        variables=variables, uid=1, gid=1, home=folder, cwd=folder, cache=folder, temporary=folder
    )


def found(keychain: Keychain, host: str, access: Access = "push") -> tuple[str, str, str] | None:
    credential = keychain.resolve(Repository(host, "acme/app"), access)
    return credential and (credential.username, credential.password, credential.source)


JOB = {
    "CI_REGISTRY": "registry.gitlab.example:5050",
    "CI_REGISTRY_USER": "gitlab-ci-token",
    "CI_REGISTRY_PASSWORD": "job-password",
    "CI_JOB_TOKEN": "job-token",
    "CI_DEPLOY_USER": "gitlab+deploy-token-1",
    "CI_DEPLOY_PASSWORD": "deploy-password",
    "CI_DEPENDENCY_PROXY_SERVER": "gitlab.example:443",
    "CI_DEPENDENCY_PROXY_USER": "proxy-user",
    "CI_DEPENDENCY_PROXY_PASSWORD": "proxy-password",
}
GITLAB = "registry.gitlab.example:5050"


@pytest.mark.parametrize(
    ("unset", "expected"),
    [
        ((), ("gitlab-ci-token", "job-password", "CI_REGISTRY_PASSWORD")),
        (("CI_REGISTRY_PASSWORD",), ("gitlab-ci-token", "job-token", "CI_JOB_TOKEN")),
        (
            ("CI_REGISTRY_PASSWORD", "CI_JOB_TOKEN"),
            ("gitlab+deploy-token-1", "deploy-password", "CI_DEPLOY_PASSWORD"),
        ),
    ],
)
def test_a_job_of_gitlab_has_its_login_in_variables(
    tmp_path: Path, unset: tuple[str, ...], expected: tuple[str, str, str]
) -> None:
    """The first that is set; for its own registry, with its port, and no other."""
    variables = {name: value for name, value in JOB.items() if name not in unset}
    keychain = GitLabKeychain(environment=environment(tmp_path, variables))

    assert found(keychain, GITLAB) == expected
    assert found(keychain, "registry.gitlab.example") is None
    assert found(keychain, "registry.gitlab.com") is None


def test_gitlabs_dependency_proxy_is_only_pulled_from(tmp_path: Path) -> None:
    """With a login of its own; its name comes with the default port."""
    keychain = GitLabKeychain(environment=environment(tmp_path, JOB))

    assert found(keychain, "gitlab.example", "pull") == (
        "proxy-user",
        "proxy-password",
        "CI_DEPENDENCY_PROXY_PASSWORD",
    )
    assert found(keychain, "gitlab.example", "push") is None


def test_a_deploy_token_can_be_given(tmp_path: Path) -> None:
    """Outside of a job, with the registry's host."""
    keychain = GitLabKeychain(
        host="https://registry.gitlab.com",
        username="gitlab+deploy-token-7",
        password="deploy-password",
        environment=environment(tmp_path, {}),
    )

    assert found(keychain, "registry.gitlab.com") == (
        "gitlab+deploy-token-7",
        "deploy-password",
        "GitLabKeychain(password=…)",
    )


Make = Callable[[Environment], Keychain]


@pytest.mark.parametrize(
    ("make", "variables", "host", "message"),
    [
        (
            lambda e: GitLabKeychain(environment=e),
            {"CI_REGISTRY": GITLAB},
            GITLAB,
            "neither CI_REGISTRY_PASSWORD, CI_JOB_TOKEN nor CI_DEPLOY_PASSWORD is set",
        ),
        (
            lambda e: HarborKeychain(environment=e),
            {"HARBOR_URL": "https://harbor.example"},
            "harbor.example",
            "HARBOR_PASSWORD is not set",
        ),
        (
            lambda e: QuayKeychain(environment=e),
            {},
            "quay.io",
            "neither QUAY_PASSWORD nor QUAY_OAUTH_TOKEN is set",
        ),
        (
            lambda e: JFrogKeychain(environment=e),
            {"JF_URL": "https://acme.jfrog.io"},
            "acme.jfrog.io",
            "neither JF_ACCESS_TOKEN nor JF_PASSWORD is set",
        ),
    ],
)
def test_without_a_login_the_next_keychain_is_asked_and_told_that_one_was_expected(
    tmp_path: Path, make: Make, variables: dict[str, str], host: str, message: str
) -> None:
    """A login in a file may do; if there is none, nobody pushes anonymously."""
    keychain = make(environment(tmp_path, variables))

    assert found(keychain, host, "pull") is found(keychain, host, "push") is None
    (asked,) = trail(keychain, Repository(host, "acme/app"), "push")
    assert (asked.outcome, asked.expected) == ("miss", True)
    assert message in asked.why


@pytest.mark.parametrize(
    ("keychain", "host", "why"),
    [
        (GitLabKeychain, GITLAB, "CI_REGISTRY is not set: is this a job of GitLab?"),
        (HarborKeychain, "harbor.example", "no host is given, and HARBOR_URL is not set"),
        (JFrogKeychain, "acme.jfrog.io", "no host is given, and JF_URL is not set"),
        (QuayKeychain, "quay.example", "quay.example is not quay.io"),
    ],
)
def test_without_a_host_nothing_is_known(
    tmp_path: Path, keychain: Callable[..., Keychain], host: str, why: str
) -> None:
    """And that is said; the next keychain is asked."""
    made = keychain(environment=environment(tmp_path, {}))

    (asked,) = trail(made, Repository(host, "acme/app"), "push")

    assert made.resolve(Repository(host, "acme/app"), "push") is None
    assert (asked.outcome, asked.why, asked.expected) == ("skipped", why, False)


@pytest.mark.parametrize("username", ["robot$ci", "robot$acme+ci", "admin", "robot-ci"])
def test_harbor_takes_users_and_robots(tmp_path: Path, username: str) -> None:
    """From the variables that its other tools read."""
    variables = {
        "HARBOR_URL": "https://harbor.example:8443/",
        "HARBOR_USERNAME": username,
        "HARBOR_PASSWORD": "harbor-password",
    }
    keychain = HarborKeychain(environment=environment(tmp_path, variables))

    assert found(keychain, "harbor.example:8443") == (
        username,
        "harbor-password",
        "HARBOR_PASSWORD",
    )


@pytest.mark.parametrize("username", ["robot", "robot$", "robot+ci"])
def test_half_a_robot_of_harbor_is_told(tmp_path: Path, username: str) -> None:
    """What a shell leaves of a name with a dollar in it."""
    keychain = HarborKeychain(
        host="h.example", username=username, password="pw", environment=environment(tmp_path, {})
    )

    with pytest.raises(AuthError, match="a robot's goes on behind a") as caught:
        keychain.resolve(Repository("h.example", "a"), "pull")

    assert "single quotes" in caught.value.hint


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"QUAY_USERNAME": "acme+ci", "QUAY_PASSWORD": "robot-token"},
            ("acme+ci", "robot-token", "QUAY_PASSWORD"),
        ),
        ({"QUAY_OAUTH_TOKEN": "app-token"}, ("$oauthtoken", "app-token", "QUAY_OAUTH_TOKEN")),
    ],
)
def test_quay_takes_robots_and_applications(
    tmp_path: Path, variables: dict[str, str], expected: tuple[str, str, str]
) -> None:
    """On quay.io, or wherever QUAY_HOST says."""
    there = QuayKeychain(environment=environment(tmp_path, variables))
    here = QuayKeychain(
        environment=environment(tmp_path, {**variables, "QUAY_HOST": "quay.example:8443"})
    )

    assert found(there, "quay.io") == found(here, "quay.example:8443") == expected
    assert found(here, "quay.io") is None


def test_a_password_without_a_user_name_is_told(tmp_path: Path) -> None:
    """Rather than sent with an empty one."""
    keychain = QuayKeychain(environment=environment(tmp_path, {"QUAY_PASSWORD": "robot-token"}))

    with pytest.raises(AuthError, match=r"QUAY_PASSWORD has a password and no user name"):
        keychain.resolve(Repository("quay.io", "a"), "pull")


def test_quay_trades_an_oidc_token_for_a_robots(tmp_path: Path, internet: Internet) -> None:
    """One GET with the robot's name and the token, once an hour, however many ask."""
    robot = jwt(exp=FAR)

    def quay(asked: Asked) -> Answer:
        assert (asked.method, asked.path) == ("GET", "/oauth2/federation/robot/token")
        scheme, _, pair = asked.headers["authorization"].partition(" ")
        assert scheme == "Basic"
        assert base64.b64decode(pair).decode() == f"acme+ci:{ID_TOKEN}"
        return Answer(200, {"token": robot})

    internet.servers["quay.io"] = quay
    keychain = QuayKeychain(
        username="acme+ci", oidc=ID_TOKEN, environment=internet.environment(tmp_path)
    )

    assert [found(keychain, "quay.io") for _ in range(3)] == [
        ("acme+ci", robot, "Quay, robot federation")
    ] * 3
    credential = keychain.resolve(Repository("quay.io", "a"), "pull")
    assert credential is not None and credential.expires == FAR
    assert len(internet.asked) == 1


def test_a_robot_without_a_name_is_told(tmp_path: Path) -> None:
    """Before anybody is asked."""
    keychain = QuayKeychain(oidc=ID_TOKEN, environment=environment(tmp_path, {}))

    with pytest.raises(AuthError, match=r"no robot account of quay\.io is named"):
        keychain.resolve(Repository("quay.io", "a"), "push")


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("acme.jfrog.io", True),
        ("acme-docker.jfrog.io", True),
        ("local.artifactory.example", True),
        ("artifactory.example", False),
        ("a.b.artifactory.example", False),
        ("other.jfrog.io", False),
        ("jfrog.io", False),
    ],
)
def test_jfrogs_hosts_are_those_that_are_named(tmp_path: Path, host: str, known: bool) -> None:
    """Not every tenant of jfrog.io is ours."""
    variables = {
        "JF_URL": "https://acme.jfrog.io/artifactory",
        "JF_USER": "ci",
        "JF_ACCESS_TOKEN": "identity-token",
    }
    keychain = JFrogKeychain(
        hosts=["acme-docker.jfrog.io", "*.artifactory.example"],
        environment=environment(tmp_path, variables),
    )

    expected = ("ci", "identity-token", "JF_ACCESS_TOKEN") if known else None
    assert found(keychain, host) == expected


def test_an_access_token_names_its_user(tmp_path: Path) -> None:
    """Its subject ends with it; and it says when it ends."""
    token = jwt(sub="jfac@01abc/users/ci-user", exp=FAR)
    variables = {"JF_URL": "https://acme.jfrog.io", "JF_ACCESS_TOKEN": token}
    keychain = JFrogKeychain(environment=environment(tmp_path, variables))

    credential = keychain.resolve(Repository("acme.jfrog.io", "a"), "push")

    assert credential == Credential(username="ci-user", password=token)
    assert credential is not None and credential.expires == FAR


@pytest.mark.parametrize("token", ["reference-token", jwt(sub="somebody"), "a.b.c", "a.e30.c"])
def test_a_token_that_names_no_user_needs_one(tmp_path: Path, token: str) -> None:
    """The variable to set is said."""
    variables = {"JF_URL": "acme.jfrog.io", "JF_ACCESS_TOKEN": token}
    keychain = JFrogKeychain(environment=environment(tmp_path, variables))

    with pytest.raises(AuthError, match="no user name goes with the token") as caught:
        keychain.resolve(Repository("acme.jfrog.io", "a"), "push")

    assert "JF_USER" in caught.value.hint and token not in caught.value.report()


@pytest.mark.parametrize(
    ("answer", "user"),
    [
        ({"username": "mapped"}, "mapped"),
        ({}, "from-the-subject"),
    ],
)
def test_jfrog_trades_an_oidc_token_for_an_access_token(
    tmp_path: Path, internet: Internet, answer: dict[str, str], user: str
) -> None:
    """The form that JFrog documents; the answer is kept until it is about to end."""
    given = jwt(sub="jfac@01abc/users/from-the-subject")

    def platform(asked: Asked) -> Answer:
        assert (asked.method, asked.path) == ("POST", "/access/api/v1/oidc/token")
        assert asked.headers["content-type"] == "application/json"
        assert json.loads(asked.body) == {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "subject_token": ID_TOKEN,
            "provider_name": "github",
            "project_key": "acme",
        }
        return Answer(200, {"access_token": given, "expires_in": 3600, **answer})

    internet.servers["acme.jfrog.io"] = platform
    keychain = JFrogKeychain(
        url="https://acme.jfrog.io/artifactory/",
        oidc=ID_TOKEN,
        provider="github",
        project="acme",
        environment=internet.environment(tmp_path),
    )

    assert [found(keychain, "acme.jfrog.io") for _ in range(3)] == [
        (user, given, "JFrog, OIDC integration github")
    ] * 3
    assert len(internet.asked) == 1


def trading(internet: Internet, folder: Path, host: str) -> Keychain:
    env = internet.environment(folder)
    if host == "quay.io":
        return QuayKeychain(username="acme+ci", oidc=ID_TOKEN, environment=env)
    return JFrogKeychain(
        url=f"https://{host}", username="ci", oidc=ID_TOKEN, provider="github", environment=env
    )


@pytest.mark.parametrize("host", ["quay.io", "acme.jfrog.io"])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(401, {"error": ID_TOKEN}), "HTTP 401"),
        (Answer(403), "HTTP 403"),
        (Answer(200, b"not JSON"), "not its JSON"),
        (Answer(200, {"token": 7, "access_token": None}), "not its JSON"),
        (Answer(200, []), "not its JSON"),
    ],
)
def test_a_refused_trade_is_an_error_that_quotes_nothing(
    tmp_path: Path, internet: Internet, host: str, answer: Answer, message: str
) -> None:
    """What the server says back may be the token."""
    internet.servers[host] = lambda _: answer
    keychain = trading(internet, tmp_path, host)

    with pytest.raises(AuthError, match=message) as caught:
        keychain.resolve(Repository(host, "a"), "pull")

    assert ID_TOKEN not in caught.value.report()
    assert [one.outcome for one in trail(keychain, Repository(host, "a"), "pull")] == ["error"]


@pytest.mark.parametrize("host", ["quay.io", "acme.jfrog.io"])
def test_a_server_that_cannot_be_reached_is_no_anonymous_pull(
    tmp_path: Path, internet: Internet, host: str
) -> None:
    """“Could not ask” is an error for a pull, too."""
    keychain = trading(internet, tmp_path, host)

    with pytest.raises(RegistryUnavailableError):
        keychain.resolve(Repository(host, "a"), "pull")


def test_oidc_at_jfrog_needs_an_integration() -> None:
    """A fault of the caller's, found at once."""
    with pytest.raises(ValueError, match="provider="):
        JFrogKeychain(url="https://acme.jfrog.io", oidc=ID_TOKEN)
    with pytest.raises(TypeError, match="several"):
        JFrogKeychain(hosts="acme.jfrog.io")


def test_oidc_at_jfrog_needs_an_address(tmp_path: Path) -> None:
    """A registry's host is not where tokens are traded."""
    keychain = JFrogKeychain(
        hosts=["docker.example"],
        oidc=ID_TOKEN,
        provider="github",
        environment=environment(tmp_path, {}),
    )

    with pytest.raises(AuthError, match="address of the JFrog platform"):
        keychain.resolve(Repository("docker.example", "a"), "push")
