"""What the server refuses although the schema allows it; sentences as seen on 1.36.2."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from .kinds import CONFIGMAPS, JOBS, PODS, SECRETS, Kind
from .refusals import Refusal, invalid

Cause = tuple[str, str, str]
_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL: Final = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_NAME_PART: Final = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_QUANTITY: Final = r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_UNITS: Final = {
    "": 1,
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "P": 10**15,
}
_MOST: Final = 1 << 20


def _bad(field: str, value: object, why: str) -> Cause:
    shown = json.dumps(value) if isinstance(value, str) else str(value)
    return field, "FieldValueInvalid", f"Invalid value: {shown}: {why}"


def _required(field: str, why: str = "") -> Cause:
    return field, "FieldValueRequired", f"Required value{f': {why}' if why else ''}"


def _unsupported(field: str, value: str, *known: str) -> Cause:
    listed = ", ".join(json.dumps(word) for word in known)
    return (
        field,
        "FieldValueNotSupported",
        f"Unsupported value: {json.dumps(value)}: supported values: {listed}",
    )


def validate(kind: Kind, made: Mapping[str, Any], missing: tuple[str, ...] = ()) -> None:
    """Raise a 422 with every fault of *made*; *missing* are fields that the schema requires."""
    _quantities(kind, made)
    causes = [*_metadata(kind, made["metadata"]), *(_required(field) for field in missing)]
    if kind is JOBS:
        causes += _job(made)
    elif kind is PODS:
        causes += _pod("spec", made.get("spec") or {})
    elif kind in (SECRETS, CONFIGMAPS):
        causes += _data(kind, made)
    if causes:
        raise invalid(kind, made["metadata"].get("name", ""), list(dict.fromkeys(causes)))


def _metadata(kind: Kind, meta: Mapping[str, Any]) -> Iterator[Cause]:
    name = meta.get("name", "")
    if not name:
        yield _required("metadata.name", "name or generateName is required")
    elif not re.fullmatch(_SUBDOMAIN, name) or len(name) > 253:
        yield _bad(
            "metadata.name",
            name,
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters,"
            " '-' or '.', and must start and end with an alphanumeric character (e.g."
            f" 'example.com', regex used for validation is '{_SUBDOMAIN}')",
        )
    for part in ("labels", "annotations"):
        for key, value in (meta.get(part) or {}).items():
            yield from _qualified(f"metadata.{part}", key)
            if part == "labels":
                yield from _label(f"metadata.{part}", value)
    for reference in meta.get("ownerReferences") or ():
        for needed in ("apiVersion", "kind", "name", "uid"):
            if not reference.get(needed):
                yield _bad(f"metadata.ownerReferences.{needed}", "", "must not be empty")


def _qualified(field: str, key: str) -> Iterator[Cause]:
    name = key.rpartition("/")[2]
    if not re.fullmatch(_NAME_PART, name):
        yield _bad(
            field,
            key,
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start"
            " and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc',"
            f" regex used for validation is '{_NAME_PART}')",
        )
    elif len(name) > 63:
        yield _bad(field, key, "name part must be no more than 63 bytes")


def _label(field: str, value: str) -> Iterator[Cause]:
    if len(value) > 63:
        yield _bad(field, value, "must be no more than 63 bytes")
    if not re.fullmatch(_LABEL, value):
        yield _bad(
            field,
            value,
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_'"
            " or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or"
            f" 'my_value',  or '12345', regex used for validation is '{_LABEL}')",
        )


def _job(made: Mapping[str, Any]) -> Iterator[Cause]:
    spec = made.get("spec") or {}
    for name in ("activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit"):
        if spec.get(name, 0) < 0:
            yield _bad(f"spec.{name}", spec[name], "must be greater than or equal to 0")
    template = spec.get("template") or {}
    yield from _label("spec.template.labels", made["metadata"].get("name", ""))
    for key, value in ((template.get("metadata") or {}).get("labels") or {}).items():
        yield from _qualified("spec.template.labels", key)
        yield from _label("spec.template.labels", value)
    pod = template.get("spec") or {}
    if pod.get("restartPolicy", "Always") not in ("OnFailure", "Never"):
        yield _required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    yield from _pod("spec.template.spec", pod)


def _pod(at: str, pod: Mapping[str, Any]) -> Iterator[Cause]:
    volumes = [volume.get("name") for volume in pod.get("volumes") or ()]
    for number, volume in enumerate(pod.get("volumes") or ()):
        yield from _volume(f"{at}.volumes[{number}]", volume)
    if not pod.get("containers"):
        yield _required(f"{at}.containers")
    seen: set[str] = set()
    for group in ("initContainers", "containers"):
        for number, container in enumerate(pod.get(group) or ()):
            place = f"{at}.{group}[{number}]"
            name = container.get("name", "")
            if name in seen:
                yield f"{place}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"'
            seen.add(name)
            yield from _container(place, container, volumes)
    for key in pod.get("nodeSelector") or ():
        yield from _qualified(f"{at}.nodeSelector", key)
    for number, toleration in enumerate(pod.get("tolerations") or ()):
        operator = toleration.get("operator", "Equal")
        if operator not in ("Equal", "Exists"):
            place = f"{at}.tolerations[{number}].operator"
            yield _unsupported(place, operator, "Equal", "Exists")


def _volume(at: str, volume: Mapping[str, Any]) -> Iterator[Cause]:
    name = volume.get("name", "")
    if not re.fullmatch(_DNS_LABEL, name):
        yield _bad(
            f"{at}.name",
            name,
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-',"
            " and must start and end with an alphanumeric character (e.g. 'my-name',  or"
            f" '123-abc', regex used for validation is '{_DNS_LABEL}')",
        )
    kinds = [key for key in volume if key != "name"]
    if len(kinds) > 1:
        place = f"{at}.{kinds[-1]}"
        yield place, "FieldValueForbidden", "Forbidden: may not specify more than 1 volume type"


def _container(at: str, container: Mapping[str, Any], volumes: list[str]) -> Iterator[Cause]:
    for needed in ("name", "image"):
        if not container.get(needed):
            yield _required(f"{at}.{needed}")
    policy = container.get("imagePullPolicy", "Always")
    if policy not in ("Always", "IfNotPresent", "Never"):
        yield _unsupported(f"{at}.imagePullPolicy", policy, "Always", "IfNotPresent", "Never")
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            place = f"{at}.volumeMounts[{number}].name"
            yield place, "FieldValueNotFound", f'Not found: "{mount.get("name", "")}"'
    for number, variable in enumerate(container.get("env") or ()):
        name = variable.get("name", "")
        if not name or "=" in name or not name.isprintable() or not name.isascii():
            yield _bad(
                f"{at}.env[{number}].name",
                name,
                "a valid environment variable name must consist only of printable ASCII"
                " characters other than '='",
            )
    resources = container.get("resources") or {}
    for name, text in (resources.get("requests") or {}).items():
        limit = (resources.get("limits") or {}).get(name)
        if limit is not None and quantity(text) > quantity(limit):
            why = f"must be less than or equal to {name} limit of {limit}"
            yield _bad(f"{at}.resources.requests", text, why)


def quantity(text: str | float) -> Decimal:
    """``500m``, ``1Gi``, ``2``; ValueError for what is none."""
    match = re.fullmatch(r"([+-]?[0-9.]+)([A-Za-z]*)", str(text))
    if match is None or match[2] not in _UNITS:
        raise ValueError(text)
    return Decimal(match[1]) * _UNITS[match[2]]


def _quantities(kind: Kind, made: Mapping[str, Any]) -> None:
    spec = made.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") if kind is JOBS else spec
    if kind not in (JOBS, PODS) or not pod:
        return
    for group in ("initContainers", "containers"):
        for container in pod.get(group) or ():
            for amounts in (container.get("resources") or {}).values():
                for text in amounts.values() if isinstance(amounts, dict) else ():
                    try:
                        quantity(text)
                    except ValueError:
                        raise _undecodable(
                            kind, f"quantities must match the regular expression '{_QUANTITY}'"
                        ) from None


def _undecodable(kind: Kind, why: str) -> Refusal:
    return Refusal(400, f'{kind.kind} in version "v1" cannot be handled as a {kind.kind}: {why}')


def _data(kind: Kind, made: Mapping[str, Any]) -> Iterator[Cause]:
    data: Mapping[str, str] = made.get("data") or {}
    size = 0
    for key, value in data.items():
        if not re.fullmatch(r"[-._a-zA-Z0-9]+", key):
            yield _bad(
                f"data[{key}]",
                key,
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g."
                " 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is"
                " '[-._a-zA-Z0-9]+')",
            )
        size += len(_decoded(kind, value) if kind is SECRETS else value.encode())
    if size > _MOST:
        yield "data", "FieldValueTooLong", f"Too long: may not be more than {_MOST} bytes"
    if made.get("type") == "kubernetes.io/dockerconfigjson":
        yield from _docker_config(data.get(".dockerconfigjson"))


def _docker_config(found: str | None) -> Iterator[Cause]:
    field = "data[.dockerconfigjson]"
    if found is None:
        yield _required(field)
        return
    try:
        json.loads(base64.b64decode(found))
    except ValueError:
        yield _bad(field, "<secret contents redacted>", "invalid character")


def _decoded(kind: Kind, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _undecodable(kind, "illegal base64 data at input byte 0") from None
