"""A record that leads nowhere is asked for again, however long it may be kept; one that leads to a live host is not."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

import pytest

from gateway.directory.sandbox import Sandbox
from tests.behaviour.harness import LOOPBACK, OK, SANDBOX, OpenGateway, answering, get
from tests.support.ports import silent_port, switch_off

FOR_LONG = {"ttl": 3600.0}


async def test_silence(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is gone and the record was about to say so."""
    switch_off(monkeypatch)
    gateway = await open_gateway(upstream={"connect_timeout": 0.2}, directory=FOR_LONG)
    with silent_port() as port:
        browser = await gateway.connect()
        request = b"GET / HTTP/1.1\r\nHost: %d-box.sandbox.localhost\r\n\r\n" % port
        browser.send(request)
        assert (await browser.answer()).reason == b"connection_timeout"
        gateway.table.table.clear()
        browser.send(request)
        assert (await browser.answer()).reason == b"destination_not_found"


async def test_no_route(open_gateway: OpenGateway) -> None:
    """It was given another address: the next request already goes there."""
    # Nobody connects to a multicast group, nor is a packet sent.
    allow = (IPv6Network("ff00::/8"), IPv6Network("::1/128"))
    gateway = await open_gateway(upstream={"allow": allow}, directory=FOR_LONG)
    app = await gateway.app(answering(OK))
    gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address("ff02::1"), "1")
    browser = await gateway.connect()
    browser.send(get(app))
    assert (await browser.answer()).reason == b"destination_ip_unroutable"
    gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address(LOOPBACK), "2")
    browser.send(get(app))
    assert (await browser.answer()).body == b"ok"


async def test_a_refusal_is_a_sign_of_life(open_gateway: OpenGateway) -> None:
    """An app that is starting does not have the registry asked for it again and again."""
    gateway = await open_gateway(directory=FOR_LONG)
    app = await gateway.app()
    app.stop()
    browser = await gateway.connect()
    browser.send(get(app))
    assert (await browser.answer()).reason == b"connection_refused"
    gateway.table.table.clear()
    browser.send(get(app))
    assert (await browser.answer()).reason == b"connection_refused"
