"""What a gateway itself listens on is nobody's app, over whichever family, whoever asks; nor is another gateway's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.interop.harness import Connection, ServeProcess
from tests.support.process import ROOT, Child, clean_environment, free_port

pytestmark = [pytest.mark.interop, pytest.mark.ipv6]


class Served(ServeProcess):
    """`gateway serve` with a plain listener on IPv4, beside its admin's."""

    def __init__(self, directory: Path) -> None:
        super().__init__({"box": "::1"}, directory=directory)
        self.plain_port = free_port()
        self.config = directory / "gateway.toml"
        text = self.config.read_text()
        self.config.write_text(text.replace("[edge]\n", f'[edge]\nlisten_plain = ["127.0.0.1:{self.plain_port}"]\n'))

    def problem(self, port: int) -> dict[str, Any]:
        """What a program is told that asks for `port` of the sandbox, which is this machine."""
        with closing(Connection(self, port, "box")) as connection:
            connection.request("GET", "/", headers={"Accept": "application/json"})
            document: dict[str, Any] = json.loads(connection.getresponse().read())
            return document

    def explained(self, port: int, *options: str) -> str:
        command = [sys.executable, "-m", "gateway", "explain", "--json", *options, self.url(port, "box")]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), cwd=ROOT, check=False)
        assert done.returncode == 1, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    with Served(tmp_path_factory.mktemp("one")) as one, Served(tmp_path_factory.mktemp("other")) as other:
        yield one, other


@pytest.mark.parametrize("listener", ["admin_port", "plain_port"])
@pytest.mark.parametrize("whose", ["its own", "another gateway's"])
def test_a_gateways_listener_is_nobodys_app(gateways: tuple[Served, Served], listener: str, whose: str) -> None:
    gateway, other = gateways
    port = getattr(gateway if whose == "its own" else other, listener)
    problem = gateway.problem(port)
    assert problem["reason"] == "connection_refused"
    assert "pid" not in json.dumps(problem)
    for options in (["--admin", f"http://127.0.0.1:{gateway.admin_port}"], ["--config", str(gateway.config)]):
        report = gateway.explained(port, *options)
        assert "connection_refused" in report
        assert "ipv4_only_listener" not in report


def test_an_app_on_ipv4_is_still_named(gateways: tuple[Served, Served]) -> None:
    program = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1]); time.sleep(99)"
    )
    with Child([sys.executable, "-c", program]) as app:
        port = int(app.wait_until(lambda: app.log.strip(), "it listens"))
        problem = gateways[0].problem(port)
    assert problem["reason"] == "ipv4_only_listener"
    assert f"(pid {app.pid})" in json.dumps(problem)
