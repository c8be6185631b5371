"""While the registry is away: what any worker has looked up is served by all of them, at once, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address
from pathlib import Path
from typing import Protocol

import pytest

from gateway.directory.redis import RedisRegistry
from gateway.directory.sandbox import Sandbox
from tests.interop.harness import AppProcess, Connection, flask_app
from tests.interop.registered import Registered
from tests.support.dns_server import ZONE, DnsServer
from tests.support.process import poll
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.interop, pytest.mark.slow]

WORKERS = 4
TTL = 1.0
FRESH = 40
"""Connections: enough to meet each of four workers."""
SLOW = 0.75
"""Seconds: less than any backend's time limit (1.0, Redis; 0.8, DNS), more than an answer takes."""
FEW = 2
"""So many may be slow, on a machine that stands still for a moment, or if answers took that long lately: who meets an
outage waits twice as long. If each of four workers had to meet it, there would be more."""
OK, UNKNOWN, GONE = (200, None), (503, "directory_unavailable"), (404, "destination_not_found")


class Server(Protocol):
    pid: int

    def stop(self) -> int: ...
    def start(self) -> None: ...
    def ready(self) -> None: ...


class Registry:
    """One backend with a sandbox `known` in it, and the gateway's lines for it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.server: RedisServer | DnsServer = RedisServer() if kind == "redis" else DnsServer("known 1 AAAA ::1")

    @property
    def lines(self) -> str:
        if isinstance(self.server, RedisServer):
            return f'backend = "redis"\nurl = "{self.server.url}"\nttl = "{TTL:g}s"'
        return f'backend = "dns"\nzone = "{ZONE}"\nnameservers = ["{self.server.address}"]\nttl = "{TTL:g}s"'

    def fill(self, *names: str) -> None:
        """Before there is a gateway: one that hears of a change after it has looked forgets what it has seen."""
        if isinstance(self.server, RedisServer):
            asyncio.run(register(self.server.url, *names))

    def goes(self, how: str) -> None:
        if how == "hangs":
            os.kill(self.server.pid, signal.SIGSTOP)
        else:
            self.server.stop()

    def returns(self, how: str) -> None:
        if how == "hangs":
            os.kill(self.server.pid, signal.SIGCONT)
        else:
            self.server.start()
            self.server.ready()


async def register(url: str, *names: str) -> None:
    store = RedisRegistry(url)
    for name in names:
        await store.put(Sandbox(name, IPv6Address("::1"), ""))
    await store.close()


@pytest.fixture(scope="module")
def app() -> Iterator[AppProcess]:
    with flask_app() as running:
        yield running


@pytest.fixture(params=["redis", "dns"])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    registry = Registry(request.param)
    with registry.server:
        registry.fill("known")
        yield registry


def timed(gateway: Registered, app: AppProcess, name: str = "known") -> tuple[tuple[int, str | None], float]:
    began = time.monotonic()
    return gateway.get(app, name), time.monotonic() - began


def assert_served(answers: list[tuple[tuple[int, str | None], float]], expected: tuple[int, str | None] = OK) -> None:
    assert {status for status, _ in answers} == {expected}
    assert_quick([took for _, took in answers])


def assert_quick(waits: list[float]) -> None:
    slow = [took for took in waits if took > SLOW]
    assert len(slow) <= FEW, slow


def lines_about(gateway: Registered, words: str) -> list[str]:
    return [line for line in gateway.log.splitlines() if words in line and ("error" in line or "info" in line)]


@pytest.mark.parametrize("how", ["ends", "hangs"])
def test_a_sandbox_reached_once_is_served_by_every_worker_and_nobody_waits(
    registry: Registry, app: AppProcess, tmp_path: Path, how: str
) -> None:
    with Registered(registry.lines, directory=tmp_path, workers=WORKERS) as gateway:
        assert gateway.get(app, "known") == OK
        open_ = Connection(gateway, app.port, "known")
        open_.request("GET", "/")
        assert open_.getresponse().read()
        time.sleep(TTL + 0.2)  # so that it has to be asked for again
        registry.goes(how)
        try:
            assert_served([timed(gateway, app) for _ in range(FRESH)])
            waits = []
            for _ in range(30):
                began = time.monotonic()
                open_.request("GET", "/")
                answer = open_.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True)
                waits.append(time.monotonic() - began)
                time.sleep(0.1)
            assert_quick(waits)
            poll(lambda: lines_about(gateway, "is served on until"), "it is said that it is away", 10)
            assert_served([timed(gateway, app, f"new{number}") for number in range(FRESH)], UNKNOWN)
            victim = min(gateway.workers())
            os.kill(victim, signal.SIGKILL)
            poll(lambda: len(gateway.workers() - {victim}) == WORKERS, "it is replaced", 20)
            assert_served([timed(gateway, app) for _ in range(FRESH)])
        finally:
            registry.returns(how)
        poll(lambda: gateway.get(app, "other") == GONE, "it answers again", 10)
        poll(lambda: lines_about(gateway, "back after"), "it is said that it is back", 10)
        poll(lambda: "stale record" not in last_line(gateway, app), "records are fresh again", 10)
        open_.close()
    assert len(lines_about(gateway, "is served on until")) == 1, gateway.log
    assert len(lines_about(gateway, "back after")) == 1, gateway.log
    stale = [line for line in gateway.log.splitlines() if "(stale record)" in line]
    assert len(stale) > FRESH


def last_line(gateway: Registered, app: AppProcess) -> str:
    before = len(gateway.log.splitlines())
    assert gateway.get(app, "known") == OK

    def look() -> str | None:
        lines = [line for line in gateway.log.splitlines()[before:] if "GET" in line]
        return lines[-1] if lines else None

    return poll(look, "the access log has its line", 5)


def test_what_was_known_survives_a_restart_of_everything(registry: Registry, app: AppProcess, tmp_path: Path) -> None:
    with Registered(registry.lines, directory=tmp_path, workers=WORKERS) as gateway:
        assert gateway.get(app, "known") == OK
        registry.goes("ends")
        try:
            gateway.stop()
            gateway.start()
            gateway.ready()
            assert_served([timed(gateway, app) for _ in range(FRESH)])
            assert gateway.get(app, "unknown") == UNKNOWN
        finally:
            registry.returns("ends")
        poll(lambda: gateway.get(app, "unknown") == GONE, "it answers again", 10)


def test_a_sandbox_deleted_before_the_outage_is_served_by_no_worker_and_after_no_restart(
    app: AppProcess, tmp_path: Path
) -> None:
    registry = Registry("redis")
    with ExitStack() as stack:
        stack.enter_context(registry.server)
        registry.fill("known", "kept")
        gateway = stack.enter_context(Registered(registry.lines, directory=tmp_path, workers=WORKERS))
        for name in ("known", "kept"):
            assert {gateway.get(app, name) for _ in range(FRESH)} == {OK}
        snapshot = tmp_path / "var" / "known-sandboxes"
        poll(lambda: snapshot.exists() and b"known" in snapshot.read_bytes()[60:], "it is on the disk", 15)
        assert gateway.api("DELETE", "sandboxes/known")[0] == 204
        poll(lambda: {gateway.get(app, "known") for _ in range(FRESH)} == {GONE}, "all have heard of it", 5)
        poll(lambda: not has(snapshot, b"known"), "it is gone from the disk", 10)
        registry.goes("ends")
        try:
            time.sleep(TTL + 0.2)  # "no such sandbox" was believed for a second
            assert {gateway.get(app, "known") for _ in range(FRESH)} == {UNKNOWN}
            gateway.process.kill()  # the supervisor; its children follow
            gateway.stop()
            gateway.start()
            gateway.ready()
            assert {gateway.get(app, "known") for _ in range(FRESH)} == {UNKNOWN}
            assert {gateway.get(app, "kept") for _ in range(FRESH)} == {OK}
        finally:
            registry.returns("ends")


def has(snapshot: Path, name: bytes) -> bool:
    return b"\xa5" + name in snapshot.read_bytes()


def test_a_sandbox_deleted_while_the_gateway_was_down_is_not_served_in_a_later_outage(
    app: AppProcess, tmp_path: Path
) -> None:
    """What changed while nobody watched is heard of at the start, before the registry goes away."""
    registry = Registry("redis")
    with ExitStack() as stack:
        stack.enter_context(registry.server)
        registry.fill("known", "kept")
        gateway = stack.enter_context(Registered(registry.lines, directory=tmp_path))
        assert (gateway.get(app, "known"), gateway.get(app, "kept")) == (OK, OK)
        gateway.stop()
        other = tmp_path / "other"
        other.mkdir()
        with Registered(registry.lines, directory=other) as elsewhere:
            assert elsewhere.api("DELETE", "sandboxes/known")[0] == 204
        snapshot = tmp_path / "var" / "known-sandboxes"
        assert has(snapshot, b"known")
        gateway.start()
        gateway.ready()
        # Nobody asks for it; that the change was heard of shows on the disk.
        poll(lambda: not has(snapshot, b"known"), "it is gone from the disk", 10)
        registry.goes("ends")
        try:
            assert {gateway.get(app, "known") for _ in range(12)} == {UNKNOWN}
            assert {gateway.get(app, "kept") for _ in range(12)} == {OK}
        finally:
            registry.returns("ends")


@pytest.mark.parametrize("junk", [b"", b"junk", b"\0" * 100_000], ids=["empty", "junk", "zeros"])
def test_a_spoilt_file_of_known_sandboxes_stops_nothing(app: AppProcess, tmp_path: Path, junk: bytes) -> None:
    snapshot = tmp_path / "var" / "known-sandboxes"
    snapshot.parent.mkdir(mode=0o700)
    snapshot.write_bytes(junk)
    snapshot.chmod(0o600)
    lines = f'backend = "sqlite"\npath = {json.dumps(str(tmp_path / "sandboxes.db"))}'
    with Registered(lines, directory=tmp_path) as gateway:
        gateway.api("PUT", "sandboxes/known", {"address": "::1"})
        poll(lambda: gateway.statuses(app, "known") == {OK}, "it is served", 5)
        assert len([line for line in gateway.log.splitlines() if str(snapshot.name) in line]) == 1
    assert b"known" in snapshot.read_bytes()[60:], "it is written over"
