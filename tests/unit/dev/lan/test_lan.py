"""The local network, followed: what a neighbour can do to it, and what is told of it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.dev.lan import lan as module
from gateway.dev.lan.certificate import LanCertificate
from gateway.dev.lan.interfaces import LanAddress
from gateway.dev.lan.lan import MOST_DISPUTES, Lan
from gateway.dev.lan.names import LanNames, LanPlace
from gateway.dev.lan.registry import LanRegistry
from gateway.dev.lan.telling import Told
from gateway.dev.options import Exposed
from tests.support.process import free_port
from tests.support.seam import gateway


class Claimed:
    """As `Multicast`, in a network where somebody has every name."""

    made: ClassVar[list[Claimed]] = []

    def __init__(
        self, addresses: Sequence[LanAddress], known: set[bytes], conflict: Callable[[str, str], None]
    ) -> None:
        self.conflict = conflict
        self.announced: list[str] = []
        Claimed.made.append(self)

    async def probe(self, hosts: Sequence[str]) -> None:
        for host in hosts:
            self.conflict(host, "192.168.7.66")

    async def announce(self, hosts: Sequence[str], port: int) -> None:
        self.announced = list(hosts)

    async def close(self) -> None: ...


def join(monkeypatch: pytest.MonkeyPatch, multicast: type[Claimed], addresses: list[LanAddress]) -> None:
    """A local network in which this machine has `addresses`, which change meanwhile."""
    monkeypatch.setattr(module, "Multicast", multicast)
    monkeypatch.setattr(module, "LOOK_INTERVAL", 0.01)
    monkeypatch.setattr(module, "lan_addresses", lambda: list(addresses))


@pytest.mark.pure
async def test_a_neighbour_who_claims_every_name_is_given_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(monkeypatch, Claimed, [LanAddress("lo", ip_address("127.0.0.1"))])
    heard: asyncio.Queue[Told | None] = asyncio.Queue()
    remarks: list[str] = []
    place = LanPlace(LanNames("anna", [Exposed("local", 5000)]), free_port(), [], "sandbox.localhost")
    Claimed.made.clear()
    async with gateway() as running:
        lan = Lan(LanCertificate(tmp_path, ()), place, heard.put_nowait, remarks.append)
        known = LanRegistry({})
        lan.start(running.edge, known)
        told = await asyncio.wait_for(heard.get(), 30)
        [multicast] = Claimed.made
        last = f"5000-anna-{MOST_DISPUTES + 1}.local"
        assert multicast.announced == lan.names.hosts == [last]
        assert len(remarks) == MOST_DISPUTES
        assert known.aliases == {f"anna-{MOST_DISPUTES + 1}": "local"}
        assert lan.door.authorities == {f"{last}:{place.port}".encode()}
        assert told is not None
        assert (lan.url("local", 5000), lan.page_url) == (told.urls[0], told.page)
        for _ in range(100):
            multicast.conflict(last, "192.168.7.66")
        await asyncio.sleep(0.1)  # for what must not happen
        assert Claimed.made == [multicast]
        assert heard.empty()
        await lan.close()
        for listener in lan.listeners:
            listener.close()


@pytest.mark.pure
async def test_who_cannot_listen_is_not_told_that_there_is_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    addresses = [LanAddress("lo", ip_address("127.0.0.1"))]
    join(monkeypatch, Claimed, addresses)
    heard: asyncio.Queue[Told | None] = asyncio.Queue()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = LanPlace(LanNames("anna", [Exposed("local", 5000)]), taken.getsockname()[1], [], "sandbox.localhost")
        async with gateway() as running:
            lan = Lan(LanCertificate(tmp_path, ()), place, heard.put_nowait, lambda remark: None)
            lan.start(running.edge, LanRegistry({}))
            async with asyncio.timeout(30):
                while "cannot listen on 127.0.0.1" not in caplog.text:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # for what must not happen
            assert heard.empty()
            addresses.clear()
            assert await asyncio.wait_for(heard.get(), 30) is None
            await lan.close()


class Lost(Claimed):
    """As `Multicast`, in a network that goes while the second one announces."""

    async def probe(self, hosts: Sequence[str]) -> None: ...

    async def announce(self, hosts: Sequence[str], port: int) -> None:
        if len(Claimed.made) > 1:
            raise OSError(errno.ENODEV, "No such device")


@pytest.mark.pure
async def test_a_network_that_goes_while_it_is_told_of_names_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    addresses = [LanAddress("lo", ip_address("127.0.0.1"))]
    join(monkeypatch, Lost, addresses)
    heard: asyncio.Queue[Told | None] = asyncio.Queue()
    place = LanPlace(LanNames("anna", [Exposed("local", 5000)]), free_port(), [], "sandbox.localhost")
    Claimed.made.clear()
    async with gateway() as running:
        lan = Lan(LanCertificate(tmp_path, ()), place, heard.put_nowait, lambda remark: None)
        lan.start(running.edge, LanRegistry({}))
        assert await asyncio.wait_for(heard.get(), 30) is not None
        addresses[:] = [LanAddress("lo", ip_address("127.0.0.1")), LanAddress("lo", ip_address("127.0.0.2"))]
        async with asyncio.timeout(30):
            while "cannot be announced" not in caplog.text:
                await asyncio.sleep(0.01)
        addresses.clear()
        assert await asyncio.wait_for(heard.get(), 30) is None
        assert lan.listeners == []
        assert "begins anew" not in caplog.text
        await lan.close()
