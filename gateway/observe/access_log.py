"""One line per exchange, batched: what happened, to whom, how long it took.

`record` only appends; lines are made and written together a moment later (`FLUSH_DELAY`), so that a busy worker
spends 0.3 µs and a fraction of a system call per line. The query part of a target is not logged: it carries tokens.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

FLUSH_DELAY = 0.1
"""Seconds between an exchange's end and its line, at most."""
MAX_BATCH = 512
"""Lines gathered before they are written at once."""
MAX_TEXT = 256
"""Characters of any one foreign value in a line."""


log = logging.getLogger("gateway.access")


class AccessRecord(msgspec.Struct, gc=False):
    """One exchange, ended. Durations are in seconds, sizes in octets of content."""

    time: float
    """Unix time of its end."""
    request_id: str
    remote: str
    method: bytes
    host: bytes
    target: bytes
    status: int
    """What downstream was sent; 499 if it left before anything was."""
    reason: str = ""
    """Name of the Reason if the gateway failed it, `downstream_closed` if the other side left, else empty."""
    detail: str = ""
    duration: float = 0.0
    received: int = 0
    sent: int = 0
    sandbox: str = ""
    port: int = 0
    reused: bool = False
    """Whether the upstream connection had served before."""
    upgraded: bool = False


class AccessLog(Protocol):
    """Where records go."""

    def record(self, record: AccessRecord) -> None: ...

    def flush(self) -> None:
        """Writes what is gathered, now."""


class NoLog:
    """`log.access = false`."""

    def record(self, record: AccessRecord) -> None: ...

    def flush(self) -> None: ...


class LineLog:
    """Renders records with `line` and writes them to a file descriptor, in batches.

    `later(delay, callback)` is the event loop's `call_later`.
    """

    def __init__(
        self,
        line: Callable[[AccessRecord], bytes],
        later: Callable[[float, Callable[[], None]], object],
        descriptor: int = 1,
    ) -> None:
        self._line = line
        self._later = later
        self._descriptor = descriptor
        self._gathered: list[AccessRecord] = []
        self.lost = 0
        """Lines not written since it last worked (a full disk, a closed pipe). Requests go on."""

    def record(self, record: AccessRecord) -> None:
        gathered = self._gathered
        gathered.append(record)
        if len(gathered) == 1:
            self._later(FLUSH_DELAY, self.flush)
        elif len(gathered) >= MAX_BATCH:
            self.flush()

    def flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        data = memoryview(b"".join(map(self._line, gathered)))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            if not self.lost:
                log.error("access log: %s; lines are lost until it works again", error.strerror)
            self.lost += len(gathered)
        else:
            if self.lost:
                log.warning("access log: works again, %d lines were lost", self.lost)
            self.lost = 0


_encode = msgspec.json.Encoder().encode


class _JsonLine(msgspec.Struct, omit_defaults=True, gc=False):
    """A line's keys, in order; those with a default are left out when they have nothing to say."""

    time: float
    request_id: str
    remote: str
    method: str
    host: str
    path: str
    status: int
    duration_ms: float
    received: int
    sent: int
    sandbox: str = ""
    port: int = 0
    reused: bool = False
    upgraded: bool = False
    reason: str = ""
    detail: str = ""


def json_line(record: AccessRecord) -> bytes:
    """One JSON object and a newline.

    JSON escapes ASCII's control characters only, and U+009B begins a terminal's sequence too: foreign octets are ASCII.
    Times are cut, not rounded: `round` goes by way of decimal text and costs a microsecond.
    """
    line = _JsonLine(
        int(record.time * 1e3) / 1e3,
        record.request_id,
        record.remote,
        record.method[:MAX_TEXT].decode("ascii", "backslashreplace"),
        record.host[:MAX_TEXT].decode("ascii", "backslashreplace"),
        record.target.partition(b"?")[0][:MAX_TEXT].decode("ascii", "backslashreplace"),
        record.status,
        int(record.duration * 1e5) / 1e2,
        record.received,
        record.sent,
        record.sandbox,
        record.port,
        record.reused,
        record.upgraded,
        record.reason,
        record.detail and _shown(record.detail),
    )
    return _encode(line) + b"\n"


_GREEN, _CYAN, _YELLOW, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


def text_line(record: AccessRecord, colour: bool = False) -> bytes:
    """A line for people: time, method, status, duration, octets, where, and why if it failed."""
    clock = time.strftime("%H:%M:%S", time.localtime(record.time))
    status = str(record.status)
    where = f"{_printable(record.host)}{_printable(record.target.partition(b'?')[0])}"
    why = f"  {record.reason}: {_shown(record.detail)}" if record.reason else ""
    method = _printable(record.method)
    if record.upgraded:
        method = f"{method}+ws" if len(method) < 5 else method
    if colour:
        tint = (_PLAIN, _CYAN, _GREEN, _CYAN, _YELLOW, _RED)[record.status // 100 if record.status < 600 else 0]
        status = f"{tint}{status}{_PLAIN}"
        clock = f"{_DIM}{clock}{_PLAIN}"
        why = f"{tint}{why}{_PLAIN}" if why else ""
    return (
        f"{clock}  {method:<7} {status} {_duration(record.duration):>8} {_size(record.sent):>9}  {where}{why}\n"
    ).encode()


def _printable(octets: bytes) -> str:
    """Foreign octets for a terminal: no escape sequence survives."""
    return "".join(char if " " <= char <= "~" else "·" for char in octets[:MAX_TEXT].decode("latin-1"))


def _shown(text: str) -> str:
    """A detail, for a terminal too; it may quote foreign octets between typographic quotation marks."""
    return "".join(char if char.isprintable() else "·" for char in text[:MAX_TEXT])


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _size(octets: int) -> str:
    if octets < 1024:
        return f"{octets} B"
    size, units = octets / 1024, ["KiB", "MiB", "GiB"]
    while size >= 1000 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.1f} {units[0]}"
