"""The downstream half of the seam: what an exchange sees of the browser's side, whatever HTTP version it speaks.

Calls never block; what is sent is gathered until `flush`, so that a head and the first piece of its body leave in one
write. In the other direction the stream tells the exchange through `RequestSink`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from mypy_extensions import trait

from gateway.upstream.stream import Owner

if TYPE_CHECKING:
    from gateway.edge.forwarded import Peer
    from gateway.errors import GatewayError
    from gateway.http.message import Fields, ResponseHead
    from gateway.upstream.stream import UpstreamStream


@trait
class RequestSink:
    """What a downstream stream tells an exchange, which has got the head of its request when it was made."""

    __slots__ = ()

    @property
    def behind(self) -> RequestSink:
        """Who it passes everything on to, if that is all it does (`gateway dev` looks on so); else itself."""
        return self

    @abstractmethod
    def begin(self) -> None:
        """Send the request on its way, at once if that needs no waiting."""

    @abstractmethod
    def request_body(self, data: bytes) -> None:
        """Content of the request, or octets of a tunnel."""

    @abstractmethod
    def request_end(self, trailers: Fields) -> None:
        """The request is complete; in a tunnel, downstream will send no more."""

    @abstractmethod
    def request_room(self) -> int:
        """Octets of request body that would leave at once."""

    @abstractmethod
    def flush_request(self) -> None:
        """Everything that one read brought has been delivered: write it out."""

    @abstractmethod
    def downstream_full(self) -> None:
        """Downstream does not take more of the response for now."""

    @abstractmethod
    def downstream_drained(self) -> None: ...

    @abstractmethod
    def downstream_lost(self, detail: str) -> None:
        """Nobody is there to answer any more."""

    def age(self) -> float:
        """Seconds since the request has come, as far as is known."""
        return 0.0

    @abstractmethod
    def fail(self, error: GatewayError) -> None:
        """Ends the exchange with `error`: a problem if nothing was sent yet, a visible truncation otherwise."""


@trait
class DownstreamStream(Owner):
    """One request from downstream and the response to it."""

    __slots__ = tuple[str, ...]()  # (see turns.WideReading)

    peer: Peer
    head_sent: int
    """Octets of the final head of the last answer; 0 before there was one."""
    bound: UpstreamStream | None
    """What a login has bound to this connection (`Owner`), while it is idle. Where requests share a connection, as
    HTTP/2's do, nothing is ever kept: no answer would say on whose behalf which of them is logged in."""

    @abstractmethod
    def send_informational(self, head: ResponseHead, request_id: bytes) -> None:
        """An interim answer; dropped where the request's HTTP version has none."""

    @abstractmethod
    def send_head(self, head: ResponseHead, request_id: bytes) -> None:
        """The final head; where it grants a tunnel, both bodies are opaque octets from here on. `request_id` goes out
        with it as X-Request-Id.
        """

    @abstractmethod
    def send_body(self, data: bytes) -> None: ...

    @abstractmethod
    def finish(self, trailers: Fields) -> None:
        """The response is complete (in a tunnel: upstream will send no more); implies `flush`."""

    @abstractmethod
    def flush(self) -> None: ...

    @abstractmethod
    def abort(self, error: GatewayError) -> None:
        """The response cannot be completed: make that visible, never a clean end."""

    @abstractmethod
    def room(self) -> int:
        """Octets of response body that would leave at once."""

    @abstractmethod
    def pause(self, waiting: int = 0) -> None:
        """Stop delivering request body: upstream takes no more for now, `waiting` octets of it are held there. What
        is held here comes on top of them.
        """

    @abstractmethod
    def resume(self) -> None: ...

    @abstractmethod
    def redirect(self, sink: RequestSink) -> None:
        """`sink` takes the place of who is told of this request."""

    @abstractmethod
    def is_quiet(self) -> bool:
        """Whether nothing has come that was not delivered, as far as can be seen from here."""

    @abstractmethod
    def exchange_ended(self) -> None:
        """The exchange is over and recorded; the stream may serve the next one."""
