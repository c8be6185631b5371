"""One end of a connection in the hands of a test, and the messages that come over it."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from tests.support.event_loop import Loop

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds until a wait has failed. Never reached by a test that passes."""


async def until(condition: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """What `condition` returns as soon as that is true; AssertionError naming `what` if it does not become so."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while not (value := condition()):
        assert loop.time() < deadline, f"not within {patience:g} s: {what}"
        await asyncio.sleep(0.002)
    return value


# --- messages -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Message:
    """A request or an answer as it came over the wire, its body decoded."""

    head: bytes
    """Start line and fields to the empty line. In answers the value of X-Request-Id, and the Date that the gateway writes
    behind it, are shown as `#`."""
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    """The chunks of a chunked body, as they were cut."""
    trailers: bytes = b""
    """The trailer section of a chunked body, without the empty line."""

    @property
    def start(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def get(self, name: bytes) -> bytes | None:
        """The value of the only field `name` (any case), or None."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) < 2, f"{name!r} came {len(values)} times: {self.head!r}"
        return values[0] if values else None

    @property
    def reason(self) -> bytes | None:
        return self.get(b"X-Gateway-Error")


_STAMPS = re.compile(rb"(?<=\r\nX-Request-Id: )[^\r]+(?:\r\nDate: [^\r]+)?")


# --- one end of a connection ----------------------------------------------------------------------------------------


class Wire(asyncio.Protocol):
    """One end of a connection, in the hands of a test."""

    def __init__(self) -> None:
        self.received = bytearray()  # everything that ever came
        self.end = ""  # how the other side ended: "eof", "reset" or not yet
        self.closed = False  # the transport is gone
        self.writable = True
        self.transport: asyncio.Transport  # from `connection_made` on
        self._taken = 0  # octets of `received` that the test has read
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Wire {self.end or 'open'} unread={bytes(self.received[self._taken :])[-300:]!r}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def eof_received(self) -> bool:
        self.end = "eof"
        self._changed.set()
        return self.transport.can_write_eof()  # then the test decides when to close

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.end = self.end or ("reset" if exc is not None else "eof")
        self._changed.set()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._changed.set()

    async def wait(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not within {PATIENCE:g} s: {what}\n{self!r}") from None

    @property
    def peer(self) -> asyncio.Transport:
        """The gateway's end: TCP, also below TLS."""
        return cast("Loop", asyncio.get_running_loop()).other_end(self.transport)

    # --- writing ---------------------------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """To who may have gone already: then the octets go nowhere."""
        if not self.transport.is_closing():
            self.transport.write(octets)

    async def send_bytewise(self, octets: bytes) -> None:
        """Each octet in a segment of its own."""
        for octet in octets:
            self.transport.write(bytes([octet]))
            await asyncio.sleep(0)

    async def drained(self) -> None:
        await self.wait(lambda: self.writable, "the other side takes what was sent")

    def half_close(self) -> None:
        """No more octets from this side (FIN)."""
        self.transport.write_eof()

    def close(self) -> None:
        """Over TLS: close_notify, and a FIN only when that is answered."""
        self.transport.close()

    def hang_up(self) -> None:
        """Leaves as a process does that ends: a FIN and nobody behind it, without close_notify over TLS."""
        self.transport.abort()

    def reset(self) -> None:
        """Ends the connection with a RST."""
        if not self.closed:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def handed_over(self, sent: int) -> int:
        """Of `sent` octets, how many the kernel has taken."""
        return sent - self.transport.get_write_buffer_size()

    # --- reading ---------------------------------------------------------------------------------------------------

    def stop_reading(self) -> None:
        self.transport.pause_reading()

    def read_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    @property
    def unread(self) -> int:
        return len(self.received) - self._taken

    async def read(self, count: int) -> bytes:
        """Exactly `count` octets."""
        await self.wait(lambda: self.unread >= count or bool(self.end), f"{count} octets")
        assert self.unread >= count, f"{self.end} after {self.unread} of {count} octets\n{self!r}"
        return self._take(self._taken + count)

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to `mark`, included."""

        def found() -> int:
            return self.received.find(mark, self._taken)

        await self.wait(lambda: found() >= 0 or bool(self.end), f"{mark!r}")
        assert found() >= 0, f"{self.end} before {mark!r}\n{self!r}"
        return self._take(found() + len(mark))

    async def ended(self) -> bytes:
        """Waits for the other side's end; what came until then."""
        await self.wait(lambda: bool(self.end), "the other side's end")
        return self.take()

    async def eof(self) -> bytes:
        """Like `ended`; the end must be a clean one."""
        rest = await self.ended()
        assert self.end == "eof", f"a {self.end}, after {rest!r}"
        return rest

    def take(self) -> bytes:
        """What is here, be it nothing."""
        return self._take(len(self.received))

    def _take(self, end: int) -> bytes:
        begin, self._taken = self._taken, end
        return bytes(self.received[begin:end])

    async def head(self) -> bytes:
        """A head as it came, X-Request-Id and Date excepted (see `Message.head`)."""
        return _STAMPS.sub(b"#", self.respelled(await self.read_until(b"\r\n\r\n")))

    def respelled(self, head: bytes) -> bytes:
        """As the test is shown it."""
        return head

    async def another(self) -> bool:
        """Waits, without a limit, for the next request to begin; False at the end of the connection."""
        while not (self.unread or self.end):
            self._changed.clear()
            await self._changed.wait()
        return self.unread > 0

    async def request(self) -> Message:
        """The next request, as an app reads it."""
        message = Message(self.respelled(await self.read_until(b"\r\n\r\n")))
        await self._read_body(message)
        return message

    async def answer(self, method: bytes = b"GET") -> Message:
        """The next answer, as a browser reads it; its body lasts to the end of the connection if nothing says else."""
        message = Message(await self.head())
        if method == b"HEAD" or message.status < 200 or message.status in (204, 304):
            return message
        if not await self._read_body(message):
            message.body = await self.eof()
        return message

    async def _read_body(self, message: Message) -> bool:
        """False if neither length nor chunks say where it ends."""
        length = message.get(b"Content-Length")
        if message.get(b"Transfer-Encoding") is not None:
            assert message.get(b"Transfer-Encoding") == b"chunked" and length is None, message.head
            while size := int((await self.read_until(b"\r\n"))[:-2], 16):
                message.chunks.append(await self.read(size))
                assert await self.read(2) == b"\r\n"
            while (line := await self.read_until(b"\r\n")) != b"\r\n":
                message.trailers += line
            message.body = b"".join(message.chunks)
        elif length is not None:
            message.body = await self.read(int(length))
        return message.get(b"Transfer-Encoding") is not None or length is not None
