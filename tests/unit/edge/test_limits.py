"""Whoever is over a limit is refused and counted, and whoever leaves makes room."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import msgspec
import pytest

from gateway import descriptors
from gateway.config import Settings
from gateway.edge.limits import Limits
from gateway.errors import GatewayError, Reason
from gateway.metrics import private
from gateway.observe.counters import Counters
from gateway.observe.notices import Notices

VISITOR = ip_address("2001:db8:1::5")
SAME_SUBSCRIBER = ip_address("2001:db8:1:0:ffff::6")
ANOTHER = ip_address("2001:db8:1:1::5")
IPV4 = ip_address("192.0.2.7")
BALANCER = ip_address("10.0.0.1")


class Acceptor:
    """A listener of which each `accept_again` takes a connection in."""

    def __init__(self, limits: Limits) -> None:
        self.accepted = 0
        self._limits = limits

    def accept_again(self) -> None:
        self.accepted += 1
        assert self._limits.admit(ANOTHER)


@pytest.fixture
def counters() -> Counters:
    return Counters(private())


@pytest.fixture
def soon() -> list[Callable[[], None]]:
    """What is to be called by the event loop."""
    return []


@pytest.fixture
def limits(counters: Counters, soon: list[Callable[[], None]]) -> Limits:
    replace = msgspec.structs.replace
    settings = Settings()
    few = replace(settings.limits, connections=4, connections_per_address=2, exchanges_per_sandbox=2)
    edge = replace(settings.edge, trusted_proxies=(ip_network("10.0.0.0/8"),))
    return Limits(replace(settings, limits=few, edge=edge), soon.append, counters, Notices())


def test_a_worker_has_so_many_connections(limits: Limits, counters: Counters) -> None:
    assert all(limits.admit(BALANCER) for _ in range(4))
    assert not limits.admit(VISITOR)
    assert (limits.connections, counters.connections_refused.connections) == (4, 1)
    limits.dismiss(BALANCER)
    assert limits.admit(VISITOR)


def test_a_subscriber_is_one_source_whatever_its_addresses(limits: Limits, counters: Counters) -> None:
    assert limits.admit(VISITOR)
    assert limits.admit(SAME_SUBSCRIBER)
    assert not limits.admit(VISITOR)
    assert limits.admit(ANOTHER)
    assert counters.connections_refused.connections_per_address == 1
    limits.dismiss(SAME_SUBSCRIBER)
    assert limits.admit(VISITOR)


def test_an_ipv4_address_is_no_ipv6_prefix(limits: Limits) -> None:
    alike = ip_address(int(IPV4) << 64)
    assert [limits.admit(IPV4), limits.admit(IPV4), limits.admit(alike), limits.admit(IPV4)] == [
        True,
        True,
        True,
        False,
    ]


def test_a_balancers_connection_becomes_its_clients(limits: Limits, counters: Counters) -> None:
    for _ in range(2):
        assert limits.admit(BALANCER)
        assert limits.readmit(BALANCER, VISITOR)
    assert limits.admit(BALANCER)
    assert not limits.readmit(BALANCER, VISITOR)
    assert counters.connections_refused.connections_per_address == 1
    for client in (VISITOR, VISITOR, BALANCER):
        limits.dismiss(client)
    assert (limits.connections, limits.per_source) == (0, {})


def test_a_sandbox_has_so_many_exchanges(limits: Limits, counters: Counters) -> None:
    limits.admit_exchange("abc")
    limits.admit_exchange("abc")
    limits.admit_exchange("another")
    with pytest.raises(GatewayError) as caught:
        limits.admit_exchange("abc")
    assert caught.value.reason is Reason.CONNECTION_LIMIT_REACHED
    assert counters.exchanges_refused.exchanges_per_sandbox == 1
    for sandbox_id in ("abc", "abc", "another"):
        limits.dismiss_exchange(sandbox_id)
    assert limits.exchanges == {}


def test_a_client_behind_a_balancer_is_dismissed_although_it_was_refused(limits: Limits, counters: Counters) -> None:
    limits.admit_client(VISITOR)
    limits.admit_client(VISITOR)
    with pytest.raises(GatewayError):
        limits.admit_client(SAME_SUBSCRIBER)
    assert counters.exchanges_refused.connections_per_address == 1
    for _ in range(3):
        limits.dismiss_client(VISITOR)
    assert limits.per_source == {}


def test_who_waits_for_a_descriptor_accepts_as_many_as_there_is_room_for(
    limits: Limits, soon: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "for_downstream", lambda: 2)
    assert limits.admit(VISITOR)
    assert limits.admit(IPV4)
    assert not limits.has_room
    acceptors = [Acceptor(limits), Acceptor(limits)]
    for each in acceptors:
        limits.await_room(each)
    limits.accept_again()
    assert [each.accepted for each in acceptors] == [0, 0]
    limits.dismiss(VISITOR)
    assert limits.has_room
    for call in soon:
        call()
    assert [each.accepted for each in acceptors] == [1, 0]


def test_a_limit_that_can_be_held_refuses_instead_of_waiting(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "for_downstream", lambda: 4)
    assert all(limits.admit(BALANCER) for _ in range(4))
    assert limits.has_room
