"""Spans, as a collector gets them: one for each exchange, between its visitor's and its app's, none if it is off."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.components import COMPONENTS, module, require
from tests.support.process import poll
from tests.support.serving import Serving

pytestmark = [pytest.mark.interop, pytest.mark.slow]

COMPONENTS["OpenTelemetry"] = module("opentelemetry")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Served(ThreadingHTTPServer):
    """A server on a port of its own, in a thread."""

    daemon_threads = True

    def __enter__(self) -> Served:
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()

    @property
    def port(self) -> int:
        return self.server_address[1]


class Collector(Served):
    """Takes spans over OTLP; `status` other than 200: it does not."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.status = 200
        self.answer = b""
        self.location = ""
        self.asked = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                collector.asked += 1
                if collector.status == 200:
                    for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                        collector.resources.append(attributes(resource_spans.resource))
                        for scope in resource_spans.scope_spans:
                            collector.spans.extend(scope.spans)
                self.send_response(collector.status)
                self.send_header("Content-Length", str(len(collector.answer)))
                if collector.location:
                    self.send_header("Location", collector.location)
                self.end_headers()
                with suppress(ConnectionError):
                    self.wfile.write(collector.answer)

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    require("OpenTelemetry")
    with Collector() as collector:
        yield collector


class Traced:
    """An app's server that remembers heads."""

    def __init__(self) -> None:
        traced = self
        self.heads: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                traced.heads.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None: ...

        class Six(Served):
            address_family = socket.AF_INET6

        self.server = Six(("::1", 0), Handler)


@pytest.fixture
def app() -> Iterator[Traced]:
    traced = Traced()
    with traced.server:
        yield traced


def serving(directory: Path, app: Traced, otel: str, **edge: str) -> Serving:
    gateway = Serving(directory, app.server.port, workers=1)
    config = directory / "gateway.toml"
    text = config.read_text().partition("[log]\n")[0]
    for name, value in edge.items():
        text = text.replace("[edge]\n", f"[edge]\n{name} = {value}\n", 1)
    config.write_text(f'{text}[log]\npath = "access.log"\n{otel}')
    return gateway


def ask(gateway: Serving, *fields: str, host: str = "", path: str = "/items?token=secret") -> bytes:
    with gateway.connect() as connection:
        lines = "".join(f"{field}\r\n" for field in (*fields, "Connection: close"))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host or gateway.host}\r\n{lines}\r\n".encode())
        return gateway.answer(connection)


def otel(collector: Collector, ratio: float = 1.0) -> str:
    return f'[otel]\nendpoint = "http://127.0.0.1:{collector.port}/v1/traces"\nsample_ratio = {ratio}\n'


def test_an_exchange_is_a_span_between_its_visitors_and_its_apps(
    tmp_path: Path, app: Traced, collector: Collector
) -> None:
    with serving(tmp_path, app, otel(collector)) as gateway:
        gateway.ready()
        began = time.time_ns()
        ask(gateway, f"traceparent: 00-{TRACE}-{PARENT}-00", "tracestate: a=b", "User-Agent: tester/1")
        ask(gateway, host=f"1-nobody.{gateway.host.partition('.')[2]}")
        poll(lambda: len(collector.spans) == 2, "both are exported")
    passed, failed = sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
    assert (passed.name, passed.kind) == ("GET", 2)  # a server's
    assert (passed.trace_id.hex(), passed.parent_span_id.hex()) == (TRACE, PARENT)
    [head] = app.heads
    assert head["traceparent"] == f"00-{TRACE}-{passed.span_id.hex()}-01"
    assert head["tracestate"] == "a=b"
    assert began - 2_000_000 <= passed.start_time_unix_nano <= passed.end_time_unix_nano <= time.time_ns()
    said = attributes(passed)
    assert said["http.request.method"] == "GET"
    assert said["http.response.status_code"] == 200
    assert said["url.path"] == "/items"
    assert said["url.scheme"] == "http"
    assert said["server.address"] == gateway.host
    assert said["client.address"] == "::1"
    assert said["network.protocol.version"] == "1.1"
    assert said["user_agent.original"] == "tester/1"
    assert said["http.response.body.size"] == 2
    assert "secret" not in str(collector.spans)
    assert passed.status.code == 0
    assert failed.parent_span_id == b""
    assert failed.status.code == 2
    assert attributes(failed)["error.type"] == "destination_not_found"
    assert collector.resources[0]["service.name"] == "sandbox-gateway"
    logged = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert {line["trace_id"] for line in logged} == {TRACE, failed.trace_id.hex()}


def test_a_trusted_proxy_says_what_is_sampled_and_nobody_else(
    tmp_path: Path, app: Traced, collector: Collector
) -> None:
    sampled, not_sampled = f"traceparent: 00-{TRACE}-{PARENT}-01", f"traceparent: 00-{'a' * 32}-{PARENT}-00"
    with serving(tmp_path, app, otel(collector, 0), trusted_proxies='["::1/128"]') as gateway:
        gateway.ready()
        ask(gateway, sampled)
        ask(gateway, not_sampled)
        ask(gateway)
        poll(lambda: collector.spans, "the one is exported")
    with serving(tmp_path, app, otel(collector, 0)) as gateway:
        gateway.ready()
        ask(gateway, sampled)
    [span] = collector.spans
    assert span.trace_id.hex() == TRACE
    first, second, third, untrusted = (head.get("traceparent") for head in app.heads)
    assert first == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert (f"traceparent: {second}", third, f"traceparent: {untrusted}") == (not_sampled, None, sampled)


def test_a_collector_that_takes_nothing_stops_nothing_and_is_counted(
    tmp_path: Path, app: Traced, collector: Collector
) -> None:
    collector.status = 400
    with serving(tmp_path, app, otel(collector)) as gateway:
        gateway.ready()
        for _ in range(3):
            assert ask(gateway).startswith(b"HTTP/1.1 200")
        gateway.says("the collector at otel.endpoint has not taken")
    assert "3 spans dropped: the collector did not take them" in gateway.log


def test_without_an_endpoint_nothing_of_it_is_imported(tmp_path: Path, app: Traced) -> None:
    with serving(tmp_path, app, "") as gateway:
        gateway.ready()
        ask(gateway, f"traceparent: 00-{TRACE}-{PARENT}-01")
        maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in (gateway.pid, *gateway.workers()))
    assert "google/_upb" not in maps
    assert app.heads[0]["traceparent"] == f"00-{TRACE}-{PARENT}-01"


def test_a_collector_s_answer_is_bounded_and_leads_nowhere(collector: Collector) -> None:
    """It may be anybody: what it says is not read without end, and spans go to nobody it names."""
    from gateway.observe.otel import MAX_ANSWER, _Session

    with Collector() as other, _Session() as session:
        url = f"http://127.0.0.1:{collector.port}/v1/traces"
        collector.answer = b"x" * (20 * MAX_ANSWER)
        answer = session.post(url, data=b"", headers={"Content-Encoding": "identity"}, timeout=30)
        assert answer.status_code == 502
        assert len(answer.content) <= 3 * MAX_ANSWER
        collector.answer, collector.status = b"", 307
        collector.location = f"http://127.0.0.1:{other.port}/v1/traces"
        answer = session.post(url, data=b"", headers={"Content-Encoding": "identity"}, timeout=30)
        assert answer.status_code == 307
        assert other.asked == 0
