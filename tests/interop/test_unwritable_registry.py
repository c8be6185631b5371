"""A registry that takes no writes, behind a real gateway: who registers is told why, the log too; traffic goes on."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.client import Gateway, GatewayApiError, RegistryFull, Sandbox
from tests.interop.registered import Registered
from tests.support.components import require
from tests.support.disk import on_small_disk
from tests.support.process import Child
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.ipv6]


def register(gateway: Registered, name: str) -> Sandbox:
    async def register() -> Sandbox:
        async with Gateway(f"http://127.0.0.1:{gateway.admin_port}") as client:
            return await client.sandboxes.register(name, address="::1")

    return asyncio.run(register())


def test_a_full_disk(tmp_path: Path) -> None:
    require("small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    gateway = Registered(f'backend = "sqlite"\npath = {json.dumps(str(disk / "sandboxes.db"))}', directory=tmp_path)
    gateway.command = on_small_disk(disk, "4m", [sys.executable, *gateway.command[1:]])
    with gateway:
        register(gateway, "first")
        other = Path(f"/proc/{gateway.pid}/root{disk}/other")
        with other.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        with pytest.raises(RegistryFull, match=r"507 Insufficient Storage: .*sandboxes\.db: database or disk is full"):
            for number in range(1000):
                register(gateway, f"box{number}")
        gateway.wait_until(lambda: "database or disk is full" in gateway.log, "the log says so, too")
        other.unlink()
        assert register(gateway, "later").id == "later"


def test_a_replica_is_named_at_the_start(tmp_path: Path) -> None:
    with RedisServer() as primary, RedisServer() as redis:
        replicate = ["redis-cli", "-p", str(redis.port), "REPLICAOF", "127.0.0.1", str(primary.port)]
        with Child(replicate) as done:
            done.wait_until(lambda: "OK" in done.log, "it is a replica")
        with Registered(f'backend = "redis"\nurl = "{redis.url}"', directory=tmp_path) as gateway:
            words = (
                f"is a replica of 127.0.0.1:{primary.port}, which takes no writes: sandboxes are served, and changes"
            )
            gateway.wait_until(lambda: words in gateway.log, "the log says so at the start")
            with pytest.raises(GatewayApiError, match=r"(?i)503 .*read only replica"):
                register(gateway, "box")


def test_a_read_only_file_system_is_named_at_the_start(tmp_path: Path) -> None:
    """A database that was left open by a crash, so that its companions are there: it can be read."""
    require("small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    database = disk / "sandboxes.db"
    gateway = Registered(f'backend = "sqlite"\npath = {json.dumps(str(database))}', directory=tmp_path)
    prepare = f"""
import asyncio, os, shutil, subprocess, sys
from ipaddress import IPv6Address
from pathlib import Path
from gateway.directory.sandbox import Sandbox
from gateway.directory.sqlite import SqliteRegistry
disk = Path({str(disk)!r})
async def main():
    registry = SqliteRegistry(disk / "open" / "sandboxes.db")
    await registry.put(Sandbox("box", IPv6Address("::1"), ""))
    for file in (disk / "open").iterdir():
        shutil.copy(file, disk)
    await registry.close()
asyncio.run(main())
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
os.execv(sys.executable, {[sys.executable, *gateway.command[1:]]!r})
"""
    gateway.command = on_small_disk(disk, "4m", [sys.executable, "-c", prepare])
    with gateway:
        words = f"{database}: its file system is read-only: sandboxes are served, and changes"
        gateway.wait_until(lambda: words in gateway.log, "the log says so at the start")
        with pytest.raises(GatewayApiError, match=r"503 .*its file system is read-only"):
            register(gateway, "other")
