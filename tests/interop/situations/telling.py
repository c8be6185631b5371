"""Every way in which the gateway tells what is wrong, read back: page, document, text, gRPC, WebSocket, preflight,
`explain`, the state of a port.
"""

from __future__ import annotations

import http.client
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import msgspec

from gateway.diagnosis import terminal
from gateway.diagnosis.report import Report
from gateway.process.admin_client import fetch_report
from tests.interop.harness import tls_connection
from tests.interop.situations import Where
from tests.interop.situations.stage import Edge
from tests.support.h2_client import H2Client
from tests.support.process import clean_environment

NAVIGATION = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
PROGRAM = {"Accept": "application/json"}
CURL = {"Accept": "*/*", "User-Agent": "curl/8"}
GRPC = {"Content-Type": "application/grpc", "TE": "trailers", "Content-Length": "0"}
PREFLIGHT = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "PUT"}
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
_ELAPSED = re.compile(r"\b[0-9]+(?:\.[0-9]+)? ms\b")
_WAITED = re.compile(r"\bfor [0-9]+(?:\.[0-9]+)? s\b")
_UNASKED = "the app spoke before it was asked, beginning with"
"""An app that greets is heard before it was asked or afterwards, whichever is faster."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came over HTTP; `broken`: it ended before it was complete."""

    status: int
    fields: dict[str, str]
    body: bytes
    broken: bool

    @property
    def reason(self) -> str | None:
        return self.fields.get("x-gateway-error")


@dataclass(frozen=True, slots=True)
class Told:
    """All of it. Numbers of milliseconds are `{ms}` everywhere."""

    report: Report
    printed: str
    """What `gateway explain` prints of the report."""
    state: dict[str, Any] | None
    """The port's state; None: the API has none, for there is no such sandbox."""
    page: Reply
    document: Reply
    text: Reply
    problem: tuple[Reply, Reply, Reply] | None
    """gRPC, WebSocket and preflight, of which an app that is well makes something of its own."""


def tell(edge: Edge, where: Where, *, works: bool, command: bool, at_once: bool) -> list[Told]:
    """Asks in every way, and over both protocols; `at_once`, because each takes a while. `works`: the app answers."""
    host = where.host or edge.host(where.port, where.sandbox)
    closing = f"{where.path}{'&' if '?' in where.path else '?'}gateway_close=1"
    requests = [("GET", NAVIGATION, where.path), ("GET", PROGRAM, where.path), ("GET", CURL, where.path)]
    if not works:
        requests += [("POST", GRPC, where.path), ("GET", HANDSHAKE, closing), ("OPTIONS", PREFLIGHT, where.path)]
    ways: list[Callable[[], Any]] = [
        lambda: _explain(edge, f"{where.scheme}://{host}:{edge.tls_port}{where.path}", command),
        lambda: _state(edge, where),
    ]
    for ask in (request, request_http2):
        for method, fields, path in requests:
            ways.append(partial(ask, edge, host, method, path, fields))
    if at_once:
        with ThreadPoolExecutor(len(ways)) as threads:
            said = [way.result() for way in [threads.submit(way) for way in ways]]
    else:
        said = [way() for way in ways]
    (report, printed), state, *replies = said
    told = []
    for protocol in (replies[: len(requests)], replies[len(requests) :]):
        page, document, text, *rest = protocol
        problem = None if works else (rest[0], rest[1], rest[2])
        told.append(Told(report, printed, state, page, document, text, problem))
    return told


def request(edge: Edge, host: str, method: str, path: str, fields: dict[str, str]) -> Reply:
    """One request over a connection of its own, whose certificate is for a name that is served here."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{edge.tls_port}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    with tls_connection(edge, edge.host(1, "any")) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        try:
            body, broken = answer.fp.read1() if answer.status == 101 else answer.read(), False
        except http.client.IncompleteRead as error:
            body, broken = error.partial, True
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body, broken)


def request_http2(edge: Edge, host: str, method: str, path: str, fields: dict[str, str]) -> Reply:
    """The same over HTTP/2; a handshake is an extended CONNECT (RFC 8441), and its tunnel is read to its end."""
    names = {name.lower().encode(): value.encode() for name, value in fields.items()}
    tunnel = names.pop(b"upgrade", None)
    if tunnel is not None:
        del names[b"connection"], names[b"sec-websocket-key"]
    pseudo = [(b":method", b"CONNECT" if tunnel else method.encode())]
    pseudo += [(b":protocol", tunnel)] if tunnel else []
    pseudo += [(b":scheme", b"https"), (b":authority", f"{host}:{edge.tls_port}".encode()), (b":path", path.encode())]
    with H2Client(tls_connection(edge, edge.host(1, "any"), protocol="h2"), patience=60) as client:
        id = client.request_of([*pseudo, *names.items()], end=not tunnel)
        stream = client.stream(id)
        client.wait(lambda: stream.over, "an answer")
        said = {name.decode(): value.decode() for name, value in stream.fields}
        return Reply(stream.status, said, bytes(stream.body), not stream.ended)


def _explain(edge: Edge, url: str, command: bool) -> tuple[Report, str]:
    admin = f"http://127.0.0.1:{edge.admin_port}"
    if not command:
        report = fetch_report(admin, url)
        return report, terminal.render(report, width=120, colour=False)
    words = [sys.executable, "-m", "gateway", "explain", "--admin", admin, url]
    environment = clean_environment({"PYTHONIOENCODING": "utf-8", "COLUMNS": "120"})

    def run(*more: str) -> str:
        done = subprocess.run(
            [*words, *more], env=environment, capture_output=True, text=True, timeout=60, encoding="utf-8", check=False
        )
        assert done.stderr == "", done.stderr
        return done.stdout

    return msgspec.json.decode(run("--json"), type=Report), run()


def _state(edge: Edge, where: Where) -> dict[str, Any] | None:
    status, answer = edge.api("GET", f"sandboxes/{where.sandbox}/ports/{where.port}")
    assert status in (200, 404, 503), answer
    return dict(answer) if status == 200 else None


# --- reading ----------------------------------------------------------------------------------------------------------


def timeless(text: str) -> str:
    """`text` without the time that this once took, nor whether a greeting was faster than the request."""
    return _WAITED.sub("for {s} s", _ELAPSED.sub("{ms} ms", text)).replace(_UNASKED, "the answer begins with")


@dataclass(frozen=True, slots=True)
class Sentences:
    """What a page and a document have in common."""

    status: int
    reason: str
    title: str
    detail: str
    observed: list[str]
    fix: list[str]


def of_document(reply: Reply) -> Sentences:
    members = json.loads(timeless(reply.body.decode()))
    return Sentences(*(members[name] for name in ("status", "reason", "title", "detail", "observed", "fix")))


def of_page(reply: Reply) -> Sentences:
    """As a person reads it: what stands in code marks is in backticks, as in the document."""
    page = _Page()
    page.feed(timeless(reply.body.decode()))
    status, *_ = page.texts["status"]
    return Sentences(
        int(status.split()[0]),
        page.reason,
        page.texts["h1"][0],
        page.texts["lead"][0],
        page.texts["seen"],
        [*page.texts["change"], *page.texts["checks"], *page.texts["fixes"]],
    )


class _Page(HTMLParser):
    """Collects the texts of a page by what they stand in."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {
            name: [] for name in ("status", "h1", "lead", "seen", "change", "checks", "fixes")
        }
        self.reason = ""
        self._lists: list[str] = []
        self._at = ""
        self._section = ""
        self._skipped = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        kind = known.get("class") or ""
        self.reason = known.get("data-reason") or self.reason
        if tag == "section":
            self._section = known.get("aria-labelledby") or ""
        elif tag == "ul":
            self._lists.append(kind)
        elif tag in ("button", "style", "script"):
            self._skipped = tag
        elif tag == "li" and self._lists:
            self._begin(self._lists[-1])
        elif tag == "h1" or (tag == "p" and kind in ("status", "lead")):
            self._begin(kind or tag)
        elif tag == "p" and self._section == "change":
            self._begin("change")
        elif tag == "code" and self._at in ("change", "checks", "lead"):
            self._add("`")
        elif tag == "code" and self._at == "fixes":
            self._add(": ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "ul":
            self._lists.pop()
        elif tag in ("button", "style", "script"):
            self._skipped = ""
        elif tag in ("li", "p", "h1"):
            self._at = ""
        elif tag == "section":
            self._section = ""
        elif tag == "code" and self._at in ("change", "checks", "lead"):
            self._add("`")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self._add(data)

    def _begin(self, what: str) -> None:
        self._at = what if what in self.texts else ""
        if self._at:
            self.texts[what].append("")

    def _add(self, data: str) -> None:
        if self._at:
            self.texts[self._at][-1] += data


def grpc_message(reply: Reply) -> str:
    return timeless(unquote(reply.fields.get("grpc-message", "")))


def close_frame(reply: Reply) -> tuple[int, str]:
    """The code and the reason of the Close that followed a 101."""
    (code,) = struct.unpack_from("!H", reply.body, 2)
    return code, reply.body[4 : 2 + reply.body[1]].decode()
