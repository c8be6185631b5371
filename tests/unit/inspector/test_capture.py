"""What is seen of an exchange, and that looking on changes nothing: an exchange's own tests hold with it, too."""

from __future__ import annotations

import gc
from collections.abc import Iterable

import pytest

from gateway.edge.drain import sinks_of
from gateway.edge.exchange import Exchange
from gateway.edge.stream import RequestSink
from gateway.errors import Reason
from gateway.http.message import AS_TUNNEL, BY_LENGTH, Fields
from gateway.inspector.capture import Capture, LookingStream
from gateway.inspector.captured import BODY_OCTETS, Kind
from gateway.inspector.messages import EventReader
from gateway.inspector.store import Store
from gateway.observe.access_log import AccessRecord
from gateway.observe.grpc_call import GrpcOutcome
from tests.support.access_records import record
from tests.support.seam import answer, gateway, handshake, request, settle, upload
from tests.unit.edge import test_exchange
from tests.unit.inspector.conftest import Watched

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

FRAME = b"\x81\x05hello"
MASKED = b"\x82\x83\x00\x00\x01\x00abb"
EVENTS = [(b"Content-Type", b"text/event-stream; charset=utf-8")]


async def test_what_passes_is_seen(watched: Watched) -> None:
    asked = watched.gateway.ask(upload())
    await settle()
    assert asked.sink is not None
    asked.sink.request_body(b"what I ask")
    asked.sink.request_end([(b"X-Sum", b"1")])
    watched.gateway.stream.says(answer(201, fields=[(b"Content-Type", b"text/plain")]), b"what it says", ends=True)
    seen = watched.last
    assert (bytes(seen.request.octets), bytes(seen.response.octets)) == (b"what I ask", b"what it says")
    assert seen.extras.request_trailers == [(b"X-Sum", b"1")]
    assert seen.response_head is not None and seen.response_head.status == 201
    assert seen.record is not None and seen.record.status == 201
    assert seen.began <= seen.opened <= seen.first_byte <= seen.ended
    assert seen.request_id.decode() == seen.record.request_id
    watched.gateway.check_over()


async def test_a_long_body_is_kept_as_far_as_its_beginning(watched: Watched) -> None:
    watched.gateway.ask()
    await settle()
    stream = watched.gateway.stream
    stream.says(answer())
    for _ in range(300):
        stream.says_body(b"x" * 1000)
    body = watched.last.response
    assert (body.size, len(body.octets), body.is_whole) == (300_000, BODY_OCTETS, False)
    assert watched.store.octets < 2 * BODY_OCTETS
    stream.ends()


async def test_a_failure_says_why(watched: Watched) -> None:
    watched.gateway.ask()
    await settle()
    watched.gateway.stream.fails(Reason.HTTP_RESPONSE_INCOMPLETE)
    seen = watched.last
    assert seen.record is not None and seen.record.reason == "http_response_incomplete"
    assert b"http_response_incomplete" in seen.response.octets


async def test_a_truncated_answer_says_why(watched: Watched) -> None:
    watched.gateway.ask()
    await settle()
    stream = watched.gateway.stream
    stream.says(answer())
    stream.fails(Reason.HTTP_RESPONSE_INCOMPLETE)
    assert watched.last.extras.trouble


CALL = [(b"Content-Type", b"application/grpc"), (b"TE", b"trailers"), (b"Transfer-Encoding", b"chunked")]


@pytest.mark.parametrize(
    ("fields", "trailers", "call"),
    [
        ([], [(b"grpc-status", b"0")], GrpcOutcome(0)),
        ([], [(b"grpc-status", b"5"), (b"grpc-message", b"no%20user")], GrpcOutcome(5, "no user")),
        ([(b"grpc-status", b"12")], [], GrpcOutcome(12)),  # Trailers-Only
        ([], [], GrpcOutcome(-1)),
    ],
)
async def test_how_a_call_has_ended_is_seen(
    watched: Watched, fields: Fields, trailers: Fields, call: GrpcOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[GrpcOutcome | None] = []
    records, capture = watched.gateway.records, watched.capture

    def write(lines: Iterable[AccessRecord]) -> None:
        told.extend(capture.calls.get(each.request_id) for each in lines)

    monkeypatch.setattr(records, "write", write)
    watched.gateway.ask(request(b"POST", CALL))
    await settle()
    stream = watched.gateway.stream
    stream.says(answer(fields=[(b"Content-Type", b"application/grpc"), *fields]))
    assert stream.sink is not None
    stream.sink.response_end(trailers)
    await settle()
    assert watched.last.extras.call == call
    assert told == [call]  # whoever writes its line knows, and nothing is left
    assert not capture.calls


WEB = [(b"Content-Type", b"application/grpc-web+proto")]
WEB_TRAILERS = b"\x80\x00\x00\x00\x10grpc-status: 7\r\n"


@pytest.mark.parametrize(
    ("body", "call"),
    [
        (WEB_TRAILERS, GrpcOutcome(7)),
        (b"\x00\x00\x00\x00\x00", GrpcOutcome(-1)),
        (b"\x00\x00\x02\x00\x00" + bytes(2 * BODY_OCTETS) + WEB_TRAILERS, None),  # not kept: nobody knows
    ],
)
async def test_how_a_call_of_grpc_web_has_ended_is_seen(
    watched: Watched, body: bytes, call: GrpcOutcome | None
) -> None:
    watched.gateway.ask(request(b"POST", [*WEB, (b"Transfer-Encoding", b"chunked")]))
    await settle()
    watched.gateway.stream.says(answer(fields=WEB), body, ends=True)
    assert watched.last.extras.call == call


async def test_a_call_that_fails_here_is_seen(watched: Watched) -> None:
    watched.gateway.ask(request(b"POST", CALL))
    await settle()
    watched.gateway.stream.fails(Reason.HTTP_RESPONSE_TIMEOUT)
    seen = watched.last.extras.call
    assert seen is not None and seen.name == "DEADLINE_EXCEEDED" and "(http_response_timeout)" in seen.message


async def test_nobody_speaks_of_calls_where_there_are_none(watched: Watched) -> None:
    watched.gateway.ask()
    await settle()
    watched.gateway.stream.says(answer(fields=[(b"grpc-status", b"0")]), ends=True)
    assert watched.last.extras.call is None


async def test_who_leaves_before_any_answer_is_seen(watched: Watched) -> None:
    await watched.gateway.warm()
    asked = watched.gateway.ask()
    asked.exchange.downstream_lost("it hung up")
    await settle()
    seen = watched.last
    assert seen.record is not None and (seen.record.status, seen.response_head) == (499, None)
    assert len(watched.store) == 2


async def test_a_websocket_s_messages_are_seen_both_ways(watched: Watched) -> None:
    asked = watched.gateway.ask(handshake())
    await settle()
    stream = watched.gateway.stream
    stream.says(answer(101, AS_TUNNEL))
    stream.says_body(FRAME)
    assert asked.sink is not None
    asked.sink.request_body(MASKED)
    told = [(each.from_app, each.kind, each.octets) for each in watched.last.extras.messages]
    assert told == [(True, Kind.TEXT, b"hello"), (False, Kind.BINARY, b"abc")]
    assert stream.sent[-1] == MASKED  # passed on as it came
    asked.sink.request_end([])
    stream.ends()


async def test_events_are_seen_as_they_pass(watched: Watched) -> None:
    watched.gateway.ask()
    await settle()
    stream = watched.gateway.stream
    stream.says(answer(fields=EVENTS))
    stream.says_body(b"data: one\n\nda")
    assert [each.octets for each in watched.last.extras.messages] == [b"data: one"]
    stream.says_body(b"ta: two\n\n")
    assert [each.octets for each in watched.last.extras.messages] == [b"data: one", b"data: two"]
    stream.ends()


async def test_a_bug_in_reading_messages_ends_no_exchange(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(reader: EventReader, data: bytes) -> None:
        raise LookupError("a bug of ours")

    monkeypatch.setattr(EventReader, "feed", broken)
    asked = watched.gateway.ask()
    await settle()
    stream = watched.gateway.stream
    stream.says(answer(fields=EVENTS))
    stream.says_body(b"data: one\n\n")
    stream.ends()
    await settle()
    assert (asked.body, asked.said[-1]) == (b"data: one\n\n", "end")
    assert "a bug of ours" in caplog.text


async def test_a_drain_meets_the_exchange_and_is_looked_at(watched: Watched) -> None:
    asked = watched.gateway.ask(handshake())
    await settle()
    stream = watched.gateway.stream
    stream.says(answer(101, AS_TUNNEL))

    class Connection:
        def sinks(self) -> list[RequestSink]:
            return [asked.sink]

    assert sinks_of(Connection()) == [asked.exchange]  # type: ignore[arg-type]
    streams = asked.exchange.streams
    assert streams is not None
    streams[0].redirect(asked.exchange)
    assert asked.sink is not asked.exchange
    assert asked.sink.behind is asked.exchange
    asked.sink.request_body(MASKED)
    assert len(watched.last.extras.messages) == 1
    asked.exchange.downstream_lost("")


async def test_a_bound_login_is_handed_through(watched: Watched) -> None:
    """The exchange takes what is bound to the connection; what it leaves is the connection's again."""
    await watched.gateway.warm()
    asked = watched.gateway.ask()
    bound = watched.gateway.stream
    bound.says(answer(), ends=True)
    before = watched.gateway.prepare()
    before.bound = bound
    looking = LookingStream(Capture(Store(), watched.gateway.records, lambda call: None), before, watched.last)
    assert (looking.bound, before.bound) == (bound, None)
    looking.exchange_ended()
    assert before.bound is bound
    assert asked.bound is None


async def test_what_is_refused_at_the_door_is_seen(watched: Watched) -> None:
    watched.gateway.edge.telemetry.access_log.write([record(request_id="door", method="-", status=400)])
    await settle()
    seen = watched.last
    assert (seen.head, seen.is_live) == (None, False)
    assert seen.record is not None and seen.record.status == 400


async def test_nothing_is_left_to_the_collector(watched: Watched) -> None:
    await watched.gateway.warm()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            asked = watched.gateway.ask(upload())
            assert asked.sink is not None
            asked.sink.request_end([])
            watched.gateway.stream.says(answer(200, BY_LENGTH), ends=True)
            del asked.exchange, asked.sink  # the fake's own circle
            del watched.gateway.downstreams[:], asked
        for connection in watched.gateway.pool.dialed:
            del connection.opened[:]
        left = [each for each in gc.get_objects() if isinstance(each, LookingStream | Exchange)]
        assert len(left) <= 1
    finally:
        gc.enable()


@pytest.mark.parametrize("case", test_exchange.ENDINGS)
async def test_every_ending_is_the_same(case: str) -> None:
    async with gateway() as running:
        watched = Watched(running)
        head, steps, said, status, reason = test_exchange.ENDINGS[case]
        asked = running.ask(head)
        await settle()
        for step in steps.split(", "):
            test_exchange.STEPS[step](running, asked)
            await settle()
        assert asked.said == said
        [seen] = watched.store
        assert not seen.is_live
        [record] = running.records.all
        assert (record.status, record.reason) == (status, reason)
        running.check_over()
