"""A real gateway with few file descriptors: none is refused while idle connections to apps hold them."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.process import Child, accepts, free_port

pytestmark = pytest.mark.interop

LIMIT = 120
APPS = 200
CONFIG = """
[edge]
domains = ["sandbox.localhost"]
listen = []
listen_plain = ["[::1]:{port}"]
[directory]
backend = "file"
path = "{directory}/sandboxes.toml"
ttl = "100ms"
[upstream]
allow = ["::1/128"]
[admin]
listen = "127.0.0.1:{admin}"
[process]
workers = 1
drain_delay = "0s"
[log]
access = false
"""


class Serving(Child):
    """`gateway serve`, which may have `LIMIT` descriptors and begins with fewer."""

    def __init__(self, directory: Path) -> None:
        self.port, self.admin = free_port(), free_port()
        config = directory / "gateway.toml"
        config.write_text(CONFIG.format(port=self.port, admin=self.admin, directory=directory))
        gateway = f"exec {sys.executable} -m gateway"
        super().__init__(["sh", "-c", f"ulimit -Sn 64; ulimit -Hn {LIMIT}; {gateway} serve --config {config}"])

    def ready(self) -> None:
        self.wait_until(lambda: accepts("::1", self.port) and accepts("127.0.0.1", self.admin), "it listens")


@pytest.fixture
def app_ports() -> Iterator[list[int]]:
    """Ports of one sandbox, on each of which something answers; the event loop that does runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6)) for _ in range(APPS)]
        for sock in sockets:
            loop.run_until_complete(loop.create_server(_Answering, sock=sock))
        thread.start()
        yield [sock.getsockname()[1] for sock in sockets]
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def get(connection: HTTPConnection, port: int, sandbox: str = "box") -> int:
    connection.request("GET", "/", headers={"Host": f"{port}-{sandbox}.sandbox.localhost"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_port_after_port_of_one_sandbox_costs_nobody_else_anything(tmp_path: Path, app_ports: list[int]) -> None:
    records = '[sandboxes.box]\naddress = "::1"\n[sandboxes.other]\naddress = "::1"\n'
    (tmp_path / "sandboxes.toml").write_text(records)
    with Serving(tmp_path) as serving:
        greedy = HTTPConnection("::1", serving.port)
        assert {get(greedy, port) for port in app_ports} == {200}
        neighbours = [HTTPConnection("::1", serving.port) for _ in range(20)]
        assert {get(each, app_ports[0], "other") for each in neighbours} == {200}
        # The directory's file is opened, too, when it has changed.
        (tmp_path / "sandboxes.toml").write_text(records + '[sandboxes.new]\naddress = "::1"\n')
        serving.wait_until(lambda: get(greedy, app_ports[1], "new") == 200, "a record that is new is found")
        assert {get(greedy, port) for port in app_ports} == {200}
        for each in (greedy, *neighbours):
            each.close()
        lines = [json.loads(line) for line in serving.log.splitlines() if line.startswith("{")]
        assert not [line for line in lines if "pauses in accepting" in line["message"]]
        [warning] = [line["message"] for line in lines if line["level"] == "warning"]
        assert warning.startswith("limits.connections = 20000 may need 40128 file descriptors in each worker")
        assert f"there are {LIMIT}: raise the limit" in warning, "the soft limit was raised to the hard one"
