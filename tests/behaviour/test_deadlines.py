"""Nobody can hold a connection open by doing nothing, or next to nothing; who makes progress is left alone."""

from __future__ import annotations

import asyncio

import pytest

from tests.behaviour.harness import OK, Gateway, OpenGateway, Wire, answering, get, until

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])

SHORT = 0.2
EARLY = SHORT - 0.02
"""The clock has steps of a millisecond, and a connection is made a moment before the test knows."""
LATE = 1.0
"""What a deadline may be late by: a sweep, and a busy machine."""


class Watch:
    """Time on the gateway's own clock since it was made."""

    def __init__(self, gateway: Gateway) -> None:
        self._clock = gateway.edge.clock
        self._start = self._clock()

    @property
    def elapsed(self) -> float:
        return self._clock() - self._start

    async def reaches(self, seconds: float) -> None:
        await until(lambda: self.elapsed >= seconds, f"{seconds:g} s pass")


async def closed_silently(browser: Wire) -> None:
    assert await browser.eof() == b""


# --- heads ------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: a\r\n"])
async def test_a_head_that_stops(open_gateway: OpenGateway, begun: bytes, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"request_header": SHORT})
    browser = await gateway.connect(tls=tls)
    watch = Watch(gateway)
    browser.send(begun)
    answer = await browser.answer()
    assert (answer.status, answer.reason, answer.get(b"Connection")) == (408, b"request_timeout", b"close")
    assert EARLY <= watch.elapsed < SHORT + LATE
    assert await browser.eof() == b""
    assert [record.status for record in gateway.log] == [408]


async def test_slowloris(open_gateway: OpenGateway) -> None:
    """One octet now and then is no reason to wait: the time is for the whole head."""
    gateway = await open_gateway(timeouts={"request_header": SHORT})
    browser = await gateway.connect()
    watch = Watch(gateway)
    sent = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: "
    browser.send(sent)
    while not browser.unread and watch.elapsed < SHORT + LATE:
        browser.send(b"a")
        await gateway.settled()
    assert EARLY <= watch.elapsed < SHORT + LATE
    assert (await browser.answer()).status == 408


async def test_slowloris_on_the_second_request(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"request_header": SHORT})
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    browser.send(get(app) + b"GET /")
    assert (await browser.answer()).status == 200
    assert (await browser.answer()).status == 408


# --- keep-alive -------------------------------------------------------------------------------------------------------


@both
async def test_an_idle_connection_is_closed_without_a_word(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"idle": SHORT})
    app = await gateway.app(answering(OK))
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    assert (await browser.answer()).status == 200
    watch = Watch(gateway)
    await closed_silently(browser)
    assert EARLY <= watch.elapsed < SHORT + LATE
    assert [record.status for record in gateway.log] == [200]


@both
async def test_a_connection_that_never_asks_is_closed_without_a_word(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"idle": SHORT, "handshake": 5.0})
    await closed_silently(await gateway.connect(tls=tls))
    assert gateway.log == []


async def test_every_request_begins_the_time_anew(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"idle": SHORT})
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    watch = Watch(gateway)
    for number in range(6):
        await watch.reaches(number * SHORT / 2)
        browser.send(get(app))
        assert (await browser.answer()).status == 200
    assert watch.elapsed > 2 * SHORT


@pytest.mark.parametrize("blank", [b"\r", b"\r\n"])
async def test_a_blank_line_does_not(open_gateway: OpenGateway, blank: bytes) -> None:
    gateway = await open_gateway(timeouts={"idle": 0.5, "request_header": 60.0})
    browser = await gateway.connect()
    watch = Watch(gateway)
    await watch.reaches(0.4)
    browser.send(blank)
    await closed_silently(browser)
    assert watch.elapsed < 0.5 + 0.3


async def test_blank_lines_one_after_the_other_do_not_either(open_gateway: OpenGateway) -> None:
    """The second makes it a head, which has its own, absolute time."""
    gateway = await open_gateway(timeouts={"idle": SHORT, "request_header": SHORT})
    browser = await gateway.connect()
    watch = Watch(gateway)
    while not browser.end and watch.elapsed < 5:
        if not browser.closed:
            browser.send(b"\r\n")
        await gateway.settled()
    assert watch.elapsed < 2 * SHORT + LATE


async def test_a_request_that_waits_for_its_app_is_not_idle(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"idle": 0.1, "request_header": 0.1, "body_idle": 0.1, "tunnel_idle": 0.1})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    await Watch(gateway).reaches(0.6)
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


# --- bodies -----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("begun", [b"", b"abc"], ids=["nothing", "something"])
async def test_a_body_that_stops(open_gateway: OpenGateway, begun: bytes, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"body_idle": SHORT})
    app = await gateway.app()
    browser = await gateway.connect(tls=tls)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 10\r\n\r\n%b" % (app.host, begun))
    upstream = await app.accept()
    await upstream.head()
    answer = await browser.answer()
    assert (answer.status, answer.reason, answer.get(b"Connection")) == (408, b"request_timeout", b"close")
    assert await browser.eof() == b""
    assert await upstream.ended() == begun
    assert not gateway.edge.pool.connections


async def test_a_slow_body_is_left_alone(open_gateway: OpenGateway) -> None:
    """There is no total: an upload may last."""
    gateway = await open_gateway(timeouts={"body_idle": SHORT})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 6\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.head()
    watch = Watch(gateway)
    for number in range(6):
        await watch.reaches(number * SHORT / 2)
        browser.send(b"x")
        assert await upstream.read(1) == b"x"
    upstream.send(OK)
    assert (await browser.answer()).status == 200


async def test_a_body_that_stops_because_the_app_does_not_read_is_not_its_sender_s_fault(
    open_gateway: OpenGateway,
) -> None:
    gateway = await open_gateway(timeouts={"body_idle": 0.2}, kernel_buffer=64 * 1024)
    app = await gateway.app(kernel_buffer=64 * 1024)
    browser = await gateway.connect(kernel_buffer=64 * 1024)
    size = 8 * 1024 * 1024
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, size) + bytes(size))
    upstream = await app.accept()
    await upstream.head()
    upstream.stop_reading()
    gateway.shrink_upstream_buffers(64 * 1024)
    await Watch(gateway).reaches(0.6)
    upstream.read_on()
    assert await upstream.read(size) == bytes(size)
    upstream.send(OK)
    assert (await browser.answer()).status == 200


# --- readers ----------------------------------------------------------------------------------------------------------


async def _download(gateway: Gateway, tls: bool, size: int) -> tuple[Wire, Wire]:
    """A browser that does not read an answer of `size` octets, and the app that sends it."""
    app = await gateway.app(kernel_buffer=64 * 1024)
    browser = await gateway.connect(tls=tls, kernel_buffer=16 * 1024)
    browser.stop_reading()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    return browser, upstream


@both
async def test_a_reader_that_stops_is_cut_off(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"body_idle": SHORT}, kernel_buffer=64 * 1024)
    _, upstream = await _download(gateway, tls, 8 * 1024 * 1024)
    await upstream.ended()
    await until(lambda: not gateway.edge.connections, "the connection is closed")
    (record,) = gateway.log
    assert (record.status, record.reason) == (200, "downstream_closed")


@both
async def test_so_is_one_whose_answer_is_complete(open_gateway: OpenGateway, tls: bool) -> None:
    """A closed window must not pin what has already been handed over."""
    gateway = await open_gateway(timeouts={"body_idle": SHORT, "idle": SHORT}, kernel_buffer=16 * 1024)
    await _download(gateway, tls, 200_000)
    await until(lambda: gateway.log, "the exchange is over")
    await until(lambda: not gateway.edge.connections, "the connection is closed")


@both
@pytest.mark.parametrize("last", [False, True], ids=["keep-alive", "close"])
async def test_a_slow_reader_is_left_alone(open_gateway: OpenGateway, tls: bool, last: bool) -> None:
    """It takes octets now and then, too few to make room: that is progress, also after the connection's last answer."""
    # The last answer is handed over as a whole and waits for its reader; the other one waits for room.
    size, kernel_buffer = (100_000, 16 * 1024) if last else (700_000, 256 * 1024)
    patience, reads = 4 * SHORT, 64
    gateway = await open_gateway(timeouts={"body_idle": patience, "linger": patience}, kernel_buffer=kernel_buffer)
    app = await gateway.app(answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)))
    with await gateway.blocking_socket(tls=tls, kernel_buffer=8 * 1024) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (app.host, b"Connection: close\r\n" if last else b""))
        watch, received = Watch(gateway), b""
        for number in range(reads):
            # A TLS record, 16 KiB, leaves the kernel as a whole, eleven reads after the one before.
            await watch.reaches(number * 2.6 * patience / reads)
            received += await asyncio.to_thread(browser.recv, 1500)
        assert watch.elapsed > 2.5 * patience
        while len(received) < size or not received.endswith(bytes(size)):
            piece = await asyncio.to_thread(browser.recv, 256 * 1024)
            assert piece, f"cut off after {len(received)} octets"
            received += piece


# --- before a request -------------------------------------------------------------------------------------------------


async def _raw(gateway: Gateway) -> Wire:
    """A TCP connection to the TLS port that says nothing of its own accord."""
    return await gateway.connect_to(gateway.tls_port)


async def test_a_tls_port_asked_nothing(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"handshake": SHORT})
    browser = await _raw(gateway)
    watch = Watch(gateway)
    await until(lambda: gateway.edge.connections == 1, "it is counted")
    await browser.ended()
    assert EARLY <= watch.elapsed < SHORT + LATE
    await until(lambda: not gateway.edge.connections, "it is counted out")


async def test_a_handshake_that_stops(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"handshake": SHORT})
    browser = await _raw(gateway)
    watch = Watch(gateway)
    browser.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    await browser.ended()
    assert watch.elapsed < SHORT + LATE
    await until(lambda: not gateway.edge.connections, "it is counted out")


async def test_a_handshake_that_is_none(gateway: Gateway) -> None:
    browser = await _raw(gateway)
    browser.send(b"\x16\x03\x01\x00\x05hello")
    await browser.ended()
    await until(lambda: not gateway.edge.connections, "it is counted out")


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("octets", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
async def test_who_leaves_before_the_handshake_is_forgotten_at_once(gateway: Gateway, octets: bytes, how: str) -> None:
    browser = await _raw(gateway)
    browser.send(octets)
    await until(lambda: gateway.edge.connections == 1, "it is counted")
    getattr(browser, how)()
    await until(lambda: not gateway.edge.connections, "it is counted out")
