"""HTTP/2 without TLS to an app: who is asked by it, what is learned, and what becomes of requests when it goes wrong."""

from __future__ import annotations

import asyncio
import json
import socket
from ipaddress import IPv6Address

import pytest
from hpack import Decoder

from gateway.directory.sandbox import Sandbox
from gateway.edge.drain import Drain
from gateway.errors import GatewayError, Reason
from gateway.turns import PACE, PORTION
from gateway.upstream.http2 import Http2Upstream
from tests.behaviour.crowds import look_each_turn, most_at_once
from tests.behaviour.h2_wire import h2_browser
from tests.behaviour.harness import OK, SANDBOX, App, Gateway, OpenGateway, Wire, get, until
from tests.support.h2_frames import Code, Fields, Flag, Frame, Setting, Type, frame, literal, number, settings

GRPC = b"POST /a/b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/grpc\r\nTE: trailers\r\n"
UNARY = GRPC + b"Content-Length: 4\r\n\r\nping"
STREAM = GRPC + b"Transfer-Encoding: chunked\r\n\r\n"
STATUS = (b":status", b"200")
OF_GRPC = (STATUS, (b"content-type", b"application/grpc"))
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Server:
    """The app's end of a connection, once its preface has come."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._decoder = Decoder()

    @classmethod
    async def on(cls, app: App, *pairs: tuple[int, int]) -> Server:
        server = cls(await app.accept())
        assert await server.wire.read(len(PREFACE)) == PREFACE
        server.send(frame(Type.SETTINGS, 0, 0, settings(*pairs)), frame(Type.SETTINGS, Flag.ACK))
        return server

    def send(self, *frames: bytes) -> None:
        self.wire.send(b"".join(frames))

    async def frame(self, *kinds: Type) -> Frame:
        """The next one of these kinds; others are passed over."""
        while True:
            head = await self.wire.read(9)
            payload = await self.wire.read(int.from_bytes(head[:3], "big"))
            found = Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
            if found.type in kinds:
                return found

    async def asked(self) -> tuple[int, dict[bytes, bytes]]:
        """The next request: its stream, and its fields."""
        head = await self.frame(Type.HEADERS)
        return head.stream, {bytes(name): bytes(value) for name, value in self._decoder.decode(head.payload, raw=True)}

    def answer(
        self, stream: int, *fields: tuple[bytes, bytes], body: bytes = b"", trailers: Fields | None = None
    ) -> None:
        ends = Flag.END_STREAM if not body and trailers is None else 0
        self.send(frame(Type.HEADERS, Flag.END_HEADERS | ends, stream, literal(*fields)))
        if body:
            self.send(frame(Type.DATA, Flag.END_STREAM if trailers is None else 0, stream, body))
        if trailers is not None:
            self.send(frame(Type.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, stream, literal(*trailers)))


def speaks(gateway: Gateway, protocol: str) -> None:
    gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address("::1"), "1", protocol=protocol)


async def ask(gateway: Gateway, app: App, request: bytes = UNARY) -> Wire:
    browser = await gateway.connect()
    browser.send(request % app.host if b"%b" in request else request)
    return browser


# --- who is asked by it -----------------------------------------------------------------------------------------------


async def test_grpc_goes_by_http2_and_its_trailers_come_back(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await ask(gateway, app)
    server = await Server.on(app)
    stream, fields = await server.asked()
    assert (fields[b":method"], fields[b":path"], fields[b"te"]) == (b"POST", b"/a/b", b"trailers")
    assert fields[b":authority"] == app.host
    assert fields[b"x-forwarded-proto"]
    content = await server.frame(Type.DATA)
    assert (content.payload, content.flags & Flag.END_STREAM) == (b"ping", Flag.END_STREAM)
    server.answer(stream, *OF_GRPC, body=b"pong", trailers=[(b"grpc-status", b"0")])
    answer = await browser.answer()
    assert (answer.status, answer.body, answer.trailers) == (200, b"pong", b"grpc-status: 0\r\n")


async def test_a_trailers_only_answer_is_complete_by_http1_too(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await ask(gateway, app)
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.answer(stream, *OF_GRPC, (b"grpc-status", b"12"))
    answer = await browser.answer()
    assert (answer.get(b"grpc-status"), answer.body) == (b"12", b"")


async def test_everything_else_goes_by_http1(gateway: Gateway) -> None:
    app = await gateway.app()
    for kind in (b"application/grpc-web", b"application/grpc-web+proto", b"application/json"):
        browser = await ask(gateway, app, GRPC.replace(b"application/grpc", kind) + b"Content-Length: 0\r\n\r\n")
        upstream = await app.accept()
        assert (await upstream.request()).start == b"POST /a/b HTTP/1.1"
        upstream.send(OK)
        assert (await browser.answer()).status == 200
        upstream.close()


async def test_a_record_decides_by_port(gateway: Gateway) -> None:
    app, other = await gateway.app(), await gateway.app()
    speaks(gateway, f"http1 {app.port}=h2c")
    browser = await ask(gateway, app, get(app))
    server = await Server.on(app)
    stream, fields = await server.asked()
    assert b"te" not in fields
    server.answer(stream, STATUS, body=b"by HTTP/2")
    assert (await browser.answer()).body == b"by HTTP/2"
    browser = await ask(gateway, other)
    upstream = await other.accept()
    assert (await upstream.request()).body == b"ping"
    upstream.send(OK)
    assert (await browser.answer()).status == 200


async def test_a_websocket_to_an_app_of_http2_is_told_so(gateway: Gateway) -> None:
    app = await gateway.app()
    speaks(gateway, "h2c")
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n"
    asks = b"GET / HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n%b\r\n"
    browser = await ask(gateway, app, asks % (app.host, upgrade % b"dGhlIHNhbXBsZSBub25jZQ=="))
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"upstream_speaks_http2")
    assert "WebSocket" in json.loads(answer.body)["title"]
    assert app.connections == []


# --- what is learned --------------------------------------------------------------------------------------------------


async def test_an_app_of_http2_is_asked_again_and_then_at_once(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await ask(gateway, app, get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(frame(Type.SETTINGS) + frame(Type.GOAWAY, 0, 0, number(0) + number(Code.PROTOCOL_ERROR)))
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.answer(stream, STATUS, body=b"found out")
    assert (await browser.answer()).body == b"found out"
    browser.send(get(app))
    stream, _ = await server.asked()
    server.answer(stream, STATUS, body=b"known")
    assert (await browser.answer()).body == b"known"
    assert len(app.connections) == 2


async def test_what_cannot_be_sent_again_fails_once(gateway: Gateway) -> None:
    app = await gateway.app()
    plain = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\n\r\nping"
    browser = await ask(gateway, app, plain)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(frame(Type.SETTINGS))
    assert (await browser.answer()).reason == b"upstream_speaks_http2"
    browser.send(plain % app.host)
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.answer(stream, STATUS, body=b"ok")
    assert (await browser.answer()).body == b"ok"


async def test_what_was_learned_is_forgotten_when_the_app_is_another(gateway: Gateway) -> None:
    app = await gateway.app()
    gateway.edge.protocols._seen[gateway.table.table[SANDBOX].origin] = {app.port: float("inf")}
    browser = await ask(gateway, app, get(app))
    wire = await app.accept()
    await wire.read(len(PREFACE))
    wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


async def test_an_app_without_http2_is_told_so_to_grpc(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await ask(gateway, app)
    wire = await app.accept()
    await wire.read(len(PREFACE))
    wire.send(b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 0\r\n\r\n")
    answer = await browser.answer()
    assert (answer.status, answer.reason, answer.get(b"grpc-status")) == (200, b"upstream_speaks_http1", b"13")
    assert b"upstream_speaks_http1" in (answer.get(b"grpc-message") or b"")


# --- connections ------------------------------------------------------------------------------------------------------


async def test_a_crowd_shares_one_dial_and_the_next_begins_at_the_limit(gateway: Gateway) -> None:
    app = await gateway.app()
    browsers = [await ask(gateway, app) for _ in range(30)]
    first = await Server.on(app, (Setting.MAX_CONCURRENT_STREAMS, 20))
    second = await Server.on(app, (Setting.MAX_CONCURRENT_STREAMS, 20))
    for server, count in ((first, 20), (second, 10)):
        for _ in range(count):
            stream, _ = await server.asked()
            server.answer(stream, *OF_GRPC, (b"grpc-status", b"0"))
    assert [(await browser.answer()).get(b"grpc-status") for browser in browsers] == [b"0"] * 30
    assert len(app.connections) == 2
    assert len(gateway.edge.pool.idle) == 2


async def test_goaway_moves_what_was_not_begun_to_another_connection(gateway: Gateway) -> None:
    app = await gateway.app()
    speaks(gateway, "h2c")
    kept = await ask(gateway, app, get(app))
    server = await Server.on(app)
    stream, _ = await server.asked()
    moved = await ask(gateway, app, get(app))
    await server.asked()
    server.send(frame(Type.GOAWAY, 0, 0, number(stream) + number(Code.NO_ERROR)))
    another = await Server.on(app)
    again, _ = await another.asked()
    another.answer(again, STATUS, body=b"moved")
    assert (await moved.answer()).body == b"moved"
    server.answer(stream, STATUS, body=b"kept")
    assert (await kept.answer()).body == b"kept"
    await server.wire.ended()


async def test_a_call_that_was_refused_is_made_again_if_nothing_of_it_is_used_up(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await ask(gateway, app, STREAM)
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.send(frame(Type.RST_STREAM, 0, stream, number(Code.REFUSED_STREAM)))
    again, _ = await server.asked()
    browser.send(b"4\r\nping\r\n0\r\n\r\n")
    assert (await server.frame(Type.DATA)).payload == b"ping"
    server.answer(again, *OF_GRPC, (b"grpc-status", b"0"))
    assert (await browser.answer()).get(b"grpc-status") == b"0"


async def test_a_call_that_was_refused_later_is_unavailable(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await ask(gateway, app)
    server = await Server.on(app)
    stream, _ = await server.asked()
    await server.frame(Type.DATA)
    server.send(frame(Type.RST_STREAM, 0, stream, number(Code.REFUSED_STREAM)))
    answer = await browser.answer()
    assert (answer.reason, answer.get(b"grpc-status")) == (b"connection_terminated", b"14")


async def test_of_a_call_that_may_have_been_made_nothing_is_known(gateway: Gateway) -> None:
    """The app dies before it answers: whoever sends again what is UNAVAILABLE would make the call twice."""
    app = await gateway.app()
    browser = await ask(gateway, app)
    server = await Server.on(app)
    await server.asked()
    server.wire.reset()
    answer = await browser.answer()
    assert answer.get(b"Grpc-Status") == b"2"
    assert answer.reason == b"connection_terminated"


@pytest.mark.parametrize("call", [True, False])
async def test_a_grpc_server_that_resets_a_page_is_not_said_to_have_crashed(gateway: Gateway, call: bool) -> None:
    app = await gateway.app()
    speaks(gateway, "h2c")
    browser = await ask(gateway, app, UNARY if call else get(app))
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.send(frame(Type.RST_STREAM, 0, stream, number(Code.INTERNAL_ERROR)))
    answer = await browser.answer()
    assert answer.reason == b"connection_terminated"
    if call:
        assert b"closed%20the%20connection" in (answer.get(b"grpc-message") or b"").replace(b" ", b"%20")
    else:
        assert b"speaks HTTP/2 and refused this request" in answer.body
        assert b"Is it a gRPC server?" in answer.body


@pytest.mark.parametrize("dies", [True, False])
async def test_who_speaks_http2_is_not_asked_what_it_speaks(gateway: Gateway, dies: bool) -> None:
    """To a call that fails before its answer, that an app does not take HTTP/1.1 is no explanation."""
    app = await gateway.app()
    browser = await ask(gateway, app)
    server = await Server.on(app)
    stream, _ = await server.asked()
    if dies:
        server.wire.close()
    else:
        server.send(frame(Type.RST_STREAM, 0, stream, number(Code.INTERNAL_ERROR)))
    assert (await browser.answer()).reason == b"connection_terminated"
    assert len(app.connections) == 1


async def test_a_crowd_at_an_app_that_never_begins_is_told_at_once(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"response_header_timeout": 0.2})
    app = await gateway.app()
    browsers = [await ask(gateway, app) for _ in range(5)]
    answers = [await browser.answer() for browser in browsers]
    assert [answer.reason for answer in answers] == [b"http_response_timeout"] * 5
    assert len(app.connections) == 1


async def test_a_call_that_breaks_off_ends_with_why(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await ask(gateway, app)
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.send(frame(Type.HEADERS, Flag.END_HEADERS, stream, literal(*OF_GRPC)), frame(Type.DATA, 0, stream, b"part"))
    await browser.read_until(b"part")
    server.wire.reset()
    rest = await browser.read_until(b"\r\n0\r\n") + await browser.read_until(b"\r\n\r\n")
    assert b"Grpc-Status: 14\r\n" in rest
    assert b"(http_response_incomplete)" in rest
    await until(lambda: gateway.log, "the record")
    assert gateway.log[-1].reason == "http_response_incomplete"


async def test_a_call_that_outlasts_a_drain_is_told_why(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await ask(gateway, app)
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.send(frame(Type.HEADERS, Flag.END_HEADERS, stream, literal(*OF_GRPC)), frame(Type.DATA, 0, stream, b"part"))
    await browser.read_until(b"part")
    plan = Drain(gateway.edge, 0.0)
    plan.begin()
    plan.end()
    await gateway.edge.close()
    rest = await browser.read_until(b"\r\n0\r\n") + await browser.read_until(b"\r\n\r\n")
    assert b"Grpc-Status: 14\r\n" in rest
    assert b"(drain_timeout)" in rest


async def test_a_call_by_http2_that_outlasts_a_drain_is_told_why(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    more = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    call = browser.ask(b"/a/b", method=b"POST", more=more, end=False)
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.send(frame(Type.HEADERS, Flag.END_HEADERS, stream, literal(*OF_GRPC)), frame(Type.DATA, 0, stream, b"part"))
    await browser.wait(lambda: call.body == b"part", "the beginning of the answer")
    plan = Drain(gateway.edge, 0.0)
    plan.begin()
    plan.end()
    await gateway.edge.close()
    trailers = dict((await browser.answer(call)).trailers)
    assert (trailers[b"grpc-status"], b"drain_timeout" in trailers[b"grpc-message"]) == (b"14", True)


async def test_an_answer_that_is_no_grpc_breaks_off_visibly(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await ask(gateway, app)
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.send(frame(Type.HEADERS, Flag.END_HEADERS, stream, literal(STATUS)), frame(Type.DATA, 0, stream, b"part"))
    await browser.read_until(b"part")
    server.wire.reset()
    assert b"0\r\n\r\n" not in await browser.ended()


async def test_who_leaves_cancels_the_stream_and_no_other(gateway: Gateway) -> None:
    app = await gateway.app()
    leaves = await ask(gateway, app, STREAM)
    server = await Server.on(app)
    stream, _ = await server.asked()
    stays = await ask(gateway, app)
    other, _ = await server.asked()
    leaves.reset()
    reset = await server.frame(Type.RST_STREAM)
    assert (reset.stream, reset.code) == (stream, Code.CANCEL)
    server.answer(other, *OF_GRPC, (b"grpc-status", b"0"))
    assert (await stays.answer()).status == 200


async def test_a_slow_reader_holds_up_no_other(gateway: Gateway) -> None:
    app = await gateway.app()
    slow = await ask(gateway, app)
    server = await Server.on(app)
    stream, _ = await server.asked()
    slow.stop_reading()
    server.send(frame(Type.HEADERS, Flag.END_HEADERS, stream, literal(*OF_GRPC)))
    window = 65_535
    updates = 0
    for _ in range(2000):  # until no more credit comes
        if window < 16_000:
            try:
                async with asyncio.timeout(0.3):
                    update = await server.frame(Type.WINDOW_UPDATE)
            except TimeoutError:
                break
            if update.stream == stream:
                window += int.from_bytes(update.payload, "big")
                updates += 1
            continue
        server.send(frame(Type.DATA, 0, stream, bytes(16_000)))
        window -= 16_000
    else:
        raise AssertionError("the app was never told to wait")
    quick = await ask(gateway, app)
    other, _ = await server.asked()
    server.answer(other, *OF_GRPC, body=b"quick", trailers=[(b"grpc-status", b"0")])
    assert (await quick.answer()).body == b"quick"
    slow.read_on()
    server.answer(stream, (b"grpc-status", b"0"))
    await slow.read_until(b"grpc-status: 0\r\n")


# --- many at once -----------------------------------------------------------------------------------------------------

CROWD = 5 * PORTION


async def crowd(gateway: Gateway, app: App, request: bytes = UNARY) -> tuple[list[Wire], Server]:
    """Browsers whose requests, which are not sent again, wait for an answer, all on one connection."""
    browsers = [await ask(gateway, app, request) for _ in range(CROWD)]
    server = await Server.on(app)
    for _ in browsers:
        await server.asked()
    return browsers, server


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("reset", b"connection_terminated"),
        ("each by RST_STREAM", b"connection_terminated"),
        ("broken", b"http_protocol_error"),
        ("replaced", b"http_response_timeout"),
    ],
)
async def test_a_crowd_whose_connection_ends_is_told_in_portions(gateway: Gateway, end: str, reason: bytes) -> None:
    """A thousand at once would hold everybody else up for 50 ms."""
    app = await gateway.app()
    browsers, server = await crowd(gateway, app)
    seen = look_each_turn(gateway)
    if end == "reset":
        server.wire.reset()
    elif end == "each by RST_STREAM":
        server.send(*[frame(Type.RST_STREAM, 0, 2 * each + 1, number(Code.CANCEL)) for each in range(CROWD)])
    elif end == "broken":
        server.send(frame(Type.PING, 0, 1, bytes(8)))
    else:
        (connection,) = gateway.edge.pool.connections
        connection.cut_off()
    for browser in browsers:
        assert (await browser.answer()).reason == reason
    assert seen[-1] == 0
    assert most_at_once(seen) <= PORTION


async def test_a_crowd_that_is_late_is_told_in_portions(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"response_header_timeout": 0.5})
    app = await gateway.app()
    speaks(gateway, "h2c")
    browsers, _ = await crowd(gateway, app, get(app))
    seen = look_each_turn(gateway)
    for browser in browsers:
        assert (await browser.answer()).reason == b"http_response_timeout"
    assert most_at_once(seen) <= PORTION


@pytest.mark.parametrize("protocol", ["http1", "h2c"])
async def test_a_crowd_at_an_app_that_cannot_be_reached_is_told_in_portions(
    open_gateway: OpenGateway, protocol: str
) -> None:
    """Most of it waits for the outcome of the dials of a few."""
    gateway = await open_gateway(upstream={"connect_timeout": 5.0})
    app = await gateway.app()
    reached = asyncio.Event()

    async def open_socket(*_: object) -> socket.socket:
        await reached.wait()
        raise GatewayError(Reason.CONNECTION_TIMEOUT, "nobody there")

    speaks(gateway, protocol)
    gateway.edge.pool.open_socket = open_socket
    browsers = [await ask(gateway, app, get(app)) for _ in range(CROWD)]
    await until(lambda: gateway.edge.exchanges.get(SANDBOX) == CROWD, "all wait")
    seen = look_each_turn(gateway)
    reached.set()
    for browser in browsers:
        assert (await browser.answer()).reason == b"connection_timeout"
    assert most_at_once(seen) <= PACE


async def test_a_crowd_that_was_not_taken_is_taken_elsewhere(gateway: Gateway) -> None:
    """Whoever has not been told of GOAWAY yet when the connection ends, too."""
    app = await gateway.app()
    speaks(gateway, "h2c")
    browsers, server = await crowd(gateway, app, get(app))
    server.send(GOAWAY)
    server.wire.close()
    assert await taken(gateway, app, browsers) == {b"taken"}


async def taken(gateway: Gateway, app: App, browsers: list[Wire]) -> set[bytes]:
    """What becomes of requests that another connection takes."""
    another = await Server.on(app)

    async def serve() -> None:
        while True:
            stream, _ = await another.asked()
            another.answer(stream, STATUS, body=b"taken")

    serving = gateway.edge.tasks.spawn(serve(), "the app")
    answers = [await browser.answer() for browser in browsers]
    serving.cancel()
    return {answer.reason or answer.body for answer in answers}


GOAWAY = frame(Type.GOAWAY, 0, 0, number(0) + number(Code.NO_ERROR))


@pytest.mark.parametrize("then", ["broken", "replaced"])
async def test_what_was_not_taken_is_sent_again_however_its_connection_ends(gateway: Gateway, then: str) -> None:
    app = await gateway.app()
    speaks(gateway, "h2c")
    browsers, server = await crowd(gateway, app, get(app).replace(b"GET", b"POST"))
    (connection,) = gateway.edge.pool.connections
    server.send(GOAWAY, frame(Type.PING, 0, 1, bytes(8)) if then == "broken" else b"")
    if then == "replaced":
        await until(lambda: not connection.is_available, "GOAWAY is read")
        connection.cut_off()
    assert await taken(gateway, app, browsers) == {b"taken"}


async def test_a_body_waits_until_it_is_known_who_takes_it(gateway: Gateway) -> None:
    app = await gateway.app()
    speaks(gateway, "h2c")
    browsers, server = await crowd(gateway, app, STREAM)
    (connection,) = gateway.edge.pool.connections
    loop = asyncio.get_running_loop()

    def upload() -> None:
        if connection.is_available:
            loop.call_soon(upload)
        else:  # some have not been told
            for browser in browsers:
                browser.send(b"4\r\nping\r\n0\r\n\r\n")

    loop.call_soon(upload)
    server.send(GOAWAY)
    assert await taken(gateway, app, browsers) == {b"taken"}


async def test_goaway_takes_nothing_from_a_complete_answer(gateway: Gateway) -> None:
    """Which waits for a slow reader, while its request is still being sent."""
    app = await gateway.app()
    speaks(gateway, "h2c")
    browser = await ask(gateway, app, STREAM)
    server = await Server.on(app)
    stream, _ = await server.asked()
    (connection,) = gateway.edge.pool.connections
    assert isinstance(connection, Http2Upstream)
    (upstream,) = connection._streams
    upstream.pause()
    server.answer(stream, STATUS, (b"content-length", b"4"), body=b"full")
    await until(lambda: upstream._content_ended, "all is here")
    server.send(GOAWAY)
    await until(lambda: connection.session.peer_going_away, "GOAWAY is read")
    upstream.resume()
    assert (await browser.answer()).body == b"full"


async def test_who_was_not_told_yet_may_go_on(gateway: Gateway) -> None:
    """Uploads to a connection that has ended: what they send goes nowhere, who leaves is not missed."""
    app = await gateway.app()
    speaks(gateway, "h2c")
    browsers, server = await crowd(gateway, app, STREAM)
    server.wire.reset()
    await server.wire.ended()
    for number_, browser in enumerate(browsers):
        browser.send(b"4\r\nping\r\n")
        if number_ % 5 == 0:
            browser.reset()
    for number_, browser in enumerate(browsers):
        if number_ % 5:
            assert (await browser.answer()).reason == b"connection_terminated"
