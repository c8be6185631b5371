"""What every implementation of the downstream side of the seam keeps to, so that an exchange can rely on it.

`DRIVERS` names them: HTTP/1.1 and HTTP/2 over a transport without sockets, and the second protocol of
tests/support/seam.py. A new one needs a driver, which says what a browser says in the octets of its protocol.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import patch

import pytest

from gateway.edge import http1 as edge_http1
from gateway.edge import http2 as edge_http2
from gateway.edge.edge import Edge
from gateway.edge.http1 import Http1Downstream
from gateway.edge.http2 import Http2Downstream
from gateway.edge.stream import DownstreamStream, RequestSink
from gateway.errors import GatewayError, Reason
from gateway.http.message import AS_TUNNEL, NO_BODY, Fields, RequestHead
from tests.support.h2_frames import PREFACE, Flag, Type, frame, number
from tests.support.h2_peer import Peer
from tests.support.seam import HOST, Contract, Downstream, Gateway, answer, gateway, handshake, request, upload
from tests.support.wire import Wire

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

_HEADS = {"plain": request, "upload": upload, "upgrade": handshake}
_FIELDS = {
    "plain": b"",
    "upload": b"Transfer-Encoding: chunked\r\n",
    "upgrade": b"Connection: upgrade\r\nUpgrade: websocket\r\n",
}
ERROR = GatewayError(Reason.HTTP_RESPONSE_INCOMPLETE, "as the test wants it")


class Sink(RequestSink):
    """An exchange that writes down what it is told, and does what `at` says when it begins."""

    def __init__(self, contract: Contract, downstream: DownstreamStream, head: RequestHead) -> None:
        self.downstream = downstream
        self.head = head
        self.told: list[object] = []
        self.body = b""
        self.paused = False
        self.at_begin: Callable[[Sink], None] = lambda sink: None
        self._contract = contract
        self._over = ""

    def _hear(self, what: str, *, of_body: bool = False) -> None:
        self._contract.check(not self._over, f"{what} after {self._over}")
        self._contract.check(self.told[:1] == ["begin"], f"{what} before the beginning")
        if of_body:
            self._contract.check(not self.paused, f"{what} in a pause")
            self._contract.check("end" not in self.told, f"{what} after the end")

    def begin(self) -> None:
        self._contract.check(not self.told, "two beginnings")
        self.told.append("begin")
        self.at_begin(self)

    def request_body(self, data: bytes) -> None:
        self._hear("body", of_body=True)
        self.body += data

    def request_end(self, trailers: Fields) -> None:
        self._hear("an end", of_body=True)
        self.told.append("end")

    def request_room(self) -> int:
        return 0

    def flush_request(self) -> None:
        self._hear("flush")

    def downstream_full(self) -> None:
        self._hear("full")
        self.told.append("full")

    def downstream_drained(self) -> None:
        self._hear("drained")
        self.told.append("drained")

    def downstream_lost(self, detail: str) -> None:
        self._hear("a loss")
        self.told.append("lost")
        self.ends()

    def fail(self, error: GatewayError) -> None:
        self._hear("a failure")
        self.told.append(str(error.reason))
        self.downstream.abort(error)
        self.ends()

    # --- what an exchange does ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        self.paused = True
        self.downstream.pause()

    def resume(self) -> None:
        self.paused = False
        self.downstream.resume()

    def ends(self) -> None:
        self._over = "the exchange"
        self.downstream.exchange_ended()

    def answers(self) -> None:
        self.downstream.send_head(answer(), b"id")
        self.downstream.send_body(b"all")
        self.downstream.finish([])
        self.ends()


class Driver(ABC):
    """A browser."""

    granted = 101
    """The status that grants a tunnel."""

    def __init__(self, g: Gateway) -> None:
        self.g = g
        self.contract = g.contract
        self.sinks: list[Sink] = []
        self.at_begin: Callable[[Sink], None] = lambda sink: None

    @property
    def sink(self) -> Sink:
        return self.sinks[-1]

    def make_sink(self, edge: Edge, downstream: DownstreamStream, head: RequestHead) -> Sink:
        sink = Sink(self.contract, downstream, head)
        sink.at_begin = self.at_begin
        self.sinks.append(sink)
        return sink

    @abstractmethod
    def asks(self, kind: str = "plain") -> Sink:
        """Sends the head of a request: plain, upload or upgrade."""

    @abstractmethod
    def sends(self, data: bytes) -> None: ...
    @abstractmethod
    def ends(self) -> None: ...
    @abstractmethod
    def leaves(self) -> None: ...
    @abstractmethod
    def full(self) -> None: ...
    @abstractmethod
    def drained(self) -> None: ...
    @abstractmethod
    def got(self) -> tuple[list[int], bytes, str]:
        """Statuses, content, and "end", "cut" or "" for what is under way."""


class Http1(Driver):
    def __init__(self, g: Gateway) -> None:
        super().__init__(g)
        self.wire = Wire()
        self._connection = Http1Downstream(g.edge, g.peer, lambda: None)
        self._connection.connection_made(self.wire)
        self._kind = ""

    def asks(self, kind: str = "plain") -> Sink:
        self._kind = kind
        method = b"POST" if kind == "upload" else b"GET"
        head = b"%b / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, HOST, _FIELDS[kind])
        with patch.object(edge_http1, "Exchange", self.make_sink):
            self._connection.data_received(head)
        return self.sink

    def sends(self, data: bytes) -> None:
        self._connection.data_received(data if self._kind == "upgrade" else b"%x\r\n%b\r\n" % (len(data), data))

    def ends(self) -> None:
        if self._kind == "upgrade":
            self._connection.eof_received()
        else:
            self._connection.data_received(b"0\r\n\r\n")

    def leaves(self) -> None:
        self.wire.closing = True
        self._connection.connection_lost(ConnectionResetError())

    def full(self) -> None:
        self._connection.pause_writing()

    def drained(self) -> None:
        self._connection.resume_writing()

    def got(self) -> tuple[list[int], bytes, str]:
        self.g.edge.write_batcher.flush()
        octets = self.wire.written
        statuses = [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3})", octets)]
        body = octets.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")[2]
        if statuses[-1:] == [101]:
            return statuses, body, "end" if self.wire.ended else "cut" if self.wire.closing else ""
        complete = body.endswith(b"0\r\n\r\n")
        content = b"".join(re.findall(rb"(?:^|\r\n)[0-9a-f]+\r\n([a-z]+)", body))
        return statuses, content, "end" if complete else "cut" if self.wire.closing else ""


class Http2(Driver):
    """One connection, and a stream of it for each request."""

    granted = 200

    def __init__(self, g: Gateway) -> None:
        super().__init__(g)
        self.wire = Wire()
        self.peer = Peer()
        self._connection = Http2Downstream(g.edge, g.peer, lambda: None)
        self._connection.connection_made(self.wire)
        self._id = -1
        self._tell(PREFACE + frame(Type.SETTINGS))

    def _tell(self, octets: bytes) -> None:
        with patch.object(edge_http2, "Exchange", self.make_sink):
            self._connection.data_received(octets)

    def asks(self, kind: str = "plain") -> Sink:
        self._id += 2
        self.peer.open(self._id)
        method = {"plain": b"GET", "upload": b"POST", "upgrade": b"CONNECT"}[kind]
        fields = [(b":method", method), (b":scheme", b"https"), (b":path", b"/"), (b":authority", HOST)]
        if kind == "upgrade":
            fields.append((b":protocol", b"websocket"))
        flags = Flag.END_HEADERS | (Flag.END_STREAM if kind == "plain" else 0)
        self._tell(frame(Type.HEADERS, flags, self._id, self.peer.encoder.encode(fields)))
        return self.sink

    def sends(self, data: bytes) -> None:
        self._tell(frame(Type.DATA, 0, self._id, data))

    def ends(self) -> None:
        self._tell(frame(Type.DATA, Flag.END_STREAM, self._id))

    def leaves(self) -> None:
        self.wire.closing = True
        self._connection.connection_lost(ConnectionResetError())

    def full(self) -> None:
        self._connection.pause_writing()

    def drained(self) -> None:
        self._connection.resume_writing()

    def got(self) -> tuple[list[int], bytes, str]:
        self.g.edge.write_batcher.flush()
        octets, self.wire.written = self.wire.written, b""
        self.peer.receive(octets)
        stream = self.peer.stream(self._id)
        statuses = [*(status for status, _ in stream.interim), *filter(None, [stream.status])]
        end = "end" if stream.ended else "cut" if stream.reset is not None else ""
        return statuses, bytes(stream.body), end


class Resets(Http2):
    """Leaves by RST_STREAM, and keeps the connection."""

    def leaves(self) -> None:
        if not self._connection.session.streams.get(self._id):
            super().leaves()
            return
        self._tell(frame(Type.RST_STREAM, 0, self._id, number(8)))
        assert not self._connection.session.streams
        self.wire.closing = True
        self._connection.connection_lost(None)


class Holding(Downstream):
    """Says when it is resumed."""

    resumed: Callable[[], None]

    def resume(self) -> None:
        super().resume()
        self.resumed()


class Many(Driver):
    def asks(self, kind: str = "plain") -> Sink:
        self._held: list[bytes | None] = []  # None: the end
        self._downstream = Holding(self.contract, self.g.peer)
        self._downstream.resumed = self._deliver
        self._downstream.head = _HEADS[kind]()
        self.make_sink(self.g.edge, self._downstream, self._downstream.head).begin()
        return self.sink

    def _deliver(self) -> None:
        while self._held and not self._downstream.paused and not self._downstream.ended:
            data = self._held.pop(0)
            if data is None:
                self.sink.request_end([])
            else:
                self.sink.request_body(data)

    def sends(self, data: bytes) -> None:
        self._held.append(data)
        self._deliver()

    def ends(self) -> None:
        self._held.append(None)
        self._deliver()

    def leaves(self) -> None:
        if not self._downstream.ended:
            self.sink.downstream_lost("it left")

    def full(self) -> None:
        self.sink.downstream_full()

    def drained(self) -> None:
        self.sink.downstream_drained()

    def got(self) -> tuple[list[int], bytes, str]:
        said = self._downstream.said
        statuses = [each for each in said if isinstance(each, int)]
        return statuses, self._downstream.body, "end" if "end" in said else "cut" if "abort" in said else ""


DRIVERS: list[Any] = [Http1, Http2, Resets, Many]


@pytest.fixture(params=DRIVERS)
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with gateway() as g:
        driver = request.param(g)
        yield driver
        driver.leaves()
        assert g.contract.broken == []
        assert not g.edge.downstreams


async def test_a_request_without_a_body_is_complete_with_its_head(browser: Driver) -> None:
    sink = browser.asks()
    assert sink.told == ["begin"]
    assert sink.head.framing is NO_BODY
    assert sink.head.authority == HOST


async def test_a_body_is_told_in_order(browser: Driver) -> None:
    sink = browser.asks("upload")
    browser.sends(b"one")
    browser.sends(b"two")
    assert (sink.told, sink.body) == (["begin"], b"onetwo")
    browser.ends()
    assert sink.told == ["begin", "end"]


@pytest.mark.parametrize("in_begin", [False, True])
async def test_nothing_of_a_body_is_told_in_a_pause(browser: Driver, in_begin: bool) -> None:
    if in_begin:
        browser.at_begin = Sink.pause
    sink = browser.asks("upload")
    if not in_begin:
        sink.pause()
    browser.sends(b"one")
    browser.sends(b"two")
    browser.ends()
    assert (sink.told, sink.body) == (["begin"], b"")
    sink.resume()
    assert (sink.told, sink.body) == (["begin", "end"], b"onetwo")


async def test_an_answer_is_delivered(browser: Driver) -> None:
    sink = browser.asks()
    sink.downstream.send_informational(answer(103, NO_BODY), b"id")
    sink.downstream.send_head(answer(), b"id")
    for piece in (b"one", b"two"):
        sink.downstream.send_body(piece)
        sink.downstream.flush()
    assert browser.got() == ([103, 200], b"onetwo", "")
    sink.downstream.finish([])
    sink.ends()
    assert browser.got() == ([103, 200], b"onetwo", "end")


async def test_an_answer_may_be_given_at_once(browser: Driver) -> None:
    browser.at_begin = Sink.answers
    for _ in range(3):
        browser.asks()
        assert browser.got()[1:] == (b"all", "end")
    assert len(browser.sinks) == 3


async def test_an_answer_may_begin_inside_the_request(browser: Driver) -> None:
    sink = browser.asks("upload")
    sink.downstream.send_head(answer(), b"id")
    browser.sends(b"one")
    sink.downstream.send_body(b"ein")
    browser.sends(b"two")
    browser.ends()
    sink.downstream.finish([])
    sink.ends()
    assert (sink.told, sink.body) == (["begin", "end"], b"onetwo")
    assert browser.got() == ([200], b"ein", "end")


async def test_what_follows_an_early_answer_is_told_nobody(browser: Driver) -> None:
    sink = browser.asks("upload")
    sink.answers()
    browser.sends(b"late")
    browser.ends()
    assert (sink.told, sink.body) == (["begin"], b"")
    assert len(browser.sinks) == 1


async def test_what_is_cut_off_is_no_clean_end(browser: Driver) -> None:
    sink = browser.asks()
    sink.downstream.send_head(answer(), b"id")
    sink.downstream.send_body(b"half")
    sink.downstream.abort(ERROR)
    sink.ends()
    assert browser.got() == ([200], b"half", "cut")


@pytest.mark.parametrize("when", ["head", "pause", "body", "answer"])
async def test_who_leaves_is_told_once(browser: Driver, when: str) -> None:
    sink = browser.asks("upload")
    if when == "pause":
        sink.pause()
    if when in ("pause", "body"):
        browser.sends(b"one")
    if when == "answer":
        sink.downstream.send_head(answer(), b"id")
    browser.leaves()
    assert sink.told == ["begin", "lost"]


async def test_who_leaves_has_no_more_requests() -> None:
    async with gateway() as g:
        browser = Http1(g)
        sink = browser.asks()
        browser.asks()  # pipelined: it waits
        with patch.object(edge_http1, "Exchange", browser.make_sink):
            browser.leaves()
        assert sink.told == ["begin", "lost"]
        assert browser.sinks == [sink]
        assert g.contract.broken == []


async def test_who_takes_no_more_is_told(browser: Driver) -> None:
    sink = browser.asks()
    sink.downstream.send_head(answer(), b"id")
    browser.full()
    browser.drained()
    assert sink.told == ["begin", "full", "drained"]


async def test_a_pause_does_not_outlive_its_exchange(browser: Driver) -> None:
    sink = browser.asks()
    sink.pause()
    sink.answers()
    sink = browser.asks("upload")
    browser.sends(b"one")
    assert sink.body == b"one"


@pytest.mark.parametrize("first", ["app", "browser"])
async def test_a_tunnel_is_closed_one_side_after_the_other(browser: Driver, first: str) -> None:
    sink = browser.asks("upgrade")
    sink.downstream.send_head(answer(101, AS_TUNNEL), b"id")
    browser.sends(b"up")
    if first == "app":
        sink.downstream.send_body(b"down")
        sink.downstream.finish([])
        browser.sends(b"more")
        browser.ends()
    else:
        browser.sends(b"more")
        browser.ends()
        sink.downstream.send_body(b"down")
        sink.downstream.finish([])
    assert (sink.told, sink.body) == (["begin", "end"], b"upmore")
    assert browser.got() == ([browser.granted], b"down", "end")
    sink.ends()


async def test_a_tunnel_is_paused(browser: Driver) -> None:
    sink = browser.asks("upgrade")
    sink.downstream.send_head(answer(101, AS_TUNNEL), b"id")
    sink.pause()
    browser.sends(b"up")
    assert sink.body == b""
    sink.resume()
    assert sink.body == b"up"
