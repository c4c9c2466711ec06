"""What is promised of proxies: taken where they are set, left out where they are not wanted."""

from __future__ import annotations

import base64
import logging
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from attrs import define, evolve, field

from buildpush.errors import RegistryUnavailableError
from buildpush.http.proxies import Proxies
from buildpush.http.trust import Certificates
from buildpush.oci import ImageReference
from buildpush.oci.layout import Layout
from buildpush.oci.wire import MediaType
from buildpush.registry import RegistryClient
from buildpush.registry.pull import pull
from buildpush.registry.push import push
from buildpush.runtime import Environment, Run
from buildpush.testing import Dialect, LocalRegistry, PrivateCa, find_secrets

ClientFor = Callable[..., RegistryClient]
MakeEnvironment = Callable[[Mapping[str, str]], Environment]
CANARY = "pr0xy-c4n4ry/%?"
QUOTED = "pr0xy-c4n4ry%2F%25%3F"


@define(eq=False)
class Proxy:
    """A proxy that notes every CONNECT, and connects to this machine whatever the name.

    With a *password* it lets only its holder through.
    """

    password: str = ""
    connects: list[str] = field(factory=list[str])
    _listener: socket.socket = field(factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            target = head.split()[1].decode()
            self.connects.append(target)
            proof = base64.b64encode(f"ci:{self.password}".encode())
            if self.password and b"Proxy-Authorization: Basic " + proof not in head:
                client.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as there:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                _pump(client, there)


def _pump(left: socket.socket, right: socket.socket) -> None:
    other = {left: right, right: left}
    while True:
        for ready in select.select([left, right], [], [])[0]:
            piece = ready.recv(65536)
            if not piece:
                return
            other[ready].sendall(piece)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name of example.com and example.net is this machine."""
    ask = socket.getaddrinfo

    def resolve(host: str | bytes, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        ours = name.endswith((".example.com", ".example.net"))
        return ask("127.0.0.1" if ours else name, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[tuple[LocalRegistry, Mapping[str, Certificates]]]:
    """One registry with all names of the world, and whom to believe for each."""
    authority = PrivateCa()
    tls = authority.server("hub.example.net", "registry.corp.example.com", "127.0.0.1")
    with LocalRegistry(tls=tls, dialect=Dialect(locations="relative")) as registry:
        own = Certificates(ca=authority.file(tmp_path))
        yield registry, {"hub.example.net": own, "registry.corp.example.com": own}


def port(registry: LocalRegistry) -> str:
    return registry.host.partition(":")[2]


@pytest.mark.parametrize(
    "exempt",
    [
        "registry.corp.example.com",
        ".corp.example.com",
        "*.corp.example.com",
        "corp.example.com",
        "localhost, REGISTRY.corp.example.com ,10.0.0.0/8",
        "registry.corp.example.com:PORT",
    ],
)
@pytest.mark.usefixtures("world")
def test_the_base_comes_through_the_proxy_and_the_push_goes_straight(
    run: Run,
    environment: MakeEnvironment,
    client_for: ClientFor,
    layout: Layout,
    images: Any,
    registries: tuple[LocalRegistry, Mapping[str, Certificates]],
    exempt: str,
) -> None:
    """However the destination is written in NO_PROXY: not one CONNECT for it."""
    registry, certificates = registries
    image = images.image(b"layer")
    data = layout.read(image.digest)
    registry.add_manifest("base", data, MediaType.OCI_MANIFEST, tag="1")
    for blob in (b"layer", b'{"os":"linux"}'):
        registry.add_blob("base", blob)
    base = ImageReference.parse(f"hub.example.net:{port(registry)}/base:1")
    place = ImageReference.parse(f"registry.corp.example.com:{port(registry)}/app:1")
    with Proxy() as proxy:
        named = environment(
            {
                "HTTPS_PROXY": f"http://{proxy.address}",
                "NO_PROXY": exempt.replace("PORT", port(registry)),
            }
        )
        here = evolve(run, environment=named)
        client = client_for(run=here, certificates=certificates)
        target = Layout.create(here.workdir / "pulled")

        top = pull(client, base, target, run=here)
        push(client, target, top.digest, (place,), origins={}, run=here)

        assert set(proxy.connects) == {f"hub.example.net:{port(registry)}"}
        assert registry.digest("app", "1") == image.digest


def test_a_destination_in_an_exempt_network_goes_straight() -> None:
    """By its address; of this machine's, which go straight anyway, a test could learn nothing."""
    proxies = Proxies.read({"https_proxy": "http://p:1", "no_proxy": "10.0.0.0/8,fd00::/8"})

    chosen = {
        host: proxies.choose(f"https://{host}/v2/")
        for host in ("10.1.2.3:5000", "11.1.2.3", "[fd00::7]:5000", "[2001:db8::7]")
    }

    assert chosen == {
        "10.1.2.3:5000": "",
        "11.1.2.3": "http://p:1",
        "[fd00::7]:5000": "",
        "[2001:db8::7]": "http://p:1",
    }


@pytest.mark.parametrize(
    ("rule", "url", "direct"),
    [
        ("r.io:443", "https://r.io/", True),
        ("r.io:443", "http://r.io/", False),
        ("r.io:5000", "https://r.io/", False),
        ("[2001:db8::1]:5000", "https://[2001:db8::1]:5000/", True),
        ("[2001:db8::1]:5000", "https://[2001:db8::1]/", False),
        ("[2001:db8::1]", "https://[2001:db8::1]:5000/", True),
        ("2001:db8::1", "https://[2001:db8:0::1]/", True),
        ("2001:db8::/32", "https://[2001:db8::1]/", True),
        ("2001:db8::/32", "https://[2001:db9::1]/", False),
        ("fe80::1", "https://[fe80::2]/", False),
        ("10.0.0.0/8:5000", "https://10.1.2.3:5000/", True),
        ("10.0.0.0/8:5000", "https://10.1.2.3/", False),
        ("r.io.", "https://r.io/", True),
        ("r.io", "https://R.IO./", True),
        (".", "https://r.io/", False),
        (" ,,", "https://r.io/", False),
    ],
)
def test_a_host_is_exempt_as_it_is_written(rule: str, url: str, direct: bool) -> None:
    """Ports count where they are named, an IPv6 address is one address however it is spelled."""
    proxies = Proxies.read({"all_proxy": "http://p:1", "no_proxy": rule})

    assert (proxies.choose(url) == "") is direct


class _Whole(logging.Handler):
    """Keeps every record of every logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {record.args!r}")


@pytest.fixture
def whole() -> Iterator[_Whole]:
    """Everything that anybody logs, at DEBUG."""
    handler, root = _Whole(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.usefixtures("world")
def test_a_proxys_password_opens_it_and_is_seen_nowhere(
    run: Run,
    environment: MakeEnvironment,
    client_for: ClientFor,
    registries: tuple[LocalRegistry, Mapping[str, Certificates]],
    whole: _Whole,
) -> None:
    """Not as it is written in the variable, nor decoded, nor as it is sent."""
    registry, certificates = registries
    base = ImageReference.parse(f"hub.example.net:{port(registry)}/base:1")
    with Proxy(CANARY) as proxy:
        here = evolve(
            run, environment=environment({"HTTPS_PROXY": f"http://ci:{QUOTED}@{proxy.address}"})
        )
        client = client_for(run=here, certificates=certificates)

        assert client.head_manifest(base) is None

        assert proxy.connects == [f"hub.example.net:{port(registry)}"]
        forms = (CANARY, QUOTED, base64.b64encode(f"ci:{CANARY}".encode()).decode())
        assert find_secrets(forms, "\n".join([*whole.lines, repr(client)])) == ()
        assert {here.redact(form) for form in forms} == {"***"}


@pytest.mark.usefixtures("world")
def test_a_proxy_that_refuses_us_is_named_without_its_password(
    run: Run, environment: MakeEnvironment, client_for: ClientFor, whole: _Whole
) -> None:
    """The answer, and the variables to look at."""
    with Proxy("another") as proxy:
        here = evolve(
            run, environment=environment({"HTTPS_PROXY": f"http://ci:{QUOTED}@{proxy.address}"})
        )

        with pytest.raises(RegistryUnavailableError, match="407 Who are you") as caught:
            client_for(run=here).head_manifest(ImageReference.parse("hub.example.net:5000/base:1"))

        assert "HTTPS_PROXY" in caught.value.hint
        shown = "\n".join([*whole.lines, caught.value.report()])
        assert find_secrets((CANARY, QUOTED), shown) == ()


def test_a_proxy_that_is_not_there_is_named_and_not_the_registry(
    run: Run, environment: MakeEnvironment, client_for: ClientFor
) -> None:
    """Nobody looks for the fault at a registry that was never asked; the password stays out."""
    with Proxy() as proxy:
        gone = proxy.address
    here = evolve(run, environment=environment({"HTTPS_PROXY": f"http://ci:{QUOTED}@{gone}"}))

    with pytest.raises(RegistryUnavailableError) as caught:
        client_for(run=here).head_manifest(ImageReference.parse("hub.example.net:5000/base:1"))

    expected = f"cannot reach hub.example.net:5000 through the proxy {gone}: "
    assert expected in caught.value.message
    assert gone in caught.value.hint and "HTTPS_PROXY" in caught.value.hint
    assert find_secrets((CANARY, QUOTED), caught.value.report()) == ()
