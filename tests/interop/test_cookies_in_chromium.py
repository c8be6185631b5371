"""No spelling of a Domain makes Chromium send an app's cookie to its neighbour, and no app deletes a neighbour's.

Chromium maps the name by UTS 46 before it compares: of every character that becomes one of ours, or nothing at all, in
every position it could have in our domain, one cookie is set through the gateway.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import idna
import pytest

from tests.interop.harness import DOMAIN, GatewayProcess, require
from tests.support.browser import Browser, trust

pytestmark = [pytest.mark.interop, pytest.mark.slow]

BATCH = 80
"""Cookies set at once: Chromium keeps 180 of a site, and an answer has at most 100 fields."""
ASK_BOTH = """
const [here, there, batches] = arguments;
return (async () => {
  const options = {mode: "no-cors", credentials: "include", cache: "no-store"};
  for (let batch = 0; batch < batches; batch++) {
    await fetch(`${here}?${batch}`, options);
    await fetch(`${there}?${batch}`, options);
  }
})();
"""
"""From a page of `here`: it sets each batch and then asks the neighbour, who is of the same site."""
ASSIGNED = (range(0x80, 0xD800), range(0xE000, 0x40000), range(0xE0000, 0xE1000))
"""But for planes that are empty or private: looking at each of those takes most of the time, and all are refused."""


def set_cookies(names: list[str]) -> list[bytes]:
    return [f"Set-Cookie: c{number}=1; Domain={name}".encode() for number, name in enumerate(names)]


class CookieApp:
    """An app that sets the cookies it is asked for, and says which it was sent."""

    def __init__(self) -> None:
        app = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = (self.headers["Cookie"] or "").encode("latin-1")
                path, _, batch = self.path.partition("?")
                if batch and path == "/":
                    app.sent[int(batch)] = body.decode()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(body))
                if path == "/set":
                    lines = set_cookies(app.batches[int(batch)]) if batch else app.lines
                    self.wfile.write(b"".join([b"%b\r\n" % line for line in lines]))
                self.wfile.write(b"\r\n" + body)

            def log_message(self, format: str, *args: object) -> None: ...

        self.lines: list[bytes] = []
        self.batches: list[list[str]] = []
        """Of names: `/set?1` sets a cookie for each of the second."""
        self.sent: dict[int, str] = {}
        """Which cookies came with `/?1`."""
        self._server = _Server(("::1", 0), Handler)
        self.port = self._server.server_port

    def __enter__(self) -> CookieApp:
        threading.Thread(target=self._server.serve_forever).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


@pytest.fixture(scope="module")
def app() -> Iterator[CookieApp]:
    with CookieApp() as app:
        yield app


@pytest.fixture(scope="module")
def gateway(app: CookieApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    require("chromium", "chromedriver", "certutil", "IPv6")
    exposed = [f"{name}={app.port}" for name in ("app", "neighbour")]
    with GatewayProcess(*exposed, directory=tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def browser(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    home = tmp_path_factory.mktemp("browser") / "home"
    trust(home, gateway.ca)
    with Browser(home) as browser:
        yield browser


# --- what is read as our domain --------------------------------------------------------------------------------------


@cache
def mapped() -> dict[str, list[str]]:
    """By what UTS 46 makes of them, the characters beyond ASCII that become plain letters, digits, dots, or nothing."""
    found: dict[str, list[str]] = {}
    for code in itertools.chain(*ASSIGNED):
        try:
            becomes = idna.uts46_remap(chr(code), std3_rules=False)
        except idna.IDNAError:
            continue
        if becomes.isascii() and becomes in DOMAIN:
            found.setdefault(becomes, []).append(chr(code))
    return found


def spellings() -> list[str]:
    names = []
    for becomes, characters in mapped().items():
        places = [place for place in range(len(DOMAIN)) if DOMAIN.startswith(becomes, place)]
        for character, place in itertools.product(characters, places):
            names.append(DOMAIN[:place] + character + DOMAIN[place + len(becomes) :])
    return names


OTHERS = [
    DOMAIN,
    f".{DOMAIN}",
    f"..{DOMAIN}",
    f"{DOMAIN}.",
    DOMAIN.upper(),
    f'"{DOMAIN}"',
    f"%73{DOMAIN[1:]}",
    DOMAIN.replace(".", "%2e"),
    f"{DOMAIN}\u00a0",
    f"\u3000{DOMAIN}",
    f"xn--sandbox-.{DOMAIN.partition('.')[2]}",
    f"{DOMAIN}/",
    f"{DOMAIN}:443",
    f"\\{DOMAIN}",
    f"neighbour.{DOMAIN}",
    "localhost",
    "",
]


def cookies_of(browser: Browser, url: str) -> str:
    """What Chromium sends there."""
    browser.open(url)
    return browser.text.strip()


def reach_the_neighbour(app: CookieApp, browser: Browser, here: str, there: str) -> list[list[str]]:
    """Of each of `app.batches` the names whose cookies Chromium sends to the neighbour; it is at a page of `here`."""
    app.sent.clear()
    browser.evaluate(ASK_BOTH, f"{here}set", there, len(app.batches))
    assert len(app.sent) == len(app.batches), "it has been asked after each"
    pairs = [(app.batches[batch], sent.split("; ")) for batch, sent in sorted(app.sent.items())]
    return [[names[int(each.partition("=")[0][1:])] for each in cookies if each] for names, cookies in pairs]


def test_no_name_that_is_read_as_ours_takes_a_cookie_to_the_neighbour(
    app: CookieApp, gateway: GatewayProcess, browser: Browser
) -> None:
    names = [*OTHERS, *spellings()]
    assert len(names) > 2000, "UTS 46 maps this many"
    here, there = gateway.url(app.port, "app", "/"), gateway.url(app.port, "neighbour", "/")
    app.batches = [names[start : start + BATCH] for start in range(0, len(names), BATCH)]
    browser.open(here)
    assert not any(reach_the_neighbour(app, browser, here, there))
    assert cookies_of(browser, here), "they are the app's own"


def test_without_the_gateway_chromium_is_taken_in(app: CookieApp, browser: Browser) -> None:
    """What makes the test above worth something."""
    app.batches = [[name for name in spellings() if not name.isascii()][:: max(1, len(spellings()) // BATCH)][:BATCH]]
    here, there = (f"http://5000-{name}.{DOMAIN}:{app.port}/" for name in ("app", "neighbour"))
    browser.open(here)
    [reached] = reach_the_neighbour(app, browser, here, there)
    app.lines = [f"Set-Cookie: c{each}=; Max-Age=0; Domain={DOMAIN}".encode() for each in range(BATCH)]
    browser.open(f"{here}set")
    assert len(reached) > BATCH // 2


@pytest.mark.parametrize(
    "types", ['"cookies"', '"*"', '"cache", "cookies", "storage"', '"cookies" , "*"', "*", "cookies"]
)
def test_an_app_does_not_delete_its_neighbours_cookies(
    app: CookieApp, gateway: GatewayProcess, browser: Browser, types: str
) -> None:
    there = gateway.url(app.port, "neighbour")
    app.lines = [b"Set-Cookie: kept=1"]
    browser.open(there + "set")
    app.lines = [f"Clear-Site-Data: {types}".encode()]
    browser.open(gateway.url(app.port, "app", "/set"))
    assert "kept=1" in cookies_of(browser, there)
    app.lines = [b"Set-Cookie: kept=; Max-Age=0"]
    browser.open(there + "set")


def test_clear_site_data_reaches_the_neighbours_cookies(app: CookieApp, browser: Browser) -> None:
    """The header's reach, seen where no gateway stands between: localhost is a secure context."""
    there = f"http://5000-neighbour.{DOMAIN}:{app.port}/"
    app.lines = [b"Set-Cookie: kept=1"]
    browser.open(there + "set")
    assert "kept=1" in cookies_of(browser, there)
    app.lines = [b'Clear-Site-Data: "cookies"']
    browser.open(f"http://5000-app.{DOMAIN}:{app.port}/set")
    assert "kept=1" not in cookies_of(browser, there)
