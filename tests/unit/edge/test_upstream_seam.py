"""What every implementation of the upstream side of the seam keeps to, so that an exchange can rely on it.

`DRIVERS` names them: HTTP/1.1 and HTTP/2 over a transport without sockets, and the protocol of tests/support/seam.py. A
new one needs a driver, which says what an app says in the octets of its protocol.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import pytest

from gateway.app_protocol import H2C, HTTP1
from gateway.endpoint import Endpoint, Origin
from gateway.errors import Reason
from gateway.http.h2 import frames
from gateway.http.h2.encoder import encode_fields, encode_status
from gateway.http.head_parser import parse_request_head
from gateway.http.message import AS_TUNNEL, NO_BODY, Fields, FieldSection, RequestHead, ResponseHead
from gateway.upstream.http1 import Http1Upstream
from gateway.upstream.http2 import Http2Upstream
from gateway.upstream.http2_stream import Http2UpstreamStream
from gateway.upstream.stream import ResponseSink, UpstreamConnection, UpstreamFailure, UpstreamStream
from tests.support.seam import HOST, Connection, Contract, Downstream, Gateway, Stream, answer, gateway, settle, upload
from tests.support.wire import Wire

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

WANTS_TLS = b"<title>400 The plain HTTP request was sent to HTTPS port</title>"
COMPLETE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
REFUSES_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(WANTS_TLS) + WANTS_TLS
)
ENDPOINT = Endpoint(Origin("demo", "1", "fd00::5"), 5000)


class Sink(ResponseSink):
    """An exchange that writes down what it is told. `at` has what it does when it is told something."""

    def __init__(self, contract: Contract) -> None:
        self.told: list[object] = []
        self.failure: UpstreamFailure | None = None
        self.at: dict[str, Callable[[], None]] = {}
        self._contract = contract
        self._has_head = False
        self._over = ""

    def _hear(self, what: str, of_body: bool) -> None:
        self._contract.check(not self._over, f"{what} after {self._over}")
        self._contract.check(self._has_head is of_body, f"{what} {'before' if of_body else 'after'} the head")

    def informational(self, head: ResponseHead) -> None:
        self._hear("an interim answer", of_body=False)
        self.told.append(head.status)
        self._act("informational")

    def response_head(self, head: ResponseHead) -> None:
        self._hear("a head", of_body=False)
        self._has_head = True
        self.told.append(head.status)
        self._act("head")

    def response_body(self, data: bytes) -> None:
        self._hear("body", of_body=True)
        self.told.append(data)
        self._act("body")

    def response_end(self, trailers: Fields) -> None:
        self._hear("an end", of_body=True)
        self._over = "the end"
        self.told.append("end")
        self._act("end")

    def response_room(self) -> int:
        return 0

    def flush_response(self) -> None: ...

    def upstream_full(self, waiting: int) -> None:
        self._contract.check(not self._over, f"full after {self._over}")
        self.told.append("full")

    def upstream_drained(self) -> None:
        self.told.append("drained")

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        self._contract.check(not self._over, f"a failure after {self._over}")
        self._over = "the failure"
        self.failure = failure
        self._act("failed")

    def _act(self, what: str) -> None:
        if what in self.at:
            self.at[what]()


class Driver(ABC):
    """One connection to an app of which the test says what it does."""

    stream: UpstreamStream
    shares = False
    """Whether its connection carries many streams."""

    def __init__(self, g: Gateway) -> None:
        self.g = g
        self.contract = g.contract
        self.sink = Sink(g.contract)

    @property
    @abstractmethod
    def connection(self) -> UpstreamConnection: ...

    def ask(self, fields: bytes = b"", method: bytes = b"GET") -> Sink:
        """Opens a stream and sends a request."""
        self.stream = self.connection.open_stream()
        self.sink = Sink(self.contract)
        self.stream.send_request(self.sink, self._request(method, fields), HOST, FieldSection.of([]), b"id")
        self.stream.flush()
        self.g.pool.context.write_batcher.flush()
        return self.sink

    def ask_through_the_edge(self, head: RequestHead | None = None) -> Downstream:
        """The same by an exchange, which gets a stream of a connection that has never served."""
        stream = self.stream = self.connection.open_stream()
        with patch.object(self.g.pool, "open", lambda *_: stream):
            return self.g.ask(head)

    def reopened(self) -> UpstreamStream | None:
        """A stream that the pool has, of a connection that is idle."""
        return self.g.pool.open(ENDPOINT.by(HTTP1), replayable=True)

    def _request(self, method: bytes, fields: bytes) -> RequestHead:
        block = b"%b / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, HOST, fields)
        return parse_request_head(block, self.g.edge.head_limits)

    @abstractmethod
    def interim(self) -> None: ...
    @abstractmethod
    def head(self) -> None: ...
    @abstractmethod
    def switch(self) -> None: ...
    @abstractmethod
    def body(self, data: bytes) -> None: ...
    @abstractmethod
    def end(self) -> None: ...
    @abstractmethod
    def all_at_once(self) -> None:
        """Head, body and end in one read."""

    @abstractmethod
    def all_after_interim(self) -> None:
        """The same after an interim answer, in one read."""

    @abstractmethod
    def refuses_plain_http(self) -> None:
        """The same, by an app that seems to want TLS."""

    @abstractmethod
    def lost(self) -> None:
        """The connection."""

    @abstractmethod
    def full(self) -> None: ...
    @abstractmethod
    def drained(self) -> None: ...
    @abstractmethod
    def delivers(self) -> bool:
        """Whether the stream is not paused."""


class Http1(Driver):
    def __init__(self, g: Gateway) -> None:
        super().__init__(g)
        self._socket, self._peer = socket.socketpair()
        self._socket.setblocking(False)
        self.wire = Wire()
        self._connection = Http1Upstream(g.pool.context, ENDPOINT, self._socket)
        self._connection.connection_made(self.wire)
        g.pool.add(self._connection)
        self._in_tunnel = False

    @property
    def connection(self) -> UpstreamConnection:
        return self._connection

    def close(self) -> None:
        self._connection.close()
        self._socket.close()
        self._peer.close()

    def _feed(self, octets: bytes) -> None:
        if not self.wire.closing:
            self._connection.data_received(octets)

    def interim(self) -> None:
        self._feed(b"HTTP/1.1 103 Early Hints\r\n\r\n")

    def head(self) -> None:
        self._feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def switch(self) -> None:
        self._in_tunnel = True
        self._feed(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")

    def body(self, data: bytes) -> None:
        self._feed(data if self._in_tunnel else b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        if self._in_tunnel:
            self._connection.eof_received()
        else:
            self._feed(b"0\r\n\r\n")

    def all_at_once(self) -> None:
        self._feed(COMPLETE)

    def all_after_interim(self) -> None:
        self._feed(b"HTTP/1.1 103 Early Hints\r\n\r\n" + COMPLETE)

    def refuses_plain_http(self) -> None:
        self._feed(REFUSES_PLAIN_HTTP)

    def leaves_unread(self) -> None:
        """The same, by an app that does not read the upload, so that writing it fails before the answer is read."""
        self._peer.send(REFUSES_PLAIN_HTTP)
        self.wire.closing = True
        self._connection.connection_lost(ConnectionResetError())

    def lost(self) -> None:
        if not self._connection.eof_received():
            self.wire.closing = True
            self._connection.connection_lost(None)

    def full(self) -> None:
        self._connection.pause_writing()

    def drained(self) -> None:
        self._connection.resume_writing()

    def delivers(self) -> bool:
        return self.wire.reads


class Http2(Driver):
    shares = True

    def __init__(self, g: Gateway) -> None:
        super().__init__(g)
        self._socket, self._peer = socket.socketpair()
        self._socket.setblocking(False)
        self.wire = Wire()
        self._connection = Http2Upstream(g.pool.context, ENDPOINT, self._socket)
        self._connection.connection_made(self.wire)
        g.pool.add(self._connection)
        self._feed(frames.settings([]) + frames.SETTINGS_ACK)

    @property
    def connection(self) -> UpstreamConnection:
        return self._connection

    @property
    def _stream(self) -> Http2UpstreamStream:
        assert isinstance(self.stream, Http2UpstreamStream)
        return self.stream

    def close(self) -> None:
        self._connection.close()
        self._socket.close()
        self._peer.close()

    def reopened(self) -> UpstreamStream | None:
        return self.g.pool.open(ENDPOINT.by(H2C), replayable=True)

    def _feed(self, octets: bytes) -> None:
        if not self.wire.closing:
            self._connection.data_received(octets)

    def _headers(self, status: int, *fields: tuple[bytes, bytes]) -> bytes:
        return b"".join(frames.header_block(self._stream.id, 0, encode_status(status) + encode_fields(fields)))

    def _data(self, data: bytes, flags: int = 0) -> bytes:
        return frames.frame_header(len(data), frames.DATA, flags, self._stream.id) + data

    def interim(self) -> None:
        self._feed(self._headers(103))

    def head(self) -> None:
        self._feed(self._headers(200))

    def switch(self) -> None:
        raise AssertionError("no tunnel is ever asked for")

    def body(self, data: bytes) -> None:
        self._feed(self._data(data))

    def end(self) -> None:
        self._feed(self._data(b"", frames.END_STREAM))

    def all_at_once(self) -> None:
        self._feed(self._headers(200) + self._data(b"body", frames.END_STREAM))

    def all_after_interim(self) -> None:
        self._feed(self._headers(103) + self._headers(200) + self._data(b"body", frames.END_STREAM))

    def refuses_plain_http(self) -> None:
        head = self._headers(400, (b"content-type", b"text/html"))
        self._feed(head + self._data(WANTS_TLS, frames.END_STREAM))

    def lost(self) -> None:
        if not self._connection.eof_received():
            self.wire.closing = True
            self._connection.connection_lost(None)

    def full(self) -> None:
        self.stream.send_body(bytes(frames.DEFAULT_WINDOW + 1))

    def drained(self) -> None:
        self._feed(frames.window_update(0, 100) + frames.window_update(self._stream.id, 100))

    def delivers(self) -> bool:
        return not self._stream._paused


class Many(Driver):
    shares = True

    def __init__(self, g: Gateway) -> None:
        super().__init__(g)
        self._connection = Connection(g.pool.context, ENDPOINT, 3, g.contract)
        g.pool.add(self._connection)

    @property
    def connection(self) -> UpstreamConnection:
        return self._connection

    def close(self) -> None:
        self._connection.close()

    @property
    def _stream(self) -> Stream:
        assert isinstance(self.stream, Stream)
        return self.stream

    def interim(self) -> None:
        self._stream.says(answer(103, NO_BODY))

    def head(self) -> None:
        self._stream.says(answer())

    def switch(self) -> None:
        self._stream.says(answer(101, AS_TUNNEL))

    def body(self, data: bytes) -> None:
        self._stream.says_body(data)

    def end(self) -> None:
        self._stream.ends()

    def all_at_once(self) -> None:
        self._stream.says(answer(), b"body", ends=True)

    def all_after_interim(self) -> None:
        self.interim()
        if self.stream.sink is not None:
            self.all_at_once()

    def refuses_plain_http(self) -> None:
        self._stream.says(answer(400, fields=[(b"Content-Type", b"text/html")]), WANTS_TLS, ends=True)

    def lost(self) -> None:
        self._connection.lost()

    def full(self) -> None:
        assert self.stream.sink is not None
        self.stream.sink.upstream_full(1)

    def drained(self) -> None:
        assert self.stream.sink is not None
        self.stream.sink.upstream_drained()

    def delivers(self) -> bool:
        return not self._stream.paused


DRIVERS: list[Any] = [Http1, Http2, Many]
UPGRADE = b"Connection: upgrade\r\nUpgrade: websocket\r\n"
UPLOAD = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(params=DRIVERS)
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with connected(request.param) as driver:
        yield driver


@pytest.fixture(params=[each for each in DRIVERS if each is not Http2])
async def tunnel_app(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """HTTP/2 is never asked for a tunnel."""
    async with connected(request.param) as driver:
        yield driver


@asynccontextmanager
async def connected(make: Any) -> AsyncIterator[Any]:
    async with gateway() as g:
        driver = make(g)
        yield driver
        driver.close()
        assert g.contract.broken == []


async def test_what_the_app_says_is_told_in_order(app: Driver) -> None:
    sink = app.ask()
    app.interim()
    app.interim()
    app.head()
    app.body(b"one")
    app.body(b"two")
    app.end()
    assert sink.told == [103, 103, 200, b"one", b"two", "end"]


async def test_a_clean_end_keeps_the_connection(app: Driver) -> None:
    for reused in (False, True, True):
        sink = app.ask()
        assert app.stream.reused is reused
        sink.at["end"] = app.stream.release
        app.all_at_once()
        assert sink.told == [200, b"body", "end"]
        assert len(app.g.pool.idle) == 1
        assert app.connection.is_available
        opened = app.reopened()
        assert opened is not None
        opened.release()  # which was given no request
        if not app.connection.is_available:
            return


async def test_an_answer_before_the_end_of_the_request_does_not_make_the_stream_clean(app: Driver) -> None:
    sink = app.ask(UPLOAD, b"POST")
    app.stream.send_body(b"half")
    sink.at["end"] = app.stream.release
    app.all_at_once()
    assert sink.told == [200, b"body", "end"]
    assert app.shares or not app.g.pool.connections


@pytest.mark.parametrize("when", ["informational", "head", "body"])
@pytest.mark.parametrize("how", ["release", "close"])
async def test_nothing_more_is_told_once_the_exchange_has_let_go(app: Driver, when: str, how: str) -> None:
    sink = app.ask()
    sink.at[when] = getattr(app.stream, how)
    if when == "informational":
        app.all_after_interim()
        assert sink.told == [103]
    else:
        app.all_at_once()
        assert sink.told == [200, b"body"][: 1 if when == "head" else 2]
    app.lost()
    assert sink.failure is None


async def test_a_failure_before_the_answer_is_told_once(app: Driver) -> None:
    sink = app.ask()
    app.lost()
    assert sink.failure is not None
    assert sink.failure.error.reason is Reason.CONNECTION_TERMINATED
    assert not sink.failure.answered
    assert not app.g.pool.connections
    assert not app.connection.is_available


async def test_a_failure_inside_the_answer_says_so(app: Driver) -> None:
    sink = app.ask()
    app.head()
    app.body(b"part")
    app.lost()
    assert sink.failure is not None
    assert sink.failure.answered
    assert not sink.failure.is_stale


async def test_calls_to_what_fails_do_nothing(app: Driver) -> None:
    sink = app.ask(UPLOAD, b"POST")
    stream = app.stream

    def call_all() -> None:
        stream.pause()
        stream.resume()
        stream.flush()
        stream.release()

    sink.at["failed"] = call_all
    app.lost()
    assert sink.failure is not None
    assert sink.told == []


async def test_a_stale_connection_is_told(app: Driver) -> None:
    sink = app.ask()
    sink.at["end"] = app.stream.release
    app.all_at_once()
    sink = app.ask()
    app.lost()
    assert sink.failure is not None
    assert sink.failure.is_stale


async def test_a_paused_stream_delivers_nothing_until_it_is_resumed(app: Driver) -> None:
    app.ask()
    app.head()
    assert app.delivers()
    app.stream.pause()
    app.stream.pause()
    assert not app.delivers()
    app.stream.resume()
    assert app.delivers()


async def test_it_may_be_paused_before_anything_has_come(app: Driver) -> None:
    app.ask()
    app.stream.pause()
    assert not app.delivers()
    app.stream.resume()
    assert app.delivers()


async def test_a_pause_does_not_outlive_its_exchange(app: Driver) -> None:
    sink = app.ask()
    sink.at["end"] = app.stream.release
    app.head()
    app.stream.pause()
    app.end()  # was on its way
    app.ask()
    assert app.delivers()
    assert sink.told == [200, "end"]


async def test_who_does_not_take_the_request_is_told(app: Driver) -> None:
    sink = app.ask(UPLOAD, b"POST")
    app.full()
    app.drained()
    assert sink.told == ["full", "drained"]


async def test_the_sink_may_be_replaced(app: Driver) -> None:
    first = app.ask()
    app.head()
    second = Sink(app.contract)
    second.response_head(answer())
    app.stream.sink = second
    app.body(b"more")
    app.end()
    assert first.told == [200]
    assert second.told == [200, b"more", "end"]


async def test_a_complete_answer_stays_with_its_sink_though_the_connection_ends(app: Driver) -> None:
    sink = app.ask()
    app.all_at_once()
    app.lost()
    assert app.stream.sink is sink, "until the exchange lets go"
    assert sink.failure is None
    app.stream.release()
    assert not app.g.pool.connections


async def test_a_withheld_answer_is_passed_though_the_connection_ends(app: Driver) -> None:
    d = app.ask_through_the_edge()
    app.refuses_plain_http()
    assert d.said == []
    d.exchange.downstream_full()
    d.exchange.downstream_drained()
    app.lost()
    await settle()
    assert d.said == [400, "end"]
    assert d.body == WANTS_TLS
    assert not app.g.pool.connections


async def test_an_answer_found_when_the_upload_failed_may_be_withheld() -> None:
    async with gateway() as g:
        app = Http1(g)
        d = app.ask_through_the_edge(upload())
        app.leaves_unread()
        assert d.said == []
        await settle()
        assert d.said == [400, "end"]
        assert d.body == WANTS_TLS
        app.close()
        g.check_over()


@pytest.mark.parametrize("first", ["app", "downstream"])
async def test_a_tunnel_is_closed_one_side_after_the_other(tunnel_app: Driver, first: str) -> None:
    app = tunnel_app
    sink = app.ask(UPGRADE)
    app.switch()
    app.stream.send_body(b"up")
    app.body(b"down")
    if first == "downstream":
        app.stream.finish([])
    app.body(b"more")
    app.end()
    assert sink.told == [101, b"down", b"more", "end"]
    if first == "app":
        app.stream.send_body(b"up")
        app.stream.finish([])
    app.stream.release()


async def test_a_tunnel_that_is_lost_fails(tunnel_app: Driver) -> None:
    app = tunnel_app
    sink = app.ask(UPGRADE)
    app.switch()
    app.connection.cut_off()
    assert sink.failure is not None
    assert not sink.failure.is_stale


async def test_a_retired_connection_finishes_and_is_over(app: Driver) -> None:
    sink = app.ask()
    assert not app.stream.is_retired
    app.connection.retire(app.g.edge.clock() + 1)
    assert app.stream.is_retired
    assert not app.connection.is_available
    sink.at["end"] = app.stream.release
    app.all_at_once()
    assert sink.told == [200, b"body", "end"]
    assert not app.g.pool.connections


@pytest.mark.parametrize("answered", [False, True])
async def test_what_outlasts_the_grace_is_never_sent_again(app: Driver, answered: bool) -> None:
    sink = app.ask()
    sink.at["end"] = app.stream.release
    app.all_at_once()
    sink = app.ask()
    if answered:
        app.head()
    app.connection.retire(app.g.edge.clock())
    app.connection.cut_off()
    assert sink.failure is not None
    assert not sink.failure.is_stale
    assert not sink.failure.unprocessed


async def test_closing_a_connection_says_nothing(app: Driver) -> None:
    sink = app.ask()
    app.connection.close()
    assert sink.failure is None
    assert sink.told == []
    assert not app.g.pool.connections
