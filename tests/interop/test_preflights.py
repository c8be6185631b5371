"""Two sandboxes in Chromium: nothing reaches an app that the app's own answer to a preflight has not allowed."""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pytest

from tests.interop.harness import ServeProcess, curl, require
from tests.support.browser import Browser, trust
from tests.support.process import free_port, poll

pytestmark = [pytest.mark.interop, pytest.mark.slow]

HANGS_UP, GARBAGE, BROKEN_HEAD, HALF_A_HEAD, INTERIM, LATE = FAILURES = (
    "hangs up",
    "garbage",
    "a broken head",
    "half a head",
    "interim, then nothing",
    "late",
)
"""What becomes of a preflight, while every other request is answered."""
NOT_OK, ALLOWS = "allowed, and 429", "allowed"
"""The app's own answers."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
FIELDS: tuple[dict[str, str], ...] = (
    {},
    {"Accept-Language": "en", "Content-Type": "text/plain"},
    {"X-Own": "1"},
    {"Content-Type": "application/json"},
    {"Authorization": "Bearer x"},
    {"x-gateway-PROBE": "1"},
    {"X-Gateway-Probe": "1", "X-Own": "1"},
    {"X-Gateway-Probe": "1", "Authorization": "Bearer x"},
    {"X-Gateway-Probe": "1", "Content-Type": "application/json"},
)
CREDENTIALS = ("include", "omit")

FETCH = """
const [urls, attempts] = arguments;
return Promise.all(attempts.map(([method, headers, credentials], number) =>
  fetch(`${urls[number % urls.length]}?${number}`,
    {method, headers, credentials, body: ["GET", "HEAD"].includes(method) ? null : "x"}).then(async (answer) =>
    ({status: answer.status, reason: answer.headers.get("X-Gateway-Error"), body: await answer.text()}),
  (error) => ({error: error.name}))));
"""
"""A browser asks a host over six connections at most: more hosts, less waiting for each other."""
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


ALLOWED = (
    b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Allow-Credentials: true\r\n"
    b"Access-Control-Allow-Headers: x-own, content-type, x-gateway-probe, authorization\r\n"
    b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, QUERY\r\n"
)
"""Everything, to a script of that origin."""
CLOSE = b"Connection: close\r\n"

ASKED = "/asked"
"""The path that scripts ask for; what else comes is a page's icon."""


PREFLIGHT = " (preflight)"


def is_preflight(line: str) -> bool:
    """Whether a line of what an app has seen is a browser's own question; an OPTIONS of a script is none."""
    return line.endswith(PREFLIGHT)


class App:
    """Answers a preflight by `failure`, and else 200; `seen` are the request lines for `ASKED`, preflights' marked.

    It closes each connection, and says so before: who does not may meet the next request, and a browser is then told
    that the app has closed the connection, if it cannot be sent again.
    """

    def __init__(self) -> None:
        self.failure = HANGS_UP
        self.seen: list[str] = []
        self.released = threading.Event()
        app = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    head = list(iter(lambda: self.rfile.readline().strip().decode(), ""))
                    if head:
                        fields = dict(line.lower().split(": ", 1) for line in head[1:])
                        asks = "access-control-request-method" in fields
                        app.serve(self.request, head[0] + PREFLIGHT if asks else head[0], fields.get("origin", ""))

        class Server(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6
            request_queue_size = 128
            daemon_threads = True

        self._server = Server(("::1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.port: int = self._server.server_address[1]

    def serve(self, connection: socket.socket, line: str, origin: str) -> None:
        allowed = ALLOWED % origin.encode()
        if ASKED in line:
            self.seen.append(line)
        if not is_preflight(line):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + CLOSE + b"\r\nhello")
        elif self.failure == GARBAGE:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        elif self.failure == BROKEN_HEAD:
            connection.sendall(b"HTTP/1.1 204 No Content\r\n" + allowed + b"Bad Name: x\r\n\r\n")
        elif self.failure == HALF_A_HEAD:
            connection.sendall(b"HTTP/1.1 204 No Content\r\n" + allowed[: allowed.index(b"PUT")])
        elif self.failure == INTERIM:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n" + allowed + b"\r\n")
        elif self.failure == NOT_OK:
            connection.sendall(b"HTTP/1.1 429 Too Many Requests\r\n" + allowed + CLOSE + b"Content-Length: 0\r\n\r\n")
        elif self.failure == ALLOWS:
            connection.sendall(b"HTTP/1.1 204 No Content\r\n" + allowed + CLOSE + b"\r\n")
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


THEIRS = ("theirs", "theirs-2", "theirs-3", "theirs-4")
"""Four names of the one neighbour."""
SANDBOXES = dict.fromkeys(("ours", *THEIRS), "::1")
DENIED = 22


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    require("chromium", "chromedriver", "certutil")
    directory = tmp_path_factory.mktemp("preflights")
    settings = {"GATEWAY_UPSTREAM__RESPONSE_HEADER_TIMEOUT": "1s", "GATEWAY_UPSTREAM__DENY_PORTS": str(DENIED)}
    with App() as app, ServeProcess(SANDBOXES, directory=directory, env=settings) as gateway:
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
    """Fetch standard, CORS-safelisted method and request-header."""
    method, fields, _ = attempt
    return method not in ("GET", "HEAD", "POST") or fields not in FIELDS[:2]


ATTEMPTS = [attempt for attempt in itertools.product(METHODS, FIELDS, CREDENTIALS) if needs_preflight(attempt)]


def is_probe(attempt: tuple[str, dict[str, str], str]) -> bool:
    return attempt[0] in ("GET", "HEAD") and attempt[1] == {"x-gateway-PROBE": "1"}


def check(place: Place, *urls: str) -> list[dict[str, Any]]:
    """What the scripts saw of `ATTEMPTS`, from the neighbour's page."""
    place.browser.open(place.gateway.url(place.app.port, "ours"))
    place.app.seen.clear()
    seen: list[dict[str, Any]] = place.browser.evaluate(FETCH, urls, ATTEMPTS)
    reached = [line for line in place.app.seen if not is_preflight(line)]
    assert not reached, "the app never allowed these"
    for attempt, outcome in zip(ATTEMPTS, seen, strict=True):
        if not is_probe(attempt):
            assert outcome == {"error": "TypeError"}, attempt
    return seen


def theirs(place: Place, port: int = 0) -> list[str]:
    return [place.gateway.url(port or place.app.port, name, ASKED) for name in THEIRS]


@pytest.mark.parametrize("failure", [*FAILURES, NOT_OK])
def test_no_failed_preflight_opens_the_way(place: Place, failure: str) -> None:
    app, urls = place.app, theirs(place)
    app.failure = failure
    check(place, *urls)
    asked = {line.split("?")[1].split()[0] for line in app.seen}
    assert len(asked) == len(ATTEMPTS), "the app has been asked about each"
    assert place.browser.evaluate(UPLOAD, urls[0]) == ["error", 0]
    assert all(map(is_preflight, app.seen))


def test_what_the_app_allows_reaches_it(place: Place) -> None:
    """So the tests here would see it. A probe reaches no app, allowed or not."""
    place.app.failure = ALLOWS
    place.browser.open(place.gateway.url(place.app.port, "ours"))
    place.app.seen.clear()
    seen = place.browser.evaluate(FETCH, theirs(place), ATTEMPTS)
    reached = {int(line.split("?")[1].split()[0]) for line in place.app.seen if not is_preflight(line)}
    expected = {number for number, (_, fields, _) in enumerate(ATTEMPTS) if "probe" not in "".join(fields).lower()}
    # The app's answers to these allow nobody to read them.
    assert [outcome for outcome in seen if outcome != {"error": "TypeError"}] == []
    assert reached == expected


def test_a_limit_opens_no_way(narrow: Place) -> None:
    app, gateway = narrow.app, narrow.gateway
    app.failure = LATE
    url = gateway.url(app.port, "theirs", ASKED)
    narrow.browser.open(gateway.url(app.port, "ours"))
    narrow.browser.evaluate("void fetch(arguments[0], {method: 'PUT'}).catch(() => {})", url)
    poll(lambda: bool(app.seen), "the app is asked about the PUT, and says nothing: no room for others")
    tells(check(narrow, url), 429, "connection_limit_reached")


def tells(seen: list[dict[str, Any]], status: int, reason: str) -> None:
    """Each probe is told this."""
    probes = [outcome for attempt, outcome in zip(ATTEMPTS, seen, strict=True) if is_probe(attempt)]
    assert [(outcome.get("status"), outcome.get("reason")) for outcome in probes] == [(status, reason)] * 4


def test_a_dead_port_opens_no_way_and_tells_a_probe(place: Place) -> None:
    tells(check(place, *theirs(place, free_port())), 502, "connection_refused")


def test_an_app_on_ipv4_only_opens_no_way_and_tells_a_probe(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tells(check(place, *theirs(place, listener.getsockname()[1])), 502, "ipv4_only_listener")


def test_no_sandbox_opens_no_way_and_tells_a_probe(place: Place) -> None:
    nobody = [place.gateway.url(place.app.port, name, ASKED) for name in ("nobody", "no-one", "none", "nil")]
    tells(check(place, *nobody), 404, "destination_not_found")


def test_a_denied_port_opens_no_way_and_tells_a_probe(place: Place) -> None:
    tells(check(place, *theirs(place, DENIED)), 403, "port_denied")


def test_an_app_that_speaks_tls_opens_no_way(place: Place) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certs = place.gateway.ca.parent
    context.load_cert_chain(certs / "leaf.pem", certs / "leaf.key")
    said: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(self.request, server_side=True) as connection:
                connection.settimeout(5)
                said.append(connection.recv(65536))

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6
        request_queue_size = 128
        daemon_threads = True

    with Server(("::1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            check(place, *theirs(place, server.server_address[1]))
        finally:
            server.shutdown()
            thread.join()
    assert not any(said), "nothing has been sent in it"


@pytest.mark.parametrize("headers", ["X-Gateway-Probe", "x-own"])
def test_the_private_network_is_opened_for_nobody(place: Place, headers: str) -> None:
    """Private Network Access: of a site's preflight that asks for the network around whoever sits there, too."""
    asks = ["Origin: https://evil.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: "]
    asks[-1] += headers
    asks += ["Access-Control-Request-Private-Network: true", "Access-Control-Request-Local-Network: true"]
    fields = [argument for line in asks for argument in ("--header", line)]
    [url, *_] = theirs(place, free_port())
    answer = curl(url, place.gateway.ca, "--request", "OPTIONS", *fields)
    assert answer.header("X-Gateway-Error") == "connection_refused"
    assert not [name for name, _ in answer.headers if "network" in name.lower()]


def test_a_simple_request_is_told_the_problem(place: Place) -> None:
    place.browser.open(place.gateway.url(place.app.port, "ours"))
    attempts = [
        (method, fields, credentials)
        for method in ("GET", "HEAD", "POST")
        for fields in FIELDS[:2]
        for credentials in CREDENTIALS
    ]
    seen = place.browser.evaluate(FETCH, theirs(place, free_port()), attempts)
    for (method, *_), outcome in zip(attempts, seen, strict=True):
        assert (outcome["status"], outcome["reason"]) == (502, "connection_refused")
        assert ('"reason":"connection_refused"' in outcome["body"]) is (method != "HEAD")
