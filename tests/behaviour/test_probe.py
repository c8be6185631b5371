"""A request with X-Gateway-Probe is the gateway's to answer: does the target accept connections now?

The page shown for a dead app asks so until the app is there. No path is taken from any app: it is a field.
"""

from __future__ import annotations

import json

import pytest

from tests.behaviour.harness import OK, Gateway, get

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def probe(host: bytes, method: bytes = b"GET") -> bytes:
    return b"%b /page?x=1 HTTP/1.1\r\nHost: %b\r\nX-Gateway-Probe: 1\r\nAccept: application/problem+json\r\n\r\n" % (
        method,
        host,
    )


@both
async def test_a_target_that_listens_is_ready(gateway: Gateway, tls: bool) -> None:
    app = await gateway.app()
    browser = await gateway.connect(tls=tls)
    browser.send(probe(app.host))
    answer = await browser.answer()
    assert (answer.status, answer.get(b"X-Gateway-Probe")) == (204, b"ready")
    assert (answer.get(b"Cache-Control"), answer.get(b"Vary")) == (b"no-store", b"*")
    assert answer.reason is None
    upstream = await app.accept()
    assert await upstream.eof() == b"", "the app hears nothing, and its connection is free at once"
    record = gateway.log[-1]
    assert (record.status, record.reason, record.sent) == (204, "", 0)


async def test_the_connection_goes_on(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(probe(app.host))
    assert (await browser.answer()).status == 204
    await (await app.accept()).eof()
    browser.send(get(app))
    upstream = await app.accept()
    assert b"X-Gateway-Probe" not in (await upstream.request()).head
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


async def test_a_pooled_connection_proves_nothing(gateway: Gateway) -> None:
    """The probe dials, though a connection from before is idle: the app may have stopped listening."""
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    await browser.answer()
    assert len(gateway.edge.pool.idle) == 1
    browser.send(probe(app.host))
    assert (await browser.answer()).status == 204
    assert await (await app.accept()).eof() == b""
    assert len(gateway.edge.pool.idle) == 1


async def test_a_dead_target_is_the_usual_problem(gateway: Gateway) -> None:
    app = await gateway.app()
    app.stop()
    browser = await gateway.connect()
    browser.send(probe(app.host))
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_refused")
    assert json.loads(answer.body)["reason"] == "connection_refused"


async def test_every_method_is_answered(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    for method in (b"HEAD", b"POST", b"DELETE"):
        browser.send(probe(app.host, method))
        assert (await browser.answer(method)).status == 204
        assert await (await app.accept()).eof() == b""


async def test_an_unknown_sandbox_is_not_ready(gateway: Gateway) -> None:
    browser = await gateway.connect()
    browser.send(probe(b"5000-nobody.sandbox.localhost"))
    assert (await browser.answer()).reason == b"destination_not_found"


async def test_an_app_cannot_say_that_it_is_ready(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 204 No Content\r\nX-Gateway-Probe: ready\r\n\r\n")
    assert (await browser.answer()).get(b"X-Gateway-Probe") is None
