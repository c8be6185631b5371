"""Nothing is ever forwarded over IPv4: not by a record that a backend should never have let through, not by a prefix."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from gateway.addresses import Address
from gateway.config import load
from gateway.directory.sandbox import Sandbox
from gateway.errors import UserError
from tests.behaviour.harness import DOMAIN, SANDBOX, OpenGateway

WIDE = (IPv6Network("::/0"), IPv6Network("::1/128"), IPv6Network("fd00::/8"))


@pytest.mark.parametrize("address", [IPv4Address("127.0.0.1"), IPv6Address("::ffff:127.0.0.1")])
async def test_an_ipv4_address_in_a_record_is_never_dialed(open_gateway: OpenGateway, address: Address) -> None:
    dialed = asyncio.Event()
    server = await asyncio.start_server(lambda reader, writer: dialed.set(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        gateway = await open_gateway(upstream={"allow": WIDE})
        gateway.table.table[SANDBOX] = Sandbox(SANDBOX, address, "1")
        browser = await gateway.connect()
        browser.send(b"GET / HTTP/1.1\r\nHost: %d-%b.%b\r\n\r\n" % (port, SANDBOX.encode(), DOMAIN.encode()))
        answer = await browser.answer()
        assert answer.status == 502
        assert answer.get(b"X-Gateway-Error") == b"destination_ip_prohibited"
    assert not dialed.is_set()


@pytest.mark.parametrize("prefix", ["127.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0"])
def test_a_configuration_cannot_allow_ipv4(prefix: str) -> None:
    environ = {"GATEWAY_UPSTREAM__ALLOW": prefix}
    with pytest.raises(UserError, match="sandboxes are dialed over IPv6 only"):
        load(file=None, environ=environ, serve=False)
