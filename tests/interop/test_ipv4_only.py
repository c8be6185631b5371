"""The commonest mistake: an app bound to 127.0.0.1 only. Every form of the answer says what to change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.interop.harness import Answer, Connection, GatewayProcess, curl, flask_app

pytestmark = pytest.mark.interop

REASON = "ipv4_only_listener"


@dataclass(frozen=True, slots=True)
class Unreachable:
    port: int
    gateway: GatewayProcess
    pid: int
    """Of the app."""

    def get(self, *arguments: str) -> Answer:
        return curl(self.gateway.url(self.port), self.gateway.ca, *arguments)


@pytest.fixture(scope="module")
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unreachable]:
    with (
        flask_app(host="127.0.0.1") as app,
        GatewayProcess(app.port, directory=tmp_path_factory.mktemp("gateway")) as gateway,
    ):
        yield Unreachable(app.port, gateway, app.pid)


def test_text_for_curl(unreachable: Unreachable) -> None:
    answer = unreachable.get()
    assert answer.status == 502
    assert answer.header("X-Gateway-Error") == REASON
    assert (answer.header("Proxy-Status") or "").startswith("gateway; error=connection_refused")
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("X-Request-Id")
    assert (answer.header("Content-Type") or "").startswith("text/plain")
    assert f"127.0.0.1:{unreachable.port}" in answer.text
    assert "::" in answer.text
    assert "ind to" in answer.text
    assert str(unreachable.port) in answer.text
    assert "<" not in answer.text


def test_json_for_programs(unreachable: Unreachable) -> None:
    answer = unreachable.get("--header", "Accept: application/json")
    assert answer.status == 502
    assert answer.header("Content-Type") == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["status"] == 502
    assert problem["reason"] == answer.header("X-Gateway-Error")
    assert problem["reason"] == REASON
    assert problem["port"] == unreachable.port
    assert problem["sandbox"] == "local"
    # Where it listens, which process that is, and the line to change.
    assert (
        f"something listens on 127.0.0.1:{unreachable.port} but not on [::1]:{unreachable.port}" in problem["observed"]
    )
    assert any("python" in fact and f"(pid {unreachable.pid})" in fact for fact in problem["observed"])
    assert any(f'app.run(host="::", port={unreachable.port})' in step for step in problem["fix"])
    assert problem["request_id"] == answer.header("X-Request-Id")
    assert any("::" in step for step in problem["fix"])


def test_page_for_a_navigation(unreachable: Unreachable) -> None:
    answer = unreachable.get("--header", "Accept: text/html,application/xhtml+xml,*/*;q=0.8")
    assert answer.status == 502
    assert answer.header("X-Gateway-Error") == REASON
    assert (answer.header("Content-Type") or "").startswith("text/html")
    assert answer.text.lstrip().lower().startswith("<!doctype html>")
    assert "::" in answer.text
    assert str(unreachable.port) in answer.text


def test_head_has_the_same_fields_and_no_body(unreachable: Unreachable) -> None:
    with closing(Connection(unreachable.gateway, unreachable.port)) as connection:
        connection.request("HEAD", "/")
        answer = connection.getresponse()
        assert answer.status == 502
        assert answer.getheader("X-Gateway-Error") == REASON
        # http.client reads no body after HEAD: one that came all the same would break the next answer.
        assert answer.read() == b""
        connection.request("GET", "/")
        assert connection.getresponse().status == 502
