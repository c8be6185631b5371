"""A platform starts a fleet at once: it registers a thousand, and waits for each of its machines, which boot."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from gateway.client import Gateway, Sandbox
from tests.interop.registered import Registered
from tests.support.ports import silent_port

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

BOOTING = 1000


async def registered(gateway: Gateway) -> list[Sandbox]:
    async with asyncio.TaskGroup() as group:
        names = [f"box{number}" for number in range(BOOTING + 1)]
        tasks = [group.create_task(gateway.sandboxes.register(name, address="::1")) for name in names]
    return [task.result() for task in tasks]


async def first_ready(boxes: list[Sandbox], silent: int, listening: int) -> float:
    """Seconds until the one that listens is ready, while all others wait for a machine that does not answer."""
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(box.wait_until_ready(silent, timeout=200)) for box in boxes[:BOOTING]]
        await asyncio.sleep(2)  # until each of them has been asked for
        started = time.monotonic()
        await boxes[BOOTING].wait_until_ready(listening, timeout=60)
        took = time.monotonic() - started
        for task in waiting:
            assert not task.done()
            task.cancel()
    return took


def test_a_thousand_that_boot_keep_nobody_waiting(tmp_path: Path) -> None:
    """Each of them is a real dial: the kernel drops its packets."""

    async def fleet(url: str, silent: int, listening: int) -> float:
        async with Gateway(url) as gateway:
            return await first_ready(await registered(gateway), silent, listening)

    backend = f'backend = "sqlite"\npath = "{tmp_path / "sandboxes.db"}"'
    with (
        Registered(backend, directory=tmp_path, workers=1) as gateway,
        silent_port() as silent,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as app,
    ):
        ready = asyncio.run(fleet(f"http://127.0.0.1:{gateway.admin_port}", silent, app.getsockname()[1]))
    print(f"ready beside {BOOTING} that boot in {ready:.2f} s")
    assert ready < 10, "0.2 s, and more where the machine is busy"
