"""Names announced in the local network by multicast DNS (RFC 6762), at one set of addresses.

Before they are announced it is asked whether somebody has them; afterwards it is heard whether somebody says so. Whose
name it is then, the caller decides. Knows no gateway.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from zeroconf import (  # type: ignore[attr-defined]  # AddressResolver is not in __all__
    AddressResolver,
    RecordUpdate,
    RecordUpdateListener,
    ServiceInfo,
    Zeroconf,
)
from zeroconf.asyncio import AsyncZeroconf

from gateway.dev.lan.interfaces import LanAddress

log = logging.getLogger("gateway.process")

PROBING, MOST_DELAY = 0.75, 0.25
"""RFC 6762 section 8.1: seconds for which it is asked who has a name, and at most as many before."""
CLOSE_PATIENCE = 1.0
"""Seconds for saying goodbye, which a network that has gone does not take."""
Conflict = Callable[[str, str], None]
_SERVICE = "_https._tcp.local."

logging.getLogger("zeroconf").setLevel(logging.ERROR)  # below are datagrams that a lost network has not taken


class Multicast:
    """From the first question to the goodbye. `conflict` is called with a name of ours and who has it, too."""

    def __init__(self, addresses: Sequence[LanAddress], known: set[bytes], conflict: Conflict) -> None:
        """`known`: packed addresses that this machine has or had, which are no stranger's. Raises OSError."""
        self._addresses = [each.address.packed for each in addresses]
        self._listener = _Listener(known, conflict)
        self._zeroconf = AsyncZeroconf(interfaces=[each.host for each in addresses])
        self._zeroconf.zeroconf.async_add_listener(self._listener, None)

    async def probe(self, hosts: Sequence[str]) -> None:
        """Asks who has `hosts` and waits for answers, each of which is a conflict."""
        self._listener.hosts = frozenset(hosts)
        await self._zeroconf.zeroconf.async_wait_for_start()
        await asyncio.sleep(random.uniform(0, MOST_DELAY))  # noqa: S311 - two that begin at once fall out of step
        async with asyncio.TaskGroup() as asking:
            for host in hosts:
                asking.create_task(AddressResolver(f"{host}.").async_request(self._zeroconf.zeroconf, PROBING * 1e3))

    async def announce(self, hosts: Sequence[str], port: int) -> None:
        """Tells everybody, and whoever asks from now on."""
        sent = []
        for host in hosts:
            info = ServiceInfo(
                _SERVICE,
                f"{host.partition('.')[0]}.{_SERVICE}",
                port=port,
                server=f"{host}.",
                addresses=self._addresses,
                properties={"path": "/"},
            )
            # Whose name it is was asked above: zeroconf would ask for services only.
            sent.append(await self._zeroconf.async_register_service(info, cooperating_responders=True))
        for each in sent:
            await each

    async def close(self) -> None:
        """Takes the names back, as far as there is a network to be told."""
        try:
            async with asyncio.timeout(CLOSE_PATIENCE):
                await self._zeroconf.async_close()
        except (TimeoutError, OSError) as error:
            log.debug("no goodbye could be said in the local network: %s", error)


class _Listener(RecordUpdateListener):
    def __init__(self, known: set[bytes], conflict: Conflict) -> None:
        self.hosts: frozenset[str] = frozenset()
        self._known = known
        self._conflict = conflict

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        for update in records:
            record = update.new
            host, address = record.name.rstrip(".").lower(), getattr(record, "address", None)
            # Without a lifetime it is a goodbye.
            if host in self.hosts and address is not None and record.ttl and address not in self._known:
                self._conflict(host, str(ip_address(address)))
