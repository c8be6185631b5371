"""What is known of an exchange (Envoy's StreamInfo): gathered on its way, told by the access log when it has ended.

Knows what each field of a record means; nothing here decides where an exchange goes or how it ends.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from gateway.addresses import authority
from gateway.http.message import ResponseHead
from gateway.http.validate import offers
from gateway.memo import remember
from gateway.metrics import DOWNSTREAM_CLOSED
from gateway.observe.access_log import MAX_TEXT, AccessRecord, shown
from gateway.observe.telemetry import OTHER_TUNNEL, WEBSOCKET

if TYPE_CHECKING:
    from gateway.directory.sandbox import Sandbox
    from gateway.edge.stream import DownstreamStream
    from gateway.hostname import Target
    from gateway.http.forwarding import Address
    from gateway.http.message import RequestHead
    from gateway.observe.spans import Span

_time: Final = time.time
_monotonic: Final = time.monotonic
TARGETS_REMEMBERED: Final = 8192
_targets: Final[dict[tuple[str, int], str]] = {}


def kind_of_tunnel(answer: ResponseHead) -> str:
    """One of `TUNNEL_PROTOCOLS`."""
    return WEBSOCKET if offers(answer.upgrade, b"websocket") else OTHER_TUNNEL


def is_event_stream(answer: ResponseHead) -> bool:
    """Whether it lasts as long as somebody listens (server-sent events)."""
    content_type = answer.get(b"content-type") or b""
    return content_type.partition(b";")[0].strip().lower() == b"text/event-stream"


class ExchangeInfo:
    """The part of an exchange that its record is made of."""

    __slots__ = (
        "answer",
        "client",
        "dial_ms",
        "downstream",
        "first_byte",
        "received",
        "request",
        "request_id",
        "reused",
        "sandbox",
        "sent",
        "span",
        "started",
        "target",
    )

    def __init__(self, downstream: DownstreamStream, request: RequestHead) -> None:
        self.downstream = downstream
        self.request = request
        self.request_id = b""
        self.client: Address | None = None  # counted as its sender, by the word of a trusted proxy
        self.target: Target | None = None
        self.sandbox: Sandbox | None = None  # set once it is known and admitted
        self.started = _monotonic()
        self.dial_ms: float | None = None  # none was needed
        self.reused = False  # the connection to the app
        self.answer: ResponseHead | None = None  # the head that has gone downstream
        self.first_byte = 0.0  # when it did, by the clock of `started`
        self.received = 0  # octets of request content
        self.sent = 0  # octets of response content
        self.span: Span | None = None  # if it is sampled

    def record(self, was_tunnel: bool, reason: str, detail: str, worker: int) -> AccessRecord:
        """For the log, at the end. `reason` and `detail` are of what has failed, empty if nothing has."""
        head, downstream, answer, client = self.request, self.downstream, self.answer, self.client
        target, sandbox = self.target, self.sandbox
        peer, section = downstream.peer, head.section
        started, first_byte = self.started, self.first_byte
        trace = span if (span := self.span) is not None else section.trace_parent
        # By position: with keywords this line costs four times as much.
        return AccessRecord(
            int(_time() * 1e3) / 1e3,
            self.request_id.decode(),
            peer.text if client is None else str(client),
            head.method.decode(),
            section.host,
            head.target[:MAX_TEXT].partition(b"?")[0].decode(),
            head.protocol,
            DOWNSTREAM_CLOSED if answer is None else answer.status,
            int((_monotonic() - started) * 1e5) / 1e2,
            int((first_byte - started) * 1e5) / 1e2 if first_byte else 0.0,
            self.received,
            self.sent,
            target.sandbox_id if target else "",
            target.port if target else 0,
            self.reused,
            self.dial_ms,
            was_tunnel,
            reason,
            detail and shown(detail),
            sandbox is not None and sandbox.stale,
            peer.proxy,
            _reached(sandbox.origin.address, target.port) if sandbox is not None and target is not None else "",
            peer.tls,
            section.user_agent,
            trace.trace_id if trace is not None else "",
            peer.unused_request_id(head, self.request_id) if section.named else "",
            head.octets,
            downstream.head_sent if answer is not None else 0,
            worker,
        )


def _reached(address: str, port: int) -> str:
    """As a record tells it: "[fd00::5]:5000"."""
    text = _targets.get((address, port))
    if text is None:
        text = authority(address, port)
        remember(_targets, (address, port), text, TARGETS_REMEMBERED)
    return text
