"""A real balancer in front of a gateway, and an app behind it that tells what it was told of its visitor."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import ROOT, Child

CLIENT = "127.0.0.77"
"""Where the visitor connects from; loopback has many addresses."""
SPOOFED = {
    "X-Forwarded-For": "198.51.100.9",
    "Forwarded": 'for="198.51.100.9, for=198.51.100.10',
    "X-Real-IP": "198.51.100.9",
}


SITE = "sandbox.example.dev"
"""The domain of the files in config/."""


def site(folder: Path) -> Path:
    """Makes `folder` what /etc/gateway is in docs/deploy.md: config/ as it stands, and a certificate in certs/.

    `wildcard.pem` has the key as well, as HAProxy wants it; the authority is `made/ca.pem`.
    """
    from gateway.tls import local_ca

    made = local_ca.ensure(folder / "made", SITE)
    (folder / "certs").mkdir()
    key = folder / "certs" / "wildcard.key"
    key.touch(mode=0o600)
    key.write_bytes(made.key.read_bytes())
    both = folder / "certs" / "wildcard.pem"
    both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    shutil.copytree(ROOT / "config", folder / "config")
    return folder


class Balancer(Child):
    """A program with `config`, on `port`."""

    def __init__(self, command: list[str], folder: Path, port: int) -> None:
        self.port = port
        super().__init__(command, cwd=folder)

    def ready(self) -> None:
        def answers() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.port)) == 0

        self.wait_until(answers, "it listens")

    def stopped(self, code: int) -> None:
        """By our signal."""


class Fields(http.server.BaseHTTPRequestHandler):
    """Answers with the request's fields as JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(self.headers.items()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


@contextmanager
def serving(server: Server) -> Iterator[None]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def assert_told_the_truth(fields: dict[str, str], scheme: str) -> None:
    assert fields["x-real-ip"] == CLIENT
    assert fields["x-forwarded-for"].split(", ")[0] == CLIENT
    assert fields["x-forwarded-proto"] == scheme
    assert f"for={CLIENT}" in fields["forwarded"]
    assert not [name for name, value in fields.items() if "198.51.100" in value], fields
