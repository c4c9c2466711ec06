"""The public API used as it is meant to be: read by type checkers, never executed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import assert_type

from buildpush import (
    Access,
    Backend,
    BuildAndPushStep,
    BuildResult,
    CancelToken,
    Capabilities,
    Chain,
    Credential,
    Digest,
    Event,
    Explanation,
    FromEnv,
    ImageReference,
    Keychain,
    Plan,
    Platform,
    PushResult,
    Repository,
    RunState,
    StaticKeychain,
    StepSpec,
    assemble,
    copy,
    explain,
    push,
)
from buildpush.auth.catalog import KeychainCatalog
from buildpush.auth.ecr import AssumedRole, AwsKeys, EcrKeychain, WebIdentity
from buildpush.auth.ghcr import GhcrKeychain
from buildpush.auth.making import RepositoryMaker
from buildpush.auth.oidc import GithubOidc
from buildpush.backends import BackendCatalog
from buildpush.plan import Artifact, BuildRequest, ImageSummary, LayoutArtifact
from buildpush.runtime import Run
from buildpush.testing import FakeBackend, LocalRegistry, RecordingSink


class MyBackend:
    """A backend of a third party."""

    def probe(self) -> Capabilities:
        return Capabilities(backend="mine", version="1")

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        return LayoutArtifact(path=run.workdir, digest=Digest.of(b""))


class MyKeychain:
    """A keychain of a third party."""

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        return Credential(username=repository.host, password=access)


backend: Backend = MyBackend()
fake: Backend = FakeBackend()
keychain: Keychain = Chain((MyKeychain(), StaticKeychain(prefix="r.io", credential=Credential())))

_role = "arn:aws:iam::123456789012:role/push"
_keys = AwsKeys(access_key="a", secret_key="b", session_token="c")
_here = AssumedRole(role=_role, source=WebIdentity(role=_role, token=GithubOidc()))
ecr: tuple[Keychain, ...] = (EcrKeychain(), EcrKeychain(source=_keys), EcrKeychain(source=_here))
ghcr: Keychain = GhcrKeychain(token="t")
maker: RepositoryMaker = EcrKeychain(foreign="refuse", aliases={"a.io": "b"})
assert_type(maker.ensure_repository(Repository("r.io", "a")), bool | None)

step = BuildAndPushStep(
    repo="ghcr.io/acme/app",
    tags=["1.4", "latest"],
    context=Path(),
    dockerfile="Dockerfile",
    target="app",
    build_args={"VERSION": "1.4"},
    labels={"a": "b"},
    secrets={"npm": FromEnv("NPM_TOKEN"), "key": Path("key.pem"), "text": "value"},
    platforms=["linux/amd64", "linux/arm64"],
    timeout=timedelta(minutes=10),
    push=False,
    backend=backend,
    auth=[keychain],
)
assert_type(step.plan(), Plan)
assert_type(step.plan(backend="native").render(), str)
assert_type(step.run(cancel=CancelToken()), BuildResult)
assert_type(
    BuildAndPushStep.from_bake(
        "docker-bake.hcl", targets=["app"], variables={"VERSION": "1.4"}, backend=backend
    ),
    Mapping[str, BuildAndPushStep],
)
assert_type(BuildAndPushStep.parse({"repo": "a/b"}), BuildAndPushStep)
spec: StepSpec = step

result = step.run(backend=backend, on_event=RecordingSink())
assert_type(result.digest, Digest)
assert_type(result.references, tuple[ImageReference, ...])
assert_type(result.images, Mapping[Platform, ImageSummary])


async def in_a_loop() -> BuildResult:
    async with step.astream() as stream:
        state = RunState()
        async for event in stream:
            assert_type(event, Event)
            state = state.after(event)
    return await step.arun()


def streamed() -> BuildResult:
    with step.stream() as stream:
        for event in stream:
            assert_type(event, Event)
    return stream.result


def with_a_registry() -> tuple[str, ...]:
    with LocalRegistry() as registry:
        return registry.tags("acme/app")


assert_type(BackendCatalog.discover().load("native"), Backend)
assert_type(push("layout", ["r.io/a:1"], auth=[keychain], platforms=["linux/amd64"]), PushResult)
assert_type(copy("r.io/a:1", "r.io/b:1", referrers=True, cancel=CancelToken()), PushResult)
assert_type(assemble([Path("a"), "r.io/b:1"], "r.io/c:1", attestations="drop"), PushResult)
assert_type(explain("ghcr.io/acme/app", "push", auth=["ecr", keychain]), Explanation)
assert_type(KeychainCatalog.discover().load("ecr"), Keychain)
assert_type(ImageReference.normalized("ghcr.io/Acme/App"), ImageReference)
