"""examples/grpc as its README has it: the server, `gateway dev`, the client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

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


def test_who_looks_sees_how_calls_have_ended(gateway: GatewayProcess, server: AppProcess) -> None:
    """In the terminal, and in the inspector; HTTP says 200 of all of them."""
    import grpc

    port = free_port()
    assert call(gateway, server.port, "World").returncode == 0
    assert call(gateway, port).returncode == 1
    trust = grpc.ssl_channel_credentials(gateway.ca.read_bytes())
    target = gateway.url(server.port, path="").removeprefix("https://")
    with grpc.secure_channel(target, trust) as channel, pytest.raises(grpc.RpcError, match="Method not found"):
        channel.unary_unary("/example.Greeter/Unknown")(b"", timeout=20)
    gateway.printed(r" 200 .*/example\.Greeter/Hello  grpc-status 0 OK\n")
    gateway.printed(r" 200 .*/example\.Greeter/Unknown  grpc-status 12 UNIMPLEMENTED: Method not found!\n")
    gateway.printed(r" 200 .*/example\.Greeter/Hello  grpc-status 14 UNAVAILABLE  connection_refused: ")
    inspector = gateway.printed(r"inspector +http://\S+").split()[-1]
    with urlopen(f"{inspector}inspector/exchanges", timeout=20) as answer:
        listed = json.load(answer)["exchanges"]
    assert {each["kind"] for each in listed} == {"grpc"}
    ended = {(each["target"], each["call"]["code"], each["call"]["message"] or "-") for each in listed}
    assert ("/example.Greeter/Hello", 0, "-") in ended
    assert ("/example.Greeter/Unknown", 12, "Method not found!") in ended
    assert any(code == 14 and "(connection_refused)" in message for _, code, message in ended)


def test_it_is_in_the_readme() -> None:
    text = Path(ROOT / "examples" / "README.md").read_text()
    for line in (
        "python examples/grpc/server.py",
        "gateway dev 50051",
        "python examples/grpc/client.py https://50051-",
    ):
        assert line in text
