"""Answers what is addressed to the domain itself (`https://sandbox.localhost:8443/`), in a gateway of one user.

It stands where every request's exchange is made, before who looks on there: such a request is nobody's, so it has no
exchange, no record, and no place in the inspector. Knows nothing of what is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from gateway.edge.stream import RequestSink

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.edge.stream import DownstreamStream
    from gateway.errors import GatewayError
    from gateway.http.message import Fields, RequestHead, ResponseHead

LookOn = Callable[["Edge", "DownstreamStream", "RequestHead"], RequestSink]
Answer = Callable[["RequestHead"], tuple["ResponseHead", bytes]]


class Front:
    """One per gateway. `names` are the authorities it answers for."""

    def __init__(self, names: Collection[bytes], answer: Answer, behind: LookOn) -> None:
        self._names = frozenset(names)
        self._answer = answer
        self._behind = behind

    def look_on(self, edge: Edge, downstream: DownstreamStream, head: RequestHead) -> RequestSink:
        """As `Edge.look_on`."""
        if head.authority in self._names:
            return FrontSink(edge, downstream, head, self._answer)
        return self._behind(edge, downstream, head)


class FrontSink(RequestSink):
    """Answers at once; what comes of the request's body is not wanted."""

    __slots__ = ("_answer", "_downstream", "_edge", "_head", "_is_over")

    def __init__(self, edge: Edge, downstream: DownstreamStream, head: RequestHead, answer: Answer) -> None:
        self._edge = edge
        self._downstream = downstream
        self._head = head
        self._answer = answer
        self._is_over = False

    def begin(self) -> None:
        downstream = self._downstream
        answer, body = self._answer(self._head)
        downstream.send_head(answer, self._edge.ids.new())
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
