"""`edge.health_path`: readiness for balancers and uptime probes, on the listeners that everybody uses.

They ask `GET /healthz` with an address as Host, a name of their own, or over HTTP/1.0 without any. What has a name of
ours is an app's, its `/healthz` too. So a check is looked for only where a name has turned out to be nobody's, or a
head to lack one: no other request pays for it.

Knows nothing of connections. The same readiness, for all workers and in detail, is the admin listener's `/readyz`.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import GatewayError, Reason
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.http1 import Http1RequestHead
from gateway.http.message import BY_LENGTH, FieldSection, RequestHead, ResponseHead
from gateway.observe.counters import Counters

CERTIFICATES_ASKED = 1.0
"""Seconds between two looks whether certificates are valid: anybody may ask for health, as often as they like."""

_NOBODY = b"Host: 0.0.0.0\r\n"
"""Given to a check over HTTP/1.0 that has no Host."""


class HealthChecks:
    """One per worker. `clock` is its loop's."""

    def __init__(self, path: str, counters: Counters, clock: Callable[[], float]) -> None:
        self._path = path.encode()  # empty, which no target is: none is answered
        self._counters = counters
        self._clock = clock
        self._asked = -CERTIFICATES_ASKED
        self._unserved = False
        self.stopping = False
        """Whether the gateway is about to end. A worker that makes way for its successor does not say so: the gateway
        is as ready as before."""
        self.unserved: Callable[[], list[str]] = list
        """Sentences about domains without a valid certificate, as in `/readyz`."""

    def answer(self, request: RequestHead, error: GatewayError) -> tuple[ResponseHead, bytes] | None:
        """The answer to a request that would be refused with `error`; None: it is no check."""
        if error.reason is not Reason.UNKNOWN_DOMAIN or not self._is_check(request.method, request.target):
            return None
        self._counters.health_checks += 1
        status, body = self._readiness()
        fields = [
            (b"Proxy-Status", b"gateway"),
            (b"Cache-Control", b"no-store"),
            (b"Content-Type", b"text/plain"),
            (b"Content-Length", b"%d" % len(body)),
        ]
        if request.method == b"HEAD":
            return ResponseHead(status, FieldSection.of(fields)), b""
        return ResponseHead(status, FieldSection.of(fields), BY_LENGTH, len(body)), body

    def without_host(self, block: bytes, limits: HeadLimits) -> Http1RequestHead | None:
        """The head of a check over HTTP/1.0 that lacks nothing but a Host; None: `block` is anything else."""
        line, _, fields = block.partition(b"\r\n")
        method, _, rest = line.partition(b" ")
        target, _, version = rest.partition(b" ")
        if version != b"HTTP/1.0" or not self._is_check(method, target):
            return None
        try:  # with a Host of its own it would have two, which is refused
            return parse_request_head(b"%b\r\n%b%b" % (line, _NOBODY, fields), limits)
        except GatewayError:
            return None

    def _is_check(self, method: bytes, target: bytes) -> bool:
        return method in (b"GET", b"HEAD") and target.partition(b"?")[0] == self._path

    def _readiness(self) -> tuple[int, bytes]:
        """The status, and why: in words that tell a stranger nothing."""
        if self.stopping:
            return 503, b"stopping\n"
        now = self._clock()
        if now - self._asked >= CERTIFICATES_ASKED:
            self._asked, self._unserved = now, bool(self.unserved())
        return (503, b"not ready\n") if self._unserved else (200, b"ok\n")
