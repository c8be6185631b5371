"""Answers what no app is asked, in a gateway of one user: the index at the domain itself, and what is kept out.

It stands where every request's exchange is made, before who looks on there: such a request is nobody's, so it has no
exchange, and no place in the inspector. Knows nothing of what is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from gateway.edge.stream import RequestSink

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.edge.forwarded import Peer
    from gateway.edge.stream import DownstreamStream
    from gateway.errors import GatewayError
    from gateway.http.message import Fields, RequestHead, ResponseHead

LookOn = Callable[["Edge", "DownstreamStream", "RequestHead"], RequestSink]
Answered = tuple["ResponseHead", bytes, bytes]
"""Head, body, request id."""


class Doorkeeper(Protocol):
    """See `lan.door`."""

    def answer(self, edge: Edge, peer: Peer, head: RequestHead) -> Answered | None: ...


class Front:
    """One per gateway. `names` are the authorities for which `answer` answers; `door`, if any, is asked first."""

    def __init__(
        self,
        names: Collection[bytes],
        answer: Callable[[RequestHead], tuple[ResponseHead, bytes]],
        behind: LookOn,
        door: Doorkeeper | None,
    ) -> None:
        self._names = frozenset(names)
        self._answer = answer
        self._behind = behind
        self._door = door

    def look_on(self, edge: Edge, downstream: DownstreamStream, head: RequestHead) -> RequestSink:
        """As `Edge.look_on`."""
        if self._door is not None and (answered := self._door.answer(edge, downstream.peer, head)) is not None:
            return FrontSink(downstream, answered)
        if head.authority in self._names:
            return FrontSink(downstream, (*self._answer(head), edge.ids.new()))
        return self._behind(edge, downstream, head)


class FrontSink(RequestSink):
    """Answers at once; what comes of the request's body is not wanted."""

    __slots__ = ("_answered", "_downstream", "_is_over")

    def __init__(self, downstream: DownstreamStream, answered: Answered) -> None:
        self._downstream = downstream
        self._answered = answered
        self._is_over = False

    def begin(self) -> None:
        downstream = self._downstream
        head, body, request_id = self._answered
        downstream.send_head(head, request_id)
        if body:
            downstream.send_body(body)
        downstream.finish([])
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._downstream.exchange_ended()

    def request_body(self, data: bytes) -> None: ...

    def request_end(self, trailers: Fields) -> None: ...

    def request_room(self) -> int:
        return 0

    def flush_request(self) -> None: ...

    def downstream_full(self) -> None: ...

    def downstream_drained(self) -> None: ...

    def downstream_lost(self, detail: str) -> None:
        self._end()

    def fail(self, error: GatewayError) -> None:
        self._downstream.abort(error)
        self._end()
