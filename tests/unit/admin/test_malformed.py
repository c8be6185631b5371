"""What is no request leaves one line that says who and why, not a traceback, and a flood of them leaves few."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from gateway.admin.app import Health, make_app, start
from gateway.admin.malformed import LOGGER
from gateway.directory.memory import MemoryRegistry
from gateway.observe.access_log import MAX_TEXT
from gateway.observe.logs import TRACEBACKS, _Storms
from tests.unit.admin.conftest import one_ready_worker
from tests.unit.diagnosis.harness import Looking, configured, make_context

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 300
MALFORMED = [
    (b"GARBAGE\r\n\r\n", "method"),
    (HELLO, "HTTPS"),
    (b"GET /livez HTTP/9.9\r\nHost: a\r\n\r\n", "version"),
    (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "more than"),
    (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", "more than"),
    (b"GET /livez HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", "header"),
    (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n", "header"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY"),
    (
        b"PUT /v1/sandboxes/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "Content-Length",
    ),
    (b"PUT /v1/sandboxes/a HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "chunk"),
    (b"GET http://[::1:x/ HTTP/1.1\r\nHost: a\r\n\r\n", "[::1:x"),
    (b"GET http://[a]@/ HTTP/1.1\r\nHost: a\r\n\r\n", "IndexError"),
]
IDS = [words for _, words in MALFORMED]

Send = Callable[..., Awaitable[bytes]]


@pytest.fixture
async def send() -> AsyncIterator[Send]:
    """Sends octets to an admin listener; what it answers until it closes, or nothing if it is left at once."""
    sock = socket.create_server(("127.0.0.1", 0))
    context = make_context(Looking(), configured(), directory=MemoryRegistry({}))
    runner = await start(make_app(Health(one_ready_worker), context), sock)

    async def send(octets: bytes, *, leave: bool = False) -> bytes:
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(octets)
        answer = b"" if leave else await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    yield send
    await runner.cleanup()
    await context.tasks.cancel()


class Kept(logging.Handler):
    """Lines as the operational log would have them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.addFilter(_Storms())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {logging.Formatter().format(record)}")


@pytest.fixture
def kept() -> Iterator[Kept]:
    root, kept = logging.getLogger(), Kept()
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.INFO)
    yield kept
    root.setLevel(level)
    root.removeHandler(kept)


@pytest.mark.parametrize(("octets", "words"), MALFORMED, ids=IDS)
async def test_one_line_says_who_and_why(send: Send, kept: Kept, octets: bytes, words: str) -> None:
    answer = await send(octets)
    assert answer.split(b" ")[1] == b"400"
    assert answer.count(b"\r\nDate: ") == 1
    (line,) = kept.lines
    assert line.startswith("WARNING ")
    assert "sent a malformed request: " in line
    assert words in line
    assert line.isprintable()
    assert len(line) < MAX_TEXT + 100


async def test_the_first_line_names_the_sender(send: Send, kept: Kept) -> None:
    await send(b"GARBAGE\r\n\r\n")
    assert kept.lines[0].startswith("WARNING 127.0.0.1 sent")


@pytest.mark.parametrize("octets", [b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
async def test_a_flood_leaves_few_lines(send: Send, kept: Kept, octets: bytes) -> None:
    for _ in range(5 * TRACEBACKS):
        await send(octets)
    assert len(kept.lines) == TRACEBACKS


async def test_who_leaves_before_the_answer_is_no_news(send: Send, kept: Kept) -> None:
    await send(b"PUT /v1/sandboxes/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nab", leave=True)
    await send(b"GET /livez HTTP/1.1\r\nHost: a\r\n", leave=True)
    await send(b"", leave=True)
    await send(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert kept.lines == []


async def test_a_level_that_hides_warnings_hides_these(send: Send, kept: Kept) -> None:
    logging.getLogger().setLevel(logging.ERROR)
    await send(b"GARBAGE\r\n\r\n")
    assert kept.lines == []


async def test_a_bug_keeps_its_traceback(kept: Kept) -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger(LOGGER).exception("Unhandled exception")
    assert "Traceback" in kept.lines[0]
