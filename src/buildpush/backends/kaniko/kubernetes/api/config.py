"""Which cluster, as whom, in which namespace: read from where kubectl reads it, by its rules."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

from attrs import evolve, field, frozen

from .....errors import AuthError, BackendUnavailableError
from .....runtime import Environment, Hidden
from .wire import ClusterEntry, ContextEntry, ExecEntry, Kubeconfig, UserEntry, parse

__all__ = ["ACCOUNT", "Access", "Pem", "Plugin", "User", "read_access"]

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds the token, the authority and the namespace of its service account."""
_LARGEST: Final = 8 << 20

E = TypeVar("E", ClusterEntry, ContextEntry, UserEntry)


@frozen(kw_only=True)
class Pem:
    """Something in PEM form that stands in a kubeconfig itself, or in a file that it names."""

    what: str
    data: bytes = field(default=b"", repr=False)
    path: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.data or self.path)

    def read(self) -> bytes:
        """The PEM text. Raises `BackendUnavailableError` when its file cannot be read."""
        if self.data or self.path is None:
            return self.data
        return _bytes_of(self.path, self.what)


@frozen(kw_only=True)
class Plugin:
    """A program that knows the credential: *entry* stands in *folder*, for the cluster *info*."""

    entry: ExecEntry
    folder: Path
    source: str
    info: Mapping[str, object] = field(repr=False)


@frozen(kw_only=True)
class User:
    """As whom to ask; what is empty is not used. *headers* ask to act as somebody else."""

    token: Hidden = field(factory=Hidden)
    token_file: Path | None = None
    username: str = ""
    password: Hidden = field(factory=Hidden)
    cert: Pem = Pem(what="client-certificate")
    key: Pem = Pem(what="client-key")
    plugin: Plugin | None = None
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class Access:
    """Where a cluster is, how it is known, and as whom to ask it.

    *source* says where that was found, in words for messages. *proxy* may hold a password.
    """

    server: str
    namespace: str
    source: str
    user: User
    ca: Pem = Pem(what="certificate-authority")
    skip_verify: bool = False
    server_name: str = ""
    proxy: Hidden = field(factory=Hidden)


@frozen(kw_only=True)
class _Origin:
    """Where an entry stands: what relative paths in it are relative to, and what to call it."""

    path: Path

    def resolve(self, text: str) -> Path | None:
        return self.path.parent / text if text else None


@frozen
class _Merged:
    """Several kubeconfig files as one: the first that has a name, or a value, wins."""

    paths: tuple[Path, ...]
    current: str
    clusters: Mapping[str, tuple[ClusterEntry, _Origin]]
    contexts: Mapping[str, tuple[ContextEntry, _Origin]]
    users: Mapping[str, tuple[UserEntry, _Origin]]

    @property
    def place(self) -> str:
        return ", ".join(str(path) for path in self.paths)


def read_access(
    environment: Environment,
    *,
    kubeconfig: Path | None = None,
    context: str = "",
    namespace: str = "",
    account: Path = ACCOUNT,
) -> Access:
    """Find the cluster that kubectl would find.

    That is the *context* (else the current one) of *kubeconfig*, else of the files in
    ``KUBECONFIG``, else of ``~/.kube/config``; where there is none, the cluster in whose pod we
    are. Raises `BackendUnavailableError` or `AuthError`, which never hold what is secret.
    """
    inside = _in_cluster(environment, account)
    merged = _merge(_files(environment, kubeconfig))
    name = context or merged.current
    if not name and kubeconfig is None and inside is not None:
        return _within(inside, namespace)
    found = _from_context(merged, name, _looked(environment, kubeconfig))
    settled = namespace or merged.contexts[name][0].namespace
    if not settled:
        settled = inside.namespace if inside and kubeconfig is None else "default"
    return _within(found, settled)


def _within(access: Access, namespace: str) -> Access:
    return evolve(access, namespace=namespace) if namespace else access


def _looked(environment: Environment, kubeconfig: Path | None) -> str:
    """Where a kubeconfig was looked for, in words."""
    if kubeconfig is not None:
        return str(kubeconfig)
    listed = environment.variables.get("KUBECONFIG", "")
    if listed:
        return f"{listed} (KUBECONFIG)"
    return f"{environment.home / '.kube' / 'config'} (KUBECONFIG is not set)"


def _files(environment: Environment, kubeconfig: Path | None) -> list[Path]:
    """The files to read, in order; those that need not exist only when they do."""
    if kubeconfig is not None:
        path = environment.cwd / kubeconfig
        if not path.exists():
            raise BackendUnavailableError(
                f"there is no kubeconfig {path}", hint="name one that exists"
            )
        return [path]
    listed = environment.variables.get("KUBECONFIG", "")
    if listed:
        named = dict.fromkeys(part for part in listed.split(":") if part)
        paths = [environment.cwd / part for part in named]
    else:
        paths = [environment.home / ".kube" / "config"]
    return [path for path in paths if path.exists()]


def _merge(paths: Iterable[Path]) -> _Merged:
    current = ""
    clusters: dict[str, tuple[ClusterEntry, _Origin]] = {}
    contexts: dict[str, tuple[ContextEntry, _Origin]] = {}
    users: dict[str, tuple[UserEntry, _Origin]] = {}
    read: list[Path] = []
    for path in paths:
        config, origin = _load(path), _Origin(path=path)
        read.append(path)
        current = current or config.current
        for cluster in config.clusters:
            clusters.setdefault(cluster.name, (cluster.cluster, origin))
        for context in config.contexts:
            contexts.setdefault(context.name, (context.context, origin))
        for user in config.users:
            users.setdefault(user.name, (user.user, origin))
    return _Merged(tuple(read), current, clusters, contexts, users)


def _load(path: Path) -> Kubeconfig:
    try:
        from .yamls import YamlError, read_yaml  # lazily: PyYAML is an extra
    except ImportError as error:
        raise BackendUnavailableError(
            "reading a kubeconfig needs PyYAML", hint='pip install "buildpush[k8s]"'
        ) from error
    data = _bytes_of(path, "the kubeconfig")
    try:
        value = read_yaml(data)
    except YamlError as error:
        line = f" (line {error.line})" if error.line else ""
        raise BackendUnavailableError(
            f"the kubeconfig {path} is not YAML{line}", hint="mend the file, or name another"
        ) from None
    return parse({} if value is None else value, Kubeconfig, f"the kubeconfig {path}")


def _bytes_of(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise BackendUnavailableError(
            f"{what} {path} cannot be read: {error.strerror}",
            hint="make it readable for this user, or name another file",
        ) from error
    if len(data) > _LARGEST:
        raise BackendUnavailableError(f"{what} {path} is larger than 8 MiB")
    return data


def _from_context(merged: _Merged, name: str, looked: str) -> Access:
    if not merged.paths:
        raise BackendUnavailableError(
            f"no cluster is configured: {looked} is not there, and this is no pod of a cluster",
            hint="set KUBECONFIG to a kubeconfig, or name one",
        )
    if not name:
        raise BackendUnavailableError(
            f"{merged.place} has no current-context{_instead(merged.contexts)}",
            hint="name a context, or choose one: kubectl config use-context NAME",
        )
    context, _ = _entry(merged.contexts, name, "context", merged.place)
    where = f'context "{name}" of {merged.place}'
    cluster, stands = _entry(merged.clusters, context.cluster, "cluster", where)
    if not cluster.server:
        raise BackendUnavailableError(
            f'cluster "{context.cluster}" of {stands.path} has no server', hint="add its URL"
        )
    user = User()
    ca = _pem("certificate-authority", cluster.ca_data, stands.resolve(cluster.ca_file), where)
    if context.user:
        entry, origin = _entry(merged.users, context.user, "user", where)
        telling = entry.exec is not None and entry.exec.tell_cluster
        info: Mapping[str, object] = _info(cluster, ca) if telling else {}
        user = _user(entry, origin, f'user "{context.user}" of {origin.path}', info)
    return Access(
        server=_url(cluster, secure=bool(ca or user.cert or cluster.skip_verify), where=where),
        namespace=context.namespace,
        source=where,
        user=user,
        ca=ca,
        skip_verify=cluster.skip_verify,
        server_name=cluster.server_name,
        proxy=Hidden(cluster.proxy),
    )


def _entry(
    entries: Mapping[str, tuple[E, _Origin]], name: str, what: str, where: str
) -> tuple[E, _Origin]:
    found = entries.get(name)
    if found is not None:
        return found
    wanted = f'{what} "{name}"' if name else what
    if what == "context":
        message = f"{where} has no {wanted}{_instead(entries)}"
    elif name:
        message = f"{where} names the {wanted}, which is not there{_instead(entries)}"
    else:
        message = f"{where} names no {what}{_instead(entries)}"
    raise BackendUnavailableError(message, hint="look with: kubectl config get-contexts")


def _instead(entries: Mapping[str, object]) -> str:
    return f"; there are {', '.join(sorted(entries))}" if entries else "; there are none"


def _url(cluster: ClusterEntry, *, secure: bool, where: str) -> str:
    server = cluster.server.rstrip("/")
    if "://" not in server:
        server = f"{'https' if secure else 'http'}://{server}"
    try:
        parts = urlsplit(server)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and (parts.port is None or parts.port > 0)
        usable = usable and "@" not in parts.netloc
    except ValueError:
        usable = False
    if not usable:
        raise BackendUnavailableError(
            f"the server of {where} is no http or https URL", hint="mend its cluster's server"
        )
    return server.partition("?")[0].partition("#")[0]


def _user(entry: UserEntry, origin: _Origin, source: str, info: Mapping[str, object]) -> User:
    if entry.auth_provider is not None:
        raise AuthError(
            f"{source} has an auth-provider, which Kubernetes has removed in 1.26",
            hint="replace it by an exec plugin: gke-gcloud-auth-plugin, kubelogin, …",
        )
    cert = _pem("client-certificate", entry.cert_data, origin.resolve(entry.cert_file), source)
    key = _pem("client-key", entry.key_data, origin.resolve(entry.key_file), source)
    if bool(cert) != bool(key):
        has, lacks = (cert, key) if cert else (key, cert)
        raise AuthError(f"{source} has a {has.what}, but no {lacks.what}")
    plugin = None
    if entry.exec is not None:
        plugin = Plugin(entry=entry.exec, folder=origin.path.parent, source=source, info=info)
    return User(
        token=Hidden(entry.token),
        token_file=origin.resolve(entry.token_file),
        username=entry.username,
        password=Hidden(entry.password),
        cert=cert,
        key=key,
        plugin=plugin,
        headers=_impersonation(entry),
    )


def _impersonation(entry: UserEntry) -> tuple[tuple[str, str], ...]:
    """Headers, as the API server wants them; keys of extras are percent-encoded."""
    found: list[tuple[str, str]] = []
    if entry.as_user:
        found.append(("Impersonate-User", entry.as_user))
    if entry.as_uid:
        found.append(("Impersonate-Uid", entry.as_uid))
    found += [("Impersonate-Group", group) for group in entry.as_groups]
    for key, values in entry.as_extra.items():
        name = f"Impersonate-Extra-{quote(key.lower(), safe='')}"
        found += [(name, value) for value in values]
    return tuple(found)


def _pem(what: str, data: str, path: Path | None, source: str) -> Pem:
    """What a kubeconfig holds itself goes before a file that it names."""
    if not data:
        return Pem(what=what, path=path)
    try:
        return Pem(what=what, data=base64.b64decode("".join(data.split()), validate=True))
    except (binascii.Error, ValueError):
        raise BackendUnavailableError(f"the {what}-data of {source} is not base64") from None


def _info(cluster: ClusterEntry, ca: Pem) -> Mapping[str, object]:
    """What an exec plugin is told of the cluster (client-go's ``Cluster``)."""
    found: dict[str, object] = {"server": cluster.server}
    if cluster.server_name:
        found["tls-server-name"] = cluster.server_name
    if cluster.skip_verify:
        found["insecure-skip-tls-verify"] = True
    authority = b"" if cluster.skip_verify else ca.read()
    if authority:
        found["certificate-authority-data"] = base64.b64encode(authority).decode()
    if cluster.proxy:
        found["proxy-url"] = cluster.proxy
    if cluster.disable_compression:
        found["disable-compression"] = True
    for one in cluster.extensions:
        if one.name == "client.authentication.k8s.io/exec":
            found["config"] = one.extension
    return found


def _in_cluster(environment: Environment, account: Path) -> Access | None:
    """The cluster in whose pod we are; None when we are in none."""
    variables = environment.variables
    host = variables.get("KUBERNETES_SERVICE_HOST", "")
    port = variables.get("KUBERNETES_SERVICE_PORT", "")
    token = account / "token"
    if not host or not port.isdigit() or not token.is_file():
        return None
    namespace = account / "namespace"
    own = namespace.read_text().strip() if namespace.is_file() else ""
    ca = account / "ca.crt"
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=variables.get("POD_NAMESPACE", "") or own or "default",
        source=f"the service account of this pod ({account})",
        user=User(token_file=token),
        ca=Pem(what="certificate-authority", path=ca if ca.is_file() else None),
    )
