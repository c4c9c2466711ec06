"""The kaniko plugins' flags as settings: what drone-kaniko makes of its five programs' variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from attrs import define, evolve, field

from ...errors import SpecError
from ..tagging import drone_tags, expand_tag, is_tagged_by_default
from .reading import Values
from .settings import PluginLogin, PluginSettings
from .translating import HUB, Translating, host_of, login_host

__all__ = ["translate_kaniko"]

_TYPES: Final[Mapping[str, str]] = {
    "kaniko": "Docker",
    "kaniko-ecr": "ECR",
    "kaniko-gcr": "GCR",
    "kaniko-gar": "GAR",
    "kaniko-acr": "Docker",  # as the plugin writes it
}
# flag -> what KanikoOptions calls it; each is passed on when it is on, or not empty, or not 0.
_OPTIONS: Final[Mapping[str, str]] = {
    "cache-copy-layers": "cache_copy_layers",
    "cache-run-layers": "cache_run_layers",
    "cleanup": "cleanup",
    "context-sub-path": "context_sub_path",
    "image-download-retry": "image_download_retry",
    "image-fs-extract-retry": "image_fs_extract_retry",
    "insecure": "insecure",
    "insecure-pull": "insecure_pull",
    "log-timestamp": "log_timestamp",
    "push-retry": "push_retry",
    "single-snapshot": "single_snapshot",
    "skip-default-registry-fallback": "skip_default_registry_fallback",
    "skip-push-permission-check": "skip_push_permission_check",
    "skip-tls-verify": "skip_tls_verify",
    "skip-tls-verify-pull": "skip_tls_verify_pull",
    "skip-unused-stages": "skip_unused_stages",
    "snapshot-mode": "snapshot_mode",
    "use-new-run": "use_new_run",
    "verbosity": "verbosity",
}
_TRISTATE: Final = {"compressed-caching": "compressed_caching", "ignore-var-run": "ignore_var_run"}
# flag -> why it does nothing, here or in the plugin
_NOTHING: Final[Mapping[str, str]] = {
    "cache-dir": "the plugin reads it and never gives it to kaniko",
    "force": "kaniko runs in a container of its own here, where it needs no force",
    "log-format": "buildpush reads kaniko's log itself, and shows events",
}


@define(eq=False)
class _Kaniko(Translating):
    """One translation under way; *options* are those of kaniko alone."""

    options: dict[str, object] = field(factory=dict[str, object])

    @property
    def registry(self) -> str:
        return self.values.text("registry")

    @property
    def prefixed(self) -> bool:
        """Whether the program puts its registry before the repository by itself."""
        return self.values.program in ("kaniko-ecr", "kaniko-gcr", "kaniko-gar")

    def repository(self, flag: str) -> str:
        """The repository of *flag*, with the registry where the plugin puts it there."""
        name, registry = self.values.text(flag), self.registry.rstrip("/")
        if self.prefixed or (self.values.program == "kaniko-acr" and flag == "cache-repo"):
            return f"{registry}/{name}" if registry else name
        if not self.values.on("expand-repo") or self.registry in ("", HUB):
            return name
        host = registry.removeprefix("https://").removeprefix("http://")
        return name if name.startswith(f"{host}/") else f"{host}/{name}"


def translate_kaniko(values: Values, *, compatible: bool) -> PluginSettings:
    """What *values*, of one of the kaniko programs, ask for.

    Without *compatible*, findings are for the caller to refuse. Raises `SpecError` for what the
    plugin itself refuses: contradictions, auto-tag for another branch, a push without a source.
    """
    making = _Kaniko(values, compatible)
    tags = _tags(making)
    made = PluginSettings(
        raw_tags=values.items("tags"),
        registry_type=_TYPES[values.program],
        registry_url=making.registry,
        artifact_file=values.text("artifact-file"),
        output_file=values.text("output-file"),
        digest_files=dict(_digest_files(values)),
        create_repository=values.program == "kaniko-ecr" and values.on("create-repository"),
        lifecycle_policy=_policy(making, "lifecycle-policy"),
        repository_policy=_policy(making, "repository-policy"),
        logins=tuple(_logins(making)),
    )
    making.settings["repo"] = making.repository("repo")
    making.settings["tags"] = tags
    if values.on("push-only"):
        return _push_only(making, made)
    _build(making)
    _cache(making)
    _registries(making)
    _delivery(making)
    _engine(making)
    return evolve(
        made,
        settings=making.settings,
        kaniko=making.options,
        findings=tuple(making.findings),
    )


def _tags(making: _Kaniko) -> tuple[str, ...]:
    values = making.values
    ref, branch = values.text("drone-commit-ref"), values.text("drone-repo-branch")
    raw = tuple(dict.fromkeys(filter(None, values.items("tags"))))
    if values.on("auto-tag") and values.on("expand-tag"):
        raise SpecError("PLUGIN_AUTO_TAG and PLUGIN_EXPAND_TAG cannot be together")
    if values.on("auto-tag"):
        if values.items("tags") != ("latest",):
            raise SpecError("PLUGIN_TAGS: cannot be together with PLUGIN_AUTO_TAG")
        if not is_tagged_by_default(ref, branch):
            raise SpecError(
                "PLUGIN_AUTO_TAG: what is built is neither a git tag nor the default branch",
                hint="DRONE_COMMIT_REF says what is built, DRONE_REPO_BRANCH the default branch",
            )
        return drone_tags(ref, suffix=values.text("auto-tag-suffix"))
    if values.text("auto-tag-suffix"):
        making.say("no-op", "auto-tag-suffix", "does nothing without PLUGIN_AUTO_TAG")
    if not raw:
        raise SpecError("PLUGIN_TAGS: has no tag")
    if "" in values.items("tags"):
        making.say("lossy", "tags", "has empty items, which make no tags")
    if any("\n" in tag for tag in raw):
        making.say(
            "quirk", "tags", "lines of the file .tags are not tags of their own: use commas"
        )
        raw = tuple(line for tag in raw for line in tag.split())
    if not values.on("expand-tag"):
        return raw
    return tuple(dict.fromkeys(one for tag in raw for one in expand_tag(tag)))


def _push_only(making: _Kaniko, made: PluginSettings) -> PluginSettings:
    values = making.values
    if values.on("no-push"):
        raise SpecError("PLUGIN_PUSH_ONLY and PLUGIN_NO_PUSH cannot be together")
    if not values.text("source-tar-path"):
        raise SpecError("PLUGIN_PUSH_ONLY: needs PLUGIN_SOURCE_TAR_PATH, the image to push")
    if values.on("auto-tag") or values.on("expand-tag"):
        flag = "auto-tag" if values.on("auto-tag") else "expand-tag"
        making.say("quirk", flag, "a push without a build pushes PLUGIN_TAGS as they are")
        if making.compatible:
            making.settings["tags"] = values.items("tags")
    _registries(making)
    return evolve(
        made,
        work="push_only",
        source_tar=values.text("source-tar-path"),
        settings=making.settings,
        findings=tuple(making.findings),
    )


def _build(making: _Kaniko) -> None:
    """Context, Dockerfile, build args and labels."""
    values, settings = making.values, making.settings
    settings["context"] = values.text("context").removeprefix("dir://") or "."
    settings["dockerfile"] = values.text("dockerfile") or "Dockerfile"
    if values.text("target"):
        settings["target"] = values.text("target")
    if values.text("platform"):
        settings["platforms"] = (values.text("platform"),)
    settings["build_args"] = _pairs(making, making.given_args())
    settings["labels"] = _pairs(making, "custom-labels")
    if values.on("reproducible"):
        settings["reproducible"] = True


def _pairs(making: _Kaniko, flag: str) -> dict[str, str | None]:
    """``name=value`` items; a name alone takes its value from the environment, as docker has it."""
    found: dict[str, str | None] = {}
    last = ""
    for item in filter(None, making.values.items(flag)):
        name, equals, value = item.partition("=")
        if not equals and last and flag != "args-new":
            making.say(
                "lossy",
                flag,
                "has an item without =, as a value with a comma makes: commas separate items",
            )
        found[name] = value if equals else None
        last = name
    return found


def _cache(making: _Kaniko) -> None:
    values = making.values
    enabled, repository = values.on("enable-cache"), values.text("cache-repo")
    if enabled and repository:
        making.settings["remote_cache_repo"] = making.repository("cache-repo")
    elif enabled:
        making.settings["remote_cache_repo"] = f"{making.repository('repo')}/cache"
    elif repository:
        making.say("no-op", "cache-repo", "does nothing without PLUGIN_ENABLE_CACHE")
    if values.number("cache-ttl"):
        if enabled:
            making.options["cache_ttl"] = f"{values.number('cache-ttl')}h"
        else:
            making.say("no-op", "cache-ttl", "does nothing without PLUGIN_ENABLE_CACHE")


def _registries(making: _Kaniko) -> None:
    """Mirrors, certificates and who is spoken to without them."""
    values, settings = making.values, making.settings
    insecure = {values.text("insecure-registry")} - {""}
    if values.on("insecure") or values.on("skip-tls-verify"):
        insecure.add(host_of(str(settings["repo"])))
    if insecure:
        settings["insecure"] = tuple(sorted(insecure))
        making.options["insecure_registries"] = tuple(sorted(insecure))
    mirrors = tuple(filter(None, values.items("registry-mirrors")))
    if mirrors:
        settings["mirrors"] = {"docker.io": mirrors}
    registries: dict[str, dict[str, str]] = {}
    for flag in ("registry-certificate", "registry-client-cert"):
        if not values.text(flag):
            continue
        name, equals, files = values.text(flag).partition("=")
        certificate, comma, key = files.partition(",")
        if not equals or not name or (flag == "registry-client-cert" and not comma):
            wanted = "HOST=FILE" if flag == "registry-certificate" else "HOST=CERTIFICATE,KEY"
            raise SpecError(f"{values.variable(flag)}: expected {wanted}")
        entry = registries.setdefault(name, {})
        if flag == "registry-certificate":
            entry["ca"] = files
        else:
            entry |= {"certificate": certificate, "key": key}
    if registries:
        settings["registries"] = registries
    if values.on("skip-tls-verify-registry"):
        making.say(
            "quirk", "skip-tls-verify-registry", "swallows the flag after it: name hosts instead"
        )


def _delivery(making: _Kaniko) -> None:
    values = making.values
    if values.on("no-push"):
        making.settings["push"] = False
    outputs = [
        f"type={kind},dest={values.text(flag)}"
        for flag, kind in (("tar-path", "docker"), ("oci-layout-path", "oci"))
        if values.text(flag)
    ]
    if outputs:
        making.settings["outputs"] = tuple(outputs)
    if values.text("source-tar-path"):
        making.say("no-op", "source-tar-path", "does nothing without PLUGIN_PUSH_ONLY")


def _engine(making: _Kaniko) -> None:
    """What is kaniko's own."""
    values = making.values
    for flag, name in _OPTIONS.items():
        found = values.by_name.get(flag)
        if found is not None and found.value:
            making.options[name] = found.value
    for flag, name in _TRISTATE.items():
        if values.is_set(flag):
            making.options[name] = values.on(flag)
    paths = (values.text("ignore-path"), *values.items("ignore-paths"))
    if any(paths):
        making.options["ignore_paths"] = tuple(filter(None, paths))
    for flag, why in _NOTHING.items():
        found = values.by_name.get(flag)
        if found is not None and found.value:
            making.say("no-op", flag, why)
    if values.is_set("cache-run-layers") and not values.on("cache-run-layers"):
        making.say(
            "no-op", "cache-run-layers", "cannot be turned off: the plugin only turns it on"
        )


def _digest_files(values: Values) -> Iterator[tuple[str, str]]:
    for flag in ("image-name-with-digest-file", "image-name-tag-with-digest-file"):
        found = values.by_name[flag].value
        paths = found if isinstance(found, tuple) else (str(found),)
        for path in filter(None, paths):
            yield flag, path


def _policy(making: _Kaniko, flag: str) -> str:
    text = making.values.text(flag)
    if text and making.values.program == "kaniko-acr":
        making.say("no-op", flag, "the plugin reads it and does nothing with it")
        return ""
    return text


def _logins(making: _Kaniko) -> Iterator[PluginLogin]:
    """The push registry's login, then that of base images."""
    values = making.values
    if values.text("dockerconfig"):
        yield PluginLogin(kind="config", config=values.text("dockerconfig"))
        return
    yield from _push_login(making)
    prefix = "docker" if values.program == "kaniko-ecr" else "base-image"
    host, user, password = (
        values.text(f"{prefix}-{each}") for each in ("registry", "username", "password")
    )
    if user and password:
        host = login_host(host or HUB)
        yield PluginLogin(
            kind="basic", host=host, username=user, password=password, pull_only=True
        )
    elif host:
        making.say("no-op", f"{prefix}-registry", "does nothing without a username and a password")
    elif user or password:
        half = f"{prefix}-{'username' if user else 'password'}"
        making.say("no-op", half, "is the half of a login, and does nothing without the other")


def _push_login(making: _Kaniko) -> Iterator[PluginLogin]:
    values = making.values
    kinds: Mapping[str, tuple[Literal["ecr", "gcr", "acr"], tuple[str, ...]]] = {
        "kaniko-ecr": (
            "ecr",
            ("region", "access-key", "secret-key", "assume-role", "external-id", "oidc-token-id"),
        ),
        "kaniko-gcr": ("gcr", ("json-key",)),
        "kaniko-gar": ("gcr", ("json-key",)),
        "kaniko-acr": (
            "acr",
            (
                "tenant-id",
                "client-id",
                "client-secret",
                "client-cert",
                "oidc-token-id",
                "azure-authority-host",
            ),
        ),
    }
    if values.program in kinds:
        kind, flags = kinds[values.program]
        given = {flag: values.text(flag) for flag in flags if values.text(flag)}
        yield PluginLogin(kind=kind, host=making.registry, options=given)
        if values.program == "kaniko-acr" and values.text("subscription-id"):
            text = "is for a link to Azure's portal alone, and the artifact file has the registry"
            making.say("no-op", "subscription-id", text)
        if values.program == "kaniko-acr" and values.on("create-repository"):
            making.say(
                "no-op", "create-repository", "the plugin reads it and does nothing with it"
            )
        return
    user, password = values.text("username"), values.text("password")
    if user and password:
        host = login_host(making.registry)
        yield PluginLogin(kind="basic", host=host, username=user, password=password)
    elif user or password:
        missing = "PLUGIN_PASSWORD" if user else "PLUGIN_USERNAME"
        raise SpecError(f"{missing}: is missing, and the other half of the login is there")
