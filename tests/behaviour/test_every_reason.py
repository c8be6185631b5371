"""Every row of the Reason table, met for real, in every form somebody may ask for.

A scene brings the gateway into a row's situation with real sockets and sends the request it is given. The tests walk the
table, so a reason that nobody can reach, or that nobody has tried, fails here.
"""

from __future__ import annotations

import errno
import json
import re
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import msgspec
import pytest

from gateway.directory.sandbox import DirectoryError, Sandbox
from gateway.edge.drain import Drain
from gateway.errors import Blame, Reason
from gateway.problems.problem import Problem
from tests.behaviour.harness import SANDBOX, App, Gateway, Message, OpenGateway, Wire, get, until
from tests.support.ports import silent_port, switch_off

DOMAIN = b"sandbox.localhost"
HOSTILE = b"<img src=x onerror=alert(1)>"
"""What an app says when it attacks whoever reads about its failure."""

FORMS = {
    "html": b"Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n",
    "json": b"Accept: application/json\r\n",
    "fetch": b"Accept: */*\r\nOrigin: https://elsewhere.example\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
    "text": b"Accept: */*\r\nUser-Agent: curl/8\r\n",
    "script": b"Accept: */*\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n",
    "grpc": b"Content-Type: application/grpc\r\nTE: trailers\r\n",
}

Ask = Callable[[bytes], bytes]
"""A request for a host, with the fields of one form; `Scenes` may change it further."""


class Scene:
    """One gateway and one request under way; `open` is the fixture, `form` the fields of the form asked for."""

    def __init__(self, open_gateway: OpenGateway, form: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = open_gateway
        self.form = form
        self.monkeypatch = monkeypatch
        self.gateway: Gateway
        self.complaint = ""  # what may be in the log

    async def start(self, **options: Any) -> Gateway:
        self.gateway = await self.open(**options)
        if b"grpc" in self.form:
            self.speaks("http1")  # as the apps of the scenes do; else gRPC is asked by HTTP/2
        return self.gateway

    def speaks(self, protocol: str) -> None:
        """What the sandbox's record says."""
        self.gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address("::1"), "1", protocol=protocol)

    def ask(self, host: bytes, *, line: bytes = b"GET / HTTP/1.1", more: bytes = b"") -> bytes:
        return b"%b\r\nHost: %b\r\n%b%b\r\n" % (line, host, self.form, more)

    async def send(self, host: bytes, *, line: bytes = b"GET / HTTP/1.1", more: bytes = b"", tls: bool = False) -> Wire:
        browser = await self.gateway.connect(tls=tls)
        browser.send(self.ask(host, line=line, more=more))
        return browser

    async def to_app(self, **options: Any) -> tuple[App, Wire, Wire]:
        """The app, the browser, and the app's connection with the request read."""
        gateway = await self.start(**options)
        app = await gateway.app()
        browser = await self.send(app.host)
        upstream = await app.accept()
        await upstream.request()
        return app, browser, upstream

    async def box(self, address: str, **options: Any) -> Wire:
        """The request, for a sandbox at `address`."""
        gateway = await self.start(**options)
        gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address(address), "2")
        return await self.send(b"5000-box." + DOMAIN)


Play = Callable[[Scene], Awaitable[Wire]]
SCENES: dict[Reason, Play] = {}
UNREAD: set[Reason] = set()
"""Over HTTP/1.1 the request's head could not be read: only a navigation is recognised, everybody else gets text."""
OF_HTTP1 = {Reason.UNEXPECTED_PROXY_HEADER, Reason.HTTP_VERSION_NOT_SUPPORTED, Reason.PLAIN_HTTP_ON_TLS_PORT}
"""What is said of something that is not HTTP/2."""


def scene(reason: Reason, *, unread: bool = False) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        SCENES[reason] = play
        if unread:
            UNREAD.add(reason)
        return play

    return register


# --- the hostname -----------------------------------------------------------------------------------------------------


@scene(Reason.UNKNOWN_DOMAIN)
async def unknown_domain(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"5000-box.elsewhere.example")


@scene(Reason.INVALID_HOSTNAME)
async def invalid_hostname(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"nothing." + DOMAIN)


@scene(Reason.INVALID_PORT)
async def invalid_port(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"65536-box." + DOMAIN)


@scene(Reason.PORT_DENIED)
async def port_denied(scene: Scene) -> Wire:
    await scene.start(upstream={"deny_ports": (22,)})
    return await scene.send(b"22-box." + DOMAIN)


# --- the request ------------------------------------------------------------------------------------------------------


@scene(Reason.BAD_REQUEST, unread=True)
async def bad_request(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"5000-box." + DOMAIN, more=b"Host: again\r\n")


@scene(Reason.PLAIN_HTTP_ON_TLS_PORT)
async def plain_http_on_tls_port(scene: Scene) -> Wire:
    gateway = await scene.start()
    browser = await gateway.connect_to(gateway.tls_port)
    browser.send(scene.ask(b"5000-box." + DOMAIN))
    return browser


@scene(Reason.UNEXPECTED_PROXY_HEADER, unread=True)
async def unexpected_proxy_header(scene: Scene) -> Wire:
    gateway = await scene.start()
    browser = await gateway.connect()
    browser.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n" + scene.ask(b"5000-box." + DOMAIN))
    return browser


@scene(Reason.REQUEST_TIMEOUT, unread=True)
async def request_timeout(scene: Scene) -> Wire:
    gateway = await scene.start(timeouts={"request_header": 0.1, "body_idle": 0.1, "tunnel_idle": 0.1})
    browser = await gateway.connect()
    if gateway.protocol == "http1":
        browser.send(b"GET / HTTP/1.1\r\n%bHost: " % scene.form)
    else:  # whose heads are whole: a body does not come
        app = await gateway.app()
        browser.send(scene.ask(app.host, line=b"PUT / HTTP/1.1", more=b"Content-Length: 9\r\n"))
    return browser


@scene(Reason.METHOD_NOT_ALLOWED, unread=True)
async def method_not_allowed(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"5000-box." + DOMAIN, line=b"TRACE / HTTP/1.1")


@scene(Reason.URI_TOO_LONG, unread=True)
async def uri_too_long(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"5000-box." + DOMAIN, line=b"GET /%b HTTP/1.1" % (b"x" * 9000))


@scene(Reason.EXPECTATION_FAILED, unread=True)
async def expectation_failed(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"5000-box." + DOMAIN, more=b"Expect: the-unexpected\r\n")


@scene(Reason.HEADER_SECTION_TOO_LARGE, unread=True)
async def header_section_too_large(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"5000-box." + DOMAIN, more=b"A: b\r\n" * 101)


@scene(Reason.NOT_IMPLEMENTED, unread=True)
async def not_implemented(scene: Scene) -> Wire:
    gateway = await scene.start()
    coding, protocol = b"Transfer-Encoding: gzip\r\n", b"Connection: Upgrade\r\nUpgrade: connect-udp\r\n"
    more = coding if gateway.protocol == "http1" else protocol  # an extended CONNECT
    return await scene.send(b"5000-box." + DOMAIN, more=more)


@scene(Reason.HTTP_VERSION_NOT_SUPPORTED, unread=True)
async def http_version_not_supported(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"5000-box." + DOMAIN, line=b"GET / HTTP/9.9")


@scene(Reason.PROXY_LOOP_DETECTED)
async def proxy_loop_detected(scene: Scene) -> Wire:
    gateway = await scene.start()
    app = await gateway.app()
    return await scene.send(app.host, more=b"Via: 1.1 gateway\r\n" * 8)


# --- finding the sandbox ----------------------------------------------------------------------------------------------


@scene(Reason.DESTINATION_NOT_FOUND)
async def destination_not_found(scene: Scene) -> Wire:
    await scene.start()
    return await scene.send(b"5000-nobody." + DOMAIN)


@scene(Reason.DIRECTORY_UNAVAILABLE)
async def directory_unavailable(scene: Scene) -> Wire:
    gateway = await scene.start()

    async def fail(sandbox_id: str) -> Sandbox | None:
        raise DirectoryError(f"no answer about {sandbox_id}")

    scene.monkeypatch.setattr(gateway.table, "fetch", fail)
    wire = await scene.send(b"5000-box." + DOMAIN)
    await until(lambda: gateway.edge.directory.availability.away, "the directory's answer")
    gateway.expect_complaint("no answer about box")
    return wire


@scene(Reason.DESTINATION_IP_PROHIBITED)
async def destination_ip_prohibited(scene: Scene) -> Wire:
    return await scene.box("fd00::1")


# --- reaching the sandbox ---------------------------------------------------------------------------------------------


@scene(Reason.CONNECTION_REFUSED)
async def connection_refused(scene: Scene) -> Wire:
    gateway = await scene.start()
    app = await gateway.app()
    app.stop()
    return await scene.send(app.host)


@scene(Reason.IPV4_ONLY_LISTENER)
async def ipv4_only_listener(scene: Scene) -> Wire:
    gateway = await scene.start()
    app = App(None)
    gateway.apps.append(app)
    await app.start_alone(ipv4_socket)
    return await scene.send(app.host)


def ipv4_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@scene(Reason.CONNECTION_TIMEOUT)
async def connection_timeout(scene: Scene) -> Wire:
    switch_off(scene.monkeypatch)
    return await _silence(scene)


async def _silence(scene: Scene) -> Wire:
    await scene.start(upstream={"connect_timeout": 0.2})
    with silent_port() as port:
        browser = await scene.send(b"%d-box.%b" % (port, DOMAIN))
        await browser.wait(lambda: bool(browser.unread), "an answer")
    return browser


@scene(Reason.DESTINATION_IP_UNROUTABLE)
async def destination_ip_unroutable(scene: Scene) -> Wire:
    # The one verdict of the kernel that needs neither a route nor a packet: nobody connects to a multicast group.
    return await scene.box("ff02::1", upstream={"allow": (IPv6Network("ff00::/8"),)})


@scene(Reason.CONNECTION_LIMIT_REACHED)
async def connection_limit_reached(scene: Scene) -> Wire:
    gateway = await scene.start(limits={"exchanges_per_sandbox": 1})
    app = await gateway.app()
    first = await gateway.connect()
    first.send(get(app))
    await (await app.accept()).request()
    return await scene.send(app.host)


@scene(Reason.OVERLOADED)
async def overloaded(scene: Scene) -> Wire:
    gateway = await scene.start()
    app = await gateway.app()
    browser = await gateway.connect()

    def exhausted(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    # Only the dial meets it: running out for real would end this process's own sockets too.
    scene.monkeypatch.setattr("gateway.upstream.dial.socket.socket", exhausted)
    browser.send(scene.ask(app.host))
    await browser.wait(lambda: bool(browser.unread), "an answer")
    scene.monkeypatch.undo()
    return browser


# --- talking to the app -----------------------------------------------------------------------------------------------


@scene(Reason.CONNECTION_TERMINATED)
async def connection_terminated(scene: Scene) -> Wire:
    _, browser, upstream = await scene.to_app()
    upstream.send(b"HTTP/1.1 200 OK\r\n")
    await upstream.drained()
    upstream.close()
    return browser


@scene(Reason.HTTP_RESPONSE_TIMEOUT)
async def http_response_timeout(scene: Scene) -> Wire:
    _, browser, _ = await scene.to_app(upstream={"response_header_timeout": 0.1})
    return browser


@scene(Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE)
async def http_response_header_section_size(scene: Scene) -> Wire:
    _, browser, upstream = await scene.to_app()
    upstream.send(b"HTTP/1.1 200 OK\r\n" + b"X-A: %b\r\n" % HOSTILE * 1000 + b"\r\n")
    return browser


@scene(Reason.HTTP_PROTOCOL_ERROR)
async def http_protocol_error(scene: Scene) -> Wire:
    _, browser, upstream = await scene.to_app()
    upstream.send(HOSTILE + b"\r\n\r\n")
    return browser


@scene(Reason.UPSTREAM_SPEAKS_TLS)
async def upstream_speaks_tls(scene: Scene) -> Wire:
    _, browser, upstream = await scene.to_app()
    upstream.send(b"\x15\x03\x01\x00\x02\x02\x46")  # OpenSSL's alert to a plain request: protocol_version
    return browser


@scene(Reason.UPSTREAM_SPEAKS_HTTP2)
async def upstream_speaks_http2(scene: Scene) -> Wire:
    app = await (await scene.start()).app()
    scene.speaks("http1")  # else it would be asked again, by HTTP/2
    browser = await scene.send(app.host)
    upstream = await app.accept()
    upstream.send(bytes(3) + b"\x04" + bytes(5))  # an empty SETTINGS frame
    return browser


@scene(Reason.UPSTREAM_SPEAKS_HTTP1)
async def upstream_speaks_http1(scene: Scene) -> Wire:
    app = await (await scene.start()).app()
    scene.speaks("h2c")
    browser = await scene.send(app.host)
    upstream = await app.accept()
    upstream.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 28\r\n\r\n" + HOSTILE)
    return browser


@scene(Reason.DRAIN_TIMEOUT)
async def drain_timeout(scene: Scene) -> Wire:
    _, browser, _ = await scene.to_app()
    plan = Drain(scene.gateway.edge, 0.0)
    plan.begin()
    plan.end()
    return browser


@scene(Reason.PROXY_INTERNAL_ERROR)
async def proxy_internal_error(scene: Scene) -> Wire:
    gateway = await scene.start()

    async def broken(*_: object) -> socket.socket:
        raise RuntimeError(HOSTILE.decode())

    gateway.edge.pool.open_socket = broken
    scene.complaint = "failed inside the gateway"
    return await scene.send(b"5000-box." + DOMAIN)


# --- walking the table ------------------------------------------------------------------------------------------------

TRUNCATING = {Reason.HTTP_RESPONSE_INCOMPLETE}
"""Never a reply: the app's own head has left already. See test_a_body_that_breaks_off."""


def test_no_reason_is_left_out() -> None:
    assert set(SCENES) | TRUNCATING == set(Reason)


EVERYWHERE = [("http1", reason, form) for reason in SCENES for form in FORMS]
EVERYWHERE += [
    ("http2", reason, form)
    for reason in SCENES
    for form in FORMS
    # An extended CONNECT for something that is not implemented is no call.
    if reason not in OF_HTTP1 and (reason, form) != (Reason.NOT_IMPLEMENTED, "grpc")
]


@pytest.mark.parametrize(("spoken", "reason", "form"), EVERYWHERE, ids=str)
async def test_a_reason_in_every_form(
    reason: Reason, spoken: str, form: str, open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(open_gateway, FORMS[form], monkeypatch)
    answer = await (await SCENES[reason](scene)).answer()
    _check_marks(answer, reason)
    if spoken == "http1" and reason in UNREAD and form != "html":
        form = "text"
    CHECKS[form](answer, reason)
    record = scene.gateway.log[-1]
    assert (record.status, record.reason, record.sent) == (answer.status, str(reason), len(answer.body))
    if form != "grpc":
        assert record.request_id.encode() in answer.body
    if scene.complaint:
        scene.gateway.expect_complaint(scene.complaint)


def _check_marks(answer: Message, reason: Reason) -> None:
    row = reason.row
    assert answer.reason == row.name.encode()
    status = answer.get(b"Proxy-Status") or b""
    assert status.startswith(b"gateway; error=%b" % row.proxy_error.encode())
    assert re.fullmatch(rb'gateway; error=[a-z_]+(?:; details="(?:[^"\\\x00-\x1f\x7f-\xff]|\\["\\])*")?', status)
    assert answer.get(b"Cache-Control") == b"no-store"
    assert answer.get(b"X-Content-Type-Options") == b"nosniff"
    assert answer.get(b"X-Request-Id")
    assert answer.get(b"Access-Control-Allow-Origin")
    assert (answer.get(b"Retry-After") is not None) is row.may_retry


def _check_html(answer: Message, reason: Reason) -> None:
    assert answer.status == reason.row.status
    assert answer.get(b"Content-Type") == b"text/html; charset=utf-8"
    policy = answer.get(b"Content-Security-Policy") or b""
    assert b"default-src 'none'" in policy
    assert b"unsafe" not in policy
    page = answer.body
    assert page.startswith(b"<!doctype html>")
    assert HOSTILE not in page
    assert str(reason).encode() in page
    assert len(page) < 16 * 1024
    assert b"{" not in re.sub(rb"<(style|script)[^>]*>.*?</\1>", b"", page, flags=re.S), "a text was not filled in"


def _check_json(answer: Message, reason: Reason) -> None:
    assert answer.status == reason.row.status
    assert answer.get(b"Content-Type") == b"application/problem+json"
    assert list(json.loads(answer.body)) == [
        *("type", "title", "status", "detail", "reason", "sandbox", "port", "request_id", "observed", "fix")
    ]
    problem = msgspec.json.decode(answer.body, type=Problem)
    assert (problem.status, problem.reason) == (reason.row.status, str(reason))
    assert problem.type.endswith(str(reason))
    assert problem.fix and all(problem.fix)
    texts = [problem.title, problem.detail, *problem.fix]
    assert not any(re.search(r"\{[a-z]+\}", text) for text in texts), "a text was not filled in"
    assert "?" not in problem.title, "a title speaks of what is not known"
    if reason.row.blame is Blame.UPSTREAM:
        assert problem.observed and problem.sandbox and problem.port


def _check_fetch(answer: Message, reason: Reason) -> None:
    _check_json(answer, reason)
    assert answer.get(b"Access-Control-Allow-Origin") == b"https://elsewhere.example"
    assert b"X-Gateway-Error" in (answer.get(b"Access-Control-Expose-Headers") or b"")


def _check_text(answer: Message, reason: Reason) -> None:
    assert answer.status == reason.row.status
    assert answer.get(b"Content-Type") == b"text/plain; charset=utf-8"
    text = answer.body.decode()
    assert text.startswith(f"{reason.row.status} ")
    assert str(reason) in text
    assert text.endswith("\n")


def _check_grpc(answer: Message, reason: Reason) -> None:
    assert answer.status == 200
    assert (answer.get(b"Content-Type") or b"").startswith(b"application/grpc")
    assert answer.get(b"Grpc-Status") == str(reason.row.grpc_status.value).encode()
    assert re.fullmatch(rb"[\x20-\x24\x26-\x7e%]+", answer.get(b"Grpc-Message") or b"")
    assert answer.body == b""


CHECKS: dict[str, Callable[[Message, Reason], None]] = {
    "html": _check_html,
    "json": _check_json,
    "fetch": _check_fetch,
    "text": _check_text,
    "script": _check_text,
    "grpc": _check_grpc,
}


async def test_a_body_that_breaks_off(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(open_gateway, FORMS["html"], monkeypatch)
    _, browser, upstream = await scene.to_app()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    upstream.close()
    head = await browser.head()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert await browser.ended() == b"abc"
    record = scene.gateway.log[-1]
    assert (record.status, record.reason, record.sent) == (200, "http_response_incomplete", 3)
