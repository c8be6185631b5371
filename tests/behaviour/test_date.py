"""Every final answer has a Date (RFC 9110 section 6.6.1): the app's own, or the time at which it passed here."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from gateway.edge.local_reply import redirect_to_https
from tests.behaviour.harness import DOMAIN, OK, Gateway, OpenGateway, Wire, answering

APPS_OWN = b"Sun, 06 Nov 1994 08:49:37 GMT"


def _dates(wire: Wire) -> list[bytes]:
    """The values of all Date fields that came."""
    lines = bytes(wire.received).split(b"\r\n")
    return [line[6:] for line in lines if line[:6].lower() == b"date: "]


def _is_now(date: bytes) -> bool:
    return abs(parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 10


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_without_a_date_gets_one(gateway: Gateway, version: bytes, tls: bool) -> None:
    app = await gateway.app(answering(OK))
    browser = await gateway.connect(tls=tls)
    browser.send(b"GET / HTTP/%b\r\nHost: %b\r\n\r\n" % (version, app.host))
    await browser.answer()
    (date,) = _dates(browser)
    assert _is_now(date)


@pytest.mark.parametrize("name", [b"Date", b"date", b"DATE"])
@pytest.mark.parametrize("value", [APPS_OWN, b"yesterday", b""])
async def test_an_apps_own_date_stays(gateway: Gateway, name: bytes, value: bytes) -> None:
    app = await gateway.app(answering(b"HTTP/1.1 200 OK\r\n%b: %b\r\nContent-Length: 0\r\n\r\n" % (name, value)))
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    assert (await browser.answer()).get(name) == value
    assert _dates(browser) == [value]


async def test_a_date_meant_for_us_alone_is_replaced(gateway: Gateway) -> None:
    app = await gateway.app(answering(b"HTTP/1.1 204 No Content\r\nDate: %b\r\nConnection: date\r\n\r\n" % APPS_OWN))
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    await browser.answer()
    (date,) = _dates(browser)
    assert _is_now(date)


async def test_cookies_and_other_changes_keep_the_apps_date(gateway: Gateway) -> None:
    fields = b"Date: %b\r\nSet-Cookie: a=1; Domain=%b\r\nContent-Length: 0\r\n" % (APPS_OWN, DOMAIN.encode())
    app = await gateway.app(answering(b"HTTP/1.1 204 No Content\r\n%b\r\n" % fields))
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    assert b"Domain" not in (await browser.answer()).head
    assert _dates(browser) == [APPS_OWN]


async def test_interim_answers_and_switches_have_none(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert (await browser.answer()).status == 103
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")
    assert (await browser.answer()).status == 101
    assert _dates(browser) == []


OWN = [
    # what is sent, the status of what the gateway answers
    (b"GET / HTTP/1.1\r\nHost: 5000-nobody.<domain>\r\n\r\n", 404),
    (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", 421),
    (b"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n", 421),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"TRACE / HTTP/1.1\r\nHost: example.com\r\n\r\n", 405),
]


@pytest.mark.parametrize(("sent", "status"), OWN)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_the_gateways_own_answers_have_one(gateway: Gateway, sent: bytes, status: int, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(sent.replace(b"<domain>", DOMAIN.encode()))
    assert (await browser.answer()).status == status
    (date,) = _dates(browser)
    assert _is_now(date)


async def test_so_has_a_redirect_to_https(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(local_reply=redirect_to_https((DOMAIN,), 443))
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: 5000-a.%b\r\n\r\n" % DOMAIN.encode())
    assert (await browser.answer()).status == 308
    (date,) = _dates(browser)
    assert _is_now(date)
