"""A blocking HTTP/2 client for tests over a socket, TLS or not: it says what it is told to, right or wrong.

    client = H2Client(sock)                       # preface and SETTINGS
    stream = client.request("5000-box.sandbox.localhost", path=b"/x")
    assert client.response(stream).status == 200
    client.send_frame(Type.WINDOW_UPDATE, 0, 0, number(0))
    client.expect_goaway(Code.PROTOCOL_ERROR)

It reads only while it waits for something, and waits at most `patience`. Whoever tests a gateway in the same process
calls it from a thread (`asyncio.to_thread`).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from tests.support.h2_frames import PREFACE, Code, Fields, Flag, Frame, Setting, Type, frame, settings
from tests.support.h2_peer import MAX_FRAME, Peer, Stream

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds; never reached by a test that passes."""


def h2_context(context: ssl.SSLContext, *protocols: str) -> ssl.SSLContext:
    """`context`, offering HTTP/2 (or else `protocols`)."""
    context.set_alpn_protocols(list(protocols or ("h2", "http/1.1")))
    return context


class H2Client(Peer):
    """A connection; `with` closes it."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        preface: bytes = PREFACE,
        options: Sequence[tuple[int, int]] | None = ((Setting.ENABLE_PUSH, 0),),
        patience: float = PATIENCE,
    ) -> None:
        """`options` are our SETTINGS; None: none are sent, which is wrong. Nothing is awaited."""
        super().__init__()
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.patience = patience
        self.ended = False  # they have closed or reset the connection
        self.broken = False  # they take nothing any more
        self._next = 1
        if isinstance(sock, ssl.SSLSocket):
            assert sock.selected_alpn_protocol() == "h2", f"negotiated {sock.selected_alpn_protocol()}"
        if options is not None:
            self.initial = dict(options).get(Setting.INITIAL_WINDOW_SIZE, self.initial)
            preface += frame(Type.SETTINGS, 0, 0, settings(*options))
        self.send(preface)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    # --- writing ----------------------------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """To who may have hung up already: what it said before is still there to read."""
        try:
            self.sock.sendall(octets)
        except TimeoutError:
            raise
        except OSError:
            self.broken = True

    def send_pieces(self, octets: bytes, size: int = 1) -> None:
        """In segments of `size` octets."""
        for at in range(0, len(octets), size):
            self.send(octets[at : at + size])

    def send_frame(self, type: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self.send(frame(type, flags, stream, payload))

    def send_headers(self, stream: int, block: bytes, *, end: bool, size: int = MAX_FRAME, flags: int = 0) -> None:
        """A field block, in HEADERS and as many CONTINUATIONs as `size` makes of it."""
        pieces = [block[at : at + size] for at in range(0, len(block), size)] or [b""]
        octets = b""
        for position, piece in enumerate(pieces):
            last = Flag.END_HEADERS if position == len(pieces) - 1 else 0
            if position == 0:
                octets += frame(Type.HEADERS, flags | last | (Flag.END_STREAM if end else 0), stream, piece)
            else:
                octets += frame(Type.CONTINUATION, last, stream, piece)
        self.send(octets)

    def next_stream(self) -> int:
        """The id of a stream that the test begins itself."""
        id, self._next = self._next, self._next + 2
        self.open(id)
        return id

    def request(
        self,
        host: bytes | str,
        *,
        method: bytes = b"GET",
        path: bytes = b"/",
        fields: Iterable[tuple[bytes, bytes]] = (),
        body: bytes | None = None,
        end: bool = True,
    ) -> int:
        """Sends a request as clients do; its stream. Without `end` more of it is to follow."""
        authority = host.encode() if isinstance(host, str) else host
        scheme = b"https" if isinstance(self.sock, ssl.SSLSocket) else b"http"
        pseudo = [(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path)]
        return self.request_of([*pseudo, *fields], body=body, end=end)

    def request_of(self, fields: Fields, *, body: bytes | None = None, end: bool = True) -> int:
        """A request of just these fields, pseudo-fields among them."""
        id = self.next_stream()
        self.send_headers(id, self.encoder.encode(fields), end=end and body is None)
        if body is not None:
            self.upload(id, body, end=end)
        return id

    def upload(self, id: int, body: bytes, *, end: bool = True) -> None:
        """DATA as the windows allow, reading what comes meanwhile."""
        stream = self.stream(id)
        rest = memoryview(body)
        while rest:
            self.wait(lambda: min(self.window, stream.window) > 0 or stream.over, "a window")
            if stream.over:
                return
            piece = rest[: min(self.window, stream.window, MAX_FRAME)]
            rest = rest[len(piece) :]
            self.window -= len(piece)
            stream.window -= len(piece)
            self.send_frame(Type.DATA, Flag.END_STREAM if end and not rest else 0, id, bytes(piece))
        if end and not body:
            self.send_frame(Type.DATA, Flag.END_STREAM, id)

    def reset(self, id: int, code: int = Code.CANCEL) -> None:
        self.send_frame(Type.RST_STREAM, 0, id, code.to_bytes(4, "big"))

    # --- reading ----------------------------------------------------------------------------------------------------

    def read_some(self, deadline: float) -> bool:
        """Whatever is here next; False if nothing came before the deadline (of `time.monotonic`), or the end did."""
        if self.ended:
            return False
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        before = self.sock.gettimeout()
        self.sock.settimeout(remaining)
        try:
            octets = self.sock.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            octets = b""
        finally:
            with suppress(OSError):
                self.sock.settimeout(before)
        if not octets:
            self.ended = True
            return False
        self.receive(octets)
        self.flush()
        return True

    def flush(self) -> None:
        """Sends what politeness answers."""
        if self.out:
            octets = b"".join(self.out)
            self.out.clear()
            self.send(octets)

    def wait(self, look: Callable[[], T], what: str, patience: float | None = None) -> T:
        """The first true value of `look`, which is asked after whatever comes; AssertionError naming `what`."""
        deadline = time.monotonic() + (self.patience if patience is None else patience)
        while not (value := look()):
            if not self.read_some(deadline):
                value = look()
                assert value, f"{'the end' if self.ended else 'nothing'} instead of {what}\n{self.told()}"
                break
        return value

    def told(self) -> str:
        """What came, for whoever reads about a failure."""
        return "\n".join([*map(repr, self.frames[-20:]), *map(repr, list(self.streams.values())[-5:])])

    def response(self, id: int, patience: float | None = None) -> Stream:
        """The answer to a request, whole."""
        stream = self.stream(id)
        self.wait(lambda: stream.over, f"the end of stream {id}", patience)
        assert stream.reset is None or stream.ended, f"reset: {stream}\n{self.told()}"
        return stream

    def head(self, id: int) -> Stream:
        """The answer to a request, as soon as its head is here."""
        stream = self.stream(id)
        self.wait(lambda: stream.status, f"the head on stream {id}")
        return stream

    def expect_reset(self, id: int, *codes: int) -> Stream:
        """That a stream is ended by RST_STREAM, and the connection is not; codes are alternatives."""
        stream = self.stream(id)
        self.wait(lambda: stream.reset is not None or self.goaway, f"a reset of stream {id}")
        assert not self.goaway, f"the connection's end for a stream's fault\n{self.told()}"
        assert not codes or stream.reset in codes, f"{stream}, not {codes}"
        return stream

    def expect_goaway(self, *codes: int) -> Frame:
        """That the connection is ended, with GOAWAY first; codes are alternatives."""
        self.wait(lambda: [each for each in self.goaway if each.code != Code.NO_ERROR or 0 in codes], "GOAWAY")
        last = self.goaway[-1]
        assert not codes or last.code in codes, f"GOAWAY with {last.code}, not {codes}: {last}"
        self.expect_end()
        return last

    def expect_end(self) -> None:
        """That they close the connection."""
        self.wait(lambda: self.ended, "the end of the connection")

    def ping(self, payload: bytes = b"a ping!!") -> None:
        """A round trip: what was sent before has been read, and the connection lives."""
        before = len(self.pongs)
        self.send_frame(Type.PING, 0, 0, payload)
        self.wait(lambda: len(self.pongs) > before or self.goaway, "an answer to a PING")
        assert not self.goaway, f"GOAWAY\n{self.told()}"
        assert self.pongs[-1] == payload
