"""What the local network is let have: the names that were announced, and one page. Decided before any exchange.

Who asks from this machine is told by the address of the peer: no connection comes from 127.0.0.1 or ::1 through a
network. A name under `local` is let in only if it is announced, whoever asks: such a name anybody can say is his.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.dev.content import answer
from gateway.edge.local_reply import reply
from gateway.errors import GatewayError, Reason
from gateway.tls.local_ca import LAN_DOMAIN

if TYPE_CHECKING:
    from gateway.dev.front import Answered
    from gateway.dev.lan.page import LanPage
    from gateway.edge.edge import Edge
    from gateway.edge.forwarded import Peer
    from gateway.http.message import RequestHead

_SUFFIX = f".{LAN_DOMAIN}".encode()
_WHY = "the local network is let have the announced names, on the announced port, and nothing else"


class Door:
    """One per gateway. `authorities` are what may be asked for, in lower case; `domain` is of this machine's own names,
    and may itself lie under `local`.
    """

    def __init__(self, page: LanPage, domain: str) -> None:
        self.authorities: frozenset[bytes] = frozenset()
        self._page = page
        self._domain = f".{domain}".encode()

    def kept_out(self, host: str) -> str:
        """Why nobody comes in by a name; empty: somebody does."""
        name = host.encode()
        announced = {authority.partition(b":")[0] for authority in self.authorities}
        return _WHY if name not in announced and not self._is_of_this_machine(name) else ""

    def _is_of_this_machine(self, name: bytes) -> bool:
        name = b"." + name
        return name.endswith(self._domain) or not name.endswith(_SUFFIX)

    def answer(self, edge: Edge, peer: Peer, head: RequestHead) -> Answered | None:
        """What is answered instead of the app; None: it may be asked."""
        if peer.scheme == b"http":  # the page's own listeners; there are no other plain ones
            return *answer(head, self._page.content), edge.ids.new()
        authority = head.authority.lower()
        if authority in self.authorities:
            return None
        name = authority.partition(b":")[0].removesuffix(b".")
        if peer.address.is_loopback and self._is_of_this_machine(name):
            return None
        return reply(edge, peer, head, GatewayError(Reason.UNKNOWN_DOMAIN, _WHY))
