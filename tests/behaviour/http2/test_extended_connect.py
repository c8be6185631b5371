"""RFC 8441: a WebSocket over a stream; the app sees what it would see of a browser over HTTP/1.1."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from tests.behaviour.harness import Gateway, Wire, until
from tests.behaviour.http2.stage import Ignored, Refuses, Stage, open_stage, perform
from tests.support.h2_client import H2Client
from tests.support.h2_frames import Code, Flag, Type, frame, literal, number

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def handshake(
    stage_host: bytes, *more: tuple[bytes, bytes], protocol: bytes = b"websocket"
) -> list[tuple[bytes, bytes]]:
    return [
        *((b":method", b"CONNECT"), (b":protocol", protocol), (b":scheme", b"http"), (b":authority", stage_host)),
        *(
            (b":path", b"/chat?room=1"),
            (b"sec-websocket-version", b"13"),
            (b"origin", b"http://%b" % stage_host),
            *more,
        ),
    ]


def accepted(key: bytes) -> bytes:
    digest = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n"
        % digest
    )


class Scene:
    """A tunnel asked for; the app has read the handshake."""

    def __init__(self, gateway: Gateway, client: H2Client) -> None:
        self.gateway, self.client = gateway, client
        self.host = b""
        self.id = 0
        self.upstream: Wire
        self.key = b""

    async def ask(self, *more: tuple[bytes, bytes]) -> None:
        app = await self.gateway.app()
        self.host = app.host
        self.id = await asyncio.to_thread(self.client.request_of, handshake(app.host, *more), end=False)
        self.upstream = await app.accept()
        asked = await self.upstream.request()
        assert asked.start == b"GET /chat?room=1 HTTP/1.1"
        assert (asked.get(b"Connection") or b"").lower() == b"upgrade"
        assert asked.get(b"Upgrade") == b"websocket"
        assert asked.get(b"Host") == app.host
        assert asked.get(b"Sec-WebSocket-Version") == b"13"
        assert asked.get(b"Content-Length") is None and asked.get(b"Transfer-Encoding") is None
        self.key = asked.get(b"Sec-WebSocket-Key") or b""
        assert len(base64.b64decode(self.key, validate=True)) == 16

    async def accept(self, more: bytes = b"", behind: bytes = b"") -> None:
        self.upstream.send(accepted(self.key) + more + b"\r\n" + behind)
        answer = await asyncio.to_thread(self.client.head, self.id)
        assert answer.status == 200
        for name in (b"connection", b"upgrade", b"sec-websocket-accept", b"content-length", b"transfer-encoding"):
            assert answer.get(name) is None, name

    async def send(self, octets: bytes, flags: int = 0) -> None:
        await asyncio.to_thread(self.client.send_frame, Type.DATA, flags, self.id, octets)

    async def came(self, octets: bytes) -> None:
        stream = self.client.stream(self.id)
        await asyncio.to_thread(self.client.wait, lambda: stream.body == octets, f"{octets!r}")


@pytest.fixture
async def scene(gateway: Gateway) -> Scene:
    return Scene(gateway, H2Client(await gateway.blocking_socket()))


async def test_octets_both_ways(scene: Scene) -> None:
    with scene.client:
        await scene.ask((b"sec-websocket-protocol", b"chat, other"))
        await scene.accept(b"Sec-WebSocket-Protocol: chat\r\n", b"at once")
        assert scene.client.stream(scene.id).get(b"sec-websocket-protocol") == b"chat"
        await scene.came(b"at once")
        said = b"at once"
        for word in (b"\x81\x05hello", b"a", bytes(3000)):
            await scene.send(word)
            assert await scene.upstream.read(len(word)) == word
            scene.upstream.send(word)
            said += word
            await scene.came(said)
        await scene.send(b"bye", Flag.END_STREAM)
        assert await scene.upstream.eof() == b"bye"
        scene.upstream.close()
        assert (await asyncio.to_thread(scene.client.response, scene.id)).ended


async def test_what_comes_before_the_answer_waits(scene: Scene) -> None:
    """Not one octet before the app's 101 (and all of them, in order, after it)."""
    with scene.client:
        await scene.ask()
        await scene.send(b"early ")
        await scene.send(b"bird")
        await asyncio.to_thread(scene.client.ping)
        assert not scene.upstream.unread
        await scene.accept()
        assert await scene.upstream.read(10) == b"early bird"
        scene.upstream.close()
        await asyncio.to_thread(scene.client.response, scene.id)


async def test_a_reset_is_a_reset(scene: Scene) -> None:
    with scene.client:
        await scene.ask()
        await scene.accept()
        await asyncio.to_thread(scene.client.reset, scene.id)
        await scene.upstream.ended()
        await asyncio.to_thread(scene.client.ping)


async def test_an_app_that_dies(scene: Scene) -> None:
    """The stream does not end as if all were well."""
    with scene.client:
        await scene.ask()
        await scene.accept(behind=b"half a mess")
        await scene.came(b"half a mess")
        scene.upstream.reset()
        await asyncio.to_thread(scene.client.expect_reset, scene.id)
        await asyncio.to_thread(scene.client.ping)


async def test_an_app_that_refuses(scene: Scene) -> None:
    """Its status and its body pass."""
    with scene.client:
        await scene.ask()
        scene.upstream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nX-Why: so\r\n\r\nno!!")
        answer = await asyncio.to_thread(scene.client.response, scene.id)
        assert (answer.status, bytes(answer.body), answer.get(b"x-why")) == (403, b"no!!", b"so")
        assert answer.get(b"x-gateway-hint").startswith(b"the app refused the WebSocket, usually by its origin check. ")
        scene.gateway.expect_complaint("usually by its origin check")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: other\r\nSec-WebSocket-Accept: <accept>\r\n\r\n",
    ],
    ids=["no accept", "wrong accept", "another protocol"],
)
async def test_an_app_that_accepts_what_was_not_asked(scene: Scene, answer: bytes) -> None:
    """The browser cannot check it any more, so we do: 502 and no tunnel."""
    with scene.client:
        await scene.ask()
        digest = base64.b64encode(hashlib.sha1(scene.key + GUID).digest())
        scene.upstream.send(answer.replace(b"<accept>", digest))
        got = await asyncio.to_thread(scene.client.response, scene.id)
        assert got.status in (200, 502), "a page, or a Close with a reason"
        assert b"http_protocol_error" in (got.reason or b"") + bytes(got.body)


async def test_a_200_is_no_tunnel(scene: Scene) -> None:
    """The app answered the GET: a browser over HTTP/1.1 would have refused it; 200 over HTTP/2 would mean success."""
    with scene.client:
        await scene.ask()
        await scene.send(b"evil")
        scene.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        got = await asyncio.to_thread(scene.client.response, scene.id)
        assert got.status >= 400 or got.reset is not None or got.body.startswith(b"\x88"), got
        assert b"evil" not in bytes(scene.upstream.received)


async def test_many_tunnels_and_requests_on_one_connection(gateway: Gateway) -> None:
    tunnels: list[Wire] = []

    async def script(wire: Wire) -> None:
        asked = await wire.request()
        wire.send(accepted(asked.get(b"Sec-WebSocket-Key") or b"") + b"\r\n")
        tunnels.append(wire)
        while await wire.another():
            wire.send(wire.take())
        wire.close()

    stage = await open_stage(gateway)
    app = await gateway.app(script)

    def play(stage: Stage) -> None:
        client = stage.client
        ids = [client.request_of(handshake(app.host), end=False) for _ in range(20)]
        for id in ids:
            assert client.head(id).status == 200
        for count, id in enumerate(ids):
            client.send_frame(Type.DATA, 0, id, b"word %d" % count)
        for count, id in enumerate(ids):
            stream = client.stream(id)
            client.wait(lambda stream=stream, count=count: stream.body == b"word %d" % count, "the echo")
        for id in ids[::2]:
            client.send_frame(Type.DATA, Flag.END_STREAM, id)
            assert client.response(id).ended
        for id in ids[1::2]:
            client.reset(id, Code.CANCEL)

    await perform(stage, play, Ignored())
    await until(lambda: all(wire.end for wire in tunnels), "the tunnels' ends")


@pytest.mark.parametrize("protocol", [b"connect-udp", b"webtransport", b"websocket, other", b"h2c"])
async def test_no_other_protocol(gateway: Gateway, protocol: bytes) -> None:
    def play(stage: Stage) -> None:
        stage.client.send_headers(stage.take(), literal(*handshake(stage.host, protocol=protocol)), end=False)

    await perform(await open_stage(gateway), play, Refuses(501, b"not_implemented"))


async def app_has_ended(scene: Scene) -> None:
    """Its own direction: it listens on."""
    scene.upstream.half_close()
    await asyncio.to_thread(scene.client.wait, lambda: scene.client.stream(scene.id).ended, "the app's end")


@pytest.mark.parametrize("end", ["END_STREAM", "RST_STREAM"])
async def test_the_last_octets_and_the_end_in_one_read(scene: Scene, end: str) -> None:
    with scene.client:
        await scene.ask()
        await scene.accept()
        if end == "END_STREAM":
            await app_has_ended(scene)
            last = frame(Type.DATA, Flag.END_STREAM, scene.id)
        else:
            last = frame(Type.RST_STREAM, 0, scene.id, number(Code.CANCEL))
        await asyncio.to_thread(scene.client.send, frame(Type.DATA, 0, scene.id, b"last words") + last)
        assert await scene.upstream.ended() == b"last words"


async def test_malformed_trailers_end_a_half_closed_tunnel_at_once(scene: Scene) -> None:
    """The stream is over by then for the session, and nobody else would tell the app."""
    with scene.client:
        await scene.ask()
        await scene.accept()
        await app_has_ended(scene)
        await asyncio.to_thread(scene.client.send_headers, scene.id, literal((b":bad", b"x")), end=True)
        await scene.upstream.ended()
