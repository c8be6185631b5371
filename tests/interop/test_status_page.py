"""The status page in Chromium: it lives, anybody can use it, and strangers' names in it do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.components import require
from tests.support.devtools import DevTools
from tests.support.process import free_port, poll
from tests.support.serving import App, Serving, kill
from tests.support.status_site import Invented, status_site

pytestmark = [pytest.mark.interop, pytest.mark.slow]

HOSTILE = "/<img/src=x/onerror=document.title='owned'>/%3Cscript%3E"
"""A tag that needs no space, which a path cannot have."""
LOOKS = [(320, 700, "light"), (390, 844, "dark"), (1280, 900, "light"), (1280, 900, "dark")]


class Page(NamedTuple):
    gateway: Serving
    browser: DevTools

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.admin_port}/"

    def shows(self, text: str) -> None:
        poll(lambda: text in self.browser.text, f"the page shows {text!r}", 30)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    require("chromium", "chromedriver", "axe-core")
    directory = tmp_path_factory.mktemp("status")
    with App() as app, Serving(directory, app) as gateway, DevTools(directory / "home") as browser:
        page = Page(gateway, browser)
        visit(gateway)
        browser.open(page.url)
        page.shows("requests/s")
        yield page


def visit(gateway: Serving, path: str = "/") -> None:
    """One that is served, and one that fails."""
    assert gateway.get().startswith(b"HTTP/1.1 200 ")
    connection = gateway.connect()
    host = f"{free_port()}-box.sandbox.localhost"
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert gateway.answer(connection).startswith(b"HTTP/1.1 502 ")


def test_it_says_how_the_gateway_is(page: Page) -> None:
    for text in ("ready", "answers within (99\u00a0%)", "connection_refused", "box", "leaf.pem", "limits.connections"):
        page.shows(text)
    assert page.browser.title == "gateway: ready"
    assert page.browser.evaluate("return document.querySelectorAll('#workers tr').length") == 3


def test_it_lives(page: Page) -> None:
    """New requests are seen without anybody's doing; each tile draws what was."""
    failures = "return Number(document.querySelector('#failures td.number').textContent)"
    before = page.browser.evaluate(failures)
    visit(page.gateway)
    poll(lambda: page.browser.evaluate(failures) > before, "the failure is counted on the page", 30)
    points = "return document.querySelector('#tiles polyline').getAttribute('points').split(' ').length"
    seen = page.browser.evaluate(points)
    poll(lambda: page.browser.evaluate(points) > seen, "the curve goes on", 30)


def test_a_stranger_s_path_is_text(page: Page) -> None:
    visit(page.gateway, HOSTILE)
    page.shows("onerror")
    assert page.browser.evaluate("return document.querySelectorAll('main img, main script').length") == 0
    assert page.browser.title.startswith("gateway: ")


@pytest.mark.parametrize(("width", "height", "scheme"), LOOKS)
def test_everybody_can_use_it(page: Page, tmp_path: Path, width: int, height: int, scheme: str) -> None:
    page.browser.emulate(width, height, scheme)
    try:
        page.browser.open(page.url)
        page.shows("requests/s")
        assert page.browser.evaluate("return document.documentElement.scrollWidth") <= width
        assert page.browser.violations() == []
        dark = page.browser.evaluate("return getComputedStyle(document.body).backgroundColor")
        assert dark == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(248, 247, 244)")
    finally:
        page.browser.emulate(1280, 900, "light")


def test_a_killed_worker_is_seen(page: Page) -> None:
    pid = "return document.querySelector('#workers td.number').textContent"
    page.browser.open(page.url)
    page.shows("requests/s")
    before = page.browser.evaluate(pid)
    kill(int(before))
    poll(lambda: page.browser.evaluate(pid) not in (before, ""), "its successor is seen", 30)
    page.shows("1 (signal)")


def test_when_the_gateway_is_gone_it_says_so(tmp_path: Path) -> None:
    require("chromium", "chromedriver")
    with DevTools(tmp_path / "home") as browser:
        with App() as app, Serving(tmp_path, app) as gateway:
            browser.open(f"http://127.0.0.1:{gateway.admin_port}/")
            poll(lambda: "requests/s" in browser.text, "it lives", 30)
        poll(lambda: "no news from the gateway" in browser.text, "the page says that it is old", 30)


def test_a_browser_logs_in_with_the_token(tmp_path: Path) -> None:
    """Once: what the page itself asks for, its events too, is answered without another question."""
    require("chromium", "chromedriver")
    (tmp_path / "token").write_text("c0ffee")
    with App() as app, DevTools(tmp_path / "home") as browser:
        gateway = Serving(tmp_path, app)
        config = tmp_path / "gateway.toml"
        config.write_text(config.read_text().replace("[admin]\n", f'[admin]\ntoken_file = "{tmp_path / "token"}"\n'))
        with gateway:
            browser.open(f"http://whoever:wrong@127.0.0.1:{gateway.admin_port}/")
            assert "requests/s" not in browser.text
            browser.open(f"http://whoever:c0ffee@127.0.0.1:{gateway.admin_port}/")
            poll(lambda: "requests/s" in browser.text, "it lives", 30)


def test_a_worker_and_a_directory_that_do_not_answer(page: Page) -> None:
    with status_site(Invented(silent=(1,), directory="registry:6379 refused"), 0.05) as url:
        page.browser.open(url)
        poll(lambda: "no answer from 1 of 4 workers" in page.browser.text, "it says who is silent", 30)
        for text in ("does not answer", "redis: registry:6379 refused", "12.2 days", "reached 118 times"):
            page.shows(text)
        assert page.browser.title == "gateway: not ready"
        state = "return getComputedStyle(document.getElementById('state')).color"
        assert page.browser.evaluate(state) == "rgb(179, 38, 30)"
