"""An error answer waits for the beginning of its body, once and not long, and then comes whole, whatever was found."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from gateway.diagnosis.error_answer import BEGINNING_TIMEOUT, ErrorAnswers
from gateway.diagnosis.hints import FIELD
from gateway.diagnosis.protocol_probe import TLS, DetectedProtocol, ProtocolProbe, Symptom
from gateway.endpoint import Endpoint, Origin
from gateway.errors import GatewayError, Reason
from gateway.http.message import NO_BODY, Fields, ResponseHead
from gateway.upstream.stream import ResponseSink, UpstreamFailure, UpstreamStream
from tests.support.clock import Clock
from tests.support.seam import answer, request

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

ENDPOINT = Endpoint(Origin("demo", "1", "fd00::5"), 5000)
HOST_REFUSED = b"Invalid Host header"
WANTS_TLS = b"<h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port"


class Exchange(ResponseSink):
    """What an exchange is told, in order."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.heads: list[ResponseHead] = []
        self.failure: UpstreamFailure | None = None

    def informational(self, head: ResponseHead) -> None:
        raise AssertionError("there is none")

    def response_head(self, head: ResponseHead) -> None:
        self.heads.append(head)
        self.told.append(head.status)

    def response_body(self, data: bytes) -> None:
        self.told.append(data)

    def response_end(self, trailers: Fields) -> None:
        self.told.append("end")

    def flush_response(self) -> None: ...

    def response_room(self) -> int:
        return 0

    def upstream_full(self, waiting: int) -> None:
        self.told.append("full")

    def upstream_drained(self) -> None:
        self.told.append("drained")

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        self.failure = failure
        self.told.append("failed")


class Stream:
    """An upstream stream whose answer the test speaks through `sink`."""

    endpoint = ENDPOINT
    is_retired = False

    def __init__(self, sink: ResponseSink) -> None:
        self.sink: ResponseSink | None = sink
        self.reused = False
        self.paused = False
        self.closed = False

    def pause(self) -> None:
        self.paused = True

    def close(self) -> None:
        self.closed = True
        self.sink = None


class Protocols:
    """A probe that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Callable[[DetectedProtocol | None], None]] = []

    def detect_then(
        self, endpoint: Endpoint, symptom: Symptom, then: Callable[[DetectedProtocol | None], None]
    ) -> None:
        assert (endpoint, symptom) == (ENDPOINT, Symptom.TLS)
        self.asked.append(then)


class Answered:
    """An app that answers, and who is told of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.protocols = Protocols()
        self.answers = ErrorAnswers(cast(ProtocolProbe, self.protocols), self.clock)
        self.exchange = Exchange()
        self.stream = Stream(self.exchange)
        self.released = 0

    def withholds(self, head: ResponseHead) -> bool:
        def release() -> None:
            self.released += 1

        return self.answers.withhold(request(), head, cast(UpstreamStream, self.stream), release)

    @property
    def sink(self) -> ResponseSink:
        assert self.stream.sink is not None
        return self.stream.sink

    def check_over(self, *told: object) -> None:
        """All of it was told in this order, and nobody waits any more."""
        assert self.exchange.told == list(told)
        assert self.answers.waiting == set()


@pytest.fixture
def app() -> Answered:
    return Answered()


READABLE = (b"Content-Type", b"text/html")
PASSED_AT_ONCE = {
    "no status that is known": answer(404),
    "no body": answer(403, NO_BODY),
    "compressed": answer(403, fields=[(b"Content-Encoding", b"gzip")]),
    "a stream": answer(403, fields=[(b"Content-Type", b"text/event-stream")]),
    "a download": answer(403, fields=[READABLE, (b"Content-Disposition", b"attachment; filename=x")]),
}


@pytest.mark.parametrize("head", PASSED_AT_ONCE.values(), ids=PASSED_AT_ONCE)
def test_what_says_nothing_is_not_withheld(app: Answered, head: ResponseHead) -> None:
    assert not app.withholds(head)
    assert app.sink is app.exchange


def test_an_answer_without_meaning_passes_as_it_came(app: Answered) -> None:
    assert app.withholds(answer(403, fields=[READABLE]))
    app.sink.response_body(b"no")
    app.sink.response_body(b"!")
    app.sink.response_end([])
    app.check_over(403, b"no", b"!", "end")
    assert app.released == 1
    assert app.exchange.heads[0].get(FIELD.lower()) is None


def test_a_setting_that_is_missing_is_named(app: Answered) -> None:
    head = answer(403)
    assert app.withholds(head)
    app.sink.response_body(HOST_REFUSED)
    hint = app.exchange.heads[0].get(FIELD.lower())
    assert hint is not None
    assert b"allowedHosts" in hint
    assert head.get(FIELD.lower()) is None, "what others share stays as it is"
    app.check_over(403, HOST_REFUSED)


def test_a_body_that_does_not_come_is_not_waited_for(app: Answered) -> None:
    assert app.withholds(answer(403))
    [waiting] = app.answers.waiting
    assert waiting.deadline == app.clock.now + BEGINNING_TIMEOUT
    waiting.expire(waiting.deadline)
    app.check_over(403)
    assert app.sink is app.exchange


def test_an_answer_that_ends_or_fails_is_told_first(app: Answered) -> None:
    assert app.withholds(answer(403))
    app.sink.response_end([])
    app.check_over(403, "end")
    other = Answered()
    assert other.withholds(answer(403))
    other.sink.upstream_failed(UpstreamFailure(GatewayError(Reason.HTTP_RESPONSE_INCOMPLETE, "it broke off")))
    other.check_over(403, "failed")


def test_a_port_that_speaks_tls_is_told_instead_of_its_answer(app: Answered) -> None:
    assert app.withholds(answer(400))
    app.sink.response_body(WANTS_TLS)
    assert app.stream.paused
    assert app.exchange.told == []
    app.protocols.asked[0](TLS)
    app.check_over("failed")
    assert app.exchange.failure is not None
    assert app.exchange.failure.error.reason is Reason.UPSTREAM_SPEAKS_TLS
    assert app.stream.closed


def test_a_port_that_does_not_is_believed(app: Answered) -> None:
    assert app.withholds(answer(400))
    app.sink.response_body(WANTS_TLS)
    app.sink.response_body(b", it says")
    app.protocols.asked[0](None)
    app.check_over(400, WANTS_TLS, b", it says")
    app.protocols.asked[0](TLS)
    app.check_over(400, WANTS_TLS, b", it says")


def test_a_connection_that_has_served_before_is_not_doubted(app: Answered) -> None:
    app.stream.reused = True
    assert app.withholds(answer(400))
    app.sink.response_body(WANTS_TLS)
    app.check_over(400, WANTS_TLS)
    assert app.protocols.asked == []


def test_whoever_has_left_is_told_nothing(app: Answered) -> None:
    assert app.withholds(answer(400))
    app.sink.response_body(WANTS_TLS)
    app.stream.close()
    app.protocols.asked[0](TLS)
    app.check_over()
    assert app.released == 0
