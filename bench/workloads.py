"""What is measured: every workload as a row of one table.

A workload is a command that loads a running proxy and prints a `load.result.Flow`. Four kinds: wrk, which opens and
loads at once, so a short run before warms the proxy up; `staged` clients, which open first and are told when to go;
an `open loop`, which is told again for every turn; and `idle` clients, of which only what the proxy holds for them
counts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bench.peers import Proxy
from bench.processes import find
from bench.site import Site

SCRIPT = Path(__file__).resolve().parent / "load" / "load.lua"
IDLE = 5000
HTTP2_CONNECTIONS, HTTP2_STREAMS = 8, 16
OPEN_LOOP_CONNECTIONS = 64
TURN_SECONDS = 0.02
"""A hundred requests and more. The noise of the machines this was made on lasts half a second and longer."""
LONG_TURN_SECONDS = 0.1
"""Where a turn's beginning is not like the rest of it: an open loop's first requests come to a proxy that had stood
still, and the gateway dials a target that refuses eight times in 50 ms, in each turn anew."""


class Kind(Enum):
    """How a workload is run; see above."""

    WRK = "wrk"
    STAGED = "staged"
    OPEN_LOOP = "open loop"
    """Requests come as visitors do, at half of what the slower of gateway and nginx can do in `get_tls`."""
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Load:
    """What a workload's command is made from. `rate` is set for open loops only, requests per second."""

    site: Site
    proxy: Proxy
    seconds: float
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """One row."""

    name: str
    title: str
    unit: str
    """What is counted."""
    kind: Kind
    command: Callable[[Load], list[str]]
    failing: bool = False
    """Every answer is an error status, as it should be."""
    descriptors: int = 0
    """That one process must be able to open."""
    turn_seconds: float = TURN_SECONDS
    """Of load on one proxy, while the others wait."""
    http2: bool = False
    """Only for who speaks it."""


def wrk(load: Load, *arguments: str, connections: int = 32, tls: bool = True, path: str = "/") -> list[str]:
    """A wrk command with load.lua; `arguments` are the script's."""
    port = load.proxy.tls_port if tls else load.proxy.plain_port
    return [
        find("wrk") or "wrk",
        *("--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(load.seconds))}s"),
        *("--timeout", "60s", "--latency", "--script", str(SCRIPT)),
        f"{'https' if tls else 'http'}://127.0.0.1:{port}{path}",
        *("--", *arguments),
    ]


def client(load: Load, module: str, *arguments: str) -> list[str]:
    """A command of one of our own clients."""
    return [
        *(sys.executable, "-m", f"bench.load.{module}", "--port", str(load.proxy.tls_port)),
        *("--host", load.site.host, "--seconds", str(load.seconds), *arguments),
    ]


def _get(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.host}", "unlike=both")


def _get_same(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.host}")


def _get_requests(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.host}", "unlike=requests")


def _get_answers(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.host}", "unlike=answers")


def _get_plain(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.host}", "unlike=both", tls=False)


def _post_1k(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.host}", "body=1024")


def _response_16k(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.host}", path="/16k")


def _response_1m(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.host}", path="/1m", connections=8)


def _upload_1m(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.host}", f"body={1024 * 1024}", connections=8)


def _mixed(load: Load) -> list[str]:
    return wrk(load, f"hosts={','.join(load.site.mixed_hosts)}", connections=64)


def _refused(load: Load) -> list[str]:
    return wrk(load, f"host={load.site.refused_host}")


def _new_connection(load: Load) -> list[str]:
    return client(load, "new_connections", "--connections", "16")


def _resumed(load: Load) -> list[str]:
    return client(load, "new_connections", "--connections", "16", "--resume")


def _websocket_32(load: Load) -> list[str]:
    return client(load, "websocket", "--size", "32")


def _websocket_64k(load: Load) -> list[str]:
    return client(load, "websocket", "--size", str(64 * 1024))


def _half_load(load: Load) -> list[str]:
    return client(load, "steady", "--connections", str(OPEN_LOOP_CONNECTIONS), "--rate", str(load.rate))


def _idle_tls(load: Load) -> list[str]:
    return client(load, "idle", "--connections", str(IDLE))


def _idle_websocket(load: Load) -> list[str]:
    hosts = ",".join(load.site.mixed_hosts)
    return client(load, "idle", "--connections", str(IDLE), "--websocket", "--hosts", hosts)


def http2(load: Load, *arguments: str, streams: int = HTTP2_STREAMS) -> list[str]:
    """A command of the HTTP/2 client."""
    return client(load, "http2", "--connections", str(HTTP2_CONNECTIONS), "--streams", str(streams), *arguments)


def _http2_get(load: Load) -> list[str]:
    return http2(load, "--unlike")


def _http2_get_same(load: Load) -> list[str]:
    return http2(load)


def _http2_response_1m(load: Load) -> list[str]:
    return http2(load, "--path", "/1m", "--answer", str(1024 * 1024), streams=1)


def _http2_upload_1m(load: Load) -> list[str]:
    return http2(load, "--body", str(1024 * 1024), streams=1)


def _http2_mixed(load: Load) -> list[str]:
    return http2(load, "--mixed", "--hosts", ",".join(load.site.mixed_hosts))


def _http2_grpc(load: Load) -> list[str]:
    return http2(load, "--grpc")


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("get_tls", "small GET, TLS, all heads differ", "request", Kind.WRK, _get),
        Workload("get_same", "small GET, TLS, one head", "request", Kind.WRK, _get_same),
        Workload("get_requests", "small GET, TLS, requests differ", "request", Kind.WRK, _get_requests),
        Workload("get_answers", "small GET, TLS, answers differ", "request", Kind.WRK, _get_answers),
        Workload("get_plain", "small GET, plain, all heads differ", "request", Kind.WRK, _get_plain),
        Workload("post_1k", "POST 1 KiB, TLS", "request", Kind.WRK, _post_1k),
        Workload("resp_16k", "16 KiB response, TLS", "request", Kind.WRK, _response_16k),
        Workload("resp_1m", "1 MiB response, TLS", "request", Kind.WRK, _response_1m),
        Workload("upload_1m", "1 MiB upload, TLS", "request", Kind.WRK, _upload_1m),
        Workload("mixed_200", "mixed traffic, 200 sandboxes", "request", Kind.WRK, _mixed),
        Workload(
            "refused", "refused target", "request", Kind.WRK, _refused, failing=True, turn_seconds=LONG_TURN_SECONDS
        ),
        Workload("new_conn", "new TLS connection", "connection", Kind.STAGED, _new_connection),
        Workload("new_conn_resumed", "new TLS connection, resumed", "connection", Kind.STAGED, _resumed),
        Workload("ws_32", "WebSocket echo 32 B", "echo", Kind.STAGED, _websocket_32),
        Workload("ws_64k", "WebSocket echo 64 KiB", "echo", Kind.STAGED, _websocket_64k),
        Workload(
            "half_load_p99",
            "small GET at half load",
            "request",
            Kind.OPEN_LOOP,
            _half_load,
            turn_seconds=LONG_TURN_SECONDS,
        ),
        Workload("h2_get", "small GET, HTTP/2, all heads differ", "request", Kind.STAGED, _http2_get, http2=True),
        Workload("h2_get_same", "small GET, HTTP/2, one head", "request", Kind.STAGED, _http2_get_same, http2=True),
        Workload("h2_resp_1m", "1 MiB response, HTTP/2", "request", Kind.STAGED, _http2_response_1m, http2=True),
        Workload("h2_upload_1m", "1 MiB upload, HTTP/2", "request", Kind.STAGED, _http2_upload_1m, http2=True),
        Workload("h2_mixed", "mixed traffic, HTTP/2", "request", Kind.STAGED, _http2_mixed, http2=True),
        Workload("h2_grpc", "gRPC unary call", "call", Kind.STAGED, _http2_grpc, http2=True),
        Workload("idle_tls", "idle TLS connection", "connection", Kind.IDLE, _idle_tls, descriptors=IDLE + 200),
        Workload("idle_ws", "idle WebSocket", "connection", Kind.IDLE, _idle_websocket, descriptors=2 * IDLE + 200),
    )
}
"""In the order in which they are run and shown; `half_load_p99` needs `get_tls` before it."""
