"""The status page of a busy gateway that does not exist: the real page, its events and its sums, over invented numbers.

For pictures, and for what a healthy gateway never shows.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from gateway.admin import live
from gateway.admin.app import Health, make_app, start
from gateway.admin.metrics import Sources
from gateway.admin.overview import Answer
from gateway.admin.reload import Reload
from gateway.diagnosis.explain import Context
from gateway.metrics import (
    BYTES,
    CONNECTIONS,
    CONNECTIONS_OPEN,
    CONNECTIONS_REFUSED,
    FAILURES,
    FIRST_BYTE,
    IN_FLIGHT,
    LOOP_LAG,
    REQUEST_DURATION,
    REQUESTS,
    TUNNELS_OPEN,
    private,
)
from gateway.observe.totals import Totals
from gateway.tasks import Tasks
from gateway.tls.pair import CertificateFile

DOMAIN = "sandbox.example.dev"
DAY = 86400.0
FAILED = (
    ("connection_refused", 502, "5000-abc123", "/", "[fd00:8::a1]:5000 refused the connection", 4, 31),
    ("connection_timeout", 504, "8080-m4k2p9", "/api/items", "[fd00:8::71]:8080 has not answered in 3 s", 41, 3),
    ("destination_not_found", 404, "3000-gone77", "/", "", 95, 12),
    ("http_response_timeout", 504, "8000-train4", "/epochs", "no response after 5 min", 1300, 1),
)
"""Reason, status, first label of the host, path, detail, seconds ago, count."""
BUSY = {"abc123": 9120, "m4k2p9": 4410, "train4": 2023, "docs-preview": 911, "zz9plural": 304}


class Reloaded:
    """The supervisor: an hour ago."""

    def read(self) -> Reload:
        return Reload(requested=2, state="done", generation=3, ended=time.time() - 3700)

    def request(self) -> None:
        raise NotImplementedError


class Invented:
    """What workers would say; every look at it adds what a second would bring."""

    def __init__(self, silent: tuple[int, ...] = (), directory: str = "") -> None:
        self.cells = private()
        self.sources = Sources(
            lambda: Totals.of([self.cells]),
            certificates=lambda: [
                CertificateFile("/etc/gateway/wildcard.pem", time.time() + 61.4 * DAY, "6E:1D:0B"),
                CertificateFile("/etc/gateway/eu.pem", time.time() + 12.2 * DAY, "C2:47:9F"),
            ],
            started=time.time() - 3.2 * DAY,
            directory="redis",
            limits={"connections": 20000, "connections_per_address": 1000, "exchanges_per_sandbox": 1000},
        )
        self._silent = silent
        self._directory = directory
        self._random = random.Random(19)
        self.cells[REQUESTS.at("HTTP/1.1", "GET", "200")] = 48_211_907
        self.cells[CONNECTIONS_REFUSED.at("connections_per_address")] = 118
        for reason, *_, number in FAILED:
            self.cells[FAILURES.at(reason)] = number

    async def ask(self) -> list[Answer]:
        self._second()
        return [None if slot in self._silent else self._worker(slot) for slot in range(4)]

    def _second(self) -> None:
        cells, chance = self.cells, self._random
        count = int(chance.gauss(420, 40))
        cells[REQUESTS.at("HTTP/1.1", "GET", "200")] += count
        for _ in range(count):
            seconds = chance.lognormvariate(-4.2, 1)
            REQUEST_DURATION.observe(cells, seconds, "HTTP/1.1", "response")
            FIRST_BYTE.observe(cells, seconds * 0.7, "HTTP/1.1", "response")
        for _ in range(20):
            LOOP_LAG.observe(cells, chance.lognormvariate(-7, 0.4))
        if chance.random() < 0.2:
            cells[FAILURES.at("connection_refused")] += 1
        cells[CONNECTIONS.at("downstream")] += int(chance.gauss(60, 9))
        cells[BYTES.at("downstream", "sent")] += int(chance.gauss(9e6, 1.5e6))
        cells[BYTES.at("downstream", "received")] += int(chance.gauss(7e5, 1e5))
        cells[CONNECTIONS_OPEN.at("downstream")] = int(chance.gauss(3120, 20))
        cells[IN_FLIGHT.at()] = int(chance.gauss(31, 6))
        cells[TUNNELS_OPEN.at("websocket")] = int(chance.gauss(640, 5))

    def _worker(self, slot: int) -> dict[str, Any]:
        now = time.time()
        told = ("reason", "status", "host", "path", "detail", "time", "request_id")
        failures = [
            {"method": "GET", "sandbox": label.partition("-")[2], "port": int(label.partition("-")[0])}
            | dict(
                zip(told, (reason, status, f"{label}.{DOMAIN}", path, detail, now - ago, f"01jd{ago:04}"), strict=True)
            )
            for reason, status, label, path, detail, ago, _ in FAILED
        ]
        return {
            "worker": slot,
            "pid": 4021 + slot,
            "state": "ready",
            "generation": 3,
            "connections": int(self._random.gauss(780, 10)),
            "exchanges": int(self._random.gauss(8, 2)),
            "upstream": 90,
            "failing": [],
            "directory": self._directory,
            "records": 5310,
            "busiest": [{"id": id, "requests": count // 4, "octets": count * 9000} for id, count in BUSY.items()],
            "failures": failures if slot == 0 else [],
        }


@contextmanager
def status_site(invented: Invented, interval: float = live.INTERVAL) -> Iterator[str]:
    """The URL of its page, for as long as the block runs; a second takes `interval` seconds in it."""
    loop = asyncio.new_event_loop()
    sock = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    serving, over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        tasks = Tasks()
        runner = await start(
            make_app(Health(invented.ask, tasks, Reloaded(), invented.sources), cast("Context", None)), sock
        )
        serving.set()
        await over.wait()
        await runner.cleanup()
        await tasks.cancel()

    before, live.INTERVAL = live.INTERVAL, interval
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert serving.wait(10)
        yield url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
        live.INTERVAL = before
