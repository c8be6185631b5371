"""The local network, followed: as addresses come and go, listeners open and close, names are announced and withdrawn.

Owns the order: names that are nobody else's, a certificate for them, who may ask for them, listeners, the announcement.
Knows neither the terminal's words nor what the page says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from gateway.addresses import authority
from gateway.config import Listen
from gateway.dev import ports
from gateway.dev.lan.certificate import LanCertificate
from gateway.dev.lan.door import Door
from gateway.dev.lan.interfaces import LanAddress, lan_addresses
from gateway.dev.lan.multicast import Multicast
from gateway.dev.lan.names import LanPlace
from gateway.dev.lan.page import LanPage
from gateway.dev.lan.registry import LanRegistry
from gateway.dev.lan.telling import Told
from gateway.dev.options import Exposed
from gateway.dev.ports import PortChoice
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener
from gateway.errors import UserError
from gateway.process.sockets import bind
from gateway.tasks import Tasks
from gateway.tls.errors import KeyMaterialError

log = logging.getLogger("gateway.process")

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the addresses, 0.3 ms each."""
MOST_DISPUTES = 5
"""In the life of a gateway: a neighbour may claim whatever is announced, again and again. His own certificate for it
nobody trusts, so the worst is that the app is not found."""


class Lan:
    """One per gateway. `told` is called with what is to be reached now, None for nothing; `remark` with sentences."""

    def __init__(
        self,
        certificate: LanCertificate,
        place: LanPlace,
        told: Callable[[Told | None], None],
        remark: Callable[[str], None],
    ) -> None:
        self.listeners: list[Listener] = []
        """Those that are open, for the drain."""
        self.names = place.names
        self.page = LanPage(certificate)
        self.door = Door(self.page, place.domain)
        self._certificate = certificate
        self._place = place
        self._told = told
        self._remark = remark
        self._page_port = 0  # chosen with the first address, and kept
        self._addresses: list[LanAddress] = []
        self._open: dict[LanAddress, list[Listener]] = {}
        self._known: set[bytes] = set()  # packed: whatever this machine has or had
        self._tasks = Tasks()
        self._multicast: Multicast | None = None
        self._claims: dict[str, str] = {}  # names of ours that others have, too, with one of their addresses
        self._claimed = asyncio.Event()
        self._disputes = 0
        self._failure = ""  # to listen
        self._has_failed = False  # to announce; it is tried again, and nothing is opened or told before
        self._last: Told | None = None
        self._has_told = False

    def start(self, edge: Edge, registry: LanRegistry) -> None:
        self._tasks.keep(partial(self._follow, edge, registry), "local network")

    async def close(self) -> None:
        """Takes the names back. The listeners are the drain's."""
        await self._tasks.cancel()
        await self._withdraw()

    def url(self, sandbox_id: str, port: int) -> str:
        """Of an exposed app, in the local network; empty: it is not to be reached there now."""
        if self._last:
            for each, url in zip(self.names.exposed, self._last.urls, strict=True):
                if each == Exposed(sandbox_id, port):
                    return url
        return ""

    @property
    def page_url(self) -> str:
        """Of the page for phones; empty: as above."""
        return self._last.page if self._last else ""

    async def _follow(self, edge: Edge, registry: LanRegistry) -> None:
        while True:
            self._claimed.clear()
            addresses = lan_addresses()
            if addresses != self._addresses or self._has_failed:
                await self._move(edge, registry, addresses)
            elif self._claims:
                await self._announce(registry)
            elif addresses and self._certificate.is_due:
                self._serve()
            if not self._has_failed:
                self._listen(edge)
                self._tell()
            try:
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._claimed.wait()
            except TimeoutError:
                pass

    async def _withdraw(self) -> None:
        if self._multicast is not None:
            await self._multicast.close()
            self._multicast = None

    async def _move(self, edge: Edge, registry: LanRegistry, addresses: list[LanAddress]) -> None:
        for gone in [each for each in self._open if each not in addresses]:
            for listener in self._open.pop(gone):
                listener.close()
                self.listeners.remove(listener)
        self._known.update(each.address.packed for each in addresses)
        self._addresses = addresses
        await self._announce(registry)

    # --- names --------------------------------------------------------------------------------------------------------

    async def _announce(self, registry: LanRegistry) -> None:
        """Names that nobody else has, and everything that depends on them."""
        await self._withdraw()
        self._has_failed = False
        if not self._addresses:
            return
        try:
            self._multicast = multicast = Multicast(self._addresses, self._known, self._claim)
            await self._find_names(multicast)
            self._serve()
            registry.aliases = {alias: each.sandbox_id for each, alias in self.names.alias_of.items()}
            self.door.authorities = self.names.authorities(self._place.port)
            suffix = "" if self._place.port == 443 else f":{self._place.port}"
            self.page.urls = [f"https://{host}{suffix}/" for host in self.names.hosts]
            await multicast.announce(self.names.hosts, self._place.port)
        except (OSError, RuntimeError) as error:  # zeroconf's own for an interface that has gone meanwhile
            log.warning("the names cannot be announced in the local network: %s", error)
            self._has_failed = True
            await self._withdraw()

    async def _find_names(self, multicast: Multicast) -> None:
        while True:
            self._claims.clear()
            await multicast.probe(self.names.hosts)
            if not self._claims:
                return
            host, address = next(iter(self._claims.items()))
            self._remark(f"{host} is the name of {address} in the local network already")
            self.names = self.names.next()

    def _claim(self, host: str, address: str) -> None:
        """Somebody else says that he has a name of ours."""
        if self._disputes < MOST_DISPUTES and host not in self._claims:
            self._disputes += 1
            self._claims[host] = address
            self._claimed.set()

    def _serve(self) -> None:
        try:
            self._certificate.serve(self.names.hosts)
        except KeyMaterialError as error:
            if not self._open:
                raise
            log.warning("%s The certificate from before is served on.", error)

    # --- listeners ----------------------------------------------------------------------------------------------------

    def _listen(self, edge: Edge) -> None:
        """Where nothing listens yet; where that fails, it is tried again."""
        failure = ""
        for address in self._addresses:
            if address not in self._open:
                try:
                    self._open[address] = opened = self._opened(edge, address)
                    self.listeners += opened
                except UserError as error:
                    failure = str(error)
        if failure and failure != self._failure:
            log.warning("%s", failure)
        self._failure = failure

    def _opened(self, edge: Edge, address: LanAddress) -> list[Listener]:
        [secure] = bind(Listen(address.host, self._place.port))
        try:
            if self._page_port:
                [plain] = bind(Listen(address.host, self._page_port))
            else:
                [plain] = ports.listen([address.host], self._place.port + 1, PortChoice(False, self._place.avoid))
        except UserError:
            secure.close()
            raise
        self._page_port = plain.getsockname()[1]
        return [Listener(edge, secure, self._certificate.context), Listener(edge, plain, None)]

    def _tell(self) -> None:
        """What is to be reached now, if that has changed."""
        told = None
        if self._open:
            reached = [each for each in self._addresses if each in self._open]
            # No browser takes an address that says of which interface, as a link-local one has to.
            where = self.names.hosts[0] if "%" in reached[0].host else reached[0].host
            told = Told(
                reached,
                self.page.urls,
                (self._place.port, self._page_port),
                f"http://{authority(where, self._page_port)}/",
                self._certificate.fingerprint,
            )
        if told != self._last or not self._has_told:
            self._last = told
            self._has_told = told is not None or not self._addresses  # otherwise `_listen` has said why
            if self._has_told:
                self._told(told)
