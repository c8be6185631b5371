"""Two sandboxes in Chromium: nothing reaches an app that the app's own answer to a preflight has not allowed."""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pytest

from tests.interop.harness import ServeProcess, require
from tests.support.browser import Browser, trust
from tests.support.process import free_port, poll

pytestmark = [pytest.mark.interop, pytest.mark.slow]

HANGS_UP, GARBAGE, BROKEN_HEAD, LATE = FAILURES = ("hangs up", "garbage", "a broken head", "late")
"""What becomes of OPTIONS, while every other request is answered."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "QUERY")
FIELDS: tuple[dict[str, str], ...] = (
    {},
    {"X-Own": "1"},
    {"Content-Type": "application/json"},
    {"Authorization": "Bearer x"},
    {"X-Gateway-Probe": "1"},
    {"X-Gateway-Probe": "1", "X-Own": "1"},
)
CREDENTIALS = ("include", "omit")

FETCH = """
const [url, attempts] = arguments;
return Promise.all(attempts.map(([method, headers, credentials], number) =>
  fetch(`${url}?${number}`, {method, headers, credentials, body: method === "GET" ? null : "x"}).then(async (answer) =>
    ({status: answer.status, reason: answer.headers.get("X-Gateway-Error"), body: await answer.text()}),
  (error) => ({error: error.name}))));
"""
UPLOAD = """
const [url] = arguments;
return new Promise((resolve) => {
  const request = new XMLHttpRequest();
  request.upload.onprogress = () => {};
  request.onload = request.onerror = ({type}) => resolve([type, request.status]);
  request.open("POST", url);
  request.setRequestHeader("Content-Type", "text/plain");
  request.send("x");
});
"""
"""A POST that needs no preflight but for the listener: its preflight asks for a safelisted method and for no field."""


ASKED = "/asked"
"""The path that scripts ask for; what else comes is a page's icon."""


class App:
    """Answers everything but OPTIONS with 200, and OPTIONS by `failure`; `seen` are the request lines for `ASKED`."""

    def __init__(self) -> None:
        self.failure = HANGS_UP
        self.seen: list[str] = []
        self.released = threading.Event()
        app = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    app.serve(self.request, self.rfile.readline().decode())

        class Server(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6
            request_queue_size = 128
            daemon_threads = True

        self._server = Server(("::1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.port: int = self._server.server_address[1]

    def serve(self, connection: socket.socket, line: str) -> None:
        if ASKED in line:
            self.seen.append(line.strip())
        if line and not line.startswith("OPTIONS "):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        elif self.failure == GARBAGE:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        elif self.failure == BROKEN_HEAD:
            connection.sendall(b"HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\nBad Name: x\r\n\r\n")
        elif self.failure == LATE:
            self.released.wait(30)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(frozen=True, slots=True)
class Place:
    gateway: ServeProcess
    browser: Browser
    app: App


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    require("chromium", "chromedriver", "certutil")
    directory = tmp_path_factory.mktemp("preflights")
    settings = {"GATEWAY_UPSTREAM__RESPONSE_HEADER_TIMEOUT": "1s"}
    with App() as app, ServeProcess({"ours": "::1", "theirs": "::1"}, directory=directory, env=settings) as gateway:
        trust(directory / "home", gateway.ca)
        with Browser(directory / "home") as browser:
            yield Place(gateway, browser, app)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A gateway that takes one request at a time for each sandbox and worker."""
    require("chromium", "chromedriver", "certutil")
    directory = tmp_path_factory.mktemp("narrow")
    settings = {"GATEWAY_LIMITS__EXCHANGES_PER_SANDBOX": "1", "GATEWAY_PROCESS__WORKERS": "1"}
    with App() as app, ServeProcess({"ours": "::1", "theirs": "::1"}, directory=directory, env=settings) as gateway:
        trust(directory / "home", gateway.ca)
        with Browser(directory / "home") as browser:
            yield Place(gateway, browser, app)


def needs_preflight(attempt: tuple[str, dict[str, str], str]) -> bool:
    method, fields, _ = attempt
    return bool(fields) or method not in ("GET", "POST")


ATTEMPTS = [attempt for attempt in itertools.product(METHODS, FIELDS, CREDENTIALS) if needs_preflight(attempt)]


def is_probe(attempt: tuple[str, dict[str, str], str]) -> bool:
    return attempt[0] == "GET" and attempt[1] == {"X-Gateway-Probe": "1"}


def check(place: Place, url: str) -> list[dict[str, Any]]:
    """What the scripts saw of `ATTEMPTS`, from the neighbour's page."""
    place.browser.open(place.gateway.url(place.app.port, "ours"))
    place.app.seen.clear()
    seen: list[dict[str, Any]] = place.browser.evaluate(FETCH, url, ATTEMPTS)
    reached = [line for line in place.app.seen if not line.startswith("OPTIONS ")]
    assert not reached, "the app never allowed these"
    for attempt, outcome in zip(ATTEMPTS, seen, strict=True):
        if not is_probe(attempt):
            assert outcome == {"error": "TypeError"}, attempt
    return seen


@pytest.mark.parametrize("failure", FAILURES)
def test_no_failed_preflight_opens_the_way(place: Place, failure: str) -> None:
    app, url = place.app, place.gateway.url(place.app.port, "theirs", ASKED)
    app.failure = failure
    check(place, url)
    assert any(line.startswith("OPTIONS ") for line in app.seen), "the app has been asked"
    assert place.browser.evaluate(UPLOAD, url) == ["error", 0]
    assert not [line for line in app.seen if line.startswith("POST ")]


def test_a_limit_opens_no_way(narrow: Place) -> None:
    app, gateway = narrow.app, narrow.gateway
    app.failure = LATE
    url = gateway.url(app.port, "theirs", ASKED)
    narrow.browser.open(gateway.url(app.port, "ours"))
    narrow.browser.evaluate("void fetch(arguments[0], {method: 'PUT'}).catch(() => {})", url)
    poll(lambda: bool(app.seen), "the app is asked about the PUT, and says nothing: no room for others")
    for attempt, outcome in zip(ATTEMPTS, check(narrow, url), strict=True):
        if is_probe(attempt):
            assert (outcome["status"], outcome["reason"]) == (429, "connection_limit_reached"), attempt


def test_a_dead_port_opens_no_way_and_tells_a_probe(place: Place) -> None:
    port = free_port()
    url = place.gateway.url(port, "theirs", ASKED)
    for attempt, outcome in zip(ATTEMPTS, check(place, url), strict=True):
        if is_probe(attempt):
            assert (outcome["status"], outcome["reason"]) == (502, "connection_refused"), attempt


def test_a_simple_request_is_told_the_problem(place: Place) -> None:
    place.browser.open(place.gateway.url(place.app.port, "ours"))
    url = place.gateway.url(free_port(), "theirs", ASKED)
    attempts = [(method, {}, credentials) for method in ("GET", "POST") for credentials in CREDENTIALS]
    for outcome in place.browser.evaluate(FETCH, url, attempts):
        assert (outcome["status"], outcome["reason"]) == (502, "connection_refused")
        assert '"reason":"connection_refused"' in outcome["body"]
