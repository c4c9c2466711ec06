"""Where AWS's services are: partitions, regions, endpoints and the hosts of ECR's registries.

Follows the service endpoints of the AWS General Reference, and its rules for ``AWS_ENDPOINT_URL``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from ...errors import AuthError

__all__ = ["PUBLIC", "EcrHost", "Place", "ecr_host", "partition_of"]

PUBLIC: Final = "public.ecr.aws"
_PUBLIC_REGION: Final = "us-east-1"
_HOST: Final = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9-]+)\.(?P<suffix>[a-z0-9.-]+)"
)
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")


@frozen(kw_only=True)
class Partition:
    """One of AWS's separate worlds: *suffix* ends its hosts, *dual* those that know IPv6 too.

    *registries* ends the hosts of its registries that know IPv6 too; empty where there are none.
    """

    name: str
    prefix: str
    suffix: str
    dual: str = ""
    registries: str = ""


# The first whose prefix fits is a region's own: the catch-all is last.
_PARTITIONS: Final = (
    Partition(
        name="aws-cn",
        prefix="cn-",
        suffix="amazonaws.com.cn",
        dual="api.amazonwebservices.com.cn",
        registries="on.amazonwebservices.com.cn",
    ),
    Partition(
        name="aws-us-gov",
        prefix="us-gov-",
        suffix="amazonaws.com",
        dual="api.aws",
        registries="on.aws",
    ),
    Partition(name="aws-eusc", prefix="eusc-", suffix="amazonaws.eu"),
    Partition(name="aws-iso", prefix="us-iso-", suffix="c2s.ic.gov"),
    Partition(name="aws-iso-b", prefix="us-isob-", suffix="sc2s.sgov.gov"),
    Partition(name="aws-iso-e", prefix="eu-isoe-", suffix="cloud.adc-e.uk"),
    Partition(name="aws-iso-f", prefix="us-isof-", suffix="csp.hci.ic.gov"),
    Partition(name="aws", prefix="", suffix="amazonaws.com", dual="api.aws", registries="on.aws"),
)
_SUFFIXES: Final = frozenset(
    suffix for partition in _PARTITIONS for suffix in (partition.suffix, partition.registries)
)


def partition_of(region: str) -> Partition:
    """The partition that *region* is in, judged by its name as AWS's own tools do."""
    return next(p for p in _PARTITIONS if region.startswith(p.prefix))


@frozen(kw_only=True)
class Place:
    """A region, and which of its endpoints: validated cryptography (FIPS), IPv6 too (dual)."""

    region: str
    fips: bool = False
    dual: bool = False

    def endpoint(self, service: str, variables: Mapping[str, str]) -> str:
        """The URL of *service* (``ecr``, ``ecr-public``, ``sts``) here.

        ``AWS_ENDPOINT_URL_<SERVICE>``, or else ``AWS_ENDPOINT_URL``, counts more, unless
        ``AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`` is true.
        """
        if variables.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
            own = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
            chosen = variables.get(own) or variables.get("AWS_ENDPOINT_URL")
            if chosen:
                return chosen.rstrip("/") + "/"
        partition = partition_of(self.region)
        suffix = partition.dual if self.dual and partition.dual else partition.suffix
        return f"https://{self._name(service, suffix, partition)}.{self.region}.{suffix}/"

    def _name(self, service: str, suffix: str, partition: Partition) -> str:
        if service == "sts":
            # GovCloud's ordinary one is validated already.
            plain = not self.fips or (partition.name == "aws-us-gov" and not self.dual)
            return "sts" if plain else "sts-fips"
        if self.fips and service == "ecr":
            return "ecr-fips"
        return service if suffix == partition.dual else f"api.{service}"


@frozen(kw_only=True)
class EcrHost:
    """What the host of a registry of ECR says; *account* is empty for the public one."""

    account: str
    place: Place

    @property
    def service(self) -> str:
        """The service that gives out its tokens: ``ecr`` or ``ecr-public``."""
        return "ecr" if self.account else "ecr-public"


def ecr_host(host: str) -> EcrHost | None:
    """Read the host of a registry; None when it is not one of ECR's.

    Raises `AuthError` for what looks like one and cannot exist: a region that is spelled as no
    region is, or that belongs to hosts with another ending.
    """
    if host == PUBLIC:
        return EcrHost(account="", place=Place(region=_PUBLIC_REGION))
    match = _HOST.fullmatch(host.lower())
    if match is None or match["suffix"] not in _SUFFIXES:
        return None
    region, suffix = match["region"], match["suffix"]
    if not _REGION.fullmatch(region):
        raise AuthError(
            f"{host} names {region!r}, which is no AWS region",
            hint="a region is written as in eu-central-1",
        )
    partition = partition_of(region)
    if suffix not in (partition.suffix, partition.registries):
        raise AuthError(
            f"{host} cannot exist: {region} is in {partition.name}, whose registries end in"
            f" {partition.suffix}",
            hint="either the region or the ending is wrong",
        )
    dual = suffix == partition.registries
    return EcrHost(
        account=match["account"],
        place=Place(region=region, fips=match["fips"] is not None, dual=dual),
    )
