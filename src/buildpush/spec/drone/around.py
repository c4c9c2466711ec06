"""What is around a build of the docker plugins: logins, the builder of buildx, signatures."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import SpecError
from .settings import PluginLogin, Signing
from .translating import Translating, login_host

__all__ = ["builder", "logins", "signing", "words"]


def builder(making: Translating) -> dict[str, object]:
    """What buildx is to create, by the names of its own options."""
    values = making.values
    driver = values.text("builder-driver")
    names = {"builder-name": "name", "builder-daemon-config": "buildkitd_config"}
    found: dict[str, object] = {
        name: values.text(flag) for flag, name in names.items() if values.text(flag)
    }
    if any(values.items("cache-to")) and driver in ("", "docker") and not values.text("bake-file"):
        driver = "docker-container"
    if driver and driver != "docker":
        found["driver"] = driver
    options = [*filter(None, values.items("builder-driver-opts-new"))] or [
        *filter(None, values.items("builder-driver-opts"))
    ]
    version = values.text("buildkit-version")
    if version:
        images = [at for at, each in enumerate(options) if each.startswith("image=")]
        if not images:
            making.say(
                "no-op", "buildkit-version", "does nothing without an image= of the builder"
            )
        for at in images:
            options[at] = f"image={version}"
    if options:
        found["driver_options"] = tuple(options)
    if values.text("builder-remote-conn"):
        if driver == "remote":
            found["endpoint"] = values.text("builder-remote-conn")
        else:
            making.say("no-op", "builder-remote-conn", "does nothing without the driver remote")
    if values.on("buildkit-inherit-auth"):
        making.say(
            "lossy", "buildkit-inherit-auth", "would show secrets in arguments, and is left out"
        )
    return found


def signing(making: Translating) -> Signing | None:
    """How the image is to be signed; None when it is not."""
    values = making.values
    key, password = values.text("cosign.private-key"), values.text("cosign.password")
    parameters = tuple(values.text("cosign.params").split())
    if not key:
        for flag in ("cosign.password", "cosign.params"):
            if values.text(flag):
                making.say("no-op", flag, "does nothing without PLUGIN_COSIGN_PRIVATE_KEY")
        return None
    if "ENCRYPTED" in key and not password:
        raise SpecError("PLUGIN_COSIGN_PASSWORD: is missing, and the key is encrypted")
    if any(each.startswith(("--oidc", "--identity-token")) for each in parameters):
        raise SpecError("PLUGIN_COSIGN_PARAMS: signing without a key is not known here")
    return Signing(private_key=key, password=password, parameters=parameters)


def logins(making: Translating) -> Iterator[PluginLogin]:
    """The push registry's login, then that of base images."""
    values = making.values
    if values.text("docker.config"):
        yield PluginLogin(kind="config", config=values.text("docker.config"))
    host = values.text("docker.registry")
    host = login_host(host)
    if values.text("docker.password"):
        yield PluginLogin(
            kind="basic",
            host=host,
            username=values.text("docker.username"),
            password=values.text("docker.password"),
        )
    elif values.text("access-token"):
        token = values.text("access-token")
        yield PluginLogin(kind="basic", host=host, username="oauth2accesstoken", password=token)
    elif values.text("docker.username"):
        making.say("no-op", "docker.username", "does nothing without a password")
    base = values.text("docker.baseimageregistry")
    user, password = (
        values.text("docker.baseimageusername"),
        values.text("docker.baseimagepassword"),
    )
    if base and user and password:
        base = login_host(base)
        yield PluginLogin(
            kind="basic", host=base, username=user, password=password, pull_only=True
        )
    elif base:
        making.say(
            "no-op", "docker.baseimageregistry", "does nothing without a user and a password"
        )
    elif user or password:
        half = "docker.baseimageusername" if user else "docker.baseimagepassword"
        making.say("no-op", half, "does nothing without PLUGIN_BASE_IMAGE_REGISTRY")


def words(text: str) -> tuple[str, ...]:
    """What stands between semicolons."""
    return tuple(word.strip() for word in text.split(";") if word.strip())
