"""The Redis registry against a real Redis: what it shares, what it says when Redis is away, what it hears afterwards.

What it promises as any store does stands in test_conformance.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ResponseError

from gateway.config import Directory
from gateway.directory import redis as redis_module
from gateway.directory.availability import Availability
from gateway.directory.cache import DirectoryCache
from gateway.directory.redis import BLOCK, COMMAND_TIMEOUT, CONNECTIONS, RedisRegistry
from gateway.directory.redis_scripts import LAST
from gateway.directory.sandbox import Broken, Conflict, DirectoryError, Presence, RecordError, Sandbox, WriteError
from gateway.errors import GatewayError, Reason, UserError
from gateway.tasks import Tasks
from tests.support.components import require
from tests.support.process import free_port
from tests.support.redis_server import RedisServer

DEADLINE = 20.0
"""Seconds until a test that waits for something gives up."""
PASSWORD = "correct-horse"
MEGABYTE = "x" * 1_000_000
LARGE = 100
"""Things of a megabyte that Redis holds; far more memory than all else takes."""
MANY_LARGE = """
for number = 1, ARGV[1] do
  redis.call('XADD', 'gateway:changes', '*', 'id', 's' .. number, 'why', string.rep('x', ARGV[2]))
end
"""
"""Changes in one step. ARGV: how many, and the octets of each."""
MANY = """
for number = ARGV[1], ARGV[2] do
  local id = string.format('s%d', number)
  redis.call('ZADD', 'gateway:sandboxes', 0, id)
  if number >= tonumber(ARGV[3]) then redis.call('HSET', 'gateway:sandbox:' .. id, 'address', 'fd00::5') end
end
"""
"""ARGV: the first and the last number of an id in the index, and the first of those that have a record."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def connect(server: RedisServer) -> AsyncIterator[Callable[[], RedisRegistry]]:
    """Opens one more gateway's registry on `server`."""
    opened: list[RedisRegistry] = []

    def connect() -> RedisRegistry:
        opened.append(RedisRegistry(server.url))
        return opened[-1]

    yield connect
    for store in opened:
        await store.close()


@pytest.fixture
async def platform(server: RedisServer) -> AsyncIterator[Any]:
    """Somebody else's client: what a platform writes with that does not use the admin API."""
    async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


class Watch:
    """A registry that is being watched, and what was heard of it."""

    def __init__(self, store: RedisRegistry) -> None:
        self.tasks = Tasks()
        self.observer = Availability(store.where)
        self.gaps = 0
        self.observer.on_missed = self._missed
        self._changes: asyncio.Queue[str] = asyncio.Queue()
        self.tasks.spawn(store.watch(self._changed, self.observer), "watch")

    def _changed(self, names: Iterable[str]) -> None:
        for name in names:
            self._changes.put_nowait(name)

    def _missed(self) -> None:
        self.gaps += 1

    async def missed(self) -> None:
        """Waits until it was said that changes were missed."""
        async with asyncio.timeout(DEADLINE):
            while not self.gaps:
                await asyncio.sleep(0.01)

    async def heard(self, *names: str, within: float = DEADLINE) -> set[str]:
        """Everything that was reported until all `names` were."""
        heard: set[str] = set()
        async with asyncio.timeout(within):
            while not heard >= set(names):
                heard.add(await self._changes.get())
        return heard


@pytest.fixture
async def watch() -> AsyncIterator[Callable[[RedisRegistry], Watch]]:
    watches: list[Watch] = []

    def watch(store: RedisRegistry) -> Watch:
        watches.append(Watch(store))
        return watches[-1]

    yield watch
    for each in watches:
        assert len(each.tasks) == 1, "watching never ends by itself"
        await each.tasks.cancel()


def record(name: str, address: str = "fd00::5", **more: Any) -> Sandbox:
    return Sandbox(name, IPv6Address(address), "ignored", **more)


async def outage(store: RedisRegistry) -> str:
    """The sentence that `fetch` fails with."""
    with pytest.raises(DirectoryError) as error:
        await store.fetch("demo")
    sentence = str(error.value)
    assert sentence.startswith("Redis at ")
    assert "\n" not in sentence
    return sentence


Connect = Callable[[], RedisRegistry]
StartWatch = Callable[[RedisRegistry], Watch]


# --- records ------------------------------------------------------------------------------------------------------


async def test_generations_do_not_repeat_after_redis_has_lost_its_data(connect: Connect, platform: Any) -> None:
    store = connect()
    before = await store.put(record("demo"))
    await platform.flushall()
    after = await store.put(record("demo"))
    assert int(after.generation) > int(before.generation)


async def test_generations_go_on_when_the_clock_goes_back(connect: Connect, platform: Any) -> None:
    store = connect()
    ahead = 4_000_000_000_000_000
    await platform.set("gateway:generation", ahead)
    generations = [int((await store.put(record(name))).generation) for name in ("a", "b")]
    assert generations == [ahead + 1, ahead + 2]


async def test_a_restarted_redis_is_told_the_scripts_again(connect: Connect, platform: Any) -> None:
    store = connect()
    await store.put(record("demo"))
    await platform.script_flush()
    assert await store.fetch("demo") is not None


async def test_ids_of_ended_lifetimes_leave_the_index_step_by_step(
    connect: Connect, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page passes them over and changes nothing; however many there are, no script looks at more than a few."""
    monkeypatch.setattr(redis_module, "STEP", 50)
    store = connect()
    await store.put(record("s1000"))
    await platform.zadd("gateway:sandboxes", {f"s{number}": 0 for number in range(2000)})
    await store.put(record("t"))
    assert [sandbox.id for sandbox in await store.page("s0", 1)] == ["s1000"]
    assert await platform.zcard("gateway:sandboxes") == 2001
    left = [2001]
    async with asyncio.timeout(DEADLINE):
        while left[-1] > 2:
            await store.tend()
            left.append(await platform.zcard("gateway:sandboxes"))
    assert max(before - after for before, after in pairwise(left)) < 200
    assert [sandbox.id for sandbox in await store.page("", 10)] == ["s1000", "t"]


async def test_no_script_takes_longer_for_many_records(connect: Connect, platform: Any) -> None:
    """Look-ups, pages and steps side by side; most lifetimes have ended. docs/directory.md tells of a million."""
    count, kept = 200_000, 5_000
    for first in range(0, count, 2000):
        await platform.eval(MANY, 0, first, first + 1999, count - kept)
    store, tasks = connect(), Tasks()

    async def tend() -> None:
        for _ in range(100):
            await store.tend()

    async def look_up() -> None:
        for number in range(count - kept, count - kept + 500):
            assert await store.fetch(f"s{number}") is not None

    beside = [tasks.spawn(tend(), "tend"), tasks.spawn(look_up(), "look-ups")]
    listed = [each.id for each in await store.page("", kept)]
    assert listed == sorted(f"s{number}" for number in range(count - kept, count))
    for each in beside:
        await each
    took = (await platform.info("latencystats"))["latency_percentiles_usec_evalsha"]
    assert took["p99.9"] < 50_000, "microseconds; one that looks at all takes more"


async def test_no_script_copies_what_is_too_long_for_a_record(connect: Connect, platform: Any) -> None:
    await platform.config_set("appendonly", "no")
    for number in range(LARGE):
        await platform.hset(f"gateway:sandbox:s{number}", mapping={"address": "::1", "host": MEGABYTE})
        await platform.zadd("gateway:sandboxes", {f"s{number}": 0})
    store = connect()
    page = await store.page("", LARGE)
    assert {type(each) for each in page} == {Broken}
    assert len(page) == LARGE
    with pytest.raises(RecordError, match="has a field of 1000000 octets"):
        await store.fetch("s0")
    assert "cmdstat_hmget" not in await platform.info("commandstats")


async def test_no_script_copies_many_changes_that_are_large(connect: Connect, watch: StartWatch, platform: Any) -> None:
    await platform.config_set("appendonly", "no")
    store = connect()
    assert await store.fetch("s1") is None
    await platform.eval(MANY_LARGE, 0, LARGE, len(MEGABYTE))
    heard = watch(store)
    assert await heard.heard(*(f"s{number}" for number in range(1, LARGE + 1)))
    assert not heard.gaps
    memory = await platform.info("memory")
    assert memory["used_memory_peak"] - memory["used_memory"] < LARGE * len(MEGABYTE) / 4


async def test_what_is_listed_with_a_score_is_put_in_order(connect: Connect, platform: Any) -> None:
    store = connect()
    names = [f"s{number:03}" for number in range(300)]
    async with platform.pipeline() as commands:
        for name in names:
            commands.hset(f"gateway:sandbox:{name}", "address", "fd00::5")
            commands.zadd("gateway:sandboxes", {name: int(name[1:]) * 7 % 11})
        await commands.execute()
    assert await store.page("", 1000), "it ends"
    async with asyncio.timeout(DEADLINE):
        while [sandbox.id for sandbox in await store.page("", 1000)] != names:
            await store.tend()


async def test_a_write_that_changes_nothing_is_no_change(connect: Connect, platform: Any) -> None:
    store = connect()
    for _ in range(3):
        await store.put(record("demo", ipv4=IPv4Address("10.0.0.5"), host="localhost"), lifetime=60.0)
    assert await platform.xlen("gateway:changes") == 1


async def test_an_empty_expectation_is_an_expectation(connect: Connect) -> None:
    store = connect()
    for attempt in (store.put(record("demo"), expected=""), store.remove("demo", expected="")):
        with pytest.raises(Conflict):
            await attempt


# --- a platform that writes without the admin API -----------------------------------------------------------------


async def test_what_a_platform_writes_is_found_listed_and_reported(
    connect: Connect, platform: Any, watch: StartWatch
) -> None:
    """The commands that docs/directory.md gives."""
    store = connect()
    assert await store.fetch("abc123") is None
    heard = watch(store)
    async with platform.pipeline(transaction=True) as commands:
        commands.hset("gateway:sandbox:abc123", mapping={"address": "fd00:0:0::5", "generation": "vm-42"})
        commands.zadd("gateway:sandboxes", {"abc123": 0})
        commands.xadd("gateway:changes", {"id": "abc123"}, maxlen=10000, approximate=True)
        await commands.execute()
    assert await heard.heard("abc123", within=1.0) == {"abc123"}
    sandbox = await store.fetch("abc123")
    assert sandbox == Sandbox("abc123", IPv6Address("fd00::5"), "vm-42")
    assert await store.page("", 10) == [sandbox]


@pytest.mark.parametrize("fields", [{}, {"generation": ""}])
async def test_without_a_generation_the_address_is_it(connect: Connect, platform: Any, fields: dict[str, str]) -> None:
    await platform.hset("gateway:sandbox:demo", mapping={"address": "fd00::5", **fields})
    sandbox = await connect().fetch("demo")
    assert sandbox is not None
    assert sandbox.generation == "fd00::5"


async def test_a_hash_without_an_address_is_no_record(connect: Connect, platform: Any) -> None:
    await platform.hset("gateway:sandbox:demo", mapping={"host": "localhost"})
    assert await connect().fetch("demo") is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "10.0.0.5"),
        ("address", ""),
        ("address", "fe80::1%eth0"),
        ("ipv4", "fd00::5"),
        ("host", "{name}"),
    ],
)
async def test_a_broken_record_is_an_outage_that_names_it(
    connect: Connect, platform: Any, field: str, value: str
) -> None:
    await platform.hset("gateway:sandbox:demo", mapping={"address": "fd00::5", field: value})
    sentence = await outage(connect())
    assert f'gateway:sandbox:demo has the {field} "{value}"' in sentence


async def test_a_key_of_another_kind_is_an_outage_of_that_record_alone(connect: Connect, platform: Any) -> None:
    await platform.set("gateway:sandbox:demo", "fd00::5")
    with pytest.raises(RecordError, match="is no hash but a string"):
        await connect().fetch("demo")
    await platform.hset("gateway:sandbox:demo2", "address", "nowhere")
    with pytest.raises(RecordError):
        await connect().fetch("demo2")


async def a_list(platform: Any, key: str) -> None:
    await platform.rpush(key, b"\xff")


async def a_stream(platform: Any, key: str) -> None:
    await platform.xadd(key, {b"\xff": b"\xff"})


async def a_number(platform: Any, key: str) -> None:
    await platform.set(key, "1e400")


async def octets(platform: Any, key: str) -> None:
    await platform.hset(key, mapping={"address": "fd00::5", "generation": b"\xff"})


async def much(platform: Any, key: str) -> None:
    await platform.hset(key, mapping={"address": "fd00::5", "host": "h" * 5_000_000})


@pytest.mark.parametrize("garbage", [a_list, a_stream, a_number, octets, much])
async def test_a_record_that_nobody_can_read_is_broken_and_can_be_replaced_and_removed(
    connect: Connect, platform: Any, garbage: Callable[[Any, str], Awaitable[None]]
) -> None:
    store, key = connect(), "gateway:sandbox:demo"
    for name in ("a", "demo", "z"):
        await store.put(record(name))
    await platform.zadd("gateway:sandboxes", {b"\xff": 0, b"demo\xff": 0, "d" * 100: 0, "D": 0, "": 0})
    await platform.delete(key)
    await garbage(platform, key)
    with pytest.raises(RecordError, match=key):
        await store.fetch("demo")
    first, broken, last = await store.page("", 10)
    assert isinstance(broken, Broken)
    assert (first.id, broken.id, last.id) == ("a", "demo", "z")
    stored = await store.put(record("demo"))
    stored.generation.encode()
    assert await store.fetch("demo") == stored
    await platform.delete(key)
    await garbage(platform, key)
    with pytest.raises(Conflict):
        await store.remove("demo", expected=stored.generation)
    assert await store.remove("demo", expected=Presence.PRESENT)
    assert await store.fetch("demo") is None


@pytest.mark.parametrize("garbage", [a_list, a_number, octets])
async def test_garbage_under_the_other_keys_is_refused_by_its_name_or_passed_over(
    connect: Connect, platform: Any, garbage: Callable[[Any, str], Awaitable[None]]
) -> None:
    store = connect()
    before = await store.put(record("demo"))
    await platform.delete("gateway:generation")
    await garbage(platform, "gateway:generation")
    moved = await store.put(record("demo", "fd00::6"))
    assert int(moved.generation) > int(before.generation)
    for key in ("gateway:sandboxes", "gateway:changes"):
        await platform.rename(key, "kept")
        await garbage(platform, key)
        with pytest.raises(WriteError, match=key):
            await store.put(record("demo", "fd00::7"))
        assert await store.fetch("demo") == moved, "nothing of it was written"
        await platform.rename("kept", key)


async def test_what_is_no_text_is_an_outage_of_that_record_alone(
    connect: Connect, platform: Any, watch: StartWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else writes here may write any octets: to a record, to the index, to the stream."""
    monkeypatch.setattr(redis_module, "BATCH", 1)
    store = connect()
    await store.put(record("demo"))
    await platform.hset("gateway:sandbox:odd", mapping={"address": "fd00::5", "generation": b"\xff"})
    await platform.zadd("gateway:sandboxes", {b"odd\xff": 0, b"\xff": 0})
    with pytest.raises(RecordError, match="gateway:sandbox:odd has the generation"):
        await store.fetch("odd")
    assert await store.fetch(b"\xff".decode("utf-8", "surrogateescape")) is None
    heard = watch(store)
    await platform.xadd("gateway:changes", {"id": b"\xff", b"\xfe": b"\xfd"})
    await platform.xadd("gateway:changes", {"id": "after"})
    assert await heard.heard("after") == {"after"}


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), ValueError("invalid literal"), IndexError()])
async def test_what_the_library_lets_through_is_an_outage(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """uvloop raises RuntimeError for a connection that ends while it is greeted; nonsense ends the library's parser."""
    store = connect()
    await store.put(record("demo"))

    async def fails(*command: object) -> None:
        raise error

    monkeypatch.setattr(store._client(), "execute_command", fails)
    await outage(store)


async def test_a_stream_that_cannot_be_read_is_said_once_and_is_no_outage(
    connect: Connect, platform: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_module, "RETRY_INTERVAL", 0.001)
    caplog.set_level(logging.INFO, "gateway.directory")
    store, writer, tasks = connect(), connect(), Tasks()
    await writer.put(record("demo"))
    await store.fetch("demo")
    await platform.rename("gateway:changes", "kept")
    await platform.set("gateway:changes", "no stream")
    observer = Availability(store.where)
    observer.failed(DirectoryError("it was away, and is back like this"))
    tasks.spawn(store.watch(lambda names: None, observer), "watch")
    async with asyncio.timeout(DEADLINE):
        while "looked up anew" not in caplog.text:
            await asyncio.sleep(0.01)
        assert await store.fetch("demo") is not None
        assert not observer.away
        await platform.rename("kept", "gateway:changes")
        while "heard of again" not in caplog.text:
            await asyncio.sleep(0.01)
    assert len(caplog.records) == 4  # gone, back, not heard of, heard of again
    await tasks.cancel()


# --- changes ------------------------------------------------------------------------------------------------------


async def test_a_change_reaches_every_other_gateway_in_less_than_a_second(connect: Connect, watch: StartWatch) -> None:
    writer, readers = connect(), [connect() for _ in range(3)]
    for reader in readers:
        assert await reader.fetch("demo") is None
    watches = [watch(reader) for reader in readers]
    for change in (writer.put(record("demo")), writer.put(record("demo", "fd00::6")), writer.remove("demo")):
        await change
        for each in watches:
            assert await each.heard("demo", within=1.0) == {"demo"}


async def test_what_changed_before_watching_began_is_reported(connect: Connect, watch: StartWatch) -> None:
    writer, reader = connect(), connect()
    await writer.put(record("before"))
    assert await reader.fetch("before") is not None
    await writer.put(record("demo"))
    await writer.put(record("other"))
    assert await watch(reader).heard("demo", "other") == {"demo", "other"}


async def test_many_changes_are_reported_in_pieces(
    connect: Connect, watch: StartWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "BATCH", 3)
    writer, reader = connect(), connect()
    await reader.fetch("demo")
    names = {f"s{number}" for number in range(20)}
    for name in names:
        await writer.put(record(name))
    assert await watch(reader).heard(*names) == names


async def lost(platform: Any) -> None:
    await platform.delete("gateway:changes")


async def lost_and_begun_anew(platform: Any) -> None:
    async with platform.pipeline(transaction=True) as commands:
        commands.delete("gateway:changes")
        commands.xadd("gateway:changes", {"id": "other"})
        await commands.execute()


async def too_many_at_once(platform: Any) -> None:
    async with platform.pipeline(transaction=True) as commands:
        for number in range(300):
            commands.xadd("gateway:changes", {"id": f"s{number}"}, maxlen=10, approximate=False)
        await commands.execute()


Harm = Callable[[Any], Awaitable[None]]


@pytest.mark.parametrize("harm", [lost, lost_and_begun_anew, too_many_at_once])
@pytest.mark.parametrize("when", ["before it watches", "while it watches"])
async def test_whoever_finds_a_gap_in_the_stream_knows_that_changes_were_missed(
    connect: Connect, platform: Any, watch: StartWatch, when: str, harm: Harm
) -> None:
    writer, reader = connect(), connect()
    await writer.put(record("first"))
    assert await reader.fetch("first") is not None
    if when == "while it watches":
        heard = watch(reader)
        await writer.put(record("second"))
        await heard.heard("second")
    else:
        await writer.put(record("second"))
    await harm(platform)
    if when == "before it watches":
        heard = watch(reader)
    await heard.missed()
    await writer.put(record("after"))
    assert "after" in await heard.heard("after")
    assert heard.gaps == 1


async def test_a_stream_whose_last_entry_was_read_has_no_gap(
    connect: Connect, platform: Any, watch: StartWatch
) -> None:
    """However many entries have left it, and however many come at once."""
    writer, reader = connect(), connect()
    await writer.put(record("first"))
    await reader.fetch("first")
    heard = watch(reader)
    await writer.put(record("second"))
    await heard.heard("second")
    await platform.xtrim("gateway:changes", maxlen=1, approximate=False)
    names = [f"s{number}" for number in range(3 * redis_module.BATCH)]
    async with platform.pipeline(transaction=True) as commands:
        for name in names:
            commands.xadd("gateway:changes", {"id": name})
        await commands.execute()
    assert await heard.heard(*names) == set(names)
    assert not heard.gaps


async def test_a_redis_whose_clock_was_ahead_and_that_lost_its_data_is_heard(
    connect: Connect, platform: Any, watch: StartWatch
) -> None:
    writer, reader = connect(), connect()
    await platform.xadd("gateway:changes", {"id": "demo"}, id="99999999999999-7")
    await reader.fetch("demo")
    heard = watch(reader)
    await platform.xadd("gateway:changes", {"id": "last"}, id="99999999999999-8")
    assert "last" in await heard.heard("last")
    await platform.flushall()
    await heard.missed()
    await writer.put(record("demo"))
    assert await heard.heard("demo") == {"demo"}


async def an_entry(platform: Any) -> None:
    await platform.xadd("gateway:changes", {"id": "demo"}, id=LAST)


async def an_entry_that_left(platform: Any) -> None:
    await an_entry(platform)
    await platform.xtrim("gateway:changes", maxlen=0, approximate=False)


async def a_setting(platform: Any) -> None:
    await platform.execute_command("XSETID", "gateway:changes", LAST)


@pytest.mark.parametrize("end", [an_entry, an_entry_that_left, a_setting])
@pytest.mark.parametrize("heal", ["put", "remove", "tend"])
async def test_a_stream_that_was_ended_begins_anew(
    connect: Connect, platform: Any, watch: StartWatch, end: Harm, heal: str
) -> None:
    """By the greatest id that an entry can have: Redis adds nothing after it. A platform's own writes fail, too."""
    writer, reader = connect(), connect()
    await writer.put(record("first"))
    await reader.fetch("first")
    heard = watch(reader)
    await writer.put(record("demo"))
    await heard.heard("demo")
    await end(platform)
    with pytest.raises(ResponseError):
        await platform.xadd("gateway:changes", {"id": "demo"})
    if heal == "put":
        await writer.put(record("demo", "fd00::6"))
    elif heal == "remove":
        assert await writer.remove("demo")
    else:
        await writer.tend()
    await heard.missed()
    await platform.xadd("gateway:changes", {"id": "after"})
    assert "after" in await heard.heard("after")


# --- Redis is away ------------------------------------------------------------------------------------------------


async def test_watching_outlives_a_restart_and_tells_what_changed_meanwhile(
    server: RedisServer,
    connect: Connect,
    watch: StartWatch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader, writer = connect(), connect()
    await writer.put(record("before"))
    await reader.fetch("before")
    heard = watch(reader)
    await writer.put(record("first"))
    assert await heard.heard("first") == {"first"}

    # Long enough that the change below comes before it listens again.
    monkeypatch.setattr(redis_module, "RETRY_INTERVAL", 1.5)
    caplog.set_level(logging.INFO, logger="gateway.directory")
    server.stop()
    assert str(server.port) in await outage(reader)
    for attempt in (writer.put(record("demo")), writer.remove("before"), writer.page("", 10)):
        with pytest.raises(DirectoryError):
            await attempt

    server.start_again()
    await connect().put(record("meanwhile"))
    assert await heard.heard("meanwhile") == {"meanwhile"}
    assert await reader.fetch("before") is not None
    assert await writer.remove("before")
    assert await heard.heard("before") == {"before"}
    lines = [line.getMessage() for line in caplog.records if line.name == "gateway.directory"]
    assert len(lines) == 2, lines
    assert lines[0].endswith("what was looked up lately is served on until it is back")
    assert re.search(r": back after [0-9.]+ s$", lines[1])


async def test_connections_closed_while_idle_are_nobodys_outage(
    server: RedisServer, connect: Connect, platform: Any
) -> None:
    store, tasks = connect(), Tasks()
    await store.put(record("demo"))
    for time in range(3):
        asking = [tasks.spawn(store.fetch("demo"), f"asker {number}") for number in range(10)]
        assert all([await task for task in asking])
        await platform.client_kill_filter(_type="normal", skipme=True)
        if time == 1:
            await store.put(record("demo", "fd00::6"))
        if time == 2:
            assert await store.remove("demo")


async def test_a_redis_that_hangs_is_an_outage_in_time(server: RedisServer, connect: Connect) -> None:
    store = connect()
    await store.put(record("demo"))
    os.kill(server.pid, signal.SIGSTOP)
    try:
        started = asyncio.get_running_loop().time()
        await outage(store)
        took = asyncio.get_running_loop().time() - started
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert took < 2.5
    assert await store.fetch("demo") is not None


class LongRoad:
    """A way to `port` on which every answer takes `delay` seconds."""

    def __init__(self, port: int, delay: float) -> None:
        self._target = port
        self._delay = delay
        self._tasks = Tasks()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._tasks.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self._target)
        self._tasks.spawn(self._pass(reader, questions, 0.0), "there")
        self._tasks.spawn(self._pass(answers, writer, self._delay), "back")

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        with closing(writer):
            while octets := await reader.read(65536):
                asyncio.get_running_loop().call_later(delay, writer.write, octets)


async def test_a_slow_redis_is_no_outage_however_many_ask(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what waits for a connection nor what Redis was asked to keep open is its silence."""
    delay = COMMAND_TIMEOUT - 0.6 * BLOCK
    async with LongRoad(server.port, delay) as url:
        store, tasks = RedisRegistry(url), Tasks()
        cache = DirectoryCache(store, asyncio.get_running_loop().time, Directory())
        tasks.spawn(store.watch(cache.invalidate, cache.availability), "watch")
        asking = [tasks.spawn(reason(cache, f"nobody-{number}"), "asker") for number in range(4 * CONNECTIONS)]
        assert {await each for each in asking} == {Reason.DESTINATION_NOT_FOUND}
        await tasks.cancel()
        await cache.close()
        await store.close()
    assert not caplog.records


async def reason(cache: DirectoryCache, name: str) -> Reason:
    with pytest.raises(GatewayError) as error:
        await cache.fetch(name)
    return error.value.reason


async def test_a_redis_that_refuses_everything_is_away_until_it_does_not(
    connect: Connect, platform: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica without its primary: neither a record nor the stream is to be had, and both say the same."""
    monkeypatch.setattr(redis_module, "RETRY_INTERVAL", 0.001)
    caplog.set_level(logging.INFO, "gateway.directory")
    store, observer, tasks = connect(), Availability("Redis"), Tasks()
    await store.put(record("demo"))
    tasks.spawn(store.watch(lambda names: None, observer), "watch")
    await platform.config_set("replica-serve-stale-data", "no")
    await platform.replicaof("127.0.0.1", free_port())
    async with asyncio.timeout(DEADLINE):
        while not observer.away:
            await asyncio.sleep(0.01)
        for _ in range(100):
            with pytest.raises(DirectoryError):
                await store.fetch("demo")
            assert observer.away
        await platform.replicaof("NO", "ONE")
        while observer.away:
            await asyncio.sleep(0.01)
    assert await store.fetch("demo") is not None
    assert not [line for line in caplog.messages if "looked up anew" in line]
    await tasks.cancel()


async def test_nobody_there() -> None:
    port = free_port()
    store = RedisRegistry(f"redis://someone:{PASSWORD}@127.0.0.1:{port}/3")
    sentence = await outage(store)
    assert sentence.startswith(f"Redis at 127.0.0.1:{port}, database 3: ")
    assert PASSWORD not in sentence
    assert PASSWORD not in repr(store)
    await store.close()


# --- who may, and over what ---------------------------------------------------------------------------------------


@pytest.fixture
def guarded() -> Iterator[RedisServer]:
    with RedisServer(password=PASSWORD) as server:
        yield server


@pytest.mark.parametrize(
    ("user", "says"),
    [(f":{PASSWORD}@", ""), ("", "Authentication required"), (":wrong-horse@", "invalid username-password pair")],
    ids=["right", "none", "wrong"],
)
async def test_the_password_of_the_url_is_used_and_never_shown(guarded: RedisServer, user: str, says: str) -> None:
    store = RedisRegistry(guarded.url.replace("//", f"//{user}"))
    if says:
        sentence = await outage(store)
        assert says in sentence
        assert "horse" not in sentence
    else:
        assert await store.fetch("demo") is None
    await store.close()


async def test_tls_is_spoken_and_the_certificate_checked(tmp_path: Path) -> None:
    require("openssl")
    certificate, key = tmp_path / "redis.pem", tmp_path / "redis.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=redis"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    with RedisServer(certificate=certificate, key=key) as server:
        url = f"rediss://127.0.0.1:{server.tls_port}/0"
        trusting = RedisRegistry(f"{url}?ssl_ca_certs={certificate}")
        stored = await trusting.put(record("demo"))
        assert await trusting.fetch("demo") == stored
        await trusting.close()
        stranger = RedisRegistry(url)
        assert "CERTIFICATE_VERIFY_FAILED" in await outage(stranger)
        await stranger.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        f"http://:{PASSWORD}@127.0.0.1:6379",
        f"redis://:{PASSWORD}/x@127.0.0.1:6379",
        f"redis://:{PASSWORD}@127.0.0.1:port",
        f"redis://:{PASSWORD}@127.0.0.1:6379?unknown=1",
        f"redis://:{PASSWORD}@127.0.0.1:6379?socket_timeout=soon",
    ],
)
def test_a_broken_url_is_one_sentence_without_the_password(url: str) -> None:
    with pytest.raises(UserError) as error:
        RedisRegistry(url)
    assert str(error.value).startswith("directory.url: ")
    assert PASSWORD not in str(error.value)
    assert error.value.__cause__ is None


def test_the_url_cannot_lift_the_limits() -> None:
    """A command's timeout below BLOCK would take silence for an outage."""
    pool = RedisRegistry("redis://127.0.0.1?socket_timeout=0.1&max_connections=1")._client().connection_pool
    assert pool.connection_kwargs["socket_timeout"] == redis_module.COMMAND_TIMEOUT > redis_module.BLOCK
    assert pool.max_connections == redis_module.CONNECTIONS


# --- what is refused has changed nothing ----------------------------------------------------------------------------

KINDS = {
    "string": ("SET", "octets"),
    "list": ("RPUSH", "one"),
    "set": ("SADD", "one"),
    "zset": ("ZADD", "0", "demo"),
    "hash": ("HSET", "address", "fd00::7"),
    "stream": ("XADD", "*", "id", "demo"),
}
WRITES = {
    "SET": "gateway:generation",
    "XADD": "gateway:changes",
    "ZADD": "gateway:sandboxes",
    "ZREM": "gateway:sandboxes",
    "UNLINK": "gateway:sandbox:*",
    "HSET": "gateway:sandbox:*",
    "PEXPIRE": "gateway:sandbox:*",
}
"""The commands of which writes consist, and the keys."""


async def everything(server: RedisServer) -> dict[bytes, tuple[bytes, bool]]:
    """All that Redis holds: each key's content, and whether it ends."""
    async with redis.asyncio.Redis.from_url(server.url) as raw:
        return {key: (await raw.dump(key), await raw.pttl(key) >= 0) async for key in raw.scan_iter()}


async def refused_writes(server: RedisServer, store: RedisRegistry) -> set[str]:
    """Tries each kind of write; those that were refused have changed nothing, the others did all that they do."""
    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "new": lambda: store.put(record("new"), lifetime=60),
        "renewed": lambda: store.put(record("demo"), lifetime=60),
        "moved": lambda: store.put(record("demo", "fd00::6")),
        "removed": lambda: store.remove("demo"),
    }
    refused, there = set[str](), {"demo"}
    for kind, write in writes.items():
        before = await everything(server)
        try:
            await write()
        except WriteError:
            refused.add(kind)
            assert await everything(server) == before, kind
        else:
            there = there - {"demo"} if kind == "removed" else there | {"new" if kind == "new" else "demo"}
            assert {each.id for each in await store.page("", 10)} == there, kind
    return refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["gateway:sandboxes", "gateway:changes", "gateway:generation", "gateway:sandbox:demo"])
async def test_whatever_stands_under_a_key_nothing_is_half_written(
    server: RedisServer, connect: Connect, platform: Any, key: str, kind: str
) -> None:
    store = connect()
    await store.put(record("demo"))
    await platform.delete(key)
    await platform.execute_command(KINDS[kind][0], key, *KINDS[kind][1:])
    refused = await refused_writes(server, store)
    right = {"gateway:sandboxes": "zset", "gateway:changes": "stream"}.get(key, kind)
    assert refused == (set() if kind == right else {"new", "renewed", "moved", "removed"})


@pytest.mark.parametrize("command", WRITES)
@pytest.mark.parametrize("how", ["command", "key"])
async def test_who_may_not_do_all_of_a_write_does_none_of_it(
    server: RedisServer, connect: Connect, platform: Any, command: str, how: str
) -> None:
    await connect().put(record("demo"))
    rules = ["~*", f"-{command}"]
    if how == "key":
        rules = [f"{'%R' if key == WRITES[command] else ''}~{key}" for key in WRITES.values()]
    await platform.execute_command("ACL", "SETUSER", "half", "on", f">{PASSWORD}", "+@all", *rules)
    store = RedisRegistry(server.url.replace("//", f"//half:{PASSWORD}@"))
    refused = await refused_writes(server, store)
    await store.close()
    assert refused


async def test_a_command_that_was_renamed_is_missed_before_anything_is_written() -> None:
    with RedisServer(more=["--rename-command", "ZADD", "ZADD2"]) as server:
        store = RedisRegistry(server.url)
        async with redis.asyncio.Redis.from_url(server.url) as platform:
            await platform.hset("gateway:sandbox:demo", mapping={"address": "fd00::5"})
            assert await refused_writes(server, store) == {"new", "renewed", "moved"}
        await store.close()


# --- a Redis that is there and takes no writes ----------------------------------------------------------------------


async def test_a_replica_refuses_writes_by_its_name(connect: Callable[[], RedisRegistry], platform: Any) -> None:
    store = connect()
    await store.put(record("box"))
    assert await store.obstacle() == ""
    await platform.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(WriteError, match=r"(?i)read only replica") as error:
            await store.put(record("box", "fd00::6"))
        assert not error.value.full
        with pytest.raises(WriteError, match=r"(?i)read only replica"):
            await store.remove("box")
        assert await store.obstacle() == f"{store.where}: is a replica of 127.0.0.1:1, which takes no writes"
        assert await store.fetch("box") is not None
    finally:
        await platform.execute_command("REPLICAOF", "NO", "ONE")


async def test_a_redis_without_memory_is_full_of_what_is_new(
    server: RedisServer, connect: Connect, platform: Any
) -> None:
    """What is there is renewed and removed nevertheless: else the full registry would lose what lives."""
    store = connect()
    stored = await store.put(record("box"), lifetime=60)
    await store.put(record("gone"))
    before = await everything(server)
    await platform.config_set("maxmemory", 1)
    try:
        for new in (record("other"), record("box", "fd00::6"), record("box", host="localhost")):
            with pytest.raises(WriteError, match="maxmemory") as error:
                await store.put(new)
            assert error.value.full
        assert await store.fetch("box") is not None
        assert await everything(server) == before
        assert await store.put(record("box"), lifetime=600) == replace(stored, lifetime=600)
        assert await store.remove("gone")
        assert await store.fetch("gone") is None
        assert [each.id for each in await store.page("", 10)] == ["box"]
        assert [entry["id"] for _, entry in await platform.xrange("gateway:changes")][-1] == "gone"
    finally:
        await platform.config_set("maxmemory", 0)


async def test_a_redis_that_cannot_save_refuses_writes_by_its_name(
    server: RedisServer, connect: Callable[[], RedisRegistry], platform: Any
) -> None:
    store, folder = connect(), Path((await platform.config_get("dir"))["dir"])
    await store.put(record("there"))
    shutil.rmtree(folder)  # where its snapshots go
    try:
        await platform.config_set("save", "3600 1000000")
        await platform.bgsave()
        while (await platform.info("persistence"))["rdb_last_bgsave_status"] == "ok":
            await asyncio.sleep(0.01)
        before = await everything(server)
        with pytest.raises(WriteError, match=r"MISCONF|persist") as error:
            await store.put(record("box"))
        assert not error.value.full
        with pytest.raises(WriteError, match=r"MISCONF|persist"):
            await store.remove("there")
        assert await everything(server) == before
        await platform.config_set("save", "")
    finally:
        folder.mkdir()


async def test_a_redis_that_cannot_copy_refuses_writes_by_its_name(
    server: RedisServer, connect: Connect, platform: Any
) -> None:
    store = connect()
    await store.put(record("there"))
    await platform.config_set("min-replicas-to-write", 1)
    before = await everything(server)
    for write in (store.put(record("box")), store.remove("there")):
        with pytest.raises(WriteError, match=r"NOREPLICAS|replicas"):
            await write
    assert await everything(server) == before


async def test_a_redis_that_is_away_is_no_refusal(server: RedisServer) -> None:
    store = RedisRegistry("redis://127.0.0.1:1/0")
    with pytest.raises(DirectoryError) as error:
        await store.put(record("box"))
    assert not isinstance(error.value, WriteError)
    with pytest.raises(DirectoryError):
        await store.obstacle()
    await store.close()
