"""Thousands of connections arrive in one moment: they are let in a few in each turn of the event loop, at every door."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from gateway.edge.listener import ACCEPTS_PER_TURN
from gateway.edge.listener_drain import drain_listeners
from tests.behaviour.crowds import each_turn, most_at_once
from tests.behaviour.harness import LOOPBACK, Gateway, until

EACH = 2 * ACCEPTS_PER_TURN
"""Connections to each of the two listeners."""


@contextmanager
def arriving(gateway: Gateway) -> Iterator[None]:
    """Connections that wait to be accepted."""
    with ExitStack() as stack:
        for port in (gateway.plain_port, gateway.tls_port) * EACH:
            sock = stack.enter_context(socket.socket(socket.AF_INET6))
            sock.connect((LOOPBACK, port))
        yield


@pytest.mark.parametrize("draining", [False, True], ids=["serving", "closing"])
async def test_all_doors_together_let_in_a_few_at_a_time(gateway: Gateway, draining: bool) -> None:
    loop = asyncio.get_running_loop()
    with arriving(gateway):
        if draining:
            for sock in (gateway.plain_socket, gateway.secure_socket):
                loop.remove_reader(sock)  # whatever is let in the closing lets in
        seen = each_turn(lambda: gateway.edge.connections, 2 * EACH)
        if draining:
            await drain_listeners([gateway.plain, gateway.secure])
        await until(lambda: gateway.edge.connections == 2 * EACH, "nobody is left at a door")
    assert most_at_once([*seen, 2 * EACH]) <= ACCEPTS_PER_TURN
