"""A real browser: the page is shown because the local CA is trusted, and its WebSocket works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.interop.harness import DOMAIN, GatewayProcess, require
from tests.support.browser import Browser, BrowserError, trust
from tests.support.devtools import DevTools
from tests.support.websocket_app import CLOSE_CODE, CLOSE_REASON, SUBPROTOCOL, WebSocketApp, websocket_app

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DEMO_URL = rf"https://\d+-demo\.{re.escape(DOMAIN)}:\d+/"
PNG = b"\x89PNG\r\n\x1a\n"

# One conversation in the page: opens, sends each message once the one before has come back, closes. Resolves
# to what the page saw. Binary messages travel between test and page as lists of numbers.
CONVERSATION = """
const [path, protocols, messages, close] = arguments;
return new Promise((resolve) => {
  const socket = new WebSocket("wss://" + location.host + path, protocols);
  const seen = {received: [], opened: false};
  const waiting = messages.map((m) => typeof m === "string" ? m : new Uint8Array(m));
  const next = () => {
    if (waiting.length) socket.send(waiting.shift());
    else if (close) socket.close(...close);
  };
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    Object.assign(seen, {opened: true, protocol: socket.protocol, extensions: socket.extensions});
    next();
  };
  socket.onmessage = ({data}) => {
    seen.received.push(typeof data === "string" ? data : Array.from(new Uint8Array(data)));
    next();
  };
  socket.onclose = ({code, reason, wasClean}) => resolve({...seen, code, reason, wasClean});
});
"""

# 16 MiB are made, hashed and compared in the page: as a WebDriver value they would take longer than the test.
BIG_ECHO = """
return new Promise(async (resolve) => {
  const message = new Uint8Array(16 * 1024 * 1024);
  for (let at = 0; at < message.length; at += 65536) crypto.getRandomValues(message.subarray(at, at + 65536));
  const digest = (bytes) => crypto.subtle.digest("SHA-256", bytes);
  const hash = async (bytes) => Array.from(new Uint8Array(await digest(bytes))).join();
  const sent = await hash(message);
  const socket = new WebSocket("wss://" + location.host + "/echo");
  socket.binaryType = "arraybuffer";
  socket.onopen = () => socket.send(message);
  socket.onmessage = async ({data}) => {
    const same = await hash(data) === sent;
    socket.onclose = () => resolve({length: data.byteLength, same});
    socket.close(1000);
  };
  socket.onclose = ({code, reason}) => resolve({code, reason});
});
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A browser on the page of the WebSocket app, behind a gateway."""

    app: WebSocketApp
    browser: Browser

    def converse(
        self,
        path: str,
        *messages: str | list[int],
        protocols: tuple[str, ...] = (),
        close: tuple[int, str] | None = None,
    ) -> dict[str, Any]:
        seen: dict[str, Any] = self.browser.evaluate(CONVERSATION, path, protocols, messages, close)
        return seen


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    require("chromium", "chromedriver", "certutil")
    directory = tmp_path_factory.mktemp("browser")
    with websocket_app() as app, GatewayProcess(app.port, directory=directory) as gateway:
        trust(directory / "home", gateway.ca)
        with Browser(directory / "home") as browser:
            browser.open(gateway.url(app.port, path="/page"))
            yield Shown(app, browser)


def test_the_demo_page_and_its_websocket(tmp_path: Path) -> None:
    require("chromium", "chromedriver", "certutil", "axe-core")
    with GatewayProcess(directory=tmp_path) as gateway:
        url = gateway.printed(DEMO_URL)
        trust(tmp_path / "home", gateway.ca)
        with DevTools(tmp_path / "home") as browser:
            browser.open(url)
            assert browser.url == url
            assert browser.title
            assert browser.text.strip()
            assert browser.evaluate("return window.isSecureContext") is True

            binary = list(range(256))
            seen = browser.evaluate(CONVERSATION, "/ws", [], ["Grüße 👋", "", binary], [1000, "done"])
            assert seen["received"] == ["Grüße 👋", "", binary]
            assert (seen["code"], seen["wasClean"]) == (1000, True)

            for width, scheme in ((320, "light"), (1280, "dark")):
                browser.emulate(width, 800, scheme)
                assert browser.evaluate("return document.documentElement.scrollWidth") <= width
                assert browser.violations() == []

            picture = tmp_path / "demo.png"
            browser.screenshot(picture)
            assert picture.read_bytes().startswith(PNG)


def test_without_the_ca_the_browser_refuses(tmp_path: Path) -> None:
    """What makes the tests here worth something: this browser does look at the certificate."""
    require("chromium", "chromedriver")
    with GatewayProcess(directory=tmp_path) as gateway, Browser(tmp_path / "home") as browser:
        # Some versions report the refusal to the driver, some load their warning page and call that success.
        try:
            browser.open(gateway.printed(DEMO_URL))
            told = browser.text
        except BrowserError as error:
            told = error.message
    assert "ERR_CERT_AUTHORITY_INVALID" in told


def test_text_and_binary(shown: Shown) -> None:
    messages: tuple[str | list[int], ...] = ("text", "ünïcödé 👋", [0, 255, 128], [], list(range(256)))
    seen = shown.converse("/echo", *messages, close=(1000, ""))
    assert seen["received"] == list(messages)
    assert seen["wasClean"] is True


def test_16_mib_message_both_ways(shown: Shown) -> None:
    assert shown.browser.evaluate(BIG_ECHO) == {"length": 16 * 1024 * 1024, "same": True}


def test_permessage_deflate_is_negotiated_end_to_end(shown: Shown) -> None:
    seen = shown.converse("/echo", "a" * 100_000, close=(1000, ""))
    assert seen["extensions"].startswith("permessage-deflate")
    assert "permessage-deflate" in shown.app.handshakes[-1]["Sec-WebSocket-Extensions"]
    assert seen["received"] == ["a" * 100_000]


def test_the_app_chooses_the_subprotocol(shown: Shown) -> None:
    seen = shown.converse("/echo", protocols=("first.v1", SUBPROTOCOL), close=(1000, ""))
    assert seen["protocol"] == SUBPROTOCOL


def test_the_app_pings_the_browser(shown: Shown) -> None:
    seen = shown.converse("/ping", "hello", close=(1000, ""))
    assert seen["received"][0] == "pong came"
    assert seen["code"] == 1000


def test_the_app_closes_with_code_and_reason(shown: Shown) -> None:
    seen = shown.converse("/close", "go")
    assert (seen["code"], seen["reason"], seen["wasClean"]) == (CLOSE_CODE, CLOSE_REASON, True)


def test_the_browser_closes_with_code_and_reason(shown: Shown) -> None:
    seen = shown.converse("/echo", "once", close=(4003, "seen enough"))
    assert (seen["code"], seen["wasClean"]) == (4003, True)
    assert shown.app.wait_for_close(4003) == "seen enough"


def test_a_refused_handshake_fails_in_the_browser(shown: Shown) -> None:
    seen = shown.converse("/refuse")
    assert (seen["opened"], seen["code"]) == (False, 1006)
    assert shown.browser.evaluate("return fetch('/page').then((answer) => answer.status)") == 200


def test_a_request_that_is_too_large_is_told_on_a_page(shown: Shown) -> None:
    """Chromium's TLS records hold 16 KiB: of such a request nothing but the target is in the first."""
    browser, page = shown.browser, shown.browser.url
    try:
        browser.open(page + "?" + "x" * 20_000)
        assert browser.title == "414 · The request target is too long"
        browser.evaluate("for (let n = 0; n < 10; n++) document.cookie = `c${n}=${'x'.repeat(3900)}`")
        browser.open(page)
        assert browser.title == "431 · The request's header section is too large"
    finally:
        browser.evaluate("for (let n = 0; n < 10; n++) document.cookie = `c${n}=; max-age=0`")
        browser.open(page)
