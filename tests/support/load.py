"""Visitors of a gateway that is operated: requests by schedule, WebSockets that stay, and an account of each.

Two programs, so that neither they nor a test share an interpreter with each other:

    python -m tests.support.load app                 the app; prints its port
    python -m tests.support.load visitors <JSON>     see `Plan`; ends at SIGTERM and prints an `Account`

Requests are open loop: each lane has its times, whatever became of the one before, and a connection that is kept until
an answer says `Connection: close`. Nothing is tried twice, so whatever is not the expected answer is a failure: a
refused connection, a reset, an end where an answer was due, another status, another body. Only a connection that cannot
be made counts apart, because after a stop nobody listens.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import ssl
import struct
import subprocess
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec
import uvloop

from gateway.tasks import Tasks
from tests.support.process import ROOT, clean_environment
from tests.support.serving import Serving

PATIENCE = 20.0
"""Seconds for an answer."""
ONE_SHOT = 0.05
"""The part of requests that have a connection of their own."""
PING_EVERY = 2.0
"""Seconds between two messages of a WebSocket."""
ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
ACCEPT += b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
UPGRADE += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
MASK = b"\1\2\3\4"


class Plan(msgspec.Struct):
    host: str
    plain_port: int
    tls_port: int
    authority: str
    """File of the CA."""
    rate: int = 300
    """Requests per second."""
    lanes: int = 40
    websockets: int = 50


class Account(msgspec.Struct):
    sent: int = 0
    answered: int = 0
    not_connected: int = 0
    failures: list[str] = []
    """The first of them; `failed` counts all."""
    failed: int = 0
    latencies_ms: dict[str, float] = {}
    websockets: int = 0
    """Made in all."""
    ended: dict[str, int] = {}
    """By how: `1001`, another code, `cut`."""
    lifetimes: list[float] = []
    """Seconds of those that were ended by the gateway."""
    certificates: list[str] = []
    """Serial numbers met, in the order they were met first."""


# --- the app --------------------------------------------------------------------------------------------------------


async def _serve_app() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while await _answer(reader, writer):
                pass
        writer.close()

    server = await asyncio.start_server(converse, "::1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if b"\r\nUpgrade: websocket" in head:
        writer.write(ACCEPT)
        while frame := await _read_frame(reader):
            opcode, content = frame
            writer.write(bytes([0x80 | opcode, len(content)]) + content)
            if opcode == 8:
                return False
        return False
    size = next((int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0)
    body = await reader.readexactly(size) if size else b""
    content = lines[0].split(b" ")[1] + body
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
    return True


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes] | None:
    """Opcode and unmasked content of a frame with less than 126 octets."""
    first, length = await reader.readexactly(2)
    mask = await reader.readexactly(4) if length & 0x80 else bytes(4)
    content = await reader.readexactly(length & 0x7F)
    return first & 0x0F, bytes(octet ^ mask[at % 4] for at, octet in enumerate(content))


# --- visitors -------------------------------------------------------------------------------------------------------


class _Visitors:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._account = Account()
        self._latencies: list[float] = []
        self._ending = False
        self._tls = ssl.create_default_context(cafile=plan.authority)
        self._chance = random.Random(7)

    async def run(self) -> Account:
        plan, end = self._plan, asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, end.set)
        lanes, sockets = Tasks(), Tasks()
        for number in range(plan.websockets):
            sockets.spawn(self._stay(number), "WebSockets")
        while self._account.websockets < plan.websockets:
            await asyncio.sleep(0.05)
        asking = [lanes.spawn(self._ask(number), "requests") for number in range(plan.lanes)]
        print("under way", flush=True)
        await end.wait()
        self._ending = True
        for each in asking:
            await each
        await sockets.cancel()
        found = sorted(self._latencies) or [0.0]
        for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            self._account.latencies_ms[name] = round(found[min(int(len(found) * part), len(found) - 1)] * 1e3, 1)
        return self._account

    def _failed(self, what: str, error: BaseException) -> None:
        self._account.failed += 1
        if len(self._account.failures) < 20:
            self._account.failures.append(f"{time.time():.3f} {what}: {error!r}")

    async def _connect(self, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plan = self._plan
        port, context = (plan.tls_port, self._tls) if tls else (plan.plain_port, None)
        reader, writer = await asyncio.open_connection(
            "::1", port, ssl=context, server_hostname=plan.host if tls else None
        )
        if tls:
            certificate = writer.get_extra_info("ssl_object").getpeercert()
            if certificate["serialNumber"] not in self._account.certificates:
                self._account.certificates.append(certificate["serialNumber"])
        return reader, writer

    # --- requests

    async def _ask(self, number: int) -> None:
        plan, loop, tls = self._plan, asyncio.get_running_loop(), number % 2 == 1
        step = plan.lanes / plan.rate
        due = loop.time() + step * self._chance.random()
        kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._ending:
            await asyncio.sleep(due - loop.time())
            due = max(due + step, loop.time() - 1.0)
            connection, alone = kept, self._chance.random() < ONE_SHOT
            if connection is None or alone:
                try:
                    connection = await asyncio.wait_for(self._connect(tls), PATIENCE)
                except OSError:
                    self._account.not_connected += 1
                    continue
            try:
                stays = await asyncio.wait_for(self._exchange(*connection, last=alone), PATIENCE)
            except (OSError, asyncio.IncompleteReadError, AssertionError) as error:
                self._failed("on a new connection" if connection is not kept else "on a kept connection", error)
                stays = False
            if alone:
                connection[1].close()
            elif stays:
                kept = connection
            else:
                connection[1].close()
                kept = None
        if kept is not None:
            kept[1].close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, last: bool) -> bool:
        """One request; whether the connection may be used again."""
        account, chance = self._account, self._chance
        target = f"/{chance.randrange(10**9):x}/{'x' * chance.randrange(60)}".encode()
        body = chance.randbytes(chance.choice((1, 500, 20_000))) if chance.random() < 0.2 else b""
        fields = b"Cookie: session=%x\r\n" % chance.getrandbits(64) if chance.random() < 0.5 else b""
        fields += b"Content-Length: %d\r\n" % len(body) if body else b""
        fields += b"Connection: close\r\n" if last else b""
        method = b"POST" if body else b"GET"
        account.sent += 1
        began = time.perf_counter()
        writer.write(
            b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n%b" % (method, target, self._plan.host.encode(), fields, body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head[:200]
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        content = await reader.readexactly(length)
        self._latencies.append(time.perf_counter() - began)
        assert content == target + body, "another answer"
        account.answered += 1
        return b"\r\nConnection: close\r\n" not in head

    # --- WebSockets

    async def _stay(self, number: int) -> None:
        """One after the other, each as long as it lasts."""
        while True:
            try:
                reader, writer = await self._connect(number % 2 == 1)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            began, ending = time.monotonic(), "cut"
            talking = Tasks()
            try:
                writer.write(UPGRADE % self._plan.host.encode())
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101 "), head[:200]
                self._account.websockets += 1
                talking.spawn(self._talk(writer), "talk")
                while frame := await _read_frame(reader):
                    opcode, content = frame
                    if opcode == 8:
                        ending = str(struct.unpack("!H", content[:2])[0])
                        self._send(writer, 8, content)
                        break
            except (OSError, asyncio.IncompleteReadError):
                pass
            except AssertionError as error:
                self._failed("a WebSocket", error)
            finally:
                await talking.cancel()
                writer.close()
            self._account.ended[ending] = self._account.ended.get(ending, 0) + 1
            self._account.lifetimes.append(round(time.monotonic() - began, 2))

    async def _talk(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(PING_EVERY * self._chance.random())
            self._send(writer, 1, b"hello %d" % self._chance.randrange(10**6))

    @staticmethod
    def _send(writer: asyncio.StreamWriter, opcode: int, content: bytes) -> None:
        masked = bytes(octet ^ MASK[at % 4] for at, octet in enumerate(content))
        writer.write(bytes([0x80 | opcode, 0x80 | len(content)]) + MASK + masked)


# --- for tests ------------------------------------------------------------------------------------------------------


class LoadApp:
    """The app as a process; `port` while inside."""

    def __init__(self) -> None:
        self.port = 0

    def __enter__(self) -> Self:
        self._process = _start("app")
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


class Visitors:
    """They come on entering; `account` is there after `leave`."""

    def __init__(self, gateway: Serving, authority: str, *, rate: int, websockets: int) -> None:
        self._plan = Plan(
            gateway.host, gateway.plain_port, gateway.tls_port, authority, rate, max(10, rate // 10), websockets
        )
        self.account = Account()

    def __enter__(self) -> Self:
        self._process = _start("visitors", msgspec.json.encode(self._plan).decode())
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "under way\n"
        return self

    def leave(self) -> Account:
        """They go, all requests answered; WebSockets that still live are no ended ones."""
        self._process.send_signal(signal.SIGTERM)
        told, _ = self._process.communicate(timeout=4 * PATIENCE)
        self.account = msgspec.json.decode(told, type=Account)
        return self.account

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.load", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


if __name__ == "__main__":
    if sys.argv[1] == "app":
        uvloop.run(_serve_app())
    else:
        told = uvloop.run(_Visitors(msgspec.json.decode(sys.argv[2], type=Plan)).run())
        print(json.dumps(msgspec.to_builtins(told)))
