"""What stands in the access log is neither secret nor alive nor long, whatever was asked."""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_network

import pytest

from gateway.observe.access_log import MAX_TEXT, json_lines, text_lines
from gateway.observe.telemetry import Telemetry
from tests.behaviour.harness import DOMAIN, OK, App, Gateway, OpenGateway, answering, get
from tests.support.process import free_port
from tests.support.telemetry import AtOnce


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
    monkeypatch.setattr(AtOnce, "exchange_ended", Telemetry.exchange_ended)  # gathered, as in a worker
    await gateway.edge.close()
    assert [record.reason for record in gateway.log] == ["drain_timeout"]


# --- whose request it was, and of what ------------------------------------------------------------------------------

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def with_fields(app: App, *fields: bytes) -> bytes:
    return get(app)[:-2] + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


async def test_what_says_nothing_is_left_out(gateway: Gateway) -> None:
    line = json.loads((await logged(gateway, get(await gateway.app(answering(OK))))).partition("\n")[0])
    assert not line.keys() & {"tls", "user_agent", "trace_id", "client_request_id", "worker", "reason", "proxy"}


async def test_the_target_is_where_it_went(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    line = await logged(gateway, get(app))
    assert f'"target":"[::1]:{app.port}"' in line


async def test_heads_are_counted_in_octets(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    reader, writer = await asyncio.open_connection("::1", gateway.plain_port)
    for _ in range(2):
        writer.write(get(app))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        record = gateway.log.pop()
        assert (record.head_received, record.head_sent) == (len(get(app)), len(head))
    writer.close()
    await writer.wait_closed()


async def test_the_version_of_tls_is_logged(gateway: Gateway) -> None:
    browser = await gateway.connect(tls=True)
    browser.send(get(await gateway.app(answering(OK))))
    await browser.answer()
    assert gateway.log[0].tls == browser.transport.get_extra_info("ssl_object").version()


async def test_a_user_agent_is_printable_and_short(gateway: Gateway) -> None:
    agent = b"curl/8 \xc2\x9b2J\xff" + b"x" * 2000
    line = await logged(gateway, with_fields(await gateway.app(answering(OK)), b"User-Agent: " + agent))
    assert '"user_agent":"curl/8 ··2J·x' in line
    assert len(gateway.log[0].user_agent) == MAX_TEXT


async def test_a_trace_passes_on_as_it_came_and_is_logged(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    fields = (b"traceparent: " + TRACE, b"tracestate: congo=t61rcWkgMzE", b"TRACEPARENT2: x")
    browser.send(with_fields(app, *fields))
    connection = await app.accept()
    request = await connection.request()
    assert all(field in request.head for field in fields)
    connection.send(OK)
    await browser.answer()
    assert gateway.log[0].trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_trace_that_is_none_passes_on_and_is_not_logged(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(with_fields(app, b"traceparent: 00-token"))
    connection = await app.accept()
    assert b"traceparent: 00-token" in (await connection.request()).head
    connection.send(OK)
    await browser.answer()
    assert gateway.log[0].trace_id == ""


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(
    ("claim", "shown"), [(b"a-good-one", "a-good-one"), (b"a bad one\x9b", "a bad one·"), (b"x" * 500, "x" * 128)]
)
async def test_a_request_id_that_is_not_used_stands_beside_ours(
    open_gateway: OpenGateway, trusted: bool, claim: bytes, shown: str
) -> None:
    networks = {"trusted_proxies": (ip_network("::1/128"),)} if trusted else {}
    gateway = await open_gateway(edge=networks)
    line = await logged(gateway, with_fields(await gateway.app(answering(OK)), b"X-Request-Id: " + claim))
    record = gateway.log[0]
    if trusted and shown == "a-good-one":
        assert (record.request_id, record.client_request_id) == (shown, "")
    else:
        assert record.request_id != shown
        assert record.client_request_id == shown
    assert line.replace("\n", "").isprintable()


async def test_no_secret_is_logged(gateway: Gateway) -> None:
    """Whichever field it stands in."""
    app = await gateway.app(answering(OK))
    names = (b"Cookie", b"Authorization", b"Referer", b"X-Api-Key", b"Origin", b"Sec-WebSocket-Protocol", b"tracestate")
    line = await logged(gateway, with_fields(app, *(name + b": https://x/?secret" for name in names)))
    assert "secret" not in line


async def test_a_dial_is_timed_whatever_comes_of_it(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway()
    app = await gateway.app(answering(OK, OK))
    client = await gateway.connect()
    for _ in range(2):
        client.send(get(app))
        assert (await client.answer()).status == 200
    client.send(b"GET / HTTP/1.1\r\nHost: 80-nobody.sandbox.localhost\r\n\r\n")
    assert (await client.answer()).status == 404
    client.send(b"GET / HTTP/1.1\r\nHost: %d-box.%b\r\n\r\n" % (free_port(), DOMAIN.encode()))
    assert (await client.answer()).status == 502
    dialed, reused, nobody, refused = gateway.log
    assert dialed.dial_ms is not None
    assert reused.dial_ms is nobody.dial_ms is None
    assert refused.dial_ms is not None
