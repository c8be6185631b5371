"""`gateway serve` as the test's child, with plain and TLS listeners on IPv4 and IPv6, and an app behind it.

Owns what a test of the processes needs to know: who is who, what each holds open, and what is on the kernel's list of
listening sockets.
"""

from __future__ import annotations

import copy
import http.client
import json
import os
import signal
import socket
import socketserver
import ssl
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from tests.support.process import Child, descendants, free_port, poll

DOMAIN = "sandbox.localhost"
HOSTS = ("::1", "127.0.0.1")
PATIENCE = 30.0
"""Seconds until a wait has failed; never reached by a test that passes, however busy the machine."""

QUEUED = 20
"""Visitors at once; a multiple of the number of listeners."""

_LISTEN = "0A"


class Listening(NamedTuple):
    """A line of /proc/net/tcp for a socket that listens: what `ss -ltn` shows."""

    port: int
    inode: int


def listening() -> list[Listening]:
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == _LISTEN:
                found.append(Listening(int(columns[1].rpartition(":")[2], 16), int(columns[9])))
    return found


def state(pid: int) -> str:
    """The letter of /proc/<pid>/stat: R, S, T (stopped), Z, …; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def ended(pid: int) -> bool:
    return state(pid) in ("", "Z")


def descriptors(pid: int) -> dict[int, str]:
    """The open descriptors of a process and what each is."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found[int(entry.name)] = str(entry.readlink())
    return found


def sockets(pid: int) -> set[int]:
    """The inodes of the sockets a process holds."""
    return {int(what[8:-1]) for what in descriptors(pid).values() if what.startswith("socket:[")}


def kill(pid: int) -> None:
    """Ends a process (SIGKILL); returns when it has."""
    os.kill(pid, signal.SIGKILL)
    poll(lambda: ended(pid), f"{pid} has ended")


def stop(pid: int) -> None:
    """Stops a process (SIGSTOP); returns when it has."""
    os.kill(pid, signal.SIGSTOP)
    poll(lambda: state(pid) == "T", f"{pid} has stopped")


class App:
    """A sandbox's app in this process: answers `ok`, and under `/hold` only once it is released."""

    def __init__(self) -> None:
        self.held = threading.Semaphore(0)  # one for each request that has arrived under /hold
        self.released = threading.Event()
        app = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while (line := self.rfile.readline()) != b"":
                    while self.rfile.readline() not in (b"\r\n", b""):
                        pass
                    if line.startswith(b"GET /hold "):
                        app.held.release()
                        app.released.wait(2 * PATIENCE)
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        class Server(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6
            daemon_threads = True
            request_queue_size = 1024

        self._server = Server(("::1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class HasPort(Protocol):
    port: int


class Serving(Child):
    """`gateway serve`; `settings` are lines of TOML by section, added to what stands here."""

    def __init__(self, directory: Path, app: HasPort | int, workers: int = 2, **process: str) -> None:
        from gateway.tls import local_ca

        self._directory = directory
        self.plain_port, self.tls_port, self.admin_port = free_port(), free_port(), free_port()
        self.host = f"{app if isinstance(app, int) else app.port}-box.{DOMAIN}"
        self.family: list[int] = []
        self.expected = 0  # the exit status
        certificates = local_ca.ensure(directory / "certs", DOMAIN)
        self.client_tls = ssl.create_default_context(cafile=certificates.authority)
        table = directory / "sandboxes.toml"
        table.write_text('[sandboxes.box]\naddress = "::1"\n')
        config = directory / "gateway.toml"
        given = {"drain_delay": "0s", "drain_timeout": "20s"} | process
        lines = "\n".join(f'{name} = "{value}"' for name, value in given.items())
        config.write_text(
            f"""
[edge]
domains = ["{DOMAIN}"]
listen = ["[::1]:{self.tls_port}", "127.0.0.1:{self.tls_port}"]
listen_plain = ["[::1]:{self.plain_port}", "127.0.0.1:{self.plain_port}"]

[tls]
certificates = [{{ cert = {json.dumps(str(certificates.certificate))}, key = {json.dumps(str(certificates.key))} }}]

[directory]
backend = "file"
path = {json.dumps(str(table))}

[upstream]
allow = ["::1/128"]

[limits]
connections_per_address = 20000

[admin]
listen = "127.0.0.1:{self.admin_port}"

[process]
workers = {workers}
{lines}

[log]
format = "text"
access = false
"""
        )
        super().__init__([sys.executable, "-m", "gateway", "serve", "--config", str(config)], cwd=directory)

    def again(self) -> Serving:
        """Another gateway with the same configuration, not started yet."""
        other = copy.copy(self)
        Child.__init__(other, self.command, cwd=self._directory)
        other.family, other.expected = [], 0
        return other

    @property
    def doors(self) -> list[tuple[str, int, bool]]:
        """Every public listener: host, port, whether it speaks TLS."""
        return [(host, port, port == self.tls_port) for host in HOSTS for port in (self.plain_port, self.tls_port)]

    def ready(self) -> None:
        self.wait_until(lambda: self.health()[0] == 200, "/readyz answers 200")

    def stop(self) -> int:
        self.family = self.family or descendants(self.pid)
        for pid in self.family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return super().stop()

    def stopped(self, code: int) -> None:
        assert code == self.expected, self.log
        if code < 0:  # then its children have to notice it first
            poll(lambda: all(ended(pid) for pid in self.family), "its children end")
        left = [pid for pid in self.family if not ended(pid)]
        assert not left, f"processes outlived the gateway: {left}"
        for sign in ("Traceback (most recent call last)", "was never retrieved", "was never awaited"):
            assert sign not in self.log, self.log

    def tell(self, number: signal.Signals) -> None:
        """A signal to the supervisor."""
        self.family = descendants(self.pid)
        os.kill(self.pid, number)

    def wait(self, timeout: float = 2 * PATIENCE) -> int:
        """The exit status, once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(timeout)

    # --- who is who ----------------------------------------------------------------------------------------------

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /readyz; 0 if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()

    def told(self) -> list[dict[str, Any]]:
        """What /readyz tells of each worker; empty for one that does not answer."""
        found: Any = self.health()[1].get("workers", [])
        return [each or {} for each in found]

    def workers(self) -> list[int]:
        """The pids of the workers, by slot; all of them answer."""

        def look() -> list[int] | None:
            told = self.told()
            return [each["pid"] for each in told] if all(told) else None

        return self.wait_until(look, "every worker answers")

    def admin(self) -> int:
        """The pid of the admin process."""
        [pid] = set(descendants(self.pid)) - {self.pid, *self.workers()}
        return pid

    def listens(self) -> int:
        """How many listening sockets the public ports have."""
        return sum(each.port in (self.plain_port, self.tls_port) for each in listening())

    def says(self, text: str, timeout: float = PATIENCE) -> None:
        """Returns when `text` is in the log."""
        self.wait_until(lambda: text in self.log, f"it says {text!r}", timeout)

    # --- a visitor -----------------------------------------------------------------------------------------------

    def connect(self, host: str = "::1", port: int | None = None) -> socket.socket:
        connection = socket.create_connection((host, port or self.plain_port), timeout=PATIENCE)
        connection.settimeout(2 * PATIENCE)
        return connection

    def ask(self, connection: socket.socket, path: str = "/", *, last: bool = True) -> None:
        close = "Connection: close\r\n" if last else ""
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n{close}\r\n".encode())

    def hold(self, app: App) -> socket.socket:
        """A request that is under way until `app.released`."""
        held = self.connect()
        self.ask(held, "/hold")
        app.held.acquire()
        return held

    def secured(self, connection: socket.socket) -> ssl.SSLSocket:
        return self.client_tls.wrap_socket(connection, server_hostname=self.host)

    def answer(self, connection: socket.socket) -> bytes:
        """What comes until the connection ends; it is closed then."""
        with connection:
            received = b""
            while piece := connection.recv(65536):
                received += piece
            return received

    def get(self, host: str = "::1", port: int | None = None) -> bytes:
        """One request over a connection of its own."""
        connection = self.connect(host, port)
        if port == self.tls_port:
            connection = self.secured(connection)
        self.ask(connection)
        return self.answer(connection)


class Visitors:
    """Connections to every listener; each asks at once, and is read to its end."""

    def __init__(self, gateway: Serving) -> None:
        self._gateway = gateway
        connections = [gateway.connect(host, port) for host, port, _ in gateway.doors * (QUEUED // 4)]
        self._pool = ThreadPoolExecutor(QUEUED)
        self._answers = [self._pool.submit(self._visit, connection) for connection in connections]

    def _visit(self, connection: socket.socket) -> bytes:
        gateway = self._gateway
        if connection.getpeername()[1] == gateway.tls_port:
            connection = gateway.secured(connection)
        gateway.ask(connection)
        return gateway.answer(connection).partition(b"\r\n")[0]

    @property
    def served(self) -> list[bytes]:
        """`answers` if everybody is served."""
        return [b"HTTP/1.1 200 OK"] * QUEUED

    def answers(self) -> list[bytes]:
        """The first lines of what has come on each."""
        with self._pool:
            return [answer.result() for answer in self._answers]


def refuses(host: str, port: int) -> bool:
    """Whether a connection is refused at once; False if it is accepted. Raises TimeoutError if it is neither."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False
