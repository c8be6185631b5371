"""A real HAProxy that asks `edge.health_path` sends visitors to a gateway that is ready, and none to one that stops."""

from __future__ import annotations

import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.components import program, require
from tests.support.process import Child, free_port, poll
from tests.support.serving import App, Serving

pytestmark = pytest.mark.interop


class HAProxy(Child):
    """One backend with three servers, which are the gateway's listeners: asked as HAProxy does by default (HTTP/1.0
    without Host), over TLS, and by the name of a machine."""

    def __init__(self, folder: Path, gateway: Serving) -> None:
        require("haproxy")
        self.port = free_port()
        self._stats = folder / "stats"
        config = folder / "haproxy.cfg"
        config.write_text(
            f"""
global
    stats socket {self._stats}
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    default-server check inter 100ms fall 2 rise 1
frontend f
    bind [::1]:{self.port}
    default_backend old
backend old
    option httpchk GET /healthz
    server plain [::1]:{gateway.plain_port}
    server tls [::1]:{gateway.tls_port} check-ssl verify none ssl
backend named
    option httpchk
    http-check send meth HEAD uri /healthz ver HTTP/1.1 hdr Host gateway-7.internal
    server plain [::1]:{gateway.plain_port}
"""
        )
        super().__init__([program("haproxy") or "haproxy", "-db", "-f", str(config)], cwd=folder)

    def ready(self) -> None:
        self.wait_until(lambda: self._stats.exists(), "it runs")

    def stopped(self, code: int) -> None:
        """By our signal."""

    def servers(self) -> dict[str, str]:
        """What is thought of each: its state, and the status of its last check."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(self._stats))
            sock.sendall(b"show stat\n")
            told = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        names, *rows = [line.split(",") for line in told.lstrip("# ").splitlines() if line]
        found = [dict(zip(names, row, strict=False)) for row in rows]
        return {
            f"{row['pxname']}/{row['svname']}": f"{row['status']} {row['check_code']}"
            for row in found
            if row["svname"] in ("plain", "tls")
        }


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


def test_readiness_decides_who_gets_visitors(tmp_path: Path, app: App) -> None:
    gateway = Serving(tmp_path, app, drain_delay="20s")
    gateway.env["GATEWAY_EDGE__HEALTH_PATH"] = "/healthz"
    with gateway, HAProxy(tmp_path, gateway) as haproxy:
        up = dict.fromkeys(("old/plain", "old/tls", "named/plain"), "UP 200")
        poll(lambda: haproxy.servers() == up, "all checks succeed")
        poll(lambda: gateway.health()[1]["counters"]["health_checks"] >= 3, "each worker's are counted")
        request = urllib.request.Request(f"http://[::1]:{haproxy.port}/", headers={"Host": gateway.host})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.read() == b"ok"
        gateway.tell(signal.SIGTERM)
        poll(lambda: all(state == "DOWN 503" for state in haproxy.servers().values()), "all checks fail")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert "X-Gateway-Error" not in refused.value.headers, "HAProxy's own: it has nobody to ask"
        refused.value.close()
