"""The base images the other integration tests build on."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest


@pytest.mark.needs_registry
@pytest.mark.needs_skopeo
def test_the_busybox_base_is_an_image_for_a_real_registry_and_client(
    docker_registry: Any, busybox_base: Any, repository: str
) -> None:
    """skopeo reads it back under the digest it was made with."""
    reference = busybox_base.push(docker_registry.host, repository)

    inspected = _inspect(reference)

    assert inspected["Digest"] == busybox_base.digest


@pytest.mark.needs_debian
@pytest.mark.needs_registry
@pytest.mark.needs_skopeo
def test_the_debian_base_is_made_from_the_machines_own_sources(
    docker_registry: Any, debian_base: Any, repository: str
) -> None:
    """It has one layer, made without any mirror being named in this project."""
    reference = debian_base.push(docker_registry.host, repository)

    inspected = _inspect(reference)

    assert len(inspected["Layers"]) == 1


def _inspect(reference: str) -> dict[str, Any]:
    argv = ["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"]
    found: dict[str, Any] = json.loads(
        subprocess.run(argv, check=True, capture_output=True).stdout
    )
    return found
