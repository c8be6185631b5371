"""Asking a running gateway: what is sent, and what each kind of answer comes to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from gateway.diagnosis.report import Report, Step, as_json
from gateway.errors import UserError
from gateway.process.admin_client import fetch_report

REPORT = Report("https://a/?x=1&y=2", False, "Because.", "connection_refused", [Step("dial", "failed", "no", 0.4)], [])


class Admin(HTTPServer):
    """Stands for an admin listener: says `status` and `body` to everybody, and remembers what was asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, msgspec.json.encode(REPORT)
        self.asked: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Admin

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def admin() -> Iterator[Admin]:
    with Admin() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_report_comes_back_whole(admin: Admin) -> None:
    assert fetch_report(admin.url, REPORT.url) == REPORT
    [(target, authorization)] = admin.asked
    assert urlsplit(target).path == "/v1/explain"
    assert parse_qs(urlsplit(target).query) == {"url": [REPORT.url]}
    assert authorization is None


def test_a_token_is_sent(admin: Admin) -> None:
    fetch_report(admin.url, "a", "s3cret")
    assert admin.asked[0][1] == "Bearer s3cret"


@pytest.mark.parametrize("token", ["a\r\nX: y", "schlüssel"])
def test_one_that_cannot_be_sent_is_not(admin: Admin, token: str) -> None:
    with pytest.raises(UserError, match="token"):
        fetch_report(admin.url, "a", token)
    assert admin.asked == []


def test_a_path_in_front_is_kept(admin: Admin) -> None:
    fetch_report(f"{admin.url}/behind/", "a")
    assert admin.asked[0][0].startswith("/behind/v1/explain?")


def test_a_refusal_is_told_in_the_gateways_words(admin: Admin) -> None:
    admin.status, admin.body = 401, b'{"type":"about:blank","title":"Unauthorized","status":401,"detail":"a token!"}'
    with pytest.raises(UserError, match=r"does not say: a token!$"):
        fetch_report(admin.url, "a")


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (200, b"{}"), (404, b"not found"), (400, b'{"error":1}'), (200, b"\xff")]
)
def test_somebody_else_listens_there(admin: Admin, status: int, body: bytes) -> None:
    admin.status, admin.body = status, body
    with pytest.raises(UserError, match=rf"not a gateway's admin listener \(HTTP {status}\)"):
        fetch_report(admin.url, "a")


def test_nobody_does() -> None:
    with Admin() as server:
        url = server.url
    with pytest.raises(UserError, match=r"--admin URL.*--config FILE") as raised:
        fetch_report(url, "a")
    assert len(str(raised.value).splitlines()) == 1
    assert url in str(raised.value)


def test_json_for_people_is_the_apis_json() -> None:
    assert msgspec.json.decode(as_json(REPORT), type=Report) == REPORT
    assert b'\n  "reason": "connection_refused",\n' in as_json(REPORT)
