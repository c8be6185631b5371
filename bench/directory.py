"""What finding a sandbox costs: a million of them, in SQLite and in Redis.

.venv/bin/python -m bench.directory [--sandboxes N] [--questions N]

Prints, for each backend, the time of a look-up on a miss (the cache asks the backend), of a hit, and what the cache
holds per worker when it is full. Starts a Redis of its own; Debian's package redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path
from statistics import median, quantiles
from timeit import timeit
from typing import Any

import uvloop

from bench.site import free_port
from gateway.config import Directory
from gateway.directory.cache import MAX_ENTRIES, DirectoryCache
from gateway.directory.redis import RedisRegistry
from gateway.directory.sandbox import Registry, Sandbox
from gateway.directory.sqlite import SqliteRegistry

BATCH = 10_000
NETWORK = int(IPv6Address("fd00::"))


def name(number: int) -> str:
    return f"sandbox-{number:07d}"


def address(number: int) -> str:
    return str(IPv6Address(NETWORK + number + 1))


async def fill_sqlite(path: Path, count: int) -> SqliteRegistry:
    """The first record by the registry itself, which makes the file; the others past its list of changes."""
    store = SqliteRegistry(path)
    await store.put(Sandbox(name(0), IPv6Address(address(0)), ""))
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO sandboxes (id, address, generation, ipv4, host, expires) VALUES (?, ?, '1', NULL, '', NULL)",
            ((name(number), address(number)) for number in range(1, count)),
        )
    return store


async def fill_redis(url: str, count: int) -> RedisRegistry:
    """The first record by the registry itself; the others are copies of its hash with other addresses."""
    from redis.asyncio import Redis

    store = RedisRegistry(url)
    await store.put(Sandbox(name(0), IPv6Address(address(0)), ""))
    client = Redis.from_url(url, decode_responses=True)
    [pattern] = [str(key) async for key in client.scan_iter(f"*{name(0)}")]
    record: dict[Any, Any] = await client.hgetall(pattern)
    for start in range(1, count, BATCH):
        async with client.pipeline(transaction=False) as pipe:
            for number in range(start, min(start + BATCH, count)):
                pipe.hset(pattern.replace(name(0), name(number)), mapping={**record, "address": address(number)})
            await pipe.execute()
    await client.aclose()
    return store


async def measure(title: str, store: Registry, count: int, questions: int) -> None:
    """Prints the figures of one backend."""
    loop = asyncio.get_running_loop()
    cache = DirectoryCache(store, loop.time, Directory(ttl=3600, stale=0))
    chosen = random.Random(1).sample(range(count), min(count, questions))
    for number in chosen[:100]:
        await store.fetch(name(number))
    times = []
    for number in chosen:
        began = time.perf_counter()
        await cache.fetch(name(number))
        times.append((time.perf_counter() - began) * 1e6)
    known = name(chosen[-1])
    hit = timeit(lambda: cache.get_cached(known), number=100_000) / 100_000 * 1e6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    full = min(count, MAX_ENTRIES)
    for number in range(full):
        if cache.get_cached(name(number)) is None:
            await cache.fetch(name(number))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    cuts = quantiles(times, n=1000)
    print(
        f"{title:<8} miss: median {median(times):.0f} µs, p99 {cuts[989]:.0f} µs, p99.9 {cuts[998]:.0f} µs"
        f"   hit: {hit:.2f} µs   cache with {len(cache):,} entries: {held / 1024:.0f} MiB more"
    )
    await cache.close()
    await store.close()


@contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """The URL of a Redis that lives as long as the context."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


async def run(count: int, questions: int, directory: Path) -> None:
    print(f"{count:,} sandboxes, {questions:,} questions, one at a time")
    await measure("sqlite", await fill_sqlite(directory / "sandboxes.db", count), count, questions)
    if shutil.which("redis-server") is None:
        print("redis    not measured: sudo apt-get install redis-server", file=sys.stderr)
        return
    with redis_server(directory) as url:
        await asyncio.sleep(0.5)  # it listens within milliseconds; a refusal would end the run
        await measure("redis", await fill_redis(url, count), count, questions)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.directory", description="what finding a sandbox costs")
    parser.add_argument("--sandboxes", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-directory-") as directory:
        uvloop.run(run(options.sandboxes, options.questions, Path(directory)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
