"""Which exchange becomes a span, what its app is told, and what a collector gets of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

from gateway.http.hop import OF_REQUEST
from gateway.http.message import RequestHead
from gateway.http.trace_context import TraceParent
from gateway.http.validate import request_section
from gateway.observe import otel
from gateway.observe.access_log import AccessRecord
from gateway.observe.spans import Span, Spans
from tests.support.field_lines import judged

TRACE, PARENT, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "1122334455667788"


def spans(ratio: float) -> Spans:
    log: Any = None
    return Spans(ratio, log)


@pytest.mark.parametrize("parent", [None, TraceParent(TRACE, PARENT, True), TraceParent(TRACE, PARENT, False)])
@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_trusted_parent_decides_else_the_ratio(parent: TraceParent | None, trusted: bool, ratio: float) -> None:
    span = spans(ratio).begin(parent, trusted=trusted)
    wanted = parent.sampled if trusted and parent else ratio == 1.0
    assert (span is not None) == wanted
    if span is not None:
        assert (len(span.trace_id), len(span.span_id)) == (32, 16)
        assert (span.parent_id, span.trace_id == TRACE) == ((PARENT, True) if parent else ("", False))


def test_workers_that_were_forked_from_one_process_have_ids_of_their_own() -> None:
    random.seed(1)
    first = spans(1.0).begin(None, trusted=False)
    random.seed(1)
    second = spans(1.0).begin(None, trusted=False)
    assert first is not None and second is not None
    assert first.trace_id != second.trace_id


def test_some_are_sampled() -> None:
    some = spans(0.5)
    count = sum(some.begin(None, trusted=False) is not None for _ in range(1000))
    assert 350 < count < 650


def test_the_app_is_told_once_and_the_head_stays_as_it_is() -> None:
    fields = [(b"Host", b"x"), (b"TraceParent", b"old"), (b"tracestate", b"a=b"), (b"User-Agent", b"u")]
    section, _ = request_section(OF_REQUEST[1], judged(fields))
    head = RequestHead(b"GET", b"/", "HTTP/1.1", section)
    told = f"00-{TRACE}-{SPAN}-01".encode()
    begun = Span(TRACE, SPAN, "").sent_with(head)
    assert begun.fields == [(b"User-Agent", b"u"), (b"traceparent", told)], "what was said of another trace goes"
    sent = Span(TRACE, SPAN, "00f067aa0ba902b7").sent_with(head)
    assert sent.fields == [(b"tracestate", b"a=b"), (b"User-Agent", b"u"), (b"traceparent", told)]
    assert b"traceparent: " + told in sent.section.lines
    assert (sent.section.user_agent, sent.section.authority) == ("u", b"x")
    assert (b"TraceParent", b"old") in head.fields


@pytest.mark.parametrize("fields", [[], [(b"A", b"1"), (b"B", b"2")]])
def test_a_head_that_names_no_trace_gets_one_field_more(fields: list[tuple[bytes, bytes]]) -> None:
    section, _ = request_section(OF_REQUEST[1], judged([(b"Host", b"x"), *fields]))
    sent = Span(TRACE, SPAN, "").sent_with(RequestHead(b"GET", b"/", "HTTP/1.1", section))
    assert sent.fields == [*fields, (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())]
    assert sent.section.lines == b"".join(b"%b: %b\r\n" % field for field in sent.fields)
    assert section.fields == fields


def record(**known: Any) -> AccessRecord:
    ordinary: dict[str, Any] = {
        "time": 1000.5, "request_id": "r", "remote": "::1", "method": "GET", "host": "5000-a.example.dev:8443",
        "path": "/", "protocol": "HTTP/1.1", "status": 200, "duration_ms": 500.0, "first_byte_ms": 1.0, "received": 0,
        "sent": 2,
    }  # fmt: skip
    return AccessRecord(**{**ordinary, **known})


def made(**known: Any) -> Any:
    return otel.as_span(Span(TRACE, SPAN, PARENT), record(**known), Resource.get_empty())


def test_a_span_ends_when_the_exchange_has() -> None:
    span = made()
    assert (span.start_time, span.end_time) == (1_000_000_000_000, 1_000_500_000_000)
    assert span.attributes["server.address"] == "5000-a.example.dev"
    assert span.attributes["server.port"] == 8443
    assert span.attributes["http.request.body.size"] == 0
    assert "error.type" not in span.attributes
    assert "tls.protocol.version" not in span.attributes


def test_a_method_that_nobody_knows_is_no_name() -> None:
    span = made(method="PROPFIND")
    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "PROPFIND"


@pytest.mark.parametrize(
    ("known", "error"),
    [
        ({"status": 404}, None),
        ({"status": 500}, "500"),
        ({"status": 502, "reason": "connection_refused"}, "connection_refused"),
        ({"status": 499, "reason": "downstream_closed"}, "downstream_closed"),
    ],
)
def test_what_failed_is_an_error(known: dict[str, Any], error: str | None) -> None:
    span = made(**known)
    assert span.attributes.get("error.type") == error
    assert span.status.is_ok is (error is None)


def test_tls_makes_it_https() -> None:
    span = made(tls="TLSv1.3")
    assert span.attributes["url.scheme"] == "https"
    assert span.attributes["tls.protocol.version"] == "1.3"


def test_a_queue_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel.OtlpSpanLog, "_run", lambda log: None)
    monkeypatch.setattr(otel, "MAX_WAITING", 3)
    log = otel.OtlpSpanLog("http://127.0.0.1:1/v1/traces")
    for _ in range(5):
        log.ended(Span(TRACE, SPAN, ""), record())
    assert log.dropped == 2
    log.close()
    assert log.dropped == 5
