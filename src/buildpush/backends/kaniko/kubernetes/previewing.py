"""A build's objects as YAML that can be read, and applied by hand to do the same. Pure."""

from __future__ import annotations

import shlex
from typing import Any

from .builds import INIT, JOB_LABEL, Build, secret_keys
from .manifests import job
from .settings import RegistryContext, RemoteContext, StreamedContext

__all__ = ["preview"]


def preview(build: Build, namespace: str) -> str:
    """The Job, and the Secret with the names of its keys; how to make it, and to send the context.

    The same for the same input; nothing secret is in it.
    """
    documents = [job(build), _secret_shape(build)]
    if namespace:
        for document in documents:
            document["metadata"] = {**document["metadata"], "namespace": namespace}
    manifest, shape = map(_dump, documents)
    return (
        f"{manifest}{_comment(_sending(build, namespace))}---\n"
        f"{_comment(_filling(build, namespace))}{shape}"
    )


def _dump(document: dict[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Shows text of several lines as such."""

    def text(_: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return yaml.ScalarNode("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    written: str = yaml.dump(
        document, Dumper=Dumper, sort_keys=False, width=96, allow_unicode=True
    )
    return written


def _comment(lines: list[str]) -> str:
    return "".join(f"# {line}\n" for line in lines)


def _secret_shape(build: Build) -> dict[str, Any]:
    keys = secret_keys(build.execution.files)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": build.naming.name, "labels": build.naming.labels},
        "type": "Opaque",
        "data": dict.fromkeys(keys.values(), ""),
    }


def _filling(build: Build, namespace: str) -> list[str]:
    """How to make the Secret."""
    keys = secret_keys(build.execution.files)
    files = " ".join(f"--from-file={key}={shlex.quote(path)}" for path, key in keys.items())
    inside = f" -n {namespace}" if namespace else ""
    return [
        "Its values are left out: fill them in before this is applied, or leave the Secret out and",
        f"make it of the files:  kubectl{inside} create secret generic {build.naming.name} {files}",
        "The pod waits for it. buildpush makes it the Job's own (ownerReferences): it goes with it.",
    ]


def _sending(build: Build, namespace: str) -> list[str]:
    """How to hand over the build context."""
    name = build.naming.name
    inside = f" -n {namespace}" if namespace else ""
    match build.delivery:
        case StreamedContext():
            pod = f'"$(kubectl{inside} get pods -l {JOB_LABEL}={name} -o name)"'
            return [
                "Once the pod waits for the build context, send it, without what is ignored:",
                f"  tar -C CONTEXT -c . | kubectl{inside} exec -i {pod} -c {INIT} -- \\",
                "    sh -c 'cd /buildpush && mkdir -p context && tar -x -C context && : > arrived'",
            ]
        case RegistryContext():
            image = build.context_image
            return [f"buildpush makes the image {image}…, with the build context in /context."]
        case RemoteContext(url=url):
            return [f"Kaniko fetches the build context from {url}."]
