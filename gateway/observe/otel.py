"""Spans to an OpenTelemetry collector, over OTLP and HTTP: the only module that knows OpenTelemetry's SDK.

A thread makes and sends them, a batch at a time, from a queue that has an end: what a collector does not take is
dropped and counted, and no request waits. Names are those of OpenTelemetry's semantic conventions for HTTP servers
(stable since 1.23), the gateway's own begin with `gateway.`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

import gateway
from gateway.counting import counted
from gateway.http.validate import COMMON_METHODS
from gateway.observe.access_log import AccessRecord
from gateway.observe.spans import Span

MAX_WAITING = 4096
"""Spans in the queue, about 4 MiB: ten seconds without a collector at 400 sampled requests a second."""
BATCH = 512
INTERVAL = 1.0
"""Seconds between two batches, unless one is full."""
MAX_ANSWER = 64 * 1024
"""Octets of a collector's answer; it says hardly anything."""
TIMEOUT = 5.0
"""Seconds in which a collector has to take a batch, tries included."""
LAST_WORDS = 3.0
"""Seconds for what is left when the worker ends."""
SAID_EVERY = 60.0
"""Seconds between two lines about lost ones, at least."""

_METHODS = frozenset(method.decode() for method in COMMON_METHODS)

log = logging.getLogger("gateway.otel")


class _Session(requests.Session):
    """Whoever answers at the endpoint chooses neither where spans go nor how much of an answer is read."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        response = super().send(request, **{**options, "stream": True, "allow_redirects": False})
        began, content = time.monotonic(), b""
        try:
            while len(content) <= MAX_ANSWER and time.monotonic() < began + TIMEOUT:
                piece = (
                    response.raw.read1(MAX_ANSWER) if hasattr(response.raw, "read1") else response.raw.read(MAX_ANSWER)
                )
                if not piece:
                    break
                content += piece
            else:
                response.status_code = 502  # not an answer of a collector
        finally:
            response.close()
        response._content = content
        return response


class OtlpSpanLog:
    """See above; `ended` is the event loop's, all else the thread's."""

    def __init__(self, endpoint: str) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # a line for each batch that fails: we tell
        self._resource = Resource.create({"service.name": "sandbox-gateway", "service.version": gateway.__version__})
        self._exporter: SpanExporter = OTLPSpanExporter(endpoint, timeout=TIMEOUT, session=_Session())
        self._waiting: deque[tuple[Span, AccessRecord]] = deque()  # appended and taken from either end at once
        self._full = 0  # dropped for want of room
        self._refused = 0  # by the collector
        self._exporting = 0  # under way
        self._silent_until = 0.0
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        return self._full + self._refused

    def ended(self, span: Span, record: AccessRecord) -> None:
        waiting = self._waiting
        if len(waiting) >= MAX_WAITING:
            self._full += 1
            return
        waiting.append((span, record))
        if len(waiting) == BATCH:
            self._wake.set()

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        self._thread.join(LAST_WORDS)
        self._exporter.shutdown()
        self._full += len(self._waiting) + (self._exporting if self._thread.is_alive() else 0)
        if self.dropped:
            log.error("%s dropped: the collector did not take them", counted(self.dropped, "span"))

    # --- in the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not (self._closing.is_set() and not self._waiting):
            self._wake.wait(INTERVAL)
            self._wake.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                self._exporting = len(batch)
                self._export(batch)
                self._exporting = 0

    def _export(self, batch: list[tuple[Span, AccessRecord]]) -> None:
        try:
            spans = [as_span(span, record, self._resource) for span, record in batch]
            taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:
            log.exception("a batch of spans could not be made or sent")
            taken = False
        if not taken:
            self._refused += len(batch)
            now = time.monotonic()
            if now >= self._silent_until:
                self._silent_until = now + SAID_EVERY
                lost = counted(len(batch), "span")
                log.error("the collector at otel.endpoint has not taken %s; requests go on", lost)


def as_span(span: Span, record: AccessRecord, resource: Resource) -> ReadableSpan:
    """What OpenTelemetry's conventions say of the exchange that `record` is about."""
    trace_id = int(span.trace_id, 16)
    context = SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    parent = SpanContext(trace_id, int(span.parent_id, 16), is_remote=True) if span.parent_id else None
    end = int(record.time * 1e3) * 1_000_000
    known = record.method in _METHODS
    failed = record.status >= 500 or bool(record.reason)
    return ReadableSpan(
        record.method if known else "HTTP",
        context=context,
        parent=parent,
        resource=resource,
        attributes=dict(_attributes(record, known=known)),
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR, record.detail or None) if failed else Status(StatusCode.UNSET),
        start_time=end - int(record.duration_ms * 1e6),
        end_time=end,
    )


def _attributes(record: AccessRecord, *, known: bool) -> list[tuple[str, str | int | float | bool]]:
    name, _, port = record.host.rpartition(":")
    if not name or port.endswith("]"):  # no port
        name, port = record.host, ""
    found: list[tuple[str, str | int | float | bool]] = [
        ("http.request.method", record.method if known else "_OTHER"),
        ("http.request.method_original", "" if known else record.method),
        ("http.response.status_code", record.status),
        ("http.request.size", record.head_received + record.received),
        ("http.request.body.size", record.received),
        ("http.response.body.size", record.sent),
        ("url.scheme", "https" if record.tls else "http"),
        ("url.path", record.path),
        ("server.address", name),
        ("server.port", int(port) if port.isdigit() else 0),
        ("client.address", record.remote),
        ("network.protocol.name", "http"),
        ("network.protocol.version", record.protocol.partition("/")[2]),
        ("tls.protocol.version", record.tls.removeprefix("TLSv")),
        ("user_agent.original", record.user_agent),
        ("error.type", record.reason or (str(record.status) if record.status >= 500 else "")),
        ("gateway.request_id", record.request_id),
        ("gateway.sandbox", record.sandbox),
        ("gateway.port", record.port),
        ("gateway.target", record.target),
        ("gateway.first_byte_ms", record.first_byte_ms),
        ("gateway.dial_ms", record.dial_ms or 0.0),
        ("gateway.upgraded", record.upgraded),
    ]
    return [(key, value) for key, value in found if value or key.endswith("body.size")]
