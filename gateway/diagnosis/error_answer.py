"""An error answer, looked at before it is passed on.

The beginning of its body may sound like a server that wants TLS, which a look at the port settles, or say which setting
the app lacks, which the answer then carries as a hint. Some apps write head and body apart, so an answer waits
for that beginning a moment, where anything is known that could stand there. What a head alone betrays needs no wait.

A filter takes the exchange's place as the stream's sink for that time. Knows heads and pieces of body; no protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from gateway.diagnosis import hints, own_urls, protocol_probe, refusals
from gateway.diagnosis.protocol_probe import DetectedProtocol, ProtocolProbe, Symptom
from gateway.errors import GatewayError, Reason
from gateway.http.message import NO_BODY, Fields, FieldSection, RequestHead, ResponseHead
from gateway.upstream import evidence
from gateway.upstream.stream import ResponseSink, UpstreamFailure, UpstreamStream

BEGINNING_TIMEOUT: Final = 0.5
"""Seconds the head waits for the first octets of its body, and one step of the sweeper more."""

_STATUSES: Final = refusals.STATUSES | {evidence.REFUSES_PLAIN_HTTP}


class ErrorAnswers:
    """What the filters of one event loop share; `clock` is its time."""

    def __init__(self, protocols: ProtocolProbe, clock: Callable[[], float]) -> None:
        self.protocols = protocols
        self.clock = clock
        self.hint_log = hints.HintLog(clock)
        self.judged_from = 300
        """The lowest status of a head that is judged by its fields; below, nobody pays for it but in `gateway dev`."""
        self.waiting: set[ErrorAnswerFilter] = set()
        """Those that have a deadline, for a sweeper."""

    def withhold(
        self, request: RequestHead, head: ResponseHead, stream: UpstreamStream, released: Callable[[], None]
    ) -> bool:
        """Whether `head`, of an error answer to `request`, waits for a look at its body.

        Then it comes once more to whoever is the sink of `stream`, with what follows it, and `released` is called when
        nothing is withheld any more: the stream, which may have been paused, is its user's again.
        """
        if head.status not in _STATUSES or not hints.is_readable(head):
            return False
        if head.framing is NO_BODY and request.upgrade is None:
            return False  # a refused WebSocket speaks by its status alone
        stream.sink = ErrorAnswerFilter(self, request, head, stream, released)
        return True

    def judged(
        self, request: RequestHead, head: ResponseHead, added: FieldSection, stream: UpstreamStream
    ) -> ResponseHead:
        """`head` of an answer to `request`, with a hint if it shows that the app takes its own URL for another one;
        `added` is what the app was told of that."""
        if head.get(hints.FIELD.lower()) is not None:
            return head  # its body has said what is wrong
        hint = own_urls.find(request, head, added)
        return head if hint is None else self.hinted(request, head, hint, stream)

    def hinted(self, request: RequestHead, head: ResponseHead, hint: str, stream: UpstreamStream) -> ResponseHead:
        """`head` with `hint`, which is logged as well."""
        self.hint_log.tell(stream.endpoint, request.authority, hint)
        return head.with_section(hints.with_hint(head.section, hint))


class ErrorAnswerFilter(ResponseSink):
    """Withholds one answer until enough of it is here, or until that has taken too long."""

    __slots__ = (
        "_body",
        "_head",
        "_released",
        "_request",
        "_shared",
        "_sink",
        "_stream",
        "_suspicion",
        "_trailers",
        "deadline",
    )

    def __init__(
        self,
        shared: ErrorAnswers,
        request: RequestHead,
        head: ResponseHead,
        stream: UpstreamStream,
        released: Callable[[], None],
    ) -> None:
        assert stream.sink is not None  # who was told of the head
        self._shared = shared
        self._request = request
        self._head = head
        self._stream = stream
        self._sink = stream.sink
        self._released = released
        self._body: list[bytes] = []
        self._trailers: Fields | None = None  # the answer is complete
        self._suspicion: GatewayError | None = None  # what the answer is if the port speaks TLS, which is being asked
        self.deadline = shared.clock() + BEGINNING_TIMEOUT
        shared.waiting.add(self)

    # --- ResponseSink --------------------------------------------------------------------------------------------

    def informational(self, head: ResponseHead) -> None:
        raise AssertionError("no interim answer follows a final one")

    def response_head(self, head: ResponseHead) -> None:
        raise AssertionError("an exchange has one final answer")

    def response_body(self, data: bytes) -> None:
        self._body.append(data)
        if self._suspicion is None:
            self._examine(data)
        else:
            self._stream.pause()  # whatever has resumed it

    def response_end(self, trailers: Fields) -> None:
        self._trailers = trailers
        if self._suspicion is None:
            if not self._body:
                self._hint(b"")
            self._pass()

    def response_room(self) -> int:
        return 0

    def flush_response(self) -> None: ...

    def upstream_full(self, waiting: int) -> None:
        self._sink.upstream_full(waiting)

    def upstream_drained(self) -> None:
        self._sink.upstream_drained()

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        self._pass()
        if self._stream.sink is self._sink:
            self._stream.sink = None
            self._sink.upstream_failed(failure)

    # --- the look ------------------------------------------------------------------------------------------------

    def _examine(self, begins: bytes) -> None:
        stream, shared = self._stream, self._shared
        # Who is reused has spoken HTTP; once retired, its address may be another's.
        if not stream.reused and not stream.is_retired:
            self._suspicion = _suspicion(self._head.status, begins)
        if self._suspicion is not None:
            self.deadline = shared.clock() + protocol_probe.MAX_DURATION
            stream.pause()
            shared.protocols.detect_then(stream.endpoint, Symptom.TLS, self._hear)
            return
        self._hint(begins)
        self._pass()

    def _hint(self, begins: bytes) -> None:
        hint = hints.find(self._request, self._head, begins)
        if hint is not None:
            self._head = self._shared.hinted(self._request, self._head, hint, self._stream)

    def _hear(self, protocol: DetectedProtocol | None) -> None:
        """What a look at the port has found, if that is still waited for."""
        suspicion = self._suspicion
        if suspicion is None or self._is_over():
            return
        if protocol is protocol_probe.TLS and not self._stream.is_retired:
            self._leave()
            self._stream.close()
            self._sink.upstream_failed(UpstreamFailure(suspicion, answered=True))
        else:
            self._pass()

    def expire(self, now: float) -> None:
        """It has taken too long, or nobody waits for it any more."""
        if not self._is_over():
            self._pass()

    def _is_over(self) -> bool:
        """Whether the exchange has ended meanwhile, or the answer has passed."""
        if self._stream.sink is self:
            return False
        self._leave()
        return True

    def _leave(self) -> None:
        self.deadline = inf
        self._suspicion = None
        self._shared.waiting.discard(self)

    def _pass(self) -> None:
        """Gives the exchange its place back, and what was withheld, unless that ends it: downstream may be gone."""
        self._leave()
        sink = self._sink
        self._stream.sink = sink
        sink.response_head(self._head)
        for data in self._body:
            if self._tells(sink):
                sink.response_body(data)
        if self._trailers is not None and self._tells(sink):
            sink.response_end(self._trailers)
        if self._tells(sink):
            sink.flush_response()
            self._released()

    def _tells(self, sink: ResponseSink) -> bool:
        """Whether the stream still tells `sink`, which it may have lost with each call."""
        return self._stream.sink is sink


def _suspicion(status: int, begins: bytes) -> GatewayError | None:
    """The failure that an answer is if its port speaks TLS, which others might say of theirs; None: it is no such."""
    phrase = evidence.words_of_tls(status, begins)
    if phrase is None:
        return None
    detail = f"the app answered “{phrase.decode()}”, and answers when TLS is spoken to it"
    return GatewayError(Reason.UPSTREAM_SPEAKS_TLS, detail)
