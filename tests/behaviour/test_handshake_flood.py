"""A flood of handshakes from one source holds up nobody else: neither their handshakes nor their requests.

The flood is there before the event loop looks: a hundred ClientHellos from 127.0.0.2, all in the kernel's queues. A turn
of the loop is made so short that it has room for one step of one handshake, so that what is answered before whom is
exact, whatever the machine is doing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest

from gateway.edge import handshakes
from gateway.edge.handshakes import HandshakeQueue
from gateway.edge.listener import Listener
from tests.behaviour.harness import DOMAIN, OK, App, Gateway, OpenGateway, TlsSides, answering, get, until
from tests.support.tls_client import TlsClient

FLOOD = 100
FEW = 25
"""Of the flood are answered before a neighbour, who takes part in a handful of turns."""
ALERT, HANDSHAKE = b"\x15", b"\x16"
NAME = f"5000-box.{DOMAIN}"


@pytest.fixture(autouse=True)
def one_step_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "CPU_BUDGET", 1e-9)


class TlsPort:
    """A TLS listener on 127.0.0.1: only there one machine has many addresses."""

    def __init__(self, gateway: Gateway, tls: TlsSides) -> None:
        self.tls = tls
        self._sockets: list[socket.socket] = []
        listening = self._new()
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        self.address = listening.getsockname()
        self._listener = Listener(gateway.edge, listening, tls.server)

    def _new(self) -> socket.socket:
        sock = socket.socket()
        self._sockets.append(sock)
        return sock

    def connect(self, source: str) -> socket.socket:
        """A connection from `source`, made by the kernel alone."""
        sock = self._new()
        sock.bind((source, 0))
        sock.connect(self.address)
        sock.setblocking(False)
        return sock

    def flood(self, source: str, count: int = FLOOD) -> list[socket.socket]:
        hello = TlsClient(self.tls.client, NAME).shake_hands_begin()
        sockets = [self.connect(source) for _ in range(count)]
        for sock in sockets:
            sock.sendall(hello)
        return sockets

    def close(self) -> None:
        self._listener.close()
        for sock in self._sockets:
            sock.close()


@pytest.fixture
def open_port(tls_sides: TlsSides) -> Iterator[Callable[[Gateway], TlsPort]]:
    ports: list[TlsPort] = []

    def open_one(gateway: Gateway) -> TlsPort:
        ports.append(TlsPort(gateway, tls_sides))
        return ports[-1]

    yield open_one
    for port in ports:
        port.close()


def answers(sockets: list[socket.socket], kind: bytes = HANDSHAKE) -> int:
    """How many have had an answer that begins with `kind`; it stays where it is."""
    count = 0
    for sock in sockets:
        try:
            count += sock.recv(1, socket.MSG_PEEK) == kind
        except BlockingIOError:
            continue
    return count


async def shake_hands(sock: socket.socket, client: ssl.SSLContext) -> TlsClient:
    """A whole handshake of a client that does its part at once."""
    loop = asyncio.get_running_loop()
    tls = TlsClient(client, NAME)
    octets = tls.shake_hands_begin()
    while True:
        await loop.sock_sendall(sock, octets)
        try:
            tls.tls.do_handshake()
        except ssl.SSLWantReadError:
            tls.incoming.write(await loop.sock_recv(sock, 65536))
            try:
                tls.tls.do_handshake()
            except ssl.SSLWantReadError:
                octets = b""
                continue
        octets = tls.outgoing.read()
        await loop.sock_sendall(sock, octets)
        return tls


async def test_a_neighbours_handshake_goes_between(
    open_gateway: OpenGateway, open_port: Callable[[Gateway], TlsPort]
) -> None:
    gateway = await open_gateway()
    port = open_port(gateway)
    flood = port.flood("127.0.0.2")
    await shake_hands(port.connect("127.0.0.1"), port.tls.client)
    assert answers(flood) < FEW
    await until(lambda: answers(flood) == FLOOD, "the flood has its turn, too")


async def test_a_neighbours_requests_go_between(
    open_gateway: OpenGateway, open_port: Callable[[Gateway], TlsPort]
) -> None:
    gateway = await open_gateway()
    port = open_port(gateway)
    app: App = await gateway.app(answering(OK))
    neighbour = await gateway.connect(tls=True)
    neighbour.send(get(app))
    assert (await neighbour.answer()).body == b"ok"
    flood = port.flood("127.0.0.2")
    neighbour.send(get(app))
    assert (await neighbour.answer()).body == b"ok"
    assert answers(flood) < FEW


async def test_a_flood_on_its_own_is_answered_turn_by_turn(
    open_gateway: OpenGateway, open_port: Callable[[Gateway], TlsPort]
) -> None:
    gateway = await open_gateway()
    port = open_port(gateway)
    flood = port.flood("127.0.0.2")
    await until(lambda: gateway.edge.connections == FLOOD, "all are accepted")
    await until(lambda: answers(flood) == FLOOD, "all are answered")
    assert gateway.edge.handshakes.waiting == 0
    assert gateway.edge.handshakes.refused == 0


async def test_one_source_takes_half_the_room(
    open_gateway: OpenGateway, open_port: Callable[[Gateway], TlsPort]
) -> None:
    hello = len(TlsClient(ssl.create_default_context(), NAME).shake_hands_begin())
    gateway = await open_gateway(limits={"handshake_bytes": 20 * hello})
    port = open_port(gateway)
    held = hold_turns(gateway)
    flood = port.flood("127.0.0.2")
    await until(lambda: gateway.edge.handshakes.refused + gateway.edge.handshakes.waiting == FLOOD, "all have come")
    assert 9 <= gateway.edge.handshakes.waiting <= 11
    await until(lambda: answers(flood, ALERT) == FLOOD - gateway.edge.handshakes.waiting, "the others hear of it")
    neighbours = [*port.flood("127.0.0.1", 1), *port.flood("127.0.0.3", 1)]
    await until(lambda: gateway.edge.connections == gateway.edge.handshakes.waiting, "they wait")
    held()
    await until(lambda: answers(neighbours) == 2, "neighbours are served")
    await until(lambda: answers(flood) + answers(flood, ALERT) == FLOOD, "and the others, too")
    assert gateway.edge.counters.connections_refused.handshake_bytes == gateway.edge.handshakes.refused > 0
    assert any("handshakes refused: " in line and "the last from 127.0.0.2" in line for line in gateway.told())


async def test_a_balancer_is_not_one_source(open_gateway: OpenGateway, open_port: Callable[[Gateway], TlsPort]) -> None:
    hello = len(TlsClient(ssl.create_default_context(), NAME).shake_hands_begin())
    room = {"limits": {"handshake_bytes": (FLOOD + 5) * hello}, "edge": {"trusted_proxies": (ip_network("127.0.0.2"),)}}
    gateway = await open_gateway(**room)
    port = open_port(gateway)
    held = hold_turns(gateway)
    flood = port.flood("127.0.0.2")
    await until(lambda: gateway.edge.handshakes.waiting == FLOOD, "all of them wait")
    assert gateway.edge.handshakes.refused == 0
    held()
    await until(lambda: answers(flood) == FLOOD, "all are served")


async def test_who_leaves_while_waiting_leaves_nothing(
    open_gateway: OpenGateway, open_port: Callable[[Gateway], TlsPort]
) -> None:
    gateway = await open_gateway()
    port = open_port(gateway)
    held = hold_turns(gateway)
    flood = port.flood("127.0.0.2")
    await until(lambda: gateway.edge.handshakes.waiting == FLOOD, "all of them wait")
    for sock in flood:
        sock.close()
    await until(lambda: gateway.edge.connections == 0, "their end is noticed")
    held()
    await until(lambda: gateway.edge.handshakes.waiting == 0, "their places are free")


async def test_who_waits_too_long_is_given_up(
    open_gateway: OpenGateway, open_port: Callable[[Gateway], TlsPort]
) -> None:
    gateway = await open_gateway(timeouts={"handshake": 0.2})
    port = open_port(gateway)
    held = hold_turns(gateway)
    port.flood("127.0.0.2", 10)
    await until(lambda: gateway.edge.handshakes.waiting == 10, "they wait")
    await until(lambda: gateway.edge.connections == 0, "the deadline of handshakes is theirs, too")
    held()


class Busy:
    """Whose part of a handshake takes all the time that there is."""

    source = None
    has_begun = queued = False
    buffered = 0

    def shake_hands(self) -> bool:
        return False


def hold_turns(gateway: Gateway) -> Callable[[], None]:
    """Nobody who waits is served until the result is called: a machine that is busy with something else."""
    loop = asyncio.get_running_loop()
    kept: list[Callable[[], None]] = []
    busy = True

    def call_soon(callback: Callable[[], None]) -> None:
        if busy:
            kept.append(callback)
        else:
            loop.call_soon(callback)

    def go_on() -> None:
        nonlocal busy
        busy = False
        for callback in kept:
            callback()

    gateway.edge.handshakes = HandshakeQueue(call_soon, gateway.settings.limits.handshake_bytes)
    gateway.edge.handshakes.submit(Busy(), 0)
    return go_on
