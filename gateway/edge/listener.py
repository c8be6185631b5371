"""Accepting: from a listening socket to a downstream connection.

Sockets are accepted here and not by the event loop's server, because what a connection speaks must be looked at
before TLS begins, without consuming it: a ClientHello goes to OpenSSL whole, anything else on a TLS port gets an
answer that says so. Limits apply before anything is allocated for a connection.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Sequence
from ipaddress import IPv6Address
from math import inf
from typing import TYPE_CHECKING

from gateway.edge.forwarded import Address, Peer, normalized
from gateway.edge.http1 import Http1Downstream
from gateway.edge.refusal import Refusal, plain_on_tls

if TYPE_CHECKING:
    from gateway.edge.edge import Edge

log = logging.getLogger("gateway.edge")

ACCEPTS_PER_TURN = 64
"""Connections accepted per wake-up before established ones get their turn."""
SHUTDOWN_BACKSTOP = 3600.0
"""Seconds; the transport's own limit on a TLS close. It would cut off a slow reader's last octets, so it is out of
the way, and the connection's deadline decides (`Http1Downstream.expire`)."""
EXHAUSTED_PAUSE = 1.0
"""Seconds without accepting after the process ran out of descriptors (HARDENING: EMFILE)."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_TLS_HANDSHAKE = 0x16
"""First octet of a ClientHello record (RFC 8446 section 5.1)."""


class Listener:
    """One listening socket. `tls` is None for a plain listener; `refusal` answers every request of this listener."""

    def __init__(
        self, edge: Edge, sock: socket.socket, tls: ssl.SSLContext | None, refusal: Refusal | None = None
    ) -> None:
        self.edge = edge
        self._socket = sock
        self._tls = tls
        self._refusal = refusal
        sock.setblocking(False)
        # Inherited by every accepted socket.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        edge.loop.add_reader(sock, self._accept)
        self._accepting = True

    def close(self) -> None:
        """Takes what is queued already, then accepts no more. The socket stays its owner's to close."""
        if self._accepting:
            while self._accept():
                pass
            self._accepting = False
            self.edge.loop.remove_reader(self._socket)

    def _accept(self) -> bool:
        """Accepts what is queued, up to `ACCEPTS_PER_TURN`; whether there may be more."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, address = self._socket.accept()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return False
                continue  # the connection died in the queue (ECONNABORTED and kin); the next one may live
            self._welcome(connection, normalized(address[0]))
        return True

    def _pause(self, error: OSError) -> None:
        log.error("not accepting for %g s: %s", EXHAUSTED_PAUSE, error.strerror)
        loop = self.edge.loop
        loop.remove_reader(self._socket)
        loop.call_later(EXHAUSTED_PAUSE, self._resume)

    def _resume(self) -> None:
        if self._accepting:
            self.edge.loop.add_reader(self._socket, self._accept)

    def _welcome(self, connection: socket.socket, address: Address) -> None:
        if not self.edge.admit(address):
            connection.close()
            return
        connection.setblocking(False)
        newcomer = _Newcomer(self.edge, connection, address)
        if self._tls is None:
            self.serve(newcomer, None, self._refusal)
        else:
            _Greeting(self, newcomer).look()

    def serve_tls(self, newcomer: _Newcomer) -> None:
        """A ClientHello waits in the socket."""
        self.serve(newcomer, self._tls, self._refusal)

    def serve(self, newcomer: _Newcomer, tls: ssl.SSLContext | None, refusal: Refusal | None) -> None:
        """Hands the socket to a downstream connection, which owns it from then on."""
        peer = Peer(newcomer.address, b"http" if tls is None else b"https", self.edge.settings.edge.trusted_proxies)
        downstream = Http1Downstream(self.edge, peer, newcomer.gone, refusal)
        self.edge.tasks.spawn(self._connect(newcomer, downstream, tls), f"accept {peer.text}")

    async def _connect(self, newcomer: _Newcomer, downstream: Http1Downstream, tls: ssl.SSLContext | None) -> None:
        timeouts = self.edge.settings.timeouts
        try:
            await self.edge.loop.connect_accepted_socket(
                lambda: downstream,
                newcomer.connection,
                ssl=tls,
                ssl_handshake_timeout=timeouts.handshake if tls else None,
                ssl_shutdown_timeout=SHUTDOWN_BACKSTOP if tls else None,
            )
        except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors
            # The daily noise of a public port: scanners, old TLS, a certificate the other side does not trust.
            log.debug("handshake with %s failed: %s", newcomer.address, error)
            newcomer.turn_away()
        except BaseException:
            newcomer.turn_away()
            raise


class _Newcomer:
    """An accepted socket, counted in; `gone` counts it out, once."""

    __slots__ = ("_counted", "_edge", "address", "connection")

    def __init__(self, edge: Edge, connection: socket.socket, address: Address) -> None:
        self._edge = edge
        self.connection = connection
        self.address = address
        self._counted = True

    def gone(self) -> None:
        if self._counted:
            self._counted = False
            self._edge.dismiss(self.address)

    def turn_away(self) -> None:
        self.connection.close()
        self.gone()


class _Greeting:
    """A connection to a TLS port whose first octet has not come yet."""

    __slots__ = ("_edge", "_listener", "_newcomer", "deadline")

    def __init__(self, listener: Listener, newcomer: _Newcomer) -> None:
        self._listener = listener
        self._newcomer = newcomer
        self._edge = edge = listener.edge
        self.deadline = edge.clock() + edge.settings.timeouts.handshake

    def look(self) -> None:
        """Decides if the first octet is there already, as it usually is; waits for it otherwise."""
        if not self._decide():
            self._edge.downstreams.add(self)
            self._edge.loop.add_reader(self._newcomer.connection, self._readable)

    def _readable(self) -> None:
        if self._decide():
            self._forget()

    def _decide(self) -> bool:
        newcomer = self._newcomer
        try:
            first = newcomer.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            first = b""
        if not first:
            newcomer.turn_away()
        elif first[0] == _TLS_HANDSHAKE:
            self._listener.serve_tls(newcomer)
        else:
            self._listener.serve(newcomer, None, plain_on_tls)
        return True

    def _forget(self) -> None:
        self._edge.loop.remove_reader(self._newcomer.connection)
        self._edge.downstreams.discard(self)
        self.deadline = inf

    def expire(self, now: float) -> None:
        self.close()

    def drain(self) -> None:
        self.close()

    def close(self) -> None:
        self._forget()
        self._newcomer.turn_away()


OwnListeners = tuple[tuple[IPv6Address | None, int], ...]
"""(address or None for every local one, port), as `AddressPolicy` wants them."""


def own_listeners(sockets: Sequence[socket.socket]) -> OwnListeners:
    """What `sockets` listen on; IPv4 is left out, since nothing is dialed there."""
    own: list[tuple[IPv6Address | None, int]] = []
    for sock in sockets:
        host, port = sock.getsockname()[:2]
        if sock.family == socket.AF_INET6:
            address = IPv6Address(host)
            own.append((None if address.is_unspecified else address, port))
    return tuple(own)
