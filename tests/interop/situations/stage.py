"""What situations are made with: the gateway's machine, sandboxes at the end of a cable, programs and raw apps in them.

The machine and each sandbox are networks of their own. A sandbox lives for one row; gateways are started once each, and
all know all sandboxes.
"""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.interop.harness import DOMAIN
from tests.interop.registered import Registered
from tests.interop.situations import HASTY, PATIENT, Where
from tests.support.components import COMPONENTS, Component, command
from tests.support.namespaces import Namespace
from tests.support.process import ROOT, Child, free_port

NODE_MODULES = ROOT / "tests" / ".build" / "applications" / "node_modules"
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
"""Its server does not run as root."""


def _becomes_postgres() -> bool:
    return not subprocess.run([*AS_POSTGRES, "true"], capture_output=True, check=False).returncode


COMPONENTS.update(
    {
        "another user": Component(_becomes_postgres, "run the tests as root, whom the kernel lets become another user"),
        "@grpc/grpc-js": Component((NODE_MODULES / "@grpc" / "grpc-js").is_dir, "bash tests/setup.sh"),
        "php-cli": command("php", "php-cli"),
        "haproxy": command("haproxy", "haproxy"),
        "nc": command("nc", "netcat-openbsd"),
        "vite": Component((ROOT / "examples" / "vite" / "node_modules" / "vite").is_dir, "bash tests/setup.sh"),
        "sshd": command("sshd", "openssh-server"),
    }
)

OWN = "own"
"""The sandbox at ::1 of the gateway's own machine, as on a laptop."""
DENIED = 2222
ELSEWHERE = "sandbox.test"
"""Another domain served: dev servers let pass what is below .localhost."""
LIMITED, UNINFORMED = "limited", "uninformed"

_SETTINGS: dict[str, dict[str, str]] = {
    PATIENT: {},
    HASTY: {"GATEWAY_UPSTREAM__CONNECT_TIMEOUT": "700ms", "GATEWAY_UPSTREAM__RESPONSE_HEADER_TIMEOUT": "700ms"},
    LIMITED: {"GATEWAY_LIMITS__EXCHANGES_PER_SANDBOX": "1"},
    UNINFORMED: {},
}
_PREFIXES = ("::1/128", "fd00:7::/32", "fe80::/10")
_LISTEN = "0A"
_ANSWERS_LEFT_OUT = Path("/proc/sys/net/ipv6/icmp/ratelimit")
"""Milliseconds between two of a machine's ICMPv6 errors to one other."""


class Edge(Registered):
    """`gateway serve` with one worker, and sandboxes registered through its admin API."""

    def __init__(self, kind: str, registry: Path, *, directory: Path) -> None:
        backend = f'backend = "sqlite"\npath = {json.dumps(str(registry))}\n'
        self.redis_port = free_port()
        """Where nothing answers."""
        if kind == UNINFORMED:
            backend = f'backend = "redis"\nurl = "redis://127.0.0.1:{self.redis_port}/0"\n'
        super().__init__(backend, directory=directory, workers=1)
        self.env |= _SETTINGS[kind]
        config = directory / "gateway.toml"
        more = f'allow = {json.dumps(_PREFIXES)}\nallow_ipv4 = ["10.7.0.0/16"]\ndeny_ports = [{DENIED}]\n'
        lines = config.read_text().replace('allow = ["::1/128"]\n', more)
        config.write_text(lines.replace(f'domains = ["{DOMAIN}"]', f'domains = ["{DOMAIN}", "{ELSEWHERE}"]'))


class Program(Child):
    """A program, in use once it has said `says` and something listens on `port`, at whatever address."""

    def __init__(
        self, command: Sequence[str | Path], port: int, *, cwd: Path, env: Mapping[str, str], says: str = ""
    ) -> None:
        super().__init__(list(map(str, command)), cwd=cwd, env=env)
        self.port = port
        self.says = says

    def ready(self) -> None:
        if self.says:
            self.wait_until(lambda: self.says in self.log, f"it says “{self.says}”")
        self.wait_until(partial(listens, self.port), f"it listens on port {self.port}")


def listens(port: int) -> bool:
    """Whether anything does, in the network where this thread is; nothing is connected for it."""
    lines = (
        line for table in ("tcp", "tcp6") for line in Path("/proc/thread-self/net", table).read_text().splitlines()
    )
    return any(
        local.endswith(f":{port:04X}") and state == _LISTEN
        for _, local, _, state, *_ in (line.split() for line in lines)
    )


def waiting(port: int) -> int:
    """How many connections wait at `port`, in the network where this thread is, to be accepted."""
    for line in Path("/proc/thread-self/net/tcp6").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        if state == _LISTEN and local.endswith(f":{port:04X}"):
            return int(queues.partition(":")[2], 16)
    return 0


class Box:
    """A sandbox, or the gateway's own machine."""

    def __init__(self, stage: Stage, id: str, address: str, network: Namespace) -> None:
        self.stage = stage
        self.id = id
        self.address = address
        self.network = network
        self.here = ""
        """The machine's address at its end of the cable."""

    def where(self, port: int, **more: str) -> Where:
        return Where(self.id, port, self.address, **more)

    def program(
        self,
        *command: str | Path,
        port: int,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        says: str = "",
    ) -> Program:
        """A program that listens on `port` now; `says` is what it prints then, if it has tried the port before."""
        with self.network.inside():
            started = Program(command, port, cwd=cwd or self.stage.folder, env=env or {}, says=says)
            return self.stage.stack.enter_context(started)

    def example(self, *command: str | Path, host: str = "::") -> Program:
        """One of the examples, told by HOST and PORT where to listen."""
        port = free_port()
        return self.program(*command, port=port, env={"PORT": str(port), "HOST": host}, cwd=ROOT)

    def python(self, source: str, *arguments: str, port: int | None = None) -> Program:
        """A program of a few lines, which finds its port in sys.argv[1]."""
        port = port or free_port()
        path = self.stage.folder / "app.py"
        path.write_text(source)
        return self.program(sys.executable, path, str(port), *arguments, port=port)

    def app(self, serve: Callable[[socket.socket], None], host: str = "::", port: int = 0, backlog: int = 128) -> int:
        """The port of an app of this process: `serve` gets each connection, which is closed when it returns."""
        with self.network.inside():
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family, backlog=backlog)
        self.stage.stack.callback(_stop, listener, self.stage.serve(listener, serve))
        return int(listener.getsockname()[1])


def _stop(listener: socket.socket, thread: threading.Thread) -> None:
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


class Stage:
    """For one row. `stack` is unwound when it is over; `over` is set before."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.folder = folder
        self.stack = ExitStack()
        self.over = threading.Event()

    def own(self) -> Box:
        return Box(self, OWN, "::1", self.machine.network)

    def another_own(self) -> Box:
        """A sandbox at another address of the gateway's own machine."""
        box = self.somewhere(f"fd00:7:ffff::{next(self.machine.numbers):x}")
        self.machine.network.ip(f"address add {box.address}/128 dev lo nodad")
        self.stack.callback(self.machine.network.ip, f"address delete {box.address}/128 dev lo")
        return box

    def sandbox(self, *, ipv4: bool = False, protocol: str = "") -> Box:
        """A sandbox that nobody had before. With `ipv4` it has such an address, too, and its record says so, as it says
        the `protocol` of its apps.
        """
        number = next(self.machine.numbers)
        network = self.stack.enter_context(Namespace())
        here, there = f"fd00:7:{number:x}::1", f"fd00:7:{number:x}::2"
        cable = f"box{number}"
        self.machine.network.connect(cable, network, "eth0")
        lines, its_lines = [f"address add {here}/64 dev {cable} nodad"], [f"address add {there}/64 dev eth0 nodad"]
        if ipv4:
            lines.append(f"address add 10.7.{number}.1/24 dev {cable}")
            its_lines.append(f"address add 10.7.{number}.2/24 dev eth0")
        self.machine.network.ip(*lines)
        network.ip(*its_lines)
        with network.inside():
            _ANSWERS_LEFT_OUT.write_text("0")  # a firewall says no each time it is asked
        box = Box(self, f"s{number}", there, network)
        box.here = here
        self.machine.register(box.id, there, f"10.7.{number}.2" if ipv4 else None, protocol)
        # The cable goes with the sandbox's end of it, but in the background: its address would be found there still.
        self.stack.callback(self.machine.network.ip, f"link delete {cable}")
        return box

    def cable(self, box: Box) -> str:
        """The machine's end of the cable to `box`."""
        return f"box{box.id[1:]}"

    def somewhere(self, address: str) -> Box:
        """A record that leads to `address`, where nothing was set up."""
        id = f"s{next(self.machine.numbers)}"
        self.machine.register(id, address)
        return Box(self, id, address, self.machine.network)

    def serve(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> threading.Thread:
        """Accepts until `listener` is shut down; each connection has a thread."""

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        return thread


class Machine:
    """The gateway's machine, for all rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = itertools.count(1)
        self._stack = ExitStack()
        self.network = self._stack.enter_context(Namespace())
        self._stack.enter_context(self.network.inside())
        self._gateways: dict[str, Edge] = {}
        self.gateway(PATIENT)
        self.register(OWN, "::1")

    def gateway(self, kind: str) -> Edge:
        """Started when it is asked for first."""
        found = self._gateways.get(kind)
        if found is None:
            folder = self.folder / kind
            folder.mkdir()
            edge = Edge(kind, self.folder / "sandboxes.db", directory=folder)
            found = self._gateways[kind] = self._stack.enter_context(edge)
        return found

    def register(self, id: str, address: str, ipv4: str | None = None, protocol: str = "") -> None:
        # A gRPC call, too, is a question like the others here; what it meets over HTTP/2 is `test_grpc`'s.
        given = {"address": address, "ipv4": ipv4, "protocol": protocol or "http1"}
        record = {name: value for name, value in given.items() if value}
        status, answer = self.gateway(PATIENT).api("PUT", f"sandboxes/{id}", record)
        assert status == 201, answer

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        folder = self.folder / f"row{next(self.numbers)}"
        folder.mkdir()
        stage = Stage(self, folder)
        with stage.stack:
            stage.stack.callback(stage.over.set)
            yield stage

    def close(self) -> None:
        self._stack.close()


def asked(connection: socket.socket) -> bytes:
    """The head of a request, which has arrived."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and (data := connection.recv(65536)):
        head += data
    return head


def answer(octets: bytes) -> Callable[[socket.socket], None]:
    """An app that reads the request's head, says this and closes."""

    def serve(connection: socket.socket) -> None:
        if asked(connection):
            connection.sendall(octets)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)  # or a reset would overtake what was sent

    return serve


__all__ = [
    "DENIED",
    "DOMAIN",
    "ELSEWHERE",
    "LIMITED",
    "OWN",
    "UNINFORMED",
    "Box",
    "Machine",
    "Stage",
    "answer",
    "asked",
]
