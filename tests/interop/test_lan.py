"""`gateway dev --lan`, met by a phone: another network namespace at the other end of a cable.

The phone asks by multicast DNS as any resolver does (dnspython, one question), fetches the authority over plain HTTP,
and then everything else with it.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import dns.message
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from websockets.sync.client import connect
from zeroconf import AddressResolver, ServiceInfo, Zeroconf

from tests.interop.harness import Answer, GatewayProcess, curl
from tests.support.components import require
from tests.support.namespaces import Namespace
from tests.support.process import free_port, poll

pytestmark = pytest.mark.interop

LAPTOP, PHONE, LAPTOP6, PHONE6 = "192.168.77.1", "192.168.77.2", "fd77::1", "fd77::2"
MULTICAST = "224.0.0.251"
NO_CA = Path("/dev/null")


class Home:
    """A laptop, a phone, and what is between them."""

    def __init__(self) -> None:
        self.laptop, self.phone = Namespace(), Namespace()
        self.laptop.connect("lan0", self.phone, "wlan0")
        self.laptop.ip(f"addr add {LAPTOP}/24 dev lan0", f"addr add {LAPTOP6}/64 dev lan0 nodad")
        self.phone.ip(
            f"addr add {PHONE}/24 dev wlan0",
            f"addr add {PHONE6}/64 dev wlan0 nodad",
            "route add 224.0.0.0/4 dev wlan0",
        )

    def close(self) -> None:
        self.laptop.close()
        self.phone.close()

    @contextlib.contextmanager
    def gateway(self, *arguments: str, directory: Path) -> Iterator[Lan]:
        directory.mkdir()
        with contextlib.ExitStack() as stack:
            with self.laptop.inside():
                gateway = stack.enter_context(GatewayProcess("--lan", *arguments, directory=directory))
            yield Lan(self, gateway)

    def look_up(self, name: str, kind: str = "A") -> list[str]:
        """What the phone is told, by whoever answers first."""
        with self.phone.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(1)
            asking.sendto(dns.message.make_query(name, kind).to_wire(), (MULTICAST, 5353))
            try:
                data = asking.recv(9000)
            except TimeoutError:
                return []
        # An NSEC record that says what there is not may be compressed (RFC 6762 section 18.14), which DNS forbids.
        answer = dns.message.from_wire(data, continue_on_error=True)
        return [str(record) for records in answer.answer for record in records]


class Lan:
    """A gateway, as the phone sees it."""

    def __init__(self, home: Home, gateway: GatewayProcess) -> None:
        self.home, self.gateway = home, gateway

    def announced(self) -> tuple[str, str]:
        """The app's name and the page's URL."""
        url = self.gateway.printed(r"(?<=https://)\d+-\S+\.local(?=:)")
        return url, self.gateway.printed(r"http://192\S+")

    def get(self, url: str, ca: Path = NO_CA, *arguments: str, at: str = LAPTOP) -> Answer:
        host, port = url.split("/")[2].rsplit(":", 1)
        with self.home.phone.inside():
            return curl(url, ca, "--resolve", f"{host}:{port}:{at}", *arguments)

    def authority(self, folder: Path) -> Path:
        """Installed."""
        ca = folder / "downloaded.pem"
        ca.write_bytes(self.get(self.announced()[1] + "gateway-ca.pem").body)
        return ca


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    require("ip", "networks", "curl")
    home = Home()
    yield home
    home.close()


@pytest.fixture(scope="module")
def lan(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    with home.gateway(directory=tmp_path_factory.mktemp("lan") / "gateway") as lan:
        yield lan


def test_a_phone_finds_the_app_and_opens_it(lan: Lan, tmp_path: Path) -> None:
    name, _ = lan.announced()
    assert re.fullmatch(r"5\d{3,4}-[a-z0-9-]+\.local", name)
    assert lan.home.look_up(name) == [LAPTOP]
    assert lan.home.look_up(name, "AAAA") == [LAPTOP6]
    ca, port = lan.authority(tmp_path), lan.gateway.tls_port
    for at in LAPTOP, f"[{LAPTOP6}]":
        for protocol in "--http1.1", "--http2":
            assert lan.get(f"https://{name}:{port}/", ca, protocol, at=at).status == 200
    with lan.home.phone.inside():
        sock = socket.create_connection((LAPTOP, port))
    with connect(f"wss://{name}:{port}/ws", sock=sock, ssl=ssl.create_default_context(cafile=str(ca))) as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=20) == "hello"


def test_the_page_has_what_a_phone_needs_and_no_key(lan: Lan) -> None:
    name, page = lan.announced()
    html = lan.get(page, NO_CA, "--header", "Accept: text/html")
    assert html.header("content-type") == "text/html; charset=utf-8"
    assert f"https://{name}:{lan.gateway.tls_port}/" in html.text
    authority = lan.get(f"{page}gateway-ca.crt")
    assert authority.header("content-type") == "application/x-x509-ca-cert"
    certificate = x509.load_der_x509_certificate(authority.body)
    [permitted] = certificate.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    assert permitted.value == "local"
    pem = lan.get(f"{page}gateway-ca.pem")
    assert pem.header("content-type") == "application/x-pem-file"
    assert pem.body == certificate.public_bytes(Encoding.PEM)
    assert lan.get(f"{page}ca.key").status == 404
    assert lan.get(f"{page}../ca.key", NO_CA, "--path-as-is").status == 404
    assert lan.get(page, NO_CA, "--data", "x").status == 405
    fingerprint = lan.gateway.printed(r"(?<=SHA-256 is )[0-9A-F:]{95}")
    assert fingerprint in lan.get(page).text


def test_a_neighbour_reaches_nothing_else(lan: Lan) -> None:
    name, _ = lan.announced()
    port, gateway = lan.gateway.tls_port, lan.gateway
    admin = gateway.printed(r"(?<=http://127\.0\.0\.1:)\d+")
    demo = name.partition("-")[0]
    hosts = [
        name.replace(demo, admin),  # another port of this machine
        name.replace(demo, "22"),
        f"{demo}-demo.local",
        f"{demo}-demo.sandbox.localhost",
        "sandbox.localhost",
        f"127.0.0.1:{admin}",
        "local",
    ]
    for host in hosts:
        authority = host if ":" in host else f"{host}:{port}"
        answer = lan.get(f"https://{name}:{port}/", NO_CA, "--insecure", "--header", f"Host: {authority}")
        assert (answer.status, answer.header("x-gateway-error")) == (421, "unknown_domain"), host
    plain = lan.get(f"http://{name}:{port}/")
    assert (plain.status, plain.header("location")) == (308, f"https://{name}:{port}/")
    with lan.home.phone.inside():
        for address in LAPTOP, LAPTOP6:
            for closed in admin, demo:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((address, int(closed)), timeout=20)


def test_it_says_who_can_now_reach_what(lan: Lan) -> None:
    name, page = lan.announced()
    log = lan.gateway.log
    assert f"everybody in the network of lan0 ({LAPTOP}, {LAPTOP6}) can open, without a password:" in log
    for text in ("through this gateway nothing else", "has the authority to install", "5353 (UDP, multicast DNS)"):
        assert text in log
    with lan.home.laptop.inside():
        index = f"https://sandbox.localhost:{lan.gateway.tls_port}/"
        told = json.loads(curl(f"{index}index.json", lan.gateway.ca).body)
        assert curl(f"{index}qr/phone", lan.gateway.ca).header("content-type") == "image/svg+xml"
        for host, answers in (name, True), (name.replace(name.partition("-")[0], "22"), False):
            url = f"{lan.gateway.printed('http://127.0.0.1:[0-9]+')}/v1/explain?url=https://{host}:{lan.gateway.tls_port}/"
            assert (json.loads(curl(url, NO_CA).body)["reason"] is None) is answers
    assert told["phone"] == page
    assert told["sandboxes"][0]["ports"][0]["lan"] == f"https://{name}:{lan.gateway.tls_port}/"


def test_names_follow_the_addresses(tmp_path: Path) -> None:
    require("ip", "networks", "curl")
    with contextlib.closing(Home()) as home, home.gateway(directory=tmp_path / "gateway") as lan:
        name, _ = lan.announced()
        home.laptop.ip(f"addr del {LAPTOP}/24 dev lan0", "addr add 192.168.77.9/24 dev lan0")
        page = lan.gateway.printed(r"http://192\.168\.77\.9:\S+")
        poll(lambda: home.look_up(name) == ["192.168.77.9"], "the name has the new address", 30)
        assert lan.get(page, at="192.168.77.9").status == 200
        home.laptop.ip("link set lan0 down")
        lan.gateway.printed("no address in a local network")
        home.laptop.ip("link set lan0 up")
        poll(lambda: home.look_up(name) == ["192.168.77.9"], "the name is announced anew", 30)
        with home.phone.inside():
            remembers = Zeroconf(interfaces=[PHONE])
        with contextlib.closing(remembers):
            poll(lambda: AddressResolver(f"{name}.").request(remembers, 1000), "the phone has the address", 30)
            lan.gateway.stop()
            poll(
                lambda: not remembers.cache.entries_with_name(f"{name}."),
                "the phone is told that the name is gone, long before it would forget",
                30,
            )


def test_a_name_that_somebody_has_is_left_to_him(home: Home, lan: Lan, tmp_path: Path) -> None:
    port = free_port()
    name = f"{port}-{lan.announced()[0].partition('-')[2]}"
    with home.phone.inside():
        neighbour = Zeroconf(interfaces=[PHONE])
    try:
        label = name.partition(".")[0]
        theirs = ServiceInfo(
            "_https._tcp.local.",
            f"{label}._https._tcp.local.",
            port=1,
            server=f"{name}.",
            addresses=[socket.inet_aton(PHONE)],
        )
        neighbour.register_service(theirs, cooperating_responders=True)
        with home.gateway(str(port), directory=tmp_path / "gateway") as second:
            own = second.gateway.printed(rf"(?<=https://){re.escape(label)}-2\.local")
            assert f"{name} is the name of {PHONE} in the local network already" in second.gateway.log
            assert home.look_up(own) == [LAPTOP]
            answer = second.get(f"https://{own}:{second.gateway.tls_port}/", second.authority(tmp_path))
            assert answer.header("x-gateway-error") == "connection_refused"
    finally:
        neighbour.close()


def test_a_machine_without_a_network_says_so(tmp_path: Path) -> None:
    require("networks")
    with Namespace() as alone, alone.inside(), GatewayProcess("--lan", directory=tmp_path) as gateway:
        gateway.printed("this machine has no address in a local network; as soon as it has one")


def test_a_link_local_address_will_do_where_there_is_no_other(tmp_path: Path) -> None:
    require("ip", "networks")
    with Namespace() as laptop, Namespace() as phone:
        laptop.connect("lan0", phone, "wlan0")
        laptop.ip("addr add fe80::1/64 dev lan0 nodad")
        phone.ip("addr add fe80::2/64 dev wlan0 nodad")
        with laptop.inside(), GatewayProcess("--lan", directory=tmp_path) as gateway, phone.inside():
            page = gateway.printed(r"http://\d+-\S+\.local:\d+/")  # by name: no browser takes fe80::1%wlan0
            name, port = page.split("/")[2].split(":")
            with contextlib.closing(Zeroconf(interfaces=["fe80::2%wlan0"])) as asking:
                found = AddressResolver(f"{name}.")
                assert found.request(asking, 10_000)
                assert [each.partition("%")[0] for each in found.parsed_scoped_addresses()] == ["fe80::1"]
            with socket.create_connection(("fe80::1%wlan0", int(port)), timeout=20) as sock:
                sock.sendall(f"GET /gateway-ca.pem HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
            context = ssl.create_default_context(cadata=answer.partition("\r\n\r\n")[2])
            with (
                socket.create_connection(("fe80::1%wlan0", gateway.tls_port), timeout=20) as sock,
                context.wrap_socket(sock, server_hostname=name) as secure,
            ):
                secure.sendall(f"GET / HTTP/1.1\r\nHost: {name}:{gateway.tls_port}\r\n\r\n".encode())
                assert secure.recv(65536).startswith(b"HTTP/1.1 200 ")
