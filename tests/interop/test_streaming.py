"""Bodies of any size at bounded memory, a stalled side that stalls nobody else, events as they happen."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.interop.harness import Connection, GatewayProcess
from tests.support.process import descendants, poll, resident_bytes
from tests.support.raw_app import RawApp
from tests.support.stream import blocks, digest

pytestmark = pytest.mark.interop

MIB = 1024 * 1024
GIB = 1024 * MIB
GROWTH = 32 * MIB
"""How much more resident memory a transfer of any size may take, over all processes of the gateway."""

IN_FLIGHT = 16 * MIB
"""How much the two sockets, the gateway and its kernel buffers may hold for a reader that does not read."""

STALL = 10.0
SMALL_BUFFER = 64 * 1024
EVENT_DELAY = 0.05


@pytest.fixture
def gateway(raw_app: RawApp, tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(raw_app.port, directory=tmp_path) as process:
        yield process


def _ping(connection: Connection) -> float:
    """Seconds one small request takes on this connection."""
    start = time.perf_counter()
    connection.request("GET", "/ping")
    assert connection.getresponse().read() == b"pong"
    return time.perf_counter() - start


def _hash_body(response: http.client.HTTPResponse) -> tuple[int, str]:
    """Length and SHA-256 of the rest of the body, kept nowhere."""
    seen, known, buffer = 0, hashlib.sha256(), bytearray(256 * 1024)
    view = memoryview(buffer)
    while length := response.readinto(buffer):
        known.update(view[:length])
        seen += length
    return seen, known.hexdigest()


# --- size ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Memory:
    """The gateway's resident memory before and at most during a transfer."""

    before: int
    most: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def watch(self, pids: list[int]) -> None:
        while not self.over.wait(0.02):
            self.most = max(self.most, resident_bytes(pids))

    @property
    def growth(self) -> int:
        assert self.most > 0, "memory was never looked at"
        return self.most - self.before


@contextmanager
def _memory(gateway: GatewayProcess, port: int) -> Iterator[Memory]:
    """Watches the gateway while inside, from where it stands after its first requests."""
    with closing(Connection(gateway, port)) as connection:
        for _ in range(20):
            _ping(connection)
    pids = descendants(gateway.pid)
    memory = Memory(resident_bytes(pids))
    watcher = threading.Thread(target=memory.watch, args=(pids,), name="memory", daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        memory.over.set()
        watcher.join()


@pytest.mark.slow
def test_1_gib_down(raw_app: RawApp, gateway: GatewayProcess) -> None:
    with _memory(gateway, raw_app.port) as memory, closing(Connection(gateway, raw_app.port)) as connection:
        connection.request("GET", f"/down?bytes={GIB}")
        received = _hash_body(connection.getresponse())
    assert received == (GIB, digest(GIB))
    assert memory.growth < GROWTH


@pytest.mark.slow
def test_1_gib_up(raw_app: RawApp, gateway: GatewayProcess) -> None:
    with _memory(gateway, raw_app.port) as memory, closing(Connection(gateway, raw_app.port)) as connection:
        connection.request("POST", "/up", blocks(GIB), {"Content-Length": str(GIB)})
        answer = json.load(connection.getresponse())
    assert answer == {"bytes": GIB, "sha256": digest(GIB)}
    assert memory.growth < GROWTH


def test_chunked_both_ways(raw_app: RawApp, gateway: GatewayProcess) -> None:
    total = 64 * MIB + 1
    with closing(Connection(gateway, raw_app.port)) as connection:
        connection.request("GET", f"/down?bytes={total}&chunked=1")
        response = connection.getresponse()
        assert response.getheader("Content-Length") is None
        assert _hash_body(response) == (total, digest(total))

        connection.request("POST", "/up", blocks(total), encode_chunked=True)
        assert json.load(connection.getresponse()) == {"bytes": total, "sha256": digest(total)}


# --- a side that does not read ------------------------------------------------------------------------------


@dataclass(slots=True)
class Others:
    """How another connection fares meanwhile."""

    delays: list[float] = field(default_factory=list)

    def probe(self, connection: Connection, seconds: float) -> None:
        """Small requests, one every 20 ms or so, for that long."""
        deadline, pace = time.monotonic() + seconds, threading.Event()
        while time.monotonic() < deadline:
            self.delays.append(_ping(connection))
            pace.wait(0.02)

    def fared_well(self) -> None:
        assert len(self.delays) > 50, f"only {len(self.delays)} requests were answered"
        assert statistics.median(self.delays) < 0.05, sorted(self.delays)[-10:]
        assert max(self.delays) < 1.0, sorted(self.delays)[-10:]


@pytest.mark.slow
def test_a_reader_that_stops_stalls_its_sender_and_nobody_else(raw_app: RawApp, gateway: GatewayProcess) -> None:
    total = 128 * MIB
    others = Others()
    with (
        closing(Connection(gateway, raw_app.port)) as other,
        closing(Connection(gateway, raw_app.port, receive_buffer=SMALL_BUFFER)) as reader,
    ):
        reader.request("GET", f"/down?bytes={total}")
        response = reader.getresponse()
        others.probe(other, 1)
        at_first = raw_app.sent
        others.probe(other, STALL - 1)
        assert 0 < raw_app.sent < IN_FLIGHT
        assert raw_app.sent == at_first, "the sender went on sending"

        # The reader goes on, and nothing of what stood still is lost.
        assert _hash_body(response) == (total, digest(total))
        _ping(other)
    others.fared_well()


@pytest.mark.slow
def test_an_app_that_stops_reading_stalls_its_sender_and_nobody_else(raw_app: RawApp, gateway: GatewayProcess) -> None:
    total = 128 * MIB
    others, taken = Others(), 0

    def counted() -> Iterator[bytes]:
        nonlocal taken
        for block in blocks(total):
            yield block
            taken += len(block)

    with (
        ThreadPoolExecutor(1) as pool,
        closing(Connection(gateway, raw_app.port)) as other,
        closing(Connection(gateway, raw_app.port)) as sender,
    ):
        length = {"Content-Length": str(total)}
        upload = pool.submit(sender.request, "POST", "/up?hold=1", counted(), length)
        others.probe(other, 1)
        at_first = taken
        others.probe(other, 3)
        assert taken == at_first < IN_FLIGHT
        assert not upload.done()
        assert raw_app.received == 0

        raw_app.release.set()
        upload.result(30)
        assert json.load(sender.getresponse()) == {"bytes": total, "sha256": digest(total)}
    others.fared_well()


def test_a_reader_that_goes_away_ends_the_apps_sending(raw_app: RawApp, gateway: GatewayProcess) -> None:
    before = len(raw_app.connections)
    with closing(Connection(gateway, raw_app.port, receive_buffer=SMALL_BUFFER)) as reader:
        reader.request("GET", f"/down?bytes={GIB}")
        assert reader.getresponse().read(1000)
        poll(lambda: len(raw_app.connections) > before, "the app has the gateway's connection")
    poll(lambda: len(raw_app.connections) == before, "the app's connection is closed", 10)
    assert raw_app.sent < GIB // 2


# --- events -------------------------------------------------------------------------------------------------


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[int, float]]:
    """Number of each event and how long after its sending it was here."""
    while line := response.readline():
        here = time.monotonic()
        if line.startswith(b"data: "):
            number, sent = line.removeprefix(b"data: ").split()
            yield int(number), here - float(sent)


def test_events_arrive_within_50_ms(raw_app: RawApp, gateway: GatewayProcess) -> None:
    # A busy machine may be late once; a gateway that waits for more to come is late every time.
    for _ in range(3):
        with closing(Connection(gateway, raw_app.port)) as connection:
            connection.request("GET", "/events?count=100&every=0.01")
            response = connection.getresponse()
            assert response.getheader("Content-Type") == "text/event-stream"
            events = list(_events(response))
        assert [number for number, _ in events] == list(range(100))
        delays = [delay for _, delay in events]
        if max(delays) < EVENT_DELAY:
            break
    assert max(delays) < EVENT_DELAY
    assert statistics.median(delays) < EVENT_DELAY / 5


def test_events_arrive_one_by_one(raw_app: RawApp, gateway: GatewayProcess) -> None:
    """An event is sent only after the one before has arrived: one that is held back is a standstill."""
    with closing(Connection(gateway, raw_app.port)) as connection:
        connection.request("GET", "/events?count=50")
        assert isinstance(connection.sock, ssl.SSLSocket)
        connection.sock.settimeout(5)
        response = connection.getresponse()
        numbers = []
        for number, _ in _events(response):
            numbers.append(number)
            raw_app.acknowledge(number)
    assert numbers == list(range(50))
