"""What an app was seen to speak is believed for a while, and no sandbox makes another's forgotten."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from gateway.app_protocol import H2C, HTTP1
from gateway.directory.sandbox import Sandbox
from gateway.edge.upstream_protocol import MAX_PORTS, MAX_SANDBOXES, REMEMBERED, UpstreamProtocols
from gateway.errors import Reason
from gateway.http.message import RequestHead, RequestSection
from tests.support.clock import Clock

HEAD = RequestHead(b"GET", b"/", "HTTP/1.1", RequestSection([], [], b"5000-a.sandbox.localhost"))
PORT = 5000


def sandbox(name: str) -> Sandbox:
    return Sandbox(name, IPv6Address("fd00::5"), "1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def protocols(clock: Clock) -> UpstreamProtocols:
    return UpstreamProtocols(clock)


def seen(protocols: UpstreamProtocols, name: str, port: int = PORT) -> None:
    assert protocols.learn(Reason.UPSTREAM_SPEAKS_HTTP2, HEAD, sandbox(name), port)


def spoken(protocols: UpstreamProtocols, name: str, port: int = PORT) -> object:
    return protocols.choose(HEAD, sandbox(name), port)[2]


def test_it_is_believed_for_a_while(protocols: UpstreamProtocols, clock: Clock) -> None:
    seen(protocols, "a")
    clock.now += REMEMBERED - 1
    assert (spoken(protocols, "a"), spoken(protocols, "a", PORT + 1), spoken(protocols, "b")) == (H2C, HTTP1, HTTP1)
    clock.now += 1
    assert spoken(protocols, "a") is HTTP1
    assert not protocols._seen


def test_it_is_believed_until_the_app_says_otherwise(protocols: UpstreamProtocols) -> None:
    seen(protocols, "a")
    assert protocols.learn(Reason.UPSTREAM_SPEAKS_HTTP1, HEAD, sandbox("a"), PORT)
    assert spoken(protocols, "a") is HTTP1
    assert not protocols.learn(Reason.UPSTREAM_SPEAKS_HTTP1, HEAD, sandbox("a"), PORT)


def test_a_sandbox_with_many_ports_pushes_out_its_own(protocols: UpstreamProtocols) -> None:
    seen(protocols, "a")
    for port in range(1, 60_000):
        seen(protocols, "b", port)
    seen(protocols, "b", 60_000 - MAX_PORTS)  # the oldest that is left: now the newest
    seen(protocols, "b", 60_000)
    assert spoken(protocols, "a") is H2C
    known = [port for port in range(1, 60_001) if spoken(protocols, "b", port) is H2C]
    assert known == [60_000 - MAX_PORTS, *range(60_002 - MAX_PORTS, 60_001)]


def test_who_was_learned_of_again_is_not_the_oldest(protocols: UpstreamProtocols) -> None:
    seen(protocols, "a", PORT + 1)
    seen(protocols, "a")
    for number in range(MAX_SANDBOXES - 1):
        seen(protocols, f"b{number}")
    seen(protocols, "a")  # of which another port is still known
    seen(protocols, "c")
    assert (spoken(protocols, "a"), spoken(protocols, "b0")) == (H2C, HTTP1)


def test_what_cannot_be_asked_otherwise_is_not_asked_again(protocols: UpstreamProtocols) -> None:
    call = RequestHead(b"POST", b"/", "HTTP/2", RequestSection([], [], b"5000-a.sandbox.localhost"))
    call.section.grpc = True
    seen(protocols, "a")
    assert not protocols.learn(Reason.UPSTREAM_SPEAKS_HTTP1, call, sandbox("a"), PORT)
    tunnel = RequestHead(b"GET", b"/", "HTTP/1.1", RequestSection([], [], b"5000-a.sandbox.localhost"))
    tunnel.upgrade = b"websocket"
    assert not protocols.learn(Reason.UPSTREAM_SPEAKS_HTTP2, tunnel, sandbox("a"), PORT)
    assert spoken(protocols, "a") is H2C


def test_so_many_sandboxes_are_remembered_and_no_more(protocols: UpstreamProtocols) -> None:
    seen(protocols, "a")
    for number in range(MAX_SANDBOXES - 1):
        seen(protocols, f"b{number}")
    seen(protocols, "a")
    seen(protocols, "c")
    assert (spoken(protocols, "a"), spoken(protocols, "b0"), spoken(protocols, "b1")) == (H2C, HTTP1, H2C)
    assert len(protocols._seen) == MAX_SANDBOXES
