"""What an app is asked: a GET as a browser would send it through the gateway, and a WebSocket handshake.

Both go out over the gateway's own upstream connection, so that what this module hears is what an exchange would hear.
Only the head of an answer is waited for.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from dataclasses import dataclass

from gateway.errors import Failure, GatewayError
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import Fields, RequestHead, ResponseHead, Section
from gateway.upstream.connection import Http1Upstream

USER_AGENT = "gateway-explain"

SWEEP = 0.05
"""Seconds between two looks at a deadline."""
FAREWELL = 0.5
"""Seconds an app gets to answer a WebSocket's Close; most servers log an error when they never see one."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""
_CLOSE_FRAME = b"\x88\x80\x00\x00\x00\x00"
"""RFC 6455 section 5.5.1: FIN and opcode 8, no payload, masked (with zeros) as a client's frames must be."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request ready to be sent: `host` is the Host field's value, `added` what the edge adds."""

    head: RequestHead
    host: bytes
    added: Section
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
    # SHA-1 is the protocol's, which proves with it that the answer is no accident.
    due = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return _request(path, authority, fields, limits), due


def _request(path: str, authority: str, fields: list[str], limits: HeadLimits) -> RequestHead:
    lines = [f"GET {path} HTTP/1.1", f"Host: {authority}", f"User-Agent: {USER_AGENT}", *fields, "", ""]
    return parse_request_head("\r\n".join(lines).encode(), limits)


class _Ear:
    """A `ResponseSink` that is interested in the final head, and in when it is all over."""

    def __init__(self) -> None:
        self.head: asyncio.Future[ResponseHead | Failure] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()

    def informational(self, head: ResponseHead) -> None: ...

    def response_head(self, head: ResponseHead) -> None:
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

    def upstream_failed(self, error: GatewayError) -> None:
        self.over.set()
        if not self.head.done():
            self.head.set_result(error.failure())


class _Sweeper:
    """Keeps a connection's deadlines as the edge's sweeper does; a connection knows them, but has no timer."""

    def __init__(self, connection: Http1Upstream) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._timer = self._loop.call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(SWEEP, self._sweep)
        now = self._loop.time()
        if self._connection.deadline <= now:
            self._connection.expire(now)

    def close(self) -> None:
        self._timer.cancel()


async def ask(connection: Http1Upstream, question: Question) -> ResponseHead:
    """The final head that `connection` brings, which is closed then. Sends before it waits for anything.

    Raises GatewayError as the connection reports it, at its pool's `timeouts.response_header` at the latest.
    """
    ear, sweeper = _Ear(), _Sweeper(connection)
    try:
        connection.send_request(ear, question.head, question.host, question.added, question.request_id)
        connection.flush()
        head = await ear.head
        if isinstance(head, Failure):
            raise head.error()
        if head.status == 101:
            await _say_goodbye(connection, ear)
        return head
    finally:
        sweeper.close()
        connection.close()


async def _say_goodbye(connection: Http1Upstream, ear: _Ear) -> None:
    """Closes a WebSocket as RFC 6455 section 7.1.1 asks, as far as the app plays along."""
    connection.send_body(_CLOSE_FRAME)
    connection.finish([])  # which flushes, and says that nothing more will come
    try:
        async with asyncio.timeout(FAREWELL):
            await ear.over.wait()
    except TimeoutError:
        return  # it will notice
