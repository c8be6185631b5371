"""The last exchanges, bounded in number and in octets: what is new pushes out what ended longest ago.

An exchange that has been let go of may still be under way; what passes of it from then on is not kept. Knows no clock
and no event loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from gateway.inspector.captured import MESSAGES, MESSAGES_OCTETS, OWN_COST, Captured, Message

if TYPE_CHECKING:
    from gateway.edge.forwarded import Peer
    from gateway.http.message import RequestHead

MOST: Final = 500
"""Exchanges that are kept."""
MOST_OCTETS: Final = 64 * 1024 * 1024
"""Of memory, of all of them together."""


class Store:
    """One per gateway."""

    __slots__ = ("_ended", "_live", "_most", "_most_octets", "cleared", "last_number", "octets", "version")

    def __init__(self, most: int = MOST, most_octets: int = MOST_OCTETS) -> None:
        self._most = most
        self._most_octets = most_octets
        self._live: dict[int, Captured] = {}
        self._ended: dict[int, Captured] = {}  # in the order of their ends
        self.last_number = 0
        """Exchanges that were seen."""
        self.octets = 0
        """What is kept costs so many octets of memory, about."""
        self.version = 0
        """Grows with each change of any exchange."""
        self.cleared = 0
        """The last exchange that somebody has cleared away."""

    def __len__(self) -> int:
        return len(self._live) + len(self._ended)

    def __iter__(self) -> Iterator[Captured]:
        """Oldest first."""
        yield from sorted((*self._ended.values(), *self._live.values()), key=lambda each: each.number)

    def __repr__(self) -> str:
        return f"<Store {len(self._live)} live, {len(self._ended)} ended, {self.octets} octets>"

    def get(self, number: int) -> Captured | None:
        return self._live.get(number) or self._ended.get(number)

    def changed_since(self, version: int) -> list[Captured]:
        """Those that have changed, oldest first."""
        return [each for each in self if each.version > version]

    # --- for the capture ---------------------------------------------------------------------------------------------

    def begin(self, head: RequestHead | None, peer: Peer | None, began: float) -> Captured:
        self.last_number = number = self.last_number + 1
        self._live[number] = captured = Captured(number, head, peer, began)
        captured.cost = cost = OWN_COST if head is None else OWN_COST + head.octets
        self.octets += cost
        self.version = captured.version = self.version + 1
        if len(self._live) + len(self._ended) > self._most or self.octets > self._most_octets:
            self._make_room()
        return captured

    def touch(self, captured: Captured) -> None:
        """It has changed."""
        self.version = captured.version = self.version + 1

    def grow(self, captured: Captured, octets: int) -> None:
        """It holds so many more octets."""
        if not captured.cost:
            return  # let go of
        captured.cost += octets
        self.octets += octets
        if self.octets > self._most_octets:
            self._make_room()

    def end(self, captured: Captured) -> None:
        number = captured.number
        if self._live.pop(number, None) is not None:
            self._ended[number] = captured
        self.version = captured.version = self.version + 1

    def add_message(self, captured: Captured, message: Message) -> None:
        """Its oldest ones go for it."""
        self.touch(captured)
        if not captured.cost:
            return
        extras = captured.more
        messages, before = extras.messages, extras.messages_octets
        messages.append(message)
        extras.messages_octets += len(message.octets)
        while len(messages) > MESSAGES or extras.messages_octets > MESSAGES_OCTETS:
            extras.messages_octets -= len(messages.popleft().octets)
        self.grow(captured, extras.messages_octets - before)

    def clear(self) -> None:
        """Lets go of all that has ended."""
        self.cleared = self.last_number
        for number in list(self._ended):
            self._let_go(self._ended.pop(number))
        self.version += 1

    # --- inside ------------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Those under way stay as long as others can go: a WebSocket is looked at for longer than what passes by."""
        ended, live = self._ended, self._live
        while len(ended) + len(live) > self._most or self.octets > self._most_octets:
            table = ended or live
            if not table:
                return
            self._let_go(table.pop(next(iter(table))))

    def _let_go(self, captured: Captured) -> None:
        self.octets -= captured.cost
        captured.cost = 0
        captured.request.forget()
        captured.response.forget()
        if captured.extras.messages:
            captured.more.messages.clear()
