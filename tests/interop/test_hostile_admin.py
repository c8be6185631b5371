"""Whoever has the admin listener's port answers what it likes: no terminal obeys any of it, nothing crashes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.support.process import clean_environment

pytestmark = pytest.mark.interop

EVIL = "\x1b]52;c;cm0gLXJm\x07 \x9b2J \x7f \u202egnp.exe \u2028 \r"
"""Writes the clipboard, clears the screen by C1, deletes, turns text around, begins lines anew."""
URL = "https://5000-box.sandbox.localhost/"
REPORT = {
    "url": EVIL,
    "ok": False,
    "conclusion": EVIL,
    "reason": EVIL,
    "steps": [{"name": EVIL, "verdict": "failed", "detail": EVIL, "milliseconds": 1e300}],
    "fix": [EVIL, "a"],
    "negotiated": {
        "downstream": {
            "listener": EVIL,
            "protocol": EVIL,
            "tls": EVIL,
            "alpn": EVIL,
            "prior_knowledge": False,
            "extended_connect": True,
        },
        "upstream": {"target": EVIL, "protocol": EVIL, "websocket": EVIL},
    },
}
RECORD = {"id": EVIL, "address": EVIL, "generation": EVIL, "host": EVIL, "ipv4": EVIL, "publicAccessUrlTemplate": EVIL}
PAGE = {"sandboxes": [RECORD], "broken": [{"id": EVIL, "broken": EVIL}], "next": None}


class Admin(HTTPServer):
    """Says `raw` to everybody."""

    raw = b""

    def says(self, body: object, status: str = "200 OK") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        self.raw = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(content), content)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Admin

    def do_GET(self) -> None:
        self.wfile.write(self.server.raw)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def admin() -> Iterator[Admin]:
    with Admin(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def printed(admin: Admin, *arguments: str) -> list[str]:
    """The lines, of stdout and stderr, that a command prints on a terminal, where colours are switched off."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments, "--admin", admin.url],
        env=clean_environment({"NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        octets = b""
        try:
            while more := os.read(ours, 4096):
                octets += more
        except OSError as error:  # how Linux tells that nobody has the other end any more
            assert error.errno == errno.EIO
        os.close(ours)
    return octets.decode().removesuffix("\r\n").split("\r\n")


COMMANDS = (("explain", URL), ("explain", URL, "--json"), ("sandboxes", "list"), ("sandboxes", "show", "box"))
ANSWERS: dict[str, tuple[Any, str]] = {
    "a report": (REPORT, "200 OK"),
    "without steps": (REPORT | {"steps": []}, "200 OK"),
    "steps of strange widths": (
        REPORT | {"steps": [{"name": "x" * 300, "verdict": "ok", "detail": "a b c", "milliseconds": 0.0}]},
        "200 OK",
    ),
    "a page": (PAGE, "200 OK"),
    "a record": (RECORD, "200 OK"),
    "a problem": ({"detail": EVIL}, "500 no"),
    "text": (EVIL.encode(), "200 OK"),
    "no end of brackets": (b'{"x":' + b"[" * 100_000, "200 OK"),
    "a status line": (b"", f"2{EVIL}"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_is_obeyed_and_nothing_crashes(admin: Admin, command: tuple[str, ...], answer: tuple[Any, str]) -> None:
    admin.says(*answer)
    lines = printed(admin, *command)
    assert all(line.isprintable() for line in lines), lines
    assert not any("Traceback" in line for line in lines), lines
    assert any(lines)


def test_json_says_the_same(admin: Admin) -> None:
    admin.says(REPORT)
    assert json.loads("\n".join(printed(admin, "explain", URL, "--json"))) == REPORT


def test_a_report_without_steps_is_shown(admin: Admin) -> None:
    admin.says(REPORT | {"url": URL, "steps": [], "conclusion": "Nobody knows."})
    assert printed(admin, "explain", URL)[:4] == [URL, "", "", "Nobody knows."]


def test_what_was_pasted_is_not_obeyed_either(admin: Admin) -> None:
    lines = printed(admin, "explain", URL, f"--{EVIL}")
    assert all(line.isprintable() for line in lines), lines


@pytest.mark.parametrize(
    "arguments", [("https://u:s3cret@5000-box.nobody.example/",), (URL, "--admin", "http://u:s3cret@a")]
)
def test_no_password_is_printed(admin: Admin, arguments: tuple[str, ...]) -> None:
    admin.says({"detail": "no"}, "400 Bad Request")
    lines = printed(admin, "explain", *arguments)
    assert any(lines)
    assert "s3cret" not in "".join(lines)
