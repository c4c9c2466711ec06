"""A step from what the variables of a plugin ask for: its settings, and who logs in."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from attrs import evolve
from pydantic import SecretStr

from ..auth import Credential, Keychain, StaticKeychain
from ..auth.entries import HUB_KEY, prefix_of
from ..errors import SpecError
from ..runtime import Environment
from ..spec.drone import PluginLogin, PluginSettings
from ..spec.values import FromEnv

if TYPE_CHECKING:
    from ..auth.aws.calls import KeySource

__all__ = [
    "backend_of",
    "keychains",
    "left",
    "not_a_step",
    "step_of",
    "without_caches",
]

S = TypeVar("S")


def step_of(
    asked: PluginSettings,
    environ: Mapping[str, str],
    make: Callable[[Mapping[str, object]], S],
    overrides: Mapping[str, object],
    *,
    private: Path | None = None,
) -> S:
    """The step that *make* makes of what is *asked*; *overrides* are settings that win.

    Build args and secrets that are names have their values from *environ*. *private* is a folder
    that nobody else can read, for keys that have to be files; without one they are refused.
    Raises `SpecError` for settings that are wrong.
    """
    settings = dict(asked.settings)
    given = cast("Mapping[str, str | None]", settings.get("build_args", {}))
    args = {name: environ.get(name) if value is None else value for name, value in given.items()}
    settings["build_args"] = {name: value for name, value in args.items() if value is not None}
    secrets = cast("Mapping[str, object]", settings.get("secrets", {}))
    settings["secrets"] = {
        name: SecretStr(environ[source.name])
        if isinstance(source, FromEnv) and source.name in environ
        else source
        for name, source in secrets.items()
    }
    if asked.ssh_key:
        key = _written(private, "ssh.pem", asked.ssh_key.encode() + b"\n", "PLUGIN_SSH_AGENT_KEY")
        settings["ssh"] = {"default": key}
    settings["auth"] = keychains(asked, environ, private=private)
    wanted = overrides.get("backend")
    said = (*map(str, asked.findings), *left(asked, wanted), *without_caches(settings, wanted))
    settings["remarks"] = said
    return make({**settings, **overrides, "backend": backend_of(asked, wanted)})


def backend_of(asked: PluginSettings, wanted: object) -> object:
    """The backend *wanted*, by name or as an object, with the options that are its own."""
    if wanted == "kaniko" and asked.kaniko:
        from ..backends.kaniko import KanikoBackend, KanikoOptions

        return KanikoBackend(options=KanikoOptions(**asked.kaniko))  # type: ignore[arg-type]
    if wanted == "buildx" and asked.builder:
        from ..backends.buildx import Builder, BuildxBackend

        made = dict(asked.builder)
        if "driver" not in made:
            return BuildxBackend(builder=str(made.get("name", "")))
        pairs = (
            each.partition("=") for each in cast("Sequence[str]", made.get("driver_options", ()))
        )
        config = str(made.get("buildkitd_config", ""))
        builder = Builder(
            driver=cast("Literal['docker-container', 'kubernetes', 'remote']", made["driver"]),
            endpoint=str(made.get("endpoint", "")),
            options={name: value for name, _, value in pairs},
            buildkitd_config=Path(config) if config else None,
        )
        return BuildxBackend(create=builder)
    return wanted or "auto"


def left(asked: PluginSettings, wanted: object) -> Iterator[str]:
    """What is asked and not done here, or not with the backend *wanted*."""
    if asked.builder and wanted != "buildx":
        yield 'a builder of buildx is not made: that is for backend="buildx"'
    if asked.kaniko and wanted != "kaniko":
        names = ", ".join(sorted(asked.kaniko))
        yield f"settings of kaniko alone are left out: {names}"
    if asked.lifecycle_policy or asked.repository_policy:
        yield "policies are given to a repository that is made, not to one that is there"


def without_caches(settings: dict[str, object], wanted: object) -> Iterator[str]:
    """Take out of *settings* what only makes builds faster, and the backend *wanted* cannot do."""
    names = ("cache_from", "cache_to", "remote_cache_repo")
    given = [
        name
        for name in (*names, "cacheFrom", "cacheTo", "remoteCacheRepo", "remoteCacheImage")
        if settings.get(name)
    ]
    if wanted == "native" and given:
        for name in given:
            del settings[name]
        yield f"{', '.join(given)}: left out: native has a cache of its own, on this machine"


def not_a_step(asked: PluginSettings) -> str:
    """Why what is *asked* is not one build; empty when it is."""
    if asked.work == "nothing":
        return asked.because
    if asked.work == "push_only":
        return "PLUGIN_PUSH_ONLY: pushes what is built already"
    if asked.bake_file:
        return "PLUGIN_BAKE_FILE: describes several builds"
    return ""


def keychains(
    asked: PluginSettings, environ: Mapping[str, str], *, private: Path | None = None
) -> tuple[Keychain, ...]:
    """Who logs in: for pulls alone first, so that a base image's registry may be the push's own."""
    logins = sorted(asked.logins, key=lambda login: (login.kind == "config", not login.pull_only))
    return tuple(_keychain(login, asked, environ, private) for login in logins)


def _keychain(
    login: PluginLogin, asked: PluginSettings, environ: Mapping[str, str], private: Path | None
) -> Keychain:
    match login.kind:
        case "basic":
            found = Credential(
                username=login.username, password=login.password, source="the plugin's variables"
            )
            prefix = prefix_of(login.host or HUB_KEY).partition("/")[0]
            return StaticKeychain(
                prefix=prefix, credential=found, access="pull" if login.pull_only else None
            )
        case "config":
            from ..auth.files import DockerConfigKeychain

            return DockerConfigKeychain(
                path=Path("config.json"), text=login.config, source="the plugin's docker config"
            )
        case "ecr":
            return _ecr(login.options, asked)
        case "gcr":
            return _google(login.options)
        case "acr":
            return _azure(login.options, environ, private)


def _ecr(options: Mapping[str, str], asked: PluginSettings) -> Keychain:
    from ..auth.aws.ambient import AmbientKeys
    from ..auth.aws.roles import AssumedRole, WebIdentity
    from ..auth.ecr import EcrKeychain, NewRepository
    from ..auth.sigv4 import AwsKeys

    source: KeySource | None = None
    key, secret = options.get("access-key", ""), options.get("secret-key", "")
    if bool(key) != bool(secret):
        missing = "PLUGIN_SECRET_KEY" if key else "PLUGIN_ACCESS_KEY"
        raise SpecError(f"{missing}: is missing, and the other half of the keys is there")
    if key:
        source = AwsKeys(access_key=key, secret_key=secret, source="the plugin's variables")
    role, token = options.get("assume-role", ""), options.get("oidc-token-id", "")
    if token and not role:
        raise SpecError("PLUGIN_ASSUME_ROLE: is missing, and PLUGIN_OIDC_TOKEN_ID is for a role")
    if role and token:
        source = WebIdentity(role=role, token=token)
    elif role:
        external = options.get("external-id", "")
        source = AssumedRole(role=role, source=source or AmbientKeys(), external_id=external)
    new = NewRepository(
        scan_on_push=asked.scan_on_push,
        lifecycle_policy=_read(asked.lifecycle_policy, "PLUGIN_LIFECYCLE_POLICY"),
        policy=_read(asked.repository_policy, "PLUGIN_REPOSITORY_POLICY"),
    )
    return EcrKeychain(
        source=source, create_repository=asked.create_repository, new_repository=new
    )


def _google(options: Mapping[str, str]) -> Keychain:
    from ..auth.gar import GoogleKeychain
    from ..auth.google.sources import JsonKey, WorkloadIdentity

    if key := options.get("json-key", ""):
        return GoogleKeychain(source=JsonKey(_decoded(key)))
    wanted = ("project-number", "pool-id", "provider-id", "oidc-token-id", "service-account-email")
    if all(options.get(name) for name in wanted):
        number, pool, provider, token, account = (options[name] for name in wanted)
        federated = WorkloadIdentity(
            project_number=number,
            pool=pool,
            provider=provider,
            token=token,
            service_account=account,
        )
        return GoogleKeychain(source=federated)
    return GoogleKeychain()


def _decoded(key: str) -> str:
    """A key as JSON; the plugins take one in base64, too."""
    if key.lstrip().startswith("{"):
        return key
    try:
        return base64.b64decode(key, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return key


def _azure(
    options: Mapping[str, str], environ: Mapping[str, str], private: Path | None
) -> Keychain:
    from ..auth.acr import AzureKeychain
    from ..auth.azure.sources import (
        CertificatePrincipal,
        FederatedIdentity,
        ServicePrincipal,
    )

    tenant, client = options.get("tenant-id", ""), options.get("client-id", "")
    current = Environment.current()
    authority = options.get("azure-authority-host") or environ.get("AZURE_AUTHORITY_HOST", "")
    if authority:
        variables = {**current.variables, "AZURE_AUTHORITY_HOST": authority}
        current = evolve(current, variables=variables)
    certificate, token = options.get("client-cert", ""), options.get("oidc-token-id", "")
    if secret := options.get("client-secret", ""):
        found = ServicePrincipal(client_id=client, client_secret=secret, tenant_id=tenant)
        return AzureKeychain(source=found, environment=current)
    if token:
        federated = FederatedIdentity(tenant_id=tenant, client_id=client, token=token)
        return AzureKeychain(source=federated, environment=current)
    if certificate:
        try:
            data = base64.b64decode(certificate, validate=True)
        except binascii.Error:
            raise SpecError("PLUGIN_CLIENT_CERTIFICATE: expected base64") from None
        path = _written(private, "client.pem", data, "PLUGIN_CLIENT_CERTIFICATE")
        principal = CertificatePrincipal(tenant_id=tenant, client_id=client, certificate=path)
        return AzureKeychain(source=principal, environment=current)
    return AzureKeychain(environment=current)


def _read(path: str, variable: str) -> str:
    """The text of the file that *variable* names; empty without one."""
    if not path:
        return ""
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        raise SpecError(f"{variable}: names a file that cannot be read") from None


def _written(folder: Path | None, name: str, data: bytes, variable: str) -> Path:
    if folder is None:
        raise SpecError(
            f"{variable}: has to be a file for as long as the build runs",
            hint="use run_plugin, which keeps one, or give the file to the step itself",
        )
    path = folder / name
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path
