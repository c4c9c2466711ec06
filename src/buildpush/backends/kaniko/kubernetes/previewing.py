"""A build's objects as YAML that can be read, and applied by hand to do the same. Pure."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from .builds import INIT, JOB_LABEL, Build, secret_keys
from .manifests import job, preview_token
from .settings import RegistryContext, RemoteContext, StreamedContext

__all__ = ["preview"]


def preview(build: Build, namespace: str) -> str:
    """The Job, and the Secret with the names of its keys; how to make it, and to send the context.

    The same for the same input; nothing secret is in it.
    """
    import yaml

    def dump(document: dict[str, Any]) -> str:
        text: str = yaml.safe_dump(document, sort_keys=False, width=96, allow_unicode=True)
        return text

    manifest = job(build)
    shape = _secret_shape(build)
    for document in (manifest, shape):
        if namespace:
            document["metadata"] = {**document["metadata"], "namespace": namespace}
    notes = "\n".join(f"# {line}".rstrip() for line in _notes(build, namespace))
    return f"{dump(manifest)}---\n{dump(shape)}{notes}\n"


def named(build: Build, name: str) -> Build:
    """*build* with the names of a preview: chance has no part in them."""
    token = preview_token(build)
    return evolve(build, naming=evolve(build.naming, name=f"{name.removesuffix('-')}-{token}"))


def _secret_shape(build: Build) -> dict[str, Any]:
    keys = secret_keys(build.execution.files)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": build.naming.name, "labels": build.naming.labels},
        "type": "Opaque",
        "data": dict.fromkeys(keys.values(), ""),
    }


def _notes(build: Build, namespace: str) -> list[str]:
    name = build.naming.name
    inside = f" -n {namespace}" if namespace else ""
    keys = secret_keys(build.execution.files)
    files = " ".join(f"--from-file={key}={_quoted(path)}" for path, key in keys.items())
    lines = [
        "The Secret's values are left out. Apply the Job, and make the Secret from the files:",
        f"  kubectl{inside} create secret generic {name} {files}",
        "buildpush makes it the Job's own (ownerReferences), so that it goes with it.",
    ]
    match build.delivery:
        case StreamedContext():
            pod = f'"$(kubectl{inside} get pods -l {JOB_LABEL}={name} -o name)"'
            lines += [
                "Once the pod waits for the build context, send it, without what is ignored:",
                f"  tar -C CONTEXT -c . | kubectl{inside} exec -i {pod} -c {INIT} -- \\",
                "    sh -c 'cd /buildpush && mkdir -p context && tar -x -C context && : > arrived'",
            ]
        case RegistryContext(repository=repository):
            lines.append(
                f"The image {repository}:context-… is {build.context_image}'s stand-in: buildpush"
                " makes it, with the build context in /context."
            )
        case RemoteContext(url=url):
            lines.append(f"Kaniko fetches the build context from {url}.")
    return lines


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
