"""Real balancers in front: with the PROXY protocol, and as HTTP proxies; the app sees who really asks."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.tls import local_ca
from tests.support.balancers import CLIENT, SPOOFED, Balancer, Fields, Server, assert_told_the_truth
from tests.support.components import NGINX_STREAM, program, require
from tests.support.process import free_port
from tests.support.serving import DOMAIN, Serving

pytestmark = pytest.mark.interop


def haproxy(folder: Path, target: int, options: str, frontend: str = "mode tcp", tls: str = "") -> Balancer:
    """`tls` is what follows the address it listens on."""
    require("haproxy")
    port, config = free_port(), folder / "haproxy.cfg"
    config.write_text(
        f"""
defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend f
    {frontend}
    bind 127.0.0.1:{port} {tls}
    unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
    default_backend b
backend b
    {frontend}
    server gateway [::1]:{target} {options}
"""
    )
    return Balancer([program("haproxy") or "haproxy", "-db", "-f", str(config)], folder, port)


def nginx(folder: Path, body: str) -> Balancer:
    require("nginx", "nginx stream")
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(
        f"load_module {NGINX_STREAM};\nuser root; daemon off; master_process off; pid {folder}/nginx.pid;\n"
        "error_log stderr crit; events {}\n".replace("\\\n", "\n")
        + body.replace("PORT", str(port)).replace("FOLDER", str(folder))
    )
    return Balancer(["nginx", "-p", str(folder), "-c", str(config), "-e", "stderr"], folder, port)


@pytest.fixture
def port() -> Iterator[int]:
    """Of the app."""
    with Server(("::1", 0), Fields) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def serving(folder: Path, port: int, *, proxy_protocol: bool) -> Serving:
    gateway = Serving(folder, port)
    gateway.env["GATEWAY_EDGE__TRUSTED_PROXIES"] = '["::1/128", "127.0.0.1/32"]'
    if proxy_protocol:
        gateway.env["GATEWAY_EDGE__PROXY_PROTOCOL"] = "require"
    return gateway


def ask(gateway: Serving, port: int, *, tls: bool) -> dict[str, str]:
    """The fields that the app gets of a visitor who claims to be somebody else; several requests on a connection."""
    sock: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(CLIENT, 0))
    if tls:
        sock = gateway.client_tls.wrap_socket(sock, server_hostname=f"5000-box.{DOMAIN}")
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.sock = sock
    try:
        for _ in range(2):
            connection.request("GET", "/", headers={"Host": gateway.host, **SPOOFED})
            answer = connection.getresponse()
            told = answer.read()
            assert answer.status == 200, told
        return {name.lower(): value for name, value in json.loads(told)}
    finally:
        connection.close()


@pytest.mark.parametrize(
    "options",
    [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority",
        "send-proxy-v2-ssl",
        "send-proxy-v2-ssl-cn",
    ],
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_haproxy_passes_connections_on(tmp_path: Path, port: int, options: str, tls: bool) -> None:
    with serving(tmp_path, port, proxy_protocol=True) as gateway:
        target = gateway.tls_port if tls else gateway.plain_port
        with haproxy(tmp_path, target, options) as balancer:
            assert_told_the_truth(ask(gateway, balancer.port, tls=tls), "https" if tls else "http")


def test_haproxy_ends_tls(tmp_path: Path, port: int) -> None:
    """What version 2 adds: the visitor came by TLS, and the balancer's unique id is the request's."""
    pair = local_ca.ensure(tmp_path / "certs", DOMAIN)
    pem = tmp_path / "haproxy.pem"
    pem.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    with serving(tmp_path, port, proxy_protocol=True) as gateway:
        options = "send-proxy-v2-ssl proxy-v2-options unique-id,crc32c"
        with haproxy(tmp_path, gateway.plain_port, options, tls=f"ssl crt {pem}") as balancer:
            fields = ask(gateway, balancer.port, tls=True)
    assert_told_the_truth(fields, "https")
    assert re.fullmatch(r"7F00004D:[0-9A-F_:]+-2", fields["x-request-id"]), "the id of the second request, by HAProxy's"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_nginx_passes_connections_on(tmp_path: Path, port: int, tls: bool) -> None:
    with serving(tmp_path, port, proxy_protocol=True) as gateway:
        target = gateway.tls_port if tls else gateway.plain_port
        body = f"stream {{ server {{ listen 127.0.0.1:PORT; proxy_pass [::1]:{target}; proxy_protocol on; }} }}"
        with nginx(tmp_path, body) as balancer:
            assert_told_the_truth(ask(gateway, balancer.port, tls=tls), "https" if tls else "http")


def test_nginx_forwards_http(tmp_path: Path, port: int) -> None:
    """As its documentation says; Forwarded it knows nothing of, and passes on the visitor's."""
    with serving(tmp_path, port, proxy_protocol=False) as gateway:
        body = f"""http {{ access_log off; server {{ listen 127.0.0.1:PORT; location / {{
            proxy_pass http://[::1]:{gateway.plain_port}; proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }} }} }}"""
        with nginx(tmp_path, body) as balancer:
            assert_told_the_truth(ask(gateway, balancer.port, tls=False), "http")


def test_haproxy_forwards_http(tmp_path: Path, port: int) -> None:
    with serving(tmp_path, port, proxy_protocol=False) as gateway:
        frontend = "mode http\n    option forwardfor".replace("\\\n", "\n")
        with haproxy(tmp_path, gateway.plain_port, "", frontend) as balancer:
            assert ask(gateway, balancer.port, tls=False)["x-real-ip"] == CLIENT
