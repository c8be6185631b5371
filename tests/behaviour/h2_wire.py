"""A browser that speaks HTTP/2, on the event loop of the gateway: a `Wire` with frames in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway.http.message import Field
from gateway.http.websocket import accept
from tests.behaviour.harness import Gateway, Message, Wire
from tests.support.h2_frames import PREFACE, Flag, Frame, Type, frame, number
from tests.support.h2_peer import Peer, Stream

CANCEL = 8


class H2Browser:
    """Over a plain listener, by prior knowledge. `peer` is what came, as far as it was looked at."""

    def __init__(self, wire: Wire, host: bytes) -> None:
        self.wire = wire
        self.host = host
        self.peer = Peer()
        self._looked = 0
        self._next = 1

    def tell(self, type: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self.wire.send(frame(type, flags, stream, payload))

    def ask(
        self, path: bytes = b"/", *, method: bytes = b"GET", more: Sequence[Field] = (), end: bool = True
    ) -> Stream:
        fields = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", self.host), *more]
        stream = self.peer.open(self._next)
        self._next += 2
        flags = Flag.END_HEADERS | (Flag.END_STREAM if end else 0)
        self.tell(Type.HEADERS, flags, stream.id, self.peer.encoder.encode(fields))
        return stream

    def ask_for_websocket(self) -> Stream:
        return self.ask(b"/ws", method=b"CONNECT", more=[(b":protocol", b"websocket")], end=False)

    def switching(self, asked: Message) -> bytes:
        """The app's 101 to a handshake that was `asked`."""
        key = asked.get(b"Sec-WebSocket-Key")
        assert key is not None
        head = b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n"
        return head % accept(key)

    def send(self, stream: Stream, data: bytes = b"", *, end: bool = False) -> None:
        self.tell(Type.DATA, Flag.END_STREAM if end else 0, stream.id, data)

    def reset(self, stream: Stream) -> None:
        self.tell(Type.RST_STREAM, 0, stream.id, number(CANCEL))

    def look(self) -> Peer:
        """Takes what came, and answers what has to be answered."""
        octets = bytes(self.wire.received[self._looked :])
        self._looked += len(octets)
        self.peer.receive(octets)
        out, self.peer.out = self.peer.out, []
        if out:
            self.wire.send(b"".join(out))
        return self.peer

    async def wait(self, condition: Callable[[], Any], what: str) -> None:
        def looked() -> bool:
            self.look()
            return bool(condition())

        await self.wire.wait(looked, what)

    async def answer(self, stream: Stream) -> Stream:
        await self.wait(lambda: stream.over, f"{stream} is over")
        return stream

    @property
    def goaways(self) -> list[Frame]:
        return self.look().goaway


async def h2_browser(gateway: Gateway, host: bytes, *, greets: bytes = PREFACE + frame(Type.SETTINGS)) -> H2Browser:
    browser = H2Browser(await gateway.connect(), host)
    browser.wire.send(greets)
    return browser
