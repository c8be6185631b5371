"""Under `upstream.host` an app meets one host in both directions; without it nothing is changed.

Which spellings lead where is in unit/edge/test_host_rewrite.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.behaviour.harness import App, Gateway, OpenGateway, Wire

MASK = {"upstream": {"host": "localhost:{port}"}}
REDIRECT = (
    b"HTTP/1.1 302 Found\r\nLocation: http://%b/login\r\nContent-Location: http://%b/\r\nRefresh: 5; url=http://%b/x\r\n"
    b"Link: <http://%b/>\r\nContent-Length: 0\r\n\r\n"
)
WEBSOCKET = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nOrigin: %b\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: %b\r\nOrigin: http://%b\r\nReferer: http://%b/a\r\nContent-Length: 0\r\n\r\n"


async def asked(
    gateway: Gateway, app: App, request: bytes, *, tls: bool = False
) -> tuple[Wire, Wire, dict[bytes, bytes]]:
    """Both ends, and the fields that the app was sent."""
    browser = await gateway.connect(tls=tls)
    browser.send(request)
    upstream = await app.accept()
    return browser, upstream, dict((await upstream.request()).fields)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_redirect_leads_to_the_public_url(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(**MASK)
    app = await gateway.app()
    browser, upstream, fields = await asked(gateway, app, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host, tls=tls)
    mask = fields[b"Host"]
    assert mask == b"localhost:%d" % app.port
    upstream.send(REDIRECT % (mask, mask, mask, mask))
    answer = await browser.answer()
    public = (b"https://" if tls else b"http://") + app.host
    assert answer.get(b"Location") == public + b"/login"
    assert answer.get(b"Content-Location") == public + b"/"
    assert answer.get(b"Refresh") == b"5; url=" + public + b"/x"
    assert answer.get(b"Link") == b"<http://%b/>" % mask


async def test_a_record_s_mask_is_one(gateway: Gateway) -> None:
    app = await gateway.app()
    gateway.table.table["box"] = replace(gateway.table.table["box"], host="app.internal")
    browser, upstream, fields = await asked(gateway, app, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    assert fields[b"Host"] == b"app.internal"
    upstream.send(b"HTTP/1.1 201 Created\r\nLocation: http://app.internal/1\r\nContent-Length: 0\r\n\r\n")
    assert (await browser.answer()).get(b"Location") == b"http://%b/1" % app.host


async def test_a_websocket_of_the_app_s_own_page(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(**MASK)
    app = await gateway.app()
    for origin, arrives in (
        (b"http://" + app.host, b"http://localhost:%d" % app.port),
        (b"https://" + app.host, b"https://" + app.host),
        (b"https://evil.test", b"https://evil.test"),
    ):
        _, _, fields = await asked(gateway, app, WEBSOCKET % (app.host, origin))
        assert fields[b"Origin"] == arrives
        assert fields[b"X-Forwarded-Host"] == app.host


async def test_an_ordinary_request_says_where_it_comes_from(open_gateway: OpenGateway) -> None:
    """Apps compare it with X-Forwarded-Host, or build links of it."""
    gateway = await open_gateway(**MASK)
    app = await gateway.app()
    _, _, fields = await asked(gateway, app, POST % (app.host, app.host, app.host))
    assert (fields[b"Origin"], fields[b"Referer"]) == (b"http://" + app.host, b"http://%b/a" % app.host)


async def test_without_a_mask_nothing_is_changed(gateway: Gateway) -> None:
    app = await gateway.app()
    browser, upstream, fields = await asked(gateway, app, WEBSOCKET % (app.host, b"http://" + app.host))
    assert fields[b"Origin"] == b"http://" + app.host
    mask = b"localhost:%d" % app.port
    upstream.send(REDIRECT % (mask, mask, mask, mask))
    answer = await browser.answer()
    assert answer.get(b"Location") == b"http://%b/login" % mask
    assert answer.get(b"Refresh") == b"5; url=http://%b/x" % mask
