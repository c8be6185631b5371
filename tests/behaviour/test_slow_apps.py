"""`gateway dev` tells of a request while it waits for the app, once, and of none that waits for something else."""

from __future__ import annotations

import time

from gateway.dev.patience import MOST_TOLD, PATIENCE, SlowApps
from tests.behaviour.harness import Gateway


async def test_who_waits_is_told_once(gateway: Gateway) -> None:
    said: list[str] = []
    slow = SlowApps(gateway.edge, said.append)
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"GET /report?token=1 HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    slow.look(time.monotonic() + PATIENCE / 2)
    assert said == []
    slow.look(time.monotonic() + PATIENCE)
    slow.look(time.monotonic() + PATIENCE + 1)
    assert said == [f"GET {app.host.decode()}/report has waited 10 s for the app"]
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    await browser.head()
    SlowApps(gateway.edge, said.append).look(time.monotonic() + PATIENCE)
    assert len(said) == 1, "an answer that is on its way is none that is waited for"
    upstream.send(b"hello")
    assert await browser.read(5) == b"hello"


async def test_an_upload_under_way_is_no_waiting(gateway: Gateway) -> None:
    said: list[str] = []
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\n\r\nhel" % app.host)
    upstream = await app.accept()
    await upstream.head()
    SlowApps(gateway.edge, said.append).look(time.monotonic() + PATIENCE)
    assert said == []
    browser.send(b"lo")
    assert await upstream.read(5) == b"hello"
    SlowApps(gateway.edge, said.append).look(time.monotonic() + PATIENCE)
    assert len(said) == 1


async def test_many_are_a_number(gateway: Gateway) -> None:
    said: list[str] = []
    app = await gateway.app()
    for _ in range(MOST_TOLD + 3):
        browser = await gateway.connect()
        browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
        await (await app.accept()).request()
    SlowApps(gateway.edge, said.append).look(time.monotonic() + PATIENCE)
    assert len(said) == MOST_TOLD + 1
    assert said[-1] == "the same of 3 more requests"
