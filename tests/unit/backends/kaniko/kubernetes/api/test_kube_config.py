"""Which cluster is meant, as kubectl would find it, and what is said where there is none."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from buildpush.backends.kaniko.kubernetes.api.config import Access, read_access
from buildpush.errors import AuthError, BackendUnavailableError, BuildpushError
from buildpush.runtime import Environment

Surroundings = Callable[..., Environment]
Writer = Callable[..., Path]


def named(what: str, entries: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"name": name, what: entry} for name, entry in entries.items()]


def config(
    *,
    current: str = "",
    clusters: Mapping[str, object] | None = None,
    contexts: Mapping[str, object] | None = None,
    users: Mapping[str, object] | None = None,
) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": current,
        "clusters": named("cluster", clusters or {}),
        "contexts": named("context", contexts or {}),
        "users": named("user", users or {}),
    }


DEV = config(
    current="dev",
    clusters={"c": {"server": "https://dev:6443"}},
    contexts={"dev": {"cluster": "c", "user": "u", "namespace": "ns"}},
    users={"u": {"token": "s3cret-token"}},
)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The files of a pod's service account."""
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text("pod-token\n")
    (folder / "ca.crt").write_text("the authority")
    (folder / "namespace").write_text("of-the-pod\n")
    return folder


INSIDE = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def refused(call: Callable[[], Access]) -> BuildpushError:
    with pytest.raises(BuildpushError) as caught:
        call()
    return caught.value


def test_the_home_folder_is_looked_in_by_default(
    surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """kubectl reads ~/.kube/config where nothing else is said."""
    path = kubeconfig(DEV, ".kube/config")

    found = read_access(surroundings())

    assert (
        found.server,
        found.namespace,
        str(found.user.token),
    ) == ("https://dev:6443", "ns", "s3cret-token")
    assert f'context "dev" of {path}' == found.source


def test_no_repr_shows_a_token(surroundings: Surroundings, kubeconfig: Writer) -> None:
    """A traceback with local variables is read by others."""
    found = read_access(surroundings(), kubeconfig=kubeconfig(DEV))

    assert "s3cret" not in repr(found)


def test_a_namespace_that_is_asked_for_goes_before_the_file_s(
    surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """As with kubectl --namespace."""
    found = read_access(surroundings(), kubeconfig=kubeconfig(DEV), namespace="other")

    assert found.namespace == "other"


def test_a_context_without_a_namespace_is_in_default(
    surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """As with kubectl."""
    path = kubeconfig(
        config(
            current="x",
            clusters={"c": {"server": "https://h/"}},
            contexts={"x": {"cluster": "c"}},
        )
    )

    assert read_access(surroundings(), kubeconfig=path).namespace == "default"


def test_of_several_files_the_first_that_names_something_wins(
    surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """Maps are merged by name, an entry is never mixed of two files, values are the first's."""
    first = kubeconfig(
        config(current="dev", clusters={"c": {"server": "https://first"}}), "a.yaml"
    )
    second = kubeconfig(
        config(
            current="prod",
            clusters={"c": {"server": "https://second", "insecure-skip-tls-verify": True}},
            contexts={"dev": {"cluster": "c", "user": "u"}},
            users={"u": {"token": "abcd"}},
        ),
        "b.yaml",
    )

    found = read_access(surroundings(KUBECONFIG=f"{first}:/nowhere::{second}:{first}"))

    assert (
        found.server,
        found.skip_verify,
        str(found.user.token),
    ) == ("https://first", False, "abcd")


def test_relative_paths_are_relative_to_their_file(
    surroundings: Surroundings, kubeconfig: Writer, tmp_path: Path
) -> None:
    """Not to the folder that the process happens to be in."""
    path = kubeconfig(
        config(
            current="x",
            clusters={"c": {"server": "https://h", "certificate-authority": "pki/ca.pem"}},
            contexts={"x": {"cluster": "c", "user": "u"}},
            users={"u": {"tokenFile": "token", "client-certificate": "/a", "client-key": "b"}},
        ),
        "deep/config",
    )

    found = read_access(surroundings(), kubeconfig=Path("deep/config"))

    folder = tmp_path / "deep"
    assert path.parent == folder
    assert (folder / "pki/ca.pem", folder / "token", Path("/a"), folder / "b") == (
        found.ca.path,
        found.user.token_file,
        found.user.cert.path,
        found.user.key.path,
    )


def test_data_goes_before_a_file(surroundings: Surroundings, kubeconfig: Writer) -> None:
    """certificate-authority-data and certificate-authority may both be there."""
    data = base64.b64encode(b"PEM").decode()
    path = kubeconfig(
        config(
            current="x",
            clusters={
                "c": {
                    "server": "https://h",
                    "certificate-authority": "/none",
                    "certificate-authority-data": data,
                }
            },
            contexts={"x": {"cluster": "c"}},
        )
    )

    assert read_access(surroundings(), kubeconfig=path).ca.read() == b"PEM"


def test_null_is_nothing(surroundings: Surroundings, kubeconfig: Writer) -> None:
    """Go writes null for empty lists, and kubectl config view leaves such files behind."""
    path = kubeconfig({**DEV, "preferences": None, "extensions": None})
    kubeconfig({"clusters": None, "contexts": None, "users": None, "current-context": ""}, "n")

    assert read_access(surroundings(KUBECONFIG=f"n:{path}")).server == "https://dev:6443"


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({"server": "h:80"}, "http://h:80"),
        ({"server": "h", "insecure-skip-tls-verify": True}, "https://h"),
        ({"server": "https://rancher/k8s/clusters/c-1/"}, "https://rancher/k8s/clusters/c-1"),
    ],
)
def test_a_server_is_completed_as_kubectl_does(
    cluster: object, expected: str, surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """Without a scheme it is https only where something is said of TLS."""
    path = kubeconfig(
        config(current="x", clusters={"c": cluster}, contexts={"x": {"cluster": "c"}})
    )

    assert expected == read_access(surroundings(), kubeconfig=path).server


def test_acting_as_somebody_else_becomes_headers(
    surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """The names of extras are percent-encoded, as header names must be."""
    user = {
        "as": "jane",
        "as-uid": "7",
        "as-groups": ["a", "b"],
        "as-user-extra": {"x/Y": ["1"]},
    }
    path = kubeconfig(
        config(
            current="x",
            clusters={"c": {"server": "https://h"}},
            contexts={"x": {"cluster": "c", "user": "u"}},
            users={"u": user},
        )
    )

    found = read_access(surroundings(), kubeconfig=path)

    assert found.user.headers == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-x%2Fy", "1"),
    )


def test_in_a_pod_its_service_account_is_used(surroundings: Surroundings, account: Path) -> None:
    """The token is read when it is needed, since it is rewritten."""
    found = read_access(surroundings(**INSIDE), account=account)

    assert ("https://10.0.0.1:443", "of-the-pod", account / "token", account / "ca.crt") == (
        found.server,
        found.namespace,
        found.user.token_file,
        found.ca.path,
    )


def test_in_a_pod_an_address_may_be_ipv6(surroundings: Surroundings, account: Path) -> None:
    """URLs want it in brackets."""
    variables = {**INSIDE, "KUBERNETES_SERVICE_HOST": "fd00::1"}

    found = read_access(surroundings(**variables), account=account, namespace="mine")

    assert (found.server, found.namespace) == ("https://[fd00::1]:443", "mine")


def test_in_a_pod_a_kubeconfig_still_goes_first(
    surroundings: Surroundings, kubeconfig: Writer, account: Path
) -> None:
    """Only its namespace, if it names none, is the pod's: so does kubectl."""
    kubeconfig(
        config(
            current="x",
            clusters={"c": {"server": "https://h"}},
            contexts={"x": {"cluster": "c"}},
        ),
        ".kube/config",
    )

    found = read_access(surroundings(**INSIDE), account=account)

    assert (found.server, found.namespace) == ("https://h", "of-the-pod")


def test_no_cluster_at_all_says_where_it_was_looked_for(surroundings: Surroundings) -> None:
    """Somebody without a cluster is to know how to name one."""
    error = refused(lambda: read_access(surroundings()))

    assert isinstance(error, BackendUnavailableError)
    assert ".kube/config (KUBECONFIG is not set)" in error.message
    assert "KUBECONFIG" in error.hint


def test_a_kubeconfig_in_the_environment_that_is_missing_is_named(
    surroundings: Surroundings,
) -> None:
    """It may be a typing error."""
    error = refused(lambda: read_access(surroundings(KUBECONFIG="/nowhere/x")))

    assert "/nowhere/x (KUBECONFIG) is not there" in error.message


BROKEN = [
    ("- a\n- b", {}, "malformed"),
    ("token: [s3cret", {}, "not YAML (line 1)"),
    ("a: !!python/object/apply:os.system [s3cret]", {}, "not YAML"),
    (config(), {}, "has no current-context; there are none"),
    (DEV, {"context": "prod"}, 'has no context "prod"; there are dev'),
    (
        config(current="x", contexts={"x": {"cluster": "c"}}, clusters={"d": {}}),
        {},
        'names the cluster "c", which is not there; there are d',
    ),
    (config(current="x", contexts={"x": {}}), {}, "names no cluster"),
    (
        config(current="x", contexts={"x": {"cluster": "c"}}, clusters={"c": {}}),
        {},
        "has no server",
    ),
    (
        config(
            current="x",
            contexts={"x": {"cluster": "c", "user": "u"}},
            clusters={"c": {"server": "https://h"}},
        ),
        {},
        'names the user "u", which is not there',
    ),
    (
        config(
            current="x",
            contexts={"x": {"cluster": "c"}},
            clusters={"c": {"server": "https://a:s3cret@h"}},
        ),
        {},
        "no http or https URL",
    ),
    (
        config(
            current="x",
            contexts={"x": {"cluster": "c"}},
            clusters={"c": {"server": "https://h:port"}},
        ),
        {},
        "no http or https URL",
    ),
    (
        config(
            current="x",
            contexts={"x": {"cluster": "c"}},
            clusters={"c": {"server": "https://h", "certificate-authority-data": "s3cret!"}},
        ),
        {},
        "is not base64",
    ),
    ({**DEV, "users": [{"name": "u", "user": {"token": ["s3cret"]}}]}, {}, "users.0.user.token"),
]


@pytest.mark.parametrize(("content", "options", "expected"), BROKEN)
def test_a_broken_kubeconfig_is_told_without_its_content(
    content: object,
    options: Mapping[str, str],
    expected: str,
    surroundings: Surroundings,
    kubeconfig: Writer,
) -> None:
    """Which file, what is missing, what there is instead; never a token."""
    path = kubeconfig(content)

    error = refused(
        lambda: read_access(surroundings(), kubeconfig=path, context=options.get("context", ""))
    )

    assert isinstance(error, BackendUnavailableError)
    assert expected in error.message
    assert str(path) in error.message
    assert "s3cret" not in error.report() + repr(error.__cause__)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"auth-provider": {"name": "gcp"}}, "auth-provider"),
        ({"client-certificate": "/a"}, "no client-key"),
        ({"client-key-data": "YQ=="}, "no client-certificate"),
    ],
)
def test_a_user_that_cannot_work_is_told_before_anything_is_sent(
    user: object, expected: str, surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """Kubernetes itself says nothing better."""
    path = kubeconfig({**DEV, "users": [{"name": "u", "user": user}]})

    error = refused(lambda: read_access(surroundings(), kubeconfig=path))

    assert isinstance(error, AuthError)
    assert expected in error.message


def test_a_kubeconfig_that_does_not_exist_is_an_error(surroundings: Surroundings) -> None:
    """Named is named: nothing else is looked for."""
    error = refused(lambda: read_access(surroundings(), kubeconfig=Path("missing")))

    assert "there is no kubeconfig" in error.message


def test_a_kubeconfig_that_is_a_folder_is_an_error(
    surroundings: Surroundings, tmp_path: Path
) -> None:
    """The system's own word for it is passed on."""
    error = refused(lambda: read_access(surroundings(), kubeconfig=tmp_path))

    assert "cannot be read: Is a directory" in error.message


def test_plugins_are_told_of_the_cluster_when_they_want_it(
    surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """With the extension that is meant for them, and the authority's content, not its path."""
    path = kubeconfig(
        config(
            current="x",
            clusters={
                "c": {
                    "server": "https://h",
                    "tls-server-name": "n",
                    "certificate-authority-data": "UEVN",
                    "proxy-url": "http://p",
                    "disable-compression": True,
                    "extensions": [
                        {"name": "other", "extension": 1},
                        {"name": "client.authentication.k8s.io/exec", "extension": {"a": 1}},
                    ],
                }
            },
            contexts={"x": {"cluster": "c", "user": "u"}},
            users={"u": {"exec": {"command": "x", "provideClusterInfo": True}}},
        )
    )

    plugin = read_access(surroundings(), kubeconfig=path).user.plugin

    assert plugin is not None
    assert plugin.info == {
        "server": "https://h",
        "tls-server-name": "n",
        "certificate-authority-data": "UEVN",
        "proxy-url": "http://p",
        "disable-compression": True,
        "config": {"a": 1},
    }


def _aliases(first: str, another: str) -> str:
    """Thirty lines, each of which is the one before it, twice."""
    below = "\n".join(f"a{n}: &a{n} {another.replace('X', f'*a{n - 1}')}" for n in range(1, 30))
    return f"a0: &a0 {first}\n{below}\n"


@pytest.mark.parametrize("bomb", [("x", "[X, X]"), ("{k: v}", "{<<: [X, X]}")])
def test_aliases_do_not_fill_the_memory(
    bomb: tuple[str, str], surroundings: Surroundings, tmp_path: Path
) -> None:
    """A billion values in a kilobyte."""
    path = tmp_path / "bomb"
    path.write_text(f"{_aliases(*bomb)}clusters: [{{name: c, cluster: {{extensions: *a29}}}}]\n")

    error = refused(lambda: read_access(surroundings(), kubeconfig=path))

    assert "is not YAML" in error.message


def test_aliases_are_read(surroundings: Surroundings, tmp_path: Path) -> None:
    """kubectl does, and some write them by hand."""
    path = tmp_path / "aliases"
    path.write_text(
        "current-context: x\n"
        "clusters: [{name: c, cluster: &c {server: 'https://h'}}, {name: d, cluster: {<<: *c}}]\n"
        "contexts: [{name: x, context: {cluster: d}}]\n"
    )

    assert read_access(surroundings(), kubeconfig=path).server == "https://h"


def test_a_password_in_the_servers_url_is_refused(
    surroundings: Surroundings, kubeconfig: Writer
) -> None:
    """The URL is in every message. A password needs no name."""
    cluster = {"server": "https://:s3cret-pass@h"}
    path = kubeconfig(
        config(current="x", clusters={"c": cluster}, contexts={"x": {"cluster": "c"}})
    )

    error = refused(lambda: read_access(surroundings(), kubeconfig=path))

    assert "is no http or https URL" in error.message
    assert "s3cret" not in error.report()
