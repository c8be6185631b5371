"""Who abuses HTTP/2 costs us little, and nobody else anything.

Every frame here is allowed by itself. What an attack is measured by is the same for all: the connection is told to calm
down and ended within the budget, sandboxes never see more requests at once than the limit allows, memory does not
grow, and whoever else is there is answered as fast as before.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

import pytest

from tests.support.bystander import Bystander
from tests.support.h2_client import H2Client
from tests.support.h2_frames import WINDOW, Code, Flag, Setting, Type, frame, indexed, integer, literal, number
from tests.support.process import poll, resident_bytes
from tests.support.serving import Serving

pytestmark = [pytest.mark.interop, pytest.mark.slow]

LIMIT = 256
"""Streams at once that the gateway allows; see `limits.http2_streams`."""
GROWTH = 4 * 1024 * 1024
"""Octets, HARDENING's bound of each attack."""
WITHIN = 20.0
"""Seconds: far more than an attack takes until it is ended, and far less than the time-outs that would end it."""
FRAMES = 60_000
"""That no attack gets to send, unless it is faster than it reads."""
ANSWER = 300 * 1024


class SlowApp:
    """An app that never answers /hold, and counts how many requests it has at once; one thread for all connections."""

    def __init__(self) -> None:
        self.most = 0
        self.requests = 0
        self._listener = socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=1024)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        self._waker, self._wake = socket.socketpair()
        self._selector.register(self._waker, selectors.EVENT_READ, self._waker)
        self._held: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.data.close()
        self._wake.close()
        self._selector.close()

    def fresh(self) -> None:
        """Counts anew, once everything that was held is gone."""
        poll(lambda: not self._held, "the gateway gives up what was given up")
        self.most = self.requests = 0

    def _run(self) -> None:
        while True:
            ready: list[socket.socket] = [key.data for key, _ in self._selector.select()]
            for each in ready:  # ends first: who makes room before it takes it is within the limit
                if each is self._waker:
                    return
                if each is not self._listener:
                    self._read(each)
            if self._listener in ready:
                connection, _ = self._listener.accept()
                self._selector.register(connection, selectors.EVENT_READ, connection)

    def _read(self, connection: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = connection.recv(65536)
        if not data:
            self._held.discard(connection)
            self._selector.unregister(connection)
            connection.close()
            return
        if b" HTTP/1.1\r\n" not in data:
            return  # of a body
        self.requests += 1
        if b" /hold " in data:
            self._held.add(connection)
            self.most = max(self.most, len(self._held))
            return
        body = bytes(ANSWER) if b" /large " in data else b"ok"
        with suppress(OSError):
            connection.setblocking(False)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture(scope="module")
def app() -> Iterator[SlowApp]:
    with SlowApp() as app:
        yield app


@pytest.fixture(scope="module")
def gateway(app: SlowApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    gateway = Serving(tmp_path_factory.mktemp("gateway"), app, workers=1)
    with gateway:
        yield gateway


class Attack:
    """A connection, and what is sent on it over and over."""

    def __init__(self, gateway: Serving) -> None:
        self.client = H2Client(gateway.connect(), patience=WITHIN)
        self.host = gateway.host.encode()
        self.sent = 0
        self.block = literal(
            *((b":method", b"GET"), (b":scheme", b"http"), (b":authority", self.host), (b":path", b"/hold"))
        )
        self.client.ping()
        self._id = 1

    @property
    def over(self) -> bool:
        client = self.client
        return bool(client.goaway) or client.ended or client.broken

    def begin(self, *, end: bool = True, block: bytes = b"") -> bytes:
        """The next request, which nobody will answer."""
        self.client.open(self._id)
        flags = Flag.END_HEADERS | (Flag.END_STREAM if end else 0)
        self._id += 2
        return frame(Type.HEADERS, flags, self.stream, block or self.block)

    @property
    def stream(self) -> int:
        """The latest."""
        return self._id - 2

    def flood(self, octets: Callable[[], bytes], most: int = FRAMES, *, reads: bool = True) -> None:
        """Sends `octets()` until the other side has enough, 32 at a time."""
        self.client.sock.settimeout(WITHIN)
        while not self.over and self.sent < most:
            batch = [octets() for _ in range(32)]
            self.sent += len(batch)
            self.client.send(b"".join(batch))
            if reads:
                while self.client.read_some(time.monotonic() + 0.0005):
                    pass
        assert self.sent < most or not reads, f"{self.sent} times, and nobody minded"


Play = Callable[[Attack], None]


class Row(NamedTuple):
    play: Play
    codes: tuple[Code, ...] = (Code.ENHANCE_YOUR_CALM,)


def made_to_reset(octets: Callable[[Attack], bytes], *, end: bool = False) -> Row:
    """CVE-2025-8671: a stream is opened, and then we are made to reset it."""

    def play(attack: Attack) -> None:
        attack.flood(lambda: attack.begin(end=end) + octets(attack))

    return Row(play)


def rapid_reset(attack: Attack) -> None:
    """CVE-2023-44487."""
    attack.flood(lambda: attack.begin() + frame(Type.RST_STREAM, 0, attack.stream, number(Code.CANCEL)))


def beyond_the_limit(attack: Attack) -> None:
    """Ten thousand requests at once."""
    attack.flood(attack.begin, 10_000)


def continuations(payload: bytes) -> Play:
    """CVE-2024-27316: a field block without an end."""

    def play(attack: Attack) -> None:
        attack.client.send(frame(Type.HEADERS, Flag.END_STREAM, 1, attack.block))
        attack.client.open(1)
        attack.flood(lambda: frame(Type.CONTINUATION, 0, 1, payload))

    return play


def of(octets: bytes, *, reads: bool = True) -> Play:
    """The same frame all the time."""
    return lambda attack: attack.flood(lambda: octets, reads=reads)


def on_a_stream(octets: Callable[[int], bytes]) -> Play:
    def play(attack: Attack) -> None:
        attack.client.send(attack.begin(end=False))
        attack.flood(lambda: octets(attack.stream))

    return play


def unknown_priorities(attack: Attack) -> None:
    """PRIORITY_UPDATE for streams that are yet to come: each may be remembered."""
    ids = iter(range(1, 1 << 30, 2))
    attack.flood(lambda: frame(Type.PRIORITY_UPDATE, 0, 0, number(next(ids)) + b"u=1"))


MADE_YOU_RESET = {
    "WINDOW_UPDATE by 0": made_to_reset(lambda a: frame(Type.WINDOW_UPDATE, 0, a.stream, number(0))),
    "WINDOW_UPDATE beyond 2^31 - 1": made_to_reset(
        lambda a: frame(Type.WINDOW_UPDATE, 0, a.stream, number((1 << 31) - 1))
    ),
    "PRIORITY of the wrong length": made_to_reset(lambda a: frame(Type.PRIORITY, 0, a.stream, bytes(4))),
    "PRIORITY on itself": made_to_reset(lambda a: frame(Type.PRIORITY, 0, a.stream, number(a.stream) + b"\x00")),
    "HEADERS after the end": made_to_reset(lambda a: frame(Type.HEADERS, 5, a.stream, a.block), end=True),
    "DATA after the end": made_to_reset(lambda a: frame(Type.DATA, 0, a.stream, b"x"), end=True),
}

ATTACKS: dict[str, Row] = {
    "rapid reset": Row(rapid_reset),
    **{f"made to reset by {name}": row for name, row in MADE_YOU_RESET.items()},
    "10,000 requests": Row(beyond_the_limit),
    "CONTINUATIONs": Row(continuations(literal((b"a", b"b" * 1000)))),
    "CONTINUATIONs of nothing": Row(continuations(b"")),
    "DATA of nothing": Row(on_a_stream(lambda stream: frame(Type.DATA, 0, stream))),
    "DATA of padding": Row(on_a_stream(lambda stream: frame(Type.DATA, Flag.PADDED, stream, b"\x00"))),
    "PINGs": Row(of(frame(Type.PING, 0, 0, bytes(8)))),
    "PINGs whose answers nobody reads": Row(of(frame(Type.PING, 0, 0, bytes(8)), reads=False)),
    "SETTINGS": Row(of(frame(Type.SETTINGS, 0, 0, b"\0\4\0\0\xff\xff" * 10))),
    "SETTINGS whose answers nobody reads": Row(of(frame(Type.SETTINGS), reads=False)),
    "PRIORITY": Row(of(frame(Type.PRIORITY, 0, 99, bytes(5)))),
    "PRIORITY_UPDATE": Row(unknown_priorities),
    "WINDOW_UPDATE": Row(of(frame(Type.WINDOW_UPDATE, 0, 0, number(1)))),
    "WINDOW_UPDATE on a stream": Row(on_a_stream(lambda stream: frame(Type.WINDOW_UPDATE, 0, stream, number(1)))),
    "an unknown type": Row(of(frame(0xBE, 0, 0, b""))),
}


def worker(gateway: Serving) -> int:
    return gateway.workers()[0]


class Watch:
    """The gateway while it is attacked: somebody else's answers, its memory at the worst, what the app has to do."""

    def __init__(self, gateway: Serving, app: SlowApp) -> None:
        self._pid = worker(gateway)
        self._app = app
        self._bystander = Bystander(gateway.plain_port, gateway.host)
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.worst = self.before = 0

    def _sample(self) -> None:
        while not self._over.wait(0.02):
            self.worst = max(self.worst, resident_bytes([self._pid]))

    def __enter__(self) -> Self:
        self._app.fresh()
        self._bystander.__enter__()
        self.before = self.worst = resident_bytes([self._pid])
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._sampler.join()
        self._bystander.__exit__(kind, error, traceback)

    def nobody_else_suffers(self, growth: int = GROWTH) -> None:
        bystander = self._bystander
        assert bystander.failures == []
        # Far more than it takes: what is looked for is one who waits for the attack to be over.
        assert bystander.part(0.5) < 0.3 and bystander.part(0.99) < 2.0, bystander.seconds
        assert self.worst - self.before < growth, f"from {self.before >> 10} to {self.worst >> 10} KiB"
        assert self._app.most <= LIMIT


@pytest.fixture(scope="module", autouse=True)
def warm(gateway: Serving) -> None:
    """What memory is taken once and for all is taken before it is measured."""
    with H2Client(gateway.connect()) as client:
        for _ in range(20):
            assert client.response(client.request(gateway.host, path=b"/large")).status == 200


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_ended(gateway: Serving, app: SlowApp, name: str) -> None:
    play, codes = ATTACKS[name]
    with Watch(gateway, app) as watch:
        attack = Attack(gateway)
        with attack.client as client:
            begun = time.monotonic()
            play(attack)
            last = client.expect_goaway(*codes)
            assert last.code in codes
            assert time.monotonic() - begun < WITHIN
    watch.nobody_else_suffers()
    app.fresh()
    poll(lambda: b"ok" in gateway.get(), "it serves")


# --- bombs: what is small on the wire and large in memory -------------------------------------------------------------

KEPT = 3900
"""Octets of a value that fits into the table."""


def bomb(head: bytes, references: int) -> bytes:
    """A block that puts one field into the table and refers to it over and over."""
    name, value = b"cookie", b"a=" + b"b" * KEPT
    kept = b"\x40" + integer(len(name), 7) + name + integer(len(value), 7) + value
    return head + kept + indexed(62) * references


def crumbs(head: bytes, count: int) -> bytes:
    """Fields of one octet each, all of which are one Cookie in the end."""
    kept = b"\x40" + b"\x06cookie" + b"\x01a"
    return head + kept + indexed(62) * count


@pytest.mark.parametrize(
    ("make", "count"), [(bomb, 12_000), (bomb, 90), (crumbs, 16_000)], ids=["bomb", "100 KB", "crumbs"]
)
def test_a_bomb_is_not_unpacked(
    gateway: Serving, app: SlowApp, make: Callable[[bytes, int], bytes], count: int
) -> None:
    """16 KiB of field block that stand for up to 47 MB: 431, or the end of the connection; a hundred of them."""
    with Watch(gateway, app) as watch:
        for _ in range(5):
            attack = Attack(gateway)
            with attack.client as client:
                for _ in range(20):
                    client.send(attack.begin(block=make(attack.block, count)))
                    client.wait(lambda attack=attack: client.stream(attack.stream).over or attack.over, "an answer")
                    if attack.over:
                        client.expect_goaway(Code.ENHANCE_YOUR_CALM, Code.COMPRESSION_ERROR, Code.PROTOCOL_ERROR)
                        break
                    assert client.stream(attack.stream).status == 431
    watch.nobody_else_suffers()
    assert not app.most


# --- readers: who asks for much and takes little ----------------------------------------------------------------------


def test_zero_windows(gateway: Serving, app: SlowApp) -> None:
    """Large answers for whom nothing may be sent: hardly any of them is read from the app."""
    with (
        Watch(gateway, app) as watch,
        H2Client(gateway.connect(), options=((Setting.INITIAL_WINDOW_SIZE, 0),)) as client,
    ):
        client.ping()
        ids = [client.request(gateway.host, path=b"/large") for _ in range(100)]
        client.wait(lambda: sum(client.stream(id).status == 200 for id in ids) > 3, "some heads")
        client.ping()
        assert not any(client.stream(id).body for id in ids)
    watch.nobody_else_suffers(16 * 1024 * 1024)
    poll(lambda: b"ok" in gateway.get(), "it serves")


def test_an_octet_now_and_then(gateway: Serving, app: SlowApp) -> None:
    """A window of one octet each time: others are served meanwhile, and it comes to an end."""
    with (
        Watch(gateway, app) as watch,
        H2Client(gateway.connect(), options=((Setting.INITIAL_WINDOW_SIZE, 1),)) as client,
    ):
        ids = [client.request(gateway.host, path=b"/large") for _ in range(50)]
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and not client.goaway:
            client.read_some(min(deadline, time.monotonic() + 0.1))
        assert all(len(client.stream(id).body) < WINDOW for id in ids)
    watch.nobody_else_suffers(16 * 1024 * 1024)
    poll(lambda: b"ok" in gateway.get(), "it serves")


def test_windows_that_open_by_one_octet(gateway: Serving, app: SlowApp) -> None:
    """Each grants a frame of one octet: nine of head for each of content. Ended, or slow for its sender alone."""
    with Watch(gateway, app) as watch:
        attack = Attack(gateway)
        with attack.client as client:
            client.grants = False
            client.send(
                attack.begin(block=attack.block.replace(b"/hold", b"/large").replace(b"\x05/large", b"\x06/large"))
            )
            stream = client.stream(attack.stream)
            client.wait(lambda: len(stream.body) == WINDOW, "all that the window allows")

            def octet() -> bytes:
                stream.granted += 1
                client.granted += 1
                return frame(Type.WINDOW_UPDATE, 0, 0, number(1)) + frame(Type.WINDOW_UPDATE, 0, stream.id, number(1))

            attack.flood(octet, 20_000)
    watch.nobody_else_suffers()
