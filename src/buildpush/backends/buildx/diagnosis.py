"""Why a builder did not start, in words, with what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import BackendUnavailableError, CommandEvidence

__all__ = ["explain_boot"]


def explain_boot(
    driver: str, options: Mapping[str, str], evidence: CommandEvidence
) -> BackendUnavailableError:
    """The error for a builder of *driver* whose creation or start ended as *evidence* shows."""
    said = _said(evidence)
    what, hint = _meaning(driver, options, said)
    return BackendUnavailableError(
        f"the {driver} builder could not be started: {what}", evidence=(evidence,), hint=hint
    )


def _said(evidence: CommandEvidence) -> str:
    """What buildx complained of: its last line that says ERROR, else its last."""
    lines = [line.strip() for line in evidence.tail if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR:", "Error:", "error:"))]
    chosen = (errors or lines or [f"exit code {evidence.exit_code}"])[-1]
    for prefix in ("ERROR:", "Error:", "error:"):
        chosen = chosen.removeprefix(prefix).strip()
    return chosen


def _meaning(driver: str, options: Mapping[str, str], said: str) -> tuple[str, str]:
    lower = said.lower()
    if "invalid driver option" in lower:
        return said, "leave the option out, or use a buildx that knows it"
    if _is_any(lower, "x509", "certificate", "tls:", "handshake"):
        return said, (
            "cacert must be the authority that signed BuildKit's certificate, servername the name"
            " in it; cert and key are this client's, where BuildKit asks for them"
        )
    if driver == "docker-container" and _is_unpullable(lower):
        image = options.get("image", "moby/buildkit:buildx-stable-1")
        return (
            f"the image of BuildKit, {image}, cannot be pulled: {said}",
            "name one that this engine has or can reach: options={'image': 'registry/buildkit'}",
        )
    if "cannot connect to the docker daemon" in lower or "docker.sock" in lower:
        return said, "start the docker engine, or name another one in endpoint"
    if driver == "kubernetes":
        return said, "check kubectl's current context, the namespace and the pod's image"
    if driver == "remote":
        return said, "is BuildKit listening there? buildkitd --addr tells it where"
    return said, "docker logs of the builder's container says more"


def _is_unpullable(said: str) -> bool:
    return _is_any(
        said,
        "pull access denied",
        "manifest unknown",
        "no such image",
        "failed to resolve reference",
        "failed to do request",
        "not found",
        "no such host",
        "lookup ",
        "i/o timeout",
        "deadline exceeded",
        "connection refused",
        "unauthorized",
        "toomanyrequests",
        "tls handshake timeout",
    )


def _is_any(text: str, *pieces: str) -> bool:
    return any(piece in text for piece in pieces)
