"""The upstream half of the seam: what an exchange sees of the sandbox's side, whatever HTTP version it speaks.

An exchange drives an `UpstreamStream` and is told what comes back through `ResponseSink`. Calls never block: what is
written is gathered until `flush`, so that a head and the first piece of its body leave in one write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.errors import GatewayError
from gateway.http.message import Fields, RequestHead, ResponseHead, Section

if TYPE_CHECKING:
    from gateway.upstream.inquiry import Doubt
    from gateway.upstream.pool import Key


class ResponseSink(Protocol):
    """What an exchange is told. After `response_end` or `upstream_failed` nothing more is said."""

    def informational(self, head: ResponseHead) -> None:
        """A 1xx other than 101 came."""

    def response_head(self, head: ResponseHead) -> None:
        """The final head (or a 101: then both bodies are opaque octets until one side closes)."""

    def response_body(self, data: bytes) -> None: ...

    def response_end(self, trailers: Fields) -> None:
        """The response is complete."""

    def response_room(self) -> int:
        """Octets of response body that would leave at once, none of them having to wait for their reader."""

    def flush_response(self) -> None:
        """Everything that one read brought has been delivered: write it out."""

    def upstream_full(self, waiting: int) -> None:
        """The upstream does not take more request body for now: `waiting` octets have not left yet."""

    def upstream_drained(self) -> None: ...

    def upstream_failed(self, error: GatewayError) -> None:
        """The upstream is gone; it has closed itself."""


class Owner(Protocol):
    """A connection from downstream to which a login has bound an upstream connection: that serves nobody else."""

    def keep(self, upstream: UpstreamStream) -> bool:
        """Takes `upstream`, which is idle, for the next request; False: there is none, or it may be another's."""

    def bound_lost(self) -> None:
        """What was bound has ended or is about to, and the login with it."""


class UpstreamStream(Protocol):
    """One request to a sandbox and its response."""

    key: Key
    owner: Owner | None
    """Whose alone it is; None: the next one's."""
    challenged: bool
    """Whether the app has asked for a login there: a connection that only its owner has spoken of has none to lose."""

    reused: bool
    """Whether the connection served another request before: only then may a lost request be replayed."""
    heard: bool
    """Whether any octet of a response to this request has come; what cannot be one is left over from the last."""

    def send_request(
        self, sink: ResponseSink, head: RequestHead, host: bytes, added: Section, request_id: bytes
    ) -> None:
        """Begins a request: `host` is the Host field's value; `head`'s fields, then `added`, then X-Request-Id.

        One without a body is complete with it; otherwise `finish` follows.
        """

    def send_body(self, data: bytes) -> None: ...

    def finish(self, trailers: Fields) -> None:
        """The request is complete; in a tunnel, downstream will send no more."""

    def flush(self) -> None: ...

    def room(self) -> int:
        """Octets of request body that would leave at once."""

    def pause(self) -> None:
        """Stop delivering response body: downstream does not take more for now."""

    def resume(self) -> None: ...

    def doubt(self, error: GatewayError) -> Doubt | None:
        """What should be asked of the app before `error`, by which this connection has failed, is told."""

    def is_alive(self) -> bool:
        """Whether an idle connection still is what it seems."""

    def release(self) -> None:
        """The exchange is over: to its owner or back to the pool if everything was complete and clean, else closed."""

    def close(self) -> None: ...
