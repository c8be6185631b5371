"""examples/grpc as its README has it: the server, `gateway dev`, the client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.harness import COMPONENTS, AppProcess, GatewayProcess, module, require
from tests.support.process import ROOT, clean_environment, free_port

pytestmark = pytest.mark.interop

COMPONENTS["grpcio"] = module("grpc")


@pytest.fixture(scope="module")
def server() -> Iterator[AppProcess]:
    require("grpcio")
    with AppProcess([sys.executable, "examples/grpc/server.py"]) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(server: AppProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(server.port, directory=tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


def call(gateway: GatewayProcess, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "examples/grpc/client.py", gateway.url(port, path=""), *arguments]
    return subprocess.run(
        [*command, "--ca", str(gateway.ca)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean_environment(),
        timeout=50,
        check=False,
    )


def test_the_client_gets_what_the_server_says(gateway: GatewayProcess, server: AppProcess) -> None:
    done = call(gateway, server.port, "World")
    assert done.stdout.splitlines() == ["Hello World from gRPC", "W o r l d", "ping! pong!"], done.stderr


def test_the_client_says_what_is_wrong(gateway: GatewayProcess) -> None:
    port = free_port()
    done = call(gateway, port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"UNAVAILABLE: Nothing reachable listens on port {port}"), done.stderr
    assert done.stderr.rstrip().endswith("(connection_refused)")


def test_it_is_in_the_readme() -> None:
    text = Path(ROOT / "examples" / "README.md").read_text()
    for line in (
        "python examples/grpc/server.py",
        "gateway dev 50051",
        "python examples/grpc/client.py https://50051-",
    ):
        assert line in text
