"""`edge.proxy_protocol = "require"`: whose connection it is, says the balancer, and nobody else."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.edge import proxy_header
from gateway.edge.local_reply import redirect_to_https
from tests.behaviour.harness import (
    DOMAIN,
    LOOPBACK,
    OK,
    PATIENCE,
    App,
    Gateway,
    OpenGateway,
    Wire,
    answering,
    get,
    until,
)
from tests.behaviour.test_drain import drain
from tests.unit.http.test_proxy_protocol import TCP4, TCP6, tlv, v2

REQUIRED: dict[str, Any] = {"proxy_protocol": "require", "trusted_proxies": (ip_network("::1/128"),)}
V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n"
HEADERS = {"v1": V1, "v2": v2(), "v2 with TLVs": v2(0x21, 0x21, TCP6, tlv(4, bytes(50)), tlv(2, b"a.dev"))}
CLIENTS = {"v1": b"192.0.2.1", "v2": b"192.0.2.1", "v2 with TLVs": b"2001:db8::1"}


@pytest.fixture
async def gateway(open_gateway: OpenGateway) -> Gateway:
    return await open_gateway(edge=REQUIRED)


async def arrived(gateway: Gateway, octets: int) -> None:
    """So many of a header that is not whole."""
    await until(lambda: any(f" read={octets}>" in repr(each) for each in gateway.edge.downstreams), "they are read")


async def forwarded(app: App) -> dict[bytes, bytes]:
    """The fields of the request that the app gets, answered."""
    upstream = await app.accept()
    request = await upstream.request()
    upstream.send(OK)
    return {name.lower(): value for name, value in request.fields}


class Secure:
    """A client's TLS in memory, so that its octets can be put behind a header at will."""

    def __init__(self, context: ssl.SSLContext, wire: Wire, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._wire = wire
        self._seen = 0

    def hello(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    async def ask(self, request: bytes) -> bytes:
        await self._until(self._tls.do_handshake)
        self._tls.write(request)
        self._wire.send(self._outgoing.read())
        return await self._until(lambda: self._tls.read(65536))

    async def _until(self, step: Any) -> Any:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    if sent := self._outgoing.read():
                        self._wire.send(sent)
                    await until(lambda: len(self._wire.received) > self._seen, "more has come")
                    self._incoming.write(bytes(self._wire.received[self._seen :]))
                    self._seen = len(self._wire.received)


@pytest.mark.parametrize("kind", HEADERS)
async def test_the_app_is_told_the_true_client(gateway: Gateway, kind: str) -> None:
    app = await gateway.app()
    balancer = await gateway.connect()
    spoofed = b'X-Forwarded-For: 198.51.100.9\r\nForwarded: for="198.51.100.9\r\n'
    balancer.send(HEADERS[kind] + get(app).replace(b"\r\n\r\n", b"\r\n" + spoofed + b"\r\n"))
    fields = await forwarded(app)
    assert fields[b"x-forwarded-for"] == fields[b"x-real-ip"] == CLIENTS[kind]
    assert b"198.51.100.9" not in b"".join(fields.values())
    assert fields[b"x-forwarded-proto"] == b"http"
    assert (await balancer.answer()).body == b"ok"
    assert [record.remote.encode() for record in gateway.log] == [CLIENTS[kind]]


@pytest.mark.parametrize("kind", HEADERS)
async def test_a_header_split_at_every_octet(gateway: Gateway, kind: str) -> None:
    app = await gateway.app(answering(OK))
    header = HEADERS[kind]
    for cut in range(1, len(header), 1 if len(header) < 60 else 7):
        balancer = await gateway.connect()
        balancer.send(header[:cut])
        await arrived(gateway, cut)
        balancer.send(header[cut:] + get(app))
        assert (await balancer.answer()).body == b"ok"
        balancer.close()


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("whole", [True, False], ids=["one-segment", "octet-by-octet"])
async def test_tls_behind_a_header(gateway: Gateway, kind: str, whole: bool) -> None:
    app = await gateway.app(answering(OK))
    wire = await gateway.connect_to(gateway.tls_port)
    secure = Secure(gateway._tls.client, wire, app.host.decode())
    octets = HEADERS[kind] + secure.hello()
    if whole:
        wire.send(octets)
    else:
        for octet in octets:
            wire.send(bytes([octet]))
            await asyncio.sleep(0)
    assert (await secure.ask(get(app))).endswith(b"ok")
    assert b"\r\nX-Forwarded-Proto: https\r\n" in app.received


async def test_tls_that_the_balancer_ended_is_https(gateway: Gateway) -> None:
    app = await gateway.app()
    balancer = await gateway.connect()
    balancer.send(v2(0x21, 0x11, TCP4, tlv(0x20, b"\x01\0\0\0\0")) + get(app))
    fields = await forwarded(app)
    assert fields[b"x-forwarded-proto"] == b"https"


async def test_who_came_by_https_is_not_redirected_there(open_gateway: OpenGateway) -> None:
    """A balancer ends TLS, and passes on what came without it, too, to be redirected."""
    gateway = await open_gateway(edge=REQUIRED, local_reply=redirect_to_https((DOMAIN,), 443))
    app = await gateway.app(answering(OK))
    plain, secure = await gateway.connect(), await gateway.connect()
    plain.send(v2() + get(app))
    assert (await plain.answer()).status == 308
    secure.send(v2(0x21, 0x11, TCP4, tlv(0x20, b"\x01\0\0\0\0")) + get(app))
    assert (await secure.answer()).body == b"ok"


@pytest.mark.parametrize(
    "header", [v2(0x20, 0, b""), v2(0x21, 0, b""), b"PROXY UNKNOWN\r\n"], ids=["LOCAL", "UNSPEC", "v1"]
)
async def test_who_is_not_named_is_the_balancer_and_not_believed(gateway: Gateway, header: bytes) -> None:
    app = await gateway.app()
    balancer = await gateway.connect()
    balancer.send(header + get(app).replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n"))
    fields = await forwarded(app)
    assert fields[b"x-forwarded-for"] == LOOPBACK.encode()


async def test_a_proxy_behind_the_balancer_is_believed(open_gateway: OpenGateway) -> None:
    networks = (ip_network("::1/128"), ip_network("192.0.2.1/32"))
    gateway = await open_gateway(edge=REQUIRED | {"trusted_proxies": networks})
    app = await gateway.app()
    balancer = await gateway.connect()
    balancer.send(V1 + get(app).replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n"))
    fields = await forwarded(app)
    assert fields[b"x-real-ip"] == b"198.51.100.9"


async def test_ids_and_names_for_the_log(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    balancer = await gateway.connect()
    header = v2(0x21, 0x11, TCP4, tlv(5, b"uni-7"), tlv(2, b"other.example"), tlv(0xEA, b"\x01vpce-1"))
    for octets in (header, b""):
        balancer.send(octets + get(app))
        assert (await balancer.answer()).body == b"ok"
    await until(lambda: len(gateway.log) == 2, "both are recorded")
    assert [record.request_id for record in gateway.log] == ["uni-7", "uni-7-2"]
    proxy = gateway.log[0].proxy
    assert proxy is not None
    assert (proxy.endpoint, proxy.authority, proxy.unique_id) == ("aws:vpce-1", "other.example", "")


async def test_an_id_that_is_none_is_recorded_only(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    balancer = await gateway.connect()
    balancer.send(v2(0x21, 0x11, TCP4, tlv(5, b"\x1b[2J\r\n")) + get(app))
    await balancer.answer()
    await until(lambda: len(gateway.log) == 1, "it is recorded")
    proxy = gateway.log[0].proxy
    assert proxy is not None
    assert proxy.unique_id == "1b5b324a0d0a"


# --- who is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PROXY TCP4 1 2 3 4\r\n", v2(0x21, 0x12), b"\x16\x03\x01\x02\x00\x01"],
    ids=["none", "v1", "v2", "TLS"],
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_what_has_no_header_is_closed_and_counted(gateway: Gateway, octets: bytes, tls: bool) -> None:
    balancer = await gateway.connect_to(gateway.tls_port if tls else gateway.plain_port)
    balancer.send(octets)
    assert await balancer.ended() == b""
    assert gateway.edge.counters.proxy_headers_refused == 1
    await until(lambda: gateway.edge.connections == 0, "it is not counted any more")
    assert any("connections refused for want of a PROXY header" in line for line in gateway.told())


async def test_who_is_no_balancer_of_ours_is_closed_unread(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge=REQUIRED | {"trusted_proxies": (ip_network("192.0.2.0/24"),)})
    app = await gateway.app()
    stranger = await gateway.connect()
    stranger.send(V1 + get(app))
    assert await stranger.ended() == b""
    assert gateway.edge.counters.proxy_headers_refused == 1
    assert app.connections == []
    assert any("is not in edge.trusted_proxies" in line for line in gateway.told())


async def test_a_header_has_three_seconds(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many octets come."""
    monkeypatch.setattr(proxy_header, "HEADER_TIME", 0.3)
    balancer = await gateway.connect()
    began = asyncio.get_running_loop().time()
    for octet in v2(0x21, 0x11, TCP4, tlv(4, bytes(500))):
        if balancer.end:
            break
        balancer.send(bytes([octet]))
        await asyncio.sleep(0.01)
    await balancer.ended()
    assert asyncio.get_running_loop().time() - began < 2.5, "with a new 0.3 s for each octet it would be five"
    assert any("sent no whole header within 0.3 s" in line for line in gateway.told())


async def test_a_check_of_the_balancers_is_no_complaint(gateway: Gateway) -> None:
    """It connects, and closes or resets."""
    for linger in (None, struct.pack("ii", 1, 0)):
        check = socket.create_connection((LOOPBACK, gateway.plain_port))
        await until(lambda: gateway.edge.connections == 1, "it is there")
        if linger is not None:
            check.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        check.close()
        await until(lambda: gateway.edge.connections == 0, "it is gone")
    assert gateway.edge.counters.proxy_headers_refused == 0


async def test_limits_are_the_clients(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge=REQUIRED, limits={"connections_per_address": 2})
    app = await gateway.app(answering(OK))
    for _ in range(2):
        balancer = await gateway.connect()
        balancer.send(V1 + get(app))
        assert (await balancer.answer()).body == b"ok"
    third = await gateway.connect()
    third.send(V1 + get(app))
    assert await third.ended() == b""
    assert gateway.edge.counters.connections_refused.connections_per_address == 1
    other = await gateway.connect()
    other.send(v2(0x21, 0x21, TCP6) + get(app))
    assert (await other.answer()).body == b"ok"
    assert gateway.edge.connections == 3
    assert any("connections_per_address" in line for line in gateway.told())


async def test_a_drain_waits_for_a_header_on_its_way(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    balancer = await gateway.connect()
    balancer.send(V1[:9])
    await arrived(gateway, 9)
    drain(gateway)
    balancer.send(V1[9:] + get(app))
    answer = await balancer.answer()
    assert (answer.body, answer.get(b"Connection")) == (b"ok", b"close")


async def test_unfinished_headers_cost_little_and_leave_nothing(gateway: Gateway) -> None:
    balancers = [await gateway.connect() for _ in range(200)]
    for balancer in balancers:
        balancer.send(v2()[:20])
    await until(lambda: gateway.edge.connections == 200, "all are there")
    await until(lambda: sum(" read=20>" in repr(each) for each in gateway.edge.downstreams) == 200, "all are read")
    assert len(gateway.edge.tasks) == 0, "none has a task of its own"
    gateway.edge.sweeper.sweep()
    for balancer in balancers:
        balancer.close()
    await until(lambda: gateway.edge.connections == 0, "all are gone")
    assert any("closed within its header" in line for line in gateway.told())
