"""A thousand dials are permitted at once, or answered at once: they go on in many turns of the event loop."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv6Address
from typing import Any

from gateway.directory.sandbox import Sandbox
from gateway.upstream.pool import DIAL_STEPS
from tests.behaviour.crowds import each_turn, most_at_once
from tests.behaviour.harness import LOOPBACK, OK, Gateway, answering, get, until

CROWD = 4 * DIAL_STEPS


async def test_each_to_a_sandbox_of_its_own(gateway: Gateway) -> None:
    """Nothing else limits these: of one sandbox a few are dialed at first."""
    app = await gateway.app(answering(OK))
    pool, names = gateway.edge.pool, [f"box{number}" for number in range(CROWD)]
    gateway.table.table.update({name: Sandbox(name, IPv6Address(LOOPBACK), "1") for name in names})
    begun, answered, connect = 0, asyncio.Event(), pool.open_socket

    async def open_socket(*arguments: Any) -> socket.socket:
        nonlocal begun
        begun += 1
        sock = await connect(*arguments)
        await answered.wait()
        return sock

    pool.open_socket = open_socket
    browsers = [await gateway.connect() for _ in names]
    dials, connections = each_turn(lambda: begun, CROWD), each_turn(lambda: len(pool.connections), CROWD)
    for browser, name in zip(browsers, names, strict=True):
        browser.send(get(app).replace(app.host, b"%d-%b.sandbox.localhost" % (app.port, name.encode())))
    await until(lambda: len(app.connections) == CROWD, "all are on their way")
    assert not pool.connections
    answered.set()
    for browser in browsers:
        assert (await browser.answer()).body == b"ok"
    assert most_at_once(dials) <= DIAL_STEPS
    assert most_at_once(connections) <= DIAL_STEPS
