"""OPTIONS that may go no further (Max-Forwards: 0) is answered by the gateway, like any other request of its own."""

from __future__ import annotations

import pytest

from tests.behaviour.harness import DOMAIN, OK, Gateway, answering

LAST = b"OPTIONS / HTTP/1.1\r\nHost: %b\r\nMax-Forwards: 0\r\n"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_the_connection_goes_on(gateway: Gateway, tls: bool) -> None:
    app = await gateway.app(answering(OK))
    browser = await gateway.connect(tls=tls)
    browser.send(LAST % app.host + b"\r\nGET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    answer = await browser.answer()
    assert (answer.status, answer.get(b"Proxy-Status"), answer.reason) == (200, b"gateway", None)
    assert (await browser.answer()).body == b"ok"
    assert app.received.startswith(b"GET / ")
    assert [(record.method, record.status, record.reason) for record in gateway.log] == [
        ("OPTIONS", 200, ""),
        ("GET", 200, ""),
    ]


async def test_a_body_is_not_waited_for(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    browser.send(LAST % app.host + b"Content-Length: 10\r\n\r\n12345")
    answer = await browser.answer()
    assert (answer.status, answer.get(b"Connection")) == (200, b"close")
    assert await browser.eof() == b""
    assert app.connections == []


@pytest.mark.parametrize(
    ("host", "status"),
    [(b"5000-nobody." + DOMAIN.encode(), 200), (b"nobody.%b" % DOMAIN.encode(), 400), (b"a.test", 421)],
)
async def test_it_is_for_a_name_served_here(gateway: Gateway, host: bytes, status: int) -> None:
    """Whether there is such a sandbox is not looked up: nothing goes there."""
    browser = await gateway.connect()
    browser.send(LAST % host + b"\r\n")
    assert (await browser.answer()).status == status
