"""What stands in the access log is neither secret nor alive nor long, whatever was asked."""

from __future__ import annotations

import json

import pytest

from gateway.observe.access_log import MAX_TEXT, json_lines, text_lines
from tests.behaviour.harness import OK, Gateway, answering, get


async def logged(gateway: Gateway, request: bytes) -> str:
    """Both forms of the line that `request` leaves, after its answer."""
    browser = await gateway.connect()
    browser.send(request)
    await browser.answer()
    (record,) = gateway.log
    written = json_lines([record])
    assert written.count(b"\n") == 1
    assert json.loads(written)["path"] == record.path
    return (written + text_lines([record])).decode()


@pytest.mark.parametrize("target", [b"/path?token=secret", b"/path?", b"/path??secret", b"/path?a=secret?b"])
async def test_the_query_is_not_logged(gateway: Gateway, target: bytes) -> None:
    line = await logged(gateway, get(await gateway.app(answering(OK)), target))
    assert "/path" in line
    assert "secret" not in line
    assert "?" not in line


@pytest.mark.parametrize("where", ["target", "host", "method"])
@pytest.mark.parametrize("octet", [b"\x1b", b"\x9b", b"\x85", b"\x7f", b"\xff", b"\x08", b'"', b"\\"])
async def test_no_terminal_sequence_survives(gateway: Gateway, where: str, octet: bytes) -> None:
    app = await gateway.app(answering(OK))
    parts = {"target": b"/", "host": app.host, "method": b"GET"}
    parts[where] += octet + b"[2J"
    request = b"%(method)b %(target)b HTTP/1.1\r\nHost: %(host)b\r\n\r\n"
    line = await logged(gateway, request % {name.encode(): octets for name, octets in parts.items()})
    assert line.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"p" * 8000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /?" + b"p" * 8000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"M" * 8000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"x" * 8000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"x" * 250 + b":00443\r\n\r\n",
    ],
    ids=["path", "query", "method", "host", "longest-host"],
)
async def test_a_line_is_bounded(gateway: Gateway, request_: bytes) -> None:
    assert len(await logged(gateway, request_)) < 2 * (3 * MAX_TEXT + 500)


async def test_the_last_lines_are_written_when_the_worker_ends(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the exchanges that were cut off then included."""
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    await (await app.accept()).request()
    written: list[str] = []
    monkeypatch.setattr(gateway.log, "flush", lambda: written.extend(record.reason for record in gateway.log))
    await gateway.edge.close()
    assert written == ["downstream_closed"]
