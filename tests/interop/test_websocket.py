"""WebSocket through the gateway with Python `websockets` at both ends, by hand where frames matter."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from tests.interop.harness import (
    Connection,
    GatewayProcess,
    tcp_connection,
    tls_connection,
    tls_context,
)
from tests.support.process import free_port
from tests.support.websocket_app import (
    CLOSE_CODE,
    CLOSE_REASON,
    MESSAGE_LIMIT,
    REFUSAL,
    SUBPROTOCOL,
    WebSocketApp,
    websocket_app,
)

pytestmark = pytest.mark.interop

BIG = 16 * 1024 * 1024
FIN, RSV1 = 0x80, 0x40
"""Bits of a frame's first byte (RFC 6455 section 5.2); RSV1 marks a compressed message (RFC 7692)."""


@dataclass(frozen=True, slots=True)
class Exposed:
    app: WebSocketApp
    gateway: GatewayProcess

    @property
    def host(self) -> str:
        return self.gateway.host(self.app.port)

    def connect(self, path: str, port: int | None = None, **options: Any) -> connect:
        """A `websockets` client; without compression unless the test asks for it."""
        host = self.gateway.host(port or self.app.port)
        connection = tcp_connection(self.gateway)
        connection.setblocking(False)
        defaults: dict[str, Any] = {
            "compression": None,
            "max_size": MESSAGE_LIMIT,
            "ping_interval": None,
            "proxy": None,
        }
        return connect(
            f"wss://{host}:{self.gateway.tls_port}{path}",
            sock=connection,
            ssl=tls_context(self.gateway.ca),
            **(defaults | options),
        )


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exposed]:
    with (
        websocket_app() as app,
        GatewayProcess(app.port, directory=tmp_path_factory.mktemp("gateway")) as gateway,
    ):
        yield Exposed(app, gateway)


# --- messages -----------------------------------------------------------------------------------------------


async def _echo(websocket: ClientConnection, message: str | bytes) -> str | bytes:
    await websocket.send(message)
    async with asyncio.timeout(30):
        return await websocket.recv()


async def test_text_and_binary(exposed: Exposed) -> None:
    async with exposed.connect("/echo") as websocket:
        for message in ("Grüße 👋", "", b"\x00\xff" * 100, b"", bytes(range(256)) * 300):
            assert await _echo(websocket, message) == message


async def test_many_messages_stay_in_order(exposed: Exposed) -> None:
    async with exposed.connect("/echo") as websocket, asyncio.timeout(30):
        for start in range(0, 1000, 100):
            for number in range(start, start + 100):
                await websocket.send(str(number))
            for number in range(start, start + 100):
                assert await websocket.recv() == str(number)


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_16_mib_message_both_ways(exposed: Exposed, compression: str | None) -> None:
    message = random.Random(16).randbytes(BIG)
    async with exposed.connect("/echo", compression=compression) as websocket:
        echoed = await _echo(websocket, message)
    assert isinstance(echoed, bytes)
    assert len(echoed) == BIG
    # By hash: a plain comparison that fails would print 16 MiB.
    assert hashlib.sha256(echoed).digest() == hashlib.sha256(message).digest()


# --- control frames -----------------------------------------------------------------------------------------


async def test_ping_from_the_browsers_side(exposed: Exposed) -> None:
    async with exposed.connect("/echo") as websocket, asyncio.timeout(10):
        pong = await websocket.ping(b"payload")
        await pong
        assert await _echo(websocket, "still here") == "still here"


async def test_ping_from_the_app(exposed: Exposed) -> None:
    async with exposed.connect("/ping") as websocket, asyncio.timeout(10):
        assert await websocket.recv() == "pong came"


async def test_the_app_closes_with_code_and_reason(exposed: Exposed) -> None:
    async with exposed.connect("/close") as websocket, asyncio.timeout(10):
        await websocket.send("go")
        with pytest.raises(ConnectionClosedError) as closed:
            await websocket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (CLOSE_CODE, CLOSE_REASON)
    assert closed.value.rcvd_then_sent is True


async def test_the_browsers_side_closes_with_code_and_reason(exposed: Exposed) -> None:
    async with exposed.connect("/echo") as websocket:
        await websocket.close(4002, "seen enough")
    # The app answered the close frame, and the gateway let the answer through.
    assert websocket.close_code == 4002
    assert exposed.app.wait_for_close(4002) == "seen enough"


async def test_a_connection_that_just_ends_reaches_the_app(exposed: Exposed) -> None:
    before = len(exposed.app.closed)
    async with exposed.connect("/echo") as websocket:
        assert await _echo(websocket, "here") == "here"
        websocket.transport.abort()
    async with asyncio.timeout(10):
        await asyncio.to_thread(exposed.app.wait_for_ends, before + 1)
    assert exposed.app.closed[-1] == (1006, "")


# --- negotiation --------------------------------------------------------------------------------------------


async def test_permessage_deflate_is_negotiated_end_to_end(exposed: Exposed) -> None:
    async with exposed.connect("/echo", compression="deflate") as websocket:
        assert websocket.request is not None and websocket.response is not None
        offer = websocket.request.headers["Sec-WebSocket-Extensions"]
        assert exposed.app.handshakes[-1]["Sec-WebSocket-Extensions"] == offer
        assert websocket.response.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
        assert [type(extension) for extension in websocket.protocol.extensions] == [PerMessageDeflate]
        assert await _echo(websocket, "a" * 100_000) == "a" * 100_000


def test_compressed_frames_pass_untouched(exposed: Exposed) -> None:
    text = b"compress me " * 1000
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)
    payload = packed.removesuffix(b"\x00\x00\xff\xff")
    with closing(tls_connection(exposed.gateway, exposed.host)) as connection:
        offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        frame = bytearray(Frame(Opcode.TEXT, payload).serialize(mask=True))
        frame[0] |= RSV1  # `Frame` leaves this bit to its extensions
        connection.sendall(_handshake(exposed, offer) + frame)
        with connection.makefile("rb") as stream:
            head = _response_head(stream)
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"permessage-deflate" in head
            first, payload = _frame(stream)
    assert first == FIN | RSV1 | Opcode.TEXT  # compressed on the way back, too
    assert len(payload) < len(text) // 10
    assert zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff") == text


async def test_the_app_chooses_the_subprotocol(exposed: Exposed) -> None:
    offered = [Subprotocol("first.v1"), SUBPROTOCOL, Subprotocol("third.v3")]
    async with exposed.connect("/echo", subprotocols=offered) as websocket:
        assert websocket.subprotocol == SUBPROTOCOL
        assert exposed.app.handshakes[-1]["Sec-WebSocket-Protocol"] == "first.v1, second.v2, third.v3"
        assert await _echo(websocket, "x") == "x"


async def test_a_refused_handshake_passes_whole(exposed: Exposed) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with exposed.connect("/refuse"):
            raise AssertionError("the app refuses this")
    response = refused.value.response
    assert response.status_code == 403
    assert response.headers["X-Ticket"] == "none"
    assert response.headers.get("X-Gateway-Error") is None
    assert response.body == REFUSAL


async def test_a_handshake_with_nobody_there_is_the_gateways_refusal(exposed: Exposed) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with exposed.connect("/echo", port=free_port()):
            raise AssertionError("nothing listens there")
    response = refused.value.response
    assert response.status_code == 502
    assert response.headers["X-Gateway-Error"] == "connection_refused"


# --- bytes --------------------------------------------------------------------------------------------------


def test_bytes_sent_with_the_handshake_reach_the_app_in_order(exposed: Exposed) -> None:
    messages = [b"first", b"second" * 1000, b"third"]
    frames = b"".join(Frame(Opcode.BINARY, message).serialize(mask=True) for message in messages)
    with closing(tls_connection(exposed.gateway, exposed.host)) as connection:
        connection.sendall(_handshake(exposed) + frames)
        with connection.makefile("rb") as stream:
            assert _response_head(stream).startswith(b"HTTP/1.1 101 ")
            for message in messages:
                assert _frame(stream) == (FIN | Opcode.BINARY, message)


def test_an_ordinary_request_after_a_refused_handshake(exposed: Exposed) -> None:
    with closing(Connection(exposed.gateway, exposed.app.port)) as connection:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        connection.request("GET", "/refuse", headers=upgrade | key)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (403, REFUSAL)
    with closing(Connection(exposed.gateway, exposed.app.port)) as connection:
        connection.request("GET", "/page")
        assert connection.getresponse().status == 200


def _handshake(exposed: Exposed, fields: bytes = b"") -> bytes:
    return (
        b"GET /echo HTTP/1.1\r\n"
        b"Host: %b\r\n"
        b"Connection: keep-alive, Upgrade\r\n"
        b"Upgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"%b\r\n" % (exposed.host.encode(), fields)
    )


def _response_head(stream: BufferedReader) -> bytes:
    lines = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines.append(line)
    head = b"".join(lines)
    # RFC 6455 section 4.2.2: the answer to the sample key of section 1.3.
    if head.startswith(b"HTTP/1.1 101"):
        assert re.search(rb"(?i)sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n", head), head
    return head


def _frame(stream: BufferedReader) -> tuple[int, bytes]:
    """First byte and payload of an unmasked frame."""
    first, length = stream.read(2)
    if length == 126:
        length = int.from_bytes(stream.read(2), "big")
    elif length == 127:
        length = int.from_bytes(stream.read(8), "big")
    return first, stream.read(length)
