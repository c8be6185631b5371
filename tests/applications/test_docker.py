"""Docker's wire form, spoken by its Python client: `exec` is a POST with a JSON body that becomes a stream.

The engine behind it is a few lines here, for a real one needs a kernel to itself. It answers as dockerd does: 101 to
who offers an upgrade, and then what the process says, framed.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.applications.harness import PYTHON, Applications, python_program
from tests.support.components import require

ENGINE = """
import json, struct, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import socket

class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def read(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            raise AssertionError("Docker's client announces a length")
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.endswith("/version"):
            self.answer({"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Version": "27.0"})
        else:
            self.answer({"Id": "a", "Running": False, "ExitCode": 0})

    def do_POST(self):
        asked = self.read()
        if not self.path.endswith("/start"):
            return self.answer({"Id": "e1"}, 201)
        assert asked["Detach"] is False
        if self.headers.get("Upgrade") != "tcp" or self.headers.get("Connection") != "Upgrade":
            return self.answer({"message": "no upgrade was offered"}, 400)
        self.wfile.write(
            b"HTTP/1.1 101 UPGRADED\\r\\nContent-Type: application/vnd.docker.raw-stream\\r\\n"
            b"Connection: Upgrade\\r\\nUpgrade: tcp\\r\\n\\r\\n"
        )
        self.close_connection = True
        # As `cat` would: what comes goes back, until the client ends its side.
        while line := self.rfile.readline():
            self.wfile.write(struct.pack(">BxxxI", 1, len(line)) + line)
            if line == b"bye\\n":
                return

class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6

Server(("::1", int(sys.argv[1])), Engine).serve_forever()
"""

CLIENT = """
import json, struct, sys
import docker
from docker.tls import TLSConfig

url, ca = sys.argv[1:]
client = docker.APIClient(base_url=url, tls=TLSConfig(ca_cert=ca, verify=True), version="auto")
made = client.exec_create("box", ["cat"], stdin=True)
stream = client.exec_start(made["Id"], socket=True)
said = b""
# Read here: its own reader polls the socket for octets that TLS has already taken from it.
frames = stream.makefile("rb")
for line in (b"hello\\n", b"x" * 100_000 + b"\\n", b"bye\\n"):
    stream.sendall(line)
    kind, length = struct.unpack(">BxxxI", frames.read(8))
    assert kind == 1
    said += frames.read(length)
assert frames.read() == b"", "the stream ends with the process"
print(json.dumps([client.api_version, len(said), said[:6].decode(), said[-4:].decode()]))
"""


def test_exec_is_a_stream(gateway: Applications, tmp_path: Path) -> None:
    require("docker")
    with python_program(gateway, ENGINE, tmp_path) as app:
        (tmp_path / "client.py").write_text(CLIENT)
        said = gateway.client(PYTHON, tmp_path / "client.py", app.url().rstrip("/"), gateway.ca)
    assert json.loads(said.splitlines()[-1]) == ["1.44", 100_011, "hello\n", "bye\n"]
