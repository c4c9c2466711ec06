"""What went wrong: every failure buildpush raises, and the evidence each one carries.

Branches mean remedies: the class tells the reader what to do next.

    BuildpushError
    ├── SpecError                       fix the input                    (ValueError)
    │   ├── InvalidReferenceError
    │   ├── ExpressionError             fix the expression, or give its value
    │   └── DockerfileError
    ├── PlanError                       change the backend or the host
    │   ├── BackendUnavailableError
    │   │   ├── PodNotStartedError      fix the pod, its node or its quota
    │   │   └── PodLostError            try again                        (retryable)
    │   ├── UnsupportedFeatureError
    │   └── CredentialConflictError
    ├── AuthError                       fix the credentials
    │   ├── PermissionDeniedError       ask for access
    │   └── PreflightError              fix each destination's own error
    ├── BuildError                      fix the Dockerfile
    │   ├── OutOfMemoryError            give it more memory, or ask for less
    │   └── DiskFullError               give it more disk
    ├── RegistryError                   talk to the registry
    │   ├── NotFoundError               fix the name, or create it
    │   ├── RegistryUnavailableError    try again later                  (retryable)
    │   │   └── RateLimitedError        wait, or log in                  (retryable)
    │   ├── TagConflictError            choose another tag, or look who moved it
    │   ├── BlobTooLargeError           make smaller layers, or raise the limit
    │   ├── PartialPushError            push again what failed
    │   └── DigestMismatchError         trust nothing that was received
    ├── SeveralFailedError              fix each step's own error
    ├── StepTimeoutError                wait longer                      (TimeoutError)
    └── StepCancelledError              nothing to fix
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from attrs import field, frozen


@frozen(kw_only=True)
class SourceEvidence:
    """The lines of a Dockerfile (or spec file) that are to blame.

    *text* is the whole file; *first_line* and *last_line* count from 1 and include both ends.
    """

    filename: str
    first_line: int
    last_line: int
    text: str = field(repr=False)

    def render(self) -> str:
        """Show the guilty lines with two lines of context either side."""
        # Not splitlines(): only a line feed ends a line of a Dockerfile.
        lines = [line.rstrip("\r") for line in self.text.split("\n")]
        start = max(1, self.first_line - 2)
        stop = min(len(lines) - (not lines[-1]), self.last_line + 2)
        rows = [
            f"{'>' if self.first_line <= n <= self.last_line else ' '} {n:4d} | {lines[n - 1]}"
            for n in range(start, stop + 1)
        ]
        return "\n".join([f"{self.filename}:{self.first_line}", *rows])


@frozen(kw_only=True)
class CommandEvidence:
    """A process that failed; *argv* and *tail* (its last lines) are already redacted."""

    argv: tuple[str, ...]
    exit_code: int
    tail: tuple[str, ...] = ()

    def render(self) -> str:
        """Show the command, how it ended and the last lines it wrote."""
        # A line of shell stands alone; what was started with arguments can be pasted.
        command = shlex.join(self.argv) if len(self.argv) > 1 else "".join(self.argv)
        head = f"$ {command}\n{self.ending}"
        return "\n".join([head, *(f"  {line}" for line in self.tail)])

    @property
    def ending(self) -> str:
        """How it ended, in words: an exit code, or the signal that ended it."""
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        try:
            return f"ended by signal {-self.exit_code} ({signal.Signals(-self.exit_code).name})"
        except ValueError:
            return f"ended by signal {-self.exit_code}"


@frozen(kw_only=True)
class HttpEvidence:
    """One exchange with a registry: never headers, never a query value that could be secret.

    *codes* are the registry's own error codes (distribution-spec, "Error Codes") and *detail*
    its bounded, redacted message. *request_id* is what its operators look the exchange up by,
    *attempt* says how many times this was tried, the first time being 1.
    """

    method: str
    url: str
    status: int
    codes: tuple[str, ...] = ()
    detail: str = ""
    request_id: str = ""
    attempt: int = 1

    def render(self) -> str:
        """Show the request line, the status and what the registry said about it."""
        tail = f" ({', '.join(self.codes)})" if self.codes else ""
        again = f", attempt {self.attempt}" if self.attempt > 1 else ""
        said = f"\n  {self.detail}" if self.detail else ""
        name = f"\n  request id {self.request_id}" if self.request_id else ""
        return f"{self.method} {self.url} -> {self.status}{tail}{again}{said}{name}"


@frozen(kw_only=True)
class LogEvidence:
    """Where the complete log of the run is kept: every line that anything wrote, redacted."""

    path: str

    def render(self) -> str:
        """Name the file."""
        return f"complete log: {self.path}"


@frozen(kw_only=True)
class CredentialEvidence:
    """Who asked a registry, and how the credential was looked for: names only, never a secret.

    *scope* is what was asked of its token service, *granted* what the token says it was given,
    each empty when there is none. *trail* has one line for each source of credentials, in order.
    """

    anonymous: bool
    scope: str = ""
    granted: str = ""
    trail: tuple[str, ...] = ()

    def render(self) -> str:
        """Show who asked, for what, and where the credential was looked for."""
        who = "anonymously" if self.anonymous else "with a credential"
        scope = f" for {self.scope}" if self.scope else ""
        granted = f", and was granted {self.granted}" if self.granted else ""
        looked = ("credentials were looked for in:", *self.trail) if self.trail else ()
        return "\n  ".join([f"asked {who}{scope}{granted}", *looked])


Evidence = SourceEvidence | CommandEvidence | HttpEvidence | LogEvidence | CredentialEvidence


class BuildpushError(Exception):
    """Base class: ``str(e)`` is one line, ``e.report()`` is the whole page.

    *evidence* is a tuple of values that show what happened, *hint* the next move, *slug* names
    the page under ``docs/errors/``, *retryable* says whether the same call may succeed later.
    *artifact* is the OCI layout that was kept when a push failed: pushing it needs no rebuild.
    """

    slug: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    artifact: Path | None = None

    def __init__(
        self, message: str, *, evidence: tuple[Evidence, ...] = (), hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.evidence = evidence
        self.hint = hint

    def report(self) -> str:
        """Join the message, each piece of evidence and the hint into one page of text."""
        parts = [f"{self.slug}: {self.message}", *(e.render() for e in self.evidence)]
        if self.hint:
            parts.append(f"Hint: {self.hint}")
        return "\n\n".join(parts)


class SpecError(BuildpushError, ValueError):
    """The input is wrong."""

    slug = "spec-invalid"


class InvalidReferenceError(SpecError):
    """Text that is not an image reference, digest or platform.

    *position* is where the fault is, counted from 0, None when unsaid; *suggestion* is the
    reference that was probably meant, empty when nobody can tell.
    """

    slug = "reference-invalid"
    position: int | None = None
    suggestion: str = ""


class ExpressionError(SpecError):
    """A ``<+…>`` expression that is malformed, or names what is not there.

    *expression* is the text as it was written, *where* the path of its setting.
    """

    slug = "expression-unresolved"
    expression: str = ""
    where: str = ""


class DockerfileError(SpecError):
    """A Dockerfile that cannot be parsed or resolved; always carries `SourceEvidence`."""

    slug = "dockerfile-invalid"


class PlanError(BuildpushError):
    """The spec is fine, but cannot be carried out here."""

    slug = "plan-impossible"


class BackendUnavailableError(PlanError):
    """The backend is not installed, not running, or may not be used by this user."""

    slug = "backend-unavailable"


class PodNotStartedError(BackendUnavailableError):
    """The cluster took the Job, and no pod of it ever ran.

    *reason* is the cluster's own word for it: ``ImagePullBackOff``, ``Unschedulable``,
    ``FailedMount``, ``FailedCreate``.
    """

    slug = "pod-not-started"
    reason: str = ""


class PodLostError(BackendUnavailableError):
    """The pod was running, and the cluster took it away: evicted, preempted, its node lost.

    *reason* is the cluster's own word for it.
    """

    slug = "pod-lost"
    retryable = True
    reason: str = ""


class UnsupportedFeatureError(PlanError):
    """The backend cannot do something the spec or the Dockerfile asks for."""

    slug = "feature-unsupported"


class CredentialConflictError(PlanError):
    """One docker config cannot hold two credentials for one host."""

    slug = "credential-conflict"


class AuthError(BuildpushError):
    """No credential, a refused one, or a source of credentials that broke."""

    slug = "auth-failed"


class PermissionDeniedError(AuthError):
    """The registry knows the caller, and does not let it do this."""

    slug = "permission-denied"


class BuildError(BuildpushError):
    """The backend ran and the build failed."""

    slug = "build-failed"


class OutOfMemoryError(BuildError):
    """The build was ended for want of memory; *limit* is in bytes, None when unsaid."""

    slug = "out-of-memory"
    limit: int | None = None


class DiskFullError(BuildError):
    """The build ran out of room where the backend keeps its files."""

    slug = "disk-full"


class RegistryError(BuildpushError):
    """The registry refused or misbehaved."""

    slug = "registry-failed"


class NotFoundError(RegistryError):
    """The registry has no such repository, tag, manifest or blob."""

    slug = "not-found"


class RegistryUnavailableError(RegistryError):
    """The registry could not be reached, broke off, or answered with a server error."""

    slug = "registry-unavailable"
    retryable = True


class RateLimitedError(RegistryUnavailableError):
    """The registry wants fewer requests; *retry_after* is in seconds, None when unsaid."""

    slug = "rate-limited"
    retry_after: float | None = None


class TagConflictError(RegistryError):
    """A tag names another image than it may: it exists, is immutable, or was moved meanwhile.

    *reference* is the tag, *found* the digest it names, *wanted* the one it was to name; text.
    """

    slug = "tag-conflict"
    reference: str = ""
    found: str = ""
    wanted: str = ""


class BlobTooLargeError(RegistryError):
    """A blob is larger than the registry, or a proxy before it, takes; *size*, *limit* in bytes.

    *digest* is the blob's, *instruction* what its image's history says made it, where it does.
    """

    slug = "blob-too-large"
    digest: str = ""
    instruction: str = ""
    size: int = 0
    limit: int | None = None


class PartialPushError(RegistryError):
    """Some destinations have the image and some have not; *destinations* says which.

    Each of them is a `buildpush.plan.Destination`, with its own error where it failed.
    """

    slug = "push-partial"
    destinations: tuple[object, ...] = ()


class PreflightError(AuthError):
    """Several destinations cannot be pushed to, and nothing was built; *failures* are the errors."""

    slug = "preflight-failed"
    failures: tuple[BuildpushError, ...] = ()


class DigestMismatchError(RegistryError):
    """Bytes do not hash to the digest that names them."""

    slug = "digest-mismatch"


class SeveralFailedError(BuildpushError):
    """Several of many steps failed; *failures* has the error of each by its name."""

    slug = "several-failed"
    failures: Mapping[str, BuildpushError] = {}


class StepTimeoutError(BuildpushError, TimeoutError):
    """The step ran past its deadline."""

    slug = "step-timeout"


class StepCancelledError(BuildpushError):
    """The step was cancelled by its caller."""

    slug = "step-cancelled"
