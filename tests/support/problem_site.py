"""A sandbox's site as the gateway shows it while its app is dead, and the app once it is up; without a gateway.

The replies are the program's own (`problems.render`, `refusal.ready`), the server under them is the standard library's.
What the site answers is an attribute, so a test says when the app comes up.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from gateway.edge.local_reply import ready
from gateway.errors import Failure, GatewayError, Reason
from gateway.hostname import Target
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import ResponseHead
from gateway.problems.problem import RequestContext
from gateway.problems.reply import render
from tests.support.ports import alone

TARGET = Target(5000, "abc123", "sandbox.localhost")
ADDRESS = "fd00:5ab::a1c3"
APP = "<!doctype html><title>The app</title><h1>The app</h1><p id=asked>{asked}</p><p id=sent>{sent}</p>"


def refused(milliseconds: float = 0.4) -> GatewayError:
    """The most frequent failure, as the pool and the probe report it."""
    return GatewayError(
        Reason.CONNECTION_REFUSED, f"connect to [{ADDRESS}]:5000: Connection refused after {milliseconds:.1f} ms"
    )


def ipv4_only() -> GatewayError:
    """The same once the probe has found the app."""
    return Failure(
        Reason.IPV4_ONLY_LISTENER,
        f"something listens on 127.0.0.1:5000 but not on [{ADDRESS}]:5000",
        observed=(refused().detail, "the process is python3 (pid 4711)"),
        process="python3",
        open_ports=(3000, 8000),
    ).error()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it reached the site, and what was answered."""

    at: float
    method: str
    path: str
    probes: bool
    accept: str
    status: int


@dataclass
class Site:
    """What is answered; to be changed at any time."""

    error: GatewayError | None
    """None: the app is up."""
    target: Target = TARGET
    retry_after: int | None = None
    """Replaces the field of that name."""
    app_is_probed: bool = False
    """Something in between lets probes through to the app."""
    flickers: bool = False
    """A probe finds the app up, a visitor does not."""
    worker: str = ""
    """The script of the app's service worker, at /worker.js."""
    leads_to: str = ""
    """Where the app sends whoever has sent a form."""
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def url(self, path: str = "/") -> str:
        # Chromium takes every name below localhost for this machine, and its pages for secure ones.
        return f"http://{TARGET.host}:{self.port}{path}"

    def wait_for(self, number: int, *, probes: bool, timeout: float = 20) -> Asked:
        """The `number`th request (from 1) that does or does not probe. Raises TimeoutError."""

        def found() -> Asked | None:
            matching = [asked for asked in self.asked if asked.probes is probes]
            return matching[number - 1] if len(matching) >= number else None

        with self._changed:
            asked = self._changed.wait_for(found, timeout)
        if asked is None:
            raise TimeoutError(f"request {number} (probes: {probes}) did not come; there were {self.asked}")
        return asked

    @property
    def quiet_for(self) -> float:
        """Seconds since the last request."""
        return time.monotonic() - self.asked[-1].at

    def answer(self, method: str, path: str, fields: dict[str, str], sent: bytes) -> tuple[ResponseHead | None, bytes]:
        """The gateway's reply, or None and the app's page."""
        probes = "X-Gateway-Probe" in fields
        reply: ResponseHead | None = None
        if self.error is not None and not (self.flickers and probes):
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            head = parse_request_head(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode(), HeadLimits())
            circumstances = RequestContext(f"3c1f07a9be55-{next(self._ids):06x}", head, self.target, ADDRESS)
            reply, body = render(self.error, circumstances)
        elif probes and not self.app_is_probed:
            reply, body = ready(), b""
        else:
            body = APP.format(asked=escape(f"{method} {path}"), sent=escape(sent.decode())).encode()
        with self._changed:
            status = 200 if reply is None else reply.status
            self.asked.append(Asked(time.monotonic(), method, path, probes, fields.get("Accept", ""), status))
            self._changed.notify_all()
        return reply, body


@contextmanager
def problem_site(error: GatewayError | None, target: Target = TARGET) -> Iterator[Site]:
    """The site on a free port of the IPv4 loopback, on threads of its own."""
    site = Site(error, target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # a page that is left drops what it still waits for
                self.close_connection = True

        def _answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/favicon.ico":  # the browser's own wish, not the page's
                self.send_error(404)
                return
            if self.path == "/worker.js":
                script = site.worker.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/javascript")
                self.send_header("Content-Length", str(len(script)))
                self.end_headers()
                self.wfile.write(script)
                return
            reply, body = site.answer(self.command, self.path, dict(self.headers.items()), sent)
            moves = reply is None and self.command == "POST" and site.leads_to
            self.send_response(303 if moves else 200 if reply is None else reply.status)
            if moves:
                self.send_header("Location", site.leads_to)
            if reply is None:
                fields = [("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
            else:
                fields = [(name.decode(), value.decode("latin-1")) for name, value in reply.fields]
            for name, value in fields:
                if name == "Retry-After" and site.retry_after is not None:
                    value = str(site.retry_after)
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_OPTIONS = _answer

        def log_message(self, *arguments: object) -> None:
            """Nothing: `asked` has it."""

    # A browser asks ::1 first, where the port may be another suite's.
    sock, keeper = alone(lambda: socket.create_server(("127.0.0.1", 0)))
    with keeper, ThreadingHTTPServer(sock.getsockname(), Handler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = sock
        server.daemon_threads = True
        site.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, name="problem site", daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join(20)
