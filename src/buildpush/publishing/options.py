"""The settings that `push`, `copy` and `assemble` share: how registries are reached, what may move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from ..auth import Keychain
from ..auth.reading import read_keychains
from ..http.trust import Certificates
from ..oci import Digest, Platform
from ..plan import PushPolicy
from ..runtime import Run
from ..spec.faults import spec_error
from ..spec.fieldtypes import DigestText, Mirrors, Platforms, Registries, RegistryHosts, Timeout

if TYPE_CHECKING:
    from ..registry import RegistryClient

__all__ = ["Options", "PushArguments"]


class _Registry(TypedDict, total=False):
    ca: str
    certificate: str
    key: str
    insecure: bool


class PushArguments(TypedDict, total=False):
    """The keyword arguments that `push`, `copy` and `assemble` share; as those of a step."""

    auth: Keychain | str | Sequence[Keychain | str]
    insecure: str | Sequence[str] | frozenset[str]
    registries: Mapping[str, _Registry]
    mirrors: Mapping[str, str | Sequence[str]]
    retries: int
    max_connections: int
    anonymous_fallback: bool
    on_partial: Literal["fail_fast", "continue"]
    on_existing_tag: Literal["overwrite", "fail", "skip_if_same", "skip"]
    expect_current: str | Digest | None
    media_types: Literal["keep", "auto", "docker", "oci"]
    mount: bool
    platforms: str | Sequence[str] | Sequence[Platform]
    timeout: str | float | timedelta | None


_ALL: Final = "all"


class Options(BaseModel):
    """The shared settings, checked; empty *platforms* are all."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    auth: Annotated[tuple[Keychain, ...], PlainValidator(read_keychains)] = ()
    insecure: RegistryHosts = frozenset()
    registries: Registries = {}
    mirrors: Mirrors = {}
    retries: int = Field(default=4, ge=0, le=20)
    max_connections: int = Field(default=8, ge=1, le=256)
    anonymous_fallback: bool = True
    on_partial: Literal["fail_fast", "continue"] = "fail_fast"
    on_existing_tag: Literal["overwrite", "fail", "skip_if_same", "skip"] = "overwrite"
    expect_current: DigestText = None
    media_types: Literal["keep", "auto", "docker", "oci"] = "keep"
    mount: bool = True
    platforms: Platforms = ()
    timeout: Timeout = None

    @classmethod
    def read(cls, arguments: PushArguments) -> Options:
        """Check *arguments*; raises one `SpecError` that names every fault, and quotes no value."""
        given: dict[str, object] = {**arguments}
        if given.get("platforms") == _ALL:
            del given["platforms"]
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise spec_error(error, {name: (name,) for name in cls.model_fields}) from None

    @property
    def policy(self) -> PushPolicy:
        """What may happen to tags and blobs."""
        return PushPolicy(
            on_partial=self.on_partial,
            on_existing_tag=self.on_existing_tag,
            expect_current=self.expect_current,
            media_types=self.media_types,
            mount=self.mount,
        )

    def client(self, keychain: Keychain, run: Run) -> RegistryClient:
        """A client for every registry of the run; a context manager."""
        from ..registry import RegistryClient  # lazily: it loads the HTTP client
        from ..runtime.retry import RetryPolicy

        hosts = self.registries.items()
        return RegistryClient(
            keychain,
            run,
            insecure=self.insecure.union(host for host, tls in hosts if tls.insecure),
            certificates={
                host: Certificates(ca=tls.ca, certificate=tls.certificate, key=tls.key)
                for host, tls in hosts
                if tls.ca or tls.certificate
            },
            mirrors=self.mirrors,
            policy=RetryPolicy(attempts=self.retries + 1),
            connections=self.max_connections,
            anonymous_fallback=self.anonymous_fallback,
        )
