"""The flags of the docker, buildx and buildah plugins as settings: what Drone makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from attrs import evolve

from ...errors import SpecError
from ..tagging import drone_tags, is_tagged_by_default
from ..values import FromEnv, SecretSource
from .around import builder, logins, signing, words
from .reading import Values
from .settings import PluginSettings
from .translating import Translating, host_of

__all__ = ["translate_docker"]

_LABELS: Final = "org.opencontainers.image."
_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy")
_NO_DAEMON: Final = "no docker daemon is started here, so there is none to configure"
_OWN_CACHE: Final = (
    "belongs to a managed cache, whose placeholder in PLUGIN_CACHE_FROM is not filled"
)
# flag -> why it does nothing, wherever it is given something else than its default
_NOTHING: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "daemon.storage-driver",
            "daemon.storage-path",
            "daemon.bip",
            "daemon.mtu",
            "daemon.dns",
            "daemon.dns-search",
            "daemon.ipv6",
            "daemon.debug",
            "daemon.retry-count",
        ),
        _NO_DAEMON,
    ),
    "compress": "how the build context travels is the engine's own business",
    "docker.email": "no registry asks for it any more",
    "use-loaded-buildkit": "buildpush brings no BuildKit of its own",
    "buildkit-assets-dir": "buildpush brings no BuildKit of its own",
    **dict.fromkeys(
        ("buildkit-tls-handshake-timeout", "buildkit-response-header-timeout"),
        "only Harness's own BuildKit knows it",
    ),
    **dict.fromkeys(
        (
            "s3-local-cache-dir",
            "s3-bucket",
            "s3-endpoint",
            "s3-region",
            "s3-key",
            "s3-secret",
            "s3-use-ssl",
        ),
        "only the plugin's own buildah knows it",
    ),
}


def translate_docker(
    values: Values, environ: Mapping[str, str], *, now: datetime, compatible: bool
) -> PluginSettings:
    """What *values*, of docker, buildx or buildah, ask for; *environ* has build args and proxies.

    Without *compatible*, findings are for the caller to refuse. Raises `SpecError` for what the
    plugin itself refuses.
    """
    making = Translating(values, compatible, environ)
    program, settings = values.program, making.settings
    made = PluginSettings(
        raw_tags=values.items("tags"),
        registry_type=values.text("registry-type") or "Docker",
        registry_url=values.text(
            "artifact.registry" if program == "buildx" else "docker.registry"
        ),
        artifact_file=values.text("artifact-file"),
        metadata_file=values.text("metadata-file"),
        cache_metrics_file=values.text("cache-metrics-file"),
        card=values.text("drone-card-path"),
        logins=tuple(logins(making)),
        signing=signing(making),
        ssh_key=_ssh_key(making),
    )
    tags = _tags(making)
    if tags is None:
        because = "what is built is neither a git tag nor the default branch"
        return evolve(made, work="nothing", because=because, findings=tuple(making.findings))
    settings |= {"repo": values.text("repo"), "tags": tags}
    if values.on("tags.auto"):
        made = evolve(made, raw_tags=tags)
    if values.on("push-only"):
        return _push_only(making, made)
    _build(making, now)
    _secrets(making)
    _cache(making)
    _registries(making)
    _unused(making)
    return evolve(
        made,
        settings=settings,
        builder=builder(making),
        bake_file=values.text("bake-file"),
        bake_options=words(values.text("bake-options")),
        findings=tuple(making.findings),
    )


def _tags(making: Translating) -> tuple[str, ...] | None:
    """The tags; None where auto-tag has none for what is built."""
    values = making.values
    if values.on("tags.auto"):
        ref = values.text("commit.ref")
        if not is_tagged_by_default(ref, values.text("repo.branch")):
            return None
        if values.is_set("tags"):
            making.say("no-op", "tags", "is replaced by the tags of PLUGIN_AUTO_TAG")
        return drone_tags(ref, suffix=values.text("tags.suffix"))
    if values.text("tags.suffix"):
        making.say("no-op", "tags.suffix", "does nothing without PLUGIN_AUTO_TAG")
    raw = values.items("tags")
    if "" in raw:
        making.say("lossy", "tags", "has empty items, which make no tags")
    tags = tuple(dict.fromkeys(filter(None, raw)))
    if any("\n" in tag for tag in tags):
        making.say(
            "quirk", "tags", "lines of the file .tags are not tags of their own: use commas"
        )
        tags = tuple(dict.fromkeys(line for tag in tags for line in tag.split()))
    if not tags:
        raise SpecError("PLUGIN_TAGS: has no tag")
    return tags


def _push_only(making: Translating, made: PluginSettings) -> PluginSettings:
    values = making.values
    if values.program == "docker" and values.on("dry-run"):
        raise SpecError("PLUGIN_PUSH_ONLY and PLUGIN_DRY_RUN cannot be together")
    if values.text("bake-file"):
        raise SpecError("PLUGIN_PUSH_ONLY and PLUGIN_BAKE_FILE cannot be together")
    _registries(making)
    _unused(making)
    return evolve(
        made,
        work="push_only",
        settings=making.settings,
        source_image=values.text("source-image"),
        source_tar=values.text("source-tar-path"),
        findings=tuple(making.findings),
    )


def _build(making: Translating, now: datetime) -> None:
    """What is built, from what, with which labels."""
    values, settings = making.values, making.settings
    settings["context"] = values.text("context") or "."
    settings["dockerfile"] = values.text("dockerfile") or "Dockerfile"
    settings["build_args"] = _build_args(making)
    settings["labels"] = _labels(making, now)
    settings["pull"] = values.on("pull-image")
    for flag, name in (("no-cache", "no_cache"), ("quiet", "quiet"), ("layers", "caching")):
        if values.on(flag):
            settings[name] = True
    if values.text("target"):
        settings["target"] = values.text("target")
    if values.text("platform"):
        settings["platforms"] = tuple(each.strip() for each in values.text("platform").split(","))
    if any(values.items("add-host")):
        settings["add_hosts"] = tuple(filter(None, values.items("add-host")))
    if values.on("squash"):
        _squash(making)
    if values.on("dry-run"):
        settings["push"] = False
    if values.text("tar-path"):
        _tar(making)


def _squash(making: Translating) -> None:
    program = making.values.program
    if program == "buildx":
        making.say("no-op", "squash", "buildx takes it and does nothing")
    elif program == "docker" and not making.values.on("daemon.experimental"):
        making.say("no-op", "squash", "does nothing without PLUGIN_EXPERIMENTAL")
    else:
        making.settings["squash"] = True


def _tar(making: Translating) -> None:
    values = making.values
    kind = values.text("buildx-output-format") or "docker"
    if kind not in ("docker", "oci"):
        raise SpecError("PLUGIN_BUILDX_OUTPUT_FORMAT: expected docker or oci")
    if values.on("dry-run"):
        making.settings["outputs"] = (f"type={kind},dest={values.text('tar-path')}",)
    else:
        making.say("no-op", "tar-path", "does nothing without PLUGIN_DRY_RUN")


def _build_args(making: Translating) -> dict[str, str | None]:
    values = making.values
    used = making.given_args()
    found = making.pairs(used)
    given = [item for item in values.items(used) if item]
    for name in _PROXIES:
        _from_environment(making, name, found, given, "")
    for name in filter(None, values.items("args-from-env")):
        _from_environment(making, name, found, given, "args-from-env")
    return found


def _from_environment(
    making: Translating, name: str, found: dict[str, str | None], given: list[str], flag: str
) -> None:
    """Add *name* and its upper case from the environment, unless an argument stands in the way."""
    upper, environ = name.upper(), making.environ
    names = (
        (name, upper) if making.values.program == "buildah" else (name, upper, f"HARNESS_{upper}")
    )
    value = next((environ[each] for each in names if environ.get(each)), "")
    if not value:
        if flag:
            making.say("no-op", flag, f"names a variable that is not there: {name[:128]}")
        return
    for item in given:
        if item.startswith((name, upper, f"HARNESS_{upper}")):
            if item.partition("=")[0] not in names:
                making.say(
                    "quirk", flag or "args", f"an argument that begins with {name} hides it"
                )
            return
    for each in dict.fromkeys((name, upper)):
        found[each] = value
        given.append(f"{each}={value}")


def _labels(making: Translating, now: datetime) -> dict[str, str | None]:
    values = making.values
    labels: dict[str, str | None] = {}
    if values.on("auto-label"):
        labels |= {
            f"{_LABELS}created": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
            f"{_LABELS}revision": values.text("commit.sha"),
            f"{_LABELS}source": values.text("remote.url"),
            f"{_LABELS}url": values.text("link"),
        }
        for name, value in making.pairs("label-schema").items():
            labels[f"{_LABELS}{name}"] = value
    elif any(values.items("label-schema")):
        making.say("no-op", "label-schema", "does nothing without PLUGIN_AUTO_LABEL")
    labels |= making.pairs("custom-labels")
    return {name: value or "" for name, value in labels.items()}


def _secrets(making: Translating) -> None:
    values = making.values
    found: dict[str, SecretSource] = {}
    for flag in ("secrets-from-env", "secrets-from-file"):
        for item in filter(None, values.items(flag)):
            name, _, source = item.partition("=")
            if not name or not source:
                making.say("lossy", flag, "has an item that is not id=SOURCE, which is left out")
            else:
                found[name] = FromEnv(source) if flag == "secrets-from-env" else Path(source)
    if values.text("secret"):
        pairs = (each.partition("=") for each in values.text("secret").split(","))
        parts = {name.strip(): value for name, _, value in pairs}
        name = parts.get("id", "")
        if name and parts.get("env"):
            found[name] = FromEnv(parts["env"])
        elif name and (parts.get("src") or parts.get("source")):
            found[name] = Path(parts.get("src") or parts["source"])
        else:
            raise SpecError("PLUGIN_SECRET: expected id=ID,src=FILE or id=ID,env=NAME")
    if found:
        making.settings["secrets"] = found


def _ssh_key(making: Translating) -> str:
    key = making.values.text("ssh-agent-key")
    if key and making.values.program == "buildx":
        making.say("no-op", "ssh-agent-key", "the plugin reads it and does nothing with it")
        return ""
    return key


def _cache(making: Translating) -> None:
    values = making.values
    for flag, name in (("cache-from", "cache_from"), ("cache-to", "cache_to")):
        found = tuple(_completed(making, each) for each in values.items(flag) if each)
        if found:
            making.settings[name] = found
    for name in values.by_name:
        if name.startswith("harness-self-hosted-") and values.text(name):
            making.say("lossy", name, _OWN_CACHE)


def _completed(making: Translating, cache: str) -> str:
    """*cache* with what other flags say about all of them."""
    values = making.values
    if values.on("path-style") and "type=s3" in cache and "use_path_style" not in cache:
        cache += ",use_path_style=true"
    if values.on("cache-tls-insecure") and "tls_insecure_skip_verify" not in cache:
        cache += ",tls_insecure_skip_verify=true"
    return cache


def _registries(making: Translating) -> None:
    values = making.values
    if values.text("daemon.mirror"):
        making.settings["mirrors"] = {"docker.io": (values.text("daemon.mirror"),)}
    if values.on("daemon.insecure"):
        registry = values.text("docker.registry") if values.is_set("docker.registry") else ""
        host = (registry.partition("://")[2] or registry).partition("/")[0]
        making.settings["insecure"] = (host or host_of(values.text("repo")),)


def _unused(making: Translating) -> None:
    """What does nothing here, or in the plugin."""
    values = making.values
    for flag, why in _NOTHING.items():
        if values.is_set(flag) and str(values.by_name[flag].value) not in (
            *("", "()", "('',)"),
            _default(values, flag),
        ):
            making.say("no-op", flag, why)
    if values.is_set("docker.purge"):
        told = "only said, never done" if values.program != "buildah" else "always done here"
        making.say("no-op", "docker.purge", f"removing the image is {told}")
    for flag in ("buildx-options", "buildx-options-semicolon"):
        found = values.by_name.get(flag)
        if found is not None and found.value not in ("", (), ("",)):
            making.say("lossy", flag, "arguments of docker buildx are not passed on: use settings")
    if values.on("buildx-load") and not values.on("dry-run"):
        making.say("no-op", "buildx-load", "does nothing without PLUGIN_DRY_RUN")
    if values.text("source-image") and not values.on("push-only"):
        making.say("no-op", "source-image", "does nothing without PLUGIN_PUSH_ONLY")
    if values.text("source-tar-path") and not values.on("push-only"):
        making.say("no-op", "source-tar-path", "does nothing without PLUGIN_PUSH_ONLY")


def _default(values: Values, flag: str) -> str:
    known = values.by_name[flag].flag
    return known.default or {"bool": "False", "bool-T": "True", "int": "0"}.get(known.kind, "")
