"""One-octet chunks, the dearest octets there are, neither hold the event loop nor get lost on the way."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http.body import ChunkedReader
from gateway.turns import SHARE
from tests.behaviour.harness import App, Gateway, OpenGateway, get, until

AT_ONCE = 2 * SHARE
"""A share that ends with a turn may be followed by a read before the next one."""
COUNT = 50_000
CONTENT = bytes(97 + number % 26 for number in range(COUNT))
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\nX-Last: one\r\n\r\n"
BODY = b"".join(b"1\r\n%c\r\n" % octet for octet in CONTENT) + END
SMALL = 16 * 1024
both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


class Work:
    """How many chunks each turn of the event loop has read, over all connections."""

    def __init__(self) -> None:
        self.most = 0
        self.turns = 0
        self._this_turn = 0
        self._loop = asyncio.get_running_loop()

    def note(self, chunks: int) -> None:
        if not self._this_turn:
            self._loop.call_soon(self._close_turn)
        self._this_turn += chunks
        self.most = max(self.most, self._this_turn)

    def _close_turn(self) -> None:
        self._this_turn = 0
        self.turns += 1


@pytest.fixture
async def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    noted = Work()
    read = ChunkedReader.read

    def noting(self: ChunkedReader, data: bytes, budget: int) -> tuple[bytes, bytes | None]:
        content, rest = read(self, data, budget)
        noted.note(len(content))  # of one octet each
        return content, rest

    monkeypatch.setattr(ChunkedReader, "read", noting)
    return noted


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


@both
async def test_in_an_answer(gateway: Gateway, app: App, work: Work, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    for _ in range(2):  # the connections on both sides are as good as new afterwards
        browser.send(get(app))
        upstream = await app.accept() if not app.connections else app.connections[0]
        await upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + BODY)
        answer = await browser.answer()
        assert answer.body == CONTENT
        assert answer.trailers == b"X-Last: one\r\n"
    assert len(app.connections) == 1
    assert work.most <= AT_ONCE
    assert work.turns >= 2 * COUNT // AT_ONCE


@both
async def test_in_a_request(gateway: Gateway, app: App, work: Work, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    for number in range(2):
        browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\n" % app.host + CHUNKED + BODY + get(app))  # and one behind it
        upstream = app.connections[0] if number else await app.accept()
        request = await upstream.request()
        assert request.body == CONTENT
        assert request.trailers == b"X-Last: one\r\n"
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await browser.answer()).status == 204
        assert (await upstream.request()).start == b"GET / HTTP/1.1"
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await browser.answer()).status == 204
    assert work.most <= AT_ONCE


@both
async def test_to_a_reader_that_stops_and_goes_on(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(kernel_buffer=SMALL, limits={"buffer_bytes": 4096})
    app = await gateway.app(kernel_buffer=SMALL)
    browser = await gateway.connect(tls=tls, kernel_buffer=SMALL)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + BODY)
    for _ in range(20):
        browser.stop_reading()
        await gateway.settled()
        taken = len(browser.received)
        browser.read_on()
        await until(lambda taken=taken: len(browser.received) > taken or browser.received.endswith(END), "more of it")
    assert (await browser.answer()).body == CONTENT


@pytest.mark.parametrize("leaves", ["browser", "app"])
async def test_somebody_leaves_in_the_middle(gateway: Gateway, app: App, leaves: str) -> None:
    """`Gateway.finish` then finds nothing left of it."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + BODY[: len(BODY) // 2])
    await browser.head()
    if leaves == "browser":
        browser.reset()
        await upstream.ended()
    else:
        upstream.half_close()
        rest = await browser.ended()
        assert not rest.endswith(b"0\r\n\r\n"), "a truncated answer looks truncated"
