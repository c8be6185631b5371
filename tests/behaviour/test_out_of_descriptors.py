"""Out of descriptors: who waits for one waits in the kernel's queue; nobody else notices, and the loop does not spin."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.behaviour.harness import LOOPBACK, OK, Gateway, answering, get, until


@contextmanager
def none_left() -> Iterator[None]:
    """No descriptor can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_accepting_pauses(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:
    app = await gateway.app(answering(OK))
    inside = await gateway.connect(tls=tls)
    inside.send(get(app))
    assert (await inside.answer()).body == b"ok"
    attempts = 0
    accept = socket.socket.accept

    def counting(self: socket.socket) -> tuple[socket.socket, object]:
        nonlocal attempts
        attempts += 1
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", counting)
    with socket.socket(socket.AF_INET6) as outside:
        outside.setblocking(False)
        with none_left():
            outside.connect_ex((LOOPBACK, gateway.plain_port))
            outside.send(get(app))
            await until(lambda: attempts, "the gateway has tried")
            for _ in range(200):  # of which each takes several turns of the event loop
                inside.send(get(app))
                assert (await inside.answer()).body == b"ok"
            assert attempts <= 10
        with outside.dup() as waiting:
            received = bytearray()

            def answered() -> bool:
                try:
                    received.extend(waiting.recv(65536))
                except BlockingIOError:
                    return False
                return received.endswith(b"ok")

            await until(answered, "who waited is served once there are descriptors again")
    told = gateway.told()
    assert all(line.startswith("error: pauses in accepting, while new connections wait: ") for line in told)
    assert all(line.endswith("the last for: Too many open files") for line in told)
    times = sum(int(line.split("wait: ")[1].split(",")[0]) for line in told)
    assert gateway.edge.counters.waits_for_descriptors == times > 0
