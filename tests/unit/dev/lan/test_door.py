"""Who may ask for what, once the local network is let in."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.dev.lan.door import Door
from gateway.edge.forwarded import Peer
from tests.support.seam import gateway, request

pytestmark = pytest.mark.pure

NAME, OTHER = b"5000-anna.local:8443", b"22-anna.local:8443"
HERE, THERE = "127.0.0.1", "192.168.7.9"


@pytest.fixture
def door() -> Iterator[Door]:
    page = SimpleNamespace(content=lambda head: (200, b"text/plain", b"page"))
    door = Door(cast("Any", page), "sandbox.localhost")
    door.authorities = frozenset([NAME])
    yield door


@pytest.mark.parametrize(
    ("address", "authority", "may"),
    [
        (THERE, NAME, True),
        (THERE, b"5000-ANNA.local:8443", True),
        (HERE, NAME, True),
        (HERE, b"5000-local.sandbox.localhost:8443", True),
        (THERE, b"5000-local.sandbox.localhost:8443", False),
        (THERE, b"sandbox.localhost:8443", False),
        (THERE, b"5000-anna.local:8444", False),
        (THERE, b"5000-anna.local", False),
        (THERE, OTHER, False),
        (HERE, OTHER, False),  # a neighbour may announce that this name is 127.0.0.1
        (HERE, b"22-anna.local.:8443", False),
        ("fd00::9", b"[::1]:8443", False),
    ],
)
async def test_names(door: Door, address: str, authority: bytes, may: bool) -> None:
    async with gateway() as running:
        answered = door.answer(running.edge, Peer(ip_address(address), b"https"), request(host=authority))
        assert (answered is None) is may
        if answered is not None:
            assert (answered[0].status, answered[0].get(b"x-gateway-error")) == (421, b"unknown_domain")


@pytest.mark.parametrize(
    ("host", "is_kept_out"),
    [("5000-anna.local", False), ("22-anna.local", True), ("5000-local.sandbox.localhost", False)],
)
def test_an_examination_is_told_the_same(door: Door, host: str, is_kept_out: bool) -> None:
    assert bool(door.kept_out(host)) is is_kept_out


async def test_a_domain_of_ones_own_may_lie_under_local() -> None:
    page = SimpleNamespace(content=lambda head: (200, b"text/plain", b"page"))
    door = Door(cast("Any", page), "anna.local")
    async with gateway() as running:
        for authority, may in ((b"22-x.anna.local:8443", True), (b"anna.local:8443", True), (b"bob.local:8443", False)):
            answered = door.answer(running.edge, Peer(ip_address(HERE), b"https"), request(host=authority))
            assert (answered is None) is may, authority
            assert door.answer(running.edge, Peer(ip_address(THERE), b"https"), request(host=authority)) is not None


async def test_plain_http_is_the_page_whoever_asks(door: Door) -> None:
    async with gateway() as running:
        for address in HERE, THERE:
            answered = door.answer(running.edge, Peer(ip_address(address), b"http"), request(host=NAME))
            assert answered is not None
            assert answered[1] == b"page"
