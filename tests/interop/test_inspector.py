"""The inspector in Chromium: it lives, anybody can use it, and what an app sends can neither run in it nor break it."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.interop.harness import GatewayProcess, curl
from tests.support.browser import trust
from tests.support.components import require
from tests.support.devtools import DevTools
from tests.support.hostile_app import ANSWERS, HostileApp
from tests.support.process import poll

pytestmark = [pytest.mark.interop, pytest.mark.slow]

PATH = "/<img/src=x/onerror=document.title='owned'>?<script>document.title='owned'</script>"
LOOKS = [(320, 700, "light"), (390, 844, "dark"), (1280, 900, "light"), (1280, 900, "dark")]
NUMBERS = "return [...exchanges.keys()]"
LOADING = "return [...document.querySelectorAll('.content')].some((each) => each.textContent === '…')"
FOREIGN = "return document.querySelectorAll('#shown :is(script, iframe, svg, img:not([src^=\"blob:\"]))').length"


class Page(NamedTuple):
    app: HostileApp
    gateway: GatewayProcess
    browser: DevTools
    url: str

    def ask(self, path: str, *options: str) -> int:
        return curl(self.gateway.url(self.app.port, path=path), self.gateway.ca, *options).status

    def shows(self, text: str) -> None:
        poll(lambda: text in self.browser.text, f"the page shows {text!r}; it is {self.browser.text[:2000]}", 30)

    def choose(self, path: str) -> None:
        """The last exchange of this path, once it is over; returns when all of it is shown."""
        last = (
            "return load().then(() => Math.max(0, ...[...exchanges.values()]"
            f".filter((each) => each.target === {json.dumps(path)} && !each.live).map((each) => each.number)))"
        )
        number = poll(lambda: self.browser.evaluate(last), f"{path} is in the list", 30)
        self.browser.evaluate(f"choose({number}); openPane()")
        poll(lambda: self.browser.evaluate(f"return details?.number === {number} && !refreshing"), "it is shown", 30)
        poll(lambda: not self.browser.evaluate(LOADING), f"the bodies of {path} are there", 30)

    def press(self, key: str) -> None:
        self.browser.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        self.browser.send("Input.dispatchKeyEvent", type="keyUp", key=key)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    require("chromium", "chromedriver", "certutil", "curl", "axe-core")
    directory = tmp_path_factory.mktemp("inspector")
    with HostileApp() as app, GatewayProcess(app.port, directory=directory) as gateway:
        url = gateway.printed(r"inspector +http://\S+").split()[-1]
        trust(directory / "home", gateway.ca)
        with DevTools(directory / "home") as browser:
            browser.open(url)
            yield Page(app, gateway, browser, url)


@pytest.fixture(autouse=True)
def whole_window(page: Page) -> None:
    page.browser.emulate(1280, 900, "light")
    page.browser.open(page.url)
    page.shows("live")


def test_what_happens_appears_by_itself(page: Page) -> None:
    assert page.ask("/first?a=1") == 200
    page.shows("/first?a=1")
    page.choose("/first?a=1")
    for text in ("queue", "dial", "first byte", "Fields of the request", "X-Request-Id", "text/plain"):
        page.shows(text)


def test_a_hostile_app_is_text(page: Page) -> None:
    for path in (*ANSWERS, "/events"):
        assert page.ask(path) == 200
    page.ask(PATH, "--globoff")
    page.ask(
        "/ws",
        "--http1.1",
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: websocket",
        "-H",
        "Sec-WebSocket-Version: 13",
        "-H",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "--max-time",
        "20",
    )
    for path in (*ANSWERS, "/events", "/ws", PATH):
        page.choose(path)
        for view in range(3):
            page.browser.evaluate(f"document.querySelectorAll('#response .views button')[{view}]?.click()")
        assert page.browser.evaluate(FOREIGN) == 0, path
        assert page.browser.title == "gateway: inspector"
    page.choose("/html")
    page.shows("onerror=")
    page.choose("/ws")
    page.shows("no WebSocket frames")
    page.choose("/events")
    assert page.browser.evaluate("return document.querySelectorAll('#messages li').length") == 2
    assert page.browser.evaluate("return Object.prototype.x") is None


def test_images_are_shown_and_run_nothing(page: Page) -> None:
    page.ask("/svg")
    page.choose("/svg")
    width = "return document.querySelector('#response .content img')?.naturalWidth"
    poll(lambda: page.browser.evaluate(width) == 9, "the image is drawn", 30)
    assert page.browser.title == "gateway: inspector"


def test_a_delivery_is_replayed_by_a_key_and_edited(page: Page) -> None:
    page.ask("/hook", "-H", "Content-Type: application/json", "--data-raw", '{"id": "evt_1"}')
    page.choose("/hook")
    page.press("r")
    page.shows("replay of #")
    page.shows("Sent again")
    poll(lambda: page.app.posted == [b'{"id": "evt_1"}'] * 2, "the app has got it twice", 30)
    page.press("e")
    page.browser.evaluate("byId('edit-body').value = '{\"id\": \"evt_2\"}'; byId('send').click()")
    poll(lambda: page.app.posted[2:] == [b'{"id": "evt_2"}'], "the app has got another", 30)


def test_a_command_for_a_shell_asks_the_same(page: Page, tmp_path: Path) -> None:
    page.ask("/hook", "-H", "X-Quote: it's $(touch owned) `x`", "--data-raw", 'it\'s "$HOME" \\ %41')
    before = len(page.app.posted)
    page.choose("/hook")
    command = page.browser.evaluate("return curlCommand()")
    subprocess.run(["bash", "-c", f"{command} --silent --output /dev/null"], cwd=tmp_path, check=True, timeout=60)
    assert page.app.posted[before:] == [page.app.posted[before - 1]] == [b'it\'s "$HOME" \\ %41']
    assert list(tmp_path.iterdir()) == []


def test_a_command_for_a_websocket_opens_one(page: Page) -> None:
    """As HTTP/1.1 does, which curl speaks, also for one that the browser has opened over HTTP/2."""
    url = page.gateway.url(page.app.port, path="/ws?copied").replace("https://", "wss://")
    with page.browser.another_tab():
        page.browser.open(page.gateway.url(page.app.port, path="/"))
        page.browser.evaluate(f"new WebSocket({json.dumps(url)}).onopen = (event) => event.target.send('x')")
    page.choose("/ws?copied")
    shown = page.browser.evaluate("return details.request.fields.slice(0, 3).map(([name]) => name)")
    assert shown == [":method", ":protocol", ":authority"]
    command = page.browser.evaluate("return curlCommand()")
    done = subprocess.run(
        ["bash", "-c", f"{command} --silent --max-time 20"], capture_output=True, check=False, timeout=60
    )
    assert done.stdout.startswith(b"HTTP/1.1 101 "), done


def test_a_failure_is_told_as_its_visitor_was(page: Page) -> None:
    curl(page.gateway.url(9), page.gateway.ca, "-H", "Accept: text/html", "-H", "Sec-Fetch-Mode: navigate")
    page.shows("connection_refused")
    page.browser.evaluate("choose([...exchanges.values()].find((each) => each.reason).number); openPane()")
    frame = "document.querySelector('#trouble iframe')"
    poll(lambda: page.browser.evaluate(f"return {frame} !== null"), "the page is framed", 30)
    with page.browser.inside(frame):
        poll(lambda: "listens on port 9" in page.browser.text, "the problem page", 30)
    page.press("x")
    page.shows("Connection refused after")


def test_the_list_is_filtered(page: Page) -> None:
    page.ask("/filtered/one")
    page.ask("/filtered/two")
    page.shows("/filtered/two")
    page.browser.evaluate("byId('words').value = 'filtered one'; filterChanged()")
    seen = "return [...byId('list').children].filter((row) => !row.hidden).map((row) => row.textContent).join()"
    assert "/filtered/one" in page.browser.evaluate(seen)
    assert "/filtered/two" not in page.browser.evaluate(seen)


def test_a_sandbox_s_page_can_neither_read_nor_act(page: Page) -> None:
    page.ask("/hook", "--data-raw", "once")
    before = len(page.app.posted)
    number = max(poll(lambda: page.browser.evaluate(NUMBERS), "the page has its list"))
    page.browser.open(page.gateway.url(page.app.port, path="/page"))
    for options in (
        "{}",
        "{mode: 'no-cors'}",
        "{mode: 'no-cors', method: 'POST', body: '{}'}",
        "{method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}",
    ):
        said = page.browser.evaluate(
            f"return fetch('{page.url}inspector/exchanges/{number}/replay', {options})"
            ".then((answer) => answer.type, () => 'refused')"
        )
        assert said in ("opaque", "refused")
    assert len(page.app.posted) == before


@pytest.mark.parametrize(("width", "height", "scheme"), LOOKS)
def test_everybody_can_use_it(page: Page, width: int, height: int, scheme: str) -> None:
    page.ask("/json")
    page.browser.emulate(width, height, scheme)
    page.browser.open(page.url)
    page.shows("/json")
    assert page.browser.violations() == []
    page.choose("/json")
    poll(lambda: page.browser.evaluate("return document.querySelectorAll('.tree').length > 0"), "its JSON", 30)
    assert page.browser.evaluate("return document.documentElement.scrollWidth") <= width
    assert page.browser.violations() == []
    dark = page.browser.evaluate("return getComputedStyle(document.body).backgroundColor")
    assert dark == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(248, 247, 244)")


def test_who_reads_nothing_slows_nobody(page: Page) -> None:
    """A viewer that takes no event, while a page's worth of requests passes."""
    at = urlsplit(page.url)
    with socket.create_connection((at.hostname, at.port)) as viewer:
        viewer.sendall(f"GET /inspector/events HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n".encode())
        for _ in range(30):
            assert page.ask("/json") == 200
        with urllib.request.urlopen(f"{page.url}inspector/exchanges", timeout=30) as answer:
            assert len(json.load(answer)["exchanges"]) >= 30
