"""What docs/deploy.md has HAProxy and nginx do in front of the gateway, run as it is written there.

Each block of the document is the whole configuration of a balancer, in a network of its own: that has the addresses and
ports that the document names, so nothing but the folder of the balancer's certificate is put in.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import sys
from pathlib import Path

import pytest

from tests.support.balancers import (
    CLIENT,
    SITE,
    SPOOFED,
    Balancer,
    Fields,
    Server,
    assert_told_the_truth,
    serving,
    site,
)
from tests.support.components import NGINX_STREAM, program, require
from tests.support.namespaces import Namespace
from tests.support.process import ROOT, Child

pytestmark = [pytest.mark.interop, pytest.mark.ipv6]

HOST = f"5000-demo.{SITE}"
GATEWAYS = ("fd00:1b::10", "fd00:1b::11")
"""As the document has it; here both are addresses of the one that runs."""
SANDBOX = "fd00::5"
"""As config/sandboxes.toml has it."""
BLOCK = re.compile(r"^```(haproxy|nginx)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recipes() -> list[tuple[str, str, str]]:
    """Which balancer, the gateway's configuration (the last one named before it), and the block."""
    document = (ROOT / "docs" / "deploy.md").read_text()
    return [
        (block[1], re.findall(r"config/(behind-[\w-]+\.toml)", document[: block.start()])[-1], block[2])
        for block in BLOCK.finditer(document)
    ]


class App(Fields):
    """Answers a request with its fields, and an upgrade with what is said to it."""

    def do_GET(self) -> None:
        if "Upgrade" not in self.headers:
            super().do_GET()
            return
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        self.wfile.write(self.rfile.read(5))
        self.close_connection = True


class Gateway(Child):
    """`gateway serve` of a file in config/, which is copied as it stands."""

    def __init__(self, folder: Path, config: str) -> None:
        command = [sys.executable, "-m", "gateway", "serve", "--config", f"config/{config}"]
        super().__init__(
            command, cwd=folder, env={"GATEWAY_PROCESS__WORKERS": "1", "GATEWAY_PROCESS__DRAIN_DELAY": "0s"}
        )

    def ready(self) -> None:
        self.wait_until(lambda: "health on http://127.0.0.1:9090/readyz" in self.log, "it serves")

    def stopped(self, code: int) -> None:
        assert code == 0


def balancer(kind: str, folder: Path, block: str) -> Balancer:
    """In this thread's network."""
    block = block.replace(f"/etc/{kind}/", f"{folder}/")
    file = folder / f"{kind}.conf"
    if kind == "haproxy":
        require("haproxy")
        file.write_text(block)
        return Balancer([program("haproxy") or "haproxy", "-db", "-f", str(file)], folder, 443)
    require("nginx", "nginx stream")
    where = "http { access_log off; %s }" if "inside http { }" in block else "%s"
    file.write_text(
        f"load_module {NGINX_STREAM}; user root; daemon off; master_process off; pid {folder}/nginx.pid;\n"
        f"error_log stderr crit; events {{}}\n{where % block}"
    )
    return Balancer(["nginx", "-p", str(folder), "-c", str(file), "-e", "stderr"], folder, 443)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is below /etc/gateway, and of the balancer's own folder."""
    return site(tmp_path)


@pytest.mark.parametrize(
    ("kind", "config", "block"), recipes(), ids=[f"{kind}-{config[7:11]}" for kind, config, _ in recipes()]
)
def test_the_recipe_works(folder: Path, kind: str, config: str, block: str) -> None:
    require("networks")
    context = ssl.create_default_context(cafile=folder / "made" / "ca.pem")
    network = Namespace()
    network.ip(*(f"address add {address}/128 dev lo nodad" for address in (*GATEWAYS, SANDBOX)))

    def connect(port: int) -> socket.socket:
        with network.inside():
            return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(CLIENT, 0))

    def secured() -> ssl.SSLSocket:
        return context.wrap_socket(connect(443), server_hostname=HOST)

    with (
        network,
        network.inside(),
        serving(Server((SANDBOX, 5000), App)),
        Gateway(folder, config),
        balancer(kind, folder, block),
    ):
        connection = http.client.HTTPConnection(HOST)
        connection.sock = secured()
        for _ in range(3):  # of one connection
            connection.request("GET", "/", headers=SPOOFED)
            answer = connection.getresponse()
            told = answer.read()
            assert answer.status == 200, told
            fields = {name.lower(): value for name, value in json.loads(told)}
            assert_told_the_truth(fields, "https")
            assert (fields["host"], fields["x-forwarded-host"]) == (HOST, HOST)
        connection.close()

        with secured() as tunnel:
            upgrade = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
            tunnel.sendall(upgrade.encode())
            assert tunnel.recv(4096).startswith(b"HTTP/1.1 101 ")
            tunnel.sendall(b"hello")
            assert tunnel.recv(4096) == b"hello"

        with connect(80) as plain:
            plain.sendall(f"GET /there?a=b HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            said = plain.recv(65536).decode().lower()
            assert said.startswith("http/1.1 308 ")
            assert f"location: https://{HOST}/there?a=b\r\n" in said


def test_haproxy_sees_which_gateway_is_ready(folder: Path) -> None:
    """The recipe's health check, by the log of HAProxy: a gateway that is not there is down, the other is not."""
    require("networks", "haproxy")
    network = Namespace()
    network.ip(f"address add {GATEWAYS[0]}/128 dev lo nodad", f"address add {SANDBOX}/128 dev lo nodad")
    kind, config, block = recipes()[0]
    assert kind == "haproxy"
    with network, network.inside(), Gateway(folder, config), balancer(kind, folder, block) as haproxy:
        down = [f"Server {backend}/gateway2 is DOWN" for backend in ("gateways_https", "gateways_http")]
        haproxy.wait_until(lambda: all(each in haproxy.log for each in down), " and ".join(down))
        assert "/gateway1 is DOWN" not in haproxy.log
