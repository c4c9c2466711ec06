"""Which proxy a request takes, read from the environment the way curl and Go read it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

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

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody is to read of the URLs: passwords, as written and as they are sent."""
        found: list[str] = []
        for proxy in self.by_scheme.values():
            user, colon, password = _user_info(proxy).partition(":")
            if colon:
                pair = f"{unquote(user)}:{unquote(password)}"
                found += [password, unquote(password), pair]
        return tuple(dict.fromkeys(secret for secret in found if secret))

    def choose(self, url: str) -> str:
        """The proxy for *url*; empty when it is to be asked directly, as this machine always is."""
        parts = urlsplit(url)
        proxy = self.by_scheme.get(parts.scheme, "")
        if not proxy or is_loopback(parts.netloc):
            return ""
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        return "" if any(_matches(rule, host, port) for rule in self.exempt) else proxy


def _user_info(url: str) -> str:
    """What stands before the @, of a URL that need not be a good one."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[0]


def _matches(rule: str, host: str, port: int | None) -> bool:
    """Whether *rule* exempts a host: a name, a suffix, an address or a network; perhaps a port."""
    if rule == "*":
        return True
    name, wanted = _split(rule)
    if wanted is not None and wanted != port:
        return False
    try:
        network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        suffix = name.removeprefix("*").removeprefix(".").rstrip(".")
        return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))
    try:
        return ipaddress.ip_address(host.partition("%")[0]) in network
    except ValueError:
        return False


def _split(rule: str) -> tuple[str, int | None]:
    """A rule without its port, and the port; brackets tell where an IPv6 address ends."""
    name, colon, port = rule.rpartition(":")
    whole = ":" not in name or name.endswith("]")
    if colon and port.isdecimal() and whole:
        return name.strip("[]"), int(port)
    return rule.strip("[]"), None
