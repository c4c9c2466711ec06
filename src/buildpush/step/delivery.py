"""From artifact to result: write the outputs, push, read back; and the secrets' files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from ..auth import Chain, Keychain
from ..errors import SpecError
from ..events import Phase, PhaseStarted
from ..oci import Platform
from ..oci.archive import write_docker_archive
from ..oci.layout import Layout, verify
from ..oci.wire import Descriptor
from ..plan import (
    Artifact,
    BuildResult,
    ImageSummary,
    LayoutArtifact,
    Output,
    Plan,
    PushedArtifact,
)
from ..registry import RegistryClient
from ..runtime import Run
from ..spec import FromEnv, SecretSource
