"""Connections are used again, newest first, while they lead where the name does; the oldest idle one makes room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv6Network

import msgspec
import pytest

from gateway import descriptors
from gateway.app_protocol import HTTP1
from gateway.config import Settings
from gateway.endpoint import Origin
from gateway.errors import Failure, GatewayError, Reason
from gateway.upstream.policy import AddressPolicy
from tests.support.clock import Clock
from tests.support.seam import Connection, Contract, FakePool, Stream, settle

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

OURS, THEIRS = Origin("abc", "1", "fd00::5"), Origin("abc", "2", "fd00::6")
PORT = 5000
REFUSED = GatewayError(Reason.CONNECTION_REFUSED, "as the test wants it")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def pool(clock: Clock) -> AsyncIterator[FakePool]:
    """Two idle connections per endpoint, and three in all."""
    replace = msgspec.structs.replace
    settings = Settings()
    upstream = replace(
        settings.upstream, allow=(IPv6Network("fd00::/8"),), max_idle_per_target=2, max_idle=3, tunnel_grace=10.0
    )
    pool = FakePool(replace(settings, upstream=upstream), AddressPolicy(upstream.allow, ()), clock)
    pool.contract, pool.dialed, pool.gate = Contract(), [], asyncio.Event()
    pool.gate.set()
    yield pool
    pool.close()
    assert not pool.connections and not pool._owned
    assert pool.contract.broken == []


async def opened(pool: FakePool, port: int = PORT, origin: Origin = OURS) -> Stream:
    """A stream of a new connection."""
    stream = await pool.connect((origin, port, HTTP1))
    assert isinstance(stream, Stream)
    return stream


def leave(*streams: Stream) -> list[Connection]:
    """The exchange of each is over, and cleanly; their connections."""
    for stream in streams:
        stream.complete = stream._finished = True
        stream.release()
    return [stream.connection for stream in streams]


async def test_the_newest_connection_is_used_first(pool: FakePool) -> None:
    first, second = leave(await opened(pool), await opened(pool))
    taken = [pool.open((OURS, PORT, HTTP1), replayable=True) for _ in range(3)]
    assert [each and each.connection for each in taken if isinstance(each, Stream)] == [second, first]
    assert taken[2] is None


async def test_a_connection_serves_no_other_port_and_no_other_machine(pool: FakePool) -> None:
    leave(await opened(pool))
    assert pool.open((OURS, PORT + 1, HTTP1), replayable=True) is None
    assert pool.open((THEIRS, PORT, HTTP1), replayable=True) is None
    assert pool.open((OURS, PORT, HTTP1), replayable=True)


@pytest.mark.parametrize("replayable", [True, False])
async def test_only_what_can_be_sent_again_goes_to_a_connection_that_may_be_dead(
    pool: FakePool, replayable: bool
) -> None:
    [connection] = leave(await opened(pool))
    connection.alive = False
    assert bool(pool.open((OURS, PORT, HTTP1), replayable)) is replayable
    assert connection.is_closed is not replayable


async def test_after_a_long_silence_every_connection_is_looked_at(pool: FakePool, clock: Clock) -> None:
    [connection] = leave(await opened(pool))
    clock.now += pool.context.timeouts.proven + 1
    connection.alive = False
    assert pool.open((OURS, PORT, HTTP1), replayable=True) is None
    assert connection.is_closed


async def test_of_one_endpoint_and_of_all_the_oldest_idle_one_goes(pool: FakePool) -> None:
    a, b, c = leave(*[await opened(pool) for _ in range(3)])
    assert [each.is_closed for each in (a, b, c)] == [True, False, False]
    d, e = leave(await opened(pool, PORT + 1), await opened(pool, PORT + 2))
    assert [each.is_closed for each in (b, c, d, e)] == [True, False, False, False]


async def test_where_descriptors_are_short_a_new_connection_takes_an_idle_ones(
    pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    [idle] = leave(await opened(pool))
    monkeypatch.setattr(descriptors, "for_connections", lambda: 1)
    busy = await opened(pool, PORT + 1)
    assert (idle.is_closed, busy.connection.is_closed) == (True, False)


async def test_what_a_login_has_bound_is_in_use(pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not closed for want of descriptors, unless it is idle and has no login to lose."""
    bound = await opened(pool)
    pool.context.released_to_owner(bound.connection)
    monkeypatch.setattr(descriptors, "for_apps", lambda downstream: 1)
    failure = await pool.connect((OURS, PORT, HTTP1))
    assert isinstance(failure, Failure) and failure.reason is Reason.OVERLOADED
    bound.connection.streams.clear()
    monkeypatch.setattr(descriptors, "for_connections", lambda: 1)
    await opened(pool, PORT + 1)
    assert bound.connection.is_closed


async def test_a_name_that_leads_elsewhere_ends_what_is_idle_and_what_is_not_in_time(
    pool: FakePool, clock: Clock
) -> None:
    busy = await opened(pool)
    [idle] = leave(await opened(pool))
    pool.retire_replaced("abc", OURS)
    assert not idle.is_closed
    pool.retire_replaced("abc", THEIRS)
    assert (idle.is_closed, busy.connection.is_closed) == (True, False)
    assert pool.retired_past_grace(clock.now + 9) == []
    assert pool.retired_past_grace(clock.now + 10) == [busy.connection]
    leave(busy)
    assert not pool.serves("abc")


async def test_a_dial_that_is_refused_is_told_to_all_who_wait_for_another(pool: FakePool) -> None:
    pool.gate.clear()
    pool.refuses = REFUSED
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        asking = [group.create_task(pool.connect((OURS, PORT, HTTP1))) for _ in range(100)]
        await settle()
        begun = pool.dialing
        pool.gate.set()
    assert 1 < begun < 20
    assert {isinstance(each.result(), Failure) for each in asking} == {True}
    assert (pool.dialing, len(pool.connections)) == (0, 0)


async def test_an_address_that_may_not_be_dialed_is_not(pool: FakePool) -> None:
    reached = await pool.connect((Origin("abc", "1", "2001:db8::1"), PORT, HTTP1))
    assert isinstance(reached, Failure)
    assert reached.reason is Reason.DESTINATION_IP_PROHIBITED
    assert pool.dialed == []
