"""The gateway between two raw ends, in one process and one event loop.

    browser  <── gateway.connect() ──>  Gateway (an Edge, a plain and a TLS listener)  <──>  App (scripted)

Both ends are `Wire`s: octets go out as the test writes them and come in as they were sent, so that a test reads like a
sequence diagram. An app's connections are played by the test (`await app.accept()`) or by a script, a coroutine given
each connection. Nothing sleeps: waits end when what they wait for is there, and fail after `PATIENCE`.

`Gateway.finish` proves after every test that nothing is left behind and that nothing went wrong unseen.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.config import Settings
from gateway.directory.sandbox import Directory, Sandbox, TableDirectory
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener
from gateway.edge.local_reply import LocalReply
from gateway.observe.access_log import AccessRecord
from gateway.tasks import Tasks
from gateway.upstream.claims import Claims
from tests.behaviour.http2_wire import Http2Wire, spelled
from tests.behaviour.wire import PATIENCE, Wire, until
from tests.behaviour.wire import Message as Message
from tests.support.ports import alone
from tests.support.telemetry import AtOnce
from tests.support.tls_client import TlsClient

T = TypeVar("T")

DOMAIN = "sandbox.localhost"
SANDBOX = "box"
LOOPBACK = "::1"
BOX = {SANDBOX: Sandbox(SANDBOX, IPv6Address(LOOPBACK), "1")}
"""The only record."""

Script = Callable[["Wire"], Coroutine[Any, Any, None]]


# --- the app --------------------------------------------------------------------------------------------------------


class App:
    """What listens on a port of the sandbox. Without a script the test plays it: `await app.accept()`."""

    def __init__(self, script: Script | None, protocol: str = "http1") -> None:
        self.protocol = protocol  # the browsers'
        self.connections: list[Wire] = []  # in the order they came
        self.port = 0
        self._script = script
        self._accepted = 0
        self._tasks = Tasks()
        self._scripts: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self._keeper: socket.socket | None = None

    @property
    def host(self) -> bytes:
        return b"%d-%b.%b" % (self.port, SANDBOX.encode(), DOMAIN.encode())

    @property
    def received(self) -> bytes:
        """Every octet that ever reached it, over all connections."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    async def start_alone(self, listen: Callable[[], socket.socket]) -> None:
        """Starts on a port that stays nobody else's, also when the app has stopped."""
        sock, self._keeper = alone(listen)
        await self.start(sock)

    async def start(self, sock: socket.socket) -> None:
        self.port = sock.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, sock=sock)

    def _connection(self) -> Wire:
        wire = _AppWire(self)
        self.connections.append(wire)
        return wire

    def connected(self, wire: Wire) -> None:
        if self._script is not None:
            self._scripts.append(self._tasks.spawn(self._script(wire), "app"))

    async def accept(self) -> Wire:
        """The next connection, in the order they came."""
        self._accepted += 1
        await until(lambda: len(self.connections) >= self._accepted, f"connection {self._accepted} to the app")
        return self.connections[self._accepted - 1]

    async def finish(self) -> None:
        """Every connection has been ended by the gateway; ours, and what went wrong in a script."""
        for wire in self.connections:
            wire.read_on()
        await until(lambda: all(wire.end for wire in self.connections), "the gateway hangs up on the app")
        for wire in self.connections:
            wire.transport.abort()
        await until(lambda: all(wire.closed for wire in self.connections), "the app's connections close")
        self.abandon()
        await self._tasks.cancel()
        for script in self._scripts:
            if not script.cancelled() and (error := script.exception()) is not None:
                raise error

    def stop(self) -> None:
        """Stops listening; connections stay."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def abandon(self) -> None:
        """Stops, and leaves the port to whoever wants it."""
        self.stop()
        if self._keeper is not None:
            self._keeper.close()


class _AppWire(Wire):
    def __init__(self, app: App) -> None:
        super().__init__()
        self._app = app

    def respelled(self, head: bytes) -> bytes:
        """Names of fields are in lower case if they came over HTTP/2; no app minds, and no test."""
        return head if self._app.protocol == "http1" else _FIELD.sub(lambda found: spelled(found[0]), head)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._app.connected(self)


_FIELD = re.compile(rb"(?<=\n)[^:\r\n]+(?=:)")


def answering(*answers: bytes) -> Script:
    """A script that answers the n-th request of each connection with the n-th answer; the last one repeats."""

    async def script(wire: Wire) -> None:
        number = 0
        while await wire.another():
            await wire.request()
            wire.send(answers[min(number, len(answers) - 1)])
            number += 1

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


# --- the gateway ----------------------------------------------------------------------------------------------------


class Records(list[AccessRecord]):
    """An `AccessLog` that can be asked."""

    dropped = 0

    def write(self, records: list[AccessRecord]) -> None:
        self.extend(records)


LOGGERS = ("gateway", "asyncio")
NOTICES = "gateway.notices"


class _Complaints(logging.Handler):
    """Warnings and errors that were logged: nothing a peer does may cause one, but a notice, which is bounded."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.notices: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == NOTICES:
            self.notices.append(f"{record.levelname.lower()}: {record.getMessage()}")
        elif record.levelno >= logging.WARNING:
            self.lines.append(logging.Formatter().format(record))


@dataclass(frozen=True, slots=True)
class TlsSides:
    """Contexts of both ends, made from one local authority."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    authority: Path

    def client_of(self, *protocols: str) -> ssl.SSLContext:
        """A client that offers these by ALPN."""
        context = ssl.create_default_context(cafile=self.authority)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


@dataclass(frozen=True, slots=True)
class Options:
    """What a test wants different: sections by keyword, as in the configuration file."""

    edge: dict[str, Any] = field(default_factory=dict)
    directory: dict[str, Any] = field(default_factory=dict)
    upstream: dict[str, Any] = field(default_factory=dict)
    timeouts: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    local_reply: LocalReply | None = None
    """Of the plain listener."""
    backend: Directory | None = None
    """Instead of `Gateway.table`."""
    claims: Claims | None = None
    """Shared with another gateway, as by the workers of one."""
    kernel_buffer: int = 0
    """SO_SNDBUF and SO_RCVBUF of the listeners and so of what they accept; 0: the system's."""


def settings(options: Options) -> Settings:
    """The defaults for one sandbox on loopback; a wait that a test does not ask for outlasts it, except lingering."""
    replace = msgspec.structs.replace
    base = Settings()
    return replace(
        base,
        edge=replace(base.edge, **{"domains": (DOMAIN,), **options.edge}),
        directory=replace(base.directory, **options.directory),
        upstream=replace(base.upstream, **{"allow": (IPv6Network(f"{LOOPBACK}/128"),), **options.upstream}),
        timeouts=replace(base.timeouts, **{"linger": 1.0, **options.timeouts}),
        limits=replace(base.limits, **options.limits),
    )


class Gateway:
    """One `Edge` with its two listeners. Attributes are the real objects, for tests that look at counts."""

    def __init__(self, tls: TlsSides, options: Options, protocol: str = "http1") -> None:
        self.protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._tls = tls
        self.settings = settings(options)
        self.log = Records()
        self.table = TableDirectory(BOX)
        self.edge = Edge(self.settings, options.backend or self.table, AtOnce(self.log), claims=options.claims)
        self.apps: list[App] = []
        self.browsers: list[Wire] = []
        self.plain_socket, self.secure_socket = (listening_socket(options.kernel_buffer) for _ in range(2))
        self.plain = Listener(self.edge, self.plain_socket, None, options.local_reply)
        self.secure = Listener(self.edge, self.secure_socket, tls.server)
        self.plain_port: int = self.plain_socket.getsockname()[1]
        self.tls_port: int = self.secure_socket.getsockname()[1]
        self._faults: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _, context: self._faults.append(context))
        self._complaints = _Complaints()
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self._complaints)
        logging.getLogger(NOTICES).setLevel(logging.INFO)

    async def app(self, script: Script | None = None, *, kernel_buffer: int = 0) -> App:
        """An app on a port of the sandbox's own."""
        app = App(script, self.protocol)
        self.apps.append(app)
        await app.start_alone(lambda: listening_socket(kernel_buffer))
        return app

    async def connect(self, *, tls: bool = False, kernel_buffer: int = 0) -> Wire:
        """A browser's connection, over the protocol that the test is run for."""
        http2 = self.protocol == "http2"
        context = self._tls.client_of(*(["h2"] if http2 else [])) if tls else None
        port = self.tls_port if tls else self.plain_port
        return await self._connect(Http2Wire() if http2 else Wire(), port, context, kernel_buffer)

    async def connect_to(self, port: int, *, context: ssl.SSLContext | None = None, kernel_buffer: int = 0) -> Wire:
        """A connection to any of the listeners, with TLS if there is a context for it; octets go as they are."""
        return await self._connect(Wire(), port, context, kernel_buffer)

    async def _connect(self, wire: Wire, port: int, context: ssl.SSLContext | None, kernel_buffer: int) -> Wire:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.setblocking(False)
        _set_buffers(sock, kernel_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.sock_connect(sock, (LOOPBACK, port))
        except OSError:
            sock.close()
            raise
        name = f"5000-{SANDBOX}.{DOMAIN}" if context is not None else None
        await self._loop.create_connection(lambda: wire, sock=sock, ssl=context, server_hostname=name)
        self.browsers.append(wire)
        return wire

    def expect_complaint(self, words: str) -> None:
        """Takes the logged warnings that contain `words` out of what `finish` minds; there must be one."""
        lines = self._complaints.lines
        assert any(words in line for line in lines), lines
        lines[:] = [line for line in lines if words not in line]

    def complaints(self) -> list[str]:
        """The logged warnings since this was last asked, which `finish` does not mind then."""
        lines, self._complaints.lines = self._complaints.lines, []
        return lines

    @property
    def notices(self) -> list[str]:
        """The lines of `gateway.observe.notices`, with their levels."""
        return self._complaints.notices

    def told(self) -> list[str]:
        """The same, and what would be told within a second."""
        self.edge.notices.tell_rest()
        return self.notices

    async def blocking_socket(
        self, *, tls: bool = False, kernel_buffer: int = 0, context: ssl.SSLContext | None = None, **wrap: Any
    ) -> socket.socket:
        """A browser's connection that only moves when a thread calls it; `wrap` is for `SSLContext.wrap_socket`."""
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        _set_buffers(sock, kernel_buffer)
        sock.settimeout(PATIENCE)
        context = context or (self._tls.client if tls else None)

        def connect() -> socket.socket:
            sock.connect((LOOPBACK, self.plain_port if context is None else self.tls_port))
            if context is None:
                return sock
            return context.wrap_socket(sock, **{"server_hostname": f"5000-{SANDBOX}.{DOMAIN}", **wrap})

        try:
            return await asyncio.to_thread(connect)
        except BaseException:
            sock.close()
            raise

    def shrink_upstream_buffers(self, size: int) -> None:
        """Of the connections to apps, both ways; left alone the kernel lets them grow to megabytes."""
        for wire in [wire for app in self.apps for wire in app.connections]:
            if not wire.end:
                _set_buffers(wire.peer.get_extra_info("socket"), size)

    async def settled(self) -> None:
        """Returns after another connection was served: what was sent before has been read by then."""
        before = self.edge.connections
        other = await self.connect()
        other.send(b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n")
        await other.eof()
        other.close()
        await until(lambda: self.edge.connections <= before, "the other connection is gone")
        del self.log[[record.host for record in self.log].index("elsewhere.example")]

    async def finish(self) -> None:
        """The browsers leave: everything must be back where it was, and nothing must have been complained about."""
        edge = self.edge
        try:
            for wire in self.browsers:
                if not wire.closed:
                    wire.reset()  # a mere close would be a half-close, which is honoured for a while
            await until(lambda: not edge.connections, f"no connection: {edge.downstreams}")
            await until(lambda: not edge.exchanges, f"no exchange: {edge.exchanges}")
            await until(lambda: not edge.downstreams, f"no downstream: {edge.downstreams}")
            await until(lambda: not len(edge.tasks), "no task")
            edge.pool.close()
            await until(lambda: not edge.pool.connections, f"no upstream connection: {edge.pool.connections}")
            assert len(edge.pool.idle) == edge.pool.dialing == 0
            assert not edge.pool.sandboxes() and not edge.pool.retired_past_grace(inf)
            for app in self.apps:
                await app.finish()
            await until(lambda: all(wire.closed for wire in self.browsers), "the browsers' connections close")
        finally:
            self.plain.close()
            self.secure.close()
            await edge.close()
            self.plain_socket.close()
            self.secure_socket.close()
            for app in self.apps:
                app.abandon()
            for name in LOGGERS:
                logging.getLogger(name).removeHandler(self._complaints)
            logging.getLogger(NOTICES).setLevel(logging.NOTSET)
            self._loop.set_exception_handler(None)
        assert not self._faults, "\n".join(map(_describe, self._faults))
        assert not self._complaints.lines, "\n".join(self._complaints.lines)


def _describe(context: dict[str, Any]) -> str:
    """What the event loop's exception handler was told, with the traceback."""
    error = context.get("exception")
    lines = traceback.format_exception(error) if isinstance(error, BaseException) else []
    return "".join([f"{context}\n", *lines])


def listening_socket(kernel_buffer: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setblocking(False)
    _set_buffers(sock, kernel_buffer)
    sock.bind((LOOPBACK, 0))
    sock.listen(1024)
    return sock


def _set_buffers(sock: socket.socket, size: int) -> None:
    if size:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


async def secured(gateway: Gateway, context: ssl.SSLContext) -> tuple[Wire, TlsClient]:
    """A browser's connection whose records the test makes itself."""
    wire = await gateway.connect_to(gateway.tls_port)
    client = TlsClient(context, f"5000-{SANDBOX}.{DOMAIN}")
    while True:
        try:
            client.tls.do_handshake()
        except ssl.SSLWantReadError:
            seen = len(wire.received)
            wire.send(client.outgoing.read())
            await wire.wait(lambda seen=seen: len(wire.received) > seen, "its side of the handshake")
            client.incoming.write(wire.take())
        else:
            wire.send(client.outgoing.read())
            return wire, client


OpenGateway = Callable[..., Awaitable[Gateway]]
"""`await open_gateway(timeouts={"idle": 0.2})`: keywords are those of `Options`."""


# --- requests that are not the point of a test ----------------------------------------------------------------------


def get(app: App, target: bytes = b"/") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, app.host)


def post(app: App, body: bytes, target: bytes = b"/") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n%b" % (target, app.host, len(body), body)
