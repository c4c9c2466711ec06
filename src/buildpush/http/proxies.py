"""Which proxy a request takes, read from the environment the way curl and Go read it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from attrs import frozen

from .trust import is_loopback


@frozen(kw_only=True)
class Proxies:
    """Proxy URLs per scheme and the hosts that go without. Its repr shows no URL (passwords)."""

    by_scheme: Mapping[str, str]
    exempt: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Proxies({', '.join(sorted(self.by_scheme)) or 'none'})"

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Proxies:
        """Read ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in either case.

        Upper-case ``HTTP_PROXY`` is ignored inside a CGI program, where a caller could set it.
        """
        found: dict[str, str] = {}
        for scheme in ("http", "https"):
            names = [f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"]
            if "REQUEST_METHOD" in variables:
                names.remove(f"{scheme.upper()}_PROXY")
            value = next((variables[name] for name in names if variables.get(name)), "")
            if value:
                found[scheme] = value if "://" in value else f"http://{value}"
        listed = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
        return cls(
            by_scheme=found,
            exempt=tuple(p.strip().lower() for p in listed.split(",") if p.strip()),
        )

    def choose(self, url: str) -> str:
        """The proxy for *url*; empty when it is to be asked directly, as this machine always is."""
        parts = urlsplit(url)
        proxy = self.by_scheme.get(parts.scheme, "")
        if not proxy or is_loopback(parts.netloc):
            return ""
        host, port = parts.hostname or "", parts.port
        return "" if any(_matches(rule, host, port) for rule in self.exempt) else proxy


def _matches(rule: str, host: str, port: int | None) -> bool:
    if rule == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        pass
    name, colon, wanted = rule.rpartition(":")
    if colon and wanted.isdigit():
        if port != int(wanted):
            return False
        rule = name
    rule = rule.removeprefix("*").removeprefix(".").strip("[]")
    return host == rule or host.endswith(f".{rule}")
