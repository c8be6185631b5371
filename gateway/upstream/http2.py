"""One HTTP/2 connection to a sandbox, without TLS (h2c with prior knowledge, RFC 9113 section 3.3): many streams.

    STARTING --the app's SETTINGS--> OPEN --GOAWAY, `retire`, out of numbers--> LEAVING --the last stream--> CLOSED
       `------------------------------'------------------------------------------'--- a fault, the end ------'

Nothing is asked before the app's SETTINGS have come: who answers the preface with something else speaks no HTTP/2, and
no request was used up to learn that. From then on the connection takes as many streams as the app allows, and
`MAX_STREAMS` at most; a pool makes another when it takes no more.

The session (`http/h2`) speaks the protocol. This is its shell: reads in turns, writes, watches the time. A sandbox is
hostile: what breaks HTTP/2 ends the connection and is told to every exchange on it, floods are the session's to count.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final, cast

from gateway.app_protocol import H2C
from gateway.errnos import SILENCE, ended, is_by_the_app
from gateway.errors import Failure, GatewayError, Reason
from gateway.http.h2.errors import ErrorCode
from gateway.http.h2.frames import HEADER
from gateway.http.h2.settings import SessionLimits
from gateway.http.head_parser import quote
from gateway.metrics import BYTES
from gateway.socket_options import unanswered
from gateway.transport import CLOSED_TRANSPORT, GatheringTransport, StreamTransport
from gateway.turns import LAST_WORK, SHARE, Portions
from gateway.upstream import evidence, peek
from gateway.upstream.claims import ClaimKey
from gateway.upstream.http2_stream import Carrier, Http2UpstreamStream
from gateway.upstream.stream import UpstreamConnection, UpstreamStream
from gateway.wordings import HUNG_UP_UNASKED

if TYPE_CHECKING:
    from gateway.endpoint import Endpoint
    from gateway.http.h2.decoder import DecodedField
    from gateway.http.h2.stream import Stream
    from gateway.upstream.context import ConnectionContext

log: Final = logging.getLogger("gateway.upstream")

MAX_STREAMS: Final = 1024
"""Of one connection: what they may hold, a window each, is bounded by it."""
START_TIMEOUT: Final = 10.0
"""Seconds for the app's SETTINGS. When it acknowledges ours is its own business: they hardly differ from defaults."""
PING_TIMEOUT: Final = 10.0
"""Seconds for an answer to PING, by which a connection that was idle proves that it is alive: the app's, or else its
kernel's."""
SKIPPABLE: Final = 4
"""How many times too large the field block of an answer may be and still end its stream alone: it is decoded in the
dark, because its neighbours on the connection need that. Past it the connection ends."""

_HTTP1: Final = re.compile(rb"HTTP/[01]\.|\s*<(?:!doctype|html|head|\?xml)\b", re.IGNORECASE)
"""How HTTP/1.1's servers answer the preface: with an error, of which Python's http.server, not knowing the version,
sends the page alone."""
_RECEIVED: Final = BYTES.at("upstream", "received")


class Phase(Enum):
    """See the drawing above."""

    STARTING = auto()
    OPEN = auto()
    LEAVING = auto()  # no more streams; those under way finish
    CLOSED = auto()


STARTING: Final = Phase.STARTING
OPEN: Final = Phase.OPEN
LEAVING: Final = Phase.LEAVING
CLOSED: Final = Phase.CLOSED
"""By themselves: see `message.NO_BODY`."""


class Http2Upstream(Carrier, UpstreamConnection):
    """Made by a pool, which then awaits `started`."""

    __slots__ = (
        "_context",
        "_failure",
        "_ping_due",
        "_promised",
        "_socket",
        "_started",
        "claim_key",
        "is_available",
        "key",
        "phase",
        "since",
    )

    def __init__(self, context: ConnectionContext, endpoint: Endpoint, sock: socket.socket) -> None:
        head = context.head_limits
        limits = SessionLimits(header_list=head.head, header_fields=head.fields, block=SKIPPABLE * head.head)
        super().__init__(context.intake, limits, context.clock, is_server=False)
        self._context = context
        self.endpoint = endpoint
        self.key = endpoint.by(H2C)
        self.claim_key = ClaimKey(self.key)  # nobody waits for an idle one (claims.py): it can be asked any time
        self._socket = sock  # ours to look at (`is_alive`), the transport's to read, write and close
        self.phase = STARTING
        self.is_available = False
        self.since = 0.0  # when it became idle
        self.ends = inf  # loop time at which `cut_off` is due, whatever is under way; until `retire` there is none
        self.timeouts = context.timeouts
        self.head_limits = head
        self._promised = 0  # streams that were handed out and have sent nothing yet
        self._ping_due = inf  # loop time: a PING is not answered
        self._failure: Failure | None = None  # why it never started
        self._started: asyncio.Future[None] | None = None  # somebody waits for the app's SETTINGS

    def __repr__(self) -> str:
        return f"<Upstream http2 {self.phase.name} {self.endpoint} streams={len(self.session.streams)}>"

    @property
    def holds_frames(self) -> bool:
        return bool(self._held) or not peek.is_quiet(self._socket)

    # --- UpstreamConnection --------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Returns when the first stream can be opened. Raises GatewayError: whoever is there speaks no HTTP/2."""
        if self.phase is STARTING:
            self._started = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(patience := min(START_TIMEOUT, self.timeouts.response_header)):
                    await self._started
            except TimeoutError:
                what = "takes no requests" if self._allows_no_streams() else "sent no HTTP/2 SETTINGS"
                detail = f"the app accepted the connection, and {what} within {patience:g} s"
                self._failure = Failure(Reason.HTTP_RESPONSE_TIMEOUT, detail)
            finally:
                self._started = None
                if self.phase is STARTING:
                    self.close()
        if self.phase is LEAVING:  # the app is going away already
            self.close()
        if (failure := self.early_failure()) is not None:
            raise failure.error()

    def _allows_no_streams(self) -> bool:
        return self.session.peer.max_concurrent_streams == 0

    def early_failure(self) -> Failure | None:
        if self.phase is not CLOSED:
            return None
        if self._failure is not None:
            return self._failure
        detail = "the app closed the connection before it was asked"
        return Failure(Reason.CONNECTION_TERMINATED, detail, wording=HUNG_UP_UNASKED)

    def open_stream(self) -> UpstreamStream:
        session = self.session
        if not session.streams and not self._promised and self.since + self.timeouts.proven < self.clock():
            self._ask_whether_alive()
        self._promised += 1
        self._set_available()
        return Http2UpstreamStream(self, reused=session.last_id > 0)

    def is_alive(self) -> bool:
        if self.session.streams:
            return True
        # Octets may come at any time: PING, WINDOW_UPDATE.
        return not self._transport.is_closing() and not peek.has_ended(self._socket)

    def rest(self, since: float, deadline: float) -> None:
        self.since = since
        self.deadline = deadline

    def is_claimable(self) -> bool:
        return False

    def awaits_first_octet(self) -> bool:
        return False

    def retire(self, ends: float) -> None:
        self.ends = ends
        self._leave()

    def cut_off(self) -> None:
        if self.phase is CLOSED:
            return
        streams = self._streams
        self._say_goodbye()
        self._shut()
        self._tell(streams, Http2UpstreamStream.cut_off)

    def end_if_dead(self, patience: float) -> None:  # see `edge.dead_peers`
        if unanswered(self._socket) > patience:
            self._lost(SILENCE)

    def close(self) -> None:
        """Ends the connection without a word to the sinks; the app is told that it is on purpose."""
        if self.phase is CLOSED:
            return
        streams = self._streams
        self._say_goodbye()
        self._shut()
        for stream in streams:
            stream.close()

    def _say_goodbye(self) -> None:
        if self.phase is OPEN or self.phase is LEAVING:
            self.session.go_away(ErrorCode.NO_ERROR)

    def _tell(self, streams: list[Http2UpstreamStream], what: Callable[[Http2UpstreamStream], None]) -> None:
        """Some of them some turns later; the connection may have ended, or gone on, meanwhile."""
        Portions(self._context.intake.turns, streams, what)

    def _shut(self) -> None:
        """The transport's end. What is said already leaves, if the kernel takes it at once."""
        self.flush()
        self.phase = CLOSED
        self._is_over = True
        self.is_available = False
        self.deadline = inf
        self._held = b""
        self._transport.flush()
        self._transport.abort()
        self._context.closed(self)
        self._wake()

    # --- for its streams -----------------------------------------------------------------------------------------

    def begin(self) -> bool:
        self._promised -= 1
        if self._wide >= 0:
            self._narrow()
        return self.phase is OPEN and self.session.can_open and not self._write_full

    def stream_over(self, unused: bool) -> None:
        if unused:
            self._promised -= 1
        if self.phase is CLOSED:
            return
        self.flush()
        was_available = self.is_available
        self._set_available()
        if self.session.streams or self._promised:
            if self.is_available and not was_available:
                self._context.reopened(self)
        elif self.phase is OPEN and self.session.can_open and not self._write_full:
            self._context.released(self, True)
        else:
            self.close()

    def close_if_idle(self) -> None:
        if not self.session.streams and not self._promised:
            self.close()

    @property
    def _streams(self) -> list[Http2UpstreamStream]:
        return cast("list[Http2UpstreamStream]", [*self.session.streams.values()])

    def _set_available(self) -> None:
        session = self.session
        taken = len(session.streams) + self._promised
        most = min(MAX_STREAMS, session.peer.max_concurrent_streams)
        self.is_available = self.phase is OPEN and session.can_open and taken < most and not self._write_full

    def _ask_whether_alive(self) -> None:
        """Beside the request, not before it. An app that has moved or died without a word is found out by it."""
        self.session.ping()
        self._ping_due = self.due_in(PING_TIMEOUT)

    # --- asyncio.BufferedProtocol --------------------------------------------------------------------------------

    def connection_made(self, transport: StreamTransport) -> None:
        self._transport = GatheringTransport(transport, self._context.write_batcher)
        self._transport.set_write_buffer_limits(high=self._context.intake.may_wait)
        self.session.start()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._context.cells[_RECEIVED] += len(data)
        try:
            if self._held:
                data = self._held + data
            if self.phase is not STARTING or self._is_http2(data):
                self._process(data)
        except Exception:
            self._fault()

    def _put_off(self, data: bytes) -> bool:
        if self.phase is STARTING or self._is_over:
            return False
        self._context.cells[_RECEIVED] += len(data)
        self._held += data
        return True

    def eof_received(self) -> bool:
        self._lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self.phase is not CLOSED:
            self._read_what_is_left()
        self._lost(exc)
        self.session.over()
        self._transport = CLOSED_TRANSPORT

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_available()

    def _resumed(self) -> None:
        """Streams are told of their own."""
        was_available = self.is_available
        self._set_available()
        if self.is_available and not was_available and (self.session.streams or self._promised):
            self._context.reopened(self)

    # --- reading -------------------------------------------------------------------------------------------------

    def _read_worked_through(self, *, moved: bool) -> None:
        if self.phase is LEAVING and not self.session.streams and not self._promised:
            self.close()

    def _broken(self, code: ErrorCode, detail: str) -> None:
        self._fail(GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"in HTTP/2, {detail} ({code.name})"))

    def _fault(self) -> None:
        log.exception("reading from %r failed inside the gateway", self)
        self._fail(GatewayError(Reason.PROXY_INTERNAL_ERROR, "unexpected error, logged with a traceback"))

    def _is_http2(self, data: bytes) -> bool:
        """Whether what begins with `data` may be; if not, the connection has failed."""
        if len(data) < HEADER:  # of a frame, by which it can be told
            self._held = data
            self._unfinished = True
            return False
        error = None
        if any(phrase in data for phrase in evidence.PLAIN_HTTP_REFUSED):
            error = GatewayError(Reason.UPSTREAM_SPEAKS_TLS, f"the app answered HTTP/2 with {quote(data)}")
        elif _HTTP1.match(data):
            error = GatewayError(Reason.UPSTREAM_SPEAKS_HTTP1, f"the app answered HTTP/2 with {quote(data)}")
        else:
            unread = GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the app answered HTTP/2 with {quote(data)}")
            known = evidence.recognize(unread, data)
            if known is not unread and known.reason is not Reason.UPSTREAM_SPEAKS_HTTP2:
                error = known
        if error is not None:
            self._fail(error)
        return error is None

    def _read_what_is_left(self) -> None:
        """What was already here when writing failed: answers, and the GOAWAY that says why."""
        self._work = -LAST_WORK
        if self._held and not self._unfinished:
            self._go_on()
        for data in peek.left_in(self._socket):
            self.data_received(data)
            if self._work >= SHARE or self.phase is CLOSED:
                break

    # --- SessionOwner --------------------------------------------------------------------------------------------

    def request_received(self, stream_id: int, fields: list[DecodedField] | None, ended: bool) -> None:
        raise AssertionError("a server opens no streams")

    def settings_received(self) -> None:
        was_available = self.is_available
        if self.phase is STARTING:
            if not self.session.peer.max_concurrent_streams:
                return  # it may be about to allow some
            self.phase = OPEN
            self.since = self.clock()
            self._set_available()
            self._wake()
            return
        self._set_available()
        if self.is_available and not was_available and (self.session.streams or self._promised):
            self._context.reopened(self)
        elif not (self.session.can_open or self.session.streams or self._promised):
            self._leave()

    def ping_acknowledged(self) -> None:
        self._ping_due = inf

    def going_away(self, last_stream_id: int, code: int) -> None:
        if self.phase is STARTING:
            detail = f"the app sent GOAWAY ({ErrorCode.name_of(code)}) before it was asked"
            self._failure = Failure(Reason.CONNECTION_TERMINATED, detail, wording=HUNG_UP_UNASKED)
            self.phase = LEAVING
            self._wake()
        elif self.phase is OPEN:
            self.phase = LEAVING  # closed when this read has been worked through
            self.is_available = False

    def never_taken(self, streams: list[Stream]) -> None:
        ours = cast("list[Http2UpstreamStream]", streams)
        for stream in ours:
            stream.wait_for_the_news()
        self._tell(ours, Http2UpstreamStream.refused)

    # --- ends ----------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """No more streams; the end if there are none."""
        if self.phase is OPEN:
            self.phase = LEAVING
        self.is_available = False
        if not self.session.streams and not self._promised:
            self.close()

    def _lost(self, exc: Exception | None) -> None:
        """The sandbox closed, cleanly or not."""
        if self.phase is CLOSED:
            return
        how, by_the_app = ended(exc), is_by_the_app(exc)
        streams = self._streams
        self._shut()
        self._tell(streams, lambda stream: stream.lost(how, by_the_app))

    def _fail(self, error: GatewayError) -> None:
        """Ends the connection for what the app did, or we: every exchange on it hears that."""
        if self.phase is CLOSED:
            return
        failure = self._failure = error.failure()
        streams = self._streams
        self._shut()
        self._tell(streams, lambda stream: stream.fail(failure.error()))

    def _wake(self) -> None:
        if self._started is not None and not self._started.done():
            self._started.set_result(None)

    def _has_closed(self) -> bool:
        """A call: a stream that is told something may close it, and of an attribute mypy believes that it stays."""
        return self.phase is CLOSED

    def expire(self, now: float) -> None:
        if self._has_closed():
            return
        if now >= self._ping_due:
            if unanswered(self._socket):
                self._lost(SILENCE)
                return
            self._ping_due = now + PING_TIMEOUT  # busy: the patience for what it was asked decides
        late = [each for each in self._streams if each.deadline <= now]
        self._tell(late, lambda stream: stream.expire(now))
        if self._has_closed():
            return
        self.flush()
        streams = self._streams
        if not streams and not self._promised and now >= self.since + self.timeouts.idle:
            self.close()
            return
        idle = inf if streams or self._promised else self.since + self.timeouts.idle
        self.deadline = min(idle, self._ping_due, *[each.deadline for each in streams])
