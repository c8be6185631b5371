"""A connection until its PROXY header is there: read off the socket, octet by octet if it must be, and not one more.

What follows the header stays in the kernel, for the TLS or HTTP that speaks next: an event loop's transport would have
taken it along. Nothing is left unread of the header, so an unfinished one wakes nobody. A connection counts as the
balancer's meanwhile, is as short-lived as `HEADER_TIME` says, and costs no task.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gateway.edge.stream import RequestSink
from gateway.edge.unheard import Unheard
from gateway.http.forwarding import Address
from gateway.http.proxy_protocol import MAX_V2, ProxyHeader, ProxyHeaderError, ProxyHeaderReader

if TYPE_CHECKING:
    from gateway.edge.edge import Edge

HEADER_TIME = 3.0
"""Seconds from accept to the whole header, which balancers send with their first segment (nginx 30 s in its
stream module; HAProxy's `timeout client`; Envoy 15 s by its listener's filters)."""


class AwaitedProxyHeader(Unheard):
    """`proceed(connection, header)` is called once it is there, and owns the socket from then on."""

    __slots__ = ("_address", "_connection", "_due", "_proceed", "_reader", "deadline", "edge")

    def __init__(
        self,
        edge: Edge,
        connection: socket.socket,
        address: Address,
        proceed: Callable[[socket.socket, Address, ProxyHeader], None],
    ) -> None:
        """`connection` does not block and was admitted for `address`, a trusted proxy's."""
        self.edge = edge
        self._connection = connection
        self._address = address
        self._proceed = proceed
        self._reader = ProxyHeaderReader()
        self._await(HEADER_TIME)
        edge.downstreams.add(self)
        edge.loop.add_reader(connection, self._read)

    def __repr__(self) -> str:
        return f"<AwaitedProxyHeader {self._address} read={self._reader.count}>"

    def _read(self) -> None:
        reader = self._reader
        try:
            while reader.header is None:
                ahead = self._connection.recv(MAX_V2, socket.MSG_PEEK)
                if not ahead:
                    self._end(f"{self._address} closed within its header" if reader.count else "")
                    return
                self._connection.recv(reader.look(ahead))
        except BlockingIOError:
            return
        except OSError:
            self._end("")  # a check of the balancer's, or it is gone
            return
        except ProxyHeaderError as error:
            self._end(f"{self._address}: {error}")
            return
        self._forget()
        self._proceed(self._connection, self._address, reader.header)

    def _forget(self) -> None:
        self.edge.loop.remove_reader(self._connection)
        self.edge.downstreams.discard(self)

    def _end(self, why: str) -> None:
        """`why` it is refused; empty: it was not, it just ended."""
        self._forget()
        self._connection.close()
        if why:
            refuse(self.edge, why)
        self.edge.dismiss(self._address)

    # --- Downstream ----------------------------------------------------------------------------------------------

    def end_if_dead(self, patience: float) -> None:
        """It has a deadline of its own."""

    def sinks(self) -> Iterable[RequestSink]:
        return ()

    def close(self) -> None:
        self._end("")

    # --- Unheard -------------------------------------------------------------------------------------------------

    def _socket(self) -> socket.socket | None:
        return self._connection

    def _was_silent(self) -> bool:
        return not self._reader.count

    def _too_late(self) -> None:
        self._end(f"{self._address} sent no whole header within {HEADER_TIME:g} s")


def refuse(edge: Edge, why: str) -> None:
    """Counts a connection that is closed for want of a header."""
    edge.counters.proxy_headers_refused += 1
    edge.proxy_headers_refused.happened(why)
