"""What an app is asked: a GET as a browser would send it through the gateway, and a WebSocket handshake.

Both go out over the gateway's own upstream connection, so that the answer is what an exchange would get.
Only the head of an answer is waited for.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from gateway.diagnosis.error_answer import ErrorAnswers
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import AS_TUNNEL, Fields, FieldSection, RequestHead, ResponseHead
from gateway.http.websocket import accept
from gateway.upstream.stream import ResponseSink, UpstreamConnection, UpstreamFailure, UpstreamStream

USER_AGENT: Final = "gateway-explain"

SWEEP: Final = 0.05
"""Seconds between two looks at a deadline."""
FAREWELL: Final = 0.5
"""Seconds an app gets to answer a WebSocket's Close; most servers log an error when they never see one."""

_CLOSE_FRAME: Final = b"\x88\x80\x00\x00\x00\x00"
"""RFC 6455 section 5.5.1: FIN and opcode 8, no payload, masked (with zeros) as a client's frames must be."""


@dataclass(frozen=True, slots=True)
class AppRequest:
    """A request ready to be sent: `host` is the Host field's value, `added` what the edge adds."""

    head: RequestHead
    host: bytes
    added: FieldSection
    request_id: bytes


def page_request(path: str, authority: str, limits: HeadLimits) -> RequestHead:
    """A GET for what a browser would show. Raises GatewayError(uri_too_long) and its like."""
    return _request(path, authority, ["Accept: text/html,application/xhtml+xml,*/*;q=0.8"], limits)


def websocket_request(path: str, authority: str, limits: HeadLimits) -> tuple[RequestHead, bytes]:
    """A handshake and the Sec-WebSocket-Accept that is due in answer (RFC 6455 section 4.1)."""
    key = base64.b64encode(secrets.token_bytes(16))
    fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key.decode()}",
        f"Origin: https://{authority}",  # as a page of the app itself would: many servers compare it with Host
    ]
    return _request(path, authority, fields, limits), accept(key)


def _request(path: str, authority: str, fields: list[str], limits: HeadLimits) -> RequestHead:
    lines = [f"GET {path} HTTP/1.1", f"Host: {authority}", f"User-Agent: {USER_AGENT}", *fields, "", ""]
    return parse_request_head("\r\n".join(lines).encode(), limits)


class _HeadSink(ResponseSink):
    """Waits for the final head, and for the end."""

    def __init__(self, request: RequestHead, stream: UpstreamStream, error_answers: ErrorAnswers) -> None:
        self._request = request
        self._stream = stream
        self._error_answers = error_answers
        self._examined = False
        self.head: asyncio.Future[ResponseHead | UpstreamFailure] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()

    def informational(self, head: ResponseHead) -> None: ...

    def response_head(self, head: ResponseHead) -> None:
        if head.status >= 400 and not self._examined:
            self._examined = True
            if self._error_answers.withhold(self._request, head, self._stream, self._stream.resume):
                return
        if not self.head.done():  # whoever waited may have been cancelled
            self.head.set_result(head)

    def response_body(self, data: bytes) -> None: ...

    def response_end(self, trailers: Fields) -> None:
        self.over.set()

    def flush_response(self) -> None: ...

    def response_room(self) -> int:
        return 0

    def upstream_full(self, waiting: int) -> None: ...

    def upstream_drained(self) -> None: ...

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        self.over.set()
        if not self.head.done():
            self.head.set_result(failure)


class _Sweeper:
    """Keeps deadlines as the edge's sweeper does, of connections and of what is withheld."""

    def __init__(self, connections: Collection[UpstreamConnection], error_answers: ErrorAnswers) -> None:
        self._loop = asyncio.get_running_loop()
        self._groups = connections, error_answers.waiting
        self._timer = self._loop.call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(SWEEP, self._sweep)
        now = self._loop.time()
        for group in self._groups:
            for each in [each for each in group if each.deadline <= now]:
                each.expire(now)

    def close(self) -> None:
        self._timer.cancel()


async def send(
    stream: UpstreamStream,
    request: AppRequest,
    connections: Collection[UpstreamConnection],
    error_answers: ErrorAnswers,
) -> ResponseHead | UpstreamFailure:
    """The final head that `stream` brings, or how it failed; then it is closed. Sends before it waits for anything.

    `connections` are its pool's, whose `response_header_timeout` is the latest.
    """
    sink, sweeper = _HeadSink(request.head, stream, error_answers), _Sweeper(connections, error_answers)
    try:
        stream.send_request(sink, request.head, request.host, request.added, request.request_id)
        stream.flush()
        head = await sink.head
        if isinstance(head, ResponseHead) and head.framing is AS_TUNNEL:
            await _close_websocket(stream, sink)
        return head
    finally:
        sweeper.close()
        stream.close()


async def _close_websocket(stream: UpstreamStream, sink: _HeadSink) -> None:
    """Closes a WebSocket as RFC 6455 section 7.1.1 asks, as far as the app plays along."""
    stream.send_body(_CLOSE_FRAME)
    stream.finish([])  # which flushes, and says that nothing more will come
    try:
        async with asyncio.timeout(FAREWELL):
            await sink.over.wait()
    except TimeoutError:
        return  # it will notice
