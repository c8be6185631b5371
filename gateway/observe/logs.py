"""The operational log: what the gateway says about itself, on stderr; one line per event, JSON or text.

Whoever reads stderr may stand still as the access log's reader may: see `sink`. So nothing else may write there once
a process serves, and what Python would print by itself (warnings, exceptions nobody can catch) is logged as well.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Iterator
from types import TracebackType

import msgspec

from gateway.counting import counted
from gateway.observe.sink import PIECE, LogSink
from gateway.printable import printable_json, printable_lines

TRACEBACKS = 10
"""Of one place in the code, so many within `TRACEBACKS_WITHIN` seconds: one bug, met by every request, is one bug."""
TRACEBACKS_WITHIN = 10.0

_ROOMS = (PIECE, 1500, 700, 300)
"""Characters of a message, and of a traceback, tried until a line fits; JSON takes six octets for one at most."""

OFTEN = {"often": True}
"""`log.warning(…, extra=OFTEN)`: anybody can cause this line, so it is bounded as tracebacks are."""

log = logging.getLogger("gateway.process")


def configure(form: str, level: str) -> None:
    """Sets up the process's logging; `form` is "json" or "text", `level` a name such as "info"."""
    handler = LogHandler(LogSink(2))
    handler.addFilter(_Storms())
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    reconfigure(form, level)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def reconfigure(form: str, level: str) -> None:
    """Changes what `configure` was told; lines that wait for their reader stay as they are."""
    root = logging.getLogger()
    for handler in root.handlers:
        handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))


def open_in(loop: AbstractEventLoop) -> None:
    """From now on what waits for its reader goes on as soon as there is room; `logging.shutdown` says last words."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogHandler):
            handler.open_in(loop)


def pump() -> bool:
    """For a process without an event loop: hands over what waits; whether something still does."""
    return any(handler.pump() for handler in logging.getLogger().handlers if isinstance(handler, LogHandler))


def tell_start(text: str, keys: dict[str, object]) -> None:
    """The first line: `text`, and in JSON `keys` beside it."""
    log.info("%s", text, extra={"keys": keys})


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Lines wait until the end of this; those that only inform are left out if it fails, whose sentence then stands
    alone.
    """
    root = logging.getLogger()
    handlers, held = root.handlers[:], _Held()
    root.handlers[:] = [held]
    try:
        yield
    except BaseException:
        held.records = [record for record in held.records if record.levelno >= logging.WARNING]
        raise
    finally:
        root.handlers[:] = handlers
        for record in held.records:
            root.handle(record)


class _Held(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class LogHandler(logging.Handler):
    """To a `LogSink`. Its lock, which `logging` holds while it emits, guards the sink."""

    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self._sink = sink
        self._told = 0  # of the sink's dropped lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # a mistake in the call that logs must not end what it reports
            line = f"{record.name}: a line could not be made: {error!r}"
        self._sink.write(f"{line}\n".encode(errors="backslashreplace"))
        self._tell_dropped()

    def open_in(self, loop: AbstractEventLoop) -> None:
        with self._guard():
            self._sink.attach(loop, self.pump)

    def close(self) -> None:
        with self._guard():
            self._sink.finish()
        super().close()

    def pump(self) -> bool:
        """Hands over what waits; whether something still does."""
        with self._guard():
            self._sink.pump()
            self._tell_dropped()
            return bool(self._sink.trouble)

    def _tell_dropped(self) -> None:
        sink = self._sink
        if sink.trouble or sink.dropped == self._told:
            return
        count, self._told = sink.dropped - self._told, sink.dropped
        text = f"{counted(count, 'line')} of this log dropped: nobody read it"
        record = logging.LogRecord(log.name, logging.ERROR, __file__, 0, text, None, None)
        self._sink.write(f"{self.format(record)}\n".encode())

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()


class _JsonFormatter(logging.Formatter):
    """Lines that fit a sink's piece: cut there, they would not be JSON any more."""

    def format(self, record: logging.LogRecord) -> str:
        message, traceback = record.getMessage(), record.exc_info and self.formatException(record.exc_info)
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            **getattr(record, "keys", {}),
        }
        for room in _ROOMS:
            line["message"] = message[:room]
            if traceback:
                line["traceback"] = traceback[-room:]  # its end says what happened
            text = printable_json(msgspec.json.encode(line).decode())
            if len(text.encode()) < PIECE:
                break
        return text


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock}  {record.levelname.lower():<7} {record.getMessage()}"
        return printable_lines(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)


class _Storms(logging.Filter):
    """Lets through so many lines of one place in the code, and with the next one says how many were not told."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], list[float]] = {}  # place: when the count began, count

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.exc_info and not hasattr(record, "often"):
            return True
        now = time.monotonic()
        seen = self._seen.setdefault((record.pathname, record.lineno), [now, 0])
        if now - seen[0] > TRACEBACKS_WITHIN:
            untold = int(seen[1]) - TRACEBACKS
            seen[:] = [now, 0]
            if untold > 0:
                record.msg, record.args = f"{record.getMessage()} (not logged: {untold} more like it)", None
        seen[1] += 1
        return seen[1] <= TRACEBACKS


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        log.critical("ended by a bug of its own", exc_info=(kind, error, traceback))


def _unraisable(event: sys.UnraisableHookArgs) -> None:
    error = event.exc_value or event.exc_type()
    log.error("%s: %r", event.err_msg or "ignored exception in", event.object, exc_info=error)


def _uncaught_in_thread(event: threading.ExceptHookArgs) -> None:
    log.error("thread %s ended by a bug", event.thread and event.thread.name, exc_info=event.exc_value)
