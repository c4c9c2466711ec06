"""The plugins that log in to a cloud's registry, and then do as the docker plugin does.

Each reads variables of its own, puts its registry before the repository, and hands the rest on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from attrs import field, frozen

from ...errors import SpecError
from .settings import Finding, PluginLogin

__all__ = ["CLOUDS", "Cloud", "cloud_of", "own_variables"]

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False", ""})
_OIDC: Final = {
    "oidc-token-id": ("PLUGIN_OIDC_TOKEN_ID",),
    "project-number": ("PLUGIN_PROJECT_NUMBER",),
    "pool-id": ("PLUGIN_POOL_ID",),
    "provider-id": ("PLUGIN_PROVIDER_ID",),
    "service-account-email": ("PLUGIN_SERVICE_ACCOUNT_EMAIL",),
}
_GOOGLE: Final = {
    "registry": ("PLUGIN_REGISTRY",),
    "json-key": ("PLUGIN_JSON_KEY", "GCR_JSON_KEY", "GOOGLE_CREDENTIALS", "TOKEN"),
    "workload-identity": ("PLUGIN_WORKLOAD_IDENTITY",),
    **_OIDC,
}
# flag -> its variables, the first that is set counts
_FLAGS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "ecr": {
        "registry": ("PLUGIN_REGISTRY",),
        "region": ("PLUGIN_REGION", "ECR_REGION", "AWS_REGION"),
        "access-key": ("PLUGIN_ACCESS_KEY", "ECR_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        "secret-key": ("PLUGIN_SECRET_KEY", "ECR_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"),
        "assume-role": ("PLUGIN_ASSUME_ROLE",),
        "external-id": ("PLUGIN_EXTERNAL_ID",),
        "oidc-token-id": ("PLUGIN_OIDC_TOKEN_ID",),
        "create-repository": ("PLUGIN_CREATE_REPOSITORY", "ECR_CREATE_REPOSITORY"),
        "scan-on-push": ("PLUGIN_SCAN_ON_PUSH",),
        "lifecycle-policy": ("PLUGIN_LIFECYCLE_POLICY",),
        "repository-policy": ("PLUGIN_REPOSITORY_POLICY",),
        "skip-push-if-tag-exists": ("PLUGIN_SKIP_PUSH_IF_TAG_EXISTS",),
    },
    "gcr": _GOOGLE,
    "gar": {**_GOOGLE, "location": ("PLUGIN_LOCATION",)},
    "acr": {
        "registry": ("PLUGIN_REGISTRY",),
        "principal-id": ("SERVICE_PRINCIPAL_CLIENT_ID",),
        "principal-secret": ("SERVICE_PRINCIPAL_CLIENT_SECRET",),
        "client-id": ("CLIENT_ID", "AZURE_CLIENT_ID", "AZURE_APP_ID", "PLUGIN_CLIENT_ID"),
        "client-secret": ("CLIENT_SECRET", "PLUGIN_CLIENT_SECRET"),
        "client-cert": ("CLIENT_CERTIFICATE", "PLUGIN_CLIENT_CERTIFICATE"),
        "tenant-id": ("TENANT_ID", "AZURE_TENANT_ID", "PLUGIN_TENANT_ID"),
        "subscription-id": ("SUBSCRIPTION_ID", "PLUGIN_SUBSCRIPTION_ID"),
        "daemon-registry": ("DAEMON_REGISTRY", "PLUGIN_DAEMON_REGISTRY"),
        "azure-authority-host": ("AZURE_AUTHORITY_HOST", "PLUGIN_AZURE_AUTHORITY_HOST"),
        "oidc-token-id": ("PLUGIN_OIDC_TOKEN_ID",),
    },
    "heroku": {
        "process-type": ("PLUGIN_PROCESS_TYPE",),
        "app": ("PLUGIN_APP",),
        "email": ("PLUGIN_EMAIL", "HEROKU_EMAIL"),
        "api-key": ("PLUGIN_API_KEY", "HEROKU_API_KEY"),
    },
}
_ENGINES: Final = ("docker", "buildx", "buildah")

CLOUDS: Final[Mapping[str, tuple[str, str]]] = {
    **{name: ("docker", name) for name in _FLAGS},
    **{f"{engine}-{name}": (engine, name) for engine in _ENGINES for name in _FLAGS},
}
"""The plugins by name (``ecr``, ``buildx-gar``): whose plugin does the work, and the cloud."""

# The docker plugins of Google's registries work theirs out, and do not hand it on.
_TYPES: Final[Mapping[tuple[str, str], str]] = {
    ("docker", "ecr"): "ECR",
    ("docker", "acr"): "ACR",
    ("buildx", "acr"): "ACR",
    ("buildx", "gcr"): "GCR",
    ("buildx", "gar"): "GAR",
}


@frozen(kw_only=True)
class Cloud:
    """What a cloud's plugin makes of its variables: *environ* is what it hands on."""

    program: str
    environ: Mapping[str, str] = field(repr=False)
    login: PluginLogin
    registry: str
    registry_type: str = ""
    create_repository: bool = False
    scan_on_push: bool = False
    skip_if_tag_exists: bool = False
    lifecycle_policy: str = ""
    repository_policy: str = ""
    findings: tuple[Finding, ...] = ()


def own_variables(plugin: str) -> frozenset[str]:
    """The variables that *plugin*, one of `CLOUDS`, reads itself."""
    flags = _FLAGS[CLOUDS[plugin][1]]
    return frozenset(name for names in flags.values() for name in names)


def cloud_of(environ: Mapping[str, str], plugin: str) -> Cloud:
    """What *plugin*, one of `CLOUDS`, makes of *environ*.

    Raises `SpecError` where the registry, or a half of a login, is missing.
    """
    program, kind = CLOUDS[plugin]
    given = {
        flag: next((environ[name] for name in names if name in environ), "")
        for flag, names in _FLAGS[kind].items()
    }
    registry = _registry(kind, given, environ.get("PLUGIN_REPO", ""))
    rest = {name: value for name, value in environ.items() if name not in own_variables(plugin)}
    repo = environ.get("PLUGIN_REPO", "")
    if kind == "heroku":
        repo = registry
    elif repo and registry and not repo.startswith(f"{registry}/"):
        repo = f"{registry}/{repo}"
    return Cloud(
        program=program,
        environ={**rest, "PLUGIN_REPO": repo, "PLUGIN_REGISTRY": registry},
        login=_login(kind, given, registry),
        registry=registry,
        registry_type=_TYPES.get((program, kind), ""),
        create_repository=_on(given, "create-repository"),
        scan_on_push=_on(given, "scan-on-push"),
        skip_if_tag_exists=_on(given, "skip-push-if-tag-exists"),
        lifecycle_policy=given.get("lifecycle-policy", ""),
        repository_policy=given.get("repository-policy", ""),
        findings=tuple(_findings(kind, given)),
    )


def _on(given: Mapping[str, str], flag: str) -> bool:
    text = given.get(flag, "")
    if text in _TRUE:
        return True
    if text not in _FALSE:
        name = f"PLUGIN_{flag.upper().replace('-', '_')}"
        raise SpecError(f"{name}: is neither true nor false")
    return False


def _registry(kind: str, given: Mapping[str, str], repo: str) -> str:
    """The registry's host, with a path where it has one; without a scheme."""
    found = given.get("registry", "").rpartition("://")[2].strip("/")
    match kind:
        case "ecr" if not found:
            host = repo.partition("/")[0]
            if ".dkr.ecr" in host or host == "public.ecr.aws":
                return host
            raise SpecError(
                "PLUGIN_REGISTRY: is needed",
                hint="write it out: ACCOUNT.dkr.ecr.REGION.amazonaws.com",
            )
        case "gcr" if not found:
            return "gcr.io"
        case "gar" if given["location"]:
            return f"{given['location']}-docker.pkg.dev"
        case "gar" if not found:
            host = repo.partition("/")[0]
            if host.endswith("docker.pkg.dev"):
                return host
            raise SpecError("PLUGIN_LOCATION: is needed", hint="such as us, or europe-west1")
        case "acr" if not found:
            host = repo.partition("/")[0]
            return host if host.endswith("azurecr.io") else "azurecr.io"
        case "heroku":
            if not given["app"]:
                raise SpecError("PLUGIN_APP: is needed")
            return f"registry.heroku.com/{given['app']}/{given['process-type'] or 'web'}"
        case _:
            return found


def _login(kind: str, given: Mapping[str, str], registry: str) -> PluginLogin:
    if kind == "heroku":
        if not (given["email"] and given["api-key"]):
            raise SpecError("PLUGIN_EMAIL and PLUGIN_API_KEY: are both needed")
        host, user, password = registry.partition("/")[0], given["email"], given["api-key"]
        return PluginLogin(kind="basic", host=host, username=user, password=password)
    if kind == "acr" and given["principal-id"] and given["principal-secret"]:
        user, password = given["principal-id"], given["principal-secret"]
        return PluginLogin(kind="basic", host=registry, username=user, password=password)
    kinds: Mapping[str, Literal["ecr", "gcr", "acr"]] = {"ecr": "ecr", "acr": "acr"}
    options = {name: value for name, value in given.items() if value}
    return PluginLogin(kind=kinds.get(kind, "gcr"), host=registry, options=options)


def _findings(kind: str, given: Mapping[str, str]) -> Iterator[Finding]:
    if kind in ("gcr", "gar"):
        oidc = [flag for flag in _OIDC if given[flag]]
        if oidc and len(oidc) < len(_OIDC):
            missing = ", ".join(_OIDC[flag][0] for flag in _OIDC if not given[flag])
            yield Finding(
                kind="no-op",
                variable=_OIDC[oidc[0]][0],
                text=f"does nothing without {missing}",
            )
    for flag in ("subscription-id", "daemon-registry"):
        if given.get(flag):
            name = _FLAGS[kind][flag][-1]
            text = "is for a link on a card alone, which is not made here"
            yield Finding(kind="no-op", variable=name, text=text)
