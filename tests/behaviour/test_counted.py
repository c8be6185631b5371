"""What visitors do is counted: octets on both sides, connections, handshakes, tunnels, look-ups, durations."""

from __future__ import annotations

import pytest

from gateway.directory.sandbox import DirectoryError, Sandbox
from gateway.metrics import (
    BYTES,
    CONNECTIONS,
    DIAL,
    FAILURES,
    FIRST_BYTE,
    HANDSHAKE_FAILURES,
    HANDSHAKES,
    LOOKUP_SECONDS,
    LOOKUPS,
    REQUEST_DURATION,
    REQUESTS,
    TUNNEL_DURATION,
    TUNNELS_OPEN,
)
from gateway.observe.totals import Totals
from tests.behaviour.harness import OK, Gateway, OpenGateway, Wire, answering, get, post, until


def counted(gateway: Gateway) -> Totals:
    gateway.edge.telemetry.flush()
    return Totals.of([gateway.edge.cells])


UPGRADE = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("tls", [False, True])
async def test_octets_on_both_sides(open_gateway: OpenGateway, tls: bool) -> None:
    """Heads included, TLS not; once only, whether or not an answer is written at once."""
    gateway = await open_gateway()
    body = b"x" * 100_000
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    app = await gateway.app(answering(OK, large, OK))
    client = await gateway.connect(tls=tls)
    sent = 0
    for request in (get(app), get(app, b"/large"), post(app, body)):
        client.send(request)
        sent += len(request)
        answer = await client.answer()
        assert answer.status == 200
    received = len(client.received)
    totals = counted(gateway)
    assert totals.value(BYTES, "downstream", "received") == sent
    assert totals.value(BYTES, "downstream", "sent") == received
    assert totals.value(BYTES, "upstream", "received") == len(OK) * 2 + len(large)
    assert totals.value(BYTES, "upstream", "sent") == len(app.received)
    assert totals.value(CONNECTIONS, "downstream") == 1
    assert totals.value(CONNECTIONS, "upstream") == totals.sum(DIAL) == 1


async def test_an_answer_that_ends_the_connection_is_counted_whole(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway()
    client = await gateway.connect()
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    octets = await client.ended()
    assert octets.startswith(b"HTTP/1.1 400 ")
    assert counted(gateway).value(BYTES, "downstream", "sent") == len(octets)


async def test_look_ups(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway()
    app = await gateway.app(answering(OK, OK, OK))
    client = await gateway.connect()
    for _ in range(3):
        client.send(get(app))
        assert (await client.answer()).status == 200
    client.send(b"GET / HTTP/1.1\r\nHost: 80-nobody.sandbox.localhost\r\n\r\n")
    assert (await client.answer()).status == 404
    totals = counted(gateway)
    assert dict(totals.series(LOOKUPS)) == {("cached",): 2, ("found",): 1, ("not_found",): 1}
    assert totals.sum(LOOKUP_SECONDS) == 2
    assert totals.value(FAILURES, "destination_not_found") == 1


async def test_look_ups_of_what_is_not_answered(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await open_gateway()
    app = await gateway.app(answering(OK, OK, OK))
    client = await gateway.connect()

    async def fail(sandbox_id: str) -> Sandbox | None:
        raise DirectoryError(f"no answer about {sandbox_id}")

    async def status(request: bytes) -> int:
        client.send(request)
        return (await client.answer()).status

    assert await status(get(app)) == 200
    monkeypatch.setattr(gateway.table, "fetch", fail)
    gateway.edge.directory.evict("box")
    assert [await status(get(app)) for _ in range(2)] == [200, 200]
    assert await status(b"GET / HTTP/1.1\r\nHost: 80-nobody.sandbox.localhost\r\n\r\n") == 503
    assert dict(counted(gateway).series(LOOKUPS)) == {("found",): 1, ("stale",): 2, ("unavailable",): 1}
    gateway.expect_complaint("no answer about")


@pytest.mark.parametrize("protocol", ["websocket", "other"])
async def test_tunnels(open_gateway: OpenGateway, protocol: str) -> None:
    gateway = await open_gateway()
    name = b"websocket" if protocol == "websocket" else b"foo"
    app = await gateway.app(answering(SWITCHED % name))
    client = await gateway.connect()
    client.send((UPGRADE % app.host).replace(b"websocket", name))
    assert (await client.answer()).status == 101
    assert counted(gateway).value(TUNNELS_OPEN, protocol) == 1
    client.close()
    app.connections[0].close()
    await until(lambda: counted(gateway).value(TUNNELS_OPEN, protocol) == 0, "it is closed")
    totals = counted(gateway)
    assert totals.value(REQUESTS, "HTTP/1.1", "GET", "101") == 1
    assert totals.sum(TUNNEL_DURATION, protocol=protocol) == 1
    assert totals.sum(REQUEST_DURATION) == 0
    assert totals.sum(FIRST_BYTE, kind="tunnel") == 1


async def test_kinds_of_answers(open_gateway: OpenGateway) -> None:
    """An app's, an event stream, the gateway's own; one that breaks off is still the app's."""
    gateway = await open_gateway()

    async def breaks_off(wire: Wire) -> None:
        await wire.request()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        wire.close()

    client = await gateway.connect()
    for script in (answering(OK), answering(EVENTS)):
        app = await gateway.app(script)
        client.send(get(app))
        assert (await client.answer()).status == 200
    client.send(b"GET / HTTP/1.1\r\nHost: 80-nobody.sandbox.localhost\r\n\r\n")
    assert (await client.answer()).status == 404
    app = await gateway.app(breaks_off)
    client.send(get(app))
    await client.ended()
    totals = counted(gateway)
    assert totals.sum(REQUEST_DURATION, kind="response") == 2
    assert totals.sum(REQUEST_DURATION, kind="event_stream") == 1
    assert totals.sum(REQUEST_DURATION, kind="local_reply") == 1
    assert totals.value(FAILURES, "http_response_incomplete") == 1


async def test_handshakes(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway()
    client = await gateway.connect(tls=True)
    client.close()
    stranger = await gateway.connect_to(gateway.tls_port)
    stranger.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    await stranger.ended()
    gone = await gateway.connect_to(gateway.tls_port)
    gone.close()
    await until(lambda: counted(gateway).sum(HANDSHAKE_FAILURES) == 2, "both have failed")
    totals = counted(gateway)
    assert totals.value(HANDSHAKES, "TLSv1.3", "no") == 1
    assert dict(totals.series(HANDSHAKE_FAILURES)) == {("closed",): 1, ("no_tls",): 1}
