"""HTTP/2 to an app, octet by octet: what is asked, what is told of every answer, and what a hostile app gets for it.

What every upstream protocol keeps to, `test_upstream_seam.py` asks; frames and windows are the session's tests.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import msgspec
import pytest
from hpack import Decoder

from gateway.config import Settings
from gateway.endpoint import Endpoint, Origin
from gateway.errors import Failure, GatewayError, Reason
from gateway.http.h2.owner import NOBODY
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import Fields, FieldSection, RequestHead, ResponseHead
from gateway.metrics import private
from gateway.tasks import Tasks
from gateway.transport import WriteBatcher
from gateway.turns import Intake
from gateway.upstream.context import ConnectionContext, Timeouts
from gateway.upstream.http2 import MAX_STREAMS, PING_TIMEOUT, START_TIMEOUT, Http2Upstream
from gateway.upstream.http2_stream import Http2UpstreamStream
from gateway.upstream.stream import ResponseSink, UpstreamConnection, UpstreamFailure
from gateway.wordings import HUNG_UP_UNASKED
from tests.support.clock import Clock
from tests.support.h2_frames import Code, Flag, Frame, Setting, Type, frame, frames_in, literal, number, settings
from tests.support.wire import Wire

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

ENDPOINT = Endpoint(Origin("demo", "1", "fd00::5"), 50051)
GRPC = b"Content-Type: application/grpc\r\n"
UPLOAD = b"Transfer-Encoding: chunked\r\n"
STATUS = (b":status", b"200")
WINDOW = 65_535


class Sink(ResponseSink):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.head: ResponseHead | None = None
        self.trailers: Fields | None = None
        self.failure: UpstreamFailure | None = None

    @property
    def reason(self) -> Reason | None:
        return self.failure and self.failure.error.reason

    def informational(self, head: ResponseHead) -> None:
        self.told.append(head.status)

    def response_head(self, head: ResponseHead) -> None:
        self.head = head
        self.told.append(head.status)

    def response_body(self, data: bytes) -> None:
        self.told.append(data)

    def response_end(self, trailers: Fields) -> None:
        self.trailers = trailers
        self.told.append("end")

    def response_room(self) -> int:
        return 0

    def flush_response(self) -> None: ...

    def upstream_full(self, waiting: int) -> None:
        self.told.append("full")

    def upstream_drained(self) -> None:
        self.told.append("drained")

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        assert self.failure is None
        self.failure = failure


class App:
    """One connection, of which the test is the app."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pool: list[str] = []  # what the pool was told
        self._late: list[Callable[[], object]] = []
        settings_ = Settings()
        upstream = msgspec.structs.replace(settings_.upstream, idle_proven=5.0)
        self.context = ConnectionContext(
            clock=self.clock,
            timeouts=Timeouts.of(msgspec.structs.replace(settings_, upstream=upstream)),
            head_limits=HeadLimits(),
            intake=Intake(self._late.append, 64 * 1024),
            write_batcher=WriteBatcher(self._late.append),
            released=lambda connection, proven: self._hear("released", connection),
            reopened=lambda connection: self._hear("reopened", connection),
            released_to_owner=lambda connection: self._hear("owned", connection),
            closed=lambda connection: self._hear("closed", connection),
            cells=private(),
        )
        self.socket, self.peer = socket.socketpair()
        self.socket.setblocking(False)
        self.wire = Wire()
        self.connection = Http2Upstream(self.context, ENDPOINT, self.socket)
        self.connection.connection_made(self.wire)
        self._decoder = Decoder()
        self.sinks: dict[int, Sink] = {}

    def _hear(self, what: str, connection: UpstreamConnection) -> None:
        self.pool.append(what)
        connection.since = self.clock.now

    def close(self) -> None:
        self.connection.close()
        self.socket.close()
        self.peer.close()

    def starts(self, *pairs: tuple[int, int]) -> None:
        self.says(frame(Type.SETTINGS, 0, 0, settings(*pairs)), frame(Type.SETTINGS, Flag.ACK))
        self.heard()

    def says(self, *octets: bytes) -> None:
        self.connection.data_received(b"".join(octets))
        while self._late:  # turns
            late, self._late[:] = list(self._late), []
            for callback in late:
                callback()

    def heard(self) -> list[Frame]:
        """The frames that have come since, without acknowledgements of SETTINGS."""
        self.context.write_batcher.flush()
        octets = bytearray(self.wire.written.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
        self.wire.written = b""
        return [each for each in frames_in(octets) if each.type != Type.SETTINGS]

    def ask(self, fields: bytes = GRPC, method: bytes = b"POST") -> Http2UpstreamStream:
        stream = self.connection.open_stream()
        assert isinstance(stream, Http2UpstreamStream)
        sink = Sink()
        stream.send_request(
            sink, request(fields, method), b"50051-demo.example", FieldSection.of([(b"A", b"b")]), b"id"
        )
        self.sinks[stream.id] = sink
        stream.flush()
        return stream

    def headers(self, stream: Http2UpstreamStream, *fields: tuple[bytes, bytes], end: bool = False) -> bytes:
        flags = Flag.END_HEADERS | (Flag.END_STREAM if end else 0)
        return frame(Type.HEADERS, flags, stream.id, literal(*fields))

    def data(self, stream: Http2UpstreamStream, data: bytes, end: bool = False) -> bytes:
        return frame(Type.DATA, Flag.END_STREAM if end else 0, stream.id, data)

    def fields(self, asked: Frame) -> Fields:
        return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(asked.payload, raw=True)]


def request(fields: bytes = GRPC, method: bytes = b"POST") -> RequestHead:
    return parse_request_head(b"%b /a/b HTTP/1.1\r\nHost: x.example\r\n%b\r\n" % (method, fields), HeadLimits())


@pytest.fixture
def app() -> Iterator[App]:
    with closing(App()) as app:
        app.starts()
        yield app


@pytest.fixture
def new() -> Iterator[App]:
    with closing(App()) as app:
        yield app


# --- the beginning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", Reason.UPSTREAM_SPEAKS_HTTP1),
        (b"HTTP/1.0 505 No\r\n\r\n", Reason.UPSTREAM_SPEAKS_HTTP1),
        (b"<!DOCTYPE HTML>\n<html lang=en>", Reason.UPSTREAM_SPEAKS_HTTP1),
        (b'<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN"', Reason.UPSTREAM_SPEAKS_HTTP1),
        (b"\x15\x03\x03\x00\x02\x02\x46\0\0", Reason.UPSTREAM_SPEAKS_TLS),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (frame(Type.HEADERS, Flag.END_HEADERS, 1, b"\x88"), Reason.HTTP_PROTOCOL_ERROR),
        (frame(Type.SETTINGS, 0, 1), Reason.HTTP_PROTOCOL_ERROR),
        (frame(Type.SETTINGS, 0, 0, b"12345"), Reason.HTTP_PROTOCOL_ERROR),
        (b"", Reason.CONNECTION_TERMINATED),
        (b"HTTP", Reason.CONNECTION_TERMINATED),
    ],
)
@pytest.mark.parametrize("piece", [1, 1000])
async def test_who_begins_otherwise_speaks_no_http2(new: App, octets: bytes, reason: Reason, piece: int) -> None:
    starting = Tasks().spawn(new.connection.started(), "started")
    await asyncio.sleep(0)
    for at in range(0, len(octets), piece):
        new.says(octets[at : at + piece])
    new.connection.eof_received()
    with pytest.raises(GatewayError) as raised:
        await starting
    assert raised.value.reason is reason
    assert new.pool == ["closed"]


def test_a_tls_server_that_says_so_in_http_is_known_by_its_words(new: App) -> None:
    new.says(b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port")
    failure = new.connection.early_failure()
    assert failure is not None
    assert failure.reason is Reason.UPSTREAM_SPEAKS_TLS


async def test_it_starts_with_the_apps_settings(new: App) -> None:
    starting = Tasks().spawn(new.connection.started(), "started")
    await asyncio.sleep(0)
    assert not new.connection.is_available
    for octet in frame(Type.SETTINGS):
        new.says(bytes([octet]))
    await starting
    assert new.connection.is_available


async def test_an_app_that_takes_no_streams_yet_may_take_some_later(new: App) -> None:
    starting = Tasks().spawn(new.connection.started(), "started")
    await asyncio.sleep(0)
    new.starts((Setting.MAX_CONCURRENT_STREAMS, 0))
    await asyncio.sleep(0)
    assert not starting.done()
    new.starts((Setting.MAX_CONCURRENT_STREAMS, 1))
    await starting
    assert new.connection.is_available


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("most", [0, 1])
async def test_an_app_that_goes_away_before_it_was_asked(new: App, waits: bool, most: int) -> None:
    """Nobody waits for what it will not allow any more."""
    starting = Tasks().spawn(new.connection.started(), "started")
    if waits:
        await asyncio.sleep(0)
    new.starts((Setting.MAX_CONCURRENT_STREAMS, 0))
    new.says(frame(Type.GOAWAY, 0, 0, number(0) + number(Code.NO_ERROR)))
    new.starts((Setting.MAX_CONCURRENT_STREAMS, most))
    with pytest.raises(GatewayError) as raised:
        await starting
    assert raised.value.reason is Reason.CONNECTION_TERMINATED
    assert new.pool == ["closed"]


async def test_an_app_that_says_nothing_is_not_waited_for(new: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstream.http2.START_TIMEOUT", 0.01)
    with pytest.raises(GatewayError) as raised:
        await new.connection.started()
    assert raised.value.reason is Reason.HTTP_RESPONSE_TIMEOUT
    assert new.pool == ["closed"]


def test_an_app_that_acknowledges_late_has_the_time_that_an_answer_has(new: App) -> None:
    """Its one thread may be with the call before it writes anything else."""
    new.says(frame(Type.SETTINGS))
    stream = new.ask(b"", b"GET")
    new.clock.now += 2 * START_TIMEOUT
    new.connection.expire(new.clock.now)
    assert new.sinks[stream.id].failure is None
    new.says(frame(Type.SETTINGS, Flag.ACK), new.headers(stream, STATUS, end=True))
    assert new.sinks[stream.id].told[-1] == "end"


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_request_is_asked_as_http2_has_it(app: App) -> None:
    app.ask(GRPC + b"TE: gzip\r\nCookie: a=1\r\nConnection: Keep-Alive\r\nGrpc-Timeout: 5S\r\n" + UPLOAD)
    (asked,) = app.heard()
    assert app.fields(asked) == [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/a/b"),
        (b":authority", b"50051-demo.example"),
        (b"content-type", b"application/grpc"),
        (b"cookie", b"a=1"),
        (b"grpc-timeout", b"5S"),
        (b"a", b"b"),
        (b"x-request-id", b"id"),
        (b"te", b"trailers"),
    ]
    assert not asked.flags & Flag.END_STREAM


def test_a_request_without_content_is_one_frame(app: App) -> None:
    app.ask(b"", b"GET")
    (asked,) = app.heard()
    assert asked.flags & Flag.END_STREAM
    assert b"te" not in dict(app.fields(asked))


def test_content_and_trailers_go_both_ways(app: App) -> None:
    stream = app.ask(GRPC + UPLOAD)
    stream.send_body(b"one")
    stream.finish([(b"X-End", b"1")])
    stream.flush()
    _, content, trailers = app.heard()
    assert (content.payload, app.fields(trailers)) == (b"one", [(b"x-end", b"1")])
    assert trailers.flags & Flag.END_STREAM
    sink = app.sinks[stream.id]
    app.says(app.headers(stream, STATUS), app.data(stream, b"two"))
    app.says(app.headers(stream, (b"grpc-status", b"0"), (b"content-length", b"9"), end=True))
    assert sink.told == [200, b"two", "end"]
    assert sink.trailers == [(b"grpc-status", b"0")]
    stream.release()
    assert app.pool == ["released"]
    assert app.heard() == []


def test_the_answer_may_end_first(app: App) -> None:
    stream = app.ask(GRPC + UPLOAD)
    app.says(app.headers(stream, STATUS, (b"grpc-status", b"7"), end=True))
    sink = app.sinks[stream.id]
    assert sink.told == [200, "end"]
    assert sink.head is not None
    assert sink.head.get(b"content-length") == b"0", "by HTTP/1.1 its end would not be seen"
    app.says(frame(Type.RST_STREAM, 0, stream.id, number(Code.NO_ERROR)))
    stream.release()
    assert sink.failure is None
    assert app.pool == ["released"]


def test_who_leaves_resets_the_stream(app: App) -> None:
    stream = app.ask(GRPC + UPLOAD)
    app.says(app.headers(stream, STATUS))
    stream.release()
    assert [(each.type, each.code) for each in app.heard()[1:]] == [(Type.RST_STREAM, Code.CANCEL)]
    app.says(app.data(stream, b"on its way"), frame(Type.RST_STREAM, 0, stream.id, number(Code.CANCEL)))
    assert app.pool == ["released"]
    assert app.connection.is_available


def test_who_closes_a_stream_ends_the_connection_unless_there_are_others(app: App) -> None:
    stream, other = app.ask(), app.connection.open_stream()
    stream.close()
    assert app.pool == []
    other.close()
    assert app.pool[-1] == "closed"


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", b"200"), (b"GET", b"204"), (b"GET", b"304")])
def test_what_has_no_content_has_none(app: App, method: bytes, status: bytes) -> None:
    stream = app.ask(b"", method)
    head = app.headers(stream, (b":status", status), (b"content-length", b"5"))
    app.says(head, app.data(stream, b"smuggled", end=True))
    assert app.sinks[stream.id].told == [int(status), "end"]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"x", b"y")],
        [(b":status", b"2000")],
        [(b":status", b"099")],
        [(b":status", b"101")],
        [(b":status", b"abc")],
        [STATUS, STATUS],
        [STATUS, (b":path", b"/")],
        [STATUS, (b"X", b"y")],
        [STATUS, (b"a b", b"y")],
        [STATUS, (b"", b"y")],
        [STATUS, (b"x", b" y")],
        [STATUS, (b"x", b"a\r\nb")],
        [STATUS, (b"x", b"a\0b")],
        [STATUS, (b"connection", b"close")],
        [STATUS, (b"transfer-encoding", b"chunked")],
        [STATUS, (b"upgrade", b"websocket")],
        [STATUS, (b"content-length", b"1"), (b"content-length", b"1")],
        [STATUS, (b"content-length", b"x")],
    ],
)
def test_a_malformed_head_ends_its_stream_and_no_other(app: App, fields: Fields) -> None:
    other, stream = app.ask(), app.ask()
    app.says(app.headers(stream, *fields))
    sink = app.sinks[stream.id]
    assert (sink.told, sink.reason) == ([], Reason.HTTP_PROTOCOL_ERROR)
    assert app.heard()[-1].type == Type.RST_STREAM
    app.says(app.headers(other, STATUS, end=True))
    assert app.sinks[other.id].told == [200, "end"]


@pytest.mark.parametrize(("told", "came"), [(b"3", b"four"), (b"5", b"four"), (b"5", b"")])
def test_what_is_declared_must_come(app: App, told: bytes, came: bytes) -> None:
    stream = app.ask()
    head = app.headers(stream, STATUS, (b"content-length", told), end=not came)
    app.says(head, app.data(stream, came, end=True) if came else b"")
    sink = app.sinks[stream.id]
    assert sink.reason is Reason.HTTP_PROTOCOL_ERROR
    assert "end" not in sink.told


@pytest.mark.parametrize("field", [(b":path", b"/"), (b"X", b"y"), (b"x", b"a\nb")])
def test_malformed_trailers_are_no_end(app: App, field: tuple[bytes, bytes]) -> None:
    stream = app.ask()
    app.says(app.headers(stream, STATUS), app.headers(stream, field, end=True))
    sink = app.sinks[stream.id]
    assert (sink.told, sink.reason) == ([200], Reason.HTTP_PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x%d" % number, b"y") for number in range(101)],
        [(b"x", b"y" * 9000)],
        [(b"x", b"y" * 40_000)],
        [(b"x", b"y" * 140_000)],
    ],
)
def test_a_head_that_is_too_large_is_told_as_such(app: App, fields: Fields) -> None:
    stream, neighbour = app.ask(), app.ask()
    block = literal(STATUS, *fields)
    pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    app.says(frame(Type.HEADERS, Flag.END_HEADERS if len(pieces) == 1 else 0, stream.id, pieces[0]))
    for at, piece in enumerate(pieces[1:], 2):
        app.says(frame(Type.CONTINUATION, Flag.END_HEADERS if at == len(pieces) else 0, stream.id, piece))
    if len(block) <= 4 * 32 * 1024:
        assert app.sinks[stream.id].reason is Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE
        assert app.sinks[neighbour.id].failure is None
    else:  # an attack on the connection
        assert app.sinks[neighbour.id].reason is app.sinks[stream.id].reason is Reason.HTTP_PROTOCOL_ERROR


# --- many streams -----------------------------------------------------------------------------------------------------


def test_it_has_room_for_as_many_as_the_app_allows(new: App) -> None:
    new.starts((Setting.MAX_CONCURRENT_STREAMS, 2))
    first, second = new.ask(), new.ask()
    assert not new.connection.is_available
    new.says(new.headers(first, STATUS), new.data(first, b"", end=True))
    first.finish([])
    first.release()
    assert new.connection.is_available
    assert new.pool == ["reopened"]
    new.starts((Setting.MAX_CONCURRENT_STREAMS, 1))
    assert not new.connection.is_available
    new.starts((Setting.MAX_CONCURRENT_STREAMS, 5))
    assert new.connection.is_available
    assert new.pool == ["reopened", "reopened"]
    second.release()
    assert new.pool == ["reopened", "reopened", "released"]


def test_it_has_room_for_a_thousand_at_most(app: App) -> None:
    streams = [app.connection.open_stream() for _ in range(MAX_STREAMS)]
    assert MAX_STREAMS >= 1000
    assert not app.connection.is_available
    streams[0].release()
    assert app.connection.is_available


def test_a_stream_that_the_app_does_not_take_any_more_was_not_processed(new: App) -> None:
    new.starts((Setting.MAX_CONCURRENT_STREAMS, 2))
    handed_out = new.connection.open_stream()
    new.ask()
    new.starts((Setting.MAX_CONCURRENT_STREAMS, 1))
    sink = Sink()
    handed_out.send_request(sink, request(), b"x", FieldSection.of([]), b"id")
    assert sink.failure is not None
    assert sink.failure.unprocessed


@pytest.mark.parametrize("code", [Code.NO_ERROR, Code.ENHANCE_YOUR_CALM])
def test_goaway_finishes_what_it_covers(app: App, code: Code) -> None:
    kept, refused = app.ask(b"", b"GET"), app.ask(b"", b"GET")
    app.says(frame(Type.GOAWAY, 0, 0, number(kept.id) + number(code)))
    failure = app.sinks[refused.id].failure
    assert failure is not None
    assert failure.unprocessed
    assert not app.connection.is_available
    assert app.pool == []
    app.says(app.headers(kept, STATUS, end=True))
    assert app.sinks[kept.id].told == [200, "end"]
    kept.release()
    assert app.pool == ["closed"]


def test_an_idle_connection_closes_at_goaway(app: App) -> None:
    app.says(frame(Type.GOAWAY, 0, 0, number(0) + number(Code.NO_ERROR)))
    assert app.pool == ["closed"]


@pytest.mark.parametrize(
    ("code", "reason", "unprocessed"),
    [
        (Code.NO_ERROR, Reason.CONNECTION_TERMINATED, False),
        (Code.CANCEL, Reason.CONNECTION_TERMINATED, False),
        (Code.INTERNAL_ERROR, Reason.CONNECTION_TERMINATED, False),
        (Code.REFUSED_STREAM, Reason.CONNECTION_TERMINATED, True),
        (Code.HTTP_1_1_REQUIRED, Reason.UPSTREAM_SPEAKS_HTTP1, False),
        (0x12345678, Reason.CONNECTION_TERMINATED, False),
    ],
)
def test_a_reset_before_the_answer(app: App, code: int, reason: Reason, unprocessed: bool) -> None:
    other, stream = app.ask(), app.ask()
    app.says(frame(Type.RST_STREAM, 0, stream.id, number(code)))
    failure = app.sinks[stream.id].failure
    assert failure is not None
    assert (failure.error.reason, failure.unprocessed) == (reason, unprocessed)
    assert app.sinks[other.id].failure is None


@pytest.mark.parametrize("code", [Code.CANCEL, Code.ENHANCE_YOUR_CALM, 0x12345678])
def test_a_reset_inside_the_answer_keeps_its_code(app: App, code: int) -> None:
    stream = app.ask()
    app.says(app.headers(stream, STATUS), frame(Type.RST_STREAM, 0, stream.id, number(code)))
    failure = app.sinks[stream.id].failure
    assert failure is not None
    assert (failure.error.reason, failure.error.reset_code) == (Reason.HTTP_RESPONSE_INCOMPLETE, code)


def test_the_end_of_the_connection_is_told_to_each_stream_as_far_as_it_was(app: App) -> None:
    waiting, answered, complete = app.ask(), app.ask(), app.ask()
    app.says(app.headers(answered, STATUS), app.headers(complete, STATUS, end=True))
    app.connection.connection_lost(ConnectionResetError())
    reasons = [app.sinks[each.id].reason for each in (waiting, answered, complete)]
    assert reasons == [Reason.CONNECTION_TERMINATED, Reason.HTTP_RESPONSE_INCOMPLETE, None]
    assert app.pool == ["closed"]


def test_what_was_here_when_writing_failed_is_read(app: App) -> None:
    stream = app.ask()
    app.peer.send(app.headers(stream, STATUS, end=True))
    app.connection.connection_lost(ConnectionResetError())
    assert app.sinks[stream.id].told == [200, "end"]


# --- who is slow ------------------------------------------------------------------------------------------------------


def test_a_slow_reader_holds_up_its_own_stream_and_no_more_than_a_window(app: App) -> None:
    slow, other = app.ask(), app.ask()
    app.says(app.headers(slow, STATUS), app.headers(other, STATUS))
    slow.pause()
    app.heard()
    for _ in range(4):
        app.says(app.data(slow, bytes(16_000)))
    app.says(app.data(other, bytes(16_000)))
    assert app.sinks[slow.id].told == [200]
    assert app.sinks[other.id].told == [200, bytes(16_000)]
    updated = [each.stream for each in app.heard() if each.type == Type.WINDOW_UPDATE]
    assert slow.id not in updated, "no credit for what waits"
    slow.resume()
    assert app.sinks[slow.id].told == [200, *[bytes(16_000)] * 4]
    assert slow.id in [each.stream for each in app.heard() if each.type == Type.WINDOW_UPDATE]
    slow.pause()
    while app.sinks[slow.id].failure is None:
        app.says(app.data(slow, bytes(16_000)))
        assert sum(map(len, slow._held)) <= 2 * WINDOW
    assert app.sinks[slow.id].reason is Reason.HTTP_PROTOCOL_ERROR, "beyond its window"


def test_what_a_full_downstream_was_given_last_is_not_credited_either(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = app.ask()
    app.says(app.headers(stream, STATUS))
    app.heard()
    monkeypatch.setattr(app.sinks[stream.id], "response_body", lambda data: stream.pause())
    app.says(*[app.data(stream, bytes(16_384))] * 3)
    assert stream.id not in [each.stream for each in app.heard()]
    monkeypatch.undo()
    stream.resume()
    assert stream.id in [each.stream for each in app.heard()]


def test_the_end_waits_behind_what_is_held(app: App) -> None:
    stream = app.ask()
    app.says(app.headers(stream, STATUS))
    stream.pause()
    app.says(app.data(stream, b"held"), app.headers(stream, (b"grpc-status", b"0"), end=True))
    app.connection.connection_lost(None)
    sink = app.sinks[stream.id]
    assert sink.told == [200]
    stream.resume()
    assert (sink.told, sink.trailers) == ([200, b"held", "end"], [(b"grpc-status", b"0")])


def test_interim_answers_wait_for_nobody(app: App) -> None:
    stream = app.ask()
    app.says(app.headers(stream, (b":status", b"103")))
    stream.pause()
    for _ in range(1000):
        app.says(app.headers(stream, (b":status", b"103"), (b"link", b"</a>")))
    assert app.sinks[stream.id].told == [103], "while downstream takes nothing, nothing is made for it"


def test_an_app_that_takes_nothing_holds_up_its_request(new: App) -> None:
    new.starts((Setting.INITIAL_WINDOW_SIZE, 0))
    stream = new.ask(GRPC + UPLOAD)
    stream.send_body(b"message")
    sink = new.sinks[stream.id]
    assert sink.told == ["full"]
    assert stream.room() == 0
    new.says(frame(Type.WINDOW_UPDATE, 0, stream.id, number(3)))
    assert sink.told == ["full"]
    new.says(frame(Type.WINDOW_UPDATE, 0, stream.id, number(4)))
    assert sink.told == ["full", "drained"]
    stream.send_body(b"more")
    stream.flush()
    new.clock.now += new.context.timeouts.response_header + 1
    new.connection.expire(new.clock.now)
    assert sink.reason is Reason.HTTP_RESPONSE_TIMEOUT


def test_an_answer_has_its_time(app: App) -> None:
    plain, call = app.ask(b"", b"GET"), app.ask()
    app.clock.now += app.context.timeouts.response_header
    assert app.connection.deadline <= app.clock.now
    app.connection.expire(app.clock.now)
    assert app.sinks[plain.id].reason is Reason.HTTP_RESPONSE_TIMEOUT
    assert app.heard()[-1].code == Code.CANCEL
    assert app.sinks[call.id].failure is None, "a call has a deadline of its own"
    app.says(app.headers(call, STATUS))
    app.clock.now += app.context.timeouts.response_idle
    app.connection.expire(app.clock.now)
    assert app.sinks[call.id].reason is Reason.HTTP_RESPONSE_INCOMPLETE


def test_an_idle_connection_is_closed_in_time(app: App) -> None:
    stream = app.ask(b"", b"GET")
    app.says(app.headers(stream, STATUS, end=True))
    stream.release()
    app.connection.deadline = app.clock.now + app.context.timeouts.idle  # the pool's to set
    app.clock.now += app.context.timeouts.idle
    app.connection.expire(app.clock.now)
    assert app.pool == ["released", "closed"]
    assert app.heard()[-1].type == Type.GOAWAY


def test_one_that_was_idle_proves_that_it_is_alive(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.type for each in (app.ask(b"", b"GET") and app.heard())] == [Type.HEADERS], "it is new"
    (first,) = app.connection._streams
    app.says(app.headers(first, STATUS, end=True))
    first.release()
    app.clock.now += 6
    second = app.ask(b"", b"GET")
    ping, _ = app.heard()
    assert ping.type == Type.PING
    app.says(frame(Type.PING, Flag.ACK, 0, ping.payload))
    app.clock.now += PING_TIMEOUT
    app.connection.expire(app.clock.now)
    assert app.sinks[second.id].failure is None
    app.says(app.headers(second, STATUS, end=True))
    second.release()
    app.clock.now += 6
    third = app.ask(b"", b"GET")
    monkeypatch.setattr("gateway.upstream.http2.unanswered", lambda sock: 0.0)
    app.clock.now += PING_TIMEOUT
    app.connection.expire(app.clock.now)
    assert app.sinks[third.id].failure is None, "its kernel has acknowledged it, it is busy"
    monkeypatch.setattr("gateway.upstream.http2.unanswered", lambda sock: PING_TIMEOUT)
    app.clock.now += PING_TIMEOUT
    assert app.connection.deadline <= app.clock.now
    app.connection.expire(app.clock.now)
    assert app.sinks[third.id].reason is Reason.CONNECTION_TERMINATED


def test_what_waits_to_be_read_does_not_make_it_dead(app: App) -> None:
    app.peer.send(frame(Type.PING, 0, 0, bytes(8)))
    assert app.connection.is_alive()
    app.peer.close()
    app.socket.recv(100)
    assert not app.connection.is_alive()


# --- hostile apps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flood",
    [
        frame(Type.PING, 0, 0, bytes(8)),
        frame(Type.SETTINGS),
        frame(Type.DATA, 0, 1),
        frame(Type.GOAWAY, 0, 0, number(1) + number(0)),
        frame(0xFA, 0, 0, b"?"),
        frame(Type.PRIORITY, 0, 1, bytes(5)),
    ],
    ids=["ping", "settings", "empty data", "goaway", "unknown", "priority"],
)
def test_a_flood_ends_the_connection(app: App, flood: bytes) -> None:
    stream = app.ask()
    app.says(app.headers(stream, STATUS))
    for _ in range(100):
        app.says(flood * 100)
        if app.pool:
            break
    assert app.pool == ["closed"]
    sink = app.sinks[stream.id]
    assert sink.reason is Reason.HTTP_PROTOCOL_ERROR
    assert app.heard()[-1].code == Code.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "octets",
    [
        frame(Type.HEADERS, Flag.END_HEADERS, 2, b"\x88"),
        frame(Type.PUSH_PROMISE, Flag.END_HEADERS, 1, number(2) + b"\x82"),
        frame(Type.HEADERS, Flag.END_HEADERS, 99, b"\x88"),
        frame(Type.DATA, 0, 99, b"x"),
        frame(Type.HEADERS, Flag.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff"),
        frame(Type.DATA, 0, 1, b"", length=1 << 20),
        frame(Type.WINDOW_UPDATE, 0, 0, number(0)),
        frame(Type.WINDOW_UPDATE, 0, 0, number(2**31 - 1)),
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_what_breaks_the_connection_is_told_to_all_of_its_streams(app: App, octets: bytes) -> None:
    streams = [app.ask(), app.ask()]
    app.says(octets)
    assert [app.sinks[each.id].reason for each in streams] == [Reason.HTTP_PROTOCOL_ERROR] * 2
    assert app.pool == ["closed"]
    assert app.heard()[-1].type == Type.GOAWAY


def test_one_octet_at_a_time_says_the_same(app: App) -> None:
    stream = app.ask()
    octets = app.headers(stream, STATUS) + app.data(stream, b"slow") + app.headers(stream, (b"x", b"y"), end=True)
    for octet in octets:
        app.says(bytes([octet]))
    assert app.sinks[stream.id].told == [200, b"slow", "end"]


def test_nothing_is_kept_of_a_connection_that_has_ended(app: App) -> None:
    app.ask()
    app.connection.connection_lost(None)
    assert app.connection.session.streams == {}
    assert app.connection.session._owner is NOBODY
    assert app.connection.early_failure() == Failure(
        Reason.CONNECTION_TERMINATED,
        "the app closed the connection before it was asked",
        wording=HUNG_UP_UNASKED,
    )
