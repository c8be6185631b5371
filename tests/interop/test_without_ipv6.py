"""A machine without IPv6, as most containers are: switched off in its network, or missing in its kernel.

`gateway dev` runs over 127.0.0.1 both ways and says so; `gateway serve` listens on what there is, never forwards over
IPv4, and says whom that leaves out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interop.harness import Answer, GatewayProcess, ServeProcess, curl
from tests.support.components import require
from tests.support.network import WITHOUT_INET6, WITHOUT_IPV6, inside, prefix
from tests.support.process import ROOT, Child, clean_environment, free_port

pytestmark = pytest.mark.interop

SWITCH = {WITHOUT_IPV6: "net.ipv6.conf.all.disable_ipv6=0", WITHOUT_INET6: "ipv6.disable=1"}
"""What the banner and the log say that helps."""


@pytest.fixture(params=[WITHOUT_IPV6, WITHOUT_INET6])
def lack(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    require("namespaces" if kind == WITHOUT_IPV6 else "socket filter")
    return kind


class _There:
    """What is run where a gateway is."""

    def __init__(self, lack: str, child: Child) -> None:
        self._lack = lack
        self._child = child

    @property
    def network(self) -> Sequence[str]:
        return inside(self._child.pid) if self._lack == WITHOUT_IPV6 else prefix(self._lack) or ()

    def get(self, url: str, ca: Path, *arguments: str) -> Answer:
        return curl(url, ca, "--ipv4", *arguments, network=self.network)


class Dev(GatewayProcess):
    """`gateway dev` on a machine that lacks IPv6."""

    def __init__(self, lack: str, *exposed: str | int, directory: Path) -> None:
        super().__init__(*exposed, directory=directory)
        self.admin_port = free_port()
        self.env["GATEWAY_ADMIN__LISTEN"] = f"127.0.0.1:{self.admin_port}"
        self.command = [*(prefix(lack) or ()), *self.command]
        self.there = _There(lack, self)

    def ready(self) -> None:
        self.printed("Ctrl-C stops")
        self.ca = self._printed_ca() or Path()

    def get(self, url: str, *arguments: str) -> Answer:
        return self.there.get(url, self.ca, *arguments)

    def explain(self, url: str) -> str:
        command = [sys.executable, "-m", "gateway", "explain", "--admin", f"http://127.0.0.1:{self.admin_port}", url]
        done = subprocess.run(
            [*self.there.network, *command], env=clean_environment(), capture_output=True, text=True, check=False
        )
        return re.sub(r"\s+", " ", done.stdout + done.stderr)


class App(Child):
    """An app that listens on 127.0.0.1 only, beside a gateway."""

    def __init__(self, gateway: Dev, port: int) -> None:
        self._gateway = gateway
        self.port = port
        command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
        super().__init__([*gateway.there.network, *command], cwd=ROOT / "certs")

    def ready(self) -> None:
        self.wait_until(lambda: "Serving HTTP" in self.log, "it listens")


def test_the_demo_is_seen_and_the_difference_said(lack: str, tmp_path: Path) -> None:
    with Dev(lack, directory=tmp_path) as gateway:
        url = gateway.printed(r"https://\S+/")
        seen = gateway.get(url)
        assert (seen.status, "It works" in seen.text) == (200, True)
        [line] = [line for line in gateway.log.splitlines() if "no IPv6" in line]
        assert "127.0.0.1" in line
        assert "an app must listen on ::" in line
        assert SWITCH[lack] in line
        assert "[::1]" not in gateway.log
        assert "127.0.0.1:5000" in gateway.log


def test_an_app_on_127_0_0_1_is_reached(lack: str, tmp_path: Path) -> None:
    port = free_port()
    with Dev(lack, port, directory=tmp_path) as gateway, App(gateway, port):
        answer = gateway.get(gateway.url(port, path="/README.md"))
        assert answer.status == 200
        assert answer.body == (ROOT / "certs" / "README.md").read_bytes()
        assert answer.header("X-Gateway-Error") is None
        assert "Reachable: the app answers 200 OK" in gateway.explain(gateway.url(port))


def test_a_dead_app_is_told_truly(lack: str, tmp_path: Path) -> None:
    port = free_port()
    with Dev(lack, port, directory=tmp_path) as gateway:
        answer = gateway.get(gateway.url(port), "--header", "Accept: application/json")
        problem = json.loads(answer.body)
        assert (answer.status, problem["reason"]) == (502, "connection_refused")
        assert problem["observed"][0].startswith(f"connect to 127.0.0.1:{port}: Connection refused")
        assert "IPv6" not in answer.text
        assert "::" not in answer.text
        report = gateway.explain(gateway.url(port))
        assert f"connect to 127.0.0.1:{port}: Connection refused" in report
        assert "IPv6" not in report
        assert "what was dialed is IPv4" in report


def test_the_gateways_own_ports_are_nobodys_app(lack: str, tmp_path: Path) -> None:
    with Dev(lack, free_port(), directory=tmp_path) as gateway:
        for port in (gateway.tls_port, gateway.admin_port):
            answer = gateway.get(gateway.url(port))
            assert answer.header("X-Gateway-Error") == "destination_ip_prohibited"


class Serve(ServeProcess):
    """`gateway serve` on a machine that lacks IPv6; its sandbox is on fd00::5."""

    def __init__(self, lack: str, directory: Path) -> None:
        super().__init__({"box": "fd00::5"}, directory=directory)
        config = directory / "gateway.toml"
        text = config.read_text()
        plain = free_port()
        text = text.replace("public_port", f'listen_plain = ["[::]:{plain}", "[2001:db8::7]:{plain}"]\npublic_port')
        config.write_text(text.replace('["::1/128"]', '["fd00::/8"]'))
        self.plain_port = plain
        self.command = [*(prefix(lack) or ()), *self.command]
        self.there = _There(lack, self)

    def ready(self) -> None:
        self.wait_until(lambda: "workers on " in self.log, "it serves")
        self.wait_until(self._is_ready_there, "/readyz answers 200")

    def _is_ready_there(self) -> bool:
        try:
            return self.there.get(f"http://127.0.0.1:{self.admin_port}/readyz", self.ca).status == 200
        except RuntimeError:  # curl's own words for a port where nothing listens yet
            return False


def test_serve_listens_on_what_there_is_and_says_what_is_out_of_reach(lack: str, tmp_path: Path) -> None:
    with Serve(lack, tmp_path) as gateway:
        host = gateway.host(5000, "box")
        for url in (f"https://{host}:{gateway.tls_port}/", f"http://{host}:{gateway.plain_port}/"):
            answer = gateway.there.get(url, gateway.ca, "--header", "Accept: application/json")
            problem = json.loads(answer.body)
            assert (answer.status, problem["reason"]) == (502, "destination_ip_unroutable")
            assert SWITCH[lack] in " ".join(problem["observed"])
        log = gateway.log
        assert f"listening on 127.0.0.1:{gateway.tls_port} instead of [::1]:{gateway.tls_port}" in log
        assert f"not listening on [2001:db8::7]:{gateway.plain_port}" in log
        [warning] = [line for line in log.splitlines() if "no sandbox can be reached" in line]
        assert SWITCH[lack] in warning
