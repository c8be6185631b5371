"""A real browser at a real gateway, on somebody's worst afternoon: the app is down, then it is up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.harness import GatewayProcess, flask_app, require
from tests.support.browser import trust
from tests.support.devtools import DevTools
from tests.support.problem_site import problem_site
from tests.support.process import free_port, poll

pytestmark = [pytest.mark.interop, pytest.mark.slow]

PATIENCE = 4.0
"""Seconds from the app's first accepted connection to its page."""

FETCH = """
const [url, options] = arguments;
return fetch(url, options).then(async (answer) => ({
  status: answer.status,
  reason: answer.headers.get("X-Gateway-Error"),
  id: answer.headers.get("X-Request-Id"),
  problem: await answer.json(),
}), (error) => ({failed: String(error)}));
"""

SOCKET = """
const [path, offered] = arguments;
return new Promise((resolve) => {
  const socket = new WebSocket("wss://" + location.host + path, offered || []);
  let opened = false;
  socket.onopen = () => { opened = true; };
  socket.onclose = ({code, reason}) => resolve({opened, code, reason});
});
"""


@dataclass(frozen=True, slots=True)
class Afternoon:
    gateway: GatewayProcess
    browser: DevTools


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Afternoon]:
    require("chromium", "chromedriver", "certutil")
    directory = tmp_path_factory.mktemp("recovery")
    with GatewayProcess(free_port(), directory=directory) as gateway:
        trust(directory / "home", gateway.ca)
        with DevTools(directory / "home") as browser:
            yield Afternoon(gateway, browser)


def test_the_page_becomes_the_app(afternoon: Afternoon) -> None:
    browser = afternoon.browser
    app = flask_app()
    url = afternoon.gateway.url(app.port, path="/?from=here#there")
    browser.open(url)
    assert f"Nothing reachable listens on port {app.port}" in browser.text
    before = browser.evaluate("return history.length")
    afternoon.gateway.printed(rf"OPTIONS .* {app.port}-")  # the page has asked
    assert "waiting" in browser.text.lower()
    with app:
        began = time.monotonic()
        poll(lambda: "Hello" in browser.text, "the page becomes the app", PATIENCE)
        took = time.monotonic() - began
    assert took <= PATIENCE
    assert browser.url == url, "query and fragment are kept"
    assert browser.evaluate("return history.length") == before, "no step back to a page that failed"
    assert "X-Gateway-Probe" not in app.log


def test_in_a_frame_of_another_site_it_becomes_the_app(afternoon: Afternoon) -> None:
    """An IDE's preview. A page of another site is told nothing here, but this one asks its own origin."""
    browser, app = afternoon.browser, flask_app()
    with problem_site(None) as around:
        browser.open(f"http://127.0.0.1:{around.port}/")
        browser.evaluate(
            "document.body.insertAdjacentHTML('beforeend', `<iframe id=shown src='${arguments[0]}'></iframe>`)",
            afternoon.gateway.url(app.port, path="/?in=frame"),
        )
        with browser.inside("document.getElementById('shown')"):
            afternoon.gateway.printed(rf"OPTIONS .* {app.port}-")  # the page has asked
            with app:
                poll(lambda: "Hello" in browser.text, "the page becomes the app", 10)


def test_a_script_on_another_origin_reads_the_problem(afternoon: Afternoon) -> None:
    browser, gateway = afternoon.browser, afternoon.gateway
    port = free_port()
    with flask_app() as app:
        browser.open(gateway.url(app.port))
        options = {"method": "PUT", "headers": {"X-Own": "1", "Content-Type": "application/json"}, "body": "{}"}
        assert browser.evaluate(FETCH, gateway.url(port), options) == {"failed": "TypeError: Failed to fetch"}
        # What needs a preflight is not sent; a probe, which reaches no app, says why.
        for chosen in ({}, {"credentials": "include"}, {"headers": {"X-Gateway-Probe": "1"}}):
            seen = browser.evaluate(FETCH, gateway.url(port), chosen)
            assert seen["status"] == 502, seen
            assert seen["reason"] == seen["problem"]["reason"] == "connection_refused"
            assert seen["id"] == seen["problem"]["request_id"]


def test_a_websocket_may_be_told_by_its_close_code(afternoon: Afternoon) -> None:
    browser, gateway = afternoon.browser, afternoon.gateway
    browser.open(gateway.url(free_port()))
    seen = browser.evaluate(SOCKET, "/hmr")
    assert (seen["opened"], seen["code"]) == (False, 1006), "what browsers say of a refused handshake: nothing"
    seen = browser.evaluate(SOCKET, "/hmr?gateway_close=1")
    assert (seen["opened"], seen["code"]) == (True, 4502)
    assert seen["reason"].startswith("connection_refused: Nothing reachable listens on port")
    for offered in ("vite-hmr", ["graphql-transport-ws", "graphql-ws"]):
        seen = browser.evaluate(SOCKET, "/hmr?gateway_close=1", offered)
        assert (seen["opened"], seen["code"]) == (True, 4502), "a browser fails a 101 that selects none of the offered"


def test_a_request_that_cannot_be_read_gets_a_page(afternoon: Afternoon) -> None:
    browser, url = afternoon.browser, afternoon.gateway.url(free_port())
    browser.open(url + "?" + "x" * 9000)
    assert browser.title == "414 · The request target is too long"
    assert "Send large data in the body of a POST" in browser.text
    browser.open(url)
    browser.evaluate("for (let i = 0; i < 12; i++) document.cookie = `c${i}=${'x'.repeat(3500)}`")
    browser.open(url)
    assert browser.title == "431 · The request's header section is too large"
    assert "Clear the cookies of this site" in browser.text
    browser.evaluate("for (let i = 0; i < 12; i++) document.cookie = `c${i}=; Max-Age=0`")


def test_the_page_asks_nothing_of_the_internet(afternoon: Afternoon, tmp_path: Path) -> None:
    browser = afternoon.browser
    browser.open(afternoon.gateway.url(free_port()))
    origins = browser.evaluate(
        "return [...new Set(performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin))]"
    )
    assert set(origins) <= {browser.evaluate("return location.origin")}
