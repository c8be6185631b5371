"""What was sent, what is counted, and what is in the log are one number: over reloads, and a killed worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.support.components import require
from tests.support.process import free_port, poll
from tests.support.serving import App, Serving, kill

pytestmark = pytest.mark.interop


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


def logging(directory: Path, app: App) -> Serving:
    """A gateway whose access log is a file."""
    gateway = Serving(directory, app)
    file = directory / "gateway.toml"
    log = json.dumps(str(directory / "access.log"))
    text = file.read_text()
    assert "access = false" in text
    file.write_text(text.replace("access = false", f"access = true\npath = {log}").replace('"text"', '"json"'))
    return gateway


def text_of(gateway: Serving) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def value(gateway: Serving, name: str, **labels: str) -> float:
    """The sum of all samples of `name` that have these labels."""
    return sum(
        sample.value
        for family in parse(text_of(gateway))
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def ask(gateway: Serving, path: bytes = b"/", method: bytes = b"GET", port: int | None = None) -> bytes:
    connection = gateway.connect()
    host = gateway.host if port is None else f"{port}-box.sandbox.localhost"
    connection.sendall(b"%b %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (method, path, host.encode()))
    return gateway.answer(connection)


def test_sent_counted_and_logged_are_one_number(tmp_path: Path, app: App) -> None:
    require("promtool")
    with logging(tmp_path, app) as gateway:
        sent: Counter[str] = Counter()

        def some() -> None:
            for host, port, _ in gateway.doors:
                for _ in range(5):
                    assert gateway.get(host, port).startswith(b"HTTP/1.1 200 ")
                    sent["200"] += 1
            assert ask(gateway, port=free_port()).startswith(b"HTTP/1.1 502 ")
            assert ask(gateway, method=b"BREW").startswith(b"HTTP/1.1 ")
            assert ask(gateway, b"/ /").startswith(b"HTTP/1.1 400 ")
            sent.update(["502", "200", "400"])

        def all_counted() -> bool:
            return value(gateway, "gateway_requests_total") == sent.total()

        some()
        poll(all_counted, "all of it is counted")
        kill(gateway.workers()[0])
        gateway.says("was killed by SIGKILL; starting it again")
        poll(lambda: gateway.health()[0] == 200, "there is another one")
        assert all_counted(), "what the killed one had counted is kept"
        some()
        for generation in (2, 3):
            os.kill(gateway.pid, signal.SIGHUP)
            gateway.says(f"reloaded: generation {generation} serves")
            some()
        poll(all_counted, "all of it is counted")
        for code, count in sent.items():
            assert value(gateway, "gateway_requests_total", code=code) == count
        assert value(gateway, "gateway_failures_total", reason="connection_refused") == sent["502"]
        observed = value(gateway, "gateway_request_duration_seconds_count")
        assert observed == sent.total()
        assert value(gateway, "gateway_worker_restarts_total", cause="signal") == 1
        assert value(gateway, "gateway_config_reloads_total", result="success") == 2
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=text_of(gateway).encode(), capture_output=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert Counter(str(line["status"]) for line in lines) == sent
    assert len({line["request_id"] for line in lines}) == sent.total()


def test_what_was_counted_after_the_last_look_is_there_when_a_reload_has_ended(tmp_path: Path, app: App) -> None:
    """A worker that is replaced while a request is under way counts it at its very end."""
    with logging(tmp_path, app) as gateway:
        held = gateway.hold(app)
        os.kill(gateway.pid, signal.SIGHUP)
        gateway.says("reloaded: generation 2 serves")
        poll(lambda: value(gateway, "gateway_requests_in_flight") == 1, "it is under way")
        series = [
            (sample.name, *sorted(sample.labels.items()))
            for family in parse(text_of(gateway))
            for sample in family.samples
        ]
        assert len(series) == len(set(series)), "two processes of one slot are one series"
        app.released.set()
        assert gateway.answer(held).endswith(b"ok")
        poll(lambda: value(gateway, "gateway_requests_total", code="200") == 1, "it is counted")
        poll(lambda: value(gateway, "gateway_requests_in_flight") == 0, "nothing is under way")


def test_a_worker_that_is_stuck_is_seen_all_the_same(tmp_path: Path, app: App) -> None:
    with logging(tmp_path, app) as gateway:
        for _ in range(8):
            gateway.get()
        poll(lambda: value(gateway, "gateway_requests_total") == 8, "all are counted")
        for pid in gateway.workers():
            os.kill(pid, signal.SIGSTOP)
        assert value(gateway, "gateway_requests_total") == 8
        assert value(gateway, "gateway_ready") == 0


def test_an_invalid_configuration_is_seen(tmp_path: Path, app: App) -> None:
    with logging(tmp_path, app) as gateway:
        file = tmp_path / "gateway.toml"
        file.write_text(file.read_text().replace("[limits]", "[limits]\nconnexions = 5"))
        os.kill(gateway.pid, signal.SIGHUP)
        gateway.says("not reloaded")
        poll(lambda: value(gateway, "gateway_config_reloads_total", result="failure") == 1, "it is counted")
        assert value(gateway, "gateway_config_last_reload_successful") == 0


def test_what_a_drain_cuts_off_has_not_left(tmp_path: Path, app: App) -> None:
    gateway = logging(tmp_path, app)
    file = tmp_path / "gateway.toml"
    file.write_text(file.read_text().replace('drain_timeout = "20s"', 'drain_timeout = "1s"'))
    with gateway:
        held = gateway.hold(app)
        os.kill(gateway.pid, signal.SIGHUP)
        poll(lambda: value(gateway, "gateway_failures_total", reason="drain_timeout") == 1, "it is cut off")
        assert value(gateway, "gateway_failures_total", reason="downstream_closed") == 0
        app.released.set()
        held.close()
