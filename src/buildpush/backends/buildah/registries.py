"""The private configuration of one run: registries, credentials and signature policy."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from ...auth import Credential, Keychain
from ...dockerfile.stages import resolve
from ...errors import AuthError, BackendUnavailableError, CredentialConflictError, SpecError
from ...http.trust import Trust
from ...oci import ImageReference, Platform, Repository
from ...plan import BuildRequest
from ...runtime import Environment

__all__ = [
    "POLICY",
    "auth_json",
    "has_policy",
    "registries_conf",
    "sources",
    "user_registries",
]

POLICY: Final = '{"default": [{"type": "insecureAcceptAnything"}]}'
_SYSTEM: Final = Path("/etc/containers")
_MIRROR_KEYS: Final = ("location", "insecure", "pull-from-mirror")
_KEYS: Final = ("prefix", "location", "insecure", "blocked", "mirror-by-digest-only")

Table = dict[str, object]


def sources(request: BuildRequest) -> tuple[Repository, ...]:
    """The repositories a build may pull from: base images, images in COPY --from, mirrors."""
    found: dict[Repository, None] = {}
    for platform in request.platforms or (Platform.host(),):
        resolution = resolve(
            request.dockerfile,
            target=request.target,
            build_args=request.build_args,
            platform=platform,
            contexts=tuple(request.build_contexts),
        )
        found |= dict.fromkeys(image.reference.repository for image in resolution.base_images)
    for place in request.build_contexts.values():
        scheme, mark, name = place.partition("://")
        if mark and scheme in ("docker-image", "container-image", "docker"):
            with suppress(SpecError):
                found[ImageReference.parse(name).repository] = None
    for repository in tuple(found):
        for mirror in request.mirrors.get(repository.host, ()):
            host, _, prefix = mirror.partition("/")
            found[Repository(host, "/".join(filter(None, (prefix, repository.path))))] = None
    return tuple(found)


def auth_json(
    keychain: Keychain, pulls: Iterable[Repository], pushes: Iterable[Repository] = ()
) -> str:
    """The auth.json for *pulls* and *pushes*: a key for each repository, so none can get another's.

    Raises `CredentialConflictError` when one repository is needed with two credentials, and
    what the keychain raises.
    """
    auths: dict[str, Mapping[str, str]] = {}
    for repository in dict.fromkeys(pushes):
        # A cache is written and read with one file; a keychain that only pulls still reads.
        credential = keychain.resolve(repository, "push") or keychain.resolve(repository, "pull")
        if credential is not None:
            auths[str(repository)] = _entry(credential, repository)
    for repository in dict.fromkeys(pulls):
        credential = keychain.resolve(repository, "pull")
        if credential is None:
            continue
        entry = _entry(credential, repository)
        if auths.setdefault(str(repository), entry) != entry:
            raise CredentialConflictError(
                f"{repository} is a base image and a cache, with two credentials, and buildah"
                " takes one",
                hint="keep the cache in another repository",
            )
    return json.dumps({"auths": auths})


def _entry(credential: Credential, repository: Repository) -> Mapping[str, str]:
    if credential.registry_token:
        raise AuthError(
            f"buildah cannot use the registry token for {repository}",
            hint="give a username and a password, or use another backend",
        )
    name = "<token>" if credential.identity_token else credential.username
    password = "" if credential.identity_token else credential.password
    entry = {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}
    if credential.identity_token:
        entry["identitytoken"] = credential.identity_token
    return entry


def registries_conf(
    request: BuildRequest, hosts: Iterable[str], user: Iterable[Mapping[str, Any]] = ()
) -> str:
    """The registries.conf of a run: *user*'s own registries, and what *request* says of them.

    Short names mean Docker Hub and nobody is asked; *hosts* on this machine and those in
    ``insecure`` may speak plain HTTP; mirrors are asked first.
    """
    tables: dict[str, Table] = {}
    for table in user:
        kept: Table = {key: table[key] for key in _KEYS if key in table}
        mirrors = cast("list[Mapping[str, object]]", table.get("mirror", []))
        kept["mirror"] = [{k: m[k] for k in _MIRROR_KEYS if k in m} for m in mirrors]
        name = str(table.get("prefix") or table.get("location") or "")
        if name:
            tables[name] = kept
    insecure = Trust(request.insecure)
    for host in sorted({*hosts, *request.insecure}):
        if insecure.allows(host):
            _table(tables, host)["insecure"] = True
    for host, wanted in request.mirrors.items():
        locations: list[Table] = []
        for mirror in wanted:
            location: Table = {"location": mirror}
            if insecure.allows(mirror.partition("/")[0]):
                location["insecure"] = True
            locations.append(location)
        table = _table(tables, host)
        table["mirror"] = [*locations, *cast("list[Table]", table.get("mirror", []))]
    lines = ['unqualified-search-registries = ["docker.io"]', 'short-name-mode = "disabled"']
    for name in sorted(tables):
        lines += _written(tables[name])
    return "\n".join(lines) + "\n"


def _table(tables: dict[str, Table], host: str) -> Table:
    return tables.setdefault(host, {"prefix": host, "location": host})


def _written(table: Table) -> Iterator[str]:
    yield ""
    yield "[[registry]]"
    for key in _KEYS:
        if key in table:
            yield f"{key} = {json.dumps(table[key])}"  # strings and booleans: JSON is TOML
    for mirror in cast("list[Table]", table.get("mirror", [])):
        yield "[[registry.mirror]]"
        for key, value in mirror.items():
            yield f"{key} = {json.dumps(value)}"


def user_registries(environment: Environment) -> tuple[Mapping[str, Any], ...]:
    """The ``[[registry]]`` tables that this user's own buildah would read.

    Raises `BackendUnavailableError` for a file that is no TOML.
    """
    own = environment.home / ".config" / "containers"
    given = environment.variables.get("CONTAINERS_REGISTRIES_CONF")
    if given:
        files = [environment.cwd / given]
    else:
        files = [
            next(
                (f for f in (own / "registries.conf",) if f.is_file()), _SYSTEM / "registries.conf"
            )
        ]
        for folder in (_SYSTEM, own):
            files += sorted((folder / "registries.conf.d").glob("*.conf"))
    found: list[Mapping[str, Any]] = []
    for file in files:
        try:
            tables = tomllib.loads(file.read_text()).get("registry", [])
        except OSError:
            continue
        except ValueError as error:
            raise BackendUnavailableError(f"{file} cannot be understood: {error}") from error
        found += [table for table in tables if isinstance(table, dict)]
    return tuple(found)


def has_policy(environment: Environment) -> bool:
    """Whether this machine says whose signatures an image needs; buildah insists on an answer."""
    own = environment.home / ".config" / "containers" / "policy.json"
    return any(path.is_file() for path in (own, _SYSTEM / "policy.json"))
