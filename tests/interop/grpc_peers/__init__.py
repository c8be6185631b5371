"""One echo service on grpcio and on @grpc/grpc-js, and clients of both, that meet through a gateway.

`server.py` says what its methods do. `SERVERS` starts either; `channel` is grpcio's way there, `node_client` has
grpc-js try everything once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from tests.applications.harness import NODE_MODULES as MODULES
from tests.interop.harness import COMPONENTS, AppProcess, Component, module, require
from tests.support.process import clean_environment

HERE = Path(__file__).resolve().parent
PATIENCE = 30.0
"""Seconds that a call may take on a busy machine."""
COMPONENTS["grpcio"] = module("grpc")
COMPONENTS["grpc-js"] = Component((MODULES / "@grpc" / "grpc-js").is_dir, "bash tests/setup.sh")


def _with_modules(process: AppProcess) -> AppProcess:
    process.env["NODE_PATH"] = str(MODULES)
    return process


def python_server() -> AppProcess:
    require("grpcio")
    return AppProcess([sys.executable, str(HERE / "server.py")])


def node_server() -> AppProcess:
    require("node", "grpc-js")
    return _with_modules(AppProcess(["node", str(HERE / "server.cjs")]))


SERVERS: dict[str, Callable[[], AppProcess]] = {"grpcio": python_server, "grpc-js": node_server}


@dataclass(frozen=True, slots=True)
class Route:
    """How a client reaches a service: whom it dials, whom it asks for, and whose certificates it trusts."""

    target: str
    authority: str
    ca: Path

    def channel(self, *options: tuple[str, Any]) -> grpc.Channel:
        """A connection of its own: grpcio shares one between channels that look alike."""
        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes())
        usual = [
            ("grpc.default_authority", self.authority),
            ("grpc.ssl_target_name_override", self.authority.partition(":")[0]),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ]
        return grpc.secure_channel(self.target, credentials, [*usual, *options])


class Stub:
    """The methods of the service, on one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        def path(name: str) -> str:
            return f"/peer.Echo/{name}"

        self.unary = channel.unary_unary(path("Unary"))
        self.numbers = channel.unary_stream(path("Numbers"))
        self.count = channel.stream_unary(path("Count"))
        self.talk = channel.stream_stream(path("Talk"))
        self.refuse = channel.unary_unary(path("Refuse"))
        self.cancel = channel.stream_stream(path("Cancel"))
        self.wait = channel.unary_stream(path("Wait"))
        self.were_cancelled = channel.unary_unary(path("WereCancelled"))
        self.die = channel.unary_stream(path("Die"))


def node_client(route: Route) -> dict[str, Any]:
    """What grpc-js says of each scenario in `client.cjs`."""
    require("node", "grpc-js")
    command = ["node", str(HERE / "client.cjs"), route.target, route.authority, str(route.ca)]
    environment = clean_environment({"NODE_PATH": str(MODULES)})
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen
