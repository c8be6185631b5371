"""What an HTTP/2 connection from downstream and its streams need of each other, and a stream that is answered without
an exchange. The stream of an exchange is `http2_stream.py`'s.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.edge.connection import DownstreamConnection
from gateway.http.h2.errors import ErrorCode
from gateway.http.h2.fields import response_block
from gateway.http.h2.stream import Stream
from gateway.session_connection import SessionConnection

if TYPE_CHECKING:
    from gateway.config.settings import Timeouts
    from gateway.edge.edge import Edge
    from gateway.edge.stream import RequestSink
    from gateway.http.h2.decoder import DecodedField
    from gateway.http.message import ResponseHead

CANCEL: Final = ErrorCode.CANCEL
_time: Final = time.time


class Carrier(SessionConnection, DownstreamConnection):
    """What streams need of the connection that carries them."""

    __slots__ = ()

    @property
    def edge(self) -> Edge:
        return self._edge

    @property
    def timeouts(self) -> Timeouts:
        return self._edge.timeouts

    @property
    def takes_no_more(self) -> bool:
        """Whether what is written would have to wait for a slow reader."""
        return self._write_full

    @abstractmethod
    def holds_back(self, stream: ServedStream) -> bool:
        """Whether the answer to a new request is not to be read before its window opens."""

    @abstractmethod
    def stream_ended(self) -> None:
        """A stream may be over: is the connection?"""


class ServedStream(Stream):
    """A stream as its connection sees it: who is told of the request, and until when it may last."""

    __slots__ = ("_connection", "_stall", "_turned", "deadline", "session")

    @property
    def sandbox_id(self) -> str:
        """Whose the request is; empty: nobody's."""
        return ""

    @property
    def is_browsers(self) -> bool:
        """Whether a browser has sent the request."""
        return False

    @property
    def is_tunnel(self) -> bool:
        return False

    @property
    def sink(self) -> RequestSink | None:
        """Who is told of the request; None: nobody, or nobody any more."""
        return None

    def __init__(self, connection: Carrier, stream_id: int) -> None:
        super().__init__(stream_id)
        self._connection = connection
        self.session = connection.session
        self._stall = 0  # octets waiting when somebody last looked whether the reader takes any
        self._turned = 0  # `Session.turned` at that time
        self.deadline = inf  # loop time at which `expire` is due; the connection looks

    def headers_received(self, fields: list[DecodedField], ended: bool) -> None:
        raise AssertionError("a request has one head")

    def data_received(self, data: bytes) -> None: ...

    def end_received(self, trailer_fields: list[DecodedField]) -> None: ...

    def reset_received(self, code: int) -> None: ...

    def drained(self) -> None:
        self._connection.stream_ended()

    def passable(self) -> int:
        return 0

    def flush_received(self) -> None: ...

    def connection_full(self) -> None:
        """The connection takes no more for now."""

    def connection_drained(self) -> None:
        """It takes more again."""

    def cut_off(self) -> None:
        """Nothing is sent from here on, and nothing comes; `lost` is to come."""

    def lost(self, detail: str) -> None:
        """Nobody is there to answer any more."""

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        if self._is_alive():
            self._await_reader()  # slow, but alive
        elif self.waiting:
            self.session.reset(self, CANCEL)
            self._connection.stream_ended()
        else:
            self.deadline = inf

    def _is_alive(self) -> bool:
        """Whether the reader has taken something since somebody last looked: of this stream, or, while it waits for its
        turn, of any."""
        if not self.waiting:
            return False
        return self.waiting != self._stall or (self.lane is not None and self.session.turned != self._turned)

    def _await_reader(self) -> None:
        """The answer is handed over, and some of it waits."""
        self._stall, self._turned = self.waiting, self.session.turned
        self.deadline = self._connection.due_in(self._connection.timeouts.body_idle)


class LocalReplyStream(ServedStream):
    """Is answered without an exchange: what its request is cannot be read, or is not asked."""

    __slots__ = ()

    def send(self, head: ResponseHead, body: bytes, request_id: bytes) -> None:
        """The whole answer; what comes of the request is thrown away."""
        session = self.session
        session.send_headers(self, response_block(head, request_id, _time()), end=not body)
        if body:
            session.send_data(self, body)
            session.end_stream(self)
        session.forget(self)
        if self.waiting:
            self._await_reader()
