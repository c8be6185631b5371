"""Where a browser's stream would stand, for a request that no connection has brought: nobody reads what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.edge.stream import DownstreamStream

if TYPE_CHECKING:
    from gateway.edge.forwarded import Peer
    from gateway.edge.stream import RequestSink
    from gateway.errors import GatewayError
    from gateway.http.message import Fields, ResponseHead
    from gateway.upstream.stream import UpstreamStream

LONGEST: Final = 300.0
"""Seconds that one may take: an event stream has no end of its own."""
ROOM: Final = 1024 * 1024


class ReplayStream(DownstreamStream):
    """Stands where a browser's stream would; nobody reads what comes."""

    __slots__ = ("_body", "_done", "_paused", "_sink", "_timer", "bound", "head_sent", "peer")

    def __init__(self, peer: Peer, body: bytes | None, done: Callable[[ReplayStream], None]) -> None:
        """`body`: None if there is none, not even an empty one."""
        self.peer = peer
        self.head_sent = 0
        self.bound: UpstreamStream | None = None
        self._body = body  # until it is delivered
        self._done = done
        self._paused = False
        self._sink: RequestSink | None = None  # from its beginning to its end
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, sink: RequestSink, loop: asyncio.AbstractEventLoop) -> None:
        self._sink = sink
        self._timer = loop.call_later(LONGEST, self._expire)
        sink.begin()
        if not self._paused:
            self._deliver()

    def _deliver(self) -> None:
        sink, body, self._body = self._sink, self._body, None
        if body is not None and sink is not None:
            sink.request_body(body)
            sink.request_end([])
        if self._sink is not None:  # the exchange may have ended meanwhile
            self._sink.flush_request()

    def _expire(self) -> None:
        if self._sink is not None:
            self._sink.downstream_lost(f"a replay lasts {LONGEST:.0f} s at most")

    def send_informational(self, head: ResponseHead, request_id: bytes) -> None: ...

    def send_head(self, head: ResponseHead, request_id: bytes) -> None: ...

    def send_body(self, data: bytes) -> None: ...

    def finish(self, trailers: Fields) -> None: ...

    def flush(self) -> None: ...

    def abort(self, error: GatewayError) -> None: ...

    def room(self) -> int:
        return ROOM

    def pause(self, waiting: int = 0) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._deliver()

    def redirect(self, sink: RequestSink) -> None:
        self._sink = sink

    def is_quiet(self) -> bool:
        return True

    def exchange_ended(self) -> None:
        self._sink = None
        if self._timer is not None:
            self._timer.cancel()
        self._done(self)

    def keep(self, upstream: UpstreamStream) -> bool:
        return False

    def bound_lost(self) -> None: ...
