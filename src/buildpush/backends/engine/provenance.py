"""What provenance would publish: BuildKit's full one lists every build arg, and proxies are some."""

from __future__ import annotations

from ...errors import UnsupportedFeatureError
from ...plan import BuildRequest
from ...runtime import Environment
from .endpoints import docker_folder
from .folder import passwords
from .wire import UserConfig, read_json

__all__ = ["refuse_to_publish"]


def refuse_to_publish(request: BuildRequest, environment: Environment) -> None:
    """Raise `UnsupportedFeatureError` when provenance would tell everybody a proxy's password.

    The client makes build args of the proxies in the user's config.json, unasked.
    """
    if request.provenance != "max":
        return
    path = docker_folder(environment) / "config.json"
    settings = read_json(path, UserConfig) or UserConfig()
    given = {k: v for k, v in request.build_args.items() if k.lower().endswith("_proxy")}
    for source, proxies in (("build_args", given), (str(path), settings.proxies)):
        if any(passwords(proxies)):
            raise UnsupportedFeatureError(
                f"provenance=max lists all build args, and with them the password of a proxy"
                f" (in {source}): whoever can pull the image could read it",
                hint="use provenance=min, or a proxy without a password",
            )
