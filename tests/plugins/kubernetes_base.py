"""A base image for a registry that is not ours."""

from __future__ import annotations

import json

from kubernetes_stub.oci import MANIFEST, Name, Registry

from buildpush.testing import LocalRegistry
from buildpush.testing.conformance.shell import Busybox


def push_base(busybox: Busybox, host: str) -> str:
    """Put the base image into a registry that is not ours."""
    with LocalRegistry() as here:
        name = Name.parse(busybox.put(here, "base/busybox", "1"))
        source, target = Registry(name.host), Registry(host)
        there = Name(host, "buildpush-tests/busybox", "1")
        data = here.manifest("base/busybox", "1")
        assert data is not None
        manifest = json.loads(data)
        for entry in (manifest["config"], *manifest["layers"]):
            target.put_blob(there, entry["digest"], source.blob(name, entry["digest"]))
        target.put_manifest(there, data, manifest.get("mediaType") or MANIFEST)
        source.close()
        target.close()
    return f"{host}/buildpush-tests/busybox:1"
