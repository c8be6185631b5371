"""Accepting: from a listening socket to a downstream connection.

Sockets are accepted here and not by the event loop's server, so that limits apply before anything is allocated for a
connection, and a process out of descriptors pauses instead of spinning.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import ssl
from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from gateway import descriptors, errnos
from gateway.addresses import Bound, bound_to
from gateway.edge.connection import DownstreamConnection
from gateway.edge.forwarded import Peer
from gateway.edge.handshake_metrics import count_failed_handshake, count_handshake
from gateway.edge.http1 import Http1Downstream
from gateway.edge.http2 import Http2Downstream
from gateway.edge.local_reply import LocalReply, plain_on_tls, reply
from gateway.edge.proxy_header import AwaitedProxyHeader, refuse
from gateway.edge.stream import RequestSink
from gateway.edge.tls_transport import TlsTransport
from gateway.edge.unheard import Unheard
from gateway.errors import GatewayError, Reason
from gateway.http.forwarding import Address, normalized
from gateway.http.proxy_protocol import ProxyHeader
from gateway.socket_options import keep_alive, no_delay, refuse_new

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.transport import StreamProtocol, StreamTransport

log = logging.getLogger("gateway.edge")

ACCEPTS_PER_TURN = 32
"""Connections accepted in one turn of the event loop, by all listeners of a worker together, before established ones
get theirs: 3 ms, and 6 more in the next turn if each asks at once."""
MAX_IDLE_CLOSED = 16
"""Idle connections to apps closed at a time when there is no descriptor to accept with."""
LOG_INTERVAL = 60.0
"""Seconds between two log lines about new connections that wait."""
EXHAUSTED_PAUSE = 1.0
"""Seconds without accepting after the process ran out of descriptors (EMFILE), so that the loop does not spin."""


class Listener:
    """One listening socket. `tls` is None for a plain listener; `local_reply` answers every request."""

    def __init__(
        self, edge: Edge, sock: socket.socket, tls: ssl.SSLContext | None, local_reply: LocalReply | None = None
    ) -> None:
        self.edge = edge
        self._socket = sock
        self._tls = tls
        self._local_reply = local_reply
        self._awaits_header = edge.settings.edge.proxy_protocol == "require"
        self._trusted_proxies = edge.settings.edge.trusted_proxies
        sock.setblocking(False)
        # Inherited by every accepted socket.
        no_delay(sock)
        keep_alive(sock, edge.timeouts.tcp_keepalive)
        edge.loop.add_reader(sock, self._accept)
        edge.listeners += 1
        self._accepting = True  # until closed
        self._paused = False  # for want of descriptors; resumes by itself
        self._out_of_descriptors = False  # connections are queued that could not be accepted
        self._logged = -LOG_INTERVAL  # when it was logged last that new connections wait
        self.port: int = sock.getsockname()[1]

    def refuse_new(self) -> None:
        """As `socket_options.refuse_new`."""
        refuse_new(self._socket)

    @property
    def awaits_room(self) -> bool:
        """Whether connections are queued for which there are no descriptors."""
        return self._accepting and self._out_of_descriptors

    def finish(self) -> bool:
        """Accepts what is queued, some in each call, then closes. False: there may be more, or was no room."""
        if (self._accepting and not self._paused and self._accept()) or self.awaits_room:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Stops accepting. What is queued is lost, unless another process holds the socket too."""
        if self._accepting:
            self._accepting = False
            self.edge.listeners -= 1
            self.edge.loop.remove_reader(self._socket)
            self._socket.close()

    def _accept(self) -> bool:
        """Accepts what is queued, up to this listener's part of `ACCEPTS_PER_TURN`; whether there may be more."""
        if not self.edge.limits.has_room:
            self._out_of_descriptors = _is_readable(self._socket)
            if self._out_of_descriptors:
                self._await_room()
            return False
        return self._accept_queued()

    def _accept_queued(self) -> bool:
        for _ in range(max(ACCEPTS_PER_TURN // self.edge.listeners, 1)):
            try:
                connection, address = self._socket.accept()
            except BlockingIOError:
                self._out_of_descriptors = False
                return False
            except OSError as error:
                if error.errno in errnos.EXHAUSTED:
                    self._out_of_descriptors = True
                    if not self.edge.give_up(MAX_IDLE_CLOSED):
                        self._pause(error)
                    return False  # what is queued wakes us again in the next turn, when descriptors are free
                if error.errno in errnos.LISTENER_GONE:
                    if not self.edge.draining:  # draining, the supervisor has shut it down
                        log.error("not accepting any more: %s", error.strerror)
                    self.close()
                    return False
                continue  # this connection died in the queue (ECONNABORTED and others)
            self._accepted(connection, normalized(address[0]))
            if not self.edge.limits.has_room:
                break
        return True

    def _await_room(self) -> None:
        """New connections wait in the kernel's queue until there is room."""
        edge = self.edge
        edge.counters.waits_for_descriptors += 1
        if edge.clock() >= self._logged + LOG_INTERVAL:
            self._logged = edge.clock()
            inside, limit = edge.connections, descriptors.limit()
            why = f"{inside} are open, and each may need {descriptors.PER_CONNECTION} of {limit} file descriptors"
            log.error("new connections wait until others end: %s", why)
        edge.loop.remove_reader(self._socket)
        self._paused = True
        edge.limits.await_room(self)

    def accept_again(self) -> None:
        """There is room again; see `Acceptor`."""
        self._resume()
        if self._accepting:
            self._accept()

    def _pause(self, error: OSError) -> None:
        edge, loop = self.edge, self.edge.loop
        edge.counters.waits_for_descriptors += 1
        edge.accepting_paused.happened(error.strerror)
        loop.remove_reader(self._socket)
        loop.call_later(EXHAUSTED_PAUSE, self._resume)
        self._paused = True

    def _resume(self) -> None:
        self._paused = False
        if self._accepting:
            self.edge.loop.add_reader(self._socket, self._accept)

    def _accepted(self, connection: socket.socket, address: Address) -> None:
        edge = self.edge
        if self._awaits_header and not any(address in network for network in self._trusted_proxies):
            refuse(edge, f"{address} is not in edge.trusted_proxies")
            connection.close()
            return
        if not edge.admit(address):
            connection.close()
            return
        connection.setblocking(False)
        if self._awaits_header:
            AwaitedProxyHeader(edge, connection, address, self._introduced)
        else:
            self._serve(connection, address)

    def _introduced(self, connection: socket.socket, address: Address, header: ProxyHeader) -> None:
        """A balancer has said by `header` whose connection it is."""
        edge, client = self.edge, header.source or address
        if header.source is not None and not edge.limits.readmit(address, client):
            connection.close()
            edge.dismiss(address)
            return
        self._serve(connection, client, header)

    def _serve(self, connection: socket.socket, address: Address, header: ProxyHeader | None = None) -> None:
        edge = self.edge
        accepted: _AcceptedConnection
        protocol: StreamProtocol
        if self._tls is None:
            accepted = _AcceptedConnection(edge, address, header)
            if header is not None and header.over_tls:  # whoever came by https is not redirected there
                protocol = accepted.plain_downstream(b"https", None)
            else:
                protocol = accepted.plain_downstream(b"http", self._local_reply)
        else:
            accepted = handshake = _TlsHandshake(edge, address, header, self._tls, self._local_reply)
            protocol = handshake.transport
        edge.tasks.spawn(_attach(accepted, connection, protocol), "accept")


def _is_readable(sock: socket.socket) -> bool:
    """Whether a connection is queued on a listening socket."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


async def _attach(accepted: _AcceptedConnection, connection: socket.socket, protocol: StreamProtocol) -> None:
    """Hands the socket to the event loop, which owns it from then on."""
    try:
        await accepted.edge.loop.connect_accepted_socket(lambda: cast("asyncio.BaseProtocol", protocol), connection)
    except BaseException:
        connection.close()
        accepted.release()
        raise


class _AcceptedConnection:
    """Counted by `Edge.admit` for `address`, which is the client's if a PROXY `header` has named one; `release` counts
    it out, once.
    """

    __slots__ = ("_address", "_counted", "_header", "edge")

    def __init__(self, edge: Edge, address: Address, header: ProxyHeader | None) -> None:
        self.edge = edge
        self._address = address
        self._header = header
        self._counted = True

    def release(self) -> None:
        if self._counted:
            self._counted = False
            self.edge.dismiss(self._address)

    def plain_downstream(self, scheme: bytes, local_reply: LocalReply | None) -> Http1Downstream:
        """What speaks HTTP on this connection without TLS, and calls `release` at its end; HTTP/2 by prior knowledge,
        too, which begins with a request line of its own (RFC 9113 section 3.4).
        """
        settings = self.edge.settings.edge
        other = partial(Http2Downstream, self.edge) if settings.http2 else None
        return Http1Downstream(self.edge, self.peer(scheme), self.release, local_reply, other)

    def peer(self, scheme: bytes) -> Peer:
        """The client, or a proxy that is believed."""
        header, trusted_proxies = self._header, self.edge.settings.edge.trusted_proxies
        if header is not None and header.source is None:
            trusted_proxies = ()  # the balancer does not know its client, who may claim what he likes
        return Peer(self._address, scheme, trusted_proxies, header)


class _TlsHandshake(_AcceptedConnection, Unheard):
    """A connection on a TLS port until its handshake is done: the transport's `HandshakeHandler`, and the queue's
    `Handshake`.
    """

    __slots__ = ("_due", "_failure", "_local_reply", "buffered", "deadline", "queued", "transport")

    def __init__(
        self,
        edge: Edge,
        address: Address,
        header: ProxyHeader | None,
        tls: ssl.SSLContext,
        local_reply: LocalReply | None,
    ) -> None:
        super().__init__(edge, address, header)
        self._local_reply = local_reply
        self.transport = TlsTransport(tls, edge.tls_buffers, self)
        self._failure: str | None = ""  # why this side ends it; None: for no fault of the other's
        self.queued = False  # these two are the `HandshakeQueue`'s
        self.buffered = 0
        self._await(edge.timeouts.handshake)
        edge.downstreams.add(self)

    def __repr__(self) -> str:
        return f"<TlsHandshake {self._address} {self.transport!r}>"

    # --- gateway.edge.handshakes.Handshake -----------------------------------------------------------------------

    @property
    def source(self) -> Hashable:
        source = self.edge.limits.source(self._address)
        return self if source is None else source  # a balancer's connections are queued one by one

    @property
    def has_begun(self) -> bool:
        return self.transport.has_begun

    def shake_hands(self) -> bool:
        return self.transport.shake_hands()

    # --- HandshakeHandler ----------------------------------------------------------------------------------------

    def handshake_received(self, octets: int) -> bool:
        edge = self.edge
        if edge.handshakes.submit(self, octets):
            return True
        edge.limits.no_handshake_room(self._address)
        self._failure = "limit"
        return False

    def handshake_completed(self) -> DownstreamConnection:
        edge = self.edge
        edge.downstreams.discard(self)
        tls = self.transport.get_extra_info("ssl_object")
        count_handshake(edge.cells, tls.version(), tls.session_reused)
        peer = self.peer(b"https")
        peer.tls = tls.version() or ""
        # RFC 9113 section 3.2: over TLS, HTTP/2 is what ALPN has chosen, and nothing else is.
        speaks = Http2Downstream if tls.selected_alpn_protocol() == "h2" else Http1Downstream
        return speaks(edge, peer, self.release, self._local_reply)

    def plain_http_received(self, tcp: StreamTransport, octets: bytes) -> None:
        edge = self.edge
        edge.downstreams.discard(self)
        edge.counters.plain_http_on_tls += 1
        edge.plain_http_on_tls.happened(self._address)
        downstream = Http1Downstream(
            edge, self.peer(b"http"), self.release, edge.answer_to_plain_on_tls or plain_on_tls
        )
        tcp.set_protocol(downstream)
        downstream.connection_made(tcp)
        downstream.data_received(octets)

    def handshake_failed(self, error: Exception | None) -> None:
        edge = self.edge
        # The daily noise of a public port: scanners, old TLS, a certificate the other side does not trust.
        if self._failure is not None:
            count_failed_handshake(edge.cells, error, self._failure)
        log.debug("handshake with %s failed: %s", self._address, error or "the connection was closed")
        if isinstance(error, GatewayError) and error.reason is Reason.UNEXPECTED_PROXY_HEADER:
            # A balancer that is configured to send it: nothing gets through, so it has to be found.
            reply(edge, self.peer(b"https"), None, error)
            edge.counters.proxy_headers_unexpected += 1
            edge.proxy_headers_unexpected.happened(self._address)
        self.release()

    def release(self) -> None:
        self.edge.downstreams.discard(self)
        super().release()

    # --- for the sweeper and the drain ---------------------------------------------------------------------------

    def end_if_dead(self, patience: float) -> None:
        """A handshake has a deadline of its own."""

    def sinks(self) -> Iterable[RequestSink]:
        return ()

    def close(self) -> None:
        self._failure = None
        self.transport.abort()

    # --- Unheard -------------------------------------------------------------------------------------------------

    def _socket(self) -> socket.socket | None:
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        return sock

    def _was_silent(self) -> bool:
        return self.transport.is_silent

    def _too_late(self) -> None:
        self._failure = "timeout"
        self.transport.abort()


def own_listeners(sockets: Sequence[socket.socket]) -> tuple[Bound, ...]:
    """What `sockets` listen on."""
    return tuple([bound_to(*sock.getsockname()[:2]) for sock in sockets])
