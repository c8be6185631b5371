"""A failure leaves nothing behind that only the garbage collector could find, whatever has failed and in which phase.

Somebody can ask for failures as fast as the network allows. What reference counts do not free then piles up until the
collector stops the event loop, for everybody, to take it away. An exception that is kept is the usual way to such a
cycle: it leads to its traceback, the traceback to frames, and a frame to the exception in a variable of its own.
"""

from __future__ import annotations

import gc
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest

import gateway
from gateway.directory.sandbox import DirectoryError, RecordError, Sandbox
from gateway.edge.upstream_protocol import UpstreamProtocols
from tests.behaviour.h2_wire import h2_browser
from tests.behaviour.harness import (
    DOMAIN,
    OK,
    SANDBOX,
    App,
    Gateway,
    OpenGateway,
    TlsSides,
    Wire,
    get,
    listening_socket,
    post,
    until,
)
from tests.support.h2_frames import PREFACE, Flag, Setting, Type, frame, literal, settings
from tests.support.ports import alone, silent_port

WARM_UP, ROUNDS = 3, 20
SOURCES = Path(gateway.__file__).parent
UPGRADE = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

Failing = Callable[["Stage"], Awaitable[None]]
KINDS: dict[str, tuple[Failing, dict[str, Any]]] = {}


class ByHttp1(UpstreamProtocols):
    """Never learns: an app that speaks HTTP/2 only fails again and again."""

    def learn(self, *_: object) -> bool:
        return False


class Stage:
    """One gateway on which the same thing fails again and again."""

    def __init__(self, gateway: Gateway, tls: TlsSides, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gateway = gateway
        self.tls = tls
        self.monkeypatch = monkeypatch
        self.app: App
        self.secure = False
        self.round = 0

    async def ask(self, request: bytes) -> Wire:
        browser = await self.gateway.connect(tls=self.secure)
        browser.send(request)
        return browser

    async def refused(self, request: bytes, reason: bytes) -> None:
        """The gateway answers `request` itself."""
        browser = await self.ask(request)
        answer = await browser.answer()
        assert answer.reason == reason, answer
        browser.reset()

    async def asked(self, request: bytes | None = None) -> tuple[Wire, Wire]:
        """A request that has reached the app: both ends."""
        known = len(self.app.connections)
        browser = await self.ask(request or get(self.app))
        await until(lambda: len(self.app.connections) > known, "the app's connection")
        upstream = self.app.connections[known]
        await upstream.head()
        return browser, upstream

    async def answered(self, octets: bytes, reason: bytes) -> None:
        """The app answers with `octets`, which the gateway does not pass on."""
        browser, upstream = await self.asked()
        upstream.send(octets)
        assert (await browser.answer()).reason == reason
        await upstream.ended()
        browser.reset()

    async def called(self, begins: bytes = b"") -> tuple[Wire, Wire]:
        """A call of gRPC; who begins HTTP/2 has been asked, who does not, only for that."""
        known = len(self.app.connections)
        fields = b"Content-Type: application/grpc\r\nTE: trailers\r\nContent-Length: 0\r\n"
        browser = await self.ask(b"POST /a/b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (self.app.host, fields))
        await until(lambda: len(self.app.connections) > known, "the app's connection")
        wire = self.app.connections[known]
        await wire.read(len(PREFACE))
        if begins:
            wire.send(begins)
            await wire.read_until(b"application/grpc")
        return browser, wire

    async def left(self, browser: Wire, wire: Wire) -> None:
        self.gateway.edge.pool.give_up()
        await wire.ended()
        browser.reset()

    async def released(self, *wires: Wire) -> None:
        for wire in wires:
            await wire.ended()
        await until(lambda: not self.gateway.edge.exchanges, "the exchange is over")

    def host(self, port: int) -> bytes:
        return b"%d-%b.%b" % (port, SANDBOX.encode(), DOMAIN.encode())

    def unanswered(self, error: type[DirectoryError]) -> None:
        """Whatever the directory is asked from now on meets such an error, new each time."""

        async def fail(sandbox_id: str) -> Sandbox | None:
            raise error(f"no answer about {sandbox_id}")

        self.monkeypatch.setattr(self.gateway.table, "fetch", fail)

    def move(self, address: str) -> None:
        self.gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address(address), "2")


def kind(**options: Any) -> Callable[[Failing], Failing]:
    def register(failing: Failing) -> Failing:
        KINDS[failing.__name__] = failing, options
        return failing

    return register


# --- reaching the sandbox ---------------------------------------------------------------------------------------------


@kind()
async def refused(stage: Stage) -> None:
    stage.app.stop()
    await stage.refused(get(stage.app), b"connection_refused")


@kind()
async def refused_at_port_after_port(stage: Stage) -> None:
    with listening_socket() as sock:
        port = sock.getsockname()[1]
    await stage.refused(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % stage.host(port), b"connection_refused")


@kind(directory={"ttl": 0.0})
async def refused_after_a_look_up(stage: Stage) -> None:
    stage.app.stop()
    await stage.refused(get(stage.app), b"connection_refused")


@kind()
async def refused_many_at_once(stage: Stage) -> None:
    stage.app.stop()
    browsers = [await stage.ask(get(stage.app)) for _ in range(20)]
    for browser in browsers:
        assert (await browser.answer()).reason == b"connection_refused"
        browser.reset()


@kind(upstream={"connect_timeout": 0.02})
async def timed_out(stage: Stage) -> None:
    with silent_port() as port:
        request = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % stage.host(port)
        await stage.refused(request, b"connection_timeout")


@kind(upstream={"allow": (IPv6Network("ff00::/8"),)})
async def unroutable(stage: Stage) -> None:
    stage.move("ff02::1")
    await stage.refused(get(stage.app), b"destination_ip_unroutable")


@kind()
async def prohibited(stage: Stage) -> None:
    stage.move("fd00::1")
    await stage.refused(get(stage.app), b"destination_ip_prohibited")


@kind(limits={"exchanges_per_sandbox": 0})
async def too_many_exchanges(stage: Stage) -> None:
    await stage.refused(get(stage.app), b"connection_limit_reached")


@kind(upstream={"connect_timeout": 60.0})
async def left_while_dialing(stage: Stage) -> None:
    with silent_port() as port:
        browser = await stage.ask(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % stage.host(port))
        await until(lambda: stage.gateway.edge.exchanges, "the exchange begins")
        browser.reset()
        await until(lambda: not stage.gateway.edge.exchanges, "the exchange is over")


# --- finding it -------------------------------------------------------------------------------------------------------


@kind(directory={"negative_ttl": 0.0})
async def not_found(stage: Stage) -> None:
    await stage.refused(b"GET / HTTP/1.1\r\nHost: 5000-nobody.%b\r\n\r\n" % DOMAIN.encode(), b"destination_not_found")


@kind()
async def not_found_as_remembered(stage: Stage) -> None:
    await stage.refused(b"GET / HTTP/1.1\r\nHost: 5000-nobody.%b\r\n\r\n" % DOMAIN.encode(), b"destination_not_found")


@kind(directory={"ttl": 0.0})
async def directory_unavailable(stage: Stage) -> None:
    stage.unanswered(DirectoryError)
    host = b"5000-other%d.%b" % (stage.round, DOMAIN.encode())
    await stage.refused(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, b"directory_unavailable")
    if stage.round == 1:
        stage.gateway.expect_complaint("no answer about")


@kind(directory={"ttl": 0.0})
async def record_unavailable(stage: Stage) -> None:
    stage.unanswered(RecordError)
    host = b"5000-other%d.%b" % (stage.round, DOMAIN.encode())
    await stage.refused(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, b"directory_unavailable")


@kind(directory={"ttl": 0.0})
async def served_from_an_old_record(stage: Stage) -> None:
    for _ in range(2 if stage.round == 1 else 1):
        browser, upstream = await stage.asked()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert (await browser.answer()).status == 200
        await upstream.ended()
        browser.reset()
        stage.unanswered(DirectoryError)
    if stage.round == 1:
        stage.gateway.expect_complaint("no answer about")


@kind()
async def unknown_domain(stage: Stage) -> None:
    await stage.refused(b"GET / HTTP/1.1\r\nHost: elsewhere%d.example\r\n\r\n" % stage.round, b"unknown_domain")


@kind()
async def invalid_port(stage: Stage) -> None:
    request = b"GET / HTTP/1.1\r\nHost: 65536-box%d.%b\r\n\r\n" % (stage.round, DOMAIN.encode())
    await stage.refused(request, b"invalid_port")


# --- the request ------------------------------------------------------------------------------------------------------


@kind()
async def bad_request(stage: Stage) -> None:
    await stage.refused(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"bad_request")


@kind()
async def fields_too_large(stage: Stage) -> None:
    request = b"GET / HTTP/1.1\r\nHost: %b\r\n" % stage.app.host + b"A: b\r\n" * 101 + b"\r\n"
    await stage.refused(request, b"header_section_too_large")


@kind(timeouts={"request_header": 0.02})
async def head_too_late(stage: Stage) -> None:
    await stage.refused(b"GET / HTTP/1.1\r\nHost: ", b"request_timeout")


@kind()
async def broken_body(stage: Stage) -> None:
    browser, upstream = await stage.asked(
        b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % stage.app.host
    )
    browser.send(b"no chunk\r\n")
    assert (await browser.answer()).reason == b"bad_request"
    browser.reset()
    await stage.released(upstream)


# --- what the app does ------------------------------------------------------------------------------------------------


@kind()
async def http_protocol_error(stage: Stage) -> None:
    await stage.answered(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", b"http_protocol_error")


@kind()
async def bad_fields(stage: Stage) -> None:
    await stage.answered(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"http_protocol_error")


@kind()
async def head_too_large(stage: Stage) -> None:
    octets = b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"
    await stage.answered(octets, b"http_response_header_section_size")


@kind()
async def speaks_tls(stage: Stage) -> None:
    await stage.answered(b"\x15\x03\x01\x00\x02\x02\x46", b"upstream_speaks_tls")


@kind()
async def speaks_http2(stage: Stage) -> None:
    stage.gateway.edge.protocols = ByHttp1(stage.gateway.edge.clock)
    await stage.answered(bytes(3) + b"\x04" + bytes(5), b"upstream_speaks_http2")


@kind()
async def speaks_http1(stage: Stage) -> None:
    browser, wire = await stage.called()
    wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert (await browser.answer()).reason == b"upstream_speaks_http1"
    await stage.left(browser, wire)


@kind()
async def broken_http2(stage: Stage) -> None:
    browser, wire = await stage.called(frame(Type.SETTINGS))
    wire.send(frame(Type.PING, 0, 1, bytes(8)))
    assert (await browser.answer()).reason == b"http_protocol_error"
    await stage.left(browser, wire)


@kind()
async def malformed_answer_of_http2(stage: Stage) -> None:
    browser, wire = await stage.called(frame(Type.SETTINGS))
    wire.send(frame(Type.HEADERS, Flag.END_HEADERS, 1, literal((b":status", b"2"))))
    assert (await browser.answer()).reason == b"http_protocol_error"
    await stage.left(browser, wire)


@kind()
async def terminated_over_http2(stage: Stage) -> None:
    browser, wire = await stage.called(frame(Type.SETTINGS))
    wire.reset()
    assert (await browser.answer()).reason == b"connection_terminated"
    await stage.left(browser, wire)


@kind()
async def incomplete_over_http2(stage: Stage) -> None:
    browser, wire = await stage.called(frame(Type.SETTINGS))
    fields = (b":status", b"200"), (b"content-type", b"application/grpc")
    wire.send(frame(Type.HEADERS, Flag.END_HEADERS, 1, literal(*fields)) + frame(Type.DATA, 0, 1, b"part"))
    await browser.read_until(b"part")
    wire.reset()
    await browser.read_until(b"(http_response_incomplete)")
    await stage.left(browser, wire)


@kind()
async def unasked_switch(stage: Stage) -> None:
    await stage.answered(SWITCHED, b"http_protocol_error")


@kind()
async def terminated_in_the_head(stage: Stage) -> None:
    browser, upstream = await stage.asked()
    upstream.send(b"HTTP/1.1 200 OK\r\n")
    upstream.close()
    assert (await browser.answer()).reason == b"connection_terminated"
    browser.reset()


@kind()
async def terminated_without_a_word(stage: Stage) -> None:
    browser, upstream = await stage.asked()
    upstream.close()
    # The gateway dials once more to ask for TLS, if it has not lately: nobody answers that either.
    for wire in stage.app.connections:
        wire.close()
    assert (await browser.answer()).reason == b"connection_terminated"
    browser.reset()


@kind()
async def reset_before_answering(stage: Stage) -> None:
    browser, upstream = await stage.asked()
    upstream.send(b"H")
    await upstream.drained()
    upstream.reset()
    assert (await browser.answer()).reason == b"connection_terminated"
    browser.reset()


@kind(upstream={"response_header_timeout": 0.02})
async def answer_too_late(stage: Stage) -> None:
    browser, upstream = await stage.asked()
    assert (await browser.answer()).reason == b"http_response_timeout"
    browser.reset()
    await upstream.ended()


@kind()
async def incomplete(stage: Stage) -> None:
    browser, upstream = await stage.asked()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    upstream.close()
    await stage.released(browser)


@kind()
async def broken_chunks(stage: Stage) -> None:
    browser, upstream = await stage.asked()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n")
    await stage.released(browser, upstream)


@kind()
async def stale_connection(stage: Stage) -> None:
    """An idle connection that its app closes as the next request is on its way: the request is sent again."""
    browser, upstream = await stage.asked()
    upstream.send(OK)
    await browser.answer()
    known = len(stage.app.connections)
    upstream.transport.pause_reading()
    upstream.reset()
    browser.send(get(stage.app))
    await until(lambda: len(stage.app.connections) > known, "the second attempt")
    again = stage.app.connections[known]
    await again.head()
    again.send(OK)
    assert (await browser.answer()).status == 200
    browser.reset()
    again.close()


# --- downstream leaves ------------------------------------------------------------------------------------------------


@kind()
async def left_inside_the_request(stage: Stage) -> None:
    browser, upstream = await stage.asked(post(stage.app, bytes(10))[:-5])
    browser.reset()
    await stage.released(upstream)


@kind()
async def left_while_waiting(stage: Stage) -> None:
    browser, upstream = await stage.asked()
    browser.reset()
    await stage.released(upstream)


@kind()
async def left_inside_the_answer(stage: Stage) -> None:
    browser, upstream = await stage.asked()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc")
    await browser.head()
    browser.reset()
    await stage.released(upstream)


@kind()
async def left_a_tunnel(stage: Stage) -> None:
    browser, upstream = await stage.asked(UPGRADE % stage.app.host)
    upstream.send(SWITCHED)
    await browser.head()
    browser.reset()
    await stage.released(upstream)


@kind()
async def app_left_a_tunnel(stage: Stage) -> None:
    browser, upstream = await stage.asked(UPGRADE % stage.app.host)
    upstream.send(SWITCHED)
    await browser.head()
    upstream.reset()
    await stage.released(browser)


@kind(timeouts={"handshake": 0.02})
async def tls_handshake_that_never_comes(stage: Stage) -> None:
    browser = await stage.gateway.connect_to(stage.gateway.tls_port)
    browser.send(b"\x16\x03\x01")
    await browser.ended()


@kind()
async def tls_handshake_that_fails(stage: Stage) -> None:
    browser = await stage.gateway.connect_to(stage.gateway.tls_port)
    browser.send(b"\x16\x03\x01\x00\x05hello")
    await browser.ended()
    browser.reset()


@kind()
async def tls_handshake_left(stage: Stage) -> None:
    browser = await stage.gateway.connect_to(stage.gateway.tls_port)
    browser.send(b"\x16\x03\x01\x01")
    await stage.gateway.settled()
    browser.reset()


@kind()
async def plain_on_the_tls_port(stage: Stage) -> None:
    browser = await stage.gateway.connect_to(stage.gateway.tls_port)
    browser.send(get(stage.app))
    assert (await browser.answer()).reason == b"plain_http_on_tls_port"
    browser.reset()


@kind()
async def nothing_asked(stage: Stage) -> None:
    browser = await stage.gateway.connect()
    browser.reset()


@kind()
async def spoke_before_it_was_asked(stage: Stage) -> None:
    known = len(stage.app.connections)
    browser = await stage.ask(get(stage.app))
    await until(lambda: len(stage.app.connections) > known, "the app's connection")
    stage.app.connections[known].send(b"220 mail.example ESMTP\r\n\r\n")
    assert (await browser.answer()).status == 502
    browser.reset()


@kind()
async def refused_with_a_look_at_ipv4(stage: Stage) -> None:
    ipv4_only, keeper = alone(lambda: socket.create_server(("127.0.0.1", 0)))
    with ipv4_only, keeper:
        request = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % stage.host(ipv4_only.getsockname()[1])
        browser = await stage.ask(request)
        assert (await browser.answer()).status == 502
        browser.reset()


# --- HTTP/2 -----------------------------------------------------------------------------------------------------------


@kind()
async def http2_nothing_asked(stage: Stage) -> None:
    browser = await h2_browser(stage.gateway, stage.app.host)
    await browser.wait(lambda: browser.peer.settings, "SETTINGS")
    browser.wire.close()


@kind()
async def http2_left_while_waiting(stage: Stage) -> None:
    known = len(stage.app.connections)
    browser = await h2_browser(stage.gateway, stage.app.host)
    browser.ask()
    await until(lambda: len(stage.app.connections) > known, "the app's connection")
    browser.wire.reset()
    await stage.released(stage.app.connections[known])


@kind()
async def http2_refused(stage: Stage) -> None:
    browser = await h2_browser(stage.gateway, b"www.elsewhere.example")
    assert (await browser.answer(browser.ask())).reason == b"unknown_domain"
    browser.wire.close()


@kind()
async def http2_broken(stage: Stage) -> None:
    browser = await h2_browser(stage.gateway, stage.app.host)
    browser.ask(method=b"POST", end=False)
    browser.tell(Type.DATA, 0, 0, b"on no stream")
    await browser.wait(lambda: browser.wire.end, "the end")


@kind()
async def http2_left_in_an_upload_that_was_answered(stage: Stage) -> None:
    browser = await h2_browser(stage.gateway, b"www.elsewhere.example")
    assert (await browser.answer(browser.ask(method=b"POST", end=False))).reason == b"unknown_domain"
    browser.wire.close()


@kind()
async def http2_left_while_the_answer_waits(stage: Stage) -> None:
    browser = await h2_browser(stage.gateway, b"www.elsewhere.example")
    browser.tell(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 0)))
    stream = browser.ask()
    await browser.wait(lambda: stream.status, "the answer's head")
    browser.wire.close()


# --- the count --------------------------------------------------------------------------------------------------------


def _exceptions_held() -> list[BaseException]:
    """Living exceptions whose traceback leads through the gateway's frames."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, BaseException) and _leads_inside(each)]


def _leads_inside(error: BaseException) -> bool:
    traceback = error.__traceback__
    while traceback is not None:
        if Path(traceback.tb_frame.f_code.co_filename).is_relative_to(SOURCES):
            return True
        traceback = traceback.tb_next
    return False


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.pure) if name == "speaks_http2" else name for name in KINDS]
)
async def test_no_failure_leaves_a_cycle(
    name: str, tls: bool, open_gateway: OpenGateway, tls_sides: TlsSides, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, options = KINDS[name]
    others = set(map(id, earlier := _exceptions_held()))  # what other tests of this process have left behind
    opened = await open_gateway(**options)
    stage = Stage(opened, tls_sides, monkeypatch)
    stage.app, stage.secure = await opened.app(), tls

    async def fail(times: int) -> None:
        for _ in range(times):
            stage.round += 1
            await failing(stage)
        await until(lambda: not opened.edge.connections and not len(opened.edge.tasks), "everything has ended")
        await until(lambda: not opened.edge.exchanges, "every exchange is over")

    await fail(WARM_UP)  # what is composed and compiled once is made now
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await fail(ROUNDS)
        gc.collect()
        found = Counter(type(each).__qualname__ for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    held = [each for each in _exceptions_held() if id(each) not in others]
    del earlier  # until here, so that nobody else got one of their ids
    assert not held, f"{len(held)} exceptions that were raised are kept: {held[:3]}"
    # The test's own loop may leave a cycle or two; what comes with every failure comes `ROUNDS` times.
    often = {name: count for name, count in found.items() if count >= ROUNDS / 2}
    assert not often, f"{sum(found.values()) / ROUNDS:.1f} objects a failure: {found.most_common(12)}"
