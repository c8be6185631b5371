"""One Redis dies, its replica is promoted, and the address that the gateway was given leads there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import pytest
import redis.asyncio

from gateway.directory.redis import CONNECTIONS, RedisRegistry
from gateway.directory.shared_cache import EARLIEST
from gateway.directory.watching import watch
from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks
from tests.behaviour.harness import LOOPBACK, SANDBOX, Gateway, OpenGateway, Wire, until
from tests.behaviour.test_sandbox_gone_from_every_backend import ELSEWHERE, stream, tunnel
from tests.support.process import free_port
from tests.support.redis_server import RedisServer
from tests.unit.directory.test_conformance import record

IN_USE = 5.0
"""Seconds from when the address leads to the new primary until what it says is in force; docs/directory.md says 2, and
0.2 are `tunnel_grace`."""
PATIENCE = 20.0


class _End(asyncio.Protocol):
    """One of the two ends of a road; what comes in goes out at the other, unless the road is `silent`."""

    def __init__(self, address: Address, other: _End | None = None) -> None:
        self.address = address
        self.other = other
        self.transport: asyncio.Transport | None = None
        self.silent = False
        self._early = bytearray()  # what came for this end before it was there

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.address.ends.append(self)
        if self.other is None:
            self.other = _End(self.address, self)
            self.address.tasks.spawn(self._lead(self.other), "road")
        self.transport.write(self._early)

    async def _lead(self, other: _End) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: other, "127.0.0.1", self.address.target)
        except OSError:  # nobody there
            self.close()

    def data_received(self, data: bytes) -> None:
        if self.other is not None and not self.silent:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.address.ends.remove(self)
        if self.other is not None and not self.silent:
            self.other.close()

    def write(self, data: bytes) -> None:
        if self.transport is None:
            self._early += data
        else:
            self.transport.write(data)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Address:
    """One that moves: whoever connects to `url` is led to the port `target`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.ends: list[_End] = []
        self.tasks = Tasks()

    async def __aenter__(self) -> Address:
        self._server = await asyncio.get_running_loop().create_server(lambda: _End(self), "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._abort()
        await self.tasks.cancel()
        await until(lambda: not self.ends, "all roads are gone")

    def lose(self, how: str) -> None:
        """Its machine resets what is open, or says nothing any more; who comes is refused."""
        self.target = free_port()
        if how == "reset":
            self._abort()
        for end in self.ends:
            end.silent = True

    def _abort(self) -> None:
        for end in self.ends:
            end.close()


@dataclass(slots=True)
class Pair:
    """A primary and its replica, the address that leads to the primary, and who asks each of them directly."""

    servers: tuple[RedisServer, RedisServer]
    address: Address
    first: RedisRegistry
    second: RedisRegistry
    replica: redis.asyncio.Redis

    async def replicated(self, *, there: bool) -> None:
        """Waits until the replica has heard that the record is there, or is not."""
        async with asyncio.timeout(PATIENCE):
            while bool(await self.replica.exists(f"gateway:sandbox:{SANDBOX}")) is not there:
                await asyncio.sleep(0.02)

    async def separate(self) -> None:
        """From now on the replica hears nothing of what the primary acknowledges."""
        await self.replica.replicaof("NO", "ONE")


@pytest.fixture
def servers() -> Iterator[tuple[RedisServer, RedisServer]]:
    with RedisServer() as first, RedisServer() as second:
        yield first, second


@pytest.fixture
async def pair(servers: tuple[RedisServer, RedisServer]) -> AsyncIterator[Pair]:
    first, second = servers
    primary, replica = (redis.asyncio.Redis.from_url(server.url) for server in servers)
    async with Address(first.port) as address, primary, replica:
        pair = Pair(servers, address, RedisRegistry(first.url), RedisRegistry(second.url), replica)
        await pair.first.put(record(SANDBOX, LOOPBACK))
        await primary.config_set("repl-diskless-sync-delay", 0)
        await replica.replicaof("127.0.0.1", first.port)
        await pair.replicated(there=True)
        yield pair
        await pair.first.close()
        await pair.second.close()


@dataclass(slots=True)
class Opened:
    """A gateway that has used many connections to the primary, and browsers at an event stream and at a tunnel."""

    gateway: Gateway
    pair: Pair
    browsers: tuple[Wire, Wire]

    async def fail_over(self, how: str) -> None:
        """The primary dies and the replica takes its place: at once where nobody says that it is dead."""
        self.pair.address.lose(how)
        self.pair.servers[0].kill()
        if how == "reset":
            await until(lambda: self.gateway.edge.directory.availability.away, "the outage is known")
        await self.pair.replica.replicaof("NO", "ONE")
        self.pair.address.target = self.pair.servers[1].port

    async def ended(self) -> None:
        await until(lambda: all(browser.end for browser in self.browsers), "what is open ends", IN_USE)

    async def answers(self, names: Iterable[str]) -> None:
        """Each question is answered at once, whichever connection it takes: none of the lost ones is left."""
        for name in names:
            with pytest.raises(GatewayError) as error:
                await self.gateway.edge.directory.fetch(name)
            assert error.value.reason is Reason.DESTINATION_NOT_FOUND


@pytest.fixture
async def opened(pair: Pair, open_gateway: OpenGateway) -> AsyncIterator[Opened]:
    store, tasks = RedisRegistry(pair.address.url), Tasks()
    gateway = await open_gateway(backend=store, upstream={"tunnel_grace": 0.2}, directory={"ttl": 60.0})
    edge = gateway.edge
    asking = [tasks.spawn(store.fetch(f"nobody{number}"), "asker") for number in range(CONNECTIONS)]
    await asyncio.wait(asking)
    tasks.keep(partial(watch, store, edge.records_changed, edge.directory.availability), "directory watch")
    app = await gateway.app()
    yield Opened(gateway, pair, (await stream(gateway, app), await tunnel(gateway, app)))
    gateway.expect_complaint("served on until it is back")
    await tasks.cancel()
    await store.close()


HOW = pytest.mark.parametrize("how", ["reset", "silent"])


@HOW
async def test_a_change_that_came_with_the_failover_is_heard(pair: Pair, opened: Opened, how: str) -> None:
    """The gateway could not hear of it from the one, and hears it from the other, though nothing else is written."""
    pair.address.lose(how)
    await pair.first.remove(SANDBOX)
    await pair.replicated(there=False)
    await opened.fail_over(how)
    await opened.ended()


@HOW
async def test_a_change_after_the_failover_is_heard(pair: Pair, opened: Opened, how: str) -> None:
    await opened.fail_over(how)
    assert await pair.second.remove(SANDBOX)
    await opened.ended()
    await opened.answers(f"somebody{number}" for number in range(2 * CONNECTIONS))


@HOW
async def test_what_the_replica_had_not_heard_of_is_not_in_force(pair: Pair, opened: Opened, how: str) -> None:
    """The primary acknowledged a record, and its death took it back: nobody is led there beyond the bound."""
    directory = opened.gateway.edge.directory
    await pair.separate()
    await pair.first.put(record("lost", ELSEWHERE))
    assert (await directory.fetch("lost")).id == "lost"
    await pair.second.put(record("other", ELSEWHERE))
    await opened.fail_over(how)
    await until(lambda: directory.availability.floor > EARLIEST, "it is known that changes were missed", IN_USE)
    await opened.answers(["lost"])
    assert not any(browser.end for browser in opened.browsers), "what is the same in both is not touched"
    opened.gateway.expect_complaint("does not reach back far enough")
