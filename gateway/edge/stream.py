"""The downstream half of the seam: what an exchange sees of the browser's side, whatever HTTP version it speaks.

Calls never block; what is sent is gathered until `flush`, so that a head and the first piece of its body leave in one
write. In the other direction the stream calls the exchange: `request_body`, `request_end`, `flush_request`,
`downstream_full`, `downstream_drained`, `downstream_lost`.
"""

from __future__ import annotations

from typing import Protocol

from gateway.edge.forwarded import Peer
from gateway.errors import GatewayError
from gateway.http.message import Fields, ResponseHead
from gateway.upstream.stream import Owner, UpstreamStream


class DownstreamStream(Owner, Protocol):
    """One request from downstream and the response to it."""

    peer: Peer
    bound: UpstreamStream | None
    """What a login has bound to this connection (`Owner`), while it is idle. Where requests share a connection, as
    HTTP/2's do, nothing is ever kept: no answer would say on whose behalf which of them is logged in."""

    def send_informational(self, head: ResponseHead, request_id: bytes) -> None:
        """A 1xx other than 101; dropped where the request's HTTP version has none."""

    def send_head(self, head: ResponseHead, request_id: bytes) -> None:
        """The final head, or a 101: then both bodies are opaque octets from here on. `request_id` goes out with it as
        X-Request-Id.
        """

    def send_body(self, data: bytes) -> None: ...

    def finish(self, trailers: Fields) -> None:
        """The response is complete (in a tunnel: upstream will send no more); implies `flush`."""

    def flush(self) -> None: ...

    def abort(self, error: GatewayError) -> None:
        """The response cannot be completed: make that visible, never a clean end."""

    def room(self) -> int:
        """Octets of response body that would leave at once."""

    def pause(self, waiting: int = 0) -> None:
        """Stop delivering request body: upstream takes no more for now, `waiting` octets of it are held there. What
        is held here comes on top of them.
        """

    def resume(self) -> None: ...

    def exchange_ended(self) -> None:
        """The exchange is over and recorded; the stream may serve the next one."""
