"""What ``doctor`` finds out: what each backend can do here, which engines and logins there are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from ..auth.files import KnownRegistries, ambient_files
from ..backends import AUTO_ORDER, BackendCatalog
from ..backends.engine.endpoints import current, discover, socket_path
from ..backends.engine.folder import buildx_plugin
from ..errors import AuthError, BuildpushError, PlanError
from ..plan import Capabilities, Feature
from ..runtime import CancelToken, Environment
from .commands import print_json

_PASSWORD: Final = re.compile(r"//([^/@:]*):[^/@]*@")


@frozen(kw_only=True)
class Finding:
    """What was found out about one backend: its capabilities, or why there are none."""

    name: str
    capabilities: Capabilities | None
    problem: str = ""
    hint: str = ""


@frozen(kw_only=True)
class Engine:
    """Where a docker engine listens; *chosen* is the one that ``docker`` would speak to."""

    name: str
    host: str
    chosen: bool = False


@frozen(kw_only=True)
class Login:
    """A file that credentials are looked for in: what it knows, or why it cannot be read."""

    source: str
    known: KnownRegistries | None
    problem: str = ""


@frozen(kw_only=True)
class Surroundings:
    """What the backends have to work with. Names only: nothing in it is secret."""

    engines: tuple[Engine, ...]
    no_engine: str
    buildx: str
    logins: tuple[Login, ...]
    missing_helpers: frozenset[str]


def doctor(arguments: argparse.Namespace, cancel: CancelToken) -> None:
    """``doctor``: print what each backend can do here and why not, and what there is to work with."""
    findings = examine(BackendCatalog.discover())
    around = look_around(Environment.current())
    cancel.check()
    if arguments.json:
        print_json(to_json(findings, around))
        return
    for finding in findings:
        print("\n".join(_finding_lines(finding)))
    print("\n".join(_surroundings_lines(around)))


def examine(catalog: BackendCatalog) -> tuple[Finding, ...]:
    """Probe every backend that is installed or that ``auto`` knows, in ``auto``'s order."""
    names = (*AUTO_ORDER, *sorted(set(catalog.entries) - set(AUTO_ORDER)))
    return tuple(_examine(catalog, name) for name in names)


def _examine(catalog: BackendCatalog, name: str) -> Finding:
    try:
        return Finding(name=name, capabilities=catalog.load(name).probe())
    except BuildpushError as error:
        return Finding(name=name, capabilities=None, problem=error.message, hint=error.hint)


def look_around(environment: Environment) -> Surroundings:
    """Find engines' sockets, the buildx plugin and credentials' files; speaks to none of them."""
    engines, problem = _engines(environment)
    logins = tuple(_logins(environment))
    helpers = {
        helper for login in logins if login.known for helper in login.known.helpers.values()
    }
    return Surroundings(
        engines=engines,
        no_engine=problem,
        buildx=str(buildx_plugin(environment) or ""),
        logins=logins,
        missing_helpers=frozenset(
            helper
            for helper in helpers
            if environment.which(f"docker-credential-{helper}") is None
        ),
    )


def _engines(environment: Environment) -> tuple[tuple[Engine, ...], str]:
    """The engine that ``docker`` would speak to, or why there is none, and every other socket."""
    problem = ""
    found: dict[str, Engine] = {}
    try:
        chosen = current(environment)
        host = _PASSWORD.sub(r"//\1:…@", chosen.host)
        found[chosen.host] = Engine(name=chosen.name, host=host, chosen=True)
    except PlanError as error:
        problem = error.message
    for endpoint in discover(environment):
        path = socket_path(endpoint)
        if path is not None and path.is_socket():
            found.setdefault(endpoint.host, Engine(name=endpoint.name, host=endpoint.host))
    return tuple(found.values()), problem


def _logins(environment: Environment) -> Iterator[Login]:
    for file in ambient_files(environment):
        try:
            known = file.known()
        except AuthError as error:
            yield Login(source=file.source or str(file.path), known=None, problem=error.message)
        else:
            yield Login(source=known.source, known=known)


def _finding_lines(finding: Finding) -> Iterable[str]:
    found = finding.capabilities
    if found is None:
        yield f"{finding.name}: not here: {finding.problem}"
        if finding.hint:
            yield f"    {finding.hint}"
        return
    platforms = ", ".join(map(str, found.platforms)) or "what its nodes are"
    run = platforms if Feature.RUN in found.features else "none"
    yield f"{finding.name} {found.version}: ready (RUN for {run})"
    yield from (f"    {remark}" for remark in found.remarks)
    missing: dict[str, list[str]] = {}
    for feature in Feature:
        if feature not in found.features:
            missing.setdefault(found.notes.get(feature, ""), []).append(feature.value)
    for why, features in missing.items():
        yield from (f"    cannot {feature}" for feature in features)
        if why:
            yield f"        since: {why}"


def _surroundings_lines(around: Surroundings) -> Iterable[str]:
    yield "docker engines:"
    for engine in around.engines:
        chosen = " (the one that docker speaks to)" if engine.chosen else ""
        yield f"    {engine.name}: {engine.host}{chosen}"
    if around.no_engine:
        yield f"    none for docker: {around.no_engine}"
    yield f"docker buildx: {around.buildx or 'not installed'}"
    yield "credentials:"
    for login in around.logins:
        yield f"    {login.source}: {_login_text(login, around.missing_helpers)}"


def _login_text(login: Login, missing: frozenset[str]) -> str:
    if login.known is None:
        return login.problem
    if login.known.absent:
        return "no such file"
    parts = list(login.known.registries)
    for host, helper in login.known.helpers.items():
        gone = ", which is not installed" if helper in missing else ""
        parts.append(f"{host or 'all registries'} by docker-credential-{helper}{gone}")
    return "; ".join(parts) or "nothing in it"


def to_json(findings: Iterable[Finding], around: Surroundings) -> dict[str, object]:
    """The findings as JSON values."""
    return {
        "backends": [_finding_to_json(finding) for finding in findings],
        "engines": [
            {"name": engine.name, "host": engine.host, "chosen": engine.chosen}
            for engine in around.engines
        ],
        "buildx": around.buildx or None,
        "credentials": [_login_to_json(login, around.missing_helpers) for login in around.logins],
    }


def _finding_to_json(finding: Finding) -> dict[str, object]:
    found = finding.capabilities
    if found is None:
        return {
            "backend": finding.name,
            "ready": False,
            "problem": finding.problem,
            "hint": finding.hint,
        }
    return {
        "backend": finding.name,
        "ready": True,
        "version": found.version,
        "platforms": [str(platform) for platform in found.platforms],
        "features": sorted(feature.name.lower() for feature in found.features),
        "remarks": list(found.remarks),
        "notes": {feature.name.lower(): note for feature, note in found.notes.items()},
    }


def _login_to_json(login: Login, missing: frozenset[str]) -> dict[str, object]:
    if login.known is None:
        return {"source": login.source, "problem": login.problem}
    return {
        "source": login.source,
        "there": not login.known.absent,
        "registries": list(login.known.registries),
        "helpers": {
            host: {"name": helper, "installed": helper not in missing}
            for host, helper in login.known.helpers.items()
        },
    }
