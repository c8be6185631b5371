"""What every connection from downstream has, whatever it speaks: a transport, a deadline, and a way to end.

Ending is the delicate part. An answer must not be overtaken by a reset, a slow reader gets its last octets, and nobody
holds a connection open for ever: see `_linger`, `_close` and `_expire_lingering`.
"""

from __future__ import annotations

import socket
import struct
from abc import abstractmethod
from collections.abc import Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Final

from mypy_extensions import trait

from gateway.errnos import SILENCE, lost
from gateway.socket_options import broken, has_unread, unanswered
from gateway.transport import CLOSED_TRANSPORT, LINGER_OCTETS, GatheringTransport, StreamTransport, undelivered

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.edge.forwarded import Peer
    from gateway.edge.stream import RequestSink

REST: Final = 30.0
"""Seconds for which the rest of a request that was answered early is read away, as long as it comes (nginx's
lingering_time): many clients look for no answer before all of their request is written."""


@trait
class DownstreamConnection:
    """What a `ReadingConnection` is, too, that comes from downstream. The codecs declare the attributes."""

    __slots__ = tuple[str, ...]()  # (see turns.WideReading)

    _edge: Edge
    _held: bytes
    _linger_left: int
    _on_close: Callable[[], None]
    _queued: bool
    _stall: int
    _transport: GatheringTransport
    _write_full: bool
    deadline: float
    """Loop time at which `expire` is due; the sweeper looks."""
    peer: Peer

    def _begin(self, edge: Edge, peer: Peer, on_close: Callable[[], None]) -> None:
        self._edge = edge
        self.peer = peer
        self._on_close = on_close  # called once, when the connection is lost
        self._stall = 0  # octets not delivered when somebody last looked whether the reader takes any
        self._linger_left = LINGER_OCTETS

    def connection_made(self, transport: StreamTransport) -> None:
        self._transport = GatheringTransport(transport, self._edge.write_batcher)
        self._transport.set_write_buffer_limits(high=self._edge.intake.may_wait)
        self.set_deadline(self._edge.clock() + self._edge.timeouts.idle)
        self._edge.downstreams.add(self)
        if self._edge.draining:
            # It came before the listener closed, and its request may be here already: there is a moment to ask.
            self._await_first()

    @abstractmethod
    def set_deadline(self, when: float) -> None:
        """As `deadline`: a trait that sets a number of its own cannot be compiled."""

    @abstractmethod
    def bring_forward(self, when: float) -> None:
        """As `set_deadline`, if that is earlier."""

    @abstractmethod
    def data_received(self, data: bytes) -> None: ...

    @abstractmethod
    def passable(self) -> int:
        """As of `turns.WideReading`."""

    @abstractmethod
    def eof_received(self) -> bool:
        """Downstream sends no more; whether the connection stays open for what is written."""

    @abstractmethod
    def connection_lost(self, exc: Exception | None) -> None: ...

    @abstractmethod
    def pause_writing(self) -> None: ...

    @abstractmethod
    def resume_writing(self) -> None: ...

    def _await_first(self, patience: float = 0.0) -> None:
        edge = self._edge
        self.bring_forward(edge.clock() + max(edge.drain_grace, patience))

    @abstractmethod
    def expire(self, now: float) -> None:
        """The deadline has passed."""

    def end_if_dead(self, patience: float) -> None:
        """Ends the connection if nothing of what was sent has been acknowledged for `patience` seconds, or if the
        kernel has ended it while we were not reading, because an app took no more.
        """
        sock = self._transport.get_extra_info("socket")
        error = SILENCE if unanswered(sock) > patience else broken(sock)
        if error is not None:
            self._tell_lost(lost(error))
            self._transport.abort()

    @abstractmethod
    def _tell_lost(self, detail: str) -> None:
        """Whoever works for downstream hears that it is gone."""

    @abstractmethod
    def hung_up(self) -> None:
        """Nobody listens any more."""

    def is_quiet(self) -> bool:
        """Whether nothing has come that was not delivered, as far as can be seen from here."""
        return not self._held and not self._has_unread()

    def _has_unread(self) -> bool:
        """Whether anything has come that waits for its turn, or to be read at all."""
        transport = self._transport
        sock = transport.get_extra_info("socket")
        return bool(self._queued or transport.get_extra_info("ahead") or sock is None or has_unread(sock))

    @abstractmethod
    def sinks(self) -> Iterable[RequestSink]:
        """Who is told of the requests under way."""

    @abstractmethod
    def drain(self, spread: float) -> None:
        """Finish what is under way, then close; an idle one closes within `spread` seconds."""

    @abstractmethod
    def close(self) -> None:
        """Close now."""

    def _forget(self) -> None:
        """The connection is lost: the worker forgets it."""
        self.set_deadline(inf)
        self._edge.downstreams.discard(self)
        self._on_close()
        self._transport = CLOSED_TRANSPORT

    def _takes_octets(self) -> bool:
        """Whether a slow reader has taken anything since this was last asked."""
        pending = undelivered(self._transport)
        moved, self._stall = pending != self._stall, pending
        return moved

    # --- endings -------------------------------------------------------------------------------------------------

    def _begin_linger(self) -> None:
        """From here on nothing is answered."""
        self._stall = -1
        self.set_deadline(self._edge.clock() + self._edge.timeouts.linger)

    def _linger(self) -> None:
        """Closes so that the answer arrives: a reset for unread octets could overtake it (RFC 9112 section 9.6)."""
        self._begin_linger()
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()  # TLS: sends close_notify and reads on until the other side answers it

    def discarded(self, octets: int) -> None:
        """So many have come while lingering."""
        self._linger_left -= octets
        if self._linger_left < 0:
            self._transport.abort()

    def _close(self) -> None:
        """Delivers what is written, then closes."""
        self._begin_linger()
        self._transport.close()

    def _expire_lingering(self, now: float) -> None:
        """Time to go, unless the last octets are still on their way to a slow reader."""
        if self._takes_octets() and self._stall:
            self.set_deadline(now + self._edge.timeouts.body_idle)
        else:
            self._transport.abort()

    def _reset(self) -> None:
        """Ends with a TCP reset, where a clean end would be read as a clean end of the body. What came is delivered."""
        self._transport.flush()
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
