"""A plain listener that redirects keeps method and target, and names the port the public uses."""

from __future__ import annotations

import pytest

from gateway.edge.local_reply import redirect_to_https
from tests.behaviour.harness import DOMAIN, App, Gateway, OpenGateway

HOST = b"5000-box.sandbox.localhost"


async def redirected(gateway: Gateway, request: bytes) -> bytes:
    """The Location that `request` is answered with."""
    browser = await gateway.connect()
    browser.send(request)
    answer = await browser.answer(request.partition(b" ")[0])
    assert (answer.start, answer.body) == (b"HTTP/1.1 308 Permanent Redirect", b"")
    assert answer.get(b"Content-Length") == b"0"
    assert answer.get(b"X-Request-Id") == b"#"
    assert answer.reason is None
    return answer.get(b"Location") or b""


@pytest.mark.parametrize(
    ("port", "host", "location"),
    [
        (443, HOST, b"https://" + HOST),
        (443, HOST + b":80", b"https://" + HOST),
        (8443, HOST, b"https://" + HOST + b":8443"),
        (8443, HOST + b":8080", b"https://" + HOST + b":8443"),
        (443, b"5000-BOX.Sandbox.Localhost.", b"https://5000-BOX.Sandbox.Localhost."),
        (443, b"no-port.sandbox.localhost", b"https://no-port.sandbox.localhost"),
        (8443, b"sandbox.localhost", b"https://sandbox.localhost:8443"),
    ],
)
async def test_the_port_is_the_public_one(open_gateway: OpenGateway, port: int, host: bytes, location: bytes) -> None:
    gateway = await open_gateway(local_reply=redirect_to_https([DOMAIN], port))
    assert await redirected(gateway, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host) == location + b"/"


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:80",
        b"sandbox.localhost.evil.example",
        b"evilsandbox.localhost",
        b"localhost",
        b"[::1]:8080",
        b"127.0.0.1",
        b"5000-box.sandbox.localhost%2eevil.example",
    ],
)
async def test_only_to_our_own_domains(open_gateway: OpenGateway, host: bytes) -> None:
    """Anything else would let anybody make links that begin at us and end with them."""
    gateway = await open_gateway(local_reply=redirect_to_https([DOMAIN], 443))
    browser = await gateway.connect()
    browser.send(b"GET /login HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (421, b"unknown_domain")
    assert answer.get(b"Location") is None
    assert [(record.status, record.reason) for record in gateway.log] == [(421, "unknown_domain")]


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (b"/a/b?c=d&e=%2F", b"/a/b?c=d&e=%2F"),
        (b"//evil.example/", b"//evil.example/"),
        (b"/?", b"/?"),
        (b"http://" + HOST + b"/a?b", b"/a?b"),
    ],
)
async def test_the_target_is_kept(open_gateway: OpenGateway, target: bytes, kept: bytes) -> None:
    gateway = await open_gateway(local_reply=redirect_to_https([DOMAIN], 443))
    request = b"GET " + target + b" HTTP/1.1\r\nHost: " + HOST + b"\r\n\r\n"
    assert await redirected(gateway, request) == b"https://" + HOST + kept


async def test_options_star_has_no_path_to_keep(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(local_reply=redirect_to_https([DOMAIN], 443))
    location = await redirected(gateway, b"OPTIONS * HTTP/1.1\r\nHost: " + HOST + b"\r\n\r\n")
    assert location == b"https://" + HOST + b"/"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /form HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\n\r\nhello",
        b"PUT /form HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"DELETE /form HTTP/1.1\r\nHost: %b\r\n\r\n",
        b"HEAD /form HTTP/1.1\r\nHost: %b\r\n\r\n",
    ],
    ids=["post", "put", "delete", "head"],
)
async def test_308_for_every_method(open_gateway: OpenGateway, request_: bytes) -> None:
    """308 and not 301: a form stays a POST (RFC 9110 section 15.4.9)."""
    gateway = await open_gateway(local_reply=redirect_to_https([DOMAIN], 443))
    assert await redirected(gateway, request_ % HOST) == b"https://" + HOST + b"/form"
    assert [(record.status, record.path) for record in gateway.log] == [(308, "/form")]


async def test_a_connection_may_ask_again(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(local_reply=redirect_to_https([DOMAIN], 443))
    browser = await gateway.connect()
    browser.send(b"GET /1 HTTP/1.1\r\nHost: %b\r\n\r\nGET /2 HTTP/1.1\r\nHost: %b\r\n\r\n" % (HOST, HOST))
    assert [(await browser.answer()).get(b"Location") for _ in range(2)] == [
        b"https://" + HOST + b"/1",
        b"https://" + HOST + b"/2",
    ]


async def test_what_is_no_request_is_refused_here_too(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(local_reply=redirect_to_https([DOMAIN], 443))
    for request in (
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /\rX: y HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        browser = await gateway.connect()
        browser.send(request)
        assert (await browser.answer()).status == 400
        assert await browser.eof() == b""


async def test_nothing_is_forwarded(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(local_reply=redirect_to_https([DOMAIN], 443))
    app: App = await gateway.app()
    await redirected(gateway, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    assert app.connections == []
