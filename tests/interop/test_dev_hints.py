"""Hints of `gateway dev`, where a person meets them: in the terminal, in the answer, in the inspector."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.interop.harness import GatewayProcess, curl
from tests.support.process import poll

pytestmark = pytest.mark.interop

ANSWERS: dict[str, tuple[int, tuple[str, str], bytes]] = {
    "/login": (302, ("Location", "http://localhost:3000/home"), b""),
    "/session": (200, ("Set-Cookie", "a=1; Domain=localhost"), b""),
    "/page": (
        200,
        ("Content-Type", "text/html"),
        b'<title>A</title><script src="http://localhost:3000/a.js"></script>',
    ),
    "/fine": (302, ("Location", "/page"), b""),
}
HINTS = {
    "/login": "the app redirects to http://localhost:3000, which is the visitor's own machine",
    "/session": "the app sets a cookie for Domain=localhost, which is not its public name",
    "/page": "the page loads http://localhost:3000, which is the visitor's own machine",
}


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class _App(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, field, body = ANSWERS[self.path]
        self.send_response(status)
        self.send_header(*field)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    with _Server(("::1", 0), _App) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_hint_is_met_in_the_terminal_the_answer_and_the_inspector(port: int, tmp_path: Path) -> None:
    with GatewayProcess(port, directory=tmp_path) as gateway:
        inspector = gateway.printed(r"inspector +http://\S+").split()[-1]
        for path in (*ANSWERS, *ANSWERS):
            answer = curl(gateway.url(port, path=path), gateway.ca)
            hint = answer.header("X-Gateway-Hint") or ""
            assert hint.startswith(HINTS[path]) if path in ("/login", "/session") else not hint
            assert answer.header("Location") in (ANSWERS[path][1][1], None), "never a rewrite"
        said = f"{gateway.host(port)}:{gateway.tls_port}: "
        poll(lambda: all(said + hint in gateway.log for hint in HINTS.values()), "all are said")
        assert [gateway.log.count(hint) for hint in HINTS.values()] == [1, 1, 1], "once a minute"

        with urllib.request.urlopen(f"{inspector}inspector/exchanges", timeout=30) as listed:
            seen: list[dict[str, Any]] = json.load(listed)["exchanges"]
        first = {each["target"]: each for each in sorted(seen, key=lambda each: each["number"], reverse=True)}
        assert {target: each["hint"] for target, each in first.items()} == {path: path in HINTS for path in ANSWERS}
        with urllib.request.urlopen(f"{inspector}inspector/exchanges/{first['/page']['number']}", timeout=30) as told:
            assert json.load(told)["hint"].startswith(HINTS["/page"])
