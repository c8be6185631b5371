"""One line per exchange: what happened, to whom, how long it took.

Whoever gathers records (`telemetry`) has lines made and written for many at once, so that a busy worker spends a
microsecond and a fraction of a system call per line. A reader that stands still stops no request: see `sink`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from gateway.counting import counted
from gateway.observe.grpc_call import GrpcOutcome
from gateway.observe.sink import LogSink
from gateway.printable import printable

MAX_TEXT: Final = 256
"""Characters of any one foreign value in a line."""
NO_WORKER: Final = -1
"""In place of a worker's number, where there is one process."""
SAID_EVERY: Final = 60.0
"""Seconds between two lines about lost ones, at least."""

log: Final = logging.getLogger("gateway.access")


class ProxyInfo(msgspec.Struct, omit_defaults=True, gc=False, frozen=True):
    """What a connection's PROXY header says besides the client's address."""

    endpoint: str = ""
    """Of a cloud's private link: see `http.proxy_protocol.ProxyHeader`."""
    authority: str = ""
    """The name that the client asked the balancer for. Nothing is routed by it."""
    unique_id: str = ""
    """In hexadecimal digits, if it is none that a request id could be."""


class AccessRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One exchange, ended: the keys of a JSON line, in order. Those with a default are left out when they say nothing.

    `method`, `host` and `path` come from a head that has passed `http.validate`, so they are printable ASCII; "-"
    stands for what was never read. Sizes are octets of content. Times are cut, not rounded: `round` goes by way of
    decimal text and costs a microsecond.
    """

    time: float
    """Unix time of its end, to the millisecond."""
    request_id: str
    remote: str
    method: str
    host: str
    path: str
    """Without the query, which may carry tokens; at most `MAX_TEXT` octets."""
    protocol: str
    """`HTTP/1.1` and so on: what the request came by, or was answered in if it could not be read."""
    status: int
    """What downstream was sent; 499 if it left before anything was."""
    duration_ms: float
    first_byte_ms: float
    """From the request's head to the head of the answer; 0 if there was none."""
    received: int
    sent: int
    sandbox: str = ""
    port: int = 0
    reused: bool = False
    """Whether the upstream connection had served before."""
    dial_ms: float | None = None
    """What a new upstream connection took, waiting for its turn included, also if there was none in the end."""
    upgraded: bool = False
    reason: str = ""
    """Name of the Reason if the gateway failed it, `downstream_closed` if the other side left, else empty."""
    detail: str = ""
    """Of the reason: see `shown`."""
    stale: bool = False
    """Whether the directory did not answer, and the sandbox is where it was last known to be."""
    proxy: ProxyInfo | None = None
    target: str = ""
    """Address and port of the sandbox's that it was for, reached or not."""
    tls: str = ""
    """The version of TLS that ended here, as OpenSSL has it: `TLSv1.3`."""
    user_agent: str = ""
    trace_id: str = ""
    """Of a valid `traceparent`, which goes on as it came."""
    client_request_id: str = ""
    """The X-Request-Id of somebody who is not believed in it."""
    head_received: int = 0
    """Octets of the request's head."""
    head_sent: int = 0
    """Octets of the head of the answer."""
    worker: int = NO_WORKER
    """Its number, of the process that has served it."""


class AccessLog(Protocol):
    """Where records go."""

    @property
    def dropped(self) -> int:
        """Lines lost since the start, because nobody took them. Requests go on."""

    def write(self, records: list[AccessRecord]) -> None: ...

    def reopen(self) -> None:
        """A file has been rotated: what is written from now on goes to the new one."""

    def close(self) -> None:
        """The last words: what still waits has `sink.LAST_WORDS` seconds to be taken."""


class NoLog:
    """`log.access = false`."""

    dropped = 0

    def write(self, records: list[AccessRecord]) -> None: ...

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class LineLog:
    """Renders records with `lines` and hands them to a `LogSink`.

    `later(delay, callback)` is the event loop's `call_later`.
    """

    def __init__(
        self,
        lines: Callable[[list[AccessRecord]], bytes],
        later: Callable[[float, Callable[[], None]], object],
        sink: LogSink,
    ) -> None:
        self._lines = lines
        self._later = later
        self._sink = sink
        self._said = 0  # of `dropped`, how many somebody was told about
        self._silent_until = 0.0
        self._saying = False  # `_say` is due

    @property
    def dropped(self) -> int:
        return self._sink.dropped

    def write(self, records: list[AccessRecord]) -> None:
        sink = self._sink
        if sink.is_full:
            sink.pump()
        if sink.is_full:
            sink.drop(len(records))
        else:
            sink.write(self._lines(records))
        if sink.dropped > self._said:
            self._say_in_time()

    def reopen(self) -> None:
        self._sink.reopen()

    def close(self) -> None:
        self._sink.finish()
        self._say()

    # --- what was lost -----------------------------------------------------------------------------------------------

    def _say_in_time(self) -> None:
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + SAID_EVERY
            self._say()
        elif not self._saying:
            self._saying = True
            self._later(self._silent_until - now, self._say_again)

    def _say_again(self) -> None:
        self._saying = False
        self._sink.pump()
        self._say_in_time()

    def _say(self) -> None:
        dropped, trouble = self.dropped, self._sink.trouble
        if dropped > self._said:
            now = trouble or "written again"
            lines = counted(dropped - self._said, "line")
            log.error("access log: %s dropped, %d since the start: %s", lines, dropped, now)
            self._said = dropped


json_lines: Callable[[list[AccessRecord]], bytes] = msgspec.json.Encoder().encode_lines
"""One JSON object and a newline for each."""


def text_lines(records: list[AccessRecord], colour: bool = False) -> bytes:
    """A line for people for each."""
    return b"".join([text_line(record, colour) for record in records])


_VERSIONS: Final = {"HTTP/2": "h2", "HTTP/1.1": "h1", "HTTP/1.0": "h1.0"}
_GREEN, _CYAN, _YELLOW, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


def text_line(record: AccessRecord, colour: bool = False, call: GrpcOutcome | None = None) -> bytes:
    """A line for people: time, version of HTTP, method, status, duration, octets, where, how a `call` of gRPC has
    ended, if that is known, and why if it failed.
    """
    clock = time.strftime("%H:%M:%S", time.localtime(record.time))
    status = str(record.status)
    where = record.host + record.path
    why = f"  {record.reason}: {record.detail}" if record.reason else ""
    where += "  (stale record)" if record.stale else ""
    # A message of ours says again what `why` does.
    outcome = "" if call is None else f"  {call.text() if why else call.line()}"
    version = _VERSIONS.get(record.protocol, record.protocol)
    method = record.method
    if record.upgraded:
        method = f"{method}+ws" if len(method) < 5 else method
    if colour:
        means = record.status if call is None else call.like
        tint = (_PLAIN, _CYAN, _GREEN, _CYAN, _YELLOW, _RED)[means // 100 if means < 600 else 0]
        status = f"{tint}{status}{_PLAIN}"
        clock = f"{_DIM}{clock}{_PLAIN}"
        why = f"{tint}{why}{_PLAIN}" if why else ""
        outcome = f"{tint}{outcome}{_PLAIN}" if outcome else ""
    what = f"{version:<4} {method:<7} {status} {_duration(record.duration_ms):>8} {_size(record.sent):>9}"
    return f"{clock}  {what}  {where}{outcome}{why}\n".encode()


def shown(detail: str) -> str:
    """A detail as it may stand in a line. It may quote foreign octets between typographic quotation marks, and a log is
    read in terminals: no escape sequence survives, and none is long.
    """
    return printable(detail[:MAX_TEXT])


def _duration(ms: float) -> str:
    if ms < 1000:
        return f"{ms:.1f} ms"
    seconds = ms / 1000
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _size(octets: int) -> str:
    if octets < 1024:
        return f"{octets} B"
    size, units = octets / 1024, ["KiB", "MiB", "GiB"]
    while size >= 1000 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.1f} {units[0]}"
