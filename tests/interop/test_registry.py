"""A registry behind a real gateway with two workers: changes arrive, outages pass unnoticed, promises are kept."""

from __future__ import annotations

import json
import os
import signal
import ssl
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.harness import AppProcess, Connection, flask_app
from tests.interop.registered import Registered
from tests.support.dns_server import ZONE, DnsServer
from tests.support.process import descendants, poll
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.interop, pytest.mark.slow]

SOON = 10.0
"""Seconds in which a change has reached every worker, on a machine with much else to do; it takes a quarter of one."""
KEPT = 'ttl = "1h"\nnegative_ttl = "1h"'
"""Of a gateway that asks again for nothing: what it serves anew, it was told of."""
OUTAGE = float(os.environ.get("GATEWAY_TEST_OUTAGE", "4"))
"""Seconds without a registry; several times `directory.ttl`."""


@pytest.fixture(scope="module")
def app() -> Iterator[AppProcess]:
    with flask_app() as running:
        yield running


@pytest.fixture(params=["sqlite", "redis"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registered]:
    if request.param == "sqlite":
        lines = f'backend = "sqlite"\npath = {json.dumps(str(tmp_path / "sandboxes.db"))}\n{KEPT}'
        with Registered(lines, directory=tmp_path) as running:
            yield running
    else:
        with (
            RedisServer() as redis,
            Registered(f'backend = "redis"\nurl = "{redis.url}"\n{KEPT}', directory=tmp_path) as running,
        ):
            yield running


def test_a_change_reaches_every_worker(gateway: Registered, app: AppProcess) -> None:
    assert gateway.statuses(app, "box") == {(404, "destination_not_found")}
    status, record = gateway.api("PUT", "sandboxes/box", {"address": "::1"})
    assert status == 201
    assert record["publicAccessUrlTemplate"] == f"https://{{port}}-box.sandbox.localhost:{gateway.tls_port}"
    poll(lambda: gateway.statuses(app, "box") == {(200, None)}, "every worker serves it", SOON)

    kept = Connection(gateway, app.port, "box")
    kept.request("GET", "/")
    assert kept.getresponse().read()
    assert gateway.api("DELETE", "sandboxes/box")[0] == 204
    poll(lambda: gateway.statuses(app, "box") == {(404, "destination_not_found")}, "no worker does", SOON)
    kept.request("GET", "/")
    assert kept.getresponse().status == 404, "a connection from before is no way in"
    kept.close()


def test_what_the_api_acknowledged_survives_kill_9(tmp_path: Path, app: AppProcess) -> None:
    """The admin process is killed in the midst of a thousand registrations; its successor knows every one of them."""
    lines = f'backend = "sqlite"\npath = {json.dumps(str(tmp_path / "sandboxes.db"))}'
    with Registered(lines, directory=tmp_path) as gateway:
        acknowledged: list[str] = []
        stop = threading.Event()

        def register() -> None:
            for number in range(1000):
                if stop.is_set():
                    return
                try:
                    if gateway.api("PUT", f"sandboxes/n{number}", {"address": "::1"})[0] == 201:
                        acknowledged.append(f"n{number}")
                except (OSError, ssl.SSLError, ValueError):
                    continue  # cut off: not acknowledged

        registering = threading.Thread(target=register)
        registering.start()
        for goal in (50, 150):
            poll(lambda goal=goal: len(acknowledged) >= goal, f"{goal} registrations", 30)
            os.kill(admin_process(gateway), signal.SIGKILL)
            poll(lambda: gateway.is_ready(), "there is a new admin process", 20)
        poll(lambda: len(acknowledged) >= 250, "it goes on", 30)
        stop.set()
        registering.join(30)
        assert not registering.is_alive()
        found: list[str] = []
        after = ""
        while True:
            page = gateway.api("GET", f"sandboxes?limit=1000&after={after}")[1]
            found += [each["id"] for each in page["sandboxes"]]
            if page["next"] is None:
                break
            after = page["next"]
        assert set(acknowledged) <= set(found)


def admin_process(gateway: Registered) -> int:
    """The one child of the supervisor that is no worker."""

    def look() -> int | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/readyz", timeout=5) as answer:
            workers = {worker["pid"] for worker in json.loads(answer.read())["workers"]}
        others = set(descendants(gateway.pid)) - workers - {gateway.pid}
        return others.pop() if len(others) == 1 else None

    return poll(look, "the admin process is found", 10)


class Load:
    """Requests to one sandbox, each on a fresh connection, until told to stop."""

    def __init__(self, gateway: Registered, app: AppProcess, name: str) -> None:
        self.seen: Counter[tuple[int, str | None]] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(gateway, app, name))

    def _run(self, gateway: Registered, app: AppProcess, name: str) -> None:
        while not self._stop.is_set():
            self.seen[gateway.get(app, name)] += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


def test_redis_goes_and_comes_back_under_load(tmp_path: Path, app: AppProcess) -> None:
    with RedisServer() as redis:
        lines = f'backend = "redis"\nurl = "{redis.url}"\nttl = "1s"'
        with Registered(lines, directory=tmp_path) as gateway:
            gateway.api("PUT", "sandboxes/known", {"address": "::1"})
            poll(lambda: gateway.statuses(app, "known") == {(200, None)}, "it is served", 5)
            with Load(gateway, app, "known") as load:
                redis.stop()
                time.sleep(OUTAGE)
                assert gateway.statuses(app, "unknown") == {(503, "directory_unavailable")}
                assert gateway.api("PUT", "sandboxes/new", {"address": "::1"})[0] == 503
                redis.start_again()
                poll(lambda: gateway.api("PUT", "sandboxes/new", {"address": "::1"})[0] == 201, "it takes records", 10)
                poll(lambda: gateway.statuses(app, "new") == {(200, None)}, "it is served", 5)
            assert set(load.seen) == {(200, None)}, load.seen
            assert load.seen.total() > 20
            assert set(gateway.statuses(app, "unknown")) == {(404, "destination_not_found")}


def test_dns_goes_and_comes_back_under_load(tmp_path: Path, app: AppProcess) -> None:
    with DnsServer("known 1 AAAA ::1") as dns:
        lines = f'backend = "dns"\nzone = "{ZONE}"\nnameservers = ["{dns.address}"]\nttl = "1s"'
        with Registered(lines, directory=tmp_path) as gateway:
            poll(lambda: gateway.statuses(app, "known") == {(200, None)}, "it is served", 10)
            with Load(gateway, app, "known") as load:
                dns.stop()
                time.sleep(OUTAGE)
                assert gateway.get(app, "unknown") == (503, "directory_unavailable")
                dns.start()
                dns.ready()
                poll(lambda: gateway.get(app, "unknown") == (404, "destination_not_found"), "it answers again", 10)
            assert set(load.seen) == {(200, None)}, load.seen
