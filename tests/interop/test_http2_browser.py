"""HTTP/2 in a real browser: what it makes possible, and what it saves, measured against HTTP/1.1 in the same run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.interop.harness import GatewayProcess, require
from tests.support.browser import Browser, trust
from tests.support.long_cable import LongCable
from tests.support.page_app import FILES, PageApp
from tests.support.process import poll

pytestmark = [pytest.mark.interop, pytest.mark.slow]

WITHOUT_HTTP2 = "--disable-http2"
ROUND_TRIP = 0.020
"""To a gateway in the same country."""

# Milliseconds until everything on the page had come, by what protocol, and how many files there were.
LOADED = """
return new Promise((resolve) => {
  const look = () => {
    const [page] = performance.getEntriesByType("navigation");
    const files = performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/files/"));
    if (!page.loadEventEnd) return setTimeout(look, 20);
    const protocols = [...new Set([page, ...files].map((entry) => entry.nextHopProtocol))];
    resolve({took: page.loadEventEnd, protocols, loaded: window.loaded});
  };
  look();
});
"""

# Opens so many event streams, and resolves to what each has said when all have, with an ordinary answer beside them.
STREAMS = """
const [count] = arguments;
const sources = Array.from({length: count}, () => new EventSource("/events"));
const first = (source) => new Promise((resolve, reject) => {
  source.onmessage = ({data}) => resolve(Number(data));
  source.onerror = () => reject(new Error("an event stream has failed"));
});
return Promise.all(sources.map(first)).then(async (said) => {
  const status = (await fetch("/page")).status;
  const open = sources.filter((source) => source.readyState === EventSource.OPEN).length;
  sources.forEach((source) => source.close());
  return {said: said.sort((a, b) => a - b), status, open};
});
"""

# Says a word of the request's body only when the app has heard the one before.
PIECES = """
const [words] = arguments;
let body;
const stream = new ReadableStream({start(controller) { body = controller; }});
const answer = fetch("/upload", {method: "POST", body: stream, duplex: "half"});
return (async () => {
  for (const [at, word] of words.entries()) {
    body.enqueue(new TextEncoder().encode(word));
    while ((await (await fetch("/heard")).json()).length <= at) await new Promise((resume) => setTimeout(resume, 10));
  }
  body.close();
  return (await answer).json();
})();
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """An app, a gateway, and the directory where browsers have their homes."""

    app: PageApp
    gateway: GatewayProcess
    homes: Path

    def browser(self, name: str, *arguments: str) -> Browser:
        """A browser that has never been here."""
        trust(self.homes / name, self.gateway.ca)
        return Browser(self.homes / name, *arguments)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    require("chromium", "chromedriver", "certutil")
    directory = tmp_path_factory.mktemp("stage")
    with PageApp() as app, GatewayProcess(app.port, directory=directory) as gateway:
        yield Stage(app, gateway, directory)


@pytest.fixture(scope="module")
def browser(stage: Stage) -> Iterator[Browser]:
    with stage.browser("home") as browser:
        yield browser


@pytest.fixture
def page(stage: Stage, browser: Browser) -> Browser:
    """The browser, on the app's page."""
    browser.open(stage.gateway.url(stage.app.port, path="/page"))
    assert browser.evaluate("return performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    return browser


def test_twenty_event_streams_at_once(stage: Stage, page: Browser) -> None:
    """Over HTTP/1.1 the seventh would wait for one of the first six to end, which none does."""
    seen = page.evaluate(STREAMS, 20)
    assert seen == {"said": list(range(1, 21)), "status": 200, "open": 20}
    poll(lambda: stage.app.streams == 0, "the app has heard that all are closed")


def test_a_request_body_reaches_the_app_piece_by_piece(page: Browser) -> None:
    """`duplex: "half"`, which Chromium allows over HTTP/2 only: over HTTP/1.1 it fails with ERR_H2_OR_QUIC_REQUIRED."""
    words = ["one", "two", "three"]
    assert page.evaluate(PIECES, words) == words


def test_a_page_of_many_files_loads_faster_than_over_http1(stage: Stage, record_property: Any) -> None:
    took = {}
    with LongCable(stage.gateway.tls_port, ROUND_TRIP / 2) as cable:
        url = f"https://{stage.gateway.host(stage.app.port)}:{cable.port}/many"
        for protocol, arguments in ("http/1.1", [WITHOUT_HTTP2]), ("h2", []):
            before = cable.connections
            with stage.browser(protocol.replace("/", ""), *arguments) as browser:
                browser.open(url)
                seen = browser.evaluate(LOADED)
            assert (seen["protocols"], seen["loaded"]) == ([protocol], FILES)
            took[protocol] = seen["took"]
            print(f"{FILES} files over {protocol}: {seen['took']:.0f} ms, {cable.connections - before} connections")
            record_property(f"milliseconds over {protocol}", round(seen["took"]))
    assert took["h2"] < took["http/1.1"]
