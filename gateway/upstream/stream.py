"""The upstream half of the seam: what an exchange sees of the sandbox's side, whatever HTTP version it speaks.

A pool holds an `UpstreamConnection`, which opens an `UpstreamStream` for each exchange: over HTTP/1.1 one after the
other, over HTTP/2 many at a time. The exchange drives the stream and is told what comes back through `ResponseSink`.
Calls never block: what is written is gathered until `flush`, so that a head and the first piece of its body leave in
one write.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mypy_extensions import trait

from gateway.errors import Failure, GatewayError, Reason
from gateway.transport import CLOSED_TRANSPORT, GatheringTransport
from gateway.wordings import LOST

if TYPE_CHECKING:
    from gateway.endpoint import AppKey, Endpoint
    from gateway.http.message import Fields, FieldSection, RequestHead, ResponseHead
    from gateway.upstream.claims import ClaimKey

_NO_ANSWER: Final = (
    Reason.CONNECTION_TERMINATED,
    Reason.HTTP_PROTOCOL_ERROR,
    Reason.UPSTREAM_SPEAKS_TLS,
    Reason.UPSTREAM_SPEAKS_HTTP2,
)
"""How it fails that a connection said nothing, or nothing that is an answer."""


@dataclass(frozen=True, slots=True)
class UpstreamFailure:
    """How a stream failed, and what that says of its request."""

    error: GatewayError
    reused: bool = False
    """The connection had served another request before."""
    answered: bool = False
    """Octets of an answer to this request have come; what cannot be one is left over from the last."""
    unprocessed: bool = False
    """The app has certainly not acted on the request (RFC 9113 section 8.7)."""
    received: bytes = b""
    """What came in place of an answer."""
    greeted: bool = False
    """The app has begun to speak the protocol in which it was asked."""

    @property
    def is_stale(self) -> bool:
        """Whether the connection may have ended, or brought the rest of its last answer, before the request came."""
        return self.reused and not self.answered and self.error.reason in _NO_ANSWER

    @property
    def is_silent(self) -> bool:
        """Whether the app has hung up on a fresh connection without a word; one that was lost is no word of its."""
        error = self.error
        ended = error.reason is Reason.CONNECTION_TERMINATED and error.wording is not LOST
        return ended and not (self.answered or self.reused or self.greeted)


@trait
class ResponseSink:
    """What an exchange is told. After `response_end` or `upstream_failed` nothing more is said."""

    __slots__ = ()

    @abstractmethod
    def informational(self, head: ResponseHead) -> None:
        """An interim answer came."""

    @abstractmethod
    def response_head(self, head: ResponseHead) -> None:
        """The final head; where it grants a tunnel, both bodies are opaque octets from here on."""

    @abstractmethod
    def response_body(self, data: bytes) -> None: ...

    @abstractmethod
    def response_end(self, trailers: Fields) -> None:
        """The response is complete; in a tunnel, upstream will send no more."""

    @abstractmethod
    def response_room(self) -> int:
        """Octets of response body that would leave at once, none of them having to wait for their reader."""

    @abstractmethod
    def flush_response(self) -> None:
        """Everything that one read brought has been delivered: write it out."""

    @abstractmethod
    def upstream_full(self, waiting: int) -> None:
        """The upstream does not take more request body for now: `waiting` octets have not left yet."""

    @abstractmethod
    def upstream_drained(self) -> None: ...

    @abstractmethod
    def upstream_failed(self, failure: UpstreamFailure) -> None:
        """The stream has failed; it has closed itself, and calls to it do nothing any more."""


@trait
class Owner:
    """A connection from downstream to which a login has bound an upstream connection: that serves nobody else."""

    __slots__ = ()

    @abstractmethod
    def keep(self, upstream: UpstreamStream) -> bool:
        """Takes `upstream`, which is idle, for the next request; False: there is none, or it may be another's."""

    @abstractmethod
    def bound_lost(self) -> None:
        """What was bound has ended or is about to, and the login with it."""


@trait
class UpstreamStream:
    """One request to a sandbox and its response."""

    __slots__ = tuple[str, ...]()  # (see turns.WideReading)

    endpoint: Endpoint
    sink: ResponseSink | None
    """Who is told, from `send_request` to the end of the exchange; may be replaced meanwhile."""
    owner: Owner | None
    """Whose alone the connection is; None: the next one's."""
    challenged: bool
    """Whether the app has asked for a login there: a connection that only its owner has spoken of has none to lose."""
    reused: bool
    """Whether the connection served another request before."""
    persists: bool
    """Whether the connection will outlive this exchange, as far as the app has said."""

    @property
    @abstractmethod
    def is_retired(self) -> bool:
        """Whether the sandbox has been replaced or removed meanwhile: its address may be another's."""

    @abstractmethod
    def early_failure(self) -> Failure | None:
        """Why the connection has ended before anything was sent; None: it has not."""

    @abstractmethod
    def send_request(
        self, sink: ResponseSink, head: RequestHead, host: bytes, added: FieldSection, request_id: bytes
    ) -> None:
        """Begins a request: `host` is the Host field's value; `head`'s fields, then `added`, then X-Request-Id.

        One without a body is complete with it; otherwise `finish` follows.
        """

    @abstractmethod
    def send_body(self, data: bytes) -> None: ...

    @abstractmethod
    def finish(self, trailers: Fields) -> None:
        """The request is complete; in a tunnel, downstream will send no more."""

    @abstractmethod
    def flush(self) -> None: ...

    @abstractmethod
    def room(self) -> int:
        """Octets of request body that would leave at once."""

    @abstractmethod
    def pause(self) -> None:
        """Stop delivering response body: downstream does not take more for now."""

    @abstractmethod
    def resume(self) -> None: ...

    @abstractmethod
    def is_alive(self) -> bool:
        """Whether an idle connection still is what it seems."""

    @abstractmethod
    def is_quiet(self) -> bool:
        """Whether nothing has come that was not delivered, as far as can be seen from here."""

    @abstractmethod
    def release(self) -> None:
        """The exchange is over: to its owner or back to the pool if everything was complete and clean, else closed."""

    @abstractmethod
    def close(self) -> None:
        """Ends the stream, and the connection if it carries no other, without a word to the sink."""


@trait
class UpstreamConnection:
    """What a pool holds: a connection to an endpoint, which serves one exchange after the other or many at a time."""

    __slots__ = tuple[str, ...]()  # (see turns.WideReading)

    endpoint: Endpoint
    key: AppKey
    """What the pool keeps it under."""
    _transport: GatheringTransport
    claim_key: ClaimKey
    is_available: bool
    """Whether it can open a stream now."""
    since: float
    """Loop time at which it became idle."""
    deadline: float
    """Loop time at which `expire` is due."""
    ends: float
    """Loop time at which `cut_off` is due, whatever is under way; without end until `retire`."""

    @abstractmethod
    def open_stream(self) -> UpstreamStream:
        """A stream for one exchange; `is_available` has said that there is one."""

    @abstractmethod
    def is_alive(self) -> bool:
        """Whether it still is what it seems; while it carries streams, it is."""

    @abstractmethod
    def rest(self, since: float, deadline: float) -> None:
        """It carries nothing, and the pool keeps it: see the two attributes."""

    @abstractmethod
    def is_claimable(self) -> bool:
        """Whether its owner has no use for it just now, and no login to lose."""

    @abstractmethod
    def awaits_first_octet(self) -> bool:
        """Whether nothing has come over it yet, ever."""

    @abstractmethod
    def retire(self, ends: float) -> None:
        """The sandbox behind it is no longer what its name means: no more requests, and an end to what is under way."""

    @abstractmethod
    def cut_off(self) -> None:
        """What was under way when it was retired is not over in time: it fails, in a way that repeats no request."""

    @abstractmethod
    def expire(self, now: float) -> None:
        """The deadline has passed."""

    @abstractmethod
    def end_if_dead(self, patience: float) -> None:
        """Ends it if nothing of what was sent has been acknowledged for `patience` seconds."""

    @abstractmethod
    def close(self) -> None:
        """Ends it without a word to whoever uses it."""

    def abandon(self) -> None:
        """As `close`, where nobody waits any more for it to be made.

        uvloop has then closed the transport and said nothing: what is gathered for it must not be written.
        """
        transport, self._transport = self._transport, CLOSED_TRANSPORT
        transport.abort()
        self.close()
