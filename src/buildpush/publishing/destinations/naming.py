"""Tags: what they name beforehand, whether they may be moved, and moving one exactly once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

from ...errors import (
    AuthError,
    BuildpushError,
    HttpEvidence,
    RegistryError,
    RegistryUnavailableError,
    TagConflictError,
)
from ...oci import Digest, ImageReference
from ...plan import PushPolicy
from ...registry import RegistryClient
from ...registry.images import Document
from ...registry.push import by_tag

__all__ = ["Verdict", "judge", "look", "put_tag"]

Verdict = Literal["push", "present", "skip"]

_REFUSALS: Final = frozenset({400, 403, 405, 409, 412, 422})
_CERTAIN: Final = frozenset({409, 412})
# What registries answer for a tag that is there and may not be moved: ECR says TAG_INVALID,
# others MANIFEST_INVALID, DENIED or UNSUPPORTED; Harbor PRECONDITION.
_CODES: Final = frozenset(
    {"TAG_INVALID", "MANIFEST_INVALID", "DENIED", "UNSUPPORTED", "PRECONDITION", "CONFLICT"}
    | {"TAG_IMMUTABLE", "FORBIDDEN"}
)
_WORDS: Final = ("immutab", "overwrit", "already exist", "redeploy", "locked", "protected")


def look(client: RegistryClient, reference: ImageReference) -> Digest | None:
    """What *reference* names now, asked as whoever pushes."""
    found = client.head_manifest(by_tag(reference), access="push")
    return None if found is None else found.digest


def judge(
    reference: ImageReference,
    found: Digest | None,
    ours: Collection[Digest],
    policy: PushPolicy,
    wanted: Digest,
) -> Verdict:
    """What is to become of a tag that names *found*, when it should name one of *ours*.

    Raises `TagConflictError` where *policy* forbids to move it.
    """
    same = found in ours
    if not reference.tag:
        return "present" if same else "push"
    if policy.expect_current not in (None, found) and not same:
        raise _conflict(
            reference,
            found,
            wanted,
            f"and not {policy.expect_current} as expected",
            hint="somebody else has pushed to it: look at what is there, then push again",
        )
    if found is None:
        return "push"
    match policy.on_existing_tag:
        case "overwrite":
            return "present" if same else "push"
        case "skip":
            return "present" if same else "skip"
        case "skip_if_same" if same:
            return "present"
        case "skip_if_same" | "fail" as choice:
            raise _conflict(
                reference,
                found,
                wanted,
                f"and on_existing_tag is {choice}",
                hint="choose another tag, or on_existing_tag: overwrite",
            )


def put_tag(client: RegistryClient, reference: ImageReference, top: Document) -> Verdict:
    """Point the tag at *top*, with the bytes that are there by digest; ``push``, when it did.

    ``present`` when the registry refused since the tag is immutable, and names *top* already.
    Raises `TagConflictError` when it is immutable and names something else.
    """
    tagged = by_tag(reference)
    try:
        client.put_manifest(tagged, top.data, top.value.media_type)
    except (RegistryError, AuthError) as error:
        if not _is_refusal(error):
            raise
        found = look(client, reference)
        if found == top.descriptor.digest:
            return "present"
        if found is None or not _is_about_the_tag(error):
            raise
        raise _conflict(
            reference,
            found,
            top.descriptor.digest,
            "and the registry will not move it",
            hint="tags are immutable or protected there: choose another tag",
            error=error,
        ) from error
    return "push"


def _proof(error: BuildpushError) -> HttpEvidence | None:
    return next((one for one in error.evidence if isinstance(one, HttpEvidence)), None)


def _is_refusal(error: BuildpushError) -> bool:
    proof = _proof(error)
    if proof is None or isinstance(error, RegistryUnavailableError):
        return False
    return proof.status in _REFUSALS


def _is_about_the_tag(error: BuildpushError) -> bool:
    """Whether a refusal is about the tag: the same bytes were just taken by their digest.

    By status and code first; the words count only where a registry says nothing else.
    """
    proof = _proof(error)
    if proof is None:
        return False
    if proof.status in _CERTAIN or _CODES & {code.upper() for code in proof.codes}:
        return True
    return any(word in proof.detail.lower() for word in _WORDS)


def _conflict(
    reference: ImageReference,
    found: Digest | None,
    wanted: Digest,
    reason: str,
    *,
    hint: str,
    error: BuildpushError | None = None,
) -> TagConflictError:
    tagged = by_tag(reference)
    names = f"names {found}" if found else "does not exist"
    conflict = TagConflictError(
        f"{tagged} was not moved to {wanted}: it {names}, {reason}",
        evidence=error.evidence if error else (),
        hint=hint,
    )
    conflict.reference = str(tagged)
    conflict.found = str(found or "")
    conflict.wanted = str(wanted)
    return conflict
