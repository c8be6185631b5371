"""Real programs that are no HTTP/1.1 servers are called what they are: by page, JSON, `explain` and port state alike.

Redis and PostgreSQL hang up on HTTP without a word; TLS servers say so in HTTP, and so does who passes on their words.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.interop.harness import ServeProcess, curl, require
from tests.support.components import program
from tests.support.process import Child, accepts, free_port
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.interop, pytest.mark.ipv6]

LOOPBACK = "::1"
HTTP2_ONLY = "require('http2').createServer((request, response) => response.end('hi')).listen(%d, '::1')"


class Server(Child):
    """In use once its port accepts."""

    def __init__(self, command: list[str], port: int) -> None:
        self.port = port
        super().__init__(command)

    def ready(self) -> None:
        self.wait_until(lambda: accepts(LOOPBACK, self.port), f"it accepts on port {self.port}")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess({"box": LOOPBACK}, directory=tmp_path_factory.mktemp("serve")) as gateway:
        yield gateway


@dataclass(frozen=True)
class Told:
    """What JSON, text and `explain` say of one port, compared with each other."""

    status: int
    reason: str | None
    title: str
    observed: str
    fix: str


def told(gateway: ServeProcess, port: int) -> Told:
    url = gateway.url(port, "box")
    answer = curl(url, gateway.ca, "--header", "Accept: application/json")
    reason = answer.header("X-Gateway-Error")
    report = asked(gateway, f"/v1/explain?url={url}")
    assert report["reason"] == reason
    assert asked(gateway, f"/v1/sandboxes/box/ports/{port}")["state"] == "listening", "somebody accepts there"
    if reason is None:
        return Told(answer.status, None, "", "", "")
    problem = json.loads(answer.body)
    # "http", but for one that speaks first, and was heard while it was dialed.
    (failed,) = (step for step in report["steps"] if step["verdict"] == "failed")
    assert failed["detail"] == "; ".join(problem["observed"])
    assert (report["conclusion"], report["fix"]) == (f"{problem['title']}. {problem['fix'][0]}", problem["fix"])
    for text in (curl(url, gateway.ca).text, curl(url, gateway.ca, "--header", "Accept: text/html").text):
        assert problem["title"] in text
    return Told(answer.status, reason, problem["title"], problem["observed"][0], problem["fix"][0])


def asked(gateway: ServeProcess, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}{path}", timeout=20) as answer:
        return json.load(answer)


@pytest.mark.parametrize(
    ("password", "says"), [("", "“+PONG”"), ("secret", "“-NOAUTH Authentication required.”")], ids=["open", "password"]
)
def test_redis(gateway: ServeProcess, password: str, says: str) -> None:
    with RedisServer(password=password, more=["--bind", "127.0.0.1", LOOPBACK]) as redis:
        assert told(gateway, redis.port) == Told(
            502,
            "http_protocol_error",
            f"What listens on port {redis.port} is not a web server",
            f"the app closed the connection before answering, and answers {says} to a PING, as Redis does",
            "Is the port right? Use the one your web app listens on: databases, SSH and other services have ports of "
            "their own.",
        )


@pytest.fixture
def postgresql() -> Iterator[Server]:
    require("postgresql")
    initdb, postgres = (str(Path(program(name) or "").resolve()) for name in ("initdb", "postgres"))
    # It runs as nobody's root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="postgresql-") as place:
        if user:
            shutil.chown(place, "postgres")
        data = f"{place}/data"
        subprocess.run([*user, initdb, "-D", data, "-A", "trust"], check=True, capture_output=True, cwd="/")
        port = free_port()
        options = ["-c", f"listen_addresses={LOOPBACK}", "-c", f"port={port}", "-c", f"unix_socket_directories={place}"]
        with Server([*user, postgres, "-D", data, *options], port) as server:
            yield server


def test_postgresql(gateway: ServeProcess, postgresql: Server) -> None:
    said = told(gateway, postgresql.port)
    assert (said.status, said.reason) == (502, "http_protocol_error")
    assert said.title == f"What listens on port {postgresql.port} is not a web server"
    assert said.observed.endswith(" before answering, and answers “N” to an SSLRequest, as PostgreSQL does")


def test_http_2_only_is_asked_by_it(gateway: ServeProcess) -> None:
    require("node")
    port = free_port()
    with Server(["node", "-e", HTTP2_ONLY % port], port):
        assert told(gateway, port) == Told(200, None, "", "", "")
        assert curl(gateway.url(port, "box"), gateway.ca).text == "hi"
        report = asked(gateway, f"/v1/explain?url={gateway.url(port, 'box')}")
        steps = {step["name"]: step for step in report["steps"]}
        assert steps["dial"]["detail"].endswith("and speaks HTTP/2 without TLS (h2c)")
        assert steps["http"]["detail"].endswith("by HTTP/2 without TLS (h2c)")
        assert steps["websocket"]["verdict"] == "skipped"


NGINX = """
daemon off;
master_process off;
pid {place}/pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    server {{
        listen [::1]:{tls} ssl;
        ssl_certificate {ca.certificate};
        ssl_certificate_key {ca.key};
        location / {{ return 200; }}
    }}
    server {{
        listen [::1]:{plain};
        location / {{ proxy_pass http://[::1]:{tls}; }}
    }}
}}
"""


def test_nginx_that_wants_tls_and_one_that_passes_on_what_it_says(gateway: ServeProcess, tmp_path: Path) -> None:
    """Both answer alike, and only one of them speaks TLS: the other's answer is the app's own."""
    from gateway.tls import local_ca

    require("nginx")
    tls, plain = free_port(), free_port()
    config = tmp_path / "nginx.conf"
    certificates = local_ca.ensure(tmp_path / "certs")
    config.write_text(NGINX.format(place=tmp_path, tls=tls, plain=plain, ca=certificates))
    with Server(["nginx", "-c", str(config), "-e", "stderr", "-p", str(tmp_path)], plain):
        said = told(gateway, tls)
        assert (said.status, said.reason) == (502, "upstream_speaks_tls")
        assert said.title == f"The app on port {tls} expects HTTPS"
        assert said.observed.endswith("HTTPS port”, and answers when TLS is spoken to it")
        assert told(gateway, plain) == Told(400, None, "", "", "")
        own = curl(gateway.url(plain, "box"), gateway.ca)
        assert "The plain HTTP request was sent to HTTPS port" in own.text
        assert own.header("X-Gateway-Error") is None


CRASHES = """
import http.server, os, socket, sys
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        raise SystemExit if self.path == "/dies" else RuntimeError("a bug of the app")
Server(("::1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_an_app_that_fails_over_a_request_is_just_that(gateway: ServeProcess) -> None:
    port = free_port()
    with Server([sys.executable, "-c", CRASHES, str(port)], port) as app:
        said = told(gateway, port)
        assert (said.status, said.reason) == (502, "connection_terminated")
        assert said.title == "The app closed the connection without answering"
        assert said.observed == "the app closed the connection before answering"
        # The app's own log: a ClientHello is the only odd thing in it, and not once for each request.
        assert "PING" not in app.log
        assert app.log.count("a bug of the app") > app.log.count("code 400")
