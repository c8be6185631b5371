"""The admin's listening socket: how many may be connected, and how long each may take.

aiohttp reads and answers; here is what it leaves open. Whose turn it is decides. While it is ours (an examination, a
write) a connection is left alone: handlers have time limits of their own. While it is the client's (a head or a body
that is not complete, an answer that is not taken, silence) it has a deadline, and before it a connection ends when
somebody else needs its place: who has been awaited longest goes first. So no number of unfinished heads keeps a health
check out, and none of this asks for a token.

A connection's states, each with its deadline:

    HEAD      from the connection, or the first octet after an answer, until the head is complete
    EXCHANGE  until the answer has been made: the request's body is awaited, then it is our turn
    ANSWERED  until the answer has been taken
    IDLE      until something is asked again
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import socket
import time
from contextlib import suppress
from enum import Enum, auto
from math import inf
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway import descriptors, errnos
from gateway.admin.malformed import reason
from gateway.http import serialize
from gateway.observe.logs import OFTEN
from gateway.tasks import Tasks

HEAD_TIME = 10.0
EXCHANGE_TIME = 64.0
"""Twice what the longest examination takes (`diagnosis.explain.LONGEST`); a body has a few KiB."""
ANSWER_TIME = 30.0
"""For a page of the list, 300 KiB at most, on a line of 100 kbit/s."""
IDLE_TIME = 75.0
"""Since the last answer."""
MAX_CONNECTIONS = 1024
"""Or as many as there are descriptors for, each with one for what it asks for."""
EVICTED = 8
"""The part of all connections that goes at once to make room, so that a flood is not a search for each of its own."""
MALFORMED = b"HTTP/1.1 400 Bad Request\r\nDate: %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PAUSE = 0.1
"""Seconds without accepting, when nobody's place can be had."""
LAST_HEAD_TIME = 1.0
"""For the heads of those who had come in when the end began: a probe that crosses it is answered, not cut off."""

log = logging.getLogger("gateway.admin")


class State(Enum):
    """See above."""

    HEAD = auto()
    EXCHANGE = auto()
    ANSWERED = auto()
    IDLE = auto()


class Connection(asyncio.Protocol):
    """Passes everything on to `http`, aiohttp's side of one connection, and keeps the time."""

    __slots__ = ("_http", "_listener", "_request", "_transport", "deadline", "since", "state")

    def __init__(self, listener: AdminSite, http: asyncio.Protocol) -> None:
        self._listener = listener
        self._http = http
        self._transport: asyncio.Transport | None = None
        self._request: web.Request | None = None  # set exactly in EXCHANGE
        self._enter(State.HEAD, HEAD_TIME)

    def __repr__(self) -> str:
        return f"<Connection {self.state.name} since {self.since:.1f} until {self.deadline:.1f}>"

    def _enter(self, state: State, seconds: float) -> None:
        self.state = state
        self.since = self._listener.clock()
        self.deadline = self.since + seconds

    @property
    def awaits_client(self) -> bool:
        """Whether it is the client's turn."""
        return self._transport is not None and (self._request is None or not self._request.content.is_eof())

    def begin(self, request: web.Request) -> None:
        """A head is complete, and its handler is called."""
        self._request = request
        self._enter(State.EXCHANGE, EXCHANGE_TIME)
        self._listener.moved()

    def end(self) -> None:
        """The handler has returned; its answer is about to be written."""
        self._request = None
        self._enter(State.ANSWERED, ANSWER_TIME)

    def expire(self) -> None:
        """The deadline has passed."""
        if self.state is State.ANSWERED and self._has_taken_all():
            self._enter(State.IDLE, IDLE_TIME - ANSWER_TIME)
        else:
            self.abort()

    def _has_taken_all(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() == 0

    def abort(self) -> None:
        """Ends it at once, whatever is under way."""
        self._listener.gone(self)
        self.deadline = inf
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._http.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.state in (State.ANSWERED, State.IDLE):
            self._enter(State.HEAD, HEAD_TIME)
        try:
            self._http.data_received(data)
        except Exception as error:  # aiohttp's parser has met what nobody there has thought of, such as http://[a]@/
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        """Answers what cannot be read as aiohttp answers what it knows to be malformed."""
        transport, request = self._transport, self._request
        assert transport is not None  # octets have come
        peer = transport.get_extra_info("peername")
        why = f"{type(error).__name__}: {reason(error)}"
        log.warning("%s sent a malformed request: %s", peer[0] if peer else "somebody", why, extra=OFTEN)
        if request is not None:
            self.abort()  # another answer is under way
            return
        self._enter(State.ANSWERED, ANSWER_TIME)
        transport.write(MALFORMED % serialize.date(int(time.time())))
        transport.close()

    def eof_received(self) -> bool | None:
        return self._http.eof_received()

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.gone(self)
        self._http.connection_lost(error)


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tells a request's connection that its head is complete, and that its answer is."""
    connection = request.transport and request.transport.get_protocol()
    if not isinstance(connection, Connection):  # it has gone, or somebody else serves this application
        return await handler(request)
    connection.begin(request)
    try:
        return await handler(request)
    finally:
        connection.end()


class AdminSite(web.BaseSite):
    """One listening socket of a runner; accepts between `start` and `stop`."""

    def __init__(self, runner: web.AppRunner, sock: socket.socket) -> None:
        super().__init__(runner)
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self._socket = sock
        self._tasks = Tasks()
        self._connections: set[Connection] = set()
        self._accepting = False
        self._timer: asyncio.TimerHandle | None = None
        self._last_head: asyncio.Event | None = None  # made by `stop`

    @property
    def name(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        await super().start()
        self._socket.setblocking(False)
        self._accepting = True
        self._resume()
        self._sweep()

    async def stop(self) -> None:
        self._close()
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.ended()  # a turn of the loop; cancelled, they would close sockets that are being answered on
        self._last_head = asyncio.Event()
        self.moved()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_HEAD_TIME):
                await self._last_head.wait()  # from here on aiohttp closes whoever has asked nothing
        await super().stop()

    def gone(self, connection: Connection) -> None:
        """It has ended, or is about to."""
        self._connections.discard(connection)
        self.moved()

    def moved(self) -> None:
        """A connection's head is complete, or awaited no more."""
        if self._last_head is not None and all(each.state is not State.HEAD for each in self._connections):
            self._last_head.set()

    # --- who may come in -----------------------------------------------------------------------------------------

    def _resume(self) -> None:
        if self._accepting:
            self._loop.add_reader(self._socket, self._accept)

    def _pause(self) -> None:
        """Newcomers wait in the kernel's queue."""
        self._loop.remove_reader(self._socket)
        self._loop.call_later(PAUSE, self._resume)

    def _close(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _accept(self) -> None:
        """Accepts what is queued, or makes room for it: what is still queued calls again in the next turn."""
        most = min(MAX_CONNECTIONS, descriptors.for_downstream())
        if len(self._connections) >= most:
            self._make_room()
            return
        while len(self._connections) < most:
            try:
                sock, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in errnos.EXHAUSTED:
                    self._make_room()
                    return
                if error.errno in errnos.LISTENER_GONE:
                    log.error("the admin listener does not accept any more: %s", error.strerror)
                    self._close()
                    return
                continue  # the connection died in the queue (ECONNABORTED and kin); the next one may live
            self._welcome(sock)

    def _make_room(self) -> None:
        awaited = [connection for connection in self._connections if connection.awaits_client]
        count = max(1, len(self._connections) // EVICTED)
        for connection in heapq.nsmallest(count, awaited, key=lambda connection: connection.since):
            connection.abort()
        if not awaited:
            self._pause()

    def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        assert self._runner.server is not None
        connection = Connection(self, self._runner.server())
        self._connections.add(connection)
        self._tasks.spawn(self._attach(connection, sock), "accept")

    async def _attach(self, connection: Connection, sock: socket.socket) -> None:
        """Hands the socket to the event loop, which owns it from then on."""
        try:
            await self._loop.connect_accepted_socket(lambda: connection, sock)
        except BaseException:
            self.gone(connection)
            sock.close()
            raise

    # --- who has to go -------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(1.0, self._sweep)
        now = self.clock()
        for connection in [each for each in self._connections if each.deadline <= now]:
            try:
                connection.expire()
            except Exception:  # one connection's bug must not stop the clock of all others
                log.exception("ending %r failed", connection)
