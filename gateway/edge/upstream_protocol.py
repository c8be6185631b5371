"""Which protocol a request takes to its app: HTTP/1.1, or HTTP/2 without TLS (h2c).

    a tunnel is asked for          HTTP/1.1, or a failure where the record says h2c
    the record says which          that
    it is gRPC                     h2c
    an app that was seen to speak  h2c, for `REMEMBERED` seconds
      HTTP/2 only
    anything else                  HTTP/1.1

Nobody is asked what it speaks: what it does when it is asked the wrong way says so (`upstream.evidence`), once for many
requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.app_protocol import AUTO, H2C, HTTP1, protocol_of
from gateway.errors import GatewayError, Reason
from gateway.wordings import NO_WEBSOCKET_BY_HTTP2

if TYPE_CHECKING:
    from gateway.directory.sandbox import Sandbox
    from gateway.endpoint import AppKey, Origin
    from gateway.http.message import RequestHead

REMEMBERED: Final = 60.0
"""Seconds for which an app is asked by HTTP/2 that was seen to speak nothing else; another may have taken its port."""
MAX_PORTS: Final = 64
"""Such ports of a sandbox; of more the oldest are forgotten, and none of another's."""
MAX_SANDBOXES: Final = 4096
"""Sandboxes of a worker; of more those go of which nothing was learned for the longest time."""

SPOKEN: Final = frozenset((Reason.UPSTREAM_SPEAKS_HTTP1, Reason.UPSTREAM_SPEAKS_HTTP2))
"""Reasons that say what an app speaks."""


class UpstreamProtocols:
    """One per worker. `clock` is the event loop's time."""

    __slots__ = ("_clock", "_seen")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Ports that speak HTTP/2 only, and until when that is believed; the oldest first, of both.
        self._seen: OrderedDict[Origin, dict[int, float]] = OrderedDict()

    def choose(self, head: RequestHead, sandbox: Sandbox, port: int) -> AppKey:
        """By which connections `head` may go. Raises GatewayError(upstream_speaks_http2)."""
        origin = sandbox.origin
        said = protocol_of(sandbox.protocol, port) if sandbox.protocol else AUTO
        if head.upgrade is not None:
            if said is H2C:
                detail = f"the record of {sandbox.id} says h2c for port {port}, and the request asks for a tunnel"
                raise GatewayError(Reason.UPSTREAM_SPEAKS_HTTP2, detail, wording=NO_WEBSOCKET_BY_HTTP2)
            said = HTTP1
        elif said is AUTO:
            said = H2C if head.section.grpc or self._speaks_h2c(origin, port) else HTTP1
        return (origin, port, said)

    def _speaks_h2c(self, origin: Origin, port: int) -> bool:
        ports = self._seen.get(origin)
        until = None if ports is None else ports.get(port)
        if until is None:
            return False
        if self._clock() < until:
            return True
        self._forget(origin, port)
        return False

    def _forget(self, origin: Origin, port: int) -> bool:
        """Lets go of what was seen of an app; whether there was anything."""
        ports = self._seen.get(origin)
        if ports is None or ports.pop(port, None) is None:
            return False
        if not ports:
            del self._seen[origin]
        return True

    def learn(self, reason: Reason, head: RequestHead, sandbox: Sandbox, port: int) -> bool:
        """Notes what a failure says of an app. True: `choose` will say something else for this request now."""
        if sandbox.protocol and protocol_of(sandbox.protocol, port) is not AUTO:
            return False
        origin, seen = sandbox.origin, self._seen
        known = self._forget(origin, port)  # what is learned again is the newest
        if reason is Reason.UPSTREAM_SPEAKS_HTTP1:
            return known and not head.section.grpc
        ports = seen.setdefault(origin, {})
        ports[port] = self._clock() + REMEMBERED
        seen.move_to_end(origin)
        if len(ports) > MAX_PORTS:
            del ports[next(iter(ports))]
        if len(seen) > MAX_SANDBOXES:
            seen.popitem(last=False)
        return head.upgrade is None
