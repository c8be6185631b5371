"""A span for each exchange, as OpenTelemetry has them: which trace it is part of, decided when it begins.

Knows ids and who exports, not how: without `otel.endpoint` nothing of OpenTelemetry is even imported. An exchange
that is sampled is the app's parent: the `traceparent` it is sent names our span. One that is not passes on what came.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Protocol

from gateway.http.message import plain_line

if TYPE_CHECKING:
    from gateway.http.message import RequestHead
    from gateway.http.trace_context import TraceParent
    from gateway.observe.access_log import AccessRecord


class Span:
    """Of one exchange. Ids are lower-case hexadecimal digits."""

    __slots__ = ("parent_id", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str, parent_id: str) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        """Empty: the trace begins here."""

    def __repr__(self) -> str:
        return f"<Span {self.trace_id} {self.span_id} in {self.parent_id or 'nothing'}>"

    def sent_with(self, head: RequestHead) -> RequestHead:
        """`head` as the app is to get it: part of this span."""
        section, parent = head.section, f"00-{self.trace_id}-{self.span_id}-01".encode()
        # What is said of a trace that is not gone on with, or cannot be read, goes (W3C Trace Context, section 4.3).
        gone = (b"traceparent",) if self.parent_id else (b"traceparent", b"tracestate")
        lines = [line for line in section.field_lines if line.pair[0].lower() not in gone]
        return head.with_section(section.with_lines([*lines, plain_line(b"traceparent", parent)]))


class SpanLog(Protocol):
    """Where spans go that have ended."""

    @property
    def dropped(self) -> int:
        """Those that nobody took."""

    def ended(self, span: Span, record: AccessRecord) -> None: ...

    def close(self) -> None:
        """The last ones have a moment to be taken. Waits, so not for the event loop."""


class Spans:
    """One per worker."""

    def __init__(self, ratio: float, log: SpanLog) -> None:
        self._ratio = ratio
        self._random = Random()  # noqa: S311 - not the module's own, which all workers have inherited in one state
        self.log = log

    def begin(self, parent: TraceParent | None, *, trusted: bool) -> Span | None:
        """None: not sampled. The word of a trusted proxy goes; anybody else could have all of his sampled."""
        random = self._random
        sampled = parent.sampled if trusted and parent is not None else random.random() < self._ratio
        if not sampled:
            return None
        span_id = f"{random.getrandbits(64) or 1:016x}"
        if parent is None:
            return Span(f"{random.getrandbits(128) or 1:032x}", span_id, "")
        return Span(parent.trace_id, span_id, parent.parent_id)
