"""How a build's pod looks and how its context gets there: settings in Kubernetes' own words.

What has a structure of its own there (affinity, volumes, security contexts…) is given as the
mapping that a manifest would hold, in its spelling: ``{"runAsNonRoot": True}``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import Attribute, field, frozen

from ....errors import SpecError
from ....oci import Repository
from .quantities import quantity

if TYPE_CHECKING:
    from ....auth import Keychain

__all__ = [
    "ContextDelivery",
    "Owner",
    "PodSettings",
    "RegistryContext",
    "RemoteContext",
    "SecretKey",
    "StreamedContext",
]

Words = Mapping[str, Any]
"""A part of a manifest."""

_LABEL_VALUE: Final = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_QUALIFIED: Final = re.compile(
    r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_VARIABLE: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9.]{0,251}[A-Za-z0-9])?")
_REMOTE: Final = re.compile(r"(?:s3|gs|https|git)://[^\s]+")
_OURS: Final = ("buildpush.dev/", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance")

Check = Callable[[object, "Attribute[Any]", Any], None]


def _text(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return dict(mapping)


def _part(mapping: Words) -> Words:
    return copy.deepcopy(dict(mapping))


def _parts(mappings: Iterable[Words]) -> tuple[Words, ...]:
    return tuple(copy.deepcopy(dict(mapping)) for mapping in mappings)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _fail(attribute: Attribute[Any], said: str) -> SpecError:
    return SpecError(f"pod: {attribute.name}: {said}")


def _matching(pattern: re.Pattern[str], what: str) -> Check:
    """Check that a text, if there is one, or each text of several is *what*."""

    def check(_: object, attribute: Attribute[Any], value: str | tuple[str, ...]) -> None:
        for text in (value,) if isinstance(value, str) else value:
            if text and not pattern.fullmatch(text):
                raise _fail(attribute, f"{text!r} is not {what}")

    return check


def _pairs(names: re.Pattern[str], values: re.Pattern[str] | None, what: str) -> Check:
    """Check a mapping's names and values."""

    def check(_: object, attribute: Attribute[Any], value: Mapping[str, str]) -> None:
        for name, text in value.items():
            if not names.fullmatch(name) or (values is not None and not values.fullmatch(text)):
                shown = f"{name}={text}" if values is not None else name
                raise _fail(attribute, f"{shown!r} is not {what}")

    return check


def _labels(instance: object, attribute: Attribute[Any], value: Mapping[str, str]) -> None:
    _pairs(_QUALIFIED, _LABEL_VALUE, "a label")(instance, attribute, value)
    for name in value:
        if name.startswith(_OURS):
            raise _fail(attribute, f"{name} is buildpush's own, by which it finds what it made")


def _amounts(_: object, attribute: Attribute[Any], value: Mapping[str, str]) -> None:
    for name, text in value.items():
        try:
            quantity(text)
        except (ValueError, TypeError) as error:
            raise _fail(attribute, f"{name}: {error}") from error


def _amount(_: object, attribute: Attribute[Any], value: str) -> None:
    if value:
        _amounts(_, attribute, {"amount": value})


def _id(_: object, attribute: Attribute[Any], value: int | None) -> None:
    if value is not None and not 0 <= value < 2**31:
        raise _fail(attribute, f"{value} is not a user or group id")


def _seconds(least: int) -> Check:
    def check(_: object, attribute: Attribute[Any], value: int) -> None:
        if not least <= value < 2**31:
            raise _fail(attribute, f"{value} is not a number of seconds, {least} or more")

    return check


def _hosts(_: object, attribute: Attribute[Any], value: Mapping[str, str]) -> None:
    for name, address in value.items():
        try:
            ip_address(address)
        except ValueError as error:
            raise _fail(attribute, f"{name}: {error}") from error
        if not _HOST.fullmatch(name):
            raise _fail(attribute, f"{name!r} is not a host name")


def _one_of(*words: str) -> Check:
    def check(_: object, attribute: Attribute[Any], value: str) -> None:
        if value not in words:
            raise _fail(attribute, f"{value!r} is none of {', '.join(filter(None, words))}")

    return check


_RESOURCE_NAME: Final = _matching(_SUBDOMAIN, "a name in Kubernetes")


@frozen(kw_only=True)
class SecretKey:
    """One key of a Secret that is in the namespace already."""

    name: str = field(validator=_RESOURCE_NAME)
    key: str = field(validator=_matching(re.compile(r"[-._a-zA-Z0-9]+"), "a key of a Secret"))


@frozen(kw_only=True)
class Owner:
    """An object of the same namespace with which the Job goes: the pod we run in, say."""

    api_version: str
    kind: str
    name: str
    uid: str


@frozen(kw_only=True)
class StreamedContext:
    """The context goes from here into the pod, through the API server: needs nothing else.

    *image* has ``sh``, ``tar``, ``head``, ``sha256sum`` and ``mkfifo``: busybox does; empty for
    kaniko's own where that is a debug image, else for a pinned busybox. *compress* says whether
    the stream is packed where the server can tell its end.
    """

    image: str = ""
    compress: bool = True


@frozen(kw_only=True)
class RegistryContext:
    """The context goes through a registry: as an image in *repository*, tagged by its content.

    What the pod pulls is *image* with one layer more. *keychain* says who may push there, the
    docker config where none is given; the node pulls by `PodSettings.image_pull_secrets`.
    Nothing removes the tag: let the registry forget what is old.
    """

    repository: Repository
    image: str = ""
    keychain: Keychain | None = None


@frozen(kw_only=True)
class RemoteContext:
    """Kaniko fetches the context by itself: ``s3:// gs:// https:// git://``, and a folder in it.

    Who may do that is told to the pod: `PodSettings.env_from_secrets`, or its service account.
    The Dockerfile still comes from here.
    """

    url: str = field(validator=_matching(_REMOTE, "an s3, gs, https or git URL"))
    sub_path: str = ""


ContextDelivery = StreamedContext | RegistryContext | RemoteContext


@frozen(kw_only=True)
class PodSettings:
    """What the pod of a build looks like, beyond what the step says; the step wins.

    *limits* and *requests* are quantities by resource (``{"memory": "4Gi"}``), those of kaniko's
    container; *ephemeral_storage* is both for the node's disk. *env_from_secrets* are variables
    whose values are in Secrets that exist. *host_aliases* map names to addresses. *active_deadline*
    and *ttl_seconds_after_finished* are seconds after which the cluster itself ends and removes a
    Job whose client was killed; *termination_grace* is how long a container that is told to stop
    may take, of which nobody profits.
    """

    service_account: str = field(default="", validator=_RESOURCE_NAME)
    mount_token: bool = False
    node_selector: Mapping[str, str] = field(
        factory=dict[str, str],
        converter=_text,
        validator=_pairs(_QUALIFIED, _LABEL_VALUE, "a node's label"),
    )
    tolerations: tuple[Words, ...] = field(default=(), converter=_parts)
    affinity: Words = field(factory=dict[str, Any], converter=_part)
    limits: Mapping[str, str] = field(factory=dict[str, str], converter=_text, validator=_amounts)
    requests: Mapping[str, str] = field(
        factory=dict[str, str], converter=_text, validator=_amounts
    )
    ephemeral_storage: str = field(default="", validator=_amount)
    run_as_user: int | None = field(default=None, validator=_id)
    run_as_group: int | None = field(default=None, validator=_id)
    fs_group: int | None = field(default=None, validator=_id)
    security_context: Words = field(factory=dict[str, Any], converter=_part)
    pod_security_context: Words = field(factory=dict[str, Any], converter=_part)
    labels: Mapping[str, str] = field(factory=dict[str, str], converter=_text, validator=_labels)
    annotations: Mapping[str, str] = field(
        factory=dict[str, str],
        converter=_text,
        validator=_pairs(_QUALIFIED, None, "an annotation's name"),
    )
    image_pull_secrets: tuple[str, ...] = field(
        default=(), converter=_names, validator=_RESOURCE_NAME
    )
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = field(
        default="", validator=_one_of("", "Always", "IfNotPresent", "Never")
    )
    volumes: tuple[Words, ...] = field(default=(), converter=_parts)
    volume_mounts: tuple[Words, ...] = field(default=(), converter=_parts)
    env: Mapping[str, str] = field(
        factory=dict[str, str],
        converter=_text,
        repr=False,
        validator=_pairs(_VARIABLE, None, "a variable's name"),
    )
    env_from_secrets: Mapping[str, SecretKey] = field(
        factory=dict[str, SecretKey], validator=_pairs(_VARIABLE, None, "a variable's name")
    )
    host_aliases: Mapping[str, str] = field(
        factory=dict[str, str], converter=_text, validator=_hosts
    )
    host_network: bool = False
    dns_policy: Literal["", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] = field(
        default="",
        validator=_one_of("", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    )
    dns_config: Words = field(factory=dict[str, Any], converter=_part)
    priority_class: str = field(default="", validator=_RESOURCE_NAME)
    runtime_class: str = field(default="", validator=_RESOURCE_NAME)
    scheduler: str = field(default="", validator=_RESOURCE_NAME)
    shm_size: str = field(default="", validator=_amount)
    termination_grace: int = field(default=2, validator=_seconds(0))
    active_deadline: int = field(default=4 * 3600, validator=_seconds(1))
    ttl_seconds_after_finished: int = field(default=300, validator=_seconds(0))
    owner: Owner | None = None
