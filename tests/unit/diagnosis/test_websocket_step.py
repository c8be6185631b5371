"""The step of an examination that asks for a WebSocket, and what the report says of it."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from gateway.diagnosis import app_request, websocket_step
from gateway.diagnosis.explain import Context, explain
from tests.unit.diagnosis.harness import DOMAIN, OK, PATIENCE, App, step, url

pytestmark = pytest.mark.ipv6


def is_handshake(request: bytes) -> bool:
    return b"\r\nUpgrade: websocket\r\n" in request


def switch(request: bytes) -> bytes:
    """The app's half of a handshake."""
    match = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    assert match is not None
    due = base64.b64encode(hashlib.sha1(match[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + due
        + b"\r\n\r\n"
    )


async def test_a_websocket_opens_and_is_closed_as_one(
    app: App, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_request, "FAREWELL", PATIENCE)  # it ends because the app closes, not because time is up
    # The script answers Close as soon as it may: the frame is on its way before ours is read.
    app.script = lambda request: switch(request) + b"\x88\x00" if is_handshake(request) else OK
    report = await explain(url(app.port), context)
    assert step(report, "websocket").verdict == "ok"
    assert step(report, "websocket").detail == "101 Switching Protocols, by HTTP/1.1"
    assert report.conclusion.endswith(", and opens a WebSocket.")
    await app.all_closed()
    assert app.after[-1] == b"\x88\x80\x00\x00\x00\x00"
    assert f"\r\nOrigin: https://{app.port}-box.{DOMAIN}\r\n".encode() in app.heads[1]


async def test_one_that_never_answers_close_is_left(
    app: App, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_request, "FAREWELL", 0.01)
    app.script = lambda request: switch(request) if is_handshake(request) else OK
    assert step(await explain(url(app.port), context), "websocket").verdict == "ok"
    await app.all_closed()


async def test_a_url_of_a_websocket_is_judged_by_it(app: App, context: Context) -> None:
    app.script = lambda request: (
        switch(request) + b"\x88\x00"
        if is_handshake(request)
        else b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"
    )
    report = await explain(url(app.port, "/ws", "wss"), context)
    assert report.ok
    assert report.conclusion.startswith("Reachable: a WebSocket opens after ")
    assert report.fix == []


async def test_a_url_of_a_websocket_where_there_is_none(app: App, context: Context) -> None:
    app.script = lambda request: OK
    report = await explain(url(app.port, "/ws", "wss"), context)
    assert step(report, "websocket").verdict == "warning"
    assert report.conclusion.endswith(" But no WebSocket opens here.")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"426 Upgrade Required", "the app refuses this handshake: 426 Upgrade Required"),
        (b"403 Forbidden", "the app refuses this handshake, usually by its origin check: 403 Forbidden"),
        (b"401 Unauthorized", "the app refuses this handshake: 401 Unauthorized"),
        (b"400 Bad Request", "the app refuses this handshake: 400 Bad Request"),
        (b"302 Found", "the app refuses this handshake: 302 Found"),
        (b"503 Service Unavailable", "the app refuses this handshake: 503 Service Unavailable"),
        (b"404 Not Found", "the app has no WebSocket here (HTTP 404)"),
        (b"405 Method Not Allowed", "the app has no WebSocket here (HTTP 405)"),
    ],
)
async def test_a_refused_handshake_is_not_a_lack_of_websockets(
    app: App, context: Context, line: bytes, said: str
) -> None:
    refusal = b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % line
    app.script = lambda request: refusal if is_handshake(request) else OK
    report = await explain(url(app.port, "/ws", "wss"), context)
    assert step(report, "websocket").detail == said
    usually = ", usually by its origin check" if line.startswith(b"403") else ""
    refused = f"the app refuses this WebSocket handshake ({line.decode()}{usually})" if "refuses" in said else None
    assert report.conclusion.endswith(f" But {refused or 'no WebSocket opens here'}.")
    assert [fix.partition(".")[0] for fix in report.fix] == [f"the app refused the WebSocket{usually}"] * bool(usually)


async def test_a_wrong_accept_is_no_websocket(app: App, context: Context) -> None:
    wrong = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: x\r\n\r\n\x88\x00"
    )
    app.script = lambda request: wrong if is_handshake(request) else OK
    report = await explain(url(app.port), context)
    assert step(report, "websocket").verdict == "warning"
    assert "wrong Sec-WebSocket-Accept" in step(report, "websocket").detail


async def test_an_app_that_hangs_up_on_a_handshake_is_reachable_all_the_same(app: App, context: Context) -> None:
    app.script = lambda request: b"" if is_handshake(request) else OK
    report = await explain(url(app.port), context)
    assert report.ok
    assert step(report, "websocket").verdict == "skipped"
    assert "closed the connection" in step(report, "websocket").detail


async def test_so_is_one_that_is_silent_after_it(app: App, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_step, "HANDSHAKE_TIMEOUT", 0.05)
    app.script = lambda request: None if is_handshake(request) else OK
    report = await explain(url(app.port), context)
    assert report.ok
    assert step(report, "websocket").detail == "no answer to a handshake within 0.05 s"
